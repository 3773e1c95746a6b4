//! COCO's `captions_*.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::config::ConfigError;
use crate::files::{self, FileError};
use crate::limits::MAX_INDEX;

#[derive(Deserialize)]
struct Captions {
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    id: u64,
    caption: String,
}

/// The caption with the lowest number of each image, by the image's number, on one line.
///
/// # Errors
/// [`FileError`], naming the file; [`ConfigError`] for one of another form, or without captions.
pub fn first_captions<E: From<FileError> + From<ConfigError>>(
    path: &Path,
) -> Result<BTreeMap<u64, String>, E> {
    let bytes = files::read_at_most(path, MAX_INDEX, "captions in JSON")?;
    let wrong = |found: String| {
        let expected = "COCO's captions, a list of objects with image_id, id and caption";
        ConfigError::value(path.display(), "annotations", expected, found)
    };
    let mut captions: Captions = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    captions.annotations.sort_by_key(|annotation| annotation.id);
    let mut first = BTreeMap::new();
    for Annotation {
        image_id, caption, ..
    } in captions.annotations
    {
        // A caption may end in a line break.
        let line = || caption.split_whitespace().collect::<Vec<_>>().join(" ");
        first.entry(image_id).or_insert_with(line);
    }
    match first.is_empty() {
        true => Err(wrong("none".into()).into()),
        false => Ok(first),
    }
}
