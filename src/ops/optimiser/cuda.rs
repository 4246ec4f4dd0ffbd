//! The GPU: all tensors at once in three launches; only loss and norm are read back.
#![allow(unsafe_code)]

use std::rc::Rc;

use cudarc::driver::{CudaSlice, DeviceRepr};
use dfdx::shapes::{HasShape, Rank0, Shape};
use dfdx::tensor::{Cuda, CudaError, Gradients, Tensor};
use dfdx::tensor_ops::{ReshapeTo, TryAdd, TryMul};

use super::{Moments, OptimiserOp, StepMetrics, Update};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::kernels::Source;
use crate::ops::cuda::{Address, Gpu, at, gpu};

pub static OPTIMISER: Source = Source {
    name: "optimiser",
    text: include_str!("kernel.cu"),
    constant: "CHUNK",
};

/// Elements of a tensor per block.
pub const CHUNK: usize = 1024;

/// A tensor of the model: `struct Slot` of kernel.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Slot {
    weights: Address,
    gradient: Address,
    first: Address,
    second: Address,
    count: u32,
    decay: f32,
    rate: f32,
}

// SAFETY: the same fields in the same order as `struct Slot`, by the same rules of alignment.
unsafe impl DeviceRepr for Slot {}

/// A step in the device's stream.
pub struct GpuStep {
    gpu: Rc<Gpu>,
    loss: Tensor<Rank0, f32, Cuda>,
    slots: Vec<Slot>,
    /// Loss and norm, once the kernels are launched.
    report: Option<CudaSlice<f64>>,
}

impl OptimiserOp<f32> for Cuda {
    type Step = GpuStep;

    fn try_begin(loss: &Tensor<Rank0, f32, Cuda>) -> Result<GpuStep, CudaError> {
        Ok(GpuStep {
            gpu: gpu(),
            loss: loss.clone(),
            slots: vec![],
            report: None,
        })
    }

    /// Deferred: the norm is computed over all tensors at once.
    fn try_accumulate_norm<S: Shape>(
        _: &mut GpuStep,
        _: &Tensor<S, f32, Cuda>,
        _: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        Ok(())
    }

    fn try_update<S: Shape>(
        step: &mut GpuStep,
        parameter: &mut Tensor<S, f32, Cuda>,
        gradients: &mut Gradients<f32, Cuda>,
        [first, second]: &mut Moments<f32, Cuda>,
        update: Update,
    ) -> Result<(), CudaError> {
        step.slots.push(Slot {
            weights: address(parameter),
            gradient: gradient_address(gradients, parameter)?,
            first: address(first),
            second: address(second),
            count: parameter.shape().num_elements() as u32,
            decay: update.weight_decay as f32,
            rate: update.learning_rate as f32,
        });
        Ok(())
    }

    fn try_average<S: Shape>(
        average: &mut Tensor<(usize,), f32, Cuda>,
        parameter: &Tensor<S, f32, Cuda>,
        decay: f64,
    ) -> Result<(), CudaError> {
        let weights = parameter.clone().try_reshape_like(average.shape())?;
        let towards = weights.try_mul((1.0 - decay) as f32)?;
        *average = average.clone().try_mul(decay as f32)?.try_add(towards)?;
        Ok(())
    }

    fn try_launch(step: &mut GpuStep, update: Update) -> Result<(), CudaError> {
        let gpu = &*step.gpu;
        let chunks: Vec<u32> = (step.slots.iter().enumerate())
            .flat_map(|(slot, of)| {
                let starts = (0..of.count).step_by(CHUNK);
                starts.flat_map(move |start| [slot as u32, start])
            })
            .collect();
        let blocks = chunks.len() / 2;
        let slots = gpu.upload(std::mem::take(&mut step.slots))?;
        let chunks = gpu.upload(chunks)?;
        let sums = gpu.scratch(2 * blocks)?; // of 64 bits
        let report = gpu.upload(vec![0f64; 2])?;
        let kernel = |name| OPTIMISER.kernel(CHUNK, name);
        let arguments = (at(&slots), at(&chunks), at(&sums));
        gpu.launch(kernel("squares"), (blocks, 1, 1), arguments)?;
        let arguments = (at(&sums), blocks as u32, address(&step.loss), at(&report));
        gpu.launch(kernel("gradient_norm"), (1, 1, 1), arguments)?;
        let correction = |beta: f64| (1.0 - beta.powi(update.step as i32)) as f32;
        let arguments = (
            at(&slots),
            at(&chunks),
            at(&report),
            update.clip_norm as f32,
            update.betas[0] as f32,
            update.betas[1] as f32,
            correction(update.betas[0]),
            correction(update.betas[1]),
            update.epsilon as f32,
        );
        gpu.launch(kernel("adamw"), (blocks, 1, 1), arguments)?;
        step.report = Some(report);
        Ok(())
    }

    fn try_finish(step: GpuStep) -> Result<StepMetrics, CudaError> {
        let report = step
            .report
            .expect("a step is launched before it is finished");
        let report = step.gpu.download(&report)?;
        Ok(StepMetrics {
            loss_nats: report[0],
            gradient_norm: report[1],
        })
    }
}
