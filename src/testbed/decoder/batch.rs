//! Batches for a small decoder: images of W, their z_x, and how they are noised.

use std::sync::Mutex;

use burn::prelude::*;
use image::RgbImage;
use rand::RngExt;

use super::recipe::DecoderRecipe;
use crate::data::encode::scene_image;
use crate::diffusion::Schedule;
use crate::models::clip::{ClipError, ImageEncoder};
use crate::models::noise_augmentation::NoiseAugmentation;
use crate::noise::{Noise, Stream};
use crate::testbed::cells::CellTargets;
use crate::world::{Scene, World};

/// One batch of a small decoder.
#[derive(Debug, Clone)]
pub struct DecoderBatch {
    /// Noised images, `[batch, channels, h, w]`.
    pub x_t: Tensor<4>,
    /// Their timesteps.
    pub t: Vec<f64>,
    /// Their image embeddings, some replaced by that of the zero image, `[batch, d_clip]`.
    pub z_x: Tensor<2>,
    /// The noise levels of z_x.
    pub levels: Vec<f64>,
    /// The images, `[batch, channels, h, w]`.
    pub x_0: Tensor<4>,
    /// What covers each position.
    pub cells: CellTargets,
    /// Weights of the timesteps, `[batch, 1, 1, 1]`.
    pub weight: Tensor<4>,
}

/// Makes the batch of any step of a run.
#[derive(Debug)]
pub struct DecoderBatches {
    world: World,
    recipe: DecoderRecipe,
    /// The frozen CLIP, without autodiff. One batch is made at a time.
    encoder: Mutex<ImageEncoder>,
    zero: Vec<f32>,
    alphas_cumprod: Vec<f64>,
    augmentation: Option<NoiseAugmentation>,
}

impl DecoderBatches {
    /// Batches of `recipe` in a world, z_x by `encoder`.
    pub fn new(world: World, recipe: DecoderRecipe, encoder: ImageEncoder) -> Self {
        let scheduler = recipe.scheduler();
        let schedule = Schedule::new(scheduler.betas, scheduler.n_train);
        Self {
            world,
            zero: encoder.zero_image().into_data().iter::<f32>().collect(),
            alphas_cumprod: schedule.alphas_cumprod().to_vec(),
            encoder: Mutex::new(encoder),
            augmentation: None,
            recipe,
        }
    }

    /// The same with noise on z_x, as far as the recipe asks for it.
    #[must_use]
    pub fn with_augmentation(self, augmentation: NoiseAugmentation) -> Self {
        Self {
            augmentation: (self.recipe.max_noise_level > 0).then_some(augmentation),
            ..self
        }
    }

    /// Noise levels of the step's images, and z_x with that noise.
    fn augmented(&self, step: usize, z_x: Vec<f32>, device: &Device) -> (Vec<f64>, Vec<f32>) {
        let n = self.recipe.batch;
        let Some(augmentation) = &self.augmentation else {
            return (vec![0.0; n], z_x);
        };
        // A stream of its own: augmentation does not change the rest of a batch.
        let mut noise = Noise::of(self.recipe.seed, Stream::PretrainAugmentation(step as u64));
        let level = |noise: &mut Noise| match noise.rng().random_bool(self.recipe.exact) {
            true => 0,
            false => noise.rng().random_range(1..=self.recipe.max_noise_level),
        };
        let levels: Vec<usize> = (0..n).map(|_| level(&mut noise)).collect();
        let shape = [n, self.zero.len()];
        let eps = noise.normal(shape, device);
        let noisy = augmentation.add(
            Tensor::from_data(TensorData::new(z_x, shape), device),
            eps,
            &levels,
        );
        (
            levels.into_iter().map(|level| level as f64).collect(),
            noisy.into_data().iter::<f32>().collect(),
        )
    }

    /// The zero image's embedding, which is what the UNet sees without a condition.
    pub fn zero(&self) -> &[f32] {
        &self.zero
    }

    /// z_x of rendered scenes, row by row.
    ///
    /// # Errors
    /// [`ClipError`], if the preprocessing is not this world's.
    pub fn z_x(&self, images: &[RgbImage]) -> Result<Vec<f32>, ClipError> {
        let encoder = self.encoder.lock().expect("nothing panics with it");
        Ok(encoder.encode(images)?.into_data().iter::<f32>().collect())
    }

    /// The batch of `step` (from 1): a function of the recipe and the step alone. Timesteps are stratified: one from each of as many parts of
    /// equal chance.
    ///
    /// # Errors
    /// [`ClipError`], if the preprocessing is not this world's.
    pub fn batch(&self, step: usize, device: &Device) -> Result<DecoderBatch, ClipError> {
        let DecoderRecipe {
            batch: n,
            cond_drop,
            noisy_half,
            snr_weight: [low, high],
            ..
        } = self.recipe;
        let mut noise = Noise::of(self.recipe.seed, Stream::PretrainBatch(step as u64));
        let scenes: Vec<Scene> = (0..n).map(|_| self.world.scene_w(noise.rng())).collect();
        let images: Vec<RgbImage> = scenes.iter().map(scene_image).collect();
        let (levels, mut z_x) = self.augmented(step, self.z_x(&images)?, device);
        let d_clip = self.zero.len();
        for row in z_x.chunks_mut(d_clip) {
            if noise.rng().random_bool(cond_drop) {
                row.copy_from_slice(&self.zero);
            }
        }
        let n_train = self.alphas_cumprod.len();
        let within: f64 = noise.rng().random();
        let t: Vec<usize> = (0..n)
            .map(|i| timestep((i as f64 + within) / n as f64, noisy_half, n_train))
            .collect();
        let column = |f: &dyn Fn(f64) -> f64| -> Tensor<4> {
            let values: Vec<f32> = t.iter().map(|&t| f(self.alphas_cumprod[t]) as f32).collect();
            Tensor::from_data(TensorData::new(values, [n, 1, 1, 1]), device)
        };
        let x_0 = self.recipe.space().encode(tensor(&images, device));
        let eps: Tensor<4> = noise.normal(x_0.dims(), device);
        Ok(DecoderBatch {
            cells: CellTargets::new(self.world, &scenes, self.recipe.grid(self.world), device),
            x_t: x_0.clone() * column(&f64::sqrt) + eps * column(&|a| (1.0 - a).sqrt()),
            t: t.iter().map(|&t| t as f64).collect(),
            z_x: Tensor::from_data(TensorData::new(z_x, [n, d_clip]), device),
            levels,
            x_0,
            weight: column(&|a| (a / (1.0 - a)).clamp(low, high)),
        })
    }
}

/// The timestep at quantile `u` in 0..1 when `noisy_half` of them come from the second half.
fn timestep(u: f64, noisy_half: f64, n_train: usize) -> usize {
    let at = if u < 1.0 - noisy_half {
        0.5 * u / (1.0 - noisy_half)
    } else {
        1.0 - 0.5 * (1.0 - u) / noisy_half
    };
    ((at * n_train as f64) as usize).min(n_train - 1)
}

/// Images of a world as `[n, 3, side, side]` in -1..1.
fn tensor(images: &[RgbImage], device: &Device) -> Tensor<4> {
    let side = images[0].width() as usize;
    let bytes: Vec<f32> = images
        .iter()
        .flat_map(|p| p.as_raw().iter().map(|&b| f32::from(b) / 127.5 - 1.0))
        .collect();
    let rows: Tensor<4> = Tensor::from_data(TensorData::new(bytes, [images.len(), side, side, 3]), device);
    rows.permute([0, 3, 1, 2])
}
