//! Captions and images to embeddings: tokenizer or preprocessing, then the tower, in batches.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use image::RgbImage;

use super::folders::{self, PROCESSOR, PROCESSORS, TOKENIZERS, TOWERS};
use super::preprocess::{Preprocess, PreprocessError};
use super::tokenizer::{Tokenizer, TokenizerError, Tokens};
use super::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig};
use crate::models::text::TextCondition;
use crate::nn::{TokenMask, to_f32};
use crate::weights::WeightsError;

/// An encoder's folder that cannot be used, or an input that cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Config or weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Preprocessing, or an image.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A file that no likely place holds.
    #[error("{dir}: no {what} in {}", .looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or "))]
    Absent {
        /// The folder given.
        dir: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Where.
        looked: Vec<PathBuf>,
    },
    /// The tokenizer knows tokens that the tower does not.
    #[error("{dir}: the tokenizer has {tokenizer} tokens, but `vocab_size` is {tower} in the tower")]
    Vocabulary {
        /// The tokenizer's folder.
        dir: PathBuf,
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Tokens of the tower.
        tower: usize,
    },
    /// The preprocessing makes images that the tower does not take.
    #[error("{dir}: `crop_size` is {crop:?} in the preprocessing, but `image_size` is {tower} in the tower")]
    ImageSize {
        /// The folder.
        dir: PathBuf,
        /// What the preprocessing makes, width and height.
        crop: Option<(u32, u32)>,
        /// Side the tower takes.
        tower: usize,
    },
}

/// Tokenizer and text tower.
#[derive(Debug)]
pub struct TextEncoder {
    tokenizer: Tokenizer,
    tower: ClipText,
    config: ClipTextConfig,
    device: Device,
}

impl TextEncoder {
    /// Loads from a text tower's folder whose tokenizer lies in it or in `../tokenizer`, or from a pipeline with `text_encoder/` and
    /// `tokenizer/`.
    ///
    /// # Errors
    /// [`ClipError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ClipError> {
        let inner = dir.join(TOWERS[0]);
        let tower_dir = if inner.is_dir() { inner } else { dir.to_path_buf() };
        let (config, tower) = ClipText::load(&tower_dir, device)?;
        let holds = |d: &Path| d.join("tokenizer.json").is_file() || d.join("vocab.json").is_file();
        let found = folders::find(&tower_dir, &TOKENIZERS, holds).map_err(|looked| ClipError::Absent {
            dir: dir.to_path_buf(),
            what: "tokenizer.json or vocab.json",
            looked,
        })?;
        let tokenizer = Tokenizer::load(&found, config.max_position_embeddings)?;
        if tokenizer.n_vocab() > config.vocab_size {
            return Err(ClipError::Vocabulary {
                dir: found,
                tokenizer: tokenizer.n_vocab(),
                tower: config.vocab_size,
            });
        }
        Ok(Self {
            tokenizer,
            tower,
            config,
            device: device.clone(),
        })
    }

    /// The tower's sizes.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Encodes captions in one batch.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`].
    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<TextCondition, ClipError> {
        Ok(self.encode_tokens(&self.tokenizer.encode_batch(texts)?))
    }

    /// Encodes tokenized captions in one batch.
    pub fn encode_tokens(&self, tokens: &[Tokens]) -> TextCondition {
        self.encode_first(tokens, self.tokenizer.n_text())
    }

    /// Encodes the first `n_text` tokens of captions that are no longer, without the padding after them: attention is causal, so the states of the tokens
    /// and z_y are the same to rounding.
    ///
    /// # Panics
    /// If a caption is longer.
    pub fn encode_first(&self, tokens: &[Tokens], n_text: usize) -> TextCondition {
        let lengths: Vec<usize> = tokens.iter().map(|t| t.n_valid).collect();
        assert!(
            lengths.iter().all(|length| *length <= n_text),
            "a caption of more than {n_text} tokens"
        );
        let ids: Vec<i64> = tokens
            .iter()
            .flat_map(|t| t.ids[..n_text].iter().map(|&id| i64::from(id)))
            .collect();
        let ids = TensorData::new(ids, [tokens.len(), n_text]);
        // The published pipelines pass no mask to the text tower (reference: `_encode_prompt`).
        let output = self.tower.forward(Tensor::from_data(ids, &self.device), None);
        TextCondition {
            z_y: to_f32(output.z_y),
            tokens: to_f32(output.last_hidden_state),
            mask: Some(TokenMask::of_lengths(&lengths, n_text, &self.device)),
        }
    }
}

/// Preprocessing and vision tower.
#[derive(Debug)]
pub struct ImageEncoder {
    preprocess: Preprocess,
    tower: ClipVision,
    config: ClipVisionConfig,
    device: Device,
}

impl ImageEncoder {
    /// Loads from a vision tower's folder whose `preprocessor_config.json` lies in it, in `../feature_extractor` (Karlo) or in
    /// `../image_processor` (Kandinsky 2.2), or from a pipeline with `image_encoder/`.
    ///
    /// # Errors
    /// [`ClipError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ClipError> {
        let inner = dir.join(TOWERS[1]);
        let tower_dir = if inner.is_dir() { inner } else { dir.to_path_buf() };
        let (config, tower) = ClipVision::load(&tower_dir, device)?;
        let holds = |d: &Path| d.join(PROCESSOR).is_file();
        let found = folders::find(&tower_dir, &PROCESSORS, holds).map_err(|looked| ClipError::Absent {
            dir: dir.to_path_buf(),
            what: PROCESSOR,
            looked,
        })?;
        let preprocess = Preprocess::read(&found)?;
        if preprocess.crop != Some((config.image_size as u32, config.image_size as u32)) {
            let crop = preprocess.crop;
            return Err(ClipError::ImageSize {
                dir: found,
                crop,
                tower: config.image_size,
            });
        }
        Ok(Self {
            preprocess,
            tower,
            config,
            device: device.clone(),
        })
    }

    /// The tower's sizes.
    pub fn config(&self) -> &ClipVisionConfig {
        &self.config
    }

    /// The vision tower itself.
    pub fn tower(&self) -> &ClipVision {
        &self.tower
    }

    /// The preprocessing.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Encodes images in one batch -> z_x `[n, d_clip]`.
    ///
    /// # Errors
    /// [`ClipError::Preprocess`].
    pub fn encode(&self, pictures: &[RgbImage]) -> Result<Tensor<2>, ClipError> {
        Ok(self.encode_pixels(self.preprocess.apply_batch(pictures)?))
    }

    /// Encodes preprocessed images: `pixels` holds `n` times `[3, side, side]` -> z_x `[n, d_clip]`.
    pub fn encode_pixels(&self, pixels: Vec<f32>) -> Tensor<2> {
        let side = self.config.image_size;
        let n = pixels.len() / (3 * side * side);
        let pixels = Tensor::from_data(TensorData::new(pixels, [n, 3, side, side]), &self.device);
        to_f32(self.tower.forward(pixels).z_x)
    }

    /// z_x of the image that is zero after normalisation, `[1, d_clip]`: Kandinsky's unconditional image embedding.
    pub fn zero_image(&self) -> Tensor<2> {
        let side = self.config.image_size;
        self.encode_pixels(vec![0.0; 3 * side * side])
    }
}
