//! The benchmark of a store of embeddings: its training pairs and its held-out pairs.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;

use super::benchmark::{Benchmark, BenchmarkSpec, ImageFolder, in_batches};
use crate::data::examples::{Example, Examples};
use crate::data::store::Store;
use crate::data::stored::{Show, StoredPairs};
use crate::eval::embedding::ModalityGap;
use crate::eval::{Embeddings, EvalFile, Inputs, evaluate};
use crate::models::clip::TextEncoder;
use crate::models::prior::TextCondition;
use crate::train::objectives::baseline::Baseline;
use crate::train::prior::TrainingData;
use crate::train::session::Failure;

/// Held-out pairs of a forward pass; limits memory.
const BATCH: usize = 256;
/// Number of pairs whose means define the modality gap.
const N_GAP: usize = 4096;

/// A store of pairs, and the pairs held out of it or in another store.
pub(super) struct StoreBenchmark {
    data: TrainingData,
    /// Held-out pairs that are scored.
    tests: Vec<Example>,
    device: Device,
}

impl StoreBenchmark {
    /// Opens the stores of the run.
    pub(super) fn open(spec: &BenchmarkSpec<'_>, device: &Device) -> Result<Self, Failure> {
        let data = training_data(spec, device)?;
        let tests = data.validation.as_ref().map_or_else(Vec::new, |held_out| {
            let n_all = held_out.order().n_examples();
            let n = match spec.eval.n_prompts {
                0 => n_all,
                n => n.min(n_all),
            };
            spread_out(held_out.as_ref(), n, spec.eval.seed)
        });
        Ok(Self {
            data,
            tests,
            device: device.clone(),
        })
    }

    /// The test examples.
    fn held_out(&self) -> Result<&dyn Examples, Failure> {
        let held_out = self.data.validation.as_deref();
        held_out.ok_or_else(|| "nothing is held out of the store".into())
    }

    /// Embeddings of these pairs, computed in chunks.
    fn embeddings(
        &self,
        pairs: &[Example],
        of: impl Fn(&[Example], &Device) -> Tensor<2>,
    ) -> Result<Embeddings, Failure> {
        in_batches(pairs.len(), BATCH, |range| Ok(of(&pairs[range], &self.device)))
    }
}

/// `n` examples, evenly spread over all examples.
fn spread_out(examples: &dyn Examples, n: usize, seed: u64) -> Vec<Example> {
    let n_all = examples.order().n_examples();
    (0..n).map(|i| examples.example(i * n_all / n, 0, seed)).collect()
}

impl Benchmark for StoreBenchmark {
    fn training_data(&self) -> &TrainingData {
        &self.data
    }

    fn n_tests(&self) -> usize {
        self.tests.len()
    }

    fn batch_size(&self) -> usize {
        BATCH
    }

    fn captions(&self, range: Range<usize>) -> (TextCondition, TextCondition) {
        let held_out = self.data.validation.as_ref().expect("tests are held-out pairs");
        let captions: Vec<_> = self.tests[range].iter().copied().map(Some).collect();
        let none = vec![None; captions.len()];
        (
            held_out.text(&captions, &self.device),
            held_out.text(&none, &self.device),
        )
    }

    fn baseline(&self, _: &Baseline) -> Result<Embeddings, Failure> {
        Err("a store has no baselines: they are for worlds".into())
    }

    /// All metrics that do not require knowledge of the content of images.
    fn score(&self, z_x_hat: &[Embeddings]) -> Result<EvalFile, Failure> {
        let (held_out, train) = (self.held_out()?, self.data.train.as_ref());
        let trained = spread_out(train, train.order().n_examples().min(N_GAP), 0);
        let gap = ModalityGap::of(
            &self.embeddings(&trained, |part, device| train.z_y(part, device))?,
            &self.embeddings(&trained, |part, device| train.z_x(part, device))?,
        )?;
        Ok(evaluate(&Inputs {
            z_x_hat,
            z_y: &self.embeddings(&self.tests, |part, device| held_out.z_y(part, device))?,
            z_x: &self.embeddings(&self.tests, |part, device| held_out.z_x(part, device))?,
            candidates: None,
            splits: &[],
            gap: &gap,
        })?)
    }

    fn score_images(&self, _: &Embeddings, _: ImageFolder<'_>) -> Result<EvalFile, Failure> {
        Err("the content of the images of a store is not known".into())
    }
}

/// The training data of a run with `data.store`.
fn training_data(spec: &BenchmarkSpec<'_>, device: &Device) -> Result<TrainingData, Failure> {
    let data = spec.data;
    let dir = data.store.as_deref().ok_or("`data.store` is not set")?;
    let store = Arc::new(Store::open(dir)?);
    let texts = text_encoder(spec, dir, &store, device)?;
    let show = match data.one_caption {
        true => Show::OneCaption,
        false => Show::EachCaption,
    };
    let (examples, held_out) = match (&data.validation, data.n_validation) {
        (Some(other), _) => {
            let other_store = Arc::new(Store::open(other)?);
            other_store.expect_clip(&store.manifest().settings.encoder.hash())?;
            let n = store.n_in_common(&other_store);
            if n > 0 {
                return Err(format!(
                    "`data.validation`: {n} images of {} are in {} too, which the run trains on: expected none; encode a validation set of other \
                     images, or hold some out with data.n_validation",
                    other.display(),
                    dir.display()
                )
                .into());
            }
            let other_texts = match other_store.manifest().hidden_stored() {
                true => None,
                false => text_encoder(spec, other, &other_store, device)?,
            };
            let held_out = StoredPairs::new(other_store, Show::OneCaption, other_texts);
            (StoredPairs::new(store.clone(), show, texts), Some(held_out))
        }
        (None, 0) => (StoredPairs::new(store.clone(), show, texts), None),
        (None, n) => {
            let n_images = store.n_distinct_images();
            if n >= n_images {
                return Err(format!(
                    "`data.n_validation`: expected less than the {n_images} images of {}, found {n}",
                    dir.display()
                )
                .into());
            }
            let (rest, held_out) = StoredPairs::parted(store.clone(), show, texts, n);
            (rest, Some(held_out))
        }
    };
    let (n, step) = (examples.order().n_examples(), spec.step_size);
    if n < step {
        return Err(format!(
            "{}: {n} examples are fewer than the {step} of a step (`train.batch_size` x `train.accumulate`)",
            dir.display()
        )
        .into());
    }
    Ok(TrainingData {
        train: Arc::new(examples),
        validation: held_out.map(|pairs| Arc::new(pairs) as Arc<dyn Examples>),
        n_text: store.manifest().settings.encoder.n_text,
        tau: store.manifest().settings.encoder.tau,
        clip: dir.display().to_string(),
    })
}

/// The text tower, if the store has no hidden states: that of `clip`, which must be the store's CLIP.
fn text_encoder(
    spec: &BenchmarkSpec<'_>,
    dir: &Path,
    store: &Store,
    device: &Device,
) -> Result<Option<Arc<TextEncoder>>, Failure> {
    if store.manifest().hidden_stored() {
        return Ok(None);
    }
    if spec.clip.as_os_str().is_empty() {
        return Err(format!(
            "{} has no hidden states, so captions are encoded while training: set `clip` to the CLIP it was encoded with",
            dir.display()
        )
        .into());
    }
    store.expect_clip(&crate::data::encode::clip_hash(spec.clip)?)?;
    Ok(Some(Arc::new(TextEncoder::load(spec.clip, device)?)))
}
