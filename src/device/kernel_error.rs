//! Files of kernels that cannot be written or read.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file of kernels that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .file.display())]
pub struct KernelError {
    file: PathBuf,
    reason: String,
}

impl KernelError {
    pub(super) fn new(file: &Path, reason: impl fmt::Display) -> Self {
        Self {
            file: file.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}
