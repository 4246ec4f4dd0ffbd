//! Models that differ in what is around attention: positions, norms, MLPs and heads.

use super::properties::{CONTEXT, check};
use std::collections::{BTreeMap, BTreeSet};

use dfdx::tensor::OwnedTape;
use dfdx::tensor_ops::Backward as _;

use super::*;
use crate::config::schema::{MlpSpec, NormSpec, PositionsSpec};
use crate::model::network::Network;
use crate::model::perceiver::Perceiver;
use crate::model::visit;
use crate::model::weights::Weight;
use crate::ops::LabDevice;
use crate::ops::dropout::Dropout;
use crate::ops::precision::Precision;
use crate::ops::tests::assert_close;

const START: Start = Start {
    seed: 1,
    deviation: 0.1,
};

/// A model of two layers, one more in a Perceiver of 7 latents; width 32, 4 heads, hidden 64, 256 token ids.
#[derive(Clone, Copy, Debug)]
struct Around {
    perceiver: bool,
    positions: PositionsSpec,
    norm: NormSpec,
    tied_head: bool,
    mlp: MlpSpec,
}

impl Around {
    fn spec(self) -> ModelSpec {
        let (layers, attention) = match self.perceiver {
            true => (3, AttentionSpec::latents(7)),
            false => (2, AttentionSpec::of("vanilla")),
        };
        ModelSpec {
            positions: self.positions,
            norm: self.norm,
            tied_head: self.tied_head,
            mlp: self.mlp,
            ..spec(layers, CONTEXT, attention)
        }
    }

    fn fresh(self, seed: u64, deviation: f32) -> Box<dyn Trainable> {
        self.on(Cpu::default(), Start { seed, deviation })
    }

    fn on<D: LabDevice<f32>>(self, device: D, start: Start) -> Box<dyn Trainable> {
        let spec = self.spec();
        match self.perceiver {
            true => session::<Perceiver<32, 64, 256, CONTEXT, f32, D>, D>(device, &spec, start),
            false => session::<Gpt<32, 64, 256, CONTEXT, f32, D>, D>(device, &spec, start),
        }
    }

    /// The number of parameters by formula.
    fn parameters(self) -> usize {
        let norm = match self.norm {
            NormSpec::Layer => 2 * 32,
            NormSpec::Rms => 32,
        };
        let (to_hidden, from_hidden) = (32 * 64 + 64, 64 * 32 + 32);
        let mlp = match self.mlp {
            MlpSpec::Gelu | MlpSpec::Relu2 => norm + to_hidden + from_hidden,
            MlpSpec::Swiglu => norm + 2 * to_hidden + from_hidden,
            MlpSpec::None => 0,
        };
        let block = 4 * (32 * 32 + 32) + norm + mlp;
        let positions = match self.positions {
            PositionsSpec::Learned => CONTEXT * 32,
            PositionsSpec::None => 0,
        };
        let of_network = match self.perceiver {
            true => 3 * block + 7 * 32,
            false => 2 * block,
        };
        let tables = if self.tied_head { 1 } else { 2 };
        tables * 256 * 32 + positions + of_network + norm
    }
}

fn session<M: Network<D>, D: LabDevice<f32>>(
    device: D,
    spec: &ModelSpec,
    start: Start,
) -> Box<dyn Trainable> {
    Box::new(Session::<M, D>::new(device, Precision::F32, spec, start).expect("memory"))
}

/// Eight models in which every value of a key meets every value of each other key.
fn all() -> Vec<Around> {
    use {MlpSpec as M, NormSpec as N, PositionsSpec as P};
    let rows = [
        (M::Gelu, P::Learned, N::Rms, true, false),
        (M::Gelu, P::None, N::Layer, false, true),
        (M::Relu2, P::Learned, N::Layer, true, true),
        (M::Relu2, P::None, N::Rms, false, false),
        (M::Swiglu, P::Learned, N::Rms, false, true),
        (M::Swiglu, P::None, N::Layer, true, false),
        (M::None, P::Learned, N::Layer, false, false),
        (M::None, P::None, N::Rms, true, true),
    ];
    let of = |(mlp, positions, norm, tied_head, perceiver)| Around {
        perceiver,
        positions,
        norm,
        tied_head,
        mlp,
    };
    rows.map(of).to_vec()
}

#[test]
fn every_pair_of_values_is_tested() {
    let values = |around: &Around| {
        [
            format!("{:?}", around.mlp),
            format!("{:?}", around.positions),
            format!("{:?}", around.norm),
            format!("tied {}", around.tied_head),
            format!("perceiver {}", around.perceiver),
        ]
    };
    for (a, counted) in [4, 2, 2, 2, 2].into_iter().enumerate() {
        for b in 0..a {
            let pairs: BTreeSet<[String; 2]> = (all().iter().map(values))
                .map(|values| [values[a].clone(), values[b].clone()])
                .collect();
            let of_b = if b == 0 { 4 } else { 2 };
            assert_eq!(pairs.len(), counted * of_b, "{pairs:?}");
        }
    }
}

#[test]
fn parameters_are_counted_by_formula() {
    for around in all() {
        let counted = around.fresh(1, 0.02).parameter_count();
        assert_eq!(counted, around.parameters(), "{around:?}");
    }
}

#[test]
fn every_model_has_the_properties_of_a_language_model() {
    for around in all() {
        let fresh = |seed, deviation| around.fresh(seed, deviation);
        check(&format!("{around:?}"), &fresh);
    }
}

#[test]
fn without_position_embedding_only_attention_knows_positions() {
    let around = Around {
        perceiver: false,
        positions: PositionsSpec::None,
        norm: NormSpec::Layer,
        tied_head: false,
        mlp: MlpSpec::Gelu,
    };
    let model = around.fresh(1, 0.3);
    let said = |tokens: &[u32]| {
        let batch = Ragged::from_sequences(&[Sequence {
            tokens: tokens.to_vec(),
            targets: vec![PAD; tokens.len()],
        }]);
        let said = model.next_token_log_probabilities(&batch, &[tokens.len() - 1]);
        said.expect("it fits").concat()
    };
    let distance = |a: &[u32], b: &[u32]| {
        let (a, b) = (said(a), said(b));
        let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
        apart.fold(0f32, f32::max)
    };
    let repeated = distance(&[3], &[3, 3]);
    assert!(repeated < 1e-5, "a token that repeats looks like itself");
    let swapped = distance(&[3, 4, 5], &[4, 3, 5]);
    assert!(swapped > 1e-4, "two causal layers tell orders apart");
}

/// The gradients of every weight after a loss, by name.
fn gradients(
    model: &Gpt<32, 64, 256, CONTEXT, f32, Cpu>,
    batch: &Ragged,
) -> BTreeMap<String, Vec<f32>> {
    let tape = OwnedTape::default();
    let loss = model.loss(batch, Dropout::NONE, tape).expect("memory");
    let mut gradients = loss.backward();
    visit::gradients(model, &mut gradients)
        .into_iter()
        .collect()
}

#[test]
fn the_gradient_of_a_tied_head_is_the_sum_of_both_uses_of_its_table() {
    let of = |tied_head| Around {
        perceiver: false,
        positions: PositionsSpec::Learned,
        norm: NormSpec::Layer,
        tied_head,
        mlp: MlpSpec::Gelu,
    };
    let batch = Ragged::from_sequences(&documents(&[20, 3, 9]));
    let [tied, apart] = [true, false].map(|tied| {
        // Two equal tables, whether or not they are one.
        let mut session =
            Session::new(Cpu::default(), Precision::F32, &of(tied).spec(), START).expect("memory");
        let mut weights = session.weights();
        let table = |weight: &Weight| weight.name == "tok_emb.weight";
        let values = weights
            .iter()
            .find(|w| table(w))
            .expect("a table")
            .values
            .clone();
        let heads = weights.iter_mut().filter(|w| w.name == "head.weight");
        heads.for_each(|head| head.values.clone_from(&values));
        session.load_weights(&weights).expect("the same layout");
        gradients(&session.model, &batch)
    });
    let both = apart["tok_emb.weight"].iter().zip(&apart["head.weight"]);
    let sums = both.map(|(a, b)| f64::from(a + b)).collect::<Vec<_>>();
    let tied_table: Vec<f64> = (tied["tok_emb.weight"].iter().map(|&g| f64::from(g))).collect();
    assert_close("tied table", &tied_table, &sums, 1e-6, 0.0);
    assert_eq!(tied["pos_emb"], apart["pos_emb"]);
    assert!(!tied.contains_key("head.weight"));
}

#[test]
fn maps_of_every_model_are_causal_and_add_up_to_one() {
    for around in all() {
        let model = around.fresh(5, 0.3);
        let layers = model.attention_maps(&documents(&[40])[0].tokens);
        let layers = layers.expect("it fits");
        assert_eq!(layers.len(), around.spec().layers, "{around:?}");
        for map in layers.iter().flat_map(|layer| &layer.heads) {
            for (query, row) in map.weights.chunks_exact(map.keys).enumerate() {
                let sum: f32 = row.iter().sum();
                assert!((sum - 1.0).abs() < 1e-5, "{around:?}: {sum}");
                let future = &row[(query + 1).min(map.keys)..];
                assert!(future.iter().all(|&w| w == 0.0), "{around:?}");
            }
        }
    }
}

#[test]
fn weights_have_the_names_of_the_reference_or_of_hugging_face() {
    for around in all() {
        let names: Vec<String> = (around.fresh(1, 0.02).weights().into_iter())
            .map(|weight| weight.name)
            .collect();
        let has = |name: &str| names.iter().any(|one| one == name);
        assert_eq!(has("pos_emb"), around.positions == PositionsSpec::Learned);
        assert_eq!(has("head.weight"), !around.tied_head);
        assert_eq!(has("ln_f.bias"), around.norm == NormSpec::Layer);
        assert_eq!(has("blocks.0.ln2.weight"), around.mlp != MlpSpec::None);
        let swiglu = around.mlp == MlpSpec::Swiglu;
        for layer in ["gate_proj", "up_proj", "down_proj"] {
            assert_eq!(has(&format!("blocks.0.mlp.{layer}.weight")), swiglu);
        }
        let two = matches!(around.mlp, MlpSpec::Gelu | MlpSpec::Relu2);
        assert_eq!(
            (has("blocks.0.mlp.0.weight"), has("blocks.0.mlp.2.bias")),
            (two, two)
        );
    }
}

#[test]
fn weights_start_another_model_of_the_same_kind_and_no_other() {
    for around in all() {
        let (model, mut other) = (around.fresh(1, 0.1), around.fresh(2, 0.1));
        other
            .load_weights(&model.weights())
            .expect("the same layout");
        assert_eq!(bits(&*model), bits(&*other), "{around:?}");
        let swapped = match around.norm {
            NormSpec::Layer => NormSpec::Rms,
            NormSpec::Rms => NormSpec::Layer,
        };
        let mut foreign = Around {
            norm: swapped,
            ..around
        }
        .fresh(1, 0.1);
        assert!(foreign.load_weights(&model.weights()).is_err());
    }
}

/// Steps and decoding on a GPU are those of the CPU, with the same dropout draws.
#[cfg(feature = "cuda")]
#[test]
fn every_model_is_the_same_on_cuda() {
    use crate::model::decoder::DecoderInput;

    let Some(device) = crate::ops::tests::cuda() else {
        return;
    };
    let batch = Ragged::from_sequences(&documents(&[20, 3, 9]));
    for around in all() {
        let mut models = [
            around.on(device.clone(), START),
            around.on(Cpu::default(), START),
        ];
        for step in 0..3 {
            let [there, here] = models.each_mut().map(|model| {
                let metrics = model.step(&batch, &settings(0.01, 0.1)).expect("a step");
                [metrics.loss_nats, metrics.gradient_norm]
            });
            assert_close(
                &format!("{around:?}, step {step}"),
                &there,
                &here,
                1e-3,
                0.0,
            );
        }
        let [there, here] = models.each_ref().map(|model| {
            let tokens = documents(&[30]).remove(0).tokens;
            let said = model.decoder(1).decode(&[DecoderInput { row: 0, tokens }]);
            let said = said.expect("it fits").concat().into_iter();
            said.map(f64::from).collect::<Vec<_>>()
        });
        assert_close(&format!("{around:?}, decoding"), &there, &here, 5e-3, 0.0);
    }
}
