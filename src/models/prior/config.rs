//! diffusers' `PriorTransformer` config, read and written.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TextCondition;
use crate::config::InvalidValue;
use crate::config::check::require;
use crate::nn::{Activation, TokenMask};
use crate::weights::{WeightsError, read_json};

/// A normalisation that a config may switch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormType {
    /// Layer norm.
    Layer,
}

/// What a prior reads of a caption. The paper's, and every published one, reads both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conditioning {
    /// The text embedding and the hidden states.
    #[default]
    Both,
    /// The text embedding z_y alone: the hidden states are masked.
    Pooled,
    /// The hidden states alone: z_y is replaced by zeros.
    Hidden,
}

impl Conditioning {
    /// Whether nothing is taken away.
    pub fn is_both(&self) -> bool {
        *self == Self::Both
    }

    /// `text` without what the prior does not read.
    pub(super) fn of(self, text: TextCondition) -> TextCondition {
        match self {
            Self::Both => text,
            Self::Pooled => {
                let ([batch, _, _], device) = (text.tokens.dims(), text.z_y.device());
                TextCondition {
                    tokens: text.tokens.narrow(1, 0, 1), // a token must be there, but does not count
                    mask: Some(TokenMask::of_lengths(&vec![0; batch], 1, &device)),
                    z_y: text.z_y,
                }
            }
            Self::Hidden => TextCondition {
                z_y: text.z_y.zeros_like(),
                ..text
            },
        }
    }
}

/// `config.json` of a prior. Serialised under diffusers' key names; defaults are diffusers' too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PriorConfig {
    /// `PriorTransformer`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Attention heads: 16 in the 33M priors, 32 in the 1B ones.
    #[serde(rename = "num_attention_heads")]
    pub n_heads: usize,
    /// Width of a head: 32, or 64.
    #[serde(rename = "attention_head_dim")]
    pub d_head: usize,
    /// Blocks: 10, or 20.
    #[serde(rename = "num_layers")]
    pub n_layers: usize,
    /// d_clip: 768 for Karlo (ViT-L/14), 1280 for Kandinsky 2.2 (ViT-bigG/14).
    #[serde(rename = "embedding_dim")]
    pub d_clip: usize,
    /// Text tokens: 77.
    #[serde(rename = "num_embeddings")]
    pub n_text: usize,
    /// Tokens after the text: 3 (pooled text, noise, query) without time, 4 with it.
    #[serde(rename = "additional_embeddings")]
    pub n_extra: usize,
    /// Dropout while training; the paper uses 0 and this code refuses anything else.
    pub dropout: f64,
    /// Activation inside the time embedding.
    #[serde(rename = "time_embed_act_fn")]
    pub time_activation: Activation,
    /// A norm on the noisy embedding, before its projection.
    pub norm_in_type: Option<NormType>,
    /// A norm on the pooled text embedding, before its projection.
    pub embedding_proj_norm_type: Option<NormType>,
    /// `linear`; other values belong to other pipelines and are refused.
    pub encoder_hid_proj_type: Option<String>,
    /// `prd`: a learned query whose output is the prediction; other values are refused.
    pub added_emb_type: Option<String>,
    /// Inner width of the time embedding, if not d_model.
    #[serde(rename = "time_embed_dim")]
    pub d_time: Option<usize>,
    /// Width of the pooled text embedding, if not d_clip.
    #[serde(rename = "embedding_proj_dim")]
    pub d_pooled: Option<usize>,
    /// Width of the prediction, if not d_clip.
    #[serde(rename = "clip_embed_dim")]
    pub d_out: Option<usize>,
    /// What it reads of a caption. diffusers does not know this key, so it is written only where it says something: such a prior has the published
    /// tensors, but diffusers would show it what it never saw in training.
    #[serde(skip_serializing_if = "Conditioning::is_both")]
    pub conditioning: Conditioning,
}

impl Default for PriorConfig {
    fn default() -> Self {
        Self {
            class_name: "PriorTransformer".into(),
            n_heads: 32,
            d_head: 64,
            n_layers: 20,
            d_clip: 768,
            n_text: 77,
            n_extra: 4,
            dropout: 0.0,
            time_activation: Activation::Silu,
            norm_in_type: None,
            embedding_proj_norm_type: None,
            encoder_hid_proj_type: Some("linear".into()),
            added_emb_type: Some("prd".into()),
            d_time: None,
            d_pooled: None,
            d_out: None,
            conditioning: Conditioning::Both,
        }
    }
}

impl PriorConfig {
    /// Extra tokens of a prior without time: pooled text, noise, query.
    pub const N_EXTRA: usize = 3;

    /// The ECLIPSE prior for CLIP ViT-L/14 (Karlo): 33,141,504 trained parameters (paper appendix, Table 3).
    pub fn eclipse_karlo() -> Self {
        Self {
            n_heads: 16,
            d_head: 32,
            n_layers: 10,
            n_extra: Self::N_EXTRA,
            ..Self::default()
        }
    }

    /// The ECLIPSE prior for CLIP ViT-bigG/14 (Kandinsky 2.2): 34,190,592 trained parameters.
    pub fn eclipse_kandinsky22() -> Self {
        Self {
            d_clip: 1280,
            ..Self::eclipse_karlo()
        }
    }

    /// The same network with a time token: the Diffusion-Baseline, or a 1B prior.
    pub fn time_conditioned(self) -> Self {
        Self {
            n_extra: Self::N_EXTRA + 1,
            ..self
        }
    }

    /// d_model.
    pub fn d_model(&self) -> usize {
        self.n_heads * self.d_head
    }

    /// Whether the network has a time token.
    pub fn has_time(&self) -> bool {
        self.n_extra > Self::N_EXTRA
    }

    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// [`WeightsError::Value`] naming the key, for a class, a size or a switch that this code does not know.
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
        let expect = |key: &str, expected: &str, found: String, ok: bool| require(key, ok, expected, found);
        expect(
            "_class_name",
            "PriorTransformer",
            self.class_name.clone(),
            self.class_name == "PriorTransformer",
        )?;
        for (key, value) in [
            ("num_attention_heads", self.n_heads),
            ("attention_head_dim", self.d_head),
            ("num_layers", self.n_layers),
            ("embedding_dim", self.d_clip),
            ("num_embeddings", self.n_text),
        ] {
            expect(key, "at least 1", value.to_string(), value > 0)?;
        }
        let extra = format!("{} (no time) or {} (time)", Self::N_EXTRA, Self::N_EXTRA + 1);
        let known = [Self::N_EXTRA, Self::N_EXTRA + 1].contains(&self.n_extra);
        expect("additional_embeddings", &extra, self.n_extra.to_string(), known)?;
        expect("dropout", "0", self.dropout.to_string(), self.dropout == 0.0)?;
        let hidden = self.encoder_hid_proj_type.as_deref();
        expect(
            "encoder_hid_proj_type",
            "linear",
            hidden.unwrap_or("null").to_string(),
            hidden == Some("linear"),
        )?;
        let added = self.added_emb_type.as_deref();
        expect(
            "added_emb_type",
            "prd",
            added.unwrap_or("null").to_string(),
            added == Some("prd"),
        )?;
        expect(
            "num_attention_heads * attention_head_dim",
            "an even width",
            self.d_model().to_string(),
            self.d_model().is_multiple_of(2),
        )
    }
}
