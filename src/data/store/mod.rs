//! Encoded pairs on disk: raw embeddings of images and captions, in shards that are mapped into memory.
//!
//! ```text
//! STORE/store.json                      what is in it, and the hash of every shard; written last
//!       shards/00007-002.safetensors    the third chunk of the source's unit 7
//!       empty.safetensors               the caption "", which stands for no condition
//!       rejects.jsonl                   pairs that could not be used, and why
//!       encode.json                     what the encoding was asked for
//!       shards.jsonl                    size and hash of every shard that was written, until there is a store.json
//! ```
//!
//! Hashes are those of what was written, never of what lies there: a file that is not what was recorded is an error of whoever reads it, and made again
//! by the encoding that wrote it.
//!
//! An image that its source has several times is one image of a shard, with the captions of all; `picture_hashes` `[pictures, 16]` tell the images
//! that are equal across shards.
//!
//! A shard holds `z_x` `[pictures, d_clip]`, `z_y` `[captions, d_clip]`, the captions' token `ids` end to end without padding, and, if they are
//! stored, the text tower's `hidden` states `[tokens, d_clip]` in the same order; captions lie by image. `*_offsets` say where each begins and
//! ends. Values are f16 or f32, never normalised unless the manifest says so.

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
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A shard's header.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// There is no manifest.
    #[error("{dir} is no finished store: it has no store.json{hint}")]
    NotFinished {
        /// The folder.
        dir: PathBuf,
        /// What is there in its place.
        hint: String,
    },
    /// A file says something else than it has to.
    #[error("{path}: `{key}`: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What of it.
        key: String,
        /// What it should be.
        expected: String,
        /// What it is.
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
        /// Its value there.
        there: String,
        /// Its value now.
        here: String,
    },
    /// A file of the source was edited.
    #[error(
        "{file} was changed after it was encoded: {what}; encode into another folder, or remove this one, so that the store is of one source"
    )]
    SourceChanged {
        /// The file.
        file: PathBuf,
        /// In what.
        what: String,
    },
    /// Another process writes.
    #[error("{dir} is being written by process {pid}")]
    Busy {
        /// The folder.
        dir: PathBuf,
        /// The process.
        pid: String,
    },
    /// Embeddings of another CLIP.
    #[error(
        "{dir} was encoded by another CLIP: expected the one with hash {expected}, found {found} ({name})"
    )]
    OtherClip {
        /// The store.
        dir: PathBuf,
        /// The hash wanted.
        expected: String,
        /// The store's.
        found: String,
        /// Where the store's CLIP was.
        name: String,
    },
    /// There would be nothing in it.
    #[error("{dir}: not one record could be used{rejects}")]
    Nothing {
        /// The folder.
        dir: PathBuf,
        /// Why, by reason.
        rejects: String,
    },
    /// Parts do not make a whole.
    #[error("{dir}: {reason}")]
    Parts {
        /// The folder.
        dir: PathBuf,
        /// Why.
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

/// Name of the manifest.
pub const MANIFEST: &str = "store.json";
/// Name of the settings of an encoding that is not finished.
pub const SETTINGS: &str = "encode.json";
/// Records of the shards of an encoding that is not finished.
const RECORDS: &str = "shards.jsonl";
/// Folder of the shards.
const SHARDS: &str = "shards";
/// The caption "".
const EMPTY: &str = "empty.safetensors";
/// Pairs that could not be used.
const REJECTS: &str = "rejects.jsonl";
