//! Where captioned pictures come from: the formats that people have them in (img2dataset's, COCO's, CC3M's and CC12M's, folders, Hugging Face's,
//! clip-retrieval's), and the built-in worlds.
//!
//! A source has units: the files of a format that is read from end to end, else ranges of its index. A unit's items come in a fixed order, and a
//! record that cannot be used is an item too, so that places stay the same and nothing is lost in silence.

mod caption;
mod coco;
mod folder;
mod listed;
mod npy;
mod parquet;
mod picture;
mod table;
mod tars;
mod world;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::RgbImage;

pub use crate::image_file::PictureLimits;

use crate::files::{self, FileError};

/// Records of a unit where the format has no files of its own.
const UNIT: usize = 10_000;
/// Items that a reader in a thread of its own is ahead.
const AHEAD: usize = 32;

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
}

/// An item of a unit: a record, or why there is none at this place.
#[derive(Debug)]
pub enum Item {
    /// A picture with captions.
    Record(Record),
    /// Something that cannot be used.
    Reject(Reject),
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
    /// The picture.
    pub picture: Picture,
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
    /// A file that ends early.
    Truncated,
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
            Self::Truncated => "truncated",
            Self::DuplicateKey => "duplicate-key",
            Self::BadRecord => "bad-record",
            Self::NotDownloaded => "not-downloaded",
        })
    }
}

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
    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError>;
    /// What tells the source from another one: names, sizes, contents of an index.
    fn identity(&self) -> Result<String, SourceError>;
}

/// Captioned pictures in some place.
pub struct Source {
    format: Format,
    reader: Box<dyn Reader>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} source of {} units", self.format, self.n_units())
    }
}

impl Source {
    /// Opens a file, a folder, a pattern of tars (`*`, `{00000..00012}`) or a world (`world:emoji?n=1000`).
    ///
    /// # Errors
    /// [`SourceError`] where nothing, or nothing readable, is there.
    pub fn open(place: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let format = match options.format {
            Some(format) => format,
            None => detect(place)?,
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
        let reader: Box<dyn Reader> = match format {
            Format::Webdataset => Box::new(tars::Tars::open(place, &options.limits)?),
            Format::Coco => Box::new(coco::open(path, &images()?)?),
            Format::Tsv => Box::new(table::Table::open(path, images()?)?),
            Format::Folder => Box::new(folder::open(path, options.images.as_deref())?),
            Format::Parquet => Box::new(parquet::Parquet::open(path, options.images.clone())?),
            Format::ClipRetrieval => Box::new(npy::Embedded::open(path)?),
            Format::World => Box::new(world::WorldSource::open(place)?),
        };
        if reader.n_units() == 0 {
            return Err(SourceError::place(
                place,
                format!("a {format} source without a single record"),
            ));
        }
        Ok(Self { format, reader })
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
    /// [`SourceError`] when its file cannot be opened.
    pub fn unit(&self, unit: usize) -> Result<Box<dyn Iterator<Item = Item> + Send + '_>, SourceError> {
        self.reader.unit(unit)
    }

    /// A hash of what tells the source from another one, so that a resumed or parted encoding sees the same.
    ///
    /// # Errors
    /// [`SourceError`] when a file of it is gone.
    pub fn identity(&self) -> Result<String, SourceError> {
        Ok(files::sha256(self.reader.identity()?.as_bytes()))
    }
}

/// What the place looks like.
fn detect(place: &str) -> Result<Format, SourceError> {
    if place.starts_with("world:") {
        return Ok(Format::World);
    }
    let path = Path::new(place);
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    if path.is_dir() {
        let has = |name: &str| path.join(name).is_dir();
        let any = |wanted: &str| -> Result<bool, SourceError> {
            let files = files::list(path)?;
            Ok(files
                .iter()
                .any(|f| f.extension().is_some_and(|e| e.eq_ignore_ascii_case(wanted))))
        };
        return Ok(match () {
            () if has("img_emb") => Format::ClipRetrieval,
            () if any("tar")? => Format::Webdataset,
            () if any("parquet")? => Format::Parquet,
            () => Format::Folder,
        });
    }
    match extension.as_deref() {
        Some("tar") => Ok(Format::Webdataset),
        _ if place.contains(['*', '{']) => Ok(Format::Webdataset),
        _ if !path.exists() => Err(FileError::Missing(path.to_path_buf()).into()),
        Some("json") => Ok(Format::Coco),
        Some("tsv") => Ok(Format::Tsv),
        Some("jsonl" | "csv") => Ok(Format::Folder),
        Some("parquet") => Ok(Format::Parquet),
        _ => Err(SourceError::place(
            place,
            "expected .tar, .json (COCO captions), .tsv, .csv, .jsonl, .parquet, a folder, or --format",
        )),
    }
}

/// Names and sizes of files, for an identity.
fn names_and_sizes(paths: &[PathBuf]) -> Result<String, SourceError> {
    let mut text = String::new();
    for path in paths {
        let size = std::fs::metadata(path)
            .map_err(|source| FileError::Io {
                action: "read",
                path: path.clone(),
                source,
            })?
            .len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&format!("{name} {size}\n"));
    }
    Ok(text)
}

/// Items that `read` finds, in a thread of its own, a little ahead. It stops where nobody listens any more.
fn threaded(read: impl FnOnce(&mut dyn FnMut(Item) -> bool) + Send + 'static) -> Items<'static> {
    let (send, receive) = std::sync::mpsc::sync_channel(AHEAD);
    std::thread::spawn(move || read(&mut |item| send.send(item).is_ok()));
    Box::new(receive.into_iter())
}

/// The file that `name` means in `folder`; `None` where it leads out of it.
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    use std::path::Component;
    let path = Path::new(name);
    let plain = path
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    (plain && !name.is_empty()).then(|| folder.join(path))
}

#[cfg(test)]
mod tests;
