//! Token embedding, position embedding if there is one, and dropout; or rows of a table alone: the input of a residual stream.

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use dfdx::shapes::{Const, Dim, Dtype, Shape};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::dropout::Dropout;

/// A table of vectors: `[1, rows, EMBED]`.
pub type LookupTable<const EMBED: usize, N, D> = Tensor<(Const<1>, usize, Const<EMBED>), N, D>;

/// The shape of a table of vectors: `[rows, EMBED]` or `[1, rows, EMBED]`.
pub trait TableShape<const EMBED: usize>: Shape {
    /// Number of vectors.
    fn rows(&self) -> usize {
        self.num_elements() / EMBED
    }
}

impl<Rows: Dim, const EMBED: usize> TableShape<EMBED> for (Rows, Const<EMBED>) {}

impl<Rows: Dim, const EMBED: usize> TableShape<EMBED> for (Const<1>, Rows, Const<EMBED>) {}

/// A device that embeds ragged batches.
pub trait EmbeddingOp<N: Dtype>: Device<N> {
    /// `x[t] = dropout(token_table[ids[t]] + position_table[positions[t]])` for `at = (ids, positions)`;
    /// without a position table nothing is added.
    ///
    /// Tables of vectors → `[ids, EMBED]`, on `tape`; positions count within documents. Dropout index: token × EMBED +
    /// channel. The caller guarantees that every id and every position is below the number of rows of its table.
    fn try_embed<
        const EMBED: usize,
        Tokens: TableShape<EMBED>,
        Positions: TableShape<EMBED>,
        T: Tape<N, Self>,
    >(
        token_table: &Tensor<Tokens, N, Self>,
        position_table: Option<&Tensor<Positions, N, Self>>,
        at: (&[u32], &[usize]),
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// `x[t] = table[0][positions[t]]`: `[1, rows, EMBED]` → `[positions, EMBED]`, on `tape`. Every
    /// position must be below the number of rows.
    fn try_lookup<const EMBED: usize, T: Tape<N, Self>>(
        table: &LookupTable<EMBED, N, Self>,
        positions: &[usize],
        tape: T,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err> {
        let rows: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
        let no_positions: Option<&LookupTable<EMBED, N, Self>> = None;
        Self::try_embed(table, no_positions, (&rows, &[]), Dropout::NONE, tape)
    }
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::{Rank2, Rank3};
    use dfdx::tensor::{Cpu, ZerosTensor as _};

    use super::*;
    use crate::ops::tests::{Case, batch, check_op, on_each_device};

    /// Of tokens, and of positions.
    type Tables<N, D> = (
        Tensor<Rank2<11, 5>, N, D>,
        Option<Tensor<Rank3<1, 9, 5>, N, D>>,
    );

    fn tables<N: Dtype, D: Device<N>>(device: &D, positions: bool) -> Tables<N, D> {
        (device.zeros(), positions.then(|| device.zeros()))
    }

    on_each_device!(
        agrees_with_the_reference_and_with_finite_differences,
        |device| check(&device)
    );

    fn check<D: EmbeddingOp<f32> + 'static>(device: &D) {
        for lengths in [&[1][..], &[9, 1, 4], &[2, 7, 3, 3, 9, 1]] {
            for dropout in [Dropout::NONE, Dropout::new(0.3, 5)] {
                for learned in [true, false] {
                    let batch = batch(lengths, 11);
                    let positions = batch.positions();
                    let at = (&batch.tokens[..], &positions[..]);
                    check_op::<D, 1, 5, Tables<f32, D>, Tables<f64, Cpu>>(Case {
                        device: device.clone(),
                        fast_model: tables(device, learned),
                        exact_model: tables(&Cpu::default(), learned),
                        fast: &|m, _, tape| D::try_embed(&m.0, m.1.as_ref(), at, dropout, tape),
                        exact: &|m, _, tape| {
                            reference::embed(&m.0, m.1.as_ref(), at, dropout, tape)
                        },
                        plain: &|m, _, tape| {
                            reference::embed(&m.0, m.1.as_ref(), at, dropout, tape)
                        },
                        tokens: batch.len(),
                        tolerance: 1e-6,
                    });
                }
            }
        }
    }

    on_each_device!(rows_of_a_table_agree_with_the_reference, |device| {
        check_rows(&device)
    });

    fn check_rows<D: EmbeddingOp<f32> + 'static>(device: &D) {
        let shape = (Const::<1>, 9, Const::<5>);
        let positions: Vec<usize> = (0..150).map(|t| t * 5 % 8).collect();
        for count in [1, 2, 150] {
            let positions = &positions[..count];
            check_op::<D, 1, 5, LookupTable<5, f32, D>, LookupTable<5, f64, Cpu>>(Case {
                device: device.clone(),
                fast_model: device.zeros_like(&shape),
                exact_model: Cpu::default().zeros_like(&shape),
                fast: &|m, _, tape| D::try_lookup(m, positions, tape),
                exact: &|m, _, tape| reference::lookup(m, positions, tape),
                plain: &|m, _, tape| reference::lookup(m, positions, tape),
                tokens: count,
                tolerance: 1e-6,
            });
        }
    }
}
