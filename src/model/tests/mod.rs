//! Properties of a model of a small shape; `kinds.rs` has the properties of every kind of attention, `around.rs` those of
//! models that differ in what is around attention.

mod against_reference;
mod around;
mod combinations;
mod decoding;
mod kinds;
mod placement;
mod properties;

use std::f64::consts::LN_2;

use dfdx::tensor::Cpu;
use glob::Pattern;

use super::gpt::Gpt;
use super::session::Session;
use super::{ParameterGroup, Start, StepSettings, Trainable, Update, averaged};
use crate::config::schema::{AttentionSpec, ModelSpec};
use crate::data::ragged::{PAD, Ragged, Sequence};
use crate::ops::precision::Precision;

/// Width 32, hidden 64, 256 token ids, context 24.
type Small = Gpt<32, 64, 256, 24, f32, Cpu>;

/// A model of width 32 with 4 heads, hidden 64 and 256 token ids.
fn spec(layers: usize, context: usize, attention: AttentionSpec) -> ModelSpec {
    ModelSpec {
        embed: 32,
        heads: 4,
        head_dim: 8,
        hidden: 64,
        vocabulary: 256,
        context,
        ..ModelSpec::small(layers, attention)
    }
}

/// Two layers of vanilla attention with a context of 24.
fn small() -> ModelSpec {
    spec(2, 24, AttentionSpec::of("vanilla"))
}

fn model(seed: u64) -> Session<Small, Cpu> {
    let start = Start {
        seed,
        deviation: 0.02,
    };
    Session::new(Cpu::default(), Precision::F32, &small(), start).expect("memory")
}

/// Documents of the given lengths with arbitrary tokens.
fn documents(lengths: &[usize]) -> Vec<Sequence> {
    let ids = |n: usize, salt: u32| {
        (0..n as u32)
            .map(|i| 1 + (i * 37 + salt * 101) % 255)
            .collect()
    };
    let document = |(d, &n): (usize, &usize)| {
        let all: Vec<u32> = ids(n + 1, d as u32);
        Sequence {
            tokens: all[..n].to_vec(),
            targets: all[1..].to_vec(),
        }
    };
    lengths.iter().enumerate().map(document).collect()
}

fn settings(learning_rate: f64, dropout: f64) -> StepSettings {
    StepSettings {
        update: Update {
            learning_rate,
            ..Update::default()
        },
        groups: vec![],
        ema: None,
        dropout,
        dropout_key: 7,
    }
}

fn bits(model: &dyn Trainable) -> Vec<Vec<u32>> {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    model
        .weights()
        .into_iter()
        .map(|w| bits(w.values))
        .collect()
}

#[test]
fn the_initial_loss_is_that_of_a_uniform_guess() {
    let batch = Ragged::from_sequences(&documents(&[24, 10, 3, 17]));
    let loss = model(1).loss_nats(&batch).expect("a loss");
    assert!((loss - 8.0 * LN_2).abs() < 0.1, "{loss} is not ln 256");
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let mut model = model(1);
    let mut weights = model.weights();
    weights[0].values[5] = f32::INFINITY;
    model.load_weights(&weights).expect("the same layout");
    let before = bits(&model);
    // Token 0 of the table is in the batch, so the loss is not finite.
    let batch = Ragged {
        tokens: vec![0, 3],
        targets: vec![3, 4],
        starts: vec![0, 2],
    };
    let report = model.step(&batch, &settings(0.01, 0.0)).expect("a report");
    assert!(
        !report.is_finite() && !report.loss_nats.is_finite(),
        "{report:?}"
    );
    assert_eq!(before, bits(&model));
}

#[test]
fn biases_do_not_decay_and_everything_else_does() {
    let mut model = model(1);
    let batch = Ragged {
        tokens: vec![3],
        targets: vec![4],
        starts: vec![0, 1],
    };
    let before = model.weights();
    let mut strong = settings(1e-3, 0.0);
    strong.update.weight_decay = 500.0;
    model.step(&batch, &strong).expect("a step");
    for (old, new) in before.iter().zip(model.weights()) {
        let size = |w: &[f32]| w.iter().map(|v| v.abs()).sum::<f32>();
        if old.name.ends_with("weight") {
            assert!(
                size(&new.values) < 0.7 * size(&old.values),
                "{} did not decay",
                old.name
            );
        }
        if old.name.ends_with("ln_f.bias") {
            let step = new.values.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(
                step > 0.9e-3 && step < 1.1e-3,
                "a bias moves by the learning rate: {step}"
            );
        }
    }
}

#[test]
fn micro_batches_give_the_steps_of_the_whole_batch() {
    let documents = documents(&[20, 3, 9, 14, 6]);
    let mut last = Ragged::from_sequences(&documents[4..]);
    // A micro-batch without a scored token counts for nothing.
    last.targets.fill(PAD);
    let mut all = documents.clone();
    all[4].targets.fill(PAD);
    let (whole, parts) = (
        Ragged::from_sequences(&all),
        [
            Ragged::from_sequences(&documents[..2]),
            Ragged::from_sequences(&documents[2..4]),
            last,
        ],
    );
    let (mut one, mut other) = (model(1), model(1));
    for step in 0..6 {
        let settings = settings(0.01, 0.0);
        let expected = one.step(&whole, &settings).expect("a step");
        other.begin_step(&parts, &settings).expect("a step");
        let found = other.finish_step().expect("a step");
        let off = (found.loss_nats - expected.loss_nats).abs();
        assert!(off < 1e-5, "step {step}: {found:?} is not {expected:?}");
        let off = (found.gradient_norm / expected.gradient_norm - 1.0).abs();
        assert!(off < 1e-4, "step {step}: {found:?} is not {expected:?}");
    }
    // With dropout, each micro-batch draws its own.
    let twice = [parts[0].clone(), parts[0].clone()];
    let loss = |batch: &[Ragged]| {
        let mut model = model(1);
        model
            .begin_step(batch, &settings(0.01, 0.5))
            .expect("a step");
        model.finish_step().expect("a step").loss_nats
    };
    assert!((loss(&twice) - loss(&twice[..1])).abs() > 1e-4);
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let mut model = model(1);
    let mut refused = |batch: Ragged| {
        model
            .step(&batch, &settings(0.01, 0.0))
            .expect_err("it does not fit")
            .to_string()
    };
    let long = Ragged {
        tokens: vec![3; 25],
        targets: vec![3; 25],
        starts: vec![0, 25],
    };
    assert!(
        refused(long)
            .contains("a document of 25 tokens is longer than the 24 that the model reads")
    );
    let foreign = Ragged {
        tokens: vec![256],
        targets: vec![3],
        starts: vec![0, 1],
    };
    assert!(refused(foreign).contains("token id 256 is not below the model's vocabulary of 256"));
    let unscored = Ragged {
        tokens: vec![3],
        targets: vec![PAD],
        starts: vec![0, 1],
    };
    assert!(refused(unscored).contains("without any scored token"));
    assert!(refused(Ragged::from_sequences(&[])).contains("without any token"));
}

#[test]
fn a_model_goes_on_from_a_state_to_the_same_bits() {
    // With averages of the weights, which belong to the state.
    let averaging = |learning_rate, dropout| StepSettings {
        ema: Some(0.9),
        ..settings(learning_rate, dropout)
    };
    let batch = Ragged::from_sequences(&documents(&[20, 12, 7]));
    let mut whole = model(1);
    for step in 0..3 {
        whole
            .step(&batch, &averaging(0.01 / f64::from(step + 1), 0.1))
            .expect("a step");
    }
    let state = whole.state();
    // Another seed, and a step of its own: no trace of either may remain.
    let mut other = model(2);
    other.step(&batch, &averaging(0.1, 0.0)).expect("a step");
    other.load_state(&state).expect("it is of this model");
    assert_eq!(other.state(), state);
    for model in [&mut whole, &mut other] {
        for _ in 0..3 {
            model.step(&batch, &averaging(0.01, 0.1)).expect("a step");
        }
    }
    assert_eq!(bits(&whole), bits(&other));
    assert_eq!(whole.state(), other.state());
}

/// The settings of [`settings`] with a group of its own for some parameters.
fn settings_of_group(parameters: &str, learning_rate: f64) -> StepSettings {
    StepSettings {
        groups: vec![ParameterGroup {
            parameters: Pattern::new(parameters).expect("a pattern"),
            learning_rate,
            weight_decay: Some(0.0),
        }],
        ..settings(0.01, 0.0)
    }
}

#[test]
fn a_group_of_parameters_has_its_own_learning_rate_and_decay() {
    let batch = Ragged::from_sequences(&documents(&[20]));
    let trained = |settings: &StepSettings| {
        let mut model = model(1);
        model.step(&batch, settings).expect("a step");
        model.weights()
    };
    let before = model(1).weights();
    let [plain, still] = [
        trained(&settings(0.01, 0.0)),
        trained(&settings_of_group("blocks.*.mlp.*", 0.0)),
    ];
    for ((before, plain), still) in before.iter().zip(&plain).zip(&still) {
        let is_member = plain.name.contains(".mlp.");
        assert_eq!(still == before, is_member, "{}", plain.name);
        assert_eq!(still == plain, !is_member, "{}", plain.name);
    }
}

#[test]
fn averages_follow_the_weights_and_are_shown_in_their_place() {
    let batch = Ragged::from_sequences(&documents(&[20]));
    let settings = StepSettings {
        ema: Some(0.25),
        ..settings(0.01, 0.0)
    };
    let mut model = model(1);
    let head = |model: &dyn Trainable| {
        let weights = model.weights().into_iter();
        let head = weights.last().expect("a weight").values;
        f64::from(head[0])
    };
    let mut average = head(&model);
    for step in 1..=4 {
        model.step(&batch, &settings).expect("a step");
        // (1 + t) / (10 + t) is below 0.25 in the first update alone.
        let decay = if step == 1 { 2.0 / 11.0 } else { 0.25 };
        average = decay * average + (1.0 - decay) * head(&model);
    }
    let trained = model.state();
    let shown = averaged(&mut model, |model| head(model));
    assert!((shown - average).abs() < 1e-6, "{shown} is not {average}");
    assert!((shown - head(&model)).abs() > 1e-4);
    assert_eq!(model.state(), trained, "training goes on as before");
    model.reset_optimiser();
    assert_eq!(averaged(&mut model, |model| head(model)), head(&model));
}

#[test]
fn a_state_of_another_model_is_refused_and_changes_nothing() {
    let mut model = model(1);
    let batch = Ragged::from_sequences(&documents(&[20]));
    model.step(&batch, &settings(0.01, 0.1)).expect("a step");
    let before = model.state();
    let mut other = before.clone();
    other.moments[1][3].values.pop();
    other.moments[1][3].shape = vec![other.moments[1][3].values.len()];
    assert!(model.load_state(&other).is_err());
    assert_eq!(model.state(), before);
}
