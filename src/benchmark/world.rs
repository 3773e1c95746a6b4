//! The benchmark of a built-in world: captioned images of its training distribution, and test prompts with known answers.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;

use super::benchmark::{Benchmark, BenchmarkSpec, ImageFolder};
use super::images::ImageTest;
use super::spec::EvalSpec;
use super::test_set::TestSet;
use crate::data::encode::{EncodeError, FrozenClip};
use crate::data::examples::Examples;
use crate::data::pairs::Pairs;
use crate::eval::baselines::BaselineKind;
use crate::eval::embedding::ModalityGap;
use crate::eval::{Embeddings, EvalFile, Inputs, evaluate};
use crate::generate::frozen::FrozenDecoder;
use crate::models::prior::TextCondition;
use crate::noise::{Noise, Stream};
use crate::train::objectives::baseline::Baseline;
use crate::train::prior::TrainingData;
use crate::train::session::Failure;
use crate::world::checker::Checker;

/// Encoded pairs of a world.
pub(super) struct WorldPairs {
    train: Arc<Pairs>,
    held_out: Option<Arc<Pairs>>,
}

impl WorldPairs {
    /// Draws and encodes the training pairs and the held-out pairs.
    pub(super) fn new(spec: &BenchmarkSpec<'_>, clip: &FrozenClip) -> Result<Self, EncodeError> {
        let (world, data) = (spec.world, spec.data);
        let options = data.pair_options();
        let train = world.pairs(data.n_pairs, data.seed, &options);
        let held_out = world.held_out_pairs(data.n_validation, data.seed, &options, &train);
        let held_out = (!held_out.is_empty())
            .then(|| clip.pairs(&held_out))
            .transpose()?;
        Ok(Self {
            train: Arc::new(clip.pairs(&train)?),
            held_out: held_out.map(Arc::new),
        })
    }
}

/// Decoder and checker of a world.
pub(super) struct ImageTools {
    pub(super) decoder: Arc<FrozenDecoder>,
    pub(super) checker: Arc<Checker>,
}

/// A world's training data and test set.
pub(super) struct WorldBenchmark {
    clip: Arc<FrozenClip>,
    pairs: Arc<WorldPairs>,
    test_set: Arc<TestSet>,
    image_tools: Option<ImageTools>,
    eval: EvalSpec,
    data: TrainingData,
    device: Device,
}

impl WorldBenchmark {
    /// A benchmark of loaded parts; without `image_tools`, it scores no images.
    pub(super) fn new(
        spec: &BenchmarkSpec<'_>,
        clip: Arc<FrozenClip>,
        pairs: Arc<WorldPairs>,
        test_set: Arc<TestSet>,
        image_tools: Option<ImageTools>,
        device: &Device,
    ) -> Self {
        Self {
            data: TrainingData {
                train: pairs.train.clone(),
                validation: pairs.held_out.clone().map(|pairs| pairs as Arc<dyn Examples>),
                n_text: clip.n_text(),
                tau: clip.tau(),
                clip: spec.clip.display().to_string(),
            },
            eval: spec.eval.clone(),
            device: device.clone(),
            clip,
            pairs,
            test_set,
            image_tools,
        }
    }

    /// z_y of the training pairs, `[n, d_clip]`.
    fn z_y(&self) -> Result<Embeddings, Failure> {
        let train = &self.pairs.train;
        Ok(Embeddings::new(
            train.len(),
            self.clip.d_clip(),
            train.texts.z_y().to_vec(),
        )?)
    }

    /// z_x of the training pairs, `[n, d_clip]`.
    fn z_x(&self) -> Result<Embeddings, Failure> {
        let train = &self.pairs.train;
        Ok(Embeddings::new(
            train.len(),
            self.clip.d_clip(),
            train.z_x.clone(),
        )?)
    }
}

impl Benchmark for WorldBenchmark {
    fn training_data(&self) -> &TrainingData {
        &self.data
    }

    fn n_tests(&self) -> usize {
        self.test_set.prompts.len()
    }

    fn batch_size(&self) -> usize {
        usize::MAX
    }

    fn captions(&self, range: Range<usize>) -> (TextCondition, TextCondition) {
        let texts = &self.test_set.texts;
        let empty = self.pairs.train.empty.to_device(&self.device);
        let uncond = empty.select(&vec![0; range.len()]);
        let captions: Vec<_> = range.map(|i| texts.get(i)).collect();
        (TextCondition::from_host(&captions, &self.device), uncond)
    }

    fn baseline(&self, baseline: &Baseline) -> Result<Embeddings, Failure> {
        let answers = match baseline.method {
            BaselineKind::OracleMean => self.test_set.mean_renders(&self.clip)?,
            _ => &self.test_set.other_renders,
        };
        let fitted = baseline.method.fit(&self.z_y()?, &self.z_x()?, answers)?;
        let predicted = fitted.predict(&self.test_set.z_y)?;
        with_noise(predicted, baseline.noise, &self.pairs.train, self.eval.seed)
    }

    fn score(&self, z_x_hat: &[Embeddings]) -> Result<EvalFile, Failure> {
        Ok(evaluate(&Inputs {
            z_x_hat,
            z_y: &self.test_set.z_y,
            z_x: self.test_set.candidates.truth(),
            candidates: Some(&self.test_set.candidates),
            splits: &self.test_set.splits,
            gap: &ModalityGap::of(&self.z_y()?, &self.z_x()?)?,
        })?)
    }

    fn score_images(&self, z_x_hat: &Embeddings, folder: ImageFolder<'_>) -> Result<EvalFile, Failure> {
        let tools = self.image_tools.as_ref().ok_or("no decoder was loaded")?;
        let test = ImageTest {
            clip: &self.clip,
            decoder: &tools.decoder,
            checker: &tools.checker,
            test_set: &self.test_set,
            eval: &self.eval,
            device: &self.device,
        };
        test.score(z_x_hat, &self.z_x()?, folder.0)
    }
}

/// `predicted` plus noise of `scale` standard deviations of the pairs' z_x, by dimension.
fn with_noise(predicted: Embeddings, scale: f64, pairs: &Pairs, seed: u64) -> Result<Embeddings, Failure> {
    if scale == 0.0 {
        return Ok(predicted);
    }
    let (_, std) = pairs.statistics();
    let (n, d) = (predicted.n(), predicted.d());
    let eps = Noise::of(seed, Stream::BaselineNoise).normal_vec(n * d);
    let values = predicted.values().iter().zip(&eps).enumerate();
    let noisy = values.map(|(i, (value, eps))| value + scale as f32 * std[i % d] * eps);
    Ok(Embeddings::new(n, d, noisy.collect())?)
}
