//! From a shape in a TOML to a model type: the table of shapes compiled into the program.
//!
//! The program's build script (`build_shapes.rs`) writes one `Compiled::of::<…>()` per shape; `main.rs` installs them.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use dfdx::tensor::Cpu;
#[cfg(feature = "cuda")]
use dfdx::tensor::Cuda;

use super::gpt::Gpt;
use super::network::{self, Network, device_error};
use super::parts::{self, PartTimes};
use super::perceiver::Perceiver;
use super::session::Session;
use super::{Start, Trainable, visit};
use crate::config::schema::{DeviceKind, ModelSpec, Placement, Precision};
use crate::config::shape::ModelShape;
use crate::data::ragged::Ragged;
use crate::error::{Error, Result};
use crate::ops::LabDevice;
use crate::ops::dropout::Dropout;
use crate::ops::precision::Precision as OpPrecision;
use crate::ops::products::{kernel_name, supports};

/// A shape that this program can train.
#[derive(Debug)]
pub struct Compiled {
    /// Its constants.
    pub shape: ModelShape,
    on_cpu: Networks<Cpu>,
    #[cfg(feature = "cuda")]
    on_cuda: Networks<Cuda>,
}

/// The networks of a shape on a device.
#[derive(Debug)]
struct Networks<D> {
    gpt: Constructors<D>,
    perceiver: Constructors<D>,
}

/// Makes a model on a device, given the precision of what the CPU computes.
type Build<D> = fn(D, OpPrecision, &ModelSpec, Start) -> Result<Box<dyn Trainable>>;

/// What is made of a network; its weights are initialised from a start.
#[derive(Clone, Copy, Debug)]
struct Constructors<D> {
    build: Build<D>,
    time_parts: fn(D, &ModelSpec, Start, &Ragged, usize) -> Result<Vec<PartTimes>>,
    parameter_count: fn(D, &ModelSpec) -> Result<usize>,
}

impl<D: LabDevice<f32>> Constructors<D> {
    const fn of<M: Network<D>>() -> Self {
        Self {
            build: |device, on_cpu, spec, start| {
                let session = Session::<M, D>::new(device, on_cpu, spec, start)?;
                Ok(Box::new(session))
            },
            time_parts: |device, spec, start, batch, repetitions| {
                let parts = |model: &M| model.parts(batch, Dropout::new(spec.dropout, 0));
                let model = network::fresh(&device, spec, start).map_err(device_error)?;
                parts::time(device, model, parts, repetitions).map_err(device_error)
            },
            parameter_count: |device, spec| {
                // Blocks repeat: two small models tell what one more round of a pattern adds.
                let of = |layers| {
                    let spec = ModelSpec {
                        layers,
                        ..spec.clone()
                    };
                    let model = M::zeros(&device, &spec).map_err(device_error)?;
                    Ok::<isize, Error>(visit::parameter_count(&model) as isize)
                };
                let (layers, round) = (spec.layers as isize, spec.pattern.len().max(1));
                let few = 2 + (layers - 2).rem_euclid(round as isize) as usize;
                let few_count = of(few)?;
                if few == spec.layers {
                    return Ok(few_count as usize);
                }
                let more_count = of(few + round)?;
                let rounds = (layers - few as isize) / round as isize;
                Ok((few_count + rounds * (more_count - few_count)) as usize)
            },
        }
    }
}

impl<D: LabDevice<f32>> Networks<D> {
    const fn of_shape<
        const EMBED: usize,
        const HIDDEN: usize,
        const VOCABULARY: usize,
        const CONTEXT: usize,
    >() -> Self {
        Self {
            gpt: Constructors::of::<Gpt<EMBED, HIDDEN, VOCABULARY, CONTEXT, f32, D>>(),
            perceiver: Constructors::of::<Perceiver<EMBED, HIDDEN, VOCABULARY, CONTEXT, f32, D>>(),
        }
    }

    fn of(&self, spec: &ModelSpec) -> &Constructors<D> {
        match spec.attention.kind.0.is_network {
            true => &self.perceiver,
            false => &self.gpt,
        }
    }
}

impl Compiled {
    /// The shape with these constants.
    pub const fn of<
        const EMBED: usize,
        const HIDDEN: usize,
        const VOCABULARY: usize,
        const CONTEXT: usize,
    >() -> Self {
        Self {
            shape: ModelShape {
                embed: EMBED,
                hidden: HIDDEN,
                vocabulary: VOCABULARY,
                context: CONTEXT,
            },
            on_cpu: Networks::of_shape::<EMBED, HIDDEN, VOCABULARY, CONTEXT>(),
            #[cfg(feature = "cuda")]
            on_cuda: Networks::of_shape::<EMBED, HIDDEN, VOCABULARY, CONTEXT>(),
        }
    }

    /// Number of trained parameters of a model of this shape.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn parameter_count(&self, spec: &ModelSpec) -> Result<usize> {
        (self.on_cpu.of(spec).parameter_count)(Cpu::default(), spec)
    }

    /// Times every part of a training step on `batch`, individually, `repetitions` times; see [`parts`].
    /// The batch must fit the model and have a scored token.
    pub fn time_parts(
        &self,
        spec: &ModelSpec,
        placement: Placement,
        start: Start,
        batch: &Ragged,
        repetitions: usize,
    ) -> Result<Vec<PartTimes>> {
        #[cfg(feature = "cuda")]
        if device(placement.device) == DeviceKind::Cuda {
            let device = cuda_device(placement.precision, spec.embed)?;
            return (self.on_cuda.of(spec).time_parts)(device, spec, start, batch, repetitions);
        }
        let time = self.on_cpu.of(spec).time_parts;
        let time = || time(Cpu::default(), spec, start, batch, repetitions);
        with_precision(placement, time)
    }
}

/// Compiles shapes that the program lacks and goes on as a program that has them; returns only if that fails.
type Compile = Box<dyn Fn(&BTreeSet<ModelShape>) -> Error + Send + Sync>;

/// What the program adds to the library.
pub struct Program {
    /// The shapes that are compiled in, in ascending order of size.
    pub shapes: &'static [Compiled],
    /// How it gets others.
    pub compile: Compile,
}

static PROGRAM: OnceLock<Program> = OnceLock::new();

/// Says what the program has; the first call counts.
pub fn install(program: Program) {
    let _ = PROGRAM.set(program);
}

/// All compiled shapes, in ascending order of size. Unit tests have the quickstart's.
pub fn compiled() -> &'static [Compiled] {
    #[cfg(test)]
    return const {
        use crate::config::shape::QUICKSTART as SHAPE;
        &[Compiled::of::<
            { SHAPE.embed },
            { SHAPE.hidden },
            { SHAPE.vocabulary },
            { SHAPE.context },
        >()]
    };
    #[cfg(not(test))]
    PROGRAM.get().map_or(&[], |program| program.shapes)
}

/// What to do about a shape that is not compiled in, where it cannot be compiled at once.
pub const HOW_TO_ADD: &str = "on a machine with cargo and the sources, `attnlab compile FILE` compiles the shapes of an \
                              experiment; `attnlab shapes` lists those in this program";

/// Compiles the shapes that the program lacks, if there are any, and goes on as another program: whatever is cheap to check
/// has been checked before. With all shapes compiled in, returns.
///
/// # Errors
/// They cannot be compiled here; the message says why.
pub fn require(shapes: impl IntoIterator<Item = ModelShape>) -> Result<()> {
    let missing: BTreeSet<ModelShape> = shapes.into_iter().filter(|shape| !has(shape)).collect();
    match (missing.first(), PROGRAM.get()) {
        (None, _) => Ok(()),
        (Some(_), Some(program)) => Err((program.compile)(&missing)),
        (Some(shape), None) => {
            Err(Error::config(format!("shape {shape} is not in this program")).help(HOW_TO_ADD))
        }
    }
}

/// Looks up a shape; see [`require`].
///
/// # Errors
/// The shape cannot be compiled.
pub fn find(shape: &ModelShape) -> Result<&'static Compiled> {
    require([*shape])?;
    let compiled = compiled().iter().find(|one| &one.shape == shape);
    Ok(compiled.expect("it is required"))
}

/// Checks that `placement` can run.
///
/// # Errors
/// The program was built without CUDA, or the processor does not support the precision.
pub fn check(placement: Placement) -> Result<()> {
    if placement.device == DeviceKind::Cuda && !cfg!(feature = "cuda") {
        return Err(
            Error::config("`device` is \"cuda\", but this program was built without CUDA")
                .help("rebuild with `--features cuda`, or set `device = \"cpu\"`"),
        );
    }
    let precision = precision(placement);
    if device(placement.device) == DeviceKind::Cpu && !supports(for_ops(precision)) {
        let why = match std::env::var("MATMUL_KERNEL") {
            Ok(kernel) if !kernel.is_empty() => format!("MATMUL_KERNEL is {kernel}"),
            _ => "this processor does not support AVX512_BF16".to_owned(),
        };
        return Err(
            Error::config(format!("`precision` is \"bf16\", but {why}")).help(
                "use AMD Zen 4, Intel Sapphire Rapids or later, a GPU, or `precision = \"f32\"`",
            ),
        );
    }
    Ok(())
}

/// The precision that a placement resolves to.
pub fn precision(placement: Placement) -> Precision {
    match device(placement.device) {
        DeviceKind::Cpu if placement.precision.is_gpu_only() => Precision::F32,
        _ => placement.precision,
    }
}

/// Runs `work` with the CPU precision that this placement resolves to.
pub fn with_precision<R>(placement: Placement, work: impl FnOnce() -> R) -> R {
    for_ops(precision(placement)).run(work)
}

/// Its type in `ops`.
fn for_ops(precision: Precision) -> OpPrecision {
    match precision {
        Precision::F32 => OpPrecision::F32,
        Precision::Bf16 => OpPrecision::Bf16,
        Precision::Tf32 => OpPrecision::Tf32,
        Precision::Tf32x3 => OpPrecision::Tf32x3,
    }
}

/// Whether a shape is compiled into this program.
pub fn has(shape: &ModelShape) -> bool {
    compiled().iter().any(|one| &one.shape == shape)
}

/// A fresh model, initialised from `start`. `auto` is CUDA if a device is available. On a GPU the model
/// belongs to the calling thread.
pub fn instantiate(
    spec: &ModelSpec,
    placement: Placement,
    start: Start,
) -> Result<Box<dyn Trainable>> {
    check(placement)?;
    let compiled = find(&spec.shape())?;
    #[cfg(feature = "cuda")]
    if device(placement.device) == DeviceKind::Cuda {
        let device = cuda_device(placement.precision, spec.embed)?;
        // What the CPU computes for it, such as attention maps, is in f32.
        return (compiled.on_cuda.of(spec).build)(device, OpPrecision::F32, spec, start);
    }
    let precision = for_ops(precision(placement));
    (compiled.on_cpu.of(spec).build)(Cpu::default(), precision, spec, start)
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

/// The matrix-product kernel on this CPU: `avx512`, `avx2`, `avx512-bf16`, or the crate `gemm`.
pub fn matmul_kernel(placement: Placement) -> &'static str {
    with_precision(placement, kernel_name)
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
        false => "this program was built without CUDA",
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
fn cuda_device(precision: Precision, embed: usize) -> Result<Cuda> {
    use crate::ops::cuda;
    if embed > cuda::WIDEST_STREAM {
        let most = cuda::WIDEST_STREAM;
        return Err(Error::config(format!(
            "`model.embed` = {embed} is more than the {most} that the CUDA kernels support"
        ))
        .help("make the model narrower, or set `device = \"cpu\"`"));
    }
    cuda::device(for_ops(precision)).map_err(|cause| {
        Error::run(format!("no CUDA device is available: {cause}")).help("set `device = \"cpu\"`")
    })
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
