//! How the inputs of matrix products are rounded. Sums, weights, norms and everything else are in f32 in any case.
//!
//! It belongs to the device on which a model computes. A thread's GPU has it; on the CPU whoever computes with a model
//! [runs](Precision::run) that with a precision.

use std::cell::Cell;

use super::kernels::matmul::has_bf16;

/// What is left of an input of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision: 24 bits.
    #[default]
    F32,
    /// 8 bits: on a GPU's tensor cores, or on a processor with AVX512_BF16.
    Bf16,
    /// TensorFloat-32: 11 bits, on a GPU's tensor cores.
    Tf32,
    /// Sums of two TensorFloat-32 numbers: 22 bits, on a GPU's tensor cores.
    Tf32x3,
}

thread_local! {
    static ON_CPU: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// Whether this processor has instructions for it.
    pub fn is_on_cpu(self) -> bool {
        match self {
            Self::F32 => true,
            Self::Bf16 => has_bf16(),
            Self::Tf32 | Self::Tf32x3 => false,
        }
    }

    /// That of this thread's products on the CPU: f32, unless something runs with another.
    pub(super) fn current() -> Self {
        ON_CPU.get()
    }

    /// Runs something on the CPU with this precision, by whatever threads the ops use.
    ///
    /// # Panics
    /// This processor has no instructions for it.
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        /// Restores what was before, even if the work panics.
        struct Before(Precision);
        impl Drop for Before {
            fn drop(&mut self) {
                ON_CPU.set(self.0);
            }
        }
        assert!(
            self.is_on_cpu(),
            "the processor has no instructions for {self:?}"
        );
        let _before = Before(ON_CPU.replace(self));
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::kernels::threads;

    #[test]
    fn all_threads_have_the_precision_of_what_runs_and_only_meanwhile() {
        let found = || threads::map(0..64, |_| Precision::current());
        let all = |precision| vec![precision; 64];
        assert_eq!(found(), all(Precision::F32));
        if Precision::Bf16.is_on_cpu() {
            assert_eq!(Precision::Bf16.run(found), all(Precision::Bf16));
            let panicked =
                std::panic::catch_unwind(|| Precision::Bf16.run(|| panic!("as planned")));
            assert!(panicked.is_err());
        }
        assert_eq!(found(), all(Precision::F32));
    }
}
