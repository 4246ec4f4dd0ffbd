//! The most that matrix products reach on this machine, with the kernel that the ops use.

use std::time::Instant;

use crate::config::schema::DeviceKind;
use crate::error::Result;
use crate::ops::products::Products;
#[cfg(feature = "cuda")]
use crate::{error::Error, model::registry};

/// `[m, k, n]` of products that a kernel likes: large, of even sizes, some long and some square.
const SIZES: [[usize; 3]; 4] = [
    [512, 512, 512],
    [768, 768, 768],
    [1024, 256, 1024],
    [1024, 1024, 1024],
];

/// Times that each size is computed; the best counts.
const REPETITIONS: usize = 12;

/// Floating-point operations a second of the fastest of several large products: on the processor each
/// computed on all threads of rayon's current pool at once; on a GPU one, in the precision that the thread's
/// last model was made for.
///
/// # Errors
/// The device's.
pub fn flop_per_second(device: DeviceKind) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if registry::device(device) == DeviceKind::Cuda {
        let speed = crate::ops::cuda::flop_per_second(REPETITIONS);
        return speed.map_err(|cause| Error::run(format!("the device failed: {cause}")));
    }
    let _ = device;
    let speeds = SIZES.iter().flat_map(|&size| {
        let mut products = Products::new(size);
        (0..REPETITIONS).map(move |_| {
            let started = Instant::now();
            products.compute();
            products.flop() / started.elapsed().as_secs_f64()
        })
    });
    Ok(speeds.fold(0.0, f64::max))
}
