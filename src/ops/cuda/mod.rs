//! The GPU: one context a thread, working memory, and what kernels, products and sublayers have in common.
//!
//! Everything runs on the device's one stream, in the order in which it is asked for; only what brings numbers back
//! to the host waits for it. Working memory is lent and used again. dfdx's tensors come from the driver's pool, which
//! keeps what is freed: batches are ragged, so no two steps need tensors of the same sizes, and dfdx's own cache,
//! which knows exact sizes alone, would grow without end.
//!
//! If you change this: a thread's models live and die on it (`dyn Trainable` is not `Send`), which is why
//! the context may be the thread's.
#![allow(unsafe_code)]

pub(in crate::ops) mod heads;
pub(in crate::ops) mod kernels;
pub(in crate::ops) mod linear;
pub(in crate::ops) mod products;
mod projected;
pub(in crate::ops) mod reading;
pub(in crate::ops) mod rows;
pub(in crate::ops) mod sublayer;

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
pub use products::flop_per_second;
pub use rows::WIDEST_STREAM;

/// In what precision the inputs of a matrix product are taken; sums and everything else are in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are: 24 bits.
    #[default]
    F32,
    /// TensorFloat-32: 11 bits, on tensor cores.
    Tf32,
    /// As sums of two of these: 22 bits, on tensor cores.
    Tf32x3,
}

/// Where something starts in the device's memory.
pub(in crate::ops) type Address = u64;

/// Groups of 32 columns that sums over rows may have.
const WAITING: usize = 4096;

/// "No such buffer", for kernels that can do without it.
pub(in crate::ops) const NOWHERE: Address = 0;

/// Working memory, lent by the thread's device: it goes back when this is dropped, and is lent again to what is
/// launched later in the same stream.
pub(in crate::ops) struct Buffer(ManuallyDrop<CudaSlice<f32>>);

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and never used again.
        let slice = unsafe { ManuallyDrop::take(&mut self.0) };
        // At the end of a thread its device may be gone already; then the driver takes the memory back.
        let _ = GPU.try_with(|slot| match &*slot.borrow() {
            Some(gpu) => gpu
                .lent
                .borrow_mut()
                .entry(slice.len())
                .or_default()
                .push(slice),
            None => drop(slice),
        });
    }
}

/// What a thread knows of its device.
pub(in crate::ops) struct Gpu {
    cuda: Cuda,
    device: Arc<CudaDevice>,
    blas: CudaBlas,
    precision: Cell<Precision>,
    /// `compute_90` for capability 9.0.
    architecture: &'static str,
    compiled: RefCell<kernels::Compiled>,
    /// Working memory that is not in use, by its length.
    lent: RefCell<HashMap<usize, Vec<CudaSlice<f32>>>>,
    /// Zeros, for blocks that wait for each other.
    waiting: CudaSlice<u32>,
    /// Of the batches that were used last.
    documents: RefCell<Vec<Rc<heads::Documents>>>,
}

thread_local! {
    static GPU: RefCell<Option<Rc<Gpu>>> = const { RefCell::new(None) };
}

/// This thread's device. Matrix products are done in that precision from now on.
///
/// # Errors
/// There is no driver or no device, or it has no memory left.
pub fn device(precision: Precision) -> Result<Cuda, CudaError> {
    let gpu = GPU.with_borrow_mut(|slot| match slot {
        Some(gpu) => Ok(gpu.clone()),
        None => Gpu::new().map(|gpu| slot.insert(Rc::new(gpu)).clone()),
    })?;
    gpu.precision.set(precision);
    Ok(gpu.cuda.clone())
}

/// Gives back what this thread has of the device; its models are gone. For threads that end while the process does, as
/// those of a pool: the driver may be gone by then, and what is given back too late ends the process.
pub fn release() {
    // Out of the slot first: buffers that go with it look there.
    let gpu = GPU.take();
    drop(gpu);
}

/// Whether a device answers. Nothing is started on it.
pub fn answers() -> bool {
    first_device().is_ok()
}

/// The name that the driver gives the device, such as `NVIDIA H100 80GB HBM3`; `None` where none answers.
pub fn device_name() -> Option<String> {
    const LONGEST: usize = 128;
    let mut name = [0u8; LONGEST];
    let device = first_device().ok()?;
    // SAFETY: the driver writes at most so many bytes, with a zero at the end.
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

/// The context of this thread, on which every CUDA tensor of it lives.
pub(in crate::ops) fn gpu() -> Rc<Gpu> {
    let gpu = GPU.with_borrow(|slot| slot.clone());
    gpu.expect("a CUDA model is made by `device`, on the thread that runs it")
}

impl Gpu {
    fn new() -> Result<Self, CudaError> {
        // dfdx takes a driver and a device for granted.
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
            precision: Cell::default(),
            // Once a thread: the compiler's options want it for ever.
            architecture: Box::leak(architecture.into_boxed_str()),
            compiled: RefCell::default(),
            lent: RefCell::default(),
            waiting: device.alloc_zeros(WAITING)?,
            documents: RefCell::default(),
            device,
        })
    }

    /// So many numbers, which may be anything.
    ///
    /// # Errors
    /// Memory.
    pub(in crate::ops) fn scratch(&self, count: usize) -> Result<Buffer, CudaError> {
        // In tests exactly what is asked for, filled with NaN, so that nobody reads what he has not written.
        let length = if cfg!(test) {
            count.max(1)
        } else {
            rounded(count)
        };
        let known = self.lent.borrow_mut().get_mut(&length).and_then(Vec::pop);
        let slice = match known {
            Some(slice) => slice,
            None => self.allocate(length).or_else(|_| {
                // Other lengths may have all of it, from batches that were longer or another stage.
                self.lent.borrow_mut().clear();
                self.device.synchronize()?;
                self.allocate(length)
            })?,
        };
        #[cfg(test)]
        // SAFETY: so many bytes are the slice's, and nothing that was asked for before needs them any more.
        unsafe {
            let bytes = length * size_of::<f32>();
            result::memset_d8_async(at(&slice), 0xff, bytes, *self.device.cu_stream())
        }?;
        Ok(Buffer(ManuallyDrop::new(slice)))
    }

    fn allocate(&self, length: usize) -> Result<CudaSlice<f32>, DriverError> {
        // SAFETY: any bits are f32s, and every kernel that is given working memory writes before it reads.
        unsafe { self.device.alloc(length) }
    }

    /// Counters of blocks, all 0 between launches: so many.
    ///
    /// # Panics
    /// More are asked for than a row of the widest model needs.
    pub(in crate::ops) fn waiting(&self, count: usize) -> Address {
        assert!(count <= WAITING, "{count} groups of 32 columns");
        at(&self.waiting)
    }

    /// Numbers of the host, on the device.
    ///
    /// # Errors
    /// Memory.
    pub(in crate::ops) fn upload<T: DeviceRepr + Unpin>(
        &self,
        numbers: Vec<T>,
    ) -> Result<CudaSlice<T>, CudaError> {
        Ok(self.device.htod_copy(numbers)?)
    }

    /// Counts and places of the host, on the device, where they are 32 bits wide.
    ///
    /// # Errors
    /// Memory.
    pub(in crate::ops) fn upload_places(
        &self,
        places: impl IntoIterator<Item = usize>,
    ) -> Result<CudaSlice<u32>, CudaError> {
        self.upload(places.into_iter().map(|place| place as u32).collect())
    }

    /// Numbers of the device, on the host; waits until they are there.
    ///
    /// # Errors
    /// The device's: also what has gone wrong in a kernel before.
    pub(in crate::ops) fn download<T: DeviceRepr>(
        &self,
        numbers: &CudaSlice<T>,
    ) -> Result<Vec<T>, CudaError> {
        Ok(self.device.dtoh_sync_copy(numbers)?)
    }

    /// The device as dfdx knows it: what makes tensors.
    pub(in crate::ops) fn tensors(&self) -> &Cuda {
        &self.cuda
    }
}

/// Length of working memory for so many numbers: hardly more, so that batches of nearly as many tokens use the same.
fn rounded(count: usize) -> usize {
    let unit = (count.next_power_of_two() / 8).max(64);
    count.max(1).next_multiple_of(unit)
}

/// Has the driver's pool keep what is freed.
fn keep_freed_memory(device: &CudaDevice) -> Result<(), CudaError> {
    let mut pool = std::ptr::null_mut();
    let mut threshold = u64::MAX;
    // SAFETY: both calls write or read the one value that they are given the address of.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, *device.cu_device()).result()?;
        let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, which, (&raw mut threshold).cast()).result()?;
    }
    Ok(())
}

/// Something in the device's memory.
pub(in crate::ops) trait Located {
    /// Where it starts.
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

/// Where a buffer starts.
pub(in crate::ops) fn at(buffer: &impl Located) -> Address {
    buffer.start()
}

/// A dropout as kernels take it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct DeviceDropout {
    key_low: u32,
    key_high: u32,
    threshold: u32,
    scale: f32,
}

// SAFETY: the same four words as `struct Dropout` of common.cuh, without padding.
unsafe impl DeviceRepr for DeviceDropout {}

impl From<Dropout> for DeviceDropout {
    fn from(dropout: Dropout) -> Self {
        let (key, threshold, scale) = dropout.parts();
        Self {
            key_low: key as u32,
            key_high: (key >> 32) as u32,
            threshold,
            scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::cuda;

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
        let lent = gpu().scratch(10).expect("memory");
        release();
        drop(lent);
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
