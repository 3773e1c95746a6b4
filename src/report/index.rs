//! The page of all experiments, from their folders.

use std::path::{Path, PathBuf};

use maud::{Markup, html};

use super::about::About;
use super::error::ReportError;
use super::page::{document, href};
use crate::files;

/// Plots are files of the experiments; the page loads nothing else.
const POLICY: &str = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'";

/// One experiment.
struct Entry {
    name: String,
    about: About,
    /// Existing files of its `results/`.
    results: Vec<String>,
    /// Provenance of the results.
    made: Option<String>,
}

/// The page of the experiments in `folder`: those with a `sweep.toml`, by name.
///
/// # Errors
/// [`ReportError::Write`] when a file cannot be read.
pub fn index(folder: &Path) -> Result<String, ReportError> {
    let mut entries = Vec::new();
    for path in files::list_folders(folder)? {
        if path.join("sweep.toml").is_file() {
            entries.push(Entry::read(&path)?);
        }
    }
    let body = html! {
        h1 { "Experiments" }
        p { "Each page holds an experiment's scores with intervals, plots, images, configuration and provenance. Everything comes from run directories." }
        div.cards { @for entry in &entries { (card(entry)) } }
    };
    Ok(document("Experiments", POLICY, &body))
}

/// Writes [`index`] as `index.html` into `folder` and returns its path.
///
/// # Errors
/// [`ReportError::Write`].
pub fn write_index(folder: &Path) -> Result<PathBuf, ReportError> {
    let path = folder.join("index.html");
    files::write_atomic(&path, index(folder)?.as_bytes())?;
    Ok(path)
}

impl Entry {
    fn read(path: &Path) -> Result<Self, ReportError> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let folder = path.join("results");
        let known = [
            "index.html",
            "README.md",
            "scores.csv",
            "preferences.csv",
            "curves.svg",
            "scores.svg",
        ];
        let there = known.into_iter().filter(|file| folder.join(file).is_file());
        let results: Vec<String> = there.map(str::to_owned).collect();
        let made = if results.iter().any(|file| file == "README.md") {
            let text = files::read_text(folder.join("README.md"))?;
            text.lines().last().map(str::to_owned)
        } else {
            None
        };
        Ok(Self {
            about: About::read(path, path)?.with_base(href(&[&name, ""])),
            name,
            results,
            made,
        })
    }
}

fn card(entry: &Entry) -> Markup {
    let has = |file: &str| entry.results.iter().any(|f| f == file);
    let page = if has("index.html") {
        href(&[&entry.name, "results/index.html"])
    } else {
        href(&[&entry.name, "README.md"])
    };
    let title = match entry.about.title.as_str() {
        "" => &entry.name,
        title => title,
    };
    let plot = ["curves.svg", "scores.svg"].into_iter().find(|file| has(file));
    html! {
        section.card {
            h2 { a href=(page) { (title) } }
            (entry.about.claim())
            @if let Some(plot) = plot {
                a href=(page) { img src=(href(&[&entry.name, "results", plot])) alt=(format!("plot of {}", entry.name)); }
            } @else {
                p { em { "No results yet." } }
            }
            @if let Some(made) = &entry.made { p.soft { (made) } }
            p.links {
                a href=(href(&[&entry.name, "sweep.toml"])) { "specification" }
                @for file in &entry.results { a href=(href(&[&entry.name, "results", file])) { (file) } }
            }
        }
    }
}
