//! The benchmark trait: training data, test captions, and the scores of predicted image embeddings.

use std::ops::Range;
use std::path::Path;

use burn::prelude::*;

use super::spec::{DataSpec, EvalSpec};
use crate::eval::{Embeddings, EvalFile};
use crate::generate::prior::{AnyPrior, PriorSettings};
use crate::models::prior::TextCondition;
use crate::noise::{Noise, Stream};
use crate::train::objectives::baseline::Baseline;
use crate::train::prior::TrainingData;
use crate::train::session::Failure;
use crate::world::World;

/// The parts of a run's configuration that determine its benchmark.
#[derive(Debug, Clone, Copy)]
pub struct BenchmarkSpec<'a> {
    /// The world, if `data` names no store.
    pub world: World,
    /// Directory of the frozen CLIP; empty for a store with hidden states.
    pub clip: &'a Path,
    /// Directory of the frozen decoder.
    pub decoder: &'a Path,
    /// `[data]`.
    pub data: &'a DataSpec,
    /// `[eval]`.
    pub eval: &'a EvalSpec,
    /// Examples of an optimiser step.
    pub step_size: usize,
}

/// Folder of a run's images.
#[derive(Debug, Clone, Copy)]
pub struct ImageFolder<'a>(pub &'a Path);

/// Training data, test captions, and scores.
pub trait Benchmark {
    /// Training and validation data.
    fn training_data(&self) -> &TrainingData;

    /// Number of test captions; 0 if no examples are held out, so that there are no scores.
    fn n_tests(&self) -> usize;

    /// Most test captions of a forward pass. Predictions depend on this size, because noise is drawn per forward pass.
    fn batch_size(&self) -> usize;

    /// A batch of test captions, and as many empty captions for guidance.
    fn captions(&self, range: Range<usize>) -> (TextCondition, TextCondition);

    /// The predictions of a baseline, `[n_tests, d_clip]`.
    ///
    /// # Errors
    /// The benchmark has no baselines, or the baseline cannot be fitted.
    fn baseline(&self, baseline: &Baseline) -> Result<Embeddings, Failure>;

    /// Scores of predictions, `[n_tests, d_clip]` for each draw of noise.
    ///
    /// # Errors
    /// The test set cannot be encoded, or values are not finite.
    fn score(&self, z_x_hat: &[Embeddings]) -> Result<EvalFile, Failure>;

    /// Decodes some of the predictions `[n_tests, d_clip]` and scores the images; keeps a few images in `folder`.
    ///
    /// # Errors
    /// The benchmark does not know what the images should show, or the decoder fails.
    fn score_images(&self, z_x_hat: &Embeddings, folder: ImageFolder<'_>) -> Result<EvalFile, Failure>;
}

/// z_x_hat `[n_tests, d_clip]` for every test caption, once for each of `n_noise` draws of noise.
///
/// # Errors
/// [`crate::generate::prior::PriorError`].
pub fn predict(
    benchmark: &dyn Benchmark,
    prior: &AnyPrior,
    settings: PriorSettings,
    n_noise: usize,
    seed: u64,
) -> Result<Vec<Embeddings>, Failure> {
    let n = benchmark.n_tests();
    (0..n_noise.max(1) as u64)
        .map(|k| {
            let mut noise = Noise::of(seed, Stream::PriorSampling(k));
            in_batches(n, benchmark.batch_size(), |range| {
                let (text, uncond) = benchmark.captions(range);
                Ok(prior.sample(text, uncond, settings, &mut noise, |_| {})?)
            })
        })
        .collect()
}

/// The rows `[n, d]` of `0..n`, computed in chunks of at most `size`.
pub(super) fn in_batches(
    n: usize,
    size: usize,
    mut part: impl FnMut(Range<usize>) -> Result<Tensor<2>, Failure>,
) -> Result<Embeddings, Failure> {
    let (mut values, mut d) = (Vec::new(), 0);
    for start in (0..n).step_by(size) {
        let rows = part(start..n.min(start.saturating_add(size)))?;
        d = rows.dims()[1];
        values.extend(rows.into_data().iter::<f32>());
    }
    Ok(Embeddings::new(n, d, values)?)
}
