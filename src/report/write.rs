//! The files of a report.

use std::path::{Path, PathBuf};

use super::about::About;
use super::committed::{PACKED_SCORES, PREFERENCES, SCORES};
use super::curves::curves_of;
use super::dot_plot;
use super::error::ReportError;
use super::gallery::Gallery;
use super::page::PageLinks;
use super::plot_style::themed;
use super::results::Report;
use super::run_page;
use super::sheet::Sheet;
use crate::experiment::report_spec::ReportSpec;
use crate::files;

/// The page.
const PAGE: &str = "index.html";
/// The report as Markdown.
const MARKDOWN: &str = "README.md";
/// The one figure: images if there are any, else a plot.
pub(super) const FIGURE: &str = "figure.svg";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportFiles {
    /// All files: `index.html`, `runs/` with a page of each run, `README.md`, `scores.csv`, `preferences.csv` if there are preferences, `figure.svg`.
    All,
    /// Those that are committed: all but the pages, of which `eclipse report --site` makes the experiment's, and the scores as `scores.csv.gz`.
    Committed,
}

impl Report {
    /// Writes the report into `out` and returns the paths. `about` is the experiment's README.
    ///
    /// # Errors
    /// [`ReportError`]: images of a run that cannot be read, a plot that cannot be drawn, a file that cannot be written.
    pub fn write(
        &self,
        out: &Path,
        spec: &ReportSpec,
        about: &About,
        files: ReportFiles,
    ) -> Result<Vec<PathBuf>, ReportError> {
        let gallery = Gallery::of(self)?;
        let sheet = Sheet::of(&gallery, self, spec);
        let (figure, caption) = match &sheet {
            Some(sheet) => (sheet.svg()?, sheet.markdown(FIGURE)),
            None => (self.plot(spec)?, format!("\n![scores]({FIGURE})\n")),
        };
        let mut parts = vec![
            (MARKDOWN.to_owned(), self.markdown(spec, &caption)),
            (SCORES.to_owned(), self.csv()?),
            (FIGURE.to_owned(), themed(&figure)),
        ];
        if !self.preferences.is_empty() {
            parts.push((PREFERENCES.to_owned(), self.preferences_csv()?));
        }
        if files == ReportFiles::All {
            let links = PageLinks {
                files: parts.iter().map(|(name, _)| name.clone()).collect(),
                ..PageLinks::default()
            };
            parts.push((PAGE.to_owned(), self.page(spec, about, &links, &gallery)?));
            let pages = self.run_pages()?.into_iter();
            let pages: Vec<_> = pages.map(|(name, page)| (name, page.into_bytes())).collect();
            let folder = out.join(run_page::FOLDER);
            files::write_all_atomic(&folder, &pages)?;
            remove_pages(&folder, &pages);
        }
        let is_packed = |name: &str| files == ReportFiles::Committed && name == SCORES;
        let parts: Vec<(String, Vec<u8>)> = parts
            .into_iter()
            .map(|(name, text)| match is_packed(&name) {
                true => (PACKED_SCORES.to_owned(), files::gzip(&text)),
                false => (name, text.into_bytes()),
            })
            .collect();
        files::write_all_atomic(out, &parts)?;
        remove_others(out, &parts);
        Ok(parts.into_iter().map(|(name, _)| out.join(name)).collect())
    }

    /// The plot of the committed figure: the first curves, else the metrics of the summary system by system.
    fn plot(&self, spec: &ReportSpec) -> Result<String, ReportError> {
        match curves_of(self, spec).first() {
            Some(curves) => {
                let title = match curves.only() {
                    only if only.is_empty() => self.experiment.clone(),
                    only => format!("{}, {only}", self.experiment),
                };
                curves.sheet(&title)
            }
            None => dot_plot::scores(self, &self.select(spec.summary())),
        }
    }
}

/// Removes files of an earlier report that this report does not have.
fn remove_others(out: &Path, parts: &[(String, Vec<u8>)]) {
    let is_curve = |name: &str| name.starts_with("curves") && name.ends_with(".svg");
    let is_ours = |name: &str| {
        is_curve(name)
            || [
                PAGE,
                PREFERENCES,
                SCORES,
                PACKED_SCORES,
                "scores.svg",
                "pictures.png",
            ]
            .contains(&name)
    };
    for path in files::list(out).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_ours(&name) && parts.iter().all(|(part, _)| *part != name) {
            // A failure is harmless.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Removes pages of runs that the report does not have.
fn remove_pages(folder: &Path, pages: &[(String, Vec<u8>)]) {
    for path in files::list(folder).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".html") && pages.iter().all(|(page, _)| *page != name) {
            // A failure is harmless.
            let _ = std::fs::remove_file(&path);
        }
    }
}
