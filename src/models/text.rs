//! Encoded captions: [`EncodedTexts`] on the host and [`TextCondition`] on a device, with one conversion each way.
//!
//! Axes: batch, or n captions; n_text tokens; d_clip, which is the width of the hidden states too where a prior reads them.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::DType;

use crate::nn::TokenMask;

/// A batch of encoded captions on a device: what text towers give, and priors and Karlo's decoder read.
#[derive(Debug, Clone)]
pub struct TextCondition {
    /// The text embeddings, `[batch, d_clip]`.
    pub z_y: Tensor<2>,
    /// The text tower's last hidden states, `[batch, n_text, d_clip]`. With a mask, padding that all captions have at their end may be left out: it
    /// changes nothing and costs time.
    pub tokens: Tensor<3>,
    /// Which tokens are not padding, `[batch, n_text]`. `None` drops the causal mask too, as the reference does.
    pub mask: Option<TokenMask>,
}

impl TextCondition {
    /// `texts` as one batch, as long as the longest of them; states after a caption's end are zeros.
    pub fn from_host(texts: &[EncodedText], device: &Device) -> Self {
        let n = texts.len();
        let d = texts.first().map_or(0, |text| text.z_y.len());
        let lengths: Vec<usize> = texts.iter().map(EncodedText::n_tokens).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0).max(1);
        let (mut z_y, mut tokens) = (Vec::with_capacity(n * d), Vec::with_capacity(n * longest * d));
        for (row, text) in texts.iter().enumerate() {
            z_y.extend_from_slice(text.z_y);
            tokens.extend_from_slice(text.hidden);
            tokens.resize((row + 1) * longest * d, 0.0);
        }
        Self {
            z_y: Tensor::from_data(TensorData::new(z_y, [n, d]), (device, DType::F32)),
            tokens: Tensor::from_data(TensorData::new(tokens, [n, longest, d]), (device, DType::F32)),
            mask: Some(TokenMask::of_lengths(&lengths, longest, device)),
        }
    }

    /// The captions on the host, without padding. Waits for the device.
    pub fn to_host(self) -> EncodedTexts {
        let [batch, n_text, d] = self.tokens.dims();
        let lengths = match &self.mask {
            Some(mask) => mask.lengths(),
            None => vec![n_text; batch],
        };
        let host = |data: TensorData| data.iter::<f32>().collect::<Vec<_>>();
        let (z_y, tokens) = (host(self.z_y.into_data()), host(self.tokens.into_data()));
        let mut texts = EncodedTexts::new(d);
        for (row, length) in lengths.into_iter().enumerate() {
            texts.push(EncodedText {
                z_y: &z_y[row * d..][..d],
                hidden: &tokens[row * n_text * d..][..length * d],
            });
        }
        texts
    }

    /// Captions of several batches, in order. With masks the shorter ones are padded.
    ///
    /// # Panics
    /// If there is none, or only some have a mask.
    pub fn cat(batches: Vec<Self>) -> Self {
        let n_text = batches.iter().map(|b| b.tokens.dims()[1]).max();
        let n_text = n_text.expect("at least one batch");
        let (mut z_y, mut tokens, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        for batch in batches {
            let batch = batch.padded_to(n_text);
            z_y.push(batch.z_y);
            tokens.push(batch.tokens);
            masks.extend(batch.mask);
        }
        assert!(
            masks.is_empty() || masks.len() == z_y.len(),
            "captions with and without a mask"
        );
        Self {
            z_y: Tensor::cat(z_y, 0),
            tokens: Tensor::cat(tokens, 0),
            mask: (!masks.is_empty()).then(|| TokenMask::cat(&masks)),
        }
    }

    /// The captions `rows`, in this order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let indices = TensorData::new(indices, [rows.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &self.tokens.device());
        Self {
            z_y: self.z_y.clone().select(0, indices.clone()),
            tokens: self.tokens.clone().select(0, indices),
            mask: self.mask.as_ref().map(|mask| mask.select(rows)),
        }
    }

    /// A range of the captions. No copy.
    #[must_use]
    pub fn narrow(&self, rows: Range<usize>) -> Self {
        let (start, n) = (rows.start, rows.len());
        Self {
            z_y: self.z_y.clone().narrow(0, start, n),
            tokens: self.tokens.clone().narrow(0, start, n),
            mask: self.mask.as_ref().map(|mask| mask.narrow(rows)),
        }
    }

    /// The same captions without the padding that all of them have at their end. Without a mask: unchanged.
    #[must_use]
    pub fn without_padding(self) -> Self {
        let Some(mask) = &self.mask else { return self };
        let longest = mask.lengths().into_iter().max().unwrap_or(0).max(1);
        Self {
            z_y: self.z_y,
            tokens: self.tokens.narrow(1, 0, longest),
            mask: self.mask.map(|mask| mask.first(longest)),
        }
    }

    /// The same captions with `n_text` tokens (or as many as there are, if more), padded with zeros. Without a mask: unchanged.
    #[must_use]
    pub fn padded_to(self, n_text: usize) -> Self {
        let ([batch, n, d], Some(mask)) = (self.tokens.dims(), self.mask.clone()) else {
            return self;
        };
        if n >= n_text {
            return self;
        }
        let like = (&self.tokens.device(), self.tokens.dtype());
        let padding = Tensor::zeros([batch, n_text - n, d], like);
        Self {
            z_y: self.z_y,
            tokens: Tensor::cat(vec![self.tokens, padding], 1),
            mask: Some(mask.followed_by(n_text - n, false)),
        }
    }
}

/// One encoded caption on the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncodedText<'a> {
    /// The text embedding, `[d_clip]`.
    pub z_y: &'a [f32],
    /// The text tower's last hidden states, `[tokens, d_clip]`, without padding.
    pub hidden: &'a [f32],
}

impl EncodedText<'_> {
    /// Tokens, start and end included.
    pub fn n_tokens(&self) -> usize {
        self.hidden.len() / self.z_y.len().max(1)
    }
}

/// Encoded captions on the host, without padding.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedTexts {
    d_clip: usize,
    z_y: Vec<f32>,
    /// Hidden states of one caption after another, `[tokens, d_clip]`.
    hidden: Vec<f32>,
    /// Where each caption ends in `hidden`.
    ends: Vec<usize>,
}

impl EncodedTexts {
    /// No captions of width `d_clip`.
    pub fn new(d_clip: usize) -> Self {
        Self {
            d_clip,
            z_y: Vec::new(),
            hidden: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Appends a caption.
    ///
    /// # Panics
    /// If its width is another one.
    pub fn push(&mut self, text: EncodedText) {
        assert_eq!(text.z_y.len(), self.d_clip, "width of z_y");
        assert!(
            text.hidden.len().is_multiple_of(self.d_clip),
            "width of hidden states"
        );
        self.z_y.extend_from_slice(text.z_y);
        self.hidden.extend_from_slice(text.hidden);
        self.ends.push(self.hidden.len());
    }

    /// Appends the captions of `other`.
    ///
    /// # Panics
    /// If their width is another one.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|text| self.push(text));
    }

    /// d_clip.
    pub fn d_clip(&self) -> usize {
        self.d_clip
    }

    /// Captions.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text embeddings, `[n, d_clip]`.
    pub fn z_y(&self) -> &[f32] {
        &self.z_y
    }

    /// Caption `i`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn get(&self, i: usize) -> EncodedText<'_> {
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        EncodedText {
            z_y: &self.z_y[i * self.d_clip..][..self.d_clip],
            hidden: &self.hidden[start..self.ends[i]],
        }
    }

    /// The captions in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = EncodedText<'_>> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// The captions in order as one batch on `device`.
    pub fn to_device(&self, device: &Device) -> TextCondition {
        TextCondition::from_host(&self.iter().collect::<Vec<_>>(), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    #[test]
    fn host_and_device_hold_the_same() {
        let device = DeviceSpec::default().device().expect("the default device");
        let mut texts = EncodedTexts::new(2);
        for (z_y, hidden) in [
            ([1.0, 2.0], vec![1.0; 2]),
            ([3.0, 4.0], vec![2.0; 6]),
            ([5.0, 6.0], vec![]),
        ] {
            texts.push(EncodedText {
                z_y: &z_y,
                hidden: &hidden,
            });
        }
        let lengths: Vec<usize> = texts.iter().map(|text| text.n_tokens()).collect();
        assert_eq!(lengths, [1, 3, 0]);
        let batch = texts.to_device(&device);
        assert_eq!(batch.tokens.dims(), [3, 3, 2]);
        assert_eq!(batch.clone().to_host(), texts);
        assert_eq!(batch.clone().padded_to(5).to_host(), texts);
        assert_eq!(
            batch.clone().padded_to(5).without_padding().tokens.dims(),
            [3, 3, 2]
        );
        let parts = vec![batch.select(&[0]).without_padding(), batch.select(&[1, 2])];
        assert_eq!(parts[0].tokens.dims(), [1, 1, 2]);
        assert_eq!(TextCondition::cat(parts).to_host(), texts);
        assert_eq!(batch.narrow(1..3).to_host(), batch.select(&[1, 2]).to_host());
        let again = [1, 0, 1].map(|i| texts.get(i));
        let selected = batch.select(&[1, 0, 1]).to_host();
        assert_eq!(selected.iter().collect::<Vec<_>>(), again);
        assert_eq!(TextCondition::from_host(&again, &device).to_host(), selected);
    }
}
