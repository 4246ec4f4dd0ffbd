//! The fast path: one pass over the output; gradients are summed token by token in order.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, PutTape, Tape, Tensor, TensorFromVec};

use super::{EmbeddingOp, TableShape};
use crate::ops::Stream;
use crate::ops::bridge::{host, take_gradient};
use crate::ops::dropout::Dropout;
use crate::ops::kernels::rows::{drop_in_place, wide};
use crate::ops::kernels::threads;

/// Tokens per task.
const CHUNK: usize = 64;

impl EmbeddingOp<f32> for Cpu {
    fn try_embed<
        const EMBED: usize,
        Tokens: TableShape<EMBED>,
        Positions: TableShape<EMBED>,
        T: Tape<f32, Cpu>,
    >(
        token_table: &Tensor<Tokens, f32, Cpu>,
        position_table: Option<&Tensor<Positions, f32, Cpu>>,
        (ids, positions): (&[u32], &[usize]),
        dropout: Dropout,
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        let ids: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        let positions = positions.to_vec();
        let (token_rows, position_rows) = (host(token_table), position_table.map(host));
        let chunks = (ids.chunks(CHUNK).enumerate()).map(|(i, ids)| (i * CHUNK, ids.len() * EMBED));
        let (x, _) = threads::map_parts(chunks, |first, x| {
            wide!({
                for (t, x) in (first..).zip(x.chunks_exact_mut(EMBED)) {
                    let token = &token_rows[ids[t] * EMBED..][..EMBED];
                    let factor = |i: usize| dropout.factor((t * EMBED + i) as u32);
                    match position_rows {
                        Some(rows) => {
                            let position = &rows[positions[t] * EMBED..][..EMBED];
                            for i in 0..EMBED {
                                x[i] = (token[i] + position[i]) * factor(i);
                            }
                        }
                        None => (0..EMBED).for_each(|i| x[i] = token[i] * factor(i)),
                    }
                }
            });
        });
        let device = token_table.device().clone();
        let out = device.try_tensor_from_vec(x, (ids.len(), Const::<EMBED>))?;
        if T::OWNS_TAPE {
            let (saved, token_table, position_table) =
                (out.clone(), token_table.clone(), position_table.cloned());
            tape.add_backward_op(move |gradients| {
                let mut dx = take_gradient(gradients, &device, &saved)?;
                let chunks = dx.chunks_mut(CHUNK * EMBED).enumerate();
                threads::map(chunks, |(chunk, dx)| {
                    drop_in_place(dx, dropout, chunk * CHUNK * EMBED);
                });
                scatter(&dx, &ids, EMBED, gradients.get_or_alloc_mut(&token_table)?);
                if let Some(table) = &position_table {
                    scatter(&dx, &positions, EMBED, gradients.get_or_alloc_mut(table)?);
                }
                Ok(())
            });
        }
        Ok(out.put_tape(tape))
    }
}

/// `table[index[t]] += dx[t]`.
fn scatter(dx: &[f32], index: &[usize], width: usize, table: &mut [f32]) {
    for (dx, &i) in dx.chunks_exact(width).zip(index) {
        let row = &mut table[i * width..][..width];
        row.iter_mut().zip(dx).for_each(|(sum, d)| *sum += d);
    }
}
