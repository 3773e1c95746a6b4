//! The report of a comparison as Markdown, CSV, JSON and a table for the terminal.

use serde_json::{Value, json};

use super::notes::{
    LEGEND, SIZES, any, differences, interval_of, made, protocols, published_text, reasons, sizes, value_text,
};
use super::preference_text;
use crate::comparison::{Cell, Column, Preference, Results};
use crate::report::error::ReportError;
use crate::report::text::{DIRECTIONS, aligned, csv_of};

/// The table in aligned columns, for a terminal.
pub fn table(results: &Results) -> String {
    let columns = &results.comparison.columns;
    let mut rows = vec![vec!["system".to_owned()]];
    rows[0].extend(columns.iter().map(Column::heading));
    for row in &results.rows {
        let mut cells = vec![row.system.label.clone()];
        let cell = |(column, cell): (&Column, &Cell)| {
            let measured = cell.measured.as_ref().map(|score| {
                let differs = if cell.differs.is_some() { "≠" } else { "" };
                format!("{} m{differs}", value_text(column, score.value))
            });
            let published = cell
                .published
                .as_ref()
                .map(|score| format!("{} p", published_text(column, score)));
            let both: Vec<String> = [measured, published].into_iter().flatten().collect();
            if both.is_empty() {
                "missing".to_owned()
            } else {
                both.join(", ")
            }
        };
        cells.extend(columns.iter().zip(&row.cells).map(cell));
        rows.push(cells);
    }
    let mut text = aligned(&rows);
    for preference in &results.preferences {
        let meetings: Vec<_> = preference.of_reference().collect();
        if meetings.is_empty() {
            continue;
        }
        let reference = preference_text::reference(results, preference);
        text.push_str(&format!(
            "\n{}: {reference} against\n",
            preference_text::title(preference)
        ));
        let mut rows = vec![
            ["", "win rate", "probability", "prompts", "ties"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(
            meetings
                .iter()
                .map(|meeting| preference_text::row(results, meeting).to_vec()),
        );
        text.push_str(&aligned(&rows));
        text.push_str(&format!("{}\n", preference_text::mean(preference)));
    }
    text
}

/// Every cell of the table as JSON.
pub fn as_json(results: &Results) -> Value {
    let rows = results.rows.iter().flat_map(|row| {
        results.comparison.columns.iter().zip(&row.cells).map(move |(column, cell)| {
            json!({
                "system": row.system.name, "column": column.name, "prompts": column.prompts, "metric": column.metric,
                "measured": cell.measured, "published": cell.published.as_ref().map(|score| score.value),
                "notes": cell.published.as_ref().map(|score| &score.notes),
                "differs": cell.differs, "missing": cell.missing,
            })
        })
    });
    rows.collect()
}

/// One row per cell.
pub(super) fn csv(results: &Results) -> Result<String, ReportError> {
    let header = "system,metric,column,prompts,status,value,low,high,images,published,notes,differs";
    let mut rows = vec![header.split(',').map(str::to_owned).collect::<Vec<_>>()];
    for row in &results.rows {
        for (column, cell) in results.comparison.columns.iter().zip(&row.cells) {
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.6}"));
            let (measured, published) = (cell.measured.as_ref(), cell.published.as_ref());
            let status = match (measured, published) {
                (Some(_), _) => "measured",
                (None, Some(_)) => "published",
                (None, None) => "missing",
            };
            let end = |i: usize| number(measured.and_then(|score| Some(score.interval?[i])));
            rows.push(vec![
                row.system.name.clone(),
                column.metric.clone(),
                column.name.clone(),
                column.prompts.clone(),
                status.into(),
                number(measured.map(|score| score.value)),
                end(0),
                end(1),
                measured.map_or_else(String::new, |score| score.n.to_string()),
                number(published.map(|score| score.value)),
                published.map_or_else(String::new, |score| score.notes.concat()),
                cell.differs.clone().unwrap_or_default(),
            ]);
        }
    }
    csv_of(&rows)
}

/// Every pair of systems, one row each.
pub(super) fn preferences_csv(results: &Results) -> Result<String, ReportError> {
    let header = "preference,system,against,win_rate,win_rate_low,win_rate_high,probability,probability_low,probability_high,prompts,ties,differs";
    let mut rows = vec![header.split(',').map(str::to_owned).collect::<Vec<_>>()];
    for preference in &results.preferences {
        for meeting in &preference.meetings {
            let name = |i: usize| {
                results
                    .rows
                    .get(i)
                    .map_or_else(String::new, |row| row.system.name.clone())
            };
            let mut row = vec![
                preference.spec.name.clone(),
                name(meeting.system),
                name(meeting.opponent),
            ];
            for interval in [meeting.win_rate, meeting.mean_probability] {
                row.extend([interval.value, interval.low, interval.high].map(|v| format!("{v:.6}")));
            }
            row.extend([meeting.n_prompts.to_string(), meeting.n_ties.to_string()]);
            row.push(meeting.differs.clone().unwrap_or_default());
            rows.push(row);
        }
    }
    csv_of(&rows)
}

/// A cell in Markdown.
fn cell_text(column: &Column, cell: &Cell) -> String {
    let bold = |text: String, is_best: bool| if is_best { format!("**{text}**") } else { text };
    let measured = cell.measured.as_ref().map(|score| {
        let value = bold(value_text(column, score.value), cell.is_best);
        let interval = interval_of(column, score).map_or_else(String::new, |i| format!(" {i}"));
        let differs = if cell.differs.is_some() { "≠" } else { "" };
        format!("{value}{interval} m{differs}")
    });
    let published = cell.published.as_ref().map(|score| {
        let notes = score.notes.concat().replace('*', "\\*");
        let value = format!("*{}*{notes}", value_text(column, score.value));
        format!("{} p", bold(value, cell.is_best_published))
    });
    match (measured, published) {
        (None, None) => "missing".into(),
        (measured, published) => [measured, published]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("<br>"),
    }
}

/// The whole report.
pub(super) fn markdown(results: &Results) -> String {
    let comparison = &results.comparison;
    let mut text = format!("# {}: results\n\n", comparison.name);
    text.push_str(&format!(
        "Made by `eclipse report` from the folders of the runs. {DIRECTIONS} "
    ));
    text.push_str("Bold is the best of the measured numbers of one protocol, and of the published numbers without a footnote.\n\n");
    for (mark, meaning) in LEGEND {
        text.push_str(&format!("- {mark}: {meaning}\n"));
    }
    text.push('\n');
    text.push_str(&markdown_table(results));
    if any(results, |cell| {
        cell.published
            .as_ref()
            .is_some_and(|score| !score.notes.is_empty())
    }) {
        for (mark, meaning) in &comparison.published.footnotes {
            text.push_str(&format!("\n{} {meaning}.\n", mark.replace('*', "\\*")));
        }
    }
    if !comparison.published.source.is_empty() {
        text.push_str(&format!(
            "\nPublished numbers: {}.\n",
            comparison.published.source
        ));
    }
    list(&mut text, "Other protocols", &differences(results));
    list(&mut text, "Missing", &reasons(results));
    for preference in &results.preferences {
        text.push_str(&preference_markdown(results, preference));
    }
    if comparison.scatter.is_some() {
        text.push_str("\n![parameters and scores](figure.svg)\n");
    }
    let all = protocols(results);
    if !all.is_empty() {
        text.push_str("\n## Protocols of the measured numbers\n\n");
        for one in all {
            let keys: Vec<String> = one
                .keys
                .iter()
                .map(|(key, value)| format!("{key} {value}"))
                .collect();
            text.push_str(&format!(
                "- **{}** ({}): {}\n",
                one.column,
                one.systems.join(", "),
                keys.join("; ")
            ));
        }
    }
    text.push_str(&format!("\n{}\n", made(results)));
    text
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push_str(&format!("\n## {title}\n\n"));
        for line in lines {
            text.push_str(&format!("- {line}\n"));
        }
    }
}

/// The table alone.
fn markdown_table(results: &Results) -> String {
    let sizes = sizes(results);
    let shown: Vec<usize> = (0..SIZES.len())
        .filter(|i| sizes.iter().any(|row| !row[*i].is_empty()))
        .collect();
    let columns = &results.comparison.columns;
    let mut titles = vec!["system".to_owned()];
    titles.extend(shown.iter().map(|i| SIZES[*i].to_owned()));
    titles.extend(columns.iter().map(Column::heading));
    let mut text = format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(titles.len()));
    for (row, sizes) in results.rows.iter().zip(&sizes) {
        let mut cells = vec![row.system.label.clone()];
        cells.extend(shown.iter().map(|i| sizes[*i].clone()));
        cells.extend(
            columns
                .iter()
                .zip(&row.cells)
                .map(|(column, cell)| cell_text(column, cell)),
        );
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn preference_markdown(results: &Results, preference: &Preference) -> String {
    let mut text = format!(
        "\n## {}\n\n{}\n",
        preference_text::title(preference),
        preference_text::HOW
    );
    let meetings: Vec<_> = preference.of_reference().collect();
    if !meetings.is_empty() {
        let reference = preference_text::reference(results, preference);
        text.push_str(&format!("\n| {reference} against | win rate | mean probability | prompts | ties |\n|---|---|---|---|---|\n"));
        for meeting in meetings {
            text.push_str(&format!(
                "| {} |\n",
                preference_text::row(results, meeting).join(" | ")
            ));
        }
    }
    if preference.spec.round_robin && preference.systems.len() > 1 {
        let labels: Vec<&str> = preference
            .systems
            .iter()
            .map(|i| preference_text::label(results, *i))
            .collect();
        text.push_str(&format!(
            "\nRound robin: win rate of the row against the column.\n\n| | {} |\n|{}\n",
            labels.join(" | "),
            "---|".repeat(labels.len() + 1)
        ));
        for (&system, label) in preference.systems.iter().zip(&labels) {
            let rate = |&opponent: &usize| {
                let met = preference.between(system, opponent);
                met.map_or_else(|| "-".into(), |m| crate::report::text::share_text(&m.win_rate))
            };
            let rates: Vec<String> = preference.systems.iter().map(rate).collect();
            text.push_str(&format!("| {label} | {} |\n", rates.join(" | ")));
        }
    }
    for line in [
        preference_text::mean(preference),
        preference_text::missing(results, preference),
    ] {
        if !line.is_empty() {
            text.push_str(&format!("\n{line}\n"));
        }
    }
    for line in preference_text::differences(results, preference) {
        text.push_str(&format!("\n{line}\n"));
    }
    text
}
