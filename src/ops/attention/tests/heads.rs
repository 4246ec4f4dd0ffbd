//! Heads with two maps and heads without keys, each combined with other parts, written out token by token in f64 against
//! the reference.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, TensorFromVec};

use super::*;
use crate::ops::tests::{assert_close, batch, fill, numbers, weights};

const EMBED: usize = 10;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const DIM: usize = 8;
const TOKENS: usize = 19;
const WINDOW: usize = 6;

type Rows = Vec<Vec<f64>>;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `W x + b` for each row.
fn linear(x: &Rows, weight: &[f64], bias: &[f64]) -> Rows {
    let row = |x: &Vec<f64>| {
        let rows = weight.chunks(x.len()).zip(bias);
        rows.map(|(w, b)| dot(w, x) + b).collect()
    };
    x.iter().map(row).collect()
}

/// Layer norm of each row.
fn normed(x: &Rows, gain: &[f64], shift: &[f64]) -> Rows {
    let row = |x: &Vec<f64>| {
        let mean = x.iter().sum::<f64>() / EMBED as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / EMBED as f64;
        let unit = x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt());
        let scaled = unit.zip(gain.iter().zip(shift));
        scaled.map(|(x, (g, s))| x * g + s).collect()
    };
    x.iter().map(row).collect()
}

/// Channels turned in pairs, the first of them the fastest.
fn rotated(x: &[f64], position: usize, base: f64) -> Vec<f64> {
    let pairs = x.chunks(2).enumerate();
    let turned = pairs.flat_map(|(pair, xy)| {
        let angle = position as f64 / base.powf(2.0 * pair as f64 / x.len() as f64);
        let (sine, cosine) = angle.sin_cos();
        [xy[0] * cosine - xy[1] * sine, xy[0] * sine + xy[1] * cosine]
    });
    turned.collect()
}

/// `e^score / (e^sink + Σ e^score)`; without a sink that is minus infinity.
fn softmax(scores: &[f64], sink: f64) -> Vec<f64> {
    let sum = sink.exp() + scores.iter().map(|s| s.exp()).sum::<f64>();
    scores.iter().map(|s| s.exp() / sum).collect()
}

/// The sum of a head's values from `first` on, weighted.
fn weighted(values: &Rows, (head, first): (usize, usize), weights: &[f64]) -> Vec<f64> {
    let shared = head / (HEADS / KV_HEADS) * DIM;
    let mut sum = vec![0.0; DIM];
    for (value, weight) in values[first..].iter().zip(weights) {
        let value = &value[shared..shared + DIM];
        (sum.iter_mut().zip(value)).for_each(|(sum, v)| *sum += weight * v);
    }
    sum
}

/// Heads side by side, projected and added to the input.
fn projected(heads: &Rows, proj: [&[f64]; 2], x: &Rows) -> Vec<f64> {
    let out = linear(heads, proj[0], proj[1]);
    let pairs = out.concat().into_iter().zip(x.concat());
    pairs.map(|(y, x)| y + x).collect()
}

fn first_key(query: usize) -> usize {
    (query + 1).saturating_sub(WINDOW)
}

/// What `head` makes of every token, for all heads side by side.
fn for_all(head: impl Fn(usize, usize) -> Vec<f64>) -> Rows {
    let of_token = |query| (0..HEADS).flat_map(|at| head(at, query)).collect();
    (0..TOKENS).map(of_token).collect()
}

/// Compares the reference with the output that `written` computes from the weights, in their order, and the input.
fn check(layout: Layout, written: impl Fn(&[Vec<f64>], &Rows) -> Vec<f64>) {
    let cpu = Cpu::default();
    let norm = Norm::layer(&cpu).expect("memory");
    let of_heads = AttentionWeights::zeros(&cpu, layout).expect("memory");
    let mut sublayer: Sublayer<EMBED, f64, Cpu> = (norm, of_heads);
    let values = weights(&sublayer).into_iter().enumerate();
    let values = values.map(|(i, w)| numbers(w.len(), 1.5 + i as f64));
    let values: Vec<Vec<f64>> = values.collect();
    fill(&mut sublayer, &values);
    let x = numbers(TOKENS * EMBED, 0.7);
    let stream = cpu.tensor_from_vec(x.clone(), (TOKENS, Const::<EMBED>));
    let none = AttentionDropout::none(TOKENS);
    let (norm, of_heads) = &sublayer;
    let given = reference::attention(stream, norm, of_heads, &batch(&[TOKENS], 9), none);
    let x: Rows = x.chunks(EMBED).map(<[f64]>::to_vec).collect();
    let given = given.expect("memory").as_vec();
    assert_close("output", &given, &written(&values, &x), 1e-10, 0.0);
}

const PLAIN: Layout = Layout {
    kv_heads: KV_HEADS,
    ..Layout::softmax(HEADS, DIM)
};

/// Each map is softmax attention of half the channels, rotated as such, in a window, with a sink of its own.
#[test]
fn two_maps_with_rotary_window_and_kv_heads() {
    let layout = Layout {
        head: HeadKind::Differential,
        scoring: Scoring {
            rotary: Some(Rotary {
                base: 50.0,
                channels: DIM / 2,
            }),
            window: Some(WINDOW),
            sink: Some(Sink::Learned),
            ..Scoring::SOFTMAX
        },
        ..PLAIN
    };
    check(layout, |values, x| {
        let [
            gain,
            shift,
            wk,
            bk,
            wq,
            bq,
            wv,
            bv,
            w,
            b,
            lambda,
            head_gain,
            sinks,
        ] = values
        else {
            panic!("{} weights", values.len());
        };
        let normed = normed(x, gain, shift);
        let [k, q, v] = [(wk, bk), (wq, bq), (wv, bv)].map(|(w, b)| linear(&normed, w, b));
        let half = DIM / 2;
        let power = |map: usize| {
            let channels = map * half..(map + 1) * half;
            dot(&lambda[channels.clone()], &lambda[DIM..][channels]).exp()
        };
        let lambda = power(0) - power(1) + 0.8;
        let map = |head: usize, map: usize, query: usize| -> Vec<f64> {
            let own = head * DIM + map * half;
            let shared = head / (HEADS / KV_HEADS) * DIM + map * half;
            let turned = rotated(&q[query][own..own + half], query, 50.0);
            let keys = first_key(query)..=query;
            let scores = keys.map(|key| {
                let key = rotated(&k[key][shared..shared + half], key, 50.0);
                dot(&turned, &key) / (half as f64).sqrt()
            });
            softmax(&scores.collect::<Vec<_>>(), sinks[2 * head + map])
        };
        let heads = for_all(|head, query| {
            let maps = map(head, 0, query).into_iter().zip(map(head, 1, query));
            let weights: Vec<f64> = maps.map(|(a, b)| a - lambda * b).collect();
            let sum = weighted(&v, (head, first_key(query)), &weights);
            let size = (dot(&sum, &sum) / DIM as f64 + 1e-5).sqrt();
            let scaled = sum.iter().zip(head_gain).map(|(x, g)| 0.2 * g * x / size);
            scaled.collect()
        });
        projected(&heads, [w, b], x)
    });
}

/// Scores of positions, capped, fall with distance, in a window of keys with a sink.
#[test]
fn positions_with_window_kv_heads_bias_softcap_and_sink() {
    let layout = Layout {
        head: HeadKind::Synthesizer { positions: 23 },
        scoring: Scoring {
            window: Some(WINDOW),
            bias: Some(Bias::Alibi),
            softcap: Some(0.8),
            sink: Some(Sink::Zero),
            ..Scoring::SOFTMAX
        },
        ..PLAIN
    };
    check(layout, |values, x| {
        let [gain, shift, w1, b1, w2, b2, wv, bv, w, b] = values else {
            panic!("{} weights", values.len());
        };
        let normed = normed(x, gain, shift);
        let (hidden, v) = (linear(&normed, w1, b1), linear(&normed, wv, bv));
        let heads = for_all(|head, query| {
            let hidden = &hidden[query][head * DIM..(head + 1) * DIM];
            let scores = (first_key(query)..=query).map(|key| {
                let column = w2[key..].iter().step_by(23);
                let product = hidden.iter().zip(column).map(|(h, w)| h.max(0.0) * w);
                let score = product.sum::<f64>() + b2[key];
                let slope = 2f64.powf(-8.0 * (head + 1) as f64 / HEADS as f64);
                0.8 * (score / 0.8).tanh() - slope * (query - key) as f64
            });
            let weights = softmax(&scores.collect::<Vec<_>>(), 0.0);
            weighted(&v, (head, first_key(query)), &weights)
        });
        projected(&heads, [w, b], x)
    });
}
