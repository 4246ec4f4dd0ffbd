//! The parts of a Perceiver's step.

use dfdx::tensor::{NoneTape, PutTape as _};

use super::{PartOfStep, Parts};
use crate::data::ragged::Ragged;
use crate::model::perceiver::{Perceiver, latents_of};
use crate::ops::LabDevice;
use crate::ops::dropout::Dropout;

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
> Parts<D>
    for Perceiver<EMBED, HEADS, HEAD_DIM, HIDDEN, VOCAB, CONTEXT, MIDDLE, BOTTLENECK, f32, D>
{
    fn parts<'a>(
        &self,
        batch: &'a Ragged,
        dropout: Dropout,
    ) -> Result<Vec<PartOfStep<'a, Self, D>>, D::Err> {
        let latents = latents_of::<BOTTLENECK>(batch);
        let x = self.embed(batch, dropout, NoneTape)?;
        let seen = self.attend_down(&x, [batch, &latents], dropout, NoneTape)?;
        let looked = self.attend_up(&x, seen.clone(), [&batch.starts, &latents.starts], dropout)?;
        let mut parts = vec![PartOfStep::new(
            "embedding",
            1,
            move |model: &Self, tape| model.embed(batch, dropout, tape),
        )];
        let (of_batch, tokens) = (latents.clone(), x.clone());
        parts.push(PartOfStep::new("down", 1, move |model: &Self, tape| {
            model.attend_down(&tokens, [batch, &of_batch], dropout, tape)
        }));
        if let Some(block) = self.blocks.modules.first() {
            let attended = block.try_attend(seen.clone(), &latents, CONTEXT, dropout.at(2))?;
            let (of_batch, y) = (latents.clone(), seen.clone());
            parts.push(PartOfStep::new(
                "attention",
                MIDDLE,
                move |model: &Self, tape| {
                    let (block, y) = (&model.blocks.modules[0], y.clone().put_tape(tape));
                    block.try_attend(y, &of_batch, CONTEXT, dropout.at(2))
                },
            ));
            parts.push(PartOfStep::new("mlp", MIDDLE, move |model: &Self, tape| {
                let (block, y) = (&model.blocks.modules[0], attended.clone().put_tape(tape));
                block.try_feed_forward(y, dropout.at(2))
            }));
        }
        parts.push(PartOfStep::new("up", 1, move |model: &Self, tape| {
            let y = seen.clone().put_tape(tape);
            model.attend_up(&x, y, [&batch.starts, &latents.starts], dropout)
        }));
        parts.push(PartOfStep::new("head", 1, move |model: &Self, tape| {
            model.end(looked.clone().put_tape(tape), batch)
        }));
        Ok(parts)
    }
}
