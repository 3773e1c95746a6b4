//! Full-size folders of random numbers in the published layouts: what a machine needs for a stack can be measured before its weights are there.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::files::{self, FileError};
use crate::models::clip::{ClipTextConfig, ClipVisionConfig, TEXT_MAPPING, VISION_MAPPING};
use crate::models::movq::{self, Movq, MovqConfig};
use crate::models::prior::{self, DiffusionPrior, Prior, PriorConfig};
use crate::models::text_proj::{self, TextProj, TextProjConfig};
use crate::models::unet::{self, UNet, UNetConfig};
use crate::noise::Noise;
use crate::weights::{Mapping, Parameter, WeightsError, parameters, write_json, write_random};

/// A published network, by the name of its list in `tests/golden/keys`.
#[derive(Debug, Clone, Copy)]
struct Component {
    name: &'static str,
    /// Its library and class, as a `model_index.json` says.
    class: [&'static str; 2],
    describe: fn(&Device) -> (Value, Vec<Parameter>),
}

const PRIOR: [&str; 2] = ["diffusers", "PriorTransformer"];
const UNET_CONDITIONED: [&str; 2] = ["diffusers", "UNet2DConditionModel"];
const UNET: [&str; 2] = ["diffusers", "UNet2DModel"];
const TEXT: [&str; 2] = ["transformers", "CLIPTextModelWithProjection"];
const VISION: [&str; 2] = ["transformers", "CLIPVisionModelWithProjection"];

/// Every full-size network.
const COMPONENTS: [Component; 14] = [
    component("clip_l14_text", TEXT, |d| text(&ClipTextConfig::vit_l14(), d)),
    component("clip_l14_vision", VISION, |d| {
        vision(&ClipVisionConfig::vit_l14(), d)
    }),
    component("clip_bigg_text", TEXT, |d| text(&ClipTextConfig::vit_bigg14(), d)),
    component("clip_bigg_vision", VISION, |d| {
        vision(&ClipVisionConfig::vit_bigg14(), d)
    }),
    component("eclipse_karlo_prior", PRIOR, |d| {
        one_pass(&PriorConfig::eclipse_karlo(), d)
    }),
    component("eclipse_kandinsky22_prior", PRIOR, |d| {
        one_pass(&PriorConfig::eclipse_kandinsky22(), d)
    }),
    component("karlo_prior_1b", PRIOR, |d| diffusion(&PriorConfig::default(), d)),
    component("kandinsky22_prior_1b", PRIOR, |d| {
        let config = PriorConfig {
            d_clip: PriorConfig::eclipse_kandinsky22().d_clip,
            ..PriorConfig::default()
        };
        diffusion(&config, d)
    }),
    component("karlo_text_proj", ["unclip", "UnCLIPTextProjModel"], |d| {
        let config = TextProjConfig::karlo();
        described(&config, &TextProj::init(&config, d), &text_proj::MAPPING)
    }),
    component("karlo_decoder", UNET_CONDITIONED, |d| {
        unet(&UNetConfig::karlo_decoder(), d)
    }),
    component("karlo_super_res_first", UNET, |d| {
        unet(&UNetConfig::karlo_super_res(), d)
    }),
    component("karlo_super_res_last", UNET, |d| {
        unet(&UNetConfig::karlo_super_res(), d)
    }),
    component("kandinsky22_unet", UNET_CONDITIONED, |d| {
        unet(&UNetConfig::kandinsky22(), d)
    }),
    component("kandinsky22_movq", ["diffusers", "VQModel"], |d| {
        let config = MovqConfig::kandinsky22();
        described(&config, &Movq::init(&config, d), &movq::MAPPING)
    }),
];

const fn component(
    name: &'static str,
    class: [&'static str; 2],
    describe: fn(&Device) -> (Value, Vec<Parameter>),
) -> Component {
    Component {
        name,
        class,
        describe,
    }
}

/// A pipeline's folder: its class, its networks by folder, its schedulers by folder.
struct Pipeline {
    folder: &'static str,
    class: &'static str,
    parts: &'static [(&'static str, &'static str)],
    schedulers: &'static [(&'static str, Schedule)],
    /// Folder of the preprocessing, where there is a vision tower.
    preprocessor: Option<&'static str>,
}

/// The schedulers of the published pipelines.
#[derive(Debug, Clone, Copy)]
enum Schedule {
    Prior { clip: f64 },
    KarloDecoder,
    KarloSuperRes,
    Kandinsky22,
}

impl Schedule {
    fn config(self) -> Value {
        let unclip = |variance: &str, prediction: &str, clip: f64| {
            json!({"_class_name": "UnCLIPScheduler", "num_train_timesteps": 1000, "variance_type": variance,
                "prediction_type": prediction, "clip_sample": true, "clip_sample_range": clip})
        };
        match self {
            Self::Prior { clip } => unclip("fixed_small_log", "sample", clip),
            Self::KarloDecoder => unclip("learned_range", "epsilon", 1.0),
            Self::KarloSuperRes => unclip("fixed_small_log", "epsilon", 1.0),
            Self::Kandinsky22 => {
                json!({"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear",
                    "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "epsilon",
                    "variance_type": "learned_range", "clip_sample": true, "clip_sample_range": 2.0,
                    "thresholding": true, "sample_max_value": 2.0, "dynamic_thresholding_ratio": 0.995,
                    "steps_offset": 1})
            }
        }
    }

    fn class(self) -> Value {
        self.config()["_class_name"].clone()
    }
}

/// Whole stacks, each with its ECLIPSE prior.
const STACKS: [(&str, &[Pipeline]); 2] = [
    (
        "karlo",
        &[
            Pipeline {
                folder: "karlo",
                class: "UnCLIPPipeline",
                parts: &[
                    ("prior", "eclipse_karlo_prior"),
                    ("text_encoder", "clip_l14_text"),
                    ("text_proj", "karlo_text_proj"),
                    ("decoder", "karlo_decoder"),
                    ("super_res_first", "karlo_super_res_first"),
                    ("super_res_last", "karlo_super_res_last"),
                ],
                schedulers: &[
                    ("prior_scheduler", Schedule::Prior { clip: 5.0 }),
                    ("decoder_scheduler", Schedule::KarloDecoder),
                    ("super_res_scheduler", Schedule::KarloSuperRes),
                ],
                preprocessor: None,
            },
            Pipeline {
                folder: "karlo_image_variations",
                class: "UnCLIPImageVariationPipeline",
                parts: &[("image_encoder", "clip_l14_vision")],
                schedulers: &[],
                preprocessor: Some("feature_extractor"),
            },
        ],
    ),
    (
        "kandinsky22",
        &[
            Pipeline {
                folder: "kandinsky22_prior",
                class: "KandinskyV22PriorPipeline",
                parts: &[
                    ("prior", "eclipse_kandinsky22_prior"),
                    ("text_encoder", "clip_bigg_text"),
                    ("image_encoder", "clip_bigg_vision"),
                ],
                schedulers: &[("scheduler", Schedule::Prior { clip: 10.0 })],
                preprocessor: Some("image_processor"),
            },
            Pipeline {
                folder: "kandinsky22_decoder",
                class: "KandinskyV22Pipeline",
                parts: &[("unet", "kandinsky22_unet"), ("movq", "kandinsky22_movq")],
                schedulers: &[("scheduler", Schedule::Kandinsky22)],
                preprocessor: None,
            },
        ],
    ),
];

/// Why nothing was written, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum RandomStackError {
    /// Neither a network nor a stack.
    #[error("unknown component `{found}`: expected a stack ({}) or a network ({})", stacks().join(", "), components().join(", "))]
    Unknown {
        /// The name found.
        found: String,
    },
    /// A stack reads text.
    #[error(
        "the stack {0} needs a tokenizer: give the folder of one (vocab.json and merges.txt, or tokenizer.json)"
    )]
    NoTokenizer(String),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder could not be written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

fn stacks() -> Vec<&'static str> {
    STACKS.iter().map(|(name, _)| *name).collect()
}

/// The networks that [`write()`] knows.
pub fn components() -> Vec<&'static str> {
    COMPONENTS.iter().map(|c| c.name).collect()
}

/// `config.json` and parameters of a network that [`write()`] knows, which is described and not made.
pub fn describe(name: &str, device: &Device) -> Option<(Value, Vec<Parameter>)> {
    find(name).map(|component| (component.describe)(device))
}

/// Writes the network or the stack called `name` to `dir`, and says which folders were written. `tokenizer` is copied into a stack;
/// `with_vision` false leaves the vision towers out.
///
/// # Errors
/// [`RandomStackError`].
pub fn write(
    name: &str,
    dir: &Path,
    dtype: DType,
    tokenizer: Option<&Path>,
    with_vision: bool,
    device: &Device,
    noise: &mut Noise,
) -> Result<Vec<PathBuf>, RandomStackError> {
    if let Some(component) = find(name) {
        write_component(component, dir, dtype, device, noise)?;
        return Ok(vec![dir.to_path_buf()]);
    }
    let Some((_, pipelines)) = STACKS.iter().find(|(stack, _)| *stack == name) else {
        return Err(RandomStackError::Unknown { found: name.into() });
    };
    let tokenizer = tokenizer.ok_or_else(|| RandomStackError::NoTokenizer(name.into()))?;
    let mut written = Vec::new();
    for pipeline in *pipelines {
        let root = dir.join(pipeline.folder);
        let mut index = Map::from_iter([("_class_name".to_string(), pipeline.class.into())]);
        let mut has_vision = false;
        for (folder, name) in pipeline.parts {
            let component = find(name).expect("stacks are made of components");
            if component.class == VISION && !with_vision {
                continue;
            }
            has_vision |= component.class == VISION;
            index.insert((*folder).into(), json!(component.class));
            write_component(component, &root.join(folder), dtype, device, noise)?;
            written.push(root.join(folder));
            if component.class == TEXT {
                copy_tokenizer(tokenizer, &root.join("tokenizer"))?;
                index.insert("tokenizer".into(), json!(["transformers", "CLIPTokenizer"]));
            }
        }
        for (folder, schedule) in pipeline.schedulers {
            write_file(&root.join(folder), "scheduler_config.json", &schedule.config())?;
            index.insert((*folder).into(), json!(["diffusers", schedule.class()]));
        }
        if let Some(folder) = pipeline.preprocessor.filter(|_| has_vision) {
            write_file(&root.join(folder), "preprocessor_config.json", &preprocessor())?;
            index.insert(folder.into(), json!(["transformers", "CLIPImageProcessor"]));
        }
        write_file(&root, "model_index.json", &index)?;
    }
    Ok(written)
}

fn find(name: &str) -> Option<&'static Component> {
    COMPONENTS.iter().find(|component| component.name == name)
}

fn write_component(
    component: &Component,
    dir: &Path,
    dtype: DType,
    device: &Device,
    noise: &mut Noise,
) -> Result<(), WeightsError> {
    let (config, parameters) = (component.describe)(device);
    write_file(dir, "config.json", &config)?;
    let file = match component.class[0] {
        "transformers" => "model.safetensors",
        _ => "diffusion_pytorch_model.safetensors",
    };
    write_random(&parameters, &dir.join(file), dtype, noise)
}

fn write_file(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), WeightsError> {
    files::create_dir(dir)?;
    write_json(&dir.join(name), value)
}

fn copy_tokenizer(from: &Path, to: &Path) -> Result<(), FileError> {
    files::create_dir(to)?;
    for name in [
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer_config.json",
    ] {
        if from.join(name).is_file() {
            files::write_atomic(to.join(name), &files::read(from.join(name))?)?;
        }
    }
    Ok(())
}

/// OpenAI's preprocessing, which both stacks use.
fn preprocessor() -> Value {
    let side = ClipVisionConfig::default().image_size;
    json!({"image_processor_type": "CLIPImageProcessor", "do_resize": true, "size": {"shortest_edge": side}, "resample": 3,
        "do_center_crop": true, "crop_size": {"height": side, "width": side}, "do_rescale": true,
        "rescale_factor": 1.0 / 255.0, "do_normalize": true, "do_convert_rgb": true,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]})
}

fn described<M: Module>(config: &impl Serialize, module: &M, mapping: &Mapping) -> (Value, Vec<Parameter>) {
    let config = serde_json::to_value(config).expect("configs are JSON objects");
    (config, parameters(module, mapping))
}

/// A tower's folder says what it is, beside its sizes.
fn tower(class: &str, model_type: &str, described: (Value, Vec<Parameter>)) -> (Value, Vec<Parameter>) {
    let (mut config, parameters) = described;
    config["architectures"] = json!([class]);
    config["model_type"] = model_type.into();
    (config, parameters)
}

fn text(config: &ClipTextConfig, device: &Device) -> (Value, Vec<Parameter>) {
    let described = described(config, &config.init(device), &TEXT_MAPPING);
    tower(TEXT[1], "clip_text_model", described)
}

fn vision(config: &ClipVisionConfig, device: &Device) -> (Value, Vec<Parameter>) {
    let described = described(config, &config.init(device), &VISION_MAPPING);
    tower(VISION[1], "clip_vision_model", described)
}

fn one_pass(config: &PriorConfig, device: &Device) -> (Value, Vec<Parameter>) {
    described(config, &Prior::init(config, device), &prior::MAPPING)
}

fn diffusion(config: &PriorConfig, device: &Device) -> (Value, Vec<Parameter>) {
    described(config, &DiffusionPrior::init(config, device), &prior::MAPPING)
}

fn unet(config: &UNetConfig, device: &Device) -> (Value, Vec<Parameter>) {
    described(config, &UNet::init(config, device), &unet::MAPPING)
}
