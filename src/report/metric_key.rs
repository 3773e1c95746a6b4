//! A metric on a split, and how a specification names one.

use crate::eval::Metric;

/// A metric on a split.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricKey {
    /// As in `forced_choice/object`.
    pub name: String,
    /// `all`, `seen`, `unseen`, `against`.
    pub split: String,
}

impl MetricKey {
    pub(super) fn of(metric: &Metric) -> Self {
        Self {
            name: metric.name.clone(),
            split: metric.split.clone(),
        }
    }

    /// How tables call it.
    pub fn title(&self) -> String {
        if self.split == "all" {
            self.name.clone()
        } else {
            format!("{} {}", self.name, self.split)
        }
    }
}

/// The keys among `metrics` that `wanted` names (`name` for every split, `name@split` for one); without any, those of all prompts. A name that nothing
/// has is left out with a warning.
pub(super) fn select(metrics: &[MetricKey], wanted: &[String]) -> Vec<MetricKey> {
    if wanted.is_empty() {
        return metrics.iter().filter(|k| k.split == "all").cloned().collect();
    }
    let mut keys: Vec<MetricKey> = Vec::new();
    for want in wanted {
        let matches = |k: &&MetricKey| *want == k.name || *want == format!("{}@{}", k.name, k.split);
        let found: Vec<_> = metrics.iter().filter(matches).cloned().collect();
        if found.is_empty() {
            tracing::warn!("no run has the metric {want}, which [report] asks for");
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
