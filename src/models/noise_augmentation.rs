//! unCLIP's noise augmentation: a decoder trained on image embeddings with noise of a known level, and sampled at a level of choice
//! (Ramesh et al. 2022, section 2.1; reference: diffusers `StableUnCLIPPipeline.noise_image_embeddings`).
//!
//! At level 0 nothing is added (the reference adds the noise of timestep 0, a hundredth of a standard deviation). Two folders of a pipeline describe it,
//! as in published StableUnCLIP pipelines: `image_normalizer/` holds mean and standard deviation of z_x, `image_noising_scheduler/` the schedule.
//!
//! Axes: batch; d_clip.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;
use serde_json::json;

use crate::diffusion::{BetaSchedule, Schedule};
use crate::files;
use crate::limits;
use crate::weights::{Checkpoint, TensorFile, WeightsError, write_json};

/// Folder of mean and standard deviation.
pub const NORMALIZER: &str = "image_normalizer";
/// Folder of the schedule.
pub const NOISING_SCHEDULER: &str = "image_noising_scheduler";
/// Noise levels, 0 among them.
pub const N_LEVELS: usize = 1000;

/// Mean and standard deviation of embeddings, `[n, d_clip]` row by row, by column: `[d_clip]` each. A deviation is 1e-6 at least, to divide by.
///
/// # Panics
/// If there are none, or `values` is no matrix of this width.
pub fn mean_and_std(values: &[f32], d_clip: usize) -> (Vec<f32>, Vec<f32>) {
    assert!(!values.is_empty() && values.len().is_multiple_of(d_clip));
    let n = (values.len() / d_clip) as f64;
    let column = |j: usize| values.iter().skip(j).step_by(d_clip).map(|&v| f64::from(v));
    let mean: Vec<f64> = (0..d_clip).map(|j| column(j).sum::<f64>() / n).collect();
    let variance = |j: usize| column(j).map(|v| (v - mean[j]).powi(2)).sum::<f64>() / n;
    let std = (0..d_clip).map(|j| variance(j).sqrt().max(1e-6) as f32).collect();
    (mean.iter().map(|&m| m as f32).collect(), std)
}

/// What adds noise to embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseAugmentation {
    mean: Vec<f32>,
    std: Vec<f32>,
    schedule: Schedule,
}

impl NoiseAugmentation {
    /// From embeddings, `[n, d_clip]` row by row: their mean and standard deviation by column.
    ///
    /// # Panics
    /// Like [`mean_and_std`].
    pub fn of(values: &[f32], d_clip: usize) -> Self {
        let (mean, std) = mean_and_std(values, d_clip);
        Self::new(mean, std)
    }

    fn new(mean: Vec<f32>, std: Vec<f32>) -> Self {
        Self {
            mean,
            std,
            schedule: Schedule::new(BetaSchedule::SquaredCos, N_LEVELS),
        }
    }

    /// `z_x`, `eps`: `[batch, d_clip]`; `levels`: one a row, below [`N_LEVELS`] -> `[batch, d_clip]`.
    ///
    /// # Panics
    /// For another number of levels, or a level out of range.
    pub fn add(&self, z_x: Tensor<2>, eps: Tensor<2>, levels: &[usize]) -> Tensor<2> {
        let ([batch, d_clip], device) = (z_x.dims(), z_x.device());
        assert_eq!(levels.len(), batch, "one noise level a row");
        let f32s = |values: &[f32]| Tensor::<1>::from_data(values, (&device, DType::F32));
        let row = |values: &[f32]| f32s(values).reshape([1, d_clip]);
        let (mean, std) = (row(&self.mean), row(&self.std));
        let normal = (z_x.clone() - mean.clone()) / std.clone();
        let noisy = self.schedule.add_noise(normal, eps, levels) * std + mean;
        let exact: Vec<f32> = levels
            .iter()
            .map(|&level| f32::from(u8::from(level == 0)))
            .collect();
        let exact = f32s(&exact).reshape([batch, 1]);
        noisy * exact.clone().mul_scalar(-1.0).add_scalar(1.0) + z_x * exact
    }

    /// Writes both folders into the pipeline `dir`.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn save(&self, dir: &Path) -> Result<(), WeightsError> {
        let folder = dir.join(NORMALIZER);
        files::create_dir(&folder)?;
        let shape = [1, self.mean.len()];
        TensorFile::new()
            .with("mean", &shape, &self.mean)
            .with("std", &shape, &self.std)
            .write(&folder.join("diffusion_pytorch_model.safetensors"))?;
        let config = json!({"_class_name": "StableUnCLIPImageNormalizer", "embedding_dim": self.mean.len()});
        write_json(&folder.join("config.json"), &config)?;
        let folder = dir.join(NOISING_SCHEDULER);
        files::create_dir(&folder)?;
        let config = json!({
            "_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": N_LEVELS,
        });
        write_json(&folder.join("scheduler_config.json"), &config)
    }

    /// Reads the folder of mean and standard deviation in the pipeline `dir`; the schedule is the only one that is written.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file or the tensor: also for another width than `d_clip`, and values that are not finite.
    pub fn load(dir: &Path, d_clip: usize) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open(dir.join(NORMALIZER))?;
        let row = |name: &str| -> Result<Vec<f32>, WeightsError> {
            let values: Vec<f32> = checkpoint.read(name)?.iter::<f32>().collect();
            match values.len() == d_clip && limits::not_finite(values.iter().copied()).is_none() {
                true => Ok(values),
                false => Err(WeightsError::Broken {
                    path: checkpoint.path().to_path_buf(),
                    reason: format!(
                        "`{name}`: expected {d_clip} finite values, found {}",
                        values.len()
                    ),
                }),
            }
        };
        Ok(Self::new(row("mean")?, row("std")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;

    #[test]
    fn noise_grows_with_the_level_and_keeps_mean_and_spread() {
        let device = DeviceSpec::default().device().expect("the default device");
        let (n, d) = (4000, 3);
        let mut noise = Noise::new(1);
        let z_x: Tensor<2> = noise.normal([n, d], &device).mul_scalar(2.0).add_scalar(5.0);
        let values: Vec<f32> = z_x.clone().into_data().iter::<f32>().collect();
        let augmentation = NoiseAugmentation::of(&values, d);
        let at = |level: usize, noise: &mut Noise| {
            augmentation.add(z_x.clone(), noise.normal([n, d], &device), &vec![level; n])
        };
        let error = |level, noise: &mut Noise| -> f32 {
            (at(level, noise) - z_x.clone())
                .square()
                .mean()
                .into_scalar::<f32>()
        };
        assert_eq!(error(0, &mut noise), 0.0, "level 0 is exact");
        let errors = [1, 100, 300, 600, 999].map(|level| error(level, &mut noise));
        assert!(errors.is_sorted() && errors[0] > 0.0, "{errors:?}");
        // At the last level nothing is left of z_x: two independent draws of the same spread.
        assert!((errors[4] / (2.0 * 4.0) - 1.0).abs() < 0.1, "{errors:?}");
        let spread = NoiseAugmentation::of(
            &at(500, &mut noise).into_data().iter::<f32>().collect::<Vec<_>>(),
            d,
        );
        for j in 0..d {
            assert!((spread.mean[j] - 5.0).abs() < 0.15 && (spread.std[j] - 2.0).abs() < 0.1);
        }
        let folder = tempfile::tempdir().expect("a folder");
        augmentation.save(folder.path()).expect("written");
        assert_eq!(
            NoiseAugmentation::load(folder.path(), d).expect("read"),
            augmentation
        );
        let error = NoiseAugmentation::load(folder.path(), 4).expect_err("another width");
        assert!(error.to_string().contains("`mean`"), "{error}");
    }
}
