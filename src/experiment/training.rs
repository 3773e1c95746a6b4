//! From a checked run and its pairs to a trained prior in the run's directory.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use burn::prelude::*;
use burn::train::{InferenceStep, LearnerModel, TrainStep};

use super::execute::Failure;
use super::executor::{OnStep, Progress};
use super::metrics::MetricsLog;
use super::run::Run;
use super::run_dir::RunDir;
use super::spec::{
    BetaSchedule, DiffusionSpec, EclipseSpec, FlowSpec, ObjectiveSpec, ScheduleSpec, SchedulerKind, Tau,
};
use crate::data::examples::Examples;
use crate::diffusion::{self, FlowConfig, Scheduler, SchedulerConfig, Variance};
use crate::files;
use crate::models::prior::{DiffusionPrior, Prior, PriorConfig};
use crate::nn::torch_default;
use crate::noise::Noise;
use crate::train::checkpoint::{Best, set_damaged_aside};
use crate::train::negatives::NegativeOptions;
use crate::train::parts::{Parts, Share};
use crate::train::prior::{
    AdamWOptions, Cut, DiffusionTrainer, EclipseOptions, GradientSum, LossForms, NoisePath, NoisingOptions,
    PriorTrainer, UpdateOptions, eclipse_batches, noised_batches,
};
use crate::train::schedule::{LrSchedule, SteppedLr};
use crate::train::session::{
    Phase, Session, SessionOptions, Sink, StepReport, Strategy, Validation, Workers, checkpoints, fit,
    resumable_step,
};
use crate::train::stop::Stop;
use crate::train::tensorboard::EventFile;
use crate::weights::write_json;

/// Stream of a run's seed that initial weights come from; data order and noise have their own (see [`crate::train::prior`]).
const INIT_STREAM: u64 = 1 << 41;
/// Examples of a batch of a validation, at most.
const VALIDATION_BATCH: usize = 256;

/// What a prior is trained on, and what has to be known of the CLIP behind it.
pub(super) struct Material {
    pub(super) data: Arc<dyn Examples>,
    /// What the run is validated on.
    pub(super) held_out: Option<Arc<dyn Examples>>,
    /// Tokens of a caption.
    pub(super) n_text: usize,
    /// The temperature that CLIP was trained to.
    pub(super) tau: Option<f64>,
    /// Where CLIP is, for messages.
    pub(super) clip: String,
}

/// The temperature of the contrastive term: a number, or what CLIP, which stands in `clip`, was trained to.
pub(super) fn tau_of(spec: &EclipseSpec, of_clip: Option<f64>, clip: &str) -> Result<f64, Failure> {
    match spec.tau {
        Tau::Value(tau) => Ok(tau),
        Tau::Clip => of_clip.ok_or_else(|| {
            format!("`objective.tau` is \"clip\", but {clip} has no logit_scale; give a number").into()
        }),
    }
}

/// One training.
pub(super) struct Training<'a> {
    pub(super) run: &'a Run,
    pub(super) dir: &'a RunDir,
    pub(super) material: &'a Material,
    /// Without autodiff.
    pub(super) device: &'a Device,
    /// Devices that work on its steps too.
    pub(super) others: &'a [Device],
    /// How they do.
    pub(super) strategy: Strategy,
    pub(super) on_step: &'a Arc<OnStep>,
    /// What stops it.
    pub(super) stop: &'a Stop,
}

impl Training<'_> {
    /// Trains to the last step and saves the prior; also the one with the lowest validation loss, if the run is validated.
    pub(super) fn train(&self) -> Result<(), Failure> {
        match self.run.objective() {
            ObjectiveSpec::Eclipse(spec) => self.one_pass(spec),
            ObjectiveSpec::Projection(spec) => self.one_pass(&EclipseSpec {
                lambda: 0.0,
                reduction: spec.reduction,
                ..EclipseSpec::default()
            }),
            ObjectiveSpec::Diffusion(spec) => self.diffusion(spec),
            ObjectiveSpec::Flow(spec) => self.flow(spec),
            ObjectiveSpec::Baseline(_) => Err("a baseline has no prior to train".into()),
        }
    }

    fn one_pass(&self, spec: &EclipseSpec) -> Result<(), Failure> {
        let tau = tau_of(spec, self.material.tau, &self.material.clip)?;
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
        };
        let negatives = NegativeOptions {
            queue: spec.queue,
            gather: spec.gather,
            devices: spec.devices,
            false_negatives: spec.false_negatives,
        };
        let config = self.config();
        let device = self.device.clone().autodiff();
        let prior = Prior::init(&config, &device);
        let prior = torch_default(prior, &mut Noise::stream(self.run.seed(), INIT_STREAM));
        let batches = eclipse_batches(self.material.data.clone(), self.cut(), self.run.seed(), negatives);
        let validation =
            self.validation(|data, cut, seed| eclipse_batches(data, cut, seed, NegativeOptions::default()));
        let trainer = PriorTrainer::new(prior, &config, options, self.update());
        self.fit(trainer, batches, validation, |trainer, dir| {
            Ok(trainer.published().save(&config, dir)?)
        })
    }

    fn diffusion(&self, spec: &DiffusionSpec) -> Result<(), Failure> {
        let scheduler = Scheduler::new(scheduler_config(spec));
        let path = NoisePath::Diffusion {
            alphas_cumprod: scheduler.schedule().alphas_cumprod().to_vec(),
        };
        self.with_time(path, spec.cond_drop, spec.whiten, &scheduler.config().to_json())
    }

    fn flow(&self, spec: &FlowSpec) -> Result<(), Failure> {
        let flow = FlowConfig::new(spec.prediction);
        self.with_time(
            NoisePath::Flow(flow),
            spec.cond_drop,
            spec.whiten,
            &flow.to_json(),
        )
    }

    /// Trains a prior with time on this path and saves it with this `scheduler_config.json`.
    fn with_time(
        &self,
        path: NoisePath,
        cond_drop: f64,
        whiten: bool,
        scheduler: &serde_json::Value,
    ) -> Result<(), Failure> {
        let (mean, std) = self.statistics(whiten);
        let options = |cond_drop| NoisingOptions {
            path: path.clone(),
            cond_drop,
            whitening: whiten.then(|| (mean.clone(), std.clone())),
        };
        let (data, seed) = (self.material.data.clone(), self.run.seed());
        let batches = noised_batches(data, options(cond_drop), self.cut(), seed);
        let validation = self.validation(|data, cut, seed| noised_batches(data, options(0.0), cut, seed));
        let device = self.device.clone().autodiff();
        let config = self.config().time_conditioned();
        let prior = DiffusionPrior::init(&config, &device);
        let prior = torch_default(prior, &mut Noise::stream(self.run.seed(), INIT_STREAM)).with_statistics(
            Tensor::from_floats(mean.as_slice(), &device),
            Tensor::from_floats(std.as_slice(), &device),
        );
        let trainer = DiffusionTrainer::new(prior, &config, self.update());
        self.fit(trainer, batches, validation, |trainer, dir| {
            files::create_dir(dir)?;
            write_json(&dir.join("scheduler_config.json"), scheduler)?;
            Ok(trainer.published().save(&config, dir)?)
        })
    }

    /// Trains and saves: the best prior first, since a run that has `prior/` counts as trained.
    fn fit<M, B, V>(
        &self,
        trainer: M,
        batches: impl Fn(usize, Share, &Device) -> B + Send + Sync + 'static,
        validation: Option<Validation<V>>,
        save: impl Fn(&M, &Path) -> Result<(), Failure>,
    ) -> Result<(), Failure>
    where
        B: Send + 'static,
        V: Send + 'static,
        M: LearnerModel
            + TrainStep<Input = B, Output = StepReport>
            + InferenceStep<Input = V, Output = StepReport>,
    {
        let (optimizer, schedule) = (adamw(self.run).init(), schedule(self.run)?);
        let trained = fit(trainer, optimizer, schedule, batches, validation, self.session()?)?;
        if let Some(best) = self.best(trained.clone())? {
            save(&best, &self.dir.best_prior_dir())?;
        }
        save(&trained, &self.dir.prior_dir())
    }

    /// The trainer as it was at the lowest validation loss.
    fn best<M: Module>(&self, trained: M) -> Result<Option<M>, Failure> {
        if self.material.held_out.is_none() {
            return Ok(None);
        }
        let best = Best::load(&checkpoints(self.dir.path()), trained)?;
        Ok(best.map(|(best, trainer)| {
            tracing::info!("lowest validation loss: {} at step {}", best.loss, best.step);
            trainer
        }))
    }

    fn config(&self) -> PriorConfig {
        let model = self.run.model();
        PriorConfig {
            n_heads: model.n_heads,
            d_head: model.d_head,
            n_layers: model.n_layers,
            d_clip: self.material.data.d_clip(),
            n_text: self.material.n_text,
            n_extra: PriorConfig::N_EXTRA,
            conditioning: model.conditioning,
            ..PriorConfig::default()
        }
    }

    /// All devices, if there are several.
    fn devices(&self) -> Option<Vec<Device>> {
        let all = std::iter::once(self.device).chain(self.others);
        (!self.others.is_empty()).then(|| all.map(|d| d.clone().autodiff()).collect())
    }

    fn cut(&self) -> Cut {
        let train = self.run.train();
        let dealt_out = self.devices().filter(|_| self.strategy == Strategy::Parts);
        Cut {
            part: train.batch_size,
            n_parts: train.accumulate,
            devices: dealt_out.unwrap_or_default(),
        }
    }

    fn workers(&self) -> Workers {
        match (self.strategy, self.devices()) {
            (Strategy::Parts, _) | (_, None) => Workers::One,
            (Strategy::MultiDevice, Some(devices)) => Workers::MultiDevice(devices),
            (Strategy::Ddp, Some(devices)) => Workers::Ddp(devices),
        }
    }

    fn update(&self) -> UpdateOptions {
        let train = self.run.train();
        UpdateOptions {
            grad_clip: Some(train.grad_clip).filter(|&norm| norm > 0.0),
            ema_decay: Some(train.ema_decay).filter(|&decay| decay > 0.0),
            sum: match self.workers() {
                Workers::MultiDevice(_) => GradientSum::Optimizer,
                Workers::One | Workers::Ddp(_) => GradientSum::Backward,
            },
        }
    }

    /// Batches of what is held out: those of the first steps of a run on it, whose noise is the same in all runs.
    fn validation<P, F>(&self, batches: impl Fn(Arc<dyn Examples>, Cut, u64) -> F) -> Option<Validation<P>>
    where
        F: Fn(usize, Share, &Device) -> Parts<P> + Send + Sync + 'static,
    {
        let data = self.material.held_out.clone()?;
        let n = data.order().n_examples();
        let size = n.min(VALIDATION_BATCH);
        let of_step = batches(data, Cut::whole(size), self.run.eval().seed);
        Some(Validation {
            n_batches: n / size,
            batch: Arc::new(move |i, device| of_step(i + 1, Share::WHOLE, device).parts.swap_remove(0)),
        })
    }

    /// Mean and standard deviation of z_x that a prior with time carries: those of the pairs, or 0 and 1.
    fn statistics(&self, whiten: bool) -> (Vec<f32>, Vec<f32>) {
        let d = self.material.data.d_clip();
        match whiten {
            true => self.material.data.statistics(),
            false => (vec![0.0; d], vec![1.0; d]),
        }
    }

    fn session(&self) -> Result<Session<'_>, Failure> {
        let train = self.run.train();
        let every = match train.checkpoint_every {
            0 => train.steps,
            every => every,
        };
        let options = SessionOptions {
            n_steps: train.steps,
            checkpoint_every: every,
            keep: train.keep_checkpoints,
            patience: train.patience,
        };
        set_damaged_aside(&checkpoints(self.dir.path()))?;
        Ok(Session {
            dir: self.dir.path(),
            options,
            workers: self.workers(),
            sink: self.sink(&options)?,
            stop: self.stop.clone(),
        })
    }

    /// Every `log_every`-th step, and every validation, goes to `metrics.jsonl`, and to an event file for TensorBoard.
    fn sink(&self, options: &SessionOptions) -> Result<Sink, Failure> {
        let (n_steps, every) = (options.n_steps, self.run.train().log_every.max(1));
        let per_pass = (self.material.data.order().n_examples() / self.cut().n()).max(1);
        let (path, on_step) = (self.dir.path().to_path_buf(), self.on_step.clone());
        let mut log = MetricsLog::open_after(self.dir.metrics_path(), resumable_step(&path, options))?;
        let mut events = EventFile::create(&path.join("tensorboard"), SystemTime::now())?;
        Ok(Box::new(move |phase, step, values| {
            let is_logged = phase == Phase::Valid || step % every == 0 || step == 1 || step == n_steps;
            let progress = Progress {
                phase,
                step,
                n_steps,
                values,
                is_logged,
            };
            on_step(&path, progress);
            if !is_logged {
                return Ok(());
            }
            let split = match phase {
                Phase::Train => "train",
                Phase::Valid => "valid",
            };
            let tags: Vec<String> = values.iter().map(|(name, _)| format!("{split}/{name}")).collect();
            let tagged: Vec<(&str, f32)> = tags
                .iter()
                .map(String::as_str)
                .zip(values.iter().map(|v| v.1))
                .collect();
            events.scalars(step, &tagged)?;
            // So that it can be watched.
            events.flush()?;
            let values: Vec<(&str, f64)> = values
                .iter()
                .map(|&(name, value)| (name, f64::from(value)))
                .collect();
            log.log(step, (step - 1) / per_pass, split, &values)
        }))
    }
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
