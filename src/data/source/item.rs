//! Items of a source: records, rejects and faults.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::files::FileError;

/// Extensions of image files.
pub(super) const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Most bytes of the text or JSON file of an image.
pub(super) const TEXT: u64 = 1 << 20;
/// A source that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The place is incomplete or wrong.
    #[error("{place}: {reason}")]
    Place {
        /// The place as it was given.
        place: String,
        /// The expected and the found value.
        reason: String,
    },
    /// A file does not match its format.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Key or line, expected value, found value.
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

    /// The message without the file's name.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Content { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// An item of a unit.
#[derive(Debug)]
pub enum Item {
    /// An image with captions.
    Record(Record),
    /// A record that cannot be used.
    Reject(Reject),
    /// The rest of the unit cannot be read.
    Fault(Fault),
}

/// A source file that cannot be read completely. Unlike with a rejected record, the number of lost records is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The reason.
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

/// An image with at least one caption.
#[derive(Debug)]
pub struct Record {
    /// The image's id in its source.
    pub id: String,
    /// File and entry, or line.
    pub place: String,
    /// Its captions.
    pub captions: Vec<Caption>,
    /// Rejected captions with the reason; the others are used.
    pub dropped: Vec<(RejectReason, String)>,
    /// The text file of the captions, if they have their own file.
    pub caption_file: Option<PathBuf>,
    /// The image.
    pub image: RecordImage,
}

impl Item {
    /// Approximate size in memory, in bytes.
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
    /// Its text, on one line.
    pub text: String,
}

/// An image, in the representation of the source.
#[derive(Debug)]
pub enum RecordImage {
    /// The bytes of an image file.
    Encoded(Vec<u8>),
    /// An image file.
    File(PathBuf),
    /// Pixels.
    Ready(RgbImage),
    /// z_x, `[d_clip]`, instead of an image.
    Embedding(Vec<f32>),
}

/// A rejected record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Its id, if known.
    pub id: String,
    /// File and entry, or line.
    pub place: String,
    /// Reason, as a keyword.
    pub reason: RejectReason,
    /// Reason, as text.
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

/// Why a record is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// No caption, or only empty ones.
    NoCaption,
    /// A caption of more than 64 KiB.
    CaptionTooLong,
    /// A text that is not UTF-8.
    NotUtf8,
    /// The image is missing.
    NoImage,
    /// Bytes that are not a complete image.
    BrokenImage,
    /// More pixels or bytes than allowed.
    TooLarge,
    /// Too few pixels.
    TooSmall,
    /// A path outside its folder.
    UnsafePath,
    /// A source file that cannot be read completely.
    UnreadableFile,
    /// A repeated key.
    DuplicateKey,
    /// A line or row that does not match the format.
    BadRecord,
    /// The image was not downloaded, according to its own record.
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

/// The keyword of rejects that stand for unreadable files.
pub const UNREADABLE: &str = "unreadable-file";
