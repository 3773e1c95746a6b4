//! Detects the format of a place by the first bytes of a file, by its extension, or by the content of a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::item::{EXTENSIONS, SourceError};
use super::place::{alien, by_bytes, expand, is_pattern, start, walk};
use super::reader::{Format, Kind};
use super::{folder, npy, parquet, tars};
use crate::files;

/// The format by the extension.
fn by_extension(path: &Path, formats: &[&'static Kind]) -> Option<Format> {
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    let is_of = |kind: &&&'static Kind| kind.extensions.contains(&extension.as_str());
    formats.iter().find(is_of).map(|kind| Format(kind))
}

/// The detected format.
///
/// # Errors
/// [`SourceError`] if nothing exists there, or no known format.
pub(super) fn detect(place: &str, formats: &[&'static Kind]) -> Result<Format, SourceError> {
    if is_pattern(place) {
        let files = expand(place)?;
        let found: BTreeMap<String, usize> = files.iter().fold(BTreeMap::new(), |mut all, file| {
            let name =
                by_extension(file, formats).map_or_else(|| "no known extension".into(), |f| f.to_string());
            *all.entry(name).or_default() += 1;
            all
        });
        return match (found.len(), files.first().and_then(|f| by_extension(f, formats))) {
            (1, Some(format)) => Ok(format),
            _ => {
                let list: Vec<String> = found.iter().map(|(name, n)| format!("{n} {name}")).collect();
                let reason = format!(
                    "the pattern stands for {}: expected files of one format, or --format",
                    list.join(", ")
                );
                Err(SourceError::place(place, reason))
            }
        };
    }
    let path = Path::new(place);
    if path.is_dir() {
        return of_folder(path);
    }
    let bytes = start(path)?;
    if let Some(alien) = alien(&bytes) {
        return Err(SourceError::content(path, alien));
    }
    let name = by_bytes(&bytes);
    let named = formats
        .iter()
        .find(|kind| Some(kind.name) == name)
        .map(|kind| Format(kind));
    named.or_else(|| by_extension(path, formats)).ok_or_else(|| {
        SourceError::place(
            place,
            "expected .tar, .json (COCO captions), .tsv, .csv, .jsonl, .parquet, a folder, or --format",
        )
    })
}

/// The format of a folder: tars and parquet, at any depth, take precedence over images; the parquet log of an image downloader does not count.
fn of_folder(path: &Path) -> Result<Format, SourceError> {
    let has = |file: &Path, wanted: &str| file.extension().is_some_and(|e| e.eq_ignore_ascii_case(wanted));
    if path.join("img_emb").is_dir() {
        return Ok(Format(&npy::FORMAT));
    }
    let here = files::list(path)?;
    if here.iter().any(|f| has(f, "tar")) {
        return Ok(Format(&tars::FORMAT));
    }
    if here.iter().any(|f| folder::is_index(f)) {
        return Ok(Format(&folder::FORMAT));
    }
    let all = walk(path)?;
    if all.iter().any(|f| has(f, "tar")) {
        return Ok(Format(&tars::FORMAT));
    }
    let parquet = all.iter().filter(|f| has(f, "parquet"));
    if parquet.clone().next().is_some() {
        let has_images = all.iter().any(|f| EXTENSIONS.iter().any(|e| has(f, e)));
        let is_log = has_images && parquet.clone().all(|f| parquet::is_log(f));
        return Ok(if is_log {
            Format(&folder::FORMAT)
        } else {
            Format(&parquet::FORMAT)
        });
    }
    let is_usable = |f: &PathBuf| EXTENSIONS.iter().any(|e| has(f, e)) || folder::is_index(f);
    if !all.iter().any(is_usable)
        && let Some((file, alien)) = all.iter().find_map(|f| Some((f, alien(&start(f).ok()?)?)))
    {
        return Err(SourceError::content(file, alien));
    }
    Ok(Format(&folder::FORMAT))
}
