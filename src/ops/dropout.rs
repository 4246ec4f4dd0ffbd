//! Counter-based dropout: there is no generator state, and no mask to store.
//!
//! Whether the activation at `index` of a site is kept is a hash of (key, index). So the mask is the same
//! for any number of threads, any tiling and any device, and backward recomputes it.

#[cfg(any(test, feature = "cuda"))]
use {
    super::Stream,
    dfdx::shapes::{Const, Dtype, HasShape},
    dfdx::tensor::Tape,
    dfdx::tensor_ops::{Device, TryAdd, TryMul},
};

/// The dropout of one site of the network in one step. Kernels take it as `struct Dropout` of common.cuh, which has the key
/// as two words of 32 bits: hence the alignment of 4 bytes.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    key: u64,
    /// Hashes below this are dropped: probability × 2³².
    threshold: u32,
    /// The bits of the factor of what is kept.
    scale_bits: u32,
}

impl Dropout {
    /// No dropout, as in evaluation.
    pub const NONE: Self = Self {
        key: 0,
        threshold: 0,
        scale_bits: 1f32.to_bits(),
    };

    /// Drops with `probability` (0 inclusive to 1 exclusive) and scales the rest by
    /// `1 / (1 - probability)`.
    ///
    /// `key` seeds the step: a different key gives a different mask.
    pub fn new(probability: f64, key: u64) -> Self {
        debug_assert!((0.0..1.0).contains(&probability));
        let threshold = (probability * 4_294_967_296.0) as u32;
        let scale = (1.0 / (1.0 - probability)) as f32;
        Self {
            key: mix64(key),
            threshold,
            scale_bits: scale.to_bits(),
        }
    }

    /// The dropout of another site in the same step.
    pub fn at(self, site: u64) -> Self {
        Self {
            key: mix64(self.key ^ site.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            ..self
        }
    }

    /// Whether nothing is ever dropped.
    pub fn is_none(self) -> bool {
        self.threshold == 0
    }

    /// The factor of the activation at `index`: 0, or `1 / (1 - probability)`.
    #[inline(always)]
    pub fn factor(self, index: u32) -> f32 {
        // Two rounds of a 32-bit finaliser; only 32-bit lanes, so that the loop vectorises.
        let hash = mix32(mix32(index ^ self.key as u32).wrapping_add((self.key >> 32) as u32));
        let kept = (hash >= self.threshold) as u32;
        f32::from_bits(self.scale_bits * kept)
    }
}

/// Finaliser of Wellons 2018 ("lowbias32"): every output bit depends on every input bit.
#[inline(always)]
fn mix32(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix64(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The factors of `[rows, WIDTH]` activations, index = row × WIDTH + column.
#[cfg(any(test, feature = "cuda"))]
pub(super) fn factors<const WIDTH: usize, N: Dtype, D: Device<N>>(
    device: &D,
    dropout: Dropout,
    shape: (usize, Const<WIDTH>),
) -> Result<Stream<WIDTH, N, D>, D::Err> {
    let count = (shape.0 * WIDTH) as u32;
    let factors = (0..count)
        .map(|i| N::from_f64(f64::from(dropout.factor(i))))
        .collect::<Option<_>>();
    device.try_tensor_from_vec(factors.expect("a factor is a finite number"), shape)
}

/// `x + dropout(y)`, composed of dfdx's own ops.
#[cfg(any(test, feature = "cuda"))]
pub(super) fn add_dropped<const WIDTH: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Stream<WIDTH, N, D, T>,
    y: Stream<WIDTH, N, D, T>,
    dropout: Dropout,
) -> Result<Stream<WIDTH, N, D, T>, D::Err> {
    let factors = factors(x.device(), dropout, *x.shape())?;
    x.try_add(y.try_mul(factors)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_expected_share_and_the_mean() {
        let dropout = Dropout::new(0.1, 7).at(3);
        let n = 1_000_000u32;
        let sum: f64 = (0..n).map(|i| f64::from(dropout.factor(i))).sum();
        let kept = (0..n).filter(|&i| dropout.factor(i) > 0.0).count() as f64 / f64::from(n);
        // Standard error of the share is 0.0003.
        assert!((kept - 0.9).abs() < 0.0015, "{kept}");
        assert!((sum / f64::from(n) - 1.0).abs() < 0.002, "{sum}");
    }

    #[test]
    fn sites_and_steps_have_independent_masks() {
        let kept = |d: Dropout| (0..10_000).map(|i| d.factor(i) > 0.0).collect::<Vec<_>>();
        let (a, b) = (
            kept(Dropout::new(0.5, 1).at(1)),
            kept(Dropout::new(0.5, 1).at(2)),
        );
        let c = kept(Dropout::new(0.5, 2).at(1));
        for other in [&b, &c] {
            let same = a.iter().zip(other).filter(|(x, y)| x == y).count();
            assert!((4_700..5_300).contains(&same), "{same} of 10,000 agree");
        }
        assert_eq!(a, kept(Dropout::new(0.5, 1).at(1)));
    }

    #[test]
    fn none_keeps_everything() {
        assert!((0..1000).all(|i| Dropout::NONE.factor(i) == 1.0));
        assert!(Dropout::new(0.0, 9).at(1).is_none());
    }
}
