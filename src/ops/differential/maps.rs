//! The attention maps of differential attention: for every head the difference of its two maps.

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::head::Lambda;
use super::{DifferentialWeights, assert_halves};
use crate::ops::Stream;
use crate::ops::attention::{Scoring, compare};
use crate::ops::maps::{HeadMap, normed, on_host, projected};
use crate::ops::parameters::LayerNorm;

/// Attention map of each head over one document: `x: [tokens, EMBED]` is the input of the sublayer.
///
/// These are the weights of values in [`super::DifferentialOp::try_differential`] without dropout, before
/// the norm of a head's output: each row adds up to `1 − λ`, and some weights are negative.
pub fn maps<const EMBED: usize, const HEAD_DIM: usize, N: Dtype, D: Device<N>>(
    x: &Stream<EMBED, N, D>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &DifferentialWeights<EMBED, HEAD_DIM, N, D>,
) -> Vec<HeadMap> {
    const { assert_halves(EMBED, HEAD_DIM) };
    let x = normed(&on_host(x), norm);
    let (query, key) = (&weights.projections.query, &weights.projections.key);
    let both = [projected(&x, query), projected(&x, key)];
    let lambda = Lambda::of(&on_host(&weights.lambda)).value;
    let of_half = |half: usize| {
        // The channels of this half in each head, heads side by side.
        let [queries, keys] = both.each_ref().map(|rows| -> Vec<f32> {
            let halves = rows.chunks_exact(HEAD_DIM / 2);
            halves.skip(half).step_by(2).flatten().copied().collect()
        });
        compare(
            [&queries, &keys],
            [EMBED / HEAD_DIM; 2],
            HEAD_DIM / 2,
            Scoring::SOFTMAX,
        )
    };
    let mut maps = of_half(0);
    for (map, second) in maps.iter_mut().zip(of_half(1)) {
        let pairs = map.weights.iter_mut().zip(second.weights);
        pairs.for_each(|(first, second)| *first -= lambda * second);
    }
    maps
}
