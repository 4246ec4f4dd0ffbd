//! A Perceiver reads rows bit by bit: each token, and each latent, once.

use dfdx::tensor::{NoneTape, Tensor};
use dfdx::tensor_ops::GatherTo;

use super::Perceiver;
use super::block::CrossBlockReader;
use crate::model::block::BlockReader;
use crate::model::gpt::NetworkReader;
use crate::ops::LabDevice;
use crate::ops::cross_attention::NewPairs;
use crate::ops::dropout::Dropout;
use crate::ops::reading::{NewTokens, Wanted};

/// The model, whose blocks remember what they have read: the block down the tokens, the block up the
/// latents, those between what latents say to each other.
pub(super) struct PerceiverReader<'a, const EMBED: usize, M, D: LabDevice<f32>> {
    pub(super) model: &'a M,
    pub(super) down: CrossBlockReader<'a, EMBED, f32, D>,
    pub(super) blocks: Vec<BlockReader<'a, EMBED, f32, D>>,
    pub(super) up: CrossBlockReader<'a, EMBED, f32, D>,
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
> NetworkReader<D>
    for PerceiverReader<
        '_,
        EMBED,
        Perceiver<EMBED, HEADS, HEAD_DIM, HIDDEN, VOCAB, CONTEXT, MIDDLE, BOTTLENECK, f32, D>,
        D,
    >
{
    fn try_read(&mut self, ids: &[u32], new: &NewTokens<'_>) -> Result<Vec<f32>, D::Err> {
        assert!(
            new.before.iter().all(Vec::is_empty),
            "every row is read by itself"
        );
        let model = self.model;
        let (tokens, positions) = (&model.tok_emb.weight, &model.pos_emb);
        let at = (ids, new.places);
        let x = D::try_embed(tokens, positions, at, Dropout::NONE, NoneTape)?; // [new tokens, EMBED]

        // A new token at one of the first places brings a latent with it.
        let (mut bringing, mut rows) = (vec![], vec![]);
        let (mut starts, mut starts_of_all) = (vec![0], vec![0]);
        for (&row, own) in new.rows.iter().zip(new.starts.windows(2)) {
            let own = (own[0]..own[1]).filter(|&token| new.places[token] < BOTTLENECK);
            bringing.extend(own);
            starts_of_all.push(bringing.len());
            if bringing.len() > starts[starts.len() - 1] {
                rows.push(row);
                starts.push(bringing.len());
            }
        }
        let mut latents = None; // [new latents, EMBED]
        if !bringing.is_empty() {
            let places: Vec<usize> = bringing.iter().map(|&token| new.places[token]).collect();
            let start = D::try_look_up(&model.latents, &places, NoneTape)?;
            let tokens = x.clone().try_gather(indices(x.device(), bringing)?)?;
            let pairs = NewPairs {
                rows: &rows,
                queries: &starts,
                keys: &starts,
            };
            let mut y = self.down.try_read(&start, Some(&tokens), &pairs)?;
            let new = NewTokens {
                rows: &rows,
                starts: &starts,
                places: &places,
                before: &vec![vec![]; rows.len()],
            };
            for block in &mut self.blocks {
                y = block.try_read(y, &new, Wanted::All)?;
            }
            latents = Some(y);
        }

        let last = new.starts[1..].iter().map(|end| end - 1).collect();
        let x = x.clone().try_gather(indices(x.device(), last)?)?; // [rows, EMBED]
        let one_each: Vec<usize> = (0..=new.rows.len()).collect();
        let pairs = NewPairs {
            rows: new.rows,
            queries: &one_each,
            keys: &starts_of_all,
        };
        let x = self.up.try_read(&x, latents.as_ref(), &pairs)?;
        let all: Vec<usize> = (0..new.rows.len()).collect();
        let logits = D::try_logits(x, &model.ln_f, &model.head.weight, &all)?; // [rows, VOCAB]
        Ok(logits.as_vec())
    }
}

/// Rows to gather, on the device.
fn indices<D: LabDevice<f32>>(
    device: &D,
    rows: Vec<usize>,
) -> Result<Tensor<(usize,), usize, D>, D::Err> {
    let count = rows.len();
    device.try_tensor_from_vec(rows, (count,))
}
