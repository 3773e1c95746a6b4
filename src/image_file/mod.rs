//! Image files to RGB pixels, strictly: bytes that are missing or damaged are an error, and what is complete becomes what Pillow's `convert("RGB")`
//! and `ImageOps.exif_transpose` make of it.
//!
//! JPEG (baseline and progressive, grey, YCbCr, RGB, CMYK, YCCK), PNG and WebP, whatever the file's name says. Alpha is dropped, 16-bit colours
//! keep their upper byte, 16-bit grey saturates at 255 (as Pillow's mode `I;16` does), an animation gives its first frame.

mod huffman;
mod jpeg;
mod orientation;

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, GrayImage, ImageDecoder, RgbImage};

use crate::files::guarded;

/// What an image may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLimits {
    /// Width times height.
    pub max_pixels: u64,
    /// Width, and height.
    pub max_side: u32,
    /// Bytes of the file.
    pub max_bytes: u64,
    /// Width, and height, at least.
    pub min_side: u32,
}

impl Default for ImageLimits {
    /// 100 million pixels (Pillow's limit is 89 million for a warning and twice as many for an error), 16,384 a side, files of 128 MiB; at least 8 pixels a side.
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            max_side: 16_384,
            max_bytes: 128 << 20,
            min_side: 8,
        }
    }
}

/// An image that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageFileError {
    /// No image, or one that is damaged or incomplete.
    #[error("{0}")]
    Broken(String),
    /// More bytes or pixels than allowed.
    #[error("{0}")]
    TooLarge(String),
    /// Fewer pixels than can be used.
    #[error("{0}")]
    TooSmall(String),
}

impl ImageFileError {
    /// A file of `size` bytes.
    pub(crate) fn too_many_bytes(size: u64, limits: &ImageLimits) -> Self {
        Self::TooLarge(format!(
            "a file of {size} bytes, at most {} are read",
            limits.max_bytes
        ))
    }
}

/// An image file's pixels, and what `convert("RGB")` loses of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Its colours.
    pub rgb: RgbImage,
    /// How opaque each pixel is, 0 to 255, of files that say it.
    pub alpha: Option<GrayImage>,
    /// How Pillow opens it.
    pub mode: PixelMode,
}

impl From<RgbImage> for Pixels {
    fn from(rgb: RgbImage) -> Self {
        Self {
            rgb,
            alpha: None,
            mode: PixelMode::Opaque,
        }
    }
}

/// Pillow's mode of a file, as far as it changes how the file's image is resized before it is converted to RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelMode {
    /// Colours or grey: `RGB`, `L` and others.
    Opaque,
    /// With alpha: `RGBA` and `LA`.
    Alpha,
    /// Colours from a palette, or black and white: `P` and `1`.
    Indexed,
}

/// Bytes of a pixel while it is decoded, at most: four channels of 16 bits.
const PIXEL: u64 = 8;

/// Zeros at the end of a WebP that no encoder writes.
const UNWRITTEN: usize = 64;

/// Decodes an image file's bytes, upright. Sizes are checked before anything is allocated.
///
/// # Errors
/// [`ImageFileError`].
pub fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageFileError> {
    decode_pixels(bytes, limits).map(|pixels| pixels.rgb)
}

/// [`decode`], with alpha and mode.
///
/// # Errors
/// [`ImageFileError`].
pub fn decode_pixels(bytes: &[u8], limits: &ImageLimits) -> Result<Pixels, ImageFileError> {
    guarded(|| decode_file(bytes, limits))
        .unwrap_or_else(|| Err(ImageFileError::Broken("the decoder gave up on it".to_owned())))
}

/// Width and height that an image file says to have, from its header; `None` where it says nothing.
pub fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    guarded(|| match bytes {
        [0xFF, 0xD8, ..] => jpeg::dimensions(bytes).ok(),
        [0x89, b'P', b'N', b'G', ..] => {
            // The first chunk of a PNG has its size.
            let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
            Some((side(16)?, side(20)?))
        }
        [b'R', b'I', b'F', b'F', ..] => {
            let decoder = WebPDecoder::new(Cursor::new(bytes)).ok()?;
            Some(decoder.dimensions())
        }
        _ => None,
    })
    .flatten()
}

fn broken(error: impl std::fmt::Display) -> ImageFileError {
    ImageFileError::Broken(error.to_string())
}

fn decode_file(bytes: &[u8], limits: &ImageLimits) -> Result<Pixels, ImageFileError> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(ImageFileError::too_many_bytes(bytes.len() as u64, limits));
    }
    let (rgb, alpha, orientation) = match bytes {
        [0xFF, 0xD8, ..] => {
            let (width, height) = jpeg::dimensions(bytes).map_err(broken)?;
            check_size(width, height, limits)?;
            let scanned = jpeg::scan(bytes).map_err(broken)?;
            let upright = orientation::of(scanned.exif.as_deref(), scanned.xmp.as_deref());
            (decode_jpeg(&scanned.stream, width, height)?, None, upright)
        }
        [0x89, b'P', b'N', b'G', ..] => {
            let decoder = PngDecoder::new(Cursor::new(bytes)).map_err(broken)?;
            by_image_crate(decoder, limits, || png_exif(bytes))?
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            check_webp_end(bytes)?;
            let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
            by_image_crate(decoder, limits, || None)?
        }
        _ => {
            return Err(ImageFileError::Broken(format!(
                "{}; JPEG, PNG and WebP are read",
                kind(bytes)
            )));
        }
    };
    let upright = |mut image: DynamicImage| {
        image.apply_orientation(orientation);
        image
    };
    let mode = match bytes {
        // Depth and colour type in the first chunk of a PNG.
        [0x89, b'P', b'N', b'G', ..] => match bytes.get(24..26) {
            Some([_, 3] | [1, 0]) => PixelMode::Indexed,
            Some([_, 4 | 6]) => PixelMode::Alpha,
            _ => PixelMode::Opaque,
        },
        _ if alpha.is_some() => PixelMode::Alpha,
        _ => PixelMode::Opaque,
    };
    Ok(Pixels {
        rgb: upright(DynamicImage::ImageRgb8(rgb)).into_rgb8(),
        alpha: alpha.map(|alpha| upright(DynamicImage::ImageLuma8(alpha)).into_luma8()),
        mode,
    })
}

/// What bytes that are none of the formats look like.
fn kind(bytes: &[u8]) -> String {
    let text = bytes.trim_ascii_start();
    let begins = |with: &[u8]| {
        text.get(..with.len())
            .is_some_and(|b| b.eq_ignore_ascii_case(with))
    };
    let name = match bytes {
        [] => return "an empty file".into(),
        [b'G', b'I', b'F', b'8', ..] => "a GIF",
        [b'B', b'M', ..] => "a BMP",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an AVIF or HEIC",
        _ if begins(b"<!doctype html") || begins(b"<html") => "an HTML page",
        _ if begins(b"<svg") || begins(b"<?xml") => "an SVG or XML",
        _ if begins(b"version https://git-lfs") => return "a git-lfs pointer (run `git lfs pull`)".into(),
        _ => "not an image",
    };
    name.into()
}

fn check_size(width: u32, height: u32, limits: &ImageLimits) -> Result<(), ImageFileError> {
    let n_pixels = u64::from(width) * u64::from(height);
    if width.max(height) > limits.max_side || n_pixels > limits.max_pixels {
        return Err(ImageFileError::TooLarge(format!(
            "{width} x {height}; at most {} pixels, {} a side",
            limits.max_pixels, limits.max_side
        )));
    }
    if width.min(height) < limits.min_side {
        return Err(ImageFileError::TooSmall(format!(
            "{width} x {height}; at least {} a side",
            limits.min_side
        )));
    }
    Ok(())
}

fn decode_jpeg(stream: &[u8], width: u32, height: u32) -> Result<RgbImage, ImageFileError> {
    use jpeg_decoder::PixelFormat;
    let mut decoder = jpeg_decoder::Decoder::new(stream);
    let n_pixels = width as usize * height as usize;
    decoder.set_max_decoding_buffer_size(4 * n_pixels + (1 << 20));
    let pixels = decoder.decode().map_err(broken)?;
    let format = decoder.info().map(|info| info.pixel_format);
    let rgb = match format {
        Some(PixelFormat::RGB24) => pixels,
        Some(PixelFormat::L8) => pixels.into_iter().flat_map(|v| [v; 3]).collect(),
        Some(PixelFormat::CMYK32) => pixels.as_chunks::<4>().0.iter().flat_map(rgb_of_cmyk).collect(),
        _ => return Err(broken("an unexpected pixel format")),
    };
    RgbImage::from_raw(width, height, rgb).ok_or_else(|| broken("fewer pixels than the header says"))
}

/// Pillow's conversion: `255 - k - c (255 - k) / 255`, rounded as its `MULDIV255` does.
fn rgb_of_cmyk(&[c, m, y, k]: &[u8; 4]) -> [u8; 3] {
    let white = 255 - u32::from(k);
    [c, m, y].map(|ink| {
        let product = u32::from(ink) * white + 128;
        let share = (product + (product >> 8)) >> 8;
        white.saturating_sub(share) as u8
    })
}

/// What a decoder of the `image` crate makes of it, colours and alpha, and which way up it is.
fn by_image_crate<D: ImageDecoder>(
    mut decoder: D,
    limits: &ImageLimits,
    exif: impl FnOnce() -> Option<Vec<u8>>,
) -> Result<(RgbImage, Option<GrayImage>, image::metadata::Orientation), ImageFileError> {
    let (width, height) = decoder.dimensions();
    check_size(width, height, limits)?;
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(2 * PIXEL * u64::from(width) * u64::from(height) + (16 << 20));
    decoder.set_limits(allowed).map_err(broken)?;
    // Metadata that cannot be read is none.
    let exif = decoder.exif_metadata().ok().flatten().or_else(exif);
    let xmp = decoder.xmp_metadata().ok().flatten();
    let upright = orientation::of(exif.as_deref(), xmp.as_deref());
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let alpha = alpha(&image);
    Ok((to_rgb8(image), alpha, upright))
}

/// The alpha of an image that has one, of 16 bits the upper byte.
fn alpha(image: &DynamicImage) -> Option<GrayImage> {
    fn last<T: Copy, const N: usize>(values: &[T], byte: impl Fn(T) -> u8) -> Vec<u8> {
        values
            .as_chunks::<N>()
            .0
            .iter()
            .map(|pixel| byte(pixel[N - 1]))
            .collect()
    }
    let upper = |value: u16| (value >> 8) as u8;
    let values = match image {
        DynamicImage::ImageRgba8(rgba) => last::<_, 4>(rgba.as_raw(), |v| v),
        DynamicImage::ImageLumaA8(grey) => last::<_, 2>(grey.as_raw(), |v| v),
        DynamicImage::ImageRgba16(rgba) => last::<_, 4>(rgba.as_raw(), upper),
        DynamicImage::ImageLumaA16(grey) => last::<_, 2>(grey.as_raw(), upper),
        _ => return None,
    };
    GrayImage::from_raw(image.width(), image.height(), values)
}

/// 16-bit values as Pillow reads them: the upper byte of colours, grey cut off at 255.
fn to_rgb8(image: DynamicImage) -> RgbImage {
    let upper = |values: &[u16], n: usize| -> Vec<u8> {
        values
            .chunks_exact(n)
            .flat_map(|p| match n {
                3 | 4 => [p[0], p[1], p[2]].map(|v| (v >> 8) as u8),
                2 => [(p[0] >> 8) as u8; 3],
                _ => [p[0].min(255) as u8; 3],
            })
            .collect()
    };
    let (width, height) = (image.width(), image.height());
    let pixels = match &image {
        DynamicImage::ImageRgb16(deep) => upper(deep.as_raw(), 3),
        DynamicImage::ImageRgba16(deep) => upper(deep.as_raw(), 4),
        DynamicImage::ImageLumaA16(deep) => upper(deep.as_raw(), 2),
        DynamicImage::ImageLuma16(deep) => upper(deep.as_raw(), 1),
        _ => return image.into_rgb8(),
    };
    RgbImage::from_raw(width, height, pixels).unwrap_or_else(|| image.into_rgb8())
}

/// WebP has no checksums, and zeros are valid data: a file whose rest was never written would be accepted with a flat lower part.
fn check_webp_end(bytes: &[u8]) -> Result<(), ImageFileError> {
    let size = bytes
        .get(4..8)
        .and_then(|size| size.try_into().ok())
        .map_or(0, u32::from_le_bytes);
    let end = (size as usize).saturating_add(8).min(bytes.len());
    let zeros = bytes[..end].iter().rev().take_while(|b| **b == 0).count();
    match zeros > UNWRITTEN {
        true => Err(broken(format!(
            "the last {zeros} bytes are zero: they were never written"
        ))),
        false => Ok(()),
    }
}

/// The eXIf chunk of a PNG, which may stand behind the pixels.
fn png_exif(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.get(8..)?;
    loop {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let data = rest.get(8..8usize.checked_add(length)?)?;
        if &rest[4..8] == b"eXIf" {
            return Some(data.to_vec());
        }
        rest = rest.get(length.checked_add(12)?..)?;
    }
}

#[cfg(test)]
mod tests;
