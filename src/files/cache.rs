//! The user's cache folder, and cached hashes of large files.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{FileError, create_dir, read_text, sha256, sha256_file, write_atomic};

/// Hashes of files modified more recently than this are not cached: a later write may leave the modification time unchanged.
const SETTLED: Duration = Duration::from_secs(2);

/// The cache folder: `ECLIPSE_CACHE`, else `eclipse-t2i` in the user's cache folder (`XDG_CACHE_HOME`, `~/.cache`). This function does not create it.
///
/// # Errors
/// [`FileError::NoCache`] if the system has no cache folder.
pub fn cache_dir() -> Result<PathBuf, FileError> {
    let chosen = std::env::var_os("ECLIPSE_CACHE").filter(|dir| !dir.is_empty());
    let usual = || dirs::cache_dir().map(|dir| dir.join("eclipse-t2i"));
    chosen.map(PathBuf::from).or_else(usual).ok_or(FileError::NoCache)
}

/// A file's hash, with the size and modification time of the file at that time.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    bytes: u64,
    /// Modification time, in nanoseconds of the system's clock.
    modified: u128,
    sha256: String,
}

/// [`sha256_file`] with a cache: a file whose size and modification time are unchanged is not hashed again.
///
/// # Errors
/// Like [`sha256_file`]. Without a usable cache folder the file is hashed again.
pub fn sha256_known(path: impl AsRef<Path>) -> Result<String, FileError> {
    let path = path.as_ref();
    match cache_dir() {
        Ok(cache) => sha256_known_in(&cache, path),
        Err(_) => sha256_file(path),
    }
}

fn sha256_known_in(cache: &Path, path: &Path) -> Result<String, FileError> {
    let (Ok(real), Some((bytes, modified))) = (path.canonicalize(), looks(path)) else {
        return sha256_file(path);
    };
    let folder = cache.join("sha256");
    let entry = folder.join(format!("{}.json", sha256(real.as_os_str().as_encoded_bytes())));
    let known = read_text(&entry)
        .ok()
        .and_then(|text| serde_json::from_str::<Known>(&text).ok());
    if let Some(known) = known.filter(|k| k.bytes == bytes && k.modified == modified) {
        return Ok(known.sha256);
    }
    let known = Known {
        bytes,
        modified,
        sha256: sha256_file(path)?,
    };
    let is_settled = SystemTime::UNIX_EPOCH
        .elapsed()
        .is_ok_and(|now| now.as_nanos() >= modified + SETTLED.as_nanos());
    if is_settled && looks(path) == Some((bytes, modified)) {
        let text = serde_json::to_vec(&known).unwrap_or_default();
        // A failed write only costs time.
        let _ = create_dir(&folder).and_then(|()| write_atomic(&entry, &text));
    }
    Ok(known.sha256)
}

/// Size and modification time.
fn looks(path: &Path) -> Option<(u64, u128)> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = metadata
        .modified()
        .ok()?
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    Some((metadata.len(), modified.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_known_until_the_file_changes() {
        let dir = tempfile::tempdir().expect("a folder");
        let (cache, path) = (dir.path().join("cache"), dir.path().join("weights"));
        let known = || sha256_known_in(&cache, &path).expect("readable");
        let write = |text: &str, age: u64| {
            std::fs::write(&path, text).expect("written");
            let time = SystemTime::now() - Duration::from_secs(age);
            let file = std::fs::File::options().write(true).open(&path).expect("there");
            file.set_modified(time).expect("settable");
        };
        let n_entries = || super::super::list(cache.join("sha256")).map_or(0, |files| files.len());
        write("one", 0);
        assert_eq!(
            (known(), n_entries()),
            (sha256(b"one"), 0),
            "too young to be trusted"
        );
        write("one", 60);
        assert_eq!((known(), n_entries()), (sha256(b"one"), 1));
        let entry = super::super::list(cache.join("sha256"))
            .expect("a folder")
            .remove(0);
        let text = read_text(&entry)
            .expect("readable")
            .replace(&sha256(b"one"), "from the cache");
        std::fs::write(&entry, text).expect("written");
        assert_eq!(known(), "from the cache");
        write("two", 30);
        assert_eq!(
            (known(), n_entries()),
            (sha256(b"two"), 1),
            "of the same size, written later"
        );
        std::fs::write(&entry, "{").expect("written");
        assert_eq!(known(), sha256(b"two"), "a broken entry is none");
    }
}
