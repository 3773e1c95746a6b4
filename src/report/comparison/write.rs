//! The files of a comparison's report.

use std::path::{Path, PathBuf};

use super::{page, scatter, text};
use crate::comparison::Results;
use crate::report::about::About;
use crate::report::error::ReportError;
use crate::report::page::PageLinks;
use crate::report::write::ReportFiles;

/// Writes the report into `out`: `README.md`, `scores.csv`, `preferences.csv`, `figure.svg` (the scatter plot) and, with all `files`, `index.html`. Returns the
/// paths.
///
/// # Errors
/// [`ReportError`]: a plot that cannot be drawn, a file that cannot be written.
pub fn write_comparison(
    results: &Results,
    out: &Path,
    about: &About,
    files: ReportFiles,
) -> Result<Vec<PathBuf>, ReportError> {
    let mut parts = vec![
        ("README.md".to_owned(), text::markdown(results)),
        ("scores.csv".to_owned(), text::csv(results)?),
    ];
    if !results.preferences.is_empty() {
        parts.push(("preferences.csv".to_owned(), text::preferences_csv(results)?));
    }
    if results.comparison.scatter.is_some() {
        parts.push(("figure.svg".to_owned(), scatter::plot(results, true)?));
    }
    if files == ReportFiles::All {
        let links = PageLinks {
            files: parts.iter().map(|(name, _)| name.clone()).collect(),
            ..PageLinks::default()
        };
        parts.push(("index.html".to_owned(), page::page(results, about, &links)?));
    }
    let parts: Vec<(String, Vec<u8>)> = parts
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .collect();
    crate::files::write_all_atomic(out, &parts)?;
    Ok(parts.into_iter().map(|(name, _)| out.join(name)).collect())
}
