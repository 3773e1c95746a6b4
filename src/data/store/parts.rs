//! Folders of the parts that several machines encode.

use std::path::{Path, PathBuf};

use super::StoreError;
use crate::files;

/// The folder of part `i` (from 0) of `n` in a store's folder.
pub fn part_dir(store: &Path, i: usize, n: usize) -> PathBuf {
    store.join(format!("part-{i:03}-of-{n:03}"))
}

/// The parts in `dir`, sorted: number and number of parts from each folder name.
///
/// # Errors
/// [`StoreError::File`] when the folder cannot be read.
pub fn parts(dir: &Path) -> Result<Vec<(usize, usize)>, StoreError> {
    let named = |folder: PathBuf| -> Option<(usize, usize)> {
        let name = folder.file_name()?.to_str()?.strip_prefix("part-")?;
        let (i, n) = name.split_once("-of-")?;
        Some((i.parse().ok()?, n.parse().ok()?))
    };
    Ok(files::list_folders(dir)?.into_iter().filter_map(named).collect())
}
