//! The transformer, and its interface for the rest of the program.
//!
//! [`registry`] finds the compiled type with the widths, vocabulary and context of a TOML, and builds it with its
//! layers and attention; the result is a [`Trainable`], which hides all of them.

mod attention;
mod block;
mod caching;
pub mod decoder;
mod ends;
mod gpt;
mod initialise;
pub mod maps;
mod network;
pub mod parts;
mod perceiver;
pub mod registry;
mod session;
#[cfg(test)]
mod tests;
mod visit;
pub mod weights;

use glob::Pattern;

use crate::data::ragged::Ragged;
use crate::error::{Error, Result};
use crate::model::decoder::{Decoder, RecomputingDecoder};
use crate::model::maps::LayerMaps;
use crate::model::weights::Weight;

pub use crate::ops::optimiser::{StepMetrics, Update};

/// How a model's weights are initialised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// The same seed gives the same weights on every device.
    pub seed: u64,
    /// Standard deviation of linear layers and embeddings.
    pub deviation: f32,
}

/// Hyperparameters of one training step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSettings {
    /// The optimiser's, except that the model counts its steps itself and biases do not decay.
    pub update: Update,
    /// Parameters with hyperparameters of their own; a parameter belongs to the first that it matches.
    pub groups: Vec<ParameterGroup>,
    /// Decay of the moving average of the weights; `None` if there is none.
    pub ema: Option<f64>,
    /// Dropout probability.
    pub dropout: f64,
    /// Seeds the step's dropout: a different number gives different draws.
    pub dropout_key: u64,
}

/// Parameters with hyperparameters of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterGroup {
    /// Which parameters, by their names in the reference.
    pub parameters: Pattern,
    /// Their learning rate in this step.
    pub learning_rate: f64,
    /// Their weight decay, biases included, unless it is that of all parameters.
    pub weight_decay: Option<f64>,
}

/// A snapshot within a training stage: everything that the next step depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// The weights.
    pub weights: Vec<Weight>,
    /// The optimiser's first and second moments, under the names and in the shapes of the weights.
    pub moments: [Vec<Weight>; 2],
    /// The moving average of the weights, under their names and in their shapes; empty if there is none.
    pub averages: Vec<Weight>,
    /// Number of updates that the moments have accumulated.
    pub updates: u64,
}

/// Shows a model with the moving average of its weights, if it has one, in place of the weights.
pub fn averaged<T>(model: &mut dyn Trainable, look: impl FnOnce(&dyn Trainable) -> T) -> T {
    model.swap_averages();
    let seen = look(model);
    model.swap_averages();
    seen
}

/// A model of any shape, on any device. Batches must fit its context and vocabulary.
pub trait Trainable {
    /// Number of trained parameters.
    fn parameter_count(&self) -> usize;

    /// Starts a step: forward, backward, gradient clipping, update. A step whose loss or gradient is not
    /// finite changes nothing. The gradients of micro-batches are added up, each with its share of the scored tokens, which
    /// gives the gradient of the whole batch.
    ///
    /// A GPU may still be working when this returns: use the time to prepare the next batch. The model must
    /// not be used for anything else before [`Trainable::finish_step`].
    ///
    /// # Errors
    /// A micro-batch does not fit the model, or none has a scored token; the device fails.
    fn begin_step(&mut self, micro_batches: &[Ragged], settings: &StepSettings) -> Result<()>;

    /// Waits for the step in progress and returns its metrics.
    ///
    /// # Panics
    /// If no step is in progress.
    fn finish_step(&mut self) -> Result<StepMetrics>;

    /// [`Trainable::begin_step`] and [`Trainable::finish_step`] in one.
    fn step(&mut self, batch: &Ragged, settings: &StepSettings) -> Result<StepMetrics> {
        self.begin_step(std::slice::from_ref(batch), settings)?;
        self.finish_step()
    }

    /// Mean cross-entropy of the batch's scored tokens, in nats, without dropout.
    fn loss_nats(&self, batch: &Ragged) -> Result<f64>;

    /// Log-probabilities (nats) of the token after each of `rows`, one row of vocabulary size each.
    fn next_token_log_probabilities(&self, batch: &Ragged, rows: &[usize])
    -> Result<Vec<Vec<f32>>>;

    /// Attention maps of every head, layer by layer from the input.
    ///
    /// The default implementation reports that the model has none.
    fn attention_maps(&self, _tokens: &[u32]) -> Result<Vec<LayerMaps>> {
        Err(Error::run("this model has no attention maps"))
    }

    /// Starts incremental decoding of `rows` sequences.
    ///
    /// The default implementation recomputes every sequence in each call.
    fn decoder(&self, rows: usize) -> Box<dyn Decoder + '_> {
        Box::new(RecomputingDecoder::new(self, rows))
    }

    /// Exchanges the weights and their moving averages, if there are any. Training goes on with the weights: exchange them back
    /// before the next step.
    fn swap_averages(&mut self) {}

    /// Resets the optimiser's moments and the moving average of the weights, for a new stage.
    fn reset_optimiser(&mut self);

    /// All weights, under the names and in the shapes of the reference's PyTorch model.
    fn weights(&self) -> Vec<Weight>;

    /// Replaces all weights.
    ///
    /// # Errors
    /// A weight is missing, has another shape, or does not belong to this model; then nothing is changed.
    fn load_weights(&mut self, weights: &[Weight]) -> Result<()>;

    /// A snapshot of weights, moments and averages, to resume from.
    fn state(&self) -> TrainingState;

    /// Restores a snapshot: the next step has the same bits as it would have had then.
    fn load_state(&mut self, state: &TrainingState) -> Result<()>;
}
