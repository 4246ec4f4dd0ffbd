//! Talking heads: scores are mixed over the heads before they become weights, and weights before they weigh values, each
//! by a learned matrix (Shazeer et al. 2020, Talking-Heads Attention, §3).

use dfdx::shapes::Dtype;
use dfdx::tensor::{Cpu, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::head_attention::DocumentAttention;
use super::heads::{DocumentHead, VALUES};
use super::separate_heads::SeparateHeads;
use super::{AttentionWeights, Layout};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Target, View};
use crate::ops::kernels::rows::{LANES, sum_of, weighted_sum, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::cut;
use crate::ops::parameters::named_weights;
use crate::ops::residual::Parameter;

/// The two matrices, `[heads, heads]`, initially the identity: row h has the weights by which the mixed head h
/// combines the heads.
#[derive(Clone, Debug)]
pub struct TalkingWeights<N: Dtype, D: Storage<N>> {
    /// Of scores.
    pub before: Tensor<(usize, usize), N, D>,
    /// Of weights.
    pub after: Tensor<(usize, usize), N, D>,
}

named_weights! {
    impl [] TalkingWeights<> {
        before: "pre_softmax_talking_heads.weight",
        after: "post_softmax_talking_heads.weight",
    }
}

impl<N: Dtype, D: Device<N>> TalkingWeights<N, D> {
    /// All zero.
    pub fn zeros(device: &D, layout: &Layout) -> Result<Self, D::Err> {
        let shape = (layout.heads, layout.heads);
        Ok(Self {
            before: device.try_zeros_like(&shape)?,
            after: device.try_zeros_like(&shape)?,
        })
    }
}

/// Heads with a single attention map each, which talk to each other.
pub struct TalkingHeads {
    heads: SeparateHeads,
    weights: TalkingWeights<f32, Cpu>,
}

/// The mixed matrices: `mixed[h] = Σ matrix[h, k] of[k]`, all of the same length.
pub(super) fn mix(matrix: &[f32], of: &[&[f32]], mixed: &mut [&mut [f32]]) {
    let (cells, mut first) = (of[0].len(), 0);
    while first < cells {
        first += match cells - first {
            64.. => mix_cells::<64>(matrix, of, mixed, first),
            LANES.. => mix_cells::<LANES>(matrix, of, mixed, first),
            _ => mix_cells::<1>(matrix, of, mixed, first),
        };
    }
}

/// The same for `COUNT` cells from the `first` on, whose sums fit in registers; returns their number.
fn mix_cells<const COUNT: usize>(
    matrix: &[f32],
    of: &[&[f32]],
    mixed: &mut [&mut [f32]],
    first: usize,
) -> usize {
    wide!(
        for (weights, mixed) in matrix.chunks_exact(of.len()).zip(mixed.iter_mut()) {
            let cells = of
                .iter()
                .map(|of| of[first..].first_chunk().expect("cells of a head"));
            let sums: [f32; COUNT] = weighted_sum(cells, weights);
            mixed[first..first + COUNT].copy_from_slice(&sums);
        }
    );
    COUNT
}

/// The same for slices with the maps of all heads one after another. Elements beyond the end of the shorter maps are left
/// out.
pub(super) fn mix_heads(matrix: &[f32], of: &[f32], mixed: &mut [f32]) {
    let heads = matrix.len().isqrt();
    let [of_step, mixed_step] = [of.len(), mixed.len()].map(|length| length / heads);
    let cells = of_step.min(mixed_step);
    let of: Vec<&[f32]> = of.chunks_exact(of_step).map(|of| &of[..cells]).collect();
    let mixed = mixed.chunks_exact_mut(mixed_step);
    let mut mixed: Vec<&mut [f32]> = mixed.map(|mixed| &mut mixed[..cells]).collect();
    mix(matrix, &of, &mut mixed);
}

/// The gradient of what was mixed, `Σ matrix[h, k] d[h]`; accumulates that of the matrix.
fn mix_backward(matrix: &[f32], of: &[&[f32]], d: &[Scratch], dmatrix: &mut [f32]) -> Vec<Scratch> {
    let heads = of.len();
    wide!({
        for (row, d) in dmatrix.chunks_exact_mut(heads).zip(d) {
            (row.iter_mut().zip(of)).for_each(|(to, of)| *to += sum_of(d, of, |d, x| d * x));
        }
    });
    let columns = (0..heads).flat_map(|k| matrix[k..].iter().step_by(heads));
    let transposed: Vec<f32> = columns.copied().collect();
    let d: Vec<&[f32]> = d.iter().map(|d| &**d).collect();
    let mut sums: Vec<Scratch> = d.iter().map(|d| Scratch::new(d.len())).collect();
    let mut to: Vec<&mut [f32]> = sums.iter_mut().map(|sum| &mut **sum).collect();
    mix(&transposed, &d, &mut to);
    sums
}

impl TalkingHeads {
    pub fn new<const EMBED: usize>(
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        of: &TalkingWeights<f32, Cpu>,
        context: usize,
    ) -> Self {
        Self {
            heads: SeparateHeads::new(weights, context),
            weights: of.clone(),
        }
    }

    /// Lengths of what a document keeps, of each head: scores, what became of the mixed ones, mixed weights.
    fn lengths(head: &DocumentHead) -> [usize; 3] {
        [head.cells(), head.saved_len(), head.cells()]
    }

    /// The same for all heads, in that order.
    fn split<'k>(head: &DocumentHead, kept: &'k [f32]) -> [Vec<&'k [f32]>; 3] {
        let (heads, mut rest) = (head.layout.heads, kept);
        Self::lengths(head).map(|length| {
            let (own, after) = rest.split_at(heads * length);
            rest = after;
            own.chunks_exact(length).collect()
        })
    }
}

impl DocumentAttention for TalkingHeads {
    fn parameters(&self) -> Vec<&dyn Parameter> {
        let own: [&dyn Parameter; 2] = [&self.weights.before, &self.weights.after];
        (self.heads.parameters().into_iter()).chain(own).collect()
    }

    fn saved_len(&self, heads: &[DocumentHead]) -> usize {
        let of_head = |head: &DocumentHead| Self::lengths(head).iter().sum::<usize>();
        heads.iter().map(of_head).sum()
    }

    fn attend(
        &self,
        heads: &[DocumentHead],
        qkv: &[f32],
        kept: &mut [f32],
        (out, of_out): (&mut [f32], usize),
    ) {
        let lengths = Self::lengths(&heads[0]);
        let [scores, maps, mixed] = cut(lengths.map(|length| length * heads.len()), kept);
        let [cells, of_map, _] = lengths;
        for (head, scores) in heads.iter().zip(scores.chunks_exact_mut(cells)) {
            let keys = &self.heads.transposed_keys(head, qkv)[0];
            self.heads.products(head, (0, keys), qkv, scores);
            head.hide(scores);
        }
        mix_heads(host(&self.weights.before), scores, maps);
        for (head, map) in heads.iter().zip(maps.chunks_exact_mut(of_map)) {
            self.heads.scores_to_weights(head, 0, qkv, map);
        }
        mix_heads(host(&self.weights.after), maps, mixed);
        for (head, weights) in heads.iter().zip(mixed.chunks_exact(cells)) {
            let width = head.layout.head_dim;
            let values = head.packed(head.views(qkv, 0)[VALUES], width);
            let out = &mut out[head.index * width..];
            head.apply_weights(weights, &values, Target::set(out, of_out));
        }
    }

    fn attend_backward(
        &self,
        heads: &[DocumentHead],
        (qkv, kept): (&[f32], &[f32]),
        (dout, of_out): (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let count = heads.len() * heads.len();
        let of_standard = of_parameters.len() - 2 * count;
        let [of_standard, of_before, of_after] = cut([of_standard, count, count], of_parameters);
        let [scores, maps, mixed] = Self::split(&heads[0], kept);
        let dmixed = heads.iter().zip(mixed).map(|(head, weights)| {
            let width = head.layout.head_dim;
            let values = head.packed_transpose(head.views(qkv, 0)[VALUES], width);
            let dvalues = head.gradient(VALUES, 0, dqkv);
            let dout = View::rows(&dout[head.index * width..], of_out);
            let mut d = head.apply_weights_backward(weights, &values, dout, dvalues);
            head.hide(&mut d);
            d
        });
        let dmixed: Vec<Scratch> = dmixed.collect();
        let weights: Vec<&[f32]> = maps.iter().map(|map| &map[..heads[0].cells()]).collect();
        let mut dmaps = mix_backward(host(&self.weights.after), &weights, &dmixed, of_after);
        for ((head, map), d) in heads.iter().zip(maps).zip(&mut dmaps) {
            let map = (0, qkv, map);
            (self.heads).map_backward(head, map, d, dqkv, of_standard);
        }
        let dscores = mix_backward(host(&self.weights.before), &scores, &dmaps, of_before);
        for (head, d) in heads.iter().zip(dscores) {
            let keys = &self.heads.packed_keys(head, qkv)[0];
            (self.heads).products_backward(head, (0, keys), (qkv, &*d), dqkv, of_standard);
        }
    }

    fn finish(&self, of_parameters: &mut [f32]) {
        let own = self.weights.before.elements().len() + self.weights.after.elements().len();
        let of_standard = of_parameters.len() - own;
        self.heads.finish(&mut of_parameters[..of_standard]);
    }
}
