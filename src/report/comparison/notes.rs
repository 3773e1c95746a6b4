//! Words that the tables of a comparison share: cells, footnotes, reasons, protocols.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::comparison::{Cell, Column, PublishedScore, Results};
use crate::eval::Interval;
use crate::eval::image_score::ImageScore;

/// The marks of a cell.
pub(super) const LEGEND: [(&str, &str); 4] = [
    (
        "m",
        "measured on this machine, with a 95 % interval over prompts where the metric is a mean over images",
    ),
    ("p", "published, in italics"),
    ("missing", "neither: the reasons are below"),
    (
        "≠",
        "measured by another protocol than most of its column, not to be compared with it",
    ),
];

/// A value of a column.
pub(super) fn value_text(column: &Column, value: f64) -> String {
    format!("{value:.*}", column.digits())
}

/// The interval of a measured value.
pub(super) fn interval_of(column: &Column, score: &ImageScore) -> Option<String> {
    let digits = column.digits();
    score
        .interval
        .map(|[low, high]| format!("[{low:.digits$}, {high:.digits$}]"))
}

/// A published value with the marks of its footnotes.
pub(super) fn published_text(column: &Column, score: &PublishedScore) -> String {
    format!("{}{}", value_text(column, score.value), score.notes.concat())
}

/// A share in percent with its interval.
pub(super) fn percent(share: &Interval) -> String {
    let [value, low, high] = [share.value, share.low, share.high].map(|v| 100.0 * v);
    format!("{value:.1} % [{low:.1}, {high:.1}]")
}

/// Whether any cell is of this kind.
pub(super) fn any(results: &Results, is: impl Fn(&Cell) -> bool) -> bool {
    results.rows.iter().flat_map(|row| &row.cells).any(is)
}

/// Titles of what is known about the systems besides scores, in millions: trained parameters, those of prior and base decoder, training pairs.
pub(super) const SIZES: [&str; 3] = ["trained, M", "prior + decoder, M", "pairs, M"];

/// The numbers below [`SIZES`]; all columns are empty where nothing is known.
pub(super) fn sizes(results: &Results) -> Vec<[String; 3]> {
    let number =
        |value: Option<f64>| value.map_or_else(String::new, |v| format!("{}", (v * 10.0).round() / 10.0));
    let row = |row: &crate::comparison::Row| {
        let counted = row.total_counted.map(|v| format!("{} m", number(Some(v))));
        let published = row.published.total.map(|v| format!("{} p", number(Some(v))));
        let total = [counted, published]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ");
        [number(row.published.trained), total, number(row.published.pairs)]
    };
    results.rows.iter().map(row).collect()
}

/// Systems with the columns that concern them.
type Concerned = Vec<(String, Vec<String>)>;

/// Why cells are missing: each reason with the systems and columns.
pub(super) fn reasons(results: &Results) -> Vec<String> {
    let mut systems: Vec<(String, Concerned)> = Vec::new();
    for row in results.rows.iter().filter(|row| row.system.can_be_measured()) {
        for (column, cell) in results.comparison.columns.iter().zip(&row.cells) {
            let Some(why) = &cell.missing else { continue };
            let at = systems
                .iter()
                .position(|(reason, _)| reason == why)
                .unwrap_or_else(|| {
                    systems.push((why.clone(), Vec::new()));
                    systems.len() - 1
                });
            let of = &mut systems[at].1;
            match of.iter_mut().find(|(label, _)| *label == row.system.label) {
                Some((_, columns)) => columns.push(column.name.clone()),
                None => of.push((row.system.label.clone(), vec![column.name.clone()])),
            }
        }
    }
    let n_columns = results.comparison.columns.len();
    let told = |(label, columns): (String, Vec<String>)| match columns.len() == n_columns {
        true => label,
        false => format!("{label} ({})", columns.join(", ")),
    };
    let line = |(why, of): (String, Concerned)| {
        format!(
            "{why}: {}",
            of.into_iter().map(told).collect::<Vec<_>>().join("; ")
        )
    };
    systems.into_iter().map(line).collect()
}

/// The marks `≠` in words.
pub(super) fn differences(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &results.rows {
        for (column, cell) in results.comparison.columns.iter().zip(&row.cells) {
            lines.extend(
                cell.differs
                    .as_ref()
                    .map(|d| format!("{}, {}: {d}", row.system.label, column.name)),
            );
        }
    }
    lines
}

/// The protocols of a column, each with the systems that were measured by it.
pub(super) struct Protocol {
    pub(super) column: String,
    pub(super) systems: Vec<String>,
    pub(super) keys: Vec<(String, String)>,
}

/// The protocol of every measured number.
pub(super) fn protocols(results: &Results) -> Vec<Protocol> {
    let mut all: Vec<Protocol> = Vec::new();
    for (i, column) in results.comparison.columns.iter().enumerate() {
        let mut of_column: Vec<Protocol> = Vec::new();
        for row in &results.rows {
            let Some(score) = &row.cells[i].measured else {
                continue;
            };
            let mut keys: BTreeMap<&str, Value> = BTreeMap::from([
                ("metric", score.metric.as_str().into()),
                ("images", score.n.into()),
                ("program", score.program.as_str().into()),
            ]);
            keys.extend(
                score
                    .protocol
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.clone())),
            );
            let shown = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let keys = keys.into_iter().filter(|(key, _)| !key.ends_with("_path"));
            let keys: Vec<(String, String)> =
                keys.map(|(key, value)| (key.to_owned(), shown(value))).collect();
            match of_column.iter_mut().find(|known| known.keys == keys) {
                Some(known) => known.systems.push(row.system.label.clone()),
                None => of_column.push(Protocol {
                    column: column.name.clone(),
                    systems: vec![row.system.label.clone()],
                    keys,
                }),
            }
        }
        all.extend(of_column);
    }
    all
}

/// Provenance: the last line of the report.
pub(super) fn made(results: &Results) -> String {
    let (measured, all) = results.n_measured();
    format!(
        "{measured} of {all} scores measured by eclipse {}; published numbers: {}.",
        env!("CARGO_PKG_VERSION"),
        match results.comparison.published.source.as_str() {
            "" => "none",
            source => source,
        }
    )
}
