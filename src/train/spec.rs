//! `[model]` and `[train]` of a run: the keys, their defaults and units, and their checks.
//!
//! The defaults are the paper's recipe (section 4.1 and appendix A) where the paper states one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schedule::{LrSchedule, SteppedLr};
use super::session::{Failure, SessionOptions};
use super::trainer::AdamWOptions;
use crate::config::InvalidValue;
use crate::config::check::{
    Bound, at_least, at_most, between_0_and_1, bounded, fraction, non_negative, positive, require,
};
use crate::device::Precision;
use crate::limits;
use crate::models::prior::{Conditioning, PriorConfig};

/// `[model]`: the prior transformer. Its width is `n_heads * d_head`; d_clip comes from the CLIP directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// Attention heads; the paper has 16.
    pub n_heads: usize,
    /// Width of one head; the paper has 32.
    pub d_head: usize,
    /// Transformer blocks; the paper has 10.
    pub n_layers: usize,
    /// The part of a caption that the prior reads: `both` in the paper; `pooled` (z_y alone) or `hidden` (the text tower's states alone).
    pub conditioning: Conditioning,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self {
            n_heads: 16,
            d_head: 32,
            n_layers: 10,
            conditioning: Conditioning::Both,
        }
    }
}

impl ModelSpec {
    /// Checks every value.
    ///
    /// # Errors
    /// [`InvalidValue`] with the first key that is out of range.
    pub fn check(&self) -> Result<(), InvalidValue> {
        at_most("model.n_layers", limits::MAX_LAYERS, self.n_layers)?;
        at_most("model.n_heads", limits::MAX_HEADS, self.n_heads)?;
        let most = limits::MAX_WIDTH / self.n_heads.max(1);
        require(
            "model.d_head",
            self.d_head <= most,
            format!("at most {most}"),
            self.d_head,
        )?;
        at_least("model.n_heads", 1, self.n_heads)?;
        at_least("model.d_head", 1, self.d_head)?;
        at_least("model.n_layers", 1, self.n_layers)?;
        require(
            "model.d_head",
            (self.n_heads * self.d_head).is_multiple_of(2),
            format!("an even width n_heads * d_head, n_heads being {}", self.n_heads),
            self.d_head,
        )
    }

    /// The network for embeddings of width `d_clip` and captions of `n_text` tokens.
    pub fn config(&self, d_clip: usize, n_text: usize) -> PriorConfig {
        PriorConfig {
            n_heads: self.n_heads,
            d_head: self.d_head,
            n_layers: self.n_layers,
            d_clip,
            n_text,
            n_extra: PriorConfig::N_EXTRA,
            conditioning: self.conditioning,
            ..PriorConfig::default()
        }
    }
}

/// What the linear layers of a network compute in while it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// 32 bits.
    #[default]
    F32,
    /// Mixed precision: 16 bits with the range of f32, so that gradients need no loss scaling.
    Bf16,
}

impl From<ComputeDtype> for Precision {
    fn from(dtype: ComputeDtype) -> Self {
        match dtype {
            ComputeDtype::F32 => Self::F32,
            ComputeDtype::Bf16 => Self::Bf16,
        }
    }
}

/// `[train]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// Optimiser steps: about 60,000 in the paper.
    pub steps: usize,
    /// Pairs in one step: 256 a GPU in the paper. Eq. 4 takes its negatives from the batch.
    pub batch_size: usize,
    /// Peak learning rate: 5e-5 in the paper.
    pub lr: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// AdamW's betas.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// Largest global norm of the gradient; 0 switches clipping off.
    pub grad_clip: f64,
    /// Learning-rate schedule. Its `kind` decides which keys it has.
    pub schedule: LrScheduleConfig,
    /// Steps between checkpoints; 0 keeps the last checkpoint only (a killed run then starts again).
    pub checkpoint_every: usize,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: usize,
    /// Micro-batches of a step, of `batch_size` pairs each: the gradient is the mean over them. The paper's 4 GPUs with 256 pairs each are 4 micro-batches;
    /// one device computes them one after the other.
    #[serde(skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Decay of the exponential moving average (EMA) of the parameters, which is saved in place of the last parameters (0.999 in the 1B priors' scripts);
    /// 0 keeps no EMA, as in the paper.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub ema_decay: f64,
    /// Checkpoints that are kept while training, beside the best one if the run is validated.
    #[serde(skip_serializing_if = "is_two")]
    pub keep_checkpoints: usize,
    /// Early stopping: training ends when the validation loss has not reached a new minimum in this many validations, one every `checkpoint_every` steps.
    /// 0 always trains to `steps`.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub patience: usize,
    /// Data type of the linear layers' products in training, forward and backward: `f32`, or `bf16` for mixed precision. Parameters, optimiser, norms,
    /// softmax and loss are f32 in both, as are validation and the saved prior. Slower on CPUs.
    #[serde(skip_serializing_if = "crate::config::is_default")]
    pub compute_dtype: ComputeDtype,
}

impl Default for TrainSpec {
    fn default() -> Self {
        Self {
            steps: 60_000,
            batch_size: 256,
            lr: 5e-5,
            weight_decay: 0.0,
            betas: [0.9, 0.999],
            eps: 1e-8,
            grad_clip: 1.0,
            schedule: LrScheduleConfig::Sgdr(SgdrConfig::default()),
            checkpoint_every: 1000,
            log_every: 50,
            accumulate: 1,
            ema_decay: 0.0,
            keep_checkpoints: 2,
            patience: 0,
            compute_dtype: ComputeDtype::F32,
        }
    }
}

// Keys added after runs were named by the hash of their configuration are written only if they differ from their default.

fn is_one(value: &usize) -> bool {
    *value == 1
}

fn is_two(value: &usize) -> bool {
    *value == 2
}

impl TrainSpec {
    /// Checks every value, for a run on `n_pairs` pairs, with or without validation.
    ///
    /// # Errors
    /// [`InvalidValue`] with the first key that is out of range.
    pub fn check(&self, n_pairs: usize, is_validated: bool) -> Result<(), InvalidValue> {
        at_least("train.steps", 1, self.steps)?;
        require(
            "train.batch_size",
            (1..=n_pairs).contains(&self.batch_size),
            format!("a whole number from 1 to data.n_pairs ({n_pairs})"),
            self.batch_size,
        )?;
        positive("train.lr", self.lr)?;
        non_negative("train.weight_decay", self.weight_decay)?;
        for beta in self.betas {
            fraction("train.betas", beta)?;
        }
        positive("train.eps", self.eps)?;
        non_negative("train.grad_clip", self.grad_clip)?;
        at_least("train.log_every", 1, self.log_every)?;
        at_least("train.accumulate", 1, self.accumulate)?;
        fraction("train.ema_decay", self.ema_decay)?;
        at_least("train.keep_checkpoints", 2, self.keep_checkpoints)?;
        require(
            "train.patience",
            self.patience == 0 || (is_validated && self.checkpoint_every > 0),
            "0, because nothing is validated: set data.n_validation and train.checkpoint_every",
            self.patience,
        )?;
        self.schedule.check(self.lr)
    }

    /// Checks the sizes that determine memory use.
    ///
    /// # Errors
    /// [`InvalidValue`] with the first key that is too large.
    pub fn check_sizes(&self) -> Result<(), InvalidValue> {
        at_most("train.batch_size", limits::MAX_BATCH, self.batch_size)?;
        at_most("train.accumulate", limits::MAX_REPEATS, self.accumulate)?;
        let counts = [
            ("train.steps", self.steps),
            ("train.keep_checkpoints", self.keep_checkpoints),
            ("train.checkpoint_every", self.checkpoint_every),
            ("train.log_every", self.log_every),
            ("train.patience", self.patience),
        ];
        (counts.into_iter()).try_for_each(|(key, found)| at_most(key, limits::MAX_TRAIN_STEPS, found))?;
        if let LrScheduleConfig::Sgdr(s) = &self.schedule {
            at_most("train.schedule.t_0", limits::MAX_TRAIN_STEPS, s.t_0)?;
            at_most("train.schedule.t_mult", limits::MAX_REPEATS, s.t_mult)?;
        }
        Ok(())
    }

    /// The optimiser.
    pub fn adamw(&self) -> AdamWOptions {
        AdamWOptions {
            betas: (self.betas[0], self.betas[1]),
            eps: self.eps,
            weight_decay: self.weight_decay,
        }
    }

    /// The learning rate of each step.
    ///
    /// # Errors
    /// A parameter out of range, which [`TrainSpec::check`] refuses.
    pub fn lr_schedule(&self) -> Result<SteppedLr, Failure> {
        Ok(SteppedLr::new(self.schedule.build(self.lr, self.steps).check()?))
    }

    /// Steps, checkpoints and early stopping of the session.
    pub fn session_options(&self) -> SessionOptions {
        SessionOptions {
            n_steps: self.steps,
            checkpoint_every: match self.checkpoint_every {
                0 => self.steps,
                every => every,
            },
            keep: self.keep_checkpoints,
            patience: self.patience,
        }
    }
}

/// `[train.schedule]`: a shape, from which [`LrScheduleConfig::build`] makes the [`LrSchedule`] of a run with its peak rate and length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LrScheduleConfig {
    /// Cosine annealing with warm restarts, as in the paper.
    Sgdr(SgdrConfig),
    /// One cycle up and down: the paper's lambda study (appendix B).
    OneCycle(OneCycleConfig),
    /// Constant `lr`.
    Constant(ConstantConfig),
}

impl LrScheduleConfig {
    /// The values of `kind`.
    pub const KINDS: &[&str] = &["sgdr", "one_cycle", "constant"];

    /// The value of `kind` for this schedule.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sgdr(_) => "sgdr",
            Self::OneCycle(_) => "one_cycle",
            Self::Constant(_) => "constant",
        }
    }

    /// The defaults of `kind`; `None` for a kind that does not exist.
    pub fn of_kind(kind: &str) -> Option<Self> {
        match kind {
            "sgdr" => Some(Self::Sgdr(SgdrConfig::default())),
            "one_cycle" => Some(Self::OneCycle(OneCycleConfig::default())),
            "constant" => Some(Self::Constant(ConstantConfig::default())),
            _ => None,
        }
    }

    fn check(&self, lr: f64) -> Result<(), InvalidValue> {
        match self {
            Self::Sgdr(s) => {
                at_least("train.schedule.t_mult", 1, s.t_mult)?;
                require(
                    "train.schedule.eta_min",
                    (0.0..=lr).contains(&s.eta_min),
                    format!("a number from 0 to train.lr ({lr})"),
                    s.eta_min,
                )
            }
            Self::OneCycle(s) => {
                between_0_and_1("train.schedule.pct_start", s.pct_start)?;
                let factors = [
                    ("train.schedule.div_factor", s.div_factor),
                    ("train.schedule.final_div_factor", s.final_div_factor),
                ];
                (factors.into_iter()).try_for_each(|(key, found)| {
                    bounded(key, &[Bound::AtLeast(1.0)], "a number, 1 or above", found)
                })
            }
            Self::Constant(_) => Ok(()),
        }
    }

    /// The schedule of a run of `total` steps with the peak rate `lr`.
    pub fn build(&self, lr: f64, total: usize) -> LrSchedule {
        match self {
            Self::Constant(_) => LrSchedule::Constant { lr },
            Self::Sgdr(s) => LrSchedule::Sgdr {
                lr,
                warmup: 0,
                t_0: if s.t_0 == 0 { total } else { s.t_0 },
                t_mult: s.t_mult,
                eta_min: s.eta_min,
            },
            Self::OneCycle(s) => LrSchedule::OneCycle {
                lr,
                total,
                pct_start: s.pct_start,
                div: s.div_factor,
                final_div: s.final_div_factor,
            },
        }
    }
}

/// `kind = "sgdr"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SgdrConfig {
    /// Steps of the first cycle; 0 is the whole run (one cosine). The paper does not state it.
    pub t_0: usize,
    /// Ratio of consecutive cycle lengths.
    pub t_mult: usize,
    /// Learning rate at the end of a cycle.
    pub eta_min: f64,
}

impl Default for SgdrConfig {
    fn default() -> Self {
        Self {
            t_0: 0,
            t_mult: 1,
            eta_min: 0.0,
        }
    }
}

/// `kind = "one_cycle"`, with PyTorch's defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OneCycleConfig {
    /// Fraction of the steps in which the learning rate rises.
    pub pct_start: f64,
    /// `lr` over the first learning rate.
    pub div_factor: f64,
    /// First learning rate over the last one.
    pub final_div_factor: f64,
}

impl Default for OneCycleConfig {
    fn default() -> Self {
        Self {
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
        }
    }
}

/// `kind = "constant"`: no keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConstantConfig {}
