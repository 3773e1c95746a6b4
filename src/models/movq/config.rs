//! diffusers' `VQModel` config, read and written.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::InvalidValue;
use crate::config::check::require;
use crate::weights::{WeightsError, read_json};

/// `config.json` of a MoVQ. Serialised under diffusers' key names; defaults are diffusers' too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MovqConfig {
    /// `VQModel`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Channels of the images that are encoded: 3.
    pub in_channels: usize,
    /// Channels of the images that are decoded: 3.
    pub out_channels: usize,
    /// Stages of the encoder, `DownEncoderBlock2D` or, with attention, `AttnDownEncoderBlock2D`; all but the last halve the image.
    pub down_block_types: Vec<String>,
    /// Stages of the decoder, `UpDecoderBlock2D` or `AttnUpDecoderBlock2D`; all but the last double the image.
    pub up_block_types: Vec<String>,
    /// Channels of the encoder's stages; the decoder has them in reverse.
    pub block_out_channels: Vec<usize>,
    /// Resnets of an encoder's stage; the decoder's have one more.
    pub layers_per_block: usize,
    /// `silu`; other activations are refused.
    pub act_fn: String,
    /// Channels of the latents outside the codebook: 4.
    pub latent_channels: usize,
    /// Says nothing about the network: images of any size are decoded.
    pub sample_size: usize,
    /// Codes: 16,384.
    #[serde(rename = "num_vq_embeddings")]
    pub n_codes: usize,
    /// Groups of the encoder's norms. The decoder's have 32, whatever stands here.
    #[serde(rename = "norm_num_groups")]
    pub n_groups: usize,
    /// Width of a code, if not `latent_channels`.
    pub vq_embed_dim: Option<usize>,
    /// Used by other models' pipelines.
    pub scaling_factor: f64,
    /// `spatial`; `group` is another decoder, and refused.
    pub norm_type: String,
    /// `true`; models without attention in the middle are refused.
    pub mid_block_add_attention: bool,
    /// `false`: latents are decoded and not codes; anything else is refused.
    pub lookup_from_codebook: bool,
    /// Says nothing about f32.
    pub force_upcast: bool,
}

impl Default for MovqConfig {
    fn default() -> Self {
        Self {
            class_name: "VQModel".into(),
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN[0].into()],
            up_block_types: vec![UP[0].into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".into(),
            latent_channels: 3,
            sample_size: 32,
            n_codes: 256,
            n_groups: 32,
            vq_embed_dim: None,
            scaling_factor: 0.18215,
            norm_type: "group".into(),
            mid_block_add_attention: true,
            lookup_from_codebook: false,
            force_upcast: false,
        }
    }
}

/// Groups of the decoder's norms, whatever a config says.
pub(super) const SPATIAL_GROUPS: usize = 32;

/// Names of stages without and with attention.
const DOWN: [&str; 2] = ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"];
const UP: [&str; 2] = ["UpDecoderBlock2D", "AttnUpDecoderBlock2D"];

impl MovqConfig {
    /// Kandinsky 2.2's: 67,832,495 parameters.
    pub fn kandinsky22() -> Self {
        let names = |names: [&str; 4]| names.map(String::from).to_vec();
        Self {
            latent_channels: 4,
            down_block_types: names([DOWN[0], DOWN[0], DOWN[0], DOWN[1]]),
            up_block_types: names([UP[1], UP[0], UP[0], UP[0]]),
            n_codes: 16_384,
            block_out_channels: vec![128, 256, 256, 512],
            vq_embed_dim: Some(4),
            layers_per_block: 2,
            norm_type: "spatial".into(),
            ..Self::default()
        }
    }

    /// Width of a code, which is that of what [`decode`](super::Movq::decode) takes.
    pub fn d_code(&self) -> usize {
        self.vq_embed_dim.unwrap_or(self.latent_channels)
    }

    /// How many pixels of an image, along each side, a latent pixel stands for.
    pub fn scale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Whether the encoder's stages have attention.
    pub(super) fn down_attention(&self) -> impl Iterator<Item = bool> {
        self.down_block_types.iter().map(|name| name == DOWN[1])
    }

    /// Whether the decoder's stages have attention.
    pub(super) fn up_attention(&self) -> impl Iterator<Item = bool> {
        self.up_block_types.iter().map(|name| name == UP[1])
    }

    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// [`WeightsError::Value`] naming the key, for a class, a block, a size or a switch that this code does not know.
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
        let expect = |key: &str, expected: &str, found: &dyn std::fmt::Display, ok: bool| {
            require(key, ok, expected, found)
        };
        let class = &self.class_name;
        expect("_class_name", "VQModel", class, class == "VQModel")?;
        expect(
            "norm_type",
            "spatial",
            &self.norm_type,
            self.norm_type == "spatial",
        )?;
        let activation = self.act_fn.as_str();
        expect(
            "act_fn",
            "silu",
            &activation,
            ["silu", "swish"].contains(&activation),
        )?;
        let attention = self.mid_block_add_attention;
        expect("mid_block_add_attention", "true", &attention, attention)?;
        let lookup = self.lookup_from_codebook;
        expect("lookup_from_codebook", "false", &lookup, !lookup)?;
        for (key, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
            ("layers_per_block", self.layers_per_block),
            ("num_vq_embeddings", self.n_codes),
            ("norm_num_groups", self.n_groups),
            ("vq_embed_dim", self.d_code()),
            ("block_out_channels", self.block_out_channels.len()),
        ] {
            expect(key, "at least 1", &value, value > 0)?;
        }
        for (key, types, known) in [
            ("down_block_types", &self.down_block_types, DOWN),
            ("up_block_types", &self.up_block_types, UP),
        ] {
            for name in types {
                let expected = format!("{} or {}", known[0], known[1]);
                expect(key, &expected, name, known.contains(&name.as_str()))?;
            }
            let (n, want) = (types.len(), self.block_out_channels.len());
            let expected = format!("{want} names, as many as block_out_channels has numbers");
            expect(key, &expected, &n, n == want)?;
        }
        // The decoder's norms are built for latents before the codebook and read those after it.
        let expected = format!("{}, like latent_channels", self.latent_channels);
        let d_code = self.d_code();
        expect("vq_embed_dim", &expected, &d_code, d_code == self.latent_channels)?;
        for n in &self.block_out_channels {
            for (groups, whose) in [
                (self.n_groups, "norm_num_groups"),
                (SPATIAL_GROUPS, "the decoder's groups"),
            ] {
                let expected = format!("multiples of {groups} ({whose})");
                expect(
                    "block_out_channels",
                    &expected,
                    n,
                    *n > 0 && n.is_multiple_of(groups),
                )?;
            }
        }
        Ok(())
    }
}
