//! `SHA256SUMS`: the hashes of a folder's files, in the format of `sha256sum`, which also checks them: `sha256sum --check SHA256SUMS`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{FileError, list, list_folders, read_text, sha256_file, write_atomic};

/// Name of the file.
pub const SUMS: &str = "SHA256SUMS";

/// Recorded hashes of files, by name relative to their folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    folder: PathBuf,
    hashes: BTreeMap<String, String>,
}

impl Sums {
    /// Hashes the files `names` of `folder`, and all files of folders among them. Missing files are left out.
    ///
    /// # Errors
    /// [`FileError`], naming the file.
    pub fn of(folder: &Path, names: &[&str]) -> Result<Self, FileError> {
        let (mut hashes, mut left) = (BTreeMap::new(), Vec::new());
        left.extend(names.iter().map(|name| folder.join(name)));
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(list(&path)?.into_iter().chain(list_folders(&path)?));
            } else if path.is_file() {
                let name = path.strip_prefix(folder).unwrap_or(&path);
                let name = name.to_string_lossy().replace('\\', "/");
                let is_temporary = name.rsplit('/').next().is_some_and(|n| n.starts_with('.'));
                if !is_temporary && !name.contains('\n') {
                    hashes.insert(name, sha256_file(&path)?);
                }
            }
        }
        let folder = folder.to_path_buf();
        Ok(Self { folder, hashes })
    }

    /// The record of `folder`, if it exists.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be read, or a line is invalid.
    pub fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        let path = folder.join(SUMS);
        if !path.is_file() {
            return Ok(None);
        }
        let mut hashes = BTreeMap::new();
        for line in read_text(&path)?.lines() {
            let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            match line.split_once("  ").filter(|(hash, _)| is_hash(hash)) {
                Some((hash, name)) => hashes.insert(name.to_owned(), hash.to_owned()),
                None => {
                    return Err(FileError::Changed {
                        path,
                        expected: "lines of a hash and a name".into(),
                        found: format!("{line:?}"),
                    });
                }
            };
        }
        let folder = folder.to_path_buf();
        Ok(Some(Self { folder, hashes }))
    }

    /// Writes `SHA256SUMS` into the folder.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn write(&self) -> Result<(), FileError> {
        let lines: String = self
            .hashes
            .iter()
            .map(|(name, hash)| format!("{hash}  {name}\n"))
            .collect();
        write_atomic(self.folder.join(SUMS), lines.as_bytes())
    }

    /// The recorded names that begin with `prefix`.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let names = self.hashes.keys().map(String::as_str);
        names.filter(move |name| name.starts_with(prefix))
    }

    /// Reads every recorded file whose name begins with `prefix` and compares its hash.
    ///
    /// # Errors
    /// [`FileError::Changed`] with the first file that differs, [`FileError::Missing`] with a missing file.
    pub fn check(&self, prefix: &str) -> Result<(), FileError> {
        for name in self.names(prefix) {
            expect_sha256(&self.folder.join(name), &self.hashes[name])?;
        }
        Ok(())
    }
}

/// Reads a file and compares its hash with the record.
///
/// # Errors
/// [`FileError::Changed`], [`FileError::Missing`], [`FileError::Io`].
pub fn expect_sha256(path: &Path, expected: &str) -> Result<(), FileError> {
    let found = sha256_file(path)?;
    match found == expected {
        true => Ok(()),
        false => Err(FileError::Changed {
            path: path.to_path_buf(),
            expected: format!("sha256 {expected}"),
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_checked() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        assert_eq!(Sums::read(dir.path()).expect("readable"), None);
        std::fs::create_dir(at("eval")).expect("made");
        for (name, text) in [
            ("a", "one"),
            ("eval/b", "two"),
            ("eval/.tmp-1", "litter"),
            ("other", "-"),
        ] {
            std::fs::write(at(name), text).expect("written");
        }
        let sums = Sums::of(dir.path(), &["a", "eval", "absent"]).expect("readable");
        sums.write().expect("writable");
        assert_eq!(Sums::read(dir.path()).expect("readable"), Some(sums.clone()));
        assert_eq!(sums.names("").collect::<Vec<_>>(), ["a", "eval/b"]);
        sums.check("").expect("as it was");
        std::fs::write(at("eval/b"), "twp").expect("written");
        sums.check("a").expect("as it was");
        let error = sums.check("").expect_err("changed").to_string();
        assert!(
            error.contains("eval/b was changed or damaged: expected sha256 3fc4"),
            "{error}"
        );
        std::fs::remove_file(at("eval/b")).expect("there");
        assert!(matches!(sums.check("eval/"), Err(FileError::Missing(path)) if path == at("eval/b")));
        std::fs::write(at(SUMS), "no hash").expect("written");
        assert!(Sums::read(dir.path()).is_err());
    }
}
