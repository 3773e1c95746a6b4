//! What a call asks for: images, sampling, where they go.

use std::path::PathBuf;

use super::prior::PriorSettings;
use super::recipe::{Origin, PriorRecord, Recipe, Size};
use crate::diffusion::Sampler;

/// One image that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// File name, without an extension.
    pub name: String,
    /// Where its image embedding comes from.
    pub origin: Origin,
    /// Seed of its noise.
    pub seed: u64,
    /// Its row in files of noise.
    pub row: usize,
}

/// The decoder's settings; where one is absent, the stack's own holds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DecoderChoice {
    /// Steps.
    pub n_steps: Option<usize>,
    /// Guidance scale; up to 1 is none.
    pub guidance: Option<f64>,
    /// Weight of the added noise; else 1, or 0 for DDIM.
    pub eta: Option<f64>,
    /// The sampler; else the pipeline's.
    pub sampler: Option<Sampler>,
}

/// Noise from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentsChoice {
    /// The file.
    pub path: PathBuf,
    /// Images in it.
    pub n_images: usize,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRequest {
    /// `generate`, `vary`, `interpolate`.
    pub command: String,
    /// The images.
    pub subjects: Vec<Subject>,
    /// The negative prompt: what guidance pushes away from.
    pub negative: Option<String>,
    /// An image to start from, and the part of the trajectory that is sampled.
    pub init: Option<(PathBuf, f64)>,
    /// Noise from a file.
    pub latents: Option<LatentsChoice>,
    /// Size of the images: the stack's own if absent.
    pub size: Option<Size>,
    /// The prior's sampling.
    pub prior: PriorSettings,
    /// The decoder's sampling.
    pub decoder: DecoderChoice,
    /// Steps of super-resolution, for stacks that have one.
    pub super_res_steps: usize,
}

impl ImageRequest {
    /// The call that made the image of a side file, which it now makes under `name`.
    pub(super) fn repeating(recipe: &Recipe, name: &str) -> Self {
        let settings = recipe.decoder.settings;
        Self {
            command: recipe.command.clone(),
            subjects: vec![Subject {
                name: name.into(),
                origin: recipe.origin.clone(),
                seed: recipe.seed,
                row: recipe.latents.as_ref().map_or(0, |l| l.row),
            }],
            negative: recipe.negative.clone(),
            init: recipe.init.as_ref().map(|i| (i.image.path.clone(), i.strength)),
            latents: recipe.latents.as_ref().map(|l| LatentsChoice {
                path: l.file.path.clone(),
                n_images: l.n_images,
            }),
            size: Some(recipe.size),
            prior: match &recipe.prior {
                Some(PriorRecord::Diffusion { settings, .. }) => *settings,
                _ => PriorSettings::default(),
            },
            decoder: DecoderChoice {
                n_steps: Some(settings.n_steps),
                guidance: Some(settings.guidance),
                eta: Some(settings.eta),
                sampler: recipe.decoder.sampler,
            },
            super_res_steps: recipe
                .super_res
                .as_ref()
                .map_or(SUPER_RES_STEPS, |s| s.settings.n_steps),
        }
    }
}

/// Steps of super-resolution (reference: `super_res_num_inference_steps` of diffusers' `UnCLIPPipeline`).
pub const SUPER_RES_STEPS: usize = 7;

/// Where the images go, and what computes them.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputOptions {
    /// The folder.
    pub out: PathBuf,
    /// Replace images of other calls.
    pub overwrite: bool,
    /// Name of the device, for the side files.
    pub device: String,
    /// Name of the float type, for the side files.
    pub dtype: String,
}
