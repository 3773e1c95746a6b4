//! Predicts image embeddings for captions, with any prior.
//!
//! A prior without time is one forward pass over Gaussian noise. A diffusion prior is sampled: by its own scheduler (or its flow, in Euler steps), with
//! guidance on the clean prediction (`u + s (c - u)`, the unconditional half first) and eta as the weight of the added noise. Its samples are then
//! un-whitened by the statistics in its weights.
//! Reference: diffusers `UnCLIPPipeline` and `KandinskyV22PriorPipeline`; eclipse-inference `src/pipelines`.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::diffusion::{
    DiffusionError, DrawNoise, FlowConfig, SampleOptions, Scheduler, guide_halves, sample, sample_flow,
};
use crate::limits::{MAX_STEPS, NotFinite};
use crate::models::clip::ClipTextConfig;
use crate::models::prior::{DiffusionPrior, Prior, PriorConfig, TextCondition};
use crate::objective::normalize;
use crate::weights::WeightsError;

/// A prior that cannot be loaded or sampled.
#[derive(Debug, thiserror::Error)]
pub enum PriorError {
    /// Its folder does not load.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Its scheduler does not load, or does not have the settings.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// A diffusion prior without a scheduler.
    #[error("{dir} is a diffusion prior without a scheduler: expected scheduler_config.json in {}", .looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or "))]
    NoScheduler {
        /// The prior's folder.
        dir: PathBuf,
        /// Where a scheduler was looked for.
        looked: Vec<PathBuf>,
    },
    /// The text tower and the prior do not belong together.
    #[error("the text tower gives {text} and the prior in {dir} reads {prior}: they must come from one CLIP")]
    Width {
        /// What the text tower gives: d_clip or n_text.
        text: String,
        /// The prior's folder.
        dir: PathBuf,
        /// What it reads.
        prior: String,
    },
    /// A network gave values that are not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// A number out of range.
    #[error("{name} must be {expected}, found {found}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// The value given.
        found: String,
    },
}

/// Any prior, ready to sample.
#[derive(Debug)]
pub enum AnyPrior {
    /// ECLIPSE or Projection.
    OnePass(Box<Prior>),
    /// Diffusion-Baseline or a 1B prior, with the scheduler that samples it.
    Diffusion(Box<DiffusionPrior>, Scheduler),
    /// A prior with time that was trained by flow matching.
    Flow(Box<DiffusionPrior>, FlowConfig),
}

/// Settings of a diffusion prior's sampling; priors without time ignore them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PriorSettings {
    /// Visited timesteps: 25 in the paper and in the published pipelines.
    pub n_steps: usize,
    /// Guidance scale: 4.0 in the paper; up to 1 is none.
    pub guidance: f64,
    /// Weight of the added noise (paper Fig. 5a): 1 is the plain ancestral sampler. A flow adds none.
    pub eta: f64,
}

impl Default for PriorSettings {
    fn default() -> Self {
        Self {
            n_steps: 25,
            guidance: 4.0,
            eta: 1.0,
        }
    }
}

impl PriorSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`PriorError::Setting`] naming the setting and its range.
    pub fn check(&self) -> Result<(), PriorError> {
        let refuse = |name, expected, found: String| {
            Err(PriorError::Setting {
                name,
                expected,
                found,
            })
        };
        if self.n_steps == 0 {
            return refuse("steps", "at least 1", "0".into());
        }
        if self.n_steps > MAX_STEPS {
            return refuse("steps", "at most 10000", self.n_steps.to_string());
        }
        if !(self.guidance >= 0.0 && self.guidance.is_finite()) {
            return refuse("guidance", "at least 0 and finite", self.guidance.to_string());
        }
        if !(self.eta >= 0.0 && self.eta.is_finite()) {
            return refuse("eta", "at least 0 and finite", self.eta.to_string());
        }
        Ok(())
    }
}

impl AnyPrior {
    /// Loads a prior's folder, published or trained here, and for a prior with time the `scheduler_config.json` in it, in the pipeline's
    /// `prior_scheduler/` or in its `scheduler/`.
    ///
    /// # Errors
    /// [`PriorError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<(PriorConfig, Self), PriorError> {
        if !PriorConfig::read(dir)?.has_time() {
            let (config, prior) = Prior::load(dir, device)?;
            return Ok((config, Self::OnePass(Box::new(prior))));
        }
        let (config, prior) = DiffusionPrior::load(dir, device)?;
        let folder = scheduler_of(dir)?;
        if let Some(flow) = FlowConfig::read_if_flow(&folder)? {
            return Ok((config, Self::Flow(Box::new(prior), flow)));
        }
        let scheduler = Scheduler::read(folder)?;
        Ok((config, Self::Diffusion(Box::new(prior), scheduler)))
    }

    /// Predicts z_x_hat `[batch, d_clip]` in CLIP's own space for `text`.
    ///
    /// `uncond` is what guidance pushes away from, one row a caption: the empty caption, or a negative one. `noise` gives the
    /// initial latent first, then the noise of each step. `on_step(x)` sees the sample after each step of a diffusion prior.
    ///
    /// # Errors
    /// [`PriorError`] for settings out of range or noise that runs out.
    pub fn sample(
        &self,
        text: TextCondition,
        uncond: TextCondition,
        settings: PriorSettings,
        noise: &mut impl DrawNoise<2>,
        mut on_step: impl FnMut(Tensor<2>),
    ) -> Result<Tensor<2>, PriorError> {
        settings.check()?;
        let (text, uncond) = (text.without_padding(), uncond.without_padding());
        let [batch, _] = text.z_y.dims();
        let [_, _, d_clip] = text.tokens.dims();
        let device = text.z_y.device();
        let first = noise.draw([batch, d_clip], &device)?;
        match self {
            Self::OnePass(prior) => Ok(prior.forward(first, text)),
            Self::Diffusion(prior, scheduler) => {
                let denoise = guided(prior, text, uncond, settings.guidance);
                let options = SampleOptions {
                    n_steps: settings.n_steps,
                    eta: settings.eta,
                };
                let x_0 = sample(
                    scheduler,
                    first,
                    options,
                    |x_t, t| denoise(x_t, t as f64),
                    noise,
                    |_, _, step| on_step(step.x_prev.clone()),
                )?;
                Ok(prior.unwhiten(x_0))
            }
            Self::Flow(prior, flow) => {
                let predict = guided(prior, text, uncond, settings.guidance);
                let x_0 = sample_flow(flow, first, settings.n_steps, predict, |x| on_step(x.clone()))?;
                Ok(prior.unwhiten(x_0))
            }
        }
    }

    /// Draws `n` predictions a caption and keeps the one nearest to its text embedding by cosine, as DALL-E 2 does.
    ///
    /// # Errors
    /// Like [`AnyPrior::sample`]; also for `n` of 0.
    pub fn sample_best_of(
        &self,
        n: usize,
        text: &TextCondition,
        uncond: &TextCondition,
        settings: PriorSettings,
        noise: &mut impl DrawNoise<2>,
    ) -> Result<Tensor<2>, PriorError> {
        if n == 0 {
            return Err(PriorError::Setting {
                name: "best-of",
                expected: "at least 1",
                found: "0".into(),
            });
        }
        let z_y = normalize(text.z_y.clone());
        let mut best: Option<(Tensor<2>, Tensor<2>)> = None;
        for _ in 0..n {
            let z_x_hat = self.sample(text.clone(), uncond.clone(), settings, noise, |_| {})?;
            let score = (normalize(z_x_hat.clone()) * z_y.clone()).sum_dim(1); // [batch, 1]
            best = Some(match best {
                None => (z_x_hat, score),
                Some((kept, kept_score)) => {
                    let better = score.clone().greater(kept_score.clone());
                    let rows = better.clone().expand(kept.dims());
                    (
                        kept.mask_where(rows, z_x_hat),
                        kept_score.mask_where(better, score),
                    )
                }
            });
        }
        best.map(|(z_x_hat, _)| z_x_hat).ok_or(PriorError::Setting {
            name: "best-of",
            expected: "at least 1",
            found: "0".into(),
        })
    }
}

/// The network's prediction for `(x_t, t)`, guided where `guidance` is above 1. Captions are read once.
fn guided(
    prior: &DiffusionPrior,
    text: TextCondition,
    uncond: TextCondition,
    guidance: f64,
) -> impl Fn(Tensor<2>, f64) -> Tensor<2> {
    let is_guided = guidance > 1.0;
    let text = prior.encode_prefix(if is_guided {
        TextCondition::cat(vec![uncond, text])
    } else {
        text
    });
    move |x_t, t| {
        let [batch, d_clip] = x_t.dims();
        if !is_guided {
            return prior.forward_cached(x_t, &vec![t; batch], &text);
        }
        let twice = Tensor::cat(vec![x_t.clone(), x_t], 0);
        let output = prior.forward_cached(twice, &vec![t; 2 * batch], &text);
        guide_halves(output, d_clip, guidance)
    }
}

/// The folder whose `scheduler_config.json` samples the diffusion prior in `dir`: `dir` itself, or its pipeline's `prior_scheduler/` or `scheduler/`.
///
/// # Errors
/// [`PriorError::NoScheduler`], naming where it was looked for.
pub fn scheduler_of(dir: &Path) -> Result<PathBuf, PriorError> {
    let looked = vec![
        dir.to_path_buf(),
        dir.join("../prior_scheduler"),
        dir.join("../scheduler"),
    ];
    match looked.iter().find(|d| d.join("scheduler_config.json").is_file()) {
        Some(found) => Ok(found.clone()),
        None => Err(PriorError::NoScheduler {
            dir: dir.to_path_buf(),
            looked,
        }),
    }
}

/// Checks that a text tower gives what the prior in `dir` reads.
///
/// # Errors
/// [`PriorError::Width`].
pub fn check_text(tower: &ClipTextConfig, prior: &PriorConfig, dir: &Path) -> Result<(), PriorError> {
    let given = (
        tower.projection_dim,
        tower.hidden_size,
        tower.max_position_embeddings,
    );
    let read = (prior.d_pooled.unwrap_or(prior.d_clip), prior.d_clip, prior.n_text);
    if given == read {
        return Ok(());
    }
    let say = |(z_y, hidden, n): (usize, usize, usize)| {
        format!("z_y of width {z_y} and {n} states of width {hidden}")
    };
    Err(PriorError::Width {
        text: say(given),
        dir: dir.to_path_buf(),
        prior: say(read),
    })
}
