//! The KV cache of incremental decoding on the GPU: it stays in the device's memory.

use std::ops::Range;

use cudarc::driver::CudaSlice;
use dfdx::tensor::CudaError;

use super::documents::DocumentRows;
use super::heads::{Arguments, HeadLayout, Qkv};
use super::kernels::{Kernel, Source};
use super::products::Matrix;
use super::{Address, Buffer, Gpu, NULL, at};
use crate::ops::dropout::Dropout;

pub(super) static KV_CACHE: Source = Source {
    name: "kv_cache",
    text: concat!(include_str!("heads.cuh"), include_str!("kv_cache.cu")),
    constant: "HEAD_DIM",
};

/// Device address of the tokens' positions, and the number of tokens.
pub type Positions = (Address, usize);

impl HeadLayout {
    /// Number of forget gates and β of a token.
    pub fn numbers(&self) -> usize {
        self.column_of_beta() + usize::from(self.of.delta) * self.of.heads
    }

    /// The column of β among these numbers.
    pub fn column_of_beta(&self) -> usize {
        usize::from(self.of.forgets()) * self.of.heads
    }
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
    /// Number of queries.
    pub queries: usize,
    /// The largest number of keys that a query attends to.
    pub most: usize,
}

impl VisibleKeys {
    /// From pairs of sequence and count.
    pub fn of(gpu: &Gpu, queries: &[(usize, usize)]) -> Result<Self, CudaError> {
        Ok(Self {
            rows: gpu.upload_indices(queries.iter().map(|query| query.0))?,
            counts: gpu.upload_indices(queries.iter().map(|query| query.1))?,
            queries: queries.len(),
            most: queries.iter().map(|query| query.1).max().unwrap_or(0),
        })
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

    /// Appends entries of tokens to the caches, for each sequence a range of tokens. An entry is `[2 kv_width + numbers]`:
    /// keys and values side by side, then forget gates and β of the delta rule, if there are any. Forget gates are added
    /// up, and values corrected.
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
        let (kv, numbers) = (self.layout.of.kv_width(), self.layout.numbers());
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
            count: rows.len() as u32,
        };
        let (layout, qkv) = (&self.layout, self.qkv(Matrix::NONE));
        if layout.of.forgets() {
            layout.sum_gates(gpu, (qkv.addends, qkv.addends), of_rows)?;
        }
        if !layout.of.delta {
            return Ok(());
        }
        let none = (Dropout::NONE, self.capacity);
        let arguments = layout.arguments(qkv, [NULL, at(&starts)], none);
        let beta = qkv.addends.columns_from(layout.column_of_beta());
        let values = (qkv.values, qkv.values, NULL);
        layout.correct(gpu, ("correct", arguments), values, beta, of_rows)
    }

    /// These queries with the keys and values of the caches.
    fn qkv(&self, queries: Matrix) -> Qkv {
        let (kv, numbers) = (self.layout.of.kv_width(), self.layout.numbers());
        let [keys, values, further] = self.kept();
        Qkv {
            queries,
            keys: Matrix::new(at(keys), kv),
            values: Matrix::new(at(values), kv),
            addends: Matrix::new(at(further), numbers),
        }
    }

    /// Attention of the queries of each map to the caches, `[queries, maps * head_dim]` as they are.
    pub fn attend_to_cache(
        &self,
        gpu: &Gpu,
        queries: &Buffer,
        visible: &VisibleKeys,
    ) -> Result<Buffer, CudaError> {
        let (maps, width) = (self.layout.of.all_maps(), self.layout.output_width());
        let out = gpu.scratch(visible.queries * width)?;
        let queries = Matrix::new(at(queries), width);
        let arguments = (
            self.arguments(queries, visible),
            at(&out),
            visible.queries as u32,
        );
        let kernel = self.kernel("attend_cached");
        gpu.launch_rows(kernel, visible.queries * maps, arguments)?;
        Ok(out)
    }

    /// The arguments of kernels that attend to the caches: see `kv_cache.cu`.
    pub(super) fn arguments(&self, queries: Matrix, visible: &VisibleKeys) -> Arguments {
        let of_queries = [&visible.rows, &visible.counts].map(at);
        let reserved = (Dropout::NONE, self.capacity);
        (self.layout).arguments(self.qkv(queries), of_queries, reserved)
    }

    fn kept(&self) -> [&Buffer; 3] {
        let kept = self.kept.as_ref();
        kept.expect("an append before attention").each_ref()
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        KV_CACHE.kernel(self.layout.of.head_dim, name)
    }
}
