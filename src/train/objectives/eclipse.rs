//! ECLIPSE: Eq. 5, the projection loss plus lambda times the CLIP contrastive loss, on a prior without time conditioning.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::super::micro_batches::{Batch, MicroBatches, Values, WorkerShard};
use super::super::negatives::{FalseNegatives, NegativeOptions, Place};
use super::super::prior::step_layout::{StepLayout, rows};
use super::super::prior::{ClipTemperature, PriorTraining, mean_cosine};
use super::super::row_wise::RowWise;
use super::super::session::Failure;
use super::super::trainer::{Criterion, Trainer};
use super::objective::{CheckContext, PriorObjective};
use crate::config::InvalidValue;
use crate::config::check::{Bound, at_least, at_most, bounded, non_negative, positive, require};
use crate::data::examples::Examples;
use crate::limits;
use crate::models::prior::{Prior, TextCondition};
use crate::nn::narrow;
use crate::noise::{Noise, Stream};
use crate::objective::contrastive::{ContrastiveForm, Negatives, info_nce, siglip};
use crate::objective::eclipse::{Direction, EclipseLoss, Reduction, eclipse, projection};
use crate::objective::projection::{ProjectionForm, cosine, huber};

/// `kind = "eclipse"`. The defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Eclipse {
    /// Weight of the contrastive term: 0.2 in the paper, section 3.3. 0 is Projection.
    pub lambda: f64,
    /// Temperature of Eq. 4, which the paper does not state.
    pub tau: Tau,
    /// The side over which the softmax of Eq. 4 is taken.
    pub direction: Direction,
    /// How the squared norm of Eq. 3 is reduced over d_clip (the cosine form has no such reduction).
    pub reduction: Reduction,
    /// Form of the first term: `squared_error` in the paper; `huber` or `cosine`.
    pub projection: ProjectionForm,
    /// The residual at which `huber` changes from quadratic to linear, in units of z_x.
    pub huber_delta: f64,
    /// Form of the second term: `info_nce` in the paper; `siglip`, a binary classification of each image and text (Zhai et al. 2023).
    pub contrastive: ContrastiveForm,
    /// Bias of `siglip`: -10 is its authors' initial value.
    pub siglip_bias: f64,
    /// Texts of this many pairs before the batch are additional negatives; 0 in the paper.
    pub queue: usize,
    /// Number of devices that share negatives, each with its own batch; 1 is the batch alone. The paper trains on 4 and does not say whether they share.
    pub devices: usize,
    /// Whether the texts of a step's other micro-batches (`train.accumulate`) are negatives, as on devices that gather their texts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gather: bool,
    /// Texts of other pairs that are true of the image: `keep` as Eq. 4 is printed, `mask_wording` (the same words) or `mask_meaning` (the same meaning).
    pub false_negatives: FalseNegatives,
}

impl Default for Eclipse {
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
    /// The temperature of the frozen CLIP.
    Clip,
    /// A number above 0.
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

impl Tau {
    /// The range of a number.
    const RANGE: Bound = Bound::Above(0.0);
}

impl JsonSchema for Tau {
    fn schema_name() -> Cow<'static, str> {
        "Tau".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (keyword, bound) = Self::RANGE.keyword();
        json_schema!({ "anyOf": [{ "const": "clip" }, { "type": "number", keyword: bound }] })
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

impl Eclipse {
    /// The criterion at the temperature `tau`.
    pub fn criterion(self, tau: f64) -> EclipseCriterion {
        EclipseCriterion { eclipse: self, tau }
    }

    /// Which texts are negatives.
    pub fn negatives(&self) -> NegativeOptions {
        NegativeOptions {
            queue: self.queue,
            gather: self.gather,
            devices: self.devices,
            false_negatives: self.false_negatives,
        }
    }

    fn tau(&self, clip: ClipTemperature<'_>) -> Result<f64, Failure> {
        match self.tau {
            Tau::Value(tau) => Ok(tau),
            Tau::Clip => clip.tau.ok_or_else(|| {
                let clip = clip.clip;
                format!("`objective.tau` is \"clip\", but {clip} has no logit_scale; give a number").into()
            }),
        }
    }
}

impl PriorObjective for Eclipse {
    fn label(&self) -> String {
        format!("eclipse (Eq. 5, lambda {})", self.lambda)
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<(), InvalidValue> {
        let (batch, n_pairs) = (context.train.batch_size, context.n_pairs);
        at_most("objective.queue", limits::MAX_BATCH, self.queue)?;
        at_most("objective.devices", limits::MAX_REPEATS, self.devices)?;
        require(
            "objective.false_negatives",
            !context.has_store || self.false_negatives != FalseNegatives::MaskMeaning,
            "keep or mask_wording, because data.store is set: what captions mean is known of worlds only",
            "mask_meaning",
        )?;
        non_negative("objective.lambda", self.lambda)?;
        if let Tau::Value(tau) = self.tau {
            bounded(
                "objective.tau",
                &[Tau::RANGE],
                "a number above 0 or \"clip\"",
                tau,
            )?;
        }
        positive("objective.huber_delta", self.huber_delta)?;
        require(
            "objective.siglip_bias",
            self.siglip_bias.is_finite(),
            "a finite number",
            self.siglip_bias,
        )?;
        require(
            "objective.reduction",
            self.projection != ProjectionForm::Cosine || self.reduction == Reduction::Mean,
            "mean, because projection is cosine, which has no sum over d_clip",
            "sum",
        )?;
        let direction = match self.direction {
            Direction::ImageToText => "image_to_text",
            Direction::TextToImage => "text_to_image",
            Direction::Symmetric => "symmetric",
        };
        require(
            "objective.direction",
            self.contrastive != ContrastiveForm::Siglip || self.direction == Direction::ImageToText,
            "the default, because contrastive is siglip, which has no direction",
            direction,
        )?;
        at_least("objective.devices", 1, self.devices)?;
        let parts = context.train.accumulate + self.devices - 1;
        require(
            "objective.devices",
            self.devices == 1 || batch.saturating_mul(parts) <= n_pairs,
            format!(
                "at most data.n_pairs / train.batch_size ({n_pairs} / {batch}) beside the parts of a step: each has pairs of its own"
            ),
            self.devices,
        )?;
        require(
            "objective.queue",
            self.queue <= n_pairs,
            format!("a whole number from 0 to data.n_pairs ({n_pairs})"),
            self.queue,
        )?;
        require(
            "objective.gather",
            !self.gather || context.train.accumulate > 1,
            "false, because train.accumulate is 1: a step has no other parts",
            self.gather,
        )?;
        require(
            "objective.direction",
            self.direction != Direction::TextToImage
                || (self.queue == 0 && self.devices == 1 && !self.gather),
            "image_to_text or symmetric, because queue, gather and devices add texts",
            direction,
        )?;
        require(
            "train.batch_size",
            self.lambda == 0.0 || batch >= 2,
            "2 or above (Eq. 4 takes its negatives from the batch)",
            batch,
        )
    }

    fn check_clip(&self, clip: ClipTemperature<'_>) -> Result<(), Failure> {
        self.tau(clip).map(drop)
    }

    fn train(&self, training: PriorTraining<'_>) -> Result<(), Failure> {
        let tau = self.tau(training.data.temperature())?;
        let config = training.config.clone();
        let seed = training.seed;
        let device = training.autodiff_device();
        let prior = training.initialised(Prior::init(&config, &device));
        let batches = eclipse_batches(
            training.data.train.clone(),
            training.layout.clone(),
            seed,
            self.negatives(),
        );
        let validation = training
            .validation(|data, layout, seed| eclipse_batches(data, layout, seed, NegativeOptions::default()));
        let trainer = Trainer::new(prior, self.clone().criterion(tau), training.update, || {
            Prior::init(&config, &device)
        });
        training.fit(trainer, batches, validation, |prior, dir| {
            Ok(prior.save(&config, dir)?)
        })
    }
}

/// Eq. 5 with a known temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct EclipseCriterion {
    /// Weights and forms of the terms.
    pub eclipse: Eclipse,
    /// Temperature of Eq. 4.
    pub tau: f64,
}

/// A prior without time conditioning, in training.
pub type EclipseTrainer = Trainer<Prior, EclipseCriterion>;

impl EclipseTrainer {
    /// Predictions `[batch, d_clip]` and the terms of Eq. 5, of the network in training.
    pub fn loss(&self, batch: EclipseBatch) -> (Tensor<2>, EclipseLoss) {
        self.criterion().loss(self.network(), batch)
    }
}

/// A micro-batch of a step.
#[derive(Debug, Clone)]
pub struct EclipseBatch {
    /// Noise input, `[batch, d_clip]`, drawn anew in every step.
    pub eps: Tensor<2>,
    /// Targets, `[batch, d_clip]`.
    pub z_x: Tensor<2>,
    /// Captions.
    pub text: TextCondition,
    /// Negatives beyond the batch's own.
    pub negatives: Negatives,
}

impl EclipseCriterion {
    /// Predictions `[batch, d_clip]` and the terms of Eq. 5.
    pub fn loss(&self, prior: &Prior, batch: EclipseBatch) -> (Tensor<2>, EclipseLoss) {
        let z_x_hat = self.predict(prior, batch.clone());
        let loss = self.terms(z_x_hat.clone(), &batch);
        (z_x_hat, loss)
    }

    /// The terms of Eq. 5 of predictions `[batch, d_clip]`.
    fn terms(&self, z_x_hat: Tensor<2>, batch: &EclipseBatch) -> EclipseLoss {
        let Eclipse {
            lambda, reduction, ..
        } = self.eclipse;
        let (x, target) = (z_x_hat.clone(), batch.z_x.clone());
        let d_clip = match reduction {
            Reduction::Mean => 1.0,
            Reduction::Sum => target.dims()[1] as f64,
        };
        let first = match self.eclipse.projection {
            ProjectionForm::SquaredError => projection(x, target, reduction),
            ProjectionForm::Huber => huber(x, target, self.eclipse.huber_delta).mul_scalar(d_clip),
            ProjectionForm::Cosine => cosine(x, target),
        };
        let (x, z_y) = (z_x_hat, batch.text.z_y.clone());
        eclipse(first, lambda, || match self.eclipse.contrastive {
            ContrastiveForm::InfoNce => info_nce(x, z_y, self.tau, self.eclipse.direction, &batch.negatives),
            ContrastiveForm::Siglip => siglip(x, z_y, self.tau, self.eclipse.siglip_bias, &batch.negatives),
        })
    }
}

impl Batch for EclipseBatch {
    fn device(&self) -> Device {
        self.z_x.device()
    }

    fn n_examples(&self) -> usize {
        self.z_x.dims()[0]
    }
}

impl Criterion<Prior> for EclipseCriterion {
    type Batch = EclipseBatch;

    fn values(&self, prior: &Prior, batch: EclipseBatch) -> Values {
        RowWise::values(self, self.predict(prior, batch.clone()), batch)
    }

    fn row_wise(&self) -> Option<&dyn RowWise<Prior, EclipseBatch>> {
        Some(self)
    }
}

impl RowWise<Prior, EclipseBatch> for EclipseCriterion {
    fn n_tokens(&self, batch: &EclipseBatch) -> usize {
        batch.text.tokens.dims()[1]
    }

    fn rows(&self, batch: &EclipseBatch, rows: Range<usize>) -> EclipseBatch {
        EclipseBatch {
            eps: narrow(&batch.eps, &rows),
            z_x: narrow(&batch.z_x, &rows),
            text: batch.text.narrow(rows),
            negatives: Negatives::default(),
        }
    }

    fn predict(&self, prior: &Prior, batch: EclipseBatch) -> Tensor<2> {
        prior.forward(batch.eps, batch.text)
    }

    fn values(&self, z_x_hat: Tensor<2>, batch: EclipseBatch) -> Values {
        let loss = self.terms(z_x_hat.clone(), &batch);
        let mut values = vec![("loss", loss.total), ("loss/projection", loss.projection.clone())];
        if let Some(contrastive) = loss.contrastive {
            let ratio = contrastive.clone().mul_scalar(self.eclipse.lambda) / loss.projection;
            values.extend([
                ("loss/contrastive", contrastive),
                ("lambda_contrastive/projection", ratio),
            ]);
        }
        let z_x_hat = z_x_hat.detach();
        values.push(("cos/z_x", mean_cosine(z_x_hat.clone(), batch.z_x)));
        values.push(("cos/z_y", mean_cosine(z_x_hat, batch.text.z_y)));
        values
    }
}

/// Batches of Eq. 5.
pub fn eclipse_batches(
    data: Arc<dyn Examples>,
    layout: StepLayout,
    seed: u64,
    negatives: NegativeOptions,
) -> impl Fn(usize, WorkerShard, &Device) -> MicroBatches<EclipseBatch> + Send + Sync + 'static {
    move |step, shard, home| {
        let (n, d) = (layout.n(), data.d_clip());
        let examples = data.of_step(n, seed, step);
        let eps = Noise::of(seed, Stream::StepNoise(step as u64)).normal_vec(n * d);
        layout.micro_batches(step, shard, home, |j, device| {
            let own = layout.of(&examples, j, 1);
            let place = Place {
                data: data.as_ref(),
                all: &examples,
                part: j * layout.batch_size..(j + 1) * layout.batch_size,
                seed,
                step,
            };
            EclipseBatch {
                eps: rows(layout.of(&eps, j, d), d, device),
                z_x: data.z_x(own, device),
                negatives: negatives.of_part(&place, device),
                text: data.text(&own.iter().copied().map(Some).collect::<Vec<_>>(), device),
            }
        })
    }
}
