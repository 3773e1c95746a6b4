//! A report as text: a table for terminals, Markdown, CSV.

use super::claims::{self, Order, OrderClaims};
use super::error::ReportError;
use super::group::Cell;
use super::metric_key::MetricKey;
use super::preference::{self, Meeting, Preference};
use super::results::{Report, System};
use crate::eval::metrics::MetricDirection;
use crate::eval::{Interval, WinRate};
use crate::experiment::convergence;
use crate::experiment::report_spec::ReportSpec;

/// How tables mark the better direction.
pub(super) const DIRECTIONS: &str =
    "↑: higher is better, ↓: lower is better; the best mean is bold, which claims no order.";
/// Above this number, a sentence counts systems instead of listing them.
const MANY: usize = 4;

impl Report {
    /// The table for a terminal, a column per system: mean and half the width of its interval.
    pub fn table(&self, spec: &ReportSpec) -> String {
        let head = std::iter::once("metric".to_owned()).chain(self.systems.iter().map(|s| s.label.clone()));
        let runs =
            std::iter::once("runs".to_owned()).chain(self.systems.iter().map(|s| s.n_runs.to_string()));
        let converged = std::iter::once("converged").chain(self.systems.iter().map(System::converged));
        let mut rows: Vec<Vec<String>> = vec![
            head.collect(),
            runs.collect(),
            converged.map(str::to_owned).collect(),
        ];
        for key in self.select(&spec.columns) {
            let cells = self.systems.iter().map(|s| shown(s, &key));
            rows.push(std::iter::once(key.heading()).chain(cells).collect());
        }
        aligned(&rows)
    }

    /// The metrics of the summary, a row for each system, so that many systems fit a terminal.
    pub fn short_table(&self, spec: &ReportSpec) -> String {
        let keys = self.select(spec.summary());
        let head = std::iter::once("system".to_owned()).chain(keys.iter().map(MetricKey::heading));
        let of_system = |system: &System| {
            let cells = keys.iter().map(|key| shown(system, key));
            std::iter::once(system.label.clone()).chain(cells).collect()
        };
        let rows: Vec<Vec<String>> = std::iter::once(head.collect())
            .chain(self.systems.iter().map(of_system))
            .collect();
        aligned(&rows)
    }

    /// The report as Markdown; `figure` is the text with the figure.
    pub(super) fn markdown(&self, spec: &ReportSpec, figure: &str) -> String {
        let keys = self.select(&spec.columns);
        let mut text = format!("# {}: results\n\n", self.experiment);
        text.push_str("Made by `eclipse report` from run directories. Mean and 95 % bootstrap interval over seeds and prompts. ");
        text.push_str(&format!("{DIRECTIONS}\n\n"));
        let value = |key: &MetricKey, system: &System, cell: &Cell| {
            let text = interval_text(&cell.interval, cell.has_interval, false, key.decimals());
            match self.is_best(key, system) {
                true => format!("**{text}**"),
                false => text,
            }
        };
        text.push_str(&self.markdown_table(&keys, value, |_| true));
        let shown = |name: &str| keys.iter().any(|key| key.name == name);
        for protocol in self.protocols.iter().filter(|p| shown(&p.metric)) {
            let said = protocol.keys.iter().map(|(key, value)| format!("{key} {value}"));
            let said: Vec<String> = said.collect();
            text.push_str(&format!(
                "\nProtocol of {}: {}.\n",
                protocol.metric,
                said.join(", ")
            ));
        }
        text.push_str(&format!("\n{}\n", convergence::RULE));
        if let Some(unconverged) = self.unconverged_text() {
            text.push_str(&format!("\n**{unconverged}**\n"));
        }
        text.push_str(figure);
        if self.systems.iter().any(|s| s.compared_with.is_some()) {
            text.push_str(&format!(
                "\n## Difference to {}, on the same prompts\n\n",
                self.reference
            ));
            if self.systems.iter().all(|s| s.label != self.reference) {
                text.push_str("Each system minus the one that differs from it in this only.\n\n");
            }
            let difference = |key: &MetricKey, _: &System, cell: &Cell| {
                let text = |d: &Interval| interval_text(d, true, true, key.decimals());
                cell.difference.as_ref().map_or_else(|| "-".into(), text)
            };
            let has = |k: &MetricKey| {
                self.systems
                    .iter()
                    .any(|s| s.cells.get(k).is_some_and(|c| c.difference.is_some()))
            };
            let keys: Vec<_> = keys.iter().filter(|k| has(k)).cloned().collect();
            text.push_str(&self.markdown_table(&keys, difference, |s| s.compared_with.is_some()));
        }
        text.push_str(&self.claims_markdown(&keys));
        for preference in &self.preferences {
            text.push_str(&markdown_preference(preference));
        }
        text.push('\n');
        if !self.missing.is_empty() {
            text.push_str(&format!("{}\n\n", self.missing_text()));
        }
        text.push_str(&format!("{}\n", self.made));
        text
    }

    /// A note on missing runs, if there are any.
    pub(super) fn missing_text(&self) -> String {
        format!(
            "{} runs of this experiment are not finished and not counted.",
            self.missing.len()
        )
    }

    /// A note on systems that have not converged, if there are any.
    pub(super) fn unconverged_text(&self) -> Option<String> {
        let systems = self.systems.iter().filter(|s| !s.may_be_compared());
        let listed: Vec<String> = systems
            .map(|s| format!("{} ({})", s.label, s.converged()))
            .collect();
        let which = match listed.len() {
            0 => return None,
            n if n <= MANY => listed.join("; "),
            n => format!("{n} of {} systems (column converged)", self.systems.len()),
        };
        Some(format!(
            "Not known to have converged, so no order is claimed for them: {which}."
        ))
    }

    /// The claims on the reference and each other system, as a Markdown list; empty without a reference.
    pub fn claims_markdown(&self, keys: &[MetricKey]) -> String {
        let claims = self.claims(keys);
        if claims.is_empty() {
            return String::new();
        }
        let mut text = format!("\n## Claims of order\n\n{}\n\n", claims::HOW);
        for OrderClaims { reference, metrics } in claims {
            for (key, claims) in metrics {
                let said = Order::ALL.into_iter().filter_map(|order| {
                    let others = claims.iter().filter(|c| c.order == order);
                    let difference = |d: &Interval| interval_text(d, true, true, key.decimals());
                    let others = others.map(|c| format!("{} {}", c.other, difference(&c.difference)));
                    let others = others.collect::<Vec<_>>().join(", ");
                    (!others.is_empty()).then(|| format!("{} {others}", order.words()))
                });
                let said = said.collect::<Vec<_>>().join("; ");
                let direction = match key.better() {
                    MetricDirection::Neither => String::new(),
                    better => format!(" ({})", better.words()),
                };
                text.push_str(&format!(
                    "- **{}**{direction}: {reference} {said}.\n",
                    key.title()
                ));
            }
        }
        text
    }

    fn markdown_table(
        &self,
        keys: &[MetricKey],
        show: impl Fn(&MetricKey, &System, &Cell) -> String,
        keep: impl Fn(&System) -> bool,
    ) -> String {
        let titles = keys
            .iter()
            .map(|k| format!(" {} |", k.heading()))
            .collect::<String>();
        let mut text = format!(
            "| system | runs | converged |{titles}\n|---|---|---|{}\n",
            "---|".repeat(keys.len())
        );
        for system in self.systems.iter().filter(|s| keep(s)) {
            let cells = keys.iter().map(|k| {
                system
                    .cells
                    .get(k)
                    .map_or_else(|| "-".into(), |cell| show(k, system, cell))
            });
            let cells = cells.map(|c| format!(" {c} |")).collect::<String>();
            text.push_str(&format!(
                "| {} | {} | {} |{cells}\n",
                system.label,
                system.n_runs,
                system.converged()
            ));
        }
        text
    }

    /// [`Preference`]s as CSV, one row per comparison.
    ///
    /// # Errors
    /// [`ReportError::Csv`] if the CSV library fails.
    pub fn preferences_csv(&self) -> Result<String, ReportError> {
        let header = "metric,split,system,against,win,win_low,win_high,tie,tie_low,tie_high,loss,loss_low,loss_high,rate,rate_low,rate_high";
        let mut rows = vec![header.split(',').map(str::to_owned).collect::<Vec<_>>()];
        for preference in &self.preferences {
            for meeting in &preference.meetings {
                let WinRate { win, tie, loss, rate } = meeting.wins;
                let MetricKey { name, split } = preference.key.clone();
                let mut row = vec![name, split, meeting.system.clone(), meeting.opponent.clone()];
                let numbers = [win, tie, loss, rate].map(|i| [i.value, i.low, i.high]);
                row.extend(numbers.as_flattened().iter().map(|v| format!("{v:.6}")));
                rows.push(row);
            }
        }
        csv_of(&rows)
    }

    /// The table as CSV, one row per cell.
    ///
    /// # Errors
    /// [`ReportError::Csv`] if the CSV library fails.
    pub fn csv(&self) -> Result<String, ReportError> {
        let header = [
            "system",
            "metric",
            "split",
            "value",
            "low",
            "high",
            "difference",
            "difference_low",
            "difference_high",
            "runs",
            "prompts",
            "converged",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for system in &self.systems {
            for key in &self.metrics {
                let Some(cell) = system.cells.get(key) else {
                    continue;
                };
                let number = |v: f64, there: bool| if there { format!("{v:.6}") } else { String::new() };
                let d = cell.difference.unwrap_or(Interval {
                    value: 0.0,
                    low: 0.0,
                    high: 0.0,
                });
                let has = cell.difference.is_some();
                rows.push(vec![
                    system.label.clone(),
                    key.name.clone(),
                    key.split.clone(),
                    number(cell.interval.value, true),
                    number(cell.interval.low, cell.has_interval),
                    number(cell.interval.high, cell.has_interval),
                    number(d.value, has),
                    number(d.low, has),
                    number(d.high, has),
                    cell.n_runs.to_string(),
                    cell.n_prompts.to_string(),
                    system.converged().to_owned(),
                ]);
            }
        }
        csv_of(&rows)
    }
}

fn markdown_preference(preference: &Preference) -> String {
    let mut text = format!(
        "\n## Preferences by {}\n\n{}",
        preference.key.title(),
        preference::HOW
    );
    if preference.tolerance > 0.0 {
        text.push_str(&format!(" Differences up to {} are ties.", preference.tolerance));
    }
    let meetings = preference.of_reference();
    if !meetings.is_empty() {
        text.push_str("\n\n| | wins | ties | loses | wins and half the ties |\n|---|---|---|---|---|\n");
        for Meeting {
            system,
            opponent,
            wins,
            ..
        } in meetings
        {
            let [win, tie, loss, rate] = [wins.win, wins.tie, wins.loss, wins.rate].map(|i| share_text(&i));
            text.push_str(&format!(
                "| {system} against {opponent} | {win} | {tie} | {loss} | {rate} |\n"
            ));
        }
    }
    if preference.round_robin {
        text.push_str("\nRound robin: wins and half the ties of the row against the column.\n\n| |");
        for opponent in &preference.systems {
            text.push_str(&format!(" {opponent} |"));
        }
        text.push_str(&format!("\n|{}\n", "---|".repeat(preference.systems.len() + 1)));
        for system in &preference.systems {
            text.push_str(&format!("| {system} |"));
            for opponent in &preference.systems {
                let met = preference.between(system, opponent);
                let rate = met.map_or_else(|| "-".into(), |m| share_text(&m.wins.rate));
                text.push_str(&format!(" {rate} |"));
            }
            text.push('\n');
        }
    }
    text
}

pub(super) fn csv_of(rows: &[Vec<String>]) -> Result<String, ReportError> {
    let fail = |e: String| ReportError::Csv(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).map_err(|e| fail(e.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|e| fail(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| fail(e.to_string()))
}

/// A fraction in percent with its interval.
pub(super) fn share_text(share: &Interval) -> String {
    let [value, low, high] = [share.value, share.low, share.high].map(|v| 100.0 * v);
    format!("{value:.0} % [{low:.0}, {high:.0}]")
}

/// A value with its interval, if the interval is meaningful, with `digits` decimals.
pub(super) fn interval_text(interval: &Interval, has_interval: bool, signed: bool, digits: usize) -> String {
    let Interval { value, low, high } = interval;
    match (has_interval, signed) {
        (false, _) => format!("{value:.digits$}"),
        (true, false) => format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]"),
        (true, true) => format!("{value:+.digits$} [{low:+.digits$}, {high:+.digits$}]"),
    }
}

/// A value with half of its interval; - where the system has none.
fn shown(system: &System, key: &MetricKey) -> String {
    let Some(cell) = system.cells.get(key) else {
        return "-".into();
    };
    let (digits, value, half) = (key.decimals(), cell.interval.value, cell.interval.width() / 2.0);
    match cell.has_interval {
        true => format!("{value:.digits$} ±{half:.digits$}"),
        false => format!("{value:.digits$}"),
    }
}

/// Aligned columns; the first to the left, the others to the right.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &w))| match i {
                0 => format!("{cell:<w$}"),
                _ => format!("  {cell:>w$}"),
            });
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{EvalFile, Metric};
    use crate::experiment::provenance::Origin;
    use crate::experiment::spec::{DataSpec, RunSpec};
    use crate::experiment::{Failure, RunDir};
    use crate::report::{About, ReportFiles};

    /// A run of the system with these values of the toy metric, one per prompt.
    fn finish(dir: &std::path::Path, n_pairs: usize, values: &[f64]) -> Result<(), Failure> {
        let data = DataSpec {
            n_pairs,
            ..DataSpec::default()
        };
        let run = RunSpec {
            data,
            ..RunSpec::default()
        };
        let dir = RunDir::new(dir);
        let origin = Origin {
            axes: vec![("data.n_pairs".into(), n_pairs.to_string())],
            ..Origin::default()
        };
        let claim = dir.claim(&run.resolve()?, &origin)?.ok_or("it is done already")?;
        let values: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
        let metric = Metric::per_prompt("toy-brightness", "all", &values);
        EvalFile::new(vec![metric]).write(dir.eval_path("embedding"))?;
        Ok(claim.finish()?)
    }

    #[test]
    fn tables_follow_from_the_row_of_a_metric() -> Result<(), Failure> {
        let runs = tempfile::tempdir()?;
        let dirs = ["a", "b"].map(|name| runs.path().join(name));
        finish(&dirs[0], 300, &[0.125, 0.125])?;
        finish(&dirs[1], 1000, &[0.75, 0.75])?;
        let spec = ReportSpec::default();
        let report = Report::read("toy", runs.path(), &dirs, &spec)?;
        let short = report.short_table(&spec);
        assert!(
            short.starts_with("system") && short.contains("toy-brightness ↑"),
            "{short}"
        );
        let last: Vec<&str> = short
            .lines()
            .last()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(last, ["n_pairs=1000", "0.75", "±0.00"]);
        assert!(
            report.table(&spec).contains("toy-brightness ↑"),
            "{}",
            report.table(&spec)
        );
        let out = runs.path().join("results");
        report.write(&out, &spec, &About::default(), ReportFiles::All)?;
        let markdown = crate::files::read_text(out.join("README.md"))?;
        let row = "| n_pairs=1000 | 1 | unknown | **0.75 [0.75, 0.75]** |";
        assert!(
            markdown.contains("| toy-brightness ↑ |") && markdown.contains(row),
            "{markdown}"
        );
        let page = crate::files::read_text(out.join("index.html"))?;
        let sentence = "Mean brightness of the images (share of white; higher is better)";
        assert!(
            page.contains(&format!("<th title=\"{sentence}\">toy-brightness ↑</th>")),
            "{page}"
        );
        assert!(
            page.contains(&format!("<dt>toy-brightness</dt><dd>{sentence}.</dd>")),
            "{page}"
        );
        Ok(())
    }
}
