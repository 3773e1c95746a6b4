//! CLIP's `config.json`, with transformers' defaults for keys that published files leave out.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::nn::Activation;
use crate::weights::{WeightsError, read_json};

/// The text tower (transformers `CLIPTextConfig`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Tokens known.
    pub vocab_size: usize,
    /// Width of the tower.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Width of the joint space, d_clip.
    pub projection_dim: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Longest sequence, n_text.
    pub max_position_embeddings: usize,
    /// `quick_gelu` (OpenAI) or `gelu` (OpenCLIP).
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// 2 in files older than transformers 4.30: pool at the largest id; else pool at the first token with this id.
    pub eos_token_id: u32,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
        }
    }
}

/// The vision tower (transformers `CLIPVisionConfig`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Width of the tower.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Width of the joint space, d_clip.
    pub projection_dim: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Colour channels.
    pub num_channels: usize,
    /// Side of the picture, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// `quick_gelu` (OpenAI) or `gelu` (OpenCLIP).
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

/// A full CLIP (transformers `CLIPConfig`): both towers and the joint width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipConfig {
    /// `CLIPModel`.
    pub architectures: Vec<String>,
    /// `clip`.
    pub model_type: String,
    /// Start of the learned log temperature.
    pub logit_scale_init_value: f64,
    /// d_clip.
    pub projection_dim: usize,
    /// The text tower.
    pub text_config: ClipTextConfig,
    /// The vision tower.
    pub vision_config: ClipVisionConfig,
}

impl ClipConfig {
    /// A full CLIP of two towers that share `projection_dim`.
    ///
    /// # Panics
    /// If the towers' joint widths differ.
    pub fn new(text_config: ClipTextConfig, vision_config: ClipVisionConfig) -> Self {
        let projection_dim = text_config.projection_dim;
        assert_eq!(
            projection_dim, vision_config.projection_dim,
            "both towers must project to one space"
        );
        Self {
            architectures: vec!["CLIPModel".into()],
            model_type: "clip".into(),
            logit_scale_init_value: 2.6592, // ln(1/0.07), the CLIP paper's section 2.5
            projection_dim,
            text_config,
            vision_config,
        }
    }
}

/// Which kind of folder a tower was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// One tower alone: every tensor must be used.
    Tower,
    /// Both towers: the other one is skipped.
    Full,
}

/// Reads `dir/config.json` for one tower: the file itself, or its `key` (`text_config`, `vision_config`) when it describes a full CLIP,
/// whose root `projection_dim` then counts (OpenCLIP's published towers leave it out: reference `eclipse-inference` forces it too).
pub(super) fn read_tower<T>(dir: &Path, key: &str, expected_type: &str) -> Result<(T, Source), WeightsError>
where
    T: serde::de::DeserializeOwned,
{
    let path = dir.join("config.json");
    let mut json: serde_json::Map<String, serde_json::Value> = read_json(&path)?;
    let config_error = |reason: String| WeightsError::Config {
        path: path.clone(),
        reason,
    };
    let source = match json.get("model_type").and_then(|v| v.as_str()) {
        Some("clip") => Source::Full,
        Some(found) if found == expected_type => Source::Tower,
        found => {
            let found = found.unwrap_or("nothing");
            return Err(config_error(format!(
                "`model_type`: expected {expected_type} or clip, found {found}"
            )));
        }
    };
    if source == Source::Full {
        let root_dim = json.get("projection_dim").cloned();
        let Some(serde_json::Value::Object(mut tower)) = json.remove(key) else {
            return Err(config_error(format!("`{key}`: expected an object, found none")));
        };
        if let Some(dim) = root_dim {
            tower.insert("projection_dim".into(), dim);
        }
        json = tower;
    }
    let config = serde_json::from_value(json.into()).map_err(|e| config_error(e.to_string()))?;
    Ok((config, source))
}
