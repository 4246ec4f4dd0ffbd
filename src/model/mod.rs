//! The compile-time-shaped transformer, and the one door to it for the rest of the program.
//!
//! [`registry`] turns a shape from a TOML into a model whose dimensions are constants; what comes
//! out is a [`Trainable`], which knows no dimension.

mod attention;
mod block;
mod caching;
pub mod decoder;
mod gpt;
mod initialise;
pub mod maps;
pub mod parts;
mod perceiver;
pub mod registry;
mod session;
#[cfg(test)]
mod tests;
mod visit;
pub mod weights;

use crate::data::ragged::Ragged;
use crate::error::{Error, Result};
use crate::model::decoder::{Decoder, Rereading};
use crate::model::maps::LayerMaps;
use crate::model::weights::Weight;

/// What a model's first weights are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// The same seed draws the same weights on every device.
    pub seed: u64,
    /// Standard deviation of linears and embeddings.
    pub deviation: f32,
}

/// What an optimiser step is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSettings {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay rates of AdamW's moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay of every parameter but the biases.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; 0 is no clipping.
    pub clip_norm: f64,
    /// Probability of dropping an activation.
    pub dropout: f64,
    /// Names the step's dropout draws: a different number draws anew.
    pub dropout_key: u64,
}

/// What an optimiser step says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean negative log-likelihood of the batch's scored tokens, before the update.
    pub loss_nats: f64,
    /// Global norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// `false` if loss or norm was not finite: then the weights are as they were.
    pub updated: bool,
}

/// A model in the middle of a training stage: all that its next step depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// The weights.
    pub weights: Vec<Weight>,
    /// AdamW's first and second moments, under the names and in the shapes of the weights.
    pub moments: [Vec<Weight>; 2],
    /// Updates that the moments have seen.
    pub updates: u64,
}

/// A model of any shape, on any device. Batches must fit its context and vocabulary.
pub trait Trainable {
    /// Number of trained parameters.
    fn parameter_count(&self) -> usize;

    /// Forward, backward, clip, AdamW. A step whose loss or gradient is not finite changes nothing.
    ///
    /// A GPU may still be at work when this returns: prepare the next batch meanwhile. Nothing else may be
    /// asked of the model before [`Trainable::finish_step`].
    ///
    /// # Errors
    /// A batch that does not fit or scores nothing; the device.
    fn begin_step(&mut self, batch: &Ragged, settings: &StepSettings) -> Result<()>;

    /// Waits for the step that was begun, and says what it was.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// No step was begun.
    fn finish_step(&mut self) -> Result<StepReport>;

    /// A whole step.
    ///
    /// # Errors
    /// As [`Trainable::begin_step`].
    fn step(&mut self, batch: &Ragged, settings: &StepSettings) -> Result<StepReport> {
        self.begin_step(batch, settings)?;
        self.finish_step()
    }

    /// Mean negative log-likelihood of the batch's scored tokens, in nats, without dropout.
    ///
    /// # Errors
    /// As [`Trainable::step`].
    fn loss_nats(&self, batch: &Ragged) -> Result<f64>;

    /// Log-probabilities (nats) of the token after each of `rows`, one row of vocabulary size each.
    ///
    /// # Errors
    /// A batch that does not fit; the device.
    fn next_token_log_probabilities(&self, batch: &Ragged, rows: &[usize])
    -> Result<Vec<Vec<f32>>>;

    /// How every head of every layer weighs what it sees while a text is read, layer by layer from the
    /// input on.
    ///
    /// Unless a model knows better, it cannot tell.
    ///
    /// # Errors
    /// A text that does not fit; the device.
    fn attention_maps(&self, _tokens: &[u32]) -> Result<Vec<LayerMaps>> {
        Err(Error::run("this model cannot tell where it looks"))
    }

    /// Begins to read so many rows bit by bit, as decoding does.
    ///
    /// Unless a model knows better, everything is read again in each round.
    fn decoder(&self, rows: usize) -> Box<dyn Decoder + '_> {
        Box::new(Rereading::new(self, rows))
    }

    /// Forgets the optimiser's moments: a new stage begins.
    fn reset_optimiser(&mut self);

    /// All weights, under the names and in the shapes of the reference's PyTorch model.
    fn weights(&self) -> Vec<Weight>;

    /// Replaces all weights.
    ///
    /// # Errors
    /// A weight is missing, has another shape, or is not of this model; nothing is changed then.
    fn load_weights(&mut self, weights: &[Weight]) -> Result<()>;

    /// Weights and moments, to go on from later.
    fn state(&self) -> TrainingState;

    /// Goes back to a state: the next step is the same, to the bit, as it would have been then.
    ///
    /// # Errors
    /// As [`Trainable::load_weights`].
    fn load_state(&mut self, state: &TrainingState) -> Result<()>;
}
