//! Images of own prompts by several priors.

use std::path::PathBuf;

use burn::prelude::*;
use image::RgbImage;
use image::imageops::{FilterType, resize};

use super::error::DrawError;
use super::studio::{Studio, decoder_settings};
use super::trained::TrainedRun;
use crate::train::objectives::PriorObjective;

/// Images of one prompt by one prior.
#[derive(Debug, Clone)]
pub struct Row {
    /// The prior's label.
    pub label: String,
    /// Its run directory.
    pub dir: PathBuf,
    /// The prompt.
    pub prompt: String,
    /// Enlarged images, one per seed.
    pub images: Vec<RgbImage>,
    /// Number of images that show the whole prompt, by the world's checker; `None` for prompts that the checker cannot parse.
    pub n_right: Option<usize>,
}

/// A request to draw.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    /// Prompts.
    pub prompts: &'a [String],
    /// Images of each prompt and prior.
    pub n_images: usize,
    /// Seed of the first image's noise; each further image adds 1.
    pub seed: u64,
    /// Side of an enlarged pixel.
    pub zoom: u32,
}

/// Draws every prompt with every prior, from the same noise.
///
/// # Errors
/// [`DrawError`]: unknown words, models that cannot be loaded or do not match.
pub fn draw(priors: &[TrainedRun], words: &Words<'_>, device: &Device) -> Result<Vec<Row>, DrawError> {
    let mut studio = Studio::new(device.clone());
    let mut rows = Vec::new();
    for prior in priors {
        let run = prior.run();
        studio.check_words(prior, words.prompts)?;
        for prompt in words.prompts {
            let sampler = run.objective().sampler();
            let predicted = studio.predict(prior, prompt, words.n_images, words.seed, sampler)?;
            let decoder = studio.decoder(run.decoder(), run.clip(), &prior.dir)?;
            let z_x_hat = TensorData::new(predicted.z_x_hat, [words.n_images, predicted.d_clip]);
            let seeds: Vec<u64> = (0..words.n_images as u64)
                .map(|i| words.seed.wrapping_add(i))
                .collect();
            let settings = decoder_settings(run.eval(), decoder);
            let images = decoder.draw(&Tensor::from_data(z_x_hat, device), &seeds, settings)?;
            let n_right = run.world().parse(prompt).map(|statement| {
                let right = images
                    .iter()
                    .filter(|image| studio.verdict(&statement, image).all());
                right.count()
            });
            rows.push(Row {
                label: prior.label.clone(),
                dir: prior.dir.clone(),
                prompt: prompt.clone(),
                images: images.iter().map(|image| enlarged(image, words.zoom)).collect(),
                n_right,
            });
        }
    }
    Ok(rows)
}

/// Enlarges each pixel to a square of `zoom` pixels, so that small images stay sharp.
fn enlarged(image: &RgbImage, zoom: u32) -> RgbImage {
    resize(
        image,
        image.width() * zoom,
        image.height() * zoom,
        FilterType::Nearest,
    )
}
