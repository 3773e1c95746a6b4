//! Keeps freed memory for the next tensor.
//!
//! A step allocates and frees large tensors of the same sizes again and again. By default glibc returns such blocks to the system, which then has to clear
//! every page of the next one: 7 to 19 % of the CPU time of a network's forward pass.

/// glibc keeps what is freed, and takes it from its heap. For the start of a program, before other threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed_memory() {
    /// A block of this size and above is returned: weights, not activations.
    const RETURNED: libc::c_int = 1 << 30;
    #[expect(
        unsafe_code,
        reason = "no safe function of the allocator sets it; programs call it before they start threads"
    )]
    // SAFETY: mallopt has no requirements on its arguments; one that it does not know is refused.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

/// Other allocators keep it anyway.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
