//! A model being trained: the one implementation of [`Trainable`], for every shape and device.

use dfdx::shapes::{HasShape, Rank0};
use dfdx::tensor::{Gradients, NoneTape, OwnedTape, PutTape, SplitTape, Tensor, Trace};
use dfdx::tensor_ops::{Backward, TryAdd, TryMul};

use super::caching::CachingDecoder;
use super::decoder::{Decoder, log_softmax};
use super::maps::LayerMaps;
use super::network::{self, Network, check_fits, device_error};
use super::visit::Average;
use super::weights::{Weight, match_layout};
use super::{
    ParameterGroup, Start, StepMetrics, StepSettings, Trainable, TrainingState, Update, visit,
};
use crate::config::schema::ModelSpec;
use crate::data::ragged::{PAD, Ragged};
use crate::error::{Error, Result};
use crate::ops::LabDevice;
use crate::ops::dropout::Dropout;
use crate::ops::optimiser::Moments;
use crate::ops::parameters::{set_values, values};
use crate::ops::precision::Precision;

/// Model and moments; `M` has the constants of the shape.
pub(super) struct Session<M, D: LabDevice<f32>> {
    device: D,
    /// The precision of what the CPU computes; a GPU has its own.
    on_cpu: Precision,
    pub(super) model: M,
    /// The optimiser's moments of each weight, in the order of the weights.
    pub(super) moments: Vec<Moments<f32, D>>,
    /// The moving averages of the weights, in the same order, once a step has asked for them.
    averages: Option<Vec<Average<D>>>,
    /// Steps since the optimiser was reset.
    steps: u64,
    /// A step that has begun, and the decay of its averages.
    pending: Option<(D::Step, Option<f64>)>,
}

/// The decay of moving averages after so many updates: lower at first, so that they forget the weights that training began with,
/// as TensorFlow's `ExponentialMovingAverage` has it.
fn decay_after(updates: u64, decay: f64) -> f64 {
    let updates = updates as f64;
    decay.min((1.0 + updates) / (10.0 + updates))
}

/// Where the number of a micro-batch stands in the key of its dropout; the numbers of stage and step leave these bits free.
const MICRO_BATCH_BIT: u32 = 40;

/// Rejects a batch without scored tokens: its mean loss is undefined.
fn check_scored(micro_batches: &[Ragged]) -> Result<()> {
    match micro_batches.iter().all(|one| one.scored() == 0) {
        true => Err(Error::run("a batch without any scored token has no loss")),
        false => Ok(()),
    }
}

impl<M: Network<D>, D: LabDevice<f32>> Session<M, D> {
    /// Fresh weights drawn from `start`.
    pub(super) fn new(
        device: D,
        on_cpu: Precision,
        spec: &ModelSpec,
        start: Start,
    ) -> Result<Self> {
        let model: M = network::fresh(&device, spec, start).map_err(device_error)?;
        Ok(Self {
            moments: visit::moments(&device, &model).map_err(device_error)?,
            device,
            on_cpu,
            model,
            averages: None,
            steps: 0,
            pending: None,
        })
    }

    fn check_batch(&self, batch: &Ragged) -> Result<()> {
        let ids = batch.tokens.iter().chain(&batch.targets);
        check_fits(&self.model, batch.longest(), ids)
    }

    fn try_begin(
        &mut self,
        micro_batches: &[Ragged],
        dropout: (f64, u64),
        (update, groups): (Update, &[ParameterGroup]),
    ) -> Result<D::Step, D::Err> {
        let scored: usize = micro_batches.iter().map(Ragged::scored).sum();
        let mut total: Option<Tensor<Rank0, f32, D>> = None;
        let mut gradients = Gradients::leaky();
        for (i, batch) in micro_batches.iter().enumerate() {
            let share = batch.scored() as f64 / scored as f64;
            if share == 0.0 {
                continue;
            }
            let (rate, key) = dropout;
            let dropout = Dropout::new(rate, key ^ ((i as u64) << MICRO_BATCH_BIT));
            let start: Tensor<Rank0, f32, D> = self.device.try_zeros()?;
            let tape: OwnedTape<f32, D> = start.traced(gradients).split_tape().1;
            let mut loss = self.model.loss(batch, dropout, tape)?;
            if share < 1.0 {
                loss = loss.try_mul(share as f32)?;
            }
            let (loss, tape) = loss.split_tape();
            gradients = loss.clone().put_tape(tape).try_backward()?;
            total = Some(match total {
                Some(before) => before.try_add(loss)?,
                None => loss,
            });
            if micro_batches.len() > 1 {
                // Those of activations are not needed any more: the next micro-batch has its own.
                gradients = visit::of_weights(&self.model, gradients)?;
            }
        }
        let loss = total.expect("a batch has a scored token");
        let mut step = D::try_begin(&loss)?;
        visit::measure(&self.model, &mut gradients, &mut step)?;
        let (model, moments) = (&mut self.model, &mut self.moments);
        let update_and_groups = (update, groups);
        visit::update(model, moments, &mut gradients, &mut step, update_and_groups)?;
        D::try_launch(&mut step, update)?;
        Ok(step)
    }
}

impl<M: Network<D>, D: LabDevice<f32>> Trainable for Session<M, D> {
    fn parameter_count(&self) -> usize {
        visit::parameter_count(&self.model)
    }

    fn begin_step(&mut self, micro_batches: &[Ragged], settings: &StepSettings) -> Result<()> {
        micro_batches
            .iter()
            .try_for_each(|one| self.check_batch(one))?;
        check_scored(micro_batches)?;
        let dropout = (settings.dropout, settings.dropout_key);
        let update = Update {
            step: self.steps + 1,
            ..settings.update
        };
        if settings.ema.is_some() && self.averages.is_none() {
            let copies = visit::copies(&self.device, &self.model);
            self.averages = Some(copies.map_err(device_error)?);
        }
        let update = (update, &settings.groups[..]);
        let step = self
            .on_cpu
            .run(|| self.try_begin(micro_batches, dropout, update));
        self.pending = Some((step.map_err(device_error)?, settings.ema));
        Ok(())
    }

    fn finish_step(&mut self) -> Result<StepMetrics> {
        let (step, ema) = self.pending.take().expect("a step begins before it ends");
        let metrics = D::try_finish(step).map_err(device_error)?;
        if !metrics.is_finite() {
            return Ok(metrics);
        }
        self.steps += 1;
        if let (Some(decay), Some(averages)) = (ema, &mut self.averages) {
            let decay = decay_after(self.steps, decay);
            visit::average(&self.model, averages, decay).map_err(device_error)?;
        }
        Ok(metrics)
    }

    fn loss_nats(&self, batch: &Ragged) -> Result<f64> {
        self.check_batch(batch)?;
        check_scored(std::slice::from_ref(batch))?;
        let loss = || self.model.loss(batch, Dropout::NONE, NoneTape);
        let loss = self.on_cpu.run(loss).map_err(device_error)?;
        Ok(f64::from(loss.as_vec()[0]))
    }

    fn next_token_log_probabilities(
        &self,
        batch: &Ragged,
        rows: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        self.check_batch(batch)?;
        let logits = (self.on_cpu).run(|| self.model.logits(batch, rows));
        let logits = logits.map_err(device_error)?;
        Ok(logits.chunks_exact(M::VOCAB).map(log_softmax).collect())
    }

    fn attention_maps(&self, tokens: &[u32]) -> Result<Vec<LayerMaps>> {
        let document = Ragged {
            tokens: tokens.to_vec(),
            targets: vec![PAD; tokens.len()],
            starts: vec![0, tokens.len()],
        };
        self.check_batch(&document)?;
        let maps = self.on_cpu.run(|| self.model.maps(&document));
        maps.map_err(device_error)
    }

    fn decoder(&self, rows: usize) -> Box<dyn Decoder + '_> {
        Box::new(CachingDecoder::new((&self.model, self.on_cpu), rows))
    }

    fn swap_averages(&mut self) {
        let Some(averages) = &mut self.averages else {
            return;
        };
        let averaged: Vec<Vec<f32>> = averages.iter().map(|one| one.as_vec()).collect();
        for (average, values) in averages.iter_mut().zip(values(&self.model)) {
            average.copy_from(&values);
        }
        set_values(&mut self.model, &averaged);
    }

    fn reset_optimiser(&mut self) {
        self.averages = None;
        for moment in self.moments.iter_mut().flatten() {
            moment.copy_from(&vec![0.0; moment.shape().0]);
        }
        self.steps = 0;
    }

    fn weights(&self) -> Vec<Weight> {
        visit::read(&self.model)
    }

    fn load_weights(&mut self, weights: &[Weight]) -> Result<()> {
        let values = match_layout(&visit::layout(&self.model), weights)?;
        set_values(&mut self.model, &values);
        Ok(())
    }

    fn state(&self) -> TrainingState {
        TrainingState {
            weights: visit::read(&self.model),
            moments: [0, 1].map(|which| visit::read_moments(&self.model, &self.moments, which)),
            averages: match &self.averages {
                Some(averages) => visit::read_averages(&self.model, averages),
                None => vec![],
            },
            updates: self.steps,
        }
    }

    fn load_state(&mut self, state: &TrainingState) -> Result<()> {
        let layout = visit::layout(&self.model);
        let weights = match_layout(&layout, &state.weights)?;
        let [first, second] = state.moments.each_ref();
        let moments = [
            match_layout(&layout, first)?,
            match_layout(&layout, second)?,
        ];
        let averages = match state.averages.is_empty() {
            true => None,
            false => Some(match_layout(&layout, &state.averages)?),
        };
        // Everything has been validated before anything is changed.
        if let Some(averages) = averages {
            // They pass through the model, as they have no shape of their own.
            set_values(&mut self.model, &averages);
            let copies = visit::copies(&self.device, &self.model);
            self.averages = Some(copies.map_err(device_error)?);
        }
        set_values(&mut self.model, &weights);
        for (which, values) in moments.iter().enumerate() {
            let all = self.moments.iter_mut().zip(values);
            all.for_each(|(moments, values)| moments[which].copy_from(values));
        }
        self.steps = state.updates;
        Ok(())
    }
}
