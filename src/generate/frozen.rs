//! A decoder without a text side, loaded once and used for many pictures: what evaluations draw with.

use std::path::Path;

use burn::prelude::*;
use image::RgbImage;

use super::decoder::DecoderSettings;
use super::draws::{RowNoise, Rows, Stage};
use super::error::{RenderError, conditioned};
use super::kandinsky::{self, Start, cached_zero_image};
use super::latents::{Autoencoder, LatentSpace};
use super::layout::{Layout, Part};
use super::picture::to_pictures;
use super::prior::PriorError;
use crate::diffusion::{DrawNoise, Scheduler};
use crate::models::noise_augmentation::NoiseAugmentation;
use crate::models::unet::{Conditioning, UNet, UNetConfig};

/// Pictures drawn at once: bounds memory, not results.
const BATCH: usize = 32;

/// A decoder that draws from z_x alone, as `eclipse pretrain` makes them: the UNet, its scheduler, the maps between latents and pixels and the zero
/// picture's embedding, which stands for the CLIP that is not there.
#[derive(Debug)]
pub struct FrozenDecoder {
    config: UNetConfig,
    unet: UNet,
    scheduler: Scheduler,
    autoencoder: Autoencoder,
    zero: Vec<f32>,
    clip: String,
    augmentation: Option<NoiseAugmentation>,
    own: DecoderSettings,
}

impl FrozenDecoder {
    /// Loads the pipeline in `dir`.
    ///
    /// # Errors
    /// [`RenderError`], naming the part, the file, the key or the tensors: also for Karlo's decoder, which needs text, and when the zero picture's
    /// embedding is missing.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, RenderError> {
        let layout = Layout::open(dir, None, None)?;
        let unet_dir = layout.part(Part::Decoder)?;
        let (config, unet) = UNet::load(unet_dir, device)?;
        let Conditioning::Image { d_clip, .. } = config.conditioning else {
            return Err(conditioned(unet_dir, &config, "an image embedding"));
        };
        let folder = layout.part(Part::ImageEncoder)?;
        let (zero, clip) =
            cached_zero_image(folder, d_clip, "f32").ok_or_else(|| RenderError::Embeddings {
                path: folder.join(kandinsky::ZERO_IMAGE),
                reason: format!("expected the zero picture's embedding, {d_clip} values in f32"),
            })?;
        let (n_steps, guidance) = LatentSpace::read(&layout)?.own_sampling();
        let augmentation = match config.conditioning.has_noise_level() {
            true => Some(NoiseAugmentation::load(dir, d_clip)?),
            false => None,
        };
        Ok(Self {
            config,
            unet,
            augmentation,
            scheduler: Scheduler::read(layout.part(Part::DecoderScheduler)?)?,
            autoencoder: Autoencoder::load(&layout, device)?,
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

    /// Width of the embeddings that it draws from.
    pub fn d_clip(&self) -> usize {
        self.zero.len()
    }

    /// Fingerprint of the CLIP whose z_x it was trained on.
    pub fn clip(&self) -> &str {
        &self.clip
    }

    /// How it draws when nobody says otherwise; eta 0, so that a picture has one draw of noise.
    pub fn own_settings(&self) -> DecoderSettings {
        self.own
    }

    /// Draws a picture for each row of `z_x` `[n, d_clip]`. Row `i` has the noise of `seeds[i]`, whatever else is drawn beside it.
    ///
    /// # Errors
    /// [`RenderError`] for settings out of range, or values that are no pixels (a UNet that diverged).
    pub fn draw(
        &self,
        z_x: &Tensor<2>,
        seeds: &[u64],
        settings: DecoderSettings,
    ) -> Result<Vec<RgbImage>, RenderError> {
        let ([n, d_clip], device) = (z_x.dims(), z_x.device());
        assert_eq!(seeds.len(), n, "one seed a row");
        let z_x = &match (&self.augmentation, settings.noise_level) {
            (_, 0) => z_x.clone(),
            (Some(augmentation), level) => {
                let mut noise: Vec<RowNoise> = seeds
                    .iter()
                    .map(|&seed| RowNoise::seeded(seed, Stage::Augmentation))
                    .collect();
                let eps: Tensor<2> = Rows(&mut noise)
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
        let mut pictures = Vec::with_capacity(n);
        for (i, seeds) in seeds.chunks(BATCH).enumerate() {
            let rows = i * BATCH..i * BATCH + seeds.len();
            let mut noise: Vec<RowNoise> = seeds
                .iter()
                .map(|&s| RowNoise::seeded(s, Stage::Decoder))
                .collect();
            let latents = kandinsky::decode(
                &self.unet,
                self.config.in_channels,
                &self.scheduler,
                z_x.clone().slice([rows]),
                settings
                    .guided()
                    .then(|| zero.clone().expand([seeds.len(), d_clip])),
                &Start::Noise([self.config.sample_size; 2]),
                settings,
                &mut Rows(&mut noise),
                |_| (),
            )?;
            pictures.extend(to_pictures(self.autoencoder.decode(latents))?);
        }
        Ok(pictures)
    }
}
