//! How the process's allocator treats large blocks.
#![allow(unsafe_code)]

/// Has the allocator keep what is freed. dfdx makes some tensors in each step, and pages that go back to
/// the system come again one fault at a time, to be cleared.
///
/// Call it first in `main`, before there is a second thread. Only glibc has such a setting.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // The most that every glibc takes for the first; the second is worth nothing without it.
        const MAPPED_FROM_BYTES: libc::c_int = 32 << 20;
        const KEPT_BYTES: libc::c_int = 1 << 30;
        // SAFETY: `mallopt` sets numbers that other threads' allocations read without a lock. There is
        // no other thread yet, and the numbers say only when memory goes back to the system.
        unsafe {
            if libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES) == 1 {
                libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
            }
        }
    }
}
