//! The maps of a synthesizer: how each head weighs places.

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::Synthesis;
use super::cpu::relu;
use crate::ops::Stream;
use crate::ops::attention::Scoring;
use crate::ops::attention::heads::WeightMap;
use crate::ops::maps::{HeadMap, normed, on_host, projected};
use crate::ops::parameters::LayerNorm;

/// How each head weighs one document: `x: [tokens, EMBED]` is what goes into the sublayer, at most `PLACES`
/// tokens. The keys are the places of the tokens; the weights are those of
/// [`super::SynthesizerOp::try_synthesize`] without dropout, and a row of each map adds up to 1.
pub fn maps<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
    N: Dtype,
    D: Device<N>,
>(
    x: &Stream<EMBED, N, D>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, N, D>,
) -> Vec<HeadMap> {
    let x = normed(&on_host(x), norm);
    let tokens = x.len() / EMBED;
    assert!(tokens <= PLACES, "a document has too many tokens");
    let mut hidden = projected(&x, &weights.w1);
    relu(&mut hidden);
    let (w2, b2) = (on_host(&weights.w2), on_host(&weights.b2));
    let maps = (0..HEADS).map(|head| {
        let map = WeightMap::shown([tokens; 2], [head, HEADS], Scoring::SOFTMAX);
        map.of_scores(|token, place| {
            let hidden = &hidden[token * EMBED + head * HEAD_DIM..][..HEAD_DIM];
            let column = w2[place..].iter().step_by(PLACES);
            let product: f32 = hidden.iter().zip(column).map(|(h, w)| h * w).sum();
            product + b2[place]
        })
    });
    maps.collect()
}
