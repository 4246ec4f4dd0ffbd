//! Kernels: compiled by NVRTC when they are first used, and launched.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use cudarc::driver::{CudaFunction, LaunchAsync, LaunchConfig};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use dfdx::tensor::CudaError;

use super::Gpu;

/// Threads a block, in every kernel.
const THREADS: usize = 256;

/// Of 32 threads each, in a block: rows that it takes where a warp takes a row.
pub(in crate::ops) const WARPS: usize = THREADS / 32;

/// A source of kernels, compiled anew for each value of its constant.
pub(in crate::ops) struct Source {
    pub(in crate::ops) name: &'static str,
    pub(in crate::ops) text: &'static str,
    /// What the text calls the number that it is compiled for.
    pub(in crate::ops) constant: &'static str,
    pub(in crate::ops) kernels: &'static [&'static str],
}

/// A kernel of a source, for a value of its constant.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Kernel {
    source: &'static Source,
    value: usize,
    name: &'static str,
}

impl Source {
    /// The kernel of that name, for that value of the constant.
    pub(in crate::ops) const fn kernel(&'static self, value: usize, name: &'static str) -> Kernel {
        Kernel {
            source: self,
            value,
            name,
        }
    }

    /// All of its text, for that value of the constant.
    fn whole(&self, value: usize) -> String {
        let constants = format!(
            "#define THREADS {THREADS}\n#define WARPS {WARPS}\n#define {} {value}\n",
            self.constant
        );
        constants + include_str!("common.cuh") + self.text
    }
}

/// Those that are compiled, by the name of their source and the value of its constant, in the source's order.
pub(super) type Compiled = HashMap<(&'static str, usize), Vec<CudaFunction>>;

impl Gpu {
    /// Asks for a kernel to be run by so many blocks of [`THREADS`].
    ///
    /// The arguments must be what the kernel's source says: addresses of buffers as long as it needs.
    ///
    /// # Errors
    /// The driver does not take it.
    ///
    /// # Panics
    /// The source does not compile, or has no such kernel: a mistake in this crate.
    pub(in crate::ops) fn launch<A>(
        &self,
        kernel: Kernel,
        (x, y, z): (usize, usize, usize),
        arguments: A,
    ) -> Result<(), CudaError>
    where
        CudaFunction: LaunchAsync<A>,
    {
        if x * y * z == 0 {
            return Ok(());
        }
        let shape = LaunchConfig {
            grid_dim: (x as u32, y as u32, z as u32),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        let kernel = self.compiled(kernel)?;
        // SAFETY: the callers are the files of `ops/cuda` and the `cuda.rs` of each op. Each passes what
        // the kernel's signature says, and addresses of buffers that are freed, if at all, later in the
        // same stream. Tests compare every kernel with its reference on shapes that do not fill a block.
        Ok(unsafe { kernel.launch(shape, arguments) }?)
    }

    /// The same with a thread for each of `count` elements.
    ///
    /// # Errors
    /// As [`Self::launch`].
    ///
    /// # Panics
    /// There are more than kernels can count.
    pub(in crate::ops) fn launch_each<A>(
        &self,
        kernel: Kernel,
        count: usize,
        arguments: A,
    ) -> Result<(), CudaError>
    where
        CudaFunction: LaunchAsync<A>,
    {
        assert!(
            count <= (u32::MAX as usize) - THREADS,
            "{count} elements: a batch has too many tokens"
        );
        self.launch(kernel, (count.div_ceil(THREADS), 1, 1), arguments)
    }

    fn compiled(
        &self,
        Kernel {
            source,
            value,
            name,
        }: Kernel,
    ) -> Result<CudaFunction, CudaError> {
        let mut all = self.compiled.borrow_mut();
        let kernels = match all.entry((source.name, value)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.compile(source, value)?),
        };
        let at = source.kernels.iter().position(|kernel| *kernel == name);
        Ok(kernels[at.expect("a kernel that its source lists")].clone())
    }

    fn compile(
        &self,
        source: &'static Source,
        value: usize,
    ) -> Result<Vec<CudaFunction>, CudaError> {
        let options = CompileOptions {
            arch: Some(self.architecture),
            ..Default::default()
        };
        let ptx = compile_ptx_with_opts(source.whole(value), options).unwrap_or_else(|cause| {
            panic!("the kernels `{}` do not compile: {cause:?}", source.name)
        });
        let module = format!("{}_{value}", source.name);
        self.device.load_ptx(ptx, &module, source.kernels)?;
        let kernels = source.kernels.iter();
        let loaded = kernels.map(|kernel| self.device.get_func(&module, kernel));
        Ok(loaded.map(|kernel| kernel.expect("just loaded")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cuda::{heads, products, projected, reading, rows};
    use crate::ops::{adamw, differential, embedding, head, synthesizer};

    /// Every source.
    const ALL: [&Source; 11] = [
        &adamw::cuda::OPTIMISER,
        &differential::cuda::DIFFERENCES,
        &embedding::cuda::TABLES,
        &head::cuda::LOSS,
        &heads::HEADS,
        &heads::HEADS_OF_PLACES,
        &products::PRODUCTS,
        &projected::PROJECTED,
        &reading::MEMORY,
        &rows::ROWS,
        &synthesizer::cuda::PLACES_AS_KEYS,
    ];

    /// Values of a constant, the least and the greatest among them.
    fn values(constant: &str) -> &'static [usize] {
        match constant {
            "CHUNK" => &[adamw::cuda::CHUNK],
            "COLUMNS" => &[1, 64, 256, 1000],
            "HEAD_DIM" => &[1, 6, 16, 32, 64, 65, 96, 97, heads::WIDEST],
            "PARTS" => &[products::PARTS],
            "WIDTH" => &[1, 64, 256, 1000, rows::WIDEST_STREAM],
            unknown => panic!("a constant without values here: {unknown}"),
        }
    }

    /// For a GPU of the capability that dfdx was built for, and down to its machine code, which is where too much shared
    /// memory would be refused. It needs NVRTC, but neither a GPU nor its driver.
    #[test]
    #[ignore = "`scripts/cuda_build.sh --libraries --tests` runs it, with an NVRTC that is one"]
    fn nvrtc_compiles_every_source() {
        let capability = std::env::var("CUDA_COMPUTE_CAP");
        let capability = capability.expect("CUDA_COMPUTE_CAP says for which GPU, such as 90");
        let architecture: &str = Box::leak(format!("sm_{capability}").into_boxed_str());
        for source in ALL {
            for &value in values(source.constant) {
                let options = CompileOptions {
                    arch: Some(architecture),
                    ..Default::default()
                };
                let compiled = compile_ptx_with_opts(source.whole(value), options);
                if let Err(cause) = compiled {
                    let (name, constant) = (source.name, source.constant);
                    panic!("`{name}` with {constant} = {value}: {cause}");
                }
            }
        }
    }
}
