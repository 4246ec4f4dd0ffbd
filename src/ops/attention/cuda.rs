//! The GPU: cuBLAS for the projections, and one kernel for everything that the heads do with a document.

use dfdx::shapes::{Const, HasShape, Rank1};
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::differential::cuda::GpuDifferentialHeads;
use super::synthesizer::cuda::{GpuSynthesizer, PositionsAsKeys};
use super::{
    AttentionDropout, AttentionOp, AttentionWeights, BUCKETS, ScoreWeights, TalkingWeights,
    reference,
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
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::rows::Rows;
use crate::ops::cuda::sublayer::{Branch, BranchBackward, try_residual};
use crate::ops::cuda::talking::{self, TalkingMaps};
use crate::ops::cuda::{Buffer, Gpu, NULL, at, gpu};
use crate::ops::decoding::{BoxedIncremental, recomputing};
use crate::ops::parameters::Norm;

impl AttentionOp<f32> for Cuda {
    fn try_attention<const EMBED: usize, T: Tape<f32, Cuda>>(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &Norm<EMBED, f32, Cuda>,
        weights: &AttentionWeights<EMBED, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        if weights.layout.head_dim > WIDEST {
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
                let branch = Heads::new(weights, attention, heads);
                try_residual(x, norm, branch, dropout.output)
            }
            (_, None) => {
                let branch = Heads::new(weights, attention, GpuStandardHeads::of(weights));
                try_residual(x, norm, branch, dropout.output)
            }
        }
    }

    fn incremental_attention<'a, const EMBED: usize>(
        norm: &'a Norm<EMBED, f32, Cuda>,
        weights: &'a AttentionWeights<EMBED, f32, Cuda>,
        (rows, context): (usize, usize),
    ) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        if weights.layout.head_dim > WIDEST {
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
}

/// A single attention map.
pub struct GpuStandardHeads {
    /// The learned score of each head's sink.
    sinks: Option<Tensor<(usize,), f32, Cuda>>,
    /// What each bucket of distances adds to scores.
    relative: Option<Tensor<(Const<BUCKETS>, usize), f32, Cuda>>,
    /// How heads talk to each other.
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
    /// Of heads that talk.
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
            let rows = Rows { gpu, width };
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
struct Heads<const EMBED: usize, C> {
    weights: AttentionWeights<EMBED, f32, Cuda>,
    attention: Attention,
    head_attention: C,
}

/// What backward needs.
struct Saved<K> {
    /// The projections to queries, keys and values.
    joined: Joined<3>,
    /// Transformed queries and keys, and values, corrected by the delta rule if it is there, side by side: `[tokens, width +
    /// 2 kv_width]`.
    heads: Buffer,
    /// Queries and keys before their norm, if they have one.
    inputs: Option<Buffer>,
    forget: Option<ForgetGates>,
    delta: Option<Corrected>,
    kept: K,
    gated: Option<Gated>,
}

impl<const EMBED: usize, C> Heads<EMBED, C> {
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

    /// Row stride of queries, keys and values that lie side by side.
    fn step(&self) -> usize {
        self.compared() + self.weights.layout.kv_width()
    }

    /// Width of queries and keys.
    fn compared(&self) -> usize {
        self.weights.layout.width() + self.weights.layout.kv_width()
    }

    /// Their views, with the running sums of forget gates, or the gradients of all these.
    fn qkv(&self, heads: &Buffer, sums: Matrix) -> Qkv {
        let queries = Matrix::new(at(heads), self.step());
        Qkv {
            queries,
            keys: queries.columns_from(self.weights.layout.width()),
            values: queries.columns_from(self.compared()),
            sums,
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

    /// The heads that are compared.
    fn heads(&self, qkv: Qkv, rows: usize) -> Compared {
        let layout = self.weights.layout;
        Compared {
            heads: qkv.queries,
            counts: [layout.heads, layout.kv_heads],
            rows,
        }
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

impl<const EMBED: usize, C: GpuHeadAttention> Branch<EMBED> for Heads<EMBED, C> {
    type Saved = Saved<C::Saved>;

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.weights.proj.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        normed: Matrix,
        out: Matrix,
    ) -> Result<Self::Saved, CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let comparison = of.comparison();
        let layers = [&comparison.query, &comparison.key, &of.value].map(Layer::of);
        let joined = Joined::new(gpu, layers)?;
        let heads = gpu.scratch(tokens * self.step())?;
        let forget = self.forget_gates(gpu, (normed, tokens))?;
        let qkv = self.qkv(&heads, self.sums(forget.as_ref()));
        joined.apply(gpu, tokens, normed, qkv.queries)?;
        let (layout, compared) = (&attention.layout, self.compared());
        let both = self.heads(qkv, tokens);
        let inputs = layout.normalise(gpu, both, of.qk_norm.as_ref(), true)?;
        layout.transform(gpu, qkv.queries, compared, attention.positions())?;
        let delta = self.correct(gpu, (normed, tokens), qkv)?;
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
        tokens: usize,
        saved: Self::Saved,
        ends: BranchBackward,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let heads = C::output(&saved.kept);
        let output = saved.gated.as_ref().map_or(heads, |gated| &gated.output);
        let factors = (ends.dout, self.output(output));
        let dout = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;
        let gated = saved.gated.as_ref();
        let dgates =
            gated.map(|gated| gated.backward(gpu, &attention.layout, (heads, &dout), tokens));
        let dgates = dgates.transpose()?;

        let dheads = gpu.scratch(tokens * self.step())?;
        let dsums = match &saved.forget {
            None => None,
            Some(_) => Some(gpu.scratch(tokens * of.layout.heads)?),
        };
        let of_sums = dsums.as_ref().map_or(NULL, at);
        let qkv = self.qkv(&saved.heads, self.sums(saved.forget.as_ref()));
        let dqkv = self.qkv(&dheads, Matrix::new(of_sums, of.layout.heads));
        let (met, back) = ((qkv, &saved.kept), (&dout, dqkv));
        (self.head_attention).attend_backward(gpu, attention, met, back, gradients)?;
        let delta = saved.delta.as_ref();
        let delta = delta.map(|delta| delta.backward(gpu, attention, qkv, dqkv));
        let delta = delta.transpose()?;
        let mapped = (dqkv.queries, qkv.queries);
        let (layout, compared) = (&attention.layout, self.compared());
        layout.transform_backward(gpu, mapped, compared, attention.positions())?;
        let back = (self.heads(dqkv, tokens), saved.inputs.as_ref());
        layout.normalise_backward(gpu, back, of.qk_norm.as_ref(), gradients)?;

        let to = [
            Layer::gradient_of(&of.comparison().query, gradients)?,
            Layer::gradient_of(&of.comparison().key, gradients)?,
            Layer::gradient_of(&of.value, gradients)?,
        ];
        let factors = (dqkv.queries, ends.normed);
        let dnormed = (ends.dnormed, Destination::Overwrite);
        (saved.joined).back(gpu, tokens, factors, dnormed, to)?;
        if let Some((gates, layer)) = saved.forget.as_ref().zip(of.forget.as_ref()) {
            let further = delta.as_ref().and_then(|delta| delta.sums.as_ref());
            let dsums = [of_sums, further.map_or(NULL, at)];
            let stream = (&ends, tokens, attention.keys.rows());
            gates.backward(gpu, (layout, layer), dsums, stream, gradients)?;
        }
        let dbeta = delta.as_ref().map(|delta| &delta.beta);
        for (projection, d) in [(&of.beta, dbeta), (&of.gate, dgates.as_ref())] {
            if let Some((projection, d)) = projection.as_ref().zip(d) {
                let factors = (d, ends.normed);
                project_back(gpu, projection, tokens, factors, ends.dnormed, gradients)?;
            }
        }
        Ok(())
    }
}
