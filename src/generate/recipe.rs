//! Everything that makes one picture: the JSON side file, from which the call can be repeated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decoder::DecoderSettings;
use super::layout::{Part, Stack};
use super::prior::PriorSettings;
use crate::diffusion::Sampler;
use crate::files::{self, FileError};
use crate::weights::{WeightsError, read_json, write_json};

/// Layout of the side file.
pub const VERSION: u32 = 1;

/// `path` from the root, links unresolved: neighbours stay neighbours.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// A file that went into a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Where it was.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

impl FileRecord {
    /// Reads the file's hash.
    ///
    /// # Errors
    /// [`FileError`], naming the file.
    pub fn new(path: &Path) -> Result<Self, FileError> {
        Ok(Self {
            sha256: files::sha256_file(path)?,
            path: absolute(path),
        })
    }
}

/// Where a picture's image embedding comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// The prior's prediction for a prompt.
    Prompt(String),
    /// CLIP's embedding of a picture.
    Image(FileRecord),
    /// A row of a file of predictions.
    Embedding {
        /// The file.
        file: FileRecord,
        /// The row.
        row: usize,
        /// The prompt it was predicted for, where the file says so.
        prompt: Option<String>,
    },
    /// A fraction of the way from one embedding to another, on the sphere.
    Between {
        /// The start.
        from: Box<Origin>,
        /// The end.
        to: Box<Origin>,
        /// 0 is the start, 1 the end.
        at: f64,
    },
    /// A weighted sum of embeddings.
    Mix(Vec<Share>),
}

/// A part of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Where its embedding comes from.
    pub of: Origin,
    /// Its weight.
    pub weight: f64,
}

impl Origin {
    /// The caption that Karlo's decoder reads too; empty where there is none.
    pub fn caption(&self) -> &str {
        match self {
            Self::Prompt(prompt) => prompt,
            Self::Embedding { prompt, .. } => prompt.as_deref().unwrap_or_default(),
            Self::Image(_) | Self::Between { .. } | Self::Mix(_) => "",
        }
    }

    /// What to call it.
    pub fn title(&self) -> String {
        let stem = |file: &FileRecord| file.path.file_stem().map(|s| s.to_string_lossy().into_owned());
        match self {
            Self::Prompt(prompt) => prompt.clone(),
            Self::Image(file) => stem(file).unwrap_or_default(),
            Self::Embedding { prompt, file, .. } => {
                prompt.clone().unwrap_or_else(|| stem(file).unwrap_or_default())
            }
            Self::Between { from, to, .. } => format!("{} to {}", from.title(), to.title()),
            Self::Mix(shares) => {
                let shares = shares.iter().map(|s| format!("{} {}", s.weight, s.of.title()));
                shares.collect::<Vec<_>>().join(" and ")
            }
        }
    }

    /// Itself, or those that it is made of.
    pub fn ends(&self) -> Vec<&Origin> {
        match self {
            Self::Between { from, to, .. } => vec![from, to],
            Self::Mix(shares) => shares.iter().map(|s| &s.of).collect(),
            other => vec![other],
        }
    }
}

/// A picture to start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// The picture.
    pub image: FileRecord,
    /// How much of the trajectory is sampled.
    pub strength: f64,
}

/// Noise from a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latents {
    /// The file.
    pub file: FileRecord,
    /// This picture's row.
    pub row: usize,
    /// Pictures in the file.
    pub n_pictures: usize,
}

/// How the prior was sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PriorRecord {
    /// A prior without time.
    OnePass,
    /// A diffusion prior.
    Diffusion {
        /// Steps, guidance, eta.
        settings: PriorSettings,
        /// Its `scheduler_config.json`.
        scheduler: Value,
    },
}

/// How a UNet was sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerRecord {
    /// Steps, guidance, eta.
    pub settings: DecoderSettings,
    /// The `scheduler_config.json` of the pipeline.
    pub scheduler: Value,
    /// The sampler in place of that of the file, on the same schedule.
    pub sampler: Option<Sampler>,
}

/// Weights that went into a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsRecord {
    /// The folder.
    pub path: PathBuf,
    /// SHA-256 over names, types, shapes and samples of the data: `Checkpoint::fingerprint`.
    pub sampled_sha256: String,
    /// SHA-256 over `config.json` and all bytes of the files with the weights. Absent in records of earlier versions, and where no weights were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", self.width, self.height)
    }
}

/// Everything that makes one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Layout of this file.
    pub version: u32,
    /// Name and version of the program.
    pub program: String,
    /// `generate`, `vary` or `interpolate`.
    pub command: String,
    /// Where the image embedding comes from.
    pub origin: Origin,
    /// Seed of the picture's noise.
    pub seed: u64,
    /// What guidance pushes away from.
    pub negative: Option<String>,
    /// A picture to start from.
    pub init: Option<Init>,
    /// Noise from a file.
    pub latents: Option<Latents>,
    /// Size of the picture.
    pub size: Size,
    /// The decoder's family.
    pub stack: Stack,
    /// The prior's sampling; absent where no prior is used.
    pub prior: Option<PriorRecord>,
    /// The decoder's sampling.
    pub decoder: SamplerRecord,
    /// The super-resolution's sampling.
    pub super_res: Option<SamplerRecord>,
    /// What computed it.
    pub device: String,
    /// In which float type.
    pub dtype: String,
    /// The weights, by part.
    pub weights: BTreeMap<Part, WeightsRecord>,
}

impl Recipe {
    /// Reads a side file.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file and the key.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let recipe: Self = read_json(path)?;
        if recipe.version != VERSION {
            return Err(WeightsError::Config {
                path: path.into(),
                reason: format!("`version`: expected {VERSION}, found {}", recipe.version),
            });
        }
        Ok(recipe)
    }

    /// Writes a side file.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn write(&self, path: &Path) -> Result<(), WeightsError> {
        write_json(path, self)
    }

    /// What a PNG file says of itself, as pairs of a keyword and a text.
    pub fn texts(&self) -> Vec<(String, String)> {
        let sampler = &self.decoder;
        let class = sampler.scheduler.get("_class_name").and_then(Value::as_str);
        let class = class.unwrap_or_default().to_string();
        let scheduler = match sampler.sampler {
            Some(sampler) => format!("{class}, sampled by {sampler:?}"),
            None => class,
        };
        let weights = self
            .weights
            .iter()
            .map(|(part, w)| format!("{part} {}", w.sampled_sha256));
        let mut texts = vec![("prompt", self.origin.title())];
        texts.extend(self.negative.clone().map(|negative| ("negative", negative)));
        texts.extend([
            ("seed", self.seed.to_string()),
            ("decoder", self.stack.to_string()),
            ("scheduler", scheduler),
            ("steps", sampler.settings.n_steps.to_string()),
            ("guidance", sampler.settings.guidance.to_string()),
            ("weights", weights.collect::<Vec<_>>().join("\n")),
            ("device", format!("{} {}", self.device, self.dtype)),
        ]);
        texts.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
    }

    /// The first thing that sets `other` apart, as `(key, here, there)`. Paths do not count (hashes do), nor does the program's version.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let value = |recipe: &Self| serde_json::to_value(recipe).unwrap_or_default();
        differ("", &value(self), &value(other))
    }
}

fn differ(key: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    let leaf = key.rsplit('.').next().unwrap_or_default();
    if a == b || leaf == "path" || key == "program" {
        return None;
    }
    if key.starts_with("weights.") && leaf == "sha256" && (a.is_null() || b.is_null()) {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (a, b) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        return keys.into_iter().find_map(|k| {
            let dotted = if key.is_empty() {
                k.clone()
            } else {
                format!("{key}.{k}")
            };
            differ(
                &dotted,
                a.get(k).unwrap_or(&Value::Null),
                b.get(k).unwrap_or(&Value::Null),
            )
        });
    }
    Some((key.into(), a.to_string(), b.to_string()))
}

/// `title` as a part of a file name: letters and digits, lower case, at most 40 characters.
pub fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars().flat_map(char::to_lowercase) {
        if slug.chars().count() >= 40 {
            break;
        }
        match c.is_alphanumeric() {
            true => slug.push(c),
            false if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            false => {}
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        "picture".into()
    } else {
        slug.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        assert_eq!(
            slug("A red cube, ON a blue sphere!"),
            "a-red-cube-on-a-blue-sphere"
        );
        assert_eq!(slug("日本語 / café"), "日本語-café");
        assert_eq!(slug(" ../.. "), "picture");
        assert_eq!(slug(&"word ".repeat(30)).len(), 39);
    }
}
