//! What stands around an exported prior, so that diffusers goes from a prompt to an image: text tower, tokenizer, vision tower, scheduler, decoder,
//! `model_index.json`, and Python modules where diffusers has no class that fits.

use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use super::{DIFFUSERS_VERSION, ExportError, PRIOR, SCHEDULER};
use crate::files::{self, FileError};
use crate::generate::latents::LatentSpace;
use crate::generate::layout::{Layout, Part, Stack};
use crate::generate::prior::{AnyPrior, PriorSettings, check_text};
use crate::models::clip::folders::{self, PROCESSORS, TOKENIZERS};
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::prior::PriorConfig;
use crate::weights::{Checkpoint, WeightsError, read_json, write_json};

/// Folder of a small decoder in an export.
pub(super) const DECODER: &str = "decoder";
const INDEX: &str = "model_index.json";
const CONFIG: &str = "config.json";
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
/// Our Python: module (and file) name, class, text.
const PRIOR_MODULE: (&str, &str, &str) = (
    "eclipse_prior",
    "EclipsePrior",
    include_str!("python/eclipse_prior.py"),
);
const PRIOR_PIPELINE: (&str, &str, &str) = (
    "eclipse_prior_pipeline",
    "EclipsePriorPipeline",
    include_str!("python/eclipse_prior_pipeline.py"),
);
const DECODER_PIPELINE: (&str, &str, &str) = (
    "eclipse_decoder_pipeline",
    "EclipseDecoderPipeline",
    include_str!("python/eclipse_decoder_pipeline.py"),
);
const PIXEL_SPACE: (&str, &str, &str) = ("pixel_space", "PixelSpace", include_str!("python/pixel_space.py"));
/// Published decoders: width of the embeddings that they read, name, stack.
const PUBLISHED: [(usize, &str, Stack); 2] = [
    (
        1280,
        "kandinsky-community/kandinsky-2-2-decoder",
        Stack::Kandinsky22,
    ),
    (768, "kakaobrain/karlo-v1-alpha-image-variations", Stack::Karlo),
];

/// What draws from the prior's embeddings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decoder {
    /// A small decoder of a built-in world, which is copied.
    Small(PathBuf),
    /// A pipeline of diffusers' own, by its folder or its name on the Hugging Face Hub.
    Named(String, Stack),
    /// None that is known.
    None,
}

/// Where the parts of a CLIP stand.
#[derive(Debug)]
pub(super) struct Clip {
    text: PathBuf,
    vision: Option<PathBuf>,
    tokenizer: PathBuf,
    processor: Option<PathBuf>,
}

/// What is written beside the prior.
#[derive(Debug)]
pub(super) struct Pipeline {
    clip: Clip,
    pub(super) decoder: Decoder,
    /// How the prior is sampled.
    pub(super) settings: PriorSettings,
    n_text: usize,
    /// Whether diffusers' own `KandinskyV22PriorPipeline` samples the prior.
    pub(super) is_stock: bool,
    scheduler: Option<String>,
}

impl Clip {
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

impl Decoder {
    /// The decoder that was asked for: a pipeline's folder, else a name.
    pub(super) fn asked(name: &str, d_clip: usize) -> Result<Self, ExportError> {
        let dir = Path::new(name);
        if !dir.is_dir() {
            let published = PUBLISHED.iter().find(|(d, _, _)| *d == d_clip);
            let looks_like_a_name = name.split('/').count() == 2 && !name.starts_with(['.', '/']);
            return match published {
                Some((_, _, stack)) if looks_like_a_name => Ok(Self::Named(name.into(), *stack)),
                _ => Err(ExportError::Decoder {
                    name: name.into(),
                    reason: "expected a decoder's folder (with model_index.json)".into(),
                }),
            };
        }
        let layout = Layout::open(dir, None, None).map_err(|e| ExportError::Decoder {
            name: name.into(),
            reason: e.to_string(),
        })?;
        if !dir.join(INDEX).is_file() {
            return Err(ExportError::Decoder {
                name: name.into(),
                reason: "holds several pipelines: name the decoder's own folder".into(),
            });
        }
        if LatentSpace::part(&layout) == Part::PixelSpace {
            return Ok(Self::Small(dir.to_path_buf()));
        }
        let path = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        Ok(Self::Named(path.display().to_string(), layout.stack()))
    }

    /// The published decoder that reads embeddings of this width.
    pub(super) fn published(d_clip: usize) -> Self {
        match PUBLISHED.iter().find(|(d, _, _)| *d == d_clip) {
            Some((_, name, stack)) => Self::Named((*name).into(), *stack),
            None => Self::None,
        }
    }
}

impl Pipeline {
    /// Checks that the parts belong together. `scheduler`: the class in the prior's `scheduler_config.json`.
    pub(super) fn new(
        clip: Clip,
        decoder: Decoder,
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
            // Our module makes diffusers load Karlo's decoder, which its own releases no longer do.
            && !matches!(decoder, Decoder::Named(_, Stack::Karlo));
        Ok(Self {
            clip,
            decoder,
            settings,
            n_text: config.n_text,
            is_stock,
            scheduler,
        })
    }

    /// What others should know of it.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.clip.vision.is_none() {
            found.push(format!(
                "{} has no vision tower: the pipeline has no embedding of the zero image, from which Kandinsky's guidance pushes away",
                self.clip.text.display()
            ));
        }
        if self.decoder == Decoder::None {
            found.push(
                "no decoder is known that reads these embeddings: the card's lines end with them; name one with --decoder".into(),
            );
        }
        found
    }

    /// Writes all of it into `dir`, where `prior/` and `scheduler/` stand.
    pub(super) fn write(&self, dir: &Path) -> Result<(), ExportError> {
        let mut index = Map::new();
        let none = || json!([null, null]);
        let own = |(module, class, _): (&str, &str, &str)| json!([module, class]);
        let class = match self.is_stock {
            true => json!("KandinskyV22PriorPipeline"),
            false => own(PRIOR_PIPELINE),
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
            write_python(dir, PRIOR_PIPELINE)?;
            write_python(&dir.join(PRIOR), PRIOR_MODULE)?;
        }
        let prior = match self.is_stock {
            true => json!(["diffusers", "PriorTransformer"]),
            false => own(PRIOR_MODULE),
        };
        index.insert(PRIOR.into(), prior);
        let scheduler = self.scheduler.as_ref();
        index.insert(
            SCHEDULER.into(),
            scheduler.map_or_else(none, |class| json!(["diffusers", class])),
        );

        let Clip {
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
        match &self.decoder {
            Decoder::Small(from) => write_decoder(from, &dir.join(DECODER)),
            Decoder::Named(..) | Decoder::None => Ok(()),
        }
    }
}

fn write_python(dir: &Path, (module, _, text): (&str, &str, &str)) -> Result<(), FileError> {
    files::write_atomic(dir.join(format!("{module}.py")), text.as_bytes())
}

/// One tower of the CLIP in `from`, which may hold both, as transformers loads it. Numbers keep the bytes that they have; they are computed with in
/// f32, as here.
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
    let broken = |reason: String| WeightsError::Broken {
        path: weights.path().to_path_buf(),
        reason,
    };
    let mut views = Vec::new();
    for (name, tensor) in weights.tensors() {
        // Buffers that old versions of transformers stored.
        let is_index = name.ends_with(".position_ids");
        if is_index || !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), tensor.bytes());
        views.push((name.clone(), view.map_err(|e| broken(e.to_string()))?));
    }
    let metadata = [("format".to_string(), "pt".to_string())].into();
    safetensors::serialize_to_file(views, Some(metadata), &to.join(TOWER_WEIGHTS))
        .map_err(|e| broken(format!("cannot be copied: {e}")))?;
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

/// A small decoder as a pipeline of its own, with the modules that draw with it.
fn write_decoder(from: &Path, to: &Path) -> Result<(), ExportError> {
    let layout = Layout::open(from, None, None)?;
    let space = LatentSpace::read(&layout)?;
    let (n_steps, guidance) = space.own_sampling();
    let unet = layout.part(Part::Decoder)?;
    let scheduler = layout.part(Part::DecoderScheduler)?;
    let folders = [
        (unet.to_path_buf(), "unet"),
        (scheduler.to_path_buf(), SCHEDULER),
        (layout.part(Part::PixelSpace)?.to_path_buf(), "pixel_space"),
        (from.join("image_normalizer"), "image_normalizer"),
        (from.join("image_noising_scheduler"), "image_noising_scheduler"),
    ];
    for (from, name) in folders.iter().filter(|(from, _)| from.is_dir()) {
        files::create_dir(to.join(name))?;
        for file in files::list(from)? {
            files::copy(&file, to.join(name).join(file.file_name().unwrap_or_default()))?;
        }
    }
    write_python(&to.join("pixel_space"), PIXEL_SPACE)?;
    write_python(to, DECODER_PIPELINE)?;
    let index = json!({
        "_class_name": [DECODER_PIPELINE.0, DECODER_PIPELINE.1],
        "_diffusers_version": DIFFUSERS_VERSION,
        "guidance_scale": guidance,
        "num_inference_steps": n_steps,
        "pixel_space": [PIXEL_SPACE.0, PIXEL_SPACE.1],
        "scheduler": ["diffusers", scheduler_class(scheduler)?],
        "unet": ["diffusers", "UNet2DConditionModel"],
    });
    Ok(write_json(&to.join(INDEX), &index)?)
}

/// `_class_name` of the `scheduler_config.json` in `dir`.
pub(super) fn scheduler_class(dir: &Path) -> Result<String, ExportError> {
    let path = dir.join(super::SCHEDULER_CONFIG);
    let config: Map<String, Value> = read_json(&path)?;
    let class = config.get("_class_name").and_then(Value::as_str);
    class.map(str::to_owned).ok_or_else(|| {
        ExportError::from(WeightsError::Config {
            path,
            reason: "`_class_name`: expected the scheduler's class, found nothing".into(),
        })
    })
}
