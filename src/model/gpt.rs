//! The GPT: embedding, pre-norm blocks, final norm and head.
//!
//! Layer order and names are those of the reference (minGPT: Karpathy 2020, after Radford et al. 2019), so
//! that its weights load by name.

use dfdx::shapes::{Dtype, Rank0};
use dfdx::tensor::{NoneTape, PutTape, Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::block::Block;
use super::ends::{Embedding, Head};
use super::maps::LayerMaps;
use super::network::{IncrementalNetwork, LastTokens, Network};
use super::parts::PartOfStep;
use crate::config::schema::ModelSpec;
use crate::data::ragged::Ragged;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::named_weights;
use crate::ops::{LabDevice, Stream};

/// The number of blocks, and what their attention computes, are known at run time.
#[derive(Clone, Debug)]
pub(super) struct Gpt<
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    N: Dtype,
    D: Storage<N>,
> {
    /// Maximum document length: CONTEXT, or less if the attention needs it.
    longest: usize,
    pub(super) embedding: Embedding<EMBED, VOCAB, CONTEXT, N, D>,
    pub(super) blocks: Vec<Block<EMBED, HIDDEN, N, D>>,
    pub(super) head: Head<EMBED, VOCAB, N, D>,
}

impl<
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    D: LabDevice<f32>,
> Gpt<EMBED, HIDDEN, VOCAB, CONTEXT, f32, D>
{
    /// The residual stream before the final norm: `[batch tokens, EMBED]`.
    fn stream<T: Tape<f32, D>>(
        &self,
        batch: &Ragged,
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let mut x = self.embedding.try_embed_batch(batch, dropout, tape)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.try_forward(x, batch, CONTEXT, dropout.at(1 + layer as u64))?;
        }
        Ok(x)
    }

    /// For each attention layout: a name, the first block that has it, and how many do.
    fn attention_layouts(&self) -> Vec<(String, usize, usize)> {
        let layout = |block: usize| self.blocks[block].attn.layout;
        let mut alike: Vec<(usize, usize)> = vec![];
        for block in 0..self.blocks.len() {
            match alike
                .iter_mut()
                .find(|(first, _)| layout(*first) == layout(block))
            {
                Some((_, count)) => *count += 1,
                None => alike.push((block, 1)),
            }
        }
        let name = |first: usize| match alike.len() {
            1 => "attention".to_owned(),
            _ => format!("attention of block {first}"),
        };
        alike
            .iter()
            .map(|&(first, count)| (name(first), first, count))
            .collect()
    }
}

impl<
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    D: LabDevice<f32>,
> Network<D> for Gpt<EMBED, HIDDEN, VOCAB, CONTEXT, f32, D>
{
    const VOCAB: usize = VOCAB;
    const SHARES_PREFIXES: bool = true;

    fn zeros(device: &D, spec: &ModelSpec) -> Result<Self, D::Err> {
        let attentions = (0..spec.layers).map(|layer| spec.attention_of(layer));
        let blocks = attentions.map(|attention| Block::zeros(device, spec, &attention));
        Ok(Self {
            longest: spec.longest_document(),
            embedding: Embedding::zeros(device, spec)?,
            blocks: blocks.collect::<Result<_, _>>()?,
            head: Head::zeros(device, spec)?,
        })
    }

    fn longest_document(&self) -> usize {
        self.longest
    }

    fn loss<T: Tape<f32, D>>(
        &self,
        batch: &Ragged,
        dropout: Dropout,
        tape: T,
    ) -> Result<Tensor<Rank0, f32, D, T>, D::Err> {
        let x = self.stream(batch, dropout, tape)?; // [tokens, EMBED]
        self.head.try_loss(&self.embedding.tok_emb, x, batch)
    }

    fn logits(&self, batch: &Ragged, rows: &[usize]) -> Result<Vec<f32>, D::Err> {
        let x = self.stream(batch, Dropout::NONE, NoneTape)?; // [tokens, EMBED]
        let logits = (self.head).try_logits(&self.embedding.tok_emb, x, rows)?; // [rows, VOCAB]
        Ok(logits.as_vec())
    }

    fn maps(&self, document: &Ragged) -> Result<Vec<LayerMaps>, D::Err> {
        let mut x = self
            .embedding
            .try_embed_batch(document, Dropout::NONE, NoneTape)?; // [tokens, EMBED]
        let mut maps = vec![];
        for block in &self.blocks {
            maps.push(LayerMaps::of_tokens(block.maps(&x)));
            x = block.try_forward(x, document, CONTEXT, Dropout::NONE)?;
        }
        Ok(maps)
    }

    fn incremental(&self, rows: usize) -> IncrementalNetwork<'_, D> {
        let blocks = self.blocks.iter();
        let mut blocks: Vec<_> = blocks
            .map(|block| block.incremental(rows, CONTEXT))
            .collect();
        Box::new(move |ids, new| {
            let at = (ids, new.positions);
            let mut x = self.embedding.try_embed(at, Dropout::NONE, NoneTape)?;
            let (last_block, before) = blocks.split_last_mut().expect("a model has a block");
            for decode in before {
                x = decode(&x, Some(&x), new)?; // [new tokens, EMBED]
            }
            // After the last block only the last tokens are used.
            let last = LastTokens::of(new);
            let x = last_block(&last.rows(&x)?, Some(&x), &last.queries(new))?; // [rows, EMBED]
            let all: Vec<usize> = (0..new.sequences.len()).collect();
            let logits = (self.head).try_logits(&self.embedding.tok_emb, x, &all)?; // [rows, VOCAB]
            Ok(logits.as_vec())
        })
    }

    fn parts<'a>(
        &self,
        batch: &'a Ragged,
        dropout: Dropout,
    ) -> Result<Vec<PartOfStep<'a, Self, D>>, D::Err> {
        let (x, block) = (
            self.embedding.try_embed_batch(batch, dropout, NoneTape)?,
            &self.blocks[0],
        );
        let layers = self.blocks.len();
        let attended = block.try_attend(x.clone(), batch, CONTEXT, dropout.at(1))?;
        let fed = block.try_feed_forward(attended.clone(), dropout.at(1))?;
        let mut parts = vec![PartOfStep::new(
            "embedding",
            1,
            move |model: &Self, tape| model.embedding.try_embed_batch(batch, dropout, tape),
        )];
        for (name, first, times_a_step) in self.attention_layouts() {
            let x = x.clone();
            parts.push(PartOfStep::new(
                name,
                times_a_step,
                move |model: &Self, tape| {
                    let (block, x) = (&model.blocks[first], x.clone().put_tape(tape));
                    block.try_attend(x, batch, CONTEXT, dropout.at(1))
                },
            ));
        }
        if block.mlp().is_some() {
            parts.push(PartOfStep::new("mlp", layers, move |model: &Self, tape| {
                let (block, x) = (&model.blocks[0], attended.clone().put_tape(tape));
                block.try_feed_forward(x, dropout.at(1))
            }));
        }
        parts.push(PartOfStep::new("head", 1, move |model: &Self, tape| {
            model
                .head
                .try_loss(&model.embedding.tok_emb, fed.clone().put_tape(tape), batch)
        }));
        Ok(parts)
    }
}

named_weights! {
    impl [
        const EMBED: usize,
        const HIDDEN: usize,
        const VOCAB: usize,
        const CONTEXT: usize,
    ] Gpt<EMBED, HIDDEN, VOCAB, CONTEXT> {
        embedding: "",
        blocks: "blocks",
        head: "",
    }
}
