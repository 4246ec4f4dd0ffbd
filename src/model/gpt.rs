//! The GPT: embedding, LAYERS pre-norm blocks, final norm and head.
//!
//! Layer order and names are those of the reference (minGPT: Karpathy 2020, after Radford et al. 2019), so
//! that its weights load by name.

use dfdx::nn::BuildModule;
use dfdx::nn::modules::Repeated;
use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::shapes::{Dtype, Rank0, Rank3};
use dfdx::tensor::{NoneTape, PutTape, Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::attention::Attention;
use super::block::Block;
use super::maps::LayerMaps;
use super::network::{IncrementalNetwork, Network};
use super::parts::PartOfStep;
use crate::data::ragged::Ragged;
use crate::ops::decoding::OutputTokens;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::{LayerNorm, Table, named_weights};
use crate::ops::{LabDevice, Stream};

/// `A` is the kind of attention, including its constants.
#[derive(Clone, Debug)]
pub(super) struct Gpt<
    const LAYERS: usize,
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    A,
    N: Dtype,
    D: Storage<N>,
> {
    pub(super) tok_emb: Table<VOCAB, EMBED, N, D>,
    pub(super) pos_emb: Tensor<Rank3<1, CONTEXT, EMBED>, N, D>,
    pub(super) blocks: Repeated<Block<EMBED, HIDDEN, A, N, D>, LAYERS>,
    pub(super) ln_f: LayerNorm<EMBED, N, D>,
    pub(super) head: Table<VOCAB, EMBED, N, D>,
}

impl<
    const LAYERS: usize,
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    A: Attention<EMBED, f32, D>,
    D: LabDevice<f32>,
> Gpt<LAYERS, EMBED, HIDDEN, VOCAB, CONTEXT, A, f32, D>
{
    /// The input of the residual stream: `[batch tokens, EMBED]`, before the first block.
    fn embed<T: Tape<f32, D>>(
        &self,
        batch: &Ragged,
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let (tokens, positions) = (&self.tok_emb.weight, &self.pos_emb);
        // Each dropout site has its own key: embedding 0, layers from 1, and the sites within a layer.
        let at = (&batch.tokens[..], &batch.positions()[..]);
        D::try_embed(tokens, positions, at, dropout.at(0), tape)
    }

    /// The residual stream before the final norm: `[batch tokens, EMBED]`.
    fn stream<T: Tape<f32, D>>(
        &self,
        batch: &Ragged,
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let mut x = self.embed(batch, dropout, tape)?;
        for (layer, block) in self.blocks.modules.iter().enumerate() {
            x = block.try_forward(x, batch, CONTEXT, dropout.at(1 + layer as u64))?;
        }
        Ok(x)
    }

    /// Final norm, head and mean loss of the scored targets.
    fn end<T: Tape<f32, D>>(
        &self,
        x: Stream<EMBED, f32, D, T>,
        batch: &Ragged,
    ) -> Result<Tensor<Rank0, f32, D, T>, D::Err> {
        D::try_loss(x, &self.ln_f, &self.head.weight, batch)
    }
}

impl<
    const LAYERS: usize,
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    A: Attention<EMBED, f32, D>,
    D: LabDevice<f32>,
> Network<D> for Gpt<LAYERS, EMBED, HIDDEN, VOCAB, CONTEXT, A, f32, D>
where
    Self: BuildModule<D, f32>,
{
    const KIND: &'static str = A::KIND;
    const VOCAB: usize = VOCAB;
    const CONTEXT: usize = if A::LONGEST < CONTEXT {
        A::LONGEST
    } else {
        CONTEXT
    };
    const SHARES_PREFIXES: bool = true;

    fn loss<T: Tape<f32, D>>(
        &self,
        batch: &Ragged,
        dropout: Dropout,
        tape: T,
    ) -> Result<Tensor<Rank0, f32, D, T>, D::Err> {
        let x = self.stream(batch, dropout, tape)?; // [tokens, EMBED]
        self.end(x, batch)
    }

    fn logits(&self, batch: &Ragged, rows: &[usize]) -> Result<Vec<f32>, D::Err> {
        let x = self.stream(batch, Dropout::NONE, NoneTape)?; // [tokens, EMBED]
        let logits = D::try_logits(x, &self.ln_f, &self.head.weight, rows)?; // [rows, VOCAB]
        Ok(logits.as_vec())
    }

    fn maps(&self, document: &Ragged) -> Result<Vec<LayerMaps>, D::Err> {
        let mut x = self.embed(document, Dropout::NONE, NoneTape)?; // [tokens, EMBED]
        let mut maps = vec![];
        for block in &self.blocks.modules {
            maps.push(LayerMaps::of_tokens(block.maps(&x)));
            x = block.try_forward(x, document, CONTEXT, Dropout::NONE)?;
        }
        Ok(maps)
    }

    fn incremental(&self, rows: usize) -> IncrementalNetwork<'_, D> {
        let blocks = self.blocks.modules.iter();
        let mut blocks: Vec<_> = blocks
            .map(|block| block.incremental(rows, CONTEXT))
            .collect();
        Box::new(move |ids, new| {
            let (tokens, positions) = (&self.tok_emb.weight, &self.pos_emb);
            let at = (ids, new.positions);
            let mut x = D::try_embed(tokens, positions, at, Dropout::NONE, NoneTape)?;
            for (layer, decode) in blocks.iter_mut().enumerate() {
                // After the last block only the last tokens are used.
                let outputs = match layer + 1 < LAYERS {
                    true => OutputTokens::All,
                    false => OutputTokens::Last,
                };
                x = decode(x, new, outputs)?; // [new tokens, EMBED], at last [rows, EMBED]
            }
            let all: Vec<usize> = (0..new.sequences.len()).collect();
            let logits = D::try_logits(x, &self.ln_f, &self.head.weight, &all)?; // [rows, VOCAB]
            Ok(logits.as_vec())
        })
    }

    fn parts<'a>(
        &self,
        batch: &'a Ragged,
        dropout: Dropout,
    ) -> Result<Vec<PartOfStep<'a, Self, D>>, D::Err> {
        let (x, block) = (
            self.embed(batch, dropout, NoneTape)?,
            &self.blocks.modules[0],
        );
        let attended = block.try_attend(x.clone(), batch, CONTEXT, dropout.at(1))?;
        let fed = block.try_feed_forward(attended.clone(), dropout.at(1))?;
        Ok(vec![
            PartOfStep::new("embedding", 1, move |model: &Self, tape| {
                model.embed(batch, dropout, tape)
            }),
            PartOfStep::new("attention", LAYERS, move |model: &Self, tape| {
                let (block, x) = (&model.blocks.modules[0], x.clone().put_tape(tape));
                block.try_attend(x, batch, CONTEXT, dropout.at(1))
            }),
            PartOfStep::new("mlp", LAYERS, move |model: &Self, tape| {
                let (block, x) = (&model.blocks.modules[0], attended.clone().put_tape(tape));
                block.try_feed_forward(x, dropout.at(1))
            }),
            PartOfStep::new("head", 1, move |model: &Self, tape| {
                model.end(fed.clone().put_tape(tape), batch)
            }),
        ])
    }
}

named_weights! {
    impl [
        const LAYERS: usize,
        const EMBED: usize,
        const HIDDEN: usize,
        const VOCAB: usize,
        const CONTEXT: usize,
    ] Gpt<LAYERS, EMBED, HIDDEN, VOCAB, CONTEXT; A> {
        tok_emb: module("tok_emb"),
        pos_emb: zeros("pos_emb"),
        blocks: module("blocks"),
        ln_f: module("ln_f"),
        head: module("head"),
    }
}
