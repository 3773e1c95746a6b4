//! Zip archives of files: unpacked into a folder, within limits.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::FileError;
use crate::limits::{MAX_ARCHIVE, MAX_ARCHIVE_FILES};

/// An archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The archive is damaged, or holds what it should not.
    #[error("{path}: {reason}")]
    Content {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Unpacks `archive` into the folder `into`, and returns where its files are: its only folder, or `into`.
///
/// # Errors
/// [`ArchiveError`] where the file is no zip archive or is damaged, an entry would leave the folder or is neither a file nor a folder, or there is more
/// than [`MAX_ARCHIVE`] or [`MAX_ARCHIVE_FILES`] allow.
pub fn unpack(archive: &Path, into: &Path) -> Result<PathBuf, ArchiveError> {
    let wrong = |reason: String| ArchiveError::Content {
        path: archive.to_path_buf(),
        reason,
    };
    let file = std::fs::File::open(archive).map_err(|e| FileError::io("read", archive, e))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| wrong(format!("no zip archive: {e}")))?;
    if zip.len() > MAX_ARCHIVE_FILES {
        let (found, most) = (zip.len(), MAX_ARCHIVE_FILES);
        return Err(wrong(format!("expected at most {most} files, found {found}")));
    }
    let mut left = MAX_ARCHIVE;
    for i in 0..zip.len() {
        let mut entry = zip
            .by_index(i)
            .map_err(|e| wrong(format!("entry {i} cannot be read: {e}")))?;
        let name = entry
            .name()
            .map_or_else(|_| format!("{i}"), |name| name.to_string());
        let Some(at) = entry.enclosed_name().filter(|_| !entry.is_symlink()) else {
            return Err(wrong(format!(
                "entry {name:?}: expected a file or a folder inside the archive"
            )));
        };
        let at = into.join(at);
        if entry.is_dir() {
            super::create_dir(&at)?;
            continue;
        }
        if let Some(folder) = at.parent() {
            super::create_dir(folder)?;
        }
        let mut file = std::fs::File::create(&at).map_err(|e| FileError::io("create", &at, e))?;
        // The size in the directory is a claim; what is read counts.
        let n = std::io::copy(&mut entry.by_ref().take(left + 1), &mut file)
            .map_err(|e| wrong(format!("entry {name:?} cannot be unpacked: {e}")))?;
        left = left.checked_sub(n).ok_or_else(|| {
            let most = MAX_ARCHIVE >> 20;
            wrong(format!(
                "entry {name:?}: expected at most {most} MiB in the archive's files"
            ))
        })?;
    }
    Ok(match &super::list_names(into)?[..] {
        [only] if only.is_dir() => only.clone(),
        _ => into.to_path_buf(),
    })
}
