//! Reading rows bit by bit on the GPU: keys and values of every row stay in the device's memory.

use std::ops::Range;

use cudarc::driver::CudaSlice;
use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cuda, CudaError, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use super::heads::{Layout, Three};
use super::kernels::{Kernel, Source, WARPS};
use super::linear::{Layer, apply_each, apply_without_bias};
use super::products::Matrix;
use super::rows::Rows;
use super::sublayer::{norm_of, stream_of};
use super::{Address, Buffer, Gpu, NOWHERE, at, gpu};
use crate::ops::Stream;
use crate::ops::attention::Projections;
use crate::ops::bridge::cuda::address;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::{LayerNorm, Linear};
use crate::ops::reading::{NewTokens, Reader, Wanted};

pub(super) static MEMORY: Source = Source {
    name: "memory",
    text: concat!(include_str!("heads.cuh"), include_str!("memory.cu")),
    constant: "HEAD_DIM",
    kernels: &["remember", "look_back"],
};

/// Where on the device the list of the places is at which tokens stand, or nowhere if none enters a score; and how many
/// tokens there are.
pub(in crate::ops) type Placed = (Address, usize);

/// What the heads of a sublayer keep of a token, and what they ask.
pub(in crate::ops) trait Recall<const EMBED: usize, const KV: usize> {
    /// Keys and values side by side, `[count, 2 KV]`, of tokens, `from: [count, EMBED]`, that stand where `placed` says.
    ///
    /// # Errors
    /// The device's.
    fn keys_and_values(
        &self,
        gpu: &Gpu,
        layout: &Layout,
        from: Matrix,
        placed: Placed,
    ) -> Result<Buffer, CudaError>;

    /// Queries of tokens, `[count, EMBED]`, in the same way.
    ///
    /// # Errors
    /// The device's.
    fn queries(
        &self,
        gpu: &Gpu,
        layout: &Layout,
        from: Matrix,
        placed: Placed,
    ) -> Result<Buffer, CudaError>;

    /// From what is found back to the stream.
    fn proj(&self) -> &Linear<EMBED, EMBED, f32, Cuda>;
}

/// How heads look back at what they remember.
pub(in crate::ops) trait LookBack<const EMBED: usize, const KV: usize> {
    /// What queries find, `[queries, EMBED]`.
    ///
    /// # Errors
    /// The device's.
    fn look_back(
        &self,
        gpu: &Gpu,
        memory: &HeadMemory<EMBED, KV>,
        queries: &Buffer,
        seen: &Seen,
    ) -> Result<Buffer, CudaError>;
}

impl<const EMBED: usize, const KV: usize> Recall<EMBED, KV> for Projections<EMBED, KV, f32, Cuda> {
    fn keys_and_values(
        &self,
        gpu: &Gpu,
        layout: &Layout,
        from: Matrix,
        placed: Placed,
    ) -> Result<Buffer, CudaError> {
        let (_, count) = placed;
        let news = gpu.scratch(count * 2 * KV)?;
        let keys = Matrix::new(at(&news), 2 * KV);
        let layers = [&self.key, &self.value].map(Layer::of);
        apply_each(gpu, layers, count, from, keys)?;
        layout.map(gpu, keys, KV, placed)?;
        Ok(news)
    }

    fn queries(
        &self,
        gpu: &Gpu,
        layout: &Layout,
        from: Matrix,
        placed: Placed,
    ) -> Result<Buffer, CudaError> {
        let (_, count) = placed;
        let queries = gpu.scratch(count * EMBED)?;
        let to = stream_of::<EMBED>(&queries);
        apply_each(gpu, [Layer::of(&self.query)], count, from, to)?;
        layout.map(gpu, to, EMBED, placed)?;
        Ok(queries)
    }

    fn proj(&self) -> &Linear<EMBED, EMBED, f32, Cuda> {
        &self.proj
    }
}

/// The keys and values that some rows remember.
pub(in crate::ops) struct HeadMemory<const EMBED: usize, const KV: usize> {
    pub(in crate::ops) layout: Layout,
    /// Tokens that a row has room for.
    capacity: usize,
    /// Number of tokens of each row.
    lengths: Vec<usize>,
    /// Keys and values: `[rows, capacity, KV]` each; made when the first are kept.
    kept: Option<[Buffer; 2]>,
}

/// For each of some queries the row that it belongs to, and how many keys of that it sees, on the device.
pub(in crate::ops) struct Seen {
    rows: CudaSlice<u32>,
    counts: CudaSlice<u32>,
    queries: usize,
}

impl Seen {
    /// Of rows and counts.
    ///
    /// # Errors
    /// Memory.
    pub(in crate::ops) fn of(gpu: &Gpu, queries: &[(usize, usize)]) -> Result<Self, CudaError> {
        Ok(Self {
            rows: gpu.upload_places(queries.iter().map(|query| query.0))?,
            counts: gpu.upload_places(queries.iter().map(|query| query.1))?,
            queries: queries.len(),
        })
    }

    /// How many there are.
    pub(in crate::ops) fn queries(&self) -> usize {
        self.queries
    }
}

impl<const EMBED: usize, const KV: usize> HeadMemory<EMBED, KV> {
    /// So many rows that have read nothing, each with room for so many tokens.
    pub(in crate::ops) fn new(layout: Layout, (rows, capacity): (usize, usize)) -> Self {
        Self {
            layout,
            capacity,
            lengths: vec![0; rows],
            kept: None,
        }
    }

    /// Number of tokens that a row remembers.
    pub(in crate::ops) fn length(&self, row: usize) -> usize {
        self.lengths[row]
    }

    /// Rows keep keys and values of tokens, `news: [tokens, 2 KV]`: for each row the tokens.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// A row has no room.
    pub(in crate::ops) fn keep(
        &mut self,
        gpu: &Gpu,
        news: &Buffer,
        of_rows: impl Iterator<Item = (usize, Range<usize>)>,
    ) -> Result<(), CudaError> {
        let (mut sources, mut slots) = (vec![], vec![]);
        for (row, tokens) in of_rows {
            let length = self.lengths[row];
            self.lengths[row] += tokens.len();
            assert!(self.lengths[row] <= self.capacity, "a row fits the context");
            let first = row * self.capacity + length;
            slots.extend(first..first + tokens.len());
            sources.extend(tokens);
        }
        if sources.is_empty() {
            return Ok(());
        }
        let size = self.lengths.len() * self.capacity * KV;
        if self.kept.is_none() {
            self.kept = Some([gpu.scratch(size)?, gpu.scratch(size)?]);
        }
        let [kept_keys, kept_values] = self.kept().map(at);
        let count = sources.len();
        let (sources, slots) = (gpu.upload_places(sources)?, gpu.upload_places(slots)?);
        let arguments = (
            at(news),
            KV as u32,
            at(&sources),
            at(&slots),
            kept_keys,
            kept_values,
            count as u32,
        );
        gpu.launch_each(self.kernel("remember"), count * KV, arguments)
    }

    /// What queries find: `[queries, EMBED]`.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn look_back(
        &self,
        gpu: &Gpu,
        queries: &Buffer,
        seen: &Seen,
    ) -> Result<Buffer, CudaError> {
        let out = gpu.scratch(seen.queries * EMBED)?;
        let [keys, values] = self.kept().map(|kept| Matrix::new(at(kept), KV));
        let three = Three {
            queries: stream_of::<EMBED>(queries),
            keys,
            values,
        };
        let (rows, reserved) = ([at(&seen.rows), NOWHERE], (Dropout::NONE, self.capacity));
        let arguments = self.layout.arguments(three, rows, reserved);
        gpu.launch(
            self.kernel("look_back"),
            ((seen.queries * self.layout.heads).div_ceil(WARPS), 1, 1),
            (arguments, at(&seen.counts), at(&out), seen.queries as u32),
        )?;
        Ok(out)
    }

    fn kept(&self) -> [&Buffer; 2] {
        let kept = self.kept.as_ref();
        kept.expect("a row reads before it looks back").each_ref()
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        MEMORY.kernel(self.layout.head_dim, name)
    }
}

/// The stream with what its queries have found: `y = x + proj(found)`, of the rows of `x` that `picked` lists, if
/// it is somewhere, or the first.
///
/// # Errors
/// The device's.
pub(in crate::ops) fn added<const EMBED: usize>(
    gpu: &Gpu,
    proj: &Linear<EMBED, EMBED, f32, Cuda>,
    (x, picked): (&Stream<EMBED, f32, Cuda>, Address),
    (found, count): (&Buffer, usize),
) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
    let rows = Rows { gpu, width: EMBED };
    let out = gpu.scratch(count * EMBED)?;
    let (from, to) = (stream_of::<EMBED>(found), stream_of::<EMBED>(&out));
    apply_without_bias(gpu, proj, count, from, to)?;
    let y: Stream<EMBED, f32, Cuda> = x.device().try_zeros_like(&(count, Const::<EMBED>))?;
    let branch = (at(&out), address(&proj.bias));
    let from = (address(x), picked);
    rows.residual(from, branch, address(&y), Dropout::NONE, count)?;
    Ok(y)
}

/// A sublayer of heads, reading.
pub(in crate::ops) struct Remembering<'a, const EMBED: usize, const KV: usize, R, F> {
    norm: &'a LayerNorm<EMBED, f32, Cuda>,
    heads: &'a R,
    looking: F,
    memory: HeadMemory<EMBED, KV>,
}

impl<'a, const EMBED: usize, const KV: usize, R, F> Remembering<'a, EMBED, KV, R, F>
where
    R: Recall<EMBED, KV>,
    F: LookBack<EMBED, KV>,
{
    /// So many rows that have read nothing, each with room for so many tokens.
    pub(in crate::ops) fn new(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        heads: &'a R,
        looking: F,
        layout: Layout,
        size: (usize, usize),
    ) -> Self {
        Self {
            norm,
            heads,
            looking,
            memory: HeadMemory::new(layout, size),
        }
    }

    /// The tokens in `from`, which stand at `places` and see what `seen` says, with what they find: rows of `x` as of
    /// [`added`].
    fn answer(
        &self,
        gpu: &Gpu,
        from: Matrix,
        (places, seen): (Address, &Seen),
        x: (&Stream<EMBED, f32, Cuda>, Address),
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        let (heads, count) = (&self.heads, seen.queries);
        let queries = heads.queries(gpu, &self.memory.layout, from, (places, count))?;
        let found = (self.looking).look_back(gpu, &self.memory, &queries, seen)?;
        added(gpu, heads.proj(), x, (&found, count))
    }
}

impl<const EMBED: usize, const KV: usize, R, F> Reader<EMBED, f32, Cuda>
    for Remembering<'_, EMBED, KV, R, F>
where
    R: Recall<EMBED, KV>,
    F: LookBack<EMBED, KV>,
{
    fn try_read(
        &mut self,
        x: Stream<EMBED, f32, Cuda>,
        new: &NewTokens<'_>,
        wanted: Wanted,
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        new.check();
        let x = x.try_contiguous()?;
        let (gpu, tokens) = (gpu(), x.shape().0);
        let gpu: &Gpu = &gpu;
        let rows = Rows { gpu, width: EMBED };

        // Keys and values of all new tokens, which their rows and others keep.
        let places = gpu.upload_places(new.places.iter().copied())?;
        let normed = rows.normalise(address(&x), norm_of(self.norm), NOWHERE, tokens)?;
        let (from, layout) = (stream_of::<EMBED>(&normed.rows), &self.memory.layout);
        let placed = (at(&places), tokens);
        let news = self.heads.keys_and_values(gpu, layout, from, placed)?;
        let read =
            (new.rows.iter().zip(new.before).zip(new.own())).flat_map(|((&row, before), own)| {
                let all = before.iter().cloned().chain([own]);
                all.map(move |tokens| (row, tokens))
            });
        self.memory.keep(gpu, &news, read)?;

        // Queries of those that are wanted look back.
        let (mut picked, mut seen) = (vec![], vec![]);
        for (&row, own) in new.rows.iter().zip(new.own()) {
            let beyond = self.memory.length(row) - own.len();
            for token in wanted.of(&own) {
                picked.push(token);
                seen.push((row, beyond + token - own.start + 1));
            }
        }
        let seen = Seen::of(gpu, &seen)?;
        if picked.len() == tokens {
            return self.answer(gpu, from, (at(&places), &seen), (&x, NOWHERE));
        }
        let places = gpu.upload_places(picked.iter().map(|&token| new.places[token]))?;
        let picked = gpu.upload_places(picked)?;
        let norm = norm_of(self.norm);
        let normed = rows.normalise(address(&x), norm, at(&picked), seen.queries)?;
        let from = stream_of::<EMBED>(&normed.rows);
        self.answer(gpu, from, (at(&places), &seen), (&x, at(&picked)))
    }
}
