//! Noise schedules and samplers of diffusion models: UnCLIP, DDPM and DDIM, as diffusers' `scheduler_config.json` describes them; and flow matching.
//!
//! Nothing here knows a model: [`sample()`] takes the denoiser as a closure and the noise as an argument. A schedule's tables live on the host
//! in `f64`, computed once. `t` is always a *train* timestep (`0..n_train`), `step` an index into the visited ones.
//!
//! Symbols: `x_t` the noisy sample, `x0` the clean one, `eps` the noise, alpha-bar the running product of `1 - beta`, `eta` the weight of the
//! noise that a step adds.

pub mod config;
pub mod ddim;
pub mod ddpm;
pub mod flow;
pub mod guidance;
pub mod posterior;
pub mod sample;
pub mod schedule;
pub mod scheduler;
pub mod threshold;
pub mod timesteps;
pub mod unclip;

pub use config::{Limit, Prediction, Sampler, SchedulerConfig, SchedulerKind, Variance};
pub use flow::{FlowConfig, FlowPrediction, sample_flow};
pub use guidance::{guide, guide_halves};
pub use sample::{DrawNoise, Replay, SampleOptions, sample, sample_visits};
pub use schedule::{BetaSchedule, BetaShape, Schedule};
pub use scheduler::{Scheduler, Stepped, Visit};
pub use timesteps::Spacing;

/// A scheduler could not be read, or was asked for something it cannot do.
#[derive(Debug, thiserror::Error)]
pub enum DiffusionError {
    /// A configuration could not be read, or a key has a value that is not supported.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A number of sampling steps that the schedule cannot give.
    #[error("cannot sample in {n_steps} steps: {reason}")]
    Steps {
        /// The number asked for.
        n_steps: usize,
        /// Why not.
        reason: String,
    },
    /// An eta below zero or not finite.
    #[error("eta must be a finite number of at least 0, found {0}")]
    Eta(f64),
    /// The model's output does not fit the sample.
    #[error("the denoiser returned shape {output:?} for a sample of shape {sample:?}: {reason}")]
    Output {
        /// Shape of the model's output.
        output: Vec<usize>,
        /// Shape of the sample.
        sample: Vec<usize>,
        /// What was expected.
        reason: &'static str,
    },
    /// A step that adds noise got none.
    #[error("the step from t = {t} adds noise, but none was given")]
    NoiseMissing {
        /// The train timestep.
        t: usize,
    },
    /// Recorded noise ran out.
    #[error("recorded noise ran out after {drawn} draws")]
    NoiseExhausted {
        /// How many there were.
        drawn: usize,
    },
    /// Recorded noise has another shape.
    #[error("recorded noise {index} has shape {found:?}, the sampler needs {expected:?}")]
    NoiseShape {
        /// Which draw.
        index: usize,
        /// The shape the sampler asked for.
        expected: Vec<usize>,
        /// The shape that was recorded.
        found: Vec<usize>,
    },
}
