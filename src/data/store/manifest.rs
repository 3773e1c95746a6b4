//! The manifest of a store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::files;

/// The format version that this code writes. It also reads version 1, which has no image hashes.
pub(super) const VERSION: u32 = 2;

/// Data type of stored values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreDtype {
    /// Half precision, in which other programs compute CLIP embeddings.
    F16,
    /// Single precision.
    F32,
}

impl StoreDtype {
    /// Bytes per value.
    pub fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Whether the text tower's hidden states are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// Stored: training needs no CLIP.
    Stored,
    /// Not stored: training runs the text tower. Hidden states are most of a store's size.
    None,
}

/// Content of z_x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// CLIP's raw image embedding, the target of priors (paper, Eq. 3).
    Raw,
    /// Normalised to length 1.
    L2,
}

/// Identity of a CLIP: equal hashes imply equal embeddings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipHash {
    /// Hash over its files.
    pub clip: String,
    /// Hash over the tokenizer files that the first hash omits for compatibility; earlier versions did not record it.
    pub tokenizer: Option<String>,
}

impl ClipHash {
    /// Whether both identify one CLIP, as far as both are recorded.
    pub fn is_same(&self, other: &Self) -> bool {
        let known = self.tokenizer.as_ref().zip(other.tokenizer.as_ref());
        self.clip == other.clip && known.is_none_or(|(a, b)| a == b)
    }
}

impl fmt::Display for ClipHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokenizer = self.tokenizer.as_ref().map(|hash| format!(", tokenizer {hash}"));
        write!(f, "{}{}", self.clip, tokenizer.unwrap_or_default())
    }
}

/// The CLIP of the embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// Hash over its files, see [`ClipHash`].
    pub clip: String,
    /// Hash over the files that the first hash omits. Absent in stores of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Its path at the time of the encoding.
    pub dir: String,
    /// d_clip.
    pub d_clip: usize,
    /// Most tokens of a caption.
    pub n_text: usize,
    /// The temperature of CLIP, if its checkpoint contains it.
    pub tau: Option<f64>,
}

/// Settings of an encoding. Encodings with equal settings write equal shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Format version.
    pub version: u32,
    /// The CLIP.
    pub encoder: Encoder,
    /// Data type of the values.
    pub dtype: StoreDtype,
    /// Whether hidden states are stored.
    pub hidden: Hidden,
    /// Data type in which CLIP computed, unless f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<String>,
    /// Content of z_x.
    pub target: Target,
    /// Path of the source.
    pub source: String,
    /// Hash that identifies the source.
    pub source_identity: String,
    /// Number of units of the source.
    pub n_units: usize,
    /// Most records of a shard.
    pub chunk: usize,
    /// Images with more pixels were rejected.
    pub max_pixels: u64,
    /// The part and the number of parts: units whose number leaves `part.0` when divided by `part.1`.
    pub part: (usize, usize),
}

impl Encoder {
    /// Hash of the settings.
    pub fn hash(&self) -> ClipHash {
        ClipHash {
            clip: self.clip.clone(),
            tokenizer: self.tokenizer.clone(),
        }
    }
}

impl Settings {
    /// The settings without the paths of CLIP and source, which differ between machines.
    pub(super) fn without_places(&self) -> Self {
        let mut settings = self.clone();
        settings.encoder.dir.clear();
        settings.source.clear();
        settings
    }

    /// The first setting that differs in `other`, with both values. Paths are ignored; for different sources the message shows the paths if they differ.
    pub(super) fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let flat = |settings: &Self| -> BTreeMap<String, String> {
            let mut told = settings.without_places();
            if self.source_identity != other.source_identity {
                told.source = settings.source.clone();
            }
            match serde_json::to_value(told) {
                Ok(serde_json::Value::Object(map)) => {
                    map.into_iter().map(|(k, v)| (k, v.to_string())).collect()
                }
                _ => BTreeMap::new(),
            }
        };
        let (ours, theirs) = (flat(self), flat(other));
        let value =
            |of: &BTreeMap<String, String>, key| of.get(key).cloned().unwrap_or_else(|| "unset".into());
        // Optional settings are on one side only.
        let mut keys = ours.keys().chain(theirs.keys());
        let key = keys.find(|key| ours.get(*key) != theirs.get(*key))?;
        Some((key.clone(), value(&ours, key), value(&theirs, key)))
    }
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardInfo {
    /// The file, from the store's folder.
    pub file: String,
    /// The unit of the source.
    pub unit: usize,
    /// Number of the chunk within the unit.
    pub chunk: usize,
    /// Number of images.
    pub n_pictures: usize,
    /// Number of captions.
    pub n_captions: usize,
    /// Number of tokens of all captions.
    pub n_tokens: usize,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl ShardInfo {
    /// Size and hash.
    pub(super) fn info(&self) -> FileInfo {
        FileInfo {
            bytes: self.bytes,
            sha256: self.sha256.clone(),
        }
    }
}

/// A rejected pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its id, if known.
    pub id: String,
    /// File and entry, or line.
    pub place: String,
    /// Reason, as a keyword.
    pub reason: String,
    /// Reason, as text.
    pub detail: String,
}

/// `store.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Settings of the encoding. `part` is that of the whole store: (0, 1).
    pub settings: Settings,
    /// Number of images.
    pub n_pictures: usize,
    /// Number of captions.
    pub n_captions: usize,
    /// Number of tokens of all captions.
    pub n_tokens: usize,
    /// Number of captions that were truncated to the text tower's length.
    pub n_cut: usize,
    /// Number of rejected pairs and rejected captions, by reason.
    pub rejects: BTreeMap<String, usize>,
    /// Mean of z_x over the images, `[d_clip]`.
    pub mean: Vec<f32>,
    /// Standard deviation (biased), `[d_clip]`.
    pub std: Vec<f32>,
    /// Mean norm of z_x.
    pub norm_x: f64,
    /// Mean norm of z_y.
    pub norm_y: f64,
    /// Shards, in the order in which images and captions are numbered.
    pub shards: Vec<ShardInfo>,
    /// The other files of the store, by name. Absent in stores of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileInfo>,
    /// SHA-256 of the manifest with 64 zeros in place of this value. Absent in stores of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// Record of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileInfo {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
}

impl FileInfo {
    /// The record of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            sha256: files::sha256(bytes),
        }
    }

    /// Whether the file at `path` matches its record.
    ///
    /// # Errors
    /// [`StoreError::Content`] if it does not match, [`StoreError::File`] if it cannot be read.
    pub(super) fn check(&self, path: &Path) -> Result<(), StoreError> {
        let found = std::fs::metadata(path).map(|m| m.len()).ok();
        if found != Some(self.bytes) {
            let found = found.map_or_else(|| "no such file".into(), |n| format!("{n} bytes"));
            let expected = format!("{} bytes", self.bytes);
            return Err(StoreError::content(path, "size", expected, found));
        }
        let found = files::sha256_file(path)?;
        match found == self.sha256 {
            true => Ok(()),
            false => Err(StoreError::content(path, "sha256", &self.sha256, found)),
        }
    }
}

/// Start of the last entry of a manifest.
const SEAL: &str = "\n  \"sha256\": \"";
/// Hexadecimal digits of a hash.
const DIGITS: usize = 64;

impl Manifest {
    /// The manifest's text, including its own hash.
    pub(super) fn sealed(&self) -> Result<String, serde_json::Error> {
        let zeros = Self {
            sha256: "0".repeat(DIGITS),
            ..self.clone()
        };
        let mut text = serde_json::to_string_pretty(&zeros)?;
        text.push('\n');
        if let Some(at) = text.rfind(SEAL) {
            let hash = files::sha256(text.as_bytes());
            text.replace_range(at + SEAL.len()..at + SEAL.len() + DIGITS, &hash);
        }
        Ok(text)
    }

    /// The expected hash of a manifest's text, if it contains one.
    pub(super) fn seal_of(text: &str) -> Option<String> {
        let at = text.rfind(SEAL)? + SEAL.len();
        text.get(at..at + DIGITS)?;
        let mut text = text.to_owned();
        text.replace_range(at..at + DIGITS, &"0".repeat(DIGITS));
        Some(files::sha256(text.as_bytes()))
    }
}

impl Manifest {
    /// d_clip.
    pub fn d_clip(&self) -> usize {
        self.settings.encoder.d_clip
    }

    /// Whether hidden states are in the store.
    pub fn hidden_stored(&self) -> bool {
        self.settings.hidden == Hidden::Stored
    }
}
