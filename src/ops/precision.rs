//! How the inputs of linear layers are rounded. Their sums, and everything else, are in f32: weights, norms, and what
//! attention computes from queries, keys and values.
//!
//! On a GPU it is set on the thread's device; on the CPU callers set it for a piece of work, with [`Precision::run`].

use std::cell::Cell;

/// Rounding of the inputs of a linear layer, and of its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Single precision: 24 bits.
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
    /// This thread's precision on the CPU: f32, unless it is inside [`run`](Self::run).
    pub(super) fn current() -> Self {
        ON_CPU.get()
    }

    /// Runs `work` on the CPU with this precision, on all threads the ops use.
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        /// Restores the old precision, even if `work` panics.
        struct Reset(Precision);
        impl Drop for Reset {
            fn drop(&mut self) {
                ON_CPU.set(self.0);
            }
        }
        let _reset = Reset(ON_CPU.replace(self));
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::kernels::threads;

    #[test]
    fn worker_threads_inherit_the_precision_and_it_is_restored() {
        let found = || threads::map(0..64, |_| Precision::current());
        let all = |precision| vec![precision; 64];
        assert_eq!(found(), all(Precision::F32));
        assert_eq!(Precision::Bf16.run(found), all(Precision::Bf16));
        let panicked = std::panic::catch_unwind(|| Precision::Bf16.run(|| panic!("as planned")));
        assert!(panicked.is_err());
        assert_eq!(found(), all(Precision::F32));
    }
}
