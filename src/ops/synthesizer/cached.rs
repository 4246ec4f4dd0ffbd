//! The synthesizer with a cache of values: it has no keys.

use dfdx::tensor::Cpu;

use super::SynthesizerWeights;
use crate::ops::attention::Scoring;
use crate::ops::attention::heads::step;
use crate::ops::bridge::host;
use crate::ops::decoding::{CachedLayer, KvCache};
use crate::ops::kernels::matmul::{Left, Packed, Part, Pass, Target, View, multiply};
use crate::ops::kernels::rows::relu;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::{PackedLinear, apply, pack_linear};

/// The packed weights. The cache of a sequence is one block, its values: `[tokens, EMBED]`.
pub(super) struct CachedSynthesizer<
    'a,
    const EMBED: usize,
    const HEAD_DIM: usize,
    const POSITIONS: usize,
> {
    w1: PackedLinear<'a>,
    value: PackedLinear<'a>,
    proj: PackedLinear<'a>,
    /// From a head's hidden layer to the scores of all positions.
    position_scores: PackedLinear<'a>,
}

impl<'a, const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize>
    CachedSynthesizer<'a, EMBED, HEAD_DIM, POSITIONS>
{
    pub(super) fn new(
        weights: &'a SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cpu>,
    ) -> Self {
        let w2 = View::rows(host(&weights.w2), POSITIONS);
        Self {
            w1: pack_linear(&weights.w1, Pass::Forward),
            value: pack_linear(&weights.value, Pass::Forward),
            proj: pack_linear(&weights.proj, Pass::Forward),
            position_scores: (Packed::new(w2, HEAD_DIM, POSITIONS), host(&weights.b2)),
        }
    }
}

impl<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize> CachedLayer
    for CachedSynthesizer<'_, EMBED, HEAD_DIM, POSITIONS>
{
    fn width(&self) -> usize {
        EMBED
    }

    fn cache_entries(&self, normed: &[f32], _: &[usize], entries: &mut [f32]) {
        apply(&self.value, normed, entries, EMBED);
    }

    fn append(&self, cache: &mut KvCache, entries: &[f32]) {
        if cache.blocks.is_empty() {
            cache.blocks.push(vec![]);
        }
        cache.blocks[0].extend_from_slice(entries);
        cache.tokens += entries.len() / EMBED;
    }

    fn queries(&self, normed: &[f32], _: &[usize], hidden: &mut [f32]) {
        apply(&self.w1, normed, hidden, EMBED);
        relu(hidden);
    }

    fn attend(&self, cache: &KvCache, hidden: &[f32], heads: &mut [f32]) {
        let (n, step, values) = (hidden.len() / EMBED, step(POSITIONS), &cache.blocks[0]);
        let mut scores = Scratch::new(n * step);
        let (w2, b2) = &self.position_scores;
        for head in 0..EMBED / HEAD_DIM {
            let column = head * HEAD_DIM;
            let left = Left::Rows(&hidden[column..], EMBED);
            let target = Target::biased(&mut scores, step, b2);
            multiply(n, left, w2, 1.0, Part::Whole, target);
            Scoring::SOFTMAX.last_scores_to_weights(&mut scores, step, cache.tokens, 0.0);
            let values = View::rows(&values[column..], EMBED);
            let values = Packed::new(values, cache.tokens, HEAD_DIM);
            let target = Target::set(&mut heads[column..], EMBED);
            multiply(
                n,
                Left::Rows(&scores, step),
                &values,
                1.0,
                Part::Whole,
                target,
            );
        }
    }

    fn project(&self, heads: &[f32], out: &mut [f32]) {
        apply(&self.proj, heads, out, EMBED);
    }
}
