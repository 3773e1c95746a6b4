//! Makes a built-in world's small CLIP: train, bring embeddings to CLIP's usual size, publish, measure.

use std::path::{Path, PathBuf};

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use super::batch::BatchMaker;
use super::optimizer::optimizer;
use super::recipe::ClipRecipe;
use super::vocabulary::write_word_tokenizer;
use crate::data::encode::FrozenClip;
use crate::device::DeviceSpec;
use crate::eval::Embeddings;
use crate::files;
use crate::models::clip::Clip;
use crate::models::clip::tokenizer::Tokenizer;
use crate::noise::DerivedSeed;
use crate::testbed::acceptance::{MeasureSizes, Thresholds, embed_scenes, embed_texts, measure};
use crate::testbed::error::PretrainError;
use crate::testbed::run::{ClaimedRun, TrainingRecord};
use crate::train::micro_batches::MicroBatches;
use crate::train::schedule::SteppedLr;
use crate::train::session::{self, Validation};
use crate::train::stop::Stop;
use crate::weights::write_json;
use crate::world::World;

/// Mean square of an embedding's entries, as of OpenAI's ViT-L/14 (norm 10 in 768 dimensions): the weights of the paper's two losses
/// mean something only at this size.
pub const MEAN_SQUARE: f64 = 0.13;

/// Pairs of W from which the size of raw embeddings is measured.
const N_SCALED_BY: usize = 2000;

/// A CLIP to be made, and where.
#[derive(Debug, Clone)]
pub struct MakeClip {
    /// The world.
    pub world: World,
    /// Its recipe.
    pub recipe: ClipRecipe,
    /// How much is measured in the end.
    pub sizes: MeasureSizes,
    /// The model's folder, in CLIP's published layout.
    pub out: PathBuf,
    /// Checkpoints and metrics; a run that was stopped resumes from here.
    pub run_dir: PathBuf,
    /// What computes.
    pub device: DeviceSpec,
    /// What stops it between two steps.
    pub stop: Stop,
}

/// What `pretrain.json` beside a model says of how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipRecord {
    /// World, version, device and time.
    #[serde(flatten)]
    pub training: TrainingRecord,
    /// How it was trained.
    pub recipe: ClipRecipe,
    /// Learned temperature.
    pub tau: f64,
    /// What z_x and z_y were multiplied with.
    pub rescaled_by: [f64; 2],
    /// What the published half-precision model can tell apart.
    #[serde(rename = "bars")]
    pub thresholds: Thresholds,
}

/// Trains a world's CLIP (or resumes its training), writes it to `request.out` and measures what was written. `progress` gets
/// every step's number and loss.
///
/// # Errors
/// [`PretrainError`]. The model's folder is touched only when training is over.
pub fn make_clip(
    request: &MakeClip,
    progress: impl FnMut(usize, f32) + Send + 'static,
) -> Result<ClipRecord, PretrainError> {
    let MakeClip {
        world,
        recipe,
        sizes,
        out,
        run_dir,
        device: spec,
        stop,
    } = request;
    let world = *world;
    let device = spec.device()?;
    let wanted = Claimed {
        n_nouns: world.n_nouns(),
        recipe: recipe.clone(),
    };
    let run = ClaimedRun::claim(run_dir, &wanted, |_| false)?;
    let n_vocab = write_word_tokenizer(&world.vocabulary(), world.context(), run_dir)?;
    let tokenizer = Tokenizer::load(run_dir, world.context())?;
    let preprocess = recipe.preprocess();
    let maker = BatchMaker::new(world, recipe.clone(), tokenizer, preprocess.clone());
    maker.batch(1, &device)?; // so that what is wrong with tokenizer or preprocessing shows before training
    let trained = session::fit(
        recipe.trainer(world, n_vocab, &device.clone().autodiff()),
        optimizer(recipe),
        SteppedLr::new(recipe.schedule()),
        move |step, _, device| {
            let batch = maker.batch(step, device);
            MicroBatches::one(
                step,
                batch.expect("the first batch could be made, and all are alike"),
            )
        },
        None::<Validation<_>>,
        run.session(recipe.n_steps, stop, progress)?,
    )?;
    let trained = trained.into_network().clip;

    let config = recipe.model(world, n_vocab);
    let publish = |clip: &Clip, dir: &Path, dtype| -> Result<(), PretrainError> {
        files::create_dir(dir)?;
        clip.save(&config, dir, dtype)?;
        write_word_tokenizer(&world.vocabulary(), world.context(), dir)?;
        write_json(&dir.join("preprocessor_config.json"), &preprocess.to_json())?;
        Ok(())
    };
    // Raw, to measure its size; then as it is to be used.
    let raw = run_dir.join("raw");
    publish(&trained, &raw, DType::F32)?;
    let (z_x, z_y) = sample(world, &FrozenClip::load(&raw, &device)?, recipe.seed)?;
    let rescaled_by = [&z_x, &z_y].map(|z| (MEAN_SQUARE / mean_square(z)).sqrt());
    let tau = f64::from(trained.scale().into_scalar::<f32>()).recip();
    publish(&trained.rescaled(rescaled_by[0], rescaled_by[1]), out, DType::F16)?;
    let thresholds = measure(world, &FrozenClip::load(out, &device)?, *sizes, recipe.seed)?;
    run.finish(out, world, spec, |training| ClipRecord {
        training,
        recipe: recipe.clone(),
        tau,
        rescaled_by,
        thresholds,
    })
}

/// What a run directory holds: no other world or recipe can resume from its checkpoints.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    n_nouns: usize,
    recipe: ClipRecipe,
}

/// z_x and z_y of pairs of W.
fn sample(world: World, clip: &FrozenClip, seed: u64) -> Result<(Embeddings, Embeddings), PretrainError> {
    let (scenes, captions): (Vec<_>, Vec<_>) = world
        .sample_w(N_SCALED_BY, DerivedSeed::ReadImages.of(seed))
        .into_iter()
        .map(|pair| (pair.scene, pair.caption))
        .unzip();
    Ok((embed_scenes(clip, &scenes)?, embed_texts(clip, &captions)?))
}

fn mean_square(z: &Embeddings) -> f64 {
    let sum: f64 = z.values().iter().map(|v| f64::from(*v).powi(2)).sum();
    sum / z.values().len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::read_json;

    /// The whole way, in small: what it writes loads as a published CLIP and is of the right size; another recipe is refused.
    #[test]
    fn from_nothing_to_a_published_folder() {
        for world in World::ALL {
            to_a_published_folder(world);
        }
    }

    fn to_a_published_folder(world: World) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let request = MakeClip {
            world,
            recipe: ClipRecipe::smoke(world),
            sizes: MeasureSizes {
                n_captions: 12,
                n_probe: 60,
                n_asked: 40,
            },
            out: dir.path().join("clip"),
            run_dir: dir.path().join("run"),
            device: DeviceSpec::default(),
            stop: Stop::default(),
        };
        let record = make_clip(&request, |_, _| {}).expect("it can be made");
        assert_eq!(
            record.thresholds.0.len(),
            if world.textures().is_empty() { 8 } else { 10 }
        );
        assert!(
            record
                .thresholds
                .0
                .iter()
                .all(|t| t.n > 0 && (0.0..=1.0).contains(&t.accuracy))
        );
        let written: ClipRecord = read_json(&request.out.join("pretrain.json")).expect("it says how");
        assert_eq!(written.recipe, request.recipe);
        let curve = files::read_text(request.out.join("curve.csv")).expect("written");
        assert!(
            curve.starts_with("step,loss,loss/contrastive,") && curve.lines().count() == 2,
            "{curve}"
        );

        let device = DeviceSpec::default().device().expect("the default device exists");
        let clip = FrozenClip::load(&request.out, &device).expect("the folder loads");
        let (z_x, z_y) = sample(world, &clip, 0).expect("it encodes");
        for z in [&z_x, &z_y] {
            assert!(
                (mean_square(z) / MEAN_SQUARE - 1.0).abs() < 0.02,
                "{}",
                mean_square(z)
            );
        }

        let again = make_clip(&request, |step, _| panic!("step {step} is done")).expect("nothing to do");
        assert_eq!(
            (again.training.seconds, &again.thresholds),
            (record.training.seconds, &record.thresholds)
        );
        let other = MakeClip {
            recipe: ClipRecipe {
                seed: 9,
                ..request.recipe.clone()
            },
            ..request
        };
        let error = make_clip(&other, |_, _| {}).expect_err("refused").to_string();
        assert!(error.contains("holds a run of another recipe"), "{error}");
    }
}
