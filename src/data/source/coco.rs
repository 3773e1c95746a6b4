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

/// A record is an image with all its captions, in the order of the file; captions of no image come last, as rejects.
pub(super) fn open(path: &Path, images: &Path) -> Result<Listed, SourceError> {
    let bytes = files::read(path)?;
    let captions: Captions = serde_json::from_slice(&bytes).map_err(|e| {
        SourceError::content(path, format!("expected COCO's `images` and `annotations`: {e}"))
    })?;
    let mut of: HashMap<u64, Vec<(Option<String>, String)>> =
        captions.images.iter().map(|image| (image.id, vec![])).collect();
    let mut lost = Vec::new();
    for Annotation {
        id,
        image_id,
        caption,
    } in captions.annotations
    {
        match of.get_mut(&image_id) {
            Some(texts) => texts.push((Some(id.to_string()), caption)),
            None => lost.push(Entry {
                id: id.to_string(),
                file: String::new(),
                texts: Texts::OfNothing(format!(
                    "annotation {id} is of image {image_id}, which `images` has not"
                )),
            }),
        }
    }
    let with_texts = |image: Image| Entry {
        id: image.id.to_string(),
        texts: Texts::Known(of.remove(&image.id).unwrap_or_default()),
        file: image.file_name,
    };
    let entries = captions.images.into_iter().map(with_texts).chain(lost).collect();
    Ok(Listed {
        index: path.to_path_buf(),
        images: images.to_path_buf(),
        entries,
        identity: files::sha256(&bytes),
    })
}
