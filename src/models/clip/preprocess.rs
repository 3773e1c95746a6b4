//! An image to CLIP's input, bit for bit as Pillow and transformers 4.34 make it.
//!
//! Shortest side to `size` by Pillow's bicubic filter (a = -0.5, widened when it shrinks), the longer side truncated; horizontal pass first, rounded
//! to 8 bits between the passes; centre crop; scaled to 0..1; mean and deviation. The `image` crate's filters differ at the level of several grey
//! values. Newer Pillow may go vertical first (up to 5 levels apart); transformers 5 lays transparent images on white, this drops alpha.

use std::ops::Range;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde::Deserialize;

use crate::config::{ConfigError, Keys};
use crate::files::{self, FileError};
use crate::image_file::{self, ImageLimits, Pixels};
use crate::limits::MAX_SIDE;

/// Pillow's code for bicubic, the only filter CLIP models use.
const BICUBIC: u32 = 3;
/// OpenAI CLIP's channel means (`preprocessor_config.json` of openai/clip-vit-large-patch14).
pub const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
/// OpenAI CLIP's channel deviations (same file).
pub const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];
/// Pillow's fixed-point coefficients have this many fractional bits.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Images or their settings could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file is no image, or a broken one.
    #[error("{path}: not a readable picture: {reason}")]
    Image {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        reason: String,
    },
    /// The image cannot be cropped.
    #[error("a picture of {width} x {height} is smaller than the crop of {crop_width} x {crop_height}")]
    TooSmall {
        /// Width of the image.
        width: u32,
        /// Height of the image.
        height: u32,
        /// Width of the crop.
        crop_width: u32,
        /// Height of the crop.
        crop_height: u32,
    },
}

/// Where the centre of a scaled image begins, if what is left over is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Rounded down: transformers.
    Down,
    /// Rounded to the nearest even number: torchvision's `CenterCrop`, and with it OpenAI's CLIP and clean-fid.
    Even,
}

impl Cut {
    /// Pixels before the centre, of `left_over` on both sides.
    fn offset(self, left_over: u32) -> u32 {
        let half = left_over / 2;
        match self {
            Self::Even if left_over % 2 == 1 => half + half % 2,
            _ => half,
        }
    }
}

/// What is done to an image, as `preprocessor_config.json` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// Length the shortest side is scaled to; `None`: not scaled.
    pub shortest_side: Option<u32>,
    /// Width and height that are cut from the centre; `None`: not cut.
    pub crop: Option<(u32, u32)>,
    /// What pixel values are multiplied with; `None`: 0..255 stays.
    pub scale: Option<f64>,
    /// Mean and deviation of the channels; `None`: not normalised.
    pub normalize: Option<([f64; 3], [f64; 3])>,
}

/// A size as transformers has written it over the years.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = r#"a whole number, {"shortest_edge": n} or {"height": n, "width": n}"#
)]
enum Size {
    Side(u32),
    Shortest { shortest_edge: u32 },
    Both { height: u32, width: u32 },
}

impl Preprocess {
    /// CLIP's own settings for square images of `size` (224 for the published models).
    pub fn clip(size: u32) -> Self {
        Self {
            shortest_side: Some(size),
            crop: Some((size, size)),
            scale: Some(1.0 / 255.0),
            normalize: Some((CLIP_MEAN, CLIP_STD)),
        }
    }

    /// Reads `preprocessor_config.json`, or the file of that name in the folder `path`.
    ///
    /// # Errors
    /// [`PreprocessError`] that names the file: missing, no JSON, a filter other than bicubic, a size of 0 or of two unequal sides.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, PreprocessError> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            path.push("preprocessor_config.json");
        }
        let keys = Keys::read(&path)?;
        let shortest_side = match (keys.or("do_resize", true)?, keys.get("size")?) {
            (false, _) => None,
            (true, None) => Some(224),
            (true, Some(Size::Side(n) | Size::Shortest { shortest_edge: n })) => Some(n),
            (true, Some(Size::Both { .. })) => {
                return Err(keys
                    .wrong("size", "a whole number or {\"shortest_edge\": n}")
                    .into());
            }
        };
        let resample = keys.or("resample", BICUBIC)?;
        let is_known = shortest_side.is_none() || resample == BICUBIC;
        keys.require("resample", is_known, "3 (bicubic)")?;
        let crop = match (keys.or("do_center_crop", true)?, keys.get("crop_size")?) {
            (false, _) => None,
            (true, None) => Some((224, 224)),
            (true, Some(Size::Side(n) | Size::Shortest { shortest_edge: n })) => Some((n, n)),
            (true, Some(Size::Both { height, width })) => Some((width, height)),
        };
        let (small, large) = crop.map_or((1, 1), |(w, h)| (w.min(h), w.max(h)));
        for (key, small, large) in [
            ("size", shortest_side.unwrap_or(1), shortest_side.unwrap_or(1)),
            ("crop_size", small, large),
        ] {
            keys.require(key, small > 0, "at least 1")?;
            keys.require(key, large as usize <= MAX_SIDE, format!("at most {MAX_SIDE}"))?;
        }
        let (do_normalize, mean): (bool, _) =
            (keys.or("do_normalize", true)?, keys.or("image_mean", CLIP_MEAN)?);
        let std: [f64; 3] = keys.or("image_std", CLIP_STD)?;
        let is_positive = !do_normalize || std.iter().all(|s| *s > 0.0);
        keys.require("image_std", is_positive, "numbers above 0")?;
        let scale = keys.or("rescale_factor", 1.0 / 255.0)?;
        Ok(Self {
            shortest_side,
            crop,
            scale: keys.or("do_rescale", true)?.then_some(scale),
            normalize: do_normalize.then_some((mean, std)),
        })
    }

    /// The settings in the published form, for `preprocessor_config.json`.
    pub fn to_json(&self) -> serde_json::Value {
        let (mean, std) = self.normalize.unwrap_or((CLIP_MEAN, CLIP_STD));
        let side = self.shortest_side.unwrap_or(224);
        let (width, height) = self.crop.unwrap_or((side, side));
        serde_json::json!({
            "image_processor_type": "CLIPImageProcessor",
            "feature_extractor_type": "CLIPFeatureExtractor",
            "do_convert_rgb": true,
            "do_resize": self.shortest_side.is_some(),
            "size": {"shortest_edge": side},
            "resample": BICUBIC,
            "do_center_crop": self.crop.is_some(),
            "crop_size": {"height": height, "width": width},
            "do_rescale": self.scale.is_some(),
            "rescale_factor": self.scale.unwrap_or(1.0 / 255.0),
            "do_normalize": self.normalize.is_some(),
            "image_mean": mean,
            "image_std": std,
        })
    }

    /// Width and height after scaling.
    fn scaled(&self, (w, h): (u32, u32)) -> (u32, u32) {
        let Some(side) = self.shortest_side else {
            return (w, h);
        };
        let longer = |long: u32, short: u32| {
            // Python's int(size * long / short), in f64.
            (f64::from(side) * f64::from(long) / f64::from(short)) as u32
        };
        match w <= h {
            true => (side, longer(h, w)),
            false => (longer(w, h), side),
        }
    }

    /// The image scaled so that its shortest side is [`Preprocess::shortest_side`].
    pub fn resize(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = self.scaled(picture.dimensions());
        resize_bicubic(picture, width, height)
    }

    /// One image to `[3, height, width]` values, channel first. Of a scaled image only what is cut out of it is computed: that of an image of
    /// 16,384 x 8 would have 458,752 x 224 pixels.
    ///
    /// # Errors
    /// [`PreprocessError::TooSmall`] where images are cut but not scaled.
    pub fn apply(&self, picture: &RgbImage) -> Result<Vec<f32>, PreprocessError> {
        self.apply_cut(picture, Cut::Down)
    }

    /// [`Preprocess::apply`], where half a pixel at the centre's edge goes as `cut` says.
    ///
    /// # Errors
    /// Like [`Preprocess::apply`].
    pub fn apply_cut(&self, picture: &RgbImage, cut: Cut) -> Result<Vec<f32>, PreprocessError> {
        let (across, down) = self.axes(picture.dimensions(), cut)?;
        Ok(self.values(&resize_part(picture, &across, &down)))
    }

    /// How the axes of an image of `w` x `h` are scaled and cut.
    pub(super) fn axes(&self, (w, h): (u32, u32), cut: Cut) -> Result<(Axis, Axis), PreprocessError> {
        let (width, height) = self.scaled((w, h));
        let (crop_width, crop_height) = self.crop.unwrap_or((width, height));
        if crop_width > width || crop_height > height {
            return Err(PreprocessError::TooSmall {
                width,
                height,
                crop_width,
                crop_height,
            });
        }
        let (left, top) = (cut.offset(width - crop_width), cut.offset(height - crop_height));
        let axis = |from: u32, to: u32, first: u32, n: u32| Axis {
            part: f64::from(from),
            to: to as usize,
            cut: first as usize..(first + n) as usize,
        };
        Ok((
            axis(w, width, left, crop_width),
            axis(h, height, top, crop_height),
        ))
    }

    /// Pixels of the final size to `[3, height, width]` values.
    pub(super) fn values(&self, picture: &RgbImage) -> Vec<f32> {
        let (width, height) = picture.dimensions();
        let plane = (width * height) as usize;
        let mut out = vec![0.0; 3 * plane];
        for channel in 0..3 {
            // 256 possible values: look them up.
            let table: Vec<f32> = (0..=255u8)
                .map(|v| {
                    // In f32 from here on, as numpy does it.
                    let v = self.scale.map_or(f32::from(v), |s| (f64::from(v) * s) as f32);
                    self.normalize
                        .map_or(v, |(mean, std)| (v - mean[channel] as f32) / std[channel] as f32)
                })
                .collect();
            let values = out[channel * plane..(channel + 1) * plane].iter_mut();
            for (value, pixel) in values.zip(picture.pixels()) {
                *value = table[pixel.0[channel] as usize];
            }
        }
        out
    }

    /// Many images, in order, on all threads: `[batch, 3, height, width]` where all come out at one size.
    ///
    /// # Errors
    /// That of the first image that fails.
    pub fn apply_batch(&self, pictures: &[RgbImage]) -> Result<Vec<f32>, PreprocessError> {
        let each: Vec<_> = pictures.par_iter().map(|p| self.apply(p)).collect();
        let mut out = Vec::new();
        for values in each {
            out.extend(values?);
        }
        Ok(out)
    }
}

/// Reads an image file, upright and strictly, see [`image_file`].
///
/// # Errors
/// [`PreprocessError::File`], or [`PreprocessError::Image`] for a file that is no image, is incomplete, or has more pixels than allowed.
pub fn read_image(path: impl AsRef<Path>) -> Result<RgbImage, PreprocessError> {
    read_pixels(path).map(|pixels| pixels.rgb)
}

/// [`read_image`], with alpha and mode.
///
/// # Errors
/// Like [`read_image`].
pub fn read_pixels(path: impl AsRef<Path>) -> Result<Pixels, PreprocessError> {
    let path = path.as_ref();
    let limits = ImageLimits {
        min_side: 1,
        ..ImageLimits::default()
    };
    let bytes = files::read_at_most(path, limits.max_bytes, "an image file")?;
    image_file::decode_pixels(&bytes, &limits).map_err(|e| PreprocessError::Image {
        path: path.to_path_buf(),
        reason: e.to_string(),
    })
}

/// Pillow's `resize((width, height), BICUBIC)` for 8-bit RGB: horizontal pass, rounding to 8 bits, vertical pass. A side that keeps its length is
/// copied.
///
/// # Panics
/// If a side is 0.
pub fn resize_bicubic(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (w, h) = picture.dimensions();
    resize_part(
        picture,
        &Axis::whole(f64::from(w), width),
        &Axis::whole(f64::from(h), height),
    )
}

/// [`resize_bicubic`] with Pillow's `reducing_gap=1`: an image at least twice as large as wanted is first averaged over boxes of whole factors.
///
/// # Panics
/// If a side is 0.
pub fn resize_bicubic_reducing(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    assert!(width > 0 && height > 0, "sides must be at least 1");
    let (w, h) = picture.dimensions();
    let (fx, fy) = ((w / width).max(1), (h / height).max(1));
    if (fx, fy) == (1, 1) {
        return resize_bicubic(picture, width, height);
    }
    // The last box of a row or column may be cut off; the part of the reduced image that stands for the whole is then not a whole number of pixels.
    let across = Axis::whole(f64::from(w) / f64::from(fx), width);
    let down = Axis::whole(f64::from(h) / f64::from(fy), height);
    resize_part(&reduce(picture, fx, fy), &across, &down)
}

/// Averages over boxes of `fx` by `fy` pixels, those at the right and lower edge over what there is (Pillow's `reduce`).
fn reduce(picture: &RgbImage, fx: u32, fy: u32) -> RgbImage {
    let (w, h) = picture.dimensions();
    RgbImage::from_fn(w.div_ceil(fx), h.div_ceil(fy), |x, y| {
        let (columns, rows) = (x * fx..((x + 1) * fx).min(w), y * fy..((y + 1) * fy).min(h));
        let n = columns.len() as u32 * rows.len() as u32;
        let mut sums = [n / 2; 3];
        for y in rows {
            for x in columns.clone() {
                for (sum, value) in sums.iter_mut().zip(picture.get_pixel(x, y).0) {
                    *sum += u32::from(value);
                }
            }
        }
        // Fixed point, as Pillow divides.
        let reciprocal = u64::from((1u32 << 24) / n);
        image::Rgb(sums.map(|sum| ((u64::from(sum) * reciprocal) >> 24) as u8))
    })
}

/// How an axis is resized: the first `part` of its pixels, perhaps not a whole number of them, becomes `to` pixels, of which those of `cut` are computed.
pub(super) struct Axis {
    pub(super) part: f64,
    pub(super) to: usize,
    pub(super) cut: Range<usize>,
}

impl Axis {
    fn whole(part: f64, to: u32) -> Self {
        let to = to as usize;
        Self { part, to, cut: 0..to }
    }

    /// Whether nothing is done to an axis of `n` pixels.
    fn keeps(&self, n: usize) -> bool {
        self.part == self.to as f64 && self.to == n && self.cut == (0..n)
    }
}

/// Resizes an image, its upper left part, and cuts.
pub(super) fn resize_part(picture: &RgbImage, across: &Axis, down: &Axis) -> RgbImage {
    let (w, h) = picture.dimensions();
    assert!(
        w > 0 && h > 0 && !across.cut.is_empty() && !down.cut.is_empty(),
        "sides must be at least 1"
    );
    let (w, h) = (w as usize, h as usize);
    let source = picture.as_raw();
    let stride = across.cut.len() * 3;
    let wide = if across.keeps(w) {
        source.clone()
    } else {
        let taps = taps(w, across);
        let mut wide = vec![0u8; h * stride];
        for (row, line) in wide.chunks_exact_mut(stride).zip(source.chunks_exact(w * 3)) {
            for (pixel, tap) in row.chunks_exact_mut(3).zip(&taps) {
                let mut sums = [HALF; 3];
                for (weight, source) in tap.weights.iter().zip(line[tap.first * 3..].chunks_exact(3)) {
                    add_weighted(&mut sums, source, *weight);
                }
                round_to(pixel, &sums);
            }
        }
        wide
    };
    let tall = if down.keeps(h) {
        wide
    } else {
        let mut tall = vec![0u8; down.cut.len() * stride];
        let mut sums = vec![0; stride];
        for (row, tap) in tall.chunks_exact_mut(stride).zip(taps(h, down)) {
            sums.fill(HALF);
            // By lines, which the compiler vectorises.
            for (weight, line) in tap
                .weights
                .iter()
                .zip(wide[tap.first * stride..].chunks_exact(stride))
            {
                add_weighted(&mut sums, line, *weight);
            }
            round_to(row, &sums);
        }
        tall
    };
    RgbImage::from_raw(across.cut.len() as u32, down.cut.len() as u32, tall)
        .expect("the buffer was made for this size")
}

/// The source pixels that one target pixel is made of.
struct Tap {
    first: usize,
    /// Fixed point, [`PRECISION_BITS`] fractional bits.
    weights: Vec<i32>,
}

/// One half in fixed point, so that cutting the fraction off rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn add_weighted(sums: &mut [i32], values: &[u8], weight: i32) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum = sum.wrapping_add(i32::from(value).wrapping_mul(weight));
    }
}

fn round_to(values: &mut [u8], sums: &[i32]) {
    for (value, sum) in values.iter_mut().zip(sums) {
        *value = (sum >> PRECISION_BITS).clamp(0, 255) as u8;
    }
}

/// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc` (src/libImaging/Resample.c), for an axis of `from` pixels. One that is cut only is copied.
fn taps(from: usize, axis: &Axis) -> Vec<Tap> {
    if axis.part == axis.to as f64 && axis.to == from {
        let one = |first| Tap {
            first,
            weights: vec![1 << PRECISION_BITS],
        };
        return axis.cut.clone().map(one).collect();
    }
    let fixed = f64::from(1u32 << PRECISION_BITS);
    let scale = axis.part / axis.to as f64;
    let weights = axis.cut.clone().map(|x| bicubic_weights(from, scale, x));
    weights
        .map(|(first, weights)| Tap {
            first,
            weights: weights.iter().map(|w| (w * fixed).round() as i32).collect(),
        })
        .collect()
}

/// Pixel `x` of an axis that is made `scale` times shorter: the first of the `from` source pixels that it is made of, and their weights, of sum 1.
fn bicubic_weights(from: usize, scale: f64, x: usize) -> (usize, Vec<f64>) {
    const SUPPORT: f64 = 2.0;
    let filter_scale = scale.max(1.0);
    let shrink = 1.0 / filter_scale;
    let support = SUPPORT * filter_scale;
    let center = (x as f64 + 0.5) * scale;
    let first = (center - support + 0.5).max(0.0) as usize;
    let end = ((center + support + 0.5) as usize).min(from);
    let raw: Vec<f64> = (first..end)
        .map(|i| bicubic((i as f64 - center + 0.5) * shrink))
        .collect();
    let total: f64 = raw.iter().sum();
    (first, raw.into_iter().map(|w| w / total).collect())
}

/// Pillow's `resize((width, height), BICUBIC)` for one channel in floating point (mode `F`), which rounds to f32 between the passes and clips nothing:
/// `[h, w]` -> `[height, width]`. A side that keeps its length is copied.
///
/// # Panics
/// If a side is 0 or `values` are not `w * h`.
pub fn resize_bicubic_f32(
    values: &[f32],
    (w, h): (usize, usize),
    (width, height): (usize, usize),
) -> Vec<f32> {
    assert!(
        w * h == values.len() && w * h * width * height > 0,
        "sides must be at least 1"
    );
    let weigh = |(first, weights): &(usize, Vec<f64>), pixel: &dyn Fn(usize) -> f32| {
        let terms = weights
            .iter()
            .enumerate()
            .map(|(i, k)| f64::from(pixel(first + i)) * k);
        terms.sum::<f64>() as f32
    };
    let all = |from: usize, to: usize| -> Vec<(usize, Vec<f64>)> {
        (0..to)
            .map(|x| bicubic_weights(from, from as f64 / to as f64, x))
            .collect()
    };
    let wide: Vec<f32> = match w == width {
        true => values.to_vec(),
        false => {
            let weights = all(w, width);
            let rows = values.chunks_exact(w);
            rows.flat_map(|row| weights.iter().map(|k| weigh(k, &|i| row[i])).collect::<Vec<_>>())
                .collect()
        }
    };
    if h == height {
        return wide;
    }
    let rows = all(h, height);
    let rows = rows.iter();
    rows.flat_map(|k| {
        (0..width)
            .map(|x| weigh(k, &|i| wide[i * width + x]))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The cubic convolution kernel with a = -0.5 (Keys 1981).
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(w: u32, h: u32) -> RgbImage {
        RgbImage::from_fn(w, h, |x, y| {
            image::Rgb([
                (x * 7 % 256) as u8,
                (y * 5 % 256) as u8,
                ((x + y) * 3 % 256) as u8,
            ])
        })
    }

    fn read(text: &str) -> Result<Preprocess, String> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("preprocessor_config.json"), text).expect("written");
        Preprocess::read(dir.path())
            .map_err(|e| e.to_string().replace(&dir.path().display().to_string(), "DIR"))
    }

    #[test]
    fn a_flat_picture_stays_flat_and_its_own_size_is_a_copy() {
        let flat = RgbImage::from_pixel(33, 50, image::Rgb([17, 200, 255]));
        assert!(
            resize_bicubic(&flat, 12, 91)
                .pixels()
                .all(|p| p.0 == [17, 200, 255])
        );
        let picture = gradient(20, 30);
        assert_eq!(resize_bicubic(&picture, 20, 30), picture);
    }

    #[test]
    fn the_longer_side_is_truncated() {
        let p = Preprocess::clip(28);
        assert_eq!(p.resize(&gradient(53, 37)).dimensions(), (40, 28));
        assert_eq!(p.resize(&gradient(31, 80)).dimensions(), (28, 72));
        assert_eq!(p.apply(&gradient(31, 80)).expect("fits").len(), 3 * 28 * 28);
    }

    #[test]
    fn batches_do_not_depend_on_threads() {
        let pictures: Vec<_> = (20..36).map(|i| gradient(i, 60 - i)).collect();
        let p = Preprocess::clip(16);
        let one: Vec<f32> = pictures.iter().flat_map(|x| p.apply(x).expect("fits")).collect();
        assert_eq!(p.apply_batch(&pictures).expect("fits"), one);
    }

    #[test]
    fn settings_in_both_spellings() {
        let old = read(
            r#"{"size": 32, "crop_size": 32, "resample": 3, "feature_extractor_type": "CLIPFeatureExtractor"}"#,
        );
        assert_eq!(old, Ok(Preprocess::clip(32)));
        let new = read(&Preprocess::clip(32).to_json().to_string());
        assert_eq!(new, Ok(Preprocess::clip(32)));
        let off = read(
            r#"{"do_resize": false, "do_center_crop": false, "do_rescale": false, "do_normalize": false}"#,
        );
        let p = off.expect("valid");
        assert_eq!(
            p.apply(&gradient(2, 1)).expect("fits"),
            [0.0, 7.0, 0.0, 0.0, 0.0, 3.0]
        );
        let too_small = Preprocess {
            shortest_side: None,
            ..Preprocess::clip(32)
        }
        .apply(&gradient(40, 20));
        assert_eq!(
            too_small.map_err(|e| e.to_string()),
            Err("a picture of 40 x 20 is smaller than the crop of 32 x 32".into())
        );
    }

    #[test]
    fn settings_that_do_not_fit_are_refused() {
        assert_eq!(
            read(r#"{"resample": 2}"#),
            Err("DIR/preprocessor_config.json: resample: expected 3 (bicubic), found 2".into())
        );
        assert_eq!(
            read(r#"{"size": {"height": 3, "width": 4}}"#),
            Err("DIR/preprocessor_config.json: size: expected a whole number or {\"shortest_edge\": n}, found {\"height\":3,\"width\":4}".into())
        );
        assert!(
            read(r#"{"size": "big"}"#)
                .is_err_and(|e| e.contains("size: expected a whole number, {\"shortest_edge\": n} or"))
        );
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("text.png"), "hello").expect("written");
        gradient(40, 40).save(at("whole.png")).expect("written");
        let bytes = std::fs::read(at("whole.png")).expect("read");
        std::fs::write(at("cut.png"), &bytes[..bytes.len() / 2]).expect("written");
        assert_eq!(read_image(at("whole.png")).expect("an image"), gradient(40, 40));
        for name in ["text.png", "cut.png"] {
            let error = read_image(at(name)).expect_err("must be refused").to_string();
            assert!(
                error.contains(name) && error.contains("not a readable picture"),
                "{error}"
            );
        }
        let error = read_image(at("none.png"))
            .expect_err("must be refused")
            .to_string();
        assert!(error.starts_with("no such file"), "{error}");
    }
}
