//! What a file of this folder provides: the rows of some metrics, and how they are computed.

use super::image_set::ImageMetric;
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::decoded::DecodedInputs;
use crate::eval::inputs::{Inputs, MetricTable};

/// Metrics that are computed together.
pub(super) struct Family {
    /// Their rows, in the order of a report.
    pub(super) rows: &'static [MetricInfo],
    /// How their values come about.
    pub(super) source: Source,
}

/// What metrics are computed from.
pub(super) enum Source {
    /// The predictions of a prior and the embeddings of its test prompts.
    Embeddings(fn(&mut MetricTable<'_>, &Inputs<'_>) -> Result<(), EvalError>),
    /// Images that a world's decoder made of the predictions, as the world's checker and CLIP see them.
    DecodedImages(fn(&mut MetricTable<'_>, &DecodedInputs<'_>) -> Result<(), EvalError>),
    /// A folder of images, by `eclipse eval`.
    ImageFolder(&'static dyn ImageMetric),
    /// The validations of a training; a report reads them from `metrics.jsonl`.
    Training,
}
