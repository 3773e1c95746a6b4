//! What the renderer hands to a decoder stack, and what it takes back.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::DType;
use image::RgbImage;

use super::captions::ImageCaptions;
use super::error::RenderError;
use super::noise_source::{NoiseStage, RecordedNoise, RowNoise};
use super::parts::PartFolders;
use super::recipe::Init;

/// Turns what a decoder samples `[batch, channels, h, w]` into pixels `[batch, 3, height, width]`, nominally -1..1.
pub type ToPixels = Box<dyn Fn(Tensor<4>) -> Tensor<4>>;

/// A decoder that is configured for a call.
pub trait Decode: Debug + Send + Sync {
    /// Loads its networks one after another and decodes every image of `job`. Gives each to [`DecodeOutput::image`] as soon as it is finished, and
    /// every step of sampling to [`DecodeOutput::step`]. Returns how steps become pixels.
    ///
    /// # Errors
    /// [`RenderError`]: weights that do not load, noise that runs out, values that are not finite, a disk that is full.
    fn decode(&self, job: DecodeJob<'_>) -> Result<ToPixels, RenderError>;
}

/// Takes progress and images.
pub trait DecodeOutput {
    /// A network is loaded and will take `n_steps` steps.
    fn stage(&mut self, name: &'static str, n_steps: usize);

    /// A step without a sample was taken.
    fn progress(&mut self);

    /// A step was taken, which gave the images `rows` the samples `x` `[rows, channels, h, w]`. `name`: the trajectory.
    fn step(&mut self, rows: Range<usize>, name: &'static str, x: &Tensor<4>);

    /// The image of `row` is finished.
    ///
    /// # Errors
    /// [`RenderError`] where it cannot be written.
    fn image(&mut self, row: usize, image: &RgbImage) -> Result<(), RenderError>;
}

/// Where an image's noise comes from.
#[derive(Debug, Clone)]
pub struct NoiseSource {
    /// The image's seed.
    pub seed: u64,
    /// Its row in recorded noise.
    pub row: usize,
    /// Recorded noise, which is used first.
    pub recorded: Option<Arc<RecordedNoise>>,
}

/// A chunk of images to decode.
pub struct DecodeJob<'a> {
    /// The folders of the networks.
    pub folders: &'a PartFolders,
    /// Where to compute.
    pub device: &'a Device,
    /// Images that the networks see at once.
    pub batch: usize,
    /// The image embedding of each image.
    pub z_x: Vec<Vec<f32>>,
    /// For each image the embedding that guidance pushes away from, where the plan's inputs ask for it.
    pub uncond: Option<Vec<Vec<f32>>>,
    /// Captions, where the plan's inputs ask for them.
    pub captions: Option<ImageCaptions<'a>>,
    /// An image to start from.
    pub init: Option<&'a Init>,
    /// The noise of each image.
    pub noise: Vec<NoiseSource>,
    /// Takes progress and images.
    pub output: &'a mut dyn DecodeOutput,
}

impl DecodeJob<'_> {
    /// The number of batches.
    pub fn n_batches(&self) -> usize {
        self.z_x.len().div_ceil(self.batch)
    }

    /// The images of each batch.
    pub fn batches(&self) -> Vec<Range<usize>> {
        let (n, batch) = (self.z_x.len(), self.batch);
        let starts = (0..n).step_by(batch);
        starts.map(|start| start..n.min(start + batch)).collect()
    }

    /// The generators of a stage, one for each image.
    pub fn noise(&self, stage: NoiseStage) -> Vec<RowNoise> {
        let of = |source: &NoiseSource| {
            RowNoise::seeded(source.seed, stage).recorded(source.recorded.as_ref(), source.row)
        };
        self.noise.iter().map(of).collect()
    }

    /// The image embeddings of the images `rows`, `[rows, d_clip]`.
    pub fn z_x(&self, rows: Range<usize>) -> Tensor<2> {
        matrix(&self.z_x[rows], self.device)
    }

    /// What guidance pushes away from, for the images `rows`, `[rows, d_clip]`.
    pub fn uncond(&self, rows: Range<usize>) -> Option<Tensor<2>> {
        let uncond = self.uncond.as_ref()?;
        Some(matrix(&uncond[rows], self.device))
    }
}

fn matrix(rows: &[Vec<f32>], device: &Device) -> Tensor<2> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), (device, DType::F32))
}
