//! What a format has to provide, and helpers that several formats share.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::columns::Columns;
use super::item::{Fault, Item, SourceError};
use crate::data::budget::Budget;
use crate::files::{FileError, guarded};
use crate::image_file::ImageLimits;

/// Records of a unit where the format has no files of its own.
pub(super) const UNIT: usize = 10_000;
/// Items that a reader in a thread of its own is ahead.
const AHEAD: usize = 32;
/// Bytes of these items; a larger one is alone.
const AHEAD_BYTES: usize = 64 << 20;

/// Opens a place.
pub(super) type Open = fn(&str, &SourceOptions) -> Result<Box<dyn Reader>, SourceError>;

/// A format of captioned images.
#[derive(Debug)]
pub(super) struct Kind {
    /// What `--format` calls it.
    pub(super) name: &'static str,
    /// How places of this format begin that are no files, such as `world:`.
    pub(super) scheme: Option<&'static str>,
    /// Extensions of its files, where they alone tell the format.
    pub(super) extensions: &'static [&'static str],
    /// Which files it reads.
    pub(super) files: Files,
    /// Opens a place.
    pub(super) open: Open,
}

/// Which files a format reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// As many as the place names, which may be of several splits.
    Many,
    /// One index at a time; of a pattern, one after the other.
    Index,
    /// None, or a fixed layout.
    Own,
}

/// How pairs are kept: one of the formats that can be read.
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

/// How a source is read.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// Its format, where it is not what it looks like.
    pub format: Option<Format>,
    /// Where its images are, if they are elsewhere.
    pub images: Option<PathBuf>,
    /// What an image may be.
    pub limits: ImageLimits,
    /// Columns that names do not tell.
    pub columns: Columns,
    /// What separates the columns of a table, where its first line does not tell.
    pub separator: Option<char>,
    /// The one split to read, of several.
    pub split: Option<String>,
    /// Row i of a table has the image with number i, whatever it names.
    pub by_position: bool,
}

impl SourceOptions {
    /// Where the images of a source are that only names them.
    pub(super) fn images_of(&self, place: &str, format: &str) -> Result<PathBuf, SourceError> {
        self.images.clone().ok_or_else(|| {
            let reason = format!("{format} names pictures that are elsewhere: expected --images DIR");
            SourceError::place(place, reason)
        })
    }
}

/// Items of a unit, in order.
pub(super) type Items<'a> = Box<dyn Iterator<Item = Item> + Send + 'a>;

/// A source of one format: its units, and their items in a fixed order.
pub(super) trait Reader: Send + Sync {
    /// Units: files that are read from end to end, or ranges of an index.
    fn n_units(&self) -> usize;
    /// What messages call a unit.
    fn unit_name(&self, unit: usize) -> String;
    /// Records, where they can be counted without reading them.
    fn n_records(&self) -> Option<usize>;
    /// About so many, where they cannot be counted but a part of them tells.
    fn about(&self) -> Option<usize> {
        None
    }
    /// Units that are known to be unreadable before they are read.
    fn faults(&self) -> Vec<(usize, Fault)> {
        vec![]
    }
    /// What a user should know of how the source is read.
    fn notes(&self) -> Vec<String> {
        vec![]
    }
    /// The items of a unit.
    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError>;
    /// The files that a unit is read from as a whole.
    fn files(&self, _unit: usize) -> Vec<PathBuf> {
        vec![]
    }
    /// What tells the source from another one: names, sizes, contents of an index.
    fn identity(&self) -> Result<String, SourceError>;
}

/// Names and sizes of files, for an identity.
pub(super) fn names_and_sizes(paths: &[PathBuf]) -> Result<String, SourceError> {
    let mut text = String::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let size = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            // A lost file is one of the source's faults.
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

/// Items that `read` finds in `file`, in a thread of its own, a little ahead. It stops where nobody listens any more. A reader that panics ends in a
/// fault: what came before it is not all there is.
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

/// The file that `name` means in `folder`: a relative path in it, or an absolute path to what is in it. `None` where it leads out.
pub(super) fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    // Tables that were written on Windows.
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
        // By way of links.
        return path.canonicalize().ok().filter(|file| file.starts_with(&real));
    }
    (is_plain(path) && !name.is_empty()).then(|| folder.join(path))
}
