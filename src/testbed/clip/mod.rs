//! The small CLIP of a world: plain CLIP towers, trained with a contrastive loss that knows which captions are true of which images, and with
//! training heads that say what the towers should look for.
//!
//! A contrastive loss alone learns only what its negatives test, and a small tower on a small batch hardly finds the objects. The heads
//! (dense per patch, linear on z_x and on z_y) are training aids: they are dropped afterwards. Hidden matrices are trained by Muon,
//! which needed a third of AdamW's steps here; everything else by AdamW.
//!
//! Axes: batch of images; n_captions = 2 batch; n_patches; n_facts.

mod batch;
mod heads;
mod make;
mod optimizer;
mod recipe;
mod start;
mod targets;
#[cfg(test)]
mod tests;
mod trainer;
mod vocabulary;

pub use batch::{BatchMaker, ClipBatch};
pub use heads::Heads;
pub use make::{ClipRecord, MEAN_SQUARE, MakeClip, make_clip};
pub use optimizer::optimizer;
pub use recipe::ClipRecipe;
pub use targets::FactTargets;
pub use trainer::{ClipCriterion, ClipNetwork, ClipTrainer};
pub use vocabulary::write_word_tokenizer;
