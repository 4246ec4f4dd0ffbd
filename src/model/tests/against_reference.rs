//! Training with the fused ops has the same losses, step by step, as training with their references.
//!
//! The tests of each op compare one call; this one also covers how the calls are connected: dropout sites,
//! gradients that meet in the residual stream, clipping by the global norm, moments.

use dfdx::shapes::{Rank0, Shape};
use dfdx::tensor::{AsArray, CpuError, Gradients, OwnedTape, SplitTape, Tape, Tensor};
use dfdx::tensor_ops::Backward;

use super::*;
use crate::model::block::Block;
use crate::model::ends::Embedding;
use crate::model::network::Network;
use crate::model::perceiver::Perceiver;
use crate::model::visit;
use crate::ops::attention::{self, AttentionDropout, NormedStream};
use crate::ops::dropout::Dropout;
use crate::ops::optimiser::{self, Moments, Update};
use crate::ops::parameters::VisitorMut;
use crate::ops::precision::Precision;
use crate::ops::{Stream, embedding, feed_forward, head};

/// A network composed of the ops' references.
trait FromReferences: Network<Cpu> {
    /// The model that is trained.
    fn spec() -> ModelSpec;

    /// As [`Network::loss`].
    fn reference_loss(
        &self,
        batch: &Ragged,
        dropout: Dropout,
    ) -> Result<Tensor<Rank0, f32, Cpu, OwnedTape<f32, Cpu>>, CpuError>;
}

/// The two dropout sites of a block's attention.
fn sites(dropout: Dropout) -> AttentionDropout {
    AttentionDropout {
        weights: dropout.at(1),
        output: dropout.at(2),
        context: 24,
    }
}

/// As in `block.rs`.
fn reference_block<T: Tape<f32, Cpu>>(
    block: &Block<32, 64, f32, Cpu>,
    x: Stream<32, f32, Cpu, T>,
    batch: &Ragged,
    dropout: Dropout,
) -> Result<Stream<32, f32, Cpu, T>, CpuError> {
    let sites = sites(dropout);
    let x = attention::reference::attention(x, &block.ln1, &block.attn, batch, sites)?;
    reference_mlp(block, x, dropout)
}

fn reference_mlp<T: Tape<f32, Cpu>>(
    block: &Block<32, 64, f32, Cpu>,
    x: Stream<32, f32, Cpu, T>,
    dropout: Dropout,
) -> Result<Stream<32, f32, Cpu, T>, CpuError> {
    let (norm, mlp) = block.mlp().expect("an MLP");
    feed_forward::reference::feed_forward(x, norm, mlp, dropout.at(3))
}

impl FromReferences for Small {
    fn spec() -> ModelSpec {
        small()
    }

    fn reference_loss(
        &self,
        batch: &Ragged,
        dropout: Dropout,
    ) -> Result<Tensor<Rank0, f32, Cpu, OwnedTape<f32, Cpu>>, CpuError> {
        let at = (&batch.tokens[..], &batch.positions()[..]);
        let Embedding { tok_emb, pos_emb } = &self.embedding;
        let positions = pos_emb.as_ref();
        let tape = OwnedTape::default();
        let mut x = embedding::reference::embed(tok_emb, positions, at, dropout.at(0), tape)?;
        for (site, block) in (1..).zip(&self.blocks) {
            x = reference_block(block, x, batch, dropout.at(site))?;
        }
        let projection = self.head.projection(tok_emb);
        head::reference::loss(x, &self.head.ln_f, projection, batch)
    }
}

type Latents = Perceiver<32, 64, 256, 24, f32, Cpu>;

impl FromReferences for Latents {
    /// 7 latents, one block between down and up.
    fn spec() -> ModelSpec {
        let attention = AttentionSpec::latents(7);
        spec(3, 24, attention)
    }

    fn reference_loss(
        &self,
        batch: &Ragged,
        dropout: Dropout,
    ) -> Result<Tensor<Rank0, f32, Cpu, OwnedTape<f32, Cpu>>, CpuError> {
        let lengths = batch.starts.windows(2).map(|w| w[1] - w[0]);
        let latents: Vec<Sequence> = lengths
            .map(|n| Sequence {
                tokens: vec![0; n.min(7)],
                targets: vec![0; n.min(7)],
            })
            .collect();
        let latents = Ragged::from_sequences(&latents);
        let at = (&batch.tokens[..], &batch.positions()[..]);
        let Embedding { tok_emb, pos_emb } = &self.embedding;
        let positions = pos_emb.as_ref();
        let tape = OwnedTape::default();
        let x = embedding::reference::embed(tok_emb, positions, at, dropout.at(0), tape)?;
        let (x, tape) = x.split_tape();
        let y = embedding::reference::lookup(&self.latents, &latents.positions(), tape)?;
        let (y, tape) = y.split_tape();
        let (block, site) = (&self.down, dropout.at(1));
        let y = attention::reference::cross_attention(
            [&y, &x],
            (NormedStream::Queries, &block.ln1),
            &block.attn,
            [&latents.starts, &batch.starts],
            sites(site),
            tape,
        )?;
        let y = reference_mlp(block, y, site)?;
        let y = reference_block(&self.blocks[0], y, &latents, dropout.at(2))?;
        let (y, tape) = y.split_tape();
        let (block, site) = (&self.up, dropout.at(3));
        let x = attention::reference::cross_attention(
            [&x, &y],
            (NormedStream::Keys, &block.ln1),
            &block.attn,
            [&batch.starts, &latents.starts],
            sites(site),
            tape,
        )?;
        let x = reference_mlp(block, x, site)?;
        let projection = self.head.projection(tok_emb);
        head::reference::loss(x, &self.head.ln_f, projection, batch)
    }
}

fn fresh<M: FromReferences>() -> Session<M, Cpu> {
    let start = Start {
        seed: 1,
        deviation: 0.02,
    };
    Session::new(Cpu::default(), Precision::F32, &M::spec(), start).expect("memory")
}

/// A model with AdamW's moments, without any fused op.
struct Composed<M> {
    model: M,
    moments: Vec<Moments<f32, Cpu>>,
    steps: u64,
}

impl<M: FromReferences> Composed<M> {
    fn new() -> Self {
        let Session { model, moments, .. } = fresh();
        Self {
            model,
            moments,
            steps: 0,
        }
    }

    /// Continues from the state of the fused model, which must be close to this one.
    fn follow(&mut self, fused: &Session<M, Cpu>) {
        let mut copy = fresh::<M>();
        copy.load_state(&fused.state()).expect("the same shape");
        let moments = |which| visit::read_moments(&self.model, &self.moments, which);
        let own = [visit::read(&self.model), moments(0), moments(1)];
        let state = copy.state();
        let [first, second] = state.moments;
        let names = ["weights", "first moments", "second moments"];
        let others = [state.weights, first, second];
        for ((what, own), other) in names.into_iter().zip(own).zip(others) {
            // The scale is over all tensors: the gradient of a key's bias is nothing but rounding error.
            let all = own.iter().flat_map(|weight| &weight.values);
            let largest = all.fold(0f32, |most, x| most.max(x.abs()));
            for (own, other) in own.iter().zip(&other) {
                let both = own.values.iter().zip(&other.values);
                let off = both.fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                let name = &own.name;
                assert!(
                    off <= 1e-3 * largest,
                    "{what} of {name}: off by {off} of {largest}"
                );
            }
        }
        (self.model, self.moments) = (copy.model, copy.moments);
    }

    /// Loss before the update, and the gradient's norm before clipping.
    fn step(&mut self, batch: &Ragged, settings: &StepSettings) -> Result<(f64, f64), CpuError> {
        let dropout = Dropout::new(settings.dropout, settings.dropout_key);
        let loss = self.model.reference_loss(batch, dropout)?;
        let loss_nats = f64::from(loss.array());
        let mut gradients = loss.try_backward()?;
        let all = visit::gradients(&self.model, &mut gradients);
        let all = all.iter().flat_map(|(_, values)| values);
        let norm = all.map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        self.steps += 1;
        let update = Update {
            step: self.steps,
            ..settings.update
        };
        let mut updater = ReferenceUpdate {
            moments: self.moments.iter_mut(),
            gradients: &mut gradients,
            update,
            scale: (update.clip_norm / (norm + 1e-6)).min(1.0),
        };
        self.model.each_mut("", &mut updater)?;
        Ok((loss_nats, norm))
    }
}

struct ReferenceUpdate<'a> {
    moments: std::slice::IterMut<'a, Moments<f32, Cpu>>,
    gradients: &'a mut Gradients<f32, Cpu>,
    update: Update,
    scale: f64,
}

impl VisitorMut<f32, Cpu> for ReferenceUpdate<'_> {
    fn visit<S: Shape>(
        &mut self,
        name: &str,
        weight: &mut Tensor<S, f32, Cpu>,
    ) -> Result<(), CpuError> {
        let mut update = self.update;
        if name.ends_with("bias") {
            update.weight_decay = 0.0;
        }
        let moments = self.moments.next().expect("two moments per tensor");
        optimiser::reference::update(weight, self.gradients, moments, update, self.scale)
    }
}

/// Twenty steps of twelve documents each; every five steps both continue from the same weights and moments.
#[track_caller]
fn check_training<M: FromReferences>(dropout: f64) {
    let (mut fused, mut composed) = (fresh::<M>(), Composed::<M>::new());
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b;
    let lengths: Vec<usize> = (0..240).map(|d| 1 + d * 7 % 24).collect();
    let mut clipped = 0;
    for (step, documents) in documents(&lengths).chunks(12).enumerate() {
        let batch = Ragged::from_sequences(documents);
        let settings = StepSettings {
            dropout_key: step as u64,
            ..settings(0.01, dropout)
        };
        let report = fused.step(&batch, &settings).expect("a step");
        let (loss, norm) = composed.step(&batch, &settings).expect("a step");
        assert!(
            close(report.loss_nats, loss),
            "step {step}: a loss of {}, composed {loss}",
            report.loss_nats
        );
        // AdamW hides the scale of a gradient from the loss; the norm reveals it.
        assert!(
            close(report.gradient_norm, norm),
            "step {step}: a gradient of norm {}, composed {norm}",
            report.gradient_norm
        );
        clipped += usize::from(norm > settings.update.clip_norm);
        // Rounding differs between the two, and between processors, and the difference grows from step to
        // step.
        if step % 5 == 4 {
            composed.follow(&fused);
        }
    }
    assert!(clipped > 10, "clipping was at work in {clipped} steps only");
}

#[test]
fn training_has_the_losses_of_the_references() {
    check_training::<Small>(0.0);
    check_training::<Latents>(0.0);
}

#[test]
fn training_with_dropout_has_the_losses_of_the_references() {
    check_training::<Small>(0.1);
    check_training::<Latents>(0.1);
}

/// Twenty steps on a GPU have the losses of the CPU, with the same dropout draws.
#[cfg(feature = "cuda")]
mod on_cuda {
    use dfdx::tensor::Cuda;

    use super::*;
    use crate::model::StepMetrics;

    type SmallOnCuda = Gpt<32, 64, 256, 24, f32, Cuda>;
    type LatentsOnCuda = Perceiver<32, 64, 256, 24, f32, Cuda>;

    fn check_devices<M: FromReferences, N: Network<Cuda>>() {
        let Some(device) = crate::ops::tests::cuda() else {
            return;
        };
        let start = Start {
            seed: 1,
            deviation: 0.02,
        };
        let mut there =
            Session::<N, Cuda>::new(device, Precision::F32, &M::spec(), start).expect("memory");
        let mut here = fresh::<M>();
        let lengths: Vec<usize> = (0..240).map(|d| 1 + d * 7 % 24).collect();
        for (step, documents) in documents(&lengths).chunks(12).enumerate() {
            let batch = Ragged::from_sequences(documents);
            let settings = StepSettings {
                dropout_key: step as u64,
                ema: Some(0.9),
                ..settings_of_group("*.weight", 0.005)
            };
            let [there, here]: [StepMetrics; 2] =
                [there.step(&batch, &settings), here.step(&batch, &settings)]
                    .map(|r| r.expect("a step"));
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-3 * b;
            assert!(
                close(there.loss_nats, here.loss_nats)
                    && close(there.gradient_norm, here.gradient_norm),
                "step {step}: {there:?} on the GPU, {here:?} on the CPU"
            );
        }
        let batch = Ragged::from_sequences(&documents(&[20]));
        let loss = |model: &dyn Trainable| model.loss_nats(&batch).expect("a loss");
        let [there, here] = [averaged(&mut there, loss), averaged(&mut here, loss)];
        assert!(
            (there - here).abs() <= 1e-3 * here,
            "averaged: {there} on the GPU, {here} on the CPU"
        );
    }

    #[test]
    fn a_gpt_trains_as_on_the_cpu() {
        check_devices::<Small, SmallOnCuda>();
    }

    #[test]
    fn a_perceiver_trains_as_on_the_cpu() {
        check_devices::<Latents, LatentsOnCuda>();
    }
}
