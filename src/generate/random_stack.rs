//! Full-size folders of random numbers in the published layouts: what a machine needs for a stack can be measured before its weights are there.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::stacks;
use super::stacks::random::{RandomNetwork, RandomStack, TEXT, VISION};
use crate::files::{self, FileError};
use crate::models::clip::ClipVisionConfig;
use crate::noise::Noise;
use crate::weights::{Parameter, WeightsError, write_json, write_random};

/// A network or a stack that cannot be written.
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

fn random_stacks() -> impl Iterator<Item = RandomStack> {
    stacks::ALL.iter().filter_map(|stack| stack.random())
}

/// The stacks that [`write()`] knows.
pub fn stacks() -> Vec<&'static str> {
    random_stacks().map(|stack| stack.name).collect()
}

fn networks() -> impl Iterator<Item = &'static RandomNetwork> {
    random_stacks().flat_map(|stack| stack.networks)
}

/// The networks that [`write()`] knows.
pub fn components() -> Vec<&'static str> {
    networks().map(|network| network.name).collect()
}

/// `config.json` and parameters of a network that [`write()`] knows, which is described and not made.
pub fn describe(name: &str, device: &Device) -> Option<(Value, Vec<Parameter>)> {
    find(name).map(|network| (network.describe)(device))
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
    if let Some(network) = find(name) {
        write_network(network, dir, dtype, device, noise)?;
        return Ok(vec![dir.to_path_buf()]);
    }
    let Some(stack) = random_stacks().find(|stack| stack.name == name) else {
        return Err(RandomStackError::Unknown { found: name.into() });
    };
    let tokenizer = tokenizer.ok_or_else(|| RandomStackError::NoTokenizer(name.into()))?;
    let mut written = Vec::new();
    for pipeline in stack.pipelines {
        let root = dir.join(pipeline.folder);
        let mut index = Map::from_iter([("_class_name".to_string(), pipeline.class.into())]);
        let mut has_vision = false;
        for (folder, name) in pipeline.parts {
            let network = find(name).expect("a network of the stack");
            if network.class == VISION && !with_vision {
                continue;
            }
            has_vision |= network.class == VISION;
            index.insert((*folder).into(), json!(network.class));
            write_network(network, &root.join(folder), dtype, device, noise)?;
            written.push(root.join(folder));
            if network.class == TEXT {
                copy_tokenizer(tokenizer, &root.join("tokenizer"))?;
                index.insert("tokenizer".into(), json!(["transformers", "CLIPTokenizer"]));
            }
        }
        for (folder, schedule) in pipeline.schedulers {
            write_file(&root.join(folder), "scheduler_config.json", &schedule())?;
            index.insert((*folder).into(), json!(["diffusers", schedule()["_class_name"]]));
        }
        if let Some(folder) = pipeline.preprocessor.filter(|_| has_vision) {
            write_file(&root.join(folder), "preprocessor_config.json", &preprocessor())?;
            index.insert(folder.into(), json!(["transformers", "CLIPImageProcessor"]));
        }
        write_file(&root, "model_index.json", &index)?;
    }
    Ok(written)
}

fn find(name: &str) -> Option<&'static RandomNetwork> {
    networks().find(|network| network.name == name)
}

fn write_network(
    network: &RandomNetwork,
    dir: &Path,
    dtype: DType,
    device: &Device,
    noise: &mut Noise,
) -> Result<(), WeightsError> {
    let (config, parameters) = (network.describe)(device);
    write_file(dir, "config.json", &config)?;
    let file = match network.class[0] {
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

/// OpenAI's preprocessing, which all stacks use.
fn preprocessor() -> Value {
    let side = ClipVisionConfig::default().image_size;
    json!({"image_processor_type": "CLIPImageProcessor", "do_resize": true, "size": {"shortest_edge": side}, "resample": 3,
        "do_center_crop": true, "crop_size": {"height": side, "width": side}, "do_rescale": true,
        "rescale_factor": 1.0 / 255.0, "do_normalize": true, "do_convert_rgb": true,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]})
}
