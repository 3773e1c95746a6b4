//! Where captioned pictures come from: the formats that people have them in (img2dataset's, COCO's, CC3M's and CC12M's, folders, Hugging Face's,
//! clip-retrieval's), and the built-in worlds.
//!
//! A source has units: the files of a format that is read from end to end, else ranges of its index. A unit's items come in a fixed order, and a
//! record that cannot be used is an item too, so that places stay the same and nothing is lost in silence.

mod caption;
mod coco;
mod columns;
mod delimited;
mod folder;
mod joined;
mod listed;
mod npy;
mod pages;
mod parquet;
mod picture;
mod place;
mod table;
mod tars;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::RgbImage;

pub use columns::Columns;

pub(crate) use npy::has_plain_header;

pub use crate::image_file::PictureLimits;

use super::budget::Budget;
use crate::files::guarded;
use crate::files::{self, FileError};

/// Records of a unit where the format has no files of its own.
const UNIT: usize = 10_000;
/// What image files are called.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Bytes of a text or JSON file of one image, at most.
const TEXT: u64 = 1 << 20;
/// Items that a reader in a thread of its own is ahead.
const AHEAD: usize = 32;
/// Bytes of these items; a larger one is alone.
const AHEAD_BYTES: usize = 64 << 20;

/// A source that cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What the source is called says too little, or something wrong.
    #[error("{place}: {reason}")]
    Place {
        /// The place as it was given.
        place: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// A file that is not what its format asks for.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Key or line, what was expected, what was found.
        reason: String,
    },
}

impl SourceError {
    fn content(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Content {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    fn place(place: &str, reason: impl fmt::Display) -> Self {
        Self::Place {
            place: place.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// What is wrong, without the file's name.
    fn reason(&self) -> String {
        match self {
            Self::Content { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// How pairs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Tars of pictures with texts beside them, as img2dataset writes them.
    Webdataset,
    /// COCO's captions with a folder of pictures.
    Coco,
    /// Lines of a caption and a picture, or of a picture and a caption, with a folder of pictures: CC3M, CC12M.
    Tsv,
    /// A folder of pictures with texts beside them, `metadata.jsonl` or a CSV.
    Folder,
    /// Parquet with pictures in it, as Hugging Face keeps them.
    Parquet,
    /// clip-retrieval's embeddings of pictures, with captions.
    ClipRetrieval,
    /// A built-in world.
    World,
}

impl Format {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Webdataset, "webdataset"),
        (Self::Coco, "coco"),
        (Self::Tsv, "tsv"),
        (Self::Folder, "folder"),
        (Self::Parquet, "parquet"),
        (Self::ClipRetrieval, "clip-retrieval"),
        (Self::World, "world"),
    ];
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(format, _)| format == self);
        f.pad(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(format, _)| *format).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            format!("expected one of {names}")
        })
    }
}

/// How a source is read.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// Its format, where it is not what it looks like.
    pub format: Option<Format>,
    /// Where its pictures are, if they are elsewhere.
    pub images: Option<PathBuf>,
    /// What a picture may be.
    pub limits: PictureLimits,
    /// Columns that names do not tell.
    pub columns: Columns,
    /// What separates the columns of a table, where its first line does not tell.
    pub separator: Option<char>,
    /// The one split to read, of several.
    pub split: Option<String>,
    /// Row i of a table has the image with number i, whatever it names.
    pub by_position: bool,
}

/// An item of a unit: a record, or why there is none at this place.
#[derive(Debug)]
pub enum Item {
    /// A picture with captions.
    Record(Record),
    /// Something that cannot be used.
    Reject(Reject),
    /// The rest of the unit cannot be read.
    Fault(Fault),
}

/// A file of a source that cannot be read, or not to its end: unlike with a record that cannot be used, nobody knows what is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl Fault {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// A picture with its captions, of which there is at least one.
#[derive(Debug)]
pub struct Record {
    /// The picture's id in its source.
    pub id: String,
    /// File and entry, or line.
    pub place: String,
    /// What is said of it.
    pub captions: Vec<Caption>,
    /// Captions that cannot be used, and why: the others still can.
    pub dropped: Vec<(RejectReason, String)>,
    /// The text file that the captions are from, where they have one of their own.
    pub caption_file: Option<PathBuf>,
    /// The picture.
    pub picture: Picture,
}

impl Item {
    /// Bytes that it holds in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let Self::Record(record) = self else { return 0 };
        let captions = record.captions.iter().map(|caption| caption.text.len());
        let picture = match &record.picture {
            Picture::Encoded(bytes) => bytes.len(),
            Picture::File(_) => 0,
            Picture::Ready(image) => image.as_raw().len(),
            Picture::Embedding(values) => size_of_val(values.as_slice()),
        };
        captions.sum::<usize>() + picture
    }
}

/// A caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// Its id, if the source has one.
    pub id: Option<String>,
    /// Its words, on one line.
    pub text: String,
}

/// A picture, in the form in which the source has it.
#[derive(Debug)]
pub enum Picture {
    /// The bytes of a picture file.
    Encoded(Vec<u8>),
    /// A picture file.
    File(PathBuf),
    /// Pixels.
    Ready(RgbImage),
    /// z_x, `[d_clip]`, in the place of a picture.
    Embedding(Vec<f32>),
}

/// Something that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Its id, as far as it has one.
    pub id: String,
    /// File and entry, or line.
    pub place: String,
    /// Why, as a word to count by.
    pub reason: RejectReason,
    /// Why, in words.
    pub detail: String,
}

impl Reject {
    fn item(
        id: impl Into<String>,
        place: impl Into<String>,
        reason: RejectReason,
        detail: impl fmt::Display,
    ) -> Item {
        Item::Reject(Self {
            id: id.into(),
            place: place.into(),
            reason,
            detail: detail.to_string(),
        })
    }
}

/// Why a record cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// No caption, or only empty ones.
    NoCaption,
    /// A caption of more than 64 KiB.
    CaptionTooLong,
    /// A text in another encoding.
    NotUtf8,
    /// No picture where one should be.
    NoPicture,
    /// Bytes that are no picture, or break off.
    BrokenPicture,
    /// More pixels or bytes than allowed.
    TooLarge,
    /// Less pixels than can be used.
    TooSmall,
    /// A name that leads out of its folder.
    UnsafePath,
    /// A file of the source that cannot be read, or not to its end.
    UnreadableFile,
    /// A key that was there before.
    DuplicateKey,
    /// A line, or a row, that is not what the format asks for.
    BadRecord,
    /// The picture was not downloaded, as its own record says.
    NotDownloaded,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoCaption => "no-caption",
            Self::CaptionTooLong => "caption-too-long",
            Self::NotUtf8 => "not-utf8",
            Self::NoPicture => "no-picture",
            Self::BrokenPicture => "broken-picture",
            Self::TooLarge => "too-large",
            Self::TooSmall => "too-small",
            Self::UnsafePath => "unsafe-path",
            Self::UnreadableFile => UNREADABLE,
            Self::DuplicateKey => "duplicate-key",
            Self::BadRecord => "bad-record",
            Self::NotDownloaded => "not-downloaded",
        })
    }
}

/// The reason of rejects that stand for files which cannot be read.
pub const UNREADABLE: &str = "unreadable-file";

/// Items of a unit, in order.
type Items<'a> = Box<dyn Iterator<Item = Item> + Send + 'a>;

/// What a format has to know.
trait Reader: Send + Sync {
    fn n_units(&self) -> usize;
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
    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError>;
    /// The files that a unit is read from as a whole.
    fn files(&self, _unit: usize) -> Vec<PathBuf> {
        vec![]
    }
    /// What tells the source from another one: names, sizes, contents of an index.
    fn identity(&self) -> Result<String, SourceError>;
}

/// Captioned pictures in some place.
pub struct Source {
    format: Format,
    reader: Box<dyn Reader>,
    faults: BTreeMap<usize, Fault>,
    /// Where its files are: its images, and itself.
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
    /// [`SourceError`] where nothing, or nothing readable, is there.
    pub fn open(place: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let format = match options.format {
            Some(format) => format,
            None => place::detect(place)?,
        };
        let path = Path::new(place);
        let images = || {
            options.images.clone().ok_or_else(|| {
                SourceError::place(
                    place,
                    format!("{format} names pictures that are elsewhere: expected --images DIR"),
                )
            })
        };
        let has_splits = matches!(format, Format::Webdataset | Format::Parquet)
            || (format == Format::Folder && path.is_dir())
            || (is_one_file(format) && place::is_pattern(place));
        if let Some(split) = options.split.as_ref().filter(|_| !has_splits) {
            let reason = format!("--split {split}: a {format} source of one file has no splits");
            return Err(SourceError::place(place, reason));
        }
        let reader: Box<dyn Reader> = match format {
            Format::Coco | Format::Tsv | Format::Folder if place::is_pattern(place) => {
                let (mut files, mut notes) = (place::files_at(place, "")?, vec![]);
                if let Some(chosen) = place::Splits::of(Path::new(""), &files, options.split.as_deref()) {
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
                Box::new(joined::Joined::new(
                    readers.collect::<Result<_, SourceError>>()?,
                    notes,
                ))
            }
            Format::Webdataset => Box::new(tars::Tars::open(place, options)?),
            Format::Coco => {
                check_text(path)?;
                // An array may have its images beside it.
                let beside = path.parent().map(Path::to_path_buf);
                let is_array = place::start(path)?.trim_ascii_start().starts_with(b"[");
                let images = if is_array {
                    images().or_else(|e| beside.ok_or(e))
                } else {
                    images()
                };
                Box::new(coco::open(path, &images?, options)?)
            }
            Format::Tsv => {
                check_text(path)?;
                let table = table::TableOptions {
                    columns: &options.columns,
                    separator: options.separator,
                    by_position: options.by_position,
                    named_ids: false,
                };
                Box::new(table::Table::open(path, images()?, &table)?)
            }
            Format::Folder => {
                if !path.is_dir() {
                    check_text(path)?;
                }
                folder::open(path, options)?
            }
            Format::Parquet => Box::new(parquet::Parquet::open(place, options)?),
            Format::ClipRetrieval => Box::new(npy::Embedded::open(path)?),
            Format::World => Box::new(world::WorldSource::open(place)?),
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

    /// The files that a unit is read from as a whole: its tar, its parquet file, its table.
    pub fn files_of(&self, unit: usize) -> Vec<PathBuf> {
        match self.faults.contains_key(&unit) {
            true => vec![],
            false => self.reader.files(unit),
        }
    }

    /// What a file of the source is called wherever the source lies.
    pub fn name_of(&self, file: &Path) -> String {
        let name = self.roots.iter().find_map(|root| file.strip_prefix(root).ok());
        name.unwrap_or(file).to_string_lossy().into_owned()
    }

    /// Where the file that [`Source::name_of`] calls `name` is now.
    pub fn path_of(&self, name: &str) -> PathBuf {
        let mut places = self.roots.iter().map(|root| root.join(name));
        places
            .find(|file| file.exists())
            .unwrap_or_else(|| PathBuf::from(name))
    }

    /// Files that are known to be unreadable before anything is read, by unit.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.values()
    }

    /// What a user should know of how the source is read: splits that are mixed, images found by position.
    pub fn notes(&self) -> Vec<String> {
        self.reader.notes()
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many units it has.
    pub fn n_units(&self) -> usize {
        self.reader.n_units()
    }

    /// A unit's name, for messages.
    pub fn unit_name(&self, unit: usize) -> String {
        self.reader.unit_name(unit)
    }

    /// Its records, where they can be counted without reading them.
    pub fn n_records(&self) -> Option<usize> {
        self.reader.n_records()
    }

    /// How many records it has, about where they cannot be counted but a part of them tells.
    pub fn about(&self) -> Option<usize> {
        self.n_records().or_else(|| self.reader.about())
    }

    /// The items of a unit.
    ///
    /// # Errors
    /// [`SourceError`] when its file cannot be opened. One that cannot be read is an [`Item::Fault`].
    pub fn unit(&self, unit: usize) -> Result<Box<dyn Iterator<Item = Item> + Send + '_>, SourceError> {
        match self.faults.get(&unit) {
            Some(fault) => Ok(Box::new(std::iter::once(Item::Fault(fault.clone())))),
            None => self.reader.unit(unit),
        }
    }

    /// A hash of what tells the source from another one, so that a resumed or parted encoding sees the same.
    ///
    /// # Errors
    /// [`SourceError`] when a file of it is gone.
    pub fn identity(&self) -> Result<String, SourceError> {
        Ok(files::sha256(self.reader.identity()?.as_bytes()))
    }
}

/// Whether a format keeps its index in one file.
fn is_one_file(format: Format) -> bool {
    matches!(format, Format::Coco | Format::Tsv | Format::Folder)
}

/// Refuses a file that is plainly no text.
fn check_text(path: &Path) -> Result<(), SourceError> {
    match place::alien(&place::start(path)?) {
        Some(alien) => Err(SourceError::content(path, alien)),
        None => Ok(()),
    }
}

/// Without the byte-order mark that some editors put before UTF-8.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// Names and sizes of files, for an identity.
fn names_and_sizes(paths: &[PathBuf]) -> Result<String, SourceError> {
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
fn threaded(file: &Path, read: impl FnOnce(&mut dyn FnMut(Item) -> bool) + Send + 'static) -> Items<'static> {
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
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    use std::path::Component;
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

#[cfg(test)]
mod classes;
#[cfg(test)]
mod tests;
