//! The GPU: one pass forward; backward sums the tokens that have read each row of a table, without atomics.

use dfdx::shapes::{Const, Rank2, Rank3};
use dfdx::tensor::{Cuda, CudaError, Gradients, PutTape, Tape, Tensor, ZerosTensor};

use super::EmbeddingOp;
use crate::ops::Stream;
use crate::ops::bridge::cuda::{address, gradient_address, start_of, take_gradient};
use crate::ops::cuda::kernels::Source;
use crate::ops::cuda::{Address, DeviceDropout, Gpu, NOWHERE, at, gpu};
use crate::ops::dropout::Dropout;

pub(in crate::ops) static TABLES: Source = Source {
    name: "tables",
    text: include_str!("kernel.cu"),
    constant: "WIDTH",
    kernels: &["embed", "gather_gradients", "add_to_rows"],
};

/// Tokens that a block sums: rows that many tokens read are shared by many blocks.
const SPAN: usize = 64;

impl EmbeddingOp<f32> for Cuda {
    fn try_embed<
        const VOCAB: usize,
        const CONTEXT: usize,
        const EMBED: usize,
        T: Tape<f32, Cuda>,
    >(
        tokens: &Tensor<Rank2<VOCAB, EMBED>, f32, Cuda>,
        positions: &Tensor<Rank3<1, CONTEXT, EMBED>, f32, Cuda>,
        (ids, places): (&[u32], &[usize]),
        dropout: Dropout,
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        let gpu = gpu();
        let x = forward::<EMBED>(
            &gpu,
            (address(tokens), ids),
            address(positions),
            places,
            dropout,
        )?;
        if T::OWNS_TAPE {
            let (of_ids, of_places) = (
                Readers::of(ids.iter().copied(), VOCAB),
                Readers::of(numbers(places), CONTEXT),
            );
            let (tokens, positions, of_x) = (tokens.clone(), positions.clone(), x.clone());
            tape.add_backward_op(move |gradients| {
                let dx = take_gradient(gradients, of_x.device(), &of_x)?;
                let to = gradient_address(gradients, &tokens)?;
                of_ids.add::<EMBED>(&gpu, start_of(&dx), to, dropout)?;
                let to = gradient_address(gradients, &positions)?;
                of_places.add::<EMBED>(&gpu, start_of(&dx), to, dropout)
            });
        }
        Ok(x.put_tape(tape))
    }

    fn try_look_up<const ROWS: usize, const EMBED: usize, T: Tape<f32, Cuda>>(
        table: &Tensor<Rank3<1, ROWS, EMBED>, f32, Cuda>,
        places: &[usize],
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        let gpu = gpu();
        let x = forward::<EMBED>(&gpu, (NOWHERE, &[]), address(table), places, Dropout::NONE)?;
        if T::OWNS_TAPE {
            let (of_places, table, of_x) =
                (Readers::of(numbers(places), ROWS), table.clone(), x.clone());
            tape.add_backward_op(move |gradients: &mut Gradients<f32, Cuda>| {
                let dx = take_gradient(gradients, of_x.device(), &of_x)?;
                let to = gradient_address(gradients, &table)?;
                of_places.add::<EMBED>(&gpu, start_of(&dx), to, Dropout::NONE)
            });
        }
        Ok(x.put_tape(tape))
    }
}

fn numbers(places: &[usize]) -> impl Iterator<Item = u32> + Clone {
    places.iter().map(|&place| place as u32)
}

fn forward<const EMBED: usize>(
    gpu: &Gpu,
    (tokens, ids): (Address, &[u32]),
    positions: Address,
    places: &[usize],
    dropout: Dropout,
) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
    let shape = (places.len(), Const::<EMBED>);
    let x: Stream<EMBED, f32, Cuda> = gpu.tensors().try_zeros_like(&shape)?;
    let count = places.len() * EMBED;
    // A list of nothing has no place on the device.
    let ids = match ids {
        [] => None,
        ids => Some(gpu.upload(ids.to_vec())?),
    };
    let places = gpu.upload(numbers(places).collect())?;
    gpu.launch_each(
        TABLES.kernel(EMBED, "embed"),
        count,
        (
            tokens,
            ids.as_ref().map_or(NOWHERE, at),
            positions,
            at(&places),
            address(&x),
            DeviceDropout::from(dropout),
            count as u32,
        ),
    )?;
    Ok(x)
}

/// Which tokens have read each row of a table.
struct Readers {
    /// Tokens, those of a row after those of another.
    order: Vec<u32>,
    /// Where the tokens of each block start and end.
    spans: Vec<[u32; 2]>,
    /// A row, and where its blocks start and end.
    owners: Vec<[u32; 3]>,
}

impl Readers {
    /// Of the row that each token has read, of a table of `count`.
    fn of(rows: impl Iterator<Item = u32> + Clone, count: usize) -> Self {
        // Counted, then each put where those before it end: sorting took the host 0.7 ms a step.
        let mut ends = vec![0u32; count];
        rows.clone().for_each(|row| ends[row as usize] += 1);
        let (mut spans, mut owners, mut start) = (vec![], vec![], 0);
        for (row, end) in ends.iter_mut().enumerate() {
            let (tokens, first) = (start..start + *end, spans.len() as u32);
            for from in tokens.clone().step_by(SPAN) {
                spans.push([from, tokens.end.min(from + SPAN as u32)]);
            }
            if !tokens.is_empty() {
                owners.push([row as u32, first, spans.len() as u32]);
            }
            (start, *end) = (tokens.end, tokens.start);
        }
        let mut order = vec![0; start as usize];
        for (token, row) in rows.enumerate() {
            let place = &mut ends[row as usize];
            order[*place as usize] = token as u32;
            *place += 1;
        }
        Self {
            order,
            spans,
            owners,
        }
    }

    /// Adds the gradients at `dx: [tokens, EMBED]`, after dropout, to that of the table.
    fn add<const EMBED: usize>(
        self,
        gpu: &Gpu,
        dx: Address,
        to: Address,
        dropout: Dropout,
    ) -> Result<(), CudaError> {
        let (blocks, rows) = (self.spans.len(), self.owners.len());
        let order = gpu.upload(self.order)?;
        let spans = gpu.upload(self.spans.into_flattened())?;
        let owners = gpu.upload(self.owners.into_flattened())?;
        let shares = gpu.scratch(blocks * EMBED)?;
        gpu.launch(
            TABLES.kernel(EMBED, "gather_gradients"),
            (blocks, 1, 1),
            (
                dx,
                at(&order),
                at(&spans),
                at(&shares),
                DeviceDropout::from(dropout),
            ),
        )?;
        gpu.launch(
            TABLES.kernel(EMBED, "add_to_rows"),
            (rows, 1, 1),
            (at(&shares), at(&owners), to),
        )
    }
}
