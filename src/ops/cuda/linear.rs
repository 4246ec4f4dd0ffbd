//! Linear layers of a sublayer: products, biases and gradients; several layers of the same input as one.
#![allow(unsafe_code)]

use cudarc::driver::result;
use dfdx::shapes::Rank2;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tensor};

use super::products::{Into, Matrix, Weight};
use super::rows::Rows;
use super::{Address, Buffer, Gpu, at};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::parameters::Linear;

/// Where the weight of a layer is.
pub(in crate::ops) fn weight<const IN: usize, const OUT: usize>(
    of: &Tensor<Rank2<OUT, IN>, f32, Cuda>,
) -> Weight {
    Weight {
        start: address(of),
        outputs: OUT,
        inputs: IN,
    }
}

/// Where a layer's weight and bias are, or their gradients.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Layer {
    weight: Weight,
    bias: Address,
}

impl Layer {
    /// Of a layer's numbers.
    pub(in crate::ops) fn of<const IN: usize, const OUT: usize>(
        layer: &Linear<IN, OUT, f32, Cuda>,
    ) -> Self {
        Self {
            weight: weight(&layer.weight),
            bias: address(&layer.bias),
        }
    }

    /// Of their gradients.
    ///
    /// # Errors
    /// Memory.
    pub(in crate::ops) fn gradient_of<const IN: usize, const OUT: usize>(
        layer: &Linear<IN, OUT, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<Self, CudaError> {
        let start = gradient_address(gradients, &layer.weight)?;
        Ok(Self {
            weight: Weight {
                start,
                outputs: OUT,
                inputs: IN,
            },
            bias: gradient_address(gradients, &layer.bias)?,
        })
    }

    /// Elements of the weight.
    fn size(&self) -> usize {
        self.weight.outputs * self.weight.inputs
    }
}

/// `y = x Wᵀ`, of so many rows: a layer whose bias is added by what comes next.
///
/// # Errors
/// The device's.
pub(in crate::ops) fn apply_without_bias<const IN: usize, const OUT: usize>(
    gpu: &Gpu,
    layer: &Linear<IN, OUT, f32, Cuda>,
    rows: usize,
    x: Matrix,
    y: Matrix,
) -> Result<(), CudaError> {
    gpu.apply(weight(&layer.weight), rows, x, y)
}

/// Backward of [`apply_without_bias`], from the gradient of `y`, and `x`: adds to the gradient of the weight, and gives
/// that of `x`, `[rows, IN]`.
///
/// # Errors
/// The device's.
pub(in crate::ops) fn back_without_bias<const IN: usize, const OUT: usize>(
    gpu: &Gpu,
    layer: &Linear<IN, OUT, f32, Cuda>,
    rows: usize,
    (dy, x): (Matrix, Matrix),
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<Buffer, CudaError> {
    let dx = gpu.scratch(rows * IN)?;
    let dweight = (gradient_address(gradients, &layer.weight)?, Into::Added);
    let to = (Matrix::new(at(&dx), IN), Into::Replaced);
    gpu.back(weight(&layer.weight), rows, (dy, x), dweight, to)?;
    Ok(dx)
}

/// `y = x Wᵀ + b` of each layer, side by side, of so many rows: a product each, which for few rows, as while reading,
/// costs less than to join the weights.
///
/// # Errors
/// The device's.
pub(in crate::ops) fn apply_each<const LAYERS: usize>(
    gpu: &Gpu,
    layers: [Layer; LAYERS],
    rows: usize,
    x: Matrix,
    y: Matrix,
) -> Result<(), CudaError> {
    let mut column = 0;
    for layer in layers {
        gpu.apply(layer.weight, rows, x, y.columns_from(column))?;
        column += layer.weight.outputs;
    }
    add_biases(gpu, layers, rows, y)
}

fn add_biases<const LAYERS: usize>(
    gpu: &Gpu,
    layers: [Layer; LAYERS],
    rows: usize,
    y: Matrix,
) -> Result<(), CudaError> {
    const { assert!(LAYERS >= 1 && LAYERS <= 3, "up to three side by side") };
    let biases = layers.map(|layer| (layer.bias, layer.weight.outputs));
    let width = layers[0].weight.inputs;
    Rows { gpu, width }.add_to_each(y, rows, &biases)
}

/// Backward of a layer, from the gradient of `y`, and `x`: adds to the gradients of weight and bias, and puts or adds
/// that of `x` where it belongs.
///
/// # Errors
/// The device's.
pub(in crate::ops) fn back<const IN: usize, const OUT: usize>(
    gpu: &Gpu,
    layer: &Linear<IN, OUT, f32, Cuda>,
    rows: usize,
    (dy, x): (Matrix, Matrix),
    dx: (Matrix, Into),
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<(), CudaError> {
    let gradient = Layer::gradient_of(layer, gradients)?;
    Rows { gpu, width: IN }.add_column_sums(dy, rows, &[(gradient.bias, OUT)])?;
    let dweight = (gradient.weight.start, Into::Added);
    gpu.back(weight(&layer.weight), rows, (dy, x), dweight, dx)
}

/// Layers of the same input as one whose outputs lie side by side: up to three.
pub(in crate::ops) struct Joined<const LAYERS: usize> {
    layers: [Layer; LAYERS],
    /// Their weights one below the other.
    weights: Buffer,
}

impl<const LAYERS: usize> Joined<LAYERS> {
    /// Joins layers as they are now.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn new(gpu: &Gpu, layers: [Layer; LAYERS]) -> Result<Self, CudaError> {
        let inputs = layers[0].weight.inputs;
        let alike = layers.iter().all(|layer| layer.weight.inputs == inputs);
        assert!(alike, "layers of one input");
        let weights = gpu.scratch(layers.iter().map(Layer::size).sum())?;
        let mut to = at(&weights);
        for layer in layers {
            let bytes = layer.size() * size_of::<f32>();
            // SAFETY: both are addresses of at least so many bytes on this thread's device, and the copy is
            // made in the stream's order.
            unsafe {
                result::memcpy_dtod_async(to, layer.weight.start, bytes, *gpu.device.cu_stream())
            }?;
            to += bytes as Address;
        }
        Ok(Self { layers, weights })
    }

    fn product(&self) -> Weight {
        Weight {
            start: at(&self.weights),
            outputs: self.layers.iter().map(|layer| layer.weight.outputs).sum(),
            inputs: self.layers[0].weight.inputs,
        }
    }

    /// `y = x Wᵀ + b` of each, side by side, of so many rows.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn apply(
        &self,
        gpu: &Gpu,
        rows: usize,
        x: Matrix,
        y: Matrix,
    ) -> Result<(), CudaError> {
        gpu.apply(self.product(), rows, x, y)?;
        add_biases(gpu, self.layers, rows, y)
    }

    /// Backward, from the gradient of `y`, and `x`: adds to the gradients of the layers, and puts or adds that of `x`
    /// where it belongs.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn back(
        &self,
        gpu: &Gpu,
        rows: usize,
        (dy, x): (Matrix, Matrix),
        dx: (Matrix, Into),
        gradients: [Layer; LAYERS],
    ) -> Result<(), CudaError> {
        let product = self.product();
        let of_rows = Rows {
            gpu,
            width: product.inputs,
        };
        let dbiases = gradients.map(|layer| (layer.bias, layer.weight.outputs));
        of_rows.add_column_sums(dy, rows, &dbiases)?;
        // One product for all weights, in a place of its own, from where each takes its part.
        let joined = gpu.scratch(product.outputs * product.inputs)?;
        let dweights = (at(&joined), Into::Replaced);
        gpu.back(product, rows, (dy, x), dweights, dx)?;
        of_rows.add_joined(
            &joined,
            &gradients.map(|layer| (layer.weight.start, layer.size())),
        )
    }
}
