//! What a training's validations say at the scored parameters; a report reads it from `metrics.jsonl`.

use super::family::{Family, Source};
use super::info::MetricInfo;

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::lower(
            "held_out/loss",
            "Loss of the objective on held-out pairs; objectives are not comparable by it",
            "loss",
        )
        .titled("held-out loss"),
        MetricInfo::lower(
            "held_out/loss/*",
            "One term of the objective's loss on held-out pairs",
            "loss",
        ),
        MetricInfo::higher(
            "held_out/cos/z_x",
            "Cosine of the predicted and the true image embedding on held-out pairs",
            "cosine",
        ),
        MetricInfo::neither(
            "held_out/cos/z_y",
            "Cosine of the predicted image embedding and its own caption's text embedding on held-out pairs",
            "cosine",
        ),
        MetricInfo::neither(
            "held_out/lambda_contrastive/projection",
            "Lambda times the contrastive term divided by the projection term, on held-out pairs",
            "ratio",
        ),
        MetricInfo::neither(
            "held_out/step",
            "Optimiser steps that the scored parameters had taken",
            "steps",
        )
        .with_decimals(0),
        MetricInfo::neither(
            "held_out/*",
            "Value of a validation on held-out pairs at the scored parameters",
            "as logged",
        ),
        MetricInfo::neither("train/steps", "Optimiser steps of the whole training", "steps").with_decimals(0),
    ],
    source: Source::Training,
};
