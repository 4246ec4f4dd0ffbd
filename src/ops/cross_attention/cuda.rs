//! The GPU: the kernels of self-attention, with different document lengths for queries and keys.

use std::rc::Rc;

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cuda, CudaError, Gradients, NoneTape, PutTape, Tape, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

use super::recomputing::recomputing;
use super::{BoxedIncrementalCrossAttention, CrossAttentionOp, NewPairs, NormedStream, reference};
use crate::ops::Stream;
use crate::ops::attention::{AttentionDropout, AttentionWeights};
use crate::ops::bridge::cuda::{address, gradient_address, set_gradient, start_of, take_gradient};
use crate::ops::cuda::decoding::{DecodingProjections, GpuKvCache, VisibleKeys, add_projected};
use crate::ops::cuda::heads::{Attention, AttentionOutput, HeadLayout, Qkv, WIDEST};
use crate::ops::cuda::linear::{
    Joined, Layer, apply_each, apply_without_bias, back, back_without_bias,
};
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::rows::{self, Rows};
use crate::ops::cuda::sublayer::{dropped, norm_gradient, norm_of, stream_of};
use crate::ops::cuda::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::parameters::Norm;

impl CrossAttentionOp<f32> for Cuda {
    fn try_cross_attention<const EMBED: usize, T: Tape<f32, Cuda>>(
        [queries, keys]: [&Stream<EMBED, f32, Cuda>; 2],
        (which, norm): (NormedStream, &Norm<EMBED, f32, Cuda>),
        weights: &AttentionWeights<EMBED, f32, Cuda>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        mut tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        weights.layout.check_plain();
        if weights.layout.head_dim > WIDEST {
            return reference::cross_attention(
                [queries, keys],
                (which, norm),
                weights,
                starts,
                dropout,
                tape,
            );
        }
        let gpu = gpu();
        let sides = [
            queries.clone().try_contiguous()?,
            keys.clone().try_contiguous()?,
        ];
        let op = Sublayer {
            which,
            norm: norm.clone(),
            weights: weights.clone(),
            attention: Attention {
                layout: HeadLayout::new(weights.layout),
                dropout,
                queries: gpu.documents(starts[0])?,
                keys: gpu.documents(starts[1])?,
            },
            gpu,
        };
        let y: Stream<EMBED, f32, Cuda> = queries.device().try_zeros_like(queries)?;
        let saved = op.forward([&sides[0], &sides[1]], address(&y))?;
        if T::OWNS_TAPE {
            let of_y = y.clone();
            tape.add_backward_op(move |gradients| op.backward(&sides, &of_y, saved, gradients));
        }
        Ok(y.put_tape(tape))
    }

    fn incremental_cross_attention<'a, const EMBED: usize>(
        norm: (NormedStream, &'a Norm<EMBED, f32, Cuda>),
        weights: &'a AttentionWeights<EMBED, f32, Cuda>,
        (rows, context): (usize, usize),
    ) -> BoxedIncrementalCrossAttention<'a, EMBED, f32, Cuda> {
        weights.layout.check_plain();
        if weights.layout.head_dim > WIDEST {
            return recomputing(
                rows,
                move |x: [&Stream<EMBED, f32, Cuda>; 2], starts: [&[usize]; 2]| {
                    let none = AttentionDropout::none(context);
                    reference::cross_attention(x, norm, weights, starts, none, NoneTape)
                },
            );
        }
        let mut sublayer = GpuCachedCrossAttention {
            which: norm.0,
            norm: norm.1,
            weights,
            cache: GpuKvCache::new(HeadLayout::new(weights.layout), (rows, context)),
        };
        Box::new(move |queries, keys, new| sublayer.try_decode(queries, keys, new))
    }
}

/// The sublayer, for one step.
struct Sublayer<const EMBED: usize> {
    gpu: Rc<Gpu>,
    which: NormedStream,
    norm: Norm<EMBED, f32, Cuda>,
    weights: AttentionWeights<EMBED, f32, Cuda>,
    attention: Attention,
}

/// What backward needs.
struct Saved {
    normed: rows::NormedRows,
    /// The projections to keys and values.
    joined: Joined<2>,
    /// `[queries, width of the heads]`.
    queries: Buffer,
    /// Keys and values side by side: `[keys, 2 width of the heads]`.
    keys: Buffer,
    output: AttentionOutput,
}

/// Views of queries, and of keys and values that lie side by side, `width` wide each.
fn qkv(width: usize, queries: &Buffer, keys: &Buffer) -> Qkv {
    let keys = Matrix::new(at(keys), 2 * width);
    Qkv {
        queries: Matrix::new(at(queries), width),
        keys,
        values: keys.columns_from(width),
        sums: Matrix::NONE,
    }
}

impl<const EMBED: usize> Sublayer<EMBED> {
    fn rows(&self) -> Rows<'_> {
        Rows {
            gpu: &self.gpu,
            width: EMBED,
        }
    }

    /// The inputs of the query and key projections: one stream as it is, the other after the norm.
    fn ends(&self, [queries, keys]: [Address; 2], normed: &rows::NormedRows) -> [Matrix; 2] {
        let normed = stream_of::<EMBED>(&normed.rows);
        match self.which {
            NormedStream::Queries => [normed, Matrix::new(keys, EMBED)],
            NormedStream::Keys => [Matrix::new(queries, EMBED), normed],
        }
    }

    fn forward(
        &self,
        sides: [&Stream<EMBED, f32, Cuda>; 2],
        y: Address,
    ) -> Result<Saved, CudaError> {
        let (gpu, of) = (&*self.gpu, &self.weights);
        let counts = sides.map(|side| side.shape().0);
        let starts = sides.map(address);
        let side = self.which as usize;
        let norm = norm_of(&self.norm);
        let normed = (self.rows()).normalise(starts[side], norm, NULL, counts[side])?;
        let [to_queries, to_keys] = self.ends(starts, &normed);
        let width = of.layout.width();
        let queries = gpu.scratch(counts[0] * width)?;
        let keys = gpu.scratch(counts[1] * 2 * width)?;
        let qkv = qkv(width, &queries, &keys);
        let layer = [Layer::of(&of.comparison().query)];
        apply_each(gpu, layer, counts[0], to_queries, qkv.queries)?;
        let joined = Joined::new(gpu, [&of.comparison().key, &of.value].map(Layer::of))?;
        joined.apply(gpu, counts[1], to_keys, qkv.keys)?;
        let output = self.attention.attend(gpu, qkv)?;
        let out = gpu.scratch(counts[0] * EMBED)?;
        let from = Matrix::new(at(&output.out), width);
        let to = stream_of::<EMBED>(&out);
        apply_without_bias(gpu, &of.proj, counts[0], from, to)?;
        let added = (at(&out), address(&of.proj.bias));
        let dropout = self.attention.dropout.output;
        (self.rows()).residual((starts[0], NULL), added, y, dropout, counts[0])?;
        Ok(Saved {
            normed,
            joined,
            queries,
            keys,
            output,
        })
    }

    fn backward(
        &self,
        sides: &[Stream<EMBED, f32, Cuda>; 2],
        y: &Stream<EMBED, f32, Cuda>,
        saved: Saved,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (gpu, of) = (&*self.gpu, &self.weights);
        let counts = sides.each_ref().map(|side| side.shape().0);
        let starts = sides.each_ref().map(address);
        // The gradient of the output becomes that of the queries' stream.
        let dy = take_gradient(gradients, y.device(), y)?;
        let dkeys_stream = gradient_address(gradients, &sides[1])?;
        let dropped = dropped(
            &self.rows(),
            start_of(&dy),
            self.attention.dropout.output,
            counts[0],
        )?;
        let dout = Matrix::new(dropped.as_ref().map_or(start_of(&dy), at), EMBED);
        let dbias = gradient_address(gradients, &of.proj.bias)?;
        (self.rows()).add_column_sums(dout, counts[0], &[(dbias, EMBED)])?;
        let width = of.layout.width();
        let factors = (dout, Matrix::new(at(&saved.output.out), width));
        let dheads = back_without_bias(gpu, &of.proj, counts[0], factors, gradients)?;

        let dqueries = gpu.scratch(counts[0] * width)?;
        let dkeys = gpu.scratch(counts[1] * 2 * width)?;
        let dqkv = qkv(width, &dqueries, &dkeys);
        let met = qkv(width, &saved.queries, &saved.keys);
        let on_the_way = (&saved.output, &dheads);
        (self.attention).backward(gpu, met, on_the_way, (dqkv, NULL))?;

        // The gradients of the projections' inputs: into a buffer for the stream with the norm, or
        // accumulated directly.
        let side = self.which as usize;
        let dnormed = gpu.scratch(counts[side] * EMBED)?;
        let of_norm = (stream_of::<EMBED>(&dnormed), Destination::Overwrite);
        let [to_queries, to_keys] = match self.which {
            NormedStream::Queries => [
                of_norm,
                (Matrix::new(dkeys_stream, EMBED), Destination::Accumulate),
            ],
            NormedStream::Keys => [
                (Matrix::new(start_of(&dy), EMBED), Destination::Accumulate),
                of_norm,
            ],
        };
        let [from_queries, from_keys] = self.ends(starts, &saved.normed);
        let to = [
            Layer::gradient_of(&of.comparison().key, gradients)?,
            Layer::gradient_of(&of.value, gradients)?,
        ];
        // This changes `dy`: everything that reads it has been launched before.
        let factors = (dqkv.queries, from_queries);
        back(
            gpu,
            &of.comparison().query,
            counts[0],
            factors,
            to_queries,
            gradients,
        )?;
        let factors = (dqkv.keys, from_keys);
        (saved.joined).back(gpu, counts[1], factors, to_keys, to)?;
        let went_in = (starts[side], norm_of(&self.norm), NULL);
        let dstream = match self.which {
            NormedStream::Queries => start_of(&dy),
            NormedStream::Keys => dkeys_stream,
        };
        let dnorm = norm_gradient(gradients, &self.norm)?;
        (self.rows()).normalise_backward(&saved.normed, at(&dnormed), went_in, dstream, dnorm)?;
        set_gradient(gradients, &sides[0], dy)
    }
}

/// The sublayer during incremental decoding, with the KV cache of each sequence.
struct GpuCachedCrossAttention<'a, const EMBED: usize> {
    which: NormedStream,
    norm: &'a Norm<EMBED, f32, Cuda>,
    weights: &'a AttentionWeights<EMBED, f32, Cuda>,
    cache: GpuKvCache,
}

impl<const EMBED: usize> GpuCachedCrossAttention<'_, EMBED> {
    /// One of the streams, after the norm if that applies to it: in a new buffer, or `x` itself.
    fn end(
        &self,
        rows: &Rows<'_>,
        side: NormedStream,
        (x, count): (Address, usize),
    ) -> Result<(Option<rows::NormedRows>, Matrix), CudaError> {
        if side != self.which {
            return Ok((None, Matrix::new(x, EMBED)));
        }
        let normed = rows.normalise(x, norm_of(self.norm), NULL, count)?;
        let matrix = stream_of::<EMBED>(&normed.rows);
        Ok((Some(normed), matrix))
    }
}

impl<const EMBED: usize> GpuCachedCrossAttention<'_, EMBED> {
    fn try_decode(
        &mut self,
        queries: &Stream<EMBED, f32, Cuda>,
        keys: Option<&Stream<EMBED, f32, Cuda>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, f32, Cuda>, CudaError> {
        let (gpu, of) = (gpu(), self.weights);
        let gpu: &Gpu = &gpu;
        let rows = Rows { gpu, width: EMBED };
        // Positions do not enter the scores.
        if let Some(keys) = keys {
            let (keys, count) = (keys.clone().try_contiguous()?, keys.shape().0);
            let (_kept, from) = self.end(&rows, NormedStream::Keys, (address(&keys), count))?;
            let layout = &self.cache.layout;
            let new_keys = new.sequences.iter().copied();
            let new_keys = new_keys.zip(new.keys.windows(2).map(|w| w[0]..w[1]));
            let entries = of.cache_entries(gpu, layout, from, (NULL, count))?;
            self.cache.append(gpu, &entries, new_keys)?;
        }
        // The last new query of a sequence attends to all its keys, the one before it to all but the last.
        let mut visible = vec![];
        for (&sequence, w) in new.sequences.iter().zip(new.queries.windows(2)) {
            let (keys, count) = (self.cache.length(sequence), w[1] - w[0]);
            visible.extend((0..count).map(|query| (sequence, keys + 1 + query - count)));
        }
        let (visible, count) = (VisibleKeys::of(gpu, &visible)?, visible.len());
        let x = queries.clone().try_contiguous()?;
        let (_kept, from) = self.end(&rows, NormedStream::Queries, (address(&x), count))?;
        let to_attend = of.queries(gpu, &self.cache.layout, from, (NULL, count))?;
        let output = self.cache.attend_to_cache(gpu, &to_attend, &visible)?;
        add_projected(gpu, of.proj(), (&x, NULL), (&output, count))
    }
}
