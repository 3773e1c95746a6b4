//! CLIP's vision tower: pixels -> `z_x` (reference: transformers `CLIPVisionModelWithProjection`).
//!
//! Axes: batch; seq = 1 class token + patches; d_model; d_clip.

use std::path::Path;

use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::prelude::*;

use super::config::{ClipVisionConfig, Source, read_tower};
use super::encoder::{Block, BlockConfig, block_rules};
use crate::nn::{LayerNorm, RowGroups, Rows, convolve, narrow, to_compute_dtype};
use crate::weights::{self, Checkpoint, Mapping, WeightsError};

/// Published names of [`ClipVision`]'s parameters. `pre_layrnorm` is spelt so in every published checkpoint.
pub const MAPPING: Mapping = Mapping {
    rules: block_rules![
        (".class_token", ".vision_model.embeddings.class_embedding"),
        (".patches.", ".vision_model.embeddings.patch_embedding."),
        (".positions.", ".vision_model.embeddings.position_embedding."),
        (".norm_in.", ".vision_model.pre_layrnorm."),
        (".blocks.", ".vision_model.encoder.layers."),
        (".norm_out.", ".vision_model.post_layernorm."),
        (".projection.", ".visual_projection."),
    ],
};

const IGNORED: [&str; 1] = ["vision_model.embeddings.position_ids"];
const IGNORED_FULL: [&str; 4] = [IGNORED[0], "text_model.", "text_projection.", "logit_scale"];

/// The vision tower with its projection.
#[derive(Module, Debug)]
pub struct ClipVision {
    /// `[d_model]`
    class_token: Param<Tensor<1>>,
    /// One step per patch, without bias.
    patches: Conv2d,
    positions: Embedding,
    norm_in: LayerNorm,
    blocks: Vec<Block>,
    norm_out: LayerNorm,
    /// `[d_model, d_clip]`, without bias
    projection: Linear,
}

/// What the vision tower gives.
#[derive(Debug, Clone)]
pub struct VisionOutput {
    /// Input of the last block, `[batch, seq, d_model]`.
    pub penultimate_hidden_state: Tensor<3>,
    /// Output of the last block, before the final norm, `[batch, seq, d_model]`.
    pub last_hidden_state: Tensor<3>,
    /// The projected image embedding, not normalised, `[batch, d_clip]`.
    pub z_x: Tensor<2>,
}

impl Rows for VisionOutput {
    fn cat(parts: Vec<Self>) -> Self {
        let states = |of: fn(&Self) -> &Tensor<3>| Tensor::cat(parts.iter().map(of).cloned().collect(), 0);
        Self {
            penultimate_hidden_state: states(|part| &part.penultimate_hidden_state),
            last_hidden_state: states(|part| &part.last_hidden_state),
            z_x: Tensor::cat(parts.iter().map(|part| part.z_x.clone()).collect(), 0),
        }
    }
}

impl ClipVisionConfig {
    /// A tower with Burn's own (lazy) initial values.
    pub fn init(&self, device: &Device) -> ClipVision {
        let block = BlockConfig {
            d_model: self.hidden_size,
            d_ff: self.intermediate_size,
            n_heads: self.num_attention_heads,
            activation: self.hidden_act,
            norm_eps: self.layer_norm_eps,
        };
        let side = self.image_size / self.patch_size;
        let kernel = [self.patch_size; 2];
        ClipVision {
            // 0.02: transformers' `initializer_range`
            class_token: Initializer::Normal { mean: 0.0, std: 0.02 }.init([self.hidden_size], device),
            patches: Conv2dConfig::new([self.num_channels, self.hidden_size], kernel)
                .with_stride(kernel)
                .with_bias(false)
                .init(device),
            positions: EmbeddingConfig::new(side * side + 1, self.hidden_size).init(device),
            norm_in: block.norm(device),
            blocks: (0..self.num_hidden_layers).map(|_| block.init(device)).collect(),
            norm_out: block.norm(device),
            projection: LinearConfig::new(self.hidden_size, self.projection_dim)
                .with_bias(false)
                .init(device),
        }
    }
}

impl ClipVision {
    /// Loads the tower from a published folder: its config and weights.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<(ClipVisionConfig, Self), WeightsError> {
        let (config, source): (ClipVisionConfig, _) = read_tower(dir, "vision_config", "clip_vision_model")?;
        let ignored: &[&str] = if source == Source::Full {
            &IGNORED_FULL
        } else {
            &IGNORED
        };
        let module = config.init(device);
        let module = weights::load(
            module,
            "CLIP's vision tower",
            &Checkpoint::open(dir)?,
            &MAPPING,
            ignored,
        )?;
        Ok((config, module))
    }

    /// The same tower with z_x multiplied by `factor`.
    pub fn rescaled(mut self, factor: f64) -> Self {
        self.projection.weight = self.projection.weight.map(|w| w.mul_scalar(factor));
        self
    }

    /// `pixels`: `[batch, channels, side, side]`, normalised as `preprocessor_config.json` says.
    pub fn forward(&self, pixels: Tensor<4>) -> VisionOutput {
        let [batch, seq] = [pixels.dims()[0], self.positions.weight.dims()[0]];
        let in_blocks = self.blocks.num_params() as f64;
        let groups = RowGroups::new(batch, 2.0 * in_blocks * seq as f64, &pixels.device());
        groups.rows(|_, rows| self.forward_rows(narrow(&pixels, &rows)))
    }

    fn forward_rows(&self, pixels: Tensor<4>) -> VisionOutput {
        let batch = pixels.dims()[0];
        let device = pixels.device();
        let patches = convolve(&self.patches, to_compute_dtype(pixels));
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2); // [batch, patches, d_model]
        let d_model = patches.dims()[2];
        let class = self
            .class_token
            .val()
            .reshape([1, 1, d_model])
            .expand([batch, 1, d_model]);
        let x = Tensor::cat(vec![class, patches], 1);
        let seq = x.dims()[1];
        let positions = Tensor::arange(0..seq as i64, &device).unsqueeze::<2>();
        let mut x = self.norm_in.forward(x + self.positions.forward(positions));
        let mut penultimate = x.clone();
        for block in &self.blocks {
            penultimate = x.clone();
            x = block.forward(x, None);
        }
        let class = self
            .norm_out
            .forward(x.clone().slice([0..batch, 0..1]))
            .reshape([batch, d_model]);
        VisionOutput {
            penultimate_hidden_state: penultimate,
            z_x: self.projection.forward(class),
            last_hidden_state: x,
        }
    }
}
