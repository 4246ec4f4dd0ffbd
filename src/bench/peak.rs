//! The highest rate of matrix products on this machine, with the kernel that the ops use.

use std::time::Instant;

use crate::config::schema::Placement;
use crate::error::Result;
use crate::model::registry;
use crate::ops::products::Products;
#[cfg(feature = "cuda")]
use crate::{config::schema::DeviceKind, error::Error};

/// `[m, k, n]` of products that suit a kernel: large, of round sizes, some tall and some square.
const SIZES: [[usize; 3]; 4] = [
    [512, 512, 512],
    [768, 768, 768],
    [1024, 256, 1024],
    [1024, 1024, 1024],
];

/// How often each size is computed; the fastest counts.
const REPETITIONS: usize = 12;

/// Floating-point operations per second of the fastest of several large products. On the CPU every thread
/// of rayon's current pool computes one at once; on a GPU it is a single product, in the precision of this
/// thread's last model.
pub fn flop_per_second(placement: Placement) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if registry::device(placement.device) == DeviceKind::Cuda {
        let speed = crate::ops::cuda::flop_per_second(REPETITIONS);
        return speed.map_err(|cause| Error::run(format!("the device failed: {cause}")));
    }
    let speeds = SIZES.iter().flat_map(|&size| {
        let mut products = registry::with_precision(placement, || Products::new(size));
        (0..REPETITIONS).map(move |_| {
            let started = Instant::now();
            products.compute();
            products.flop() / started.elapsed().as_secs_f64()
        })
    });
    Ok(speeds.fold(0.0, f64::max))
}
