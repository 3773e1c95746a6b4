//! Picture files to pixels, within limits that are checked before anything is allocated.

use std::io::Cursor;
use std::path::Path;

use image::{ImageReader, RgbImage};

use super::guard::guarded;
use super::{Picture, RejectReason};

/// What a picture may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureLimits {
    /// Width times height.
    pub max_pixels: u64,
    /// Width, and height.
    pub max_side: u32,
    /// Bytes of the file.
    pub max_bytes: u64,
    /// Width, and height, at least.
    pub min_side: u32,
}

impl Default for PictureLimits {
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

/// Bytes of a pixel while it is decoded, at most: four channels of 16 bits.
const PIXEL: u64 = 8;

impl Picture {
    /// Pixels. JPEG, PNG and WebP whatever the file's name says; grey, palette, 16-bit and CMYK pictures become RGB, alpha is dropped. Pillow's
    /// `convert("RGB")` keeps the upper byte of 16-bit colours, which is the nearest value here: 1 of 255 apart at most.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn decode(self, limits: &PictureLimits) -> Result<RgbImage, (RejectReason, String)> {
        match self {
            Self::Ready(picture) => Ok(picture),
            Self::Encoded(bytes) => whole(&bytes, limits),
            Self::File(path) => whole(&read(&path, limits)?, limits),
            Self::Embedding(_) => Err((RejectReason::NoPicture, "an embedding in its place".into())),
        }
    }
}

fn read(path: &Path, limits: &PictureLimits) -> Result<Vec<u8>, (RejectReason, String)> {
    let missing = |e: std::io::Error| (RejectReason::NoPicture, format!("{}: {e}", path.display()));
    let size = std::fs::metadata(path).map_err(missing)?.len();
    if size > limits.max_bytes {
        return Err(too_many_bytes(size, limits));
    }
    std::fs::read(path).map_err(missing)
}

pub(super) fn too_many_bytes(size: u64, limits: &PictureLimits) -> (RejectReason, String) {
    let detail = format!("a file of {size} bytes, at most {} are read", limits.max_bytes);
    (RejectReason::TooLarge, detail)
}

fn whole(bytes: &[u8], limits: &PictureLimits) -> Result<RgbImage, (RejectReason, String)> {
    guarded(|| decode(bytes, limits)).unwrap_or_else(|| {
        let detail = "the decoder gave up on it".to_owned();
        Err((RejectReason::BrokenPicture, detail))
    })
}

fn decode(bytes: &[u8], limits: &PictureLimits) -> Result<RgbImage, (RejectReason, String)> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(too_many_bytes(bytes.len() as u64, limits));
    }
    let broken = |e: &dyn std::fmt::Display| (RejectReason::BrokenPicture, e.to_string());
    let open = || {
        ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|e| broken(&e))
    };
    let (width, height) = open()?.into_dimensions().map_err(|e| broken(&e))?;
    let n_pixels = u64::from(width) * u64::from(height);
    if width.max(height) > limits.max_side || n_pixels > limits.max_pixels {
        let detail = format!(
            "{width} x {height}; at most {} pixels, {} a side",
            limits.max_pixels, limits.max_side
        );
        return Err((RejectReason::TooLarge, detail));
    }
    if width.min(height) < limits.min_side {
        return Err((
            RejectReason::TooSmall,
            format!("{width} x {height}; at least {} a side", limits.min_side),
        ));
    }
    let mut reader = open()?;
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(2 * PIXEL * n_pixels + (16 << 20));
    reader.limits(allowed);
    Ok(reader.decode().map_err(|e| broken(&e))?.to_rgb8())
}
