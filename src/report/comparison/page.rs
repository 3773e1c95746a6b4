//! The report of a comparison as one self-contained HTML page.

use maud::{Markup, PreEscaped, html};

use super::notes::{
    LEGEND, SIZES, any, differences, interval_of, made, protocols, published_text, reasons, sizes, value_text,
};
use super::{preference_text, scatter};
use crate::comparison::{Cell, Column, Preference, Results};
use crate::eval::metrics::MetricInfo;
use crate::report::about::About;
use crate::report::error::ReportError;
use crate::report::layout::{POLICY, described, document, href, section};
use crate::report::lead::Lead;
use crate::report::page::PageLinks;
use crate::report::text::{DIRECTIONS, share_text};

/// The parameters of the whole system among [`SIZES`].
const PARAMETERS: usize = 1;
/// Most columns of the first table.
const SHORT: usize = 5;

/// The page.
///
/// # Errors
/// [`ReportError::Draw`] if the drawing library fails.
pub(in crate::report) fn page(
    results: &Results,
    about: &About,
    links: &PageLinks,
) -> Result<String, ReportError> {
    let comparison = &results.comparison;
    let title = about.title_or(&comparison.name);
    let body = html! {
        (links.nav(&comparison.name))
        h1 { (title) }
        div.answer { (about.claim()) }
        @if comparison.scatter.is_some() { (plot(results)?) }
        (section("Scores"))
        p.soft {
            (DIRECTIONS) " Bold is the best of the measured numbers of one protocol, and of the published numbers without a footnote."
        }
        (legend())
        (scores(results, SHORT))
        @if n_columns(results) > SHORT {
            details { summary { "All columns" } (scores(results, usize::MAX)) }
        }
        (notes(results))
        (glossary(&comparison.columns))
        @for one in &results.preferences { (preference(results, one)) }
        (protocol_list(results))
        @if let Some(rest) = about.rest() {
            details { summary { "About this experiment" } (rest) }
        }
        @if !links.files.is_empty() {
            p.links { "Files: " @for file in &links.files { a href=(href(&[file])) { (file) } } }
        }
        p.soft { (made(results)) " Made by " code { "eclipse report" } " from the folders of the runs." }
    };
    Ok(document(title, POLICY, &body))
}

fn legend() -> Markup {
    html! {
        ul.legend {
            @for (mark, meaning) in LEGEND {
                li { @if mark == "p" { i { "p" } } @else { b { (mark) } } " " (meaning) }
            }
        }
    }
}

/// The columns of sizes that some system has.
fn shown_sizes(results: &Results) -> Vec<usize> {
    let sizes = sizes(results);
    (0..SIZES.len())
        .filter(|i| sizes.iter().any(|row| !row[*i].is_empty()))
        .collect()
}

fn n_columns(results: &Results) -> usize {
    shown_sizes(results).len() + results.comparison.columns.len()
}

/// The table; one with at most so many columns has the parameters and the first metrics.
fn scores(results: &Results, most: usize) -> Markup {
    let sizes = sizes(results);
    let mut shown = shown_sizes(results);
    let mut columns = &results.comparison.columns[..];
    if shown.len() + columns.len() > most {
        shown.retain(|i| *i == PARAMETERS);
        columns = &columns[..columns.len().min(most - shown.len())];
    }
    html! {
        div.scroll { table id=[(most < usize::MAX).then_some("scores")] {
            thead { tr {
                th { "system" }
                @for i in &shown { th { (SIZES[*i]) } }
                @for column in columns { th title=[column.info().map(MetricInfo::sentence)] { (column.heading()) } }
            } }
            tbody {
                @for (row, sizes) in results.rows.iter().zip(&sizes) {
                    tr {
                        th scope="row" { (row.system.label) }
                        @for i in &shown { td { (sizes[*i]) } }
                        @for (column, cell) in columns.iter().zip(&row.cells) { (score(column, cell)) }
                    }
                }
            }
        } }
    }
}

fn score(column: &Column, cell: &Cell) -> Markup {
    html! {
        td {
            @if let Some(measured) = &cell.measured {
                div.measured.far[cell.is_best] {
                    (value_text(column, measured.value)) " m" @if cell.differs.is_some() { "≠" }
                }
                @if let Some(interval) = interval_of(column, measured) { small { (interval) } }
            }
            @if let Some(published) = &cell.published {
                div.published.far[cell.is_best_published] { i { (published_text(column, published)) } " p" }
            }
            @if cell.measured.is_none() && cell.published.is_none() {
                span.soft title=[cell.missing.as_deref()] { "missing" }
            }
        }
    }
}

fn notes(results: &Results) -> Markup {
    let has_notes = any(results, |cell| {
        cell.published
            .as_ref()
            .is_some_and(|score| !score.notes.is_empty())
    });
    let published = &results.comparison.published;
    let (others, missing) = (differences(results), reasons(results));
    html! {
        @if has_notes {
            @for (mark, meaning) in &published.footnotes { p.soft { (mark) " " (meaning) "." } }
        }
        @if !published.source.is_empty() { p.soft { "Published numbers: " (published.source) "." } }
        @if !others.is_empty() {
            h3 { "Other protocols" }
            ul { @for line in &others { li { "≠ " (line) } } }
        }
        @if !missing.is_empty() {
            details { summary { "Why cells were not measured" } ul { @for line in &missing { li { (line) } } } }
        }
    }
}

/// The meaning of each metric.
fn glossary(columns: &[Column]) -> Markup {
    html! {
        details {
            summary { "What the columns mean" }
            dl { @for column in columns {
                dt { (column.heading()) }
                dd {
                    code { (column.metric) } " on the prompts " code { (column.prompts) }
                    @if let Some(info) = column.info() { ": " (info.sentence()) "." }
                }
            } }
        }
    }
}

/// The scatter plot for the list of experiments; `None` without one.
///
/// # Errors
/// [`ReportError::Draw`] if the drawing library fails.
pub(in crate::report) fn lead(results: &Results) -> Result<Option<Lead>, ReportError> {
    if results.comparison.scatter.is_none() {
        return Ok(None);
    }
    Ok(Some(Lead {
        title: "parameters and scores".into(),
        caption: "Parameters and scores of the published and the measured systems.".into(),
        small: scatter::plot(results, false)?,
        small_legend: Vec::new(),
        svg: scatter::plot(results, false)?,
        legend: Vec::new(),
    }))
}

fn plot(results: &Results) -> Result<Markup, ReportError> {
    Ok(html! {
        ul.legend {
            li { (PreEscaped(scatter::mark(false))) "published" }
            li { (PreEscaped(scatter::mark(true))) "measured" }
        }
        div.panels { figure {
            (described("parameters and scores", &scatter::plot(results, false)?))
            figcaption { "Parameters and scores. A thin line joins the published and the measured number of one system." }
        } }
    })
}

fn preference(results: &Results, one: &Preference) -> Markup {
    let meetings: Vec<_> = one.of_reference().collect();
    let (mean, missing) = (preference_text::mean(one), preference_text::missing(results, one));
    let title = preference_text::title(one);
    let body = html! {
        p.soft { (preference_text::HOW) }
        @if !meetings.is_empty() {
            div.scroll { table {
                thead { tr {
                    th { (preference_text::reference(results, one)) " against" }
                    th { "win rate" } th { "mean probability" } th { "prompts" } th { "ties" }
                } }
                tbody { @for meeting in &meetings {
                    @let [opponent, rest @ ..] = preference_text::row(results, meeting);
                    tr { th scope="row" { (opponent) } @for cell in &rest { td { (cell) } } }
                } }
            } }
        }
        @if one.spec.round_robin && one.systems.len() > 1 {
            p.soft { "Round robin: win rate of the row against the column." }
            div.scroll { table {
                thead { tr { th {} @for i in &one.systems { th { (preference_text::label(results, *i)) } } } }
                tbody { @for &system in &one.systems {
                    tr {
                        th scope="row" { (preference_text::label(results, system)) }
                        @for &opponent in &one.systems {
                            td { @match one.between(system, opponent) { None => "-", Some(met) => { (share_text(&met.win_rate)) } } }
                        }
                    }
                } }
            } }
        }
        @if !mean.is_empty() { p { (mean) } }
        @if !missing.is_empty() { p.soft { (missing) } }
        @for line in preference_text::differences(results, one) { p.soft { (line) } }
    };
    html! {
        @if meetings.is_empty() { details { summary { (title) } (body) } } @else { (section(&title)) (body) }
    }
}

fn protocol_list(results: &Results) -> Markup {
    let all = protocols(results);
    html! {
        @if !all.is_empty() {
            details {
                summary { "Protocols of the measured numbers" }
                @for one in &all {
                    h3 { (one.column) }
                    p.soft { (one.systems.join(", ")) }
                    dl { @for (key, value) in &one.keys { dt { (key) } dd { (value) } } }
                }
            }
        }
    }
}
