//! Linear layers of a sublayer: products, biases and gradients; several layers with the same input can be
//! joined.
#![allow(unsafe_code)]

use cudarc::driver::result;
use dfdx::shapes::{Dim, HasShape};
use dfdx::tensor::{Cuda, CudaError, Gradients, Tensor};

use super::products::{Destination, Matrix, Weight};
use super::rows::Rows;
use super::{Address, Buffer, Gpu, at};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::parameters::{Linear, Projection};

/// The weight of a layer, by address.
pub fn weight<In: Dim, Out: Dim>(of: &Tensor<(Out, In), f32, Cuda>) -> Weight {
    let (outputs, inputs) = of.shape();
    Weight {
        start: address(of),
        outputs: outputs.size(),
        inputs: inputs.size(),
    }
}

/// Addresses of a layer's weight and bias, or of their gradients.
#[derive(Clone, Copy)]
pub struct Layer {
    weight: Weight,
    bias: Address,
}

impl Layer {
    /// Of the parameters.
    pub fn of<In: Dim, Out: Dim>(layer: &Linear<In, Out, f32, Cuda>) -> Self {
        Self {
            weight: weight(&layer.weight),
            bias: address(&layer.bias),
        }
    }

    /// Of their gradients.
    pub fn gradient_of<In: Dim, Out: Dim>(
        layer: &Linear<In, Out, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<Self, CudaError> {
        let start = gradient_address(gradients, &layer.weight)?;
        Ok(Self {
            weight: Weight {
                start,
                ..weight(&layer.weight)
            },
            bias: gradient_address(gradients, &layer.bias)?,
        })
    }
}

/// A projection without a bias: `x Wᵀ`, `[rows, outputs]`.
pub fn project<const EMBED: usize>(
    gpu: &Gpu,
    projection: &Projection<EMBED, f32, Cuda>,
    rows: usize,
    x: Matrix,
) -> Result<Buffer, CudaError> {
    let weight = weight(&projection.weight);
    let y = gpu.scratch(rows * weight.outputs)?;
    gpu.apply(weight, rows, x, Matrix::new(at(&y), weight.outputs))?;
    Ok(y)
}

/// `y = x Wᵀ + b` of each layer, side by side, with a separate product for each. For few rows, as in
/// decoding, this is cheaper than joining the weights.
pub fn apply_each<const LAYERS: usize>(
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
    add_biases(gpu, &layers, rows, y)
}

/// Adds the biases of up to three layers to their outputs, which lie side by side.
fn add_biases(gpu: &Gpu, layers: &[Layer], rows: usize, y: Matrix) -> Result<(), CudaError> {
    let width = layers[0].weight.inputs;
    Rows::of(gpu, width).add_to_each(y, rows, &biases(layers))
}

/// The layers' biases.
fn biases(layers: &[Layer]) -> Vec<(Address, usize)> {
    let biases = layers
        .iter()
        .map(|layer| (layer.bias, layer.weight.outputs));
    biases.collect()
}

/// Backward of a product with a weight, from the gradient of `y`, and `x`: accumulates the gradient of the weight, and
/// writes or accumulates that of `x`.
pub fn back_through<In: Dim, Out: Dim>(
    gpu: &Gpu,
    of: &Tensor<(Out, In), f32, Cuda>,
    rows: usize,
    factors: (Matrix, Matrix),
    dx: (Matrix, Destination),
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<(), CudaError> {
    let dweight = (gradient_address(gradients, of)?, Destination::Accumulate);
    gpu.back(weight(of), rows, factors, dweight, dx)
}

/// The same for a layer with a bias, whose gradient is accumulated too.
pub fn back<In: Dim, Out: Dim>(
    gpu: &Gpu,
    layer: &Linear<In, Out, f32, Cuda>,
    rows: usize,
    (dy, x): (Matrix, Matrix),
    dx: (Matrix, Destination),
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<(), CudaError> {
    let (outputs, inputs) = layer.weight.shape();
    let dbias = (gradient_address(gradients, &layer.bias)?, outputs.size());
    Rows::of(gpu, inputs.size()).add_column_sums(dy, rows, &[dbias])?;
    back_through(gpu, &layer.weight, rows, (dy, x), dx, gradients)
}

/// Up to three layers with the same input, joined into one whose outputs lie side by side.
pub struct Joined {
    layers: Vec<Layer>,
    /// Their weights, stacked; a single layer needs no copy of its own.
    stacked: Option<Buffer>,
}

impl Joined {
    /// Joins layers, copying their current weights.
    pub fn new(gpu: &Gpu, layers: Vec<Layer>) -> Result<Self, CudaError> {
        let inputs = layers[0].weight.inputs;
        let alike = layers.iter().all(|layer| layer.weight.inputs == inputs);
        assert!(alike, "layers of one input");
        if layers.len() == 1 {
            let stacked = None;
            return Ok(Self { layers, stacked });
        }
        let weights = gpu.scratch(layers.iter().map(|layer| layer.weight.size()).sum())?;
        let mut to = at(&weights);
        for layer in &layers {
            let bytes = layer.weight.size() * size_of::<f32>();
            // SAFETY: both are addresses of at least that many bytes on this thread's device, and the copy
            // is made in the order of the stream.
            unsafe {
                result::memcpy_dtod_async(to, layer.weight.start, bytes, *gpu.device.cu_stream())
            }?;
            to += bytes as Address;
        }
        let stacked = Some(weights);
        Ok(Self { layers, stacked })
    }

    fn product(&self) -> Weight {
        let first = self.layers[0].weight;
        Weight {
            start: self.stacked.as_ref().map_or(first.start, at),
            outputs: self.layers.iter().map(|layer| layer.weight.outputs).sum(),
            inputs: first.inputs,
        }
    }

    /// `y = x Wᵀ + b` of each layer, side by side.
    pub fn apply(&self, gpu: &Gpu, rows: usize, x: Matrix, y: Matrix) -> Result<(), CudaError> {
        gpu.apply(self.product(), rows, x, y)?;
        add_biases(gpu, &self.layers, rows, y)
    }

    /// Backward, from the gradient of `y`, and `x`: accumulates the gradients of the layers, and writes or
    /// accumulates that of `x`.
    pub fn back(
        &self,
        gpu: &Gpu,
        rows: usize,
        (dy, x): (Matrix, Matrix),
        dx: (Matrix, Destination),
        gradients: &[Layer],
    ) -> Result<(), CudaError> {
        let product = self.product();
        let of_rows = Rows::of(gpu, product.inputs);
        of_rows.add_column_sums(dy, rows, &biases(gradients))?;
        if self.stacked.is_none() {
            let dweight = (gradients[0].weight.start, Destination::Accumulate);
            return gpu.back(product, rows, (dy, x), dweight, dx);
        }
        // One product for all weight gradients, into a buffer of its own, from which each layer's part is
        // accumulated.
        let joined = gpu.scratch(product.size())?;
        let dweights = (at(&joined), Destination::Overwrite);
        gpu.back(product, rows, (dy, x), dweights, dx)?;
        let weights = gradients
            .iter()
            .map(|layer| (layer.weight.start, layer.weight.size()));
        of_rows.add_joined(&joined, &weights.collect::<Vec<_>>())
    }
}
