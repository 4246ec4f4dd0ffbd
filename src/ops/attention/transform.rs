//! What is done to the queries and keys of each token before heads compare them: a norm, a rotation, a
//! feature map.

use dfdx::tensor::{Cpu, Tensor};

use super::qk_norm::{Gain, QkNorm, QkNormWeights, normalise, normalise_backward};
use super::scoring::{Rotary, Similarity};
use super::{AttentionWeights, Layout};
use crate::ops::bridge::host;
use crate::ops::kernels::rows::{exp, relu, relu_backward, wide};
use crate::ops::residual::Parameter;

/// Which of the two that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Queries,
    Keys,
}

/// The transformation of queries and keys, in the order of the fields.
pub struct HeadTransform {
    /// Channels that are compared, which are normalised and rotated together.
    head_dim: usize,
    norm: Option<(QkNorm, QkNormWeights<f32, Cpu>)>,
    /// The number of channels that are rotated, and cosine and sine for each position and pair of them:
    /// `[positions, channels / 2]`.
    rotary: Option<(usize, Vec<[f32; 2]>)>,
    activation: Activation,
}

/// A function of each channel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Activation {
    Identity,
    /// The feature map φ.
    FeatureMap,
    /// `max(x, 0)`, of the hidden layer that takes the place of a synthesizer's queries.
    Relu,
}

impl HeadTransform {
    /// For positions below `positions`.
    pub fn new<const EMBED: usize>(
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        positions: usize,
    ) -> Self {
        let layout = &weights.layout;
        let rotary = layout.scoring.rotary;
        Self {
            head_dim: layout.compared(),
            norm: layout.qk_norm.zip(weights.qk_norm.clone()),
            rotary: rotary.map(|rotary| (rotary.channels, rotations(rotary, positions))),
            activation: Activation::of(layout),
        }
    }

    /// Whether backward needs queries and keys as they were.
    pub fn needs_inputs(&self) -> bool {
        self.norm.is_some()
    }

    /// What is learned, in the order in which [`Self::backward`] accumulates gradients.
    pub fn parameters(&self) -> impl Iterator<Item = &dyn Parameter> {
        let of_norm = self.norm.iter();
        let vectors = of_norm.flat_map(|(_, of)| [&of.query, &of.scale, &of.key]);
        vectors.flatten().map(|one| one as &dyn Parameter)
    }

    /// The gain of a side's norm.
    fn gain<'a>(of: &'a QkNormWeights<f32, Cpu>, side: Side) -> Gain<'a> {
        let elements = |vector: &'a Tensor<(usize,), f32, Cpu>| host(vector);
        match (side, &of.query, &of.key, &of.scale) {
            (Side::Queries, Some(gain), ..) | (Side::Keys, _, Some(gain), _) => {
                Gain::OfChannels(elements(gain))
            }
            (Side::Queries, _, _, Some(scale)) => Gain::OfHeads(elements(scale)),
            _ => Gain::One,
        }
    }

    /// Transforms the queries or keys of one token, heads side by side.
    pub fn apply(&self, heads: &mut [f32], side: Side, position: usize) {
        if let Some((norm, of)) = &self.norm {
            normalise(*norm, Self::gain(of, side), heads, self.head_dim);
        }
        if let Some((channels, table)) = &self.rotary {
            let rotations = rotations_at(table, *channels, position);
            rotate(heads, self.head_dim, rotations, 1.0);
        }
        match self.activation {
            Activation::Identity => {}
            Activation::Relu => relu(heads),
            Activation::FeatureMap => wide!(heads.iter_mut().for_each(|x| *x = feature_map(*x))),
        }
    }

    /// Backward of [`Self::apply`], in place, given what it made and, if it needs them, its inputs; accumulates
    /// the gradients of [`Self::parameters`].
    pub fn backward(
        &self,
        gradient: &mut [f32],
        (inputs, heads): (Option<&[f32]>, &[f32]),
        (side, position): (Side, usize),
        of_parameters: &mut [f32],
    ) {
        match self.activation {
            Activation::Identity => {}
            Activation::Relu => relu_backward(gradient, heads),
            // φ' is 1 where φ > 1, and φ elsewhere.
            Activation::FeatureMap => wide!({
                let pairs = gradient.iter_mut().zip(heads);
                pairs.for_each(|(d, &x)| *d *= if x > 1.0 { 1.0 } else { x });
            }),
        }
        if let Some((channels, table)) = &self.rotary {
            // The inverse of a rotation is its transpose.
            let rotations = rotations_at(table, *channels, position);
            rotate(gradient, self.head_dim, rotations, -1.0);
        }
        if let Some((norm, of)) = &self.norm {
            let inputs = inputs.expect("inputs are kept for a norm");
            let [queries, keys] = [Side::Queries, Side::Keys].map(|side| Self::gain(of, side));
            let (of_queries, of_keys) = of_parameters.split_at_mut(queries.len());
            let (gain, dgain) = match side {
                Side::Queries => (queries, of_queries),
                Side::Keys => (keys, of_keys),
            };
            normalise_backward(*norm, gain, (gradient, inputs), self.head_dim, dgain);
        }
    }
}

impl Activation {
    fn of(layout: &Layout) -> Self {
        match layout.scoring.similarity {
            _ if !layout.has_keys() => Self::Relu,
            Similarity::FeatureMap => Self::FeatureMap,
            _ => Self::Identity,
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
