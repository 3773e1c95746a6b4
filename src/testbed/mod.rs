//! The testbed: how the small CLIP and the small decoder of a [built-in world](crate::world) are trained, measured and accepted.
//!
//! Both are trained by the same [sessions](crate::train::session) and in the same [folders](crate::train::run_folder) as priors.
//! [`make_clip`] and [`make_decoder`] go the whole way from a recipe to a published folder. Priors are then trained and scored on these
//! frozen models.

pub mod acceptance;
mod cells;
pub mod clip;
pub mod decoder;
mod error;
mod facts;
mod run;

pub use clip::{ClipRecipe, ClipRecord, MakeClip, make_clip};
pub use decoder::{DecoderRecipe, DecoderRecord, DecoderScores, MakeDecoder, make_decoder};
pub use error::PretrainError;
pub use run::TrainingRecord;
