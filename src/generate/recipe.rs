//! The recipe of an image: the JSON side file, from which the call can be repeated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::decoder::DecoderSettings;
use super::parts::Part;
use super::prior::PriorSettings;
use crate::diffusion::Sampler;
use crate::files::{self, FileError};
use crate::weights::{WeightsError, read_json, write_json};

/// Version of the side file's format.
pub const VERSION: u32 = 1;

/// `path` from the root. Links are not resolved, so that files beside a link are still beside it.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// A file that an image depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its path.
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

/// Where the image embedding of an image comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// The prior's prediction for a prompt.
    Prompt(String),
    /// CLIP's embedding of an image.
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
    Mix(Vec<MixTerm>),
}

/// A term of a weighted sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixTerm {
    /// Where its embedding comes from.
    pub of: Origin,
    /// Its weight.
    pub weight: f64,
}

impl Origin {
    /// The caption, for decoders that read it; empty where there is none.
    pub fn caption(&self) -> &str {
        match self {
            Self::Prompt(prompt) => prompt,
            Self::Embedding { prompt, .. } => prompt.as_deref().unwrap_or_default(),
            Self::Image(_) | Self::Between { .. } | Self::Mix(_) => "",
        }
    }

    /// A title: the prompt, or the file's name.
    pub fn title(&self) -> String {
        let stem = |file: &FileRecord| file.path.file_stem().map(|s| s.to_string_lossy().into_owned());
        match self {
            Self::Prompt(prompt) => prompt.clone(),
            Self::Image(file) => stem(file).unwrap_or_default(),
            Self::Embedding { prompt, file, .. } => {
                prompt.clone().unwrap_or_else(|| stem(file).unwrap_or_default())
            }
            Self::Between { from, to, .. } => format!("{} to {}", from.title(), to.title()),
            Self::Mix(terms) => {
                let terms = terms.iter().map(|s| format!("{} {}", s.weight, s.of.title()));
                terms.collect::<Vec<_>>().join(" and ")
            }
        }
    }

    /// The origin itself, or those that it combines.
    pub fn ends(&self) -> Vec<&Origin> {
        match self {
            Self::Between { from, to, .. } => vec![from, to],
            Self::Mix(terms) => terms.iter().map(|s| &s.of).collect(),
            other => vec![other],
        }
    }
}

/// An image to start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// The image.
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
    /// This image's row.
    pub row: usize,
    /// Images in the file.
    #[serde(rename = "n_pictures")]
    pub n_images: usize,
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

/// How a decoder was sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerRecord {
    /// Steps, guidance, eta.
    pub settings: DecoderSettings,
    /// The `scheduler_config.json` of the pipeline.
    pub scheduler: Value,
    /// The sampler that replaces the file's, on the same noise schedule.
    pub sampler: Option<Sampler>,
}

impl SamplerRecord {
    /// The record of a decoder that is one function of its input: one step, no scheduler.
    pub fn one_pass() -> Self {
        Self {
            settings: DecoderSettings {
                n_steps: 1,
                guidance: 1.0,
                eta: 0.0,
                noise_level: 0,
            },
            scheduler: Value::Null,
            sampler: None,
        }
    }
}

/// The weights of a part.
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
    /// The repository and the commit, as `owner/name@commit`, of weights in the Hugging Face cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// The weights of each part by its name, in the order in which the parts are used.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "BTreeMap<String, WeightsRecord>")]
pub struct WeightsByPart(Vec<(String, WeightsRecord)>);

impl WeightsByPart {
    /// Appends a part.
    pub fn push(&mut self, part: Part, record: WeightsRecord) {
        self.0.push((part.name().into(), record));
    }

    /// Names and records.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &WeightsRecord)> {
        self.0.iter().map(|(name, record)| (name.as_str(), record))
    }
}

impl From<BTreeMap<String, WeightsRecord>> for WeightsByPart {
    fn from(records: BTreeMap<String, WeightsRecord>) -> Self {
        Self(records.into_iter().collect())
    }
}

impl Serialize for WeightsByPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

/// Everything that an image depends on: the content of its side file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of the format.
    pub version: u32,
    /// Name and version of the program.
    pub program: String,
    /// `generate`, `vary` or `interpolate`.
    pub command: String,
    /// Where the image embedding comes from.
    pub origin: Origin,
    /// Seed of the image's noise.
    pub seed: u64,
    /// The negative prompt: what guidance pushes away from.
    pub negative: Option<String>,
    /// An image to start from.
    pub init: Option<Init>,
    /// Noise from a file.
    pub latents: Option<Latents>,
    /// Size of the image.
    pub size: Size,
    /// The family of the decoder's stack, in lower case.
    pub stack: String,
    /// The prior's sampling; absent where no prior is used.
    pub prior: Option<PriorRecord>,
    /// The decoder's sampling.
    pub decoder: SamplerRecord,
    /// The super-resolution's sampling.
    pub super_res: Option<SamplerRecord>,
    /// The device that computed it.
    pub device: String,
    /// The float type that it was computed in.
    pub dtype: String,
    /// The weights, by part.
    pub weights: WeightsByPart,
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

    /// The text chunks of a PNG file, as pairs of a keyword and a text. `decoder`: the family of the stack, as it is shown.
    pub fn texts(&self, decoder: &str) -> Vec<(String, String)> {
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
            ("decoder", decoder.to_string()),
            ("scheduler", scheduler),
            ("steps", sampler.settings.n_steps.to_string()),
            ("guidance", sampler.settings.guidance.to_string()),
            ("weights", weights.collect::<Vec<_>>().join("\n")),
            ("device", format!("{} {}", self.device, self.dtype)),
        ]);
        texts.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
    }

    /// The first difference from `other`, as `(key, here, there)`. Paths do not count (hashes do), nor does the program's version.
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
