//! A trained prior as a folder with which diffusers goes from a prompt to an image, with a model card made of the run's provenance.
//!
//! ```text
//! prior/config.json, prior/diffusion_pytorch_model.safetensors    keys, shapes and fields of the published priors
//! scheduler/scheduler_config.json                                 priors with time only
//! text_encoder/, tokenizer/, image_encoder/, image_processor/     the CLIP that the prior was trained on
//! decoder/                                                        a decoder that is not published elsewhere
//! model_index.json, *.py                                          the pipeline
//! README.md                                                       the card
//! ```

mod card;
mod decoder;
mod error;
mod layout;
mod modules;
mod pipeline;
mod source;

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use serde_json::{Value, json};

use self::decoder::ExportedDecoder;
use self::layout::{CARD, CONFIG, DIFFUSERS_VERSION, SCHEDULER_CONFIG, WEIGHTS};
use self::pipeline::{ClipFolders, ExportedPipeline};
use self::source::ExportSource;
use crate::files::{self, FileError};
use crate::generate::prior::{AnyPrior, scheduler_of};
use crate::models::prior::{MAPPING, PriorConfig};
use crate::train::objectives::PriorObjective;
use crate::weights::{self, WeightsError, write_json};

pub use self::error::ExportError;
pub use self::layout::{PRIOR, SCHEDULER};

/// Fields that only configs of priors with time have.
const OF_TIME: [&str; 2] = ["time_embed_act_fn", "time_embed_dim"];

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// Its files, below the target.
    pub files: Vec<PathBuf>,
    /// What other software does differently.
    pub warnings: Vec<String>,
}

/// What goes into an export.
#[derive(Debug, Clone)]
pub struct ExportOptions<'a> {
    /// f32, f16 or bf16, of the prior's weights.
    pub dtype: DType,
    /// The CLIP that the prior reads, where it is not the one that the run names.
    pub clip: Option<&'a Path>,
    /// The decoder that draws from the embeddings: a pipeline's folder or a name on the Hugging Face Hub.
    pub decoder: Option<&'a str>,
    /// Leave everything but the network and its scheduler out.
    pub prior_only: bool,
}

/// Writes the prior of `source`, a finished run directory or a prior's folder, and the pipeline around it to the folder `to`, which appears whole or
/// not at all. The prior is loaded on `device`, so that every exported prior loads.
///
/// # Errors
/// [`ExportError`]; nothing is left at `to` then.
pub fn export(
    source: &Path,
    to: &Path,
    options: &ExportOptions<'_>,
    device: &Device,
) -> Result<Exported, ExportError> {
    let source = ExportSource::open(source)?;
    let dtype = options.dtype;
    refuse_occupied(to)?;
    let (config, prior) = AnyPrior::load(&source.prior, device)?;
    let scheduler = match config.has_time() {
        true => Some(scheduler_of(&source.prior)?.join(SCHEDULER_CONFIG)),
        false => None,
    };
    let around = match options.prior_only {
        true => None,
        false => {
            let class = scheduler.as_deref().and_then(Path::parent);
            let class = class.map(pipeline::scheduler_class).transpose()?;
            let settings = source.run.as_ref().map(|(run, _)| run.objective().sampler());
            Some(ExportedPipeline::new(
                ClipFolders::open(&source.clip(options.clip)?)?,
                ExportedDecoder::of(&source, options.decoder, config.d_clip, device)?,
                settings.unwrap_or_default(),
                (&config, &prior),
                class,
                &source.prior,
            )?)
        }
    };
    let card = card::write(&source, &config, &prior, dtype, around.as_ref())?;
    files::write_dir_atomic(to, |dir| {
        let folder = dir.join(PRIOR);
        files::create_dir(&folder)?;
        let file = folder.join(WEIGHTS);
        match &prior {
            AnyPrior::OnePass(prior) => weights::save(&**prior, &file, &MAPPING, dtype)?,
            AnyPrior::Diffusion(prior, _) | AnyPrior::Flow(prior, _) => {
                weights::save(&**prior, &file, &MAPPING, dtype)?;
            }
        }
        write_json(&folder.join(CONFIG), &published(&config)?)?;
        if let Some(scheduler) = &scheduler {
            let there = dir.join(SCHEDULER);
            files::create_dir(&there)?;
            files::write_atomic(there.join(SCHEDULER_CONFIG), &files::read(scheduler)?)?;
        }
        if let Some(around) = &around {
            around.write(dir)?;
        }
        Ok::<_, ExportError>(files::write_atomic(dir.join(CARD), card.as_bytes())?)
    })?;
    let mut files = Vec::new();
    list_all(to, &mut files)?;
    Ok(Exported {
        files,
        warnings: match &around {
            Some(around) => around.warnings(),
            None => card::warnings(&config, &prior),
        },
    })
}

/// The files in `dir` and in folders below it.
fn list_all(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), FileError> {
    found.extend(files::list(dir)?);
    for inner in files::list_folders(dir)? {
        list_all(&inner, found)?;
    }
    Ok(())
}

fn refuse_occupied(to: &Path) -> Result<(), ExportError> {
    if !to.exists() {
        return Ok(());
    }
    let inside = [files::list(to)?, files::list_folders(to)?].concat();
    match inside.iter().min() {
        None => Ok(()),
        Some(found) => Err(ExportError::Occupied {
            to: to.to_path_buf(),
            found: found
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            is_export: to.join(PRIOR).join(WEIGHTS).is_file() && to.join(CARD).is_file(),
        }),
    }
}

/// `config.json` with the fields of the published ones.
fn published(config: &PriorConfig) -> Result<Value, WeightsError> {
    let mut value = serde_json::to_value(config).map_err(|e| WeightsError::Config {
        path: Path::new(PRIOR).join(CONFIG),
        reason: e.to_string(),
    })?;
    value["_diffusers_version"] = json!(DIFFUSERS_VERSION);
    if let (false, Some(fields)) = (config.has_time(), value.as_object_mut()) {
        fields.retain(|key, _| !OF_TIME.contains(&key.as_str()));
    }
    Ok(value)
}
