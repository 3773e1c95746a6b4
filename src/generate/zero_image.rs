//! The embedding of the zero image, from which guidance pushes away where there is no negative prompt: read from a file beside the vision tower or in
//! the cache, so that the tower is not loaded for it.

use std::path::{Path, PathBuf};

use super::recipe::absolute;
use crate::files::{self, FileError};
use crate::limits::{NotFinite, finite};
use crate::models::clip::ImageEncoder;
use crate::weights::{Checkpoint, TensorFile, WeightsError};

/// File that holds the zero image's embedding, beside the vision tower's weights.
pub const ZERO_IMAGE: &str = "zero_image_embed.safetensors";
/// Its tensor.
const EMBEDDING: &str = "image_embeds";
/// The metadata key with the identity of the weights it was computed with.
const WEIGHTS: &str = "weights";
/// The metadata key with the float type that it was computed in.
const DTYPE: &str = "dtype";

/// The zero image's embedding for the vision tower in `dir`, `[d_clip]`, and the identity of the weights it was computed with, if these are the
/// weights there (or were removed to save 7 GB) and it was computed in `dtype` or in f32. It is read from `dir`, where the author of a pipeline may put it,
/// else from the cache folder.
pub fn cached_zero_image(dir: &Path, d_clip: usize, dtype: &str) -> Option<(Vec<f32>, String)> {
    let places = std::iter::once(dir.join(ZERO_IMAGE)).chain(zero_image_cache(dir).ok());
    let mut found = places.filter_map(|file| stored_zero_image(&file, dir, d_clip, dtype));
    found.next()
}

/// The cache file for the vision tower in `dir`: nothing is written to folders of weights.
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

/// Computes the zero image's embedding, in `dtype`, and caches it. A cache that cannot be written gives a warning.
///
/// # Errors
/// [`NotFinite`] where the vision tower gives no numbers.
pub fn zero_image(encoder: &ImageEncoder, dir: &Path, dtype: &str) -> Result<Vec<f32>, NotFinite> {
    let values: Vec<f32> = encoder.zero_image().into_data().iter::<f32>().collect();
    finite(|| "the zero image's embedding".into(), &values)?;
    let keep = || -> Result<(), WeightsError> {
        let (weights, file) = (Checkpoint::open(dir)?, zero_image_cache(dir)?);
        files::create_dir(file.parent().unwrap_or(Path::new(".")))?;
        keep_zero_image(&values, &weights.fingerprint(), dtype, &file)
    };
    if let Err(error) = keep() {
        let source = std::error::Error::source(&error).map_or(String::new(), |s| format!(": {s}"));
        tracing::warn!(
            "the zero image's embedding is computed at every call: {error}{source}; ECLIPSE_CACHE names another cache folder"
        );
    }
    Ok(values)
}

/// Writes the zero image's embedding, by a vision tower whose weights have this fingerprint, computed in `dtype`, to the file `path`.
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
