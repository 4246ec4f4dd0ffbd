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

    /// Number of elements of the weight.
    fn size(&self) -> usize {
        self.weight.outputs * self.weight.inputs
    }
}

/// `y = x Wᵀ` for a number of rows: a layer whose bias is added by the next kernel.
pub fn apply_without_bias<In: Dim, Out: Dim>(
    gpu: &Gpu,
    layer: &Linear<In, Out, f32, Cuda>,
    rows: usize,
    x: Matrix,
    y: Matrix,
) -> Result<(), CudaError> {
    gpu.apply(weight(&layer.weight), rows, x, y)
}

/// Backward of [`apply_without_bias`], from the gradient of `y`, and `x`: accumulates the gradient of the
/// weight, and returns that of `x`, `[rows, IN]`.
pub fn back_without_bias<In: Dim, Out: Dim>(
    gpu: &Gpu,
    layer: &Linear<In, Out, f32, Cuda>,
    rows: usize,
    (dy, x): (Matrix, Matrix),
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<Buffer, CudaError> {
    let weight = weight(&layer.weight);
    let dx = gpu.scratch(rows * weight.inputs)?;
    let dweight = (
        gradient_address(gradients, &layer.weight)?,
        Destination::Accumulate,
    );
    let to = (Matrix::new(at(&dx), weight.inputs), Destination::Overwrite);
    gpu.back(weight, rows, (dy, x), dweight, to)?;
    Ok(dx)
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

/// Backward of [`project`], from the gradient of its result, and `x`: accumulates the gradients of the weight and of `x`.
pub fn project_back<const EMBED: usize>(
    gpu: &Gpu,
    projection: &Projection<EMBED, f32, Cuda>,
    rows: usize,
    (dy, x): (&Buffer, Matrix),
    dx: Matrix,
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<(), CudaError> {
    let weight = weight(&projection.weight);
    let dweight = gradient_address(gradients, &projection.weight)?;
    let factors = (Matrix::new(at(dy), weight.outputs), x);
    let dweight = (dweight, Destination::Accumulate);
    gpu.back(
        weight,
        rows,
        factors,
        dweight,
        (dx, Destination::Accumulate),
    )
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
    Rows { gpu, width }.add_to_each(y, rows, &biases(layers))
}

/// The layers' biases.
fn biases(layers: &[Layer]) -> Vec<(Address, usize)> {
    let biases = layers
        .iter()
        .map(|layer| (layer.bias, layer.weight.outputs));
    biases.collect()
}

/// Backward of a layer, from the gradient of `y`, and `x`: accumulates the gradients of weight and bias,
/// and writes or accumulates that of `x`.
pub fn back<In: Dim, Out: Dim>(
    gpu: &Gpu,
    layer: &Linear<In, Out, f32, Cuda>,
    rows: usize,
    (dy, x): (Matrix, Matrix),
    dx: (Matrix, Destination),
    gradients: &mut Gradients<f32, Cuda>,
) -> Result<(), CudaError> {
    let gradient = Layer::gradient_of(layer, gradients)?;
    let weight = weight(&layer.weight);
    let of_rows = Rows {
        gpu,
        width: weight.inputs,
    };
    of_rows.add_column_sums(dy, rows, &[(gradient.bias, weight.outputs)])?;
    let dweight = (gradient.weight.start, Destination::Accumulate);
    gpu.back(weight, rows, (dy, x), dweight, dx)
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
        let weights = gpu.scratch(layers.iter().map(Layer::size).sum())?;
        let mut to = at(&weights);
        for layer in &layers {
            let bytes = layer.size() * size_of::<f32>();
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
        let of_rows = Rows {
            gpu,
            width: product.inputs,
        };
        of_rows.add_column_sums(dy, rows, &biases(gradients))?;
        if self.stacked.is_none() {
            let dweight = (gradients[0].weight.start, Destination::Accumulate);
            return gpu.back(product, rows, (dy, x), dweight, dx);
        }
        // One product for all weight gradients, into a buffer of its own, from which each layer's part is
        // accumulated.
        let joined = gpu.scratch(product.outputs * product.inputs)?;
        let dweights = (at(&joined), Destination::Overwrite);
        gpu.back(product, rows, (dy, x), dweights, dx)?;
        let weights = gradients
            .iter()
            .map(|layer| (layer.weight.start, layer.size()));
        of_rows.add_joined(&joined, &weights.collect::<Vec<_>>())
    }
}
