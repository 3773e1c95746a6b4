//! Captioned pictures as a prior sees them: embeddings in memory.
//!
//! Axes: n pairs; n_text tokens; d_clip.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use burn::prelude::*;
use rand::seq::SliceRandom;

use crate::models::prior::TextCondition;
use crate::noise::Noise;

/// Text side of one caption or of many, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    /// d_clip.
    pub d_clip: usize,
    /// n_text.
    pub n_text: usize,
    /// `[n, d_clip]`
    pub z_y: Vec<f32>,
    /// `[n, n_text, d_clip]`
    pub tokens: Vec<f32>,
    /// `[n, n_text]`, 1 for tokens and 0 for padding.
    pub mask: Vec<f32>,
}

impl Texts {
    /// Captions.
    pub fn len(&self) -> usize {
        self.z_y.len() / self.d_clip
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.z_y.is_empty()
    }

    /// The captions `rows` as tensors, as long as the longest of them; `None` stands for `empty`, a single caption (the unconditional one).
    pub fn select(&self, rows: &[Option<usize>], empty: &Texts, device: &Device) -> TextCondition {
        let (n, d, n_text) = (rows.len(), self.d_clip, self.n_text);
        let row = |r: &Option<usize>| match *r {
            Some(i) => (self, i),
            None => (empty, 0),
        };
        let length = |r: &Option<usize>| {
            let (texts, i) = row(r);
            let mask = &texts.mask[i * n_text..][..n_text];
            mask.iter()
                .rposition(|&counts| counts > 0.0)
                .map_or(0, |last| last + 1)
        };
        let longest = rows.iter().map(length).max().unwrap_or(0).max(1);
        // `width` values a row are stored, the first `wanted` of them go on.
        let gather = |field: fn(&Texts) -> &Vec<f32>, width: usize, wanted: usize| -> Vec<f32> {
            let mut values = Vec::with_capacity(n * wanted);
            for (texts, i) in rows.iter().map(row) {
                values.extend_from_slice(&field(texts)[i * width..][..wanted]);
            }
            values
        };
        let tokens = gather(|t| &t.tokens, n_text * d, longest * d);
        TextCondition {
            z_y: Tensor::from_data(TensorData::new(gather(|t| &t.z_y, d, d), [n, d]), device),
            tokens: Tensor::from_data(TensorData::new(tokens, [n, longest, d]), device),
            mask: Some(Tensor::from_data(
                TensorData::new(gather(|t| &t.mask, n_text, longest), [n, longest]),
                device,
            )),
        }
    }

    /// All captions in order, as tensors.
    pub fn all(&self, device: &Device) -> TextCondition {
        let rows: Vec<_> = (0..self.len()).map(Some).collect();
        self.select(&rows, self, device)
    }
}

/// Pictures with their captions.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    /// `[n, d_clip]`, raw CLIP image embeddings.
    pub z_x: Vec<f32>,
    /// The captions.
    pub texts: Texts,
    /// The caption `""`, which stands for no condition.
    pub empty: Texts,
    /// Which captions are the same: a number for each pair, equal where the words are.
    pub wordings: Vec<u32>,
    /// Which captions mean the same: a number for each pair, equal where what they say is.
    pub meanings: Vec<u32>,
}

/// A number for each of `values`, equal where they are.
pub fn numbered<T: Eq + Hash>(values: impl IntoIterator<Item = T>) -> Vec<u32> {
    let mut numbers = HashMap::new();
    values
        .into_iter()
        .map(|value| {
            let next = numbers.len() as u32;
            *numbers.entry(value).or_insert(next)
        })
        .collect()
}

impl Pairs {
    /// Pairs.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// d_clip.
    pub fn d_clip(&self) -> usize {
        self.texts.d_clip
    }

    /// z_x of `rows`, `[rows, d_clip]`.
    pub fn z_x(&self, rows: &[usize], device: &Device) -> Tensor<2> {
        let d = self.d_clip();
        let values: Vec<f32> = rows
            .iter()
            .flat_map(|&r| &self.z_x[r * d..][..d])
            .copied()
            .collect();
        Tensor::from_data(TensorData::new(values, [rows.len(), d]), device)
    }

    /// Mean and standard deviation (biased, floor 1e-6) of z_x, `[d_clip]` each: the whitening of diffusion priors.
    pub fn statistics(&self) -> (Vec<f32>, Vec<f32>) {
        let (n, d) = (self.len() as f64, self.d_clip());
        let column = |j: usize| self.z_x.iter().skip(j).step_by(d).map(|&v| f64::from(v));
        let mean: Vec<f64> = (0..d).map(|j| column(j).sum::<f64>() / n).collect();
        let variance = |j: usize| column(j).map(|v| (v - mean[j]).powi(2)).sum::<f64>() / n;
        let std = (0..d).map(|j| variance(j).sqrt().max(1e-6) as f32).collect();
        (mean.iter().map(|&m| m as f32).collect(), std)
    }
}

/// The pairs of step `step` (from 1): each pass over the data is a new permutation, a function of the seed and the pass alone.
pub fn rows_of_step(n: usize, batch_size: usize, seed: u64, step: usize) -> Vec<usize> {
    let first = (step - 1) * batch_size;
    rows_in_order(n, seed, first..first + batch_size)
}

/// The pairs at these places of the endless order that [`rows_of_step`] cuts into steps.
pub fn rows_in_order(n: usize, seed: u64, places: Range<usize>) -> Vec<usize> {
    let mut rows = Vec::with_capacity(places.len());
    let mut pass = None;
    for i in places {
        let order = match pass {
            Some((p, ref order)) if p == i / n => order,
            _ => {
                let mut order: Vec<usize> = (0..n).collect();
                order.shuffle(Noise::stream(seed, (i / n) as u64).rng());
                &pass.insert((i / n, order)).1
            }
        };
        rows.push(order[i % n]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_values_have_equal_numbers() {
        assert_eq!(numbered(["a", "b", "a", "c", "b"]), [0, 1, 0, 2, 1]);
    }

    proptest! {
        #[test]
        fn every_pass_visits_every_pair_once(n in 1usize..40, batch in 1usize..17, seed in 0u64..9) {
            let steps = (2 * n).div_ceil(batch);
            let seen: Vec<usize> = (1..=steps).flat_map(|s| rows_of_step(n, batch, seed, s)).collect();
            for pass in seen.chunks_exact(n) {
                let mut sorted = pass.to_vec();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            }
        }
    }
}
