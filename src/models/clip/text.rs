//! CLIP's text tower: token ids -> hidden states and `z_y` (reference: transformers `CLIPTextModelWithProjection`).
//!
//! Axes: batch; n_text tokens; d_model; d_clip.

use std::path::Path;

use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::assert_shape;

use super::config::{ClipTextConfig, Source, read_tower};
use super::encoder::{Block, BlockConfig, block_rules};
use crate::nn::{LayerNorm, RowGroups, Rows, causal_bias, narrow, padding_bias};
use crate::weights::{self, Checkpoint, Mapping, WeightsError};

/// Published names of [`ClipText`]'s parameters.
pub const MAPPING: Mapping = Mapping {
    rules: block_rules![
        (".tokens.", ".text_model.embeddings.token_embedding."),
        (".positions.", ".text_model.embeddings.position_embedding."),
        (".blocks.", ".text_model.encoder.layers."),
        (".norm_out.", ".text_model.final_layer_norm."),
        (".projection.", ".text_projection."),
    ],
};

/// Tensors that a text tower may leave unused: index buffers of old transformers versions.
const IGNORED: [&str; 1] = ["text_model.embeddings.position_ids"];
/// And those of the other tower in a full CLIP.
const IGNORED_FULL: [&str; 4] = [IGNORED[0], "vision_model.", "visual_projection.", "logit_scale"];

/// The text tower with its projection.
#[derive(Module, Debug)]
pub struct ClipText {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm_out: LayerNorm,
    /// `[d_model, d_clip]`, without bias
    projection: Linear,
    eos_token_id: u32,
}

/// What the text tower gives.
#[derive(Debug, Clone)]
pub struct TextOutput {
    /// Token plus position embeddings, `[batch, n_text, d_model]`.
    pub embeddings: Tensor<3>,
    /// Input of the last block, `[batch, n_text, d_model]`.
    pub penultimate_hidden_state: Tensor<3>,
    /// After the final norm, `[batch, n_text, d_model]`: what a prior reads.
    pub last_hidden_state: Tensor<3>,
    /// The hidden state at the end-of-text token, `[batch, d_model]`.
    pub pooled: Tensor<2>,
    /// The projected text embedding, not normalised, `[batch, d_clip]`.
    pub z_y: Tensor<2>,
}

impl Rows for TextOutput {
    fn cat(parts: Vec<Self>) -> Self {
        let states = |of: fn(&Self) -> &Tensor<3>| Tensor::cat(parts.iter().map(of).cloned().collect(), 0);
        let vectors = |of: fn(&Self) -> &Tensor<2>| Tensor::cat(parts.iter().map(of).cloned().collect(), 0);
        Self {
            embeddings: states(|part| &part.embeddings),
            penultimate_hidden_state: states(|part| &part.penultimate_hidden_state),
            last_hidden_state: states(|part| &part.last_hidden_state),
            pooled: vectors(|part| &part.pooled),
            z_y: vectors(|part| &part.z_y),
        }
    }
}

impl ClipTextConfig {
    /// A tower with Burn's own (lazy) initial values.
    pub fn init(&self, device: &Device) -> ClipText {
        let block = BlockConfig {
            d_model: self.hidden_size,
            d_ff: self.intermediate_size,
            n_heads: self.num_attention_heads,
            activation: self.hidden_act,
            norm_eps: self.layer_norm_eps,
        };
        ClipText {
            tokens: EmbeddingConfig::new(self.vocab_size, self.hidden_size).init(device),
            positions: EmbeddingConfig::new(self.max_position_embeddings, self.hidden_size).init(device),
            blocks: (0..self.num_hidden_layers).map(|_| block.init(device)).collect(),
            norm_out: block.norm(device),
            projection: LinearConfig::new(self.hidden_size, self.projection_dim)
                .with_bias(false)
                .init(device),
            eos_token_id: self.eos_token_id,
        }
    }
}

impl ClipText {
    /// Loads the tower from a published folder: its config and weights.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<(ClipTextConfig, Self), WeightsError> {
        let (config, source): (ClipTextConfig, _) = read_tower(dir, "text_config", "clip_text_model")?;
        let ignored: &[&str] = if source == Source::Full {
            &IGNORED_FULL
        } else {
            &IGNORED
        };
        let module = Self::from_checkpoint(&config, &Checkpoint::open(dir)?, ignored, device)?;
        Ok((config, module))
    }

    /// The same tower with z_y multiplied by `factor`.
    pub fn rescaled(mut self, factor: f64) -> Self {
        self.projection.weight = self.projection.weight.map(|w| w.mul_scalar(factor));
        self
    }

    /// Loads weights that fit `config`; tensors whose names start with an entry of `ignored` may be left unused.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming the tensors.
    pub fn from_checkpoint(
        config: &ClipTextConfig,
        weights: &Checkpoint,
        ignored: &[&str],
        device: &Device,
    ) -> Result<Self, WeightsError> {
        weights::load(
            config.init(device),
            "CLIP's text tower",
            weights,
            &MAPPING,
            ignored,
        )
    }

    /// `ids`: `[batch, n_text]`; `mask`: `[batch, n_text]`, 1 for tokens and 0 for padding. The published pipelines pass none: attention is
    /// causal and padding comes last, so it changes only the states at the padding itself.
    pub fn forward(&self, ids: Tensor<2, Int>, mask: Option<Tensor<2>>) -> TextOutput {
        let [batch, n_text] = ids.dims();
        let in_blocks = self.blocks.num_params() as f64;
        let groups = RowGroups::new(batch, 2.0 * in_blocks * n_text as f64, &ids.device());
        groups.rows(|_, rows| {
            self.forward_rows(narrow(&ids, &rows), mask.as_ref().map(|mask| narrow(mask, &rows)))
        })
    }

    fn forward_rows(&self, ids: Tensor<2, Int>, mask: Option<Tensor<2>>) -> TextOutput {
        let [batch, n_text] = ids.dims();
        let device = ids.device();
        let positions = Tensor::arange(0..n_text as i64, &device).unsqueeze::<2>();
        let embeddings = self.tokens.forward(ids.clone()) + self.positions.forward(positions);
        let causal = causal_bias(n_text, &device);
        let bias = match mask {
            Some(mask) => causal + padding_bias(mask),
            None => causal,
        };
        let mut x = embeddings.clone();
        let mut penultimate = x.clone();
        for block in &self.blocks {
            penultimate = x.clone();
            x = block.forward(x, Some(bias.clone()));
        }
        let last_hidden_state = self.norm_out.forward(x);
        let d_model = last_hidden_state.dims()[2];
        let end = self
            .end_of_text(ids)
            .reshape([batch, 1, 1])
            .expand([batch, 1, d_model]);
        let pooled = last_hidden_state.clone().gather(1, end).reshape([batch, d_model]);
        let z_y = self.projection.forward(pooled.clone());
        assert_shape!(embeddings, [batch, n_text, d_model]);
        TextOutput {
            embeddings,
            penultimate_hidden_state: penultimate,
            last_hidden_state,
            pooled,
            z_y,
        }
    }

    /// `[batch]`: the first position of the largest id when the config carries the legacy `eos_token_id` 2, else of that id (0 if absent),
    /// as transformers' `CLIPTextTransformer` does.
    fn end_of_text(&self, ids: Tensor<2, Int>) -> Tensor<1, Int> {
        let [batch, n_text] = ids.dims();
        let hit = match self.eos_token_id {
            2 => ids.clone().equal(ids.clone().max_dim(1).expand([batch, n_text])),
            id => ids.clone().equal_elem(id as i64),
        };
        // Earlier positions weigh more, so that ties between backends' argmax cannot matter.
        let weight = Tensor::<1, Int>::arange(0..n_text as i64, &ids.device())
            .neg()
            .add_scalar(n_text as i64);
        let score = hit.int() * weight.unsqueeze::<2>().expand([batch, n_text]);
        score.argmax(1).reshape([batch])
    }
}
