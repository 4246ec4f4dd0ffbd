//! The GPU: the kernels of attention, with the position weights as keys.
//!
//! A score of the synthesizer is the dot product of the token's hidden layer with the weights of a
//! position. That is a score of attention in which the key of every token is the weights of its position.
//! The gradient of these keys is then summed by position.

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{SynthesizerOp, SynthesizerWeights, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::cuda::{GpuStandardHeads, layout};
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::decoding::{DecodingProjections, GpuCachedSublayer, Positions};
use crate::ops::cuda::heads::{Attention, AttentionOutput, HeadLayout, Qkv, WIDEST};
use crate::ops::cuda::kernels::{Kernel, Source};
use crate::ops::cuda::linear::{Joined, Layer, apply_each, apply_without_bias, back_without_bias};
use crate::ops::cuda::products::{Destination, Matrix};
use crate::ops::cuda::sublayer::{Branch, BranchBackward, stream_of, try_residual};
use crate::ops::cuda::{Buffer, Gpu, at, gpu};
use crate::ops::decoding::{BoxedIncremental, recomputing};
use crate::ops::parameters::{LayerNorm, Linear};

pub static POSITIONS_AS_KEYS: Source = Source {
    name: "synthesizer",
    text: concat!(include_str!("../cuda/sums.cuh"), include_str!("kernel.cu")),
    constant: "HEAD_DIM",
    kernels: &["lay_keys", "relu", "relu_backward", "add_to_positions"],
};

impl SynthesizerOp<f32> for Cuda {
    fn try_synthesize<
        const EMBED: usize,
        const HEAD_DIM: usize,
        const POSITIONS: usize,
        T: Tape<f32, Cuda>,
    >(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        const { assert!(EMBED.is_multiple_of(HEAD_DIM), "heads lie side by side") };
        assert!(
            batch.longest() <= POSITIONS,
            "a document has too many tokens"
        );
        if HEAD_DIM > WIDEST {
            return reference::synthesize::<EMBED, HEAD_DIM, POSITIONS, _, _, _>(
                x, norm, weights, batch, dropout,
            );
        }
        let documents = gpu().documents(&batch.starts)?;
        let branch = Synthesizer {
            weights: weights.clone(),
            attention: Attention {
                layout: weights.layout(),
                dropout,
                queries: documents.clone(),
                keys: documents,
            },
        };
        try_residual(x, norm, branch, dropout.output)
    }

    fn incremental_synthesizer<
        'a,
        const EMBED: usize,
        const HEAD_DIM: usize,
        const POSITIONS: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cuda>,
        rows: usize,
    ) -> BoxedIncremental<'a, EMBED, f32, Cuda> {
        if HEAD_DIM > WIDEST {
            return recomputing(rows, move |x, batch: &Ragged| {
                let none = AttentionDropout::none(batch.longest());
                reference::synthesize::<EMBED, HEAD_DIM, POSITIONS, _, _, _>(
                    x, norm, weights, batch, none,
                )
            });
        }
        let layout = weights.layout();
        let size = (rows, POSITIONS);
        GpuCachedSublayer::new(norm, weights, GpuStandardHeads, layout, size).boxed()
    }
}

impl<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize>
    SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cuda>
{
    fn layout(&self) -> HeadLayout {
        HeadLayout {
            position_bias: address(&self.b2),
            ..layout::<EMBED, EMBED, HEAD_DIM>(Scoring::SOFTMAX)
        }
    }

    fn kernel(name: &'static str) -> Kernel {
        POSITIONS_AS_KEYS.kernel(HEAD_DIM, name)
    }

    /// Attention divides scores by this; the synthesizer does not.
    fn root() -> f32 {
        (HEAD_DIM as f32).sqrt()
    }

    /// Writes the keys of tokens at the given positions.
    fn lay_keys(
        &self,
        gpu: &Gpu,
        keys: Matrix,
        (positions, tokens): Positions,
    ) -> Result<(), CudaError> {
        let count = tokens * EMBED;
        let arguments = (
            keys.start,
            keys.step as u32,
            EMBED as u32,
            address(&self.w2),
            POSITIONS as u32,
            positions,
            count as u32,
        );
        gpu.launch_each(Self::kernel("lay_keys"), count, arguments)
    }

    /// In place: hidden layers, which include their bias, become queries.
    fn relu(&self, gpu: &Gpu, hidden: Matrix, tokens: usize) -> Result<(), CudaError> {
        let count = tokens * EMBED;
        let (step, width) = (hidden.step as u32, EMBED as u32);
        let arguments = (hidden.start, step, width, Self::root(), count as u32);
        gpu.launch_each(Self::kernel("relu"), count, arguments)
    }

    /// In place: gradients of queries become those of the hidden layer, with the same stride.
    fn relu_backward(
        &self,
        gpu: &Gpu,
        (gradients, queries): (Matrix, Matrix),
        tokens: usize,
    ) -> Result<(), CudaError> {
        let count = tokens * EMBED;
        let arguments = (
            gradients.start,
            queries.start,
            queries.step as u32,
            EMBED as u32,
            Self::root(),
            count as u32,
        );
        gpu.launch_each(Self::kernel("relu_backward"), count, arguments)
    }
}

/// The branch of the sublayer.
struct Synthesizer<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize> {
    weights: SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cuda>,
    attention: Attention,
}

/// What backward needs.
struct Saved {
    /// The projections to the hidden layer and to values.
    joined: Joined<2>,
    /// Keys, queries and values side by side: `[tokens, 3 EMBED]`.
    heads: Buffer,
    output: AttentionOutput,
}

impl<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize>
    Synthesizer<EMBED, HEAD_DIM, POSITIONS>
{
    /// Views of keys, queries and values that lie side by side.
    fn qkv(heads: &Buffer) -> Qkv {
        let keys = Matrix::new(at(heads), 3 * EMBED);
        Qkv {
            keys,
            queries: keys.columns_from(EMBED),
            values: keys.columns_from(2 * EMBED),
        }
    }
}

impl<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize> Branch<EMBED>
    for Synthesizer<EMBED, HEAD_DIM, POSITIONS>
{
    type Saved = Saved;

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.weights.proj.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        normed: Matrix,
        out: Matrix,
    ) -> Result<Saved, CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let layers = [&of.w1, &of.value].map(Layer::of);
        let joined = Joined::new(gpu, layers)?;
        let heads = gpu.scratch(tokens * 3 * EMBED)?;
        let qkv = Self::qkv(&heads);
        of.lay_keys(gpu, qkv.keys, attention.positions())?;
        joined.apply(gpu, tokens, normed, qkv.queries)?;
        of.relu(gpu, qkv.queries, tokens)?;
        let output = attention.attend(gpu, qkv)?;
        let from = stream_of::<EMBED>(&output.out);
        apply_without_bias(gpu, &of.proj, tokens, from, out)?;
        Ok(Saved {
            joined,
            heads,
            output,
        })
    }

    fn backward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        saved: Saved,
        ends: BranchBackward,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let factors = (ends.dout, stream_of::<EMBED>(&saved.output.out));
        let dout = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;

        let dheads = gpu.scratch(tokens * 3 * EMBED)?;
        let dscores = gpu.scratch(tokens * (EMBED / HEAD_DIM))?;
        let (qkv, dqkv) = (Self::qkv(&saved.heads), Self::qkv(&dheads));
        let back = (&saved.output, &dout);
        attention.backward(gpu, qkv, back, (dqkv, at(&dscores)))?;
        let arguments = (
            dqkv.keys.start,
            dqkv.keys.step as u32,
            at(&dscores),
            attention.keys.starts(),
            attention.keys.count() as u32,
            (EMBED / HEAD_DIM) as u32,
            gradient_address(gradients, &of.w2)?,
            gradient_address(gradients, &of.b2)?,
            POSITIONS as u32,
        );
        let kernel = SynthesizerWeights::<EMBED, HEAD_DIM, POSITIONS, f32, Cuda>::kernel;
        let blocks = (attention.keys.longest(), 1, 1);
        gpu.launch(kernel("add_to_positions"), blocks, arguments)?;
        of.relu_backward(gpu, (dqkv.queries, qkv.queries), tokens)?;

        let to = [
            Layer::gradient_of(&of.w1, gradients)?,
            Layer::gradient_of(&of.value, gradients)?,
        ];
        let factors = (dqkv.queries, ends.normed);
        let dnormed = (ends.dnormed, Destination::Overwrite);
        (saved.joined).back(gpu, tokens, factors, dnormed, to)
    }
}

impl<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize>
    DecodingProjections<EMBED, EMBED>
    for SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cuda>
{
    fn keys_and_values(
        &self,
        gpu: &Gpu,
        _: &HeadLayout,
        from: Matrix,
        placed: Positions,
    ) -> Result<Buffer, CudaError> {
        let (_, count) = placed;
        let news = gpu.scratch(count * 2 * EMBED)?;
        let keys = Matrix::new(at(&news), 2 * EMBED);
        self.lay_keys(gpu, keys, placed)?;
        let values = keys.columns_from(EMBED);
        apply_each(gpu, [Layer::of(&self.value)], count, from, values)?;
        Ok(news)
    }

    fn queries(
        &self,
        gpu: &Gpu,
        _: &HeadLayout,
        from: Matrix,
        (_, count): Positions,
    ) -> Result<Buffer, CudaError> {
        let queries = gpu.scratch(count * EMBED)?;
        let to = stream_of::<EMBED>(&queries);
        apply_each(gpu, [Layer::of(&self.w1)], count, from, to)?;
        self.relu(gpu, to, count)?;
        Ok(queries)
    }

    fn proj(&self) -> &Linear<EMBED, EMBED, f32, Cuda> {
        &self.proj
    }
}
