//! What one world has that another has not: the table that each file of [`worlds`](super::worlds) holds.

use std::ops::RangeInclusive;

use super::attributes::{Colour, Texture};
use super::categories::{Category, Split};
use super::layer::Layer;

/// Everything in which worlds differ.
pub(in crate::world) struct Tables {
    /// Its name in specs and paths.
    pub name: &'static str,
    /// Images are this many pixels wide and high, a multiple of 32.
    pub image_size: usize,
    /// Longer side of a main sprite, in pixels.
    pub main_sizes: RangeInclusive<u8>,
    /// Longer side of a distractor, in pixels.
    pub distractor_size: u8,
    /// Where sprites are placed.
    pub layout: Layout,
    /// The words of the nouns.
    pub nouns: &'static [&'static str],
    /// The textures; empty if sprites have none.
    pub textures: &'static [Texture],
    /// Share of the main sprites that keep the art's own colours; 0 if there are none to keep.
    pub natural: f64,
    /// Share of the distractors that keep the art's own colours.
    pub natural_distractor: f64,
    /// Nouns that in P_XY mostly have one colour, which captions then mostly leave out.
    pub usual_colours: &'static [(&'static str, Colour)],
    /// The same for textures.
    pub usual_textures: &'static [(&'static str, Texture)],
    /// Nouns beside which P_XY mostly puts a certain distractor (spurious co-occurrences). Captions never mention distractors.
    pub spurious_distractors: &'static [(&'static str, &'static str)],
    /// No caption has more words than this.
    pub max_words: usize,
    /// T2I-CompBench's prompts: the file's name, its text, what it tests.
    pub compbench: &'static [(&'static str, &'static str, Category)],
    /// Test prompts of each category and split: T2I-CompBench's are filled up to this number with our own.
    pub n_prompts: fn(Category, Split) -> usize,
    /// Whether our own spatial prompts name colours.
    pub coloured_relations: bool,
    /// A prompt that names what the world has to offer.
    pub example: &'static str,
    /// Where its images come from, and under which licence: what follows "the images are".
    pub credits: &'static str,
    /// Its small CLIP and decoder.
    pub small_models: SmallModels,
    /// Draws a noun, by its index, in a colour and a texture; its longer side has this many pixels.
    pub draw: fn(usize, Option<Colour>, Option<Texture>, usize) -> Layer,
}

/// Where the middles of main sprites lie, in pixels.
pub(in crate::world) struct Layout {
    /// Both coordinates of a single sprite.
    pub alone: RangeInclusive<u8>,
    /// Of two sprites, along the relation's axis: the one further left or up.
    pub near: RangeInclusive<u8>,
    /// The other sprite along that axis.
    pub far: RangeInclusive<u8>,
    /// Of both, across that axis.
    pub across: RangeInclusive<u8>,
}

/// Sizes and training budgets of a world's small CLIP and decoder, as far as they differ between worlds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SmallModels {
    /// Optimiser steps of the CLIP.
    pub clip_steps: usize,
    /// Side of the image that the CLIP sees, in pixels, a multiple of 4: a patch is a quarter of it.
    pub clip_image_size: usize,
    /// Optimiser steps of the decoder.
    pub decoder_steps: usize,
    /// Cycles of the decoder's learning rate.
    pub decoder_cycles: usize,
    /// Pixels along each side whose mean the decoder draws.
    pub decoder_pool: usize,
    /// The share of a decoder's images in which all objects have to be right: that of the committed decoder that was trained on exact z_x
    /// alone (the tables in `datasets/*/README.md`).
    pub decoder_threshold: f64,
}
