//! An image to BLIP's input: a square, whatever the sides were, by Pillow's bicubic filter; 0..1; mean and deviation.

use std::path::Path;

use image::RgbImage;

use super::BlipError;
use crate::config::Keys;
use crate::models::clip::preprocess::{CLIP_MEAN, CLIP_STD, resize_bicubic};

/// Pillow's code for bicubic.
const BICUBIC: u32 = 3;

/// How images become pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct BlipPreprocess {
    /// Side of the square.
    pub side: usize,
    /// What pixel values are multiplied with.
    pub scale: f64,
    /// Mean of the channels.
    pub mean: [f64; 3],
    /// Deviation of the channels.
    pub std: [f64; 3],
}

impl BlipPreprocess {
    /// BLIP's own, as T2I-CompBench applies it: squares of `side`, 0..1, CLIP's mean and deviation.
    pub fn official(side: usize) -> Self {
        Self {
            side,
            scale: 1.0 / 255.0,
            mean: CLIP_MEAN,
            std: CLIP_STD,
        }
    }

    /// That of `dir/preprocessor_config.json`, but for the size, which is `side`; [`BlipPreprocess::official`] where there is no such file.
    ///
    /// # Errors
    /// [`BlipError::Config`], naming file and key: another filter, deviations that are not above 0.
    pub fn read(dir: &Path, side: usize) -> Result<Self, BlipError> {
        let path = dir.join("preprocessor_config.json");
        let official = Self::official(side);
        if !path.is_file() {
            return Ok(official);
        }
        let keys = Keys::read(&path)?;
        let resample = keys.or("resample", BICUBIC)?;
        keys.require("resample", resample == BICUBIC, "3 (bicubic)")?;
        for key in ["do_resize", "do_rescale", "do_normalize"] {
            keys.require(key, keys.or(key, true)?, "true")?;
        }
        let std: [f64; 3] = keys.or("image_std", official.std)?;
        keys.require("image_std", std.iter().all(|s| *s > 0.0), "numbers above 0")?;
        Ok(Self {
            side,
            scale: keys.or("rescale_factor", official.scale)?,
            mean: keys.or("image_mean", official.mean)?,
            std,
        })
    }

    /// `[3, side, side]` values, channel first.
    pub fn apply(&self, image: &RgbImage) -> Vec<f32> {
        let side = self.side as u32;
        let image = resize_bicubic(image, side, side);
        let mut values = Vec::with_capacity(3 * self.side * self.side);
        for channel in 0..3 {
            let (mean, std) = (self.mean[channel] as f32, self.std[channel] as f32);
            // 256 possible values: look them up.
            let table: [f32; 256] =
                std::array::from_fn(|value| ((value as f64 * self.scale) as f32 - mean) / std);
            values.extend(image.pixels().map(|pixel| table[pixel.0[channel] as usize]));
        }
        values
    }
}
