//! The synthesizer with a cache of values: it has no keys.

use dfdx::tensor::Cpu;

use super::PositionWeights;
use crate::ops::attention::heads::step;
use crate::ops::attention::{AttentionWeights, Layout};
use crate::ops::bridge::host;
use crate::ops::decoding::{CachedLayer, KvCache};
use crate::ops::kernels::matmul::{Left, Packed, Part, Pass, Target, View, multiply};
use crate::ops::kernels::rows::relu;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::{PackedLinear, apply, pack_linear};

/// The packed weights. The cache of a sequence is one block, its values: `[tokens, width]`.
pub struct CachedSynthesizer<'a> {
    layout: Layout,
    hidden: PackedLinear<'a>,
    value: PackedLinear<'a>,
    proj: PackedLinear<'a>,
    /// From a head's hidden layer to the scores of all positions.
    position_scores: PackedLinear<'a>,
}

impl<'a> CachedSynthesizer<'a> {
    pub fn new<const EMBED: usize>(
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        of_positions: &'a PositionWeights<EMBED, f32, Cpu>,
    ) -> Self {
        let (w2, b2) = (host(&of_positions.w2), host(&of_positions.b2));
        let packed = Packed::new(View::rows(w2, b2.len()), weights.layout.head_dim, b2.len());
        Self {
            layout: weights.layout,
            hidden: pack_linear(&of_positions.hidden, Pass::Forward),
            value: pack_linear(&weights.value, Pass::Forward),
            proj: pack_linear(&weights.proj, Pass::Forward),
            position_scores: (packed, b2),
        }
    }
}

impl CachedLayer for CachedSynthesizer<'_> {
    fn width(&self) -> usize {
        self.layout.width()
    }

    fn heads_width(&self) -> usize {
        self.layout.width()
    }

    fn cache_entries(&self, normed: &[f32], _: &[usize], entries: &mut [f32]) {
        apply(&self.value, normed, entries, self.width());
    }

    fn append(&self, cache: &mut KvCache, entries: &[f32]) {
        if cache.blocks.is_empty() {
            cache.blocks.push(vec![]);
        }
        cache.blocks[0].extend_from_slice(entries);
        cache.tokens += entries.len() / self.width();
    }

    fn queries(&self, normed: &[f32], _: &[usize], hidden: &mut [f32]) {
        apply(&self.hidden, normed, hidden, self.width());
        relu(hidden);
    }

    fn attend(&self, cache: &KvCache, hidden: &[f32], heads: &mut [f32]) {
        let (width, head_dim, scoring) = (
            self.layout.width(),
            self.layout.head_dim,
            self.layout.scoring,
        );
        let (w2, b2) = &self.position_scores;
        let (n, step, values) = (hidden.len() / width, step(b2.len()), &cache.blocks[0]);
        let mut scores = Scratch::new(n * step);
        for head in 0..self.layout.heads {
            let column = head * head_dim;
            let left = Left::Rows(&hidden[column..], width);
            let target = Target::biased(&mut scores, step, b2);
            multiply(n, left, w2, 1.0, Part::Whole, target);
            scoring.last_scores_to_weights(&mut scores, step, cache.tokens, 0.0);
            let values = View::rows(&values[column..], width);
            let values = Packed::new(values, cache.tokens, head_dim);
            let target = Target::set(&mut heads[column..], width);
            let left = Left::Rows(&scores, step);
            multiply(n, left, &values, 1.0, Part::Whole, target);
        }
    }

    fn project(&self, heads: &[f32], out: &mut [f32]) {
        apply(&self.proj, heads, out, self.proj.1.len());
    }
}
