//! Reading files, and writing them atomically.
//!
//! Every file is written to a temporary name in the same folder and renamed when it is complete. Temporary files of a killed process are removed by the
//! next process that writes in the folder.

mod cache;
mod guard;
pub mod http;
mod lock;
mod sums;
mod temporary;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub(crate) use guard::guarded;

pub use cache::{cache_dir, sha256_known};
pub use lock::{LockFile, lock, lock_holder};
pub(crate) use temporary::clean_once as clean_temporaries;

pub use sums::{SUMS, Sums, expect_sha256};

use crate::limits::{MAX_FILE, MAX_STREAM, MAX_TEXT};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file does not exist.
    #[error("no such file: {0}")]
    Missing(PathBuf),
    /// The operating system reported an error.
    #[error("cannot {action} {path}")]
    Io {
        /// The attempted action: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// There is no cache folder.
    #[error("no cache folder: set ECLIPSE_CACHE to one")]
    NoCache,
    /// A text file is not UTF-8.
    #[error("{path} is not UTF-8: byte {offset} is 0x{byte:02x}")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// A file is larger than its limit.
    #[error("{path} has more than {most} bytes, and no more are read of {what}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: u64,
        /// What kind of file it is.
        what: &'static str,
    },
    /// A file differs from its record.
    #[error("{path} was changed or damaged: expected {expected}, found {found}")]
    Changed {
        /// The file.
        path: PathBuf,
        /// The recorded value.
        expected: String,
        /// The value found.
        found: String,
    },
}

impl FileError {
    /// [`FileError::Missing`] for a file to read that is not there, else [`FileError::Io`].
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound && action == "read" {
            return Self::Missing(path.to_path_buf());
        }
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// All bytes of `path`. Pipes and devices, which may be endless, are read up to [`MAX_STREAM`].
///
/// # Errors
/// [`FileError::Missing`], [`FileError::Io`] or [`FileError::TooLarge`], naming the path.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, FileError> {
    read_at_most(path, MAX_FILE, "a file")
}

/// All bytes of `path`, at most `most`; `what` names the kind of file in errors.
///
/// # Errors
/// Like [`read()`].
pub fn read_at_most(path: impl AsRef<Path>, most: u64, what: &'static str) -> Result<Vec<u8>, FileError> {
    let path = path.as_ref();
    let fail = |e| FileError::io("read", path, e);
    let file = std::fs::File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    let (most, what) = match metadata.is_file() {
        true => (most, what),
        false => (most.min(MAX_STREAM), "a pipe or a device"),
    };
    let too_large = || FileError::TooLarge {
        path: path.to_path_buf(),
        most,
        what,
    };
    if metadata.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    match bytes.len() as u64 > most {
        true => Err(too_large()),
        false => Ok(bytes),
    }
}

/// The text of `path`, which must be UTF-8. A leading byte-order mark is removed.
///
/// # Errors
/// Like [`read()`], and [`FileError::NotUtf8`] with the first bad byte.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, FileError> {
    let path = path.as_ref();
    let mut bytes = read_at_most(path, MAX_TEXT, "a text")?;
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        FileError::NotUtf8 {
            path: path.to_path_buf(),
            offset,
            byte: e.as_bytes()[offset],
        }
    })
}

/// Creates the folder `path` and its parents.
///
/// # Errors
/// [`FileError::Io`], naming the folder.
pub fn create_dir(path: impl AsRef<Path>) -> Result<(), FileError> {
    let path = path.as_ref();
    std::fs::create_dir_all(path).map_err(|e| FileError::io("create", path, e))
}

/// The files in the folder `path`, by name. Folders are left out.
///
/// # Errors
/// [`FileError::Io`].
pub fn list(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, FileError> {
    entries(path.as_ref(), Path::is_file)
}

/// The folders in the folder `path`, by name.
///
/// # Errors
/// [`FileError::Io`].
pub fn list_folders(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, FileError> {
    entries(path.as_ref(), Path::is_dir)
}

/// All names in the folder `path`, sorted, whatever they are: links that lead nowhere too.
///
/// # Errors
/// [`FileError::Io`].
pub fn list_names(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, FileError> {
    entries(path.as_ref(), |_| true)
}

fn entries(path: &Path, keep: fn(&Path) -> bool) -> Result<Vec<PathBuf>, FileError> {
    let fail = |e| FileError::io("read", path, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?.path();
        if keep(&entry) {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes `bytes` to a temporary file beside `path`, flushes it to disk and renames it to `path`.
///
/// # Errors
/// [`FileError::Io`], naming `path`; an existing file at `path` is then unchanged.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), FileError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// [`write_atomic`] for content that is produced in pieces.
///
/// # Errors
/// Like [`write_atomic`].
pub fn write_atomic_with(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let fail = |e| FileError::io("write", path, e);
    let folder = folder_of(path);
    let mut file = temporary::file(folder).map_err(|e| fail(without_path(e)))?;
    {
        let mut buffered = std::io::BufWriter::new(file.as_file_mut());
        fill(&mut buffered).map_err(fail)?;
        buffered.flush().map_err(fail)?;
    }
    persist(file, path)
}

/// [`write_atomic`] for content that a library writes to a path: `fill` gets the path of the temporary file.
///
/// # Errors
/// Like [`write_atomic`].
pub fn write_atomic_at(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let fail = |e| FileError::io("write", path, e);
    let file = temporary::file(folder_of(path)).map_err(|e| fail(without_path(e)))?;
    fill(file.path()).map_err(fail)?;
    persist(file, path)
}

/// Writes all `files`, named relative to `folder`, or none: all are complete on disk before the first is renamed. The last file is renamed last.
///
/// # Errors
/// [`FileError::Io`], naming the file; unless a rename fails, the previous files in `folder` are then unchanged.
pub fn write_all_atomic(folder: impl AsRef<Path>, files: &[(String, Vec<u8>)]) -> Result<(), FileError> {
    let folder = folder.as_ref();
    create_dir(folder)?;
    let mut written = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        let path = folder.join(name);
        let mut file = temporary::file(folder).map_err(|e| FileError::io("write", &path, without_path(e)))?;
        file.write_all(bytes)
            .map_err(|e| FileError::io("write", &path, e))?;
        file.as_file()
            .sync_all()
            .map_err(|e| FileError::io("write", &path, e))?;
        written.push((file, path));
    }
    written
        .into_iter()
        .try_for_each(|(file, path)| persist(file, &path))
}

/// Copies the file `from` to `to` as [`write_atomic`] writes: always a separate file, never a hard link. File systems with
/// copy-on-write share the blocks.
///
/// # Errors
/// [`FileError`], naming the file that could not be read or written.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), FileError> {
    let (from, to) = (from.as_ref(), to.as_ref());
    if !from.is_file() {
        return Err(FileError::Missing(from.to_path_buf()));
    }
    let fail = |e| FileError::io("write", to, e);
    let file = temporary::file(folder_of(to)).map_err(|e| fail(without_path(e)))?;
    std::fs::copy(from, file.path()).map_err(fail)?;
    persist(file, to)
}

/// Flushes a complete temporary file and renames it to `path`.
fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<(), FileError> {
    let fail = |e| FileError::io("write", path, e);
    file.as_file().sync_all().map_err(fail)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(fail)?;
    }
    file.persist(path).map_err(|e| fail(e.error))?;
    sync_folder(folder_of(path)).map_err(fail)
}

/// The folder that `path` lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Syncs a folder's entries to disk: otherwise a power failure may undo a rename.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        match std::fs::File::open(folder).and_then(|folder| folder.sync_all()) {
            // File systems that cannot sync folders return this error, as do unreadable folders.
            Err(e)
                if !matches!(
                    e.kind(),
                    std::io::ErrorKind::InvalidInput
                        | std::io::ErrorKind::Unsupported
                        | std::io::ErrorKind::PermissionDenied
                ) =>
            {
                return Err(e);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Creates the folder `path`, and its parents, with the content that `fill` writes into a temporary folder. `path` must be absent or empty.
///
/// # Errors
/// [`FileError::Io`], naming `path`, and the errors of `fill`; `path` is then unchanged.
pub fn write_dir_atomic<E: From<FileError>>(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let path = path.as_ref();
    let fail = |e| FileError::io("create", path, e);
    let parent = folder_of(path);
    create_dir(parent)?;
    let (folder, _lock) = temporary::folder(parent).map_err(|e| fail(without_path(e)))?;
    fill(folder.path())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).map_err(fail)?;
    }
    // Some systems cannot rename over an empty folder.
    match std::fs::remove_dir(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(e).into()),
        _ => {}
    }
    std::fs::rename(folder.path(), path).map_err(fail)?;
    // The folder is already gone.
    let _ = folder.keep();
    Ok(sync_folder(parent).map_err(fail)?)
}

/// Removes the temporary name that tempfile adds to the system's reason.
fn without_path(error: std::io::Error) -> std::io::Error {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        kind @ (Kind::NotFound
        | Kind::PermissionDenied
        | Kind::NotADirectory
        | Kind::ReadOnlyFilesystem
        | Kind::StorageFull
        | Kind::QuotaExceeded) => kind.into(),
        _ => error,
    }
}

/// SHA-256 of a file, as 64 hexadecimal digits.
///
/// # Errors
/// Like [`read()`].
pub fn sha256_file(path: impl AsRef<Path>) -> Result<String, FileError> {
    let path = path.as_ref();
    let fail = |e| FileError::io("read", path, e);
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(fail)?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

/// SHA-256 of `bytes`, as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
