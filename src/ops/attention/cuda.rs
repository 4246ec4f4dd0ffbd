//! The GPU: cuBLAS for the projections, and kernels for what the heads do with a document.

use std::array::from_fn;

use dfdx::shapes::{Const, HasShape, Rank1};
use dfdx::tensor::{Cuda, CudaError, Gradients, NoneTape, Tape, Tensor};
use dfdx::tensor_ops::ReshapeTo;

use super::cross::check_starts;
use super::differential::cuda::GpuDifferentialHeads;
use super::synthesizer::cuda::{GpuSynthesizer, PositionsAsKeys};
use super::{
    AttentionDropout, AttentionOp, AttentionWeights, BUCKETS, HeadKind, Layout, NormedStream,
    ScoreWeights, TalkingWeights, reference,
};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::cuda::gradient_address;
use crate::ops::cuda::decoding::{AttendToCache, GpuCachedSublayer, GpuKvCache, VisibleKeys};
use crate::ops::cuda::delta::Corrected;
use crate::ops::cuda::forget::ForgetGates;
use crate::ops::cuda::heads::{
    Attention, AttentionOutput, GpuHeadAttention, HeadLayout, Qkv, WIDEST,
};
use crate::ops::cuda::linear::{
    Joined, Layer, apply_without_bias, back_without_bias, project, project_back,
};
use crate::ops::cuda::parts::{Compared, Gated};
use crate::ops::cuda::products::Matrix;
use crate::ops::cuda::rows::Rows;
use crate::ops::cuda::sublayer::{Branch, BranchBackward, try_residual, try_residual_of};
use crate::ops::cuda::talking::{self, TalkingMaps};
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
        if !has_kernels(&weights.layout, 1) {
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
        if !has_kernels(&weights.layout, 1) {
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
        check_starts(starts);
        if !has_kernels(&weights.layout, 2) {
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
        (rows, [_, keys]): (usize, [usize; 2]),
    ) -> BoxedIncrementalPairs<'a, EMBED, f32, Cuda> {
        weights.layout.check_pair();
        if !has_kernels(&weights.layout, 2) {
            return recomputing_pairs(
                rows,
                move |streams: [&Stream<EMBED, f32, Cuda>; 2], starts: [&[usize]; 2]| {
                    let (norm, none) = ((which, norm), AttentionDropout::none(keys));
                    reference::cross_attention(streams, norm, weights, starts, none, NoneTape)
                },
            );
        }
        let (layout, heads) = (HeadLayout::of(weights), GpuStandardHeads::of(weights));
        GpuCachedSublayer::new(norm, weights.clone(), heads, layout, (rows, keys))
            .boxed_pairs(which as usize)
    }
}

/// Whether there are kernels for heads that read so many streams; the reference computes others.
fn has_kernels(layout: &Layout, streams: usize) -> bool {
    let of_one_stream = layout.talking || layout.head == HeadKind::Differential;
    layout.head_dim <= WIDEST && layout.has_kernels() && (streams == 1 || !of_one_stream)
}

/// Heads with a single attention map each.
pub struct GpuStandardHeads {
    /// The learned score of each head's sink.
    sinks: Option<Tensor<(usize,), f32, Cuda>>,
    /// What each bucket of distances adds to scores.
    relative: Option<Tensor<(Const<BUCKETS>, usize), f32, Cuda>>,
    /// The matrices of talking heads.
    talking: Option<TalkingWeights<f32, Cuda>>,
}

impl GpuStandardHeads {
    /// Of a sublayer with these weights.
    pub fn of<const EMBED: usize>(weights: &AttentionWeights<EMBED, f32, Cuda>) -> Self {
        Self {
            sinks: weights.sinks.clone(),
            relative: weights.relative.clone(),
            talking: weights.talking.clone(),
        }
    }

    /// Room for each query's share of the gradients of relative positions: `[queries, 32, heads]`.
    fn shares(&self, gpu: &Gpu, queries: usize) -> Result<Option<Buffer>, CudaError> {
        let table = self.relative.as_ref();
        let room = table.map(|table| gpu.scratch(queries * BUCKETS * table.shape().1));
        room.transpose()
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
        let out = match &self.talking {
            None => cache.attend_to_cache(gpu, queries, visible)?,
            Some(of) => talking::attend_to_cache(gpu, cache, queries, (visible, of))?,
        };
        if cache.layout.of.head_norm {
            (cache.layout).normalise_outputs(gpu, &out, visible.queries())?;
        }
        Ok(out)
    }
}

/// The result of attention, as backward needs it.
pub struct StandardOutput {
    /// Before the norm of the heads.
    attended: AttentionOutput,
    /// After it, if there is one.
    normed: Option<Buffer>,
    /// Of talking heads.
    maps: Option<TalkingMaps>,
}

impl GpuHeadAttention for GpuStandardHeads {
    type Saved = StandardOutput;

    fn attend(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        qkv: Qkv,
    ) -> Result<StandardOutput, CudaError> {
        let (mut attended, maps) = match &self.talking {
            None => (attention.attend(gpu, qkv)?, None),
            Some(of) => {
                let (attended, maps) = talking::attend(gpu, attention, qkv, of)?;
                (attended, Some(maps))
            }
        };
        let (layout, tokens) = (&attention.layout, attention.queries.tokens());
        let normed = match layout.of.head_norm {
            false => None,
            true => {
                let before = layout.normalise_outputs(gpu, &attended.out, tokens)?;
                Some(std::mem::replace(&mut attended.out, before))
            }
        };
        Ok(StandardOutput {
            attended,
            normed,
            maps,
        })
    }

    fn output(saved: &StandardOutput) -> &Buffer {
        saved.normed.as_ref().unwrap_or(&saved.attended.out)
    }

    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        (qkv, output): (Qkv, &StandardOutput),
        (dout, dqkv): (&Buffer, Qkv),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (layout, queries) = (&attention.layout, attention.queries.tokens());
        let attended = &output.attended;
        if output.normed.is_some() {
            let back = (dout, &attended.out);
            layout.normalise_outputs_backward(gpu, back, queries, gradients)?;
        }
        let shares = self.shares(gpu, queries)?;
        let to = (dqkv, shares.as_ref().map_or(NULL, at));
        let along = match self.talking.as_ref().zip(output.maps.as_ref()) {
            None => attention.backward(gpu, qkv, (attended, dout), to)?,
            Some((of, maps)) => {
                talking::backward(gpu, (attention, qkv), (maps, of), dout, to, gradients)?
            }
        };
        if let Some((table, shares)) = self.relative.as_ref().zip(shares) {
            let width = BUCKETS * layout.of.heads;
            let to = [(gradient_address(gradients, table)?, width)];
            // The kernel does not depend on the width it is compiled for.
            let rows = Rows {
                gpu,
                width: layout.of.head_dim,
            };
            rows.add_column_sums(Matrix::new(at(&shares), width), queries, &to)?;
        }
        let Some(sinks) = &self.sinks else {
            return Ok(());
        };
        let dsinks = gradient_address(gradients, sinks)?;
        layout.sink_backward(gpu, [&attended.statistics, &along], dsinks, queries)
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
    /// Transformed queries and keys, and values, corrected by the delta rule if it is there, as rows of each stream.
    heads: [Buffer; STREAMS],
    /// Queries and keys before their norm, if they have one.
    inputs: Vec<Option<Buffer>>,
    forget: Option<ForgetGates>,
    delta: Option<Corrected>,
    kept: K,
    gated: Option<Gated>,
}

impl<const EMBED: usize, const STREAMS: usize, C> Heads<EMBED, STREAMS, C> {
    /// The stream that keys and values are computed from.
    const KEYS: usize = STREAMS - 1;

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

    /// Their views, with the running sums of forget gates, or the gradients of all these.
    fn qkv(&self, heads: &[Buffer; STREAMS], sums: Matrix) -> Qkv {
        let rows = |stream: usize| Matrix::new(at(&heads[stream]), self.step(stream));
        let layout = self.weights.layout;
        let (queries, first) = (rows(0), if STREAMS == 1 { layout.width() } else { 0 });
        let keys = rows(Self::KEYS).columns_from(first);
        Qkv {
            queries,
            keys,
            values: keys.columns_from(layout.kv_width()),
            sums,
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

    /// The running sums of forget gates, if there are any.
    fn sums(&self, gates: Option<&ForgetGates>) -> Matrix {
        gates.map_or(Matrix::NONE, |gates| gates.sums(&self.attention.layout))
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

    /// The forget gates of a stream, if there are any.
    fn forget_gates(
        &self,
        gpu: &Gpu,
        normed: (Matrix, usize),
    ) -> Result<Option<ForgetGates>, CudaError> {
        let (layout, rows) = (&self.attention.layout, self.attention.keys.rows());
        let of = self.weights.forget.as_ref();
        let gates = of.map(|of| ForgetGates::new(gpu, layout, of, normed, rows));
        gates.transpose()
    }

    /// Corrects values in place if the delta rule does.
    fn correct(
        &self,
        gpu: &Gpu,
        (normed, tokens): (Matrix, usize),
        qkv: Qkv,
    ) -> Result<Option<Corrected>, CudaError> {
        let Some(of) = &self.weights.beta else {
            return Ok(None);
        };
        let beta = project(gpu, of, tokens, normed)?;
        Corrected::new(gpu, &self.attention, qkv, beta).map(Some)
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
        let of_keys = (from[Self::KEYS], of_streams[Self::KEYS]);
        let comparison = of.comparison();
        let layers = [&comparison.query, &comparison.key, &of.value].map(Layer::of);
        let forget = self.forget_gates(gpu, of_keys)?;
        let layers = self.layers(layers).into_iter();
        let joined = layers.map(|layers| Joined::new(gpu, layers));
        let joined: Vec<Joined> = joined.collect::<Result<_, _>>()?;
        let heads = self.scratch(gpu, of_streams)?;
        let qkv = self.qkv(&heads, self.sums(forget.as_ref()));
        let mut inputs = vec![];
        for (stream, (compared, positions)) in self.compared(qkv).into_iter().enumerate() {
            joined[stream].apply(gpu, compared.rows, from[stream], compared.heads)?;
            inputs.push(layout.normalise(gpu, compared, of.qk_norm.as_ref(), true)?);
            let at = (positions, compared.rows);
            layout.transform(gpu, compared.heads, self.width(&compared), at)?;
        }
        let delta = self.correct(gpu, of_keys, qkv)?;
        let kept = self.head_attention.attend(gpu, attention, qkv)?;
        let gate = (of.gate.as_ref(), C::output(&kept));
        let gated = Gated::new(gpu, layout, gate, (normed, tokens))?;
        let output = (gated.as_ref()).map_or(C::output(&kept), |gated| &gated.output);
        apply_without_bias(gpu, &of.proj, tokens, self.output(output), out)?;
        Ok(Saved {
            joined,
            heads,
            inputs,
            forget,
            delta,
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
        let output = saved.gated.as_ref().map_or(heads, |gated| &gated.output);
        let factors = (ends.dout, self.output(output));
        let dout = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;
        let gated = saved.gated.as_ref();
        let dgates = gated.map(|gated| gated.backward(gpu, layout, (heads, &dout), tokens));
        let dgates = dgates.transpose()?;

        let dheads = self.scratch(gpu, of_streams)?;
        let dsums = match &saved.forget {
            None => None,
            Some(_) => Some(gpu.scratch(of_streams[Self::KEYS] * of.layout.heads)?),
        };
        let of_sums = dsums.as_ref().map_or(NULL, at);
        let qkv = self.qkv(&saved.heads, self.sums(saved.forget.as_ref()));
        let dqkv = self.qkv(&dheads, Matrix::new(of_sums, of.layout.heads));
        let (met, back) = ((qkv, &saved.kept), (&dout, dqkv));
        (self.head_attention).attend_backward(gpu, attention, met, back, gradients)?;
        let delta = saved.delta.as_ref();
        let delta = delta.map(|delta| delta.backward(gpu, attention, qkv, dqkv));
        let delta = delta.transpose()?;
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
        let ends_of = |stream: usize| [ends.inputs[stream], ends.dinputs[stream].0];
        if let Some((gates, layer)) = saved.forget.as_ref().zip(of.forget.as_ref()) {
            let further = delta.as_ref().and_then(|delta| delta.sums.as_ref());
            let dsums = [of_sums, further.map_or(NULL, at)];
            let (tokens, rows) = (of_streams[Self::KEYS], attention.keys.rows());
            let stream = (ends_of(Self::KEYS), tokens, rows);
            gates.backward(gpu, (layout, layer), dsums, stream, gradients)?;
        }
        let dbeta = delta.as_ref().map(|delta| &delta.beta);
        let of_gates = (&of.gate, dgates.as_ref(), 0);
        for (projection, d, stream) in [(&of.beta, dbeta, Self::KEYS), of_gates] {
            if let Some((projection, d)) = projection.as_ref().zip(d) {
                let ([input, dinput], rows) = (ends_of(stream), of_streams[stream]);
                project_back(gpu, projection, rows, (d, input), dinput, gradients)?;
            }
        }
        Ok(())
    }
}
