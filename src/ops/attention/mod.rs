//! The attention sublayer of a pre-norm block: layer norm, causal multi-head attention, dropout, residual.
//!
//! One op for all kinds that compare queries with keys: they differ in their [`Scoring`] and in how many
//! heads share keys and values.

pub(crate) mod cached;
pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub(crate) mod head_attention;
pub(crate) mod heads;
pub(crate) mod kv_cache;
mod maps;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;
mod scoring;

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection};
use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::decoding::BoxedIncremental;
use super::dropout::Dropout;
use super::parameters::{LayerNorm, Linear, named_weights};
use crate::data::ragged::Ragged;
pub(crate) use cpu::TILE_TOKENS;
pub(crate) use maps::compare;
pub use maps::maps;
pub use scoring::{Positional, Scoring, Similarity};

/// The four projections, in the order of the reference's modules. `KV` is HEAD_DIM times the number of
/// heads of keys and values: EMBED, or a fraction of it if groups of `EMBED / KV` consecutive heads share
/// them (Shazeer 2019; Ainslie et al. 2023, GQA, §2.2).
#[derive(Clone, Debug)]
pub struct Projections<const EMBED: usize, const KV: usize, N: Dtype, D: Storage<N>> {
    /// To keys, heads side by side.
    pub key: Linear<EMBED, KV, N, D>,
    /// To queries, heads side by side.
    pub query: Linear<EMBED, EMBED, N, D>,
    /// To values, heads side by side.
    pub value: Linear<EMBED, KV, N, D>,
    /// From the heads' outputs back to the stream.
    pub proj: Linear<EMBED, EMBED, N, D>,
}

named_weights! {
    impl [const EMBED: usize, const KV: usize,] Projections<EMBED, KV> {
        key: module("key"),
        query: module("query"),
        value: module("value"),
        proj: module("proj"),
    }
}

/// The two dropout sites of the sublayer: attention weights and output.
#[derive(Clone, Copy, Debug)]
pub struct AttentionDropout {
    /// Index: (token × heads + head) × `context` + position of the key.
    pub weights: Dropout,
    /// Index: token × EMBED + channel.
    pub output: Dropout,
    /// Number of keys that an index of `weights` reserves per query: the model's context.
    pub context: usize,
}

impl AttentionDropout {
    /// The sites of a block, given the block's dropout.
    pub fn of_block(dropout: Dropout, context: usize) -> Self {
        Self {
            weights: dropout.at(1),
            output: dropout.at(2),
            context,
        }
    }

    /// No dropout.
    pub(crate) fn none(context: usize) -> Self {
        Self {
            weights: Dropout::NONE,
            output: Dropout::NONE,
            context,
        }
    }
}

/// Checks at compile time that the heads add up to the width, and that they can share keys and values.
pub(super) const fn assert_heads(embed: usize, kv: usize, head_dim: usize) {
    assert!(
        kv > 0 && kv.is_multiple_of(head_dim) && embed.is_multiple_of(kv),
        "KV must be a multiple of HEAD_DIM that divides EMBED"
    );
}

/// A device that runs the causal attention sublayer over ragged batches.
pub trait AttentionOp<N: Dtype>: Device<N> {
    /// `y = x + dropout(proj(attend(norm(x))))`, `[tokens, EMBED]` → the same.
    ///
    /// Within each document and head, `attend` is the sum of values weighted by the attention weights that
    /// `scoring` defines over the keys at or before the query, with dropout on the weights. Tokens do not
    /// attend across documents. `x` must not be used by another op on a tape: the residual stream is a
    /// chain. There are `EMBED / HEAD_DIM` heads; `KV` is a multiple of HEAD_DIM that divides EMBED.
    ///
    /// Source: Vaswani et al. 2017, §3.2; pre-norm as in GPT-2 (Radford et al. 2019); variants as cited at
    /// [`Scoring`] and [`Projections`].
    fn try_attention<const EMBED: usize, const KV: usize, const HEAD_DIM: usize, T: Tape<N, Self>>(
        x: Stream<EMBED, N, Self, T>,
        norm: &LayerNorm<EMBED, N, Self>,
        weights: &Projections<EMBED, KV, N, Self>,
        scoring: Scoring,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same sublayer for incremental decoding of a number of sequences of at most `context` tokens
    /// each.
    ///
    /// Source: Shazeer 2019, Fast Transformer Decoding, §2.4.
    fn incremental_attention<'a, const EMBED: usize, const KV: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, N, Self>,
        weights: &'a Projections<EMBED, KV, N, Self>,
        scoring: Scoring,
        rows_and_context: (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, N, Self>;
}

#[cfg(test)]
mod tests {
    use dfdx::nn::BuildModule;
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::decoding::tests::check_decoding;
    use crate::ops::maps::tests::{check_maps, check_sums};
    use crate::ops::maps::{normed, on_host, projected};
    use crate::ops::testing::{Case, arbitrary, batch, check_op, on_each_device};

    /// Weights of heads that are `EMBED` wide in total, with keys and values of `KV`.
    type Sublayer<const EMBED: usize, const KV: usize, N, D> =
        (LayerNorm<EMBED, N, D>, Projections<EMBED, KV, N, D>);

    const fn scoring(
        positional: Positional,
        window: Option<usize>,
        similarity: Similarity,
    ) -> Scoring {
        Scoring {
            positional,
            window,
            similarity,
        }
    }

    const ROTARY: Scoring = scoring(Positional::Rope, None, Similarity::Softmax);
    const ALIBI: Scoring = scoring(Positional::Alibi, None, Similarity::Softmax);
    const WINDOW: Scoring = scoring(Positional::None, Some(5), Similarity::Softmax);
    const LINEAR: Scoring = scoring(Positional::None, None, Similarity::FeatureMap);
    const ALL_AT_ONCE: Scoring = scoring(Positional::Rope, Some(18), Similarity::Softmax);

    /// Checks heads of width 4 on batches of many shapes, then incremental decoding.
    fn check<const KV: usize, D: AttentionOp<f32> + 'static>(device: &D, scoring: Scoring) {
        let many: Vec<usize> = (0..40).map(|i| 1 + (i * 5) % 12).collect();
        // Up to two vectors of keys, and more than a panel of the matrix kernel.
        let long = [16, 17, 33, 40];
        let batches = [&[1][..], &[12], &[3, 1, 7], &many, &long];
        check_heads::<12, KV, 4, D>(device, scoring, &batches);
        check_shown::<KV>(scoring);
    }

    fn check_heads<
        const EMBED: usize,
        const KV: usize,
        const HEAD_DIM: usize,
        D: AttentionOp<f32> + 'static,
    >(
        device: &D,
        scoring: Scoring,
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
                    Sublayer<EMBED, KV, f32, D>,
                    Sublayer<EMBED, KV, f64, Cpu>,
                >(Case {
                    device: device.clone(),
                    fast_model: BuildModule::build(device),
                    exact_model: BuildModule::build(&Cpu::default()),
                    fast: &|(norm, weights), x, _| {
                        D::try_attention::<EMBED, KV, HEAD_DIM, _>(
                            x, norm, weights, scoring, &batch, dropout,
                        )
                    },
                    exact: &|(norm, weights), x, _| {
                        reference::attention::<EMBED, KV, HEAD_DIM, _, _, _>(
                            x, norm, weights, scoring, &batch, dropout,
                        )
                    },
                    plain: &|(norm, weights), x, _| {
                        reference::attention::<EMBED, KV, HEAD_DIM, _, _, _>(
                            x, norm, weights, scoring, &batch, dropout,
                        )
                    },
                    tokens: batch.len(),
                    // Rounding errors accumulate like a random walk over the channels.
                    tolerance: 1e-5 * (EMBED as f64 / 12.0).sqrt(),
                });
            }
        }
        check_decoding::<D, EMBED, Sublayer<EMBED, KV, f32, D>, Sublayer<EMBED, KV, f64, Cpu>>(
            device,
            &|(norm, weights), rows| {
                let size = (rows, 128);
                D::incremental_attention::<EMBED, KV, HEAD_DIM>(norm, weights, scoring, size)
            },
            &|(norm, weights), x, batch| {
                let none = AttentionDropout::none(batch.longest());
                reference::attention::<EMBED, KV, HEAD_DIM, _, _, _>(
                    x, norm, weights, scoring, batch, none,
                )
            },
            1e-5 * (EMBED as f64 / 12.0).sqrt(),
        );
    }

    fn check_shown<const KV: usize>(scoring: Scoring) {
        for tokens in [1, 13, 40] {
            let mut sublayer: Sublayer<12, KV, f32, Cpu> = BuildModule::build(&Cpu::default());
            let x = arbitrary(&mut sublayer, tokens);
            let (norm, weights) = &sublayer;
            let maps = super::maps::<12, KV, 4, _, _>(&x, norm, weights, scoring);
            check_sums(&maps);
            let (inside, none) = (on_host(&x), AttentionDropout::none(tokens));
            let values = projected(&normed(&inside, norm), &weights.value);
            let batch = batch(&[tokens], 9);
            let given = Cpu::try_attention::<12, KV, 4, _>(x, norm, weights, scoring, &batch, none);
            let given = given.expect("memory").as_vec();
            check_maps(&maps, &values, &weights.proj, &inside, &given);
        }
    }

    on_each_device!(softmax, |device| check::<12, _>(&device, Scoring::SOFTMAX));
    on_each_device!(rotary_positions, |device| check::<12, _>(&device, ROTARY));
    on_each_device!(linear_biases, |device| check::<12, _>(&device, ALIBI));
    on_each_device!(a_window, |device| check::<12, _>(&device, WINDOW));
    on_each_device!(feature_maps, |device| check::<12, _>(&device, LINEAR));
    on_each_device!(shared_keys_and_values, |device| check::<4, _>(
        &device,
        Scoring::SOFTMAX
    ));
    on_each_device!(all_at_once, |device| check::<4, _>(&device, ALL_AT_ONCE));

    // Widths that are not a power of two, that fill a warp, and that cover each tile size of the GPU
    // kernels.
    on_each_device!(wide_heads, |device| {
        let batches = [&[3, 1, 7][..], &[33, 40]];
        check_heads::<12, 6, 6, _>(&device, ALL_AT_ONCE, &batches);
        check_heads::<64, 64, 32, _>(&device, Scoring::SOFTMAX, &batches);
        check_heads::<80, 40, 40, _>(&device, ALIBI, &batches);
        check_heads::<144, 72, 72, _>(&device, ALL_AT_ONCE, &batches);
        check_heads::<128, 128, 128, _>(&device, LINEAR, &batches);
    });
}
