//! Padding-free batches, as FlashAttention's `unpad_input` and `pad_input`.
//!
//! Everything in a transformer but attention works token by token, so padding need not be computed: the tokens of a batch are packed into one matrix,
//! and unpacked to `[batch, seq, d]` only for attention. Burn 0.22 has no such layout.
//!
//! `gather_nd` and `scatter_nd` move the rows: no index occurs twice, and each is the other's derivative, so that forward and backward are one parallel
//! copy on any device. `select` is not used, because its derivative in Burn 0.22.1 adds the rows one after another on GPUs.

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;

use super::TokenMask;
use crate::device::row_multiple;

/// Which tokens of a `[batch, seq]` batch have a row in the packed matrix. The others are zeros once unpacked, and attention has to mask them.
#[derive(Debug, Clone)]
pub struct PackedLayout {
    batch: usize,
    seq: usize,
    /// `None` where every token has a row, in order.
    indices: Option<Indices>,
}

#[derive(Debug, Clone)]
struct Indices {
    /// Index into `batch * seq` of each row, `[n, 1]`.
    tokens: Tensor<2, Int>,
    /// Row of each sequence's last token, `[batch, 1]`.
    last: Tensor<2, Int>,
}

impl PackedLayout {
    /// Every token has a row.
    pub fn dense(batch: usize, seq: usize) -> Self {
        Self {
            batch,
            seq,
            indices: None,
        }
    }

    /// The tokens where `mask` `[batch, seq]` is 1 have a row, the last token of each sequence, and padding up to [`row_multiple`].
    pub fn from_mask(mask: &TokenMask) -> Self {
        Self::rounded(mask, row_multiple(&mask.values().device()))
    }

    /// [`PackedLayout::from_mask`] with a multiple of `multiple` rows: padding fills them up, as far as there is any. Attention masks it.
    fn rounded(mask: &TokenMask, multiple: usize) -> Self {
        let ([batch, seq], device) = (mask.dims(), mask.values().device());
        let dense = Self::dense(batch, seq);
        let mask = mask.counts();
        let is_last = |token: usize| (token + 1).is_multiple_of(seq);
        let needed = (0..mask.len())
            .filter(|&token| mask[token] || is_last(token))
            .count();
        let mut spare = needed.next_multiple_of(multiple) - needed;
        let (mut tokens, mut last) = (Vec::new(), Vec::new());
        for (token, &counts) in mask.iter().enumerate() {
            if is_last(token) {
                last.push(tokens.len() as i32);
            } else if !counts {
                if spare == 0 {
                    continue;
                }
                spare -= 1;
            }
            tokens.push(token as i32);
        }
        if tokens.len() == mask.len() {
            return dense;
        }
        let column = |values: Vec<i32>| {
            let n = values.len();
            Tensor::from_data(TensorData::new(values, [n, 1]), &device)
        };
        Self {
            indices: Some(Indices {
                tokens: column(tokens),
                last: column(last),
            }),
            ..dense
        }
    }

    /// `[batch, seq, d]` -> `[n, d]`, the tokens that have a row.
    pub fn pack(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, seq, d] = x.dims();
        assert_eq!(
            [batch, seq],
            [self.batch, self.seq],
            "the layout of another batch"
        );
        let x = x.reshape([batch * seq, d]);
        match &self.indices {
            Some(indices) => x.gather_nd(indices.tokens.clone()),
            None => x,
        }
    }

    /// `[n, d]` -> `[batch, seq, d]`, zeros for tokens without a row.
    pub fn unpack(&self, rows: Tensor<2>) -> Tensor<3> {
        let (batch, seq, d) = (self.batch, self.seq, rows.dims()[1]);
        let x =
            match &self.indices {
                Some(indices) => Tensor::<2>::zeros([batch * seq, d], (&rows.device(), rows.dtype()))
                    .scatter_nd(indices.tokens.clone(), rows, IndexingUpdateOp::Add),
                None => rows,
            };
        x.reshape([batch, seq, d])
    }

    /// The last token of each sequence: `[n, d]` -> `[batch, d]`.
    pub fn last(&self, rows: Tensor<2>) -> Tensor<2> {
        let (batch, seq, d) = (self.batch, self.seq, rows.dims()[1]);
        match &self.indices {
            Some(indices) => rows.gather_nd(indices.last.clone()),
            None => rows
                .reshape([batch, seq, d])
                .narrow(1, seq - 1, 1)
                .reshape([batch, d]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;

    #[test]
    fn padding_fills_rows_up_and_moves_no_token() {
        let device = DeviceSpec::default().device().expect("a CPU");
        let mask = TokenMask::of_lengths(&[3, 1, 5, 2], 6, &device);
        let x = Tensor::<1, Int>::arange(0..4 * 6 * 2, &device)
            .float()
            .reshape([4, 6, 2]);
        let exact = PackedLayout::from_mask(&mask);
        // 11 tokens and the last of each sequence; with 24 tokens, 32 rows cannot be filled.
        for (multiple, n) in [(1, 15), (8, 16), (20, 20), (32, 24)] {
            let rounded = PackedLayout::rounded(&mask, multiple);
            let rows = rounded.pack(x.clone());
            assert_eq!(rows.dims(), [n, 2], "multiple of {multiple}");
            let last = rounded.last(rows.clone()).into_data();
            assert_eq!(last, exact.last(exact.pack(x.clone())).into_data());
            let counts = mask.values().unsqueeze_dim::<3>(2);
            let there =
                |layout: &PackedLayout| (layout.unpack(layout.pack(x.clone())) * counts.clone()).into_data();
            assert_eq!(there(&rounded), there(&exact));
        }
        assert_eq!(exact.pack(x).dims(), [15, 2], "a CPU computes no padding");
    }
}
