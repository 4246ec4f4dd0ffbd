//! The synthesizer sublayer of a pre-norm block: attention weights over positions are predicted from the
//! query token alone, without keys.

mod cached;
mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod maps;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::shapes::{Dtype, Rank1, Rank2};
use dfdx::tensor::{Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::attention::AttentionDropout;
use super::decoding::BoxedIncremental;
use super::parameters::{LayerNorm, Linear, named_weights};
use crate::data::ragged::Ragged;
pub use maps::maps;

/// The weights, with the names of the reference. A document has at most `POSITIONS` tokens.
#[derive(Clone, Debug)]
pub struct SynthesizerWeights<
    const EMBED: usize,
    const HEAD_DIM: usize,
    const POSITIONS: usize,
    N: Dtype,
    D: Storage<N>,
> {
    /// To the hidden layer of the scores, heads side by side.
    pub w1: Linear<EMBED, EMBED, N, D>,
    /// From a head's hidden layer to a score for each position: `[HEAD_DIM, POSITIONS]`, shared by all
    /// heads.
    pub w2: Tensor<Rank2<HEAD_DIM, POSITIONS>, N, D>,
    /// Bias of the score of each position.
    pub b2: Tensor<Rank1<POSITIONS>, N, D>,
    /// To values, heads side by side.
    pub value: Linear<EMBED, EMBED, N, D>,
    /// From the heads' outputs back to the stream.
    pub proj: Linear<EMBED, EMBED, N, D>,
}

named_weights! {
    impl [const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize,]
        SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS>
    {
        w1: module("w1"),
        w2: zeros("w2"),
        b2: zeros("b2"),
        value: module("value"),
        proj: module("proj"),
    }
}

/// A device that runs the synthesizer's sublayer over ragged batches.
pub trait SynthesizerOp<N: Dtype>: Device<N> {
    /// `y = x + dropout(proj(attend(norm(x))))`, `[tokens, EMBED]` → the same.
    ///
    /// Within each document and head, values are weighted by `softmax(relu(x W1 + b1) W2 + b2)` over the
    /// positions at or before the token's, with dropout on these weights; scores are not scaled. Tokens do
    /// not attend across documents. `x` must not be used by another op on a tape: the residual stream is a
    /// chain. HEAD_DIM divides EMBED, and no document has more than `POSITIONS` tokens.
    ///
    /// Source: Tay et al. 2021, Synthesizer, §3.1 (dense); one `W2` for all heads as in CS224N's assignment
    /// 5.
    fn try_synthesize<
        const EMBED: usize,
        const HEAD_DIM: usize,
        const POSITIONS: usize,
        T: Tape<N, Self>,
    >(
        x: Stream<EMBED, N, Self, T>,
        norm: &LayerNorm<EMBED, N, Self>,
        weights: &SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, N, Self>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same sublayer for incremental decoding of a number of sequences.
    fn incremental_synthesizer<
        'a,
        const EMBED: usize,
        const HEAD_DIM: usize,
        const POSITIONS: usize,
    >(
        norm: &'a LayerNorm<EMBED, N, Self>,
        weights: &'a SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, N, Self>,
        rows: usize,
    ) -> BoxedIncremental<'a, EMBED, N, Self>;
}

#[cfg(test)]
mod tests {
    use dfdx::nn::BuildModule;
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::decoding::tests::check_decoding;
    use crate::ops::dropout::Dropout;
    use crate::ops::maps::tests::{check_maps, check_sums};
    use crate::ops::maps::{normed, on_host, projected};
    use crate::ops::testing::{Case, arbitrary, batch, check_op, on_each_device};

    /// For documents of at most `POSITIONS` tokens.
    type Sublayer<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize, N, D> = (
        LayerNorm<EMBED, N, D>,
        SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, N, D>,
    );

    on_each_device!(the_fast_path_is_the_reference, |device| {
        let many: Vec<usize> = (0..40).map(|i| 1 + (i * 5) % 12).collect();
        // Up to two vectors of positions, more than a panel of the matrix kernel, and all positions.
        let long = [16, 17, 33, 41];
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

    fn check<const EMBED: usize, const HEAD_DIM: usize, D: SynthesizerOp<f32> + 'static>(
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
                    context: 42,
                };
                check_op::<
                    D,
                    EMBED,
                    EMBED,
                    Sublayer<EMBED, HEAD_DIM, 41, f32, D>,
                    Sublayer<EMBED, HEAD_DIM, 41, f64, Cpu>,
                >(Case {
                    device: device.clone(),
                    fast_model: BuildModule::build(device),
                    exact_model: BuildModule::build(&Cpu::default()),
                    fast: &|(norm, weights), x, _| {
                        D::try_synthesize(x, norm, weights, &batch, dropout)
                    },
                    exact: &|(norm, weights), x, _| {
                        reference::synthesize(x, norm, weights, &batch, dropout)
                    },
                    plain: &|(norm, weights), x, _| {
                        reference::synthesize(x, norm, weights, &batch, dropout)
                    },
                    tokens: batch.len(),
                    tolerance: 1e-5,
                });
            }
        }
        check_decoding::<
            D,
            EMBED,
            Sublayer<EMBED, HEAD_DIM, 128, f32, D>,
            Sublayer<EMBED, HEAD_DIM, 128, f64, Cpu>,
        >(
            device,
            &|(norm, weights), rows| D::incremental_synthesizer(norm, weights, rows),
            &|(norm, weights), x, batch| {
                let none = AttentionDropout::none(batch.longest());
                reference::synthesize(x, norm, weights, batch, none)
            },
            1e-5 * (EMBED as f64 / 12.0).sqrt(),
        );
    }

    #[test]
    fn values_blended_by_the_maps_are_the_sublayer() {
        for tokens in [1, 13, 41] {
            let mut sublayer: Sublayer<12, 4, 41, f32, Cpu> = BuildModule::build(&Cpu::default());
            let x = arbitrary(&mut sublayer, tokens);
            let (norm, weights) = &sublayer;
            let maps = super::maps(&x, norm, weights);
            check_sums(&maps);
            let (inside, none) = (on_host(&x), AttentionDropout::none(tokens));
            let values = projected(&normed(&inside, norm), &weights.value);
            let batch = batch(&[tokens], 9);
            let given = Cpu::try_synthesize::<12, 4, 41, _>(x, norm, weights, &batch, none);
            let given = given.expect("memory").as_vec();
            check_maps(&maps, &values, &weights.proj, &inside, &given);
        }
    }
}
