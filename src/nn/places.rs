//! Which places of a batch of sequences are worth computing.
//!
//! Everything in a transformer but attention works row by row, so padding need not be there: the rows that count are put one under the other, and
//! laid out as a batch only where attention looks across them.
//!
//! `gather_nd` and `scatter_nd` move the rows: no index occurs twice, and each is the other's derivative, so that every direction is one parallel copy
//! on any device. The derivative of `select` is not: on GPUs Burn 0.22.1 adds it up row after row.

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;

use super::TokenMask;

/// The places of `[batch, seq]` that have a row. The others have none; what attention sees there are zeros, and they have to be masked.
#[derive(Debug, Clone)]
pub struct Places {
    batch: usize,
    seq: usize,
    /// `None` where all places have rows, in order.
    chosen: Option<Chosen>,
}

#[derive(Debug, Clone)]
struct Chosen {
    /// The place of each row, `[n, 1]`.
    place_of: Tensor<2, Int>,
    /// The row of each sequence's last place, `[batch, 1]`.
    last: Tensor<2, Int>,
}

impl Places {
    /// All of them.
    pub fn all(batch: usize, seq: usize) -> Self {
        Self {
            batch,
            seq,
            chosen: None,
        }
    }

    /// Those where `mask` `[batch, seq]` is 1, and the last of each sequence.
    pub fn counting(mask: &TokenMask) -> Self {
        let ([batch, seq], device) = (mask.dims(), mask.values().device());
        let all = Self::all(batch, seq);
        let mask = mask.counts();
        let (mut place_of, mut last) = (Vec::new(), Vec::new());
        for (place, &counts) in mask.iter().enumerate() {
            let is_last = (place + 1).is_multiple_of(seq);
            if is_last {
                last.push(place_of.len() as i32);
            }
            if counts || is_last {
                place_of.push(place as i32);
            }
        }
        if place_of.len() == mask.len() {
            return all;
        }
        let indices = |values: Vec<i32>| {
            let n = values.len();
            Tensor::from_data(TensorData::new(values, [n, 1]), &device)
        };
        let chosen = Chosen {
            place_of: indices(place_of),
            last: indices(last),
        };
        Self {
            chosen: Some(chosen),
            ..all
        }
    }

    /// `[batch, seq, d]` -> `[n, d]`, one row a place.
    pub fn rows(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, seq, d] = x.dims();
        assert_eq!([batch, seq], [self.batch, self.seq], "places of another batch");
        let x = x.reshape([batch * seq, d]);
        match &self.chosen {
            Some(chosen) => x.gather_nd(chosen.place_of.clone()),
            None => x,
        }
    }

    /// `[n, d]` -> `[batch, seq, d]`.
    pub fn sequences(&self, rows: Tensor<2>) -> Tensor<3> {
        let (batch, seq, d) = (self.batch, self.seq, rows.dims()[1]);
        let x =
            match &self.chosen {
                Some(chosen) => Tensor::<2>::zeros([batch * seq, d], (&rows.device(), rows.dtype()))
                    .scatter_nd(chosen.place_of.clone(), rows, IndexingUpdateOp::Add),
                None => rows,
            };
        x.reshape([batch, seq, d])
    }

    /// The last row of each sequence: `[n, d]` -> `[batch, d]`.
    pub fn last(&self, rows: Tensor<2>) -> Tensor<2> {
        let (batch, seq, d) = (self.batch, self.seq, rows.dims()[1]);
        match &self.chosen {
            Some(chosen) => rows.gather_nd(chosen.last.clone()),
            None => rows
                .reshape([batch, seq, d])
                .narrow(1, seq - 1, 1)
                .reshape([batch, d]),
        }
    }
}
