//! Settings of the process's allocator for large blocks.
#![allow(unsafe_code)]

/// Makes the allocator keep freed memory. dfdx allocates some tensors in each step, and pages that were
/// returned to the system would come back one zeroed page fault at a time.
///
/// Call it first in `main`, before there is a second thread. Only glibc has such a setting.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // The largest value that every glibc accepts for the first; the second has no effect without it.
        const MAPPED_FROM_BYTES: libc::c_int = 32 << 20;
        const KEPT_BYTES: libc::c_int = 1 << 30;
        // SAFETY: `mallopt` sets numbers that other threads' allocations read without a lock. There is no
        // other thread yet, and the numbers only control when memory is returned to the system.
        unsafe {
            if libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES) == 1 {
                libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
            }
        }
    }
}
