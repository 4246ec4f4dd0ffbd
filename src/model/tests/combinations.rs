//! Combinations of the parts of attention: some that cover every pair of values that go together, and as many again by
//! chance, to half of them.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use dfdx::tensor::Cpu;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::kinds::{Kind, VANILLA};
use super::properties::{CONTEXT, LONGEST};
use super::spec;
use crate::config::schema::{
    AttentionSpec, BiasSpec, GateSpec, ModelSpec, QkNormSpec, RotarySpec, SinkSpec,
};
use crate::model::attention;
use crate::ops::attention::AttentionOp;
use crate::ops::attention::tests::check_combination;
use crate::ops::tests::on_each_device;

/// A value of an axis: sets it.
type Value = (&'static str, fn(&mut AttentionSpec));

/// An axis and its values; the first leaves it as it is.
type Axis = (&'static str, &'static [Value]);

/// The kinds that are not names for combinations.
const KINDS: [&str; 11] = [
    "softmax",
    "sigmoid",
    "stick-breaking",
    "linear",
    "based",
    "retention",
    "gated-linear",
    "delta",
    "gated-delta",
    "differential",
    "synthesizer",
];

const AXES: [Axis; 9] = [
    (
        "rotary",
        &[
            ("none", |_| {}),
            ("half", |spec| {
                let (base, fraction) = (500.0, 0.5);
                spec.rotary = Some(RotarySpec { base, fraction });
            }),
        ],
    ),
    (
        "bias",
        &[
            ("none", |_| {}),
            ("alibi", |spec| spec.bias = Some(BiasSpec::Alibi)),
            ("t5", |spec| spec.bias = Some(BiasSpec::T5)),
            ("forgetting", |spec| spec.bias = Some(BiasSpec::Forgetting)),
        ],
    ),
    (
        "kv_heads",
        &[("4", |_| {}), ("2", |spec| spec.kv_heads = Some(2))],
    ),
    (
        "window",
        &[("none", |_| {}), ("11", |spec| spec.window = Some(11))],
    ),
    (
        "qk_norm",
        &[
            ("none", |_| {}),
            ("rms", |spec| spec.qk_norm = QkNormSpec::Rms),
            ("l2", |spec| spec.qk_norm = QkNormSpec::L2),
        ],
    ),
    (
        "sink",
        &[
            ("none", |_| {}),
            ("zero", |spec| spec.sink = SinkSpec::Zero),
            ("learned", |spec| spec.sink = SinkSpec::Learned),
        ],
    ),
    (
        "gate",
        &[
            ("none", |_| {}),
            ("head", |spec| spec.gate = GateSpec::Head),
            ("channel", |spec| spec.gate = GateSpec::Channel),
        ],
    ),
    (
        "talking_heads",
        &[
            ("false", |_| {}),
            ("true", |spec| spec.talking_heads = true),
        ],
    ),
    (
        "softcap",
        &[("0", |_| {}), ("3", |spec| spec.softcap = 3.0)],
    ),
];

/// A kind, and the number of the value of each axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Combination {
    kind: &'static str,
    values: [usize; AXES.len()],
}

/// Two choices: an axis, or the kind as the last, with the number of its value.
type Pair = [(usize, usize); 2];

impl Combination {
    /// A choice by chance among what the kind takes.
    fn draw(generator: &mut ChaCha8Rng) -> Self {
        let kind = KINDS[generator.gen_range(0..KINDS.len())];
        let takes = AttentionSpec::of(kind).kind.0.takes();
        let values = AXES.map(|(axis, values)| match takes.contains(&axis) {
            true => generator.gen_range(0..values.len()),
            false => 0,
        });
        Self { kind, values }
    }

    fn spec(&self) -> AttentionSpec {
        let mut spec = AttentionSpec::of(self.kind);
        for ((_, values), &value) in AXES.iter().zip(&self.values) {
            (values[value].1)(&mut spec);
        }
        spec
    }

    fn name(&self) -> String {
        let axes = AXES
            .iter()
            .zip(&self.values)
            .filter(|(_, value)| **value > 0);
        let said = axes.map(|((axis, values), &value)| format!(" {axis} {}", values[value].0));
        format!("{}{}", self.kind, said.collect::<String>())
    }

    fn pairs(&self) -> BTreeSet<Pair> {
        let kind = KINDS.iter().position(|kind| *kind == self.kind);
        let kind = (AXES.len(), kind.expect("a kind of the list"));
        let choices: Vec<_> = self
            .values
            .iter()
            .copied()
            .enumerate()
            .chain([kind])
            .collect();
        let pairs = choices
            .iter()
            .enumerate()
            .flat_map(|(i, &first)| choices[i + 1..].iter().map(move |&second| [first, second]));
        pairs.collect()
    }
}

/// Combinations that have every pair of values that some kind takes: of many drawn, the one that has most new pairs,
/// again and again.
static COVERING: LazyLock<Vec<Combination>> = LazyLock::new(covering);

fn covering() -> Vec<Combination> {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let mut candidates: Vec<Combination> = (0..20_000)
        .map(|_| Combination::draw(&mut generator))
        .collect();
    candidates.sort();
    candidates.dedup();
    candidates.shuffle(&mut generator);
    let candidates: Vec<(Combination, BTreeSet<Pair>)> = candidates
        .into_iter()
        .map(|one| (one.clone(), one.pairs()))
        .collect();
    let mut left: BTreeSet<Pair> = candidates
        .iter()
        .flat_map(|(_, pairs)| pairs.clone())
        .collect();
    let mut chosen = vec![];
    while !left.is_empty() {
        let new = |(_, pairs): &&(Combination, BTreeSet<Pair>)| pairs.intersection(&left).count();
        let (best, pairs) = candidates.iter().max_by_key(new).expect("candidates");
        left.retain(|pair| !pairs.contains(pair));
        chosen.push(best.clone());
    }
    chosen
}

/// The seed of the combinations that are drawn by chance: another one each time, unless a variable of the environment
/// has it.
static SEED: LazyLock<u64> = LazyLock::new(|| {
    let given = std::env::var("COMBINATIONS_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    });
    eprintln!("combinations drawn with COMBINATIONS_SEED={seed}");
    seed
});

/// All combinations that are tested.
fn combinations() -> Vec<Combination> {
    let mut all = COVERING.clone();
    let mut generator = ChaCha8Rng::seed_from_u64(*SEED);
    let by_chance = (0..all.len() / 2).map(|_| Combination::draw(&mut generator));
    all.extend(by_chance.collect::<Vec<_>>());
    all
}

/// Models with these combinations.
pub(super) fn drawn() -> Vec<Kind> {
    let of = |combination: Combination| {
        let attention = combination.spec();
        Kind {
            name: format!("{} (seed {})", combination.name(), *SEED),
            parameters: parameters(&attention),
            spec: spec(2, CONTEXT, attention),
        }
    };
    combinations().into_iter().map(of).collect()
}

/// Number of parameters of a model of 2 layers with 4 heads of width 8 on a stream of width 32: what each part adds to
/// vanilla attention, with its bias where it has one.
pub(super) fn parameters(attention: &AttentionSpec) -> usize {
    const HEADS: usize = 4;
    const HEAD_DIM: usize = 8;
    const EMBED: usize = 32;
    let name = attention.kind.0.name;
    let shared = HEADS - attention.key_heads(HEADS);
    let maps = attention.kind.0.mechanism.maps();
    let forgets = matches!(name, "gated-linear" | "gated-delta");
    let of_kind = match name {
        "differential" => 3 * HEAD_DIM as isize,
        "synthesizer" => ((HEAD_DIM + 1) * LONGEST) as isize - ((EMBED + 1) * EMBED) as isize,
        "delta" | "gated-delta" => (EMBED * HEADS) as isize,
        _ => 0,
    };
    let of_parts = [
        match attention.score_bias() {
            BiasSpec::T5 => 32 * HEADS,
            BiasSpec::Forgetting => (EMBED + 1) * HEADS,
            _ if forgets => (EMBED + 1) * HEADS,
            BiasSpec::None | BiasSpec::Alibi => 0,
        },
        match attention.qk_norm {
            QkNormSpec::None => 0,
            QkNormSpec::Rms => 2 * HEAD_DIM / maps,
            QkNormSpec::L2 => HEADS * maps,
        },
        match attention.sink {
            SinkSpec::Learned => HEADS * maps,
            SinkSpec::None | SinkSpec::Zero => 0,
        },
        if attention.talking_heads {
            2 * HEADS * HEADS
        } else {
            0
        },
        match attention.gate {
            GateSpec::None => 0,
            GateSpec::Head => EMBED * HEADS,
            GateSpec::Channel => EMBED * EMBED,
        },
    ];
    let of_parts: usize = of_parts.iter().sum();
    let of_keys = if name == "synthesizer" { 0 } else { shared };
    let missing = (shared + of_keys) * HEAD_DIM * (EMBED + 1);
    let a_layer = of_kind + of_parts as isize - missing as isize;
    (VANILLA as isize + 2 * a_layer) as usize
}

#[test]
fn combinations_cover_every_pair_that_goes_together() {
    let all = &COVERING;
    let said: BTreeSet<Pair> = all.iter().flat_map(Combination::pairs).collect();
    // Any two parts of softmax attention, and what any other kind takes with any value of it.
    let of_kind = |name: &str| {
        let kind = KINDS.iter().position(|kind| *kind == name);
        (AXES.len(), kind.expect("a kind of the list"))
    };
    let of = |axis: &str| {
        AXES.iter()
            .position(|(name, _)| *name == axis)
            .expect("an axis")
    };
    assert!(said.contains(&[(of("bias"), 3), (of("sink"), 2)]));
    assert!(said.contains(&[(of("rotary"), 1), of_kind("differential")]));
    assert!(said.contains(&[(of("gate"), 2), of_kind("synthesizer")]));
    for (one, (_, values)) in AXES.iter().enumerate() {
        for (two, (_, others)) in AXES.iter().enumerate().skip(one + 1) {
            for value in 0..values.len() {
                for other in 0..others.len() {
                    assert!(said.contains(&[(one, value), (two, other)]));
                }
            }
        }
    }
}

/// Checks them on a device: all on the CPU, and some on a GPU, where each takes long if it is emulated.
fn check_combinations<D: AttentionOp<f32> + 'static>(device: &D) {
    let is_cpu = TypeId::of::<D>() == TypeId::of::<Cpu>();
    for combination in combinations()
        .into_iter()
        .step_by(if is_cpu { 1 } else { 8 })
    {
        eprintln!("{} (seed {})", combination.name(), *SEED);
        let small = ModelSpec {
            embed: 12,
            head_dim: 4,
            ..spec(1, 42, combination.spec())
        };
        check_combination(device, attention::layout(&small, &small.attention));
    }
}

on_each_device!(combinations_are_those_of_the_reference, |device| {
    check_combinations(&device);
});
