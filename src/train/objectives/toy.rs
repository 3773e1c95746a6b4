//! Mean absolute error, on a prior without time: the example of CONTRIBUTING.md.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::eclipse::{EclipseBatch, eclipse_batches};
use super::objective::{CheckContext, PriorObjective};
use crate::config::InvalidValue;
use crate::config::check::positive;
use crate::models::prior::Prior;
use crate::train::micro_batches::Values;
use crate::train::negatives::NegativeOptions;
use crate::train::prior::PriorTraining;
use crate::train::session::Failure;
use crate::train::trainer::{Criterion, Trainer};

/// `kind = "toy"`: its keys and their defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Toy {
    /// Factor on the loss.
    pub scale: f64,
}

impl Default for Toy {
    fn default() -> Self {
        Self { scale: 1.0 }
    }
}

/// The loss on a batch.
impl Criterion<Prior> for Toy {
    type Batch = EclipseBatch;

    fn values(&self, prior: &Prior, batch: EclipseBatch) -> Values {
        let z_x_hat = prior.forward(batch.eps, batch.text);
        let loss = (z_x_hat - batch.z_x).abs().mean().mul_scalar(self.scale);
        vec![("loss", loss)]
    }
}

/// Label, checks and training.
impl PriorObjective for Toy {
    fn label(&self) -> String {
        format!("toy (mean absolute error times {})", self.scale)
    }

    fn check(&self, _: &CheckContext<'_>) -> Result<(), InvalidValue> {
        positive("objective.scale", self.scale)
    }

    fn train(&self, training: PriorTraining<'_>) -> Result<(), Failure> {
        let (config, device) = (training.config.clone(), training.autodiff_device());
        let prior = training.initialised(Prior::init(&config, &device));
        let batches = |data, layout, seed| eclipse_batches(data, layout, seed, NegativeOptions::default());
        let of_step = batches(
            training.data.train.clone(),
            training.layout.clone(),
            training.seed,
        );
        let validation = training.validation(batches);
        let blank = || Prior::init(&config, &device);
        let trainer = Trainer::new(prior, self.clone(), training.update, blank);
        training.fit(trainer, of_step, validation, |prior, dir| {
            Ok(prior.save(&config, dir)?)
        })
    }
}
