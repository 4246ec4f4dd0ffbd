//! The Perceiver of the assignment: latents attend to the tokens, then to each other, and finally the
//! tokens attend to the latents (after Jaegle et al. 2021; causal as in Hawthorne et al. 2022, Perceiver
//! AR).
//!
//! Latent i attends to the tokens 0 to i, and token t to the latents 0 to t. So latents only ever attend to
//! the first tokens, as many as there are latents, and a shorter document needs no more latents than it has
//! tokens: the latents form a ragged batch of their own. Names are those of the reference's modules.

mod block;

use dfdx::shapes::{Const, Dtype, HasShape, Rank0};
use dfdx::tensor::{NoneTape, PutTape, SplitTape, Storage, Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::block::Block;
use super::ends::{Embedding, Head};
use super::maps::{LayerMaps, MapAxis};
use super::network::{IncrementalNetwork, LastTokens, Network, rows_of};
use super::parts::PartOfStep;
use crate::config::schema::ModelSpec;
use crate::data::ragged::Ragged;
use crate::ops::attention::NormedStream;
use crate::ops::decoding::NewTokens;
use crate::ops::dropout::Dropout;
use crate::ops::embedding::LookupTable;
use crate::ops::parameters::named_weights;
use crate::ops::{LabDevice, Stream};

/// The numbers of latents, and of blocks between the down block and the up block, are known at run time.
#[derive(Clone, Debug)]
pub(super) struct Perceiver<
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    N: Dtype,
    D: Storage<N>,
> {
    pub(super) embedding: Embedding<EMBED, VOCAB, CONTEXT, N, D>,
    /// The initial latents, learned: the reference's `C`.
    pub(super) latents: LookupTable<EMBED, N, D>,
    pub(super) down: Block<EMBED, HIDDEN, N, D>,
    pub(super) blocks: Vec<Block<EMBED, HIDDEN, N, D>>,
    pub(super) up: Block<EMBED, HIDDEN, N, D>,
    pub(super) head: Head<EMBED, VOCAB, N, D>,
}

/// The batch of latents for a batch of documents: the first `bottleneck` positions of each, without token
/// ids.
fn latents_of(batch: &Ragged, bottleneck: usize) -> Ragged {
    let mut starts = vec![0];
    for document in batch.starts.windows(2) {
        let count = (document[1] - document[0]).min(bottleneck);
        starts.push(starts[starts.len() - 1] + count);
    }
    Ragged::of_starts(starts)
}

impl<
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    D: LabDevice<f32>,
> Perceiver<EMBED, HIDDEN, VOCAB, CONTEXT, f32, D>
{
    /// Number of latents.
    fn bottleneck(&self) -> usize {
        self.latents.shape().1
    }

    /// The latents after attending to the tokens `x`: `[latents, EMBED]`.
    fn attend_down<T: Tape<f32, D>>(
        &self,
        x: &Stream<EMBED, f32, D>,
        [batch, latents]: [&Ragged; 2],
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let start = D::try_lookup(&self.latents, &latents.positions(), tape)?;
        let (start, tape) = start.split_tape();
        let starts = [&latents.starts[..], &batch.starts];
        let sites = (dropout.at(1), CONTEXT);
        self.down
            .try_cross([&start, x], NormedStream::Queries, starts, sites, tape)
    }

    /// The tokens `x` after attending to the latents: `[batch tokens, EMBED]`.
    fn attend_up<T: Tape<f32, D>>(
        &self,
        x: &Stream<EMBED, f32, D>,
        latents: Stream<EMBED, f32, D, T>,
        starts: [&[usize]; 2],
        dropout: Dropout,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let (latents, tape) = latents.split_tape();
        let sites = (dropout.at(2 + self.blocks.len() as u64), CONTEXT);
        self.up
            .try_cross([x, &latents], NormedStream::Keys, starts, sites, tape)
    }

    /// The residual stream before the final norm: `[batch tokens, EMBED]`.
    fn stream<T: Tape<f32, D>>(
        &self,
        batch: &Ragged,
        dropout: Dropout,
        tape: T,
    ) -> Result<Stream<EMBED, f32, D, T>, D::Err> {
        let latents = latents_of(batch, self.bottleneck());
        let (x, tape) = self
            .embedding
            .try_embed_batch(batch, dropout, tape)?
            .split_tape();
        let mut y = self.attend_down(&x, [batch, &latents], dropout, tape)?;
        for (layer, block) in (2..).zip(&self.blocks) {
            y = block.try_forward(y, &latents, CONTEXT, dropout.at(layer))?;
        }
        self.attend_up(&x, y, [&batch.starts, &latents.starts], dropout)
    }
}

impl<
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    D: LabDevice<f32>,
> Network<D> for Perceiver<EMBED, HIDDEN, VOCAB, CONTEXT, f32, D>
{
    const VOCAB: usize = VOCAB;
    // A sequence's latents depend on its own first tokens.
    const SHARES_PREFIXES: bool = false;

    fn zeros(device: &D, spec: &ModelSpec) -> Result<Self, D::Err> {
        let block = || Block::zeros(device, spec, &spec.attention);
        let bottleneck = spec.attention.bottleneck;
        let bottleneck = bottleneck.expect("a Perceiver's number of latents is required");
        Ok(Self {
            embedding: Embedding::zeros(device, spec)?,
            latents: device.try_zeros_like(&(Const, bottleneck, Const))?,
            down: block()?,
            // All but the first and the last.
            blocks: (2..spec.layers)
                .map(|_| block())
                .collect::<Result<_, _>>()?,
            up: block()?,
            head: Head::zeros(device, spec)?,
        })
    }

    fn longest_document(&self) -> usize {
        CONTEXT
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
        let latents = latents_of(document, self.bottleneck());
        let x = self
            .embedding
            .try_embed_batch(document, Dropout::NONE, NoneTape)?; // [tokens, EMBED]
        let start = D::try_lookup(&self.latents, &latents.positions(), NoneTape)?; // [latents, EMBED]
        let heads = self.down.cross_maps([&start, &x], NormedStream::Queries);
        let mut maps = vec![LayerMaps::new([MapAxis::Latents, MapAxis::Tokens], heads)];
        let mut y = self.attend_down(&x, [document, &latents], Dropout::NONE, NoneTape)?;
        for block in &self.blocks {
            maps.push(LayerMaps::new([MapAxis::Latents; 2], block.maps(&y)));
            y = block.try_forward(y, &latents, CONTEXT, Dropout::NONE)?;
        }
        let heads = self.up.cross_maps([&x, &y], NormedStream::Keys);
        maps.push(LayerMaps::new([MapAxis::Tokens, MapAxis::Latents], heads));
        Ok(maps)
    }

    fn incremental(&self, rows: usize) -> IncrementalNetwork<'_, D> {
        // The block down caches tokens, the others latents.
        let (tokens, latents) = (CONTEXT, self.bottleneck());
        let mut down =
            (self.down).incremental_cross(NormedStream::Queries, (rows, [latents, tokens]));
        let blocks = self.blocks.iter();
        let mut blocks: Vec<_> = blocks
            .map(|block| block.incremental(rows, CONTEXT))
            .collect();
        let mut up = (self.up).incremental_cross(NormedStream::Keys, (rows, [tokens, latents]));
        Box::new(move |ids, new| {
            let at = (ids, new.positions);
            let x = (self.embedding).try_embed(at, Dropout::NONE, NoneTape)?; // [new tokens, EMBED]

            let coming = NewLatents::of(new, self.bottleneck());
            let mut latents = None; // [new latents, EMBED]
            if !coming.tokens.is_empty() {
                let tokens = coming.tokens.iter();
                let positions: Vec<usize> = tokens.map(|&token| new.positions[token]).collect();
                let start = D::try_lookup(&self.latents, &positions, NoneTape)?;
                let new = NewTokens {
                    sequences: &coming.sequences,
                    queries: &coming.starts,
                    positions: &positions,
                    keys: &coming.starts,
                    prefixes: &vec![vec![]; coming.sequences.len()],
                };
                let mut y = down(&start, Some(&rows_of(&x, coming.tokens)?), &new)?;
                for decode in &mut blocks {
                    y = decode(&y, Some(&y), &new)?;
                }
                latents = Some(y);
            }

            let last = LastTokens::of(new);
            let new = NewTokens {
                keys: &coming.starts_of_all,
                ..last.queries(new)
            };
            let x = up(&last.rows(&x)?, latents.as_ref(), &new)?; // [rows, EMBED]
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
        let latents = latents_of(batch, self.bottleneck());
        let x = self.embedding.try_embed_batch(batch, dropout, NoneTape)?;
        let seen = self.attend_down(&x, [batch, &latents], dropout, NoneTape)?;
        let looked = self.attend_up(&x, seen.clone(), [&batch.starts, &latents.starts], dropout)?;
        let mut parts = vec![PartOfStep::new(
            "embedding",
            1,
            move |model: &Self, tape| model.embedding.try_embed_batch(batch, dropout, tape),
        )];
        let (of_batch, tokens) = (latents.clone(), x.clone());
        parts.push(PartOfStep::new("down", 1, move |model: &Self, tape| {
            model.attend_down(&tokens, [batch, &of_batch], dropout, tape)
        }));
        if let Some(block) = self.blocks.first() {
            let attended = block.try_attend(seen.clone(), &latents, CONTEXT, dropout.at(2))?;
            let (of_batch, y) = (latents.clone(), seen.clone());
            parts.push(PartOfStep::new(
                "attention",
                self.blocks.len(),
                move |model: &Self, tape| {
                    let (block, y) = (&model.blocks[0], y.clone().put_tape(tape));
                    block.try_attend(y, &of_batch, CONTEXT, dropout.at(2))
                },
            ));
            if block.mlp().is_some() {
                parts.push(PartOfStep::new(
                    "mlp",
                    self.blocks.len(),
                    move |model: &Self, tape| {
                        let (block, y) = (&model.blocks[0], attended.clone().put_tape(tape));
                        block.try_feed_forward(y, dropout.at(2))
                    },
                ));
            }
        }
        parts.push(PartOfStep::new("up", 1, move |model: &Self, tape| {
            let y = seen.clone().put_tape(tape);
            model.attend_up(&x, y, [&batch.starts, &latents.starts], dropout)
        }));
        parts.push(PartOfStep::new("head", 1, move |model: &Self, tape| {
            model.head.try_loss(
                &model.embedding.tok_emb,
                looked.clone().put_tape(tape),
                batch,
            )
        }));
        Ok(parts)
    }
}

/// The latents that new tokens bring: one at each of the first positions.
struct NewLatents {
    /// The new tokens at these positions.
    tokens: Vec<usize>,
    /// The sequences that have any, and where those of each start.
    sequences: Vec<usize>,
    starts: Vec<usize>,
    /// The same for all sequences that have new tokens.
    starts_of_all: Vec<usize>,
}

impl NewLatents {
    fn of(new: &NewTokens<'_>, bottleneck: usize) -> Self {
        assert!(
            new.prefixes.iter().all(Vec::is_empty),
            "a Perceiver does not share prefixes"
        );
        let (mut tokens, mut sequences) = (vec![], vec![]);
        let (mut starts, mut starts_of_all) = (vec![0], vec![0]);
        for (&sequence, own) in new.sequences.iter().zip(new.queries.windows(2)) {
            tokens.extend((own[0]..own[1]).filter(|&token| new.positions[token] < bottleneck));
            starts_of_all.push(tokens.len());
            if tokens.len() > starts[starts.len() - 1] {
                sequences.push(sequence);
                starts.push(tokens.len());
            }
        }
        Self {
            tokens,
            sequences,
            starts,
            starts_of_all,
        }
    }
}

named_weights! {
    impl [
        const EMBED: usize,
        const HIDDEN: usize,
        const VOCAB: usize,
        const CONTEXT: usize,
    ] Perceiver<EMBED, HIDDEN, VOCAB, CONTEXT> {
        embedding: "",
        latents: "down_block.C",
        down: "down_block",
        blocks: "blocks",
        up: "up_block",
        head: "",
    }
}
