//! Scenes and captions as embeddings.

use crate::data::encode::{EncodeError, FrozenClip};
use crate::eval::{Embeddings, EvalError};
use crate::world::Scene;

/// A CLIP cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// It does not encode this world's captions or images.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Its embeddings cannot be evaluated.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// z_x of scenes.
///
/// # Errors
/// [`MeasureError`].
pub fn embed_scenes(clip: &FrozenClip, scenes: &[Scene]) -> Result<Embeddings, MeasureError> {
    Ok(Embeddings::new(
        scenes.len(),
        clip.d_clip(),
        clip.scenes(scenes)?,
    )?)
}

/// z_y of captions.
///
/// # Errors
/// [`MeasureError`].
pub fn embed_texts(clip: &FrozenClip, captions: &[String]) -> Result<Embeddings, MeasureError> {
    Ok(Embeddings::new(
        captions.len(),
        clip.d_clip(),
        clip.texts(captions)?.z_y().to_vec(),
    )?)
}
