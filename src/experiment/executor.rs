//! Carrying out a run for real: encode the pairs, train the prior, predict the test prompts, score.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::prelude::*;

use super::execute::{Execute, Failure};
use super::metrics::MetricsLog;
use super::pictures::{Pictures, decoder_files};
use super::questions::Questions;
use super::run::Run;
use super::run_dir::RunDir;
use super::shared::Shared;
use super::spec::{
    BetaSchedule, CaptionSpec, DiffusionSpec, EclipseSpec, FlowSpec, ObjectiveSpec, ScheduleSpec,
    SchedulerKind, Tau,
};
use super::trained::{TrainedPriors, is_whole};
use crate::data::encode::FrozenClip;
use crate::data::pairs::Pairs;
use crate::diffusion::{self, FlowConfig, Scheduler, SchedulerConfig, Variance};
use crate::eval::baselines::BaselineKind;
use crate::eval::embedding::ModalityGap;
use crate::eval::{Embeddings, Inputs, evaluate};
use crate::files;
use crate::generate::prior::{AnyPrior, PriorSettings};
use crate::models::prior::{DiffusionPrior, Prior, PriorConfig};
use crate::nn::torch_default;
use crate::noise::Noise;
use crate::train::negatives::NegativeOptions;
use crate::train::prior::{
    AdamWOptions, DiffusionBatch, DiffusionTrainer, EclipseOptions, FlowOptions, LossForms, NoisingOptions,
    PriorTrainer, diffusion_batches, eclipse_batches, flow_batches,
};
use crate::train::schedule::{LrSchedule, SteppedLr};
use crate::train::session::{SessionOptions, Sink, fit, resumable_step};
use crate::weights::{Checkpoint, write_json};
use crate::world::{CaptionMix, PairOptions};

/// Stream of a run's seed that initial weights come from; data order and noise have their own (see [`crate::train::prior`]).
const INIT_STREAM: u64 = 1 << 41;
/// First stream of the evaluation seed for the noise of predictions; pictures have stream 0.
const NOISE_STREAM: u64 = 1;

/// Called after each optimiser step with the run's name-giving directory, the step, and the number of steps.
pub type OnStep = Box<dyn Fn(&Path, usize, usize) + Send + Sync>;

/// Trains and evaluates on one device. What runs share (the frozen CLIP, encoded pairs, encoded questions) is made once.
pub struct PriorExecutor {
    device: Device,
    on_step: Arc<OnStep>,
    trained: Option<TrainedPriors>,
    clips: Shared<PathBuf, FrozenClip>,
    pictures: Pictures,
    pairs: Shared<String, Pairs>,
    questions: Shared<String, Questions>,
}

impl PriorExecutor {
    /// An executor on `device` (without autodiff).
    pub fn new(device: Device, on_step: OnStep) -> Self {
        Self {
            pictures: Pictures::new(device.clone()),
            device,
            on_step: Arc::new(on_step),
            trained: None,
            clips: Shared::new(),
            pairs: Shared::new(),
            questions: Shared::new(),
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

    fn pairs(&self, run: &Run, clip: &FrozenClip) -> Result<Arc<Pairs>, Failure> {
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
            clip.pairs(&run.world().pairs(data.n_pairs, data.seed, &options))
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
    fn prior(
        &self,
        run: &Run,
        dir: &RunDir,
        clip: &FrozenClip,
        pairs: &Arc<Pairs>,
    ) -> Result<AnyPrior, Failure> {
        let saved = dir.prior_dir();
        let train = || -> Result<(), Failure> {
            match run.objective() {
                ObjectiveSpec::Eclipse(spec) => self.train_one_pass(run, dir, clip, pairs, spec)?,
                ObjectiveSpec::Projection(spec) => {
                    let spec = EclipseSpec {
                        lambda: 0.0,
                        reduction: spec.reduction,
                        ..EclipseSpec::default()
                    };
                    self.train_one_pass(run, dir, clip, pairs, &spec)?;
                }
                ObjectiveSpec::Diffusion(spec) => self.train_diffusion(run, dir, clip, pairs, spec)?,
                ObjectiveSpec::Flow(spec) => self.train_flow(run, dir, clip, pairs, spec)?,
                ObjectiveSpec::Baseline(_) => return Err("a baseline has no prior to train".into()),
            }
            Ok(())
        };
        match &self.trained {
            _ if is_whole(&saved) => (),
            None => train()?,
            Some(trained) => trained.get(&self.training_key(run)?, dir, train)?,
        }
        Ok(AnyPrior::load(&saved, &self.device)?.1)
    }

    fn train_one_pass(
        &self,
        run: &Run,
        dir: &RunDir,
        clip: &FrozenClip,
        pairs: &Arc<Pairs>,
        spec: &EclipseSpec,
    ) -> Result<(), Failure> {
        let tau = match spec.tau {
            Tau::Value(tau) => tau,
            Tau::Clip => clip.tau().ok_or_else(|| {
                format!(
                    "`objective.tau` is \"clip\", but {} has no logit_scale; give a number",
                    run.clip().display()
                )
            })?,
        };
        let options = EclipseOptions {
            lambda: spec.lambda,
            tau,
            direction: spec.direction,
            reduction: spec.reduction,
            forms: LossForms {
                projection: spec.projection,
                huber_delta: spec.huber_delta,
                contrastive: spec.contrastive,
                siglip_bias: spec.siglip_bias,
            },
            grad_clip: grad_clip(run),
        };
        let negatives = NegativeOptions {
            queue: spec.queue,
            devices: spec.devices,
            false_negatives: spec.false_negatives,
        };
        let config = prior_config(run, clip);
        let prior = Prior::init(&config, &self.device.clone().autodiff());
        let prior = torch_default(prior, &mut Noise::stream(run.seed(), INIT_STREAM));
        let batches = eclipse_batches(pairs.clone(), run.train().batch_size, run.seed(), negatives);
        let (session, sink) = (session(run), self.sink(run, dir)?);
        let trainer = PriorTrainer::new(prior, options);
        let trained = fit(
            trainer,
            adamw(run).init(),
            schedule(run)?,
            batches,
            dir.path(),
            session,
            sink,
        )?;
        Ok(trained.prior.save(&config, &dir.prior_dir())?)
    }

    fn train_diffusion(
        &self,
        run: &Run,
        dir: &RunDir,
        clip: &FrozenClip,
        pairs: &Arc<Pairs>,
        spec: &DiffusionSpec,
    ) -> Result<(), Failure> {
        let scheduler = Scheduler::new(scheduler_config(spec));
        let (mean, std) = statistics(pairs, spec.whiten);
        let noising = NoisingOptions {
            alphas_cumprod: scheduler.schedule().alphas_cumprod().to_vec(),
            cond_drop: spec.cond_drop,
            whitening: spec.whiten.then(|| (mean.clone(), std.clone())),
        };
        let batches = diffusion_batches(pairs.clone(), noising, run.train().batch_size, run.seed());
        self.train_with_time(
            run,
            dir,
            clip,
            (mean, std),
            batches,
            &scheduler.config().to_json(),
        )
    }

    fn train_flow(
        &self,
        run: &Run,
        dir: &RunDir,
        clip: &FrozenClip,
        pairs: &Arc<Pairs>,
        spec: &FlowSpec,
    ) -> Result<(), Failure> {
        let flow = FlowConfig::new(spec.prediction);
        let (mean, std) = statistics(pairs, spec.whiten);
        let options = FlowOptions {
            flow,
            cond_drop: spec.cond_drop,
            whitening: spec.whiten.then(|| (mean.clone(), std.clone())),
        };
        let batches = flow_batches(pairs.clone(), options, run.train().batch_size, run.seed());
        self.train_with_time(run, dir, clip, (mean, std), batches, &flow.to_json())
    }

    /// Trains a prior with time on `batches` and saves it with these statistics and this `scheduler_config.json`.
    fn train_with_time(
        &self,
        run: &Run,
        dir: &RunDir,
        clip: &FrozenClip,
        (mean, std): (Vec<f32>, Vec<f32>),
        batches: impl Fn(usize, &Device) -> DiffusionBatch + Send + Sync + 'static,
        scheduler: &serde_json::Value,
    ) -> Result<(), Failure> {
        let device = self.device.clone().autodiff();
        let config = prior_config(run, clip).with_time();
        let prior = DiffusionPrior::init(&config, &device);
        let prior = torch_default(prior, &mut Noise::stream(run.seed(), INIT_STREAM)).with_statistics(
            Tensor::from_floats(mean.as_slice(), &device),
            Tensor::from_floats(std.as_slice(), &device),
        );
        let (session, sink) = (session(run), self.sink(run, dir)?);
        let trainer = DiffusionTrainer::new(prior, grad_clip(run));
        let trained = fit(
            trainer,
            adamw(run).init(),
            schedule(run)?,
            batches,
            dir.path(),
            session,
            sink,
        )?;
        files::create_dir(dir.prior_dir())?;
        write_json(&dir.prior_dir().join("scheduler_config.json"), scheduler)?;
        Ok(trained.prior.save(&config, &dir.prior_dir())?)
    }

    /// Every `log_every`-th step goes to `metrics.jsonl`.
    fn sink(&self, run: &Run, dir: &RunDir) -> Result<Sink, Failure> {
        let (n_steps, every) = (run.train().steps, run.train().log_every.max(1));
        let per_pass = (run.data().n_pairs / run.train().batch_size).max(1);
        let mut log = MetricsLog::open_after(dir.metrics_path(), resumable_step(dir.path(), &session(run)))?;
        let (on_step, path) = (self.on_step.clone(), dir.path().to_path_buf());
        Ok(Box::new(move |step, values| {
            on_step(&path, step, n_steps);
            if step % every != 0 && step != 1 && step != n_steps {
                return Ok(());
            }
            let values: Vec<(&str, f64)> = values
                .iter()
                .map(|&(name, value)| (name, f64::from(value)))
                .collect();
            log.log(step, (step - 1) / per_pass, "train", &values)
        }))
    }

    /// z_x_hat for every question, once for each draw of noise.
    fn predict(
        &self,
        run: &Run,
        prior: &AnyPrior,
        pairs: &Pairs,
        asked: &Questions,
    ) -> Result<Vec<Embeddings>, Failure> {
        let settings = match run.objective() {
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
        };
        let text = asked.texts.all(&self.device);
        let away = asked
            .texts
            .select(&vec![None; asked.texts.len()], &pairs.empty, &self.device);
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

    /// What decides a trained prior: the configuration and the CLIP.
    fn training_key(&self, run: &Run) -> Result<String, Failure> {
        let mut text = run.training_hash();
        for (name, hash) in clip_files(run.clip())? {
            text.push_str(&format!("\n{name} {hash}"));
        }
        Ok(files::sha256(text.as_bytes()))
    }
}

/// SHA-256 of the files of a CLIP, by name.
fn clip_files(dir: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let hash = |file: PathBuf| -> Result<(String, String), Failure> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok((format!("clip/{name}"), files::sha256_file(&file)?))
    };
    let config = hash(dir.join("config.json"))?;
    let weights = Checkpoint::open(dir)?;
    let mut files: BTreeSet<PathBuf> = weights.tensors().values().map(|t| t.file.clone()).collect();
    let beside = [".", "../tokenizer", "../feature_extractor", "../image_processor"];
    let names = [
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "preprocessor_config.json",
    ];
    let known = beside
        .iter()
        .flat_map(|folder| names.map(|name| dir.join(folder).join(name)));
    files.extend(known.filter(|file| file.is_file()));
    let others = files.into_iter().map(hash);
    std::iter::once(Ok(config)).chain(others).collect()
}

impl Execute for PriorExecutor {
    fn inputs(&self, run: &Run) -> Result<BTreeMap<String, String>, Failure> {
        let mut files = clip_files(run.clip())?;
        if run.eval().n_pictures > 0 {
            files.extend(decoder_files(run.decoder())?);
        }
        Ok(files)
    }

    fn execute(&self, run: &Run, dir: &RunDir) -> Result<(), Failure> {
        let clip = self.clip(run)?;
        let pairs = self.pairs(run, &clip)?;
        let asked = self.questions(run, &clip)?;
        let (n, d) = (pairs.len(), pairs.d_clip());
        let z_y = Embeddings::new(n, d, pairs.texts.z_y.clone())?;
        let z_x = Embeddings::new(n, d, pairs.z_x.clone())?;
        let z_x_hat = match run.objective() {
            ObjectiveSpec::Baseline(spec) => {
                let baseline: BaselineKind = spec.method;
                vec![
                    baseline
                        .fit(&z_y, &z_x, &asked.other_renders)?
                        .predict(&asked.z_y)?,
                ]
            }
            _ => self.predict(run, &self.prior(run, dir, &clip, &pairs)?, &pairs, &asked)?,
        };
        let inputs = Inputs {
            z_x_hat: &z_x_hat,
            z_y: &asked.z_y,
            candidates: &asked.candidates,
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

fn prior_config(run: &Run, clip: &FrozenClip) -> PriorConfig {
    let model = run.model();
    PriorConfig {
        n_heads: model.n_heads,
        d_head: model.d_head,
        n_layers: model.n_layers,
        d_clip: clip.d_clip(),
        n_text: clip.n_text(),
        n_extra: PriorConfig::N_EXTRA,
        conditioning: model.conditioning,
        ..PriorConfig::default()
    }
}

/// Mean and standard deviation of z_x that a prior with time carries: those of the pairs, or 0 and 1.
fn statistics(pairs: &Pairs, whiten: bool) -> (Vec<f32>, Vec<f32>) {
    match whiten {
        true => pairs.statistics(),
        false => (vec![0.0; pairs.d_clip()], vec![1.0; pairs.d_clip()]),
    }
}

fn session(run: &Run) -> SessionOptions {
    let (n_steps, every) = (run.train().steps, run.train().checkpoint_every);
    SessionOptions {
        n_steps,
        checkpoint_every: if every == 0 { n_steps } else { every },
    }
}

fn grad_clip(run: &Run) -> Option<f64> {
    Some(run.train().grad_clip).filter(|&norm| norm > 0.0)
}

fn adamw(run: &Run) -> AdamWOptions {
    let train = run.train();
    AdamWOptions {
        betas: (train.betas[0], train.betas[1]),
        eps: train.eps,
        weight_decay: train.weight_decay,
    }
}

fn schedule(run: &Run) -> Result<SteppedLr, Failure> {
    let (lr, total) = (run.train().lr, run.train().steps);
    let schedule = match &run.train().schedule {
        ScheduleSpec::Constant(_) => LrSchedule::Constant { lr },
        ScheduleSpec::Sgdr(sgdr) => {
            let t_0 = if sgdr.t_0 == 0 { total } else { sgdr.t_0 };
            LrSchedule::Sgdr {
                lr,
                warmup: 0,
                t_0,
                t_mult: sgdr.t_mult,
                eta_min: sgdr.eta_min,
            }
        }
        ScheduleSpec::OneCycle(cycle) => LrSchedule::OneCycle {
            lr,
            total,
            pct_start: cycle.pct_start,
            div: cycle.div_factor,
            final_div: cycle.final_div_factor,
        },
    };
    Ok(SteppedLr::new(schedule.check()?))
}

fn scheduler_config(spec: &DiffusionSpec) -> SchedulerConfig {
    let kind = match spec.sampler.scheduler {
        SchedulerKind::Ddpm => diffusion::SchedulerKind::Ddpm {
            variance: Variance::FixedSmall,
        },
        SchedulerKind::Ddim => diffusion::SchedulerKind::Ddim {
            set_alpha_to_one: true,
        },
        SchedulerKind::Unclip => diffusion::SchedulerKind::UnClip {
            variance: Variance::FixedSmallLog,
        },
    };
    let betas = match spec.beta_schedule {
        BetaSchedule::Linear => diffusion::BetaSchedule::Linear {
            start: spec.beta_start,
            end: spec.beta_end,
        },
        BetaSchedule::SquaredcosCapV2 => diffusion::BetaSchedule::SquaredCos,
    };
    let spacing = match spec.sampler.scheduler {
        SchedulerKind::Unclip => diffusion::Spacing::UnClip,
        _ => diffusion::Spacing::Leading { offset: 0 },
    };
    SchedulerConfig {
        kind,
        n_train: spec.train_steps,
        betas,
        spacing,
        ..SchedulerConfig::diffusion_baseline()
    }
}
