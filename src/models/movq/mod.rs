//! MoVQ: latents to images and back (arXiv 2209.09002; reference: diffusers `VQModel` with `norm_type="spatial"`), the last stage of Kandinsky 2.2.
//!
//! The decoder's norms are modulated at every pixel by the latents themselves, so decoding reads them twice. Kandinsky decodes the latents as they
//! come from its UNet; [`Movq::quantize`] would replace each by its nearest code first.
//!
//! Axes: batch; channels; h, w of latents, [`MovqConfig::scale`] times smaller than images; d_code channels of latents.

mod block;
mod config;
mod decoder;
mod encoder;
mod norm;

pub use config::MovqConfig;

use std::path::Path;

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::prelude::*;
use burn::tensor::{DType, assert_shape};

use crate::nn::{convolve, to_compute_dtype, to_f32};
use crate::weights::{self, Checkpoint, Mapping, WeightsError};
use decoder::Decoder;
use encoder::Encoder;

/// Published names of [`Movq`]'s parameters.
pub const MAPPING: Mapping = Mapping {
    rules: &[
        (".codebook.", ".quantize.embedding."),
        (".encoder.stages.", ".encoder.down_blocks."),
        (".decoder.stages.", ".decoder.up_blocks."),
        (".layers.", "."),
        (".mid.", ".mid_block."),
        (".downsample.", ".downsamplers.0.conv."),
        (".upsample.", ".upsamplers.0.conv."),
        // The norm before attention has the name of its kind, the others that of their place.
        (".norm.Group.", ".group_norm."),
        (".norm.Spatial.", ".spatial_norm."),
        (".Group.", "."),
        (".Spatial.", "."),
        (".group.", ".norm_layer."),
        (".scale.", ".conv_y."),
        (".shift.", ".conv_b."),
        (".norm_1.", ".norm1."),
        (".norm_2.", ".norm2."),
        (".conv_1.", ".conv1."),
        (".conv_2.", ".conv2."),
        (".shortcut.", ".conv_shortcut."),
        (".attention.query.", ".to_q."),
        (".attention.key.", ".to_k."),
        (".attention.value.", ".to_v."),
        (".attention.output.", ".to_out.0."),
        (".norm_out.", ".conv_norm_out."),
    ],
};

/// Encoder, codebook and decoder.
#[derive(Module, Debug)]
pub struct Movq {
    encoder: Encoder,
    /// 1 x 1, `[latent_channels, d_code]`
    quant_conv: Conv2d,
    /// `[n_codes, d_code]`
    codebook: Embedding,
    /// 1 x 1, `[d_code, latent_channels]`
    post_quant_conv: Conv2d,
    decoder: Decoder,
}

impl Movq {
    /// A model with Burn's own (lazy) initial values.
    ///
    /// # Panics
    /// If [`MovqConfig::check`] would refuse the config.
    pub fn init(config: &MovqConfig, device: &Device) -> Self {
        config.check().expect("a config that was checked");
        let (latents, codes) = (config.latent_channels, config.d_code());
        let conv = |from: usize, to: usize| Conv2dConfig::new([from, to], [1, 1]).init(device);
        Self {
            encoder: Encoder::init(config, device),
            quant_conv: conv(latents, codes),
            codebook: EmbeddingConfig::new(config.n_codes, codes).init(device),
            post_quant_conv: conv(codes, latents),
            decoder: Decoder::init(config, device),
        }
    }

    /// Loads a published folder.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file, the key or the tensors.
    pub fn load(dir: &Path, device: &Device) -> Result<(MovqConfig, Self), WeightsError> {
        let config = MovqConfig::read(dir)?;
        let module = Self::init(&config, device);
        let module = weights::load(module, "a MoVQ", &Checkpoint::open(dir)?, &MAPPING, &[])?;
        Ok((config, module))
    }

    /// Writes `dir/config.json` and `dir/diffusion_pytorch_model.safetensors`.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn save(&self, config: &MovqConfig, dir: &Path) -> Result<(), WeightsError> {
        crate::files::create_dir(dir)?;
        let file = dir.join("diffusion_pytorch_model.safetensors");
        weights::save(self, &file, &MAPPING, DType::F32)?;
        weights::write_json(&dir.join("config.json"), config)
    }

    /// `image`: `[batch, in_channels, h, w]`, -1 to 1 -> latents `[batch, d_code, h / scale, w / scale]`, not quantised. Sides that the scale does not
    /// divide are rounded down.
    pub fn encode(&self, image: Tensor<4>) -> Tensor<4> {
        to_f32(convolve(
            &self.quant_conv,
            self.encoder.forward(to_compute_dtype(image)),
        ))
    }

    /// Latents `[batch, d_code, h, w]` -> `[batch, out_channels, scale h, scale w]`, about -1 to 1, not clamped. The latents are taken as they are:
    /// the reference's `force_not_quantize`.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let latents = to_compute_dtype(latents);
        let x = convolve(&self.post_quant_conv, latents.clone());
        to_f32(self.decoder.forward(x, &latents))
    }

    /// Latents `[batch, d_code, h, w]` -> each replaced by the code nearest to it, and that code's number, `[batch, h, w]`.
    pub fn quantize(&self, latents: Tensor<4>) -> (Tensor<4>, Tensor<3, Int>) {
        let codes = to_f32(self.codebook.weight.val());
        let [batch, d_code, h, w] = latents.dims();
        assert_shape!(codes, [_, d_code]);
        let rows = latents.permute([0, 2, 3, 1]).reshape([batch * h * w, d_code]);
        // |z - e|^2 without |z|^2, which is the same for every code.
        let squares = codes.clone().square().sum_dim(1).swap_dims(0, 1); // [1, n_codes]
        let distances = squares - rows.matmul(codes.clone().swap_dims(0, 1)).mul_scalar(2.0);
        let indices = distances.argmin(1).reshape([batch * h * w]);
        let nearest = codes
            .select(0, indices.clone())
            .reshape([batch, h, w, d_code])
            .permute([0, 3, 1, 2]);
        (nearest, indices.reshape([batch, h, w]))
    }
}
