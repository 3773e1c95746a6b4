//! Carrying out a run for real: encode the pairs, train the prior, predict the test prompts, score.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::prelude::*;

use super::execute::{Execute, Failure};
use super::held_out;
use super::pictures::{Pictures, decoder_files};
use super::questions::Questions;
use super::run::Run;
use super::run_dir::RunDir;
use super::shared::Shared;
use super::spec::{CaptionSpec, ObjectiveSpec};
use super::trained::{TrainedPriors, TrainingKey, is_whole};
use super::training::{Material, Training, tau_of};
use crate::data::encode::{EncodeError, FrozenClip, clip_files};
use crate::data::examples::Examples;
use crate::data::pairs::Pairs;
use crate::data::store::{MANIFEST, Store};
use crate::eval::baselines::BaselineKind;
use crate::eval::embedding::ModalityGap;
use crate::eval::{Embeddings, Inputs, evaluate};
use crate::files;
use crate::generate::prior::{AnyPrior, PriorSettings};
use crate::noise::Noise;
use crate::train::session::{Phase, Strategy};
use crate::train::stop::Stop;
use crate::world::{CaptionMix, PairOptions};

/// First stream of the evaluation seed for the noise of predictions; pictures have stream 0.
const NOISE_STREAM: u64 = 1;
/// And for the noise on a baseline's answers.
const BASELINE_STREAM: u64 = 1 << 33;

/// Encoded pairs of a world.
struct PairSplit {
    trained: Arc<Pairs>,
    held_out: Option<Arc<Pairs>>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Whether `values` are of a step or of what is held out, after it.
    pub phase: Phase,
    /// The step, from 1.
    pub step: usize,
    /// Steps of the run.
    pub n_steps: usize,
    /// Names and values: the loss first.
    pub values: &'a [(&'a str, f32)],
    /// Whether they are recorded in `metrics.jsonl` too.
    pub is_logged: bool,
}

/// Called after each optimiser step and each validation with the run's name-giving directory.
pub type OnStep = Box<dyn Fn(&Path, Progress<'_>) + Send + Sync>;

/// Trains and evaluates on one device. What runs share (the frozen CLIP, encoded pairs, encoded questions) is made once.
pub struct PriorExecutor {
    device: Device,
    others: Vec<Device>,
    strategy: Strategy,
    on_step: Arc<OnStep>,
    stop: Stop,
    trained: Option<TrainedPriors>,
    clips: Shared<PathBuf, FrozenClip>,
    pictures: Pictures,
    pairs: Shared<String, PairSplit>,
    questions: Shared<String, Questions>,
}

impl PriorExecutor {
    /// An executor on `device` (without autodiff).
    pub fn new(device: Device, on_step: OnStep) -> Self {
        Self {
            pictures: Pictures::new(device.clone()),
            device,
            others: vec![],
            strategy: Strategy::default(),
            on_step: Arc::new(on_step),
            stop: Stop::default(),
            trained: None,
            clips: Shared::new(),
            pairs: Shared::new(),
            questions: Shared::new(),
        }
    }

    /// Lets `stop` end a training between two steps; the run then fails with [`TrainError::Interrupted`] and can be continued.
    ///
    /// [`TrainError::Interrupted`]: crate::train::session::TrainError::Interrupted
    #[must_use]
    pub fn stopped_by(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Lets `others` (without autodiff) train too, in this way. Each device needs a part of every step.
    #[must_use]
    pub fn beside(self, others: Vec<Device>, strategy: Strategy) -> Self {
        Self {
            others,
            strategy,
            ..self
        }
    }

    /// Keeps every trained prior in `folder` too, and takes it from there when a run trains like an earlier one: runs that differ in their
    /// evaluation or in the sampling of a diffusion prior train once.
    #[must_use]
    pub fn sharing_priors(self, folder: PathBuf) -> Self {
        Self {
            trained: Some(TrainedPriors::new(folder)),
            ..self
        }
    }

    fn clip(&self, run: &Run) -> Result<Arc<FrozenClip>, Failure> {
        Ok(self.clips.get(run.clip().to_path_buf(), || {
            FrozenClip::load(run.clip(), &self.device)
        })?)
    }

    fn pairs(&self, run: &Run, clip: &FrozenClip) -> Result<Arc<PairSplit>, Failure> {
        let data = run.data();
        let key = format!("{} {} {data:?}", run.world(), run.clip().display());
        let options = PairOptions {
            holes: data.holes,
            bias: data.bias,
            slice: data.slice,
            captions: match data.captions {
                CaptionSpec::Sparse => CaptionMix::PAIRS,
                CaptionSpec::Rich => CaptionMix::W,
            },
        };
        Ok(self.pairs.get(key, || {
            let trained = run.world().pairs(data.n_pairs, data.seed, &options);
            let held_out = run
                .world()
                .held_out_pairs(data.n_validation, data.seed, &options, &trained);
            let held_out = (!held_out.is_empty())
                .then(|| clip.pairs(&held_out))
                .transpose()?;
            Ok::<_, EncodeError>(PairSplit {
                trained: Arc::new(clip.pairs(&trained)?),
                held_out: held_out.map(Arc::new),
            })
        })?)
    }

    fn questions(&self, run: &Run, clip: &FrozenClip) -> Result<Arc<Questions>, Failure> {
        let eval = run.eval();
        let key = format!(
            "{} {} {} {}",
            run.world(),
            run.clip().display(),
            eval.n_prompts,
            eval.seed
        );
        Ok(self.questions.get(key, || {
            Questions::new(run.world(), clip, eval.n_prompts, eval.seed)
        })?)
    }

    /// The trained prior of a run, trained now as far as it is not yet.
    fn prior(&self, run: &Run, dir: &RunDir, material: &Material) -> Result<AnyPrior, Failure> {
        let saved = dir.prior_dir();
        let train = || {
            let training = Training {
                run,
                dir,
                material,
                device: &self.device,
                others: &self.others,
                strategy: self.strategy,
                on_step: &self.on_step,
                stop: &self.stop,
            };
            training.train()
        };
        match &self.trained {
            _ if is_whole(&saved) => (),
            None => train()?,
            Some(trained) => trained.get(&self.training_key(run)?, dir, train)?,
        }
        let scored = dir.scored_prior_dir(run.eval().checkpoint);
        Ok(AnyPrior::load(&scored, &self.device)?.1)
    }

    /// z_x_hat for every question, once for each draw of noise.
    fn predict(
        &self,
        run: &Run,
        prior: &AnyPrior,
        pairs: &Pairs,
        asked: &Questions,
    ) -> Result<Vec<Embeddings>, Failure> {
        let settings = sampler(run);
        let text = asked.texts.to_device(&self.device);
        let away = pairs
            .empty
            .to_device(&self.device)
            .select(&vec![0; asked.texts.len()]);
        (0..run.eval().n_noise.max(1) as u64)
            .map(|k| {
                let mut noise = Noise::stream(run.eval().seed, NOISE_STREAM + k);
                let z_x_hat = prior.sample(text.clone(), away.clone(), settings, &mut noise, |_| {})?;
                let [n, d] = z_x_hat.dims();
                Ok(Embeddings::new(
                    n,
                    d,
                    z_x_hat.into_data().iter::<f32>().collect(),
                )?)
            })
            .collect()
    }

    /// What decides a trained prior: the configuration and the embeddings.
    fn training_key(&self, run: &Run) -> Result<TrainingKey, Failure> {
        let mut text = run.training_hash();
        for (name, hash) in embeddings(run)? {
            text.push_str(&format!("\n{name} {hash}"));
        }
        Ok(TrainingKey {
            prefix: files::sha256(text.as_bytes()),
            steps: run.train().steps,
            checkpoint_every: run.train().checkpoint_every,
        })
    }

    /// A run on a store: trained, and scored on what is held out.
    fn execute_on_store(&self, run: &Run, dir: &RunDir) -> Result<(), Failure> {
        let material = held_out::material(run, &self.device)?;
        let prior = self.prior(run, dir, &material)?;
        if let Some(scores) = held_out::score(run, &material, &prior, sampler(run), &self.device)? {
            scores.write(dir.eval_path("embedding"))?;
        }
        Ok(())
    }
}

/// SHA-256 of the files that a run's embeddings come from, by name: its CLIP's, or the manifests of its stores, which have the hashes of all shards.
fn embeddings(run: &Run) -> Result<BTreeMap<String, String>, Failure> {
    let data = run.data();
    let Some(store) = &data.store else {
        return Ok(clip_files(run.clip())?);
    };
    let stores = [("store", Some(store)), ("validation", data.validation.as_ref())];
    let mut hashes = BTreeMap::new();
    for (name, store) in stores
        .into_iter()
        .filter_map(|(name, store)| Some((name, store?)))
    {
        Store::open(store)?;
        hashes.insert(
            format!("{name}/{MANIFEST}"),
            files::sha256_file(store.join(MANIFEST))?,
        );
    }
    Ok(hashes)
}

impl Execute for PriorExecutor {
    fn inputs(&self, run: &Run) -> Result<BTreeMap<String, String>, Failure> {
        let mut files = embeddings(run)?;
        if run.eval().n_pictures > 0 {
            files.extend(decoder_files(run.decoder())?);
        }
        Ok(files)
    }

    fn check(&self, run: &Run) -> Result<(), Failure> {
        self.inputs(run)?;
        if run.data().store.is_some() {
            return Ok(());
        }
        let clip = self.clip(run)?;
        if run.eval().n_pictures > 0 {
            self.pictures.decoder(run, &clip)?;
        }
        if let ObjectiveSpec::Eclipse(spec) = run.objective() {
            tau_of(spec, clip.tau(), &run.clip().display().to_string())?;
        }
        Ok(())
    }

    fn execute(&self, run: &Run, dir: &RunDir) -> Result<(), Failure> {
        if run.data().store.is_some() {
            return self.execute_on_store(run, dir);
        }
        let clip = self.clip(run)?;
        let split = self.pairs(run, &clip)?;
        let pairs = &split.trained;
        let asked = self.questions(run, &clip)?;
        let (n, d) = (pairs.len(), clip.d_clip());
        let z_y = Embeddings::new(n, d, pairs.texts.z_y().to_vec())?;
        let z_x = Embeddings::new(n, d, pairs.z_x.clone())?;
        let z_x_hat = match run.objective() {
            ObjectiveSpec::Baseline(spec) => {
                let baseline: BaselineKind = spec.method;
                let answers = match baseline {
                    BaselineKind::OracleMean => asked.mean_renders(&clip)?,
                    _ => &asked.other_renders,
                };
                let answers = baseline.fit(&z_y, &z_x, answers)?.predict(&asked.z_y)?;
                vec![with_noise(answers, spec.noise, pairs, run.eval().seed)?]
            }
            _ => {
                let material = Material {
                    data: pairs.clone(),
                    held_out: split.held_out.clone().map(|pairs| pairs as Arc<dyn Examples>),
                    n_text: clip.n_text(),
                    tau: clip.tau(),
                    clip: run.clip().display().to_string(),
                };
                self.predict(run, &self.prior(run, dir, &material)?, pairs, &asked)?
            }
        };
        let inputs = Inputs {
            z_x_hat: &z_x_hat,
            z_y: &asked.z_y,
            z_x: asked.candidates.truth(),
            candidates: Some(&asked.candidates),
            splits: &asked.splits,
            gap: &ModalityGap::of(&z_y, &z_x)?,
        };
        evaluate(&inputs)?.write(dir.eval_path("embedding"))?;
        if run.eval().n_pictures > 0 {
            self.pictures.score(run, dir, &clip, &asked, &z_x_hat[0], &z_x)?;
        }
        Ok(())
    }
}

/// `answers` with noise of `scale` standard deviations of the pairs' z_x, by dimension.
fn with_noise(answers: Embeddings, scale: f64, pairs: &Pairs, seed: u64) -> Result<Embeddings, Failure> {
    if scale == 0.0 {
        return Ok(answers);
    }
    let (_, std) = pairs.statistics();
    let (n, d) = (answers.n(), answers.d());
    let eps = Noise::stream(seed, BASELINE_STREAM).normal_vec(n * d);
    let values = answers.values().iter().zip(&eps).enumerate();
    let noisy = values.map(|(i, (value, eps))| value + scale as f32 * std[i % d] * eps);
    Ok(Embeddings::new(n, d, noisy.collect())?)
}

/// How the run's prior is sampled.
pub(super) fn sampler(run: &Run) -> PriorSettings {
    match run.objective() {
        ObjectiveSpec::Diffusion(spec) => PriorSettings {
            n_steps: spec.sampler.steps,
            guidance: spec.sampler.guidance,
            eta: spec.sampler.eta,
        },
        ObjectiveSpec::Flow(spec) => PriorSettings {
            n_steps: spec.sampler.steps,
            guidance: spec.sampler.guidance,
            eta: 0.0,
        },
        _ => PriorSettings::default(),
    }
}
