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

/// Names the weights of a struct, in the order of the reference's modules: dfdx visits them by these names to build,
/// train, save and load it.
///
/// `field: module("name")` is a group of weights, `field: zeros("name")` and `field: ones("name")` a tensor with its
/// initial value. A path after the name locates a field that is nested in another one; an expression that rebuilds the
/// struct then follows the list.
macro_rules! named_weights {
    (
        impl [$($generic:tt)*] $type:ident<$($argument:ident),* $(; $kind:ident)?> {
            $($field:ident: $how:ident($name:literal $(, $($path:ident).+)?)),+ $(,)?
        } $(=> $whole:expr)?
    ) => {
        impl<$($generic)* $($kind: TensorCollection<N, D>,)? N: Dtype, D: Device<N>>
            TensorCollection<N, D> for $type<$($argument,)* $($kind,)? N, D>
        {
            type To<N2: Dtype, D2: Device<N2>> =
                $type<$($argument,)* $($kind::To<N2, D2>,)? N2, D2>;

            fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
                visitor: &mut V,
            ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
                visitor.visit_fields(
                    named_weights!(@nested $((
                        named_weights!(@field $how $name, $field $(, $($path).+)?)
                    ))+),
                    |named_weights!(@nested $(($field))+)| named_weights!(
                        @whole ($($whole)?) $type { $($field),+ }
                    ),
                )
            }
        }
    };
    // Nested pairs, because dfdx supports only short tuples.
    (@nested ($($last:tt)+)) => { $($last)+ };
    (@nested ($($first:tt)+) $($rest:tt)+) => { ($($first)+, named_weights!(@nested $($rest)+)) };
    (@field $how:ident $name:literal, $field:ident, $($path:ident).+) => {
        named_weights!(@at $how $name, $($path).+)
    };
    (@field $how:ident $name:literal, $field:ident) => { named_weights!(@at $how $name, $field) };
    (@at module $name:literal, $($path:ident).+) => {
        Self::module($name, |s| &s.$($path).+, |s| &mut s.$($path).+)
    };
    (@at zeros $name:literal, $($path:ident).+) => {
        Self::tensor(
            $name,
            |s| &s.$($path).+,
            |s| &mut s.$($path).+,
            TensorOptions::reset_to_zeros(),
        )
    };
    (@at ones $name:literal, $($path:ident).+) => {
        Self::tensor(
            $name,
            |s| &s.$($path).+,
            |s| &mut s.$($path).+,
            TensorOptions::reset_to_ones(),
        )
    };
    (@whole () $type:ident { $($field:ident),+ }) => { $type { $($field),+ } };
    (@whole ($whole:expr) $($rest:tt)*) => { $whole };
}
pub(crate) use named_weights;

/// Makes a type a visitor of tensors that builds no model: its view of a tensor, and what it does with it.
macro_rules! visitor {
    (
        [$($generic:tt)+] $visitor:ty: $number:ty, $viewer:ty,
        |$self:ident, $options:pat_param, $view:tt: $tensor:ty| $visit:block
    ) => {
        impl<$($generic)+> TensorVisitor<$number, D> for $visitor {
            type Viewer = $viewer;
            type Err = D::Err;
            type E2 = $number;
            type D2 = D;

            fn visit<S: Shape>(
                &mut $self,
                $options: TensorOptions<S, $number, D>,
                $view: $tensor,
            ) -> Result<Option<Tensor<S, $number, D>>, D::Err> {
                $visit
                Ok(None)
            }
        }
    };
}
pub(crate) use visitor;

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

named_weights! {
    impl [const IN: usize, const OUT: usize,] Linear<IN, OUT> {
        weight: zeros("weight"),
        bias: zeros("bias"),
    }
}

named_weights! {
    impl [const EMBED: usize,] LayerNorm<EMBED> {
        weight: ones("weight"),
        bias: zeros("bias"),
    }
}

named_weights! {
    impl [const ROWS: usize, const WIDTH: usize,] Table<ROWS, WIDTH> {
        weight: zeros("weight"),
    }
}
