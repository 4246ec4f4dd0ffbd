//! A model trained by the fused ops has the losses, step by step, of one composed of their references.
//!
//! The tests of each op compare one call; here what the calls pass on is compared as well: sites of
//! dropout, gradients that meet in the stream, clipping by the norm of all of them, moments.

use dfdx::nn::tensor_collection::{
    RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName,
};
use dfdx::shapes::{Rank0, Shape};
use dfdx::tensor::{AsArray, CpuError, Gradients, OwnedTape, Tensor};
use dfdx::tensor_ops::Backward;

use super::*;
use crate::model::gpt::Network;
use crate::model::{session, visit};
use crate::ops::adamw::{self, Update};
use crate::ops::attention::{self, AttentionDropout, Scoring};
use crate::ops::dropout::Dropout;
use crate::ops::{embedding, feed_forward, head};

/// Weights and AdamW's moments, without any fused op.
struct Composed {
    model: Small,
    moments: [Small; 2],
    steps: u64,
}

impl Composed {
    fn new(seed: u64) -> Self {
        let mut moments = [model(seed).model, model(seed).model];
        moments.iter_mut().for_each(session::clear::<Small, Cpu>);
        Self {
            model: model(seed).model,
            moments,
            steps: 0,
        }
    }

    /// The network as in `gpt.rs` and `block.rs`, each op by its reference.
    fn loss(
        &self,
        batch: &Ragged,
        dropout: Dropout,
    ) -> Result<Tensor<Rank0, f32, Cpu, OwnedTape<f32, Cpu>>, CpuError> {
        let m = &self.model;
        let at = (&batch.tokens[..], &batch.places()[..]);
        let (tokens, positions) = (&m.tok_emb.weight, &m.pos_emb);
        let tape = OwnedTape::default();
        let mut x = embedding::reference::embed(tokens, positions, at, dropout.at(0), tape)?;
        for (site, block) in (1..).zip(&m.blocks.modules) {
            let dropout = dropout.at(site);
            let attention = AttentionDropout {
                weights: dropout.at(1),
                output: dropout.at(2),
                context: <Small as Network<Cpu>>::CONTEXT,
            };
            let projections = &block.attn.projections;
            x = attention::reference::attention::<32, 32, 4, 8, _, _, _>(
                x,
                &block.ln1,
                projections,
                Scoring::SOFTMAX,
                batch,
                attention,
            )?;
            x = feed_forward::reference::feed_forward(x, &block.ln2, &block.mlp, dropout.at(3))?;
        }
        head::reference::loss(x, &m.ln_f, &m.head.weight, batch)
    }

    /// Loss before the update, and the gradient's norm before clipping.
    fn step(&mut self, batch: &Ragged, settings: &StepSettings) -> Result<(f64, f64), CpuError> {
        let dropout = Dropout::new(settings.dropout, settings.dropout_key);
        let loss = self.loss(batch, dropout)?;
        let loss_nats = f64::from(loss.array());
        let mut gradients = loss.try_backward()?;
        let all = visit::gradients(&self.model, &gradients);
        let all = all.iter().flat_map(|(_, values)| values);
        let norm = all.map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        self.steps += 1;
        let update = Update {
            step: self.steps,
            learning_rate: settings.learning_rate,
            betas: settings.betas,
            epsilon: settings.epsilon,
            weight_decay: settings.weight_decay,
            gradient_scale: (settings.clip_norm / (norm + 1e-6)).min(1.0),
        };
        let [first, second] = &mut self.moments;
        Small::iter_tensors(&mut RecursiveWalker {
            m: (&mut self.model, first, second, String::new()),
            f: &mut PlainUpdate {
                gradients: &mut gradients,
                update,
            },
        })?;
        Ok((loss_nats, norm))
    }
}

struct PlainUpdate<'a> {
    gradients: &'a mut Gradients<f32, Cpu>,
    update: Update,
}

impl TensorVisitor<f32, Cpu> for PlainUpdate<'_> {
    type Viewer = (ViewTensorMut, ViewTensorMut, ViewTensorMut, ViewTensorName);
    type Err = CpuError;
    type E2 = f32;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, f32, Cpu>,
        (parameter, first, second, name): (
            &mut Tensor<S, f32, Cpu>,
            &mut Tensor<S, f32, Cpu>,
            &mut Tensor<S, f32, Cpu>,
            String,
        ),
    ) -> Result<Option<Tensor<S, f32, Cpu>>, CpuError> {
        let mut update = self.update;
        if name.ends_with("bias") {
            update.weight_decay = 0.0;
        }
        adamw::reference::update(parameter, self.gradients, [first, second], update)?;
        Ok(None)
    }
}

/// Twenty steps, twelve documents of their own each.
#[track_caller]
fn check_training(dropout: f64) {
    let (mut fused, mut composed) = (model(1), Composed::new(1));
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
        // AdamW hides the scale of a gradient from the losses; the norm shows it.
        assert!(
            close(report.gradient_norm, norm),
            "step {step}: a gradient of norm {}, composed {norm}",
            report.gradient_norm
        );
        clipped += usize::from(norm > settings.clip_norm);
    }
    assert!(clipped > 10, "clipping was at work in {clipped} steps only");
}

#[test]
fn training_has_the_losses_of_the_references() {
    check_training(0.0);
}

#[test]
fn training_with_dropout_has_the_losses_of_the_references() {
    check_training(0.1);
}
