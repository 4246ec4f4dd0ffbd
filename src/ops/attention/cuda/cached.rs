//! An attention sublayer during incremental decoding on a GPU.

use cudarc::driver::CudaSlice;
use dfdx::shapes::HasShape;
use dfdx::tensor::{Cuda, CudaError, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use crate::ops::Stream;
use crate::ops::attention::AttentionWeights;
use crate::ops::bridge::cuda::address;
use crate::ops::cuda::heads::HeadLayout;
use crate::ops::cuda::kv_cache::{GpuKvCache, Positions, VisibleKeys};
use crate::ops::cuda::linear::{Layer, apply_each, weight};
use crate::ops::cuda::parts::{Gated, QkHeads};
use crate::ops::cuda::products::Matrix;
use crate::ops::cuda::rows::{NormedRows, Rows};
use crate::ops::cuda::sublayer::{norm_of, stream_of};
use crate::ops::cuda::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::decoding::{BoxedIncremental, NewTokens};
use crate::ops::dropout::Dropout;
use crate::ops::parameters::Norm;

/// New tokens of a stream, ready for the projections.
struct Inputs<const EMBED: usize> {
    x: Stream<EMBED, f32, Cuda>,
    /// The same after the norm, if it applies to them.
    normed: Option<NormedRows>,
    /// Position of each in its sequence.
    positions: CudaSlice<u32>,
}

impl<const EMBED: usize> Inputs<EMBED> {
    fn rows(&self) -> Matrix {
        match &self.normed {
            Some(normed) => stream_of::<EMBED>(&normed.rows),
            None => Matrix::new(address(&self.x), EMBED),
        }
    }

    fn positions(&self) -> Positions {
        (at(&self.positions), self.x.shape().0)
    }
}

/// An attention sublayer with its KV cache.
pub struct CachedAttention<'a, const EMBED: usize> {
    norm: &'a Norm<EMBED, f32, Cuda>,
    /// Whether the norm applies to queries, and to keys.
    normed: [bool; 2],
    weights: &'a AttentionWeights<EMBED, f32, Cuda>,
    cache: GpuKvCache,
}

impl<'a, const EMBED: usize> CachedAttention<'a, EMBED> {
    /// With empty caches; `size` is the number of sequences and the room for tokens of each.
    pub fn new(
        (normed, norm): ([bool; 2], &'a Norm<EMBED, f32, Cuda>),
        weights: &'a AttentionWeights<EMBED, f32, Cuda>,
        size: (usize, usize),
    ) -> Self {
        Self {
            norm,
            normed,
            weights,
            cache: GpuKvCache::new(HeadLayout::of(weights), size),
        }
    }

    /// As one function.
    pub fn boxed(mut self) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        Box::new(move |queries, keys, new| self.try_decode(queries, keys, new))
    }

    /// Rows of a stream, after the norm if it applies, with their positions on the device.
    fn inputs(
        &self,
        gpu: &Gpu,
        (x, is_normed): (&Stream<EMBED, f32, Cuda>, bool),
        positions: &[usize],
    ) -> Result<Inputs<EMBED>, CudaError> {
        let x = x.clone().try_contiguous()?;
        let rows = Rows::of(gpu, EMBED);
        let normed = is_normed
            .then(|| rows.normalise(address(&x), norm_of(self.norm), NULL, x.shape().0))
            .transpose()?;
        let positions = gpu.upload_indices(positions.iter().copied())?;
        Ok(Inputs {
            x,
            normed,
            positions,
        })
    }

    /// Cache entries of tokens: see [`GpuKvCache::append`].
    fn cache_entries(&self, gpu: &Gpu, tokens: &Inputs<EMBED>) -> Result<Buffer, CudaError> {
        let (of, layout, from) = (self.weights, &self.cache.layout, tokens.rows());
        let (positions, count) = tokens.positions();
        let kv = layout.of.kv_width();
        let width = 2 * kv + layout.numbers();
        let entries = gpu.scratch(count * width)?;
        let keys = Matrix::new(at(&entries), width);
        let (values, numbers) = (keys.columns_from(kv), keys.columns_from(2 * kv));
        let value = Layer::of(&of.value);
        match &of.key {
            Some(key) => apply_each(gpu, [Layer::of(key), value], count, from, keys)?,
            None => apply_each(gpu, [value], count, from, values)?,
        }
        match &of.positions {
            Some(table) => table.lay_keys(gpu, &layout.of, keys, tokens.positions())?,
            None => self.transform(gpu, keys, ([0, layout.of.kv_heads], count), positions)?,
        }
        if let Some(forget) = &of.forget {
            apply_each(gpu, [Layer::of(forget)], count, from, numbers)?;
        }
        if let Some(beta) = &of.beta {
            let to = numbers.columns_from(layout.column_of_beta());
            gpu.apply(weight(&beta.weight), count, from, to)?;
        }
        Ok(entries)
    }

    /// Queries of tokens: `[tokens, width]`.
    fn queries(&self, gpu: &Gpu, tokens: &Inputs<EMBED>) -> Result<Buffer, CudaError> {
        let (layout, (positions, count)) = (self.weights.layout, tokens.positions());
        let queries = gpu.scratch(count * layout.width())?;
        let to = Matrix::new(at(&queries), layout.width());
        let layer = Layer::of(self.weights.to_queries());
        apply_each(gpu, [layer], count, tokens.rows(), to)?;
        self.transform(gpu, to, ([layout.heads, 0], count), positions)?;
        Ok(queries)
    }

    /// Normalises and transforms some heads of queries and of keys, in place.
    fn transform(
        &self,
        gpu: &Gpu,
        heads: Matrix,
        (counts, rows): ([usize; 2], usize),
        positions: Address,
    ) -> Result<(), CudaError> {
        let (by_map, maps) = (self.cache.layout.by_map(), self.weights.layout.maps());
        let of_maps = QkHeads {
            heads,
            counts: counts.map(|heads| heads * maps),
            rows,
        };
        if let Some(norm) = by_map.qk_norm(self.weights.qk_norm.as_ref()) {
            by_map.normalise(gpu, norm, of_maps, NULL)?;
        }
        by_map.transform(gpu, of_maps, positions)
    }

    /// The output for tokens, given their visible keys: the heads' outputs, projected and added to the residual.
    fn answer(
        &self,
        gpu: &Gpu,
        tokens: &Inputs<EMBED>,
        visible: &VisibleKeys,
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        let (proj, count) = (&self.weights.proj, visible.queries);
        let queries = self.queries(gpu, tokens)?;
        let heads = (self.weights).attend_to_cache(gpu, &self.cache, queries, visible)?;
        let gate = (self.weights.gate.as_ref(), &heads);
        let gated = Gated::new(gpu, &self.cache.layout, gate, (tokens.rows(), count))?;
        let heads = gated.map_or(heads, |gated| gated.output);
        let out = gpu.scratch(count * EMBED)?;
        let from = Matrix::new(at(&heads), proj.widths().0);
        let projection = weight(&proj.weight);
        gpu.apply(projection, count, from, stream_of::<EMBED>(&out))?;
        let y = tokens.x.device().try_zeros_like(tokens.x.shape())?;
        let (x, branch) = (address(&tokens.x), (at(&out), address(&proj.bias)));
        let rows = Rows::of(gpu, EMBED);
        rows.residual(x, branch, address(&y), Dropout::NONE, count)?;
        Ok(y)
    }

    fn try_decode(
        &mut self,
        queries: &Stream<EMBED, f32, Cuda>,
        keys: Option<&Stream<EMBED, f32, Cuda>>,
        new: &NewTokens<'_>,
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        new.check();
        let gpu = gpu();
        let gpu: &Gpu = &gpu;
        let of_queries = self.inputs(gpu, (queries, self.normed[0]), new.positions)?;
        if let Some(keys) = keys {
            // In self-attention both may be one stream, which goes through the norm once.
            let is_same = self.normed == [true; 2] && address(keys) == address(queries);
            let of_keys = (!is_same).then(|| {
                let positions = new.positions_of_keys(|sequence| self.cache.length(sequence));
                self.inputs(gpu, (keys, self.normed[1]), &positions)
            });
            let of_keys = of_keys.transpose()?;
            let entries = self.cache_entries(gpu, of_keys.as_ref().unwrap_or(&of_queries))?;
            let read = new
                .of_sequences()
                .flat_map(|new| new.keys().map(move |keys| (new.sequence, keys)));
            self.cache.append(gpu, &entries, read)?;
        }
        // The last new query of a sequence attends to all its keys, the one before it to all but the last.
        let visible = new.of_sequences().flat_map(|new| {
            let (keys, count) = (self.cache.length(new.sequence), new.queries.len());
            (0..count).map(move |query| (new.sequence, keys + 1 + query - count))
        });
        let visible = VisibleKeys::of(gpu, &visible.collect::<Vec<_>>())?;
        self.answer(gpu, &of_queries, &visible)
    }
}
