//! An attention sublayer during incremental decoding on a GPU.

use dfdx::shapes::{Const, HasShape};
use dfdx::tensor::{Cuda, CudaError, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use crate::ops::Stream;
use crate::ops::attention::{AttentionWeights, FromHeads};
use crate::ops::bridge::cuda::address;
use crate::ops::cuda::heads::HeadLayout;
use crate::ops::cuda::kv_cache::{GpuKvCache, Positions, VisibleKeys};
use crate::ops::cuda::linear::{Layer, apply_each, weight};
use crate::ops::cuda::parts::{Gated, QkHeads};
use crate::ops::cuda::products::Matrix;
use crate::ops::cuda::rows::{NormedRows, Rows};
use crate::ops::cuda::sublayer::{norm_of, stream_of};
use crate::ops::cuda::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::decoding::{
    BoxedIncremental, BoxedIncrementalPairs, NewPairs, NewTokens, OutputTokens,
};
use crate::ops::dropout::Dropout;
use crate::ops::parameters::Norm;

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
    gpu.apply(weight(&proj.weight), count, from, to)?;
    let y: Stream<EMBED, f32, Cuda> = x.device().try_zeros_like(&(count, Const::<EMBED>))?;
    let branch = (at(&out), address(&proj.bias));
    let from = (address(x), picked);
    rows.residual(from, branch, address(&y), Dropout::NONE, count)?;
    Ok(y)
}

/// An attention sublayer with its KV cache.
pub struct CachedAttention<'a, const EMBED: usize> {
    norm: &'a Norm<EMBED, f32, Cuda>,
    weights: &'a AttentionWeights<EMBED, f32, Cuda>,
    cache: GpuKvCache,
}

impl<'a, const EMBED: usize> CachedAttention<'a, EMBED> {
    /// With empty caches; `size` is the number of sequences and the room for tokens of each.
    pub fn new(
        norm: &'a Norm<EMBED, f32, Cuda>,
        weights: &'a AttentionWeights<EMBED, f32, Cuda>,
        size: (usize, usize),
    ) -> Self {
        Self {
            norm,
            weights,
            cache: GpuKvCache::new(HeadLayout::of(weights), size),
        }
    }

    /// As one function.
    pub fn boxed(mut self) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        Box::new(move |x, new, outputs| self.try_decode(x, new, outputs))
    }

    /// The same where queries come from a stream of their own. The norm applies to queries (0) or to keys (1).
    pub fn boxed_pairs(mut self, which: usize) -> BoxedIncrementalPairs<'a, EMBED, f32, Cuda> {
        Box::new(move |queries, keys, new| self.try_decode_pairs(which, queries, keys, new))
    }

    /// Cache entries of tokens, `from: [count, EMBED]`, at the given positions: see [`GpuKvCache::append`].
    fn cache_entries(
        &self,
        gpu: &Gpu,
        from: Matrix,
        placed: Positions,
    ) -> Result<Buffer, CudaError> {
        let (of, layout, (positions, count)) = (self.weights, &self.cache.layout, placed);
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
            Some(table) => table.lay_keys(gpu, &layout.of, keys, placed)?,
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

    /// Queries of tokens at the given positions: `[count, width]`.
    fn queries(
        &self,
        gpu: &Gpu,
        from: Matrix,
        (positions, count): Positions,
    ) -> Result<Buffer, CudaError> {
        let layout = self.weights.layout;
        let queries = gpu.scratch(count * layout.width())?;
        let to = Matrix::new(at(&queries), layout.width());
        apply_each(gpu, [Layer::of(self.weights.to_queries())], count, from, to)?;
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

    /// The output for the tokens in `from`, given their positions and visible keys; `x` as in
    /// [`add_projected`].
    fn answer(
        &self,
        gpu: &Gpu,
        from: Matrix,
        (positions, visible): (Address, &VisibleKeys),
        x: (&Stream<EMBED, f32, Cuda>, Address),
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        let count = visible.queries();
        let queries = self.queries(gpu, from, (positions, count))?;
        let heads = (self.weights).attend_to_cache(gpu, &self.cache, queries, visible)?;
        let gate = (self.weights.gate.as_ref(), &heads);
        let gated = Gated::new(gpu, &self.cache.layout, gate, (from, count))?;
        let out = gated.map_or(heads, |gated| gated.output);
        add_projected(gpu, &self.weights.proj, x, (&out, count))
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
        let from = stream_of::<EMBED>(&normed.rows);
        let entries = self.cache_entries(gpu, from, (at(&on_device), tokens))?;
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
        let normed = rows.normalise(address(&x), norm, at(&picked), visible.queries())?;
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
        new.check();
        let gpu = gpu();
        let gpu: &Gpu = &gpu;
        let rows = Rows { gpu, width: EMBED };
        if let Some(keys) = keys {
            let (keys, count) = (keys.clone().try_contiguous()?, keys.shape().0);
            let positions = new.positions_of_keys(|sequence| self.cache.length(sequence));
            let on_device = gpu.upload_indices(positions)?;
            let (_kept, from) = self.input(&rows, (&keys, which == 1))?;
            let entries = self.cache_entries(gpu, from, (at(&on_device), count))?;
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
