//! The UNets of the unCLIP decoders: a noisy image, a timestep and a condition to the predicted noise (and variance).
//!
//! One set of blocks for Karlo's decoder and Kandinsky 2.2's (reference: diffusers `UNet2DConditionModel`) and for Karlo's two
//! super-resolution networks (reference: diffusers `UNet2DModel`). Where `out_channels` is twice the image's, the second half is the learned
//! variance.
//!
//! Axes: batch; channels; h, w; n context tokens; d_cross, their width; d_time, width of the embedded timestep; d_clip.

mod attention;
mod block;
mod config;
mod resnet;

use std::ops::Range;
use std::path::Path;

use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::{DType, assert_shape};

pub use config::{BlockType, Conditioning, TimeShift, UNetConfig};

use crate::nn::{
    Activation, Conv3x3, GroupNorm, LayerNorm, LayerNormConfig, RowGroups, Sinusoids, TimeEmbedding, narrow,
    to_compute_dtype, to_f32,
};
use crate::weights::{self, Checkpoint, Mapping, WeightsError};
use attention::Context;
use block::{DownBlock, MidBlock, UpBlock};

/// Published names of a UNet's parameters.
pub const MAPPING: Mapping = Mapping {
    rules: &[
        (".time.fc_in.", ".time_embedding.linear_1."),
        (".time.fc_out.", ".time_embedding.linear_2."),
        (".level.fc_in.", ".class_embedding.linear_1."),
        (".level.fc_out.", ".class_embedding.linear_2."),
        (".image.fc_tokens.", ".encoder_hid_proj.image_embeds."),
        (".image.norm_tokens.", ".encoder_hid_proj.norm."),
        (".image.fc_time.", ".add_embedding.image_proj."),
        (".image.norm_time.", ".add_embedding.image_norm."),
        (".down.", ".down_blocks."),
        (".mid.", ".mid_block."),
        (".up.", ".up_blocks."),
        (".downsample.", ".downsamplers.0."),
        (".upsample.", ".upsamplers.0."),
        (".norm_1.", ".norm1."),
        (".norm_2.", ".norm2."),
        (".conv_1.", ".conv1."),
        (".conv_2.", ".conv2."),
        (".proj_time.", ".time_emb_proj."),
        (".shortcut.", ".conv_shortcut."),
        (".norm_in.", ".group_norm."),
        (".query.", ".to_q."),
        (".key.", ".to_k."),
        (".value.", ".to_v."),
        (".context_key.", ".add_k_proj."),
        (".context_value.", ".add_v_proj."),
        (".output.", ".to_out.0."),
        (".norm_out.", ".conv_norm_out."),
    ],
};

/// Tokens that stand for an image embedding (reference: diffusers `ImageProjection`; no config says it).
pub const N_IMAGE_TOKENS: usize = 32;
/// Layer norms of the reference are PyTorch's: eps 1e-5.
const LAYER_NORM_EPS: f64 = 1e-5;

/// What a UNet is conditioned on.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "handles of tensors; one condition lives for one call"
)]
pub enum Condition {
    /// Nothing but what lies in `x`: super-resolution.
    None,
    /// Karlo's decoder: what `text_proj` gives.
    Tokens {
        /// `[batch, n, d_cross]`
        tokens: Tensor<3>,
        /// 1 for tokens, 0 for padding, `[batch, n]`; `None`: all count.
        mask: Option<Tensor<2>>,
        /// Added to the embedded timestep, `[batch, d_time]`.
        class: Tensor<2>,
    },
    /// Kandinsky 2.2: the image embedding z_x, `[batch, d_clip]`.
    Image(Tensor<2>),
    /// An image embedding with noise added, and the noise level of each row, in 0..1000; [`Condition::Image`] is level 0.
    NoisyImage {
        /// `[batch, d_clip]`
        z_x: Tensor<2>,
        /// One a row.
        levels: Vec<f64>,
    },
}

impl Condition {
    /// Those of a range of rows.
    fn narrow(&self, rows: &Range<usize>) -> Self {
        match self {
            Self::None => Self::None,
            Self::Tokens { tokens, mask, class } => Self::Tokens {
                tokens: narrow(tokens, rows),
                mask: mask.as_ref().map(|mask| narrow(mask, rows)),
                class: narrow(class, rows),
            },
            Self::Image(z_x) => Self::Image(narrow(z_x, rows)),
            Self::NoisyImage { z_x, levels } => Self::NoisyImage {
                z_x: narrow(z_x, rows),
                levels: levels[rows.clone()].to_vec(),
            },
        }
    }
}

/// An image embedding as context tokens and as a part of the time (reference: diffusers `ImageProjection`, `ImageTimeEmbedding`).
#[derive(Module, Debug)]
struct ImageCondition {
    /// `[d_clip, 32 d_cross]`
    fc_tokens: Linear,
    norm_tokens: LayerNorm,
    /// `[d_clip, d_time]`
    fc_time: Linear,
    norm_time: LayerNorm,
}

/// A UNet.
#[derive(Module, Debug)]
pub struct UNet {
    conv_in: Conv3x3,
    time: TimeEmbedding,
    image: Option<ImageCondition>,
    /// Of the noise level (reference: diffusers `UNet2DConditionModel.class_embedding`).
    level: Option<TimeEmbedding>,
    /// From the largest size to the smallest.
    down: Vec<DownBlock>,
    mid: MidBlock,
    /// From the smallest size to the largest.
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv3x3,
    #[module(skip)]
    config: UNetConfig,
}

impl ImageCondition {
    fn init(d_clip: usize, d_cross: usize, d_time: usize, device: &Device) -> Self {
        let norm = |d: usize| LayerNormConfig::new(d, LAYER_NORM_EPS).init(device);
        Self {
            fc_tokens: LinearConfig::new(d_clip, N_IMAGE_TOKENS * d_cross).init(device),
            norm_tokens: norm(d_cross),
            fc_time: LinearConfig::new(d_clip, d_time).init(device),
            norm_time: norm(d_time),
        }
    }

    /// `z_x`: `[batch, d_clip]` -> tokens `[batch, 32, d_cross]` and time `[batch, d_time]`.
    fn forward(&self, z_x: Tensor<2>) -> (Tensor<3>, Tensor<2>) {
        let tokens = self.fc_tokens.forward(z_x.clone());
        let [batch, d] = tokens.dims();
        let tokens = tokens.reshape([batch, N_IMAGE_TOKENS, d / N_IMAGE_TOKENS]);
        let time = self.fc_time.forward(z_x);
        (self.norm_tokens.forward(tokens), self.norm_time.forward(time))
    }
}

impl UNet {
    /// A UNet with Burn's own (lazy) initial values.
    ///
    /// # Panics
    /// If the config does not pass [`UNetConfig::check`].
    pub fn init(config: &UNetConfig, device: &Device) -> Self {
        if let Err(reason) = config.check() {
            panic!("{reason}");
        }
        let (first, n) = (config.channels[0], config.channels.len());
        let (d_time, silu) = (config.d_time(), Activation::Silu);
        let image = match config.conditioning {
            Conditioning::Image { d_clip, d_cross, .. } => {
                Some(ImageCondition::init(d_clip, d_cross, d_time, device))
            }
            Conditioning::None | Conditioning::Tokens { .. } => None,
        };
        let time = || TimeEmbedding::init(first, d_time, d_time, silu, device);
        Self {
            conv_in: Conv3x3::init([config.in_channels, first], device),
            time: time(),
            image,
            level: config.conditioning.has_noise_level().then(time),
            down: (0..n).map(|i| DownBlock::init(config, i, device)).collect(),
            mid: MidBlock::init(config, device),
            up: (0..n).map(|i| UpBlock::init(config, i, device)).collect(),
            norm_out: config.norm(first, device),
            conv_out: Conv3x3::init([first, config.out_channels], device),
            config: config.clone(),
        }
    }

    /// The same UNet told of noise levels: the new layers are silent, so nothing changes until they are trained.
    ///
    /// # Panics
    /// If it is not conditioned on an image embedding.
    #[must_use]
    pub fn with_noise_level(mut self, device: &Device) -> Self {
        let Conditioning::Image { noise_level, .. } = &mut self.config.conditioning else {
            panic!("noise levels are for image embeddings");
        };
        if !std::mem::replace(noise_level, true) {
            let (first, d_time) = (self.config.channels[0], self.config.d_time());
            self.level = Some(TimeEmbedding::zero_init(
                first,
                d_time,
                d_time,
                Activation::Silu,
                device,
            ));
        }
        self
    }

    /// Its sizes.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Loads a published folder.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<(UNetConfig, Self), WeightsError> {
        let config = UNetConfig::read(dir)?;
        let unet = Self::from_checkpoint(&config, &Checkpoint::open(dir)?, device)?;
        Ok((config, unet))
    }

    /// Loads weights that fit `config`.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming the tensors.
    pub fn from_checkpoint(
        config: &UNetConfig,
        weights: &Checkpoint,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        weights::load(Self::init(config, device), "a UNet", weights, &MAPPING, &[])
    }

    /// Writes `dir/config.json` and `dir/diffusion_pytorch_model.safetensors`, which diffusers loads.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn save(&self, config: &UNetConfig, dir: &Path) -> Result<(), WeightsError> {
        crate::files::create_dir(dir)?;
        let file = dir.join("diffusion_pytorch_model.safetensors");
        weights::save(self, &file, &MAPPING, DType::F32)?;
        weights::write_json(&dir.join("config.json"), config)
    }

    /// `x`: `[batch, in_channels, h, w]`; `t`: one timestep a row, in 0..1000 -> `[batch, out_channels, h, w]`.
    ///
    /// # Panics
    /// If h or w is no multiple of [`UNetConfig::size_multiple`], or the condition is of another kind or size than the config's.
    pub fn forward(&self, x: Tensor<4>, t: &[f64], condition: Condition) -> Tensor<4> {
        let [batch, _, h, w] = x.dims();
        // Every parameter of the lowest level is used once a pixel there.
        let pixels = (h * w) >> (2 * (self.config.channels.len() - 1));
        let flop = 2.0 * self.num_params() as f64 * pixels as f64;
        let groups = RowGroups::new(batch, flop, &x.device());
        if groups.is_one() {
            return self.forward_with_features(x, t, condition).0;
        }
        groups.rows(|_, rows| {
            let condition = condition.narrow(&rows);
            self.forward_with_features(narrow(&x, &rows), &t[rows], condition)
                .0
        })
    }

    /// [`UNet::forward`], and what the last block up reads, `[batch, channels, h, w]`; channels: [`UNetConfig::d_features`].
    ///
    /// # Panics
    /// As [`UNet::forward`].
    pub fn forward_with_features(
        &self,
        x: Tensor<4>,
        t: &[f64],
        condition: Condition,
    ) -> (Tensor<4>, Tensor<4>) {
        let config = &self.config;
        let [batch, _, h, w] = x.dims();
        assert_shape!(x, [batch, config.in_channels, h, w]);
        assert_eq!(t.len(), batch, "one timestep for each of {batch} pictures");
        let multiple = config.size_multiple();
        assert!(
            h % multiple == 0 && w % multiple == 0,
            "height and width of a UNet of {} blocks are multiples of {multiple}, found {h} x {w}",
            config.channels.len()
        );
        let time = self.time.forward(self.sinusoids(t, &x.device()));
        let (time, context) = self.condition(time, condition);
        // Every resnet reads the time through a silu first.
        let time = Activation::Silu.forward(time);
        let context = context.as_ref();

        let mut x = self.conv_in.forward(to_compute_dtype(x));
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(x, &time, context, &mut skips);
        }
        x = self.mid.forward(x, &time, context);
        let mut features = x.clone();
        for block in &self.up {
            features = x;
            x = block.forward(features.clone(), &time, context, &mut skips);
        }
        let x = self.norm_out.forward_silu(x);
        (to_f32(self.conv_out.forward(x)), features)
    }

    /// `[batch, channels]`
    fn sinusoids(&self, t: &[f64], device: &Device) -> Tensor<2> {
        let sinusoids = Sinusoids {
            dim: self.config.channels[0],
            cosines_first: self.config.cosines_first,
            frequency_shift: self.config.frequency_shift as f64,
        };
        sinusoids.embed(t, device)
    }

    /// `time`: `[batch, d_time]` -> the time with the condition's part in it, and what the attention reads.
    fn condition(&self, time: Tensor<2>, condition: Condition) -> (Tensor<2>, Option<Context>) {
        let [batch, d_time] = time.dims();
        match (condition, &self.config.conditioning) {
            (Condition::None, Conditioning::None) => (time, None),
            (Condition::Tokens { tokens, mask, class }, Conditioning::Tokens { d_cross, .. }) => {
                let n = tokens.dims()[1];
                assert_shape!(tokens, [batch, n, *d_cross]);
                assert_shape!(class, [batch, d_time]);
                if let Some(mask) = &mask {
                    assert_shape!(mask, [batch, n]);
                }
                let context = Context {
                    tokens: to_compute_dtype(tokens),
                    mask,
                };
                (time + to_compute_dtype(class), Some(context))
            }
            (Condition::Image(z_x), Conditioning::Image { .. }) => {
                let levels = vec![0.0; batch];
                self.condition(time, Condition::NoisyImage { z_x, levels })
            }
            (Condition::NoisyImage { z_x, levels }, Conditioning::Image { d_clip, .. }) => {
                assert_shape!(z_x, [batch, *d_clip]);
                assert_eq!(
                    levels.len(),
                    batch,
                    "one noise level for each of {batch} pictures"
                );
                assert!(
                    self.level.is_some() || levels.iter().all(|&level| level == 0.0),
                    "this UNet knows no noise levels"
                );
                let time = match &self.level {
                    Some(level) => time + level.forward(self.sinusoids(&levels, &z_x.device())),
                    None => time,
                };
                let image = self.image.as_ref().expect("made with the config");
                let (tokens, of_image) = image.forward(to_compute_dtype(z_x));
                (time + of_image, Some(Context { tokens, mask: None }))
            }
            (given, wanted) => {
                let given = match given {
                    Condition::None => "nothing",
                    Condition::Tokens { .. } => "text tokens",
                    Condition::Image(_) | Condition::NoisyImage { .. } => "an image embedding",
                };
                panic!("this UNet is conditioned on {wanted}, given {given}")
            }
        }
    }
}
