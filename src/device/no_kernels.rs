//! Kernels in a build without GPU backends: there are none to keep, and none to count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::kernel_error::KernelError;

const NONE: &str = "this build has no GPU backend: build with --features cuda, wgpu, vulkan or metal";

/// Nothing to configure.
pub fn configure() {}

/// No file.
pub fn file() -> Option<PathBuf> {
    None
}

/// Nothing.
pub fn kept() -> BTreeMap<String, usize> {
    BTreeMap::new()
}

/// Cannot save.
///
/// # Errors
/// Always.
pub fn save(out: &Path, _device: &str) -> Result<(), KernelError> {
    Err(KernelError::new(out, NONE))
}

/// Cannot load.
///
/// # Errors
/// Always.
pub fn load(file: &Path, _device: &str) -> Result<usize, KernelError> {
    Err(KernelError::new(file, NONE))
}

/// Counts nothing.
#[derive(Debug)]
pub struct Launches;

impl Launches {
    /// Starts to count nothing.
    pub fn watch() -> Self {
        Self
    }

    /// Starts to count nothing.
    pub fn watch_new(_on_new: impl Fn(&str, usize) + Send + Sync + 'static) -> Self {
        Self
    }

    /// Nothing.
    pub fn by_kernel(&self) -> BTreeMap<String, usize> {
        BTreeMap::new()
    }

    /// 0.
    pub fn kernels(&self) -> usize {
        0
    }

    /// 0.
    pub fn total(&self) -> usize {
        0
    }
}
