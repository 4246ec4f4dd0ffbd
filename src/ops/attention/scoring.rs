//! How scores depend on positions, are masked, and become attention weights.

use super::Layout;
use crate::ops::kernels::rows::{LANES, exp, relu, relu_backward, softmax, sum_of, wide};

/// Positional information, masking and normalisation of attention scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// Rotation of queries and keys by their position, so that scores depend on relative positions.
    pub rotary: Option<Rotary>,
    /// What a position adds to a score.
    pub bias: Option<Bias>,
    /// Sliding window: number of keys that a query attends to, the last of them its own; if `None`, all up to it.
    pub window: Option<usize>,
    /// How scores become weights.
    pub similarity: Similarity,
}

/// Rotary embedding: pairs of channels (2i, 2i + 1) of queries and keys are rotated by position ×
/// base^(-2i / channels) (Su et al. 2021, RoFormer, §3.2.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// 10000 in the paper.
    pub base: f64,
    /// The first channels of each head that are rotated, an even number: all of them in the paper, a quarter in
    /// GPT-NeoX (Black et al. 2022, §2.1.1).
    pub channels: usize,
}

/// What is added to a score because of the positions of query and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// Linear biases: slope × distance is subtracted from a score, where head h of 1..heads has slope 2^(-8
    /// h / heads) (Press et al. 2022, ALiBi, §3).
    Alibi,
}

/// How queries and keys are compared, and scores normalised to weights that add up to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Similarity {
    /// `softmax(q · k / √head_dim)` (Vaswani et al. 2017, §3.2.1).
    Softmax,
    /// `φ(q) · φ(k)`, divided by the sum over keys, with φ(x) = elu(x) + 1: what linear attention computes
    /// with a running state instead of keys (Katharopoulos et al. 2020, Transformers are RNNs, §3.2). It
    /// can be combined with neither a rotation nor a bias, which could make weights negative.
    FeatureMap,
}

impl Scoring {
    /// Plain softmax attention.
    pub const SOFTMAX: Self = Self {
        rotary: None,
        bias: None,
        window: None,
        similarity: Similarity::Softmax,
    };

    /// The factor of the dot product of query and key.
    pub fn scale(self, head_dim: usize) -> f64 {
        match self.similarity {
            Similarity::Softmax => 1.0 / (head_dim as f64).sqrt(),
            Similarity::FeatureMap => 1.0,
        }
    }

    /// What a head, counted from 0, subtracts from a score per unit of distance.
    pub(super) fn slope(self, head: usize, heads: usize) -> f64 {
        match self.bias {
            Some(Bias::Alibi) => (-8.0 * (head + 1) as f64 / heads as f64).exp2(),
            None => 0.0,
        }
    }

    /// The first key that a query attends to.
    pub(super) fn first_key(self, query: usize) -> usize {
        self.window
            .map_or(0, |window| (query + 1).saturating_sub(window))
    }

    /// Turns the scores of the last queries of a sequence of `tokens` into weights, with row stride `step`:
    /// see [`Self::scores_to_weights`].
    pub fn last_scores_to_weights(
        self,
        scores: &mut [f32],
        step: usize,
        tokens: usize,
        slope: f32,
    ) {
        wide!({
            let positions = tokens - scores.len() / step..;
            for (position, row) in positions.zip(scores.chunks_exact_mut(step)) {
                self.scores_to_weights(row, position, slope);
            }
        });
    }

    /// Turns the scores of one query over the keys `0..=query` into weights; masked keys and the rest of
    /// the row become 0. Returns the factor that normalised the scores in case of
    /// [`Similarity::FeatureMap`].
    #[inline(always)]
    pub fn scores_to_weights(self, row: &mut [f32], query: usize, slope: f32) -> f32 {
        let first = self.first_key(query);
        // Whole vectors, so that loops have no scalar tail.
        let end = (query + 1).next_multiple_of(LANES).min(row.len());
        let (seen, hidden) = row.split_at_mut(end);
        hidden.fill(0.0);
        if self.bias == Some(Bias::Alibi) {
            for (key, score) in seen.iter_mut().enumerate() {
                *score -= slope * (query as f32 - key as f32);
            }
        }
        match self.similarity {
            Similarity::Softmax => {
                seen[..first].fill(f32::NEG_INFINITY);
                seen[query + 1..].fill(f32::NEG_INFINITY);
                softmax(seen);
                // Softmax leaves masked keys a weight below the precision of the sum.
                seen[..first].fill(0.0);
                seen[query + 1..].fill(0.0);
                1.0
            }
            Similarity::FeatureMap => {
                seen[..first].fill(0.0);
                seen[query + 1..].fill(0.0);
                let scale = 1.0 / sum_of(seen, seen, |s, _| s);
                seen.iter_mut().for_each(|s| *s *= scale);
                scale
            }
        }
    }
}

/// What is done to each token before heads compare it: to queries and keys, or to the hidden layer in their place.
pub(super) enum HeadTransform {
    /// No transformation.
    Identity,
    /// Rotary embedding of so many channels of each head: cosine and sine for each position and pair of channels,
    /// `[positions, channels / 2]`.
    Rotary(usize, Vec<[f32; 2]>),
    /// The feature map φ.
    FeatureMap,
    /// `max(x, 0)`, of the hidden layer that takes the place of queries.
    Relu,
}

impl HeadTransform {
    /// For positions below `positions`.
    ///
    /// # Panics
    /// If feature maps are to be rotated or biased.
    pub(super) fn new(layout: &Layout, positions: usize) -> Self {
        let Scoring { rotary, bias, .. } = layout.scoring;
        match (rotary, layout.scoring.similarity) {
            (Some(rotary), Similarity::Softmax) => {
                Self::Rotary(rotary.channels, rotations(rotary, positions))
            }
            (None, Similarity::FeatureMap) if bias.is_none() => Self::FeatureMap,
            (None, Similarity::Softmax) => Self::Identity,
            (_, Similarity::FeatureMap) => panic!("a feature map with {rotary:?} and {bias:?}"),
        }
    }

    /// Transforms the queries or keys of one token, heads side by side.
    pub(super) fn apply(&self, heads: &mut [f32], head_dim: usize, position: usize) {
        match self {
            Self::Identity => {}
            Self::Relu => relu(heads),
            Self::Rotary(channels, table) => {
                rotate(
                    heads,
                    head_dim,
                    rotations_at(table, *channels, position),
                    1.0,
                );
            }
            Self::FeatureMap => wide!(heads.iter_mut().for_each(|x| *x = feature_map(*x))),
        }
    }

    /// Backward of [`Self::apply`], in place; `heads` are the transformed ones.
    pub(super) fn backward(
        &self,
        gradient: &mut [f32],
        heads: &[f32],
        head_dim: usize,
        position: usize,
    ) {
        match self {
            Self::Identity => {}
            Self::Relu => relu_backward(gradient, heads),
            // The inverse of a rotation is its transpose.
            Self::Rotary(channels, table) => {
                rotate(
                    gradient,
                    head_dim,
                    rotations_at(table, *channels, position),
                    -1.0,
                );
            }
            // φ' is 1 where φ > 1, and φ elsewhere.
            Self::FeatureMap => wide!({
                let pairs = gradient.iter_mut().zip(heads);
                pairs.for_each(|(d, &x)| *d *= if x > 1.0 { 1.0 } else { x });
            }),
        }
    }
}

/// elu(x) + 1: x + 1 above 0, and e^x below.
#[inline(always)]
fn feature_map(x: f32) -> f32 {
    if x > 0.0 { x + 1.0 } else { exp(x) }
}

/// Cosine and sine for each position and pair of channels.
fn rotations(rotary: Rotary, positions: usize) -> Vec<[f32; 2]> {
    assert!(
        rotary.channels.is_multiple_of(2),
        "channels are rotated in pairs"
    );
    let pairs = 0..rotary.channels / 2;
    let frequencies: Vec<f64> = pairs
        .map(|pair| {
            rotary
                .base
                .powf(-2.0 * pair as f64 / rotary.channels as f64)
        })
        .collect();
    let turn = |angle: f64| {
        let (sine, cosine) = angle.sin_cos();
        [cosine as f32, sine as f32]
    };
    (0..positions)
        .flat_map(|position| frequencies.iter().map(move |f| turn(position as f64 * f)))
        .collect()
}

/// The rotations at one position.
fn rotations_at(table: &[[f32; 2]], channels: usize, position: usize) -> &[[f32; 2]] {
    let pairs = channels / 2;
    &table[position * pairs..(position + 1) * pairs]
}

/// Rotates the first pairs of channels of each head.
fn rotate(heads: &mut [f32], head_dim: usize, rotations: &[[f32; 2]], sign: f32) {
    for head in heads.chunks_exact_mut(head_dim) {
        for (pair, [cosine, sine]) in head.as_chunks_mut::<2>().0.iter_mut().zip(rotations) {
            let ([x, y], sine) = (*pair, sign * sine);
            *pair = [x * cosine - y * sine, x * sine + y * cosine];
        }
    }
}
