//! Matrix products alone: for measuring the peak rate of the processor, or the rate at given sizes.

use rayon::prelude::*;

use super::kernels::matmul::{Packed, Part, Target, View, multiply};
pub use super::kernels::matmul::{kernel_name, supports};

/// The same product `[m, k] · [k, n]` on every thread at once, each with its own matrices.
///
/// This is how the ops use the kernel: the right factor is packed beforehand, and a product is never
/// divided among threads.
pub struct Products {
    size: [usize; 3],
    threads: Vec<Matrices>,
}

/// The matrices of one thread.
struct Matrices {
    left: Vec<f32>,
    right: Packed<'static>,
    out: Vec<f32>,
}

impl Products {
    /// Matrices for each thread of rayon's current pool. `size` is `[m, k, n]`.
    pub fn new(size: [usize; 3]) -> Self {
        let [m, k, n] = size;
        let numbers = |length| -> Vec<f32> { (0..length).map(|i| (i % 7) as f32 - 3.0).collect() };
        let matrices = || {
            let mut right = Packed::of_rows(k, n);
            right.put(0, &numbers(k * n));
            Matrices {
                left: numbers(m * k),
                right,
                out: vec![0.0; m * n],
            }
        };
        let threads = rayon::current_num_threads();
        Self {
            size,
            threads: std::iter::repeat_with(matrices).take(threads).collect(),
        }
    }

    /// Computes all products, and returns when the last thread has finished.
    pub fn compute(&mut self) {
        let [m, k, n] = self.size;
        let work = self.threads.par_iter_mut().with_max_len(1);
        work.for_each(|Matrices { left, right, out }| {
            let (left, target) = (View::rows(left, k), Target::set(out, n));
            multiply(m, left, right, 1.0, Part::Whole, target);
        });
    }

    /// Floating-point operations of one [`Products::compute`]: `2 m k n` for each thread.
    pub fn flop(&self) -> f64 {
        let each: f64 = self.size.iter().map(|&n| n as f64).product();
        2.0 * each * self.threads.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_computes_its_product() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        pool.expect("threads").install(|| {
            let mut products = Products::new([2, 3, 4]);
            products.compute();
            assert_eq!(products.flop(), 2.0 * 24.0 * 3.0);
            for Matrices { left, out, .. } in &products.threads {
                // Element (i, 2) of the right factor is number 4 i + 2 of 0, 1, …, 6, 0, … minus 3.
                let right = |i: usize| ((i * 4 + 2) % 7) as f32 - 3.0;
                let sum: f32 = (0..3).map(|i| left[3 + i] * right(i)).sum();
                assert_eq!(out[4 + 2], sum);
            }
        });
    }
}
