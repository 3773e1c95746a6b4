//! Flow matching on the straight path (Lipman et al. 2023, "Flow matching for generative modeling"; Liu et al. 2023, rectified flow).
//!
//! `x = (1 - sigma) x0 + sigma eps` for sigma from 0, the clean sample, to 1, noise. Along it the velocity is `v = dx/dsigma = eps - x0`; sampling follows the
//! predicted one from sigma 1 to 0 in Euler steps. Sign and time are those of diffusers' `FlowMatchEulerDiscreteScheduler`, whose configuration is
//! the one written here.

use std::path::Path;

use burn::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::DiffusionError;
use crate::config::{Keys, read_json};

/// What the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlowPrediction {
    /// `eps - x0`, as diffusers expects.
    #[default]
    Velocity,
    /// The clean sample `x0`, as the paper's Diffusion-Baseline does; the velocity is then `(x - x0) / sigma`.
    Sample,
}

/// The configuration of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowConfig {
    /// What the network predicts.
    pub prediction: FlowPrediction,
    /// The network reads sigma as the timestep `n_train * sigma`: 1000.
    pub n_train: usize,
}

/// Keys that change what is computed, and are not supported.
const SWITCHES: [&str; 6] = [
    "use_dynamic_shifting",
    "invert_sigmas",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "stochastic_sampling",
];
/// Keys that have no effect while [`SWITCHES`] are off.
const OF_SWITCHES: [&str; 5] = [
    "base_shift",
    "max_shift",
    "base_image_seq_len",
    "max_image_seq_len",
    "time_shift_type",
];

impl FlowConfig {
    /// The class in `scheduler_config.json`.
    pub const CLASS: &'static str = "FlowMatchEulerDiscreteScheduler";

    /// A flow of 1000 timesteps.
    pub fn new(prediction: FlowPrediction) -> Self {
        Self {
            prediction,
            n_train: 1000,
        }
    }

    /// The timestep that stands for `sigma`.
    pub fn timestep(&self, sigma: f64) -> f64 {
        sigma * self.n_train as f64
    }

    /// The sigmas of `n_steps` equal steps, from 1 to 0 with both ends: `n_steps + 1` of them.
    ///
    /// # Errors
    /// [`DiffusionError::Steps`] for 0 steps.
    pub fn sigmas(n_steps: usize) -> Result<Vec<f64>, DiffusionError> {
        if n_steps == 0 {
            let reason = "a flow takes 1 step or more".to_string();
            return Err(DiffusionError::Steps { n_steps, reason });
        }
        Ok((0..=n_steps)
            .map(|i| (n_steps - i) as f64 / n_steps as f64)
            .collect())
    }

    /// Reads `scheduler_config.json` in `folder`; `None` if it is of another class, or says none.
    ///
    /// # Errors
    /// [`DiffusionError`] naming file and key: no file, no JSON, a key that is unknown, a value that this code does not compute.
    pub fn read_if_flow(folder: &Path) -> Result<Option<Self>, DiffusionError> {
        let path = folder.join("scheduler_config.json");
        let value: Value = read_json(&path)?;
        match value.get("_class_name").and_then(Value::as_str) {
            Some(Self::CLASS) => Self::from_json(&value, &path).map(Some),
            _ => Ok(None),
        }
    }

    /// Checks a configuration that is already parsed; `path` is for messages.
    ///
    /// # Errors
    /// Like [`FlowConfig::read_if_flow`].
    pub fn from_json(value: &Value, path: &Path) -> Result<Self, DiffusionError> {
        let keys = Keys::new(value, path.display())?;
        keys.choice("_class_name", None, &[(Self::CLASS, ())])?;
        let n_train = keys.or("num_train_timesteps", 1000)?;
        keys.require("num_train_timesteps", n_train > 0, "a whole number, 1 or above")?;
        let predictions = [
            ("velocity", FlowPrediction::Velocity),
            ("sample", FlowPrediction::Sample),
        ];
        let prediction = keys.choice("prediction_type", Some(FlowPrediction::Velocity), &predictions)?;
        let shift: f64 = keys.or("shift", 1.0)?;
        keys.require("shift", shift == 1.0, "1 (shifted timesteps are not supported)")?;
        let terminal: Option<Value> = keys.get("shift_terminal")?;
        keys.require("shift_terminal", terminal.is_none(), "null")?;
        for key in SWITCHES {
            let on: Option<bool> = keys.get(key)?;
            keys.require(key, on != Some(true), "false")?;
        }
        keys.warn_unread(Self::CLASS, &OF_SWITCHES);
        Ok(Self { prediction, n_train })
    }

    /// The configuration in the published form. `prediction_type` is a key of ours, and written only for [`FlowPrediction::Sample`], which diffusers'
    /// scheduler does not have.
    pub fn to_json(&self) -> Value {
        let mut map = json!({
            "_class_name": Self::CLASS,
            "num_train_timesteps": self.n_train,
            "shift": 1.0,
        });
        if self.prediction == FlowPrediction::Sample {
            map["prediction_type"] = "sample".into();
        }
        map
    }
}

/// The sample at `sigma`, `(1 - sigma) x0 + sigma eps`; `sigma` has 1 in place of all axes but the batch's.
pub fn noised<const D: usize>(x0: Tensor<D>, eps: Tensor<D>, sigma: Tensor<D>) -> Tensor<D> {
    x0 * sigma.clone().neg().add_scalar(1.0) + eps * sigma
}

/// Follows the flow from `noise` at sigma 1 to a clean sample, in `n_steps` equal Euler steps. `predict(x, t)` is the network; `on_step(x)` sees the sample
/// after each step.
///
/// # Errors
/// [`DiffusionError::Steps`] for 0 steps.
pub fn sample_flow<const D: usize>(
    config: &FlowConfig,
    noise: Tensor<D>,
    n_steps: usize,
    mut predict: impl FnMut(Tensor<D>, f64) -> Tensor<D>,
    mut on_step: impl FnMut(&Tensor<D>),
) -> Result<Tensor<D>, DiffusionError> {
    let sigmas = FlowConfig::sigmas(n_steps)?;
    let mut x = noise;
    for pair in sigmas.windows(2) {
        let (sigma, next) = (pair[0], pair[1]);
        let predicted = predict(x.clone(), config.timestep(sigma));
        let velocity = match config.prediction {
            FlowPrediction::Velocity => predicted,
            FlowPrediction::Sample => (x.clone() - predicted).div_scalar(sigma),
        };
        x = x + velocity.mul_scalar(next - sigma);
        on_step(&x);
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// The velocity of one straight path is constant: any number of steps arrives, whatever the network predicts.
        #[test]
        fn a_network_that_knows_the_answer_is_followed(seed in 0u64..100, n_steps in 1usize..40) {
            let device = Device::flex();
            let mut noise = Noise::new(seed);
            let [x0, eps]: [Tensor<2>; 2] = std::array::from_fn(|_| noise.normal([2, 5], &device));
            for prediction in [FlowPrediction::Velocity, FlowPrediction::Sample] {
                let config = FlowConfig::new(prediction);
                let mut seen = Vec::new();
                let out = sample_flow(&config, eps.clone(), n_steps, |x, t| {
                    let sigma = Tensor::full([2, 1], t / 1000.0, &device);
                    let on_path = (x - noised(x0.clone(), eps.clone(), sigma)).abs().max().into_scalar::<f32>();
                    assert!(on_path < 1e-4, "{on_path} beside the path at {t}");
                    seen.push(t);
                    match prediction {
                        FlowPrediction::Velocity => eps.clone() - x0.clone(),
                        FlowPrediction::Sample => x0.clone(),
                    }
                }, |_| {}).expect("samples");
                let far = (out - x0.clone()).abs().max().into_scalar::<f32>();
                prop_assert!(far < 1e-4, "{prediction:?}: {far}");
                prop_assert_eq!(seen.len(), n_steps);
                prop_assert_eq!(seen[0], 1000.0);
            }
        }
    }

    #[test]
    fn configurations_go_round_and_others_are_refused() {
        let path = Path::new("x/scheduler_config.json");
        for prediction in [FlowPrediction::Velocity, FlowPrediction::Sample] {
            let config = FlowConfig::new(prediction);
            assert_eq!(
                FlowConfig::from_json(&config.to_json(), path).expect("ours"),
                config
            );
        }
        // What diffusers writes for the class's defaults.
        let published = json!({
            "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.35.0", "base_image_seq_len": 256, "base_shift": 0.5,
            "invert_sigmas": false, "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 1.0, "shift_terminal": null,
            "stochastic_sampling": false, "time_shift_type": "exponential", "use_beta_sigmas": false, "use_dynamic_shifting": false,
            "use_exponential_sigmas": false, "use_karras_sigmas": false,
        });
        let read = FlowConfig::from_json(&published, path).expect("the defaults");
        assert_eq!(read, FlowConfig::new(FlowPrediction::Velocity));
        let refused = |key: &str, value: Value| {
            let mut changed = published.clone();
            changed[key] = value;
            FlowConfig::from_json(&changed, path).expect_err(key).to_string()
        };
        let answers = [
            refused("shift", 3.0.into()),
            refused("use_dynamic_shifting", true.into()),
            refused("num_train_timesteps", 0.into()),
            refused("prediction_type", "epsilon".into()),
        ];
        insta::assert_snapshot!(answers.join("\n"), @r#"
        x/scheduler_config.json: shift: expected 1 (shifted timesteps are not supported), found 3.0
        x/scheduler_config.json: use_dynamic_shifting: expected false, found true
        x/scheduler_config.json: num_train_timesteps: expected a whole number, 1 or above, found 0
        x/scheduler_config.json: prediction_type: expected velocity or sample, found "epsilon"
        "#);
        assert!(FlowConfig::sigmas(0).is_err());
        assert_eq!(FlowConfig::sigmas(4).expect("four"), [1.0, 0.75, 0.5, 0.25, 0.0]);
    }
}
