//! Which tokens of a batch of captions are padding.
//!
//! Burn's padding masks are tensors of bools on the device only; reading them back waits for the device.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::DType;

/// 1 for tokens, 0 for padding, `[batch, n_text]`: on the device, where attention adds it to its scores, and on the host, where it says which tokens
/// need not be computed.
#[derive(Debug, Clone)]
pub struct TokenMask {
    /// f32.
    values: Tensor<2>,
    /// `[batch * n_text]`
    counts: Arc<[bool]>,
}

impl TokenMask {
    /// A mask of host values, `[batch * n_text]`.
    ///
    /// # Panics
    /// If there are not as many as `shape` says.
    pub fn new(counts: Vec<bool>, shape: [usize; 2], device: &Device) -> Self {
        let values = counts.iter().map(|&counts| f32::from(u8::from(counts))).collect();
        Self {
            values: Tensor::from_data(TensorData::new::<f32, _>(values, shape), (device, DType::F32)),
            counts: counts.into(),
        }
    }

    /// A mask of captions with these many tokens each, padded to `n_text`.
    pub fn of_lengths(lengths: &[usize], n_text: usize, device: &Device) -> Self {
        let row = |&length: &usize| (0..n_text).map(move |token| token < length);
        let counts = lengths.iter().flat_map(row).collect();
        Self::new(counts, [lengths.len(), n_text], device)
    }

    /// `[batch, n_text]`
    pub fn dims(&self) -> [usize; 2] {
        self.values.dims()
    }

    /// The values on the device, in f32.
    pub fn values(&self) -> Tensor<2> {
        self.values.clone()
    }

    /// Whether each token counts, row by row.
    pub fn counts(&self) -> &[bool] {
        &self.counts
    }

    /// Tokens of each caption up to its last one that counts.
    pub fn lengths(&self) -> Vec<usize> {
        let length = |row: &[bool]| row.iter().rposition(|&counts| counts).map_or(0, |last| last + 1);
        self.rows().map(length).collect()
    }

    /// The first `n` tokens of each row.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        Self {
            values: self.values.clone().narrow(1, 0, n),
            counts: self.rows().flat_map(|row| &row[..n]).copied().collect(),
        }
    }

    /// `n` more tokens in each row, which count or do not.
    #[must_use]
    pub fn followed_by(&self, n: usize, counting: bool) -> Self {
        let [batch, _] = self.dims();
        let like = (&self.values.device(), self.values.dtype());
        let more = Tensor::full([batch, n], f32::from(u8::from(counting)), like);
        let more_counts = vec![counting; n];
        let rows = self.rows().flat_map(|row| row.iter().chain(&more_counts));
        Self {
            values: Tensor::cat(vec![self.values.clone(), more], 1),
            counts: rows.copied().collect(),
        }
    }

    /// The rows `rows`, in this order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let [_, n_text] = self.dims();
        let row = |&row: &usize| &self.counts[row * n_text..][..n_text];
        let counts = rows.iter().flat_map(row).copied().collect();
        Self::new(counts, [rows.len(), n_text], &self.values.device())
    }

    /// A range of rows.
    #[must_use]
    pub fn narrow(&self, rows: Range<usize>) -> Self {
        let [_, n_text] = self.dims();
        Self {
            values: self.values.clone().narrow(0, rows.start, rows.len()),
            counts: self.counts[rows.start * n_text..rows.end * n_text].into(),
        }
    }

    /// The rows of several masks of as many tokens, in order.
    ///
    /// # Panics
    /// If there is none.
    pub fn cat(masks: &[Self]) -> Self {
        let values = masks.iter().map(Self::values).collect();
        Self {
            values: Tensor::cat(values, 0),
            counts: masks.iter().flat_map(Self::counts).copied().collect(),
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[bool]> {
        let [batch, n_text] = self.dims();
        (0..batch).map(move |row| &self.counts[row * n_text..][..n_text])
    }
}

impl From<Tensor<2>> for TokenMask {
    /// A mask that only the device has: waits for it.
    fn from(values: Tensor<2>) -> Self {
        let counts = values.to_data().iter::<f32>().map(|value| value > 0.0).collect();
        Self {
            values: values.cast(DType::F32),
            counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    #[test]
    fn host_and_device_hold_the_same() {
        let device = DeviceSpec::default().device().expect("a device");
        let mask = |text: &str| TokenMask::new(text.chars().map(|c| c == '1').collect(), [2, 3], &device);
        let (a, b) = (mask("110100"), mask("011111"));
        for (mask, expected) in [
            (a.clone(), "110100"),
            (a.first(2), "1110"),
            (a.followed_by(2, true), "1101110011"),
            (b.followed_by(1, false), "01101110"),
            (a.select(&[1, 1, 0]), "100100110"),
            (a.narrow(1..2), "100"),
            (TokenMask::cat(&[a.clone(), b.clone()]), "110100011111"),
            (TokenMask::of_lengths(&[0, 2], 3, &device), "000110"),
        ] {
            let text = |counts: &[bool]| -> String {
                let digit = |&c: &bool| if c { '1' } else { '0' };
                counts.iter().map(digit).collect()
            };
            assert_eq!(text(mask.counts()), expected);
            assert_eq!(TokenMask::from(mask.values()).counts(), mask.counts());
            assert_eq!(mask.counts().len(), mask.dims().iter().product::<usize>());
        }
        assert_eq!((a.lengths(), b.lengths()), (vec![2, 1], vec![3, 3]));
    }
}
