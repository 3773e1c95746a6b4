//! What sources give: records, and why something cannot be used.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::files::FileError;

/// What image files are called.
pub(super) const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Bytes of a text or JSON file of one image, at most.
pub(super) const TEXT: u64 = 1 << 20;
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
    pub(super) fn content(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Content {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn place(place: &str, reason: impl fmt::Display) -> Self {
        Self::Place {
            place: place.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// What is wrong, without the file's name.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Content { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// An item of a unit: a record, or why there is none at this place.
#[derive(Debug)]
pub enum Item {
    /// An image with captions.
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
    pub(super) fn new(path: &Path, reason: impl fmt::Display) -> Self {
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

/// An image with its captions, of which there is at least one.
#[derive(Debug)]
pub struct Record {
    /// The image's id in its source.
    pub id: String,
    /// File and entry, or line.
    pub place: String,
    /// What is said of it.
    pub captions: Vec<Caption>,
    /// Captions that cannot be used, and why: the others still can.
    pub dropped: Vec<(RejectReason, String)>,
    /// The text file that the captions are from, where they have one of their own.
    pub caption_file: Option<PathBuf>,
    /// The image.
    pub image: RecordImage,
}

impl Item {
    /// Bytes that it holds in memory, about.
    pub(in crate::data) fn bytes(&self) -> usize {
        let Self::Record(record) = self else { return 0 };
        let captions = record.captions.iter().map(|caption| caption.text.len());
        let image = match &record.image {
            RecordImage::Encoded(bytes) => bytes.len(),
            RecordImage::File(_) => 0,
            RecordImage::Ready(image) => image.as_raw().len(),
            RecordImage::Embedding(values) => size_of_val(values.as_slice()),
        };
        captions.sum::<usize>() + image
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

/// An image, in the form in which the source has it.
#[derive(Debug)]
pub enum RecordImage {
    /// The bytes of an image file.
    Encoded(Vec<u8>),
    /// An image file.
    File(PathBuf),
    /// Pixels.
    Ready(RgbImage),
    /// z_x, `[d_clip]`, in the place of an image.
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
    pub(super) fn item(
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
    /// No image where one should be.
    NoImage,
    /// Bytes that are no image, or break off.
    BrokenImage,
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
    /// The image was not downloaded, as its own record says.
    NotDownloaded,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoCaption => "no-caption",
            Self::CaptionTooLong => "caption-too-long",
            Self::NotUtf8 => "not-utf8",
            Self::NoImage => "no-picture",
            Self::BrokenImage => "broken-picture",
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
