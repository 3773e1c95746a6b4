//! Baselines: reference methods without a network, in the same table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::prior::PriorTraining;
use super::super::session::Failure;
use super::objective::{CheckContext, PriorObjective};
use crate::config::InvalidValue;
use crate::config::check::{non_negative, require};
use crate::eval::baselines::BaselineKind;

/// `kind = "baseline"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Baseline {
    /// The baseline.
    pub method: BaselineKind,
    /// Noise on its predictions, in standard deviations of the training pairs' z_x by dimension: it measures how sensitive a decoder is to errors of
    /// embeddings.
    #[serde(skip_serializing_if = "is_zero")]
    pub noise: f64,
}

// `noise` was added after runs were named by the hash of their configuration: it is written only if it is set.
fn is_zero(noise: &f64) -> bool {
    *noise == 0.0
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            method: BaselineKind::TextAsPrior,
            noise: 0.0,
        }
    }
}

impl PriorObjective for Baseline {
    fn label(&self) -> String {
        self.method.name().into()
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<(), InvalidValue> {
        require(
            "objective.kind",
            !context.has_store,
            "an objective to train with, because data.store is set: baselines are for worlds",
            "baseline",
        )?;
        non_negative("objective.noise", self.noise)
    }

    fn train(&self, _: PriorTraining<'_>) -> Result<(), Failure> {
        Err("a baseline has no prior to train".into())
    }
}
