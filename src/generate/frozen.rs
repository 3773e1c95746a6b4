//! A decoder that reads image embeddings alone, loaded once and used for many images: evaluations draw with it.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use image::RgbImage;

use super::decoder::DecoderSettings;
use super::error::{RenderError, conditioned};
use super::images::to_images;
use super::layout::PipelineLayout;
use super::noise_source::{BatchNoise, NoiseStage, RowNoise};
use super::parts::Part;
use super::prior::PriorError;
use super::stacks::latent_unet::{self, Autoencoder, LatentUNet, Start};
use super::zero_image::{ZERO_IMAGE, cached_zero_image};
use crate::diffusion::{DrawNoise, Scheduler};
use crate::models::noise_augmentation::NoiseAugmentation;
use crate::models::unet::{Conditioning, UNet, UNetConfig};
use crate::weights;

/// Images that are drawn at once. Limits memory; results do not depend on it.
const BATCH: usize = 32;

/// A decoder that draws from z_x alone, as `eclipse pretrain` makes them: the UNet, its scheduler, the maps between latents and pixels and the zero
/// image's embedding, so that no CLIP is needed.
#[derive(Debug)]
pub struct FrozenDecoder {
    config: UNetConfig,
    unet: UNet,
    scheduler: Scheduler,
    autoencoder: Box<dyn Autoencoder>,
    zero: Vec<f32>,
    clip: String,
    augmentation: Option<NoiseAugmentation>,
    own: DecoderSettings,
}

impl FrozenDecoder {
    /// Loads the pipeline in `dir`.
    ///
    /// # Errors
    /// [`RenderError`], naming the part, the file, the key or the tensors: also for a decoder that reads text, and when the zero image's
    /// embedding is missing.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, RenderError> {
        let dir = &weights::folder(dir)?;
        let layout = PipelineLayout::open(dir, None, None)?;
        let latent = latent_unet_of(&layout)?;
        let unet_dir = layout.part(Part::DECODER)?;
        let (config, unet) = UNet::load(unet_dir, device)?;
        let Conditioning::Image { d_clip, .. } = config.conditioning else {
            return Err(conditioned(unet_dir, &config, "an image embedding"));
        };
        let folder = layout.part(Part::IMAGE_ENCODER)?;
        let (zero, clip) =
            cached_zero_image(folder, d_clip, "f32").ok_or_else(|| RenderError::Embeddings {
                path: folder.join(ZERO_IMAGE),
                reason: format!("expected the zero image's embedding, {d_clip} values in f32"),
            })?;
        let (n_steps, guidance) = latent.sampling;
        let augmentation = match config.conditioning.has_noise_level() {
            true => Some(NoiseAugmentation::load(dir, d_clip)?),
            false => None,
        };
        Ok(Self {
            config,
            unet,
            augmentation,
            scheduler: Scheduler::read(layout.part(Part::DECODER_SCHEDULER)?)?,
            autoencoder: latent
                .read_space(layout.folders())?
                .load(layout.part(latent.autoencoder)?, device)?,
            zero,
            clip,
            own: DecoderSettings {
                n_steps,
                guidance,
                eta: 0.0,
                noise_level: 0,
            },
        })
    }

    /// The folders that a decoder like this in `dir` is read from, by part.
    ///
    /// # Errors
    /// [`RenderError::Layout`], naming the part.
    pub fn folders(dir: &Path) -> Result<Vec<(Part, PathBuf)>, RenderError> {
        let layout = PipelineLayout::open(dir, None, None)?;
        let parts = [
            Part::DECODER,
            Part::DECODER_SCHEDULER,
            latent_unet_of(&layout)?.autoencoder,
            Part::IMAGE_ENCODER,
        ];
        let folder = |part| Ok((part, layout.part(part)?.to_path_buf()));
        parts.into_iter().map(folder).collect()
    }

    /// Width of the embeddings that it draws from.
    pub fn d_clip(&self) -> usize {
        self.zero.len()
    }

    /// Fingerprint of the CLIP whose z_x it was trained on.
    pub fn clip(&self) -> &str {
        &self.clip
    }

    /// The settings that the stack has for itself, with eta 0: an image then takes one draw of noise.
    pub fn own_settings(&self) -> DecoderSettings {
        self.own
    }

    /// Draws an image for each row of `z_x` `[n, d_clip]`. Row `i` has the noise of `seeds[i]`, and does not depend on the other rows.
    ///
    /// # Errors
    /// [`RenderError`] for settings out of range, or pixels that are not finite.
    pub fn draw(
        &self,
        z_x: &Tensor<2>,
        seeds: &[u64],
        settings: DecoderSettings,
    ) -> Result<Vec<RgbImage>, RenderError> {
        self.draw_with(z_x, seeds, settings, || ())
    }

    /// [`FrozenDecoder::draw`] that calls `on_step` after each step of each batch.
    ///
    /// # Errors
    /// Like [`FrozenDecoder::draw`].
    pub fn draw_with(
        &self,
        z_x: &Tensor<2>,
        seeds: &[u64],
        settings: DecoderSettings,
        mut on_step: impl FnMut(),
    ) -> Result<Vec<RgbImage>, RenderError> {
        let ([n, d_clip], device) = (z_x.dims(), z_x.device());
        assert_eq!(seeds.len(), n, "one seed a row");
        let z_x = &match (&self.augmentation, settings.noise_level) {
            (_, 0) => z_x.clone(),
            (Some(augmentation), level) => {
                let mut noise: Vec<RowNoise> = seeds
                    .iter()
                    .map(|&seed| RowNoise::seeded(seed, NoiseStage::Augmentation))
                    .collect();
                let eps: Tensor<2> = BatchNoise(&mut noise)
                    .draw([n, d_clip], &device)
                    .map_err(PriorError::from)?;
                augmentation.add(z_x.clone(), eps, &vec![level; n])
            }
            (None, level) => {
                return Err(PriorError::Setting {
                    name: "noise_level",
                    expected: "0, because this decoder was not trained with noise augmentation",
                    found: level.to_string(),
                }
                .into());
            }
        };
        let zero = Tensor::<1>::from_floats(self.zero.as_slice(), &device).reshape([1, d_clip]);
        let mut images = Vec::with_capacity(n);
        for (i, seeds) in seeds.chunks(BATCH).enumerate() {
            let rows = i * BATCH..i * BATCH + seeds.len();
            let mut noise: Vec<RowNoise> = seeds
                .iter()
                .map(|&s| RowNoise::seeded(s, NoiseStage::Decoder))
                .collect();
            let latents = latent_unet::decode(
                &self.unet,
                self.config.in_channels,
                &self.scheduler,
                z_x.clone().slice([rows]),
                settings
                    .guided()
                    .then(|| zero.clone().expand([seeds.len(), d_clip])),
                &Start::Noise([self.config.sample_size; 2]),
                settings,
                &mut BatchNoise(&mut noise),
                |_| on_step(),
            )?;
            images.extend(to_images(self.autoencoder.decode(latents))?);
        }
        Ok(images)
    }
}

/// The UNet and the latent space of a stack that draws from image embeddings alone.
fn latent_unet_of(layout: &PipelineLayout) -> Result<&'static LatentUNet, RenderError> {
    let stack = layout.stack();
    stack.latent_unet().ok_or_else(|| {
        let found = stack.about().name;
        RenderError::Stack {
            name: "decoder",
            reason: format!("expected one that draws from image embeddings alone, found {found}"),
        }
    })
}
