//! From prompts to image embeddings: tokenizer, text tower and prior in one struct.

use std::path::Path;

use burn::prelude::*;

use super::prior::{AnyPrior, PriorError, PriorSettings, check_text};
use crate::diffusion::DrawNoise;
use crate::limits::finite;
use crate::models::clip::{ClipError, TextEncoder};
use crate::models::prior::TextCondition;
use crate::weights;

/// Prompts in a forward pass. Limits memory.
const BATCH: usize = 32;

/// A text tower and a prior that belong together.
#[derive(Debug)]
pub struct PriorPipeline {
    text: TextEncoder,
    prior: AnyPrior,
}

/// An error of [`PriorPipeline`].
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The text side.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The prior.
    #[error(transparent)]
    Prior(#[from] PriorError),
}

/// What a call of [`PriorPipeline::predict`] asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PriorRequest {
    /// Captions.
    pub prompts: Vec<String>,
    /// What guidance of a diffusion prior pushes away from; the empty caption if absent.
    pub negative: Option<String>,
    /// Steps, guidance, eta.
    pub settings: PriorSettings,
    /// Candidates for each prompt, of which the one nearest to the text is kept; 0 counts as 1.
    pub best_of: usize,
}

/// Embeddings of prompts, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// The width of the embeddings.
    pub d_clip: usize,
    /// Predicted image embeddings, `[n, d_clip]`.
    pub z_x_hat: Vec<f32>,
    /// Text embeddings, `[n, d_clip]`.
    pub z_y: Vec<f32>,
    /// Words of each prompt that did not fit the text tower.
    pub n_words_cut: Vec<usize>,
}

impl PriorPipeline {
    /// Loads a prior's folder and the text tower it was trained on.
    ///
    /// # Errors
    /// [`PipelineError`], naming the file, the key or the tensors; [`PriorError::Width`] when the two come from different CLIPs.
    pub fn load(prior_dir: &Path, text_dir: &Path, device: &Device) -> Result<Self, PipelineError> {
        let text_dir = weights::folder(text_dir).map_err(ClipError::from)?;
        let text = TextEncoder::load(&text_dir, device)?;
        let (config, prior) = AnyPrior::load(prior_dir, device)?;
        check_text(text.config(), &config, prior_dir)?;
        Ok(Self { text, prior })
    }

    /// The words of `prompt` that the text tower reads as unknown.
    pub fn unknown_words(&self, prompt: &str) -> Vec<String> {
        self.text.tokenizer().unknown_words(prompt)
    }

    /// Predicts an image embedding for each prompt. The noise is drawn batch by batch, so that a prompt's result depends on its row.
    ///
    /// # Errors
    /// [`PipelineError`] for settings out of range, a prompt that cannot be tokenized or an embedding that is not finite.
    pub fn predict(
        &self,
        request: &PriorRequest,
        noise: &mut impl DrawNoise<2>,
    ) -> Result<Predictions, PipelineError> {
        let d_clip = self.text.config().projection_dim;
        let mut out = Predictions {
            d_clip,
            z_x_hat: Vec::new(),
            z_y: Vec::new(),
            n_words_cut: Vec::new(),
        };
        for prompts in request.prompts.chunks(BATCH) {
            let (text, cut) = self.encode(prompts)?;
            let uncond = vec![request.negative.clone().unwrap_or_default(); prompts.len()];
            let (uncond, _) = self.encode(&uncond)?;
            let z_y: Vec<f32> = text.z_y.to_data().iter::<f32>().collect();
            let n = request.best_of.max(1);
            let z_x_hat = self
                .prior
                .sample_best_of(n, &text, &uncond, request.settings, noise)?;
            let z_x_hat: Vec<f32> = z_x_hat.into_data().iter::<f32>().collect();
            let rows = z_x_hat.chunks_exact(d_clip).zip(z_y.chunks_exact(d_clip));
            for (prompt, (z_x_hat, z_y)) in prompts.iter().zip(rows) {
                finite(|| format!("the text tower's embedding of {prompt:?}"), z_y)
                    .map_err(PriorError::from)?;
                finite(|| format!("the prior's embedding of {prompt:?}"), z_x_hat)
                    .map_err(PriorError::from)?;
            }
            out.z_y.extend(z_y);
            out.z_x_hat.extend(z_x_hat);
            out.n_words_cut.extend(cut);
        }
        Ok(out)
    }

    fn encode(&self, prompts: &[String]) -> Result<(TextCondition, Vec<usize>), PipelineError> {
        let tokens = self
            .text
            .tokenizer()
            .encode_batch(prompts)
            .map_err(ClipError::from)?;
        let n_words_cut = tokens.iter().map(|t| t.n_words_cut).collect();
        Ok((self.text.encode_tokens(&tokens), n_words_cut))
    }
}
