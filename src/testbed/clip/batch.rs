//! Batches for a small CLIP: families of images, two captions each, and all that is known about them.

use burn::prelude::*;
use image::RgbImage;
use rand::RngExt;

use super::recipe::ClipRecipe;
use super::targets::FactTargets;
use crate::data::encode::scene_image;
use crate::models::clip::preprocess::Preprocess;
use crate::models::clip::tokenizer::Tokenizer;
use crate::noise::{Noise, Stream};
use crate::objective::clip::TruthMatrix;
use crate::testbed::cells::CellTargets;
use crate::testbed::error::PretrainError;
use crate::testbed::facts::Known;
use crate::world::{self, CaptionMix, Scene, Statement, Truth, World};

/// The captions of a batch's first half: all objects, often all colours.
const FULL: CaptionMix = CaptionMix {
    drop_object: 0.0,
    drop_colour: 0.0,
    drop_texture: 0.0,
    one_aspect: 0.5,
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
/// The captions of the second half: much is left out.
const SHORT: CaptionMix = CaptionMix {
    drop_object: 0.3,
    drop_colour: 0.5,
    relation: 0.4,
    plain_relation: 0.9,
    ..CaptionMix::W
};

/// One batch of a small CLIP.
#[derive(Debug, Clone)]
pub struct ClipBatch {
    /// `[batch, 3, side, side]`
    pub pixels: Tensor<4>,
    /// `[n_captions, n_text]`
    pub ids: Tensor<2, Int>,
    /// `[n_captions, batch]`
    pub truth: TruthMatrix,
    /// What the images show.
    pub image_facts: FactTargets,
    /// What the captions say.
    pub caption_facts: FactTargets,
    /// What covers each patch.
    pub patches: CellTargets,
}

/// Makes the batch of any step of a run.
#[derive(Debug, Clone)]
pub struct BatchMaker {
    world: World,
    recipe: ClipRecipe,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
}

impl BatchMaker {
    /// Batches of `recipe` in a world.
    pub fn new(world: World, recipe: ClipRecipe, tokenizer: Tokenizer, preprocess: Preprocess) -> Self {
        Self {
            world,
            recipe,
            tokenizer,
            preprocess,
        }
    }

    /// The batch of `step` (from 1): a function of the recipe and the step alone.
    ///
    /// # Errors
    /// [`PretrainError::Tokenizer`] and [`PretrainError::Preprocess`], if tokenizer or preprocessing are not this world's.
    pub fn batch(&self, step: usize, device: &Device) -> Result<ClipBatch, PretrainError> {
        let mut noise = Noise::of(self.recipe.seed, Stream::PretrainBatch(step as u64));
        let rng = noise.rng();
        let scenes: Vec<Scene> = (0..self.recipe.n_families)
            .flat_map(|_| self.world.family(rng))
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
        let images: Vec<Known> = scenes.iter().map(Known::of_scene).collect();
        let grid = self.recipe.image_size / self.recipe.patch_size;
        Ok(ClipBatch {
            pixels: self.pixels(&scenes, device)?,
            ids: self.ids(&texts, device)?,
            truth: truth_matrix(&statements, &scenes, device),
            image_facts: FactTargets::new(self.world, &images, device),
            caption_facts: FactTargets::new(self.world, &captions, device),
            patches: CellTargets::new(self.world, &scenes, grid, device),
        })
    }

    fn pixels(&self, scenes: &[Scene], device: &Device) -> Result<Tensor<4>, PretrainError> {
        let images: Vec<RgbImage> = scenes.iter().map(scene_image).collect();
        let values = self.preprocess.apply_batch(&images)?;
        let side = self.recipe.image_size;
        Ok(Tensor::from_data(
            TensorData::new(values, [scenes.len(), 3, side, side]),
            device,
        ))
    }

    fn ids(&self, texts: &[String], device: &Device) -> Result<Tensor<2, Int>, PretrainError> {
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
}

/// Which captions (rows) are true of which images (columns).
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
