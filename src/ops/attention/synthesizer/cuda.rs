//! The GPU: the kernels of attention, with the position weights as keys.
//!
//! A score of the synthesizer is the dot product of the token's hidden layer with the weights of a
//! position. That is a score of attention in which the key of every token is the weights of its position.
//! The gradient of these keys is then summed by position.

use dfdx::shapes::{HasShape, Rank1};
use dfdx::tensor::{Cuda, CudaError, Gradients, Tensor};

use super::PositionWeights;
use crate::ops::attention::{AttentionWeights, FromHeads, Layout, ToHeads};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::decoding::{DecodingProjections, Positions};
use crate::ops::cuda::heads::{Attention, AttentionOutput, HeadLayout, Qkv};
use crate::ops::cuda::kernels::{Kernel, Source};
use crate::ops::cuda::linear::{
    Joined, Layer, apply_each, apply_without_bias, back_without_bias, project_back,
};
use crate::ops::cuda::parts::Gated;
use crate::ops::cuda::products::Matrix;
use crate::ops::cuda::sublayer::{Branch, BranchBackward};
use crate::ops::cuda::{Buffer, Gpu, at};
use crate::ops::parameters::Projection;

pub static POSITIONS_AS_KEYS: Source = Source {
    name: "synthesizer",
    text: concat!(
        include_str!("../../cuda/sums.cuh"),
        include_str!("kernel.cu")
    ),
    constant: "HEAD_DIM",
    kernels: &["lay_keys", "relu", "relu_backward", "add_to_positions"],
};

/// The weights of the sublayer as queries, keys and values.
#[derive(Clone)]
pub struct PositionsAsKeys<const EMBED: usize> {
    layout: Layout,
    of: PositionWeights<EMBED, f32, Cuda>,
    value: ToHeads<EMBED, f32, Cuda>,
    proj: FromHeads<EMBED, f32, Cuda>,
    gate: Option<Projection<EMBED, f32, Cuda>>,
}

impl<const EMBED: usize> PositionsAsKeys<EMBED> {
    pub fn new(
        weights: &AttentionWeights<EMBED, f32, Cuda>,
        of: &PositionWeights<EMBED, f32, Cuda>,
    ) -> Self {
        Self {
            layout: weights.layout,
            of: of.clone(),
            value: weights.value.clone(),
            proj: weights.proj.clone(),
            gate: weights.gate.clone(),
        }
    }

    /// Of attention whose position bias is that of the scores.
    pub fn layout(&self) -> HeadLayout {
        HeadLayout {
            position_bias: address(&self.of.b2),
            ..HeadLayout::new(self.layout)
        }
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        POSITIONS_AS_KEYS.kernel(self.layout.head_dim, name)
    }

    /// Attention divides scores by this; the synthesizer does not.
    fn root(&self) -> f32 {
        (self.layout.head_dim as f32).sqrt()
    }

    /// Writes the keys of tokens at the given positions.
    fn lay_keys(
        &self,
        gpu: &Gpu,
        keys: Matrix,
        (positions, tokens): Positions,
    ) -> Result<(), CudaError> {
        let width = self.layout.width();
        let count = tokens * width;
        let arguments = (
            keys.start,
            keys.step as u32,
            width as u32,
            address(&self.of.w2),
            self.of.b2.shape().0 as u32,
            positions,
            count as u32,
        );
        gpu.launch_each(self.kernel("lay_keys"), count, arguments)
    }

    /// In place: hidden layers, which include their bias, become queries.
    fn relu(&self, gpu: &Gpu, hidden: Matrix, tokens: usize) -> Result<(), CudaError> {
        let count = tokens * self.layout.width();
        let (step, width) = (hidden.step as u32, self.layout.width() as u32);
        let arguments = (hidden.start, step, width, self.root(), count as u32);
        gpu.launch_each(self.kernel("relu"), count, arguments)
    }

    /// In place: gradients of queries become those of the hidden layer, with the same stride.
    fn relu_backward(
        &self,
        gpu: &Gpu,
        (gradients, queries): (Matrix, Matrix),
        tokens: usize,
    ) -> Result<(), CudaError> {
        let width = self.layout.width();
        let count = tokens * width;
        let arguments = (
            gradients.start,
            queries.start,
            queries.step as u32,
            width as u32,
            self.root(),
            count as u32,
        );
        gpu.launch_each(self.kernel("relu_backward"), count, arguments)
    }
}

/// The branch of the sublayer.
pub struct GpuSynthesizer<const EMBED: usize> {
    weights: PositionsAsKeys<EMBED>,
    attention: Attention,
}

/// What backward needs.
pub struct Saved {
    /// The projections to the hidden layer and to values.
    joined: Joined,
    /// Keys, queries and values side by side: `[tokens, 3 width]`.
    heads: Buffer,
    output: AttentionOutput,
    gated: Option<Gated>,
}

impl<const EMBED: usize> GpuSynthesizer<EMBED> {
    pub fn new(weights: PositionsAsKeys<EMBED>, attention: Attention) -> Self {
        let attention = Attention {
            layout: weights.layout(),
            ..attention
        };
        Self { weights, attention }
    }

    /// Views of keys, queries and values that lie side by side.
    fn qkv(&self, heads: &Buffer) -> Qkv {
        let width = self.weights.layout.width();
        let keys = Matrix::new(at(heads), 3 * width);
        Qkv {
            keys,
            queries: keys.columns_from(width),
            values: keys.columns_from(2 * width),
            sums: Matrix::NONE,
        }
    }
}

impl<const EMBED: usize> Branch<EMBED> for GpuSynthesizer<EMBED> {
    type Saved = Saved;

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.weights.proj.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        [tokens]: [usize; 1],
        [normed]: [Matrix; 1],
        out: Matrix,
    ) -> Result<Saved, CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let layers = [&of.of.hidden, &of.value].map(Layer::of);
        let joined = Joined::new(gpu, layers.to_vec())?;
        let heads = gpu.scratch(tokens * 3 * of.layout.width())?;
        let qkv = self.qkv(&heads);
        of.lay_keys(gpu, qkv.keys, attention.positions())?;
        joined.apply(gpu, tokens, normed, qkv.queries)?;
        of.relu(gpu, qkv.queries, tokens)?;
        let output = attention.attend(gpu, qkv)?;
        let gate = (of.gate.as_ref(), &output.out);
        let gated = Gated::new(gpu, &attention.layout, gate, (normed, tokens))?;
        let from = gated.as_ref().map_or(&output.out, |gated| &gated.output);
        let from = Matrix::new(at(from), of.layout.width());
        apply_without_bias(gpu, &of.proj, tokens, from, out)?;
        Ok(Saved {
            joined,
            heads,
            output,
            gated,
        })
    }

    fn backward(
        &self,
        gpu: &Gpu,
        [tokens]: [usize; 1],
        saved: Saved,
        ends: BranchBackward,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let (width, heads) = (of.layout.width(), of.layout.heads);
        let (out, gated) = (&saved.output.out, saved.gated.as_ref());
        let output = gated.map_or(out, |gated| &gated.output);
        let factors = (ends.dout, Matrix::new(at(output), width));
        let dout = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;
        let dgates =
            gated.map(|gated| gated.backward(gpu, &attention.layout, (out, &dout), tokens));
        let dgates = dgates.transpose()?;

        let dheads = gpu.scratch(tokens * 3 * width)?;
        let dscores = gpu.scratch(tokens * heads)?;
        let (qkv, dqkv) = (self.qkv(&saved.heads), self.qkv(&dheads));
        let back = (&saved.output, &dout);
        attention.backward(gpu, qkv, back, (dqkv, at(&dscores)))?;
        let arguments = (
            dqkv.keys.start,
            dqkv.keys.step as u32,
            at(&dscores),
            attention.keys.starts(),
            attention.keys.count() as u32,
            heads as u32,
            gradient_address(gradients, &of.of.w2)?,
            gradient_address(gradients, &of.of.b2)?,
            of.of.b2.shape().0 as u32,
        );
        let blocks = (attention.keys.longest(), 1, 1);
        gpu.launch(of.kernel("add_to_positions"), blocks, arguments)?;
        of.relu_backward(gpu, (dqkv.queries, qkv.queries), tokens)?;

        let to = [
            Layer::gradient_of(&of.of.hidden, gradients)?,
            Layer::gradient_of(&of.value, gradients)?,
        ];
        let factors = (dqkv.queries, ends.inputs[0]);
        (saved.joined).back(gpu, tokens, factors, ends.dinputs[0], &to)?;
        match of.gate.as_ref().zip(dgates) {
            None => Ok(()),
            Some((gate, dgates)) => {
                let factors = (&dgates, ends.inputs[0]);
                project_back(gpu, gate, tokens, factors, ends.dinputs[0].0, gradients)
            }
        }
    }
}

impl<const EMBED: usize> DecodingProjections<EMBED> for PositionsAsKeys<EMBED> {
    fn cache_entries(
        &self,
        gpu: &Gpu,
        _: &HeadLayout,
        from: Matrix,
        placed: Positions,
    ) -> Result<Buffer, CudaError> {
        let ((_, count), width) = (placed, self.layout.width());
        let news = gpu.scratch(count * 2 * width)?;
        let keys = Matrix::new(at(&news), 2 * width);
        self.lay_keys(gpu, keys, placed)?;
        let values = keys.columns_from(width);
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
        let width = self.layout.width();
        let queries = gpu.scratch(count * width)?;
        let to = Matrix::new(at(&queries), width);
        apply_each(gpu, [Layer::of(&self.of.hidden)], count, from, to)?;
        self.relu(gpu, to, count)?;
        Ok(queries)
    }

    fn gate(&self) -> Option<&Projection<EMBED, f32, Cuda>> {
        self.gate.as_ref()
    }

    fn proj(&self) -> &FromHeads<EMBED, f32, Cuda> {
        &self.proj
    }
}
