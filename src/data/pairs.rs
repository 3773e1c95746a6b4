//! Captioned images as embeddings in memory.
//!
//! Axes: n pairs; n_text tokens; d_clip.

use std::collections::HashMap;
use std::hash::Hash;

use burn::prelude::*;

use super::examples::{Example, Examples};
use super::order::Order;
use crate::models::noise_augmentation::mean_and_std;
use crate::models::text::{EncodedText, EncodedTexts, TextCondition};

/// Images with one caption each; image and caption share the pair's number.
#[derive(Debug)]
pub struct Pairs {
    /// `[n, d_clip]`, raw CLIP image embeddings.
    pub z_x: Vec<f32>,
    /// The captions.
    pub texts: EncodedTexts,
    /// The caption `""`, which stands for no condition.
    pub empty: EncodedTexts,
    wordings: Vec<u64>,
    meanings: Vec<u64>,
    order: Order,
}

/// A number for each of `values`, equal for equal values.
fn numbered<T: Eq + Hash>(values: impl IntoIterator<Item = T>) -> Vec<u64> {
    let mut numbers = HashMap::new();
    values
        .into_iter()
        .map(|value| {
            let next = numbers.len() as u64;
            *numbers.entry(value).or_insert(next)
        })
        .collect()
}

impl Pairs {
    /// Pairs of raw image embeddings `z_x` `[n, d_clip]` and `texts`. Equal `captions` have the same words, equal `meanings` the same meaning;
    /// `empty` is the caption `""`, which stands for no condition.
    ///
    /// # Panics
    /// If there are no pairs, or the lengths differ.
    pub fn new<W: Eq + Hash, M: Eq + Hash>(
        z_x: Vec<f32>,
        texts: EncodedTexts,
        empty: EncodedTexts,
        captions: impl IntoIterator<Item = W>,
        meanings: impl IntoIterator<Item = M>,
    ) -> Self {
        let n = texts.len();
        let pairs = Self {
            z_x,
            empty,
            wordings: numbered(captions),
            meanings: numbered(meanings),
            order: Order::new(vec![n]),
            texts,
        };
        let counts = [
            pairs.z_x.len() / pairs.texts.d_clip(),
            pairs.wordings.len(),
            pairs.meanings.len(),
        ];
        assert_eq!(counts, [n; 3], "z_x, captions and meanings of {n} texts");
        pairs
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    fn rows(&self, values: &[f32], rows: impl ExactSizeIterator<Item = usize>, device: &Device) -> Tensor<2> {
        let (n, d) = (rows.len(), self.texts.d_clip());
        let values: Vec<f32> = rows.flat_map(|r| &values[r * d..][..d]).copied().collect();
        Tensor::from_data(TensorData::new(values, [n, d]), device)
    }
}

impl Examples for Pairs {
    fn d_clip(&self) -> usize {
        self.texts.d_clip()
    }

    fn order(&self) -> &Order {
        &self.order
    }

    fn example(&self, number: usize, _pass: usize, _seed: u64) -> Example {
        Example {
            image: number,
            caption: number,
        }
    }

    fn z_x(&self, examples: &[Example], device: &Device) -> Tensor<2> {
        self.rows(&self.z_x, examples.iter().map(|e| e.image), device)
    }

    fn z_y(&self, examples: &[Example], device: &Device) -> Tensor<2> {
        self.rows(self.texts.z_y(), examples.iter().map(|e| e.caption), device)
    }

    fn text(&self, examples: &[Option<Example>], device: &Device) -> TextCondition {
        let text = |example: &Option<Example>| match example {
            Some(example) => self.texts.get(example.caption),
            None => self.empty.get(0),
        };
        let texts: Vec<EncodedText> = examples.iter().map(text).collect();
        TextCondition::from_host(&texts, device)
    }

    fn wording(&self, caption: usize) -> u64 {
        self.wordings[caption]
    }

    fn meaning(&self, caption: usize) -> u64 {
        self.meanings[caption]
    }

    fn statistics(&self) -> (Vec<f32>, Vec<f32>) {
        mean_and_std(&self.z_x, self.d_clip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_numbers() {
        assert_eq!(numbered(["a", "b", "a", "c", "b"]), [0, 1, 0, 2, 1]);
    }
}
