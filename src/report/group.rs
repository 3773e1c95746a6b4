//! Runs that differ only in their seed, with their combined scores.

use toml::Table;

use super::finished::Finished;
use super::metric_key::MetricKey;
use crate::eval::{Bootstrap, EvalError, Interval, Metric, Seeds};
use crate::experiment::report_spec::system_label;
use crate::files;

/// A mean over the runs of one system.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The mean, and its interval.
    pub interval: Interval,
    /// Whether the interval is meaningful: not for a single value of one run.
    pub has_interval: bool,
    /// Number of runs.
    pub n_runs: usize,
    /// Number of prompts of each run.
    pub n_prompts: usize,
    /// This system minus the reference on the same prompts, where both have values per prompt.
    pub difference: Option<Interval>,
}

/// The runs of one system.
pub(super) struct Group<'a> {
    pub(super) label: String,
    pub(super) runs: Vec<&'a Finished>,
}

/// The values of one metric in the runs of one system.
pub(super) struct Scores {
    /// The seed of each row.
    rows: Vec<u64>,
    /// `[seed][prompt]`.
    pub(super) table: Vec<Vec<f64>>,
    pub(super) is_per_prompt: bool,
    prompts: Option<Vec<usize>>,
}

impl Scores {
    /// `None` if no run has the metric.
    pub(super) fn of(key: &MetricKey, runs: &[&Finished]) -> Result<Option<Self>, EvalError> {
        let (mut rows, mut metrics) = (Vec::new(), Vec::new());
        for run in runs {
            if let Some(metric) = run.scores.iter().find(|m| MetricKey::of(m) == *key) {
                rows.push(run.provenance.seed);
                metrics.push(metric);
            }
        }
        let Some(first) = metrics.first() else {
            return Ok(None);
        };
        Ok(Some(Self {
            rows,
            is_per_prompt: first.per_prompt.is_some(),
            prompts: first.prompts.clone(),
            table: Metric::table(&metrics)?,
        }))
    }

    pub(super) fn seeds(&self, other: &Self) -> Seeds {
        Seeds::of(&self.rows, &other.rows)
    }

    /// Whether a comparison by prompt is possible.
    pub(super) fn is_comparable(&self, other: &Self) -> bool {
        self.is_per_prompt
            && other.is_per_prompt
            && self.prompts == other.prompts
            && self.table[0].len() == other.table[0].len()
    }
}

impl<'a> Group<'a> {
    /// Groups runs by system, in the order of the runs; different systems with equal labels get distinct labels.
    pub(super) fn all(runs: &'a [Finished]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for run in runs {
            match groups.iter_mut().find(|g| g.runs[0].config == run.config) {
                Some(group) => group.runs.push(run),
                None => groups.push(Self {
                    label: run.label(),
                    runs: vec![run],
                }),
            }
        }
        let systems = groups.iter().map(|g| (g.label.as_str(), &g.runs[0].config));
        let labels = distinct_labels(&systems.collect::<Vec<_>>());
        for (group, label) in groups.iter_mut().zip(labels) {
            group.label = label;
        }
        groups
    }

    /// The system that this one is compared with: the system labelled `reference`; if there is none, the system that differs in one axis only and has
    /// `reference` there.
    pub(super) fn counterpart<'g>(&self, groups: &'g [Self], reference: &str) -> Option<&'g Self> {
        let axes = |group: &Self| group.runs[0].axes().cloned().collect::<Vec<_>>();
        let others = || groups.iter().filter(|g| g.label != self.label);
        let all: Vec<_> = others().map(|g| (g.label.clone(), axes(g))).collect();
        let label = counterpart((&self.label, &axes(self)), &all, reference)?;
        others().find(|g| g.label == label)
    }

    /// This system's cell of a table, with the difference to `reference`, if there is one; `None` if no run has the metric.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if runs have different prompts.
    pub(super) fn cell(&self, key: &MetricKey, reference: Option<&Self>) -> Result<Option<Cell>, EvalError> {
        let Some(scores) = Scores::of(key, &self.runs)? else {
            return Ok(None);
        };
        let (n_runs, n_values) = (scores.table.len(), scores.table[0].len());
        let first = self
            .runs
            .iter()
            .find_map(|r| r.scores.iter().find(|m| MetricKey::of(m) == *key));
        let bootstrap = Bootstrap::default();
        let others = match reference {
            Some(reference) => Scores::of(key, &reference.runs)?,
            None => None,
        };
        let others = others.filter(|others| scores.is_comparable(others));
        let difference = match others {
            Some(others) => {
                Some(bootstrap.paired_difference(&scores.table, &others.table, scores.seeds(&others))?)
            }
            None => None,
        };
        // A metric of images has its interval over them with it.
        let of_images = match self.runs[..] {
            [run] => run.image_score(&key.name).and_then(|score| score.interval),
            _ => None,
        };
        let mut interval = bootstrap.mean(&scores.table)?;
        if let Some([low, high]) = of_images {
            (interval.low, interval.high) = (low, high);
        }
        Ok(Some(Cell {
            interval,
            has_interval: n_runs > 1 || n_values > 1 || of_images.is_some(),
            n_runs,
            n_prompts: match first {
                Some(metric) if !scores.is_per_prompt => metric.n,
                _ => n_values,
            },
            difference,
        }))
    }
}

/// Labels of systems, given as `(label, configuration)`: different systems with equal labels get distinct ones.
pub(super) fn distinct_labels(systems: &[(&str, &Table)]) -> Vec<String> {
    let is_taken = |label: &str| systems.iter().filter(|(other, _)| *other == label).count() > 1;
    let label = |(label, config): &(&str, &Table)| match is_taken(label) {
        true => format!("{label} #{}", &files::sha256(config.to_string().as_bytes())[..4]),
        false => (*label).to_owned(),
    };
    systems.iter().map(label).collect()
}

/// Axis labels of a system, `(axis, label)`, without the seed.
pub(super) type Axes = Vec<(String, String)>;

/// The label of the system among `others` that the system `own` is compared with: the one labelled `reference`; if there is none, the one that differs in
/// one axis only and has `reference` there. Systems are given as `(label, axes)`.
pub(super) fn counterpart(own: (&str, &Axes), others: &[(String, Axes)], reference: &str) -> Option<String> {
    let is_reference = |label: &str| label == reference;
    if is_reference(own.0) || others.iter().any(|(label, _)| is_reference(label)) {
        let found = others.iter().find(|(label, _)| is_reference(label));
        return found.map(|(label, _)| label.clone());
    }
    let found = others
        .iter()
        .find(|(_, axes)| is_counterpart(own.1, axes, reference));
    found.map(|(label, _)| label.clone())
}

/// Whether `other` differs from `own` in one axis only and has the label `reference` there.
fn is_counterpart(own: &[(String, String)], other: &[(String, String)], reference: &str) -> bool {
    let of =
        |axes: &[(String, String)], key: &str| axes.iter().find(|(k, _)| k == key).map(|(_, l)| l.clone());
    let changed: Vec<_> = other
        .iter()
        .filter(|(key, label)| of(own, key).as_ref() != Some(label))
        .collect();
    match changed[..] {
        [one] => {
            let is_called = one.1 == reference || system_label(std::iter::once(one)) == reference;
            own.len() == other.len() && is_called && of(own, &one.0).is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counterpart_differs_in_the_axis_of_the_reference_only() {
        let axes = |objective: &str, n_pairs: &str| {
            [("objective", objective), ("data.n_pairs", n_pairs)].map(|(k, l)| (k.to_owned(), l.to_owned()))
        };
        let is = |own: [(String, String); 2], other: [(String, String); 2], reference: &str| {
            is_counterpart(&own, &other, reference)
        };
        assert!(is(axes("ridge", "300"), axes("eclipse", "300"), "eclipse"));
        assert!(!is(axes("ridge", "300"), axes("eclipse", "1000"), "eclipse"));
        assert!(!is(axes("ridge", "300"), axes("projection", "300"), "eclipse"));
        assert!(!is(axes("eclipse", "300"), axes("eclipse", "1000"), "eclipse"));
        assert!(is(
            axes("eclipse", "300"),
            axes("eclipse", "1000"),
            "n_pairs=1000"
        ));
        let lone = ("objective".to_owned(), "oracle".to_owned());
        assert!(!is_counterpart(&[lone], &axes("eclipse", "300"), "eclipse"));
    }
}
