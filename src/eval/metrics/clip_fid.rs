//! `clip-fid`: the Frechet distance of CLIP's image embeddings, as clean-fid's `clip_vit_b_32` computes it.

use std::collections::BTreeMap;

use serde_json::json;

use super::family::{Family, Source};
use super::fid::distance;
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::models::clip::Processor;

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::lower(
        "clip-fid",
        "Frechet distance of CLIP's image embeddings to a reference (clean-fid's)",
        "squared distance",
    )
    .with_decimals(6)],
    source: Source::ImageFolder(&ClipFid),
};

struct ClipFid;

impl ImageMetric for ClipFid {
    fn options(&self) -> &'static [ImageOption] {
        use ImageOption::{Clip, Infinity, Reference, SaveStatistics};
        &[Reference, Clip, Infinity, SaveStatistics]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let network = images.clip(Processor::CleanFid)?;
        let protocol = BTreeMap::from([("weights_sha256".to_owned(), json!(network.sha256))]);
        distance("clip-fid", images, &*network, protocol)
    }
}
