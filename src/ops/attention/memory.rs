//! Attention remembers the keys and values of the tokens that it has read.
//!
//! How they lie in memory is in `kept.rs`.

use dfdx::tensor::Cpu;

use super::scoring::{Map, Scoring};
use super::{Projections, kept};
use crate::ops::kernels::matmul::Pass;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::reading::{Kept, Memory};
use crate::ops::residual::{Layer, apply, layer};

/// The projections, laid out.
pub(in crate::ops) struct KeysAndValues<
    'a,
    const EMBED: usize,
    const KV: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
> {
    key: Layer<'a>,
    value: Layer<'a>,
    query: Layer<'a>,
    proj: Layer<'a>,
    scoring: Scoring,
    map: Map,
}

impl<'a, const EMBED: usize, const KV: usize, const HEADS: usize, const HEAD_DIM: usize>
    KeysAndValues<'a, EMBED, KV, HEADS, HEAD_DIM>
{
    /// For rows of at most `context` tokens.
    pub(in crate::ops) fn new(
        weights: &'a Projections<EMBED, KV, f32, Cpu>,
        scoring: Scoring,
        context: usize,
    ) -> Self {
        Self {
            key: layer(&weights.key, Pass::Forward),
            value: layer(&weights.value, Pass::Forward),
            query: layer(&weights.query, Pass::Forward),
            proj: layer(&weights.proj, Pass::Forward),
            scoring,
            map: Map::new(scoring, HEAD_DIM, context),
        }
    }
}

impl<const EMBED: usize, const KV: usize, const HEADS: usize, const HEAD_DIM: usize> Memory
    for KeysAndValues<'_, EMBED, KV, HEADS, HEAD_DIM>
{
    fn width(&self) -> usize {
        2 * KV
    }

    fn remember(&self, normed: &[f32], places: &[usize], news: &mut [f32]) {
        apply(&self.key, normed, news, 2 * KV);
        apply(&self.value, normed, &mut news[KV..], 2 * KV);
        for (new, &place) in news.chunks_exact_mut(2 * KV).zip(places) {
            self.map.apply(&mut new[..KV], HEAD_DIM, place);
        }
    }

    fn keep(&self, kept: &mut Kept, news: &[f32]) {
        kept::append::<HEAD_DIM>(kept, news, KV);
    }

    fn ask(&self, normed: &[f32], places: &[usize], queries: &mut [f32]) {
        apply(&self.query, normed, queries, EMBED);
        for (queries, &place) in queries.chunks_exact_mut(EMBED).zip(places) {
            self.map.apply(queries, HEAD_DIM, place);
        }
    }

    fn look_back(&self, kept: &Kept, queries: &[f32], found: &mut [f32]) {
        let (n, step) = (queries.len() / EMBED, kept::score_step(kept));
        let mut scores = Scratch::new(n * step);
        let scale = self.scoring.scale(HEAD_DIM) as f32;
        for head in 0..HEADS {
            let (columns, shared) = (head * HEAD_DIM, head / (EMBED / KV));
            let queries = (n, &queries[columns..], EMBED);
            kept::scores::<HEAD_DIM>(kept, shared, queries, scale, &mut scores);
            let slope = self.scoring.slope(head, HEADS) as f32;
            self.scoring
                .weigh_last(&mut scores, step, kept.tokens, slope);
            kept::blend::<HEAD_DIM>(kept, shared, &scores, &mut found[columns..], EMBED);
        }
    }

    fn project(&self, found: &[f32], out: &mut [f32]) {
        apply(&self.proj, found, out, EMBED);
    }
}
