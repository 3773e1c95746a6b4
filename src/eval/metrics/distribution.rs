//! How far the distribution of predictions is from that of true image embeddings.

use super::family::{Family, Source};
use super::info::MetricInfo;
use crate::eval::frechet::{Frechet, Moments, frechet};
use crate::eval::inputs::MetricTable;
use crate::eval::{Embeddings, EvalError, Metric};

pub(super) const FAMILY: Family = Family {
    rows: &[
        MetricInfo::lower(
            "frechet",
            "Frechet distance between the distributions of predicted and true image embeddings",
            "squared distance",
        ),
        MetricInfo::lower(
            "frechet_relative",
            "Frechet distance between the distributions of predicted and true image embeddings, divided by the variance of the true ones",
            "ratio",
        ).titled("Frechet distance"),
    ],
    source: Source::Embeddings(|table, inputs| add_frechet(table, "", inputs.z_x_hat, inputs.z_x)),
};

/// `<prefix>frechet` and `<prefix>frechet_relative`, the mean over the samples in `z_x_hat`.
pub(super) fn add_frechet(
    table: &mut MetricTable<'_>,
    prefix: &str,
    z_x_hat: &[Embeddings],
    z_x: &Embeddings,
) -> Result<(), EvalError> {
    let mut relative = Vec::new();
    for (split, rows) in table.groups() {
        if rows.len() < 2 {
            continue;
        }
        let reference = Moments::of(&z_x.select(&rows))?;
        let distances = z_x_hat
            .iter()
            .map(|sample| frechet(&Moments::of(&sample.select(&rows))?, &reference))
            .collect::<Result<Vec<_>, _>>()?;
        let (n, d, k) = (rows.len(), z_x.d(), distances.len() as f64);
        let note = distances.iter().any(|f| f.rank_deficient).then(|| {
            format!(
                "{n} prompts for {d} dimensions: biased upwards; compare only at the same number of prompts"
            )
        });
        let metric = |name: &str, value: f64| Metric {
            note: note.clone(),
            ..Metric::scalar(format!("{prefix}{name}"), split, value, n)
        };
        table.metrics.push(metric(
            "frechet",
            distances.iter().map(|f| f.distance).sum::<f64>() / k,
        ));
        let shares: Option<Vec<f64>> = distances.iter().map(Frechet::relative).collect();
        relative.extend(shares.map(|s| metric("frechet_relative", s.iter().sum::<f64>() / k)));
    }
    table.metrics.extend(relative);
    Ok(())
}
