//! diffusers' `UNet2DConditionModel` and `UNet2DModel` configs, read and written.

use std::fmt;
use std::path::Path;

use burn::prelude::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::nn::{GroupNorm, GroupNormConfig};
use crate::weights::{WeightsError, read_json};

/// Layers of a block at one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// Resnets (`ResnetDownsampleBlock2D`, `UNetMidBlock2D`, `ResnetUpsampleBlock2D`).
    Resnet,
    /// Resnets, each with attention to the context and to the picture itself (`SimpleCrossAttnDownBlock2D`,
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
    /// Nothing (`UNet2DModel`): super-resolution, whose small picture lies in the input's channels.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct UNetConfig {
    /// Height and width that it was trained at: 64, or 256. Other sizes work.
    pub sample_size: usize,
    /// Channels of the input: 3 of a picture, 4 of MoVQ's latents, 6 for super-resolution.
    pub in_channels: usize,
    /// Channels of the output, twice the picture's where the variance is learned.
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
    /// [`WeightsError::Config`] naming the key, for a class, a block type, a size or a switch that this code does not know.
    pub fn read(dir: &Path) -> Result<Self, WeightsError> {
        let path = dir.join("config.json");
        let object: Map<String, Value> = read_json(&path)?;
        Self::try_from(object).map_err(|reason| WeightsError::Config { path, reason })
    }

    /// Refuses sizes that do not fit together.
    ///
    /// # Errors
    /// The key, what was expected and what was found.
    pub fn check(&self) -> Result<(), String> {
        let n = self.channels.len();
        expect("block_out_channels", "at least one block", n, n > 0)?;
        for (key, found) in [
            ("down_block_types", self.down.len()),
            ("up_block_types", self.up.len()),
        ] {
            let wanted = format!("{n} blocks, as `block_out_channels` has");
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
            let wanted = format!("multiples of `norm_num_groups` ({groups})");
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
                return Err(format!(
                    "`{PLAIN_MODEL}` has no context: expected blocks {}, {} and {}",
                    DOWN[0], MID[0], UP[0]
                ));
            };
            let wanted = format!("a divisor of the block's {c} channels");
            expect("attention_head_dim", &wanted, d_head, c.is_multiple_of(d_head))?;
        }
        Ok(())
    }
}

fn expect(key: &str, expected: &str, found: impl fmt::Display, ok: bool) -> Result<(), String> {
    match ok {
        true => Ok(()),
        false => Err(format!("`{key}`: expected {expected}, found {found}")),
    }
}

/// A value as JSON, whole floats without their point: `1.0` and `1` are the same to Python.
fn text(value: &Value) -> String {
    match value.as_f64() {
        Some(x) if x.fract() == 0.0 => format!("{x:.0}"),
        _ => value.to_string(),
    }
}

/// The keys of a config file.
struct Keys(Map<String, Value>);

impl Keys {
    /// The value of `key`, or of its default.
    fn get<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, String> {
        match self.0.get(key) {
            None => Ok(default),
            Some(value) => serde_json::from_value(value.clone()).map_err(|e| format!("`{key}`: {e}")),
        }
    }

    /// The value of a key without default.
    fn need<T: DeserializeOwned>(&self, key: &str) -> Result<T, String> {
        let absent = || format!("`{key}` is missing, or null");
        self.get(key, None)?.ok_or_else(absent)
    }

    /// Refuses any other value than those of `supported` (JSON), the first of which an absent key has.
    fn only(&self, key: &str, supported: &[&str]) -> Result<(), String> {
        let found = self.0.get(key).map_or(supported[0].to_string(), text);
        expect(
            key,
            &supported.join(" or "),
            &found,
            supported.contains(&found.as_str()),
        )
    }

    fn block(key: &str, name: &str, known: [&str; 2]) -> Result<BlockType, String> {
        match known.iter().position(|k| *k == name) {
            Some(0) => Ok(BlockType::Resnet),
            Some(_) => Ok(BlockType::CrossAttention),
            None => Err(format!("`{key}`: expected {}, found {name}", known.join(" or "))),
        }
    }

    fn blocks(&self, key: &str, known: [&str; 2]) -> Result<Vec<BlockType>, String> {
        let names: Vec<String> = self.need(key)?;
        names.iter().map(|name| Self::block(key, name, known)).collect()
    }

    fn conditioning(&self, is_plain: bool) -> Result<Conditioning, String> {
        let name = |key: &str| -> Result<String, String> {
            let found: Option<String> = self.get(key, None)?;
            Ok(found.unwrap_or("null".into()))
        };
        let keys = ["class_embed_type", "encoder_hid_dim_type", "addition_embed_type"];
        let [class, hidden, added] = [name(keys[0])?, name(keys[1])?, name(keys[2])?];
        let d_cross = || self.need("cross_attention_dim");
        let d_head = || self.need("attention_head_dim");
        match [class.as_str(), hidden.as_str(), added.as_str()] {
            ["null", "null", "null"] if is_plain => Ok(Conditioning::None),
            ["identity", "null", "null"] if !is_plain => Ok(Conditioning::Tokens {
                d_cross: d_cross()?,
                d_head: d_head()?,
            }),
            [class @ ("null" | "timestep"), "image_proj", "image"] if !is_plain => Ok(Conditioning::Image {
                d_clip: self.need("encoder_hid_dim")?,
                d_cross: d_cross()?,
                d_head: d_head()?,
                noise_level: class == "timestep",
            }),
            found => {
                let list = keys.map(|k| format!("`{k}`")).join(", ");
                let expected = match is_plain {
                    true => "null, null, null",
                    false => {
                        "identity, null, null (Karlo) or null (or timestep), image_proj, image (Kandinsky 2.2)"
                    }
                };
                Err(format!("{list}: expected {expected}, found {}", found.join(", ")))
            }
        }
    }
}

impl TryFrom<Map<String, Value>> for UNetConfig {
    type Error = String;

    fn try_from(object: Map<String, Value>) -> Result<Self, String> {
        let keys = Keys(object);
        let class: String = keys.need("_class_name")?;
        let is_plain = class == PLAIN_MODEL;
        let known = format!("{CONDITION_MODEL} or {PLAIN_MODEL}");
        expect(
            "_class_name",
            &known,
            &class,
            is_plain || class == CONDITION_MODEL,
        )?;
        for (key, supported) in ONLY {
            keys.only(key, supported)?;
        }
        let mid = match is_plain {
            true => {
                // diffusers' default is attention in the middle
                let attention: bool = keys.get("add_attention", true)?;
                expect("add_attention", "false", attention, !attention)?;
                keys.get("mid_block_type", Some(MID[0].to_string()))?
            }
            false => Some(keys.need("mid_block_type")?),
        };
        let config = Self {
            sample_size: keys.need("sample_size")?,
            in_channels: keys.need("in_channels")?,
            out_channels: keys.need("out_channels")?,
            channels: keys.need("block_out_channels")?,
            n_layers: keys.need("layers_per_block")?,
            down: keys.blocks("down_block_types", DOWN)?,
            mid: Keys::block("mid_block_type", mid.as_deref().unwrap_or("null"), MID)?,
            up: keys.blocks("up_block_types", UP)?,
            // The defaults of both of diffusers' classes.
            n_groups: keys.get("norm_num_groups", 32)?,
            norm_eps: keys.get("norm_eps", 1e-5)?,
            time_shift: keys.get("resnet_time_scale_shift", TimeShift::Additive)?,
            d_time: keys.get("time_embedding_dim", None)?,
            cosines_first: keys.get("flip_sin_to_cos", true)?,
            frequency_shift: keys.get("freq_shift", 0)?,
            conditioning: keys.conditioning(is_plain)?,
        };
        config.check()?;
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
