//! The most that matrix products reach on this machine, with the kernel that the ops use.

use std::time::Instant;

use crate::ops::products::Products;

/// `[m, k, n]` of products that a kernel likes: large, of even sizes, some long and some square.
const SIZES: [[usize; 3]; 4] = [
    [512, 512, 512],
    [768, 768, 768],
    [1024, 256, 1024],
    [1024, 1024, 1024],
];

/// Times that each size is computed; the best counts.
const REPETITIONS: usize = 12;

/// Floating-point operations a second of the fastest of several large f32 products, each computed
/// on all threads of rayon's current pool at once.
pub fn flop_per_second() -> f64 {
    let speeds = SIZES.iter().flat_map(|&size| {
        let mut products = Products::new(size);
        (0..REPETITIONS).map(move |_| {
            let started = Instant::now();
            products.compute();
            products.flop() / started.elapsed().as_secs_f64()
        })
    });
    speeds.fold(0.0, f64::max)
}
