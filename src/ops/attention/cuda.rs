//! The GPU: cuBLAS for the projections, and one kernel for everything that the heads do with a document.

use std::array::from_fn;

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, NoneTape, Tape, Tensor};
use dfdx::tensor_ops::ReshapeTo;

use super::differential::cuda::GpuDifferentialHeads;
use super::synthesizer::cuda::{GpuSynthesizer, PositionsAsKeys};
use super::{
    AttentionDropout, AttentionOp, AttentionWeights, NormedStream, ScoreWeights, reference,
};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::cuda::gradient_address;
use crate::ops::cuda::decoding::{AttendToCache, GpuCachedSublayer, GpuKvCache, VisibleKeys};
use crate::ops::cuda::heads::{
    Attention, AttentionOutput, GpuHeadAttention, HeadLayout, Qkv, WIDEST,
};
use crate::ops::cuda::linear::{Joined, Layer, apply_without_bias, back_without_bias, weight};
use crate::ops::cuda::parts::Compared;
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::sublayer::{Branch, BranchBackward, try_residual, try_residual_of};
use crate::ops::cuda::{Address, Buffer, Gpu, NULL, at, gpu};
use crate::ops::decoding::{
    BoxedIncremental, BoxedIncrementalPairs, recomputing, recomputing_pairs,
};
use crate::ops::parameters::Norm;

impl AttentionOp<f32> for Cuda {
    fn try_attention<const EMBED: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &Norm<EMBED, f32, Cuda>,
        weights: &AttentionWeights<EMBED, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        if weights.layout.head_dim > WIDEST || !weights.layout.has_kernels() {
            return reference::attention(x, norm, weights, batch, dropout);
        }
        weights.layout.check_longest(batch);
        let documents = gpu().documents(&batch.starts)?;
        let attention = Attention {
            layout: HeadLayout::of(weights),
            dropout,
            queries: documents.clone(),
            keys: documents,
        };
        match (&weights.scores, &weights.difference) {
            (ScoreWeights::Positions(of), _) => {
                let branch = GpuSynthesizer::new(PositionsAsKeys::new(weights, of), attention);
                try_residual(x, norm, branch, dropout.output)
            }
            (_, Some(difference)) => {
                let heads = GpuDifferentialHeads::of(difference);
                let branch = Heads::<EMBED, 1, _>::new(weights, attention, heads);
                try_residual(x, norm, branch, dropout.output)
            }
            (_, None) => {
                let heads = GpuStandardHeads::of(weights);
                let branch = Heads::<EMBED, 1, _>::new(weights, attention, heads);
                try_residual(x, norm, branch, dropout.output)
            }
        }
    }

    fn incremental_attention<'a, const EMBED: usize>(
        norm: &'a Norm<EMBED, f32, Cuda>,
        weights: &'a AttentionWeights<EMBED, f32, Cuda>,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        if weights.layout.head_dim > WIDEST || !weights.layout.has_kernels() {
            return recomputing(rows, move |x, batch: &Ragged| {
                let none = AttentionDropout::none(batch.longest());
                reference::attention(x, norm, weights, batch, none)
            });
        }
        let (layout, size) = (HeadLayout::of(weights), (rows, context));
        match (&weights.scores, &weights.difference) {
            (ScoreWeights::Positions(of), _) => {
                let keys = PositionsAsKeys::new(weights, of);
                let layout = keys.layout();
                GpuCachedSublayer::new(norm, keys, GpuStandardHeads::of(weights), layout, size)
                    .boxed()
            }
            (_, Some(difference)) => {
                let heads = GpuDifferentialHeads::of(difference);
                GpuCachedSublayer::new(norm, weights.clone(), heads, layout, size).boxed()
            }
            (_, None) => GpuCachedSublayer::new(
                norm,
                weights.clone(),
                GpuStandardHeads::of(weights),
                layout,
                size,
            )
            .boxed(),
        }
    }

    fn try_cross_attention<const EMBED: usize, T: Tape<f32, Cuda>>(
        streams: [&Stream<EMBED, f32, Cuda>; 2],
        (which, norm): (NormedStream, &Norm<EMBED, f32, Cuda>),
        weights: &AttentionWeights<EMBED, f32, Cuda>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        weights.layout.check_pair();
        if !has_kernels_of_pairs(weights) {
            let norm = (which, norm);
            return reference::cross_attention(streams, norm, weights, starts, dropout, tape);
        }
        let attention = Attention {
            layout: HeadLayout::of(weights),
            dropout,
            queries: gpu().documents(starts[0])?,
            keys: gpu().documents(starts[1])?,
        };
        let [queries, keys] = streams.map(|stream| stream.clone().try_contiguous());
        let streams = ([queries?, keys?], tape);
        let heads = GpuStandardHeads::of(weights);
        let branch = Heads::<EMBED, 2, _>::new(weights, attention, heads);
        try_residual_of(streams, (which as usize, norm), branch, dropout.output)
    }

    fn incremental_cross_attention<'a, const EMBED: usize>(
        (which, norm): (NormedStream, &'a Norm<EMBED, f32, Cuda>),
        weights: &'a AttentionWeights<EMBED, f32, Cuda>,
        (rows, context): (usize, usize),
    ) -> BoxedIncrementalPairs<'a, EMBED, f32, Cuda> {
        weights.layout.check_pair();
        if !has_kernels_of_pairs(weights) {
            return recomputing_pairs(
                rows,
                move |streams: [&Stream<EMBED, f32, Cuda>; 2], starts: [&[usize]; 2]| {
                    let (norm, none) = ((which, norm), AttentionDropout::none(context));
                    reference::cross_attention(streams, norm, weights, starts, none, NoneTape)
                },
            );
        }
        let (layout, heads) = (HeadLayout::of(weights), GpuStandardHeads::of(weights));
        GpuCachedSublayer::new(norm, weights.clone(), heads, layout, (rows, context))
            .boxed_pairs(which as usize)
    }
}

/// Whether there are kernels for heads whose queries come from a stream of their own; the reference computes others.
fn has_kernels_of_pairs<const EMBED: usize>(weights: &AttentionWeights<EMBED, f32, Cuda>) -> bool {
    let layout = weights.layout;
    layout.head_dim <= WIDEST && layout.has_kernels() && weights.difference.is_none()
}

/// A single attention map.
pub struct GpuStandardHeads {
    /// The learned score of each head's sink.
    sinks: Option<Tensor<(usize,), f32, Cuda>>,
}

impl GpuStandardHeads {
    /// Of a sublayer with these weights.
    pub fn of<const EMBED: usize>(weights: &AttentionWeights<EMBED, f32, Cuda>) -> Self {
        let sinks = weights.sinks.clone();
        Self { sinks }
    }
}

impl AttendToCache for GpuStandardHeads {
    fn attend_to_cache(
        &self,
        gpu: &Gpu,
        cache: &GpuKvCache,
        queries: &Buffer,
        visible: &VisibleKeys,
    ) -> Result<Buffer, CudaError> {
        cache.attend_to_cache(gpu, queries, visible)
    }
}

impl GpuHeadAttention for GpuStandardHeads {
    type Saved = AttentionOutput;

    fn attend(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        qkv: Qkv,
    ) -> Result<AttentionOutput, CudaError> {
        attention.attend(gpu, qkv)
    }

    fn output(saved: &AttentionOutput) -> &Buffer {
        &saved.out
    }

    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        (qkv, output): (Qkv, &AttentionOutput),
        (dout, dqkv): (&Buffer, Qkv),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let along = attention.backward(gpu, qkv, (output, dout), (dqkv, NULL))?;
        let Some(sinks) = &self.sinks else {
            return Ok(());
        };
        let (dsinks, queries) = (
            gradient_address(gradients, sinks)?,
            attention.queries.tokens(),
        );
        (attention.layout).sink_backward(gpu, [&output.statistics, &along], dsinks, queries)
    }
}

/// The branch of a sublayer whose heads compare queries with keys.
///
/// With one stream, queries, keys and values lie side by side; with two, queries are rows of the first, and keys and
/// values of the second.
struct Heads<const EMBED: usize, const STREAMS: usize, C> {
    weights: AttentionWeights<EMBED, f32, Cuda>,
    attention: Attention,
    head_attention: C,
}

/// What backward needs.
struct Saved<const STREAMS: usize, K> {
    /// The projections of each stream to queries, keys and values.
    joined: Vec<Joined>,
    /// Transformed queries and keys, and values, as rows of each stream.
    heads: [Buffer; STREAMS],
    /// Queries and keys before their norm, if they have one.
    inputs: Vec<Option<Buffer>>,
    kept: K,
    /// The gates of the heads' outputs before the sigmoid, and the gated outputs.
    gated: Option<[Buffer; 2]>,
}

impl<const EMBED: usize, const STREAMS: usize, C> Heads<EMBED, STREAMS, C> {
    fn new(
        weights: &AttentionWeights<EMBED, f32, Cuda>,
        attention: Attention,
        head_attention: C,
    ) -> Self {
        Self {
            weights: weights.clone(),
            attention,
            head_attention,
        }
    }

    /// Row stride of what is projected from a stream.
    fn step(&self, stream: usize) -> usize {
        let (width, kv) = (self.weights.layout.width(), self.weights.layout.kv_width());
        match (STREAMS, stream) {
            (1, _) => width + 2 * kv,
            (_, 0) => width,
            _ => 2 * kv,
        }
    }

    /// Room for queries, keys and values.
    fn scratch(&self, gpu: &Gpu, tokens: [usize; STREAMS]) -> Result<[Buffer; STREAMS], CudaError> {
        let buffers = (0..STREAMS).map(|stream| gpu.scratch(tokens[stream] * self.step(stream)));
        let buffers: Vec<Buffer> = buffers.collect::<Result<_, _>>()?;
        Ok(buffers.try_into().ok().expect("one for each stream"))
    }

    /// Their views.
    fn qkv(&self, heads: &[Buffer; STREAMS]) -> Qkv {
        let rows = |stream: usize| Matrix::new(at(&heads[stream]), self.step(stream));
        let layout = self.weights.layout;
        let (queries, first) = (rows(0), if STREAMS == 1 { layout.width() } else { 0 });
        let keys = rows(STREAMS - 1).columns_from(first);
        Qkv {
            queries,
            keys,
            values: keys.columns_from(layout.kv_width()),
        }
    }

    /// What is made of each stream: layers, side by side.
    fn layers<L>(&self, of: [L; 3]) -> Vec<Vec<L>> {
        let mut first = Vec::from(of);
        match STREAMS {
            1 => vec![first],
            _ => {
                let second = first.split_off(1);
                vec![first, second]
            }
        }
    }

    /// The heads' outputs.
    fn output(&self, of: &Buffer) -> Matrix {
        Matrix::new(at(of), self.weights.layout.width())
    }

    /// The gates of the outputs, `[tokens, gates]` in a row each.
    fn gates(&self, of: &Buffer) -> Matrix {
        Matrix::new(at(of), self.weights.layout.gates())
    }

    /// The heads that are compared: those of each stream, with the positions of its tokens.
    fn compared(&self, qkv: Qkv) -> [(Compared, Address); STREAMS] {
        let (queries, keys) = (self.weights.layout.heads, self.weights.layout.kv_heads);
        let documents = [&self.attention.queries, &self.attention.keys];
        from_fn(|stream| {
            let counts = match (STREAMS, stream) {
                (1, _) => [queries, keys],
                (_, 0) => [queries, 0],
                _ => [0, keys],
            };
            let (positions, rows) = documents[stream].positions();
            let heads = [qkv.queries, qkv.keys][stream];
            let compared = Compared {
                heads,
                counts,
                rows,
            };
            (compared, positions)
        })
    }

    /// Total width of the heads that are compared.
    fn width(&self, of: &Compared) -> usize {
        (of.counts[0] + of.counts[1]) * self.weights.layout.head_dim
    }
}

impl<const EMBED: usize, const STREAMS: usize, C: GpuHeadAttention> Branch<EMBED, STREAMS>
    for Heads<EMBED, STREAMS, C>
{
    type Saved = Saved<STREAMS, C::Saved>;

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.weights.proj.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        of_streams: [usize; STREAMS],
        from: [Matrix; STREAMS],
        out: Matrix,
    ) -> Result<Self::Saved, CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let (tokens, normed, layout) = (of_streams[0], from[0], &attention.layout);
        let comparison = of.comparison();
        let layers = [&comparison.query, &comparison.key, &of.value].map(Layer::of);
        let layers = self.layers(layers).into_iter();
        let joined = layers.map(|layers| Joined::new(gpu, layers));
        let joined: Vec<Joined> = joined.collect::<Result<_, _>>()?;
        let heads = self.scratch(gpu, of_streams)?;
        let qkv = self.qkv(&heads);
        let mut inputs = vec![];
        for (stream, (compared, positions)) in self.compared(qkv).into_iter().enumerate() {
            joined[stream].apply(gpu, compared.rows, from[stream], compared.heads)?;
            inputs.push(layout.normalise(gpu, compared, of.qk_norm.as_ref(), true)?);
            let at = (positions, compared.rows);
            layout.transform(gpu, compared.heads, self.width(&compared), at)?;
        }
        let kept = self.head_attention.attend(gpu, attention, qkv)?;
        let gated = match &of.gate {
            None => None,
            Some(gate) => {
                let gates = gpu.scratch(tokens * of.layout.gates())?;
                gpu.apply(weight(&gate.weight), tokens, normed, self.gates(&gates))?;
                let gated = layout.gate(gpu, (C::output(&kept), &gates), tokens)?;
                Some([gates, gated])
            }
        };
        let output = gated.as_ref().map_or(C::output(&kept), |[_, gated]| gated);
        apply_without_bias(gpu, &of.proj, tokens, self.output(output), out)?;
        Ok(Saved {
            joined,
            heads,
            inputs,
            kept,
            gated,
        })
    }

    fn backward(
        &self,
        gpu: &Gpu,
        of_streams: [usize; STREAMS],
        saved: Self::Saved,
        ends: BranchBackward<STREAMS>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let (tokens, layout) = (of_streams[0], &attention.layout);
        let heads = C::output(&saved.kept);
        let output = saved.gated.as_ref().map_or(heads, |[_, gated]| gated);
        let factors = (ends.dout, self.output(output));
        let dout = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;
        let dgates = match &saved.gated {
            None => None,
            Some([gates, _]) => Some(layout.gate_backward(gpu, (heads, &dout), gates, tokens)?),
        };

        let dheads = self.scratch(gpu, of_streams)?;
        let (qkv, dqkv) = (self.qkv(&saved.heads), self.qkv(&dheads));
        let (met, back) = ((qkv, &saved.kept), (&dout, dqkv));
        (self.head_attention).attend_backward(gpu, attention, met, back, gradients)?;
        let to = [
            Layer::gradient_of(&of.comparison().query, gradients)?,
            Layer::gradient_of(&of.comparison().key, gradients)?,
            Layer::gradient_of(&of.value, gradients)?,
        ];
        let to = self.layers(to);
        let made = self.compared(qkv);
        for (stream, (back, positions)) in self.compared(dqkv).into_iter().enumerate() {
            let mapped = (back.heads, made[stream].0.heads);
            let at = (positions, back.rows);
            layout.transform_backward(gpu, mapped, self.width(&back), at)?;
            let kept = (back, saved.inputs[stream].as_ref());
            layout.normalise_backward(gpu, kept, of.qk_norm.as_ref(), gradients)?;
            let (factors, dinput) = ((back.heads, ends.inputs[stream]), ends.dinputs[stream]);
            (saved.joined[stream]).back(gpu, back.rows, factors, dinput, &to[stream])?;
        }
        let (Some(dgates), Some(gate)) = (&dgates, &of.gate) else {
            return Ok(());
        };
        let dweight = gradient_address(gradients, &gate.weight)?;
        let factors = (self.gates(dgates), ends.inputs[0]);
        let dnormed = (ends.dinputs[0].0, Destination::Accumulate);
        let dweight = (dweight, Destination::Accumulate);
        gpu.back(weight(&gate.weight), tokens, factors, dweight, dnormed)
    }
}
