//! A system: who draws.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::diffusion::Sampler;
use crate::generate::prior::PriorSettings;
use crate::generate::recipe::Size;
use crate::generate::request::{DecoderChoice, SUPER_RES_STEPS};
use crate::hub::HubError;
use crate::weights::{self, WeightsError};

/// `[systems.NAME]`: a pipeline with settings, a folder of images that were made elsewhere, or neither: published numbers only.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct System {
    /// Its name in the specification, and its folder's below the runs.
    #[serde(skip)]
    pub name: String,
    /// Its name in tables.
    pub label: String,
    /// Folder of the pipeline, as in `eclipse generate --pipeline`.
    pub pipeline: Option<PathBuf>,
    /// Folder of another prior.
    pub prior: Option<PathBuf>,
    /// Folder of another CLIP.
    pub clip: Option<PathBuf>,
    /// Folder of images that were made elsewhere, one folder in it for each prompt set.
    pub images: Option<PathBuf>,
    /// Folders in `images`, by prompt set, that have other names.
    pub folders: BTreeMap<String, PathBuf>,
    /// What guidance pushes away from.
    pub negative: Option<String>,
    /// Steps of the decoder.
    pub steps: Option<usize>,
    /// Guidance scale of the decoder.
    pub guidance: Option<f64>,
    /// Sampler of the decoder.
    pub scheduler: Option<Sampler>,
    /// Factor on the noise that the decoder adds.
    pub decoder_eta: Option<f64>,
    /// Steps of a diffusion prior.
    pub prior_steps: Option<usize>,
    /// Guidance scale of a diffusion prior.
    pub prior_guidance: Option<f64>,
    /// Factor on the noise that a diffusion prior adds.
    pub eta: Option<f64>,
    /// Steps of super-resolution.
    pub super_res_steps: Option<usize>,
    /// Size of the images in pixels.
    pub size: Option<Size>,
}

impl System {
    /// The prior's sampling.
    pub(super) fn prior_settings(&self) -> PriorSettings {
        let usual = PriorSettings::default();
        PriorSettings {
            n_steps: self.prior_steps.unwrap_or(usual.n_steps),
            guidance: self.prior_guidance.unwrap_or(usual.guidance),
            eta: self.eta.unwrap_or(usual.eta),
        }
    }

    /// The decoder's sampling.
    pub(super) fn decoder_choice(&self) -> DecoderChoice {
        DecoderChoice {
            n_steps: self.steps,
            guidance: self.guidance,
            eta: self.decoder_eta,
            sampler: self.scheduler,
        }
    }

    /// Steps of super-resolution.
    pub(super) fn super_res_steps(&self) -> usize {
        self.super_res_steps.unwrap_or(SUPER_RES_STEPS)
    }

    /// Whether it draws or has drawn, as opposed to published numbers.
    pub fn can_be_measured(&self) -> bool {
        self.pipeline.is_some() || self.images.is_some()
    }

    /// Why the first folder of its networks that is not there is missing.
    pub(super) fn lacking(&self) -> Option<String> {
        let folders = [&self.pipeline, &self.prior, &self.clip];
        folders.into_iter().flatten().find_map(|folder| absent(folder))
    }
}

/// Why the folder or the file that `given` names, which may be a repository in the Hugging Face cache, is not there.
pub(super) fn absent(given: &Path) -> Option<String> {
    match weights::folder(given) {
        Ok(found) if found.exists() => None,
        Ok(_) | Err(WeightsError::Repository(HubError::NotCached { .. })) => {
            Some(format!("{} is not there", given.display()))
        }
        Err(error) => Some(error.to_string()),
    }
}
