//! The losses of one run.

use crate::experiment::MetricRow;

/// The losses of one run, `(step, loss)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RunLosses {
    pub(super) held_out: Vec<(f64, f64)>,
    pub(super) training: Vec<(f64, f64)>,
}

impl RunLosses {
    /// The losses in the rows of `metrics.jsonl`.
    pub(super) fn of(rows: &[MetricRow]) -> Self {
        let of = |split: &str| {
            let losses = rows.iter().filter(|row| row.split == split && row.name == "loss");
            losses
                .filter_map(|row| Some((row.step as f64, row.value?)))
                .collect()
        };
        Self {
            held_out: of("valid"),
            training: of("train"),
        }
    }
}
