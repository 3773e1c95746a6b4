//! Flow matching (Lipman et al. 2023): a time-conditioned prior on a straight path from noise to z_x, sampled with Euler steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::prior::PriorTraining;
use super::super::session::Failure;
use super::objective::{CheckContext, PriorObjective};
use super::time_conditioned::{self, NoisePath, check_guidance};
use crate::config::InvalidValue;
use crate::config::check::{at_least, at_most};
use crate::diffusion::{FlowConfig, FlowPrediction};
use crate::generate::prior::PriorSettings;
use crate::limits;

/// `kind = "flow"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flow {
    /// The network's target: `velocity`, or `sample` (z_x itself, as in the Diffusion-Baseline).
    pub prediction: FlowPrediction,
    /// Probability that a caption is replaced by the empty caption, as guidance requires.
    pub cond_drop: f64,
    /// Train on (z_x - mean) / std.
    pub whiten: bool,
    /// The sampler.
    pub sampler: FlowSampler,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            prediction: FlowPrediction::Velocity,
            cond_drop: 0.1,
            whiten: true,
            sampler: FlowSampler::default(),
        }
    }
}

/// `[objective.sampler]` of a flow-matching prior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FlowSampler {
    /// Euler steps of one sample; 25 as in the Diffusion-Baseline.
    pub steps: usize,
    /// Classifier-free guidance on the prediction; 4 as in the Diffusion-Baseline. 1 is none.
    pub guidance: f64,
}

impl Default for FlowSampler {
    fn default() -> Self {
        Self {
            steps: 25,
            guidance: 4.0,
        }
    }
}

impl PriorObjective for Flow {
    fn label(&self) -> String {
        "flow matching".into()
    }

    fn check(&self, _: &CheckContext<'_>) -> Result<(), InvalidValue> {
        at_most("objective.sampler.steps", limits::MAX_STEPS, self.sampler.steps)?;
        at_least("objective.sampler.steps", 1, self.sampler.steps)?;
        check_guidance(self.cond_drop, self.sampler.guidance)
    }

    fn sampler(&self) -> PriorSettings {
        PriorSettings {
            n_steps: self.sampler.steps,
            guidance: self.sampler.guidance,
            eta: 0.0,
        }
    }

    fn reset_sampler(&mut self) {
        self.sampler = FlowSampler::default();
    }

    fn train(&self, training: PriorTraining<'_>) -> Result<(), Failure> {
        let flow = FlowConfig::new(self.prediction);
        let path = NoisePath::Flow(flow);
        time_conditioned::train(training, path, self.cond_drop, self.whiten, &flow.to_json())
    }
}
