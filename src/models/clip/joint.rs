//! Both towers and the temperature as one model, in transformers' `CLIPModel` layout.

use std::path::Path;

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::DType;
use safetensors::SafeTensors;

use super::encoder::block_rules;
use super::{ClipConfig, ClipText, ClipVision};
use crate::files;
use crate::weights::{self, Mapping, TensorFile, WeightsError};

/// Published names of [`Clip`]'s parameters.
pub const MAPPING: Mapping = Mapping {
    rules: block_rules![
        (".text.tokens.", ".text_model.embeddings.token_embedding."),
        (".text.positions.", ".text_model.embeddings.position_embedding."),
        (".text.blocks.", ".text_model.encoder.layers."),
        (".text.norm_out.", ".text_model.final_layer_norm."),
        (".text.projection.", ".text_projection."),
        (".vision.class_token", ".vision_model.embeddings.class_embedding"),
        (".vision.patches.", ".vision_model.embeddings.patch_embedding."),
        (
            ".vision.positions.",
            ".vision_model.embeddings.position_embedding."
        ),
        (".vision.norm_in.", ".vision_model.pre_layrnorm."),
        (".vision.blocks.", ".vision_model.encoder.layers."),
        (".vision.norm_out.", ".vision_model.post_layernorm."),
        (".vision.projection.", ".visual_projection."),
    ],
};

/// CLIP's clamp on the logit scale (the CLIP paper, section 2.5).
const MAX_SCALE: f64 = 100.0;

/// A whole CLIP.
#[derive(Module, Debug)]
pub struct Clip {
    /// Captions.
    pub text: ClipText,
    /// Images.
    pub vision: ClipVision,
    /// ln(1/tau), `[1]`.
    pub logit_scale: Param<Tensor<1>>,
}

impl ClipConfig {
    /// Both towers with Burn's own (lazy) initial values.
    pub fn init(&self, device: &Device) -> Clip {
        Clip {
            text: self.text_config.init(device),
            vision: self.vision_config.init(device),
            logit_scale: Param::from_tensor(Tensor::from_floats(
                [self.logit_scale_init_value as f32],
                device,
            )),
        }
    }
}

impl Clip {
    /// 1/tau, at most 100, `[1]`.
    pub fn scale(&self) -> Tensor<1> {
        self.logit_scale.val().exp().clamp_max(MAX_SCALE)
    }

    /// Multiplies all embeddings of images and of captions by a factor each. Cosines stay, so CLIP's own loss does not notice.
    pub fn rescaled(mut self, pictures: f64, captions: f64) -> Self {
        self.vision = self.vision.rescaled(pictures);
        self.text = self.text.rescaled(captions);
        self
    }

    /// Writes `config.json` and `model.safetensors` to the folder `dir`, as transformers' `save_pretrained` does.
    ///
    /// # Errors
    /// [`WeightsError`] when the disk refuses, or for a dtype other than f32, f16 and bf16.
    pub fn save(&self, config: &ClipConfig, dir: &Path, dtype: DType) -> Result<(), WeightsError> {
        let path = dir.join("model.safetensors");
        weights::write_json(&dir.join("config.json"), config)?;
        weights::save(self, &path, &MAPPING, dtype)?;
        scalar_logit_scale(&path)
    }
}

/// The logit scale of the whole CLIP in the folder `dir`, ln(1/tau); `None` where there is none, as beside a single tower.
///
/// # Errors
/// [`WeightsError`], naming the file.
pub fn logit_scale(dir: &Path) -> Result<Option<f64>, WeightsError> {
    match weights::Checkpoint::open(dir) {
        Ok(checkpoint) if checkpoint.tensors().contains_key("logit_scale") => {
            Ok(checkpoint.read("logit_scale")?.iter::<f64>().next())
        }
        Ok(_) | Err(WeightsError::NoWeights { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `logit_scale` is a scalar in published files; Burn's parameters have one axis at least.
fn scalar_logit_scale(path: &Path) -> Result<(), WeightsError> {
    let broken = |e: safetensors::SafeTensorError| WeightsError::Broken {
        path: path.to_path_buf(),
        reason: e.to_string(),
    };
    let bytes = files::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut out = TensorFile::new();
    for (name, view) in file.iter() {
        let shape = match name {
            "logit_scale" => &[],
            _ => view.shape(),
        };
        out = out.with_bytes(name, view.dtype(), shape, view.data().to_vec());
    }
    for (key, value) in header.metadata().iter().flatten() {
        out = out.with_metadata(key, value);
    }
    out.write(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
    use crate::nn::torch_default;
    use crate::noise::Noise;

    fn config() -> ClipConfig {
        let text = ClipTextConfig {
            vocab_size: 11,
            hidden_size: 8,
            intermediate_size: 16,
            projection_dim: 6,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            max_position_embeddings: 5,
            eos_token_id: 10,
            ..Default::default()
        };
        let vision = ClipVisionConfig {
            hidden_size: 12,
            intermediate_size: 24,
            projection_dim: 6,
            num_hidden_layers: 2,
            num_attention_heads: 3,
            image_size: 8,
            patch_size: 4,
            ..Default::default()
        };
        ClipConfig::new(text, vision)
    }

    #[test]
    fn a_saved_clip_loads_tower_by_tower_and_embeds_the_same() {
        let device = DeviceSpec::default().device().expect("the default device exists");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clip = torch_default(config().init(&device), &mut Noise::new(1));
        clip.save(&config(), dir.path(), DType::F32)
            .expect("the folder is writable");
        let (text_config, text) = ClipText::load(dir.path(), &device).expect("the text tower is there");
        let (vision_config, vision) =
            ClipVision::load(dir.path(), &device).expect("the vision tower is there");
        assert_eq!(
            (text_config, vision_config),
            (config().text_config, config().vision_config)
        );
        let ids = Tensor::<2, Int>::from_data([[9, 1, 2, 10, 0], [9, 3, 10, 0, 0]], &device);
        let pixels: Tensor<4> = Noise::new(2).normal([2, 3, 8, 8], &device);
        let values = |x: Tensor<2>| x.into_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(
            values(clip.text.forward(ids.clone(), None).z_y),
            values(text.forward(ids.clone(), None).z_y)
        );
        assert_eq!(
            values(clip.vision.forward(pixels.clone()).z_x),
            values(vision.forward(pixels.clone()).z_x)
        );

        let bytes = files::read(dir.path().join("model.safetensors")).expect("written");
        let file = SafeTensors::deserialize(&bytes).expect("whole");
        assert_eq!(file.tensor("logit_scale").expect("present").shape(), [0_usize; 0]);

        let before = values(clip.vision.forward(pixels.clone()).z_x);
        let scaled = clip.clone().rescaled(0.5, 3.0);
        for (a, b) in before.iter().zip(values(scaled.vision.forward(pixels).z_x)) {
            assert!((a * 0.5 - b).abs() < 1e-6, "{a} {b}");
        }
        let before = values(clip.text.forward(ids.clone(), None).z_y);
        for (a, b) in before.iter().zip(values(scaled.text.forward(ids, None).z_y)) {
            assert!((a * 3.0 - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
