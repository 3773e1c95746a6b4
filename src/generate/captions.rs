//! Captions that the text tower has encoded.

use std::ops::Range;

use burn::prelude::*;

use crate::models::prior::TextCondition;

/// Texts and their encodings.
#[derive(Debug)]
pub struct Captions<'a> {
    /// The texts, each once.
    pub texts: Vec<&'a str>,
    /// A row for each of them.
    pub encoded: TextCondition,
}

impl Captions<'_> {
    /// One row for each of `texts`.
    ///
    /// # Panics
    /// If one of them was not encoded.
    pub fn rows(&self, texts: &[&str], device: &Device) -> TextCondition {
        let at = |text: &&str| self.texts.iter().position(|t| t == text).expect("encoded") as i64;
        let rows: Vec<i64> = texts.iter().map(at).collect();
        let n = rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [n]), device);
        let TextCondition { z_y, tokens, mask } = self.encoded.clone();
        TextCondition {
            z_y: z_y.select(0, rows.clone()),
            tokens: tokens.select(0, rows.clone()),
            mask: mask.map(|m| m.values().select(0, rows).into()),
        }
    }
}

/// The captions of a chunk of images, for decoders that read them.
#[derive(Debug)]
pub struct ImageCaptions<'a> {
    /// All texts of the call.
    pub captions: Captions<'a>,
    /// The caption of each image; empty where it has none.
    pub of_images: Vec<&'a str>,
    /// The negative prompt, or the empty caption.
    pub uncond: &'a str,
}

impl ImageCaptions<'_> {
    /// The captions of the images `rows`.
    pub fn rows(&self, rows: Range<usize>, device: &Device) -> TextCondition {
        self.captions.rows(&self.of_images[rows], device)
    }

    /// `n` rows of what guidance pushes away from.
    pub fn uncond(&self, n: usize, device: &Device) -> TextCondition {
        self.captions.rows(&vec![self.uncond; n], device)
    }
}
