//! What every network begins and ends with: the embedding of its tokens, and the language-model head.

use dfdx::shapes::{Dtype, Rank0, Rank2, Rank3};
use dfdx::tensor::{Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::block::norm;
use crate::config::schema::{ModelSpec, PositionsSpec};
use crate::data::ragged::Ragged;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::{Norm, named_weights};
use crate::ops::{LabDevice, Stream};

/// Token embedding, and position embedding if positions are learned.
#[derive(Clone, Debug)]
pub(super) struct Embedding<
    const EMBED: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    N: Dtype,
    D: Storage<N>,
> {
    pub(super) tok_emb: Tensor<Rank2<VOCAB, EMBED>, N, D>,
    pub(super) pos_emb: Option<Tensor<Rank3<1, CONTEXT, EMBED>, N, D>>,
}

impl<const EMBED: usize, const VOCAB: usize, const CONTEXT: usize, N: Dtype, D: Device<N>>
    Embedding<EMBED, VOCAB, CONTEXT, N, D>
{
    /// All weights zero.
    pub(super) fn zeros(device: &D, spec: &ModelSpec) -> Result<Self, D::Err> {
        Ok(Self {
            tok_emb: device.try_zeros()?,
            pos_emb: match spec.positions {
                PositionsSpec::Learned => Some(device.try_zeros()?),
                PositionsSpec::None => None,
            },
        })
    }
}

impl<const EMBED: usize, const VOCAB: usize, const CONTEXT: usize, D: LabDevice<f32>>
    Embedding<EMBED, VOCAB, CONTEXT, f32, D>
{
    /// The input of the residual stream, `[batch tokens, EMBED]`. `dropout` is the model's: the embedding is its site 0,
    /// layers are its sites from 1 on, and each layer has sites of its own in turn.
    pub(super) fn try_embed_batch<T: Tape<f32, D>>(
        &self,
        batch: &Ragged,
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        self.try_embed((&batch.tokens, &batch.positions()), dropout.at(0), tape)
    }

    /// The same for token ids and their positions, `[tokens, EMBED]`; `dropout` is that of the embedding itself.
    pub(super) fn try_embed<T: Tape<f32, D>>(
        &self,
        at: (&[u32], &[usize]),
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let (tokens, positions) = (&self.tok_emb, self.pos_emb.as_ref());
        D::try_embed(tokens, positions, at, dropout, tape)
    }
}

named_weights! {
    impl [
        const EMBED: usize,
        const VOCAB: usize,
        const CONTEXT: usize,
    ] Embedding<EMBED, VOCAB, CONTEXT> {
        tok_emb: "tok_emb.weight",
        pos_emb: "pos_emb",
    }
}

/// Final norm, and the projection to the vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Head<const EMBED: usize, const VOCAB: usize, N: Dtype, D: Storage<N>> {
    pub(super) ln_f: Norm<EMBED, N, D>,
    /// Absent from a tied head, which projects by the table of the token embedding (Press and Wolf 2017).
    pub(super) head: Option<Tensor<Rank2<VOCAB, EMBED>, N, D>>,
}

impl<const EMBED: usize, const VOCAB: usize, N: Dtype, D: Device<N>> Head<EMBED, VOCAB, N, D> {
    /// All weights zero.
    pub(super) fn zeros(device: &D, spec: &ModelSpec) -> Result<Self, D::Err> {
        let head = (!spec.tied_head).then(|| device.try_zeros());
        Ok(Self {
            ln_f: norm(device, spec)?,
            head: head.transpose()?,
        })
    }

    /// The projection, `[VOCAB, EMBED]`, given the token embedding.
    pub(super) fn projection<'a>(
        &'a self,
        tok_emb: &'a Tensor<Rank2<VOCAB, EMBED>, N, D>,
    ) -> &'a Tensor<Rank2<VOCAB, EMBED>, N, D> {
        self.head.as_ref().unwrap_or(tok_emb)
    }
}

impl<const EMBED: usize, const VOCAB: usize, D: LabDevice<f32>> Head<EMBED, VOCAB, f32, D> {
    /// Mean loss of the scored targets; `x: [tokens, EMBED]` is the end of the residual stream.
    pub(super) fn try_loss<T: Tape<f32, D>>(
        &self,
        tok_emb: &Tensor<Rank2<VOCAB, EMBED>, f32, D>,
        x: Stream<EMBED, f32, D, T>,
        batch: &Ragged,
    ) -> Result<Tensor<Rank0, f32, D, T>, D::Err> {
        D::try_loss(x, &self.ln_f, self.projection(tok_emb), batch)
    }

    /// Logits for the token after each of `rows` of `x: [tokens, EMBED]`: `[rows, VOCAB]`.
    pub(super) fn try_logits(
        &self,
        tok_emb: &Tensor<Rank2<VOCAB, EMBED>, f32, D>,
        x: Stream<EMBED, f32, D>,
        rows: &[usize],
    ) -> Result<Stream<VOCAB, f32, D>, D::Err> {
        D::try_logits(x, &self.ln_f, self.projection(tok_emb), rows)
    }
}

named_weights! {
    impl [const EMBED: usize, const VOCAB: usize,] Head<EMBED, VOCAB> {
        ln_f: "ln_f",
        head: "head.weight",
    }
}
