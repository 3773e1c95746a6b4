//! Sources whose index is small enough to be in memory: a list of pictures with what is known of each.

use std::path::{Path, PathBuf};

use super::caption::{Cleaned, usable};
use super::{Item, Items, Picture, Reader, Record, Reject, RejectReason, SourceError, UNIT, inside};
use crate::files;

/// Where a picture's captions are.
pub(super) enum Texts {
    /// Here, with their ids.
    Known(Vec<(Option<String>, String)>),
    /// In a text file.
    File(PathBuf),
    /// Here, but of no picture; why.
    OfNothing(String),
}

/// A picture of the list.
pub(super) struct Entry {
    pub(super) id: String,
    /// Its file's name, as the index has it.
    pub(super) file: String,
    pub(super) texts: Texts,
}

/// The list.
pub(super) struct Listed {
    /// What it was made from, for messages.
    pub(super) index: PathBuf,
    pub(super) images: PathBuf,
    pub(super) entries: Vec<Entry>,
    /// Hash of the index's content.
    pub(super) identity: String,
}

impl Listed {
    fn item(&self, entry: &Entry) -> Item {
        let place = format!("{}: {}", self.index.display(), entry.file);
        let reject =
            |(reason, detail): (RejectReason, String)| Reject::item(&entry.id, &place, reason, detail);
        let captions = match &entry.texts {
            Texts::Known(texts) => usable(texts.iter().map(|(id, text)| (id.clone(), text))),
            Texts::File(path) => from_file(path),
            Texts::OfNothing(why) => Err((RejectReason::NoPicture, why.clone())),
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
            picture: Picture::File(file),
        })
    }
}

/// Every line of a text file is a caption.
fn from_file(path: &Path) -> Result<Cleaned, (RejectReason, String)> {
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
        format!("{}, pictures from {}", self.index.display(), unit * UNIT)
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

    fn identity(&self) -> Result<String, SourceError> {
        Ok(self.identity.clone())
    }
}
