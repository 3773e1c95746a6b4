//! Decodes the images of a source.

use std::path::Path;

use image::RgbImage;

use super::item::{RecordImage, RejectReason};
use crate::image_file::{self, ImageFileError, ImageLimits};

impl RecordImage {
    /// Replaces an image file by its bytes: [`RecordImage::Encoded`]. Other variants are unchanged.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn load(self, limits: &ImageLimits) -> Result<Self, (RejectReason, String)> {
        match self {
            Self::File(path) => Ok(Self::Encoded(read(&path, limits)?)),
            other => Ok(other),
        }
    }

    /// Pixels, upright, see [`image_file`].
    ///
    /// # Errors
    /// Why the image is rejected.
    pub fn decode(self, limits: &ImageLimits) -> Result<RgbImage, (RejectReason, String)> {
        let whole = |bytes: &[u8]| image_file::decode(bytes, limits).map_err(rejected);
        match self {
            Self::Ready(image) => Ok(image),
            Self::Encoded(bytes) => whole(&bytes),
            Self::File(path) => whole(&read(&path, limits)?),
            Self::Embedding(_) => Err((RejectReason::NoImage, "an embedding in its place".into())),
        }
    }
}

fn rejected(error: ImageFileError) -> (RejectReason, String) {
    let reason = match &error {
        ImageFileError::Broken(_) => RejectReason::BrokenImage,
        ImageFileError::TooLarge(_) => RejectReason::TooLarge,
        ImageFileError::TooSmall(_) => RejectReason::TooSmall,
    };
    (reason, error.to_string())
}

fn read(path: &Path, limits: &ImageLimits) -> Result<Vec<u8>, (RejectReason, String)> {
    let missing = |e: std::io::Error| (RejectReason::NoImage, format!("{}: {e}", path.display()));
    let metadata = std::fs::metadata(path).map_err(missing)?;
    if !metadata.is_file() {
        // A pipe or a device may be endless.
        return Err((
            RejectReason::NoImage,
            format!("{}: not a regular file", path.display()),
        ));
    }
    if metadata.len() > limits.max_bytes {
        return Err(too_many_bytes(metadata.len(), limits));
    }
    std::fs::read(path).map_err(missing)
}

pub(super) fn too_many_bytes(size: u64, limits: &ImageLimits) -> (RejectReason, String) {
    rejected(ImageFileError::too_many_bytes(size, limits))
}
