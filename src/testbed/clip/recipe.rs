//! Sizes and settings of a small CLIP's training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::check::{Bound, at_least, bounded, bounds_of};
use crate::config::{InvalidValue, schema};
use crate::models::clip::preprocess::Preprocess;
use crate::models::clip::{ClipConfig, ClipTextConfig, ClipVisionConfig};
use crate::train::schedule::LrSchedule;
use crate::world::World;

/// Everything that defines a training run of the small CLIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClipRecipe {
    /// Optimiser steps.
    pub n_steps: usize,
    /// Families of four images in a batch.
    pub n_families: usize,
    /// Width of both towers.
    pub d_model: usize,
    /// Blocks of the vision tower.
    pub n_vision_blocks: usize,
    /// Blocks of the text tower.
    pub n_text_blocks: usize,
    /// Width of the joint space.
    pub d_clip: usize,
    /// Side of the image that the tower sees, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// AdamW's learning rate at its highest.
    pub lr: f64,
    /// Muon's learning rate is this many times AdamW's.
    pub muon_factor: f64,
    /// Decoupled decay of the hidden matrices.
    pub weight_decay: f64,
    /// Steps of linear warm-up; a half cosine to 2 % follows.
    pub warmup: usize,
    /// Global gradient norm.
    pub grad_clip: f64,
    /// Share of the captions of the first third of the run whose relation is put into canonical order (left of, top of). In the other
    /// two thirds more captions are of the longest kind: which colour belongs to which object is learnt last there.
    pub canonical: f64,
    /// Seed of the initial weights and of all batches.
    pub seed: u64,
}

impl Default for ClipRecipe {
    /// The recipe of the `emoji` world's committed model.
    fn default() -> Self {
        Self {
            n_steps: 4500,
            n_families: 8,
            d_model: 128,
            n_vision_blocks: 4,
            n_text_blocks: 3,
            d_clip: 128,
            image_size: 48,
            patch_size: 12,
            lr: 1e-3,
            muon_factor: 6.0,
            weight_decay: 0.05,
            warmup: 100,
            grad_clip: 1.0,
            canonical: 0.5,
            seed: 0,
        }
    }
}

impl ClipRecipe {
    /// The recipe of a world's committed model. Patches are a quarter of the image's side.
    pub fn of(world: World) -> Self {
        let sizes = world.small_models();
        Self {
            n_steps: sizes.clip_steps,
            image_size: sizes.clip_image_size,
            patch_size: sizes.clip_image_size / 4,
            ..Self::default()
        }
    }

    /// A tiny model and run that only test that all parts fit together.
    pub fn smoke(world: World) -> Self {
        Self {
            n_steps: 12,
            n_families: 2,
            d_model: 32,
            n_vision_blocks: 2,
            n_text_blocks: 2,
            d_clip: 32,
            warmup: 4,
            ..Self::of(world)
        }
    }

    /// Checks each number on its own.
    fn check_numbers(&self) -> Result<(), InvalidValue> {
        let counts = [
            ("n_steps", self.n_steps, 1),
            ("n_families", self.n_families, 1),
            ("d_model", self.d_model, 1),
            // Patches are read off the block before the last.
            ("n_vision_blocks", self.n_vision_blocks, 2),
            ("n_text_blocks", self.n_text_blocks, 1),
            ("d_clip", self.d_clip, 1),
            ("patch_size", self.patch_size, 1),
            ("image_size", self.image_size, 1),
        ];
        for (key, found, least) in counts {
            at_least(key, least, found)?;
        }
        let bounds = [Bound::AtLeast(0.0), Bound::AtMost(1.0)];
        bounded("canonical", &bounds, "a share between 0 and 1", self.canonical)
    }

    /// # Errors
    /// The key at fault, what was expected and what was found.
    pub fn check(&self) -> Result<(), String> {
        self.check_numbers().map_err(|invalid| invalid.to_string())?;
        if self.d_model > D_HEAD && !self.d_model.is_multiple_of(D_HEAD) {
            return Err(format!(
                "`d_model`: expected a multiple of {D_HEAD}, the width of a head, found {}",
                self.d_model
            ));
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            return Err(format!(
                "`patch_size`: expected a divisor of `image_size`, {}, found {}",
                self.image_size, self.patch_size
            ));
        }
        Ok(())
    }

    /// The JSON Schema of a recipe's file.
    ///
    /// # Errors
    /// [`InvalidValue`], if the checks refuse the defaults: a mistake of the program.
    pub fn schema() -> Result<serde_json::Value, InvalidValue> {
        let mut recipe = schema::of::<Self>();
        schema::restrict(&mut recipe, &bounds_of(|| Self::default().check_numbers())?);
        Ok(schema::document("Recipe of a small CLIP", recipe))
    }

    /// Sizes of both towers, for the world's captions and a vocabulary of `n_vocab` tokens whose last is the end of text.
    pub fn model(&self, world: World, n_vocab: usize) -> ClipConfig {
        let n_heads = (self.d_model / D_HEAD).max(1);
        let text = ClipTextConfig {
            vocab_size: n_vocab,
            hidden_size: self.d_model,
            intermediate_size: 4 * self.d_model,
            projection_dim: self.d_clip,
            num_hidden_layers: self.n_text_blocks,
            num_attention_heads: n_heads,
            max_position_embeddings: world.context(),
            eos_token_id: n_vocab as u32 - 1,
            ..ClipTextConfig::default()
        };
        let vision = ClipVisionConfig {
            hidden_size: self.d_model,
            intermediate_size: 4 * self.d_model,
            projection_dim: self.d_clip,
            num_hidden_layers: self.n_vision_blocks,
            num_attention_heads: n_heads,
            image_size: self.image_size,
            patch_size: self.patch_size,
            ..ClipVisionConfig::default()
        };
        ClipConfig::new(text, vision)
    }

    /// What is done to an image before the tower sees it.
    pub fn preprocess(&self) -> Preprocess {
        Preprocess {
            normalize: Some((PIXEL_MEAN, PIXEL_DEVIATION)),
            ..Preprocess::clip(self.image_size as u32)
        }
    }

    /// Steps of the run's first third.
    pub fn n_early(&self) -> usize {
        self.n_steps / 3
    }

    /// Learning rates of AdamW.
    pub fn schedule(&self) -> LrSchedule {
        LrSchedule::Cosine {
            lr: self.lr,
            warmup: self.warmup,
            total: self.n_steps,
            eta_min: 0.02 * self.lr,
        }
    }
}

/// Width of an attention head.
const D_HEAD: usize = 32;

/// About the mean of a world's pixels, 0 to 1 (the ground is light grey), and a round number not far from their deviation.
const PIXEL_MEAN: [f64; 3] = [0.7; 3];
const PIXEL_DEVIATION: [f64; 3] = [0.25; 3];
