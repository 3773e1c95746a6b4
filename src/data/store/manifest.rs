//! What a store says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::files;

/// The version of the format that this code writes. It reads version 1 too, which has no hashes of images.
pub(super) const VERSION: u32 = 2;

/// How values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreDtype {
    /// Half precision: what CLIP embeddings are computed in elsewhere.
    F16,
    /// Single precision.
    F32,
}

impl StoreDtype {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Whether the text tower's hidden states are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// They are: training needs no CLIP.
    Stored,
    /// They are not: training runs the text tower. Most of a store are hidden states.
    None,
}

/// What z_x is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// CLIP's image embedding as it comes out: what priors predict (paper, Eq. 3).
    Raw,
    /// Of length 1.
    L2,
}

/// What tells one CLIP from another: two with the same hashes make the same embeddings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipHash {
    /// Over its files.
    pub clip: String,
    /// Over those of its tokenizer that the first leaves out, because earlier versions did; not recorded by them.
    pub tokenizer: Option<String>,
}

impl ClipHash {
    /// Whether both are of one CLIP, as far as both know.
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

/// The CLIP behind the embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// Hash over its files, see [`ClipHash`].
    pub clip: String,
    /// Hash over the files that the first leaves out. Absent in stores of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Where it was.
    pub dir: String,
    /// d_clip.
    pub d_clip: usize,
    /// Tokens of a caption at most.
    pub n_text: usize,
    /// The temperature it was trained to, if it tells.
    pub tau: Option<f64>,
}

/// What an encoding was asked for. Two encodings with the same settings write the same shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Of the format.
    pub version: u32,
    /// The CLIP.
    pub encoder: Encoder,
    /// How values are kept.
    pub dtype: StoreDtype,
    /// Whether hidden states are.
    pub hidden: Hidden,
    /// What z_x is.
    pub target: Target,
    /// Where the pairs came from.
    pub source: String,
    /// Hash of what identifies the source.
    pub source_identity: String,
    /// Units of the source.
    pub n_units: usize,
    /// Records of a shard at most.
    pub chunk: usize,
    /// Images of more pixels were rejected.
    pub max_pixels: u64,
    /// Which part of how many this is: units whose number leaves `part.0` when divided by `part.1`.
    pub part: (usize, usize),
}

impl Encoder {
    /// What tells it from others.
    pub fn hash(&self) -> ClipHash {
        ClipHash {
            clip: self.clip.clone(),
            tokenizer: self.tokenizer.clone(),
        }
    }
}

impl Settings {
    /// The same without the places of CLIP and source, which differ from machine to machine where their hashes do not.
    pub(super) fn without_places(&self) -> Self {
        let mut settings = self.clone();
        settings.encoder.dir.clear();
        settings.source.clear();
        settings
    }

    /// The first setting in which `other` differs, with both values. Places do not count; of sources that differ they are what is told, if they do.
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
        ours.into_iter()
            .find(|(key, value)| theirs.get(key) != Some(value))
            .map(|(key, value)| {
                let other = theirs.get(&key).cloned().unwrap_or_default();
                (key, value, other)
            })
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
    /// Which chunk of the unit.
    pub chunk: usize,
    /// Images.
    pub n_pictures: usize,
    /// Captions.
    pub n_captions: usize,
    /// Tokens of all captions.
    pub n_tokens: usize,
    /// Size of the file.
    pub bytes: u64,
    /// Its hash.
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

/// A pair that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its id, as far as it has one.
    pub id: String,
    /// File and entry or line.
    pub place: String,
    /// Why, as a word to count by.
    pub reason: String,
    /// Why, in words.
    pub detail: String,
}

/// `store.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// How it was made. `part` is that of the whole: (0, 1).
    pub settings: Settings,
    /// Images.
    pub n_pictures: usize,
    /// Captions.
    pub n_captions: usize,
    /// Tokens of all captions.
    pub n_tokens: usize,
    /// Captions that did not fit into the text tower and were cut.
    pub n_cut: usize,
    /// Pairs, and captions of others, that could not be used, by reason.
    pub rejects: BTreeMap<String, usize>,
    /// Mean of z_x over the images, `[d_clip]`.
    pub mean: Vec<f32>,
    /// Standard deviation (biased), `[d_clip]`.
    pub std: Vec<f32>,
    /// Mean norm of z_x.
    pub norm_x: f64,
    /// Mean norm of z_y.
    pub norm_y: f64,
    /// In the order in which images and captions are numbered.
    pub shards: Vec<ShardInfo>,
    /// The other files of the store, by name. Absent in stores of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileInfo>,
    /// SHA-256 of the manifest with 64 zeros in this place. Absent in stores of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// What is recorded of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileInfo {
    /// Its size.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
}

impl FileInfo {
    /// That of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            sha256: files::sha256(bytes),
        }
    }

    /// Whether the file at `path` is the one that was recorded.
    ///
    /// # Errors
    /// [`StoreError::Content`] where it is not, [`StoreError::File`] where it cannot be read.
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

/// How the last entry of a manifest begins.
const SEAL: &str = "\n  \"sha256\": \"";
/// Hexadecimal digits of a hash.
const DIGITS: usize = 64;

impl Manifest {
    /// The manifest's text, with its own hash.
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

    /// The hash that the text of a manifest should have in it, where it has one.
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
