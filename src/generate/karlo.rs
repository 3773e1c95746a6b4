//! Karlo's decoder: an image embedding and a caption to 64 x 64 pixels, then to 256 x 256 by super-resolution.
//! Reference: diffusers `UnCLIPPipeline`.
//!
//! Every function works on one batch with one network at hand, so that a caller can hold one network at a time.

use burn::prelude::*;

use super::decoder::{DecoderSettings, denoiser};
use super::prior::stack;
use crate::diffusion::{DiffusionError, DrawNoise, Scheduler, Visit, sample_visits};
use crate::models::prior::TextCondition;
use crate::models::text_proj::TextProj;
use crate::models::unet::{Condition, UNet, UNetConfig};
use crate::nn::upscale_bicubic;

/// What the decoder reads: `z_x` `[batch, d_clip]` and the captions. With `away`, the captions of the unconditional half (the empty one), whose z_x is a
/// learned vector, there are `2 batch` rows, that half first.
pub fn condition(
    text_proj: &TextProj,
    z_x: Tensor<2>,
    text: TextCondition,
    away: Option<TextCondition>,
) -> Condition {
    let guided = away.is_some();
    let text = match away {
        Some(away) => stack(away, text),
        None => text,
    };
    let [rows, n_text, _] = text.tokens.dims();
    let (tokens, class) = text_proj.forward(z_x, text.z_y, text.tokens, guided);
    let n_extra = tokens.dims()[1] - n_text;
    // The tokens made of z_x come first and always count.
    let mask = text.mask.map(|mask| {
        let mask = mask.values();
        let extra = Tensor::ones([rows, n_extra], (&mask.device(), mask.dtype()));
        Tensor::cat(vec![extra, mask], 1)
    });
    Condition::Tokens { tokens, mask, class }
}

/// Draws `batch` small pictures `[batch, 3, h, w]`, clamped to -1..1; h and w are the decoder's `sample_size`. `condition` has twice the rows if
/// `settings` guide. `on_step(x)` sees every step.
///
/// # Errors
/// [`DiffusionError`]: noise that runs out, a number of steps the schedule cannot give.
pub fn decode(
    (config, unet): (&UNetConfig, &UNet),
    scheduler: &Scheduler,
    batch: usize,
    condition: Condition,
    settings: DecoderSettings,
    noise: &mut impl DrawNoise<4>,
    mut on_step: impl FnMut(&Tensor<4>),
) -> Result<Tensor<4>, DiffusionError> {
    let device = match &condition {
        Condition::Tokens { class, .. } => class.device(),
        Condition::Image(z_x) | Condition::NoisyImage { z_x, .. } => z_x.device(),
        Condition::None => unreachable!("Karlo's decoder reads tokens"),
    };
    let side = config.sample_size;
    let first = noise.draw([batch, config.in_channels, side, side], &device)?;
    let denoise = denoiser(unet, condition, settings);
    let visits = scheduler.visits(settings.n_steps)?;
    let x = sample_visits(
        scheduler,
        first,
        &visits,
        settings.eta,
        denoise,
        noise,
        |_, _, step| on_step(&step.x_prev),
    )?;
    Ok(x.clamp(-1.0, 1.0))
}

/// Super-resolution in progress.
#[derive(Debug, Clone)]
pub struct SuperRes {
    x: Tensor<4>,
    /// The small picture at the large size.
    upscaled: Tensor<4>,
}

impl SuperRes {
    /// Starts from noise of the large size, `[batch, 3, side, side]`, beside the enlarged `small` pictures; `config` is either network's.
    ///
    /// # Errors
    /// [`DiffusionError`] for noise that runs out.
    pub fn begin(
        small: Tensor<4>,
        config: &UNetConfig,
        noise: &mut impl DrawNoise<4>,
    ) -> Result<Self, DiffusionError> {
        let [batch, channels, _, _] = small.dims();
        let side = config.sample_size;
        let x = noise.draw([batch, channels, side, side], &small.device())?;
        let upscaled = upscale_bicubic(small, [side, side], true);
        Ok(Self { x, upscaled })
    }

    /// Takes the steps `visits` with `unet`: all but the last are the first network's, the last is the second's.
    ///
    /// # Errors
    /// [`DiffusionError`] for noise that runs out.
    pub fn advance(
        self,
        unet: &UNet,
        scheduler: &Scheduler,
        visits: &[Visit],
        noise: &mut impl DrawNoise<4>,
        mut on_step: impl FnMut(&Tensor<4>),
    ) -> Result<Self, DiffusionError> {
        let Self { x, upscaled } = self;
        let batch = x.dims()[0];
        let denoise = |x: Tensor<4>, t: usize| {
            let upscaled = upscaled.clone();
            unet.forward(
                Self { x, upscaled }.input(),
                &vec![t as f64; batch],
                Condition::None,
            )
        };
        let x = sample_visits(scheduler, x, visits, 1.0, denoise, noise, |_, _, step| {
            on_step(&step.x_prev)
        })?;
        Ok(Self { x, upscaled })
    }

    /// What the networks read: the sample and the enlarged picture, `[batch, 6, side, side]`.
    pub fn input(&self) -> Tensor<4> {
        Tensor::cat(vec![self.x.clone(), self.upscaled.clone()], 1)
    }

    /// The pictures, `[batch, 3, side, side]`, about -1..1.
    pub fn finish(self) -> Tensor<4> {
        self.x
    }
}
