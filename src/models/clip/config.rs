//! CLIP's `config.json`, with transformers' defaults for keys that published files leave out.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::check::require;
use crate::config::{ConfigError, InvalidValue, from_json};
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

impl ClipTextConfig {
    /// OpenAI's ViT-L/14, which Karlo uses.
    pub fn vit_l14() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 768,
            num_attention_heads: 12,
            ..Self::default()
        }
    }

    /// OpenCLIP's ViT-bigG/14, which Kandinsky 2.2 uses.
    pub fn vit_bigg14() -> Self {
        Self {
            hidden_size: 1280,
            intermediate_size: 5120,
            projection_dim: 1280,
            num_hidden_layers: 32,
            num_attention_heads: 20,
            hidden_act: Activation::Gelu,
            ..Self::default()
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
    /// Side of the image, in pixels.
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

impl ClipVisionConfig {
    /// OpenAI's ViT-L/14, which Karlo uses.
    pub fn vit_l14() -> Self {
        Self {
            hidden_size: 1024,
            intermediate_size: 4096,
            projection_dim: 768,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            patch_size: 14,
            ..Self::default()
        }
    }

    /// OpenCLIP's ViT-bigG/14, which Kandinsky 2.2 uses.
    pub fn vit_bigg14() -> Self {
        Self {
            hidden_size: 1664,
            intermediate_size: 8192,
            projection_dim: 1280,
            num_hidden_layers: 48,
            num_attention_heads: 16,
            patch_size: 14,
            hidden_act: Activation::Gelu,
            ..Self::default()
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

/// Refuses sizes that no tower can have.
pub(super) trait Tower {
    /// `(key, value)` of every size, heads and the width that they share first.
    fn sizes(&self) -> Vec<(&'static str, usize)>;

    /// What one tower alone needs.
    fn check_own(&self) -> Result<(), InvalidValue> {
        Ok(())
    }

    /// The key, what was expected and what was found.
    fn check(&self) -> Result<(), InvalidValue> {
        let sizes = self.sizes();
        for (key, size) in &sizes {
            require(key, *size > 0, "at least 1", size)?;
        }
        let ((heads_key, heads), (width_key, width)) = (sizes[0], sizes[1]);
        let expected = format!("a divisor of {width_key} ({width})");
        require(heads_key, width.is_multiple_of(heads), expected, heads)?;
        self.check_own()
    }
}

impl Tower for ClipTextConfig {
    fn sizes(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("num_attention_heads", self.num_attention_heads),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("projection_dim", self.projection_dim),
            ("num_hidden_layers", self.num_hidden_layers),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ]
    }
}

impl Tower for ClipVisionConfig {
    fn sizes(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("num_attention_heads", self.num_attention_heads),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("projection_dim", self.projection_dim),
            ("num_hidden_layers", self.num_hidden_layers),
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
        ]
    }

    fn check_own(&self) -> Result<(), InvalidValue> {
        require("num_channels", self.num_channels == 3, "3", self.num_channels)?;
        let (side, patch) = (self.image_size, self.patch_size);
        require(
            "patch_size",
            patch <= side,
            format!("at most image_size ({side})"),
            patch,
        )
    }
}

impl ClipTextConfig {
    /// Reads the text tower's sizes from `dir/config.json`, of the tower alone or of a full CLIP.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file and the key.
    pub fn read(dir: &Path) -> Result<Self, WeightsError> {
        Ok(read_tower(dir, "text_config", "clip_text_model")?.0)
    }
}

impl ClipVisionConfig {
    /// Reads the vision tower's sizes from `dir/config.json`, of the tower alone or of a full CLIP.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file and the key.
    pub fn read(dir: &Path) -> Result<Self, WeightsError> {
        Ok(read_tower(dir, "vision_config", "clip_vision_model")?.0)
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
    T: serde::de::DeserializeOwned + Tower,
{
    let path = dir.join("config.json");
    let mut json: Map<String, Value> = read_json(&path)?;
    let at = path.display();
    let source = match json.get("model_type").and_then(Value::as_str) {
        Some("clip") => Source::Full,
        Some(found) if found == expected_type => Source::Tower,
        found => {
            let expected = format!("{expected_type} or clip");
            let found = found.unwrap_or("nothing");
            return Err(ConfigError::value(at, "model_type", expected, found).into());
        }
    };
    if source == Source::Full {
        let root_dim = json.get("projection_dim").cloned();
        let Some(Value::Object(mut tower)) = json.remove(key) else {
            return Err(ConfigError::value(at, key, "an object", "none").into());
        };
        if let Some(dim) = root_dim {
            tower.insert("projection_dim".into(), dim);
        }
        json = tower;
    }
    let inside = |error: ConfigError| match source {
        Source::Full => error.under(key),
        Source::Tower => error,
    };
    let config: T = from_json(&Value::Object(json), &at.to_string()).map_err(inside)?;
    config.check().map_err(|invalid| inside(invalid.at(at)))?;
    Ok((config, source))
}
