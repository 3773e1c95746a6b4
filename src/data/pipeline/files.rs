//! Records of the source files that an encoding reads: a resumed encoding detects edited images and captions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use crate::data::source::Source;
use crate::data::store::{SourceFile, StoreError};
use crate::files;

/// Files of a source. Each file that is hashed as a whole is hashed once.
#[derive(Debug, Default)]
pub(super) struct ReadFiles(Mutex<HashMap<PathBuf, SourceFile>>);

impl ReadFiles {
    /// The record of the file at `path`, whose bytes are `content` if they were read already. `None` if the file cannot be read; it is then a reject.
    pub(super) fn record(&self, source: &Source, path: &Path, content: Option<&[u8]>) -> Option<SourceFile> {
        let (bytes, changed) = size_and_time(path)?;
        let sha256 = match content {
            Some(content) => files::sha256(content),
            None => files::sha256_file(path).ok()?,
        };
        Some(SourceFile {
            name: source.name_of(path),
            bytes,
            changed,
            sha256,
        })
    }

    /// The files that contain whole units: tars, parquet, tables.
    pub(super) fn of_unit(&self, source: &Source, unit: usize) -> Vec<SourceFile> {
        let files = source.files_of(unit);
        files.iter().filter_map(|path| self.whole(source, path)).collect()
    }

    fn whole(&self, source: &Source, path: &Path) -> Option<SourceFile> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = size_and_time(path)?;
        match known.get(path) {
            Some(file) if (file.bytes, file.changed) == now => Some(file.clone()),
            _ => {
                let file = self.record(source, path, None)?;
                known.insert(path.to_path_buf(), file.clone());
                Some(file)
            }
        }
    }

    /// Compares a file with its record: size and modification time, and the hash if the time differs (copies have new times).
    ///
    /// # Errors
    /// [`StoreError::SourceChanged`], naming the file.
    pub(super) fn expect_same(&self, source: &Source, then: &SourceFile) -> Result<(), StoreError> {
        let path = source.path_of(&then.name);
        let changed = |what: String| {
            Err(StoreError::SourceChanged {
                file: path.clone(),
                what,
            })
        };
        match size_and_time(&path) {
            None => changed("it is gone".into()),
            Some((bytes, _)) if bytes != then.bytes => {
                changed(format!("{} bytes then, {bytes} now", then.bytes))
            }
            Some((_, time)) if time == then.changed => Ok(()),
            Some(_) => match self.whole(source, &path) {
                Some(now) if now.sha256 == then.sha256 => Ok(()),
                _ => changed("other bytes of the same number".into()),
            },
        }
    }
}

/// Size in bytes, and modification time in nanoseconds since 1970.
fn size_and_time(path: &Path) -> Option<(u64, i64)> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let time = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok();
    Some((metadata.len(), time.map_or(0, |t| t.as_nanos() as i64)))
}
