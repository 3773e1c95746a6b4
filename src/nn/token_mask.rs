//! Which tokens of a batch of captions are padding.
//!
//! Burn's padding masks are tensors of bools on the device only; reading them back waits for the device.

use std::sync::{Arc, OnceLock};

use burn::prelude::*;

/// 1 for tokens, 0 for padding, `[batch, n_text]`: on the device, where attention adds it to its scores, and on the host, where it says which rows
/// need not be computed.
#[derive(Debug, Clone)]
pub struct TokenMask {
    values: Tensor<2>,
    /// `[batch * n_text]`
    counts: Arc<OnceLock<Vec<bool>>>,
}

impl TokenMask {
    /// A mask of values that the host has, so that nobody ever waits for them.
    ///
    /// # Panics
    /// If there are not as many as `shape` says.
    pub fn new(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Self {
        let counts: Vec<bool> = values.iter().map(|&v| v > 0.0).collect();
        Self {
            values: Tensor::from_data(TensorData::new(values, shape), device),
            counts: Arc::new(OnceLock::from(counts)),
        }
    }

    /// `[batch, n_text]`
    pub fn dims(&self) -> [usize; 2] {
        self.values.dims()
    }

    /// The values on the device.
    pub fn values(&self) -> Tensor<2> {
        self.values.clone()
    }

    /// Whether each token counts, row by row. A mask that began on the device is read once, which waits for what is being computed there.
    pub fn counts(&self) -> &[bool] {
        self.counts
            .get_or_init(|| self.values.to_data().iter::<f32>().map(|v| v > 0.0).collect())
    }

    /// The first `n` tokens of each row.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        let [_, n_text] = self.dims();
        let counts = |all: &Vec<bool>| all.chunks(n_text).flat_map(|row| row[..n].to_vec()).collect();
        Self::derived(self.values.clone().narrow(1, 0, n), self.counts.get().map(counts))
    }

    /// `n` more tokens in each row, which count or do not.
    #[must_use]
    pub fn followed_by(&self, n: usize, counting: bool) -> Self {
        let [batch, n_text] = self.dims();
        let like = (&self.values.device(), self.values.dtype());
        let more = Tensor::full([batch, n], f32::from(u8::from(counting)), like);
        let counts = |all: &Vec<bool>| {
            let rows = all.chunks(n_text);
            rows.flat_map(|row| [row, &vec![counting; n]].concat()).collect()
        };
        let values = Tensor::cat(vec![self.values.clone(), more], 1);
        Self::derived(values, self.counts.get().map(counts))
    }

    /// These rows and then those of `other`, which has as many tokens.
    #[must_use]
    pub fn above(&self, other: &Self) -> Self {
        let both = self.counts.get().zip(other.counts.get());
        Self::derived(
            Tensor::cat(vec![self.values.clone(), other.values.clone()], 0),
            both.map(|(a, b)| [a.as_slice(), b].concat()),
        )
    }

    fn derived(values: Tensor<2>, counts: Option<Vec<bool>>) -> Self {
        Self {
            values,
            counts: Arc::new(counts.map_or_else(OnceLock::new, OnceLock::from)),
        }
    }
}

impl From<Tensor<2>> for TokenMask {
    /// A mask that only the device has.
    fn from(values: Tensor<2>) -> Self {
        Self::derived(values, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    #[test]
    fn the_host_knows_what_the_device_has() {
        let device = DeviceSpec::default().device().expect("a device");
        let mask = |values: &[f32]| TokenMask::new(values.to_vec(), [2, 3], &device);
        let (a, b) = (
            mask(&[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]),
            mask(&[0.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        );
        let read = |mask: &TokenMask| TokenMask::from(mask.values());
        for (known, expected) in [
            (a.clone(), "110100"),
            (a.first(2), "1110"),
            (a.followed_by(2, true), "1101110011"),
            (b.followed_by(1, false), "01101110"),
            (a.above(&b), "110100011111"),
        ] {
            let text = |counts: &[bool]| {
                counts
                    .iter()
                    .map(|&c| if c { '1' } else { '0' })
                    .collect::<String>()
            };
            assert!(known.counts.get().is_some(), "nothing to wait for");
            assert_eq!(text(known.counts()), expected);
            assert_eq!(read(&known).counts(), known.counts());
            assert_eq!(known.counts().len(), known.dims().iter().product::<usize>());
        }
        let late = read(&a).first(2).above(&b.first(2));
        assert!(late.counts.get().is_none());
        assert_eq!(late.counts(), a.first(2).above(&b.first(2)).counts());
    }
}
