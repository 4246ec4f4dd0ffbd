//! Groups of weights with their names and shapes, and a plain implementation of the layers.
//!
//! Layouts are PyTorch's: a [`Linear`] has `weight: [OUT, IN]`.

use dfdx::shapes::{Axes2, Axis, Const, Dim, Dtype, HasShape, Rank1, Shape};
use dfdx::tensor::{Storage, Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{BroadcastTo, Device, MeanTo, PermuteTo, TryAdd, TryDiv, TryMatMul, TryMul};

use super::Stream;

/// Added to the variance, or mean square, in every norm (PyTorch's default of its layer norm).
pub const NORM_EPSILON: f64 = 1e-5;

/// What is done with the weights of a model, one after another.
pub trait Visitor<N: Dtype, D: Device<N>> {
    /// Is shown a weight, by its name in the reference: `blocks.0.ln1.weight`.
    fn visit<S: Shape>(&mut self, name: &str, weight: &Tensor<S, N, D>) -> Result<(), D::Err>;
}

/// The same with weights that may be changed.
pub trait VisitorMut<N: Dtype, D: Device<N>> {
    /// Is shown a weight, by its name in the reference.
    fn visit<S: Shape>(&mut self, name: &str, weight: &mut Tensor<S, N, D>) -> Result<(), D::Err>;
}

/// Named weights: building, training, saving and loading visit them in the order of the reference's modules.
pub trait Weights<N: Dtype, D: Device<N>> {
    /// Shows each weight to `visitor`; `name` is that of the whole group.
    fn each(&self, name: &str, visitor: &mut impl Visitor<N, D>) -> Result<(), D::Err>;

    /// The same with weights that may be changed.
    fn each_mut(&mut self, name: &str, visitor: &mut impl VisitorMut<N, D>) -> Result<(), D::Err>;
}

impl<S: Shape, N: Dtype, D: Device<N>> Weights<N, D> for Tensor<S, N, D> {
    fn each(&self, name: &str, visitor: &mut impl Visitor<N, D>) -> Result<(), D::Err> {
        visitor.visit(name, self)
    }

    fn each_mut(&mut self, name: &str, visitor: &mut impl VisitorMut<N, D>) -> Result<(), D::Err> {
        visitor.visit(name, self)
    }
}

/// A list of groups, each named by its index.
impl<W: Weights<N, D>, N: Dtype, D: Device<N>> Weights<N, D> for Vec<W> {
    fn each(&self, name: &str, visitor: &mut impl Visitor<N, D>) -> Result<(), D::Err> {
        let mut groups = self.iter().enumerate();
        groups.try_for_each(|(i, group)| group.each(&member(name, &i.to_string()), visitor))
    }

    fn each_mut(&mut self, name: &str, visitor: &mut impl VisitorMut<N, D>) -> Result<(), D::Err> {
        let mut groups = self.iter_mut().enumerate();
        groups.try_for_each(|(i, group)| group.each_mut(&member(name, &i.to_string()), visitor))
    }
}

/// Weights that only some models have.
impl<W: Weights<N, D>, N: Dtype, D: Device<N>> Weights<N, D> for Option<W> {
    fn each(&self, name: &str, visitor: &mut impl Visitor<N, D>) -> Result<(), D::Err> {
        self.iter().try_for_each(|group| group.each(name, visitor))
    }

    fn each_mut(&mut self, name: &str, visitor: &mut impl VisitorMut<N, D>) -> Result<(), D::Err> {
        let mut groups = self.iter_mut();
        groups.try_for_each(|group| group.each_mut(name, visitor))
    }
}

/// The elements of all weights, copied to the host.
pub fn values<N: Dtype, D: Device<N>>(weights: &impl Weights<N, D>) -> Vec<Vec<N>> {
    let mut values = Values(vec![]);
    let read = weights.each("", &mut values);
    read.expect("copying a tensor to the host cannot fail");
    values.0
}

struct Values<N>(Vec<Vec<N>>);

impl<N: Dtype, D: Device<N>> Visitor<N, D> for Values<N> {
    fn visit<S: Shape>(&mut self, _: &str, weight: &Tensor<S, N, D>) -> Result<(), D::Err> {
        self.0.push(weight.as_vec());
        Ok(())
    }
}

/// Replaces the elements of all weights, in the order of [`values`].
pub fn set_values<N: Dtype, D: Device<N>>(weights: &mut impl Weights<N, D>, values: &[Vec<N>]) {
    let written = weights.each_mut("", &mut SetValues(values.iter()));
    written.expect("writing a tensor of the same length cannot fail");
}

struct SetValues<'a, N>(std::slice::Iter<'a, Vec<N>>);

impl<N: Dtype, D: Device<N>> VisitorMut<N, D> for SetValues<'_, N> {
    fn visit<S: Shape>(&mut self, _: &str, weight: &mut Tensor<S, N, D>) -> Result<(), D::Err> {
        weight.copy_from(self.0.next().expect("one list of values per tensor"));
        Ok(())
    }
}

/// The name of a group's member. The whole model has an empty name, and so has a group whose members count as those
/// of the group around it.
pub fn member(group: &str, name: &str) -> String {
    let dot = if group.is_empty() || name.is_empty() {
        ""
    } else {
        "."
    };
    format!("{group}{dot}{name}")
}

/// Lists the weights of a struct with their names, in the order of the reference's modules.
macro_rules! named_weights {
    (impl [$($generic:tt)*] $type:ident<$($argument:ident),*> {
        $($field:ident: $name:literal),+ $(,)?
    }) => {
        impl<$($generic)* N: Dtype, D: Device<N>> $crate::ops::parameters::Weights<N, D>
            for $type<$($argument,)* N, D>
        {
            fn each(
                &self,
                group: &str,
                visitor: &mut impl $crate::ops::parameters::Visitor<N, D>,
            ) -> Result<(), D::Err> {
                use $crate::ops::parameters::member;
                $(self.$field.each(&member(group, $name), visitor)?;)+
                Ok(())
            }

            fn each_mut(
                &mut self,
                group: &str,
                visitor: &mut impl $crate::ops::parameters::VisitorMut<N, D>,
            ) -> Result<(), D::Err> {
                use $crate::ops::parameters::member;
                $(self.$field.each_mut(&member(group, $name), visitor)?;)+
                Ok(())
            }
        }
    };
}
pub(crate) use named_weights;

/// One row a token: `[tokens, width]`.
pub type Rows<Width, N, D, T> = Tensor<(usize, Width), N, D, T>;

/// `y = x Wᵀ + b`. Each width is a constant or known at run time.
#[derive(Clone, Debug)]
pub struct Linear<In: Dim, Out: Dim, N: Dtype, D: Storage<N>> {
    /// `[OUT, IN]`.
    pub weight: Tensor<(Out, In), N, D>,
    /// `[OUT]`.
    pub bias: Tensor<(Out,), N, D>,
}

/// `y = x Wᵀ`: a linear layer without a bias.
#[derive(Clone, Debug)]
pub struct Projection<const EMBED: usize, N: Dtype, D: Storage<N>> {
    /// `[OUT, EMBED]`.
    pub weight: Tensor<(usize, Const<EMBED>), N, D>,
}

/// With a bias a layer norm, `y = (x - mean) / sqrt(variance + 1e-5) * weight + bias`, over a row (Ba, Kiros and Hinton
/// 2016); without one an RMS norm, `y = x / sqrt(mean(x²) + 1e-5) * weight` (Zhang and Sennrich 2019, eq. 4).
#[derive(Clone, Debug)]
pub struct Norm<const EMBED: usize, N: Dtype, D: Storage<N>> {
    /// `[EMBED]`, initially 1.
    pub weight: Tensor<Rank1<EMBED>, N, D>,
    /// `[EMBED]`, initially 0.
    pub bias: Option<Tensor<Rank1<EMBED>, N, D>>,
}

impl<In: Dim, Out: Dim, N: Dtype, D: Device<N>> Linear<In, Out, N, D> {
    /// All zero.
    pub fn zeros(device: &D, (inputs, outputs): (In, Out)) -> Result<Self, D::Err> {
        Ok(Self {
            weight: device.try_zeros_like(&(outputs, inputs))?,
            bias: device.try_zeros_like(&(outputs,))?,
        })
    }

    /// Number of inputs and of outputs.
    pub fn widths(&self) -> (usize, usize) {
        let (outputs, inputs) = self.weight.shape();
        (inputs.size(), outputs.size())
    }

    /// `[tokens, IN]` → `[tokens, OUT]`, composed of dfdx's own ops.
    pub fn try_forward<T: Tape<N, D>>(
        &self,
        x: Rows<In, N, D, T>,
    ) -> Result<Rows<Out, N, D, T>, D::Err> {
        let y = x.try_matmul(
            self.weight
                .clone()
                .try_permute::<(In, Out), Axes2<1, 0>>()?,
        )?;
        let shape = *y.shape();
        let bias = self
            .bias
            .retaped::<T>()
            .try_broadcast_like::<_, Axis<0>>(&shape)?;
        y.try_add(bias)
    }
}

impl<const EMBED: usize, N: Dtype, D: Device<N>> Projection<EMBED, N, D> {
    /// All zero.
    pub fn zeros(device: &D, outputs: usize) -> Result<Self, D::Err> {
        let weight = device.try_zeros_like(&(outputs, Const::<EMBED>))?;
        Ok(Self { weight })
    }

    /// `[tokens, EMBED]` → `[tokens, OUT]`, composed of dfdx's own ops.
    pub fn try_forward<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
    ) -> Result<Rows<usize, N, D, T>, D::Err> {
        let weight = self.weight.clone();
        x.try_matmul(weight.try_permute::<(Const<EMBED>, usize), Axes2<1, 0>>()?)
    }
}

impl<const EMBED: usize, N: Dtype, D: Device<N>> Norm<EMBED, N, D> {
    /// A layer norm, all zero.
    pub fn layer(device: &D) -> Result<Self, D::Err> {
        Ok(Self {
            weight: device.try_zeros()?,
            bias: Some(device.try_zeros()?),
        })
    }

    /// An RMS norm, all zero.
    pub fn rms(device: &D) -> Result<Self, D::Err> {
        Ok(Self {
            weight: device.try_zeros()?,
            bias: None,
        })
    }

    /// `[tokens, EMBED]` → the same, composed of dfdx's own ops.
    pub fn try_forward<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        let shape = *x.shape();
        let weight = self.weight.retaped::<T>().try_broadcast_like(&shape)?;
        match &self.bias {
            Some(bias) => x
                .try_normalize::<Axis<1>>(NORM_EPSILON)?
                .try_mul(weight)?
                .try_add(bias.retaped::<T>().try_broadcast_like(&shape)?),
            None => divide_by_rms(x)?.try_mul(weight),
        }
    }
}

/// `x / sqrt(mean(x²) + 1e-5)`, over a row.
fn divide_by_rms<const EMBED: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Stream<EMBED, N, D, T>,
) -> Result<Stream<EMBED, N, D, T>, D::Err> {
    let (shape, epsilon) = (
        *x.shape(),
        N::from_f64(NORM_EPSILON).expect("a finite number"),
    );
    let mean: Tensor<(usize,), N, D, T> = x.with_empty_tape().try_square()?.try_mean()?;
    let root = mean.try_add(epsilon)?.try_sqrt()?;
    x.try_div(root.try_broadcast_like::<_, Axis<1>>(&shape)?)
}

named_weights! {
    impl [In: Dim, Out: Dim,] Linear<In, Out> {
        weight: "weight",
        bias: "bias",
    }
}

named_weights! {
    impl [const EMBED: usize,] Projection<EMBED> {
        weight: "weight",
    }
}

named_weights! {
    impl [const EMBED: usize,] Norm<EMBED> {
        weight: "weight",
        bias: "bias",
    }
}
