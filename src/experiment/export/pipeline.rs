//! The pipeline around an exported prior, with which diffusers goes from a prompt to an image: text tower, tokenizer, vision tower, scheduler,
//! decoder, `model_index.json`, and Python modules where diffusers has no class that fits.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::decoder::{ExportedDecoder, Place, write_bundle};
use super::error::ExportError;
use super::layout::{CONFIG, DECODER, DIFFUSERS_VERSION, INDEX, PRIOR, SCHEDULER, SCHEDULER_CONFIG};
use super::modules::{PRIOR_MODULE, PRIOR_PIPELINE, write_module};
use crate::files;
use crate::generate::prior::{AnyPrior, PriorSettings, check_text};
use crate::generate::stacks::PythonModule;
use crate::models::clip::folders::{self, PROCESSORS, TOKENIZERS};
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::prior::PriorConfig;
use crate::weights::{Checkpoint, TensorFile, WeightsError, read_json, write_json};

const TOWER_WEIGHTS: &str = "model.safetensors";
const PROCESSOR: &str = "preprocessor_config.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Files of a tokenizer, beside its configuration.
const TOKENIZER_FILES: [&str; 5] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// The folders of a CLIP's parts.
#[derive(Debug)]
pub(super) struct ClipFolders {
    text: PathBuf,
    vision: Option<PathBuf>,
    tokenizer: PathBuf,
    processor: Option<PathBuf>,
}

/// What is written beside the prior's network.
#[derive(Debug)]
pub(super) struct ExportedPipeline {
    clip: ClipFolders,
    pub(super) decoder: Option<ExportedDecoder>,
    /// The prior's sampling.
    pub(super) settings: PriorSettings,
    n_text: usize,
    /// Whether diffusers' own `KandinskyV22PriorPipeline` samples the prior.
    pub(super) is_stock: bool,
    scheduler: Option<String>,
}

impl ClipFolders {
    /// Finds the parts of the CLIP in `dir`: a folder of both towers, or a pipeline with `text_encoder/` and the like.
    pub(super) fn open(dir: &Path) -> Result<Self, ExportError> {
        let inner = |name: &str| Some(dir.join(name)).filter(|inner| inner.is_dir());
        let text = inner("text_encoder").unwrap_or_else(|| dir.to_path_buf());
        if !text.join(CONFIG).is_file() {
            return Err(ExportError::Clip {
                dir: dir.to_path_buf(),
                reason: "expected config.json, or text_encoder/ with one, in it".into(),
            });
        }
        let is_whole = |dir: &Path| {
            let weights = Checkpoint::open(dir);
            weights.is_ok_and(|weights| {
                weights
                    .tensors()
                    .keys()
                    .any(|name| name.starts_with("vision_model."))
            })
        };
        let vision = inner("image_encoder").or_else(|| Some(text.clone()).filter(|dir| is_whole(dir)));
        let beside = |places: &[&str], name: &str| {
            folders::find(&text_dir(dir), places, |place| place.join(name).is_file()).ok()
        };
        let tokenizer = beside(&TOKENIZERS, "tokenizer.json").or_else(|| beside(&TOKENIZERS, "vocab.json"));
        Ok(Self {
            tokenizer: tokenizer.ok_or_else(|| ExportError::Clip {
                dir: dir.to_path_buf(),
                reason: "expected a tokenizer (tokenizer.json, or vocab.json and merges.txt) in it or in its tokenizer/".into(),
            })?,
            processor: beside(&PROCESSORS, PROCESSOR),
            text,
            vision,
        })
    }
}

/// The text tower's folder in `dir`.
fn text_dir(dir: &Path) -> PathBuf {
    let inner = dir.join("text_encoder");
    if inner.is_dir() { inner } else { dir.to_path_buf() }
}

impl ExportedPipeline {
    /// Checks that the parts belong together. `scheduler`: the class in the prior's `scheduler_config.json`.
    pub(super) fn new(
        clip: ClipFolders,
        decoder: Option<ExportedDecoder>,
        settings: PriorSettings,
        (config, prior): (&PriorConfig, &AnyPrior),
        scheduler: Option<String>,
        prior_dir: &Path,
    ) -> Result<Self, ExportError> {
        check_text(&ClipTextConfig::read(&clip.text)?, config, prior_dir)?;
        if let Some(vision) = &clip.vision {
            let found = ClipVisionConfig::read(vision)?.projection_dim;
            if found != config.d_clip {
                return Err(ExportError::Clip {
                    dir: vision.clone(),
                    reason: format!(
                        "expected image embeddings of width {}, which the prior predicts, found {found}",
                        config.d_clip
                    ),
                });
            }
        }
        let has_towers = clip.vision.is_some() && clip.processor.is_some();
        let is_unclip = scheduler.as_deref() == Some("UnCLIPScheduler");
        let is_stock = matches!(prior, AnyPrior::Diffusion(..))
            && is_unclip
            && config.conditioning.is_both()
            && settings.eta == 1.0
            && has_towers
            && decoder
                .as_ref()
                .is_none_or(|decoder| decoder.stack.about().python.works_with_stock_prior);
        Ok(Self {
            clip,
            decoder,
            settings,
            n_text: config.n_text,
            is_stock,
            scheduler,
        })
    }

    /// Warnings for users of the export.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.clip.vision.is_none() {
            found.push(format!(
                "{} has no vision tower: the pipeline has no embedding of the zero image, from which the decoder's guidance pushes away",
                self.clip.text.display()
            ));
        }
        if self.decoder.is_none() {
            found.push(
                "no decoder is known that reads these embeddings: the card's lines end with them; name one with --decoder".into(),
            );
        }
        found
    }

    /// Writes the pipeline to `dir`, which has `prior/` and `scheduler/` already.
    pub(super) fn write(&self, dir: &Path) -> Result<(), ExportError> {
        let mut index = Map::new();
        let none = || json!([null, null]);
        let own = |module: &PythonModule| json!([module.name, module.class]);
        let class = match self.is_stock {
            true => json!("KandinskyV22PriorPipeline"),
            false => own(&PRIOR_PIPELINE),
        };
        index.insert("_class_name".into(), class);
        index.insert("_diffusers_version".into(), json!(DIFFUSERS_VERSION));
        if !self.is_stock {
            let PriorSettings {
                n_steps,
                guidance,
                eta,
            } = self.settings;
            index.insert("num_inference_steps".into(), json!(n_steps));
            index.insert("guidance_scale".into(), json!(guidance));
            index.insert("eta".into(), json!(eta));
            write_module(dir, &PRIOR_PIPELINE)?;
            write_module(&dir.join(PRIOR), &PRIOR_MODULE)?;
        }
        let prior = match self.is_stock {
            true => json!(["diffusers", "PriorTransformer"]),
            false => own(&PRIOR_MODULE),
        };
        index.insert(PRIOR.into(), prior);
        let scheduler = self.scheduler.as_ref();
        index.insert(
            SCHEDULER.into(),
            scheduler.map_or_else(none, |class| json!(["diffusers", class])),
        );

        let ClipFolders {
            text,
            vision,
            tokenizer,
            processor,
        } = &self.clip;
        let towers = [
            (Some(text), "text_encoder", "CLIPTextModelWithProjection"),
            (vision.as_ref(), "image_encoder", "CLIPVisionModelWithProjection"),
        ];
        for (from, name, class) in towers {
            let Some(from) = from else {
                index.insert(name.into(), none());
                continue;
            };
            write_tower(from, &dir.join(name), class)?;
            index.insert(name.into(), json!(["transformers", class]));
        }
        let class = write_tokenizer(tokenizer, &dir.join("tokenizer"), self.n_text)?;
        index.insert("tokenizer".into(), json!(["transformers", class]));
        match processor {
            Some(from) => {
                let to = dir.join("image_processor");
                files::create_dir(&to)?;
                files::copy(from.join(PROCESSOR), to.join(PROCESSOR))?;
                index.insert(
                    "image_processor".into(),
                    json!(["transformers", "CLIPImageProcessor"]),
                );
            }
            None => drop(index.insert("image_processor".into(), none())),
        }
        write_json(&dir.join(INDEX), &index)?;
        match self.decoder.as_ref().map(|decoder| &decoder.place) {
            Some(Place::Bundled(bundle)) => write_bundle(bundle, &dir.join(DECODER)),
            Some(Place::Named(_)) | None => Ok(()),
        }
    }
}

/// One tower of the CLIP in `from`, which may hold both, as transformers loads it. The weights keep their bytes; transformers
/// computes in f32, as this program does.
fn write_tower(from: &Path, to: &Path, class: &str) -> Result<(), ExportError> {
    let is_text = class.starts_with("CLIPText");
    let (key, model_type, prefixes) = match is_text {
        true => (
            "text_config",
            "clip_text_model",
            ["text_model.", "text_projection."],
        ),
        false => (
            "vision_config",
            "clip_vision_model",
            ["vision_model.", "visual_projection."],
        ),
    };
    let path = from.join(CONFIG);
    let whole: Map<String, Value> = read_json(&path)?;
    let mut config = match whole.get(key).and_then(Value::as_object) {
        Some(inner) => {
            let mut inner = inner.clone();
            if let Some(width) = whole.get("projection_dim") {
                inner.insert("projection_dim".into(), width.clone());
            }
            inner
        }
        None => whole,
    };
    config.remove("torch_dtype");
    config.insert("dtype".into(), json!("float32"));
    config.insert("architectures".into(), json!([class]));
    config.insert("model_type".into(), json!(model_type));
    files::create_dir(to)?;
    write_json(&to.join(CONFIG), &config)?;

    let weights = Checkpoint::open(from)?;
    let mut tower = TensorFile::new().with_metadata("format", "pt");
    for (name, tensor) in weights.tensors() {
        // Buffers that old versions of transformers stored.
        let is_index = name.ends_with(".position_ids");
        if is_index || !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        tower = tower.with_bytes(name, tensor.dtype, &tensor.shape, tensor.bytes());
    }
    tower.write(&to.join(TOWER_WEIGHTS))?;
    Ok(())
}

/// The tokenizer's files, and the class that reads them as this program does.
fn write_tokenizer(from: &Path, to: &Path, n_text: usize) -> Result<&'static str, ExportError> {
    files::create_dir(to)?;
    for name in TOKENIZER_FILES {
        if from.join(name).is_file() {
            files::copy(from.join(name), to.join(name))?;
        }
    }
    let json = from.join("tokenizer.json");
    let is_word_level = match json.is_file() {
        true => {
            let tokenizer: Value = read_json(&json)?;
            tokenizer.pointer("/model/type").and_then(Value::as_str) == Some("WordLevel")
        }
        false => false,
    };
    let class = match is_word_level {
        true => "PreTrainedTokenizerFast",
        false => "CLIPTokenizer",
    };
    let path = from.join(TOKENIZER_CONFIG);
    let mut config: Map<String, Value> = match path.is_file() {
        true => read_json(&path)?,
        false => Map::new(),
    };
    config.insert("model_max_length".into(), json!(n_text));
    config.insert("tokenizer_class".into(), json!(class));
    write_json(&to.join(TOKENIZER_CONFIG), &config)?;
    Ok(class)
}

/// `_class_name` of the `scheduler_config.json` in `dir`.
pub(super) fn scheduler_class(dir: &Path) -> Result<String, ExportError> {
    let path = dir.join(SCHEDULER_CONFIG);
    let config: Map<String, Value> = read_json(&path)?;
    let class = config.get("_class_name").and_then(Value::as_str);
    class.map(str::to_owned).ok_or_else(|| {
        ExportError::from(WeightsError::Config {
            path,
            reason: "`_class_name`: expected the scheduler's class, found nothing".into(),
        })
    })
}
