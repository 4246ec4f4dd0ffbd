//! From a shape in a TOML to a model type: the table of shapes compiled into this binary.
//!
//! The build script (`build_shapes.rs`) reads every experiment and writes one `shape!` line per shape; this
//! file defines what such a line expands to.

use std::borrow::Cow;

use dfdx::tensor::Cpu;

use super::attention;
use super::gpt::Gpt;
use super::network::{Network, device_error};
use super::parts::{self, PartTimes};
use super::session::{Session, parameter_count};
use super::{Start, Trainable};
#[cfg(feature = "cuda")]
use crate::config::schema::Precision;
use crate::config::schema::{DeviceKind, Placement};
use crate::config::shape::{ModelShape, nearest};
use crate::data::ragged::Ragged;
use crate::error::{Error, Result};
use crate::ops::LabDevice;
use crate::ops::dropout::Dropout;

/// A shape that this binary can train.
#[derive(Debug)]
pub struct Compiled {
    /// Its dimensions.
    pub shape: ModelShape,
    parameter_count: fn() -> usize,
    on_cpu: Constructor,
    parts_on_cpu: fn(Start, &Ragged, f64, usize) -> Result<Vec<PartTimes>>,
    #[cfg(feature = "cuda")]
    on_cuda: OnCuda,
    #[cfg(feature = "cuda")]
    parts_on_cuda: fn(Start, Precision, &Ragged, f64, usize) -> Result<Vec<PartTimes>>,
}

/// Builds a model with fresh weights.
type Constructor = fn(Start) -> Result<Box<dyn Trainable>>;

/// The same on a GPU.
#[cfg(feature = "cuda")]
type OnCuda = fn(Start, Precision) -> Result<Box<dyn Trainable>>;

impl Compiled {
    /// Number of trained parameters.
    pub fn parameter_count(&self) -> usize {
        (self.parameter_count)()
    }

    /// Times every part of a training step on `batch`, individually, `repetitions` times; see [`parts`].
    /// The batch must fit the model and have a scored token.
    pub fn time_parts(
        &self,
        placement: Placement,
        start: Start,
        batch: &Ragged,
        dropout: f64,
        repetitions: usize,
    ) -> Result<Vec<PartTimes>> {
        #[cfg(feature = "cuda")]
        if device(placement.device) == DeviceKind::Cuda {
            let precision = placement.precision;
            return (self.parts_on_cuda)(start, precision, batch, dropout, repetitions);
        }
        let _ = placement;
        (self.parts_on_cpu)(start, batch, dropout, repetitions)
    }
}

fn build<M: Network<D>, D: LabDevice<f32>>(device: D, start: Start) -> Result<Box<dyn Trainable>> {
    Ok(Box::new(Session::<M, D>::new(device, start)?))
}

fn time<M: Network<D>, D: LabDevice<f32>>(
    device: D,
    start: Start,
    batch: &Ragged,
    dropout: f64,
    repetitions: usize,
) -> Result<Vec<PartTimes>> {
    let parts = |model: &M| model.parts(batch, Dropout::new(dropout, 0));
    parts::time(device, start, parts, repetitions).map_err(device_error)
}

macro_rules! shape {
    // A kind of attention for the blocks of a GPT.
    (
        layers $layers:literal, embed $embed:literal, heads $heads:literal,
        head_dim $head_dim:literal, hidden $hidden:literal, vocabulary $vocabulary:literal,
        context $context:literal, kind_parameter $kind_parameter:literal,
        attention $attention:ident[$($constant:literal),*]
    ) => {{
        type Kind<D> = attention::$attention<$embed, $head_dim, $($constant,)* f32, D>;
        type Model<D> = Gpt<$layers, $embed, $hidden, $vocabulary, $context, Kind<D>, f32, D>;
        shape!(
            Model, $layers, $embed, $heads, $head_dim, $hidden, $vocabulary, $context, $kind_parameter
        )
    }};
    // A kind that is a network of its own.
    (
        layers $layers:literal, embed $embed:literal, heads $heads:literal,
        head_dim $head_dim:literal, hidden $hidden:literal, vocabulary $vocabulary:literal,
        context $context:literal, kind_parameter $kind_parameter:literal,
        network $module:ident::$network:ident[$($constant:literal),*]
    ) => {{
        type Model<D> = crate::model::$module::$network<
            $embed, $head_dim, $hidden, $vocabulary, $context, $($constant,)* f32, D,
        >;
        shape!(
            Model, $layers, $embed, $heads, $head_dim, $hidden, $vocabulary, $context, $kind_parameter
        )
    }};
    (
        $model:ident, $layers:literal, $embed:literal, $heads:literal, $head_dim:literal,
        $hidden:literal, $vocabulary:literal, $context:literal, $kind_parameter:literal
    ) => {
        Compiled {
            shape: ModelShape {
                layers: $layers,
                embed: $embed,
                heads: $heads,
                head_dim: $head_dim,
                hidden: $hidden,
                vocabulary: $vocabulary,
                context: $context,
                attention: Cow::Borrowed(<$model<Cpu> as Network<Cpu>>::KIND),
                kind_parameter: $kind_parameter,
            },
            parameter_count: parameter_count::<$model<Cpu>, Cpu>,
            on_cpu: |start| build::<$model<Cpu>, _>(Cpu::default(), start),
            parts_on_cpu: |start, batch, dropout, repetitions| {
                time::<$model<Cpu>, _>(Cpu::default(), start, batch, dropout, repetitions)
            },
            #[cfg(feature = "cuda")]
            on_cuda: |start, precision| {
                build::<$model<dfdx::tensor::Cuda>, _>(cuda_device(precision, $embed)?, start)
            },
            #[cfg(feature = "cuda")]
            parts_on_cuda: |start, precision, batch, dropout, repetitions| {
                let device = cuda_device(precision, $embed)?;
                time::<$model<dfdx::tensor::Cuda>, _>(device, start, batch, dropout, repetitions)
            },
        }
    };
}

/// All compiled shapes, in ascending order of size.
pub fn compiled() -> &'static [Compiled] {
    #[cfg(not(test))]
    static COMPILED: &[Compiled] = include!(concat!(env!("OUT_DIR"), "/shapes.rs"));
    // The other shapes would only be compiled a second time.
    #[cfg(test)]
    static COMPILED: &[Compiled] = include!(concat!(env!("OUT_DIR"), "/shapes_of_unit_tests.rs"));
    COMPILED
}

/// Looks up a shape, if this binary can train it on such a device.
///
/// # Errors
/// The shape is not compiled in (the message names the nearest ones and how to add it), or the binary was
/// built without CUDA.
pub fn find(shape: &ModelShape, device: DeviceKind) -> Result<&'static Compiled> {
    if device == DeviceKind::Cuda && !cfg!(feature = "cuda") {
        return Err(
            Error::config("`device` is \"cuda\", but this binary was built without CUDA")
                .help("rebuild with `--features cuda`, or set `device = \"cpu\"`"),
        );
    }
    let compiled = compiled().iter().find(|c| &c.shape == shape);
    compiled.ok_or_else(|| missing(shape))
}

/// Whether a shape is compiled into this binary.
pub fn has(shape: &ModelShape) -> bool {
    compiled().iter().any(|one| &one.shape == shape)
}

/// A fresh model of `shape`, initialised from `start`. `auto` is CUDA if a device is available. On a GPU
/// the model belongs to the calling thread.
pub fn instantiate(
    shape: &ModelShape,
    placement: Placement,
    start: Start,
) -> Result<Box<dyn Trainable>> {
    let compiled = find(shape, placement.device)?;
    #[cfg(feature = "cuda")]
    if device(placement.device) == DeviceKind::Cuda {
        return (compiled.on_cuda)(start, placement.precision);
    }
    (compiled.on_cpu)(start)
}

/// Resolves a device setting: `auto` is CUDA if a device is available.
pub fn device(setting: DeviceKind) -> DeviceKind {
    #[cfg(feature = "cuda")]
    if setting == DeviceKind::Auto && crate::ops::cuda::is_available() {
        return DeviceKind::Cuda;
    }
    match setting {
        DeviceKind::Auto => DeviceKind::Cpu,
        given => given,
    }
}

/// The matrix-product kernel on this CPU: `avx512`, `avx2`, or the crate `gemm`.
pub fn matmul_kernel() -> &'static str {
    crate::ops::products::kernel_name()
}

/// The GPU that a model with this placement runs on, and its precision: `NVIDIA H100 80GB HBM3, f32`.
/// `None` on the CPU.
pub fn gpu_name(placement: Placement) -> Option<String> {
    #[cfg(feature = "cuda")]
    if device(placement.device) == DeviceKind::Cuda {
        let name = crate::ops::cuda::device_name()?;
        return Some(format!("{name}, {}", placement.precision.name()));
    }
    let _ = placement;
    None
}

/// A note for users about what `auto` resolves to, and why.
pub fn describe_auto_device() -> String {
    #[cfg(feature = "cuda")]
    if let Some(name) = crate::ops::cuda::device_name() {
        return format!("`device = \"auto\"` is the GPU here: {name}");
    }
    let why = match cfg!(feature = "cuda") {
        true => "no GPU is available",
        false => "this binary was built without CUDA",
    };
    format!("`device = \"auto\"` is the CPU here: {why}")
}

/// Releases this thread's GPU resources, if it has any; its models must be gone. A thread of a pool has to
/// call this before the pool is dropped, which does not wait for its threads.
pub fn release_device() {
    #[cfg(feature = "cuda")]
    crate::ops::cuda::release();
}

#[cfg(feature = "cuda")]
fn cuda_device(precision: Precision, embed: usize) -> Result<dfdx::tensor::Cuda> {
    use crate::ops::cuda;
    if embed > cuda::WIDEST_STREAM {
        let most = cuda::WIDEST_STREAM;
        return Err(Error::config(format!(
            "`model.embed` = {embed} is more than the {most} that the CUDA kernels support"
        ))
        .help("make the model narrower, or set `device = \"cpu\"`"));
    }
    let precision = match precision {
        Precision::F32 => cuda::Precision::F32,
        Precision::Tf32 => cuda::Precision::Tf32,
        Precision::Tf32x3 => cuda::Precision::Tf32x3,
    };
    cuda::device(precision).map_err(|cause| {
        Error::run(format!("no CUDA device is available: {cause}")).help("set `device = \"cpu\"`")
    })
}

fn missing(shape: &ModelShape) -> Error {
    let shapes: Vec<ModelShape> = compiled().iter().map(|c| c.shape.clone()).collect();
    let nearest: Vec<String> = nearest(shape, &shapes, 2)
        .iter()
        .map(|s| format!("  nearest: {s}"))
        .collect();
    Error::config(format!(
        "shape {shape} is not in this binary\n{}",
        nearest.join("\n")
    ))
    .help(
        "`attnlab shapes` lists those that are; they are compiled from the TOML files under \
         experiments/",
    )
}

#[cfg(all(test, feature = "cuda"))]
mod tests {
    use super::*;

    #[test]
    fn a_width_that_the_cuda_kernels_do_not_support_is_rejected() {
        let told = cuda_device(Precision::F32, 8192).err();
        let told = told.expect("too wide with a GPU and without").to_string();
        assert!(
            told.contains("`model.embed` = 8192 is more than the 6144"),
            "{told}"
        );
    }
}
