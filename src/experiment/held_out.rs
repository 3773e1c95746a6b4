//! Runs on a store of embeddings: what they train on, and how they are scored on what they hold out.

use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;

use super::execute::Failure;
use super::run::Run;
use super::training::Material;
use crate::data::examples::{Example, Examples};
use crate::data::store::Store;
use crate::data::stored::{Show, StoredPairs};
use crate::eval::embedding::ModalityGap;
use crate::eval::{Embeddings, EvalFile, Inputs, evaluate};
use crate::generate::prior::{AnyPrior, PriorSettings};
use crate::models::clip::TextEncoder;
use crate::noise::{Noise, Stream};

/// Held-out pairs of a forward pass: bounds memory.
const BATCH: usize = 256;
/// Pairs whose means are the two ends of the modality gap.
const N_GAP: usize = 4096;

/// What a run with `data.store` trains on.
pub(super) fn material(run: &Run, device: &Device) -> Result<Material, Failure> {
    let data = run.data();
    let dir = data.store.as_deref().ok_or("`data.store` is not set")?;
    let store = Arc::new(Store::open(dir)?);
    let texts = text_encoder(run, dir, &store, device)?;
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
                false => text_encoder(run, other, &other_store, device)?,
            };
            let held_out = StoredPairs::new(other_store, Show::OneCaption, other_texts);
            (StoredPairs::new(store.clone(), show, texts), Some(held_out))
        }
        (None, 0) => (StoredPairs::new(store.clone(), show, texts), None),
        (None, n) => {
            let n_pictures = store.n_images();
            if n >= n_pictures {
                return Err(format!(
                    "`data.n_validation`: expected less than the {n_pictures} pictures of {}, found {n}",
                    dir.display()
                )
                .into());
            }
            let (rest, held_out) = StoredPairs::parted(store.clone(), show, texts, n);
            (rest, Some(held_out))
        }
    };
    let (n, step) = (
        examples.order().n_examples(),
        run.train().batch_size * run.train().accumulate,
    );
    if n < step {
        return Err(format!(
            "{}: {n} examples are fewer than the {step} of a step (`train.batch_size` x `train.accumulate`)",
            dir.display()
        )
        .into());
    }
    Ok(Material {
        data: Arc::new(examples),
        held_out: held_out.map(|pairs| Arc::new(pairs) as Arc<dyn Examples>),
        n_text: store.manifest().settings.encoder.n_text,
        tau: store.manifest().settings.encoder.tau,
        clip: dir.display().to_string(),
    })
}

/// The text tower, if the store has no hidden states: that of `clip`, which has to be the store's.
fn text_encoder(
    run: &Run,
    dir: &Path,
    store: &Store,
    device: &Device,
) -> Result<Option<Arc<TextEncoder>>, Failure> {
    if store.manifest().hidden_stored() {
        return Ok(None);
    }
    let Some(clip) = run.clip_of_store() else {
        return Err(format!(
            "{} has no hidden states, so captions are encoded while training: set `clip` to the CLIP it was encoded with",
            dir.display()
        )
        .into());
    };
    store.expect_clip(&crate::data::encode::clip_hash(clip)?)?;
    Ok(Some(Arc::new(TextEncoder::load(clip, device)?)))
}

/// Every metric that needs no knowledge of what the pictures show, on the pairs held out.
pub(super) fn score(
    run: &Run,
    material: &Material,
    prior: &AnyPrior,
    settings: PriorSettings,
    device: &Device,
) -> Result<Option<EvalFile>, Failure> {
    let Some(held_out) = &material.held_out else {
        return Ok(None);
    };
    let eval = run.eval();
    let n_all = held_out.order().n_examples();
    let n = match eval.n_prompts {
        0 => n_all,
        n => n.min(n_all),
    };
    let pairs: Vec<Example> = (0..n)
        .map(|i| held_out.example(i * n_all / n, 0, eval.seed))
        .collect();
    let z_x = embeddings(&pairs, |part| Ok(held_out.z_x(part, device)))?;
    let z_y = embeddings(&pairs, |part| Ok(held_out.z_y(part, device)))?;
    let z_x_hat = (0..eval.n_noise.max(1) as u64)
        .map(|k| {
            let mut noise = Noise::of(eval.seed, Stream::PriorSampling(k));
            embeddings(&pairs, |part| {
                let text = held_out.text(&part.iter().copied().map(Some).collect::<Vec<_>>(), device);
                let away = held_out.text(&vec![None; part.len()], device);
                Ok(prior.sample(text, away, settings, &mut noise, |_| {})?)
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let data = &material.data;
    let trained: Vec<Example> = {
        let n_data = data.order().n_examples();
        let n = n_data.min(N_GAP);
        (0..n).map(|i| data.example(i * n_data / n, 0, 0)).collect()
    };
    let gap = ModalityGap::of(
        &embeddings(&trained, |part| Ok(data.z_y(part, device)))?,
        &embeddings(&trained, |part| Ok(data.z_x(part, device)))?,
    )?;
    let inputs = Inputs {
        z_x_hat: &z_x_hat,
        z_y: &z_y,
        z_x: &z_x,
        candidates: None,
        splits: &[],
        gap: &gap,
    };
    Ok(Some(evaluate(&inputs)?))
}

/// Rows of all `pairs`, part by part.
fn embeddings(
    pairs: &[Example],
    mut part: impl FnMut(&[Example]) -> Result<Tensor<2>, Failure>,
) -> Result<Embeddings, Failure> {
    let mut values = Vec::new();
    let mut d = 0;
    for pairs in pairs.chunks(BATCH) {
        let rows = part(pairs)?;
        d = rows.dims()[1];
        values.extend(rows.into_data().iter::<f32>());
    }
    Ok(Embeddings::new(pairs.len(), d, values)?)
}
