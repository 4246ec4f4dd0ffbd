//! The GPU: cuBLAS for the projections, and one kernel for everything that the heads do with a document.

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::differential::cuda::GpuDifferentialHeads;
use super::synthesizer::cuda::{GpuSynthesizer, PositionsAsKeys};
use super::{AttentionDropout, AttentionOp, AttentionWeights, ScoreWeights, reference};
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
use crate::ops::cuda::sublayer::{Branch, BranchBackward, try_residual};
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
struct Heads<const EMBED: usize, C> {
    weights: AttentionWeights<EMBED, f32, Cuda>,
    attention: Attention,
    head_attention: C,
}

/// What backward needs.
struct Saved<K> {
    /// The projections to queries, keys and values.
    joined: Joined<3>,
    /// Transformed queries and keys, and values, side by side: `[tokens, width + 2 kv_width]`.
    heads: Buffer,
    /// Queries and keys before their norm, if they have one.
    inputs: Option<Buffer>,
    kept: K,
    /// The gates of the heads' outputs before the sigmoid, and the gated outputs.
    gated: Option<[Buffer; 2]>,
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

    /// Their views.
    fn qkv(&self, heads: &Buffer) -> Qkv {
        let queries = Matrix::new(at(heads), self.step());
        Qkv {
            queries,
            keys: queries.columns_from(self.weights.layout.width()),
            values: queries.columns_from(self.compared()),
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

    /// The heads that are compared.
    fn heads(&self, qkv: Qkv, rows: usize) -> Compared {
        let layout = self.weights.layout;
        Compared {
            heads: qkv.queries,
            counts: [layout.heads, layout.kv_heads],
            rows,
        }
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
        let qkv = self.qkv(&heads);
        joined.apply(gpu, tokens, normed, qkv.queries)?;
        let (layout, compared) = (&attention.layout, self.compared());
        let both = self.heads(qkv, tokens);
        let inputs = layout.normalise(gpu, both, of.qk_norm.as_ref(), true)?;
        layout.transform(gpu, qkv.queries, compared, attention.positions())?;
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
        tokens: usize,
        saved: Self::Saved,
        ends: BranchBackward,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let heads = C::output(&saved.kept);
        let output = saved.gated.as_ref().map_or(heads, |[_, gated]| gated);
        let factors = (ends.dout, self.output(output));
        let dout = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;
        let dgates = match &saved.gated {
            None => None,
            Some([gates, _]) => {
                let layout = &attention.layout;
                Some(layout.gate_backward(gpu, (heads, &dout), gates, tokens)?)
            }
        };

        let dheads = gpu.scratch(tokens * self.step())?;
        let (qkv, dqkv) = (self.qkv(&saved.heads), self.qkv(&dheads));
        let (met, back) = ((qkv, &saved.kept), (&dout, dqkv));
        (self.head_attention).attend_backward(gpu, attention, met, back, gradients)?;
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
        let (Some(dgates), Some(gate)) = (&dgates, &of.gate) else {
            return Ok(());
        };
        let dweight = gradient_address(gradients, &gate.weight)?;
        let factors = (self.gates(dgates), ends.normed);
        let dnormed = (ends.dnormed, Destination::Accumulate);
        let dweight = (dweight, Destination::Accumulate);
        gpu.back(weight(&gate.weight), tokens, factors, dweight, dnormed)
    }
}
