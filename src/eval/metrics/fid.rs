//! `fid`: the Frechet inception distance, see [`crate::eval::fid`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured, Reference};
use super::info::MetricInfo;
use crate::eval::features::Features;
use crate::eval::fid::{FULL_RANK, Statistics, infinity};
use crate::eval::frechet::frechet_of;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::lower(
        "fid",
        "Frechet inception distance to a reference",
        "squared distance",
    )
    .with_decimals(6)],
    source: Source::ImageFolder(&Fid),
};

struct Fid;

impl ImageMetric for Fid {
    fn options(&self) -> &'static [ImageOption] {
        use ImageOption::{Inception, Infinity, Reference, Resize, SaveStatistics};
        &[Reference, Inception, Resize, Infinity, SaveStatistics]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let network = images.inception()?;
        let protocol = BTreeMap::from([
            ("resize".to_owned(), json!(images.options.resize.name())),
            ("weights_sha256".to_owned(), json!(network.sha256)),
        ]);
        distance("fid", images, &*network, protocol)
    }
}

/// The Frechet distance of the images to the reference by the features of `network`, for `metric`.
pub(super) fn distance(
    metric: &str,
    images: &ImageSet<'_>,
    network: &(dyn Features + Sync),
    mut protocol: BTreeMap<String, Value>,
) -> Result<Measured, ImageMetricError> {
    let reference = images.reference(network)?;
    let rows = images.features(network)?;
    let statistics = reference.statistics()?;
    if rows.n() < FULL_RANK.min(network.d()) || statistics.n.is_some_and(|n| n < network.d()) {
        tracing::warn!(
            "{metric} of {} images against {}: less than the {} features, so a covariance is singular and the distance far too large; compare it \
             only with one of the same numbers, or use kid",
            rows.n(),
            statistics
                .n
                .map_or_else(|| "an unknown number".to_owned(), |n| n.to_string()),
            network.d()
        );
    }
    let own = Statistics::of(&rows)?;
    let found = match &reference {
        Reference::Rows(others) => frechet_of(&rows, others)?,
        Reference::Statistics(statistics) => own.distance(statistics)?,
    };
    let written = images.options.save_statistics.clone();
    if let Some(path) = &written {
        own.write(path)?;
    }
    let mut also = BTreeMap::from([(format!("{metric} mean term"), found.mean_term)]);
    if let Some(n_points) = images.options.infinity {
        let found = infinity(&rows, &statistics, n_points, 0)?;
        also.insert(format!("{metric} infinity"), found.distance);
    }
    protocol.insert("reference_sha256".into(), images.reference_sha256()?.into());
    protocol.insert("reference_n".into(), json!(statistics.n));
    Ok(Measured {
        value: found.distance,
        also,
        protocol,
        written: written.into_iter().collect(),
        ..Measured::default()
    })
}
