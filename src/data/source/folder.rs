//! A folder of pictures: captions in `metadata.jsonl`, in a CSV, or in a `.txt` beside each picture.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SourceError;
use super::listed::{Entry, Listed, Texts};
use crate::files;

/// What pictures are called.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// What a CSV calls its columns.
const FILES: [&str; 5] = ["file_name", "file", "filename", "path", "image"];
const CAPTIONS: [&str; 3] = ["caption", "text", "captions"];

/// `path`: a folder, or the index in it.
pub(super) fn open(path: &Path, images: Option<&Path>) -> Result<Listed, SourceError> {
    let (folder, index) = match path.is_dir() {
        true => (path.to_path_buf(), find_index(path)?),
        false => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            (
                parent.unwrap_or(Path::new(".")).to_path_buf(),
                Some(path.to_path_buf()),
            )
        }
    };
    let images = images.map_or(folder.clone(), Path::to_path_buf);
    let Some(index) = index else {
        return beside(&folder);
    };
    let bytes = files::read(&index)?;
    let is_csv = index.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let entries = match is_csv {
        true => csv(&index, &bytes)?,
        false => jsonl(&index, &bytes)?,
    };
    Ok(Listed {
        index,
        images,
        entries,
        identity: files::sha256(&bytes),
    })
}

fn find_index(folder: &Path) -> Result<Option<PathBuf>, SourceError> {
    for name in ["metadata.jsonl", "metadata.csv"] {
        if folder.join(name).is_file() {
            return Ok(Some(folder.join(name)));
        }
    }
    let is_csv = |file: &PathBuf| file.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let mut tables: Vec<PathBuf> = files::list(folder)?.into_iter().filter(is_csv).collect();
    Ok(match tables.len() {
        1 => tables.pop(),
        _ => None,
    })
}

/// Pictures, also in folders below, each with a text file of its own.
fn beside(folder: &Path) -> Result<Listed, SourceError> {
    let (mut folders, mut entries, mut names) = (vec![folder.to_path_buf()], Vec::new(), String::new());
    while let Some(next) = folders.pop() {
        let mut below = files::list_folders(&next)?;
        // A link may lead back to where it is.
        below.retain(|f| !f.is_symlink());
        folders.extend(below);
        for file in files::list(&next)? {
            let is_picture = file
                .extension()
                .is_some_and(|e| PICTURES.iter().any(|p| e.eq_ignore_ascii_case(p)));
            let Ok(name) = file.strip_prefix(folder) else {
                continue;
            };
            if is_picture {
                let name = name.to_string_lossy().into_owned();
                names.push_str(&name);
                names.push('\n');
                entries.push(Entry {
                    id: name.clone(),
                    file: name,
                    texts: Texts::File(file.with_extension("txt")),
                });
            }
        }
    }
    entries.sort_by(|a, b| a.file.cmp(&b.file));
    if entries.is_empty() {
        let reason = "no metadata.jsonl, no metadata.csv, no .tar, no .parquet and no picture (.jpg, .png, .webp) with a .txt beside it";
        return Err(SourceError::content(folder, reason));
    }
    Ok(Listed {
        index: folder.to_path_buf(),
        images: folder.to_path_buf(),
        entries,
        identity: files::sha256(names.as_bytes()),
    })
}

#[derive(Deserialize)]
struct Line {
    file_name: String,
    #[serde(alias = "caption", alias = "captions")]
    text: Text,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    One(String),
    Many(Vec<String>),
}

fn jsonl(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>, SourceError> {
    let mut entries = Vec::new();
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_slice(line).map_err(|e| {
            SourceError::content(
                path,
                format!(
                    "line {}: expected `file_name` and `text` (or `caption`): {e}",
                    i + 1
                ),
            )
        })?;
        let texts = match line.text {
            Text::One(text) => vec![(None, text)],
            Text::Many(texts) => texts.into_iter().map(|text| (None, text)).collect(),
        };
        entries.push(Entry {
            id: line.file_name.clone(),
            file: line.file_name,
            texts: Texts::Known(texts),
        });
    }
    Ok(entries)
}

fn csv(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>, SourceError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let headers = reader
        .headers()
        .map_err(|e| SourceError::content(path, e))?
        .clone();
    let column = |names: &[&str]| -> Result<usize, SourceError> {
        let found = headers
            .iter()
            .position(|h| names.iter().any(|n| h.trim().eq_ignore_ascii_case(n)));
        found.ok_or_else(|| {
            let reason = format!(
                "expected a column {}, found {}",
                names.join(" or "),
                headers.iter().collect::<Vec<_>>().join(", ")
            );
            SourceError::content(path, reason)
        })
    };
    let (file, caption) = (column(&FILES)?, column(&CAPTIONS)?);
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| SourceError::content(path, e))?;
        let name = record.get(file).unwrap_or_default().to_owned();
        entries.push(Entry {
            id: name.clone(),
            file: name,
            texts: Texts::Known(
                record
                    .get(caption)
                    .map(|text| (None, text.to_owned()))
                    .into_iter()
                    .collect(),
            ),
        });
    }
    Ok(entries)
}
