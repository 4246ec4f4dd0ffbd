//! Attention with a KV cache: the keys and values of processed tokens.
//!
//! `kv_cache.rs` defines their layout in memory.

use dfdx::tensor::{Cpu, Tensor};

use super::differential::attend_twice;
use super::head_scores::HeadScores;
use super::qk_norm::{Gain, QkNorm, normalise};
use super::scoring::Bias;
use super::standard_head::StandardHead;
use super::talking_heads::{TalkingWeights, mix};
use super::transform::{HeadTransform, Side};
use super::{AttentionWeights, Layout, forget, gate, kv_cache};
use crate::ops::bridge::host;
use crate::ops::decoding::{CachedLayer, KvCache};
use crate::ops::kernels::matmul::{Packed, Pass};
use crate::ops::kernels::rows::{sigmoid, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::{PackedLinear, apply, pack_linear, pack_projection, project};

/// The projections, packed, and how heads attend to a cache.
///
/// An entry of the cache has keys and values side by side, then the forget gates of a token and β of the delta rule,
/// if there are any. A row of queries has queries, then the gates of the heads' outputs.
pub struct CachedAttention<'a> {
    layout: Layout,
    key: PackedLinear<'a>,
    value: PackedLinear<'a>,
    query: PackedLinear<'a>,
    proj: PackedLinear<'a>,
    forget: Option<PackedLinear<'a>>,
    beta: Option<Packed<'a>>,
    gate: Option<Packed<'a>>,
    transform: HeadTransform,
    attend: Box<Attend<'a>>,
}

/// From the queries of some tokens, with their row stride, to the heads' outputs: see [`CachedLayer::attend`].
pub type Attend<'a> = dyn Fn(&KvCache, (&[f32], usize), &mut [f32]) + Sync + 'a;

impl<'a> CachedAttention<'a> {
    /// For sequences of at most `context` tokens.
    pub fn new<const EMBED: usize>(
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        context: usize,
    ) -> Self {
        let (layout, comparison) = (weights.layout, weights.comparison());
        let attend: Box<Attend<'a>> = match &weights.difference {
            Some(difference) => Box::new(attend_twice(layout, difference)),
            None => {
                let all = CachedHeads {
                    layout,
                    standard: StandardHead::new(weights, context),
                    talking: weights.talking.as_ref(),
                };
                Box::new(move |cache, queries, heads| all.attend(cache, queries, heads))
            }
        };
        let forward = Pass::Forward;
        Self {
            layout,
            key: pack_linear(&comparison.key, forward),
            value: pack_linear(&weights.value, forward),
            query: pack_linear(&comparison.query, forward),
            proj: pack_linear(&weights.proj, forward),
            forget: (weights.forget.as_ref()).map(|layer| pack_linear(layer, forward)),
            beta: weights.beta.as_ref().map(pack_projection),
            gate: weights.gate.as_ref().map(pack_projection),
            transform: HeadTransform::new(weights, context),
            attend,
        }
    }

    /// Appends one token's entry: its forget gates are added up, and its values corrected.
    fn append_one(&self, cache: &mut KvCache, entry: &mut [f32]) {
        let (heads, kv) = (self.layout.heads, self.layout.kv_width());
        let (keys_and_values, gates) = entry.split_at_mut(2 * kv);
        let (gates, beta) = gates.split_at_mut(self.forget.iter().count() * heads);
        if let Some(Bias::Forget { divisor }) = self.layout.scoring.bias {
            let before = cache.sums.len().saturating_sub(heads);
            let mut before = cache.sums[before..].to_vec();
            before.resize(heads, 0.0);
            forget::sum_up(gates, (heads, heads), divisor, &before);
            cache.sums.extend_from_slice(gates);
        }
        if self.layout.delta {
            let (keys, values) = keys_and_values.split_at_mut(kv);
            self.correct(cache, keys, values, beta);
        }
        kv_cache::append(cache, keys_and_values, kv, self.layout.head_dim);
    }

    /// The delta rule for the values of the next token: see `delta.rs`.
    fn correct(&self, cache: &KvCache, keys: &[f32], values: &mut [f32], beta: &[f32]) {
        let (layout, head_dim) = (&self.layout, self.layout.head_dim);
        let mut recalled = Scratch::new(head_dim);
        let mut scores = Scratch::new(kv_cache::score_step(cache));
        for (head, values) in values.chunks_exact_mut(head_dim).enumerate() {
            if cache.tokens > 0 {
                let key = &keys[head * head_dim..][..head_dim];
                kv_cache::scores(
                    cache,
                    (head, head_dim),
                    (1, key, head_dim),
                    1.0,
                    &mut scores,
                );
                let sums = (cache.sums.get(head..).unwrap_or_default(), layout.heads);
                let of_head = HeadScores::with_sums(layout, head, sums);
                wide!((of_head.addend).grow(&mut scores[..cache.tokens], cache.tokens, 0));
                kv_cache::apply_weights(cache, (head, head_dim), &scores, &mut recalled, head_dim);
                (values.iter_mut().zip(&*recalled)).for_each(|(v, r)| *v -= r);
            }
            let part = sigmoid(beta[head]);
            values.iter_mut().for_each(|v| *v *= part);
        }
    }
}

/// Every head attends to the cache by one attention map.
struct CachedHeads<'a> {
    layout: Layout,
    standard: StandardHead,
    talking: Option<&'a TalkingWeights<f32, Cpu>>,
}

impl CachedHeads<'_> {
    fn attend(&self, cache: &KvCache, queries: (&[f32], usize), heads: &mut [f32]) {
        match self.talking {
            None => {
                let mut weights = self.cells(cache, heads);
                for head in 0..self.layout.heads {
                    self.scores(cache, head, queries, &mut weights);
                    self.scores_to_weights(cache, head, &mut weights);
                    self.apply_weights(cache, head, &weights, heads);
                }
            }
            Some(talking) => {
                let of_head = |head| {
                    let mut scores = self.cells(cache, heads);
                    self.scores(cache, head, queries, &mut scores);
                    scores
                };
                let mut maps = mixed(&talking.before, (0..self.layout.heads).map(of_head));
                for (head, map) in maps.iter_mut().enumerate() {
                    self.scores_to_weights(cache, head, map);
                }
                let maps = mixed(&talking.after, maps.into_iter());
                for (head, map) in maps.iter().enumerate() {
                    self.apply_weights(cache, head, map, heads);
                }
            }
        }
        if self.layout.head_norm {
            normalise(QkNorm::Rms, Gain::One, heads, self.layout.head_dim);
        }
    }

    /// Room for the scores of a head, given the outputs.
    fn cells(&self, cache: &KvCache, heads: &[f32]) -> Scratch {
        Scratch::new(heads.len() / self.layout.width() * kv_cache::score_step(cache))
    }

    /// Writes the scores of all queries of a head.
    fn scores(
        &self,
        cache: &KvCache,
        head: usize,
        (queries, step): (&[f32], usize),
        scores: &mut [f32],
    ) {
        let n = scores.len() / kv_cache::score_step(cache);
        let queries = (n, &queries[head * self.layout.head_dim..], step);
        let scale = self.layout.scale() as f32;
        kv_cache::scores(cache, self.shared(head), queries, scale, scores);
    }

    fn scores_to_weights(&self, cache: &KvCache, head: usize, scores: &mut [f32]) {
        let sums = cache.sums.get(head..).unwrap_or_default();
        let of_head = self.standard.scores(head, (sums, self.layout.heads));
        of_head.last_scores_to_weights(scores, kv_cache::score_step(cache), cache.tokens);
    }

    fn apply_weights(&self, cache: &KvCache, head: usize, weights: &[f32], heads: &mut [f32]) {
        let heads = &mut heads[head * self.layout.head_dim..];
        kv_cache::apply_weights(
            cache,
            self.shared(head),
            weights,
            heads,
            self.layout.width(),
        );
    }

    /// The head of keys and values that a head compares with, and its width.
    fn shared(&self, head: usize) -> (usize, usize) {
        (head / self.layout.group(), self.layout.head_dim)
    }
}

/// Rows of the heads combined by a `[heads, heads]` matrix.
fn mixed(
    matrix: &Tensor<(usize, usize), f32, Cpu>,
    of: impl Iterator<Item = Scratch>,
) -> Vec<Scratch> {
    let of: Vec<Scratch> = of.collect();
    let mut mixed: Vec<Scratch> = of.iter().map(|one| Scratch::new(one.len())).collect();
    let of: Vec<&[f32]> = of.iter().map(|one| &**one).collect();
    let mut to: Vec<&mut [f32]> = mixed.iter_mut().map(|one| &mut **one).collect();
    mix(host(matrix), &of, &mut to);
    mixed
}

impl CachedLayer for CachedAttention<'_> {
    fn width(&self) -> usize {
        let of_heads = self.forget.iter().count() + self.beta.iter().count();
        2 * self.layout.kv_width() + of_heads * self.layout.heads
    }

    fn queries_width(&self) -> usize {
        self.layout.width() + self.layout.gates()
    }

    fn heads_width(&self) -> usize {
        self.layout.width()
    }

    fn cache_entries(&self, normed: &[f32], positions: &[usize], entries: &mut [f32]) {
        let (kv, width) = (self.layout.kv_width(), self.width());
        apply(&self.key, normed, entries, width);
        apply(&self.value, normed, &mut entries[kv..], width);
        if let Some(forget) = &self.forget {
            apply(forget, normed, &mut entries[2 * kv..], width);
        }
        if let Some(beta) = &self.beta {
            let column = width - self.layout.heads;
            project(beta, normed, &mut entries[column..], width);
        }
        for (entry, &position) in entries.chunks_exact_mut(width).zip(positions) {
            self.transform.apply(&mut entry[..kv], Side::Keys, position);
        }
    }

    fn append(&self, cache: &mut KvCache, entries: &[f32]) {
        if self.forget.is_none() && self.beta.is_none() {
            let (kv, head_dim) = (self.layout.kv_width(), self.layout.head_dim);
            return kv_cache::append(cache, entries, kv, head_dim);
        }
        let mut own = Scratch::new(self.width());
        for entry in entries.chunks_exact(self.width()) {
            own.copy_from_slice(entry);
            self.append_one(cache, &mut own);
        }
    }

    fn queries(&self, normed: &[f32], positions: &[usize], queries: &mut [f32]) {
        let (width, step) = (self.layout.width(), self.queries_width());
        apply(&self.query, normed, queries, step);
        if let Some(gate) = &self.gate {
            project(gate, normed, &mut queries[width..], step);
        }
        for (queries, &position) in queries.chunks_exact_mut(step).zip(positions) {
            (self.transform).apply(&mut queries[..width], Side::Queries, position);
        }
    }

    fn attend(&self, cache: &KvCache, queries: &[f32], heads: &mut [f32]) {
        let (width, step) = (self.layout.width(), self.queries_width());
        (self.attend)(cache, (queries, step), heads);
        if self.gate.is_some() {
            gate::close(heads, width, (&queries[width..], step - width, step));
        }
    }

    fn project(&self, heads: &[f32], out: &mut [f32]) {
        apply(&self.proj, heads, out, self.proj.1.len());
    }
}
