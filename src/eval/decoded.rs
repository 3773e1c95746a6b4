//! Images that a decoder made of predictions, as they are evaluated.

use super::EvalError;
use super::inputs::Split;
use super::rows::Embeddings;
use crate::world::Prompt;
use crate::world::checker::Reading;

/// A test prompt whose image was decoded and read by the checker.
#[derive(Debug, Clone)]
pub struct CheckedImage {
    /// Its place among all test prompts of the evaluation.
    pub place: usize,
    /// The prompt.
    pub prompt: Prompt,
    /// What the checker saw.
    pub reading: Reading,
}

/// What [`evaluate_images`](super::evaluate_images) needs to know. All embeddings have a row for each image, in their order.
#[derive(Debug, Clone, Copy)]
pub struct DecodedInputs<'a> {
    /// The split of every test prompt, with an image or without.
    pub splits: &'a [Split],
    /// The images; places ascend.
    pub images: &'a [CheckedImage],
    /// What the images were decoded from.
    pub z_x_hat: &'a Embeddings,
    /// What the frozen CLIP sees in the images.
    pub z_decoded: &'a Embeddings,
    /// The prompts' text embeddings.
    pub z_y: &'a Embeddings,
    /// True images of the prompts.
    pub z_x: &'a Embeddings,
}

impl DecodedInputs<'_> {
    /// Fails unless all parts fit each other.
    ///
    /// # Errors
    /// [`EvalError::Shape`], naming the input at fault.
    pub(super) fn check(&self) -> Result<(), EvalError> {
        if self.z_x_hat.n() != self.images.len() {
            return Err(EvalError::shape(
                "z_x_hat",
                format!("{} rows, one an image", self.images.len()),
                self.z_x_hat.n(),
            ));
        }
        for (other, name) in [
            (self.z_decoded, "z_decoded"),
            (self.z_y, "z_y"),
            (self.z_x, "z_x"),
        ] {
            self.z_x_hat.check_like("z_x_hat", other, name)?;
        }
        Ok(())
    }

    /// For each test prompt, `value(row, image)` of its image, where it has one.
    pub(super) fn per_prompt(&self, value: impl Fn(usize, &CheckedImage) -> Option<f64>) -> Vec<Option<f64>> {
        let mut values = vec![None; self.splits.len()];
        for (row, image) in self.images.iter().enumerate() {
            values[image.place] = value(row, image);
        }
        values
    }
}
