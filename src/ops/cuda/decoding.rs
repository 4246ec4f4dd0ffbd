//! Incremental decoding on the GPU: the KV cache stays in the device's memory.

use std::ops::Range;

use cudarc::driver::CudaSlice;
use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cuda, CudaError, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use super::heads::{Arguments, DocumentRows, HeadLayout, Qkv};
use super::kernels::{Kernel, Source, WARPS};
use super::linear::{Layer, apply_each, apply_without_bias, project, weight};
use super::parts::Compared;
use super::products::Matrix;
use super::rows::{NormedRows, Rows};
use super::sublayer::{norm_of, stream_of};
use super::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::Stream;
use crate::ops::attention::{AttentionWeights, FromHeads};
use crate::ops::bridge::cuda::address;
use crate::ops::decoding::{
    BoxedIncremental, BoxedIncrementalPairs, NewPairs, NewTokens, OutputTokens,
};
use crate::ops::dropout::Dropout;
use crate::ops::parameters::{Norm, Projection};

pub(super) static KV_CACHE: Source = Source {
    name: "kv_cache",
    text: concat!(include_str!("heads.cuh"), include_str!("kv_cache.cu")),
    constant: "HEAD_DIM",
    kernels: &["append", "attend_cached"],
};

/// Address of the tokens' positions on the device, or null if the scores do not depend on them; and the
/// number of tokens.
pub type Positions = (Address, usize);

/// The projections of a sublayer during incremental decoding.
pub trait DecodingProjections<const EMBED: usize> {
    /// Cache entries of tokens, `from: [count, EMBED]`, at the given positions, `[count, 2 kv_width + 2 heads]` at most:
    /// keys and values side by side, then forget gates and β of the delta rule, if there are any.
    fn cache_entries(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        from: Matrix,
        positions: Positions,
    ) -> Result<Buffer, CudaError>;

    /// Queries of tokens at the given positions: `[count, width]`.
    fn queries(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        from: Matrix,
        positions: Positions,
    ) -> Result<Buffer, CudaError>;

    /// To the gates of the heads' outputs, if there are any.
    fn gate(&self) -> Option<&Projection<EMBED, f32, Cuda>>;

    /// The output projection.
    fn proj(&self) -> &FromHeads<EMBED, f32, Cuda>;
}

/// How heads attend to the KV cache.
pub trait AttendToCache {
    /// The heads' outputs for some queries: `[queries, width]`.
    fn attend_to_cache(
        &self,
        gpu: &Gpu,
        cache: &GpuKvCache,
        queries: &Buffer,
        visible: &VisibleKeys,
    ) -> Result<Buffer, CudaError>;
}

impl<const EMBED: usize> DecodingProjections<EMBED> for AttentionWeights<EMBED, f32, Cuda> {
    fn cache_entries(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        from: Matrix,
        positions: Positions,
    ) -> Result<Buffer, CudaError> {
        let ((_, count), kv) = (positions, layout.of.kv_width());
        let width = 2 * kv + numbers(layout);
        let entries = gpu.scratch(count * width)?;
        let keys = Matrix::new(at(&entries), width);
        let layers = [&self.comparison().key, &self.value].map(Layer::of);
        apply_each(gpu, layers, count, from, keys)?;
        let gates = keys.columns_from(2 * kv);
        if let Some(forget) = &self.forget {
            apply_each(gpu, [Layer::of(forget)], count, from, gates)?;
        }
        if let Some(beta) = &self.beta {
            let to = gates.columns_from(column_of_beta(layout));
            gpu.apply(weight(&beta.weight), count, from, to)?;
        }
        let compared = Compared {
            heads: keys,
            counts: [0, layout.of.kv_heads],
            rows: count,
        };
        layout.normalise(gpu, compared, self.qk_norm.as_ref(), false)?;
        layout.transform(gpu, keys, kv, positions)?;
        Ok(entries)
    }

    fn queries(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        from: Matrix,
        positions: Positions,
    ) -> Result<Buffer, CudaError> {
        let ((_, count), width) = (positions, layout.of.width());
        let queries = gpu.scratch(count * width)?;
        let to = Matrix::new(at(&queries), width);
        let layer = Layer::of(&self.comparison().query);
        apply_each(gpu, [layer], count, from, to)?;
        let compared = Compared {
            heads: to,
            counts: [layout.of.heads, 0],
            rows: count,
        };
        layout.normalise(gpu, compared, self.qk_norm.as_ref(), false)?;
        layout.transform(gpu, to, width, positions)?;
        Ok(queries)
    }

    fn gate(&self) -> Option<&Projection<EMBED, f32, Cuda>> {
        self.gate.as_ref()
    }

    fn proj(&self) -> &FromHeads<EMBED, f32, Cuda> {
        &self.proj
    }
}

/// Number of forget gates and β of a token.
fn numbers(layout: &HeadLayout) -> usize {
    column_of_beta(layout) + usize::from(layout.of.delta) * layout.of.heads
}

/// The column of β among these numbers.
fn column_of_beta(layout: &HeadLayout) -> usize {
    usize::from(layout.of.forgets()) * layout.of.heads
}

/// The KV caches of some sequences.
pub struct GpuKvCache {
    pub layout: HeadLayout,
    /// Maximum number of tokens per sequence.
    capacity: usize,
    /// Number of cached tokens of each sequence.
    lengths: Vec<usize>,
    /// Keys and values, `[sequences, capacity, kv_width]` each, and `[sequences, capacity, numbers]`: the running sums of
    /// forget gates, and β. Allocated on the first use.
    kept: Option<[Buffer; 3]>,
}

/// For each query its sequence, and how many of the cached keys it attends to; on the device.
pub struct VisibleKeys {
    rows: CudaSlice<u32>,
    counts: CudaSlice<u32>,
    queries: usize,
}

impl VisibleKeys {
    /// From pairs of sequence and count.
    pub fn of(gpu: &Gpu, queries: &[(usize, usize)]) -> Result<Self, CudaError> {
        Ok(Self {
            rows: gpu.upload_indices(queries.iter().map(|query| query.0))?,
            counts: gpu.upload_indices(queries.iter().map(|query| query.1))?,
            queries: queries.len(),
        })
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.queries
    }
}

impl GpuKvCache {
    /// Empty caches for a number of sequences with room for `capacity` tokens each.
    pub fn new(layout: HeadLayout, (rows, capacity): (usize, usize)) -> Self {
        Self {
            layout,
            capacity,
            lengths: vec![0; rows],
            kept: None,
        }
    }

    /// Number of cached tokens of a sequence.
    pub fn length(&self, row: usize) -> usize {
        self.lengths[row]
    }

    /// Appends entries of tokens to the caches, for each sequence a range of tokens: see
    /// [`DecodingProjections::cache_entries`]. Forget gates are added up, and values corrected.
    ///
    /// # Panics
    /// If a cache is full.
    pub fn append(
        &mut self,
        gpu: &Gpu,
        entries: &Buffer,
        of_rows: impl Iterator<Item = (usize, Range<usize>)>,
    ) -> Result<(), CudaError> {
        let (mut sources, mut slots, before) = (vec![], vec![], self.lengths.clone());
        for (row, tokens) in of_rows {
            let length = self.lengths[row];
            self.lengths[row] += tokens.len();
            assert!(self.lengths[row] <= self.capacity, "a full cache");
            let first = row * self.capacity + length;
            slots.extend(first..first + tokens.len());
            sources.extend(tokens);
        }
        if sources.is_empty() {
            return Ok(());
        }
        let (kv, numbers) = (self.layout.of.kv_width(), numbers(&self.layout));
        let slots_of_all = self.lengths.len() * self.capacity;
        if self.kept.is_none() {
            let room = |width| gpu.scratch(slots_of_all * width);
            self.kept = Some([room(kv)?, room(kv)?, room(numbers)?]);
        }
        let [keys, values, further] = self.kept().map(at);
        let count = sources.len();
        let (sources, slots) = (gpu.upload_indices(sources)?, gpu.upload_indices(slots)?);
        let arguments = (
            at(entries),
            kv as u32,
            numbers as u32,
            at(&sources),
            at(&slots),
            keys,
            values,
            further,
            count as u32,
        );
        let elements = count * (2 * kv + numbers);
        gpu.launch_each(self.kernel("append"), elements, arguments)?;
        match numbers {
            0 => Ok(()),
            _ => self.complete(gpu, &before),
        }
    }

    /// Adds up the forget gates of the tokens that caches have beyond these lengths, and corrects their values.
    fn complete(&self, gpu: &Gpu, before: &[usize]) -> Result<(), CudaError> {
        let grown = |row: &usize| before[*row] < self.lengths[*row];
        let rows: Vec<usize> = (0..before.len()).filter(grown).collect();
        let slot = |lengths: Option<&[usize]>| {
            let slots = rows.iter().map(|&row| {
                let length = lengths.map_or(0, |lengths| lengths[row]);
                row * self.capacity + length
            });
            gpu.upload_indices(slots)
        };
        let (starts, firsts) = (slot(None)?, slot(Some(before))?);
        let ends = slot(Some(&self.lengths))?;
        let of_rows = DocumentRows {
            starts: at(&starts),
            firsts: at(&firsts),
            ends: at(&ends),
            count: rows.len(),
        };
        let (layout, qkv) = (&self.layout, self.qkv(Matrix::NONE));
        if layout.of.forgets() {
            layout.sum_gates(gpu, (qkv.sums, qkv.sums), of_rows)?;
        }
        if !layout.of.delta {
            return Ok(());
        }
        let none = (Dropout::NONE, self.capacity);
        let arguments = layout.arguments(qkv, [NULL, at(&starts)], none);
        let beta = qkv.sums.columns_from(column_of_beta(layout));
        let values = (qkv.values, qkv.values, NULL);
        layout.correct(gpu, ("correct", arguments), values, beta, of_rows)
    }

    /// These queries with the keys and values of the caches.
    fn qkv(&self, queries: Matrix) -> Qkv {
        let (kv, numbers) = (self.layout.of.kv_width(), numbers(&self.layout));
        let [keys, values, sums] = self.kept();
        Qkv {
            queries,
            keys: Matrix::new(at(keys), kv),
            values: Matrix::new(at(values), kv),
            sums: Matrix::new(at(sums), numbers),
        }
    }

    /// Attends to the caches: `[queries, width]`.
    pub fn attend_to_cache(
        &self,
        gpu: &Gpu,
        queries: &Buffer,
        visible: &VisibleKeys,
    ) -> Result<Buffer, CudaError> {
        let layout = self.layout.of;
        let out = gpu.scratch(visible.queries * layout.width())?;
        let queries = Matrix::new(at(queries), layout.width());
        let arguments = (
            self.arguments(queries, visible),
            at(&out),
            visible.queries as u32,
        );
        let blocks = (visible.queries * layout.heads).div_ceil(WARPS);
        gpu.launch(self.kernel("attend_cached"), (blocks, 1, 1), arguments)?;
        Ok(out)
    }

    /// The arguments of kernels that attend to the caches: see `kv_cache.cu`.
    pub(super) fn arguments(&self, queries: Matrix, visible: &VisibleKeys) -> Arguments {
        let of_queries = [&visible.rows, &visible.counts].map(at);
        let reserved = (Dropout::NONE, self.capacity);
        (self.layout).arguments(self.qkv(queries), of_queries, reserved)
    }

    /// Maximum number of tokens per sequence.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    fn kept(&self) -> [&Buffer; 3] {
        let kept = self.kept.as_ref();
        kept.expect("an append before attention").each_ref()
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        KV_CACHE.kernel(self.layout.of.head_dim, name)
    }
}

/// Projects the heads' outputs and adds the residual: `y = x + proj(heads)`, for the rows of `x` that
/// `picked` lists, or its first rows if that is null.
fn add_projected<const EMBED: usize>(
    gpu: &Gpu,
    proj: &FromHeads<EMBED, f32, Cuda>,
    (x, picked): (&Stream<EMBED, f32, Cuda>, Address),
    (heads, count): (&Buffer, usize),
) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
    let rows = Rows { gpu, width: EMBED };
    let out = gpu.scratch(count * EMBED)?;
    let from = Matrix::new(at(heads), proj.widths().0);
    let to = stream_of::<EMBED>(&out);
    apply_without_bias(gpu, proj, count, from, to)?;
    let y: Stream<EMBED, f32, Cuda> = x.device().try_zeros_like(&(count, Const::<EMBED>))?;
    let branch = (at(&out), address(&proj.bias));
    let from = (address(x), picked);
    rows.residual(from, branch, address(&y), Dropout::NONE, count)?;
    Ok(y)
}

/// A sublayer with multi-head attention during incremental decoding.
pub struct GpuCachedSublayer<'a, const EMBED: usize, R, F> {
    norm: &'a Norm<EMBED, f32, Cuda>,
    heads: R,
    attend: F,
    cache: GpuKvCache,
}

impl<'a, const EMBED: usize, R, F> GpuCachedSublayer<'a, EMBED, R, F>
where
    R: DecodingProjections<EMBED>,
    F: AttendToCache,
{
    /// With empty caches; `size` is the number of sequences and the room for tokens of each.
    pub fn new(
        norm: &'a Norm<EMBED, f32, Cuda>,
        heads: R,
        attend: F,
        layout: HeadLayout,
        size: (usize, usize),
    ) -> Self {
        Self {
            norm,
            heads,
            attend,
            cache: GpuKvCache::new(layout, size),
        }
    }

    /// As one function.
    pub fn boxed(mut self) -> BoxedIncremental<'a, EMBED, f32, Cuda>
    where
        R: 'a,
        F: 'a,
    {
        Box::new(move |x, new, outputs| self.try_decode(x, new, outputs))
    }

    /// The same where queries come from a stream of their own. The norm applies to queries (0) or to keys (1).
    pub fn boxed_pairs(mut self, which: usize) -> BoxedIncrementalPairs<'a, EMBED, f32, Cuda>
    where
        R: 'a,
        F: 'a,
    {
        Box::new(move |queries, keys, new| self.try_decode_pairs(which, queries, keys, new))
    }

    /// The output for the tokens in `from`, given their positions and visible keys; `x` as in
    /// [`add_projected`].
    fn answer(
        &self,
        gpu: &Gpu,
        from: Matrix,
        (positions, visible): (Address, &VisibleKeys),
        x: (&Stream<EMBED, f32, Cuda>, Address),
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        let (heads, count) = (&self.heads, visible.queries);
        let queries = heads.queries(gpu, &self.cache.layout, from, (positions, count))?;
        let mut out = (self.attend).attend_to_cache(gpu, &self.cache, &queries, visible)?;
        if let Some(gate) = heads.gate() {
            let layout = &self.cache.layout;
            let gates = project(gpu, gate, count, from)?;
            out = layout.gate(gpu, (&out, &gates), count)?;
        }
        add_projected(gpu, heads.proj(), x, (&out, count))
    }

    fn try_decode(
        &mut self,
        x: Stream<EMBED, f32, Cuda>,
        new: &NewTokens<'_>,
        outputs: OutputTokens,
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        new.check();
        let x = x.try_contiguous()?;
        let (gpu, tokens) = (gpu(), x.shape().0);
        let gpu: &Gpu = &gpu;
        let rows = Rows { gpu, width: EMBED };

        // Keys and values of all new tokens, appended to the caches of their own and of dependent
        // sequences.
        let on_device = gpu.upload_indices(new.positions.iter().copied())?;
        let normed = rows.normalise(address(&x), norm_of(self.norm), NULL, tokens)?;
        let (from, layout) = (stream_of::<EMBED>(&normed.rows), &self.cache.layout);
        let positions = (at(&on_device), tokens);
        let entries = self.heads.cache_entries(gpu, layout, from, positions)?;
        let read = (new.sequences.iter().zip(new.prefixes).zip(new.own())).flat_map(
            |((&row, before), own)| {
                let all = before.iter().cloned().chain([own]);
                all.map(move |tokens| (row, tokens))
            },
        );
        self.cache.append(gpu, &entries, read)?;

        // The queries of the output tokens attend to the caches.
        let (mut picked, mut visible) = (vec![], vec![]);
        for (&row, own) in new.sequences.iter().zip(new.own()) {
            let beyond = self.cache.length(row) - own.len();
            for token in outputs.of(&own) {
                picked.push(token);
                visible.push((row, beyond + token - own.start + 1));
            }
        }
        let visible = VisibleKeys::of(gpu, &visible)?;
        if picked.len() == tokens {
            return self.answer(gpu, from, (at(&on_device), &visible), (&x, NULL));
        }
        let on_device = gpu.upload_indices(picked.iter().map(|&token| new.positions[token]))?;
        let picked = gpu.upload_indices(picked)?;
        let norm = norm_of(self.norm);
        let normed = rows.normalise(address(&x), norm, at(&picked), visible.queries)?;
        let from = stream_of::<EMBED>(&normed.rows);
        self.answer(gpu, from, (at(&on_device), &visible), (&x, at(&picked)))
    }

    /// The rows of one of two streams after the norm, if it applies to it: in a new buffer, or as they are.
    fn input(
        &self,
        rows: &Rows<'_>,
        (x, is_normed): (&Stream<EMBED, f32, Cuda>, bool),
    ) -> Result<(Option<NormedRows>, Matrix), CudaError> {
        if !is_normed {
            return Ok((None, Matrix::new(address(x), EMBED)));
        }
        let normed = rows.normalise(address(x), norm_of(self.norm), NULL, x.shape().0)?;
        let matrix = stream_of::<EMBED>(&normed.rows);
        Ok((Some(normed), matrix))
    }

    /// The same as [`Self::try_decode`] for two streams; the norm applies to queries (0) or to keys (1).
    fn try_decode_pairs(
        &mut self,
        which: usize,
        x: &Stream<EMBED, f32, Cuda>,
        keys: Option<&Stream<EMBED, f32, Cuda>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        let gpu = gpu();
        let gpu: &Gpu = &gpu;
        let rows = Rows { gpu, width: EMBED };
        if let Some(keys) = keys {
            let (keys, count) = (keys.clone().try_contiguous()?, keys.shape().0);
            let positions = new.positions_of_keys(|sequence| self.cache.length(sequence));
            let on_device = gpu.upload_indices(positions)?;
            let (_kept, from) = self.input(&rows, (&keys, which == 1))?;
            let (layout, positions) = (&self.cache.layout, (at(&on_device), count));
            let entries = self.heads.cache_entries(gpu, layout, from, positions)?;
            let read = new.pairs().map(|(sequence, _, keys)| (sequence, keys));
            self.cache.append(gpu, &entries, read)?;
        }
        // The last new query of a sequence attends to all its keys, the one before it to all but the last.
        let visible = new.pairs().flat_map(|(sequence, queries, _)| {
            let (keys, count) = (self.cache.length(sequence), queries.len());
            (0..count).map(move |query| (sequence, keys + 1 + query - count))
        });
        let visible = VisibleKeys::of(gpu, &visible.collect::<Vec<_>>())?;
        let on_device = gpu.upload_indices(new.positions.iter().copied())?;
        let x = x.clone().try_contiguous()?;
        let (_kept, from) = self.input(&rows, (&x, which == 0))?;
        self.answer(gpu, from, (at(&on_device), &visible), (&x, NULL))
    }
}
