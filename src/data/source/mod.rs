//! Sources of captioned images: common formats (img2dataset's, COCO's, CC3M's and CC12M's, folders, Hugging Face's,
//! clip-retrieval's), and the built-in worlds.
//!
//! A source has units: files of a streamed format, or ranges of an index. The items of a unit have a fixed order, and a
//! rejected record is an item too, so that positions are stable and every record is accounted for.

//!
//! To add a format: a file with a `Kind` and a `Reader`, and one line in `formats!`.

mod caption;
mod columns;
mod delimited;
mod detect;
mod item;
mod joined;
mod listed;
mod pages;
mod place;
mod reader;
mod record_image;

/// The formats, in the order of messages.
macro_rules! formats {
    ($($(#[$attribute:meta])* $module:ident,)*) => {
        $($(#[$attribute])* mod $module;)*
        const FORMATS: &[&reader::Kind] = &[$($(#[$attribute])* &$module::FORMAT,)*];
    };
}

formats! {
    tars,
    coco,
    table,
    folder,
    parquet,
    npy,
    world,
    #[cfg(test)] toy,
}

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use self::joined::Joined;
use self::place::Splits;
use self::reader::{Files, Reader};
use crate::files;

pub use self::columns::Columns;
pub use self::item::{
    Caption, Fault, Item, Record, RecordImage, Reject, RejectReason, SourceError, UNREADABLE,
};
pub(crate) use self::npy::has_plain_header;
pub use self::reader::{Format, SourceOptions};
pub use crate::image_file::ImageLimits;

impl Format {
    /// The names of all formats, in a sentence.
    pub fn names() -> String {
        let names: Vec<&str> = FORMATS.iter().map(|kind| kind.name).collect();
        match names.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

/// The format whose scheme `place` begins with, such as `world:`: such a place is not a file.
pub fn with_scheme(place: &str) -> Option<Format> {
    let has_scheme = |kind: &&&reader::Kind| kind.scheme.is_some_and(|scheme| place.starts_with(scheme));
    FORMATS.iter().find(has_scheme).map(|kind| Format(kind))
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = FORMATS.iter().find(|kind| kind.name == text);
        found.map(|kind| Self(kind)).ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|kind| kind.name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

/// A source of captioned images.
pub struct Source {
    format: Format,
    reader: Box<dyn Reader>,
    faults: BTreeMap<usize, Fault>,
    /// Base folders of its files: images, and the source itself.
    roots: Vec<PathBuf>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} source of {} units", self.format, self.n_units())
    }
}

impl Source {
    /// Opens a file, a folder, a pattern of files (`*`, `{00000..00012}`) or a world (`world:emoji?n=1000`).
    ///
    /// # Errors
    /// [`SourceError`] if nothing exists there, or no known format.
    pub fn open(place: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let format = match options.format {
            Some(format) => format,
            None => match with_scheme(place) {
                Some(format) => format,
                None => detect::detect(place, FORMATS)?,
            },
        };
        let path = Path::new(place);
        let is_index = format.0.files == Files::Index;
        let is_pattern = is_index && place::is_pattern(place);
        let has_splits = format.0.files == Files::Many || is_pattern || (is_index && path.is_dir());
        if let Some(split) = options.split.as_ref().filter(|_| !has_splits) {
            let reason = format!("--split {split}: a {format} source of one file has no splits");
            return Err(SourceError::place(place, reason));
        }
        let reader: Box<dyn Reader> = match is_pattern {
            true => {
                let (mut files, mut notes) = (place::files_at(place, "")?, vec![]);
                if let Some(chosen) = Splits::of(Path::new(""), &files, options.split.as_deref()) {
                    (files, notes) = chosen?;
                }
                let options = SourceOptions {
                    format: Some(format),
                    split: None,
                    ..options.clone()
                };
                let readers = files
                    .iter()
                    .map(|file| Ok(Self::open(&file.to_string_lossy(), &options)?.reader));
                Box::new(Joined::new(readers.collect::<Result<_, SourceError>>()?, notes))
            }
            false => (format.0.open)(place, options)?,
        };
        if reader.n_units() == 0 {
            return Err(SourceError::place(
                place,
                format!("a {format} source without a single record"),
            ));
        }
        let faults = reader.faults().into_iter().collect();
        let own = match path.is_dir() {
            true => Some(path.to_path_buf()),
            false => path.parent().map(Path::to_path_buf),
        };
        Ok(Self {
            format,
            reader,
            faults,
            roots: options.images.iter().cloned().chain(own).collect(),
        })
    }

    /// The files that contain a whole unit: its tar, its parquet file, its table.
    pub fn files_of(&self, unit: usize) -> Vec<PathBuf> {
        match self.faults.contains_key(&unit) {
            true => vec![],
            false => self.reader.files(unit),
        }
    }

    /// The name of a source file, independent of the source's location.
    pub fn name_of(&self, file: &Path) -> String {
        let name = self.roots.iter().find_map(|root| file.strip_prefix(root).ok());
        name.unwrap_or(file).to_string_lossy().into_owned()
    }

    /// The current path of the file that [`Source::name_of`] calls `name`.
    pub fn path_of(&self, name: &str) -> PathBuf {
        let mut places = self.roots.iter().map(|root| root.join(name));
        places
            .find(|file| file.exists())
            .unwrap_or_else(|| PathBuf::from(name))
    }

    /// Files already known to be unreadable, by unit.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.values()
    }

    /// Notes for the user: mixed splits, images found by position.
    pub fn notes(&self) -> Vec<String> {
        self.reader.notes()
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of units.
    pub fn n_units(&self) -> usize {
        self.reader.n_units()
    }

    /// A unit's name, for messages.
    pub fn unit_name(&self, unit: usize) -> String {
        self.reader.unit_name(unit)
    }

    /// Exact number of records, if known without reading them.
    pub fn n_records(&self) -> Option<usize> {
        self.reader.n_records()
    }

    /// Number of records, estimated from a sample if it is not known.
    pub fn about(&self) -> Option<usize> {
        self.n_records().or_else(|| self.reader.about())
    }

    /// The items of a unit.
    ///
    /// # Errors
    /// [`SourceError`] if its file cannot be opened. A file that cannot be read is an [`Item::Fault`].
    pub fn unit(&self, unit: usize) -> Result<Box<dyn Iterator<Item = Item> + Send + '_>, SourceError> {
        match self.faults.get(&unit) {
            Some(fault) => Ok(Box::new(std::iter::once(Item::Fault(fault.clone())))),
            None => self.reader.unit(unit),
        }
    }

    /// A hash that identifies the source, so that a resumed or partitioned encoding uses the same source.
    ///
    /// # Errors
    /// [`SourceError`] if a file is missing.
    pub fn identity(&self) -> Result<String, SourceError> {
        Ok(files::sha256(self.reader.identity()?.as_bytes()))
    }
}

#[cfg(test)]
mod classes;
#[cfg(test)]
mod tests;
