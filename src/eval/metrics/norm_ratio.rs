//! How long predictions are.

use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::embedding::norm_ratios;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::neither(
        "norm_ratio",
        "Norm of the predicted image embedding divided by that of the true one; 1 is right",
        "ratio",
    )
    .titled("norm ratio")],
    source: Source::Embeddings(|table, inputs| {
        table.add(
            "norm_ratio",
            &inputs.mean_over_seeds(|p| norm_ratios(p, inputs.z_x))?,
        );
        Ok(())
    }),
};
