//! Matrix products alone: how fast the processor can be at all, and how fast at given sizes.

use rayon::prelude::*;

use super::kernels::matmul::{Output, View, product};

/// The same product `[m, k] · [k, n]` on every thread at once, each with matrices of its own.
///
/// That is how the ops use the kernel: no product is ever shared by two threads.
pub struct Products {
    size: [usize; 3],
    /// The two factors and the product, for each thread.
    matrices: Vec<[Vec<f32>; 3]>,
}

impl Products {
    /// Matrices for each thread of rayon's current pool. `size` is `[m, k, n]`.
    pub fn new(size: [usize; 3]) -> Self {
        let [m, k, n] = size;
        let numbers = |length| (0..length).map(|i| (i % 7) as f32 - 3.0).collect();
        let matrices = (0..rayon::current_num_threads())
            .map(|_| [numbers(m * k), numbers(k * n), vec![0.0; m * n]])
            .collect();
        Self { size, matrices }
    }

    /// Computes all of them, and returns when the last thread is done.
    pub fn compute(&mut self) {
        let [m, k, n] = self.size;
        let work = self.matrices.par_iter_mut().with_max_len(1);
        work.for_each(|[a, b, out]| {
            let (a, b) = (View::rows(a, k), View::rows(b, n));
            product((m, k, n), a, b, 1.0, Output::Set, out, n);
        });
    }

    /// Floating-point operations of one [`Products::compute`]: `2 m k n` for each thread.
    pub fn flop(&self) -> f64 {
        let each: f64 = self.size.iter().map(|&n| n as f64).product();
        2.0 * each * self.matrices.len() as f64
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
            for [a, b, out] in &products.matrices {
                let sum: f32 = (0..3).map(|i| a[3 + i] * b[i * 4 + 2]).sum();
                assert_eq!(out[4 + 2], sum);
            }
        });
    }
}
