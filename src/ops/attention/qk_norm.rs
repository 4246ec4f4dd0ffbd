//! Queries and keys normalised before they are compared, so that scores cannot grow with them.
//!
//! A head's channels x become `g ⊙ x / √(mean(x²) + 1e-6)`, with a gain for queries and one for keys that all
//! heads share (Dehghani et al. 2023, ViT-22B, §2, with the root mean square of Zhang and Sennrich 2019; so in
//! OLMo 2 and Qwen 3), or `x / √(Σ x² + 1e-6)`, where a learned number for each head takes the place of
//! `1 / √head_dim` (Henry et al. 2020, Query-Key Normalization, §2).

use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::Layout;
use crate::ops::kernels::rows::{sum_of, wide};
use crate::ops::parameters::named_weights;

/// How queries and keys are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// By the root mean square of a head's channels, with learned gains.
    Rms,
    /// To length 1; scores have a learned factor.
    L2,
    /// To length 1, and nothing else: what the delta rule needs.
    Unit,
}

/// Added to the mean or the sum of squares.
pub(super) const EPSILON: f64 = 1e-6;

/// The factor of scores before training (x-transformers' default).
pub const FIRST_SCALE: f32 = 10.0;

/// What is learned.
#[derive(Clone, Debug)]
pub struct QkNormWeights<N: Dtype, D: Storage<N>> {
    /// `[compared]`: the gain of queries, initially 1.
    pub query: Option<Tensor<(usize,), N, D>>,
    /// `[compared]`: the gain of keys, initially 1.
    pub key: Option<Tensor<(usize,), N, D>>,
    /// `[heads * maps]`: the factor of scores, initially 10.
    pub scale: Option<Tensor<(usize,), N, D>>,
}

named_weights! {
    impl [] QkNormWeights<> {
        query: "q_norm.weight",
        key: "k_norm.weight",
        scale: "qk_norm_scale",
    }
}

impl QkNorm {
    /// Weights that are zero.
    pub(super) fn zeros<N: Dtype, D: Device<N>>(
        self,
        device: &D,
        layout: &Layout,
    ) -> Result<QkNormWeights<N, D>, D::Err> {
        let vector = |is_there: bool, length: usize| {
            is_there
                .then(|| device.try_zeros_like(&(length,)))
                .transpose()
        };
        Ok(QkNormWeights {
            query: vector(self == Self::Rms, layout.compared())?,
            key: vector(self == Self::Rms, layout.compared())?,
            scale: vector(self == Self::L2, layout.heads * layout.maps())?,
        })
    }

    /// 1 over the number of squares that are averaged.
    pub(crate) fn share(self, head_dim: usize) -> f64 {
        match self {
            Self::Rms => 1.0 / head_dim as f64,
            Self::L2 | Self::Unit => 1.0,
        }
    }
}

/// What the normalised channels of one side are multiplied by.
#[derive(Clone, Copy)]
pub(super) enum Gain<'a> {
    /// Nothing.
    One,
    /// Each channel by its own number, the same in all heads.
    OfChannels(&'a [f32]),
    /// Each head by its own number.
    OfHeads(&'a [f32]),
}

impl Gain<'_> {
    /// Multiplies a head's channels by the gain and a factor.
    #[inline(always)]
    fn multiply(self, x: &mut [f32], head: usize, factor: f32) {
        match self {
            Self::One => x.iter_mut().for_each(|x| *x *= factor),
            Self::OfHeads(gains) => {
                let factor = factor * gains[head];
                x.iter_mut().for_each(|x| *x *= factor);
            }
            Self::OfChannels(gains) => {
                x.iter_mut()
                    .zip(gains)
                    .for_each(|(x, gain)| *x *= factor * gain);
            }
        }
    }

    /// Number of learned elements.
    pub(super) fn len(self) -> usize {
        match self {
            Self::One => 0,
            Self::OfChannels(gains) | Self::OfHeads(gains) => gains.len(),
        }
    }
}

/// Normalises the heads of one token, side by side, in place.
pub(super) fn normalise(norm: QkNorm, gain: Gain<'_>, heads: &mut [f32], head_dim: usize) {
    wide!({
        for (head, x) in heads.chunks_exact_mut(head_dim).enumerate() {
            let factor = factor(norm, x);
            gain.multiply(x, head, factor);
        }
    });
}

/// Backward of [`normalise`], in place, given the heads as they were; accumulates the gradient of the gain.
pub(super) fn normalise_backward(
    norm: QkNorm,
    gain: Gain<'_>,
    (gradient, heads): (&mut [f32], &[f32]),
    head_dim: usize,
    dgain: &mut [f32],
) {
    let share = norm.share(head_dim) as f32;
    wide!({
        let rows = gradient.chunks_exact_mut(head_dim);
        for (head, (d, x)) in rows.zip(heads.chunks_exact(head_dim)).enumerate() {
            let factor = factor(norm, x);
            match gain {
                Gain::One => {}
                Gain::OfChannels(_) => {
                    let cells = dgain.iter_mut().zip(&*d).zip(x);
                    cells.for_each(|((to, d), x)| *to += d * x * factor);
                }
                Gain::OfHeads(_) => dgain[head] += factor * sum_of(d, x, |d, x| d * x),
            }
            gain.multiply(d, head, 1.0);
            let along = share * factor * factor * sum_of(d, x, |d, x| d * x);
            (d.iter_mut().zip(x)).for_each(|(d, x)| *d = factor * (*d - along * x));
        }
    });
}

/// What a head's channels are multiplied by, apart from the gain.
#[inline(always)]
fn factor(norm: QkNorm, x: &[f32]) -> f32 {
    let squares = norm.share(x.len()) as f32 * sum_of(x, x, |a, b| a * b);
    1.0 / (squares + EPSILON as f32).sqrt()
}
