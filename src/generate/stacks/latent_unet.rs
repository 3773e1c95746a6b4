//! A UNet, conditioned on the image embedding alone, that samples in a latent space: what Kandinsky 2.2 and the small decoders of pixels share.
//! Reference: diffusers `KandinskyV22Pipeline`, `KandinskyV22Img2ImgPipeline`.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::DType;
use image::RgbImage;

use crate::diffusion::{DrawNoise, Scheduler, Visit, sample_visits};
use crate::generate::decode_job::{Decode, DecodeJob, ToPixels};
use crate::generate::decoder::{DecoderSettings, denoiser};
use crate::generate::decoder_plan::{DecoderInputs, DecoderPlan, SampledUNet};
use crate::generate::error::{RenderError, conditioned, width};
use crate::generate::images::to_images;
use crate::generate::noise_source::{BatchNoise, NoiseStage};
use crate::generate::parts::{Part, PartFolders};
use crate::generate::prior::PriorError;
use crate::generate::recipe::Size;
use crate::generate::request::ImageRequest;
use crate::limits::{MAX_AREA, MAX_SIDE};
use crate::models::clip::ClipError;
use crate::models::clip::preprocess::{read_image, resize_bicubic_reducing};
use crate::models::unet::{Condition, Conditioning, UNet};

/// A latent space, as its configuration says.
pub trait LatentSpace: Debug + Send + Sync {
    /// Channels of the latents.
    fn channels(&self) -> usize;

    /// How many pixels, along each side, a latent stands for.
    fn scale(&self) -> usize;

    /// Latents along a side of `pixels`.
    fn side(&self, pixels: usize) -> usize;

    /// Width and height of images where the call names none, for a UNet that was trained on latents of `sample_size`.
    fn own_side(&self, sample_size: usize) -> usize;

    /// Loads the maps between latents and pixels from `dir`.
    ///
    /// # Errors
    /// [`RenderError`], naming the file, the key or the tensors.
    fn load(&self, dir: &Path, device: &Device) -> Result<Box<dyn Autoencoder>, RenderError>;
}

/// The maps between images and latents.
pub trait Autoencoder: Debug + Send + Sync {
    /// Its name in progress messages.
    fn name(&self) -> &'static str;

    /// Images `[batch, 3, scale h, scale w]` in -1..1 -> latents `[batch, channels, h, w]`.
    fn encode(&self, image: Tensor<4>) -> Tensor<4>;

    /// Latents `[batch, channels, h, w]` -> images `[batch, 3, scale h, scale w]`, about -1..1.
    fn decode(&self, latents: Tensor<4>) -> Tensor<4>;
}

/// The UNet and the latent space of a stack.
#[derive(Debug)]
pub struct LatentUNet {
    /// The part that holds the autoencoder.
    pub autoencoder: Part,
    /// Steps and guidance where a call names none.
    pub sampling: (usize, f64),
    /// Reads the configuration of the latent space in the autoencoder's folder.
    pub space: fn(&Path) -> Result<Box<dyn LatentSpace>, RenderError>,
}

impl LatentUNet {
    /// Reads the configuration of the latent space.
    ///
    /// # Errors
    /// [`RenderError::Layout`] if there is none, [`RenderError::Weights`] naming file and key.
    pub fn read_space(&self, folders: &PartFolders) -> Result<Box<dyn LatentSpace>, RenderError> {
        (self.space)(folders.part(self.autoencoder)?)
    }

    /// Plans a call: [`super::DecoderStack::plan`].
    ///
    /// # Errors
    /// [`RenderError`] for a part that is missing or does not fit, and for a size or a strength out of range.
    pub fn plan(&self, folders: &PartFolders, request: &ImageRequest) -> Result<DecoderPlan, RenderError> {
        let space = self.read_space(folders)?;
        let (decoder, record) = SampledUNet::decoder(folders, request.decoder, self.sampling)?;
        let (d_clip, latent, size) = self.sizes(folders, &decoder, &*space, request.size)?;
        let visits = match &request.init {
            Some((_, strength)) => {
                visits_of_strength(&decoder.scheduler, decoder.settings.n_steps, *strength)?
            }
            None => decoder.scheduler.visits(decoder.settings.n_steps)?,
        };
        Ok(DecoderPlan {
            reader: Part::DECODER,
            d_clip,
            inputs: DecoderInputs {
                captions: false,
                uncond: decoder.settings.guided(),
            },
            size,
            record,
            super_res: None,
            parts: vec![Part::DECODER, self.autoencoder],
            noise: vec![decoder.noise(NoiseStage::Decoder, &visits, decoder.config.in_channels, latent)],
            decode: Arc::new(LatentDecoder {
                autoencoder: self.autoencoder,
                decoder,
                space,
                latent,
            }),
        })
    }

    /// d_clip, height and width of the latents, and the size of the images.
    fn sizes(
        &self,
        folders: &PartFolders,
        decoder: &SampledUNet,
        space: &dyn LatentSpace,
        size: Option<Size>,
    ) -> Result<(usize, [usize; 2], Size), RenderError> {
        let unet_dir = folders.part(Part::DECODER)?;
        let Conditioning::Image { d_clip, .. } = decoder.config.conditioning else {
            return Err(conditioned(unet_dir, &decoder.config, "an image embedding"));
        };
        width(
            "the number of latent channels",
            (folders.part(self.autoencoder)?, space.channels()),
            (unet_dir, decoder.config.in_channels),
        )?;
        let own = space.own_side(decoder.config.sample_size);
        let asked = size.unwrap_or(Size {
            width: own,
            height: own,
        });
        for (name, side) in [("width", asked.width), ("height", asked.height)] {
            let expected = match side {
                _ if side > MAX_SIDE || asked.width.saturating_mul(asked.height) > MAX_AREA => {
                    "at most 4096, and width times height at most 2048 x 2048"
                }
                0 => "at least 1",
                _ => continue,
            };
            return Err(PriorError::Setting {
                name,
                expected,
                found: if side == 0 { "0".into() } else { asked.to_string() },
            }
            .into());
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
}

/// The decoder of a call.
#[derive(Debug)]
struct LatentDecoder {
    autoencoder: Part,
    decoder: SampledUNet,
    space: Box<dyn LatentSpace>,
    /// Height and width of the latents.
    latent: [usize; 2],
}

impl Decode for LatentDecoder {
    fn decode(&self, mut job: DecodeJob<'_>) -> Result<ToPixels, RenderError> {
        let dir = job.folders.part(self.autoencoder)?;
        let start = self.start(dir, &mut job)?;
        let latents = self.latents(&start, &mut job)?;
        let autoencoder = self.space.load(dir, job.device)?;
        job.output.stage(autoencoder.name(), job.z_x.len());
        let mut row = 0;
        for latents in latents {
            // One by one: at full size this takes more memory than the UNet.
            for latents in latents.split(1, 0) {
                for image in to_images(autoencoder.decode(latents))? {
                    job.output.progress();
                    job.output.image(row, &image)?;
                    row += 1;
                }
            }
        }
        Ok(Box::new(move |x| autoencoder.decode(x)))
    }
}

impl LatentDecoder {
    /// Noise, or the latents of the image to start from.
    fn start(&self, dir: &Path, job: &mut DecodeJob<'_>) -> Result<Start, RenderError> {
        let Some(init) = job.init else {
            return Ok(Start::Noise(self.latent));
        };
        job.output.stage("image encoder", 1);
        let autoencoder = self.space.load(dir, job.device)?;
        let image = read_image(&init.image.path).map_err(ClipError::from)?;
        let [h, w] = self.latent.map(|side| side * self.space.scale());
        let latents = autoencoder.encode(image_tensor(&image, w, h, job.device));
        job.output.progress();
        Ok(Start::Image {
            latents,
            strength: init.strength,
        })
    }

    /// The latents of each batch.
    fn latents(&self, start: &Start, job: &mut DecodeJob<'_>) -> Result<Vec<Tensor<4>>, RenderError> {
        let SampledUNet {
            config,
            scheduler,
            settings,
        } = &self.decoder;
        let n_steps = match start {
            Start::Noise(_) => settings.n_steps,
            Start::Image { strength, .. } => {
                visits_of_strength(scheduler, settings.n_steps, *strength)?.len()
            }
        };
        let (_, unet) = UNet::load(job.folders.part(Part::DECODER)?, job.device)?;
        let n_batches = job.n_batches();
        job.output.stage("decoder", n_batches * n_steps);
        let mut noise = job.noise(NoiseStage::Decoder);
        let mut latents = Vec::new();
        for rows in job.batches() {
            let (z_x, uncond) = (job.z_x(rows.clone()), job.uncond(rows.clone()));
            latents.push(decode(
                &unet,
                config.in_channels,
                scheduler,
                z_x,
                uncond,
                start,
                *settings,
                &mut BatchNoise(&mut noise[rows.clone()]),
                |x| job.output.step(rows.clone(), "decoder_steps", x),
            )?);
        }
        Ok(latents)
    }
}

/// Where sampling starts.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one a batch")]
pub enum Start {
    /// From noise: latents of this height and width.
    Noise([usize; 2]),
    /// From the noised latents of an image, one row or one for each; a fraction `strength` of the steps is taken.
    Image {
        /// `[1 or batch, channels, h, w]`
        latents: Tensor<4>,
        /// In 0..=1: 1 takes every step.
        strength: f64,
    },
}

/// The last `strength` of the steps: all of them at 1.
///
/// # Errors
/// [`PriorError::Setting`] for a strength outside 0..=1, or so small that no step is left.
pub fn visits_of_strength(
    scheduler: &Scheduler,
    n_steps: usize,
    strength: f64,
) -> Result<Vec<Visit>, PriorError> {
    if !(0.0..=1.0).contains(&strength) {
        return Err(PriorError::Setting {
            name: "strength",
            expected: "in 0..=1",
            found: strength.to_string(),
        });
    }
    let visits = scheduler.visits(n_steps)?;
    // The reference truncates.
    let taken = (n_steps as f64 * strength) as usize;
    if taken == 0 {
        return Err(PriorError::Setting {
            name: "strength",
            expected: "at least 1 / steps, so that a step is left",
            found: format!("{strength} of {n_steps} steps"),
        });
    }
    Ok(visits[n_steps - taken..].to_vec())
}

/// Samples latents `[batch, channels, h, w]` for `z_x` `[batch, d_clip]`. `uncond` is what guidance pushes away from, needed if `settings` guide: the
/// embedding of the zero image or of a negative prompt, one row an image. `channels` are the latents'. `on_step(x)` sees every step.
///
/// # Errors
/// [`PriorError`] for a strength out of range, noise that runs out, a number of steps the schedule cannot give.
///
/// # Panics
/// If `settings` guide without `uncond`.
#[expect(
    clippy::too_many_arguments,
    reason = "network, sampler, condition and noise are four things"
)]
pub fn decode(
    unet: &UNet,
    channels: usize,
    scheduler: &Scheduler,
    z_x: Tensor<2>,
    uncond: Option<Tensor<2>>,
    start: &Start,
    settings: DecoderSettings,
    noise: &mut impl DrawNoise<4>,
    mut on_step: impl FnMut(&Tensor<4>),
) -> Result<Tensor<4>, PriorError> {
    settings.check()?;
    let (batch, device) = (z_x.dims()[0], z_x.device());
    let (first, visits) = match start {
        Start::Noise([h, w]) => (
            noise.draw([batch, channels, *h, *w], &device)?,
            scheduler.visits(settings.n_steps)?,
        ),
        Start::Image { latents, strength } => {
            let visits = visits_of_strength(scheduler, settings.n_steps, *strength)?;
            let [_, channels, h, w] = latents.dims();
            let latents = latents.clone().expand([batch, channels, h, w]);
            let eps = noise.draw([batch, channels, h, w], &device)?;
            let t = vec![visits[0].t; batch];
            (scheduler.schedule().add_noise(latents, eps, &t), visits)
        }
    };
    let condition = match settings.guided() {
        true => Tensor::cat(
            vec![
                uncond.expect("guidance needs an embedding to push away from"),
                z_x,
            ],
            0,
        ),
        false => z_x,
    };
    let condition = Condition::NoisyImage {
        levels: vec![settings.noise_level as f64; condition.dims()[0]],
        z_x: condition,
    };
    let denoise = denoiser(unet, condition, settings);
    Ok(sample_visits(
        scheduler,
        first,
        &visits,
        settings.eta,
        denoise,
        noise,
        |_, _, step| on_step(&step.x_prev),
    )?)
}

/// An image as an autoencoder's encoder takes it: scaled to `width` x `height` whatever its proportions, `[1, 3, height, width]` in -1..1.
/// (The reference swaps width and height here.)
pub fn image_tensor(image: &RgbImage, width: usize, height: usize, device: &Device) -> Tensor<4> {
    let image = resize_bicubic_reducing(image, width as u32, height as u32);
    let mut values = vec![0.0f32; 3 * width * height];
    for (x, y, pixel) in image.enumerate_pixels() {
        for (c, value) in pixel.0.iter().enumerate() {
            let at = (c * height + y as usize) * width + x as usize;
            values[at] = f32::from(*value) / 255.0 * 2.0 - 1.0;
        }
    }
    let values = TensorData::new(values, [1, 3, height, width]);
    Tensor::from_data(values, (device, DType::F32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::SchedulerConfig;

    #[test]
    fn strength_takes_the_last_steps() {
        let scheduler = Scheduler::new(SchedulerConfig::diffusion_baseline());
        let all = scheduler.visits(10).expect("10 steps");
        let of = |strength| visits_of_strength(&scheduler, 10, strength).map_err(|e| e.to_string());
        assert_eq!(of(1.0), Ok(all.clone()));
        assert_eq!(of(0.39), Ok(all[7..].to_vec()));
        let error = |s: &str| Err(format!("strength must be {s}"));
        assert_eq!(of(1.1), error("in 0..=1, found 1.1"));
        assert_eq!(of(f64::NAN), error("in 0..=1, found NaN"));
        assert_eq!(
            of(0.09),
            error("at least 1 / steps, so that a step is left, found 0.09 of 10 steps")
        );
    }
}
