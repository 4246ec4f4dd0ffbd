//! The parts of a training step, each timed alone: forward, and backward on dfdx's tape as in the model.
//!
//! They are those of the first block of a model of its full shape, on activations that the parts
//! before them computed. Only the gradient that comes back to a part is made up.

use std::time::Instant;

use dfdx::nn::{BuildModule, ZeroGrads};
use dfdx::shapes::{HasShape as _, Rank0, Shape};
use dfdx::tensor::{
    Cpu, CpuError, Gradients, NoneTape, OwnedTape, PutTape, SplitTape, Tensor, Trace, ZerosTensor,
};

use super::attention::Attention;
use super::gpt::{Gpt, Network};
use super::session::{clear, device_error};
use super::{Start, initialise, visit};
use crate::data::ragged::Ragged;
use crate::error::Result;
use crate::ops::adamw::Update;
use crate::ops::dropout::Dropout;
use crate::ops::upstream::backward_from;

/// How long one part of a step takes, one value a repetition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartTimes {
    /// `embedding`, `attention`, `mlp`, `head` or `optimiser`.
    pub part: &'static str,
    /// How often a step does it.
    pub times_a_step: usize,
    /// Forward pass, in seconds; empty for the optimiser.
    pub forward_s: Vec<f64>,
    /// Backward pass, in seconds; empty for the optimiser.
    pub backward_s: Vec<f64>,
    /// Both, or all that the optimiser does, in seconds.
    pub whole_s: Vec<f64>,
}

impl PartTimes {
    fn new(part: &'static str, times_a_step: usize) -> Self {
        Self {
            part,
            times_a_step,
            forward_s: vec![],
            backward_s: vec![],
            whole_s: vec![],
        }
    }
}

/// Times every part `repetitions` times in turn, after one round that pays for fresh memory.
///
/// # Errors
/// The device's.
pub(super) fn time<
    const LAYERS: usize,
    const EMBED: usize,
    const HIDDEN: usize,
    const VOCAB: usize,
    const CONTEXT: usize,
    A: Attention<EMBED, f32, Cpu>,
>(
    start: Start,
    batch: &Ragged,
    dropout: f64,
    repetitions: usize,
) -> Result<Vec<PartTimes>>
where
    Gpt<LAYERS, EMBED, HIDDEN, VOCAB, CONTEXT, A, f32, Cpu>: BuildModule<Cpu, f32>,
{
    let timed = || -> Result<Vec<PartTimes>, CpuError> {
        let mut bench = Bench::new(start)?;
        let model: &Gpt<LAYERS, EMBED, HIDDEN, VOCAB, CONTEXT, A, f32, Cpu> = &bench.model;
        let dropout = Dropout::new(dropout, 0);
        let x = model.embed(batch, dropout, NoneTape)?;
        let block = &model.blocks.modules[0];
        let attended = block.try_attend(x.clone(), batch, CONTEXT, dropout.at(1))?;
        let fed = block.try_feed_forward(attended.clone(), dropout.at(1))?;
        let mut parts = [
            PartTimes::new("embedding", 1),
            PartTimes::new("attention", LAYERS),
            PartTimes::new("mlp", LAYERS),
            PartTimes::new("head", 1),
            PartTimes::new("optimiser", 1),
        ];
        for round in 0..=repetitions {
            let passes = [
                bench.pass(|model, tape| model.embed(batch, dropout, tape))?,
                bench.pass(|model, tape| {
                    let (block, x) = (&model.blocks.modules[0], x.clone().put_tape(tape));
                    block.try_attend(x, batch, CONTEXT, dropout.at(1))
                })?,
                bench.pass(|model, tape| {
                    let (block, x) = (&model.blocks.modules[0], attended.clone().put_tape(tape));
                    block.try_feed_forward(x, dropout.at(1))
                })?,
                bench.pass(|model, tape| model.end(fed.clone().put_tape(tape), batch))?,
            ];
            let update_s = bench.update(1 + round as u64)?;
            if round > 0 {
                for (part, [forward_s, backward_s]) in parts.iter_mut().zip(passes) {
                    part.forward_s.push(forward_s);
                    part.backward_s.push(backward_s);
                    part.whole_s.push(forward_s + backward_s);
                }
                parts[4].whole_s.push(update_s);
            }
        }
        Ok(parts.into())
    };
    timed().map_err(device_error)
}

/// What a step needs besides its batch.
struct Bench<M> {
    model: M,
    moments: [M; 2],
    /// Used again in each pass, as in training.
    gradients: Gradients<f32, Cpu>,
}

impl<M: Network<Cpu> + BuildModule<Cpu, f32>> Bench<M> {
    fn new(start: Start) -> Result<Self, CpuError> {
        let device = Cpu::default();
        let mut model = M::try_build(&device)?;
        let mut moments = [M::try_build(&device)?, M::try_build(&device)?];
        visit::write(
            &mut model,
            &initialise::draw(&visit::layout::<M, Cpu>(), start),
        );
        moments.iter_mut().for_each(clear);
        let gradients = model.try_alloc_grads()?;
        Ok(Self {
            model,
            moments,
            gradients,
        })
    }

    /// Seconds of `forward`, and of the way back from an even gradient of its output.
    fn pass<S: Shape>(
        &mut self,
        forward: impl FnOnce(&M, OwnedTape<f32, Cpu>) -> Result<Output<S>, CpuError>,
    ) -> Result<[f64; 2], CpuError> {
        let nothing: Tensor<Rank0, f32, Cpu> = Cpu::default().try_zeros()?;
        let gradients = std::mem::replace(&mut self.gradients, Gradients::leaky());
        let tape = nothing.traced(gradients).split_tape().1;
        let started = Instant::now();
        let y = forward(&self.model, tape)?;
        let forward_s = started.elapsed().as_secs_f64();
        let values = y.shape().num_elements();
        let dy = vec![1.0 / values as f32; values];
        let started = Instant::now();
        self.gradients = backward_from(y, dy)?;
        Ok([forward_s, started.elapsed().as_secs_f64()])
    }

    /// Seconds of the gradient's norm, an update by a rate of 0, and zeroing the gradient.
    fn update(&mut self, step: u64) -> Result<f64, CpuError> {
        let started = Instant::now();
        let squares = visit::sum_of_squares(&self.model, &mut self.gradients)?;
        let update = Update {
            step,
            learning_rate: 0.0,
            betas: [0.9, 0.95],
            epsilon: 1e-8,
            weight_decay: 0.1,
            gradient_scale: 1.0 / (1.0 + squares.sqrt()),
        };
        let [first, second] = &mut self.moments;
        visit::update(
            &mut self.model,
            [first, second],
            &mut self.gradients,
            update,
        )?;
        self.model.try_zero_grads(&mut self.gradients)?;
        Ok(started.elapsed().as_secs_f64())
    }
}

type Output<S> = Tensor<S, f32, Cpu, OwnedTape<f32, Cpu>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ragged::Sequence;
    use crate::model::attention::vanilla::Vanilla;

    #[test]
    fn every_part_is_timed_as_often_as_asked() {
        let sequence = Sequence {
            tokens: vec![2, 3, 4],
            targets: vec![3, 4, 5],
        };
        let batch = Ragged::from_sequences(&[sequence]);
        let start = Start {
            seed: 1,
            deviation: 0.1,
        };
        let parts = time::<3, 4, 8, 6, 5, Vanilla<4, 2, 2, f32, Cpu>>(start, &batch, 0.1, 2);
        let parts = parts.expect("times");
        let times: Vec<_> = parts.iter().map(|p| (p.part, p.times_a_step)).collect();
        assert_eq!(
            times,
            [
                ("embedding", 1),
                ("attention", 3),
                ("mlp", 3),
                ("head", 1),
                ("optimiser", 1)
            ]
        );
        for part in &parts {
            let passes = if part.part == "optimiser" { 0 } else { 2 };
            assert_eq!(part.forward_s.len(), passes, "{part:?}");
            assert_eq!(part.backward_s.len(), passes, "{part:?}");
            assert_eq!(part.whole_s.len(), 2, "{part:?}");
            assert!(part.whole_s.iter().all(|&s| s > 0.0), "{part:?}");
        }
    }
}
