//! Stores of encoded pairs: raw embeddings of images and captions, in memory-mapped shards.
//!
//! ```text
//! STORE/store.json                      manifest, with the hash of every shard; written last
//!       shards/00007-002.safetensors    the third chunk of the source's unit 7
//!       empty.safetensors               the caption "", which stands for no condition
//!       rejects.jsonl                   rejected pairs, with the reason
//!       encode.json                     settings of the encoding
//!       shards.jsonl                    size and hash of every written shard, until store.json exists
//! ```
//!
//! Hashes are computed from the written bytes, not from the file on disk. A reader reports a file that does not match its record; a repeated encoding
//! recreates it.
//!
//! An image that occurs several times in a source is one image of a shard, with the captions of all occurrences; `picture_hashes` `[images, 16]`
//! identify equal images across shards.
//!
//! A shard contains `z_x` `[images, d_clip]`, `z_y` `[captions, d_clip]`, the captions' token `ids`, concatenated without padding, and optionally
//! the text tower's `hidden` states `[tokens, d_clip]` in the same order; captions are ordered by image. `*_offsets` give the start and end of each
//! range. Values are f16 or f32, never normalised unless the manifest says so.

mod lock;
mod manifest;
mod merge;
mod parts;
mod read;
mod shard;
mod write;

use std::path::{Path, PathBuf};

pub use lock::Lock;
pub use manifest::{
    ClipHash, Encoder, FileInfo, Hidden, Manifest, Rejected, Settings, ShardInfo, StoreDtype, Target,
};
pub use merge::{Merged, merge};
pub use parts::{part_dir, parts};
pub use read::{Caption, Damage, Store};
pub use shard::{Chunk, ImageHash, ShardHeader, SourceFile};
pub use write::{Writer, bytes_there};

use crate::files::FileError;
use crate::weights::WeightsError;

/// A store that cannot be read, written or merged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A shard's header is invalid.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// There is no manifest.
    #[error("{dir} is no finished store: it has no store.json{hint}")]
    NotFinished {
        /// The folder.
        dir: PathBuf,
        /// A hint at what the folder contains instead.
        hint: String,
    },
    /// A value in a file differs from its expected value.
    #[error("{path}: `{key}`: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The key of the value.
        key: String,
        /// The expected value.
        expected: String,
        /// The value found.
        found: String,
    },
    /// The folder belongs to an encoding with other settings.
    #[error(
        "{dir} was begun with another `{key}`: {there}, not {here}; give another folder, or remove this one"
    )]
    Begun {
        /// The folder.
        dir: PathBuf,
        /// The setting.
        key: String,
        /// The recorded value.
        there: String,
        /// The requested value.
        here: String,
    },
    /// A file of the source has changed since it was encoded.
    #[error(
        "{file} was changed after it was encoded: {what}; encode into another folder, or remove this one, so that the store is of one source"
    )]
    SourceChanged {
        /// The file.
        file: PathBuf,
        /// The difference.
        what: String,
    },
    /// Another process writes the store.
    #[error("{dir} is being written by process {pid}")]
    Busy {
        /// The folder.
        dir: PathBuf,
        /// The process id.
        pid: String,
    },
    /// The embeddings are of another CLIP.
    #[error(
        "{dir} was encoded by another CLIP: expected the one with hash {expected}, found {found} ({name})"
    )]
    OtherClip {
        /// The store.
        dir: PathBuf,
        /// The expected hash.
        expected: String,
        /// The hash of the store's CLIP.
        found: String,
        /// The path of the store's CLIP.
        name: String,
    },
    /// All records were rejected.
    #[error("{dir}: not one record could be used{rejects}")]
    Nothing {
        /// The folder.
        dir: PathBuf,
        /// The reasons.
        rejects: String,
    },
    /// Parts do not form a whole store.
    #[error("{dir}: {reason}")]
    Parts {
        /// The folder.
        dir: PathBuf,
        /// The reason.
        reason: String,
    },
}

impl StoreError {
    fn content(path: &Path, key: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Content {
            path: path.to_path_buf(),
            key: key.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

/// File name of the manifest.
pub const MANIFEST: &str = "store.json";
/// File name of the settings of an unfinished encoding.
pub const SETTINGS: &str = "encode.json";
/// File name of the shard records of an unfinished encoding.
const RECORDS: &str = "shards.jsonl";
/// Folder of the shards.
const SHARDS: &str = "shards";
/// File name of the caption "".
const EMPTY: &str = "empty.safetensors";
/// File name of the rejected pairs.
const REJECTS: &str = "rejects.jsonl";
