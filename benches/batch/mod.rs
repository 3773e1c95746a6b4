//! Batches of random captions, for the benches of the prior.

use burn::prelude::*;
use eclipse_t2i::models::prior::{PriorConfig, TextCondition};
use eclipse_t2i::nn::TokenMask;
use eclipse_t2i::noise::Noise;
use eclipse_t2i::objective::contrastive::Negatives;
use eclipse_t2i::train::objectives::eclipse::EclipseBatch;

/// A batch of `n` captions, their lengths spread evenly from the shortest to the longest.
pub fn batch(
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
