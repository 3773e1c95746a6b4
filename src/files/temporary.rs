//! Temporary files and folders, and the removal of those of killed processes.
//!
//! Each is locked by the process that writes it. The first write of a process in a folder removes unlocked ones.

use std::collections::HashSet;
use std::fs::File;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::{NamedTempFile, TempDir};

/// Prefix of temporary files and folders.
pub(super) const PREFIX: &str = ".tmp-";

/// Folders that this process has cleaned.
static CLEANED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// A temporary file in `folder`.
pub(super) fn file(folder: &Path) -> Result<NamedTempFile> {
    clean_once(folder);
    loop {
        let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder)?;
        if hold(file.as_file(), file.path()) {
            return Ok(file);
        }
        // Another process removed it between its creation and its lock.
    }
}

/// A temporary folder in `folder`, with its lock.
pub(super) fn folder(folder: &Path) -> Result<(TempDir, Option<File>)> {
    clean_once(folder);
    loop {
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(folder)?;
        let Ok(file) = File::open(made.path()) else {
            // `None` on systems that cannot open folders, where nothing is cleaned either.
            return Ok((made, None));
        };
        if hold(&file, made.path()) {
            return Ok((made, Some(file)));
        }
    }
}

/// Locks a new file. False if another process removes it.
fn hold(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => false,
        // File systems without locks: temporaries there are not cleaned, see below.
        _ => path.exists(),
    }
}

/// Removes temporaries of killed processes in `folder`, at the first call for this folder.
pub(crate) fn clean_once(folder: &Path) {
    let key = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    let mut cleaned = CLEANED.lock().unwrap_or_else(PoisonError::into_inner);
    if cleaned.get_or_insert_default().insert(key) {
        clean(folder);
    }
}

/// Removes unlocked temporaries in `folder`.
fn clean(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
            continue;
        };
        let Some(file) = (kind.is_file() || kind.is_dir())
            .then(|| File::open(&path).ok())
            .flatten()
        else {
            continue;
        };
        if file.try_lock().is_ok() {
            // A file that cannot be removed is harmless.
            let _ = match kind.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litter_is_removed_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        let held = file(dir.path()).expect("made");
        let (held_folder, _lock) = folder(dir.path()).expect("made");
        std::fs::write(at(".tmp-killed"), "half").expect("written");
        std::fs::create_dir_all(at(".tmp-folder/inside")).expect("made");
        std::fs::write(at("kept"), "").expect("written");
        clean(dir.path());
        assert!(held.path().exists() && held_folder.path().exists() && at("kept").exists());
        assert!(!at(".tmp-killed").exists() && !at(".tmp-folder").exists());
    }
}
