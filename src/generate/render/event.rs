//! What rendering reports while it runs.

use std::path::Path;

/// Progress.
#[derive(Debug, Clone, PartialEq)]
pub enum RenderEvent<'a> {
    /// A network is loaded and will take this many steps.
    Stage {
        /// Its name.
        name: &'static str,
        /// Steps, over all batches of the chunk.
        n_steps: usize,
    },
    /// One step was taken.
    Step,
    /// An image is on disk.
    Image(&'a Path),
    /// An image of the same call was on disk already.
    Skipped(&'a Path),
}
