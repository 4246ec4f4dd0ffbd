//! The equations of the papers, written out token by token in f64, against the reference: states are updated step by
//! step, as their authors state them, where the reference multiplies matrices.

use super::written_out::{self, Rows, added, dot, linear, normed};
use super::*;

const EMBED: usize = 12;
const HEADS: usize = 3;
const DIM: usize = 4;
const TOKENS: usize = 23;

/// A layer of the sublayer under test, found by its number in the order of the weights.
struct Layers {
    values: Vec<Vec<f64>>,
    next: usize,
}

impl Layers {
    fn vector(&mut self) -> Vec<f64> {
        self.next += 1;
        self.values[self.next - 1].clone()
    }

    /// `W x + b` for each row; without a bias if `biased` is not set.
    fn linear(&mut self, x: &Rows, biased: bool) -> Rows {
        let weight = self.vector();
        let bias = if biased { self.vector() } else { vec![] };
        linear(x, &weight, &bias)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The channels of a head, of one row.
fn head_of(row: &[f64], head: usize) -> Vec<f64> {
    row[head * DIM..(head + 1) * DIM].to_vec()
}

/// Everything that one head compares and weighs, token by token.
struct Head {
    q: Rows,
    k: Rows,
    v: Rows,
    /// Forget gates, 1 where there are none.
    forget: Vec<f64>,
    beta: Vec<f64>,
    sink: f64,
    /// What relative positions add, by bucket.
    table: Vec<f64>,
    /// Number of the head, from 0.
    at: usize,
}

/// What a sublayer makes of its normalised input.
struct Projected {
    /// The heads' outputs, side by side.
    heads: Rows,
    /// The weight and the bias of the last projection.
    proj: (Vec<f64>, Vec<f64>),
    gates: Option<Rows>,
}

fn projected(layout: &Layout, layers: &mut Layers, normed: &Rows) -> Projected {
    let k = layers.linear(normed, true);
    let q = layers.linear(normed, true);
    let v = layers.linear(normed, true);
    let proj = (layers.vector(), layers.vector());
    let gains: [Vec<f64>; 2] = match layout.qk_norm {
        Some(QkNorm::Rms) => [layers.vector(), layers.vector()],
        _ => [vec![1.0; DIM], vec![1.0; DIM]],
    };
    let scales = match layout.qk_norm {
        Some(QkNorm::L2) => layers.vector(),
        _ => vec![1.0; HEADS],
    };
    let sinks = match layout.scoring.sink {
        Some(Sink::Learned) => layers.vector(),
        _ => vec![0.0; HEADS],
    };
    let table = match layout.scoring.bias {
        Some(Bias::Relative) => layers.vector(),
        _ => vec![0.0; 32 * HEADS],
    };
    let forget = match layout.scoring.bias {
        Some(Bias::Forget { divisor }) => {
            let gate = |x: &f64| sigmoid(*x).powf(1.0 / divisor as f64);
            let rows = layers.linear(normed, true);
            rows.iter()
                .map(|row| row.iter().map(gate).collect())
                .collect()
        }
        _ => vec![vec![1.0; HEADS]; TOKENS],
    };
    let beta = match layout.delta {
        true => layers.linear(normed, false),
        false => vec![vec![0.0; HEADS]; TOKENS],
    };
    let gates = layout.gate.map(|_| layers.linear(normed, false));

    let mut heads: Rows = vec![vec![]; TOKENS];
    for at in 0..HEADS {
        let of = |rows: &Rows, gain: &[f64], scale: f64| -> Rows {
            let rows = rows.iter().enumerate();
            rows.map(|(position, row)| {
                rotated(
                    layout,
                    normalised(layout, head_of(row, at), gain, scale),
                    position,
                )
            })
            .collect()
        };
        let column = |rows: &Rows| rows.iter().map(|row| row[at]).collect();
        let head = Head {
            q: of(&q, &gains[0], scales[at]),
            k: of(&k, &gains[1], 1.0),
            v: v.iter().map(|row| head_of(row, at)).collect(),
            forget: column(&forget),
            beta: column(&beta).into_iter().map(sigmoid).collect(),
            sink: sinks[at],
            table: table.iter().skip(at).step_by(HEADS).copied().collect(),
            at,
        };
        for (to, mut out) in heads.iter_mut().zip(outputs(layout, &head)) {
            if layout.head_norm {
                let square = dot(&out, &out) / DIM as f64;
                out.iter_mut().for_each(|x| *x /= (square + 1e-6).sqrt());
            }
            to.extend(out);
        }
    }
    Projected { heads, proj, gates }
}

/// The output of a sublayer whose weights are `values`, for one document.
fn output(layout: &Layout, values: &[Vec<f64>], x: &Rows) -> Vec<f64> {
    let values = values.to_vec();
    let mut layers = Layers { values, next: 0 };
    let (gain, shift) = (layers.vector(), layers.vector());
    let normed = normed(x, &gain, &shift);
    let Projected {
        mut heads,
        proj,
        gates,
    } = projected(layout, &mut layers, &normed);
    for (heads, gates) in heads.iter_mut().zip(gates.iter().flatten()) {
        let share = HEADS * DIM / gates.len();
        let of_channel = |channel: usize| sigmoid(gates[channel / share]);
        (heads.iter_mut().enumerate()).for_each(|(c, x)| *x *= of_channel(c));
    }
    added(&heads, [&proj.0, &proj.1], x)
}

fn normalised(layout: &Layout, x: Vec<f64>, gain: &[f64], scale: f64) -> Vec<f64> {
    let length = match layout.qk_norm {
        None => return x,
        Some(QkNorm::Rms) => (dot(&x, &x) / DIM as f64 + 1e-6).sqrt(),
        Some(QkNorm::L2 | QkNorm::Unit) => (dot(&x, &x) + 1e-6).sqrt(),
    };
    let gained = x.iter().zip(gain).map(|(x, g)| x / length * g * scale);
    gained.collect()
}

fn rotated(layout: &Layout, x: Vec<f64>, position: usize) -> Vec<f64> {
    match layout.scoring.rotary {
        Some(rotary) => written_out::rotated(&x, rotary, position),
        None => x,
    }
}

/// The outputs of a head, one a token.
fn outputs(layout: &Layout, head: &Head) -> Rows {
    match layout.scoring.similarity {
        Similarity::Product => recurrence(layout, head),
        _ => (0..TOKENS)
            .map(|query| weighted(layout, head, query))
            .collect(),
    }
}

/// `S ← α S (I - β k kᵀ) + β v kᵀ`, `o = S q / √d`; without the delta rule `S ← α S + v kᵀ`.
fn recurrence(layout: &Layout, head: &Head) -> Rows {
    let mut state = [[0.0; DIM]; DIM];
    let mut outputs = vec![];
    for token in 0..TOKENS {
        let (k, v) = (&head.k[token], &head.v[token]);
        let decay = match layout.scoring.bias {
            Some(Bias::Decay) => 1.0 - 2f64.powi(-5 - head.at as i32),
            _ => head.forget[token],
        };
        for (row, v) in state.iter_mut().zip(v) {
            let recalled = dot(row, k);
            let beta = head.beta[token];
            for (cell, k) in row.iter_mut().zip(k) {
                *cell = match layout.delta {
                    true => decay * (*cell - beta * recalled * k) + beta * v * k,
                    false => decay * *cell + v * k,
                };
            }
        }
        let scale = (DIM as f64).sqrt();
        outputs.push(
            state
                .iter()
                .map(|row| dot(row, &head.q[token]) / scale)
                .collect(),
        );
    }
    outputs
}

/// The weighted sum of the values that a query sees.
fn weighted(layout: &Layout, head: &Head, query: usize) -> Vec<f64> {
    let scoring = layout.scoring;
    let first = scoring
        .window
        .map_or(0, |window| (query + 1).saturating_sub(window));
    let keys: Vec<usize> = (first..=query).collect();
    let score = |&key: &usize| {
        let scale = match layout.qk_norm {
            Some(QkNorm::L2) => 1.0,
            _ => (DIM as f64).sqrt(),
        };
        let mut score = dot(&head.q[query], &head.k[key]) / scale;
        if let Some(bound) = scoring.softcap {
            score = bound * (score / bound).tanh();
        }
        let distance = query - key;
        score
            + match scoring.bias {
                None | Some(Bias::Decay) => 0.0,
                Some(Bias::Alibi) => {
                    -(distance as f64) * 2f64.powf(-8.0 * (head.at + 1) as f64 / HEADS as f64)
                }
                Some(Bias::Relative) => head.table[bucket(distance)],
                Some(Bias::Forget { .. }) => {
                    head.forget[key + 1..=query].iter().map(|f| f.ln()).sum()
                }
            }
    };
    let scores: Vec<f64> = keys.iter().map(score).collect();
    let weights: Vec<f64> = match scoring.similarity {
        Similarity::Softmax => {
            let sink = if scoring.sink.is_some() {
                head.sink.exp()
            } else {
                0.0
            };
            let sum = sink + scores.iter().map(|s| s.exp()).sum::<f64>();
            scores.iter().map(|s| s.exp() / sum).collect()
        }
        Similarity::Sigmoid => {
            let share = (keys.len() as f64).ln();
            scores.iter().map(|s| sigmoid(s - share)).collect()
        }
        Similarity::StickBreaking => (0..keys.len())
            .map(|key| {
                let later = &scores[(key + 1).min(keys.len() - 1)..keys.len() - 1];
                let left: f64 = later.iter().map(|s| 1.0 - sigmoid(*s)).product();
                match keys[key] == query {
                    true => 0.0,
                    false => sigmoid(scores[key]) * left,
                }
            })
            .collect(),
        Similarity::Taylor => {
            let series = |s: &f64| 1.0 + s + s * s / 2.0;
            let sum: f64 = scores.iter().map(series).sum();
            scores.iter().map(|s| series(s) / sum).collect()
        }
        Similarity::FeatureMap => {
            let map = |x: &f64| if *x > 0.0 { x + 1.0 } else { x.exp() };
            let features = |x: &Vec<f64>| x.iter().map(map).collect::<Vec<f64>>();
            let query = features(&head.q[query]);
            let products = keys.iter().map(|&key| dot(&query, &features(&head.k[key])));
            let products: Vec<f64> = products.collect();
            let sum: f64 = products.iter().sum();
            products.iter().map(|p| p / sum).collect()
        }
        Similarity::Product => unreachable!("a recurrence"),
    };
    let mut out = vec![0.0; DIM];
    for (key, weight) in keys.iter().zip(weights) {
        (out.iter_mut().zip(&head.v[*key])).for_each(|(out, v)| *out += weight * v);
    }
    out
}

/// The last distance of each bucket of T5, found by its authors' function for distances up to 127.
fn bucket(distance: usize) -> usize {
    const LAST: [usize; 32] = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18, 20, 23, 26, 30, 34, 39, 45, 51,
        58, 66, 76, 86, 98, 112, 127,
    ];
    LAST.iter().position(|&last| distance <= last).unwrap_or(31)
}

#[test]
fn the_reference_is_what_the_papers_say() {
    for layout in LAYOUTS {
        if layout.head == HeadKind::Standard && layout.kv_heads == layout.heads {
            written_out::check::<EMBED>((layout, TOKENS), |values, x| output(&layout, values, x));
        }
    }
}

#[test]
fn buckets_of_distances_are_those_of_the_authors() {
    for distance in 0..200 {
        assert_eq!(relative::bucket(distance), bucket(distance), "{distance}");
    }
}
