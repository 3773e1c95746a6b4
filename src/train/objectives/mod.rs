//! Training objectives of priors: one file each, with its keys, checks, batches, criterion, sampler and label.
//!
//! An objective is a file here and a line in the list below. Specifications (`objective.kind`), `--help`, error texts, reports and model cards follow
//! from the list; see CONTRIBUTING.md for a worked example.

mod objective;
mod time_conditioned;

pub use objective::{CheckContext, PriorObjective};
pub use time_conditioned::{
    NoisePath, NoisingOptions, TargetPrediction, TimeConditionedBatch, TimeConditionedTrainer, noised_batches,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::prior::{ClipTemperature, PriorTraining};
use super::session::Failure;
use crate::config::InvalidValue;
use crate::generate::prior::PriorSettings;

/// The list of objectives: `kind => module::Type`. The type implements [`PriorObjective`], `Default`, `JsonSchema`, and serde with
/// `#[serde(deny_unknown_fields, default)]`.
macro_rules! objectives {
    ($($(#[$attribute:meta])* $kind:ident => $variant:ident;)*) => {
        $($(#[$attribute])* pub mod $kind;)*

        /// `[objective]`: the loss and the sampler of the prior. Its `kind` decides which keys it has.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum Objective {
            $($(#[$attribute])* #[allow(missing_docs, reason = "documented at the type")] $variant($kind::$variant),)*
        }

        impl Objective {
            /// The values of `kind`.
            pub const KINDS: &[&str] = &[$($(#[$attribute])* stringify!($kind),)*];

            /// The value of `kind` for this objective.
            pub fn kind(&self) -> &'static str {
                match self {
                    $($(#[$attribute])* Self::$variant(_) => stringify!($kind),)*
                }
            }

            /// The defaults of `kind`; `None` for a kind that does not exist.
            pub fn of_kind(kind: &str) -> Option<Self> {
                match kind {
                    $($(#[$attribute])* stringify!($kind) => Some(Self::$variant(Default::default())),)*
                    _ => None,
                }
            }
        }

        impl Objective {
            fn inner(&self) -> &dyn PriorObjective {
                match self {
                    $($(#[$attribute])* Self::$variant(objective) => objective,)*
                }
            }

            fn inner_mut(&mut self) -> &mut dyn PriorObjective {
                match self {
                    $($(#[$attribute])* Self::$variant(objective) => objective,)*
                }
            }
        }
    };
}

objectives! {
    eclipse => Eclipse;
    projection => Projection;
    diffusion => Diffusion;
    flow => Flow;
    baseline => Baseline;
    #[cfg(test)] toy => Toy;
}

impl PriorObjective for Objective {
    fn label(&self) -> String {
        self.inner().label()
    }

    fn check(&self, context: &CheckContext<'_>) -> Result<(), InvalidValue> {
        self.inner().check(context)
    }

    fn check_clip(&self, clip: ClipTemperature<'_>) -> Result<(), Failure> {
        self.inner().check_clip(clip)
    }

    fn sampler(&self) -> PriorSettings {
        self.inner().sampler()
    }

    fn reset_sampler(&mut self) {
        self.inner_mut().reset_sampler();
    }

    fn train(&self, training: PriorTraining<'_>) -> Result<(), Failure> {
        self.inner().train(training)
    }
}

impl Objective {
    /// The baseline, in runs that train no prior.
    pub fn baseline(&self) -> Option<&baseline::Baseline> {
        if let Self::Baseline(baseline) = self {
            Some(baseline)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_defaults_that_read_back() {
        for kind in Objective::KINDS {
            let objective = Objective::of_kind(kind).expect("every kind has defaults");
            assert_eq!(objective.kind(), *kind);
            let text = toml::to_string(&objective).expect("TOML");
            assert_eq!(toml::from_str::<Objective>(&text).expect("reads"), objective);
        }
    }

    /// The example of CONTRIBUTING.md is the compiled and tested code.
    #[test]
    fn the_worked_example_is_what_contributing_says() {
        let guide = include_str!("../../../CONTRIBUTING.md");
        assert!(guide.contains(include_str!("toy.rs")));
        assert!(guide.contains("    toy => Toy;\n"));
    }
}
