//! A model being trained: the one implementation of [`Trainable`], for every shape and device.

use dfdx::nn::ZeroGrads;
use dfdx::shapes::Rank0;
use dfdx::tensor::{Gradients, NoneTape, OwnedTape, PutTape, SplitTape, Tensor, Trace};
use dfdx::tensor_ops::Backward;

use super::caching::CachingDecoder;
use super::decoder::{Decoder, log_softmax};
use super::maps::LayerMaps;
use super::network::{Network, check_fits, device_error};
use super::weights::{Weight, match_layout};
use super::{
    Start, StepMetrics, StepSettings, Trainable, TrainingState, Update, initialise, visit,
};
use crate::data::ragged::{PAD, Ragged};
use crate::error::{Error, Result};
use crate::ops::LabDevice;
use crate::ops::dropout::Dropout;

/// Model, moments and gradients; `M` is the compile-time shape.
pub(super) struct Session<M, D: LabDevice<f32>> {
    device: D,
    pub(super) model: M,
    /// AdamW's two moments, in containers of the model's own shape.
    pub(super) moments: [M; 2],
    /// Steps since the optimiser was reset.
    steps: u64,
    /// Zero between steps; the buffers are reused.
    gradients: Option<Gradients<f32, D>>,
    /// A step that has begun.
    pending: Option<D::Step>,
}

impl<M: Network<D>, D: LabDevice<f32>> Session<M, D> {
    /// Fresh weights drawn from `start`.
    pub(super) fn new(device: D, start: Start) -> Result<Self> {
        let build = || M::try_build(&device).map_err(device_error);
        let (mut model, mut moments) = (build()?, [build()?, build()?]);
        let layout = visit::layout::<M, D>();
        visit::write(&mut model, &initialise::draw(&layout, start));
        moments.iter_mut().for_each(visit::clear);
        Ok(Self {
            device,
            model,
            moments,
            steps: 0,
            gradients: None,
            pending: None,
        })
    }

    /// Rejects a batch without scored tokens: its mean loss is undefined.
    fn check_scored(&self, batch: &Ragged) -> Result<()> {
        check_batch::<M, D>(batch)?;
        if batch.scored() == 0 {
            return Err(Error::run("a batch without any scored token has no loss"));
        }
        Ok(())
    }

    fn try_begin(
        &mut self,
        batch: &Ragged,
        dropout: Dropout,
        update: Update,
    ) -> Result<D::Step, D::Err> {
        let gradients = match self.gradients.take() {
            Some(gradients) => gradients,
            None => self.model.try_alloc_grads()?,
        };
        let start: Tensor<Rank0, f32, D> = self.device.try_zeros()?;
        let tape: OwnedTape<f32, D> = start.traced(gradients).split_tape().1;
        let (loss, tape) = self.model.loss(batch, dropout, tape)?.split_tape();
        let mut gradients = loss.clone().put_tape(tape).try_backward()?;
        let mut step = D::try_begin(&loss)?;
        visit::measure(&self.model, &mut gradients, &mut step)?;
        let (model, moments) = (&mut self.model, self.moments.each_mut());
        visit::update(model, moments, &mut gradients, &mut step, update)?;
        D::try_launch(&mut step, update)?;
        self.gradients = Some(gradients);
        Ok(step)
    }
}

impl<M: Network<D>, D: LabDevice<f32>> Trainable for Session<M, D> {
    fn parameter_count(&self) -> usize {
        parameter_count::<M, D>()
    }

    fn begin_step(&mut self, batch: &Ragged, settings: &StepSettings) -> Result<()> {
        self.check_scored(batch)?;
        let dropout = Dropout::new(settings.dropout, settings.dropout_key);
        let update = Update {
            step: self.steps + 1,
            ..settings.update
        };
        let step = self.try_begin(batch, dropout, update);
        self.pending = Some(step.map_err(device_error)?);
        Ok(())
    }

    fn finish_step(&mut self) -> Result<StepMetrics> {
        let step = self.pending.take().expect("a step begins before it ends");
        let metrics = D::try_finish(step).map_err(device_error)?;
        self.steps += u64::from(metrics.is_finite());
        Ok(metrics)
    }

    fn loss_nats(&self, batch: &Ragged) -> Result<f64> {
        self.check_scored(batch)?;
        let loss = self
            .model
            .loss(batch, Dropout::NONE, NoneTape)
            .map_err(device_error)?;
        Ok(f64::from(loss.as_vec()[0]))
    }

    fn next_token_log_probabilities(
        &self,
        batch: &Ragged,
        rows: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        check_batch::<M, D>(batch)?;
        let logits = self.model.logits(batch, rows).map_err(device_error)?;
        Ok(logits.chunks_exact(M::VOCAB).map(log_softmax).collect())
    }

    fn attention_maps(&self, tokens: &[u32]) -> Result<Vec<LayerMaps>> {
        let document = Ragged {
            tokens: tokens.to_vec(),
            targets: vec![PAD; tokens.len()],
            starts: vec![0, tokens.len()],
        };
        check_batch::<M, D>(&document)?;
        self.model.maps(&document).map_err(device_error)
    }

    fn decoder(&self, rows: usize) -> Box<dyn Decoder + '_> {
        Box::new(CachingDecoder::new(&self.model, rows))
    }

    fn reset_optimiser(&mut self) {
        self.moments.iter_mut().for_each(visit::clear);
        self.steps = 0;
    }

    fn weights(&self) -> Vec<Weight> {
        visit::read(&self.model)
    }

    fn load_weights(&mut self, weights: &[Weight]) -> Result<()> {
        let values = match_layout(&visit::layout::<M, D>(), weights)?;
        visit::write(&mut self.model, &values);
        Ok(())
    }

    fn state(&self) -> TrainingState {
        TrainingState {
            weights: visit::read(&self.model),
            moments: self.moments.each_ref().map(|moment| visit::read(moment)),
            updates: self.steps,
        }
    }

    fn load_state(&mut self, state: &TrainingState) -> Result<()> {
        let layout = visit::layout::<M, D>();
        let weights = match_layout(&layout, &state.weights)?;
        let [first, second] = state.moments.each_ref();
        let moments = [
            match_layout(&layout, first)?,
            match_layout(&layout, second)?,
        ];
        // Everything has been validated before anything is changed.
        visit::write(&mut self.model, &weights);
        for (container, values) in self.moments.iter_mut().zip(&moments) {
            visit::write(container, values);
        }
        self.steps = state.updates;
        Ok(())
    }
}

/// Number of parameters of a model type; nothing is built.
pub(super) fn parameter_count<M: Network<D>, D: LabDevice<f32>>() -> usize {
    visit::layout::<M, D>()
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum()
}

fn check_batch<M: Network<D>, D: LabDevice<f32>>(batch: &Ragged) -> Result<()> {
    let ids = batch.tokens.iter().chain(&batch.targets);
    check_fits::<M, D>(batch.longest(), ids)
}
