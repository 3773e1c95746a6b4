//! What a training's validations say at the scored parameters; a report reads it from `metrics.jsonl`.

use super::family::{Family, Source};
use super::info::Direction::{Higher, Lower, Neither};
use super::info::MetricInfo;

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo {
            name: "held_out/loss",
            meaning: "Loss of the objective on held-out pairs; objectives are not comparable by it",
            unit: "loss",
            better: Lower,
            decimals: 3,
        },
        MetricInfo {
            name: "held_out/loss/*",
            meaning: "One term of the objective's loss on held-out pairs",
            unit: "loss",
            better: Lower,
            decimals: 3,
        },
        MetricInfo {
            name: "held_out/cos/z_x",
            meaning: "Cosine of the predicted and the true image embedding on held-out pairs",
            unit: "cosine",
            better: Higher,
            decimals: 3,
        },
        MetricInfo {
            name: "held_out/cos/z_y",
            meaning: "Cosine of the predicted image embedding and its own caption's text embedding on held-out pairs",
            unit: "cosine",
            better: Neither,
            decimals: 3,
        },
        MetricInfo {
            name: "held_out/lambda_contrastive/projection",
            meaning: "Lambda times the contrastive term divided by the projection term, on held-out pairs",
            unit: "ratio",
            better: Neither,
            decimals: 3,
        },
        MetricInfo {
            name: "held_out/step",
            meaning: "Optimiser steps that the scored parameters had taken",
            unit: "steps",
            better: Neither,
            decimals: 0,
        },
        MetricInfo {
            name: "held_out/*",
            meaning: "Value of a validation on held-out pairs at the scored parameters",
            unit: "as logged",
            better: Neither,
            decimals: 3,
        },
        MetricInfo {
            name: "train/steps",
            meaning: "Optimiser steps of the whole training",
            unit: "steps",
            better: Neither,
            decimals: 0,
        },
    ],
    source: Source::Training,
};
