//! One pre-norm block: attention sublayer, then MLP sublayer if there is one.

use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use super::attention::layout;
use crate::config::schema::{AttentionSpec, MlpSpec, ModelSpec, NormSpec};
use crate::data::ragged::Ragged;
use crate::ops::attention::{self, AttentionDropout, AttentionWeights};
use crate::ops::decoding::{BoxedIncremental, BoxedPointwise};
use crate::ops::dropout::Dropout;
use crate::ops::feed_forward::{Activation, FeedForward};
use crate::ops::maps::HeadMap;
use crate::ops::parameters::{Norm, named_weights};
use crate::ops::{LabDevice, Stream};

/// A norm of the model, all zero.
pub(super) fn norm<const EMBED: usize, N: Dtype, D: Device<N>>(
    device: &D,
    spec: &ModelSpec,
) -> Result<Norm<EMBED, N, D>, D::Err> {
    match spec.norm {
        NormSpec::Layer => Norm::layer(device),
        NormSpec::Rms => Norm::rms(device),
    }
}

/// The norm and the layers of an MLP sublayer.
pub(super) type Mlp<'a, const EMBED: usize, const HIDDEN: usize, N, D> =
    (&'a Norm<EMBED, N, D>, &'a FeedForward<EMBED, HIDDEN, N, D>);

/// What its attention computes is known at run time: [`AttentionWeights::layout`].
#[derive(Clone, Debug)]
pub(super) struct Block<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Storage<N>> {
    pub(super) ln1: Norm<EMBED, N, D>,
    /// Of the MLP sublayer.
    ln2: Option<Norm<EMBED, N, D>>,
    pub(super) attn: AttentionWeights<EMBED, N, D>,
    mlp: Option<FeedForward<EMBED, HIDDEN, N, D>>,
}

impl<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Device<N>> Block<EMBED, HIDDEN, N, D> {
    /// All weights zero.
    pub(super) fn zeros(
        device: &D,
        spec: &ModelSpec,
        attention: &AttentionSpec,
    ) -> Result<Self, D::Err> {
        let activation = match spec.mlp {
            MlpSpec::Gelu => Some(Activation::Gelu),
            MlpSpec::Relu2 => Some(Activation::SquaredRelu),
            MlpSpec::Swiglu => Some(Activation::SwiGlu),
            MlpSpec::None => None,
        };
        let mlp = activation.map(|activation| FeedForward::zeros(device, activation));
        Ok(Self {
            ln1: norm(device, spec)?,
            ln2: mlp.is_some().then(|| norm(device, spec)).transpose()?,
            attn: AttentionWeights::zeros(device, layout(spec, attention))?,
            mlp: mlp.transpose()?,
        })
    }

    /// The norm and the layers of the MLP sublayer, if there is one.
    pub(super) fn mlp(&self) -> Option<Mlp<'_, EMBED, HIDDEN, N, D>> {
        self.ln2.as_ref().zip(self.mlp.as_ref())
    }
}

impl<const EMBED: usize, const HIDDEN: usize, D: LabDevice<f32>> Block<EMBED, HIDDEN, f32, D> {
    /// `[tokens, EMBED]` → the same.
    pub(super) fn try_forward<T: Tape<f32, D>>(
        &self,
        x: Stream<EMBED, f32, D, T>,
        batch: &Ragged,
        context: usize,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let x = self.try_attend(x, batch, context, dropout)?;
        self.try_feed_forward(x, dropout)
    }

    /// The attention sublayer alone.
    pub(super) fn try_attend<T: Tape<f32, D>>(
        &self,
        x: Stream<EMBED, f32, D, T>,
        batch: &Ragged,
        context: usize,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let dropout = AttentionDropout::of_block(dropout, context);
        D::try_attention(x, &self.ln1, &self.attn, batch, dropout)
    }

    /// The MLP sublayer alone; without one the stream as it is.
    pub(super) fn try_feed_forward<T: Tape<f32, D>>(
        &self,
        x: Stream<EMBED, f32, D, T>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        match self.mlp() {
            Some((norm, mlp)) => D::try_feed_forward(x, norm, mlp, dropout.at(3)),
            None => Ok(x),
        }
    }

    /// The MLP sublayer for inference.
    pub(super) fn inference_feed_forward(&self) -> BoxedPointwise<'_, EMBED, f32, D> {
        match self.mlp() {
            Some((norm, mlp)) => D::inference_feed_forward(norm, mlp),
            None => Box::new(Ok),
        }
    }

    /// Attention map of each head over one document, `x` being the input of the block.
    pub(super) fn maps(&self, x: &Stream<EMBED, f32, D>) -> Vec<HeadMap> {
        attention::maps(x, &self.ln1, &self.attn)
    }

    /// The block for incremental decoding of `rows` sequences of at most `context` tokens:
    /// `[new queries, EMBED]` and `[new keys, EMBED]` → `[new queries, EMBED]`.
    pub(super) fn incremental(
        &self,
        rows: usize,
        context: usize,
    ) -> BoxedIncremental<'_, EMBED, f32, D> {
        let mut attention = D::incremental_attention(&self.ln1, &self.attn, (rows, context));
        let feed_forward = self.inference_feed_forward();
        Box::new(move |queries, keys, new| feed_forward(attention(queries, keys, new)?))
    }
}

named_weights! {
    impl [const EMBED: usize, const HIDDEN: usize,] Block<EMBED, HIDDEN> {
        ln1: "ln1",
        ln2: "ln2",
        attn: "attn",
        mlp: "mlp",
    }
}
