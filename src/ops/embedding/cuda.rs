//! The GPU: one pass forward; backward sums, for each row of a table, the tokens that used it, without
//! atomics.

use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cuda, CudaError, PutTape, Tape, Tensor, ZerosTensor};

use super::{EmbeddingOp, TableShape};
use crate::ops::Stream;
use crate::ops::bridge::cuda::{address, gradient_address, start_of};
use crate::ops::bridge::take_gradient;
use crate::ops::cuda::kernels::Source;
use crate::ops::cuda::{Address, Gpu, NULL, at, gpu};
use crate::ops::dropout::Dropout;

pub static TABLES: Source = Source {
    name: "tables",
    text: include_str!("kernel.cu"),
    constant: "WIDTH",
};

/// Tokens summed by a block: rows that many tokens use are divided among several blocks.
const SPAN: usize = 64;

impl EmbeddingOp<f32> for Cuda {
    fn try_embed<
        const EMBED: usize,
        Tokens: TableShape<EMBED>,
        Positions: TableShape<EMBED>,
        T: Tape<f32, Cuda>,
    >(
        token_table: &Tensor<Tokens, f32, Cuda>,
        position_table: Option<&Tensor<Positions, f32, Cuda>>,
        (ids, positions): (&[u32], &[usize]),
        dropout: Dropout,
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        let gpu = gpu();
        let of_tokens = (address(token_table), ids.to_vec());
        let of_positions =
            position_table.map(|table| (address(table), numbers(positions).collect()));
        let x = add_rows(&gpu, of_tokens, of_positions, dropout)?;
        if T::OWNS_TAPE {
            let of_ids = Readers::of(ids.iter().copied(), token_table.shape().rows());
            let of_positions = position_table.map(|table| {
                (
                    Readers::of(numbers(positions), table.shape().rows()),
                    table.clone(),
                )
            });
            let (token_table, of_x) = (token_table.clone(), x.clone());
            tape.add_backward_op(move |gradients| {
                let dx = take_gradient(gradients, of_x.device(), &of_x)?;
                let to = gradient_address(gradients, &token_table)?;
                of_ids.add::<EMBED>(&gpu, start_of(&dx), to, dropout)?;
                if let Some((readers, table)) = of_positions {
                    let to = gradient_address(gradients, &table)?;
                    readers.add::<EMBED>(&gpu, start_of(&dx), to, dropout)?;
                }
                Ok(())
            });
        }
        Ok(x.put_tape(tape))
    }
}

fn numbers(positions: &[usize]) -> impl Iterator<Item = u32> + Clone {
    positions.iter().map(|&position| position as u32)
}

/// The address of a table, and the row that each token uses.
type Lookup = (Address, Vec<u32>);

/// The sum of the rows that each token uses of one or two tables, after dropout: `[tokens, EMBED]`.
fn add_rows<const EMBED: usize>(
    gpu: &Gpu,
    (token_table, ids): Lookup,
    of_positions: Option<Lookup>,
    dropout: Dropout,
) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
    let x: Stream<EMBED, f32, Cuda> = gpu.tensors().try_zeros_like(&(ids.len(), Const::<EMBED>))?;
    let count = ids.len() * EMBED;
    let ids = gpu.upload(ids)?;
    let upload = |(table, rows)| Ok::<_, CudaError>((table, gpu.upload(rows)?));
    let of_positions = of_positions.map(upload).transpose()?;
    let addresses = of_positions
        .as_ref()
        .map(|(table, rows)| (*table, at(rows)));
    let (position_table, positions) = addresses.unwrap_or((NULL, NULL));
    let arguments = (
        token_table,
        at(&ids),
        position_table,
        positions,
        address(&x),
        dropout,
        count as u32,
    );
    gpu.launch_each(TABLES.kernel(EMBED, "embed"), count, arguments)?;
    Ok(x)
}

/// For each row of a table, the tokens that used it.
struct Readers {
    /// Tokens, grouped by row.
    order: Vec<u32>,
    /// Start and end of each block's tokens in `order`.
    spans: Vec<[u32; 2]>,
    /// A row, and the start and end of its blocks.
    owners: Vec<[u32; 3]>,
}

impl Readers {
    /// From the row that each token used, in a table of `count` rows.
    fn of(rows: impl Iterator<Item = u32> + Clone, count: usize) -> Self {
        // A counting sort: comparison sorting took the host 0.7 ms per step.
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
            let slot = &mut ends[row as usize];
            order[*slot as usize] = token as u32;
            *slot += 1;
        }
        Self {
            order,
            spans,
            owners,
        }
    }

    /// Adds the gradients at `dx: [tokens, EMBED]`, after dropout, to the table's gradient.
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
        let arguments = (dx, at(&order), at(&spans), at(&shares), dropout);
        let kernel = TABLES.kernel(EMBED, "gather_gradients");
        gpu.launch(kernel, (blocks, 1, 1), arguments)?;
        let arguments = (at(&shares), at(&owners), to);
        gpu.launch(TABLES.kernel(EMBED, "add_to_rows"), (rows, 1, 1), arguments)
    }
}
