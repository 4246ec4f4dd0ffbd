//! Kernels: compiled by NVRTC on first use, and launched.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use cudarc::driver::{CudaFunction, LaunchAsync, LaunchConfig};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use dfdx::tensor::CudaError;

use super::Gpu;

/// Threads per block, in every kernel.
const THREADS: usize = 256;

/// Warps of 32 threads per block, which is the number of rows per block if a warp processes a row.
pub const WARPS: usize = THREADS / 32;

/// A source of kernels, compiled separately for each value of its constant.
pub struct Source {
    pub name: &'static str,
    pub text: &'static str,
    /// Name of the constant.
    pub constant: &'static str,
}

/// A kernel of a source, for a value of the source's constant.
#[derive(Clone, Copy)]
pub struct Kernel {
    source: &'static Source,
    value: usize,
    name: &'static str,
}

impl Source {
    /// The kernel of that name, for a value of the constant.
    pub const fn kernel(&'static self, value: usize, name: &'static str) -> Kernel {
        Kernel {
            source: self,
            value,
            name,
        }
    }

    /// The names of the kernels, as the text declares them.
    fn kernels(&self) -> Vec<&'static str> {
        let declared = self.text.split("__global__ void ").skip(1);
        // Launch bounds may stand between `void` and the name.
        let names = declared.filter_map(|from| from.split('(').next()?.split_whitespace().last());
        names.collect()
    }

    /// The full source text, for a value of the constant.
    fn whole(&self, value: usize) -> String {
        let constants = format!(
            "#define THREADS {THREADS}\n#define WARPS {WARPS}\n#define {} {value}\n",
            self.constant
        );
        constants + include_str!("common.cuh") + self.text
    }
}

/// Compiled kernels by name, for each source, by name, and value of its constant.
pub(super) type Compiled = HashMap<(&'static str, usize), HashMap<&'static str, CudaFunction>>;

impl Gpu {
    /// Launches a kernel with the given grid of blocks of [`THREADS`].
    ///
    /// The arguments must match the kernel's signature, with addresses of buffers that are long enough.
    ///
    /// # Panics
    /// If the source does not compile or has no such kernel, which is a bug in this crate.
    pub fn launch<A>(
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
        // SAFETY: the callers are the files of `ops/cuda` and the `cuda.rs` of each op. Each passes
        // arguments that match the kernel's signature, and addresses of buffers that are only freed later
        // in the same stream. Tests compare every kernel with its reference on shapes that do not fill a
        // block.
        Ok(unsafe { kernel.launch(shape, arguments) }?)
    }

    /// Launches a kernel with one thread for each of `count` elements.
    ///
    /// # Panics
    /// If there are more elements than kernels can count.
    pub fn launch_each<A>(
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

    /// Launches a kernel with one warp for each of `count` rows.
    pub fn launch_rows<A>(
        &self,
        kernel: Kernel,
        count: usize,
        arguments: A,
    ) -> Result<(), CudaError>
    where
        CudaFunction: LaunchAsync<A>,
    {
        self.launch(kernel, (count.div_ceil(WARPS), 1, 1), arguments)
    }

    fn compiled(&self, kernel: Kernel) -> Result<CudaFunction, CudaError> {
        let (source, value) = (kernel.source, kernel.value);
        let mut all = self.compiled.borrow_mut();
        let kernels = match all.entry((source.name, value)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.compile(source, value)?),
        };
        let function = kernels.get(kernel.name);
        Ok(function.expect("a kernel of its source").clone())
    }

    fn compile(
        &self,
        source: &Source,
        value: usize,
    ) -> Result<HashMap<&'static str, CudaFunction>, CudaError> {
        let options = CompileOptions {
            arch: Some(self.architecture),
            ..Default::default()
        };
        let ptx = compile_ptx_with_opts(source.whole(value), options).unwrap_or_else(|cause| {
            panic!("the kernels `{}` do not compile: {cause:?}", source.name)
        });
        let (module, names) = (format!("{}_{value}", source.name), source.kernels());
        self.device.load_ptx(ptx, &module, &names)?;
        let functions = names.into_iter().map(|name| {
            let function = self.device.get_func(&module, name);
            (name, function.expect("just loaded"))
        });
        Ok(functions.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cuda::{
        delta, differential, heads, kv_cache, parts, products, rows, synthesizer, talking,
        transform,
    };
    use crate::ops::{embedding, head, optimiser};

    /// All sources.
    const ALL: [&Source; 16] = [
        &optimiser::cuda::OPTIMISER,
        &differential::DIFFERENCES,
        &embedding::cuda::TABLES,
        &head::cuda::LOSS,
        &heads::HEADS,
        &heads::HEADS_WITH_POSITION_BIAS,
        &heads::HEADS_WITH_LEARNED_BIAS,
        &heads::HEADS_WITH_STICKS,
        &delta::DELTA,
        &products::PRODUCTS,
        &kv_cache::KV_CACHE,
        &rows::ROWS,
        &parts::PARTS,
        &talking::TALKING,
        &transform::TRANSFORMS,
        &synthesizer::POSITIONS_AS_KEYS,
    ];

    /// Test values of a constant, including the smallest and the largest.
    fn values(constant: &str) -> &'static [usize] {
        match constant {
            "CHUNK" => &[optimiser::cuda::CHUNK],
            "COLUMNS" => &[1, 64, 256, 1000],
            "HEAD_DIM" => &[1, 6, 16, 32, 64, 65, 96, 97, 128, 129, heads::WIDEST],
            "PARTS" => &[products::PARTS],
            "WIDTH" => &[1, 64, 256, 1000, rows::WIDEST_STREAM],
            unknown => panic!("a constant without values here: {unknown}"),
        }
    }

    /// Compiles to machine code for the GPU generation that dfdx was built for, which also detects too much
    /// shared memory. Needs NVRTC, but neither a GPU nor its driver.
    #[test]
    #[ignore = "needs the real NVRTC: `scripts/cuda_build.sh --libraries --tests` runs it"]
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
