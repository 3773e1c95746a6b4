//! Which places of a batch of sequences are worth computing.
//!
//! Everything in a transformer but attention works row by row, so padding need not be there: the rows that count are put one under the other, and
//! laid out as a batch only where attention looks across them.

use burn::prelude::*;

use crate::device::reads_for_free;

/// The places of `[batch, seq]` that have a row. The others have none; what attention sees there is any row, and has to be masked.
#[derive(Debug, Clone)]
pub struct Places {
    batch: usize,
    seq: usize,
    /// `None` where all places have rows, in order.
    chosen: Option<Chosen>,
}

#[derive(Debug, Clone)]
struct Chosen {
    /// The place of each row, `[n]`.
    place_of: Tensor<1, Int>,
    /// The row of each place, `[batch * seq]`, 0 for those that have none.
    row_of: Tensor<1, Int>,
    /// The row of each sequence's last place, `[batch]`.
    last: Tensor<1, Int>,
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

    /// Those where `mask` `[batch, seq]` is 1, and the last of each sequence. All of them on devices where looking at the mask would
    /// have to wait for what is being computed.
    pub fn counting(mask: &Tensor<2>) -> Self {
        let ([batch, seq], device) = (mask.dims(), mask.device());
        let all = Self::all(batch, seq);
        if !reads_for_free(&device) {
            return all;
        }
        let mask: Vec<f32> = mask.to_data().iter::<f32>().collect();
        let mut place_of: Vec<i32> = Vec::new();
        let mut row_of = vec![0; mask.len()];
        for (place, &counts) in mask.iter().enumerate() {
            if counts > 0.0 || (place + 1).is_multiple_of(seq) {
                row_of[place] = place_of.len() as i32;
                place_of.push(place as i32);
            }
        }
        if place_of.len() == mask.len() {
            return all;
        }
        let indices = |values: Vec<i32>| {
            let n = values.len();
            Tensor::from_data(TensorData::new(values, [n]), &device)
        };
        let last = row_of.iter().copied().skip(seq - 1).step_by(seq).collect();
        let chosen = Chosen {
            place_of: indices(place_of),
            row_of: indices(row_of),
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
            Some(chosen) => x.select(0, chosen.place_of.clone()),
            None => x,
        }
    }

    /// `[n, d]` -> `[batch, seq, d]`.
    pub fn sequences(&self, rows: Tensor<2>) -> Tensor<3> {
        let d = rows.dims()[1];
        let x = match &self.chosen {
            Some(chosen) => rows.select(0, chosen.row_of.clone()),
            None => rows,
        };
        x.reshape([self.batch, self.seq, d])
    }

    /// The last row of each sequence: `[n, d]` -> `[batch, d]`.
    pub fn last(&self, rows: Tensor<2>) -> Tensor<2> {
        let (batch, seq, d) = (self.batch, self.seq, rows.dims()[1]);
        match &self.chosen {
            Some(chosen) => rows.select(0, chosen.last.clone()),
            None => rows
                .reshape([batch, seq, d])
                .narrow(1, seq - 1, 1)
                .reshape([batch, d]),
        }
    }
}
