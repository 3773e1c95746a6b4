//! BLIP's `config.json`, with transformers' defaults for keys that published files leave out.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::check::{at_most, require};
use crate::config::{ConfigError, InvalidValue, from_json};
use crate::limits::{MAX_LAYERS, MAX_SIDE, MAX_WIDTH};
use crate::nn::Activation;
use crate::weights::{WeightsError, read_json};

/// Tokens of a question, at most (reference: T2I-CompBench's `models/blip_vqa.py`, `max_length`).
pub(super) const MAX_TOKENS: usize = 35;

/// The epsilon of the vision tower's norms in BLIP's own code (`models/vit.py`), whatever `config.json` says: transformers' conversion of the published
/// weights left its default of 1e-5 in it.
pub const VISION_NORM_EPS: f64 = 1e-6;

/// Both BERTs (transformers `BlipTextConfig`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BlipTextConfig {
    /// Tokens known, [`BlipTextConfig::bos_token_id`] and the one after it among them.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width of the states that cross-attention reads.
    pub encoder_hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Of the feed-forward layer.
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// `[DEC]`, which starts an answer. The next token, `[ENC]`, starts a question (reference: BLIP's `init_tokenizer`).
    pub bos_token_id: u32,
    /// Padding.
    pub pad_token_id: u32,
}

impl Default for BlipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30524,
            hidden_size: 768,
            encoder_hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            bos_token_id: 30522,
            pad_token_id: 0,
        }
    }
}

/// The vision tower (transformers `BlipVisionConfig`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BlipVisionConfig {
    /// Width.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Side of the image that the position embeddings are for, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Of the feed-forward layer.
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
}

impl Default for BlipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 384,
            patch_size: 16,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
        }
    }
}

/// A BLIP that answers questions.
#[derive(Debug, Clone, PartialEq)]
pub struct BlipConfig {
    /// The BERTs, which have the same sizes.
    pub text: BlipTextConfig,
    /// The vision tower.
    pub vision: BlipVisionConfig,
}

/// transformers' name of the architecture.
const ARCHITECTURE: &str = "BlipForQuestionAnswering";

impl BlipConfig {
    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file and the key: another architecture, or sizes that no network can have.
    pub fn read(dir: &Path) -> Result<Self, WeightsError> {
        let path = dir.join("config.json");
        let json: Map<String, Value> = read_json(&path)?;
        let at = path.display();
        let wrong = |key: &str, expected: &str, found: &str| {
            WeightsError::from(ConfigError::value(&at, key, expected, found))
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let architecture = text(json.get("architectures").and_then(|all| all.get(0)));
        if let Some(found) = architecture.filter(|name| name != ARCHITECTURE) {
            return Err(wrong("architectures", ARCHITECTURE, &found));
        }
        let kind = text(json.get("model_type"));
        if kind.as_deref() != Some("blip") {
            return Err(wrong("model_type", "blip", kind.as_deref().unwrap_or("nothing")));
        }
        let config = Self {
            text: part(&json, "text_config", &at.to_string())?,
            vision: part(&json, "vision_config", &at.to_string())?,
        };
        config
            .check()
            .map_err(|invalid| WeightsError::from(invalid.at(at)))?;
        Ok(config)
    }

    /// The same with the norms of BLIP's own code, see [`VISION_NORM_EPS`].
    #[must_use]
    pub fn with_official_norms(mut self) -> Self {
        self.vision.layer_norm_eps = VISION_NORM_EPS;
        self
    }

    fn check(&self) -> Result<(), InvalidValue> {
        let (text, vision) = (&self.text, &self.vision);
        for (key, size) in [
            ("text_config.num_attention_heads", text.num_attention_heads),
            ("text_config.hidden_size", text.hidden_size),
            ("text_config.intermediate_size", text.intermediate_size),
            ("text_config.num_hidden_layers", text.num_hidden_layers),
            ("vision_config.num_attention_heads", vision.num_attention_heads),
            ("vision_config.hidden_size", vision.hidden_size),
            ("vision_config.intermediate_size", vision.intermediate_size),
            ("vision_config.num_hidden_layers", vision.num_hidden_layers),
            ("vision_config.patch_size", vision.patch_size),
        ] {
            require(key, size > 0, "at least 1", size)?;
            let most = if key.ends_with("_layers") {
                MAX_LAYERS
            } else {
                MAX_WIDTH
            };
            at_most(key, most, size)?;
        }
        for (part, width, heads) in [
            ("text_config", text.hidden_size, text.num_attention_heads),
            ("vision_config", vision.hidden_size, vision.num_attention_heads),
        ] {
            let (key, expected) = (
                format!("{part}.num_attention_heads"),
                format!("a divisor of hidden_size ({width})"),
            );
            require(&key, width.is_multiple_of(heads), expected, heads)?;
        }
        // The question's states are read by the same cross-attention that reads the image's.
        let read = text.encoder_hidden_size;
        for (key, width) in [
            ("text_config.encoder_hidden_size", text.hidden_size),
            ("vision_config.hidden_size", vision.hidden_size),
        ] {
            let expected = format!("{width}, the width of the states that are read");
            require(key, read == width, expected, read)?;
        }
        at_most("vision_config.image_size", MAX_SIDE, vision.image_size)?;
        let (longest, side) = (text.max_position_embeddings, vision.image_size);
        let least = MAX_TOKENS;
        require(
            "text_config.max_position_embeddings",
            longest >= least,
            format!("at least {least}, the tokens of a question"),
            longest,
        )?;
        require(
            "vision_config.image_size",
            side >= vision.patch_size,
            format!("at least patch_size ({})", vision.patch_size),
            side,
        )?;
        let (bos, known) = (text.bos_token_id as usize, text.vocab_size);
        require(
            "text_config.bos_token_id",
            bos < known.saturating_sub(1),
            format!(
                "at most {}: [DEC], with [ENC] behind it in the vocabulary",
                known.saturating_sub(2)
            ),
            bos,
        )
    }
}

fn part<T: serde::de::DeserializeOwned>(
    json: &Map<String, Value>,
    key: &str,
    at: &str,
) -> Result<T, WeightsError> {
    let value = json
        .get(key)
        .ok_or_else(|| ConfigError::value(at, key, "an object", "nothing"))?;
    Ok(from_json(value, at).map_err(|error| error.under(key))?)
}
