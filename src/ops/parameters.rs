//! Groups of weights with their shapes, and a plain implementation of the layers.
//!
//! Layouts are PyTorch's: a [`Linear`] has `weight: [OUT, IN]`.

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::shapes::{Axis, Const, Dtype, HasShape, Rank1, Rank2};
use dfdx::tensor::{Storage, Tape, Tensor};
use dfdx::tensor_ops::{BroadcastTo, Device, PermuteTo, TryAdd, TryMatMul, TryMul};

use super::Stream;

/// Added to the variance in every layer norm (PyTorch's default).
pub const LAYER_NORM_EPSILON: f64 = 1e-5;

/// `y = x Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear<const IN: usize, const OUT: usize, N: Dtype, D: Storage<N>> {
    /// `[OUT, IN]`.
    pub weight: Tensor<Rank2<OUT, IN>, N, D>,
    /// `[OUT]`.
    pub bias: Tensor<Rank1<OUT>, N, D>,
}

/// `y = (x - mean) / sqrt(variance + 1e-5) * weight + bias`, over a row.
#[derive(Clone, Debug)]
pub struct LayerNorm<const EMBED: usize, N: Dtype, D: Storage<N>> {
    /// `[EMBED]`, initially 1.
    pub weight: Tensor<Rank1<EMBED>, N, D>,
    /// `[EMBED]`, initially 0.
    pub bias: Tensor<Rank1<EMBED>, N, D>,
}

/// A table of `ROWS` vectors: an embedding, or a projection without bias.
#[derive(Clone, Debug)]
pub struct Table<const ROWS: usize, const WIDTH: usize, N: Dtype, D: Storage<N>> {
    /// `[ROWS, WIDTH]`.
    pub weight: Tensor<Rank2<ROWS, WIDTH>, N, D>,
}

impl<const IN: usize, const OUT: usize, N: Dtype, D: Device<N>> Linear<IN, OUT, N, D> {
    /// `[tokens, IN]` → `[tokens, OUT]`, composed of dfdx's own ops.
    pub fn try_forward<T: Tape<N, D>>(
        &self,
        x: Stream<IN, N, D, T>,
    ) -> Result<Stream<OUT, N, D, T>, D::Err> {
        let y = x.try_matmul(self.weight.clone().try_permute::<Rank2<IN, OUT>, _>()?)?;
        let shape = (y.shape().0, Const::<OUT>);
        let bias = self.bias.retaped::<T>().try_broadcast_like(&shape)?;
        y.try_add(bias)
    }
}

impl<const EMBED: usize, N: Dtype, D: Device<N>> LayerNorm<EMBED, N, D> {
    /// `[tokens, EMBED]` → the same, composed of dfdx's own ops.
    pub fn try_forward<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        let shape = *x.shape();
        let weight = self.weight.retaped::<T>().try_broadcast_like(&shape)?;
        let bias = self.bias.retaped::<T>().try_broadcast_like(&shape)?;
        x.try_normalize::<Axis<1>>(LAYER_NORM_EPSILON)?
            .try_mul(weight)?
            .try_add(bias)
    }
}

impl<const IN: usize, const OUT: usize, N: Dtype, D: Device<N>> TensorCollection<N, D>
    for Linear<IN, OUT, N, D>
{
    type To<N2: Dtype, D2: Device<N2>> = Linear<IN, OUT, N2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor(
                    "weight",
                    |s| &s.weight,
                    |s| &mut s.weight,
                    TensorOptions::reset_to_zeros(),
                ),
                Self::tensor(
                    "bias",
                    |s| &s.bias,
                    |s| &mut s.bias,
                    TensorOptions::reset_to_zeros(),
                ),
            ),
            |(weight, bias)| Linear { weight, bias },
        )
    }
}

impl<const EMBED: usize, N: Dtype, D: Device<N>> TensorCollection<N, D> for LayerNorm<EMBED, N, D> {
    type To<N2: Dtype, D2: Device<N2>> = LayerNorm<EMBED, N2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor(
                    "weight",
                    |s| &s.weight,
                    |s| &mut s.weight,
                    TensorOptions::reset_to_ones(),
                ),
                Self::tensor(
                    "bias",
                    |s| &s.bias,
                    |s| &mut s.bias,
                    TensorOptions::reset_to_zeros(),
                ),
            ),
            |(weight, bias)| LayerNorm { weight, bias },
        )
    }
}

impl<const ROWS: usize, const WIDTH: usize, N: Dtype, D: Device<N>> TensorCollection<N, D>
    for Table<ROWS, WIDTH, N, D>
{
    type To<N2: Dtype, D2: Device<N2>> = Table<ROWS, WIDTH, N2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            Self::tensor(
                "weight",
                |s| &s.weight,
                |s| &mut s.weight,
                TensorOptions::reset_to_zeros(),
            ),
            |weight| Table { weight },
        )
    }
}
