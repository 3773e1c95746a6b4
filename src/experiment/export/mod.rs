//! A trained prior as a folder with which diffusers goes from a prompt to an image, and a model card out of the run's provenance.
//!
//! ```text
//! prior/config.json, prior/diffusion_pytorch_model.safetensors    keys, shapes and fields of the published priors
//! scheduler/scheduler_config.json                                 priors with time only
//! text_encoder/, tokenizer/, image_encoder/, image_processor/     the CLIP that the prior was trained on
//! decoder/                                                        of built-in worlds: what draws
//! model_index.json, *.py                                          what makes it a pipeline
//! README.md                                                       the card
//! ```

mod card;
mod pipeline;

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use serde_json::{Value, json};

use self::pipeline::{Clip, Decoder, Pipeline};
use super::error::{RunDirError, SpecError};
use super::provenance::Provenance;
use super::run::Run;
use super::{RunDir, sweep};
use crate::benchmark::images::check_decoder;
use crate::data::store::{Store, StoreError};
use crate::files::{self, FileError};
use crate::generate::error::RenderError;
use crate::generate::frozen::FrozenDecoder;
use crate::generate::layout::LayoutError;
use crate::generate::prior::{AnyPrior, PriorError, scheduler_of};
use crate::models::prior::{MAPPING, PriorConfig};
use crate::weights::{self, WeightsError, write_json};

/// Folder of the network in an export, as in Kandinsky 2.2's pipeline.
pub const PRIOR: &str = "prior";
/// Folder of what samples a prior with time.
pub const SCHEDULER: &str = "scheduler";
const CARD: &str = "README.md";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const SCHEDULER_CONFIG: &str = "scheduler_config.json";
/// The release of diffusers whose layout this is (the golden numbers were made with it).
const DIFFUSERS_VERSION: &str = "0.42.1";
/// Fields that only configs of priors with time have.
const OF_TIME: [&str; 2] = ["time_embed_act_fn", "time_embed_dim"];

/// A prior that cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Neither a run nor a prior.
    #[error(
        "{0} holds no prior: expected a run directory (with config.toml) or a prior's folder (with config.json)"
    )]
    NoPrior(PathBuf),
    /// The run goes on.
    #[error(
        "{dir} is not finished: only finished runs are exported; finish it first, with `eclipse train --config {dir}/config.toml --out {dir} --resume` or its sweep"
    )]
    Unfinished {
        /// The run directory.
        dir: PathBuf,
    },
    /// The run has no network.
    #[error("{dir} is a run of the baseline {name}, which trains no network: there is nothing to export")]
    Baseline {
        /// The run directory.
        dir: PathBuf,
        /// The baseline.
        name: String,
    },
    /// The target has something in it.
    #[error("{to} is not empty: {found} lies there; expected a folder that does not exist, or an empty one{}", if *.is_export { ". It is an earlier export: remove it to export again" } else { "" })]
    Occupied {
        /// The target.
        to: PathBuf,
        /// One thing in it.
        found: String,
        /// Whether it looks like one of ours.
        is_export: bool,
    },
    /// Nobody says which CLIP the prior reads.
    #[error(
        "which CLIP does the prior in {dir} read? Name its folder with --clip DIR: text tower, tokenizer and vision tower become part of the export. Or write the network alone with --prior-only"
    )]
    NoClip {
        /// The prior's folder.
        dir: PathBuf,
    },
    /// A folder is no CLIP that can be exported.
    #[error("{dir}: {reason}")]
    Clip {
        /// The folder.
        dir: PathBuf,
        /// What it lacks.
        reason: String,
    },
    /// A decoder that cannot be used.
    #[error("--decoder {name}: {reason}")]
    Decoder {
        /// As it was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The run's store does not read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A decoder's folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A decoder's part.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The run's configuration does not hold.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The run directory does not read.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The prior does not load.
    #[error(transparent)]
    Prior(#[from] PriorError),
    /// The prior cannot be written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ExportError {
    /// Whether the caller asked for something that cannot be, rather than that something failed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoPrior(_)
                | Self::Unfinished { .. }
                | Self::Baseline { .. }
                | Self::Occupied { .. }
                | Self::NoClip { .. }
                | Self::Clip { .. }
                | Self::Decoder { .. }
        )
    }
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// Its files, below the target.
    pub files: Vec<PathBuf>,
    /// What others will get wrong about it.
    pub warnings: Vec<String>,
}

/// What goes into an export.
#[derive(Debug, Clone)]
pub struct ExportOptions<'a> {
    /// f32, f16 or bf16, of the prior's weights.
    pub dtype: DType,
    /// The CLIP that the prior reads, where it is not the one that the run names.
    pub clip: Option<&'a Path>,
    /// What draws from the embeddings: a pipeline's folder or a name on the Hugging Face Hub.
    pub decoder: Option<&'a str>,
    /// Leave everything but the network and its scheduler out.
    pub prior_only: bool,
}

/// Where a prior comes from.
struct Source {
    /// The folder of the prior.
    prior: PathBuf,
    /// The run that trained it, if it was one of ours.
    run: Option<(Run, Provenance)>,
}

/// Writes the prior of `source`, a finished run directory or a prior's folder, and the pipeline around it to the folder `to`, which appears whole or
/// not at all. The prior is loaded on `device`, so one that would not load again is not exported.
///
/// # Errors
/// [`ExportError`]; nothing is left at `to` then.
pub fn export(
    source: &Path,
    to: &Path,
    options: &ExportOptions<'_>,
    device: &Device,
) -> Result<Exported, ExportError> {
    let source = open(source)?;
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
            Some(Pipeline::new(
                Clip::open(&clip_of(&source, options)?)?,
                decoder_of(&source, options, config.d_clip, device)?,
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
            None => warnings(&config, &prior),
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

/// Where the CLIP stands that the prior reads: the one that was named, that of the run or its store, that of the pipeline which the prior's folder lies in.
fn clip_of(source: &Source, options: &ExportOptions<'_>) -> Result<PathBuf, ExportError> {
    if let Some(clip) = options.clip {
        return Ok(clip.to_path_buf());
    }
    let none = || ExportError::NoClip {
        dir: source.prior.clone(),
    };
    let Some((run, _)) = &source.run else {
        let pipeline = source.prior.join("..");
        return match pipeline.join("text_encoder").is_dir() {
            true => Ok(pipeline),
            false => Err(none()),
        };
    };
    let Some(store) = &run.data().store else {
        return Ok(run.clip().to_path_buf());
    };
    if !run.clip().as_os_str().is_empty() {
        return Ok(run.clip().to_path_buf());
    }
    let manifest = Store::open(store).map(|store| store.manifest().settings.encoder.dir.clone());
    let dir = manifest.map(PathBuf::from).map_err(|_| none())?;
    if dir.is_dir() { Ok(dir) } else { Err(none()) }
}

/// What draws from the prior's embeddings: what was named, the run's own decoder, or a published one.
fn decoder_of(
    source: &Source,
    options: &ExportOptions<'_>,
    d_clip: usize,
    device: &Device,
) -> Result<Decoder, ExportError> {
    if let Some(name) = options.decoder {
        return Decoder::asked(name, d_clip);
    }
    let world = source.run.as_ref().filter(|(run, _)| run.data().store.is_none());
    let own = world.and_then(|(run, _)| {
        let decoder = FrozenDecoder::load(run.decoder(), device).ok()?;
        check_decoder(run.clip(), run.decoder(), &decoder, d_clip).ok()?;
        Some(Decoder::Small(run.decoder().to_path_buf()))
    });
    Ok(own.unwrap_or_else(|| Decoder::published(d_clip)))
}

fn open(path: &Path) -> Result<Source, ExportError> {
    let dir = RunDir::new(path);
    if !dir.config_path().is_file() {
        if !path.join(CONFIG).is_file() {
            return Err(ExportError::NoPrior(path.to_path_buf()));
        }
        return Ok(Source {
            prior: path.to_path_buf(),
            run: None,
        });
    }
    let planned = sweep::single(&dir.config_path(), &[])?;
    let run = planned.run().clone();
    if run.objective().baseline().is_some() {
        return Err(ExportError::Baseline {
            dir: path.to_path_buf(),
            name: run.objective().label(),
        });
    }
    if !dir.is_done() {
        return Err(ExportError::Unfinished {
            dir: path.to_path_buf(),
        });
    }
    for read in ["config.toml", "provenance.json", "prior/"] {
        dir.check(read)?;
    }
    let provenance = dir.provenance()?;
    Ok(Source {
        prior: dir.prior_dir(),
        run: Some((run, provenance)),
    })
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

fn warnings(config: &PriorConfig, prior: &AnyPrior) -> Vec<String> {
    let mut found = Vec::new();
    if !config.conditioning.is_both() {
        let kept = serde_json::to_value(config.conditioning).unwrap_or_default();
        found.push(format!(
            "prior/config.json says `conditioning`: {kept}, which other software does not know and ignores: it would show this prior both the text \
             embedding and the text's hidden states, and it was trained on one of them"
        ));
    }
    if let AnyPrior::Flow(..) = prior {
        found.push(
            "this prior was trained by flow matching: other software loads its network, but no pipeline of diffusers samples such a prior"
                .into(),
        );
    }
    found
}
