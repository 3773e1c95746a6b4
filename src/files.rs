//! Reading and writing files so that nothing half-written is ever seen.
//!
//! Every file the project writes goes to a temporary name in the same folder and is renamed when it is complete.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file does not exist.
    #[error("no such file: {0}")]
    Missing(PathBuf),
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A text file holds something else.
    #[error("{path} is not UTF-8: byte {offset} is 0x{byte:02x}")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        offset: usize,
        /// That byte.
        byte: u8,
    },
}

impl FileError {
    fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
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

/// All bytes of `path`.
///
/// # Errors
/// [`FileError::Missing`] or [`FileError::Io`], naming the path.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, FileError> {
    let path = path.as_ref();
    std::fs::read(path).map_err(|e| FileError::io("read", path, e))
}

/// The text of `path`, which must be UTF-8. A byte-order mark before it, as some editors put it, is left out.
///
/// # Errors
/// Like [`read()`], and [`FileError::NotUtf8`] with the first bad byte.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, FileError> {
    let path = path.as_ref();
    let mut bytes = read(path)?;
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

/// Makes the folder `path` and its parents.
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
/// [`FileError::Io`], naming `path`; whatever stood at `path` before is then still there, untouched.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), FileError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// [`write_atomic`] for content that is produced piece by piece.
///
/// # Errors
/// Like [`write_atomic`].
pub fn write_atomic_with(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let fail = |e| FileError::io("write", path, e);
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(folder)
        .map_err(|e| fail(without_path(e)))?;
    {
        let mut buffered = std::io::BufWriter::new(file.as_file_mut());
        fill(&mut buffered).map_err(fail)?;
        buffered.flush().map_err(fail)?;
    }
    file.as_file().sync_all().map_err(fail)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(fail)?;
    }
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Makes the folder `path`, and its parents, of what `fill` puts into a temporary folder beside it. `path` must not exist or be empty.
///
/// # Errors
/// [`FileError::Io`], naming `path`, and whatever `fill` returns; nothing is at `path` then that was not before.
pub fn write_dir_atomic<E: From<FileError>>(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let path = path.as_ref();
    let fail = |e| FileError::io("create", path, e);
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    create_dir(parent)?;
    let folder = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempdir_in(parent)
        .map_err(|e| fail(without_path(e)))?;
    fill(folder.path())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).map_err(fail)?;
    }
    // Some systems do not rename over an empty folder.
    match std::fs::remove_dir(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(e).into()),
        _ => {}
    }
    std::fs::rename(folder.path(), path).map_err(fail)?;
    // It is not there any more.
    let _ = folder.keep();
    Ok(())
}

/// tempfile adds the temporary name to the system's reason; a reader of the message has no use for it.
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

/// Takes the lock file `path`, made if need be, and writes this process's id into it; else says which process holds it. The operating system lets go of
/// it when the file is dropped or the process dies: there are no stale locks.
///
/// # Errors
/// The system's, where the file can be neither taken nor read.
pub fn lock(path: &Path) -> std::io::Result<Result<std::fs::File, String>> {
    let mut options = std::fs::File::options();
    let mut file = options
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(Err(read_pid(&file))),
        Err(std::fs::TryLockError::Error(source)) => return Err(source),
    }
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    Ok(Ok(file))
}

/// The process that holds the lock file `path`, if any does.
///
/// # Errors
/// The system's.
pub fn lock_holder(path: &Path) -> std::io::Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(source),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(std::fs::TryLockError::WouldBlock) => Ok(Some(read_pid(&file))),
        Err(std::fs::TryLockError::Error(source)) => Err(source),
    }
}

fn read_pid(mut file: &std::fs::File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "?".into(),
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
