//! A metric on a split, and its notation in specifications.

use crate::config::nearest;
use crate::eval::Metric;
use crate::eval::metrics::{self, MetricDirection, MetricInfo};

/// Decimals of a metric that is not in the table of metrics.
const DECIMALS: usize = 3;

/// A metric on a split.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricKey {
    /// Name of the metric, such as `forced_choice/object`.
    pub name: String,
    /// `all`, `seen`, `unseen`, or `against` for counter-bias prompts.
    pub split: String,
}

impl MetricKey {
    pub(super) fn of(metric: &Metric) -> Self {
        Self {
            name: metric.name.clone(),
            split: metric.split.clone(),
        }
    }

    /// The metric's entry in the table of metrics.
    pub fn info(&self) -> Option<&'static MetricInfo> {
        metrics::info(&self.name)
    }

    /// The better direction; none for a metric that is not in the table of metrics.
    pub fn better(&self) -> MetricDirection {
        self.info().map_or(MetricDirection::Neither, |info| info.better)
    }

    /// Number of decimals.
    pub(super) fn decimals(&self) -> usize {
        self.info().map_or(DECIMALS, |info| info.decimals)
    }

    /// [`MetricKey::title`] with the arrow of its direction: a column heading.
    pub fn heading(&self) -> String {
        format!("{}{}", self.title(), self.better().arrow())
    }

    /// The metric's name for readers, without its split.
    pub fn short(&self) -> &str {
        self.info().and_then(|info| info.title).unwrap_or(&self.name)
    }

    /// The metric's name for readers, with its split.
    pub fn called(&self) -> String {
        match self.split.as_str() {
            "all" => self.short().to_owned(),
            split => format!("{}, {}", self.short(), split_title(split)),
        }
    }

    /// The name in tables.
    pub fn title(&self) -> String {
        if self.split == "all" {
            self.name.clone()
        } else {
            format!("{} {}", self.name, self.split)
        }
    }
}

/// The name for readers of a split.
pub(super) fn split_title(split: &str) -> &str {
    match split {
        "all" => "all prompts",
        "against" => "counter-bias",
        other => other,
    }
}

/// The keys among `metrics` that `wanted` names (`name` for every split, `name@split` for one); if `wanted` is empty, those of all prompts. Unknown
/// names are left out with a warning.
pub(super) fn select(metrics: &[MetricKey], wanted: &[String]) -> Vec<MetricKey> {
    if wanted.is_empty() {
        return metrics.iter().filter(|k| k.split == "all").cloned().collect();
    }
    let mut keys: Vec<MetricKey> = Vec::new();
    for want in wanted {
        let matches = |k: &&MetricKey| *want == k.name || *want == format!("{}@{}", k.name, k.split);
        let found: Vec<_> = metrics.iter().filter(matches).cloned().collect();
        if found.is_empty() {
            let known: Vec<String> = metrics.iter().map(|k| k.name.clone()).collect();
            let name = want.split('@').next().unwrap_or(want);
            let hint = match nearest(name, &known) {
                Some(other) if other != name => format!("; did you mean {other}?"),
                _ => String::new(),
            };
            tracing::warn!("no run has the metric {want}, which [report] asks for{hint}");
        }
        keys.extend(
            found
                .into_iter()
                .filter(|k| !keys.contains(k))
                .collect::<Vec<_>>(),
        );
    }
    keys
}
