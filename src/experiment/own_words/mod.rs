//! Images of the user's own prompts, drawn with trained priors of a built-in world.

mod draw;
mod error;
mod studio;
mod trained;
mod vocabulary;

pub use draw::{Row, Words, draw};
pub use error::DrawError;
pub use studio::{Studio, decoder_settings};
pub use trained::{TrainedRun, can_draw, newest, priors_at};
pub use vocabulary::{example, word_lists};
