//! The table of metrics: what each means, in which unit, which direction is better, and how it is computed.
//!
//! A file of this folder holds the row of a metric, or of a few that are computed together, and how their values come about. One line in the list below
//! makes it known everywhere: to evaluations, `eclipse eval` and its help, reports and their glossaries. The measures themselves are pure functions one
//! folder up, as in [`crate::eval::frechet`].

mod family;
mod image_set;
mod info;
mod shared_networks;

pub use image_set::{ImageMetric, ImageMetricError, ImageOption, ImageOptions, ImageSet, Measured};
pub use info::{MetricDirection, MetricInfo};
pub use shared_networks::SharedNetworks;

use self::family::{Family, Source};
use super::EvalError;
use super::decoded::DecodedInputs;
use super::inputs::{Inputs, MetricTable};
use super::results::EvalFile;

macro_rules! metrics {
    ($($(#[$attribute:meta])* $file:ident,)+) => {
        $($(#[$attribute])* mod $file;)+

        /// All metrics, in the order of a report.
        const FAMILIES: &[Family] = &[$($(#[$attribute])* $file::FAMILY,)+];
    };
}

// Order matters: it is that of the rows of `eval/*.json`, and of the columns of reports.
metrics! {
    forced_choice,
    similarity,
    retrieval,
    distribution,
    norm_ratio,
    modality_gap,
    diversity,
    checked_images,
    bias,
    decoded_embeddings,
    held_out,
    fid,
    kid,
    clip_fid,
    clip_score,
    pick_score,
    blip_vqa,
    spatial,
    three_in_one,
    world_checker,
    #[cfg(test)]
    toy_brightness,
}

pub use checked_images::findings;

/// The rows of all metrics.
pub fn all() -> impl Iterator<Item = &'static MetricInfo> {
    FAMILIES.iter().flat_map(|family| family.rows)
}

/// The row of the metric `name`; none for an unknown name.
pub fn info(name: &str) -> Option<&'static MetricInfo> {
    all().find(|row| row.describes(name))
}

/// The metrics that can be computed on a folder of images, each with its row.
pub fn of_image_folders() -> impl Iterator<Item = (&'static MetricInfo, &'static dyn ImageMetric)> {
    FAMILIES.iter().filter_map(|family| match family.source {
        Source::ImageFolder(metric) => Some((family.rows.first()?, metric)),
        _ => None,
    })
}

/// Every metric on the embeddings of one prior and one set of test prompts.
///
/// # Errors
/// [`EvalError::Shape`] or [`EvalError::TooFew`] (fewer than two prompts), naming the input at fault.
pub fn evaluate(inputs: &Inputs<'_>) -> Result<EvalFile, EvalError> {
    inputs.check()?;
    let mut table = MetricTable::new(inputs.z_x.n(), inputs.splits);
    for family in FAMILIES {
        if let Source::Embeddings(add) = family.source {
            add(&mut table, inputs)?;
        }
    }
    Ok(EvalFile::new(table.metrics))
}

/// Every metric on images that a world's decoder made of a prior's predictions.
///
/// # Errors
/// [`EvalError::Shape`], naming the input at fault.
pub fn evaluate_images(inputs: &DecodedInputs<'_>) -> Result<EvalFile, EvalError> {
    inputs.check()?;
    let mut table = MetricTable::new(inputs.splits.len(), inputs.splits);
    for family in FAMILIES {
        if let Source::DecodedImages(add) = family.source {
            add(&mut table, inputs)?;
        }
    }
    Ok(EvalFile::new(table.metrics))
}

#[cfg(test)]
mod tests;
