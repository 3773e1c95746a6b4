//! `kid`: the kernel inception distance, see [`crate::eval::kid`].

use std::collections::BTreeMap;

use serde_json::json;

use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::eval::kid::kid;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::lower(
        "kid",
        "Kernel inception distance to a reference",
        "squared distance",
    )
    .with_decimals(6)],
    source: Source::ImageFolder(&Kid),
};

struct Kid;

impl ImageMetric for Kid {
    fn options(&self) -> &'static [ImageOption] {
        use ImageOption::{Inception, Reference, Resize, Subsets};
        &[Reference, Inception, Resize, Subsets]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let network = images.inception()?;
        let reference = images.features_of_reference(&*network)?;
        let rows = images.features(&*network)?;
        let options = images.options.kid;
        let (value, each) = kid(&rows, &reference, options)?;
        let spread = each.iter().map(|v| (v - value).powi(2)).sum::<f64>() / each.len().max(1) as f64;
        let subset_size = options.subset_size.min(rows.n()).min(reference.n());
        let protocol = BTreeMap::from([
            ("resize".to_owned(), json!(images.options.resize.name())),
            ("weights_sha256".to_owned(), json!(network.sha256)),
            ("subsets".to_owned(), json!(options.n_subsets)),
            ("subset_size".to_owned(), json!(subset_size)),
            ("reference_sha256".to_owned(), json!(images.reference_sha256()?)),
            ("reference_n".to_owned(), json!(reference.n())),
        ]);
        Ok(Measured {
            value,
            also: BTreeMap::from([("kid standard deviation over subsets".to_owned(), spread.sqrt())]),
            protocol,
            ..Measured::default()
        })
    }
}
