//! Figures of made-up values.

use crate::metrics::rows::{AttentionRow, CorruptionRow};
use crate::plot::*;

/// A number in 0 to 1 that looks drawn by chance and is always the same.
fn chance(i: usize, j: usize) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (j as u64 + 7).wrapping_mul(0xd1b5_4a32_d192_ed03);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)) % 10_007) as f64 / 10_007.0
}

fn skill(i: usize, points: usize) -> f64 {
    0.1 + 0.75 * i as f64 / points.max(2) as f64 + 0.1 * chance(i, 1)
}

fn runs(i: usize, points: usize, seeds: u64) -> Vec<SeedAccuracy> {
    let run = |seed: u64| SeedAccuracy {
        seed,
        correct: (500.0 * (skill(i, points) + 0.05 * chance(i, seed as usize))) as usize,
        questions: 500,
    };
    (1..=seeds).map(run).collect()
}

fn title(kind: &str) -> String {
    format!("A figure of {kind}")
}

const CAPTION: &str = "made-up values.";

/// What the points of a figure are called.
pub(super) type Label<'a> = &'a dyn Fn(usize) -> String;

fn bars(points: usize, label: Label<'_>, seeds: u64) -> Figure {
    let bar = |i: usize| Bar {
        label: label(i),
        runs: runs(i, points, seeds),
        reported: (i % 7 == 1).then(|| (skill(i, points) * 0.9, "a paper, table 2".to_owned())),
    };
    let figure = AccuracyBars {
        title: title("bars"),
        caption: CAPTION.to_owned(),
        bars: (0..points).map(bar).collect(),
        baseline: Some(Baseline {
            label: "always \u{201c}London\u{201d}".to_owned(),
            correct: 25,
            questions: 500,
        }),
    };
    draw_accuracy_bars(&figure).expect("drawn")
}

fn scatter(points: usize, label: Label<'_>, seeds: u64) -> Figure {
    let spot = |i: usize| Spot {
        label: label(i),
        x: 100_000.0 + 5_000.0 * (chance(i, 3) * 6.0).floor(),
        runs: runs(i, points, seeds),
    };
    let figure = AccuracyScatter {
        title: title("spots"),
        caption: CAPTION.to_owned(),
        horizontal: "parameters".to_owned(),
        spots: (0..points).map(spot).collect(),
        named: true,
    };
    draw_accuracy_scatter(&figure).expect("drawn")
}

fn matrix(points: usize, label: Label<'_>) -> Figure {
    let side = |i: usize| AnsweredSide {
        label: label(i),
        right_seeds: (0..60)
            .map(|question| usize::from(chance(question, 9) < skill(i, points)))
            .collect(),
    };
    let figure = PairedMatrix {
        title: title("pairs"),
        caption: CAPTION.to_owned(),
        sides: (0..points).map(side).collect(),
        seeds: vec![1],
    };
    draw_paired_matrix(&figure).expect("drawn")
}

fn curves(points: usize, label: Label<'_>, seeds: u64) -> Figure {
    let loss = |i: usize, seed: u64, step: usize| {
        let end = 0.5 + 1.5 * chance(i, 5);
        end + (4.1 - end) * (-(step as f64) / 40.0).exp()
            + 0.15 * chance(i * 1_000 + step, seed as usize)
    };
    let trace = |i: usize, seed: u64| Trace {
        seed,
        points: (1..=200)
            .map(|step| (step as f64, loss(i, seed, step)))
            .collect(),
    };
    let series = |i: usize| Series {
        label: label(i),
        traces: (1..=seeds).map(|seed| trace(i, seed)).collect(),
    };
    let figure = LearningCurves {
        title: title("curves"),
        caption: CAPTION.to_owned(),
        stage: "pretrain".to_owned(),
        series: (0..points).map(series).collect(),
    };
    draw_learning_curves(&figure).expect("drawn")
}

fn sure(points: usize, label: Label<'_>) -> Figure {
    let point = |i: usize| ConfidencePoint {
        label: label(i),
        seeds: vec![1, 2],
        answers: (0..60)
            .map(|j| match j % 3 {
                0 => (AnswerKind::Right, chance(i, j).sqrt()),
                1 => (AnswerKind::Wrong, chance(i, j)),
                _ => (AnswerKind::Invented, chance(i, j).powi(2)),
            })
            .collect(),
    };
    let figure = Confidence {
        title: title("probabilities"),
        caption: CAPTION.to_owned(),
        points: (0..points).map(point).collect(),
    };
    draw_confidence(&figure).expect("drawn")
}

fn reliability(points: usize, label: Label<'_>) -> Figure {
    let point = |i: usize| ReliabilityPoint {
        label: label(i),
        seeds: vec![1],
        answers: (0..60)
            .map(|j| (chance(i, j), chance(i, j + 100) < chance(i, j)))
            .collect(),
    };
    let figure = ReliabilityDiagram {
        title: title("calibration"),
        caption: CAPTION.to_owned(),
        bins: 10,
        points: (0..points).map(point).collect(),
    };
    draw_reliability_diagram(&figure).expect("drawn")
}

fn answers(points: usize, label: Label<'_>) -> Figure {
    let counts = |i: usize, k: usize| -> Counts {
        let places = [
            "London",
            "Lima",
            "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch",
            "Oslo",
            "Rome",
        ];
        let count = |(j, place): (usize, &&str)| {
            ((*place).to_owned(), 1 + (40.0 * chance(i + k, j)) as usize)
        };
        places.iter().enumerate().map(count).collect()
    };
    let point = |i: usize| AnswersOfPoint {
        label: label(i),
        seeds: vec![1],
        invented: counts(i, 0),
        given: counts(i, 1),
        gold: counts(0, 2),
        training: counts(0, 3),
    };
    let figure = CommonestAnswers {
        title: title("answers"),
        caption: CAPTION.to_owned(),
        answers: 5,
        split: "dev".to_owned(),
        points: (0..points).map(point).collect(),
    };
    draw_commonest_answers(&figure).expect("drawn")
}

fn attention(points: usize, label: Label<'_>) -> AttentionMaps {
    let text: Vec<char> = "Where was Ada Moss born?\u{2047}Lima".chars().collect();
    let row = |i: usize, layer: usize, head: usize, query: usize, key: usize| AttentionRow {
        question: 1,
        layer,
        head,
        query_position: query,
        query_character: Some(text[query - 1].to_string()),
        key_position: key,
        key_character: Some(text[key - 1].to_string()),
        weight: chance(i * 100 + query, key * 7 + layer + head) as f32 * 2.0 / query as f32,
    };
    let model = |i: usize| MappedModel {
        label: label(i),
        seed: 1,
        rows: (0..4)
            .flat_map(|head| (1..=text.len()).map(move |query| (head, query)))
            .flat_map(|(head, query)| (1..=query).map(move |key| (head, query, key)))
            .map(|(head, query, key)| row(i, 1 + head / 2, 1 + head % 2, query, key))
            .collect(),
    };
    AttentionMaps {
        title: title("attention"),
        caption: CAPTION.to_owned(),
        models: (0..points).map(model).collect(),
    }
}

fn explored(points: usize, label: Label<'_>) -> Figure {
    let curve = |i: usize| ExploredCurve {
        label: label(i),
        is_reported: i == 1,
        points: (0..12)
            .map(|x| {
                (
                    f64::from(x),
                    10f64.powf(-f64::from(x) * (0.2 + chance(i, 1))),
                )
            })
            .collect(),
        ranges: vec![],
    };
    let panel = |vertical: &str| CurvePanel {
        vertical: vertical.to_owned(),
        is_logarithmic: true,
        curves: (0..points).map(curve).collect(),
    };
    let curves = ExplorationCurves {
        title: title("explorations"),
        caption: CAPTION.to_owned(),
        horizontal: "\u{3b2}".to_owned(),
        panels: vec![panel("error"), panel("largest weight")],
    };
    draw_exploration_curves(&curves).expect("drawn")
}

fn sampled(points: usize, label: Label<'_>) -> Figure {
    let series = |i: usize| SampledSeries {
        label: label(i),
        is_reported: i == 1,
        values: (0..200).map(|j| chance(i, j)).collect(),
    };
    let distribution = ExplorationDistribution {
        title: title("samples"),
        caption: CAPTION.to_owned(),
        quantity: "weight".to_owned(),
        series: (0..points).map(series).collect(),
    };
    draw_exploration_distribution(&distribution).expect("drawn")
}

fn corruption(points: usize) -> Figure {
    let row = |i: usize| CorruptionRow {
        document: i,
        epoch: 1,
        prefix: "Ada Moss was ".to_owned(),
        masked: "born in".to_owned(),
        suffix: " Lima, and lives there still, as everybody who has read of her may know."
            .to_owned(),
        sequence: "Ada Moss was \u{2047} Lima, and lives there still\u{2047}born in\u{2047}"
            .to_owned(),
    };
    let figure = CorruptionExamples {
        title: title("corruption"),
        caption: CAPTION.to_owned(),
        rows: (0..points).map(row).collect(),
    };
    draw_corruption_examples(&figure).expect("drawn")
}

/// Draws a kind of figure with so many points.
pub(super) type Draw = fn(usize, Label<'_>) -> Figure;

pub(super) const KINDS: [(&str, Draw); 15] = [
    ("accuracy-bars", |points, label| bars(points, label, 1)),
    ("accuracy-bars-of-seeds", |points, label| {
        bars(points, label, 3)
    }),
    ("accuracy-scatter", |points, label| {
        scatter(points, label, 1)
    }),
    ("accuracy-scatter-of-seeds", |points, label| {
        scatter(points, label, 3)
    }),
    ("paired-matrix", matrix),
    ("learning-curves", |points, label| curves(points, label, 1)),
    ("learning-curves-of-seeds", |points, label| {
        curves(points, label, 2)
    }),
    ("confidence", sure),
    ("reliability-diagram", reliability),
    ("commonest-answers", answers),
    ("attention-maps", |points, label| {
        draw_attention_maps(&attention(points, label)).expect("drawn")
    }),
    ("answer-attention", |points, label| {
        draw_answer_attention(&attention(points, label)).expect("drawn")
    }),
    ("exploration-curves", explored),
    ("exploration-distribution", sampled),
    ("corruption-examples", |points, _| corruption(points)),
];

pub(super) fn short(i: usize) -> String {
    format!("seed = {i}")
}

pub(super) fn alike(i: usize) -> String {
    format!("model.attention.kind = a-kind-with-a-rather-long-name-{i:02}, pretrain.epochs = 1")
}

pub(super) fn ugly(i: usize) -> String {
    let sign = char::from_u32(0x1f980 + i as u32 % 40).expect("an animal");
    format!(
        "λ ≤ {} α₂ naïve \u{201c}quoted\u{201d} 漢字 {sign} variant {}",
        i / 40,
        "x".repeat(i % 50)
    )
}
