//! The site of all experiments: a page each, made from their specifications, READMEs and committed results, and the list of them.

use std::path::{Path, PathBuf};

use maud::{Markup, PreEscaped, html};

use super::about::About;
use super::committed::{PREFERENCES, SCORES};
use super::error::ReportError;
use super::gallery::Gallery;
use super::lead::Lead;
use super::page::{PageLinks, document, href};
use super::results::Report;
use super::write::FIGURE;
use crate::experiment::SweepSpec;
use crate::experiment::convergence::Convergence;
use crate::files;

/// Pages load embedded content only.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
/// The list, and each experiment's page.
const PAGE: &str = "index.html";

/// One experiment of the site.
struct Entry {
    spec: SweepSpec,
    about: About,
    /// Committed results.
    report: Option<Report>,
    lead: Option<Lead>,
}

/// Writes the site of the experiments in `folder` (those with a `sweep.toml`) into `out`, and returns the path of the list.
///
/// # Errors
/// [`ReportError`], naming the file or folder.
pub fn write_site(folder: &Path, out: &Path) -> Result<PathBuf, ReportError> {
    let mut entries = Vec::new();
    for path in files::list_folders(folder)? {
        if path.join("sweep.toml").is_file() {
            entries.push(Entry::read(&path)?);
        }
    }
    for entry in &entries {
        entry.write(out)?;
    }
    // The sort is stable: by name within each part.
    entries.sort_by_key(|entry| (!entry.spec.report().main, entry.report.is_none()));
    let path = out.join(PAGE);
    files::write_atomic(&path, list(&entries).as_bytes())?;
    Ok(path)
}

impl Entry {
    fn read(path: &Path) -> Result<Self, ReportError> {
        let spec =
            SweepSpec::read(&path.display().to_string(), &[], false).map_err(|source| ReportError::Spec {
                folder: path.to_path_buf(),
                source: Box::new(source),
            })?;
        let report = Report::committed(&spec)?;
        Ok(Self {
            about: About::read(path, path)?.on_site(),
            lead: match &report {
                Some(report) => report.lead(spec.report())?,
                None => None,
            },
            report,
            spec,
        })
    }

    /// Writes the experiment's page, and copies its specification and numbers.
    fn write(&self, out: &Path) -> Result<(), ReportError> {
        let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
        for name in ["sweep.toml", "base.toml"] {
            parts.extend(read_if_there(&self.spec.folder().join(name), name)?);
        }
        let results = self.spec.folder().join("results");
        for name in [SCORES, PREFERENCES] {
            parts.extend(read_if_there(&results.join(name), name)?);
        }
        let links = PageLinks {
            index: Some(format!("../{PAGE}")),
            specification: Some("sweep.toml".into()),
            files: parts.iter().map(|(name, _)| name.clone()).collect(),
            sheet: match self.spec.report().sheet {
                0 => None,
                _ => read_if_there(&results.join(FIGURE), FIGURE)?
                    .and_then(|(_, bytes)| String::from_utf8(bytes).ok()),
            },
        };
        let page = match &self.report {
            Some(report) => report.page(self.spec.report(), &self.about, &links, &Gallery::empty())?,
            None => self.without_results(&links),
        };
        parts.push((PAGE.into(), page.into_bytes()));
        Ok(files::write_all_atomic(&out.join(self.spec.name()), &parts)?)
    }

    fn without_results(&self, links: &PageLinks) -> String {
        let name = self.spec.name();
        let title = self.about.title_or(&name);
        let body = html! {
            (links.nav(&name))
            h1 { (title) }
            (self.about.claim())
            p { strong { "No results are committed." } }
            @if let Some(rest) = self.about.rest() { (rest) }
        };
        document(title, POLICY, &body)
    }

    /// Whether the trained systems of the results had converged.
    fn status(&self) -> String {
        let Some(report) = &self.report else {
            return "no results".into();
        };
        let trained: Vec<Convergence> = report.systems.iter().filter_map(|s| s.convergence).collect();
        let converged = trained.iter().filter(|c| **c == Convergence::Converged).count();
        match trained.len() {
            0 => "nothing trained".into(),
            n if n == converged => "converged".into(),
            n => format!("{converged} of {n} systems converged"),
        }
    }
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
    let name = entry.spec.name();
    let page = href(&[&name, PAGE]);
    let answer = entry
        .report
        .as_ref()
        .and_then(|report| report.answer(entry.spec.report()));
    html! {
        tr {
            td {
                h2 { a href=(page) { (entry.about.title_or(&name)) } }
                @match answer { Some(answer) => (entry.about.render(&answer)), None => (entry.about.claim()) }
            }
            td { (entry.status()) }
            td { @if let Some(lead) = &entry.lead { a.plot href=(page) aria-label=(lead.title) { (PreEscaped(&lead.svg)) } } }
        }
    }
}

fn read_if_there(path: &Path, name: &str) -> Result<Option<(String, Vec<u8>)>, ReportError> {
    match path.is_file() {
        true => Ok(Some((name.to_owned(), files::read(path)?))),
        false => Ok(None),
    }
}
