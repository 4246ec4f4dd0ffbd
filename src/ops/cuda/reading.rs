//! Reading rows bit by bit on the GPU: keys and values of every row stay in the device's memory.

use cudarc::driver::CudaSlice;
use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cuda, CudaError, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use super::heads::Layout;
use super::products::Matrix;
use super::rows::Rows;
use super::sublayer::{norm_of, stream_of, weight};
use super::{Buffer, Gpu, NOWHERE, at, gpu};
use crate::ops::Stream;
use crate::ops::attention::Projections;
use crate::ops::bridge::cuda::address;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{NewTokens, Reader, Wanted};

/// The keys and values that some rows remember.
pub(in crate::ops) struct HeadMemory {
    layout: Layout,
    /// Tokens that a row has room for.
    capacity: usize,
    /// Number of tokens of each row.
    lengths: Vec<usize>,
    /// Keys and values: `[rows, capacity, key heads * head_dim]` each; made when the first are kept.
    kept: Option<[Buffer; 2]>,
}

/// Which tokens of a batch go to which rows' memory.
#[derive(Default)]
struct Moves {
    sources: Vec<u32>,
    slots: Vec<u32>,
}

impl HeadMemory {
    /// So many rows that have read nothing.
    pub(in crate::ops) fn new(layout: Layout, rows: usize, capacity: usize) -> Self {
        Self {
            layout,
            capacity,
            lengths: vec![0; rows],
            kept: None,
        }
    }

    /// How the heads are cut.
    pub(in crate::ops) fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of tokens that a row remembers.
    pub(in crate::ops) fn length(&self, row: usize) -> usize {
        self.lengths[row]
    }

    fn note(&mut self, moves: &mut Moves, row: usize, tokens: std::ops::Range<usize>) {
        for token in tokens {
            assert!(self.lengths[row] < self.capacity, "a row fits the context");
            moves.sources.push(token as u32);
            moves
                .slots
                .push((row * self.capacity + self.lengths[row]) as u32);
            self.lengths[row] += 1;
        }
    }

    /// Rows keep keys and values of tokens, which lie side by side in `news`: for each row the tokens.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn keep(
        &mut self,
        gpu: &Gpu,
        news: Matrix,
        of_rows: impl Iterator<Item = (usize, std::ops::Range<usize>)>,
    ) -> Result<(), CudaError> {
        let mut moves = Moves::default();
        of_rows.for_each(|(row, tokens)| self.note(&mut moves, row, tokens));
        let count = moves.sources.len();
        if count == 0 {
            return Ok(());
        }
        let size =
            self.lengths.len() * self.capacity * self.layout.key_heads * self.layout.head_dim;
        let kept = match self.kept.take() {
            Some(kept) => kept,
            None => [gpu.scratch(size)?, gpu.scratch(size)?],
        };
        let (sources, slots) = (gpu.upload(moves.sources)?, gpu.upload(moves.slots)?);
        let memory = kept.each_ref();
        (self.layout).remember(gpu, news, (&sources, &slots), memory, count)?;
        self.kept = Some(kept);
        Ok(())
    }

    /// What queries find: `rows_and_counts` says for each its row and how many keys it sees.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn look_back(
        &self,
        gpu: &Gpu,
        queries: Matrix,
        rows_and_counts: Vec<(usize, usize)>,
    ) -> Result<Buffer, CudaError> {
        let kept = self
            .kept
            .as_ref()
            .expect("a row reads before it looks back");
        let (rows, counts): (Vec<u32>, Vec<u32>) = (rows_and_counts.into_iter())
            .map(|(row, count)| (row as u32, count as u32))
            .unzip();
        let (rows, counts) = (gpu.upload(rows)?, gpu.upload(counts)?);
        let memory = kept.each_ref();
        (self.layout).look_back(gpu, queries, memory, self.capacity, (&rows, &counts))
    }
}

/// The attention sublayer, reading.
pub(in crate::ops) struct Remembering<'a, const EMBED: usize, const KV: usize> {
    norm: &'a LayerNorm<EMBED, f32, Cuda>,
    weights: &'a Projections<EMBED, KV, f32, Cuda>,
    memory: HeadMemory,
}

impl<'a, const EMBED: usize, const KV: usize> Remembering<'a, EMBED, KV> {
    pub(in crate::ops) fn new(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Projections<EMBED, KV, f32, Cuda>,
        memory: HeadMemory,
    ) -> Self {
        Self {
            norm,
            weights,
            memory,
        }
    }
}

impl<const EMBED: usize, const KV: usize> Reader<EMBED, f32, Cuda> for Remembering<'_, EMBED, KV> {
    fn try_read(
        &mut self,
        x: Stream<EMBED, f32, Cuda>,
        new: &NewTokens<'_>,
        wanted: Wanted,
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        new.check();
        let x = x.try_contiguous()?;
        let (gpu, of, layout) = (gpu(), self.weights, self.memory.layout);
        let gpu: &Gpu = &gpu;
        let rows = Rows { gpu, width: EMBED };
        let tokens = x.shape().0;
        let places = numbers(gpu, new.places.iter().copied())?;

        // Keys and values of all new tokens, which their rows and others keep.
        let normed = rows.normalise(address(&x), norm_of(self.norm), NOWHERE, tokens)?;
        let all = stream_of::<EMBED>(&normed.rows);
        let news = gpu.scratch(tokens * 2 * KV)?;
        let keys = Matrix::new(at(&news), 2 * KV);
        gpu.apply(weight(&of.key), tokens, all, keys)?;
        gpu.apply(weight(&of.value), tokens, all, keys.columns_from(KV))?;
        let biases = [(address(&of.key.bias), KV), (address(&of.value.bias), KV)];
        layout.add_biases(gpu, &news, tokens, &biases)?;
        layout.map(gpu, keys, KV, (at(&places), tokens))?;
        let read =
            (new.rows.iter().zip(new.before).zip(new.own())).flat_map(|((&row, before), own)| {
                let all = before.iter().cloned().chain([own]);
                all.map(move |tokens| (row, tokens))
            });
        self.memory.keep(gpu, keys, read)?;

        // Queries of those that are wanted look back.
        let (mut picked, mut seen) = (vec![], vec![]);
        for (&row, own) in new.rows.iter().zip(new.own()) {
            let beyond = self.memory.length(row) - own.len();
            for token in wanted.of(&own) {
                picked.push(token);
                seen.push((row, beyond + token - own.start + 1));
            }
        }
        let count = picked.len();
        let of_places = numbers(gpu, picked.iter().map(|&token| new.places[token]))?;
        let picked = numbers(gpu, picked.into_iter())?;
        let asking = rows.normalise(address(&x), norm_of(self.norm), at(&picked), count)?;
        let queries = gpu.scratch(count * EMBED)?;
        let to = stream_of::<EMBED>(&queries);
        gpu.apply(
            weight(&of.query),
            count,
            stream_of::<EMBED>(&asking.rows),
            to,
        )?;
        layout.add_biases(gpu, &queries, count, &[(address(&of.query.bias), EMBED)])?;
        layout.map(gpu, to, EMBED, (at(&of_places), count))?;
        let found = self.memory.look_back(gpu, to, seen)?;

        let out = gpu.scratch(count * EMBED)?;
        let proj = weight(&of.proj);
        gpu.apply(
            proj,
            count,
            stream_of::<EMBED>(&found),
            stream_of::<EMBED>(&out),
        )?;
        let y: Stream<EMBED, f32, Cuda> = x.device().try_zeros_like(&(count, Const::<EMBED>))?;
        let added = (at(&out), address(&of.proj.bias));
        rows.residual(
            (address(&x), at(&picked)),
            added,
            address(&y),
            Dropout::NONE,
            count,
        )?;
        Ok(y)
    }
}

/// Numbers for kernels.
fn numbers(gpu: &Gpu, of: impl Iterator<Item = usize>) -> Result<CudaSlice<u32>, CudaError> {
    gpu.upload(of.map(|number| number as u32).collect())
}
