//! The one plot at the head of a page, and its small form in the list of experiments: the first curve, or the first metric of the summary, system by
//! system.

use super::curves::curves_of;
use super::dot_plot;
use super::error::ReportError;
use super::metric_key::{MetricKey, split_title};
use super::results::{Report, System};
use crate::experiment::report_spec::ReportSpec;

/// Most lines whose names stand below a small plot.
const NAMES: usize = 6;

/// A plot with its description and legend.
pub(super) struct Lead {
    /// What it shows, for screen readers.
    pub(super) title: String,
    /// What it shows and what stands out, in sentences.
    pub(super) caption: String,
    /// The plot.
    pub(super) svg: String,
    /// Names with their marks as SVG.
    pub(super) legend: Vec<(String, String)>,
    /// The plot for the list of experiments.
    pub(super) small: String,
    /// The legend there; empty where it is too long.
    pub(super) small_legend: Vec<(String, String)>,
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
            let legend = curves.legend()?;
            return Ok(Some(Lead {
                title: format!("{title} over {}", curves.axis()),
                caption: format!(
                    "{title} over {}. Lines are means, bands 95 % intervals over seeds and prompts; dashed grey lines are systems without this key.{}",
                    curves.axis(),
                    curves.best().map_or_else(String::new, |best| format!(" {best}"))
                ),
                small: svg.clone(),
                small_legend: match legend.len() <= NAMES {
                    true => legend.clone(),
                    false => Vec::new(),
                },
                svg,
                legend,
            }));
        }
        let keys = self.select(spec.summary());
        let Some(first) = keys.first() else {
            return Ok(None);
        };
        let of_first: Vec<_> = keys.iter().filter(|k| k.name == first.name).cloned().collect();
        let Some((_, svg)) = dot_plot::score_panels(self, &of_first)?.into_iter().next() else {
            return Ok(None);
        };
        let one = of_first.iter().find(|key| key.split == "unseen").unwrap_or(first);
        Ok(Some(Lead {
            title: first.called(),
            caption: format!(
                "{}: points are means, bars 95 % intervals over seeds and prompts. {}",
                first.short(),
                self.best_text(&of_first)
            ),
            svg,
            legend: dot_plot::legend_of(&of_first),
            small: dot_plot::small(self, one)?,
            small_legend: Vec::new(),
        }))
    }

    /// The best system by each of `keys`, splits of one metric.
    fn best_text(&self, keys: &[MetricKey]) -> String {
        let best = keys.iter().filter_map(|key| {
            let system = self.systems.iter().find(|system| self.is_best(key, system))?;
            let value = system.cells.get(key)?.interval.value;
            let split = match key.split.as_str() {
                "all" => String::new(),
                split => format!(" ({})", split_title(split)),
            };
            Some(format!("{} with {value:.*}{split}", system.title, key.decimals()))
        });
        let best: Vec<String> = best.collect();
        match best.is_empty() || self.systems.iter().all(System::is_oracle) {
            true => String::new(),
            false => format!("Best mean of the systems that predict: {}.", best.join("; ")),
        }
    }
}
