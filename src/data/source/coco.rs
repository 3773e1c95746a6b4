//! COCO's captions: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "id", "caption"}]}`.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::SourceError;
use super::listed::{Entry, Listed, Texts};
use crate::files;

#[derive(Deserialize)]
struct Captions {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    caption: String,
}

/// A record is an image with all its captions, in the order of the file.
pub(super) fn open(path: &Path, images: &Path) -> Result<Listed, SourceError> {
    let bytes = files::read(path)?;
    let captions: Captions = serde_json::from_slice(&bytes).map_err(|e| {
        SourceError::content(path, format!("expected COCO's `images` and `annotations`: {e}"))
    })?;
    let mut of: HashMap<u64, Vec<(Option<String>, String)>> = HashMap::new();
    for annotation in captions.annotations {
        let texts = of.entry(annotation.image_id).or_default();
        texts.push((Some(annotation.id.to_string()), annotation.caption));
    }
    let entries = captions.images.into_iter().map(|image| Entry {
        id: image.id.to_string(),
        texts: Texts::Known(of.remove(&image.id).unwrap_or_default()),
        file: image.file_name,
    });
    let entries = entries.collect();
    if let Some(id) = of.keys().min() {
        let reason = format!(
            "`annotations`: {} images that `images` does not have, such as {id}",
            of.len()
        );
        return Err(SourceError::content(path, reason));
    }
    Ok(Listed {
        index: path.to_path_buf(),
        images: images.to_path_buf(),
        entries,
        identity: files::sha256(&bytes),
    })
}
