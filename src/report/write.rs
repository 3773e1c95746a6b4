//! The files of a report.

use std::path::{Path, PathBuf};

use super::about::About;
use super::curves::{curve_file, curves_of};
use super::dot_plot;
use super::error::ReportError;
use super::gallery::Gallery;
use super::results::Report;
use super::sheet::Sheet;
use crate::experiment::report_spec::ReportSpec;
use crate::files;

impl Report {
    /// Writes the report into `out` and returns the paths: `index.html`, `README.md`, `scores.csv`, `scores.svg`, and if `spec` requests them
    /// `preferences.csv`, `curves.svg` and `pictures.png`. `about` is the experiment's README.
    ///
    /// # Errors
    /// [`ReportError`]: images of a run that cannot be read, a plot that cannot be drawn, a file that cannot be written.
    pub fn write(&self, out: &Path, spec: &ReportSpec, about: &About) -> Result<Vec<PathBuf>, ReportError> {
        let gallery = Gallery::of(self)?;
        let sheet = Sheet::of(&gallery, spec.sheet);
        let images = sheet.as_ref().map(|sheet| sheet.markdown(SHEET));
        let markdown = self.markdown(spec, images.as_deref().unwrap_or_default());
        let mut parts = vec![
            ("README.md".to_owned(), markdown),
            ("scores.csv".to_owned(), self.csv()?),
            (
                "scores.svg".to_owned(),
                dot_plot::scores(self, &self.plotted(spec))?,
            ),
        ];
        if !self.preferences.is_empty() {
            parts.push(("preferences.csv".to_owned(), self.preferences_csv()?));
        }
        for (i, curves) in curves_of(self, spec).iter().enumerate() {
            let title = match curves.only() {
                only if only.is_empty() => self.experiment.clone(),
                only => format!("{}, {only}", self.experiment),
            };
            parts.push((curve_file(i), curves.sheet(&title)?));
        }
        let names: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();
        parts.push(("index.html".to_owned(), self.page(spec, about, &names, &gallery)?));
        let mut parts: Vec<(String, Vec<u8>)> = parts
            .into_iter()
            .map(|(name, text)| (name, text.into_bytes()))
            .collect();
        if let Some(sheet) = sheet {
            parts.push((SHEET.to_owned(), sheet.png()?));
        }
        files::write_all_atomic(out, &parts)?;
        remove_others(out, &parts);
        Ok(parts.into_iter().map(|(name, _)| out.join(name)).collect())
    }
}

/// Removes files of an earlier report that this report does not have.
fn remove_others(out: &Path, parts: &[(String, Vec<u8>)]) {
    let is_ours = |name: &str| {
        let curve = name.strip_prefix("curves").and_then(|n| n.strip_suffix(".svg"));
        let is_curve = curve
            .is_some_and(|n| n.is_empty() || n.strip_prefix('-').is_some_and(|n| n.parse::<usize>().is_ok()));
        is_curve || ["preferences.csv", SHEET].contains(&name)
    };
    for path in files::list(out).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_ours(&name) && parts.iter().all(|(part, _)| *part != name) {
            // A failure is harmless.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// File name of the sheet of images.
const SHEET: &str = "pictures.png";
