//! The attention sublayer of a pre-norm block: layer norm, causal multi-head attention, dropout, residual.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod heads;
mod kept;
mod memory;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;

#[cfg(test)]
use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection};
use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::dropout::Dropout;
use super::parameters::{LayerNorm, Linear};
use super::reading::BoxedReader;
use crate::data::ragged::Ragged;

/// The four projections, in the order of the reference's modules.
#[derive(Clone, Debug)]
pub struct Projections<const EMBED: usize, N: Dtype, D: Storage<N>> {
    /// To keys, heads side by side.
    pub key: Linear<EMBED, EMBED, N, D>,
    /// To queries, heads side by side.
    pub query: Linear<EMBED, EMBED, N, D>,
    /// To values, heads side by side.
    pub value: Linear<EMBED, EMBED, N, D>,
    /// From the heads' outputs back to the stream.
    pub proj: Linear<EMBED, EMBED, N, D>,
}

#[cfg(test)] // Kinds of attention list the projections themselves: these have no level of names.
impl<const EMBED: usize, N: Dtype, D: Device<N>> TensorCollection<N, D>
    for Projections<EMBED, N, D>
{
    type To<N2: Dtype, D2: Device<N2>> = Projections<EMBED, N2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("key", |s| &s.key, |s| &mut s.key),
                Self::module("query", |s| &s.query, |s| &mut s.query),
                Self::module("value", |s| &s.value, |s| &mut s.value),
                Self::module("proj", |s| &s.proj, |s| &mut s.proj),
            ),
            |(key, query, value, proj)| Projections {
                key,
                query,
                value,
                proj,
            },
        )
    }
}

/// The two places of the sublayer that drop: attention weights and output.
#[derive(Clone, Copy, Debug)]
pub struct AttentionDropout {
    /// Index: (token × HEADS + head) × longest context + key's place; the context is given here.
    pub weights: Dropout,
    /// Index: token × EMBED + channel.
    pub output: Dropout,
    /// Number of keys that an index of `weights` reserves for a query: the model's context.
    pub context: usize,
}

impl AttentionDropout {
    /// Nothing is dropped.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn none(context: usize) -> Self {
        Self {
            weights: Dropout::NONE,
            output: Dropout::NONE,
            context,
        }
    }
}

/// A device that runs the causal attention sublayer over ragged batches.
pub trait AttentionOp<N: Dtype>: Device<N> {
    /// `y = x + dropout(proj(attend(norm(x))))`, `[tokens, EMBED]` → the same.
    ///
    /// Within each document and head, `softmax(q kᵀ / √HEAD_DIM) v` over keys at or before the
    /// query, with dropout on the softmax. Documents do not see each other. No other op may read `x`
    /// on a tape: a stream has one continuation.
    /// `HEADS * HEAD_DIM = EMBED`.
    ///
    /// # Errors
    /// The device's.
    ///
    /// Source: Vaswani et al. 2017, §3.2; pre-norm as in GPT-2 (Radford et al. 2019).
    fn try_attention<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<N, Self>,
    >(
        x: Stream<EMBED, N, Self, T>,
        norm: &LayerNorm<EMBED, N, Self>,
        weights: &Projections<EMBED, N, Self>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same sublayer for reading so many rows bit by bit.
    ///
    /// Source: Shazeer 2019, Fast Transformer Decoding, §2.4.
    fn attention_reader<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        norm: &'a LayerNorm<EMBED, N, Self>,
        weights: &'a Projections<EMBED, N, Self>,
        rows: usize,
    ) -> BoxedReader<'a, EMBED, N, Self>;
}

#[cfg(test)]
mod tests {
    use dfdx::nn::BuildModule;
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::reading::tests::check_reading;
    use crate::ops::testing::{Case, batch, check_op};

    type Sublayer<N> = (LayerNorm<6, N, Cpu>, Projections<6, N, Cpu>);

    #[test]
    fn agrees_with_the_reference_and_with_finite_differences() {
        let device = Cpu::default();
        let many: Vec<usize> = (0..40).map(|i| 1 + (i * 5) % 12).collect();
        // Up to two vectors of keys, and more than a panel of the matrix kernel.
        let long = [16, 17, 33, 40];
        for lengths in [&[1][..], &[12], &[3, 1, 7], &many, &long] {
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
                check_op::<6, 6, Sublayer<f32>, Sublayer<f64>>(Case {
                    fast_model: BuildModule::build(&device),
                    exact_model: BuildModule::build(&device),
                    fast: &|m, x, _| {
                        Cpu::try_attention::<6, 2, 3, _>(x, &m.0, &m.1, &batch, dropout)
                    },
                    exact: &|m, x, _| {
                        reference::attention::<6, 2, 3, _, _, _>(x, &m.0, &m.1, &batch, dropout)
                    },
                    plain: &|m, x, _| {
                        reference::attention::<6, 2, 3, _, _, _>(x, &m.0, &m.1, &batch, dropout)
                    },
                    tokens: batch.len(),
                    tolerance: 1e-5,
                });
            }
        }
    }

    #[test]
    fn reading_in_pieces_agrees_with_reading_everything_again() {
        check_reading::<6, Sublayer<f32>, Sublayer<f64>>(
            |(norm, weights), rows| Cpu::attention_reader::<6, 2, 3>(norm, weights, rows),
            |(norm, weights), x, batch| {
                let none = AttentionDropout::none(batch.longest());
                reference::attention::<6, 2, 3, _, _, _>(x, norm, weights, batch, none)
            },
        );
    }
}
