//! What the preprocessings of CLIP that metrics use make of an image file, transparent ones and those with a palette too.
//!
//! | | transparent (`RGBA`, `LA`) | palette (`P`), black and white (`1`) | odd rest at the centre's edge |
//! |---|---|---|---|
//! | OpenAI's CLIP | colours times alpha are resized and divided by alpha; then alpha is dropped | resized by nearest pixels | to the nearest even number |
//! | transformers 5 | laid on white | converted to RGB first | down |
//! | clean-fid | alpha is dropped | converted to RGB first | to the nearest even number |
//!
//! OpenAI's resizes an image in the mode in which Pillow opens it, and converts it to RGB after that.

use image::{GrayImage, Rgb, RgbImage};

use super::preprocess::{Axis, Cut, Preprocess, PreprocessError, resize_part};
use crate::image_file::{PixelMode, Pixels};

/// Whose preprocessing of image files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// `clip.load` of OpenAI's CLIP, and with it T2I-CompBench's CLIPScore.
    OpenAi,
    /// `CLIPImageProcessor` of transformers 5, and with it PickScore.
    Transformers,
    /// `img_preprocess_clip` of clean-fid.
    CleanFid,
}

impl Processor {
    /// Its name in the protocol of a score.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai-clip",
            Self::Transformers => "transformers",
            Self::CleanFid => "clean-fid",
        }
    }

    fn cut(self) -> Cut {
        match self {
            Self::OpenAi | Self::CleanFid => Cut::Even,
            Self::Transformers => Cut::Down,
        }
    }
}

impl Preprocess {
    /// An image file's pixels to `[3, height, width]` values, as `processor` does it.
    ///
    /// # Errors
    /// Like [`Preprocess::apply`].
    pub fn apply_pixels(&self, image: &Pixels, processor: Processor) -> Result<Vec<f32>, PreprocessError> {
        let (across, down) = self.axes(image.rgb.dimensions(), processor.cut())?;
        let rgb = match (processor, image.mode, &image.alpha) {
            (Processor::OpenAi, PixelMode::Indexed, _) => nearest(&image.rgb, &across, &down),
            // Pillow copies an image that has its size.
            (Processor::OpenAi, PixelMode::Alpha, Some(alpha)) if across.scales() || down.scales() => {
                premultiplied(&image.rgb, alpha, &across, &down)
            }
            (Processor::Transformers, _, Some(alpha)) => {
                resize_part(&on_white(&image.rgb, alpha), &across, &down)
            }
            _ => resize_part(&image.rgb, &across, &down),
        };
        Ok(self.values(&rgb))
    }
}

impl Axis {
    fn scales(&self) -> bool {
        self.part != self.to as f64
    }

    /// The source pixels that Pillow's nearest filter takes.
    fn nearest(&self, n: u32) -> Vec<u32> {
        let scale = self.part / self.to as f64;
        let mut at = scale * 0.5;
        // Pillow adds up the step, and its rounding.
        let all = (0..self.to).map(|_| {
            let pixel = at as u32;
            at += scale;
            pixel.min(n - 1)
        });
        let all: Vec<u32> = all.collect();
        all[self.cut.clone()].to_vec()
    }
}

/// Pillow's `resize(.., NEAREST)`, cut.
fn nearest(rgb: &RgbImage, across: &Axis, down: &Axis) -> RgbImage {
    let (columns, rows) = (across.nearest(rgb.width()), down.nearest(rgb.height()));
    RgbImage::from_fn(columns.len() as u32, rows.len() as u32, |x, y| {
        *rgb.get_pixel(columns[x as usize], rows[y as usize])
    })
}

/// Pillow's `resize` of an image with alpha, cut: by way of its mode `RGBa`, whose colours are multiplied by alpha.
fn premultiplied(rgb: &RgbImage, alpha: &GrayImage, across: &Axis, down: &Axis) -> RgbImage {
    let times = |value: u8, alpha: u8| {
        let product = u32::from(value) * u32::from(alpha) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    let mut colours = rgb.clone();
    for (pixel, alpha) in colours.pixels_mut().zip(alpha.pixels()) {
        pixel.0 = pixel.0.map(|value| times(value, alpha.0[0]));
    }
    let alphas = RgbImage::from_fn(rgb.width(), rgb.height(), |x, y| {
        Rgb([alpha.get_pixel(x, y).0[0]; 3])
    });
    let mut colours = resize_part(&colours, across, down);
    let alphas = resize_part(&alphas, across, down);
    for (pixel, alpha) in colours.pixels_mut().zip(alphas.pixels()) {
        let alpha = u32::from(alpha.0[0]);
        if alpha != 0 && alpha != 255 {
            pixel.0 = pixel
                .0
                .map(|value| (255 * u32::from(value) / alpha).min(255) as u8);
        }
    }
    colours
}

/// Pillow's `alpha_composite` on white.
fn on_white(rgb: &RgbImage, alpha: &GrayImage) -> RgbImage {
    let mut laid = rgb.clone();
    for (pixel, alpha) in laid.pixels_mut().zip(alpha.pixels()) {
        let alpha = u32::from(alpha.0[0]);
        pixel.0 = pixel.0.map(|value| {
            let sum = u32::from(value) * alpha + 255 * (255 - alpha);
            // Division by 255 with 7 fractional bits, as Pillow does it.
            let sum = (sum << 7) + (0x80 << 7);
            ((((sum >> 8) + sum) >> 8) >> 7) as u8
        });
    }
    laid
}
