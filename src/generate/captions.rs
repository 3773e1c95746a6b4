//! Captions that the text tower has encoded.

use std::ops::Range;

use crate::models::text::TextCondition;

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
    pub fn rows(&self, texts: &[&str]) -> TextCondition {
        let at = |text: &&str| self.texts.iter().position(|t| t == text).expect("encoded");
        let rows: Vec<usize> = texts.iter().map(at).collect();
        self.encoded.select(&rows)
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
    pub fn rows(&self, rows: Range<usize>) -> TextCondition {
        self.captions.rows(&self.of_images[rows])
    }

    /// `n` rows of what guidance pushes away from.
    pub fn uncond(&self, n: usize) -> TextCondition {
        self.captions.rows(&vec![self.uncond; n])
    }
}
