//! The parts of a GPT's step.

use dfdx::nn::BuildModule;
use dfdx::tensor::{NoneTape, PutTape as _};

use super::{PartOfStep, Parts};
use crate::data::ragged::Ragged;
use crate::model::attention::Attention;
use crate::model::gpt::Gpt;
use crate::ops::LabDevice;
use crate::ops::dropout::Dropout;

impl<
    const LAYERS: usize,
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    A: Attention<EMBED, f32, D> + 'static,
    D: LabDevice<f32>,
> Parts<D> for Gpt<LAYERS, EMBED, HIDDEN, VOCAB, CONTEXT, A, f32, D>
where
    Self: BuildModule<D, f32>,
{
    /// The parts of the first block stand for all blocks.
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
