//! The differential attention sublayer of a pre-norm block: each head subtracts a second attention map from
//! a first, so that noise common to both cancels.

mod cached;
mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod head;
mod maps;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::shapes::{Dtype, Rank1, Rank2};
use dfdx::tensor::{Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::attention::{AttentionDropout, Projections};
use super::decoding::BoxedIncremental;
use super::parameters::{LayerNorm, named_weights};
use crate::data::ragged::Ragged;
pub use maps::maps;

/// λ_init of Ye et al. 2025: the value of λ if the learned vectors cancel; `1 - λ_init` scales the heads'
/// outputs. Here it is the same for all layers, which they found to work as well (§3.8).
pub const LAMBDA_START: f64 = 0.8;

/// Added to the mean square in the norm of a head's output (the authors' value).
const HEAD_NORM_EPSILON: f64 = 1e-5;

/// The weights. Of every vector over a head's channels, the first half belongs to the first map, the second
/// half to the map that is subtracted.
#[derive(Clone, Debug)]
pub struct DifferentialWeights<const EMBED: usize, const HEAD_DIM: usize, N: Dtype, D: Storage<N>> {
    /// To keys, queries and values, and from the heads' outputs back to the stream.
    pub projections: Projections<EMBED, EMBED, N, D>,
    /// λ_q1 and λ_q2 in the first row, λ_k1 and λ_k2 in the second; shared by all heads. The optimiser
    /// applies weight decay to them, and to the gain below.
    pub lambda: Tensor<Rank2<2, HEAD_DIM>, N, D>,
    /// The gain of the norm of a head's output, initially 1; shared by all heads.
    pub head_norm: Tensor<Rank1<HEAD_DIM>, N, D>,
}

// The projections have the same names as in the other kinds.
named_weights! {
    impl [const EMBED: usize, const HEAD_DIM: usize,]
        DifferentialWeights<EMBED, HEAD_DIM>
    {
        key: module("key", projections.key),
        query: module("query", projections.query),
        value: module("value", projections.value),
        proj: module("proj", projections.proj),
        lambda: zeros("lambda"),
        head_norm: ones("head_norm.weight"),
    } => DifferentialWeights {
        projections: Projections { key, query, value, proj },
        lambda,
        head_norm,
    }
}

/// Checks at compile time that the heads add up to the width, and can be split into halves.
const fn assert_halves(embed: usize, head_dim: usize) {
    assert!(embed.is_multiple_of(head_dim), "heads lie side by side");
    assert!(head_dim.is_multiple_of(2), "HEAD_DIM must be even");
}

/// A device that runs the differential attention sublayer over ragged batches.
pub trait DifferentialOp<N: Dtype>: Device<N> {
    /// `y = x + dropout(proj(heads(norm(x))))`, `[tokens, EMBED]` → the same.
    ///
    /// Within each document and head, queries and keys are split into halves q₁, q₂ and k₁, k₂ of d =
    /// HEAD_DIM / 2 channels. Values are weighted by `softmax(q₁k₁ᵀ/√d) − λ softmax(q₂k₂ᵀ/√d)` over the
    /// keys at or before the query, with dropout on these weights, and their sum o becomes
    /// `0.2 g · o / √(mean(o²) + 1e-5)`. `λ = exp(λ_q1·λ_k1) − exp(λ_q2·λ_k2) + 0.8`. Tokens do not attend
    /// across documents. `x` must not be used by another op on a tape: the residual stream is a chain.
    /// HEAD_DIM is even and divides EMBED.
    ///
    /// Source: Ye et al. 2025, Differential Transformer, §2.1, equations 1 to 3. There are as many heads
    /// here as without the subtraction, each with maps of half its width; the authors halve the number of
    /// heads instead. Dropout is an addition for consistency with the other kinds.
    fn try_differential<const EMBED: usize, const HEAD_DIM: usize, T: Tape<N, Self>>(
        x: Stream<EMBED, N, Self, T>,
        norm: &LayerNorm<EMBED, N, Self>,
        weights: &DifferentialWeights<EMBED, HEAD_DIM, N, Self>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same sublayer for incremental decoding; `size` is the number of sequences and the maximum length
    /// of each.
    fn incremental_differential<'a, const EMBED: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, N, Self>,
        weights: &'a DifferentialWeights<EMBED, HEAD_DIM, N, Self>,
        size: (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, N, Self>;
}

#[cfg(test)]
mod tests {
    use dfdx::nn::BuildModule;
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::decoding::tests::check_decoding;
    use crate::ops::dropout::Dropout;
    use crate::ops::maps::tests::{apply_maps, check_output};
    use crate::ops::maps::{normed, on_host, projected};
    use crate::ops::testing::{Case, arbitrary, batch, check_op, on_each_device};

    type Sublayer<const EMBED: usize, const HEAD_DIM: usize, N, D> = (
        LayerNorm<EMBED, N, D>,
        DifferentialWeights<EMBED, HEAD_DIM, N, D>,
    );

    on_each_device!(the_fast_path_is_the_reference, |device| {
        let many: Vec<usize> = (0..40).map(|i| 1 + (i * 5) % 12).collect();
        // Up to two vectors of keys, and more than a panel of the matrix kernel.
        let long = [16, 17, 33, 40];
        let batches = [&[1][..], &[12], &[3, 1, 7], &many, &long];
        check::<12, 4, _>(&device, &batches);
        // Widths that are not a power of two, that fill a warp, and that cover each tile size of the GPU
        // kernels.
        let batches = [&[3, 1, 7][..], &[33, 40]];
        check::<12, 6, _>(&device, &batches);
        check::<64, 32, _>(&device, &batches);
        check::<80, 40, _>(&device, &batches);
        check::<72, 72, _>(&device, &batches);
        check::<128, 128, _>(&device, &batches);
    });

    fn check<const EMBED: usize, const HEAD_DIM: usize, D: DifferentialOp<f32> + 'static>(
        device: &D,
        batches: &[&[usize]],
    ) {
        for lengths in batches {
            for (weights, output) in [
                (Dropout::NONE, Dropout::NONE),
                (Dropout::new(0.3, 1), Dropout::new(0.2, 2)),
            ] {
                let batch = batch(lengths, 9);
                let dropout = AttentionDropout {
                    weights,
                    output,
                    context: 40,
                };
                check_op::<
                    D,
                    EMBED,
                    EMBED,
                    Sublayer<EMBED, HEAD_DIM, f32, D>,
                    Sublayer<EMBED, HEAD_DIM, f64, Cpu>,
                >(Case {
                    device: device.clone(),
                    fast_model: BuildModule::build(device),
                    exact_model: BuildModule::build(&Cpu::default()),
                    fast: &|(norm, weights), x, _| {
                        D::try_differential(x, norm, weights, &batch, dropout)
                    },
                    exact: &|(norm, weights), x, _| {
                        reference::differential(x, norm, weights, &batch, dropout)
                    },
                    plain: &|(norm, weights), x, _| {
                        reference::differential(x, norm, weights, &batch, dropout)
                    },
                    tokens: batch.len(),
                    // The norm divides by what is left when two maps cancel, which amplifies rounding
                    // errors.
                    tolerance: 3e-4,
                });
            }
        }
        check_decoding::<
            D,
            EMBED,
            Sublayer<EMBED, HEAD_DIM, f32, D>,
            Sublayer<EMBED, HEAD_DIM, f64, Cpu>,
        >(
            device,
            &|(norm, weights), rows| D::incremental_differential(norm, weights, (rows, 128)),
            &|(norm, weights), x, batch| {
                let none = AttentionDropout::none(batch.longest());
                reference::differential(x, norm, weights, batch, none)
            },
            // As above; the amplification grows with the number of channels.
            1e-5 * EMBED as f64 / 12.0,
        );
    }

    #[test]
    fn values_blended_by_the_maps_and_normed_are_the_sublayer() {
        for tokens in [1, 13, 40] {
            let mut sublayer: Sublayer<12, 4, f32, Cpu> = BuildModule::build(&Cpu::default());
            let x = arbitrary(&mut sublayer, tokens);
            let (norm, weights) = &sublayer;
            let maps = super::maps(&x, norm, weights);
            let (inside, none) = (on_host(&x), AttentionDropout::none(tokens));
            let values = projected(&normed(&inside, norm), &weights.projections.value);
            let (mut heads, gain) = (apply_maps(&maps, &values), on_host(&weights.head_norm));
            head::norm(&heads.clone(), &gain, &mut heads, 4);
            let batch = batch(&[tokens], 9);
            let given = Cpu::try_differential::<12, 4, _>(x, norm, weights, &batch, none);
            let given = given.expect("memory").as_vec();
            // As above, rounding errors are amplified where two maps cancel.
            check_output(&heads, &weights.projections.proj, &inside, &given, 3e-4);
        }
    }
}
