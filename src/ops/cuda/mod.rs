//! The GPU: one context per thread, working memory, and what kernels, products and sublayers share.
//!
//! Everything runs in the order of the device's one stream; the host waits only when it downloads results.
//! Working memory is pooled and reused. dfdx's tensors are allocated from the driver's pool, which keeps
//! freed memory: batches are ragged, so no two steps need tensors of the same sizes, and dfdx's own cache,
//! which only matches exact sizes, would grow without bound.
//!
//! If you change this: a thread's models never leave it (`dyn Trainable` is not `Send`), which is why the
//! context may be thread-local.
#![allow(unsafe_code)]

pub(crate) mod delta;
pub(crate) mod differential;
pub(crate) mod documents;
pub(crate) mod forget;
pub(crate) mod heads;
pub(crate) mod kernels;
pub(crate) mod kv_cache;
pub(crate) mod linear;
pub(crate) mod parts;
pub(crate) mod products;
pub(crate) mod rows;
pub(crate) mod sublayer;
mod synthesizer;
pub(crate) mod talking;
mod transform;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;

use cudarc::cublas::CudaBlas;
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};
use cudarc::driver::{
    CudaDevice, CudaSlice, DevicePtr, DeviceRepr, DeviceSlice, DriverError, result,
};
use dfdx::tensor::{Cuda, CudaError, Storage};

use super::dropout::Dropout;
use super::precision::Precision;
pub use products::flop_per_second;
pub use rows::WIDEST_STREAM;

/// An address in device memory.
pub(crate) type Address = u64;

/// Number of counters: groups of 32 columns that a sum over rows may have.
const COUNTERS: usize = 4096;

/// The null address, for optional buffers.
pub(crate) const NULL: Address = 0;

/// Working memory from the thread's pool. It is returned on drop, and reused by kernels that are launched
/// later in the same stream.
pub struct Buffer(ManuallyDrop<CudaSlice<f32>>);

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and never used again.
        let slice = unsafe { ManuallyDrop::take(&mut self.0) };
        // When a thread ends, its device may already be gone; then the driver reclaims the memory.
        let _ = GPU.try_with(|slot| match &*slot.borrow() {
            Some(gpu) => gpu
                .free_buffers
                .borrow_mut()
                .entry(slice.len())
                .or_default()
                .push(slice),
            None => drop(slice),
        });
    }
}

/// The state of a thread's device.
pub(crate) struct Gpu {
    cuda: Cuda,
    device: Arc<CudaDevice>,
    blas: CudaBlas,
    precision: Cell<Precision>,
    /// `compute_90` for capability 9.0.
    architecture: &'static str,
    compiled: RefCell<kernels::Compiled>,
    /// Unused working memory, by length.
    free_buffers: RefCell<HashMap<usize, Vec<CudaSlice<f32>>>>,
    /// Zeros; blocks count here how many of them are done.
    counters: CudaSlice<u32>,
    /// Of the most recent batches.
    documents: RefCell<Vec<Rc<documents::Documents>>>,
}

thread_local! {
    static GPU: RefCell<Option<Rc<Gpu>>> = const { RefCell::new(None) };
}

/// This thread's device. Linear layers use this precision from now on.
///
/// # Errors
/// There is no driver or no device, or its memory is full.
pub fn device(precision: Precision) -> Result<Cuda, CudaError> {
    let gpu = GPU.with_borrow_mut(|slot| match slot {
        Some(gpu) => Ok(gpu.clone()),
        None => Gpu::new().map(|gpu| slot.insert(Rc::new(gpu)).clone()),
    })?;
    gpu.precision.set(precision);
    Ok(gpu.cuda.clone())
}

/// Releases this thread's device; its models must be gone. Threads of a pool need this because they may end
/// while the process exits: the driver may be gone by then, and releasing too late would abort.
pub fn release() {
    // Emptied first: dropped buffers look for the slot.
    let gpu = GPU.take();
    drop(gpu);
}

/// Whether a device is available; creates no context on it.
pub fn is_available() -> bool {
    first_device().is_ok()
}

/// The driver's name of the device, such as `NVIDIA H100 80GB HBM3`; `None` without one.
pub fn device_name() -> Option<String> {
    const LONGEST: usize = 128;
    let mut name = [0u8; LONGEST];
    let device = first_device().ok()?;
    // SAFETY: the driver writes at most that many bytes, including a terminating zero.
    let told = unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), LONGEST as i32, device) };
    told.result().ok()?;
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    Some(name.to_string_lossy().into_owned())
}

/// The device that everything runs on.
fn first_device() -> Result<sys::CUdevice, DriverError> {
    result::init()?;
    result::device::get(0)
}

/// This thread's context, which all its CUDA tensors belong to.
pub(crate) fn gpu() -> Rc<Gpu> {
    let gpu = GPU.with_borrow(|slot| slot.clone());
    gpu.expect("a CUDA model is made by `device`, on the thread that runs it")
}

impl Gpu {
    fn new() -> Result<Self, CudaError> {
        // dfdx panics without a driver or a device.
        first_device()?;
        let cuda = Cuda::try_build(0, 0)?;
        let device = Storage::<f32>::try_alloc_len(&cuda, 1)?.device();
        keep_freed_memory(&device)?;
        let capability = |part| device.attribute(part);
        let architecture = format!(
            "compute_{}{}",
            capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        Ok(Self {
            blas: CudaBlas::new(device.clone())?,
            cuda,
            precision: Cell::new(Precision::F32),
            // Leaked once per thread: the compiler options want a static string.
            architecture: Box::leak(architecture.into_boxed_str()),
            compiled: RefCell::default(),
            free_buffers: RefCell::default(),
            counters: device.alloc_zeros(COUNTERS)?,
            documents: RefCell::default(),
            device,
        })
    }

    /// Working memory for `count` numbers, uninitialised.
    pub(crate) fn scratch(&self, count: usize) -> Result<Buffer, CudaError> {
        // Tests get exactly the requested length, filled with NaN, so that reading before writing is
        // detected.
        let length = if cfg!(test) {
            count.max(1)
        } else {
            rounded(count)
        };
        let known = self
            .free_buffers
            .borrow_mut()
            .get_mut(&length)
            .and_then(Vec::pop);
        let slice = match known {
            Some(slice) => slice,
            None => self.allocate(length).or_else(|_| {
                // Buffers of other lengths, from longer batches or another stage, may take all memory: free
                // them.
                self.free_buffers.borrow_mut().clear();
                self.device.synchronize()?;
                self.allocate(length)
            })?,
        };
        #[cfg(test)]
        // SAFETY: the slice has that many bytes, and earlier kernels in the stream no longer need them.
        unsafe {
            let bytes = length * size_of::<f32>();
            result::memset_d8_async(at(&slice), 0xff, bytes, *self.device.cu_stream())
        }?;
        Ok(Buffer(ManuallyDrop::new(slice)))
    }

    /// The same if it is needed.
    pub(crate) fn scratch_if(
        &self,
        needed: bool,
        count: usize,
    ) -> Result<Option<Buffer>, CudaError> {
        needed.then(|| self.scratch(count)).transpose()
    }

    fn allocate(&self, length: usize) -> Result<CudaSlice<f32>, DriverError> {
        // SAFETY: any bit pattern is an f32, and kernels write working memory before they read it.
        unsafe { self.device.alloc(length) }
    }

    /// Counters for `count` groups of blocks, all 0 between launches.
    ///
    /// # Panics
    /// If there are more groups than the widest model needs.
    pub(crate) fn counters(&self, count: usize) -> Address {
        assert!(count <= COUNTERS, "{count} groups of 32 columns");
        at(&self.counters)
    }

    /// Copies numbers from the host to the device.
    pub(crate) fn upload<T: DeviceRepr + Unpin>(
        &self,
        numbers: Vec<T>,
    ) -> Result<CudaSlice<T>, CudaError> {
        Ok(self.device.htod_copy(numbers)?)
    }

    /// Copies counts and indices from the host to the device, as 32-bit numbers.
    pub(crate) fn upload_indices(
        &self,
        indices: impl IntoIterator<Item = usize>,
    ) -> Result<CudaSlice<u32>, CudaError> {
        self.upload(indices.into_iter().map(|index| index as u32).collect())
    }

    /// Copies numbers from the device to the host, and waits for them.
    ///
    /// # Errors
    /// The device fails, or an earlier kernel has failed.
    pub(crate) fn download<T: DeviceRepr>(
        &self,
        numbers: &CudaSlice<T>,
    ) -> Result<Vec<T>, CudaError> {
        Ok(self.device.dtoh_sync_copy(numbers)?)
    }

    /// dfdx's device, which allocates tensors.
    pub(crate) fn tensors(&self) -> &Cuda {
        &self.cuda
    }
}

/// Buffer length for `count` numbers: slightly rounded up, so that batches of similar size reuse the same
/// buffers.
fn rounded(count: usize) -> usize {
    let unit = (count.next_power_of_two() / 8).max(64);
    count.max(1).next_multiple_of(unit)
}

/// Makes the driver's pool keep freed memory.
fn keep_freed_memory(device: &CudaDevice) -> Result<(), CudaError> {
    let mut pool = std::ptr::null_mut();
    let mut threshold = u64::MAX;
    // SAFETY: both calls only access the value whose address they are given.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, *device.cu_device()).result()?;
        let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, which, (&raw mut threshold).cast()).result()?;
    }
    Ok(())
}

/// Something in device memory.
pub(crate) trait Located {
    /// Its address.
    fn start(&self) -> Address;
}

impl<T> Located for CudaSlice<T> {
    fn start(&self) -> Address {
        *self.device_ptr()
    }
}

impl Located for Buffer {
    fn start(&self) -> Address {
        *self.0.device_ptr()
    }
}

/// Null where there is none.
impl<T: Located> Located for Option<T> {
    fn start(&self) -> Address {
        self.as_ref().map_or(NULL, T::start)
    }
}

/// The address of a buffer.
pub(crate) fn at(buffer: &impl Located) -> Address {
    buffer.start()
}

// SAFETY: the same four words as `struct Dropout` of common.cuh, without padding: the key's lower half comes first, and the
// bits of the scale are a float.
unsafe impl DeviceRepr for Dropout {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::cuda;

    #[test]
    fn working_memory_of_another_length_is_given_up_where_none_is_left() {
        if cuda().is_none() {
            return;
        }
        let gpu = gpu();
        let (free_bytes, _) = result::mem_get_info().expect("a device that has answered");
        let more_than_half = free_bytes / size_of::<f32>() / 10 * 6;
        drop(gpu.scratch(more_than_half).expect("most of what is free"));
        let again = gpu.scratch(more_than_half - 1);
        drop(again.expect("the same memory again, for one number less"));
        let twice = gpu.scratch(2 * more_than_half);
        assert!(twice.is_err(), "more than there is");
    }

    #[test]
    fn what_a_thread_gives_back_it_can_have_again() {
        if cuda().is_none() {
            return;
        }
        let free_buffers = gpu().scratch(10).expect("memory");
        release();
        drop(free_buffers);
        assert!(GPU.with_borrow(Option::is_none));
        assert!(cuda().is_some());
    }

    #[test]
    fn working_memory_is_hardly_larger_than_asked_for_and_of_few_lengths() {
        let counts = 0..100_000;
        for count in counts.clone() {
            let length = rounded(count);
            assert!(
                (count..=count + count / 4 + 64).contains(&length),
                "{count}: {length}"
            );
        }
        let mut lengths: Vec<usize> = counts.map(rounded).collect();
        lengths.dedup();
        assert!(lengths.len() < 60, "{lengths:?}");
    }
}
