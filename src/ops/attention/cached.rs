//! How an attention sublayer caches keys and values and attends to them, as functions of its streams, after the norm where
//! it applies.
//!
//! `incremental.rs` is the sublayer around it, `kv_cache.rs` the layout of a cache in memory.

use dfdx::tensor::Cpu;

use super::heads::step;
use super::kv_cache::KvCache;
use super::scoring::Bias;
use super::separate_heads::SeparateHeads;
use super::synthesizer::PositionWeights;
use super::talking_heads::{TalkingWeights, mix_heads};
use super::transform::{HeadTransform, Side};
use super::{AttentionWeights, Layout, forget, gate, kv_cache};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Packed, Part, Pass, Target, View, multiply};
use crate::ops::kernels::rows::{sigmoid, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::{PackedLinear, apply, pack_linear};

/// The projections, packed, and how heads attend to a cache.
///
/// An entry of the cache has keys (unless positions replace them) and values side by side, then the forget gates of a
/// token and β of the delta rule, if there are any. A row of queries has queries, then the gates of the heads' outputs.
pub struct CachedAttention<'a> {
    layout: Layout,
    key: Option<PackedLinear<'a>>,
    value: PackedLinear<'a>,
    query: PackedLinear<'a>,
    proj: PackedLinear<'a>,
    forget: Option<PackedLinear<'a>>,
    beta: Option<PackedLinear<'a>>,
    gate: Option<PackedLinear<'a>>,
    transform: HeadTransform,
    heads: CachedHeads<'a>,
}

impl<'a> CachedAttention<'a> {
    /// For sequences of at most `context` tokens.
    pub fn new<const EMBED: usize>(
        weights: &'a AttentionWeights<EMBED, f32, Cpu>,
        context: usize,
    ) -> Self {
        let forward = Pass::Forward;
        Self {
            layout: weights.layout,
            key: weights
                .key
                .as_ref()
                .map(|layer| pack_linear(layer, forward)),
            value: pack_linear(&weights.value, forward),
            query: pack_linear(weights.to_queries(), forward),
            proj: pack_linear(&weights.proj, forward),
            forget: (weights.forget.as_ref()).map(|layer| pack_linear(layer, forward)),
            beta: (weights.beta.as_ref()).map(|layer| pack_linear(layer, forward)),
            gate: (weights.gate.as_ref()).map(|layer| pack_linear(layer, forward)),
            transform: HeadTransform::new(weights, context),
            heads: CachedHeads {
                layout: weights.layout,
                heads: SeparateHeads::new(weights, context),
                talking: weights.talking.as_ref(),
                position_scores: weights.positions.as_ref().map(pack_positions),
            },
        }
    }

    /// Number of elements of a token's cache entry.
    pub fn width(&self) -> usize {
        let of_heads = self.forget.iter().count() + self.beta.iter().count();
        self.kv_entry() + of_heads * self.layout.heads
    }

    /// Width of a row of queries and of what goes with them.
    pub fn queries_width(&self) -> usize {
        self.layout.width() + self.layout.gates()
    }

    /// Total width of the heads' outputs.
    pub fn heads_width(&self) -> usize {
        self.layout.width()
    }

    /// Cache entries of tokens at `positions`: `[tokens, EMBED]` → `[tokens, width]`, written.
    pub fn cache_entries(&self, x: &[f32], positions: &[usize], entries: &mut [f32]) {
        let (kv, width) = (self.kv_entry(), self.width());
        let values = kv - self.layout.kv_width();
        if let Some(key) = &self.key {
            apply(key, x, entries, width);
        }
        apply(&self.value, x, &mut entries[values..], width);
        if let Some(forget) = &self.forget {
            apply(forget, x, &mut entries[kv..], width);
        }
        if let Some(beta) = &self.beta {
            let column = width - self.layout.heads;
            apply(beta, x, &mut entries[column..], width);
        }
        for (entry, &position) in entries.chunks_exact_mut(width).zip(positions) {
            (self.transform).apply(&mut entry[..values], Side::Keys, position);
        }
    }

    /// Appends the entries of a sequence's next tokens, `[tokens, width]`, to its cache.
    pub fn append(&self, cache: &mut KvCache, entries: &[f32]) {
        if self.forget.is_none() && self.beta.is_none() {
            return self.append_kv(cache, entries);
        }
        let mut own = Scratch::new(self.width());
        for entry in entries.chunks_exact(self.width()) {
            own.copy_from_slice(entry);
            self.append_one(cache, &mut own);
        }
    }

    /// Queries of tokens at `positions`, `[tokens, EMBED]` → `[tokens, queries_width]`, written.
    pub fn queries(&self, x: &[f32], positions: &[usize], queries: &mut [f32]) {
        let (width, step) = (self.layout.width(), self.queries_width());
        apply(&self.query, x, queries, step);
        if let Some(gate) = &self.gate {
            apply(gate, x, &mut queries[width..], step);
        }
        for (queries, &position) in queries.chunks_exact_mut(step).zip(positions) {
            (self.transform).apply(&mut queries[..width], Side::Queries, position);
        }
    }

    /// The heads' outputs for the last queries of a sequence, whose keys are all cached: `[queries, queries_width]` →
    /// `[queries, heads_width]`, written.
    pub fn attend(&self, cache: &KvCache, queries: &[f32], heads: &mut [f32]) {
        let (width, step) = (self.layout.width(), self.queries_width());
        self.heads.attend(cache, (queries, step), heads);
        if self.gate.is_some() {
            gate::apply(heads, width, (&queries[width..], step - width, step));
        }
    }

    /// The output projection, `[tokens, heads_width]` → `[tokens, EMBED]`, written.
    pub fn project(&self, heads: &[f32], out: &mut [f32]) {
        apply(&self.proj, heads, out, self.proj.0.columns());
    }

    /// Width of the keys and values of an entry.
    fn kv_entry(&self) -> usize {
        (1 + usize::from(self.layout.has_keys())) * self.layout.kv_width()
    }

    /// Appends keys and values.
    fn append_kv(&self, cache: &mut KvCache, entries: &[f32]) {
        let (kv, head_dim) = (self.layout.kv_width(), self.layout.head_dim);
        match self.key {
            Some(_) => kv_cache::append(cache, entries, kv, head_dim),
            None => kv_cache::append_values(cache, entries, kv),
        }
    }

    /// Appends one token's entry: its forget gates are added up, and its values corrected.
    fn append_one(&self, cache: &mut KvCache, entry: &mut [f32]) {
        let (heads, kv) = (self.layout.heads, self.layout.kv_width());
        let (keys_and_values, gates) = entry.split_at_mut(self.kv_entry());
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
        self.append_kv(cache, keys_and_values);
    }

    /// The delta rule for the values of the next token: see `delta.rs`.
    fn correct(&self, cache: &KvCache, keys: &[f32], values: &mut [f32], beta: &[f32]) {
        let (layout, head_dim) = (&self.layout, self.layout.head_dim);
        let mut retrieved = Scratch::new(head_dim);
        let mut scores = Scratch::new(kv_cache::score_step(cache));
        for (head, values) in values.chunks_exact_mut(head_dim).enumerate() {
            if cache.tokens > 0 {
                let key = &keys[head * head_dim..][..head_dim];
                kv_cache::scores(
                    cache,
                    ((head, head_dim), 0..head_dim),
                    (1, key, head_dim),
                    1.0,
                    &mut scores,
                );
                let sums = (cache.sums.get(head..).unwrap_or_default(), layout.heads);
                let of_head = self.heads.heads.scores([head, 0], sums);
                wide!((of_head.addend).grow(&mut scores[..cache.tokens], cache.tokens, 0));
                kv_cache::apply_weights(cache, (head, head_dim), &scores, &mut retrieved, head_dim);
                (values.iter_mut().zip(&*retrieved)).for_each(|(v, r)| *v -= r);
            }
            let part = sigmoid(beta[head]);
            values.iter_mut().for_each(|v| *v *= part);
        }
    }
}

/// How every head attends to the cache.
struct CachedHeads<'a> {
    layout: Layout,
    heads: SeparateHeads,
    talking: Option<&'a TalkingWeights<f32, Cpu>>,
    /// From the hidden channels of a head to the scores of all positions, without keys.
    position_scores: Option<PackedLinear<'a>>,
}

impl CachedHeads<'_> {
    fn attend(&self, cache: &KvCache, queries: (&[f32], usize), heads: &mut [f32]) {
        match self.talking {
            None => {
                let maps = 0..self.layout.maps();
                let mut maps: Vec<Scratch> = maps
                    .map(|_| Scratch::new(self.cells(cache, heads)))
                    .collect();
                for head in 0..self.layout.heads {
                    for (map, weights) in maps.iter_mut().enumerate() {
                        self.scores(cache, [head, map], queries, weights);
                        self.scores_to_weights(cache, [head, map], weights);
                    }
                    let difference = match &maps[..] {
                        [first, second] => self.heads.difference(first, second),
                        _ => None,
                    };
                    let weights = difference.as_ref().unwrap_or(&maps[0]);
                    self.apply_weights(cache, head, weights, heads);
                }
            }
            Some(talking) => {
                // Two requests for scratch memory, however many heads there are: each takes the lock of the pool.
                let cells = self.cells(cache, heads);
                let [mut maps, mut mixed] =
                    [(); 2].map(|()| Scratch::new(self.layout.heads * cells));
                for (head, scores) in maps.chunks_exact_mut(cells).enumerate() {
                    self.scores(cache, [head, 0], queries, scores);
                }
                mix_heads(host(&talking.before), &maps, &mut mixed);
                for (head, map) in mixed.chunks_exact_mut(cells).enumerate() {
                    self.scores_to_weights(cache, [head, 0], map);
                }
                mix_heads(host(&talking.after), &mixed, &mut maps);
                for (head, weights) in maps.chunks_exact(cells).enumerate() {
                    self.apply_weights(cache, head, weights, heads);
                }
            }
        }
        self.heads.norm(heads);
    }

    /// Row stride of scores.
    fn score_step(&self, cache: &KvCache) -> usize {
        match &self.position_scores {
            Some((table, _)) => step(table.columns()),
            None => kv_cache::score_step(cache),
        }
    }

    /// Number of scores of a head, given the outputs.
    fn cells(&self, cache: &KvCache, heads: &[f32]) -> usize {
        heads.len() / self.layout.width() * self.score_step(cache)
    }

    /// Writes the scores of all queries in a map of a head.
    fn scores(
        &self,
        cache: &KvCache,
        [head, map]: [usize; 2],
        (queries, step): (&[f32], usize),
        scores: &mut [f32],
    ) {
        let (score_step, width) = (self.score_step(cache), self.layout.compared());
        let (n, first) = (scores.len() / score_step, map * width);
        let queries = &queries[head * self.layout.head_dim + first..];
        if let Some((keys, bias)) = &self.position_scores {
            let target = Target::biased(scores, score_step, *bias);
            return multiply(n, View::rows(queries, step), keys, 1.0, Part::Whole, target);
        }
        let (scale, queries) = (self.layout.scale() as f32, (n, queries, step));
        let keys = (self.shared(head), first..first + width);
        kv_cache::scores(cache, keys, queries, scale, scores);
    }

    fn scores_to_weights(&self, cache: &KvCache, [head, map]: [usize; 2], scores: &mut [f32]) {
        let sums = cache.sums.get(head..).unwrap_or_default();
        let of_map = self.heads.scores([head, map], (sums, self.layout.heads));
        of_map.last_scores_to_weights(scores, self.score_step(cache), cache.tokens);
    }

    fn apply_weights(&self, cache: &KvCache, head: usize, weights: &[f32], heads: &mut [f32]) {
        let (shared, width) = (self.shared(head), self.layout.width());
        let heads = &mut heads[head * self.layout.head_dim..];
        if self.position_scores.is_none() {
            return kv_cache::apply_weights(cache, shared, weights, heads, width);
        }
        let columns = (shared.0 * shared.1, shared.1);
        let weights = (weights, self.score_step(cache));
        kv_cache::apply_weights_to_values(cache, columns, weights, Target::set(heads, width));
    }

    /// The head of keys and values that a head compares with, and its width.
    fn shared(&self, head: usize) -> (usize, usize) {
        (head / self.layout.group(), self.layout.head_dim)
    }
}

/// The scores of positions as a linear layer of hidden channels.
fn pack_positions<const EMBED: usize>(
    weights: &PositionWeights<EMBED, f32, Cpu>,
) -> PackedLinear<'_> {
    let (w2, b2) = (host(&weights.w2), host(&weights.b2));
    let packed = Packed::new(View::rows(w2, b2.len()), w2.len() / b2.len(), b2.len());
    (packed, Some(b2))
}
