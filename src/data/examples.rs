//! Training data of priors: captioned images as embeddings, independent of where they are stored.

use std::fmt::Debug;
use std::ops::Range;

use burn::prelude::*;

use super::order::Order;
use crate::models::text::TextCondition;

/// An image with one of its captions, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Example {
    /// Number of the image.
    pub image: usize,
    /// Number of the caption.
    pub caption: usize,
}

/// Captioned images, with an order in which to train on them.
///
/// Axes: n examples; n_text tokens, the length of the longest caption; d_clip.
pub trait Examples: Debug + Send + Sync {
    /// d_clip.
    fn d_clip(&self) -> usize;

    /// The order of the examples, by number.
    fn order(&self) -> &Order;

    /// The example `number` in pass `pass` of a run with this seed: an image may be shown with another caption in each pass.
    fn example(&self, number: usize, pass: usize, seed: u64) -> Example;

    /// z_x, raw CLIP image embeddings, `[n, d_clip]`.
    fn z_x(&self, examples: &[Example], device: &Device) -> Tensor<2>;

    /// z_y, `[n, d_clip]`.
    fn z_y(&self, examples: &[Example], device: &Device) -> Tensor<2>;

    /// The captions, padded to the longest; `None` stands for the empty caption, which means no condition.
    fn text(&self, examples: &[Option<Example>], device: &Device) -> TextCondition;

    /// A number per caption, equal for captions with the same words.
    fn wording(&self, caption: usize) -> u64;

    /// A number per caption, equal for captions with the same meaning; if meanings are unknown, for the same words.
    fn meaning(&self, caption: usize) -> u64;

    /// Mean and standard deviation (biased, floor 1e-6) of z_x over the images, `[d_clip]` each: the whitening of diffusion priors.
    fn statistics(&self) -> (Vec<f32>, Vec<f32>);

    /// The examples at these positions of the order.
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
