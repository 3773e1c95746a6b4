//! What draws, and what it reports while it does.

use serde::{Deserialize, Serialize};

use super::request::DrawRequest;

/// Why a request could not be drawn.
pub type PaintError = Box<dyn std::error::Error + Send + Sync>;

/// Draws requests, one after another. It owns the networks and stays in one thread.
pub trait Painter {
    /// Draws every image of `request`, prior by prior, and reports each as soon as it is finished. `report` does not return where the request
    /// was cancelled: it unwinds the stack, so that a painter holds nothing half done across a call of it.
    ///
    /// # Errors
    /// A reason why nothing more can be drawn.
    fn paint(&mut self, request: &DrawRequest, report: &mut dyn FnMut(Progress)) -> Result<(), PaintError>;
}

/// What happens while a request is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Something begins that takes so many steps.
    Stage {
        /// What, for the page.
        name: String,
        /// Steps.
        n_steps: usize,
    },
    /// A step was taken.
    Step,
    /// An image is finished.
    Image(Box<DrawnImage>),
    /// A prior does not draw this request.
    Skipped {
        /// Its id.
        prior: String,
        /// The reason.
        reason: String,
    },
}

/// A finished image.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnImage {
    /// The file.
    pub png: Vec<u8>,
    /// What is known about it.
    pub about: ImageRecord,
}

/// What is known about an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The prior's id.
    pub prior: String,
    /// Its number among the images of this prior.
    pub number: usize,
    /// The seed of its noise.
    pub seed: u64,
    /// What the checker looked for, one list for each prompt that it can read.
    pub verdicts: Vec<PromptVerdict>,
    /// Numbers about the predicted embedding.
    pub scores: Vec<Score>,
    /// The training images that are nearest to the predicted embedding, the nearest first.
    pub neighbours: Vec<Neighbour>,
}

/// What the checker found of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptVerdict {
    /// The prompt.
    pub prompt: String,
    /// What it asks for, and whether that is in the image.
    pub findings: Vec<(String, bool)>,
}

impl PromptVerdict {
    /// Whether all that the prompt asks for is in the image.
    pub fn is_right(&self) -> bool {
        self.findings.iter().all(|(_, right)| *right)
    }
}

/// A number about an embedding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Its name.
    pub name: String,
    /// Its value, as the page shows it.
    pub value: String,
    /// What it means.
    pub meaning: String,
}

/// A training image near a predicted embedding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The number of its pair.
    pub pair: usize,
    /// Its caption.
    pub caption: String,
    /// Its cosine to the predicted embedding.
    pub cosine: f64,
}
