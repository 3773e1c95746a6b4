//! The published networks and pipelines of a stack, described without weights: what folders of random weights are written from.

use burn::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::Stack;
use crate::generate::parts::Part;
use crate::models::clip::{ClipTextConfig, ClipVisionConfig, TEXT_MAPPING, VISION_MAPPING};
use crate::models::prior::{self, DiffusionPrior, Prior, PriorConfig};
use crate::models::unet::{self, UNet, UNetConfig};
use crate::weights::{Mapping, Parameter, parameters};

/// A stack with its ECLIPSE prior at full size.
#[derive(Debug, Clone, Copy)]
pub struct RandomStack {
    /// The stack's name on the command line.
    pub name: &'static str,
    /// Its networks.
    pub networks: &'static [RandomNetwork],
    /// Its pipelines.
    pub pipelines: &'static [RandomPipeline],
}

impl RandomStack {
    /// Which part of `stack` a network is, by its folder in a pipeline.
    pub fn part(&self, stack: Stack, network: &RandomNetwork) -> Option<Part> {
        self.pipelines.iter().find_map(|pipeline| {
            let (folder, _) = pipeline.parts.iter().find(|(_, name)| *name == network.name)?;
            let class = stack
                .pipelines()
                .iter()
                .find(|class| class.name == pipeline.class)?;
            class.entries.iter().find(|entry| entry.key == *folder)?.part
        })
    }
}

/// A published network.
#[derive(Debug, Clone, Copy)]
pub struct RandomNetwork {
    /// The name of its list in `tests/golden/keys.zip`.
    pub name: &'static str,
    /// Its library and class, as a `model_index.json` says.
    pub class: [&'static str; 2],
    /// Its configuration and its parameters.
    pub describe: fn(&Device) -> (Value, Vec<Parameter>),
}

/// Gives a scheduler's configuration.
pub type MakeConfig = fn() -> Value;

/// The folder of a published pipeline.
#[derive(Debug, Clone, Copy)]
pub struct RandomPipeline {
    /// The folder.
    pub folder: &'static str,
    /// Its class.
    pub class: &'static str,
    /// Folders and names of its networks.
    pub parts: &'static [(&'static str, &'static str)],
    /// Folders and configurations of its schedulers.
    pub schedulers: &'static [(&'static str, MakeConfig)],
    /// The folder of the preprocessing, where there is a vision tower.
    pub preprocessor: Option<&'static str>,
}

/// A prior.
pub const PRIOR: [&str; 2] = ["diffusers", "PriorTransformer"];
/// A UNet that is conditioned.
pub(super) const UNET_CONDITIONED: [&str; 2] = ["diffusers", "UNet2DConditionModel"];
/// A text tower.
pub const TEXT: [&str; 2] = ["transformers", "CLIPTextModelWithProjection"];
/// A vision tower.
pub const VISION: [&str; 2] = ["transformers", "CLIPVisionModelWithProjection"];

/// A row of a list of networks.
pub(super) const fn network(
    name: &'static str,
    class: [&'static str; 2],
    describe: fn(&Device) -> (Value, Vec<Parameter>),
) -> RandomNetwork {
    RandomNetwork {
        name,
        class,
        describe,
    }
}

/// The configuration of a published `UnCLIPScheduler`.
pub(super) fn unclip(variance: &str, prediction: &str, clip: f64) -> Value {
    json!({"_class_name": "UnCLIPScheduler", "num_train_timesteps": 1000, "variance_type": variance,
        "prediction_type": prediction, "clip_sample": true, "clip_sample_range": clip})
}

/// The scheduler of a published prior whose samples are clipped to `clip`.
pub(super) fn prior_scheduler(clip: f64) -> Value {
    unclip("fixed_small_log", "sample", clip)
}

/// The configuration and the parameters of a network.
pub(super) fn described<M: Module>(
    config: &impl Serialize,
    module: &M,
    mapping: &Mapping,
) -> (Value, Vec<Parameter>) {
    let config = serde_json::to_value(config).expect("configs are JSON objects");
    (config, parameters(module, mapping))
}

/// The configuration of a tower also names its class.
fn tower(class: &str, model_type: &str, described: (Value, Vec<Parameter>)) -> (Value, Vec<Parameter>) {
    let (mut config, parameters) = described;
    config["architectures"] = json!([class]);
    config["model_type"] = model_type.into();
    (config, parameters)
}

/// A text tower.
pub(super) fn text(config: &ClipTextConfig, device: &Device) -> (Value, Vec<Parameter>) {
    let described = described(config, &config.init(device), &TEXT_MAPPING);
    tower(TEXT[1], "clip_text_model", described)
}

/// A vision tower.
pub(super) fn vision(config: &ClipVisionConfig, device: &Device) -> (Value, Vec<Parameter>) {
    let described = described(config, &config.init(device), &VISION_MAPPING);
    tower(VISION[1], "clip_vision_model", described)
}

/// A prior without time.
pub(super) fn one_pass(config: &PriorConfig, device: &Device) -> (Value, Vec<Parameter>) {
    described(config, &Prior::init(config, device), &prior::MAPPING)
}

/// A diffusion prior.
pub(super) fn diffusion(config: &PriorConfig, device: &Device) -> (Value, Vec<Parameter>) {
    described(config, &DiffusionPrior::init(config, device), &prior::MAPPING)
}

/// A UNet.
pub(super) fn unet(config: &UNetConfig, device: &Device) -> (Value, Vec<Parameter>) {
    described(config, &UNet::init(config, device), &unet::MAPPING)
}
