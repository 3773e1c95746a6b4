//! Batches for a small CLIP: families of pictures, two captions each, and all that is known about them.

use burn::prelude::*;
use image::RgbImage;
use rand::RngExt;

use super::ClipRecipe;
use super::facts::{FactTargets, Known, N_COLOURS};
use crate::data::encode::picture;
use crate::models::clip::preprocess::{Preprocess, PreprocessError};
use crate::models::clip::tokenizer::{Tokenizer, TokenizerError};
use crate::noise::Noise;
use crate::objective::clip::TruthMatrix;
use crate::world::{self, CaptionMix, Noun, PICTURE_SIZE, Scene, Statement, Truth};

/// The captions of a batch's first half: all objects, often all colours.
const FULL: CaptionMix = CaptionMix {
    drop_object: 0.0,
    drop_colour: 0.0,
    relation: 0.6,
    plain_relation: 0.5,
    ..CaptionMix::W
};
/// The same after the first third of the run: mostly both objects, both colours and the relation.
const LONG: CaptionMix = CaptionMix {
    relation: 0.7,
    plain_relation: 0.2,
    ..FULL
};
/// Those of the second half: much is left out.
const SHORT: CaptionMix = CaptionMix {
    drop_object: 0.3,
    drop_colour: 0.5,
    relation: 0.4,
    plain_relation: 0.9,
    ..CaptionMix::W
};

/// Patches of bare ground count this much less than covered ones.
const GROUND_DISCOUNT: f32 = 0.7;

/// One batch.
#[derive(Debug, Clone)]
pub struct ClipBatch {
    /// Step number, from 1.
    pub step: usize,
    /// `[batch, 3, side, side]`
    pub pixels: Tensor<4>,
    /// `[n_captions, n_text]`
    pub ids: Tensor<2, Int>,
    /// `[n_captions, batch]`
    pub truth: TruthMatrix,
    /// What the pictures show.
    pub picture_facts: FactTargets,
    /// What the captions say.
    pub caption_facts: FactTargets,
    /// Weighted share of each noun, ground first, in each patch; all weights sum to 1. `[batch * n_patches, 1 + n_nouns]`
    pub patch_noun: Tensor<2>,
    /// The same for colours: ground, own colouring, colours. `[batch * n_patches, 2 + N_COLOURS]`
    pub patch_colour: Tensor<2>,
}

/// Makes the batch of any step of a run.
#[derive(Debug, Clone)]
pub struct BatchMaker {
    recipe: ClipRecipe,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
}

/// A caption that the tokenizer refuses, or a picture that the preprocessing refuses.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A caption.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A picture.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
}

impl BatchMaker {
    /// Batches of `recipe`.
    pub fn new(recipe: ClipRecipe, tokenizer: Tokenizer, preprocess: Preprocess) -> Self {
        Self {
            recipe,
            tokenizer,
            preprocess,
        }
    }

    /// The batch of `step` (from 1): a function of the recipe and the step alone.
    ///
    /// # Errors
    /// [`BatchError`], if tokenizer or preprocessing are not this world's.
    pub fn batch(&self, step: usize, device: &Device) -> Result<ClipBatch, BatchError> {
        let mut noise = Noise::stream(self.recipe.seed, step as u64);
        let rng = noise.rng();
        let scenes: Vec<Scene> = (0..self.recipe.n_families)
            .flat_map(|_| world::family(rng))
            .collect();
        let (full, canonical) = if step <= self.recipe.n_early() {
            (FULL, self.recipe.canonical)
        } else {
            (LONG, 0.0)
        };
        let (texts, statements): (Vec<String>, Vec<Statement>) = [full, SHORT]
            .iter()
            .flat_map(|mix| scenes.iter().map(move |scene| (mix, scene)))
            .map(|(mix, scene)| {
                let mix = CaptionMix {
                    canonical: rng.random_bool(canonical),
                    ..*mix
                };
                world::caption(scene, &mix, rng)
            })
            .unzip();
        let known = |i| Known::of_statement(&statements[i]);
        let captions: Vec<Known> = (0..statements.len()).map(known).collect();
        let pictures: Vec<Known> = scenes.iter().map(Known::of_scene).collect();
        let (patch_noun, patch_colour) = self.patches(&scenes, device);
        Ok(ClipBatch {
            step,
            pixels: self.pixels(&scenes, device)?,
            ids: self.ids(&texts, device)?,
            truth: truth_matrix(&statements, &scenes, device),
            picture_facts: FactTargets::new(&pictures, device),
            caption_facts: FactTargets::new(&captions, device),
            patch_noun,
            patch_colour,
        })
    }

    fn pixels(&self, scenes: &[Scene], device: &Device) -> Result<Tensor<4>, BatchError> {
        let pictures: Vec<RgbImage> = scenes.iter().map(picture).collect();
        let values = self.preprocess.apply_batch(&pictures)?;
        let side = self.recipe.image_size;
        Ok(Tensor::from_data(
            TensorData::new(values, [scenes.len(), 3, side, side]),
            device,
        ))
    }

    fn ids(&self, texts: &[String], device: &Device) -> Result<Tensor<2, Int>, BatchError> {
        let tokens = self.tokenizer.encode_batch(texts)?;
        let ids: Vec<i64> = tokens
            .iter()
            .flat_map(|t| t.ids.iter().map(|&id| i64::from(id)))
            .collect();
        Ok(Tensor::from_data(
            TensorData::new(ids, [texts.len(), self.tokenizer.n_text()]),
            device,
        ))
    }

    /// Targets of the patch heads, see [`ClipBatch::patch_noun`].
    fn patches(&self, scenes: &[Scene], device: &Device) -> (Tensor<2>, Tensor<2>) {
        let grid = self.recipe.image_size / self.recipe.patch_size;
        let n_patches = grid * grid;
        let (n_nouns, n_colours) = (1 + Noun::all().len(), 2 + N_COLOURS);
        let mut nouns = vec![0.0_f32; scenes.len() * n_patches * n_nouns];
        let mut colours = vec![0.0_f32; scenes.len() * n_patches * n_colours];
        for (number, scene) in scenes.iter().enumerate() {
            let labels: Vec<(usize, usize)> = scene
                .sprites()
                .map(|sprite| {
                    (
                        1 + sprite.noun.index(),
                        sprite.colour.map_or(1, |colour| 2 + colour.index()),
                    )
                })
                .collect();
            for (pixel, cover) in scene.cover().into_iter().enumerate() {
                let (x, y) = (
                    pixel % PICTURE_SIZE * grid / PICTURE_SIZE,
                    pixel / PICTURE_SIZE * grid / PICTURE_SIZE,
                );
                let patch = number * n_patches + y * grid + x;
                let (noun, colour) = cover.map_or((0, 0), |sprite| labels[sprite]);
                nouns[patch * n_nouns + noun] += 1.0;
                colours[patch * n_colours + colour] += 1.0;
            }
        }
        let tensor = |mut values: Vec<f32>, width: usize| {
            let pixels = (PICTURE_SIZE * PICTURE_SIZE) as f32 / n_patches as f32;
            let mut sum = 0.0;
            for patch in values.chunks_exact_mut(width) {
                let weight = 1.0 - GROUND_DISCOUNT * patch[0] / pixels;
                patch.iter_mut().for_each(|v| *v *= weight);
                sum += weight * pixels;
            }
            values.iter_mut().for_each(|v| *v /= sum);
            let rows = values.len() / width;
            Tensor::from_data(TensorData::new(values, [rows, width]), device)
        };
        (tensor(nouns, n_nouns), tensor(colours, n_colours))
    }
}

/// What is true of what; captions by rows.
fn truth_matrix(statements: &[Statement], scenes: &[Scene], device: &Device) -> TruthMatrix {
    let shape = [statements.len(), scenes.len()];
    let truths: Vec<Truth> = statements
        .iter()
        .flat_map(|s| scenes.iter().map(move |scene| world::truth(s, scene)))
        .collect();
    let part = |which: Truth| {
        let values: Vec<f32> = truths.iter().map(|&t| f32::from(u8::from(t == which))).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    TruthMatrix {
        holds: part(Truth::True),
        fails: part(Truth::False),
    }
}
