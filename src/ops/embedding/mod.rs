//! Token and position embedding with dropout, or rows of a table alone: the input of a residual stream.

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use dfdx::shapes::{Dtype, Rank2, Rank3};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::dropout::Dropout;

/// A device that embeds ragged batches.
pub trait EmbeddingOp<N: Dtype>: Device<N> {
    /// `x[t] = dropout(token_table[ids[t]] + position_table[0][positions[t]])` for `at = (ids, positions)`.
    ///
    /// `token_table: [VOCAB, EMBED]`, `position_table: [1, CONTEXT, EMBED]` → `[ids, EMBED]`, on `tape`;
    /// positions count within documents. Dropout index: token × EMBED + channel. The caller guarantees that
    /// every id is below VOCAB and every position below CONTEXT.
    fn try_embed<const VOCAB: usize, const CONTEXT: usize, const EMBED: usize, T: Tape<N, Self>>(
        token_table: &Tensor<Rank2<VOCAB, EMBED>, N, Self>,
        position_table: &Tensor<Rank3<1, CONTEXT, EMBED>, N, Self>,
        at: (&[u32], &[usize]),
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// `x[t] = table[0][positions[t]]`: `[1, ROWS, EMBED]` → `[positions, EMBED]`, on `tape`. Every
    /// position must be below ROWS.
    fn try_lookup<const ROWS: usize, const EMBED: usize, T: Tape<N, Self>>(
        table: &Tensor<Rank3<1, ROWS, EMBED>, N, Self>,
        positions: &[usize],
        tape: T,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;
}

#[cfg(test)]
mod tests {
    use dfdx::nn::BuildModule;
    use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::testing::{Case, batch, check_op, on_each_device};

    struct Tables<N: Dtype, D: Device<N>> {
        tokens: Tensor<Rank2<11, 5>, N, D>,
        positions: Tensor<Rank3<1, 9, 5>, N, D>,
    }

    impl<N: Dtype, D: Device<N>> TensorCollection<N, D> for Tables<N, D> {
        type To<N2: Dtype, D2: Device<N2>> = Tables<N2, D2>;
        fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
            visitor: &mut V,
        ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
            visitor.visit_fields(
                (
                    Self::tensor(
                        "tokens",
                        |s| &s.tokens,
                        |s| &mut s.tokens,
                        TensorOptions::reset_to_zeros(),
                    ),
                    Self::tensor(
                        "positions",
                        |s| &s.positions,
                        |s| &mut s.positions,
                        TensorOptions::reset_to_zeros(),
                    ),
                ),
                |(tokens, positions)| Tables { tokens, positions },
            )
        }
    }

    on_each_device!(
        agrees_with_the_reference_and_with_finite_differences,
        |device| check(&device)
    );

    fn check<D: EmbeddingOp<f32> + 'static>(device: &D) {
        for lengths in [&[1][..], &[9, 1, 4], &[2, 7, 3, 3, 9, 1]] {
            for dropout in [Dropout::NONE, Dropout::new(0.3, 5)] {
                let batch = batch(lengths, 11);
                let positions = batch.positions();
                let at = (&batch.tokens[..], &positions[..]);
                check_op::<D, 1, 5, Tables<f32, D>, Tables<f64, Cpu>>(Case {
                    device: device.clone(),
                    fast_model: Tables::build(device),
                    exact_model: Tables::build(&Cpu::default()),
                    fast: &|m, _, tape| D::try_embed(&m.tokens, &m.positions, at, dropout, tape),
                    exact: &|m, _, tape| {
                        reference::embed(&m.tokens, &m.positions, at, dropout, tape)
                    },
                    plain: &|m, _, tape| {
                        reference::embed(&m.tokens, &m.positions, at, dropout, tape)
                    },
                    tokens: batch.len(),
                    tolerance: 1e-6,
                });
            }
        }
    }

    on_each_device!(rows_of_a_table_agree_with_the_reference, |device| {
        check_rows(&device)
    });

    fn check_rows<D: EmbeddingOp<f32> + 'static>(device: &D) {
        let positions: Vec<usize> = (0..150).map(|t| t * 5 % 8).collect();
        for count in [1, 2, 150] {
            let positions = &positions[..count];
            check_op::<D, 1, 5, Tables<f32, D>, Tables<f64, Cpu>>(Case {
                device: device.clone(),
                fast_model: Tables::build(device),
                exact_model: Tables::build(&Cpu::default()),
                fast: &|m, _, tape| D::try_lookup(&m.positions, positions, tape),
                exact: &|m, _, tape| reference::lookup(&m.positions, positions, tape),
                plain: &|m, _, tape| reference::lookup(&m.positions, positions, tape),
                tokens: count,
                tolerance: 1e-6,
            });
        }
    }
}
