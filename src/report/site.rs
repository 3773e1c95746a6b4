//! The site of all experiments: a page each, made from their specifications, READMEs and committed results, and the list of them.

use std::path::{Path, PathBuf};

use maud::{Markup, PreEscaped, html};

use super::about::About;
use super::committed::{PREFERENCES, SCORES, scores};
use super::comparison;
use super::error::ReportError;
use super::gallery::Gallery;
use super::layout::{POLICY, document, href};
use super::lead::Lead;
use super::page::PageLinks;
use super::results::Report;
use super::write::FIGURE;
use crate::comparison::{Comparison, Folders, Results, is_comparison};
use crate::experiment::SweepSpec;
use crate::experiment::convergence::Convergence;
use crate::files;

/// The status of an experiment whose trained systems all converged.
const CONVERGED: &str = "converged";
/// The list, and each experiment's page.
const PAGE: &str = "index.html";

/// One experiment of the site.
struct Entry {
    name: String,
    about: About,
    /// Place in the list; those without one follow.
    place: Option<usize>,
    /// The answer, in Markdown.
    answer: Option<String>,
    status: String,
    lead: Option<Lead>,
    has_results: bool,
    /// Files of its folder of the site, with the page.
    files: Vec<(String, Vec<u8>)>,
}

/// Writes the site of the experiments in `folder` (those with a `sweep.toml`) into `out`, and returns the path of the list.
///
/// # Errors
/// [`ReportError`], naming the file or folder.
pub fn write_site(folder: &Path, out: &Path) -> Result<PathBuf, ReportError> {
    let mut entries = Vec::new();
    for path in files::list_folders(folder)? {
        let spec = path.join("sweep.toml");
        if spec.is_file() {
            let fail = |source: Box<dyn std::error::Error + Send + Sync>| ReportError::Spec {
                folder: path.clone(),
                source,
            };
            let is_comparison = is_comparison(&spec).map_err(|e| fail(Box::new(e)))?;
            let entry = match is_comparison {
                true => of_comparison(&path, &spec, &fail)?,
                false => of_sweep(&path, &fail)?,
            };
            files::write_all_atomic(out.join(&entry.name), &entry.files)?;
            entries.push(entry);
        }
    }
    // The sort is stable: by name within each part.
    entries.sort_by_key(|entry| (entry.place.unwrap_or(usize::MAX), !entry.has_results));
    let path = out.join(PAGE);
    files::write_atomic(&path, list(&entries).as_bytes())?;
    Ok(path)
}

/// How a specification that cannot be used is reported.
type Fail<'a> = &'a dyn Fn(Box<dyn std::error::Error + Send + Sync>) -> ReportError;

/// The entry of priors that are trained and scored.
fn of_sweep(path: &Path, fail: Fail<'_>) -> Result<Entry, ReportError> {
    let spec = SweepSpec::read(&path.display().to_string(), &[], false).map_err(|e| fail(Box::new(e)))?;
    let (name, about) = (spec.name(), About::read(path, path)?.on_site());
    let trials = spec.expand().map_err(|e| fail(Box::new(e)))?;
    let report = Report::committed(&spec, &trials)?;
    let results = path.join("results");
    let mut files = copies(path, &["sweep.toml", "base.toml"])?;
    let scores = scores(&results)?.map(|(_, text)| (SCORES.to_owned(), text.into_bytes()));
    files.extend(scores);
    files.extend(copies(&results, &[PREFERENCES])?);
    let mut links = links(&files);
    if spec.report().sheet > 0 {
        let figure = copies(&results, &[FIGURE])?.pop();
        links.sheet = figure.and_then(|(_, bytes)| String::from_utf8(bytes).ok());
    }
    let page = match &report {
        Some(report) => report.page(spec.report(), &about, &links, &Gallery::empty())?,
        None => without_results(&name, &about, &links),
    };
    files.push((PAGE.into(), page.into_bytes()));
    Ok(Entry {
        place: spec.report().place,
        answer: report.as_ref().and_then(|report| report.answer(spec.report())),
        status: report.as_ref().map_or_else(|| "no results".into(), status),
        lead: match &report {
            Some(report) => report.lead(spec.report())?,
            None => None,
        },
        has_results: report.is_some(),
        name,
        about,
        files,
    })
}

/// The entry of a comparison of systems. Its measured numbers are in run directories, so the site shows the published ones.
fn of_comparison(path: &Path, spec: &Path, fail: Fail<'_>) -> Result<Entry, ReportError> {
    let comparison = Comparison::read(spec, &[], false).map_err(|e| fail(Box::new(e)))?;
    let nowhere = Folders::new(path.join("runs"));
    let results = Results::read(&comparison, &nowhere).map_err(|e| fail(Box::new(e)))?;
    let about = About::read(path, path)?.on_site();
    let mut files = copies(path, &["sweep.toml", "base.toml", "published.toml"])?;
    let page = comparison::page(&results, &about, &links(&files))?;
    files.push((PAGE.into(), page.into_bytes()));
    Ok(Entry {
        name: comparison.name.clone(),
        about,
        place: None,
        answer: None,
        status: "published numbers; needs published weights and a GPU".into(),
        lead: comparison::lead(&results)?,
        has_results: true,
        files,
    })
}

fn links(files: &[(String, Vec<u8>)]) -> PageLinks {
    PageLinks {
        index: Some(format!("../{PAGE}")),
        specification: Some("sweep.toml".into()),
        files: files.iter().map(|(name, _)| name.clone()).collect(),
        sheet: None,
    }
}

fn without_results(name: &str, about: &About, links: &PageLinks) -> String {
    let title = about.title_or(name);
    let body = html! {
        (links.nav(name))
        h1 { (title) }
        (about.claim())
        p { strong { "No results are committed." } }
        @if let Some(rest) = about.rest() { (rest) }
    };
    document(title, POLICY, &body)
}

/// Whether the trained systems had converged.
fn status(report: &Report) -> String {
    let trained: Vec<Convergence> = report.systems.iter().filter_map(|s| s.convergence).collect();
    let converged = trained.iter().filter(|c| **c == Convergence::Converged).count();
    match trained.len() {
        0 => "nothing trained".into(),
        n if n == converged => CONVERGED.into(),
        n => format!("{converged} of {n} systems converged"),
    }
}

/// Those of the files `names` that `folder` has.
fn copies(folder: &Path, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let there = names.iter().filter(|name| folder.join(name).is_file());
    there
        .map(|name| Ok(((*name).to_owned(), files::read(folder.join(name))?)))
        .collect()
}

/// The list of experiments.
fn list(entries: &[Entry]) -> String {
    let body = html! {
        h1 { "Experiments" }
        p { "Each experiment asks one question of priors on the built-in worlds. Values are means with 95 % intervals over seeds and prompts; a page has all of them, \
            plots, the specification and the command." }
        table.experiments {
            thead { tr { th { "question and answer" } th { "status" } th { "plot" } } }
            tbody { @for entry in entries { (row(entry)) } }
        }
    };
    document("Experiments", POLICY, &body)
}

fn row(entry: &Entry) -> Markup {
    let page = href(&[&entry.name, PAGE]);
    let title = entry.about.title_or(&entry.name);
    let question = title.strip_prefix(&format!("{}: ", entry.name)).unwrap_or(title);
    let is_settled = entry.status == CONVERGED;
    html! {
        tr {
            td {
                span.name { (entry.name) }
                h2 { a href=(page) { (capital(question)) } }
                @match &entry.answer { Some(answer) => (entry.about.render(answer)), None => (entry.about.claim()) }
            }
            td { span.status.settled[is_settled] { (entry.status) } }
            td { @if let Some(lead) = &entry.lead {
                a.plot href=(page) aria-label=(lead.title) { (PreEscaped(&lead.small)) }
                @if !lead.small_legend.is_empty() {
                    ul.legend { @for (name, mark) in &lead.small_legend { li { (PreEscaped(mark)) (name) } } }
                }
            } }
        }
    }
}

/// `text` with a capital letter at its start.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
