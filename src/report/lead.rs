//! The one plot at the head of a page and in the list of experiments: the first curve, or the first metric of the summary, system by system.

use super::curves::curves_of;
use super::dot_plot;
use super::error::ReportError;
use super::results::Report;
use crate::experiment::report_spec::ReportSpec;

/// A plot with its description and legend.
pub(super) struct Lead {
    /// What it shows, for a caption and for screen readers.
    pub(super) title: String,
    /// The plot.
    pub(super) svg: String,
    /// Names with their marks as SVG.
    pub(super) legend: Vec<(String, String)>,
}

impl Report {
    /// The plot at the head of the page; `None` without scores.
    ///
    /// # Errors
    /// [`ReportError::Draw`] if the drawing library fails.
    pub(super) fn lead(&self, spec: &ReportSpec) -> Result<Option<Lead>, ReportError> {
        if let Some(curves) = curves_of(self, spec).first()
            && let Some((title, svg)) = curves.panels()?.into_iter().next()
        {
            return Ok(Some(Lead {
                title: format!("{title} over {}", curves.x()),
                svg,
                legend: curves.legend()?,
            }));
        }
        let keys = self.select(spec.summary());
        let Some(first) = keys.first() else {
            return Ok(None);
        };
        let of_first: Vec<_> = keys.iter().filter(|k| k.name == first.name).cloned().collect();
        let panel = dot_plot::score_panels(self, &of_first)?.into_iter().next();
        Ok(panel.map(|(_, svg)| Lead {
            title: first.called(),
            svg,
            legend: dot_plot::legend_of(&of_first),
        }))
    }
}
