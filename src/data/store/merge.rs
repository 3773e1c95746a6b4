//! Merges the parts that several machines encoded into one store.

use std::path::Path;

use super::parts::{part_dir, parts};
use super::write::write_manifest;
use super::{EMPTY, FileInfo, Lock, Manifest, Settings, Store, StoreError};
use crate::files;

/// Result of [`merge`].
#[derive(Debug)]
pub struct Merged {
    /// The new manifest.
    pub manifest: Manifest,
    /// Number of merged parts.
    pub n_parts: usize,
}

/// Checks that the parts in `dir` are complete, intact and of equal settings, and writes the manifest of a store whose shards remain in the parts.
///
/// # Errors
/// [`StoreError`] naming the part that is missing, unfinished, of other settings or changed.
pub fn merge(dir: &Path) -> Result<Merged, StoreError> {
    let wrong = |reason: String| StoreError::Parts {
        dir: dir.to_path_buf(),
        reason,
    };
    let found = parts(dir)?;
    let Some(&(_, n)) = found.first() else {
        return Err(wrong("no parts: expected folders such as part-000-of-004".into()));
    };
    if let Some((i, other)) = found.iter().find(|(_, other)| *other != n) {
        return Err(wrong(format!(
            "parts of {n} and of {other} (part {i}): expected those of one encoding"
        )));
    }
    let missing: Vec<String> = (0..n)
        .filter(|i| !found.contains(&(*i, n)))
        .map(|i| format!("{i}/{n}"))
        .collect();
    if !missing.is_empty() {
        return Err(wrong(format!("part {} is missing", missing.join(", "))));
    }
    let _lock = Lock::take(dir)?;
    let parts = (0..n)
        .map(|i| Store::open(&part_dir(dir, i, n)))
        .collect::<Result<Vec<_>, _>>()?;
    let whole = |store: &Store| Settings {
        part: (0, 1),
        ..store.manifest().settings.clone()
    };
    let settings = whole(&parts[0]);
    for (i, part) in parts.iter().enumerate() {
        if part.manifest().settings.part != (i, n) {
            let (a, b) = part.manifest().settings.part;
            return Err(wrong(format!("part {i}/{n} says that it is part {a}/{b}")));
        }
        if let Some((key, one, other)) = settings.difference(&whole(part)) {
            return Err(wrong(format!(
                "parts 0/{n} and {i}/{n} differ in `{key}`: {one} and {other}"
            )));
        }
        part.verify()?;
    }
    let mut shards: Vec<(usize, usize, String, FileInfo)> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let folder = part_dir(dir, i, n);
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        shards.extend(
            part.shards()
                .iter()
                .map(|s| (s.unit, s.chunk, format!("{name}/{}", s.file), s.info())),
        );
    }
    shards.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    let units = shards
        .iter()
        .map(|s| s.0)
        .collect::<std::collections::BTreeSet<_>>();
    if units.len() != settings.n_units {
        return Err(wrong(format!(
            "{} units of {} of the source",
            units.len(),
            settings.n_units
        )));
    }
    // An unchanged manifest of an earlier version remains: runs trained on the store identify it by its hash.
    if let Ok(there) = Store::open(dir) {
        let own = there.shards().iter().map(|s| (s.file.clone(), s.info()));
        if there.manifest().settings == settings && own.eq(shards.iter().map(|s| (s.2.clone(), s.3.clone())))
        {
            let manifest = there.manifest().clone();
            return Ok(Merged { manifest, n_parts: n });
        }
    }
    let empty = files::read(part_dir(dir, 0, n).join(EMPTY))?;
    files::write_atomic(dir.join(EMPTY), &empty)?;
    // A manifest is replaced atomically or kept: it names its own shards, with their hashes.
    let manifest = write_manifest(dir, &settings, shards, [(EMPTY, FileInfo::of(&empty))])?;
    Ok(Merged { manifest, n_parts: n })
}
