//! What a researcher writes: the keys of an experiment file, their defaults and their units.
//!
//! [`RunSpec`] mirrors the TOML one to one and is not yet checked; [`RunSpec::resolve`](super::run) turns it into a
//! [`Run`](super::Run). The defaults are the paper's recipe (section 4.1 and appendix A) where the paper states one; a
//! small world overrides them in its `base.toml`. Unknown keys are refused everywhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::diffusion::FlowPrediction;
use crate::eval::baselines::BaselineKind;
use crate::eval::rescale::DecoderInput;
use crate::models::prior::Conditioning;
use crate::objective::contrastive::ContrastiveForm;
use crate::objective::eclipse::{Direction, Reduction};
use crate::objective::projection::ProjectionForm;
use crate::train::negatives::FalseNegatives;
use crate::world::Slice;

/// One run, as written. Every table may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSpec {
    /// The world that pictures, captions and test prompts come from: the name of a [`World`](crate::world::World).
    pub world: String,
    /// Directory of the frozen CLIP. Left out: `datasets/<world>/clip`. Relative to the working directory.
    pub clip: Option<PathBuf>,
    /// Directory of the frozen decoder that draws what the prior predicts; not read while `eval.n_pictures` is 0. Left out:
    /// `datasets/<world>/decoder`. Relative to the working directory.
    pub decoder: Option<PathBuf>,
    /// Seed of everything the run draws itself: initial weights, order of the pairs, noise, dropped conditions.
    pub seed: u64,
    /// Training pairs.
    pub data: DataSpec,
    /// Size of the prior.
    pub model: ModelSpec,
    /// What is minimised, and how the result is sampled. Its `kind` decides which keys it has.
    pub objective: ObjectiveSpec,
    /// Optimisation.
    pub train: TrainSpec,
    /// Evaluation.
    pub eval: EvalSpec,
}

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            world: "emoji".into(),
            clip: None,
            decoder: None,
            seed: 0,
            data: DataSpec::default(),
            model: ModelSpec::default(),
            objective: ObjectiveSpec::Eclipse(EclipseSpec::default()),
            train: TrainSpec::default(),
            eval: EvalSpec::default(),
        }
    }
}

/// `[data]`: the training distribution P_XY.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// Captioned pictures to train on.
    pub n_pairs: usize,
    /// Seed of the pictures and captions. Apart from `seed`, so that runs of several seeds share one training set.
    pub seed: u64,
    /// Leave the held-out attribute-object pairs out of P_XY (the paper's "orange square", Fig. 2).
    pub holes: bool,
    /// Give P_XY its spurious co-occurrences and skewed attributes (the paper's "young tiger", Fig. 6).
    pub bias: bool,
    /// Which pictures there are at all: `whole`, `singles` (one object each) or `half_the_nouns`.
    pub slice: Slice,
    /// How much captions say.
    pub captions: CaptionSpec,
    /// A store of encoded pairs (`eclipse encode`) to train on in the place of a world's. Then `world` and the keys above do not count, and there are no
    /// test prompts: the run is scored on what it holds out. Relative to the working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// Another store to validate on, at every checkpoint and in the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Pairs held out for validation at every checkpoint. Of a world: so many further pairs of P_XY, none of which is trained on. Of a store
    /// without `validation`: so many of its images, evenly spread over it.
    #[serde(skip_serializing_if = "is_none")]
    pub n_validation: usize,
    /// Show each picture once a pass, with one of its captions; else each of its captions makes an example. Several captions of one picture in a batch
    /// are false negatives of Eq. 4.
    #[serde(skip_serializing_if = "is_false")]
    pub one_caption: bool,
}

/// How much the captions of P_XY say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptionSpec {
    /// Objects, colours and relations are often left out, as in captions from the web.
    #[default]
    Sparse,
    /// Less is left out: the captions of W.
    Rich,
}

impl Default for DataSpec {
    fn default() -> Self {
        Self {
            n_pairs: 1000,
            seed: 0,
            holes: true,
            bias: true,
            slice: Slice::Whole,
            captions: CaptionSpec::Sparse,
            store: None,
            validation: None,
            n_validation: 0,
            one_caption: false,
        }
    }
}

/// `[model]`: the prior transformer. Its width is `n_heads * d_head`; d_clip comes from the CLIP directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// Attention heads; the paper has 16.
    pub n_heads: usize,
    /// Width of one head; the paper has 32.
    pub d_head: usize,
    /// Transformer blocks; the paper has 10.
    pub n_layers: usize,
    /// What it reads of a caption: `both` in the paper; `pooled` (z_y alone) or `hidden` (the text tower's states alone).
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

/// `[objective]`: how the embedding of the picture is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ObjectiveSpec {
    /// Eq. 5: projection plus lambda times the contrastive term.
    Eclipse(EclipseSpec),
    /// Eq. 3 alone.
    Projection(ProjectionSpec),
    /// Eq. 1: a denoiser that predicts z_x, sampled in several steps (the paper's Diffusion-Baseline).
    Diffusion(DiffusionSpec),
    /// Flow matching: the same network with time, a straight path from noise to z_x, sampled in Euler steps.
    Flow(FlowSpec),
    /// No network: a reference method in the same table.
    Baseline(BaselineSpec),
}

impl ObjectiveSpec {
    /// The values of `kind`.
    pub const KINDS: &[&str] = &["eclipse", "projection", "diffusion", "flow", "baseline"];

    /// The value of `kind` for this objective.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Eclipse(_) => "eclipse",
            Self::Projection(_) => "projection",
            Self::Diffusion(_) => "diffusion",
            Self::Flow(_) => "flow",
            Self::Baseline(_) => "baseline",
        }
    }

    /// The defaults of `kind`; `None` for a kind that does not exist.
    pub fn of_kind(kind: &str) -> Option<Self> {
        Some(match kind {
            "eclipse" => Self::Eclipse(EclipseSpec::default()),
            "projection" => Self::Projection(ProjectionSpec::default()),
            "diffusion" => Self::Diffusion(DiffusionSpec::default()),
            "flow" => Self::Flow(FlowSpec::default()),
            "baseline" => Self::Baseline(BaselineSpec::default()),
            _ => return None,
        })
    }
}

/// `kind = "eclipse"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EclipseSpec {
    /// Weight of the contrastive term: 0.2 in the paper, section 3.3. 0 is Projection.
    pub lambda: f64,
    /// Temperature of Eq. 4, which the paper leaves open.
    pub tau: Tau,
    /// Which side is the softmax of Eq. 4 taken over.
    pub direction: Direction,
    /// How the squared norm of Eq. 3 is reduced.
    pub reduction: Reduction,
    /// Form of the first term: `squared_error` in the paper; `huber` or `cosine`.
    pub projection: ProjectionForm,
    /// Where `huber` turns from square to line, in units of z_x.
    pub huber_delta: f64,
    /// Form of the second term: `info_nce` in the paper; `siglip`, a question for each pair of image and text (Zhai et al. 2023).
    pub contrastive: ContrastiveForm,
    /// Bias of `siglip`: -10 is where its authors start.
    pub siglip_bias: f64,
    /// Texts of so many pairs before the batch are negatives too; 0 in the paper.
    pub queue: usize,
    /// Negatives of so many devices, each with a batch of its own; 1 is the batch alone. The paper trains on 4 and does not say whether they share negatives.
    pub devices: usize,
    /// Whether the texts of a step's other parts (`train.accumulate`) are negatives too: what devices that gather them do.
    #[serde(skip_serializing_if = "is_false")]
    pub gather: bool,
    /// Texts of other pairs that are true of the image: `keep` as Eq. 4 is printed, `mask_wording` (the same words) or `mask_meaning` (the same meaning).
    pub false_negatives: FalseNegatives,
}

impl Default for EclipseSpec {
    fn default() -> Self {
        Self {
            lambda: 0.2,
            tau: Tau::Clip,
            direction: Direction::ImageToText,
            reduction: Reduction::Mean,
            projection: ProjectionForm::SquaredError,
            huber_delta: 1.0,
            contrastive: ContrastiveForm::InfoNce,
            siglip_bias: -10.0,
            queue: 0,
            devices: 1,
            gather: false,
            false_negatives: FalseNegatives::Keep,
        }
    }
}

/// Temperature of the contrastive term: a number, or `"clip"` for the frozen CLIP's own 1 / exp(logit_scale).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "toml::Value", into = "toml::Value")]
pub enum Tau {
    /// Whatever the frozen CLIP was trained to.
    Clip,
    /// This number; above 0.
    Value(f64),
}

impl TryFrom<toml::Value> for Tau {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(s) if s == "clip" => Ok(Self::Clip),
            toml::Value::Float(v) => Ok(Self::Value(v)),
            toml::Value::Integer(v) => Ok(Self::Value(v as f64)),
            other => Err(format!("expected a number above 0 or \"clip\", found {other}")),
        }
    }
}

impl From<Tau> for toml::Value {
    fn from(tau: Tau) -> Self {
        match tau {
            Tau::Clip => Self::String("clip".into()),
            Tau::Value(v) => Self::Float(v),
        }
    }
}

/// `kind = "projection"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectionSpec {
    /// How the squared norm of Eq. 3 is reduced.
    pub reduction: Reduction,
}

impl Default for ProjectionSpec {
    fn default() -> Self {
        Self {
            reduction: Reduction::Mean,
        }
    }
}

/// `kind = "diffusion"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionSpec {
    /// Shape of the noise schedule; linear in the paper (appendix A).
    pub beta_schedule: BetaSchedule,
    /// First beta of the linear schedule; the paper gives no range, this is the usual DDPM one.
    pub beta_start: f64,
    /// Last beta of the linear schedule.
    pub beta_end: f64,
    /// Noise levels of training: 1000 in the paper.
    pub train_steps: usize,
    /// Probability that a caption is replaced by the empty one, which guidance needs.
    pub cond_drop: f64,
    /// Train on (z_x - mean) / std, as the 1B priors do.
    pub whiten: bool,
    /// How embeddings are drawn after training.
    pub sampler: SamplerSpec,
}

impl Default for DiffusionSpec {
    fn default() -> Self {
        Self {
            beta_schedule: BetaSchedule::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            train_steps: 1000,
            cond_drop: 0.1,
            whiten: true,
            sampler: SamplerSpec::default(),
        }
    }
}

/// Shapes of the noise schedule, in the spelling of published scheduler files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Betas on a line from `beta_start` to `beta_end`.
    Linear,
    /// The squared-cosine alpha-bar of the 1B priors; ignores `beta_start` and `beta_end`.
    SquaredcosCapV2,
}

/// `[objective.sampler]` of a diffusion prior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplerSpec {
    /// Update rule; DDPM in the paper.
    pub scheduler: SchedulerKind,
    /// Steps of one sample: 25 in the paper.
    pub steps: usize,
    /// Classifier-free guidance on the z_x prediction: 4.0 in the paper; 1 is none.
    pub guidance: f64,
    /// Factor on the noise added in each step (Fig. 5a); 1 is the plain sampler, 0 adds none.
    pub eta: f64,
}

impl Default for SamplerSpec {
    fn default() -> Self {
        Self {
            scheduler: SchedulerKind::Ddpm,
            steps: 25,
            guidance: 4.0,
            eta: 1.0,
        }
    }
}

/// Update rules of a sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerKind {
    /// Ancestral sampling with the leading spacing of timesteps.
    Ddpm,
    /// Deterministic at eta 0.
    Ddim,
    /// Ancestral sampling over timesteps that include the first and the last.
    Unclip,
}

/// `kind = "flow"`: flow matching (Lipman et al. 2023).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowSpec {
    /// What the network predicts: `velocity`, or `sample` (z_x itself, as the Diffusion-Baseline does).
    pub prediction: FlowPrediction,
    /// Probability that a caption is replaced by the empty one, which guidance needs.
    pub cond_drop: f64,
    /// Train on (z_x - mean) / std.
    pub whiten: bool,
    /// How embeddings are drawn after training.
    pub sampler: FlowSamplerSpec,
}

impl Default for FlowSpec {
    fn default() -> Self {
        Self {
            prediction: FlowPrediction::Velocity,
            cond_drop: 0.1,
            whiten: true,
            sampler: FlowSamplerSpec::default(),
        }
    }
}

/// `[objective.sampler]` of a flow-matching prior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowSamplerSpec {
    /// Euler steps of one sample; the Diffusion-Baseline's 25.
    pub steps: usize,
    /// Classifier-free guidance on the prediction; the Diffusion-Baseline's 4. 1 is none.
    pub guidance: f64,
}

impl Default for FlowSamplerSpec {
    fn default() -> Self {
        Self {
            steps: 25,
            guidance: 4.0,
        }
    }
}

/// `kind = "baseline"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BaselineSpec {
    /// Which one.
    pub method: BaselineKind,
    /// Noise on its answers, in standard deviations of the training pairs' z_x by dimension: how a decoder takes embeddings that are off.
    #[serde(skip_serializing_if = "is_zero")]
    pub noise: f64,
}

impl Default for BaselineSpec {
    fn default() -> Self {
        Self {
            method: BaselineKind::TextAsPrior,
            noise: 0.0,
        }
    }
}

/// `[train]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Learning rate over the steps. Its `kind` decides which keys it has.
    pub schedule: ScheduleSpec,
    /// Steps between checkpoints; 0 keeps the last one only (a killed run then starts again).
    pub checkpoint_every: usize,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: usize,
    /// Parts of a step, of `batch_size` pairs each: the gradient is the mean over them. The paper's 4 GPUs with 256 pairs each are 4 parts; on one device
    /// they are computed one after the other.
    #[serde(skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Decay of the moving average of the parameters that is saved in the place of the last ones (0.999 in the 1B priors' scripts); 0 is none, as in the
    /// paper.
    #[serde(skip_serializing_if = "is_zero")]
    pub ema_decay: f64,
    /// Checkpoints that are kept while training, beside the best one where there is a validation.
    #[serde(skip_serializing_if = "is_two")]
    pub keep_checkpoints: usize,
    /// Early stopping: training ends when the validation loss has not reached a new minimum in so many validations, one every `checkpoint_every` steps.
    /// 0 trains to `steps` in any case.
    #[serde(skip_serializing_if = "is_none")]
    pub patience: usize,
}

// Keys that are younger than results that name a configuration by its hash are written only where they say something.

fn is_one(value: &usize) -> bool {
    *value == 1
}

fn is_two(value: &usize) -> bool {
    *value == 2
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_last(value: &ScoredCheckpoint) -> bool {
    *value == ScoredCheckpoint::Last
}

fn is_none(value: &usize) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
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
            schedule: ScheduleSpec::Sgdr(SgdrSpec::default()),
            checkpoint_every: 1000,
            log_every: 50,
            accumulate: 1,
            ema_decay: 0.0,
            keep_checkpoints: 2,
            patience: 0,
        }
    }
}

/// `[train.schedule]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleSpec {
    /// Cosine annealing with warm restarts: the paper's.
    Sgdr(SgdrSpec),
    /// One cycle up and down: the paper's lambda study (appendix B).
    OneCycle(OneCycleSpec),
    /// `lr` throughout.
    Constant(ConstantSpec),
}

impl ScheduleSpec {
    /// The values of `kind`.
    pub const KINDS: &[&str] = &["sgdr", "one_cycle", "constant"];
}

/// `kind = "sgdr"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdrSpec {
    /// Steps of the first cycle; 0 is the whole run (one cosine). The paper does not say.
    pub t_0: usize,
    /// Factor from one cycle's length to the next.
    pub t_mult: usize,
    /// Learning rate at the end of a cycle.
    pub eta_min: f64,
}

impl Default for SgdrSpec {
    fn default() -> Self {
        Self {
            t_0: 0,
            t_mult: 1,
            eta_min: 0.0,
        }
    }
}

/// `kind = "one_cycle"`, with PyTorch's defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OneCycleSpec {
    /// Share of the steps in which the learning rate rises.
    pub pct_start: f64,
    /// `lr` over the first learning rate.
    pub div_factor: f64,
    /// First learning rate over the last one.
    pub final_div_factor: f64,
}

impl Default for OneCycleSpec {
    fn default() -> Self {
        Self {
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
        }
    }
}

/// `kind = "constant"`: no keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConstantSpec {}

/// `[eval]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalSpec {
    /// Test prompts of each split at most; 0 is all of them.
    pub n_prompts: usize,
    /// Noise draws for each prompt (scores are means over them; two or more give the diversity).
    pub n_noise: usize,
    /// Seed of the rendered scenes and of the noise. Apart from `seed`, so that all runs answer the same questions.
    pub seed: u64,
    /// Test prompts of each split, evenly spread over it, whose first prediction is drawn by the decoder and read by the checker. 0: none.
    pub n_pictures: usize,
    /// How many of those pictures, of each split, are kept for the report.
    pub n_shown: usize,
    /// Which of the run's parameters are scored: `last`, or `best`, those at the minimum of the validation loss.
    #[serde(skip_serializing_if = "is_last")]
    pub checkpoint: ScoredCheckpoint,
    /// What the decoder gets of a prediction: `as_predicted`, or scaled to the size of the training pairs' z_x by `true_norm` or `true_spread`.
    pub decoder_input: DecoderInput,
    /// Steps of the decoder.
    pub decoder_steps: usize,
    /// Classifier-free guidance of the decoder; 1 is none.
    pub decoder_guidance: f64,
    /// Level of the noise that a decoder with noise augmentation adds to predictions before it draws them, below 1000; 0 is none.
    #[serde(skip_serializing_if = "is_none")]
    pub decoder_noise_level: usize,
}

impl Default for EvalSpec {
    fn default() -> Self {
        Self {
            n_prompts: 0,
            n_noise: 4,
            seed: 0,
            n_pictures: 0,
            n_shown: 8,
            checkpoint: ScoredCheckpoint::Last,
            decoder_input: DecoderInput::AsPredicted,
            decoder_steps: 4,
            decoder_guidance: 2.0,
            decoder_noise_level: 0,
        }
    }
}

/// Which parameters of a finished training are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoredCheckpoint {
    /// Those after the last step.
    #[default]
    Last,
    /// Those at the minimum of the validation loss.
    Best,
}
