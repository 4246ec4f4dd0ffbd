//! Heads with two maps and heads without keys, each combined with other parts, written out token by token in f64 against
//! the reference.

use super::written_out::{Rows, added, check, dot, linear, normed, rotated};
use super::*;

const EMBED: usize = 10;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const DIM: usize = 8;
const TOKENS: usize = 19;
const WINDOW: usize = 6;

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

fn first_key(query: usize) -> usize {
    (query + 1).saturating_sub(WINDOW)
}

/// What `head` makes of every token, for all heads side by side.
fn for_all(head: impl Fn(usize, usize) -> Vec<f64>) -> Rows {
    let of_token = |query| (0..HEADS).flat_map(|at| head(at, query)).collect();
    (0..TOKENS).map(of_token).collect()
}

const PLAIN: Layout = Layout {
    kv_heads: KV_HEADS,
    ..Layout::softmax(HEADS, DIM)
};

/// Each map is softmax attention of half the channels, rotated as such, in a window, with a sink of its own.
#[test]
fn two_maps_with_rotary_window_and_kv_heads() {
    let rotary = Rotary {
        base: 50.0,
        channels: DIM / 2,
    };
    let layout = Layout {
        head: HeadKind::Differential,
        scoring: Scoring {
            rotary: Some(rotary),
            window: Some(WINDOW),
            sink: Some(Sink::Learned),
            ..Scoring::SOFTMAX
        },
        ..PLAIN
    };
    check::<EMBED>((layout, TOKENS), |values, x| {
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
            let turned = rotated(&q[query][own..own + half], rotary, query);
            let keys = first_key(query)..=query;
            let scores = keys.map(|key| {
                let key = rotated(&k[key][shared..shared + half], rotary, key);
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
        added(&heads, [w, b], x)
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
    check::<EMBED>((layout, TOKENS), |values, x| {
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
        added(&heads, [w, b], x)
    });
}
