//! Attention remembers the keys and values of the tokens that it has read.
//!
//! How they lie in memory is in `kept.rs`.

use std::ops::Range;

use dfdx::tensor::Cpu;

use super::Projections;
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

    /// The last tokens of a row look back: `queries: [n, EMBED]` → `heads`, written.
    fn attend(queries: &[f32], kept: &Kept, heads: &mut [f32]) {
        let (n, seen) = (queries.len() / EMBED, kept.tokens);
        let mut scores = Scratch::new(n * seen);
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        for head in 0..HEADS {
            let columns = head * HEAD_DIM;
            let kept = kept.head::<HEADS, HEAD_DIM>(head);
            kept.scores((n, &queries[columns..], EMBED), scale, &mut scores);
            softmax_rows(&mut scores, seen);
            kept.blend(&scores, &mut heads[columns..], EMBED);
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
        kept.append::<HEADS, HEAD_DIM>(news);
    }

    fn look_back(&self, normed: &[f32], rows: &[(&Kept, Range<usize>)], out: &mut [f32]) {
        let [mut queries, mut heads] = [(); 2].map(|()| Scratch::new(normed.len()));
        apply(&self.query, normed, &mut queries, EMBED);
        for (kept, tokens) in rows {
            let at = tokens.start * EMBED..tokens.end * EMBED;
            Self::attend(&queries[at.clone()], kept, &mut heads[at]);
        }
        apply(&self.proj, &heads, out, EMBED);
    }
}

/// `y = x Wᵀ + b`, rows of `y` lying `step` apart; `x: [rows, EMBED]` and so is `b`.
fn apply((weight, bias): &Layer<'_>, x: &[f32], y: &mut [f32], step: usize) {
    let embed = bias.len();
    let (left, target) = (Left::Rows(x, embed), Target::biased(y, step, bias));
    multiply(x.len() / embed, left, weight, 1.0, Part::Whole, target);
}

/// Softmax of the scores of the last tokens of a row, `[n, seen]`: the last sees all, the one before
/// it all but the last, and so on; 0 after what a token sees.
fn softmax_rows(scores: &mut [f32], seen: usize) {
    let before = seen - scores.len() / seen;
    wide(
        #[inline(always)]
        || {
            for (query, row) in scores.chunks_exact_mut(seen).enumerate() {
                let (row, hidden) = row.split_at_mut(before + query + 1);
                softmax(row);
                hidden.fill(0.0);
            }
        },
    );
}
