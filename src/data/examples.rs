//! What a prior is trained on: images with captions, as embeddings, wherever they are kept.

use std::fmt::Debug;
use std::ops::Range;

use burn::prelude::*;

use super::order::Order;
use crate::models::text::TextCondition;

/// An image with one of its captions, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Example {
    /// The image.
    pub image: usize,
    /// The caption.
    pub caption: usize,
}

/// Captioned images in some place, with an order in which to train on them.
///
/// Axes: n examples; n_text tokens, as many as the longest caption has; d_clip.
pub trait Examples: Debug + Send + Sync {
    /// d_clip.
    fn d_clip(&self) -> usize;

    /// The sequence of examples, by number.
    fn order(&self) -> &Order;

    /// What the example `number` is in pass `pass` of a run with this seed: an image may show another of its captions each time.
    fn example(&self, number: usize, pass: usize, seed: u64) -> Example;

    /// z_x, raw CLIP image embeddings, `[n, d_clip]`.
    fn z_x(&self, examples: &[Example], device: &Device) -> Tensor<2>;

    /// z_y, `[n, d_clip]`.
    fn z_y(&self, examples: &[Example], device: &Device) -> Tensor<2>;

    /// The captions, as long as the longest of them; `None` stands for the empty one, which means no condition.
    fn text(&self, examples: &[Option<Example>], device: &Device) -> TextCondition;

    /// A number that is equal where the words of two captions are.
    fn wording(&self, caption: usize) -> u64;

    /// A number that is equal where two captions mean the same; without knowledge of meanings, where their words are equal.
    fn meaning(&self, caption: usize) -> u64;

    /// Mean and standard deviation (biased, floor 1e-6) of z_x over the images, `[d_clip]` each: the whitening of diffusion priors.
    fn statistics(&self) -> (Vec<f32>, Vec<f32>);

    /// The examples at these places of the order.
    fn at(&self, seed: u64, places: Range<usize>) -> Vec<Example> {
        let numbered = self.order().at(seed, places);
        numbered
            .into_iter()
            .map(|(pass, number)| self.example(number, pass, seed))
            .collect()
    }

    /// The examples of step `step` (from 1), `n` in each.
    fn of_step(&self, n: usize, seed: u64, step: usize) -> Vec<Example> {
        self.at(seed, (step - 1) * n..step * n)
    }
}
