//! The interface of a format, and helpers that several formats share.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::columns::Columns;
use super::item::{Fault, Item, SourceError};
use crate::data::budget::Budget;
use crate::files::{FileError, guarded};
use crate::image_file::ImageLimits;

/// Records of a unit of formats without files.
pub(super) const UNIT: usize = 10_000;
/// Items that a reader thread prefetches.
const AHEAD: usize = 32;
/// Bytes of prefetched items; a larger item is alone.
const AHEAD_BYTES: usize = 64 << 20;

/// Opens a place.
pub(super) type Open = fn(&str, &SourceOptions) -> Result<Box<dyn Reader>, SourceError>;

/// A format of captioned images.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its name for `--format`.
    pub(super) name: &'static str,
    /// URL scheme of places that are not files, such as `world:`.
    pub(super) scheme: Option<&'static str>,
    /// Extensions of its files, if they determine the format.
    pub(super) extensions: &'static [&'static str],
    /// The files it reads.
    pub(super) files: Files,
    /// Opens a place.
    pub(super) open: Open,
}

/// The files that a format reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// All files of the place, which may belong to several splits.
    Many,
    /// One index at a time; a pattern is read index by index.
    Index,
    /// No files, or a fixed layout.
    Own,
}

/// A supported format of pairs.
#[derive(Clone, Copy)]
pub struct Format(pub(super) &'static Kind);

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.name)
    }
}

/// Options of a source.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// Its format, if detection should be overridden.
    pub format: Option<Format>,
    /// Folder of its images, if they are elsewhere.
    pub images: Option<PathBuf>,
    /// Limits of an image.
    pub limits: ImageLimits,
    /// Image and caption columns, if their names are not known ones.
    pub columns: Columns,
    /// Column separator of a table, if its first line does not determine it.
    pub separator: Option<char>,
    /// The split to read.
    pub split: Option<String>,
    /// Row i of a table has the image with number i, whatever the row names.
    pub by_position: bool,
}

impl SourceOptions {
    /// The image folder of a source that only names its images.
    pub(super) fn images_of(&self, place: &str, format: &str) -> Result<PathBuf, SourceError> {
        self.images.clone().ok_or_else(|| {
            let reason = format!("{format} names images that are elsewhere: expected --images DIR");
            SourceError::place(place, reason)
        })
    }
}

/// Items of a unit, in order.
pub(super) type Items<'a> = Box<dyn Iterator<Item = Item> + Send + 'a>;

/// A source of one format: units, and their items in a fixed order.
pub(super) trait Reader: Send + Sync {
    /// Number of units: streamed files, or ranges of an index.
    fn n_units(&self) -> usize;
    /// Name of a unit in messages.
    fn unit_name(&self, unit: usize) -> String;
    /// Number of records, if known without reading them.
    fn n_records(&self) -> Option<usize>;
    /// Estimate of this number from a sample.
    fn about(&self) -> Option<usize> {
        None
    }
    /// Units already known to be unreadable.
    fn faults(&self) -> Vec<(usize, Fault)> {
        vec![]
    }
    /// Notes for the user.
    fn notes(&self) -> Vec<String> {
        vec![]
    }
    /// The items of a unit.
    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError>;
    /// The files that contain a whole unit.
    fn files(&self, _unit: usize) -> Vec<PathBuf> {
        vec![]
    }
    /// Identity of the source: names, sizes, contents of an index.
    fn identity(&self) -> Result<String, SourceError>;
}

/// Names and sizes of files, for an identity.
pub(super) fn names_and_sizes(paths: &[PathBuf]) -> Result<String, SourceError> {
    let mut text = String::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let size = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            // A missing file is one of the source's faults.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                text.push_str(&format!("{name} lost\n"));
                continue;
            }
            Err(source) => {
                return Err(FileError::Io {
                    action: "read",
                    path: path.clone(),
                    source,
                }
                .into());
            }
        };
        text.push_str(&format!("{name} {size}\n"));
    }
    Ok(text)
}

/// Items that `read` finds in `file`, on a separate thread that reads ahead and stops when the receiver is gone. A panic of the reader becomes a
/// fault, because items may be missing.
pub(super) fn threaded(
    file: &Path,
    read: impl FnOnce(&mut dyn FnMut(Item) -> bool) + Send + 'static,
) -> Items<'static> {
    let (send, receive) = std::sync::mpsc::sync_channel(AHEAD);
    let (budget, file) = (Budget::new(AHEAD_BYTES), file.to_path_buf());
    std::thread::spawn(move || {
        let mut tell = |item: Item| {
            let permit = budget.take(item.bytes());
            send.send((item, permit)).is_ok()
        };
        if guarded(|| read(&mut tell)).is_none() {
            tell(Item::Fault(Fault::new(
                &file,
                "the file is damaged: its reader gave up",
            )));
        }
    });
    Box::new(receive.into_iter().map(|(item, _)| item))
}

/// The file `name` in `folder`: a relative path, or an absolute path into the folder. `None` if it leads out of the folder.
pub(super) fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    // Tables written on Windows.
    let name = name.replace('\\', "/");
    let path = Path::new(&name);
    let is_plain = |path: &Path| {
        path.components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
    };
    if path.is_absolute() {
        let real = folder.canonicalize().ok()?;
        let below = path
            .strip_prefix(folder)
            .or_else(|_| path.strip_prefix(&real))
            .ok();
        if let Some(below) = below.filter(|below| is_plain(below)) {
            return Some(folder.join(below));
        }
        // Symbolic links may lead out too.
        return path.canonicalize().ok().filter(|file| file.starts_with(&real));
    }
    (is_plain(path) && !name.is_empty()).then(|| folder.join(path))
}
