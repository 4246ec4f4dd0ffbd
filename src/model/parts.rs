//! The parts of a training step, timed individually: forward, and backward on dfdx's tape as in the model.
//!
//! Each network lists its parts: `Network::parts`. They belong to a model of full shape and run on activations
//! that the preceding parts computed; only the gradient of a part's output is synthetic. The clock is read
//! when the device is idle.

use std::time::Instant;

use dfdx::shapes::{HasShape as _, Rank0, Shape};
use dfdx::tensor::{Gradients, HasErr, OwnedTape, SplitTape, Tensor, Trace};

use super::visit;
use crate::ops::LabDevice;
use crate::ops::optimiser::{Moments, Update};
use crate::ops::parameters::Weights;
use crate::ops::synthetic_gradient::{backward_from, gradient};

/// Times of one part of a step, one value per repetition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartTimes {
    /// `embedding`, `attention`, `mlp`, `head` or `optimiser`; a Perceiver has `down` and `up` too. Where blocks
    /// differ in attention, each layout is a part, named by the first block that has it: `attention of block 0`.
    pub part: String,
    /// How often a step runs it.
    pub times_a_step: usize,
    /// Forward pass, in seconds; empty for the optimiser.
    pub forward_s: Vec<f64>,
    /// Backward pass, in seconds; empty for the optimiser.
    pub backward_s: Vec<f64>,
    /// Both, or the whole optimiser step, in seconds.
    pub whole_s: Vec<f64>,
}

impl PartTimes {
    fn new(part: &str, times_a_step: usize) -> Self {
        Self {
            part: part.to_owned(),
            times_a_step,
            forward_s: vec![],
            backward_s: vec![],
            whole_s: vec![],
        }
    }
}

/// A part that is ready to be timed.
pub(super) struct PartOfStep<'a, M, D: LabDevice<f32>> {
    part: String,
    times_a_step: usize,
    pass: Pass<'a, M, D>,
}

/// One forward and backward pass: seconds of each.
type Pass<'a, M, D> = Box<dyn Fn(&Bench<M, D>) -> Result<[f64; 2], <D as HasErr>::Err> + 'a>;

impl<'a, D: LabDevice<f32>, M: 'static> PartOfStep<'a, M, D> {
    /// `forward` computes the part's output on a tape.
    pub(super) fn new<S: Shape>(
        part: impl Into<String>,
        times_a_step: usize,
        forward: impl Fn(&M, OwnedTape<f32, D>) -> Result<Output<S, D>, D::Err> + 'a,
    ) -> Self {
        Self {
            part: part.into(),
            times_a_step,
            pass: Box::new(move |bench| bench.pass(&forward)),
        }
    }
}

/// Times every part `repetitions` times in turn, after one untimed round that pays for page faults.
pub(super) fn time<'a, M: Weights<f32, D>, D: LabDevice<f32>>(
    device: D,
    model: M,
    parts: impl FnOnce(&M) -> Result<Vec<PartOfStep<'a, M, D>>, D::Err>,
    repetitions: usize,
) -> Result<Vec<PartTimes>, D::Err> {
    let mut bench = Bench {
        moments: visit::moments(&device, &model)?,
        device,
        model,
    };
    let parts = parts(&bench.model)?;
    let fresh = |part: &PartOfStep<'_, M, D>| PartTimes::new(&part.part, part.times_a_step);
    let mut times: Vec<PartTimes> = parts.iter().map(fresh).collect();
    let mut optimiser = PartTimes::new("optimiser", 1);
    for round in 0..=repetitions {
        let passes = parts.iter().map(|part| (part.pass)(&bench));
        let passes: Vec<[f64; 2]> = passes.collect::<Result<_, _>>()?;
        let update_s = bench.update(1 + round as u64)?;
        if round > 0 {
            for (part, [forward_s, backward_s]) in times.iter_mut().zip(passes) {
                part.forward_s.push(forward_s);
                part.backward_s.push(backward_s);
                part.whole_s.push(forward_s + backward_s);
            }
            optimiser.whole_s.push(update_s);
        }
    }
    times.push(optimiser);
    Ok(times)
}

/// What a step needs besides its batch.
pub(super) struct Bench<M, D: LabDevice<f32>> {
    device: D,
    model: M,
    moments: Vec<Moments<f32, D>>,
}

impl<D: LabDevice<f32>, M: Weights<f32, D>> Bench<M, D> {
    /// Seconds of the gradient norm and an update with learning rate 0, from a gradient of zeros.
    fn update(&mut self, step: u64) -> Result<f64, D::Err> {
        let update = Update {
            step,
            ..Update::default()
        };
        let loss = self.device.try_zeros()?;
        let mut gradients = Gradients::leaky();
        visit::allocate(&self.model, &mut gradients)?;
        self.device.try_synchronize()?;
        let started = Instant::now();
        let mut step = D::try_begin(&loss)?;
        visit::measure(&self.model, &mut gradients, &mut step)?;
        let (model, moments) = (&mut self.model, &mut self.moments);
        visit::update(model, moments, &mut gradients, &mut step, (update, &[]))?;
        D::try_launch(&mut step, update)?;
        D::try_finish(step)?;
        Ok(started.elapsed().as_secs_f64())
    }
}

impl<D: LabDevice<f32>, M> Bench<M, D> {
    /// Seconds of `forward`, and of the backward pass from a constant gradient of its output.
    fn pass<S: Shape>(
        &self,
        forward: impl Fn(&M, OwnedTape<f32, D>) -> Result<Output<S, D>, D::Err>,
    ) -> Result<[f64; 2], D::Err> {
        let nothing: Tensor<Rank0, f32, D> = self.device.try_zeros()?;
        let tape = nothing.traced(Gradients::leaky()).split_tape().1;
        self.device.try_synchronize()?;
        let started = Instant::now();
        let y = forward(&self.model, tape)?;
        self.device.try_synchronize()?;
        let forward_s = started.elapsed().as_secs_f64();
        let values = y.shape().num_elements();
        let dy = gradient(&self.device, &vec![1.0 / values as f32; values])?;
        self.device.try_synchronize()?;
        let started = Instant::now();
        backward_from(y, dy)?;
        self.device.try_synchronize()?;
        Ok([forward_s, started.elapsed().as_secs_f64()])
    }
}

type Output<S, D> = Tensor<S, f32, D, OwnedTape<f32, D>>;

#[cfg(test)]
mod tests {
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::config::schema::{AttentionSpec, ModelSpec};
    use crate::data::ragged::{Ragged, Sequence};
    use crate::model::Start;
    use crate::model::gpt::Gpt;
    use crate::model::network::{self, Network};
    use crate::model::perceiver::Perceiver;
    use crate::ops::dropout::Dropout;

    /// Times two repetitions; returns the parts and how often a step runs each.
    fn check<M: Network<Cpu>>(spec: &ModelSpec) -> Vec<(String, usize)> {
        let sequence = Sequence {
            tokens: vec![2, 3, 4],
            targets: vec![3, 4, 5],
        };
        let batch = Ragged::from_sequences(&[sequence]);
        let start = Start {
            seed: 1,
            deviation: 0.1,
        };
        let model: M = network::fresh(&Cpu::default(), spec, start).expect("memory");
        let parts = |model: &M| model.parts(&batch, Dropout::new(0.1, 0));
        let parts = time(Cpu::default(), model, parts, 2).expect("times");
        for part in &parts {
            let passes = if part.part == "optimiser" { 0 } else { 2 };
            assert_eq!(part.forward_s.len(), passes, "{part:?}");
            assert_eq!(part.backward_s.len(), passes, "{part:?}");
            assert_eq!(part.whole_s.len(), 2, "{part:?}");
            assert!(part.whole_s.iter().all(|&s| s > 0.0), "{part:?}");
        }
        let parts = parts.into_iter();
        parts.map(|part| (part.part, part.times_a_step)).collect()
    }

    fn named(parts: &[(&str, usize)]) -> Vec<(String, usize)> {
        let parts = parts.iter();
        parts
            .map(|&(part, times)| (part.to_owned(), times))
            .collect()
    }

    #[test]
    fn every_part_is_timed_as_often_as_asked() {
        let latents = AttentionSpec::latents(2);
        assert_eq!(
            check::<Gpt<4, 8, 6, 5, f32, Cpu>>(&ModelSpec::small(3, AttentionSpec::of("vanilla"))),
            named(&[
                ("embedding", 1),
                ("attention", 3),
                ("mlp", 3),
                ("head", 1),
                ("optimiser", 1)
            ])
        );
        assert_eq!(
            check::<Perceiver<4, 8, 6, 5, f32, Cpu>>(&ModelSpec::small(4, latents.clone())),
            named(&[
                ("embedding", 1),
                ("down", 1),
                ("attention", 2),
                ("mlp", 2),
                ("up", 1),
                ("head", 1),
                ("optimiser", 1)
            ])
        );
        // Without blocks between down and up.
        assert_eq!(
            check::<Perceiver<4, 8, 6, 5, f32, Cpu>>(&ModelSpec::small(2, latents)).len(),
            5
        );
    }

    #[test]
    fn attention_that_differs_between_blocks_is_timed_for_each_that_differs() {
        let spec = ModelSpec {
            pattern: ["local", "global"].map(String::from).into(),
            attention: serde_json::from_value(serde_json::json!({
                "kind": "vanilla", "local": {"window": 2}, "global": {},
            }))
            .expect("a table"),
            ..ModelSpec::small(3, AttentionSpec::of("vanilla"))
        };
        assert_eq!(
            check::<Gpt<4, 8, 6, 5, f32, Cpu>>(&spec)[1..4],
            named(&[
                ("attention of block 0", 2),
                ("attention of block 1", 1),
                ("mlp", 3)
            ])
        );
    }
}
