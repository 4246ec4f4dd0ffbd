//! The fused operations of a transformer, differentiable through dfdx's tape.
//!
//! One folder per op: `mod.rs` has the public function, `reference.rs` a plain implementation composed of
//! dfdx's own ops on any device and in any precision, `cpu.rs` the fast path, `cuda.rs` the GPU.
//! `README.md` in this folder explains how to add one. Ops know nothing of models or training.
//!
//! Errors are those of the device, such as memory, unless a function says otherwise.

pub mod allocator;
pub mod attention;
mod bridge;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod decoding;
pub mod dropout;
pub mod embedding;
pub mod feed_forward;
pub mod head;
mod kernels;
pub mod maps;
pub mod optimiser;
pub mod parameters;
pub mod precision;
pub mod products;
mod residual;
pub mod synthetic_gradient;
#[cfg(test)]
pub(crate) mod tests;

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Cpu, NoneTape, Synchronize, Tensor};

/// The residual stream of a ragged batch: `[tokens, EMBED]`, documents concatenated.
pub type Stream<const EMBED: usize, N, D, T = NoneTape> = Tensor<(usize, Const<EMBED>), N, D, T>;

/// A device that implements every op in precision `N`, as models require.
pub trait LabDevice<N: Dtype>:
    embedding::EmbeddingOp<N>
    + attention::AttentionOp<N>
    + feed_forward::FeedForwardOp<N>
    + head::HeadOp<N>
    + optimiser::OptimiserOp<N>
    + synthetic_gradient::SyntheticGradientOp
    + Synchronize
{
}

impl LabDevice<f32> for Cpu {}

#[cfg(feature = "cuda")]
impl LabDevice<f32> for dfdx::tensor::Cuda {}
