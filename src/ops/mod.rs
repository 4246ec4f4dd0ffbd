//! The fused operations a transformer is made of, differentiable through dfdx's tape.
//!
//! One folder an op: `mod.rs` is the public function, `reference.rs` the plain truth composed of
//! dfdx's own ops on any device and in any precision, `cpu.rs` the fast path, `cuda.rs` the GPU.
//! `README.md` in this folder says how to add one. Ops know no model and no training.

pub mod adamw;
pub mod allocator;
pub mod attention;
mod bridge;
pub mod cross_attention;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod differential;
pub mod dropout;
pub mod embedding;
pub mod feed_forward;
pub mod head;
mod kernels;
pub mod maps;
pub mod parameters;
pub mod products;
pub mod reading;
mod residual;
pub mod synthesizer;
#[cfg(test)]
pub(crate) mod testing;
pub mod upstream;

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Cpu, NoneTape, Synchronize, Tensor};

/// The residual stream of a ragged batch: `[tokens, EMBED]`, documents one after another.
pub type Stream<const EMBED: usize, N, D, T = NoneTape> = Tensor<(usize, Const<EMBED>), N, D, T>;

/// A device that has every op in precision `N`: what a model asks for.
pub trait LabDevice<N: Dtype>:
    embedding::EmbeddingOp<N>
    + attention::AttentionOp<N>
    + differential::DifferentialOp<N>
    + synthesizer::SynthesizerOp<N>
    + cross_attention::CrossAttentionOp<N>
    + feed_forward::FeedForwardOp<N>
    + head::HeadOp<N>
    + adamw::AdamwOp<N>
    + upstream::UpstreamOp
    + Synchronize
{
}

impl LabDevice<f32> for Cpu {}

#[cfg(feature = "cuda")]
impl LabDevice<f32> for dfdx::tensor::Cuda {}
