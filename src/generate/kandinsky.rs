//! Kandinsky 2.2's decoder: an image embedding to latents; MoVQ makes a picture of them.
//! Reference: diffusers `KandinskyV22Pipeline`, `KandinskyV22Img2ImgPipeline`.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use image::RgbImage;

use super::decoder::{DecoderSettings, denoiser};
use super::prior::PriorError;
use super::recipe::absolute;
use crate::diffusion::{DrawNoise, Scheduler, Visit, sample_visits};
use crate::files::{self, FileError};
use crate::limits::{NotFinite, finite};
use crate::models::clip::ImageEncoder;
use crate::models::clip::preprocess::resize_bicubic_reducing;
use crate::models::unet::{Condition, UNet};
use crate::weights::{Checkpoint, TensorFile, WeightsError};

/// Latents along a side of `pixels`, for an autoencoder that shrinks `scale` times: rounded up so that the latents are a multiple of `scale` too (512
/// pixels: 64 latents; 500: 64).
pub fn latent_side(pixels: usize, scale: usize) -> usize {
    pixels.div_ceil(scale * scale) * scale
}

/// Where sampling starts.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one a batch")]
pub enum Start {
    /// From noise: latents of this height and width.
    Noise([usize; 2]),
    /// From the latents of a picture, one row or one for each, noised; of the steps, a `strength` of them is taken.
    Picture {
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

/// Draws latents `[batch, channels, h, w]` for `z_x` `[batch, d_clip]`. `away` is what guidance pushes away from, needed if `settings` guide: the
/// embedding of the zero picture or of a negative prompt, one row a picture. `channels` are the latents'. `on_step(x)` sees every step.
///
/// # Errors
/// [`PriorError`] for a strength out of range, noise that runs out, a number of steps the schedule cannot give.
///
/// # Panics
/// If `settings` guide without `away`.
#[expect(
    clippy::too_many_arguments,
    reason = "network, sampler, condition and noise are four things"
)]
pub fn decode(
    unet: &UNet,
    channels: usize,
    scheduler: &Scheduler,
    z_x: Tensor<2>,
    away: Option<Tensor<2>>,
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
        Start::Picture { latents, strength } => {
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
            vec![away.expect("guidance needs an embedding to push away from"), z_x],
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

/// A picture as MoVQ's encoder takes it: scaled to `width` x `height` whatever its proportions, `[1, 3, height, width]` in -1..1.
/// (The reference swaps width and height here.)
pub fn picture_tensor(picture: &RgbImage, width: usize, height: usize, device: &Device) -> Tensor<4> {
    let picture = resize_bicubic_reducing(picture, width as u32, height as u32);
    let mut values = vec![0.0f32; 3 * width * height];
    for (x, y, pixel) in picture.enumerate_pixels() {
        for (c, value) in pixel.0.iter().enumerate() {
            let at = (c * height + y as usize) * width + x as usize;
            values[at] = f32::from(*value) / 255.0 * 2.0 - 1.0;
        }
    }
    let values = TensorData::new(values, [1, 3, height, width]);
    Tensor::from_data(values, (device, DType::F32))
}

/// File that holds the zero picture's embedding, beside the vision tower's weights.
pub const ZERO_IMAGE: &str = "zero_image_embed.safetensors";
/// Its tensor.
const EMBEDDING: &str = "image_embeds";
/// The metadata key with the identity of the weights it was computed with.
const WEIGHTS: &str = "weights";
/// The metadata key with the float type that it was computed in.
const DTYPE: &str = "dtype";

/// The zero picture's embedding for the vision tower in `dir`, `[d_clip]`, and the identity of the weights it was computed with, if these are the
/// weights there (or were removed to save 7 GB) and it was computed in `dtype` or in f32. It stands in `dir` where whoever made the pipeline left it
/// there, else in the cache folder.
pub fn cached_zero_image(dir: &Path, d_clip: usize, dtype: &str) -> Option<(Vec<f32>, String)> {
    let places = std::iter::once(dir.join(ZERO_IMAGE)).chain(zero_image_cache(dir).ok());
    let mut found = places.filter_map(|file| stored_zero_image(&file, dir, d_clip, dtype));
    found.next()
}

/// Where the zero picture's embedding for the vision tower in `dir` is cached: a folder of weights is somebody else's.
///
/// # Errors
/// [`FileError`] where there is no cache folder.
pub fn zero_image_cache(dir: &Path) -> Result<PathBuf, FileError> {
    let tower = dir.canonicalize().unwrap_or_else(|_| absolute(dir));
    let key = files::sha256(tower.as_os_str().as_encoded_bytes());
    let folder = files::cache_dir()?.join("zero_image");
    Ok(folder.join(format!("{}.safetensors", &key[..16])))
}

fn stored_zero_image(file: &Path, dir: &Path, d_clip: usize, dtype: &str) -> Option<(Vec<f32>, String)> {
    let file = Checkpoint::open(file).ok()?;
    let computed_with = file.metadata().get(WEIGHTS)?.clone();
    let computed_in = file.metadata().get(DTYPE)?;
    if computed_in != "f32" && computed_in != dtype {
        return None;
    }
    if Checkpoint::open(dir).is_ok_and(|weights| weights.fingerprint() != computed_with) {
        tracing::info!("{}: of other weights, computed again", file.path().display());
        return None;
    }
    let values: Vec<f32> = file.read(EMBEDDING).ok()?.iter::<f32>().collect();
    (values.len() == d_clip && finite(String::new, &values).is_ok()).then_some((values, computed_with))
}

/// Computes the zero picture's embedding, in `dtype`, and caches it. A cache that cannot be written is worth a warning only.
///
/// # Errors
/// [`NotFinite`] where the vision tower gives no numbers.
pub fn zero_image(encoder: &ImageEncoder, dir: &Path, dtype: &str) -> Result<Vec<f32>, NotFinite> {
    let values: Vec<f32> = encoder.zero_image().into_data().iter::<f32>().collect();
    finite(|| "the zero picture's embedding".into(), &values)?;
    let keep = || -> Result<(), WeightsError> {
        let (weights, file) = (Checkpoint::open(dir)?, zero_image_cache(dir)?);
        files::create_dir(file.parent().unwrap_or(Path::new(".")))?;
        keep_zero_image(&values, &weights.fingerprint(), dtype, &file)
    };
    if let Err(error) = keep() {
        let source = std::error::Error::source(&error).map_or(String::new(), |s| format!(": {s}"));
        tracing::warn!(
            "the zero picture's embedding is computed at every call: {error}{source}; ECLIPSE_CACHE names another cache folder"
        );
    }
    Ok(values)
}

/// Writes the zero picture's embedding, by a vision tower whose weights have this fingerprint, computed in `dtype`, to the file `path`.
///
/// # Errors
/// [`WeightsError::File`] when the disk refuses.
pub fn keep_zero_image(
    values: &[f32],
    fingerprint: &str,
    dtype: &str,
    path: &Path,
) -> Result<(), WeightsError> {
    TensorFile::new()
        .with(EMBEDDING, &[1, values.len()], values)
        .with_metadata(WEIGHTS, fingerprint)
        .with_metadata(DTYPE, dtype)
        .write(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::SchedulerConfig;

    #[test]
    fn sizes_are_rounded_up() {
        let side = |pixels| latent_side(pixels, 8);
        assert_eq!([1, 64, 65, 500, 512, 513].map(side), [8, 8, 16, 64, 64, 72]);
        assert_eq!(latent_side(5, 2), 4);
    }

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
