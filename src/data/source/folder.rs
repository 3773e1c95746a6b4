//! A folder of images with captions in `metadata.jsonl`, in a table, or in a `.txt` beside each image; subfolders are included.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::columns::{self, Columns};
use super::item::{EXTENSIONS, RejectReason, SourceError};
use super::joined::Joined;
use super::listed::{Entry, Listed, Texts};
use super::place::{self, Splits, check_text, without_mark};
use super::reader::{Files, Kind, Reader, SourceOptions};
use super::table::{Table, TableOptions};
use crate::files;
use crate::limits::MAX_INDEX;

/// The format.
pub(super) const FORMAT: Kind = Kind {
    name: "folder",
    scheme: None,
    extensions: &["jsonl", "ndjson", "csv", "tab"],
    files: Files::Index,
    open,
};

/// `place`: a folder, or the index in it.
fn open(place: &str, options: &SourceOptions) -> Result<Box<dyn Reader>, SourceError> {
    let path = Path::new(place);
    if !path.is_dir() {
        check_text(path)?;
        return index(path, options);
    }
    let images = options.images.as_deref();
    let indexes = match find_index(path)? {
        Some(index) => vec![index],
        None => {
            let mut below: Vec<PathBuf> = place::walk(path)?
                .into_iter()
                .filter(|file| is_index(file))
                .collect();
            below.sort();
            below
        }
    };
    let splits = Splits::of(path, &indexes, options.split.as_deref());
    match indexes.len() {
        0 => beside(path, images, options.split.as_deref()),
        1 if splits.is_none() => index(&indexes[0], options),
        _ => {
            let (chosen, notes) = match splits {
                Some(splits) => splits?,
                None => (indexes, vec![]),
            };
            let readers = chosen
                .iter()
                .map(|file| index(file, options))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Box::new(Joined::new(readers, notes)))
        }
    }
}

pub(super) fn is_index(file: &Path) -> bool {
    let name = file.file_name().map(|n| n.to_string_lossy().to_lowercase());
    name.is_some_and(|n| matches!(n.as_str(), "metadata.jsonl" | "metadata.csv" | "metadata.tsv"))
}

/// An index with its images in the same folder, or in the folder of `--images`.
fn index(path: &Path, options: &SourceOptions) -> Result<Box<dyn Reader>, SourceError> {
    if let Some(alien) = place::alien(&place::start(path)?) {
        return Err(SourceError::content(path, alien));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let images = options
        .images
        .clone()
        .unwrap_or_else(|| parent.unwrap_or(Path::new(".")).to_path_buf());
    let is_json = |e: &std::ffi::OsStr| e.eq_ignore_ascii_case("jsonl") || e.eq_ignore_ascii_case("ndjson");
    let extension = path.extension().unwrap_or_default();
    let is_table = ["csv", "tsv", "tab"]
        .iter()
        .any(|e| extension.eq_ignore_ascii_case(e));
    let begins_with_brace = || -> Result<bool, SourceError> {
        let start = place::start(path)?;
        Ok(without_mark(&start).trim_ascii_start().starts_with(b"{"))
    };
    if is_json(extension) || (!is_table && begins_with_brace()?) {
        let bytes = files::read_at_most(path, MAX_INDEX, "an index of JSON lines (split it)")?;
        let entries = jsonl(path, without_mark(&bytes), &options.columns)?;
        return Ok(Box::new(Listed::new(
            path,
            &images,
            entries,
            files::sha256(&bytes),
        )));
    }
    let table = TableOptions {
        columns: &options.columns,
        separator: options.separator,
        by_position: options.by_position,
        named_ids: true,
    };
    Ok(Box::new(Table::open(path, images, &table)?))
}

fn find_index(folder: &Path) -> Result<Option<PathBuf>, SourceError> {
    let all = files::list(folder)?;
    if let Some(found) = all.iter().find(|file| is_index(file)) {
        return Ok(Some(found.clone()));
    }
    let is_table = |file: &PathBuf| {
        file.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("csv") || e.eq_ignore_ascii_case("jsonl"))
    };
    let mut tables: Vec<PathBuf> = all.into_iter().filter(is_table).collect();
    Ok(match tables.len() {
        1 => tables.pop(),
        _ => None,
    })
}

/// Images, including subfolders, each with its own text file.
fn beside(folder: &Path, images: Option<&Path>, split: Option<&str>) -> Result<Box<dyn Reader>, SourceError> {
    let images = images.unwrap_or(folder);
    let is_image = |file: &Path| {
        let extension = file.extension();
        extension.is_some_and(|e| EXTENSIONS.iter().any(|p| e.eq_ignore_ascii_case(p)))
    };
    let all = place::walk(images)?;
    let mut notes: Vec<String> = all.iter().filter_map(|file| lost_link(file)).collect();
    let lost = notes.join("; ");
    let mut found: Vec<PathBuf> = all.into_iter().filter(|f| is_image(f)).collect();
    if let Some(chosen) = Splits::of(images, &found, split) {
        let (files, more) = chosen?;
        found = files;
        notes.extend(more);
    }
    let (mut entries, mut names) = (Vec::new(), String::new());
    for file in found {
        let Ok(name) = file.strip_prefix(images) else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        let texts = match images == folder {
            true => file.with_extension("txt"),
            false => folder.join(&name).with_extension("txt"),
        };
        names.push_str(&name);
        names.push('\n');
        entries.push(Entry {
            id: name.clone(),
            file: name,
            texts: Texts::File(texts),
        });
    }
    entries.sort_by(|a, b| a.file.cmp(&b.file));
    if entries.is_empty() {
        let reason = "no metadata.jsonl, no metadata.csv, no .tar, no .parquet and no image (.jpg, .png, .webp) with a .txt beside it, here or in folders below";
        let is_table = |f: &PathBuf| {
            f.extension()
                .is_some_and(|e| ["csv", "tsv", "jsonl"].iter().any(|x| e.eq_ignore_ascii_case(x)))
        };
        let tables: Vec<String> = files::list(folder)?
            .iter()
            .filter(|f| is_table(f))
            .map(|f| f.display().to_string())
            .collect();
        let reason = match tables.is_empty() {
            true => reason.to_owned(),
            false => format!("{reason}; give one of its tables by name: {}", tables.join(", ")),
        };
        let reason = match lost.is_empty() {
            true => reason,
            false => format!("{reason}; {lost}"),
        };
        return Err(SourceError::content(folder, reason));
    }
    let listed = Listed::new(folder, images, entries, files::sha256(names.as_bytes()));
    Ok(Box::new(Joined::new(vec![Box::new(listed)], notes)))
}

/// A hint for a small file that only contains the path of a folder: a symbolic link that a copy or checkout turned into a text file.
fn lost_link(file: &Path) -> Option<String> {
    if file.extension().is_some() || std::fs::metadata(file).ok()?.len() > 1024 {
        return None;
    }
    let text = files::read_text(file).ok()?;
    let to = file.parent()?.join(text.trim());
    (!text.trim().is_empty() && to.is_dir()).then(|| {
        format!(
            "{} is a text that names the folder {}: a link that was not kept as one, and is not followed",
            file.display(),
            text.trim()
        )
    })
}

/// Entries of lines, each a JSON object.
fn jsonl(path: &Path, bytes: &[u8], columns: &Columns) -> Result<Vec<Entry>, SourceError> {
    let mut lines = Vec::new();
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let value = match std::str::from_utf8(line) {
            Err(e) => Err((RejectReason::NotUtf8, e.to_string())),
            Ok(text) => {
                serde_json::from_str::<Value>(text).map_err(|e| (RejectReason::BadRecord, e.to_string()))
            }
        };
        lines.push((format!("line {}", i + 1), value));
    }
    entries_of(path, lines, columns)
}

/// Entries of the objects of an array.
pub(super) fn entries_of_values(
    path: &Path,
    values: Vec<Value>,
    columns: &Columns,
) -> Result<Vec<Entry>, SourceError> {
    let named = values
        .into_iter()
        .enumerate()
        .map(|(i, value)| (format!("entry {i}"), Ok(value)));
    entries_of(path, named.collect(), columns)
}

type Line = (String, Result<Value, (RejectReason, String)>);

/// One entry per line. Its image is the first known (or requested) key with a value; likewise its caption.
fn entries_of(path: &Path, lines: Vec<Line>, columns: &Columns) -> Result<Vec<Entry>, SourceError> {
    let mut entries = Vec::new();
    let (mut usable, mut keys_seen, mut asked) = (false, Vec::new(), None);
    for (name, value) in lines {
        let map = match value {
            Ok(Value::Object(map)) => map,
            Ok(other) => {
                let detail = format!("{name}: expected an object, found {}", kind(&other));
                entries.push(Entry::wrong(name, RejectReason::BadRecord, detail));
                continue;
            }
            Err((reason, detail)) => {
                entries.push(Entry::wrong(&name, reason, format!("{name}: {detail}")));
                continue;
            }
        };
        let keys: Vec<&String> = map.keys().collect();
        if keys_seen.is_empty() {
            keys_seen = keys.iter().map(|k| (*k).clone()).collect();
        }
        let found = match columns::find(keys.iter().map(|k| k.as_str()), columns) {
            Ok(found) => found,
            Err(missing) => {
                entries.push(Entry::wrong(
                    &name,
                    RejectReason::BadRecord,
                    format!("{name}: {missing}"),
                ));
                asked.get_or_insert(missing);
                continue;
            }
        };
        let at = |i: &usize| &map[keys[*i]];
        let file = found
            .image
            .iter()
            .map(at)
            .find_map(|v| v.as_str().filter(|f| !f.trim().is_empty()));
        let Some(file) = file else {
            let detail = format!("{name}: {}", columns::missing("image", &keys));
            entries.push(Entry::wrong(name, RejectReason::NoImage, detail));
            continue;
        };
        if !found.has_caption() {
            let detail = format!("{name}: {}", columns::missing("caption", &keys));
            entries.push(Entry::wrong(file, RejectReason::NoCaption, detail));
            continue;
        }
        usable = true;
        let first = found.caption.iter().map(at).map(texts_of).find(|t| !t.is_empty());
        let texts = first.unwrap_or_else(|| found.numbered.iter().map(at).flat_map(texts_of).collect());
        entries.push(match texts.is_empty() {
            true => Entry::wrong(file, RejectReason::NoCaption, format!("{name}: no caption")),
            false => Entry {
                id: file.to_owned(),
                file: file.to_owned(),
                texts: Texts::Known(texts.into_iter().map(|text| (None, text)).collect()),
            },
        });
    }
    if !usable && !entries.is_empty() && !keys_seen.is_empty() {
        // No entry at all: the columns have other names.
        let reason = asked.unwrap_or_else(|| {
            let first = entries.first().map(|e| match &e.texts {
                Texts::Wrong(_, why) => why.clone(),
                _ => String::new(),
            });
            first.unwrap_or_default()
        });
        return Err(SourceError::content(path, reason));
    }
    Ok(entries)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Captions of a value: a string, or strings in an array, or objects with `raw`, `caption` or `text`.
pub(super) fn texts_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts_of).collect(),
        Value::Object(map) => ["raw", "caption", "text"]
            .iter()
            .find_map(|k| map.get(*k))
            .map(texts_of)
            .unwrap_or_default(),
        _ => vec![],
    }
}
