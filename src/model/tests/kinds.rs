//! Properties of every kind of attention, and of combinations of its parts.

use super::properties::{self, CONTEXT, LONGEST};
use super::*;
use serde_json::json;

use crate::config::schema::{
    AttentionTable, BiasSpec, KindOfAttention, QkNormSpec, RotarySpec, SinkSpec,
};
use crate::kinds::Listed as _;
use crate::model::maps::MapAxis;
use crate::model::network::Network;
use crate::model::perceiver::Perceiver;
use crate::model::visit;
use crate::ops::maps::HeadMap;
use crate::ops::precision::Precision;
use crate::ops::products::supports;

/// A model of 2 layers (one more between the down and up blocks of a Perceiver), width 32, 4 heads, hidden
/// 64, 256 token ids and a context of 72: more than two blocks of the KV cache.
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) spec: ModelSpec,
    pub(super) parameters: usize,
}

impl Kind {
    /// A fresh model, given the seed and the standard deviation of its weights.
    fn fresh(&self, seed: u64, deviation: f32) -> Box<dyn Trainable> {
        self.fresh_in(Precision::F32, seed, deviation)
    }

    /// The same, in another precision.
    fn fresh_in(&self, precision: Precision, seed: u64, deviation: f32) -> Box<dyn Trainable> {
        let start = Start { seed, deviation };
        match self.spec.attention.kind.0.name {
            "perceiver" => {
                fresh::<Perceiver<32, 64, 256, CONTEXT, f32, Cpu>>(precision, &self.spec, start)
            }
            _ => fresh::<Gpt<32, 64, 256, CONTEXT, f32, Cpu>>(precision, &self.spec, start),
        }
    }
}

impl Kind {
    /// What the weights of a query add up to, if that is known.
    fn row_sum(&self, layer: usize, map: &HeadMap) -> Option<f32> {
        let attention = self.spec.attention_of(layer);
        match attention.kind.0.name {
            // 1 - λ, which is the only weight of the first token.
            "differential" if attention.sink == SinkSpec::None => Some(map.weights[0]),
            "differential" => None,
            "sigmoid" | "stick-breaking" => None,
            "retention" | "gated-linear" | "delta" | "gated-delta" => None,
            _ => {
                let is_plain = attention.sink == SinkSpec::None && !attention.talking_heads;
                is_plain.then_some(1.0)
            }
        }
    }
}

fn fresh<M: Network<Cpu>>(
    precision: Precision,
    spec: &ModelSpec,
    start: Start,
) -> Box<dyn Trainable> {
    let session = Session::<M, Cpu>::new(Cpu::default(), precision, spec, start);
    Box::new(session.expect("memory"))
}

/// 4 projections, 2 norms and the MLP.
const BLOCK: usize = 4 * (32 * 32 + 32) + 128 + 2 * 32 * 64 + 64 + 32;

pub(super) const VANILLA: usize = 2 * 256 * 32 + CONTEXT * 32 + 64 + 2 * BLOCK;

/// The kinds of the table, a pattern, and some combinations.
fn all() -> Vec<Kind> {
    let others = combinations::drawn();
    kinds()
        .into_iter()
        .chain([pattern()])
        .chain(others)
        .collect()
}

fn kinds() -> Vec<Kind> {
    let of = |name: &str, attention: AttentionSpec, parameters| Kind {
        name: name.to_owned(),
        spec: spec(2, CONTEXT, attention),
        parameters,
    };
    let kind = |name, parameters| of(name, AttentionSpec::of(name), parameters);
    // 2 heads of keys and values of width 8, or 1, for 4 query heads, in 2 layers.
    let shared = |heads: usize| VANILLA - 2 * 2 * (32 - 8 * heads) * 33;
    let grouped = AttentionSpec {
        kv_heads: Some(2),
        ..AttentionSpec::of("grouped-query")
    };
    let window = AttentionSpec {
        window: Some(7),
        ..AttentionSpec::of("sliding-window")
    };
    let rotary = RotarySpec {
        base: 500.0,
        fraction: 0.5,
    };
    let all_parts = AttentionSpec {
        kv_heads: Some(2),
        window: Some(40),
        rotary: Some(rotary),
        bias: Some(BiasSpec::Alibi),
        ..AttentionSpec::of("softmax")
    };
    // 7 latents: some documents are longer and some shorter.
    let latents = AttentionSpec::latents(7);
    vec![
        kind("alibi", VANILLA),
        kind("based", VANILLA),
        // How much each of 4 heads corrects.
        kind("delta", VANILLA + 2 * 4 * 32),
        // Two vectors for λ and a gain, each as wide as a head, in 2 layers.
        kind("differential", VANILLA + 2 * 3 * 8),
        kind("gated-delta", VANILLA + 2 * (4 * 32 + 4 * 33)),
        // A forget gate of each of 4 heads.
        kind("gated-linear", VANILLA + 2 * 4 * 33),
        of("grouped-query", grouped, shared(2)),
        kind("linear", VANILLA),
        kind("multi-query", shared(1)),
        Kind {
            spec: spec(3, CONTEXT, latents.clone()),
            ..of("perceiver", latents, VANILLA + BLOCK + 7 * 32)
        },
        kind("retention", VANILLA),
        kind("rope", VANILLA),
        kind("sigmoid", VANILLA),
        of("sliding-window", window, VANILLA),
        of("softmax", all_parts, shared(2)),
        kind("stick-breaking", VANILLA),
        // No keys; 8 weights and a bias per position.
        kind("synthesizer", VANILLA - 2 * (32 * 33) + 2 * 9 * LONGEST),
        kind("vanilla", VANILLA),
    ]
}

/// Two local layers, a global one and one with a state.
fn pattern() -> Kind {
    let mut attention = AttentionTable::from(AttentionSpec {
        qk_norm: QkNormSpec::Rms,
        ..AttentionSpec::of("rope")
    });
    for (name, own) in [
        ("local", json!({ "window": 9, "kv_heads": 2 })),
        ("global", json!({})),
        ("state", json!({ "kind": "gated-delta", "gate": "head" })),
    ] {
        let own = own.as_object().expect("a table").clone();
        attention.layers.insert(name.to_owned(), own);
    }
    let spec = ModelSpec {
        attention,
        pattern: ["local", "local", "global", "state"]
            .map(str::to_owned)
            .to_vec(),
        ..spec(4, CONTEXT, AttentionSpec::of("rope"))
    };
    // 2 heads of keys and values are missing in two layers; gains of queries and keys in three; the state has forget
    // gates, β and gates.
    let parts = 3 * 2 * 8 + 4 * 33 + 2 * 4 * 32;
    let parameters = VANILLA + 2 * BLOCK - 2 * 2 * 16 * 33 + parts;
    let name = "pattern".to_owned();
    Kind {
        name,
        spec,
        parameters,
    }
}

#[test]
fn every_kind_of_the_table_is_tested() {
    let kinds = kinds();
    let tested: Vec<&str> = kinds.iter().map(|kind| &*kind.name).collect();
    assert_eq!(tested, KindOfAttention::names());
}

#[test]
fn parameter_counts_match_the_formulas() {
    for kind in all() {
        let model = kind.fresh(1, 0.02);
        assert_eq!(model.parameter_count(), kind.parameters, "{}", kind.name);
    }
}

#[test]
fn the_formula_of_combinations_is_that_of_kinds() {
    for kind in kinds().iter().filter(|kind| kind.name != "perceiver") {
        let counted = combinations::parameters(&kind.spec.attention);
        assert_eq!(counted, kind.parameters, "{}", kind.name);
    }
}

#[test]
fn the_perceiver_of_the_assignment_has_as_many_parameters_as_reported() {
    let attention = AttentionSpec::latents(64);
    let assignment = ModelSpec {
        embed: 256,
        heads: 8,
        head_dim: 32,
        hidden: 1024,
        ..spec(4, 128, attention)
    };
    let model = Perceiver::<256, 1024, 256, 128, f32, Cpu>::zeros(&Cpu::default(), &assignment);
    assert_eq!(visit::parameter_count(&model.expect("memory")), 3_339_776);
}

#[test]
fn future_tokens_cannot_change_past_predictions() {
    for kind in all() {
        properties::future_tokens_cannot_change_past_predictions(&kind.name, &|seed, deviation| {
            kind.fresh(seed, deviation)
        });
    }
}

#[test]
fn ragged_equals_padded() {
    for kind in all() {
        properties::ragged_equals_padded(&kind.name, &|seed, deviation| {
            kind.fresh(seed, deviation)
        });
    }
}

#[test]
fn one_batch_can_be_memorised() {
    for kind in all() {
        properties::one_batch_can_be_memorised(&kind.name, &|seed, deviation| {
            kind.fresh(seed, deviation)
        });
    }
}

#[test]
fn incremental_decoding_equals_recomputing_the_prefix() {
    for kind in all() {
        properties::incremental_decoding_equals_recomputing(&kind.name, &|seed, deviation| {
            kind.fresh(seed, deviation)
        });
    }
}

#[test]
fn maps_have_the_right_row_sums_and_are_causal() {
    for kind in all() {
        let (name, model) = (&kind.name, kind.fresh(5, 0.3));
        for text in documents(&[1, 5, 40, LONGEST]) {
            let tokens = text.tokens.len();
            let maps = model.attention_maps(&text.tokens).expect("it fits");
            let heads: Vec<usize> = maps.iter().map(|layer| layer.heads.len()).collect();
            assert_eq!(heads, vec![4; kind.spec.layers]);
            for (at, layer) in maps.iter().enumerate() {
                let length = |side| match side {
                    MapAxis::Tokens => tokens,
                    MapAxis::Latents => tokens.min(7),
                };
                let queries = length(layer.queries);
                for map in &layer.heads {
                    let keys = length(layer.keys).min(queries);
                    assert_eq!((map.queries, map.keys), (queries, keys), "{name}");
                    for (query, row) in map.weights.chunks_exact(keys).enumerate() {
                        let sum: f32 = row.iter().sum();
                        if let Some(all) = kind.row_sum(at, map) {
                            assert!((sum - all).abs() < 1e-5, "{name}: {sum}");
                        }
                        assert!(row.iter().skip(query + 1).all(|&w| w == 0.0), "{name}");
                    }
                }
            }
        }
        assert!(model.attention_maps(&[3; CONTEXT + 1]).is_err(), "{name}");
    }
}

#[test]
fn maps_are_of_what_goes_into_each_layer() {
    for kind in all() {
        let mut model = kind.fresh(5, 0.3);
        let text = documents(&[40])[0].tokens.clone();
        let before = model.attention_maps(&text).expect("it fits");
        let kept = model.weights();
        // Which layers' maps change when some weights are scaled up.
        let mut moved = |weights: &str| -> Vec<bool> {
            let mut larger = kept.clone();
            let named = larger.iter_mut().filter(|w| w.name.contains(weights));
            named.for_each(|w| w.values.iter_mut().for_each(|v| *v *= 1.5));
            model.load_weights(&larger).expect("the same layout");
            let after = model.attention_maps(&text).expect("it fits");
            before.iter().zip(&after).map(|(a, b)| a != b).collect()
        };
        let [first, last] = match &*kind.name {
            "perceiver" => ["down_block", "up_block"].map(str::to_owned),
            _ => [0, kind.spec.layers - 1].map(|layer| format!("blocks.{layer}")),
        };
        let layers = before.len();
        let all_but_the_first: Vec<bool> = (0..layers).map(|layer| layer > 0).collect();
        let only_the_last: Vec<bool> = (1..=layers).map(|layer| layer == layers).collect();
        let name = &kind.name;
        assert_eq!(moved(&format!("{first}.mlp.")), all_but_the_first, "{name}");
        assert_eq!(moved(&format!("{last}.attn.")), only_the_last, "{name}");
        assert_eq!(
            moved(&format!("{last}.mlp.")),
            vec![false; layers],
            "{name}"
        );
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for kind in all() {
        properties::the_number_of_threads_changes_no_bit(&kind.name, &|seed, deviation| {
            kind.fresh(seed, deviation)
        });
    }
}

/// Losses are close to f32's, and incremental decoding to recomputing; the thread count changes no bit.
#[test]
fn bf16_stays_close_to_f32_and_is_deterministic() {
    if !supports(Precision::Bf16) {
        eprintln!("not tested: no AVX512_BF16");
        return;
    }
    let batch = Ragged::from_sequences(&documents(&[LONGEST, 5, 33]));
    for kind in kinds() {
        let fresh = |seed, deviation| kind.fresh_in(Precision::Bf16, seed, deviation);
        let [rounded, whole] = [fresh(1, 0.1), kind.fresh(1, 0.1)].map(|mut model| {
            let losses = [(); 4].map(|()| model.step(&batch, &settings(0.003, 0.1)));
            losses.map(|step| step.expect("a step").loss_nats)
        });
        assert_ne!(rounded, whole, "{}", kind.name);
        for (rounded, whole) in rounded.iter().zip(whole) {
            let close = (rounded - whole).abs() < 0.05 * whole;
            assert!(close, "{}: {rounded}, {whole} in f32", kind.name);
        }
        properties::incremental_decoding_is_close_to_recomputing(&kind.name, &fresh, 0.05);
        if ["vanilla", "perceiver"].contains(&&*kind.name) {
            properties::the_number_of_threads_changes_no_bit(&kind.name, &fresh);
        }
    }
}

#[test]
fn weights_make_the_same_model() {
    for kind in all() {
        properties::weights_make_the_same_model(&kind.name, &|seed, deviation| {
            kind.fresh(seed, deviation)
        });
    }
}
