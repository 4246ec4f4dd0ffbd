//! The attention maps of a synthesizer.

use dfdx::shapes::Dtype;
use dfdx::tensor_ops::Device;

use super::SynthesizerWeights;
use crate::ops::Stream;
use crate::ops::attention::Scoring;
use crate::ops::attention::heads::HeadTile;
use crate::ops::kernels::rows::relu;
use crate::ops::maps::{HeadMap, normed, on_host, projected};
use crate::ops::parameters::LayerNorm;

/// Attention map of each head over one document: `x: [tokens, EMBED]` is the input of the sublayer, at most
/// `POSITIONS` tokens. The keys are positions; the weights are those of
/// [`super::SynthesizerOp::try_synthesize`] without dropout, and each row adds up to 1.
pub fn maps<
    const EMBED: usize,
    const HEAD_DIM: usize,
    const POSITIONS: usize,
    N: Dtype,
    D: Device<N>,
>(
    x: &Stream<EMBED, N, D>,
    norm: &LayerNorm<EMBED, N, D>,
    weights: &SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, N, D>,
) -> Vec<HeadMap> {
    let x = normed(&on_host(x), norm);
    let tokens = x.len() / EMBED;
    assert!(tokens <= POSITIONS, "a document has too many tokens");
    let mut hidden = projected(&x, &weights.w1);
    relu(&mut hidden);
    let (w2, b2) = (on_host(&weights.w2), on_host(&weights.b2));
    let maps = (0..EMBED / HEAD_DIM).map(|head| {
        let tile =
            HeadTile::without_dropout([tokens; 2], [head, EMBED / HEAD_DIM], Scoring::SOFTMAX);
        tile.map_from_scores(|token, position| {
            let hidden = &hidden[token * EMBED + head * HEAD_DIM..][..HEAD_DIM];
            let column = w2[position..].iter().step_by(POSITIONS);
            let product: f32 = hidden.iter().zip(column).map(|(h, w)| h * w).sum();
            product + b2[position]
        })
    });
    maps.collect()
}
