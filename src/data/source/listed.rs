//! Sources with an index that fits into memory: a list of images with their captions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::caption::{Cleaned, usable};
use super::item::{Item, Record, RecordImage, Reject, RejectReason, SourceError};
use super::reader::{Items, Reader, UNIT, inside};
use crate::files;

/// Location of an image's captions.
pub(super) enum Texts {
    /// In memory, with their ids.
    Known(Vec<(Option<String>, String)>),
    /// In a text file.
    File(PathBuf),
    /// Missing: this entry is a reject, with the reason.
    Wrong(RejectReason, String),
}

/// An image of the list.
pub(super) struct Entry {
    pub(super) id: String,
    /// Its file name in the index.
    pub(super) file: String,
    pub(super) texts: Texts,
}

impl Entry {
    /// Something that cannot be used.
    pub(super) fn wrong(id: impl Into<String>, reason: RejectReason, detail: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            file: String::new(),
            texts: Texts::Wrong(reason, detail.into()),
        }
    }
}

/// The list.
pub(super) struct Listed {
    /// The source's path, for messages.
    index: PathBuf,
    images: PathBuf,
    entries: Vec<Entry>,
    /// Hash of the index's content.
    identity: String,
}

impl Listed {
    /// Merges entries of one file into one entry, with all captions.
    pub(super) fn new(index: &Path, images: &Path, entries: Vec<Entry>, identity: String) -> Self {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut kept: Vec<Entry> = Vec::new();
        for entry in entries {
            let Entry {
                file,
                texts: Texts::Known(texts),
                ..
            } = &entry
            else {
                kept.push(entry);
                continue;
            };
            if texts.is_empty() {
                kept.push(entry);
                continue;
            }
            let file = file.trim_start_matches("./").to_owned();
            let first = places.get(&file).and_then(|&at| kept.get_mut(at));
            if let Some(Entry {
                texts: Texts::Known(first),
                ..
            }) = first
            {
                first.extend(texts.iter().cloned());
                continue;
            }
            places.insert(file, kept.len());
            kept.push(entry);
        }
        Self {
            index: index.to_path_buf(),
            images: images.to_path_buf(),
            entries: kept,
            identity,
        }
    }

    fn item(&self, entry: &Entry) -> Item {
        let place = match entry.file.is_empty() {
            true => format!("{}: {}", self.index.display(), entry.id),
            false => format!("{}: {}", self.index.display(), entry.file),
        };
        let reject =
            |(reason, detail): (RejectReason, String)| Reject::item(&entry.id, &place, reason, detail);
        let captions = match &entry.texts {
            Texts::Known(texts) => usable(texts.iter().map(|(id, text)| (id.clone(), text))),
            Texts::File(path) => from_file(path),
            Texts::Wrong(reason, why) => Err((*reason, why.clone())),
        };
        let captions = match captions {
            Ok(captions) => captions,
            Err(why) => return reject(why),
        };
        let Some(file) = inside(&self.images, &entry.file) else {
            let detail = format!("{:?} leads out of {}", entry.file, self.images.display());
            return reject((RejectReason::UnsafePath, detail));
        };
        Item::Record(Record {
            id: entry.id.clone(),
            place,
            captions: captions.captions,
            dropped: captions.dropped,
            caption_file: match &entry.texts {
                Texts::File(path) => Some(path.clone()),
                _ => None,
            },
            image: RecordImage::File(file),
        })
    }
}

/// A text file contains one caption.
fn from_file(path: &Path) -> Result<Cleaned, (RejectReason, String)> {
    match std::fs::metadata(path) {
        Ok(m) if !m.is_file() => {
            return Err((
                RejectReason::NoCaption,
                format!("{}: not a regular file", path.display()),
            ));
        }
        Ok(m) if m.len() > super::item::TEXT => {
            let detail = format!(
                "{} of {} bytes, at most {} are read",
                path.display(),
                m.len(),
                super::item::TEXT
            );
            return Err((RejectReason::CaptionTooLong, detail));
        }
        _ => {}
    }
    let bytes = match files::read(path) {
        Ok(bytes) => bytes,
        Err(e) => return Err((RejectReason::NoCaption, e.to_string())),
    };
    let text =
        String::from_utf8(bytes).map_err(|e| (RejectReason::NotUtf8, format!("{}: {e}", path.display())))?;
    let whole = (!text.trim().is_empty()).then_some((None, text.clone()));
    usable(whole)
}

impl Reader for Listed {
    fn n_units(&self) -> usize {
        self.entries.len().div_ceil(UNIT)
    }

    fn unit_name(&self, unit: usize) -> String {
        format!("{}, images from {}", self.index.display(), unit * UNIT)
    }

    fn n_records(&self) -> Option<usize> {
        Some(self.entries.len())
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let first = (unit * UNIT).min(self.entries.len());
        let last = (first + UNIT).min(self.entries.len());
        Ok(Box::new(
            self.entries[first..last].iter().map(|entry| self.item(entry)),
        ))
    }

    fn files(&self, _unit: usize) -> Vec<PathBuf> {
        let index = self.index.clone();
        if index.is_file() { vec![index] } else { vec![] }
    }

    fn identity(&self) -> Result<String, SourceError> {
        Ok(self.identity.clone())
    }
}
