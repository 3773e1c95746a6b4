//! The networks of a stack as a call samples them: their configurations, read and held against each other, and the noise they draw.

use std::path::Path;

use super::decoder::DecoderSettings;
use super::draws::{Need, Stage};
use super::error::{RenderError, conditioned, no_such, option, width};
use super::kandinsky::visits_of_strength;
use super::latents::LatentSpace;
use super::layout::{Layout, Part, Stack};
use super::prior::{PriorError, PriorSettings, scheduler_of};
use super::recipe::{Init, PriorRecord, SamplerRecord, Size};
use super::request::{DecoderChoice, Request, SUPER_RES_STEPS};
use crate::diffusion::{DiffusionError, FlowConfig, Scheduler, SchedulerConfig, SchedulerKind, Visit};
use crate::limits::{MAX_AREA, MAX_SIDE};
use crate::models::prior::PriorConfig;
use crate::models::text_proj::TextProjConfig;
use crate::models::unet::{Conditioning, UNetConfig};

/// A UNet with its sampler.
#[derive(Debug, Clone)]
pub(super) struct Sampled {
    pub(super) config: UNetConfig,
    pub(super) scheduler: Scheduler,
    pub(super) settings: DecoderSettings,
}

/// What only one stack has.
#[derive(Debug, Clone)]
pub(super) enum Finish {
    /// Karlo.
    SuperRes(Box<Sampled>),
    /// Kandinsky 2.2, and small decoders of pixels: height and width of the latents.
    Latents { latent: [usize; 2] },
}

impl Sampled {
    /// The UNet in `unet` and the sampler in `scheduler`, with the choices made and `n_steps`, `guidance` where none was.
    pub(super) fn read(
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

    /// Draws of the visits, and the initial latent.
    fn n_draws(&self, visits: &[Visit]) -> usize {
        let draws = |v: &&Visit| self.scheduler.draws_noise(**v, self.settings.eta);
        1 + visits.iter().filter(draws).count()
    }

    fn visits(&self) -> Result<Vec<Visit>, DiffusionError> {
        self.scheduler.visits(self.settings.n_steps)
    }
}

/// All that turns z_x into a picture.
#[derive(Debug)]
pub(super) struct DecoderSide {
    pub(super) decoder: Sampled,
    pub(super) record: SamplerRecord,
    pub(super) finish: Finish,
    /// What is recorded of super-resolution.
    pub(super) super_res: Option<SamplerRecord>,
    /// The part that reads z_x.
    pub(super) reader: Part,
    /// And its width.
    pub(super) d_clip: usize,
    /// Of the pictures.
    pub(super) size: Size,
    /// What was asked for, where it had to be rounded up.
    pub(super) asked: Option<Size>,
}

impl DecoderSide {
    /// What `request` needs of `layout`, with the stack's own settings where it makes no choice.
    pub(super) fn read(layout: &Layout, request: &Request) -> Result<Self, RenderError> {
        let sampled = |own| {
            let (unet, scheduler) = (layout.part(Part::Decoder)?, layout.part(Part::DecoderScheduler)?);
            Sampled::read(unet, scheduler, request.decoder, own)
                .map_err(|e| option(e, &[("eta", "decoder-eta")]))
        };
        if layout.stack() == Stack::Karlo {
            let (decoder, record) = sampled((25, 8.0))?;
            let (d_clip, super_res, super_record) = karlo_side(layout, &decoder, request)?;
            let side = super_res.config.sample_size;
            let size = Size {
                width: side,
                height: side,
            };
            if request.size.is_some_and(|asked| asked != size) {
                let reason = format!("this Karlo draws {size} pixels, nothing else");
                return Err(no_such("size", reason));
            }
            if request.init.is_some() {
                return Err(no_such("init", "Karlo has no image-to-image; Kandinsky 2.2 has"));
            }
            return Ok(Self {
                decoder,
                record,
                finish: Finish::SuperRes(Box::new(super_res)),
                super_res: Some(super_record),
                reader: Part::TextProj,
                d_clip,
                size,
                asked: None,
            });
        }
        let space = LatentSpace::read(layout)?;
        let (decoder, record) = sampled(space.own_sampling())?;
        let (d_clip, latent, size) = kandinsky_side(layout, &decoder, &space, request.size)?;
        Ok(Self {
            decoder,
            record,
            finish: Finish::Latents { latent },
            super_res: None,
            reader: Part::Decoder,
            d_clip,
            size,
            asked: request.size.filter(|asked| *asked != size),
        })
    }

    /// The parts whose weights it uses.
    pub(super) fn parts(&self, layout: &Layout) -> Vec<Part> {
        match &self.finish {
            Finish::SuperRes(_) => vec![
                Part::TextProj,
                Part::Decoder,
                Part::SuperResFirst,
                Part::SuperResLast,
            ],
            Finish::Latents { .. } => vec![Part::Decoder, LatentSpace::part(layout)],
        }
    }
}

/// Karlo's text projection and super-resolution: d_clip, the networks' sampling and its record.
fn karlo_side(
    layout: &Layout,
    decoder: &Sampled,
    request: &Request,
) -> Result<(usize, Sampled, SamplerRecord), RenderError> {
    let unet_dir = layout.part(Part::Decoder)?;
    let proj_dir = layout.part(Part::TextProj)?;
    let proj = TextProjConfig::read(proj_dir)?;
    let Conditioning::Tokens { d_cross, .. } = decoder.config.conditioning else {
        return Err(conditioned(unet_dir, &decoder.config, "text tokens"));
    };
    width(
        "`cross_attention_dim`",
        (proj_dir, proj.d_cross),
        (unet_dir, d_cross),
    )?;
    let d_time = decoder.config.d_time();
    width(
        "the width of the time embedding",
        (proj_dir, proj.d_time),
        (unet_dir, d_time),
    )?;
    let (first, last) = (
        layout.part(Part::SuperResFirst)?,
        layout.part(Part::SuperResLast)?,
    );
    let choice = DecoderChoice {
        n_steps: Some(request.super_res_steps),
        guidance: Some(1.0),
        eta: Some(1.0),
        sampler: None,
    };
    let scheduler = layout.part(Part::SuperResScheduler)?;
    let (super_res, record) = Sampled::read(first, scheduler, choice, (SUPER_RES_STEPS, 1.0))
        .map_err(|e| option(e, &[("steps", "super-res-steps")]))?;
    for (dir, config) in [(first, super_res.config.clone()), (last, UNetConfig::read(last)?)] {
        if config.conditioning != Conditioning::None {
            return Err(conditioned(dir, &config, "nothing"));
        }
        let pictures = config.in_channels / 2;
        width(
            "the number of colour channels",
            (dir, pictures),
            (unet_dir, decoder.config.in_channels),
        )?;
        width(
            "`sample_size`",
            (dir, config.sample_size),
            (first, super_res.config.sample_size),
        )?;
    }
    Ok((proj.d_clip, super_res, record))
}

/// Kandinsky's latents: d_clip, height and width of the latents, and the size of the picture they make.
fn kandinsky_side(
    layout: &Layout,
    decoder: &Sampled,
    space: &LatentSpace,
    size: Option<Size>,
) -> Result<(usize, [usize; 2], Size), RenderError> {
    let unet_dir = layout.part(Part::Decoder)?;
    let Conditioning::Image { d_clip, .. } = decoder.config.conditioning else {
        return Err(conditioned(unet_dir, &decoder.config, "an image embedding"));
    };
    width(
        "the number of latent channels",
        (layout.part(LatentSpace::part(layout))?, space.channels()),
        (unet_dir, decoder.config.in_channels),
    )?;
    let own = space.own_side(decoder.config.sample_size);
    let asked = size.unwrap_or(Size {
        width: own,
        height: own,
    });
    for (name, side) in [("width", asked.width), ("height", asked.height)] {
        if side > MAX_SIDE || asked.width.saturating_mul(asked.height) > MAX_AREA {
            return Err(PriorError::Setting {
                name,
                expected: "at most 4096, and width times height at most 2048 x 2048",
                found: asked.to_string(),
            }
            .into());
        }
        if side == 0 {
            return Err(PriorError::Setting {
                name,
                expected: "at least 1",
                found: "0".into(),
            }
            .into());
        }
    }
    // The UNet halves the latents: published ones need no more than MoVQ's rule gives.
    let multiple = decoder.config.size_multiple();
    let side = |pixels| space.side(pixels).next_multiple_of(multiple);
    let latent = [side(asked.height), side(asked.width)];
    let size = Size {
        width: latent[1] * space.scale(),
        height: latent[0] * space.scale(),
    };
    Ok((d_clip, latent, size))
}

/// What is recorded of the prior in `dir`, and how often it draws noise.
pub(super) fn prior_side(
    dir: &Path,
    config: &PriorConfig,
    settings: PriorSettings,
) -> Result<(PriorRecord, usize), RenderError> {
    if !config.has_time() {
        return Ok((PriorRecord::OnePass, 1));
    }
    let folder = scheduler_of(dir)?;
    if let Some(flow) = FlowConfig::read_if_flow(&folder)? {
        let scheduler = flow.to_json();
        return Ok((PriorRecord::Diffusion { settings, scheduler }, 1));
    }
    let scheduler = Scheduler::read(folder)?;
    let visits = scheduler.visits(settings.n_steps)?;
    let draws = |v: &&Visit| scheduler.draws_noise(**v, settings.eta);
    let n_draws = 1 + visits.iter().filter(draws).count();
    let scheduler = scheduler.config().to_json();
    Ok((PriorRecord::Diffusion { settings, scheduler }, n_draws))
}

pub(super) fn decoder_needs(
    decoder: &Sampled,
    finish: &Finish,
    init: Option<&Init>,
) -> Result<Vec<Need>, RenderError> {
    let channels = decoder.config.in_channels;
    let need = |stage, sampled: &Sampled, visits: &[Visit], [h, w]: [usize; 2]| Need {
        stage,
        n_draws: sampled.n_draws(visits),
        row: vec![channels, h, w],
    };
    let visits = match init {
        Some(init) => visits_of_strength(&decoder.scheduler, decoder.settings.n_steps, init.strength)?,
        None => decoder.visits()?,
    };
    Ok(match finish {
        Finish::SuperRes(super_res) => {
            let (small, large) = (decoder.config.sample_size, super_res.config.sample_size);
            vec![
                need(Stage::Decoder, decoder, &visits, [small; 2]),
                need(Stage::SuperRes, super_res, &super_res.visits()?, [large; 2]),
            ]
        }
        Finish::Latents { latent } => vec![need(Stage::Decoder, decoder, &visits, *latent)],
    })
}
