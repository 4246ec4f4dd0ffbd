//! What the equations of papers have in common when they are written out token by token, in f64.

use dfdx::shapes::Const;
use dfdx::tensor::TensorFromVec;

use super::*;
use crate::ops::tests::{assert_close, fill, numbers, weights};

/// The channels of each token.
pub(super) type Rows = Vec<Vec<f64>>;

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `W x + b` for each row; `bias` may be empty.
pub(super) fn linear(x: &Rows, weight: &[f64], bias: &[f64]) -> Rows {
    let row = |x: &Vec<f64>| {
        let outputs = weight.chunks(x.len()).enumerate();
        let outputs = outputs.map(|(i, w)| dot(w, x) + bias.get(i).copied().unwrap_or(0.0));
        outputs.collect()
    };
    x.iter().map(row).collect()
}

/// Layer norm of each row.
pub(super) fn normed(x: &Rows, gain: &[f64], shift: &[f64]) -> Rows {
    let row = |x: &Vec<f64>| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let unit = x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt());
        let scaled = unit.zip(gain.iter().zip(shift));
        scaled.map(|(x, (g, s))| x * g + s).collect()
    };
    x.iter().map(row).collect()
}

/// The first channels turned in pairs, the first pair the fastest.
pub(super) fn rotated(x: &[f64], rotary: Rotary, position: usize) -> Vec<f64> {
    let mut turned = x.to_vec();
    for (pair, xy) in turned[..rotary.channels].chunks_mut(2).enumerate() {
        let exponent = 2.0 * pair as f64 / rotary.channels as f64;
        let (sine, cosine) = (position as f64 / rotary.base.powf(exponent)).sin_cos();
        let (x, y) = (xy[0], xy[1]);
        (xy[0], xy[1]) = (x * cosine - y * sine, x * sine + y * cosine);
    }
    turned
}

/// Heads side by side, projected and added to the input.
pub(super) fn added(heads: &Rows, proj: [&[f64]; 2], x: &Rows) -> Vec<f64> {
    let out = linear(heads, proj[0], proj[1]).concat();
    out.into_iter()
        .zip(x.concat())
        .map(|(y, x)| y + x)
        .collect()
}

/// Compares the reference, on a document of so many tokens, with the output that `written` computes from the weights, in
/// their order, and the input.
pub(super) fn check<const EMBED: usize>(
    (layout, tokens): (Layout, usize),
    written: impl Fn(&[Vec<f64>], &Rows) -> Vec<f64>,
) {
    let cpu = Cpu::default();
    let norm = Norm::layer(&cpu).expect("memory");
    let of_heads = AttentionWeights::zeros(&cpu, layout).expect("memory");
    let mut sublayer: Sublayer<EMBED, f64, Cpu> = (norm, of_heads);
    let values = weights(&sublayer).into_iter().enumerate();
    let values = values.map(|(i, w)| numbers(w.len(), 1.5 + i as f64));
    let values: Vec<Vec<f64>> = values.collect();
    fill(&mut sublayer, &values);
    let x = numbers(tokens * EMBED, 0.7);
    let stream = cpu.tensor_from_vec(x.clone(), (tokens, Const::<EMBED>));
    let none = AttentionDropout::none(tokens);
    let (norm, of_heads) = &sublayer;
    let given = reference::attention(stream, norm, of_heads, &batch(&[tokens], 9), none);
    let x: Rows = x.chunks(EMBED).map(<[f64]>::to_vec).collect();
    let given = given.expect("memory").as_vec();
    let what = format!("{layout:?}");
    assert_close(&what, &given, &written(&values, &x), 1e-10, 0.0);
}
