//! What Karlo's decoder reads of a caption and an image embedding (unCLIP, arXiv 2204.06125, section 2.1; reference: diffusers
//! `UnCLIPTextProjModel`).
//!
//! Axes: batch; n_text; n_extra tokens made of z_x; d_clip; d_cross, the width that the decoder attends to; d_time, the width of its time embedding.

use std::path::Path;

use burn::module::Param;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::{DType, assert_shape};
use serde::{Deserialize, Serialize};

use crate::config::InvalidValue;
use crate::config::check::require;
use crate::nn::{LayerNorm, LayerNormConfig, to_compute_dtype, to_f32};
use crate::weights::{self, Checkpoint, Mapping, WeightsError, read_json};

/// Layer norms of the reference are PyTorch's: eps 1e-5.
const NORM_EPS: f64 = 1e-5;

/// Published names of [`TextProj`]'s parameters.
pub const MAPPING: Mapping = Mapping {
    rules: &[
        (".z_x_unguided", ".learned_classifier_free_guidance_embeddings"),
        (".z_y_to_time.", ".embedding_proj."),
        (
            ".z_x_to_time.",
            ".clip_image_embeddings_project_to_time_embeddings.",
        ),
        (".z_x_to_tokens.", ".clip_extra_context_tokens_proj."),
        (".proj_tokens.", ".encoder_hidden_states_proj."),
        (".norm_tokens.", ".text_encoder_hidden_states_norm."),
    ],
};

/// diffusers' class of the config.
const CLASS: &str = "UnCLIPTextProjModel";

/// `config.json` of a text projection, under diffusers' key names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextProjConfig {
    /// `UnCLIPTextProjModel`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Tokens made of z_x: 4.
    #[serde(rename = "clip_extra_context_tokens")]
    pub n_extra: usize,
    /// d_clip: 768.
    #[serde(rename = "clip_embeddings_dim")]
    pub d_clip: usize,
    /// d_time: 1280. Has no default.
    #[serde(rename = "time_embed_dim")]
    pub d_time: usize,
    /// d_cross: 1536. Has no default.
    #[serde(rename = "cross_attention_dim")]
    pub d_cross: usize,
}

impl Default for TextProjConfig {
    fn default() -> Self {
        Self {
            class_name: CLASS.into(),
            n_extra: 4,
            d_clip: 768,
            d_time: 0,
            d_cross: 0,
        }
    }
}

impl TextProjConfig {
    /// Karlo's: 7,878,400 parameters.
    pub fn karlo() -> Self {
        Self {
            d_time: 1280,
            d_cross: 1536,
            ..Self::default()
        }
    }

    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// [`WeightsError::Value`] naming the key, for another class or a size of zero.
    pub fn read(dir: &Path) -> Result<Self, WeightsError> {
        let path = dir.join("config.json");
        let config: Self = read_json(&path)?;
        config.check().map_err(|invalid| invalid.at(path.display()))?;
        Ok(config)
    }

    /// Refuses what this code would get wrong.
    ///
    /// # Errors
    /// The key, what was expected and what was found.
    pub fn check(&self) -> Result<(), InvalidValue> {
        let class = &self.class_name;
        require("_class_name", class == CLASS, CLASS, class)?;
        for (key, value) in [
            ("clip_extra_context_tokens", self.n_extra),
            ("clip_embeddings_dim", self.d_clip),
            ("time_embed_dim", self.d_time),
            ("cross_attention_dim", self.d_cross),
        ] {
            require(key, value > 0, "at least 1", "0 or no such key")?;
        }
        Ok(())
    }
}

/// Projections of z_x, z_y and the text tower's states.
#[derive(Module, Debug)]
pub struct TextProj {
    /// `[d_clip]`: stands for z_x in the unconditional half.
    z_x_unguided: Param<Tensor<1>>,
    /// `[d_clip, d_time]`
    z_y_to_time: Linear,
    z_x_to_time: Linear,
    /// `[d_clip, d_cross * n_extra]`
    z_x_to_tokens: Linear,
    /// `[d_clip, d_cross]`
    proj_tokens: Linear,
    norm_tokens: LayerNorm,
    n_extra: usize,
}

impl TextProj {
    /// A module with Burn's own (lazy) initial values.
    pub fn init(config: &TextProjConfig, device: &Device) -> Self {
        let TextProjConfig {
            n_extra,
            d_clip,
            d_time,
            d_cross,
            ..
        } = *config;
        let linear = |d_out: usize| LinearConfig::new(d_clip, d_out).init(device);
        Self {
            // Zeros: the reference's constructor.
            z_x_unguided: Initializer::Zeros.init([d_clip], device),
            z_y_to_time: linear(d_time),
            z_x_to_time: linear(d_time),
            z_x_to_tokens: linear(d_cross * n_extra),
            proj_tokens: linear(d_cross),
            norm_tokens: LayerNormConfig::new(d_cross, NORM_EPS).init(device),
            n_extra,
        }
    }

    /// Loads a published folder.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<(TextProjConfig, Self), WeightsError> {
        let config = TextProjConfig::read(dir)?;
        let module = Self::init(&config, device);
        let module = weights::load(
            module,
            "Karlo's text projection",
            &Checkpoint::open(dir)?,
            &MAPPING,
            &[],
        )?;
        Ok((config, module))
    }

    /// Writes `dir/config.json` and `dir/diffusion_pytorch_model.safetensors`.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn save(&self, config: &TextProjConfig, dir: &Path) -> Result<(), WeightsError> {
        crate::files::create_dir(dir)?;
        let file = dir.join("diffusion_pytorch_model.safetensors");
        weights::save(self, &file, &MAPPING, DType::F32)?;
        weights::write_json(&dir.join("config.json"), config)
    }

    /// `z_x`: `[batch, d_clip]`; `z_y`: `[rows, d_clip]`; `tokens`: `[rows, n_text, d_clip]` -> what the decoder attends to, `[rows, n_extra + n_text,
    /// d_cross]`, and what is added to its time embedding, `[rows, d_time]`.
    ///
    /// With `guided` there are `2 * batch` rows, the unconditional half first, and a learned embedding stands for its z_x; otherwise `batch` rows.
    pub fn forward(
        &self,
        z_x: Tensor<2>,
        z_y: Tensor<2>,
        tokens: Tensor<3>,
        guided: bool,
    ) -> (Tensor<3>, Tensor<2>) {
        let [batch, d_clip] = z_x.dims();
        let (z_x, z_y, tokens) = (
            to_compute_dtype(z_x),
            to_compute_dtype(z_y),
            to_compute_dtype(tokens),
        );
        let z_x = match guided {
            true => {
                let unguided = self.z_x_unguided.val().unsqueeze::<2>().expand([batch, d_clip]);
                Tensor::cat(vec![unguided, z_x], 0)
            }
            false => z_x,
        };
        let rows = z_x.dims()[0];
        assert_shape!(z_y, [rows, d_clip]);
        assert_shape!(tokens, [rows, _, d_clip]);

        let time = self.z_x_to_time.forward(z_x.clone()) + self.z_y_to_time.forward(z_y);
        let extra = self.z_x_to_tokens.forward(z_x);
        let d_cross = extra.dims()[1] / self.n_extra;
        // The channel varies slower than the token in the projection's output.
        let extra = extra.reshape([rows, d_cross, self.n_extra]).swap_dims(1, 2);
        let tokens = self.norm_tokens.forward(self.proj_tokens.forward(tokens));
        (to_f32(Tensor::cat(vec![extra, tokens], 1)), to_f32(time))
    }
}
