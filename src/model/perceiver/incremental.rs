//! Incremental decoding of a Perceiver: each token and each latent is processed once.

use dfdx::tensor::{NoneTape, Tensor};
use dfdx::tensor_ops::GatherTo;

use super::Perceiver;
use super::block::IncrementalCrossBlock;
use crate::model::block::IncrementalBlock;
use crate::model::network::IncrementalNetwork;
use crate::ops::LabDevice;
use crate::ops::cross_attention::NewPairs;
use crate::ops::decoding::{NewTokens, OutputTokens};
use crate::ops::dropout::Dropout;

/// The model, and its blocks with their KV caches: the block down caches tokens, the others latents.
pub(super) struct IncrementalPerceiver<'a, const EMBED: usize, M, D: LabDevice<f32>> {
    pub(super) model: &'a M,
    pub(super) down: IncrementalCrossBlock<'a, EMBED, f32, D>,
    pub(super) blocks: Vec<IncrementalBlock<'a, EMBED, f32, D>>,
    pub(super) up: IncrementalCrossBlock<'a, EMBED, f32, D>,
}

impl<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    const MIDDLE: usize,
    const BOTTLENECK: usize,
    D: LabDevice<f32>,
> IncrementalNetwork<D>
    for IncrementalPerceiver<
        '_,
        EMBED,
        Perceiver<EMBED, HEADS, HEAD_DIM, HIDDEN, VOCAB, CONTEXT, MIDDLE, BOTTLENECK, f32, D>,
        D,
    >
{
    fn try_decode(&mut self, ids: &[u32], new: &NewTokens<'_>) -> Result<Vec<f32>, D::Err> {
        assert!(
            new.prefixes.iter().all(Vec::is_empty),
            "a Perceiver does not share prefixes"
        );
        let model = self.model;
        let (tokens, positions) = (&model.tok_emb.weight, &model.pos_emb);
        let at = (ids, new.positions);
        let x = D::try_embed(tokens, positions, at, Dropout::NONE, NoneTape)?; // [new tokens, EMBED]

        // A new token at one of the first positions adds a latent at that position.
        let (mut bringing, mut sequences) = (vec![], vec![]);
        let (mut starts, mut starts_of_all) = (vec![0], vec![0]);
        for (&sequence, own) in new.sequences.iter().zip(new.starts.windows(2)) {
            let own = (own[0]..own[1]).filter(|&token| new.positions[token] < BOTTLENECK);
            bringing.extend(own);
            starts_of_all.push(bringing.len());
            if bringing.len() > starts[starts.len() - 1] {
                sequences.push(sequence);
                starts.push(bringing.len());
            }
        }
        let mut latents = None; // [new latents, EMBED]
        if !bringing.is_empty() {
            let positions: Vec<usize> =
                bringing.iter().map(|&token| new.positions[token]).collect();
            let start = D::try_lookup(&model.latents, &positions, NoneTape)?;
            let tokens = x.clone().try_gather(indices(x.device(), bringing)?)?;
            let pairs = NewPairs {
                sequences: &sequences,
                queries: &starts,
                keys: &starts,
            };
            let mut y = self.down.try_decode(&start, Some(&tokens), &pairs)?;
            let new = NewTokens {
                sequences: &sequences,
                starts: &starts,
                positions: &positions,
                prefixes: &vec![vec![]; sequences.len()],
            };
            for block in &mut self.blocks {
                y = block.try_decode(y, &new, OutputTokens::All)?;
            }
            latents = Some(y);
        }

        let last = new.starts[1..].iter().map(|end| end - 1).collect();
        let x = x.clone().try_gather(indices(x.device(), last)?)?; // [rows, EMBED]
        let one_each: Vec<usize> = (0..=new.sequences.len()).collect();
        let pairs = NewPairs {
            sequences: new.sequences,
            queries: &one_each,
            keys: &starts_of_all,
        };
        let x = self.up.try_decode(&x, latents.as_ref(), &pairs)?;
        let all: Vec<usize> = (0..new.sequences.len()).collect();
        let logits = D::try_logits(x, &model.ln_f, &model.head.weight, &all)?; // [rows, VOCAB]
        Ok(logits.as_vec())
    }
}

/// Row indices to gather, on the device.
fn indices<D: LabDevice<f32>>(
    device: &D,
    rows: Vec<usize>,
) -> Result<Tensor<(usize,), usize, D>, D::Err> {
    let count = rows.len();
    device.try_tensor_from_vec(rows, (count,))
}
