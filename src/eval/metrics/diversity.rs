//! How much predictions of one prompt differ under different noise.

use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::embedding::noise_cosines;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::neither(
        "diversity",
        "1 minus the mean cosine between predictions of one prompt under different noise; only with several noise seeds",
        "cosine",
    ).titled("diversity")],
    source: Source::Embeddings(|table, inputs| {
        if inputs.z_x_hat.len() > 1 {
            let alike = noise_cosines(inputs.z_x_hat)?;
            table.add("diversity", &alike.iter().map(|c| 1.0 - c).collect::<Vec<_>>());
        }
        Ok(())
    }),
};
