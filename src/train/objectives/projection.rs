//! Projection: Eq. 3 alone, the paper's ablation without the contrastive term.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::prior::PriorTraining;
use super::super::session::Failure;
use super::eclipse::{Eclipse, Tau};
use super::objective::PriorObjective;
use crate::objective::eclipse::Reduction;

/// `kind = "projection"`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Projection {
    /// How the squared norm of Eq. 3 is reduced.
    pub reduction: Reduction,
}

impl PriorObjective for Projection {
    fn label(&self) -> String {
        "projection (Eq. 3)".into()
    }

    fn train(&self, training: PriorTraining<'_>) -> Result<(), Failure> {
        let eclipse = Eclipse {
            lambda: 0.0,
            tau: Tau::Value(1.0), // Unused, because lambda is 0.
            reduction: self.reduction,
            ..Eclipse::default()
        };
        eclipse.train(training)
    }
}
