//! Batches of random captions.

use burn::prelude::*;

use crate::models::prior::{PriorConfig, TextCondition};
use crate::nn::TokenMask;
use crate::noise::Noise;
use crate::objective::contrastive::Negatives;
use crate::train::objectives::eclipse::EclipseBatch;

/// A batch of `n` random captions and images, as the prior's training step reads it. The lengths are spread evenly from the shortest to the longest, in
/// tokens; `tokens` has shape `[n, longest, d_clip]`.
pub fn random_captions(
    n: usize,
    [shortest, longest]: [usize; 2],
    config: &PriorConfig,
    device: &Device,
) -> EclipseBatch {
    let (mut noise, d) = (Noise::new(1), config.d_clip);
    let length = |row: usize| shortest + (longest - shortest) * row / (n - 1).max(1);
    let lengths: Vec<usize> = (0..n).map(length).collect();
    let text = TextCondition {
        z_y: noise.normal([n, d], device),
        tokens: noise.normal([n, longest, d], device),
        mask: Some(TokenMask::of_lengths(&lengths, longest, device)),
    };
    EclipseBatch {
        eps: noise.normal([n, d], device),
        z_x: noise.normal([n, d], device),
        text,
        negatives: Negatives::default(),
    }
}
