//! The synthesizer with a cache of values: it has no keys.

use dfdx::tensor::Cpu;

use super::PositionWeights;
use crate::ops::attention::head_scores::HeadScores;
use crate::ops::attention::heads::step;
use crate::ops::attention::{AttentionWeights, Layout, gate};
use crate::ops::bridge::host;
use crate::ops::decoding::{CachedLayer, KvCache};
use crate::ops::kernels::matmul::{Left, Packed, Part, Pass, Target, View, multiply};
use crate::ops::kernels::rows::relu;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::{PackedLinear, apply, pack_linear, pack_projection, project};

/// The packed weights. The cache of a sequence is one block, its values: `[tokens, width]`.
pub struct CachedSynthesizer<'a> {
    layout: Layout,
    hidden: PackedLinear<'a>,
    value: PackedLinear<'a>,
    proj: PackedLinear<'a>,
    gate: Option<Packed<'a>>,
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
            gate: weights.gate.as_ref().map(pack_projection),
            position_scores: (packed, b2),
        }
    }
}

impl CachedLayer for CachedSynthesizer<'_> {
    fn width(&self) -> usize {
        self.layout.width()
    }

    fn queries_width(&self) -> usize {
        self.layout.width() + self.layout.gates()
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
        let (width, step) = (self.width(), self.queries_width());
        apply(&self.hidden, normed, hidden, step);
        if let Some(gate) = &self.gate {
            project(gate, normed, &mut hidden[width..], step);
        }
        let rows = hidden.chunks_exact_mut(step);
        rows.for_each(|row| relu(&mut row[..width]));
    }

    fn attend(&self, cache: &KvCache, hidden: &[f32], heads: &mut [f32]) {
        let (width, head_dim) = (self.layout.width(), self.layout.head_dim);
        let (w2, b2) = &self.position_scores;
        let (n, step, values) = (heads.len() / width, step(b2.len()), &cache.blocks[0]);
        let step_of_hidden = self.queries_width();
        let mut scores = Scratch::new(n * step);
        for head in 0..self.layout.heads {
            let column = head * head_dim;
            let left = Left::Rows(&hidden[column..], step_of_hidden);
            let target = Target::biased(&mut scores, step, b2);
            multiply(n, left, w2, 1.0, Part::Whole, target);
            HeadScores::plain(&self.layout, head).last_scores_to_weights(
                &mut scores,
                step,
                cache.tokens,
            );
            let values = View::rows(&values[column..], width);
            let values = Packed::new(values, cache.tokens, head_dim);
            let target = Target::set(&mut heads[column..], width);
            let left = Left::Rows(&scores, step);
            multiply(n, left, &values, 1.0, Part::Whole, target);
        }
        if self.gate.is_some() {
            let gates = (&hidden[width..], self.layout.gates(), step_of_hidden);
            gate::close(heads, width, gates);
        }
    }

    fn project(&self, heads: &[f32], out: &mut [f32]) {
        apply(&self.proj, heads, out, self.proj.1.len());
    }
}
