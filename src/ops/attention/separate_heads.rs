//! Heads that are computed one after another, forward and backward: scores of queries with keys or with positions, one map
//! or the difference of two, and the weighted sum of values.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, Tensor};

use super::delta::{self, Correction};
use super::differential::Difference;
use super::head_attention::DocumentAttention;
use super::head_scores::{Addend, HeadScores};
use super::heads::{DocumentHead, KEYS, QUERIES, VALUES, step};
use super::qk_norm::{Gain, QkNorm, normalise, normalise_backward};
use super::relative::{self, BUCKETS};
use super::scoring::Bias;
use super::synthesizer::PositionTable;
use super::{AttentionWeights, Layout};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Packed, Target, View};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{cut, take};
use crate::ops::residual::Parameter;

/// The heads of a sublayer, and what they have learned besides the projections.
pub struct SeparateHeads {
    layout: Layout,
    sinks: Option<Tensor<(usize,), f32, Cpu>>,
    relative: Option<Tensor<(Const<BUCKETS>, usize), f32, Cpu>>,
    /// For each head what relative positions add, by distance.
    by_distance: Vec<Vec<f32>>,
    /// Of heads with two maps.
    difference: Option<Difference>,
    /// In place of keys.
    positions: Option<PositionTable>,
}

impl SeparateHeads {
    /// For documents of at most `context` tokens.
    pub fn new<const EMBED: usize>(
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        context: usize,
    ) -> Self {
        let layout = weights.layout;
        let by_distance = weights.relative.as_ref().map_or(vec![], |table| {
            let of_head = |head| relative::by_distance(host(table), (head, layout.heads), context);
            (0..layout.heads).map(of_head).collect()
        });
        Self {
            layout,
            sinks: weights.sinks.clone(),
            relative: weights.relative.clone(),
            by_distance,
            difference: weights.difference.as_ref().map(Difference::new),
            positions: weights.positions.as_ref().map(PositionTable::new),
        }
    }

    /// In place of keys.
    pub fn positions(&self) -> Option<&PositionTable> {
        self.positions.as_ref()
    }

    /// How a map of a head makes weights of scores, given the running sums of the head's forget gates and their stride.
    pub fn scores(&self, [head, map]: [usize; 2], (sums, step): (&[f32], usize)) -> HeadScores<'_> {
        let (scoring, heads) = (self.layout.scoring, self.layout.heads);
        let sink = match &self.sinks {
            Some(learned) => host(learned)[head * self.layout.maps() + map],
            None => 0.0,
        };
        HeadScores {
            scoring,
            addend: match scoring.bias {
                None => Addend::None,
                Some(Bias::Alibi | Bias::Decay) => Addend::Slope(scoring.slope(head, heads) as f32),
                Some(Bias::Relative) => Addend::ByDistance(&self.by_distance[head]),
                Some(Bias::Forget { .. }) => {
                    Addend::Growth(sums.iter().step_by(step).copied().collect())
                }
            },
            sink: scoring.sink.map(|_| sink),
        }
    }

    /// The same, where the sums are among the columns of a document.
    fn scores_of(&self, head: &DocumentHead, map: usize, qkv: &[f32]) -> HeadScores<'_> {
        let sums = head.forget..head.forget + (head.keys - 1) * head.kv_step + 1;
        let sums = qkv.get(sums).unwrap_or_default();
        self.scores([head.index, map], (sums, head.kv_step))
    }

    /// The keys of a map, or what takes their place.
    fn keys<'a>(&'a self, head: &DocumentHead, map: usize, qkv: &'a [f32]) -> View<'a> {
        let keys = || head.views(qkv, map)[KEYS];
        self.positions
            .as_ref()
            .map_or_else(keys, PositionTable::keys)
    }

    /// The keys of each map, transposed, for the products of all parts of a head.
    pub fn transposed_keys<'a>(&'a self, head: &DocumentHead, qkv: &'a [f32]) -> Vec<Packed<'a>> {
        let width = head.layout.compared();
        let of_map = |map| head.packed_transpose(self.keys(head, map, qkv), width);
        (0..head.layout.maps()).map(of_map).collect()
    }

    /// Writes the scores of a map, at and below the diagonal, given its keys, transposed.
    pub fn products(
        &self,
        head: &DocumentHead,
        (map, keys): (usize, &Packed<'_>),
        qkv: &[f32],
        scores: &mut [f32],
    ) {
        let [q, ..] = head.views(qkv, map);
        let bias = (self.positions.as_ref()).map(|table| table.bias(keys.columns()));
        head.products(q, keys, Target::biased(scores, step(head.keys), bias));
    }

    /// The maps of a head or a part of one, and what else their backward pass needs.
    fn maps(&self, part: &DocumentHead, keys: &[Packed<'_>], qkv: &[f32], maps: &mut [f32]) {
        let maps = maps.chunks_exact_mut(part.saved_len());
        for (map, (keys, kept)) in keys.iter().zip(maps).enumerate() {
            self.products(part, (map, keys), qkv, kept);
            self.scores_to_weights(part, map, qkv, kept);
        }
    }

    /// From scores to the weights of a map, in place.
    pub fn scores_to_weights(
        &self,
        head: &DocumentHead,
        map: usize,
        qkv: &[f32],
        saved: &mut [f32],
    ) {
        head.scores_to_weights(&self.scores_of(head, map, qkv), saved);
    }

    /// From two maps to the weights of values, for heads that subtract the second.
    pub fn difference(&self, first: &[f32], second: &[f32]) -> Option<Scratch> {
        self.difference.as_ref().map(|of| of.of(first, second))
    }

    /// The norm of heads' outputs, one after another, in place, if they have one.
    pub fn norm(&self, heads: &mut [f32]) {
        match &self.difference {
            Some(difference) => difference.norm(heads),
            None if self.layout.head_norm => {
                normalise(QkNorm::Rms, Gain::One, heads, self.layout.head_dim);
            }
            None => {}
        }
    }

    /// Number of elements of a head's maps, or of those of a part.
    fn maps_len(head: &DocumentHead) -> usize {
        head.layout.maps() * head.saved_len()
    }

    /// Lengths of what is kept: the maps, what the delta rule keeps, and the output before its norm.
    fn lengths(head: &DocumentHead) -> [usize; 3] {
        let layout = &head.layout;
        let of_maps = if head.is_kept() {
            Self::maps_len(head)
        } else {
            0
        };
        let of_delta = match layout.delta {
            true => delta::kept_len(head),
            false => 0,
        };
        let of_norm = usize::from(layout.has_norm()) * head.queries * layout.head_dim;
        [of_maps, of_delta, of_norm]
    }

    /// What is learned: sinks, relative positions, λ, the gain of the norm, and keys of positions with their bias.
    fn learned(&self) -> [Option<&dyn Parameter>; 6] {
        fn one<P: Parameter>(parameter: &Option<P>) -> Option<&dyn Parameter> {
            parameter.as_ref().map(|one| one as &dyn Parameter)
        }
        let none = [None; 2];
        let [lambda, gain] =
            (self.difference.as_ref()).map_or(none, |of| of.parameters().map(Some));
        let [w2, b2] = (self.positions.as_ref()).map_or(none, |of| of.parameters().map(Some));
        [one(&self.sinks), one(&self.relative), lambda, gain, w2, b2]
    }

    /// Their gradients, concatenated.
    fn split<'a>(&self, of_parameters: &'a mut [f32]) -> [&'a mut [f32]; 6] {
        let length = |one: Option<&dyn Parameter>| one.map_or(0, |one| one.elements().len());
        cut(self.learned().map(length), of_parameters)
    }

    /// From the gradient of a map to that of its scores, in place; accumulates those of the bias and the sink.
    pub fn map_backward(
        &self,
        head: &DocumentHead,
        (map, qkv, kept): (usize, &[f32], &[f32]),
        dmap: &mut [f32],
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let scores = self.scores_of(head, map, qkv);
        let mut added = vec![];
        let mut of_addend = scores.addend.gradient(&mut added, head.keys);
        let of_sink = head.scores_to_weights_backward(&scores, kept, dmap, &mut of_addend);
        let [of_sinks, of_relative, ..] = self.split(of_parameters);
        if let Some(to) = of_sinks.get_mut(head.index * self.layout.maps() + map) {
            *to += of_sink;
        }
        match scores.addend {
            Addend::Growth(_) => head.add_to_sums(&added, dqkv),
            _ => {
                for (distance, d) in added.into_iter().enumerate() {
                    of_relative[relative::bucket(distance) * self.layout.heads + head.index] += d;
                }
            }
        }
    }

    /// The keys of each map, for the backward pass of the products of all parts of a head.
    pub fn packed_keys<'a>(&'a self, head: &DocumentHead, qkv: &'a [f32]) -> Vec<Packed<'a>> {
        let width = head.layout.compared();
        let of_map = |map| head.packed(self.keys(head, map, qkv), width);
        (0..head.layout.maps()).map(of_map).collect()
    }

    /// The gradients of queries and keys, given the keys and the gradient of the scores of a map.
    pub fn products_backward(
        &self,
        head: &DocumentHead,
        (map, keys): (usize, &Packed<'_>),
        (qkv, dscores): (&[f32], &[f32]),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let [q, ..] = head.views(qkv, map);
        head.queries_gradient(dscores, keys, head.gradient(QUERIES, map, dqkv));
        let [.., of_table, of_bias] = self.split(of_parameters);
        match &self.positions {
            None => head.keys_gradient(dscores, q, head.gradient(KEYS, map, dqkv)),
            Some(table) => table.backward(head, q, dscores, [of_table, of_bias]),
        }
    }

    /// The gradient of a head's output before its norm, given that of the output with row stride `step`; `None` without
    /// a norm.
    fn norm_backward(
        &self,
        weighted: &[f32],
        (dout, step): (&[f32], usize),
        of_parameters: &mut [f32],
    ) -> Option<Scratch> {
        if !self.layout.has_norm() {
            return None;
        }
        let (width, mut dweighted) = (self.layout.head_dim, Scratch::new(weighted.len()));
        let [_, _, _, of_gain, ..] = self.split(of_parameters);
        let rows = dweighted.chunks_exact_mut(width).zip(dout.chunks(step));
        for ((d, dout), row) in rows.zip(weighted.chunks_exact(width)) {
            d.copy_from_slice(&dout[..width]);
            match &self.difference {
                Some(difference) => difference.norm_backward(d, row, of_gain),
                None => normalise_backward(QkNorm::Rms, Gain::One, (d, row), width, &mut []),
            }
        }
        Some(dweighted)
    }

    /// The delta rule for a head.
    fn correction<'a>(&'a self, head: &'a DocumentHead, qkv: &'a [f32]) -> Correction<'a> {
        let scores = self.scores_of(head, 0, qkv);
        Correction { head, scores, qkv }
    }

    /// The values that are weighted.
    fn values<'a>(head: &DocumentHead, qkv: &'a [f32], of_delta: &'a [f32]) -> View<'a> {
        match head.layout.delta {
            true => delta::corrected(head, of_delta),
            false => head.views(qkv, 0)[VALUES],
        }
    }

    /// Writes what backward needs of one head, and its output: `[queries, head_dim]` with row stride `step`.
    fn attend_one(
        &self,
        head: &DocumentHead,
        qkv: &[f32],
        kept: &mut [f32],
        (out, step): (&mut [f32], usize),
    ) {
        let (layout, width) = (&head.layout, head.layout.head_dim);
        let [kept, of_delta, weighted] = cut(Self::lengths(head), kept);
        if layout.delta {
            self.correction(head, qkv).forward(of_delta);
        }
        let keys = self.transposed_keys(head, qkv);
        let values = head.packed(Self::values(head, qkv, of_delta), width);
        for part in head.parts() {
            let mut not_kept = not_kept(&part, kept.len());
            let maps = not_kept.as_deref_mut().unwrap_or(kept);
            self.maps(&part, &keys, qkv, maps);
            let (first, second) = maps.split_at(part.saved_len());
            let difference = self.difference(first, second);
            let weights = difference.as_deref().unwrap_or(first);
            let out = &mut out[part.first_key * step..];
            if !layout.has_norm() {
                part.apply_weights(weights, &values, Target::set(out, step));
                continue;
            }
            let weighted = &mut weighted[part.rows(width)];
            part.apply_weights(weights, &values, Target::set(weighted, width));
            for (row, out) in weighted.chunks_exact(width).zip(out.chunks_mut(step)) {
                out[..width].copy_from_slice(row);
                self.norm(&mut out[..width]);
            }
        }
    }

    /// Backward of [`Self::attend_one`]: accumulates the gradients of keys and values if another head of the group has
    /// written them already.
    fn attend_one_backward(
        &self,
        head: &DocumentHead,
        (qkv, kept): (&[f32], &[f32]),
        (dout, step): (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let (delta, width) = (head.layout.delta, head.layout.head_dim);
        let [of_maps, of_delta, _] = Self::lengths(head);
        let (kept, rest) = kept.split_at(of_maps);
        let (of_delta, weighted) = rest.split_at(of_delta);
        let keys = self.packed_keys(head, qkv);
        let transposed = match head.is_kept() {
            true => vec![],
            false => self.transposed_keys(head, qkv),
        };
        let values = head.packed_transpose(Self::values(head, qkv, of_delta), width);
        let mut dcorrected = Scratch::zeros(if delta { head.keys * width } else { 0 });
        if !head.is_kept() && !head.accumulate_kv {
            head.clear_gradients(dqkv);
        }
        for part in head.parts() {
            let recomputed = not_kept(&part, kept.len()).map(|mut maps| {
                self.maps(&part, &transposed, qkv, &mut maps);
                maps
            });
            let maps = recomputed.as_deref().unwrap_or(kept);
            let (first, second) = maps.split_at(part.saved_len());
            let dout = &dout[part.first_key * step..];
            let weighted = weighted.get(part.rows(width)).unwrap_or_default();
            let dweighted = self.norm_backward(weighted, (dout, step), of_parameters);
            let dout = match &dweighted {
                Some(dweighted) => View::rows(dweighted, width),
                None => View::rows(dout, step),
            };
            let target = match delta {
                true => Target::set(&mut dcorrected, width).adding(!head.is_kept()),
                false => part.gradient(VALUES, 0, dqkv),
            };
            let difference = self.difference(first, second);
            let weights = difference.as_deref().unwrap_or(first);
            let dfirst = part.apply_weights_backward(weights, &values, dout, target);
            let dsecond = self.difference.as_ref().map(|of| {
                let [_, _, of_vectors, ..] = self.split(of_parameters);
                of.backward(&part, second, &dfirst, of_vectors)
            });
            let maps = [first, second].into_iter().zip([Some(dfirst), dsecond]);
            for (map, ((kept, d), keys)) in maps.zip(&keys).enumerate() {
                let Some(mut d) = d else { continue };
                self.map_backward(&part, (map, qkv, kept), &mut d, dqkv, of_parameters);
                let (keys, d) = ((map, keys), (qkv, &*d));
                self.products_backward(&part, keys, d, dqkv, of_parameters);
            }
        }
        if delta {
            let correction = self.correction(head, qkv);
            correction.backward(of_delta, &mut dcorrected, dqkv);
        }
    }
}

/// Room for the maps of a part, unless the head's maps are kept.
fn not_kept(part: &DocumentHead, kept: usize) -> Option<Scratch> {
    (kept == 0).then(|| Scratch::new(SeparateHeads::maps_len(part)))
}

/// Heads that are computed one after another.
impl DocumentAttention for SeparateHeads {
    fn parameters(&self) -> Vec<&dyn Parameter> {
        self.learned().into_iter().flatten().collect()
    }

    fn saved_len(&self, heads: &[DocumentHead]) -> usize {
        let of_head = |head: &DocumentHead| Self::lengths(head).iter().sum::<usize>();
        heads.iter().map(of_head).sum()
    }

    fn attend(
        &self,
        heads: &[DocumentHead],
        qkv: &[f32],
        mut kept: &mut [f32],
        (out, step): (&mut [f32], usize),
    ) {
        for head in heads {
            let kept = take(&mut kept, Self::lengths(head).iter().sum());
            let out = &mut out[head.index * head.layout.head_dim..];
            self.attend_one(head, qkv, kept, (out, step));
        }
    }

    fn attend_backward(
        &self,
        heads: &[DocumentHead],
        (qkv, mut kept): (&[f32], &[f32]),
        (dout, step): (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        for head in heads {
            let (own, rest) = kept.split_at(Self::lengths(head).iter().sum());
            kept = rest;
            let dout = (&dout[head.index * head.layout.head_dim..], step);
            self.attend_one_backward(head, (qkv, own), dout, dqkv, of_parameters);
        }
    }

    fn finish(&self, of_parameters: &mut [f32]) {
        if let Some(table) = &self.positions {
            let [.., of_table, _] = self.split(of_parameters);
            table.finish(of_table);
        }
    }
}
