//! Everything that depends on how dfdx 0.13 stores a tensor.
//!
//! dfdx exposes a tensor's elements one by one (`Index`) or as a copy (`as_vec`); fused ops need the slice.
//! If you change this: the code relies on `dfdx = "=0.13.0"`, whose CPU tensors are one `Vec`.
#![allow(unsafe_code)]

use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cpu, Gradients, HasErr, Storage, Tensor};

/// The buffer of a contiguous CPU tensor, in row-major order; nothing is copied.
pub(super) fn host<S: Shape, T>(tensor: &Tensor<S, f32, Cpu, T>) -> &[f32] {
    let length = contiguous_length(tensor);
    if length == 0 {
        return &[];
    }
    let start: *const f32 = &tensor[S::Concrete::default()];
    // SAFETY: `contiguous_length` has checked that every axis steps through one buffer in row-major order,
    // so `length` elements of dfdx's `Vec<f32>` follow `start`. The slice borrows the tensor, and dfdx
    // writes a shared buffer only after copying it (`Arc::make_mut`). One reservation: `start` comes from a
    // reference to one element, and the strictest of the proposed aliasing models (Stacked Borrows) would
    // not allow access beyond it. dfdx has no public access to the whole slice; use it here as soon as
    // there is one.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// The same, mutably. dfdx copies the buffer first if it is shared with another tensor.
pub(super) fn host_mut<S: Shape, T>(tensor: &mut Tensor<S, f32, Cpu, T>) -> &mut [f32] {
    let length = contiguous_length(tensor);
    if length == 0 {
        return &mut [];
    }
    let start: *mut f32 = &mut tensor[S::Concrete::default()];
    // SAFETY: as in `host`; `IndexMut` has made the buffer this tensor's own, and the slice
    // borrows the tensor mutably.
    unsafe { std::slice::from_raw_parts_mut(start, length) }
}

/// Number of elements of a row-major tensor without gaps. Ops make their inputs contiguous first.
fn contiguous_length<S: Shape, T>(tensor: &Tensor<S, f32, Cpu, T>) -> usize {
    let sizes: Vec<usize> = tensor.shape().concrete().into_iter().collect();
    let length: usize = sizes.iter().product();
    if length == 0 {
        return 0;
    }
    let address = |index: S::Concrete| std::ptr::from_ref(&tensor[index]).addr();
    let origin = address(S::Concrete::default());
    let mut expected_step = 1;
    for axis in (0..sizes.len()).rev() {
        if sizes[axis] > 1 {
            let mut index = S::Concrete::default();
            index[axis] = 1;
            let step = address(index).wrapping_sub(origin) / size_of::<f32>();
            assert_eq!(step, expected_step, "a fused op was given a strided tensor");
        }
        expected_step *= sizes[axis];
    }
    length
}

/// Takes the gradient of `tensor` out of the map, so that several can be borrowed mutably at once, or one be updated in
/// place.
pub(super) fn take_gradient<S: Shape, D: Storage<f32>>(
    gradients: &mut Gradients<f32, D>,
    device: &D,
    tensor: &Tensor<S, f32, D>,
) -> Result<D::Vec, D::Err> {
    // CUDA cannot allocate zero elements.
    let placeholder = device.try_alloc_len(1)?;
    let slot = gradients.get_or_alloc_mut(tensor)?;
    Ok(std::mem::replace(slot, placeholder))
}

/// Sets the gradient of `tensor`, which must have no other consumer: the residual stream is a chain of ops
/// and never used twice. Debug builds check this.
pub(super) fn set_gradient<S: Shape>(
    gradients: &mut Gradients<f32, Cpu>,
    tensor: &Tensor<S, f32, Cpu>,
    buffer: <Cpu as Storage<f32>>::Vec,
) -> Result<(), <Cpu as HasErr>::Err> {
    let gradient = gradients.get_or_alloc_mut(tensor)?;
    debug_assert!(
        gradient.iter().all(|&g| g == 0.0),
        "a stream was read twice"
    );
    *gradient = buffer;
    Ok(())
}

/// The same for CUDA, where a tensor's elements are at an address.
#[cfg(feature = "cuda")]
pub(super) mod cuda {
    use std::fmt::Write;

    use cudarc::driver::DevicePtr;
    use dfdx::shapes::Shape;
    use dfdx::tensor::{Cuda, CudaError, Gradients, Storage, Tensor};

    /// Address of a tensor's first element in device memory. The elements are in row-major order without
    /// gaps if the tensor is a parameter or was made contiguous, which ops do with every stream.
    ///
    /// dfdx 0.13 has no public method for this. Its `Debug` output contains the address as the field
    /// `cu_device_ptr`; formatting, which emits one piece at a time, is aborted as soon as the value has
    /// been seen.
    ///
    /// # Panics
    /// With a version of dfdx whose output differs.
    pub fn address<S: Shape>(tensor: &Tensor<S, f32, Cuda>) -> u64 {
        let mut search = Search::Field;
        // Ends with the error that aborts formatting.
        let _ = write!(search, "{tensor:?}");
        match search {
            Search::Found(address) => address,
            // In case the pieces are split differently.
            _ => in_text(&format!("{tensor:?}")).expect("a debug text with `cu_device_ptr`"),
        }
    }

    fn in_text(text: &str) -> Option<u64> {
        let (_, from) = text.split_once("cu_device_ptr: ")?;
        from.split([',', ' ']).next()?.parse().ok()
    }

    /// What to look for next in the `Debug` output.
    enum Search {
        Field,
        Colon,
        Value,
        Found(u64),
    }

    impl Write for Search {
        fn write_str(&mut self, piece: &str) -> std::fmt::Result {
            *self = match self {
                Self::Field if piece == "cu_device_ptr" => Self::Colon,
                Self::Field => return Ok(()),
                Self::Colon => Self::Value,
                Self::Value => Self::Found(piece.parse().map_err(|_| std::fmt::Error)?),
                Self::Found(_) => return Err(std::fmt::Error),
            };
            Ok(())
        }
    }

    /// Address of a parameter's gradient, which is allocated and zeroed if needed.
    pub fn gradient_address<S: Shape>(
        gradients: &mut Gradients<f32, Cuda>,
        tensor: &Tensor<S, f32, Cuda>,
    ) -> Result<u64, CudaError> {
        Ok(*gradients.get_or_alloc_mut(tensor)?.device_ptr())
    }

    /// Address of a gradient taken out of the map.
    pub fn start_of(gradient: &<Cuda as Storage<f32>>::Vec) -> u64 {
        *gradient.device_ptr()
    }
}
