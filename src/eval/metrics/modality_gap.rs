//! Where predictions lie in the CLIP's modality gap, see [`ModalityGap`](crate::eval::embedding::ModalityGap).

use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::EvalError;
use crate::eval::embedding::GapPlace;
use crate::eval::inputs::{Inputs, MetricTable, mean_over_seeds};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::neither(
            "gap/position",
            "Place of the prediction on the line from the mean text embedding (0) to the mean image embedding (1); that of true images is right",
            "share of the gap",
        ),
        MetricInfo::neither(
            "gap/to_image_mean",
            "Distance of the prediction from the mean image embedding, all of norm 1; that of true images is right",
            "distance",
        ),
        MetricInfo::neither(
            "gap/to_text_mean",
            "Distance of the prediction from the mean text embedding, all of norm 1; that of true images is right",
            "distance",
        ),
    ],
    source: Source::Embeddings(add),
};

fn add(table: &mut MetricTable<'_>, inputs: &Inputs<'_>) -> Result<(), EvalError> {
    let places = inputs
        .z_x_hat
        .iter()
        .map(|p| inputs.gap.place(p))
        .collect::<Result<Vec<_>, _>>()?;
    let mut add = |name: &str, of: fn(&GapPlace) -> &Vec<f64>| {
        let values: Vec<Vec<f64>> = places.iter().map(|place| of(place).clone()).collect();
        table.add(name, &mean_over_seeds(&values));
    };
    add("gap/position", |place| &place.position);
    add("gap/to_image_mean", |place| &place.to_image_mean);
    add("gap/to_text_mean", |place| &place.to_text_mean);
    Ok(())
}
