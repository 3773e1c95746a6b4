//! COCO's captions: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "id", "caption"}]}`. A faulty image or
//! annotation is a reject; only a file without the two lists is an error.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::folder::entries_of_values;
use super::item::{RejectReason, SourceError};
use super::listed::{Entry, Listed, Texts};
use super::place::{check_text, start, without_mark};
use super::reader::{Files, Kind, Reader, SourceOptions};
use crate::files;
use crate::limits::MAX_INDEX;

/// The format.
pub(super) const FORMAT: Kind = Kind {
    name: "coco",
    scheme: None,
    extensions: &["json"],
    files: Files::Index,
    open,
};

#[derive(Deserialize)]
struct Captions {
    images: Vec<Value>,
    annotations: Vec<Value>,
}

/// An id as text: numbers and strings are ids.
fn id_of(value: &Value, key: &str) -> Option<String> {
    match value.get(key)? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

fn open(place: &str, options: &SourceOptions) -> Result<Box<dyn Reader>, SourceError> {
    let path = Path::new(place);
    check_text(path)?;
    let images = options.images_of(place, FORMAT.name);
    // The images of an array may be in the same folder.
    let beside = path.parent().map(Path::to_path_buf);
    let is_array = start(path)?.trim_ascii_start().starts_with(b"[");
    let images = match is_array {
        true => images.or_else(|e| beside.ok_or(e)),
        false => images,
    };
    Ok(Box::new(listed(path, &images?, options)?))
}

/// A record is an image with all its captions, in the order of the file; captions without an image come last, as rejects. A JSON array of objects with
/// an image and a caption each is also supported.
fn listed(path: &Path, images: &Path, options: &SourceOptions) -> Result<Listed, SourceError> {
    let bytes = files::read_at_most(path, MAX_INDEX, "an index in JSON (split it)")?;
    let text = without_mark(&bytes);
    let identity = files::sha256(&bytes);
    if text.trim_ascii_start().starts_with(b"[") {
        let values: Vec<Value> = serde_json::from_slice(text)
            .map_err(|e| SourceError::content(path, format!("no valid JSON: {e}")))?;
        let entries = entries_of_values(path, values, &options.columns)?;
        return Ok(Listed::new(path, images, entries, identity));
    }
    let captions: Captions = serde_json::from_slice(text).map_err(|e| {
        SourceError::content(path, format!("expected COCO's `images` and `annotations`: {e}"))
    })?;
    let mut entries = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (i, image) in captions.images.iter().enumerate() {
        let Some(id) = id_of(image, "id") else {
            let detail = format!("`images` entry {i} has no `id`");
            entries.push(Entry::wrong(
                format!("images {i}"),
                RejectReason::BadRecord,
                detail,
            ));
            continue;
        };
        let file = image
            .get("file_name")
            .and_then(Value::as_str)
            .filter(|file| !file.is_empty());
        match file {
            _ if places.contains_key(&id) => {
                let detail = format!("`images` has {id} twice");
                entries.push(Entry::wrong(id, RejectReason::DuplicateKey, detail));
            }
            Some(file) => {
                places.insert(id.clone(), entries.len());
                entries.push(Entry {
                    id,
                    file: file.to_owned(),
                    texts: Texts::Known(vec![]),
                });
            }
            None => {
                let detail = format!("image {id} has no `file_name`");
                places.insert(id.clone(), entries.len());
                entries.push(Entry::wrong(id, RejectReason::NoImage, detail));
            }
        }
    }
    for (i, annotation) in captions.annotations.iter().enumerate() {
        let id = id_of(annotation, "id");
        let name = id.clone().unwrap_or_else(|| format!("number {i}"));
        let of = id_of(annotation, "image_id");
        let caption = match annotation.get("caption") {
            Some(Value::String(caption)) => Ok(caption.clone()),
            Some(Value::Null) | None => Err((RejectReason::NoCaption, "no caption".to_owned())),
            Some(other) => Err((RejectReason::BadRecord, format!("`caption` is {other}"))),
        };
        let place = of.as_ref().and_then(|of| places.get(of)).copied();
        match (place, caption) {
            (Some(place), caption) => match (&mut entries[place].texts, caption) {
                (Texts::Known(texts), Ok(caption)) => texts.push((id, caption)),
                // An empty caption is rejected, with its id and the reason.
                (Texts::Known(texts), Err((RejectReason::NoCaption, _))) => {
                    texts.push((Some(name), String::new()))
                }
                (_, Err((reason, why))) => {
                    entries.push(Entry::wrong(&name, reason, format!("annotation {name}: {why}")));
                }
                _ => {}
            },
            (None, _) => {
                let of = of.unwrap_or_else(|| "nothing".into());
                let detail = format!("annotation {name} is of image {of}, which `images` has not");
                entries.push(Entry::wrong(name, RejectReason::NoImage, detail));
            }
        }
    }
    Ok(Listed::new(path, images, entries, identity))
}
