//! The lock of a store's folder: one writer at a time.

use std::path::Path;

use super::StoreError;
use crate::files::{self, FileError, LockFile};

/// The lock of a folder that this process writes to.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "what it holds is held by being there")] LockFile);

impl Lock {
    /// Locks the folder `dir`.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with the process that holds the lock.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(".lock");
        let held = files::lock(&path).map_err(|source| FileError::Io {
            action: "write",
            path,
            source,
        })?;
        held.map(Self).map_err(|pid| StoreError::Busy {
            dir: dir.to_path_buf(),
            pid,
        })
    }
}
