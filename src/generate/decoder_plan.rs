//! The decoder of a call, planned: what it reads, draws and records, and the code that runs it.

use std::path::Path;
use std::sync::Arc;

use super::decode_job::Decode;
use super::decoder::DecoderSettings;
use super::error::{RenderError, option};
use super::noise_source::{NoiseNeed, NoiseStage};
use super::parts::{Part, PartFolders};
use super::recipe::{SamplerRecord, Size};
use super::request::DecoderChoice;
use crate::diffusion::{Scheduler, SchedulerConfig, SchedulerKind, Visit};
use crate::models::unet::UNetConfig;

/// What a decoder is conditioned on, beside the image embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecoderInputs {
    /// The caption of each image, and the negative prompt or the empty caption.
    pub captions: bool,
    /// The image embedding that guidance pushes away from: the prior's for the negative prompt, else that of the zero image.
    pub uncond: bool,
}

/// A stack's decoder for one call: every configuration is read and checked, no weights are loaded.
#[derive(Debug, Clone)]
pub struct DecoderPlan {
    /// The part that reads the image embedding.
    pub reader: Part,
    /// The width of image embeddings.
    pub d_clip: usize,
    /// What else it reads.
    pub inputs: DecoderInputs,
    /// The size of the images.
    pub size: Size,
    /// The decoder's sampling, as side files record it.
    pub record: SamplerRecord,
    /// The sampling of super-resolution, as side files record it.
    pub super_res: Option<SamplerRecord>,
    /// The parts that side files record, in the order of use.
    pub parts: Vec<Part>,
    /// The noise that each image takes.
    pub noise: Vec<NoiseNeed>,
    /// What decodes.
    pub decode: Arc<dyn Decode>,
}

/// A UNet with its sampler.
#[derive(Debug, Clone)]
pub struct SampledUNet {
    /// The network's configuration.
    pub config: UNetConfig,
    /// What samples it.
    pub scheduler: Scheduler,
    /// Steps, guidance, eta.
    pub settings: DecoderSettings,
}

impl SampledUNet {
    /// The UNet of a decoder with the call's choices, and with `n_steps`, `guidance` where it makes none.
    ///
    /// # Errors
    /// [`RenderError`] for a missing part, a configuration that cannot be read, settings out of range.
    pub fn decoder(
        folders: &PartFolders,
        choice: DecoderChoice,
        own: (usize, f64),
    ) -> Result<(Self, SamplerRecord), RenderError> {
        let unet = folders.part(Part::DECODER)?;
        let scheduler = folders.part(Part::DECODER_SCHEDULER)?;
        Self::read(unet, scheduler, choice, own).map_err(|e| option(e, &[("eta", "decoder-eta")]))
    }

    /// The UNet in `unet` and the sampler in `scheduler`, with the choices made and `n_steps`, `guidance` where none was.
    ///
    /// # Errors
    /// [`RenderError`] for a configuration that cannot be read or settings out of range.
    pub fn read(
        unet: &Path,
        scheduler: &Path,
        choice: DecoderChoice,
        (n_steps, guidance): (usize, f64),
    ) -> Result<(Self, SamplerRecord), RenderError> {
        let shipped = SchedulerConfig::read(scheduler)?;
        let config = choice.sampler.map_or(shipped, |s| shipped.sampled_by(s));
        let ddim = matches!(config.kind, SchedulerKind::Ddim { .. });
        let settings = DecoderSettings {
            n_steps: choice.n_steps.unwrap_or(n_steps),
            guidance: choice.guidance.unwrap_or(guidance),
            eta: choice.eta.unwrap_or(if ddim { 0.0 } else { 1.0 }),
            noise_level: 0,
        };
        settings.check()?;
        let scheduler = Scheduler::new(config);
        scheduler.visits(settings.n_steps)?;
        let record = SamplerRecord {
            settings,
            scheduler: shipped.to_json(),
            sampler: choice.sampler,
        };
        let config = UNetConfig::read(unet)?;
        Ok((
            Self {
                config,
                scheduler,
                settings,
            },
            record,
        ))
    }

    /// The noise that `visits` take for an image with `channels` of `[h, w]`: the initial latent, then a draw for each noisy step.
    pub fn noise(
        &self,
        stage: NoiseStage,
        visits: &[Visit],
        channels: usize,
        [h, w]: [usize; 2],
    ) -> NoiseNeed {
        NoiseNeed {
            stage,
            n_draws: n_draws(&self.scheduler, visits, self.settings.eta),
            row: vec![channels, h, w],
        }
    }
}

/// The draws of noise that `visits` take: the initial latent, then one for each noisy step.
pub fn n_draws(scheduler: &Scheduler, visits: &[Visit], eta: f64) -> usize {
    let noisy = |visit: &&Visit| scheduler.draws_noise(**visit, eta);
    1 + visits.iter().filter(noisy).count()
}
