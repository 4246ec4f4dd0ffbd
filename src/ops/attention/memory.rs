//! Attention remembers the keys and values of the tokens that it has read.
//!
//! How they lie in memory is in `kept.rs`.

use dfdx::tensor::Cpu;

use super::{Projections, kept};
use crate::ops::kernels::matmul::{Left, Part, Pass, Target, multiply};
use crate::ops::kernels::rows::{softmax, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::reading::{Kept, Memory};
use crate::ops::residual::{Layer, layer};

/// The projections, laid out.
pub(super) struct KeysAndValues<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    key: Layer<'a>,
    value: Layer<'a>,
    query: Layer<'a>,
    proj: Layer<'a>,
}

impl<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>
    KeysAndValues<'a, EMBED, HEADS, HEAD_DIM>
{
    pub(super) fn new(weights: &'a Projections<EMBED, f32, Cpu>) -> Self {
        let [key, value, query, proj] =
            [&weights.key, &weights.value, &weights.query, &weights.proj]
                .map(|linear| layer(linear, Pass::Forward));
        Self {
            key,
            value,
            query,
            proj,
        }
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> Memory
    for KeysAndValues<'_, EMBED, HEADS, HEAD_DIM>
{
    fn width(&self) -> usize {
        2 * EMBED
    }

    fn impress(&self, normed: &[f32], news: &mut [f32]) {
        apply(&self.key, normed, news, 2 * EMBED);
        apply(&self.value, normed, &mut news[EMBED..], 2 * EMBED);
    }

    fn append(&self, kept: &mut Kept, news: &[f32]) {
        kept::append::<HEADS, HEAD_DIM>(kept, news);
    }

    fn ask(&self, normed: &[f32], queries: &mut [f32]) {
        apply(&self.query, normed, queries, EMBED);
    }

    fn look_back(&self, kept: &Kept, queries: &[f32], found: &mut [f32]) {
        let n = queries.len() / EMBED;
        let mut scores = Scratch::new(n * kept::score_step(kept));
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        for head in 0..HEADS {
            let columns = head * HEAD_DIM;
            let queries = (n, &queries[columns..], EMBED);
            kept::scores::<HEAD_DIM>(kept, head, queries, scale, &mut scores);
            softmax_rows(&mut scores, kept);
            kept::blend::<HEAD_DIM>(kept, head, &scores, &mut found[columns..], EMBED);
        }
    }

    fn add(&self, found: &[f32], out: &mut [f32]) {
        apply(&self.proj, found, out, EMBED);
    }
}

/// `y = x Wᵀ + b`, rows of `y` lying `step` apart; `x: [rows, EMBED]` and so is `b`.
fn apply((weight, bias): &Layer<'_>, x: &[f32], y: &mut [f32], step: usize) {
    let embed = bias.len();
    let (left, target) = (Left::Rows(x, embed), Target::biased(y, step, bias));
    multiply(x.len() / embed, left, weight, 1.0, Part::Whole, target);
}

/// Softmax of the scores of the last tokens of a row: the last sees all, the one before it all but the
/// last, and so on; 0 after what a token sees.
fn softmax_rows(scores: &mut [f32], kept: &Kept) {
    let step = kept::score_step(kept);
    let before = kept.tokens - scores.len() / step;
    wide(
        #[inline(always)]
        || {
            for (query, row) in scores.chunks_exact_mut(step).enumerate() {
                let seen = before + query + 1;
                row[seen..].fill(f32::NEG_INFINITY);
                softmax(row);
                // What is left of a key after the query is below the precision of the sum.
                row[seen..].fill(0.0);
            }
        },
    );
}
