//! The tensors of the reference, and operations on them that dfdx lacks.

use dfdx::shapes::{Axis, Dtype, HasShape, Shape};
use dfdx::tensor::{NoneTape, Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{BroadcastTo, Device, SumTo, TryAdd, TryDiv, TryMatMul, TryMul};

use crate::ops::attention::qk_norm::{EPSILON, QkNorm};
use crate::ops::parameters;

/// `[tokens, width]`, heads side by side.
pub type Rows<N, D, T> = parameters::Rows<usize, N, D, T>;

/// `[documents, heads, longest, head_dim]`.
pub type Heads<N, D, T> = Tensor<(usize, usize, usize, usize), N, D, T>;

/// `[documents, heads, longest of the queries, longest of the keys]`.
pub type Scores<N, D, T> = Tensor<(usize, usize, usize, usize), N, D, T>;

/// A number of the device's kind.
pub fn number<N: Dtype>(x: f64) -> N {
    N::from_f64(x).expect("a finite number")
}

/// Columns copied to others: `[rows, columns]` → `[rows, width]`, each from the column that `from` says.
pub fn spread<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    rows: Rows<N, D, T>,
    width: usize,
    from: impl Fn(usize) -> usize,
) -> Result<Rows<N, D, T>, D::Err> {
    let columns = rows.shape().1;
    let mut copies = vec![N::default(); columns * width];
    (0..width).for_each(|column| copies[from(column) * width + column] = N::ONE);
    let copies = rows
        .device()
        .try_tensor_from_vec(copies, (columns, width))?;
    rows.try_matmul(copies)
}

/// Each row divided by its root mean square, or by its length.
pub fn unit_rows<N: Dtype, D: Device<N>, T: Tape<N, D>>(
    heads: Heads<N, D, T>,
    norm: QkNorm,
) -> Result<Heads<N, D, T>, D::Err> {
    let shape = *heads.shape();
    let squares = heads
        .with_empty_tape()
        .try_square()?
        .try_sum::<_, Axis<3>>()?;
    let scale = squares
        .try_mul(number::<N>(norm.share(shape.3)))?
        .try_add(number::<N>(EPSILON))?
        .try_sqrt()?;
    heads.try_div(scale.try_broadcast_like::<_, Axis<3>>(&shape)?)
}

/// A tensor with `f(document, head, query, key)` in every cell.
pub fn cells<N: Dtype, D: Device<N>>(
    device: &D,
    shape: (usize, usize, usize, usize),
    f: impl Fn(usize, usize, usize, usize) -> f64,
) -> Result<Scores<N, D, NoneTape>, D::Err> {
    let (documents, heads, queries, keys) = shape;
    let values = (0..documents * heads * queries * keys).map(|i| {
        let (map, query, key) = (i / (queries * keys), i / keys % queries, i % keys);
        number(f(map / heads, map % heads, query, key))
    });
    device.try_tensor_from_vec(values.collect(), shape)
}

/// `log(1 + e^x)`, as `max(x, 0) + log(1 + e^-|x|)`.
pub fn softplus<S: Shape, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    x: Tensor<S, N, D, T>,
) -> Result<Tensor<S, N, D, T>, D::Err> {
    let above = x.with_empty_tape().try_relu()?;
    let rest = x
        .try_abs()?
        .try_negate()?
        .try_exp()?
        .try_add(N::ONE)?
        .try_ln()?;
    above.try_add(rest)
}
