//! One writer at a time.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::StoreError;
use crate::files::FileError;

/// Held while a folder is written to. The operating system lets go of it when the process dies.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "what it holds is held by being there")] File);

impl Lock {
    /// Takes the folder `dir`.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with the process that has it.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(".lock");
        let fail = |source| FileError::Io {
            action: "write",
            path: path.clone(),
            source,
        };
        let mut options = File::options();
        let mut file = options
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid); // only a name in a message
                return Err(StoreError::Busy {
                    dir: dir.to_path_buf(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source).into()),
        }
        file.set_len(0).map_err(fail)?;
        write!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self(file))
    }
}
