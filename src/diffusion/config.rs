//! `scheduler_config.json`, the published form of a scheduler: read, checked key by key, and written back.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{BetaSchedule, DiffusionError, Spacing};
use crate::files;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
        let text = files::read_text(&path)?;
        let value = serde_json::from_str(&text).map_err(|e| DiffusionError::Malformed {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        Self::from_json(&value, &path)
    }

    /// Checks a configuration that is already parsed; `path` is for messages.
    ///
    /// # Errors
    /// Like [`SchedulerConfig::read`].
    pub fn from_json(value: &Value, path: &Path) -> Result<Self, DiffusionError> {
        let Value::Object(map) = value else {
            let reason = "the top level is no object".to_string();
            return Err(DiffusionError::Malformed {
                path: path.to_path_buf(),
                reason,
            });
        };
        let defaulted = map.get("_use_default_values").and_then(Value::as_array);
        let is_default = |key: &String| defaulted.is_some_and(|keys| keys.iter().any(|k| k == key.as_str()));
        let map: Map<String, Value> = map
            .iter()
            .filter(|(key, _)| !is_default(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let mut keys = Keys {
            path,
            map: &map,
            class: "",
            read: Vec::new(),
        };
        let config = match keys.name(
            "_class_name",
            "",
            &["UnCLIPScheduler", "DDPMScheduler", "DDIMScheduler"],
        )? {
            0 => {
                keys.class = "UnCLIPScheduler";
                let variance = match keys.name(
                    "variance_type",
                    "fixed_small_log",
                    &["fixed_small_log", "learned_range"],
                )? {
                    0 => Variance::FixedSmallLog,
                    _ => Variance::LearnedRange,
                };
                keys.name("beta_schedule", "squaredcos_cap_v2", &["squaredcos_cap_v2"])?;
                Self {
                    kind: SchedulerKind::UnClip { variance },
                    n_train: keys.count("num_train_timesteps", 1000)?,
                    betas: BetaSchedule::SquaredCos,
                    prediction: keys.prediction()?,
                    limit: keys.clip()?,
                    spacing: Spacing::UnClip,
                }
            }
            1 => {
                keys.class = "DDPMScheduler";
                let names = ["fixed_small", "fixed_small_log", "learned_range"];
                let variance = match keys.name("variance_type", "fixed_small", &names)? {
                    0 => Variance::FixedSmall,
                    1 => Variance::FixedSmallLog,
                    _ => Variance::LearnedRange,
                };
                keys.gaussian(SchedulerKind::Ddpm { variance })?
            }
            _ => {
                keys.class = "DDIMScheduler";
                let set_alpha_to_one = keys.flag("set_alpha_to_one", true)?;
                keys.gaussian(SchedulerKind::Ddim { set_alpha_to_one })?
            }
        };
        keys.finish();
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
                map["_class_name"] = "UnCLIPScheduler".into();
                map["beta_schedule"] = "squaredcos_cap_v2".into();
                return map;
            }
            SchedulerKind::Ddpm { variance } => {
                map["variance_type"] = variance_name(variance).into();
                "DDPMScheduler"
            }
            SchedulerKind::Ddim { set_alpha_to_one } => {
                map["set_alpha_to_one"] = set_alpha_to_one.into();
                "DDIMScheduler"
            }
        };
        map["_class_name"] = class.into();
        map["beta_schedule"] = match self.betas {
            BetaSchedule::Linear { start, end } | BetaSchedule::ScaledLinear { start, end } => {
                map["beta_start"] = start.into();
                map["beta_end"] = end.into();
                if matches!(self.betas, BetaSchedule::Linear { .. }) {
                    "linear"
                } else {
                    "scaled_linear"
                }
            }
            BetaSchedule::SquaredCos => "squaredcos_cap_v2",
        }
        .into();
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

/// Reads keys of a configuration one by one, remembering which it has seen.
struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
    class: &'static str,
    read: Vec<&'static str>,
}

impl Keys<'_> {
    fn wrong(&self, key: &str, expected: impl Into<String>, found: &Value) -> DiffusionError {
        DiffusionError::Value {
            path: self.path.to_path_buf(),
            key: key.to_string(),
            expected: expected.into(),
            found: if found.is_null() {
                "nothing".into()
            } else {
                found.to_string()
            },
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&Value> {
        self.read.push(key);
        self.map.get(key)
    }

    /// Index into `known` of the name under `key`; an absent key reads as `default`.
    fn name(&mut self, key: &'static str, default: &str, known: &[&str]) -> Result<usize, DiffusionError> {
        let value = self.get(key).cloned().unwrap_or_else(|| {
            if default.is_empty() {
                Value::Null
            } else {
                default.into()
            }
        });
        let found = value
            .as_str()
            .and_then(|name| known.iter().position(|k| *k == name));
        found.ok_or_else(|| self.wrong(key, format!("one of {}", known.join(", ")), &value))
    }

    fn number(&mut self, key: &'static str, default: f64) -> Result<f64, DiffusionError> {
        match self.get(key).cloned() {
            None => Ok(default),
            Some(v) => v
                .as_f64()
                .filter(|x| x.is_finite())
                .ok_or_else(|| self.wrong(key, "a finite number", &v)),
        }
    }

    fn positive(&mut self, key: &'static str, default: f64) -> Result<f64, DiffusionError> {
        let x = self.number(key, default)?;
        if x > 0.0 {
            Ok(x)
        } else {
            Err(self.wrong(key, "a number above 0", &x.into()))
        }
    }

    fn integer(&mut self, key: &'static str, default: usize) -> Result<usize, DiffusionError> {
        match self.get(key).cloned() {
            None => Ok(default),
            Some(v) => v
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(|| self.wrong(key, "an integer of at least 0", &v)),
        }
    }

    fn count(&mut self, key: &'static str, default: usize) -> Result<usize, DiffusionError> {
        let n = self.integer(key, default)?;
        if n > 0 {
            Ok(n)
        } else {
            Err(self.wrong(key, "an integer of at least 1", &n.into()))
        }
    }

    fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, DiffusionError> {
        match self.get(key).cloned() {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| self.wrong(key, "true or false", &v)),
        }
    }

    fn prediction(&mut self) -> Result<Prediction, DiffusionError> {
        Ok(
            match self.name("prediction_type", "epsilon", &["epsilon", "sample"])? {
                0 => Prediction::Epsilon,
                _ => Prediction::Sample,
            },
        )
    }

    fn clip(&mut self) -> Result<Limit, DiffusionError> {
        let range = self.positive("clip_sample_range", 1.0)?;
        Ok(if self.flag("clip_sample", true)? {
            Limit::Clip { range }
        } else {
            Limit::None
        })
    }

    /// The keys that DDPM and DDIM share.
    fn gaussian(&mut self, kind: SchedulerKind) -> Result<SchedulerConfig, DiffusionError> {
        let start = self.positive("beta_start", 1e-4)?;
        let end = self.positive("beta_end", 0.02)?;
        if end >= 1.0 || start >= 1.0 {
            return Err(self.wrong("beta_end", "betas below 1", &start.max(end).into()));
        }
        let betas = match self.name(
            "beta_schedule",
            "linear",
            &["linear", "scaled_linear", "squaredcos_cap_v2"],
        )? {
            0 => BetaSchedule::Linear { start, end },
            1 => BetaSchedule::ScaledLinear { start, end },
            _ => BetaSchedule::SquaredCos,
        };
        if let Some(trained) = self.get("trained_betas").filter(|v| !v.is_null()).cloned() {
            return Err(self.wrong(
                "trained_betas",
                "null (trained betas are not supported)",
                &trained,
            ));
        }
        if self.flag("rescale_betas_zero_snr", false)? {
            let expected = "false (rescaling to zero terminal SNR is not supported)";
            return Err(self.wrong("rescale_betas_zero_snr", expected, &true.into()));
        }
        let offset = self.integer("steps_offset", 0)?;
        let spacing = match self.name(
            "timestep_spacing",
            "leading",
            &["leading", "trailing", "linspace"],
        )? {
            0 => Spacing::Leading { offset },
            1 => Spacing::Trailing,
            _ => Spacing::Linspace,
        };
        let clip = self.clip()?;
        let ratio = self.positive("dynamic_thresholding_ratio", 0.995)?;
        if ratio > 1.0 {
            return Err(self.wrong(
                "dynamic_thresholding_ratio",
                "a number of at most 1",
                &ratio.into(),
            ));
        }
        let max = self.positive("sample_max_value", 1.0)?;
        // Thresholding goes before clipping, and replaces it.
        let limit = if self.flag("thresholding", false)? {
            Limit::Threshold { ratio, max }
        } else {
            clip
        };
        let n_train = self.count("num_train_timesteps", 1000)?;
        Ok(SchedulerConfig {
            kind,
            n_train,
            betas,
            prediction: self.prediction()?,
            limit,
            spacing,
        })
    }

    /// Tells keys that nothing reads.
    fn finish(self) {
        for key in self.map.keys() {
            let is_read = key.starts_with('_') || self.read.contains(&key.as_str());
            if !is_read && !OF_OTHERS.contains(&key.as_str()) {
                tracing::warn!(
                    "{}: `{key}` is no key of {} and is ignored",
                    self.path.display(),
                    self.class
                );
            }
        }
    }
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
                "`_class_name`: expected one of UnCLIPScheduler, DDPMScheduler, DDIMScheduler, found \"EulerDiscreteScheduler\"",
            ),
            (
                json!({"num_train_timesteps": 10}),
                "`_class_name`: expected one of UnCLIPScheduler, DDPMScheduler, DDIMScheduler, found nothing",
            ),
            (
                json!({"_class_name": "DDPMScheduler", "prediction_type": "v_prediction"}),
                "`prediction_type`: expected one of epsilon, sample, found \"v_prediction\"",
            ),
            (
                json!({"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}),
                "`variance_type`: expected one of fixed_small, fixed_small_log, learned_range, found \"fixed_large\"",
            ),
            (
                json!({"_class_name": "DDIMScheduler", "timestep_spacing": "karras"}),
                "`timestep_spacing`: expected one of leading, trailing, linspace, found \"karras\"",
            ),
            (
                json!({"_class_name": "DDIMScheduler", "steps_offset": "one"}),
                "`steps_offset`: expected an integer of at least 0, found \"one\"",
            ),
            (
                json!({"_class_name": "DDPMScheduler", "rescale_betas_zero_snr": true}),
                "`rescale_betas_zero_snr`: expected false",
            ),
            (json!([1]), "the top level is no object"),
        ];
        for (value, message) in cases {
            let error = parse(value).expect_err("must be refused");
            assert!(error.contains(message), "{error}\nlacks\n{message}");
        }
    }
}
