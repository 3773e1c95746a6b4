//! diffusers' `UNet2DConditionModel` and `UNet2DModel` configs, read and written.

use std::fmt;
use std::path::Path;

use burn::prelude::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::check::require;
use crate::config::{ConfigError, InvalidValue, Keys, read_json};
use crate::nn::{GroupNorm, GroupNormConfig};
use crate::weights::WeightsError;

/// Layers of a block at one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// Resnets (`ResnetDownsampleBlock2D`, `UNetMidBlock2D`, `ResnetUpsampleBlock2D`).
    Resnet,
    /// Resnets, each with attention to the context and to the image itself (`SimpleCrossAttnDownBlock2D`,
    /// `UNetMidBlock2DSimpleCrossAttn`, `SimpleCrossAttnUpBlock2D`).
    CrossAttention,
}

/// How the time enters a resnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeShift {
    /// Added before the second norm: Karlo's super-resolution.
    #[serde(rename = "default")]
    Additive,
    /// Scale and shift after the second norm: the decoders.
    #[serde(rename = "scale_shift")]
    ScaleShift,
}

/// What a UNet is conditioned on beside the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditioning {
    /// Nothing (`UNet2DModel`): super-resolution, whose small image lies in the input's channels.
    None,
    /// Context tokens, and a vector that is added to the time (`class_embed_type: identity`): Karlo's decoder.
    Tokens {
        /// Width of the tokens.
        d_cross: usize,
        /// Width of an attention head.
        d_head: usize,
    },
    /// An image embedding (`encoder_hid_dim_type: image_proj`, `addition_embed_type: image`): Kandinsky 2.2.
    Image {
        /// Width of the image embedding.
        d_clip: usize,
        /// Width of the tokens made of it.
        d_cross: usize,
        /// Width of an attention head.
        d_head: usize,
        /// Whether the network is told how noisy the embedding is (`class_embed_type: timestep`), as unCLIP's noise augmentation asks for.
        noise_level: bool,
    },
}

impl Conditioning {
    /// Whether the network is told the noise level of its image embedding.
    pub fn has_noise_level(&self) -> bool {
        matches!(
            self,
            Self::Image {
                noise_level: true,
                ..
            }
        )
    }
}

impl fmt::Display for Conditioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing",
            Self::Tokens { .. } => "text tokens",
            Self::Image { .. } => "an image embedding",
        })
    }
}

/// `config.json` of a UNet. Read and written under diffusers' key names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "Map<String, Value>")]
pub struct UNetConfig {
    /// Height and width that it was trained at: 64, or 256. Other sizes work.
    pub sample_size: usize,
    /// Channels of the input: 3 of an image, 4 of MoVQ's latents, 6 for super-resolution.
    pub in_channels: usize,
    /// Channels of the output, twice the image's where the variance is learned.
    pub out_channels: usize,
    /// Channels of each block, from the largest size to the smallest (`block_out_channels`).
    pub channels: Vec<usize>,
    /// Layers of a block on the way down; one more on the way up (`layers_per_block`).
    pub n_layers: usize,
    /// Blocks on the way down, the largest size first.
    pub down: Vec<BlockType>,
    /// The middle block.
    pub mid: BlockType,
    /// Blocks on the way up, the smallest size first.
    pub up: Vec<BlockType>,
    /// Groups of every group norm.
    pub n_groups: usize,
    /// eps of the group norms, but for those of attention.
    pub norm_eps: f64,
    /// How the time enters a resnet (`resnet_time_scale_shift`).
    pub time_shift: TimeShift,
    /// Width of the embedded time, if not 4 times the first block's channels (`time_embedding_dim`).
    pub d_time: Option<usize>,
    /// Cosines before sines in the timestep's sinusoids (`flip_sin_to_cos`).
    pub cosines_first: bool,
    /// Shift of their frequencies (`freq_shift`).
    pub frequency_shift: i64,
    /// What the network is conditioned on.
    pub conditioning: Conditioning,
}

const CONDITION_MODEL: &str = "UNet2DConditionModel";
const PLAIN_MODEL: &str = "UNet2DModel";

/// Published names of the block types: resnets only, with attention.
const DOWN: [&str; 2] = ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"];
const MID: [&str; 2] = ["UNetMidBlock2D", "UNetMidBlock2DSimpleCrossAttn"];
const UP: [&str; 2] = ["ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"];

/// Keys that change what is computed, with the only values that this code computes. An absent key has diffusers' default, which is
/// among them.
const ONLY: &[(&str, &[&str])] = &[
    ("act_fn", &[r#""silu""#, r#""swish""#]),
    ("center_input_sample", &["false"]),
    ("dropout", &["0"]),
    ("mid_block_scale_factor", &["1"]),
    ("num_class_embeds", &["null"]),
    ("time_embedding_type", &[r#""positional""#]),
    // of UNet2DConditionModel
    ("attention_type", &[r#""default""#]),
    ("class_embeddings_concat", &["false"]),
    ("conv_in_kernel", &["3"]),
    ("conv_out_kernel", &["3"]),
    ("cross_attention_norm", &["null"]),
    ("mid_block_only_cross_attention", &["null", "false"]),
    ("num_attention_heads", &["null"]),
    ("only_cross_attention", &["false"]),
    ("resnet_out_scale_factor", &["1"]),
    ("resnet_skip_time_act", &["false"]),
    ("time_cond_proj_dim", &["null"]),
    ("time_embedding_act_fn", &["null"]),
    ("timestep_post_act", &["null"]),
];

impl UNetConfig {
    /// Karlo's decoder, 64 x 64 pixels: 885,439,686 parameters.
    pub fn karlo_decoder() -> Self {
        let attention = BlockType::CrossAttention;
        Self {
            sample_size: 64,
            in_channels: 3,
            out_channels: 6,
            channels: vec![320, 640, 960, 1280],
            n_layers: 3,
            down: vec![BlockType::Resnet, attention, attention, attention],
            mid: attention,
            up: vec![attention, attention, attention, BlockType::Resnet],
            n_groups: 32,
            norm_eps: 1e-5,
            time_shift: TimeShift::ScaleShift,
            d_time: None,
            cosines_first: true,
            frequency_shift: 0,
            conditioning: Conditioning::Tokens {
                d_cross: 1536,
                d_head: 64,
            },
        }
    }

    /// Either of Karlo's super-resolution networks, 64 to 256 pixels: 691,579,523 parameters.
    pub fn karlo_super_res() -> Self {
        Self {
            sample_size: 256,
            in_channels: 6,
            out_channels: 3,
            down: vec![BlockType::Resnet; 4],
            mid: BlockType::Resnet,
            up: vec![BlockType::Resnet; 4],
            time_shift: TimeShift::Additive,
            conditioning: Conditioning::None,
            ..Self::karlo_decoder()
        }
    }

    /// Kandinsky 2.2's decoder, latents of 64 x 64: 1,253,057,288 parameters.
    pub fn kandinsky22() -> Self {
        Self {
            in_channels: 4,
            out_channels: 8,
            channels: vec![384, 768, 1152, 1536],
            conditioning: Conditioning::Image {
                d_clip: 1280,
                d_cross: 768,
                d_head: 64,
                noise_level: false,
            },
            ..Self::karlo_decoder()
        }
    }

    /// d_time.
    pub fn d_time(&self) -> usize {
        self.d_time.unwrap_or(4 * self.channels[0])
    }

    /// Height and width are multiples of this: 2 to the number of halvings.
    pub fn size_multiple(&self) -> usize {
        1 << (self.channels.len() - 1)
    }

    /// Channels of what the last block up reads: those of the second size, or of the only one.
    pub fn d_features(&self) -> usize {
        self.channels.get(1).copied().unwrap_or(self.channels[0])
    }

    /// Channels at the smallest size.
    pub(super) fn deepest(&self) -> usize {
        self.channels[self.channels.len() - 1]
    }

    /// Resnets of the middle block. The reference's `UNetMidBlock2D` has one fewer inside a `UNet2DConditionModel`.
    pub(super) fn n_mid_resnets(&self) -> usize {
        match (self.mid, self.conditioning) {
            (BlockType::CrossAttention, _) | (BlockType::Resnet, Conditioning::None) => 2,
            (BlockType::Resnet, _) => 1,
        }
    }

    /// `(d_cross, d_head)`.
    pub(super) fn cross(&self) -> Option<(usize, usize)> {
        match self.conditioning {
            Conditioning::None => None,
            Conditioning::Tokens { d_cross, d_head } | Conditioning::Image { d_cross, d_head, .. } => {
                Some((d_cross, d_head))
            }
        }
    }

    pub(super) fn norm(&self, channels: usize, device: &Device) -> GroupNorm {
        GroupNormConfig::new(self.n_groups, channels, self.norm_eps).init(device)
    }

    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// [`WeightsError::Value`] naming the key, for a class, a block type, a size or a switch that this code does not know.
    pub fn read(dir: &Path) -> Result<Self, WeightsError> {
        let path = dir.join("config.json");
        Ok(Self::from_json(&read_json(&path)?, path.display())?)
    }

    /// Refuses sizes that do not fit together.
    ///
    /// # Errors
    /// The key, what was expected and what was found.
    pub fn check(&self) -> Result<(), InvalidValue> {
        let n = self.channels.len();
        expect("block_out_channels", "at least one block", n, n > 0)?;
        for (key, found) in [
            ("down_block_types", self.down.len()),
            ("up_block_types", self.up.len()),
        ] {
            let wanted = format!("{n} blocks, as block_out_channels has");
            expect(key, &wanted, found, found == n)?;
        }
        let mut sizes = vec![
            ("sample_size", self.sample_size),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.n_layers),
            ("norm_num_groups", self.n_groups),
            ("time_embedding_dim", self.d_time()),
        ];
        if let Some((d_cross, d_head)) = self.cross() {
            sizes.extend([("cross_attention_dim", d_cross), ("attention_head_dim", d_head)]);
        }
        if let Conditioning::Image { d_clip, .. } = self.conditioning {
            sizes.push(("encoder_hid_dim", d_clip));
        }
        for (key, found) in sizes {
            expect(key, "at least 1", found, found > 0)?;
        }
        let groups = self.n_groups;
        for &c in &self.channels {
            let wanted = format!("multiples of norm_num_groups ({groups})");
            expect(
                "block_out_channels",
                &wanted,
                c,
                c > 0 && c.is_multiple_of(groups),
            )?;
        }
        let first = self.channels[0];
        expect(
            "block_out_channels",
            "an even number first",
            first,
            first.is_multiple_of(2),
        )?;
        let shift = self.frequency_shift;
        let below = format!("below {}, half the first block's channels", first / 2);
        expect("freq_shift", &below, shift, shift < (first / 2) as i64)?;
        expect(
            "norm_eps",
            "a positive number",
            self.norm_eps,
            self.norm_eps > 0.0,
        )?;

        let attends = |kind: &BlockType| *kind == BlockType::CrossAttention;
        let levels = self.down.iter().zip(&self.channels);
        let levels = levels.chain(self.up.iter().zip(self.channels.iter().rev()));
        for (_, &c) in levels
            .chain([(&self.mid, &self.deepest())])
            .filter(|(kind, _)| attends(kind))
        {
            let Some((_, d_head)) = self.cross() else {
                let expected = format!(
                    "{}, {} and {}, because {PLAIN_MODEL} has no context",
                    DOWN[0], MID[0], UP[0]
                );
                return require(
                    "down_block_types, mid_block_type, up_block_types",
                    false,
                    expected,
                    "attention",
                );
            };
            let wanted = format!("a divisor of the block's {c} channels");
            expect("attention_head_dim", &wanted, d_head, c.is_multiple_of(d_head))?;
        }
        Ok(())
    }
}

fn expect(key: &str, expected: &str, found: impl fmt::Display, ok: bool) -> Result<(), InvalidValue> {
    require(key, ok, expected, found)
}

/// A value as JSON, whole floats without their point: `1.0` and `1` are the same to Python.
fn text(value: &Value) -> String {
    match value.as_f64() {
        Some(x) if x.fract() == 0.0 => format!("{x:.0}"),
        _ => value.to_string(),
    }
}

/// Refuses any other value of `key` than those of `supported` (JSON), the first of which an absent key has.
fn only(keys: &Keys, key: &str, supported: &[&str]) -> Result<(), ConfigError> {
    let value: Option<Value> = keys.or(key, None)?;
    let found = match (value, keys.has(key)) {
        (Some(value), _) => text(&value),
        (None, true) => "null".into(),
        (None, false) => supported[0].into(),
    };
    keys.require(key, supported.contains(&found.as_str()), supported.join(" or "))
}

/// The block types of `names`: without and with attention.
fn types(names: [&'static str; 2]) -> [(&'static str, BlockType); 2] {
    [
        (names[0], BlockType::Resnet),
        (names[1], BlockType::CrossAttention),
    ]
}

fn blocks(keys: &Keys, key: &str, known: [&'static str; 2]) -> Result<Vec<BlockType>, ConfigError> {
    let names: Vec<String> = keys.need(key)?;
    let block = |name: &String| match types(known).into_iter().find(|(known, _)| known == name) {
        Some((_, kind)) => Ok(kind),
        None => Err(ConfigError::value(keys.origin(), key, known.join(" or "), name)),
    };
    names.iter().map(block).collect()
}

fn conditioning(keys: &Keys, is_plain: bool) -> Result<Conditioning, ConfigError> {
    let name = |key: &str| -> Result<String, ConfigError> {
        let found: Option<String> = keys.get(key)?;
        Ok(found.unwrap_or("null".into()))
    };
    let names = ["class_embed_type", "encoder_hid_dim_type", "addition_embed_type"];
    let [class, hidden, added] = [name(names[0])?, name(names[1])?, name(names[2])?];
    let d_cross = || keys.need("cross_attention_dim");
    let d_head = || keys.need("attention_head_dim");
    match [class.as_str(), hidden.as_str(), added.as_str()] {
        ["null", "null", "null"] if is_plain => Ok(Conditioning::None),
        ["identity", "null", "null"] if !is_plain => Ok(Conditioning::Tokens {
            d_cross: d_cross()?,
            d_head: d_head()?,
        }),
        [class @ ("null" | "timestep"), "image_proj", "image"] if !is_plain => Ok(Conditioning::Image {
            d_clip: keys.need("encoder_hid_dim")?,
            d_cross: d_cross()?,
            d_head: d_head()?,
            noise_level: class == "timestep",
        }),
        found => {
            let expected = match is_plain {
                true => "null, null, null",
                false => {
                    "identity, null, null (Karlo) or null (or timestep), image_proj, image (Kandinsky 2.2)"
                }
            };
            Err(ConfigError::value(
                keys.origin(),
                names.join(", "),
                expected,
                found.join(", "),
            ))
        }
    }
}

impl UNetConfig {
    /// Reads and checks the JSON `value` of a config; `origin` is for messages.
    ///
    /// # Errors
    /// Like [`UNetConfig::read`].
    pub fn from_json(value: &Value, origin: impl fmt::Display) -> Result<Self, ConfigError> {
        let keys = &Keys::new(value, origin)?;
        let classes = [(CONDITION_MODEL, false), (PLAIN_MODEL, true)];
        let is_plain = keys.choice("_class_name", None, &classes)?;
        for (key, supported) in ONLY {
            only(keys, key, supported)?;
        }
        let default = match is_plain {
            true => {
                // diffusers' default is attention in the middle
                let attention: bool = keys.or("add_attention", true)?;
                let found = ConfigError::value(keys.origin(), "add_attention", "false", attention);
                if attention {
                    return Err(found);
                }
                Some(BlockType::Resnet)
            }
            false => None,
        };
        let config = Self {
            sample_size: keys.need("sample_size")?,
            in_channels: keys.need("in_channels")?,
            out_channels: keys.need("out_channels")?,
            channels: keys.need("block_out_channels")?,
            n_layers: keys.need("layers_per_block")?,
            down: blocks(keys, "down_block_types", DOWN)?,
            mid: keys.choice("mid_block_type", default, &types(MID))?,
            up: blocks(keys, "up_block_types", UP)?,
            // The defaults of both of diffusers' classes.
            n_groups: keys.or("norm_num_groups", 32)?,
            norm_eps: keys.or("norm_eps", 1e-5)?,
            time_shift: keys.or("resnet_time_scale_shift", TimeShift::Additive)?,
            d_time: keys.or("time_embedding_dim", None)?,
            cosines_first: keys.or("flip_sin_to_cos", true)?,
            frequency_shift: keys.or("freq_shift", 0)?,
            conditioning: conditioning(keys, is_plain)?,
        };
        config.check().map_err(|invalid| keys.invalid(invalid))?;
        Ok(config)
    }
}

impl From<UNetConfig> for Map<String, Value> {
    fn from(config: UNetConfig) -> Self {
        let name = |names: [&'static str; 2], kind: &BlockType| match kind {
            BlockType::Resnet => names[0],
            BlockType::CrossAttention => names[1],
        };
        let names = |of, kinds: &[BlockType]| -> Vec<_> { kinds.iter().map(|kind| name(of, kind)).collect() };
        let class = match config.conditioning {
            Conditioning::None => PLAIN_MODEL,
            Conditioning::Tokens { .. } | Conditioning::Image { .. } => CONDITION_MODEL,
        };
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.into(), value);
        put("_class_name", json!(class));
        put("act_fn", json!("silu"));
        put("sample_size", json!(config.sample_size));
        put("in_channels", json!(config.in_channels));
        put("out_channels", json!(config.out_channels));
        put("block_out_channels", json!(config.channels));
        put("layers_per_block", json!(config.n_layers));
        put("down_block_types", json!(names(DOWN, &config.down)));
        put("mid_block_type", json!(name(MID, &config.mid)));
        put("up_block_types", json!(names(UP, &config.up)));
        put("norm_num_groups", json!(config.n_groups));
        put("norm_eps", json!(config.norm_eps));
        put("resnet_time_scale_shift", json!(config.time_shift));
        put("time_embedding_dim", json!(config.d_time));
        put("flip_sin_to_cos", json!(config.cosines_first));
        put("freq_shift", json!(config.frequency_shift));
        let (class_type, hidden, added, d_clip) = match config.conditioning {
            Conditioning::None => {
                put("add_attention", json!(false));
                return object;
            }
            Conditioning::Tokens { .. } => (Some("identity"), None, None, None),
            Conditioning::Image {
                d_clip, noise_level, ..
            } => (
                noise_level.then_some("timestep"),
                Some("image_proj"),
                Some("image"),
                Some(d_clip),
            ),
        };
        put("class_embed_type", json!(class_type));
        put("encoder_hid_dim_type", json!(hidden));
        put("encoder_hid_dim", json!(d_clip));
        put("addition_embed_type", json!(added));
        if let Some((d_cross, d_head)) = config.cross() {
            put("cross_attention_dim", json!(d_cross));
            put("attention_head_dim", json!(d_head));
        }
        object
    }
}
