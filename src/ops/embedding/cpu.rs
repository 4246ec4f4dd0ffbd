//! The fast path: one pass over the output; gradients are summed token by token in order.

use dfdx::shapes::{Const, Rank2, Rank3};
use dfdx::tensor::{Cpu, CpuError, PutTape, Tape, Tensor, TensorFromVec};
use rayon::prelude::*;

use super::EmbeddingOp;
use crate::ops::Stream;
use crate::ops::bridge::{host, take_gradient};
use crate::ops::dropout::Dropout;
use crate::ops::kernels::rows::{drop_in_place, wide};

/// Tokens a task.
const CHUNK: usize = 64;

impl EmbeddingOp<f32> for Cpu {
    fn try_embed<
        const VOCAB: usize,
        const CONTEXT: usize,
        const EMBED: usize,
        T: Tape<f32, Cpu>,
    >(
        tokens: &Tensor<Rank2<VOCAB, EMBED>, f32, Cpu>,
        positions: &Tensor<Rank3<1, CONTEXT, EMBED>, f32, Cpu>,
        (ids, places): (&[u32], &[usize]),
        dropout: Dropout,
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        let ids: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        let places = places.to_vec();
        let mut x = vec![0.0; ids.len() * EMBED];
        let (table, places_table) = (host(tokens), host(positions));
        let chunks = x.par_chunks_mut(CHUNK * EMBED).enumerate();
        chunks.for_each(|(chunk, x)| {
            let first = chunk * CHUNK;
            wide(
                #[inline(always)]
                || {
                    for (t, x) in (first..).zip(x.chunks_exact_mut(EMBED)) {
                        let token = &table[ids[t] * EMBED..][..EMBED];
                        let place = &places_table[places[t] * EMBED..][..EMBED];
                        for i in 0..EMBED {
                            x[i] = (token[i] + place[i]) * dropout.factor((t * EMBED + i) as u32);
                        }
                    }
                },
            );
        });
        let device = tokens.device().clone();
        let out = device.try_tensor_from_vec(x, (ids.len(), Const::<EMBED>))?;
        if T::OWNS_TAPE {
            let (saved, tokens, positions) = (out.clone(), tokens.clone(), positions.clone());
            tape.add_backward_op(move |gradients| {
                let mut dx = take_gradient(gradients, &device, &saved)?;
                let chunks = dx.par_chunks_mut(CHUNK * EMBED).enumerate();
                chunks.for_each(|(chunk, dx)| {
                    drop_in_place(dx, dropout, chunk * CHUNK * EMBED);
                });
                scatter(&dx, &ids, EMBED, gradients.get_or_alloc_mut(&tokens)?);
                scatter(&dx, &places, EMBED, gradients.get_or_alloc_mut(&positions)?);
                Ok(())
            });
        }
        Ok(out.put_tape(tape))
    }

    fn try_look_up<const ROWS: usize, const EMBED: usize, T: Tape<f32, Cpu>>(
        table: &Tensor<Rank3<1, ROWS, EMBED>, f32, Cpu>,
        places: &[usize],
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        let (device, rows) = (table.device().clone(), host(table));
        let rows = places
            .iter()
            .flat_map(|place| &rows[place * EMBED..][..EMBED]);
        let x = rows.copied().collect();
        let out = device.try_tensor_from_vec(x, (places.len(), Const::<EMBED>))?;
        if T::OWNS_TAPE {
            let (saved, table, places) = (out.clone(), table.clone(), places.to_vec());
            tape.add_backward_op(move |gradients| {
                let dx = take_gradient(gradients, &device, &saved)?;
                scatter(&dx, &places, EMBED, gradients.get_or_alloc_mut(&table)?);
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
