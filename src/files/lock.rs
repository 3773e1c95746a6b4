//! Lock files: one writer at a time in a folder.
//!
//! The operating system releases the lock when the file is dropped or its process dies, so there are no stale locks. The content (process and host)
//! is for messages only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Size of a lock file in bytes. It is always written in full, so that no truncation is needed.
const LENGTH: usize = 128;
/// Number of attempts to take a held lock, and the delay between them.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A lock file that this process holds, until it is dropped.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Removes the file and releases the lock. A process that waits with this file open creates a new one, see [`lock`].
    pub fn remove(self) {
        // A file that remains is harmless: the next process locks it again.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Locks the file `path`, creating it if needed, and writes this process and host into it; otherwise returns the holder. Symbolic links are not
/// followed, and a file that cannot be a lock file is left unchanged.
///
/// # Errors
/// The system's error; [`ErrorKind::InvalidInput`] if `path` is a link, a folder or a longer file.
pub fn lock(path: &Path) -> Result<std::result::Result<LockFile, String>> {
    loop {
        let mut options = File::options();
        options.create(true).read(true).write(true).truncate(false);
        let mut file = open(path, &mut options)?;
        match patiently(|| file.try_lock()) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(holder(&file))),
            Err(TryLockError::Error(source)) => return Err(source),
        }
        if !is_at(&file, path) {
            // The previous holder removed the file after it was opened here.
            continue;
        }
        let text = format!("{} {}", std::process::id(), host());
        let text: String = text.chars().filter(char::is_ascii).take(LENGTH - 1).collect();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{text:<width$}\n", width = LENGTH - 1).as_bytes())?;
        return Ok(Ok(LockFile {
            file,
            path: path.to_path_buf(),
        }));
    }
}

/// The holder of the lock file `path`, if any: a process id, with the host if it is another host.
///
/// # Errors
/// Like [`lock`].
pub fn lock_holder(path: &Path) -> Result<Option<String>> {
    let file = match open(path, File::options().read(true)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match patiently(|| file.try_lock_shared()) {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(&file))),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// Retries a few times: a child process that is being started (such as `git`) briefly inherits its parent's open files and their locks, even after
/// the parent has released them or was killed.
fn patiently(
    attempt: impl Fn() -> std::result::Result<(), TryLockError>,
) -> std::result::Result<(), TryLockError> {
    for _ in 0..TRIES {
        match attempt() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    attempt()
}

/// Opens without following a link, and without blocking on a pipe.
fn open(path: &Path, options: &mut OpenOptions) -> Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let other = |what: &str| {
        let expected = "expected a lock file of this program";
        Err(Error::new(ErrorKind::InvalidInput, format!("{what}; {expected}")))
    };
    if std::fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) {
        return other("it is a symbolic link");
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return other("it is no regular file");
    }
    if metadata.len() > LENGTH as u64 {
        return other(&format!("it has {} bytes", metadata.len()));
    }
    Ok(file)
}

/// Whether `file` is still the file at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.is_file()
}

/// The holder that the file names.
fn holder(mut file: &File) -> String {
    let mut text = String::new();
    let _ = file.take(LENGTH as u64).read_to_string(&mut text);
    let _ = file.seek(SeekFrom::Start(0));
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (None, _) => "?".into(),
        (Some(pid), Some(other)) if other != host() => format!("{pid} on {other}"),
        (Some(pid), _) => pid.into(),
    }
}

/// The host name, if it can be determined.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    name.split_whitespace().next().unwrap_or_default().to_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_spares_what_is_no_lock_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("thesis"), "x".repeat(1000)).expect("written");
        std::os::unix::fs::symlink(at("thesis"), at("link")).expect("linked");
        std::os::unix::fs::symlink(at("nothing"), at("dangling")).expect("linked");
        std::fs::create_dir(at("folder")).expect("made");
        for name in ["thesis", "link", "dangling", "folder"] {
            assert!(
                lock(&at(name)).is_err() && lock_holder(&at(name)).is_err(),
                "{name}"
            );
        }
        assert_eq!(std::fs::read(at("thesis")).expect("there").len(), 1000);
        assert!(!at("nothing").exists());

        // One writer at a time; a lock of an earlier version, or of a killed process, can be taken.
        std::fs::write(at("lock"), "12345").expect("written");
        assert_eq!(lock_holder(&at("lock")).expect("readable"), None);
        let held = lock(&at("lock")).expect("writable").expect("free");
        let pid = std::process::id().to_string();
        assert_eq!(lock_holder(&at("lock")).expect("readable"), Some(pid.clone()));
        assert_eq!(lock(&at("lock")).expect("writable").expect_err("held"), pid);
        std::fs::write(at("lock"), format!("{:<127}\n", "77 elsewhere")).expect("written");
        assert_eq!(
            lock(&at("lock")).expect("writable").expect_err("held"),
            "77 on elsewhere"
        );
        held.remove();
        assert!(!at("lock").exists());
        drop(lock(&at("lock")).expect("writable").expect("free"));
    }
}
