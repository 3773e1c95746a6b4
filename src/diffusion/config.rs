//! `scheduler_config.json`, the published form of a scheduler: read, checked key by key, and written back.

use std::path::Path;

use serde_json::{Value, json};

use super::{BetaSchedule, BetaShape, DiffusionError, Spacing};
use crate::config::{ConfigError, Keys, read_json};

/// Classes of diffusers' schedulers.
const UNCLIP: &str = "UnCLIPScheduler";
const DDPM: &str = "DDPMScheduler";
const DDIM: &str = "DDIMScheduler";

/// What the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// The noise in `x_t`.
    Epsilon,
    /// The clean sample `x0`.
    Sample,
}

/// The variance of the noise that an ancestral step adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variance {
    /// The posterior variance, clamped at 1e-20.
    FixedSmall,
    /// The same by way of its logarithm.
    FixedSmallLog,
    /// Between the posterior variance and beta, as the second half of the network's output says (Nichol and Dhariwal 2021, Eq. 15).
    LearnedRange,
}

/// What is done to a predicted `x0` before it is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Nothing.
    None,
    /// Clamped to `-range ..= range`.
    Clip {
        /// The bound.
        range: f64,
    },
    /// Dynamic thresholding (Saharia et al. 2022, section 2.3).
    Threshold {
        /// Quantile of the absolute values of one sample.
        ratio: f64,
        /// Upper bound of the quantile; the lower one is 1.
        max: f64,
    },
}

/// The class of a scheduler and what only that class has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SchedulerKind {
    /// `UnCLIPScheduler`: Karlo, and the priors of Kandinsky 2.1 and 2.2.
    UnClip {
        /// Variance of the added noise.
        variance: Variance,
    },
    /// `DDPMScheduler`: Kandinsky 2.2's decoder, the paper's Diffusion-Baseline.
    Ddpm {
        /// Variance of the added noise.
        variance: Variance,
    },
    /// `DDIMScheduler`.
    Ddim {
        /// The step after the last visited timestep goes to alpha-bar 1 (true) or to alpha-bar of t = 0 (false).
        set_alpha_to_one: bool,
    },
}

/// A sampler by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// `UnCLIPScheduler`.
    UnClip,
    /// `DDPMScheduler`.
    Ddpm,
    /// `DDIMScheduler`.
    Ddim,
}

impl std::str::FromStr for Sampler {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "unclip" => Ok(Self::UnClip),
            "ddpm" => Ok(Self::Ddpm),
            "ddim" => Ok(Self::Ddim),
            _ => Err(format!("expected unclip, ddpm or ddim, found {name}")),
        }
    }
}

/// Everything a scheduler is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SchedulerConfig {
    /// The class.
    pub kind: SchedulerKind,
    /// Train timesteps.
    pub n_train: usize,
    /// The noise schedule.
    pub betas: BetaSchedule,
    /// What the network predicts.
    pub prediction: Prediction,
    /// What is done to the predicted `x0`.
    pub limit: Limit,
    /// Which timesteps are visited.
    pub spacing: Spacing,
}

impl SchedulerConfig {
    /// Karlo's and Kandinsky's diffusion priors: squared cosine, `x0` predicted and clipped to `range` (5 in Karlo's published
    /// `prior_scheduler`, 10 in Kandinsky 2.2's).
    pub fn unclip_prior(range: f64) -> Self {
        Self {
            kind: SchedulerKind::UnClip {
                variance: Variance::FixedSmallLog,
            },
            n_train: 1000,
            betas: BetaSchedule::SquaredCos,
            prediction: Prediction::Sample,
            limit: Limit::Clip { range },
            spacing: Spacing::UnClip,
        }
    }

    /// The paper's Diffusion-Baseline (section 4.1): a linear schedule of 1000 steps, `x0` predicted, sampled by DDPM. The paper gives no beta
    /// range (diffusers' default stands in) and no clipping of `x0` (none: raw CLIP embeddings have outlier channels).
    pub fn diffusion_baseline() -> Self {
        Self {
            kind: SchedulerKind::Ddpm {
                variance: Variance::FixedSmall,
            },
            n_train: 1000,
            betas: BetaSchedule::Linear {
                start: 1e-4,
                end: 0.02,
            },
            prediction: Prediction::Sample,
            limit: Limit::None,
            spacing: Spacing::Leading { offset: 0 },
        }
    }

    /// The same schedule, prediction and limit under another sampler. What the configuration does not say is what diffusers' `from_config` would
    /// fill in: leading spacing, DDIM's last step to alpha-bar 1, a fixed variance unless it is learned.
    pub fn sampled_by(self, sampler: Sampler) -> Self {
        let learned = match self.kind {
            SchedulerKind::UnClip { variance } | SchedulerKind::Ddpm { variance } => {
                variance == Variance::LearnedRange
            }
            SchedulerKind::Ddim { .. } => false,
        };
        let variance = |fixed| if learned { Variance::LearnedRange } else { fixed };
        let spacing = match self.spacing {
            Spacing::UnClip => Spacing::Leading { offset: 0 },
            other => other,
        };
        match (sampler, self.kind) {
            (Sampler::UnClip, SchedulerKind::UnClip { .. })
            | (Sampler::Ddpm, SchedulerKind::Ddpm { .. })
            | (Sampler::Ddim, SchedulerKind::Ddim { .. }) => self,
            (Sampler::UnClip, _) => Self {
                kind: SchedulerKind::UnClip {
                    variance: variance(Variance::FixedSmallLog),
                },
                spacing: Spacing::UnClip,
                ..self
            },
            (Sampler::Ddpm, _) => Self {
                kind: SchedulerKind::Ddpm {
                    variance: variance(Variance::FixedSmall),
                },
                spacing,
                ..self
            },
            (Sampler::Ddim, _) => Self {
                kind: SchedulerKind::Ddim {
                    set_alpha_to_one: true,
                },
                spacing,
                ..self
            },
        }
    }

    /// Reads `scheduler_config.json`, or the file of that name in the folder `path`.
    ///
    /// # Errors
    /// [`DiffusionError`] that names the file and the key: a missing file, no JSON, an unknown class, prediction type, variance type, spacing or
    /// beta schedule, a value of the wrong type.
    ///
    /// Keys that the class does not have are ignored, as diffusers ignores them: its `from_config` leaves those of a compatible class in the file. A key
    /// that no scheduler has is told in a warning. Keys named in `_use_default_values` get the default of the class that is read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DiffusionError> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            path.push("scheduler_config.json");
        }
        Self::from_json(&read_json(&path)?, &path)
    }

    /// Checks a configuration that is already parsed; `path` is for messages.
    ///
    /// # Errors
    /// Like [`SchedulerConfig::read`].
    pub fn from_json(value: &Value, path: &Path) -> Result<Self, DiffusionError> {
        let mut value = value.clone();
        if let Some(map) = value.as_object_mut()
            && let Some(Value::Array(defaulted)) = map.get("_use_default_values").cloned()
        {
            map.retain(|key, _| !defaulted.iter().any(|name| name == key));
        }
        let keys = Keys::new(&value, path.display())?;
        let classes = [UNCLIP, DDPM, DDIM].map(|class| (class, class));
        let class = keys.choice("_class_name", None, &classes)?;
        let config = match class {
            UNCLIP => {
                let variances = [
                    ("fixed_small_log", Variance::FixedSmallLog),
                    ("learned_range", Variance::LearnedRange),
                ];
                let variance = keys.choice("variance_type", Some(Variance::FixedSmallLog), &variances)?;
                keys.choice("beta_schedule", Some(()), &[("squaredcos_cap_v2", ())])?;
                Self {
                    kind: SchedulerKind::UnClip { variance },
                    n_train: n_train(&keys)?,
                    betas: BetaSchedule::SquaredCos,
                    prediction: prediction(&keys)?,
                    limit: clip(&keys)?,
                    spacing: Spacing::UnClip,
                }
            }
            DDPM => {
                let variances = [
                    ("fixed_small", Variance::FixedSmall),
                    ("fixed_small_log", Variance::FixedSmallLog),
                    ("learned_range", Variance::LearnedRange),
                ];
                let variance = keys.choice("variance_type", Some(Variance::FixedSmall), &variances)?;
                gaussian(&keys, SchedulerKind::Ddpm { variance })?
            }
            _ => {
                let set_alpha_to_one = keys.or("set_alpha_to_one", true)?;
                gaussian(&keys, SchedulerKind::Ddim { set_alpha_to_one })?
            }
        };
        keys.warn_unread(class, &OF_OTHERS);
        Ok(config)
    }

    /// The configuration in the published form, ready for `scheduler_config.json`.
    pub fn to_json(&self) -> Value {
        let prediction = match self.prediction {
            Prediction::Epsilon => "epsilon",
            Prediction::Sample => "sample",
        };
        let variance_name = |variance| match variance {
            Variance::FixedSmall => "fixed_small",
            Variance::FixedSmallLog => "fixed_small_log",
            Variance::LearnedRange => "learned_range",
        };
        let (clip, range) = match self.limit {
            Limit::Clip { range } => (true, range),
            _ => (false, 1.0),
        };
        let mut map = json!({
            "num_train_timesteps": self.n_train,
            "prediction_type": prediction,
            "clip_sample": clip,
            "clip_sample_range": range,
        });
        let class = match self.kind {
            SchedulerKind::UnClip { variance } => {
                map["variance_type"] = variance_name(variance).into();
                map["_class_name"] = UNCLIP.into();
                map["beta_schedule"] = "squaredcos_cap_v2".into();
                return map;
            }
            SchedulerKind::Ddpm { variance } => {
                map["variance_type"] = variance_name(variance).into();
                DDPM
            }
            SchedulerKind::Ddim { set_alpha_to_one } => {
                map["set_alpha_to_one"] = set_alpha_to_one.into();
                DDIM
            }
        };
        map["_class_name"] = class.into();
        map["beta_schedule"] = self.betas.shape().name().into();
        if let BetaSchedule::Linear { start, end } | BetaSchedule::ScaledLinear { start, end } = self.betas {
            map["beta_start"] = start.into();
            map["beta_end"] = end.into();
        }
        if let Limit::Threshold { ratio, max } = self.limit {
            map["thresholding"] = true.into();
            map["dynamic_thresholding_ratio"] = ratio.into();
            map["sample_max_value"] = max.into();
        }
        let (spacing, offset) = match self.spacing {
            Spacing::Leading { offset } => ("leading", offset),
            Spacing::Trailing => ("trailing", 0),
            Spacing::Linspace | Spacing::UnClip => ("linspace", 0),
        };
        map["timestep_spacing"] = spacing.into();
        map["steps_offset"] = offset.into();
        map
    }
}

fn positive(keys: &Keys, key: &str, default: f64) -> Result<f64, ConfigError> {
    let value = keys.or(key, default)?;
    keys.require(key, value > 0.0, "a number above 0")?;
    Ok(value)
}

fn n_train(keys: &Keys) -> Result<usize, ConfigError> {
    let n = keys.or("num_train_timesteps", 1000)?;
    keys.require("num_train_timesteps", n > 0, "a whole number, 1 or above")?;
    Ok(n)
}

fn prediction(keys: &Keys) -> Result<Prediction, ConfigError> {
    let known = [("epsilon", Prediction::Epsilon), ("sample", Prediction::Sample)];
    keys.choice("prediction_type", Some(Prediction::Epsilon), &known)
}

fn clip(keys: &Keys) -> Result<Limit, ConfigError> {
    let range = positive(keys, "clip_sample_range", 1.0)?;
    Ok(if keys.or("clip_sample", true)? {
        Limit::Clip { range }
    } else {
        Limit::None
    })
}

/// The keys that DDPM and DDIM share.
fn gaussian(keys: &Keys, kind: SchedulerKind) -> Result<SchedulerConfig, ConfigError> {
    let start = positive(keys, "beta_start", 1e-4)?;
    let end = positive(keys, "beta_end", 0.02)?;
    if end >= 1.0 || start >= 1.0 {
        let found = start.max(end);
        return Err(ConfigError::value(
            keys.origin(),
            "beta_end",
            "betas below 1",
            found,
        ));
    }
    let shapes = BetaShape::ALL.map(|shape| (shape.name(), shape));
    let shape = keys.choice("beta_schedule", Some(BetaShape::Linear), &shapes)?;
    let trained: Option<Value> = keys.get("trained_betas")?;
    let expected = "null (trained betas are not supported)";
    keys.require("trained_betas", trained.is_none(), expected)?;
    let rescaled: bool = keys.or("rescale_betas_zero_snr", false)?;
    let expected = "false (rescaling to zero terminal SNR is not supported)";
    keys.require("rescale_betas_zero_snr", !rescaled, expected)?;
    let offset = keys.or("steps_offset", 0)?;
    let leading = Spacing::Leading { offset };
    let spacings = [
        ("leading", leading),
        ("trailing", Spacing::Trailing),
        ("linspace", Spacing::Linspace),
    ];
    let spacing = keys.choice("timestep_spacing", Some(leading), &spacings)?;
    let clip = clip(keys)?;
    let ratio = positive(keys, "dynamic_thresholding_ratio", 0.995)?;
    keys.require(
        "dynamic_thresholding_ratio",
        ratio <= 1.0,
        "a number of at most 1",
    )?;
    let max = positive(keys, "sample_max_value", 1.0)?;
    // Thresholding goes before clipping, and replaces it.
    let limit = if keys.or("thresholding", false)? {
        Limit::Threshold { ratio, max }
    } else {
        clip
    };
    Ok(SchedulerConfig {
        kind,
        n_train: n_train(keys)?,
        betas: shape.between(start, end),
        prediction: prediction(keys)?,
        limit,
        spacing,
    })
}

/// Keys of diffusers' other schedulers, which `from_config` leaves in files of a class that has no use for them.
const OF_OTHERS: [&str; 32] = [
    "algorithm_type",
    "beta_end",
    "beta_schedule",
    "beta_start",
    "clip_sample",
    "clip_sample_range",
    "dynamic_thresholding_ratio",
    "euler_at_final",
    "final_sigmas_type",
    "flow_shift",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "prediction_type",
    "rescale_betas_zero_snr",
    "sample_max_value",
    "set_alpha_to_one",
    "sigma_max",
    "sigma_min",
    "skip_prk_steps",
    "solver_order",
    "solver_type",
    "steps_offset",
    "thresholding",
    "timestep_spacing",
    "timestep_type",
    "trained_betas",
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_flow_sigmas",
    "use_karras_sigmas",
    "variance_type",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Result<SchedulerConfig, String> {
        SchedulerConfig::from_json(&value, Path::new("scheduler_config.json")).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut ddim = SchedulerConfig::diffusion_baseline();
        ddim.kind = SchedulerKind::Ddim {
            set_alpha_to_one: false,
        };
        ddim.limit = Limit::Threshold { ratio: 0.9, max: 3.0 };
        ddim.spacing = Spacing::Leading { offset: 1 };
        for config in [
            SchedulerConfig::unclip_prior(5.0),
            SchedulerConfig::diffusion_baseline(),
            ddim,
        ] {
            assert_eq!(parse(config.to_json()), Ok(config));
        }
    }

    #[test]
    fn another_sampler_keeps_schedule_and_limit() {
        let shipped = SchedulerConfig {
            kind: SchedulerKind::Ddpm {
                variance: Variance::LearnedRange,
            },
            limit: Limit::Threshold { ratio: 0.9, max: 2.0 },
            spacing: Spacing::Leading { offset: 1 },
            ..SchedulerConfig::diffusion_baseline()
        };
        assert_eq!(shipped.sampled_by(Sampler::Ddpm), shipped);
        let ddim = shipped.sampled_by(Sampler::Ddim);
        let kind = SchedulerKind::Ddim {
            set_alpha_to_one: true,
        };
        assert_eq!(ddim, SchedulerConfig { kind, ..shipped });
        let unclip = shipped.sampled_by(Sampler::UnClip);
        assert_eq!((unclip.betas, unclip.limit), (shipped.betas, shipped.limit));
        assert_eq!(unclip.spacing, Spacing::UnClip);
        // A learned variance stays learned between the ancestral samplers, and is lost by way of DDIM, which has none.
        assert_eq!(unclip.sampled_by(Sampler::Ddpm).kind, shipped.kind);
        let lost = SchedulerKind::Ddpm {
            variance: Variance::FixedSmall,
        };
        assert_eq!(ddim.sampled_by(Sampler::Ddpm).kind, lost);
    }

    /// diffusers writes such files itself when a scheduler is made from the configuration of another class.
    #[test]
    fn keys_of_other_classes_are_ignored() {
        for (class, extra) in [
            (
                "DDIMScheduler",
                json!({"variance_type": "learned_range", "set_alpha_to_one": true}),
            ),
            (
                "DDPMScheduler",
                json!({"use_karras_sigmas": false, "set_alpha_to_one": false, "algorithm_type": "dpmsolver++"}),
            ),
            (
                "UnCLIPScheduler",
                json!({"timestep_spacing": "trailing", "steps_offset": 1, "beta_start": 0.1, "trained_betas": [0.5]}),
            ),
        ] {
            let bare = json!({"_class_name": class, "prediction_type": "sample", "clip_sample_range": 3.0});
            let mut with_extra = bare.clone();
            with_extra
                .as_object_mut()
                .expect("a map")
                .extend(extra.as_object().expect("a map").clone());
            assert_eq!(parse(with_extra), parse(bare.clone()), "{class}");
        }
        // What diffusers marks as a default of another class is the default of this one.
        let marked = json!({"_class_name": "DDPMScheduler", "timestep_spacing": "linspace", "_use_default_values": ["timestep_spacing"]});
        assert_eq!(parse(marked), parse(json!({"_class_name": "DDPMScheduler"})));
    }

    #[test]
    fn messages_name_the_key() {
        let cases = [
            (
                json!({"_class_name": "EulerDiscreteScheduler"}),
                "_class_name: expected one of UnCLIPScheduler, DDPMScheduler, DDIMScheduler, found \"EulerDiscreteScheduler\"",
            ),
            (
                json!({"num_train_timesteps": 10}),
                "_class_name: expected one of UnCLIPScheduler, DDPMScheduler, DDIMScheduler, found nothing",
            ),
            (
                json!({"_class_name": "DDPMScheduler", "prediction_type": "v_prediction"}),
                "prediction_type: expected epsilon or sample, found \"v_prediction\"",
            ),
            (
                json!({"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}),
                "variance_type: expected one of fixed_small, fixed_small_log, learned_range, found \"fixed_large\"",
            ),
            (
                json!({"_class_name": "DDIMScheduler", "timestep_spacing": "karras"}),
                "timestep_spacing: expected one of leading, trailing, linspace, found \"karras\"",
            ),
            (
                json!({"_class_name": "DDIMScheduler", "steps_offset": "one"}),
                "steps_offset: expected a whole number, 0 or above, found \"one\"",
            ),
            (
                json!({"_class_name": "DDPMScheduler", "rescale_betas_zero_snr": true}),
                "rescale_betas_zero_snr: expected false",
            ),
            (json!([1]), "expected an object, found [1]"),
        ];
        for (value, message) in cases {
            let error = parse(value).expect_err("must be refused");
            assert!(error.contains(message), "{error}\nlacks\n{message}");
        }
    }
}
