//! Preferences: win rates of systems on the same prompt, by a metric with a value per prompt.

use super::error::ReportError;
use super::group::{Group, Scores};
use super::metric_key::{self, MetricKey};
use crate::eval::metrics::MetricDirection;
use crate::eval::{Bootstrap, WinRate};
use crate::experiment::report_spec::{PreferenceSpec, ReportSpec};

/// Wins, ties and losses by one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Preference {
    /// The metric; the better value wins, the higher one if neither direction is better.
    pub key: MetricKey,
    /// Differences up to this are ties.
    pub tolerance: f64,
    /// Systems that have the metric.
    pub systems: Vec<String>,
    /// Each compared pair.
    pub meetings: Vec<Meeting>,
    /// Whether all pairs were compared.
    pub round_robin: bool,
}

/// Two systems on the same prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct Meeting {
    /// The system whose wins are counted.
    pub system: String,
    /// The other system.
    pub opponent: String,
    /// The win rate.
    pub wins: WinRate,
    /// Whether `system` is the reference of `opponent`.
    pub is_reference: bool,
}

/// Description of the method, above the tables.
pub(super) const HOW: &str = "The system with the better value on a prompt wins it; each seed meets the same seed of the other system where both have \
the same ones, else every seed. 95 % intervals from the bootstrap over prompts and seeds.";

impl Preference {
    /// Compares the systems, by metric.
    pub(super) fn of(
        spec: &ReportSpec,
        groups: &[Group<'_>],
        metrics: &[MetricKey],
    ) -> Result<Vec<Self>, ReportError> {
        let mut all = Vec::new();
        for wanted in &spec.preferences {
            for key in metric_key::select(metrics, std::slice::from_ref(&wanted.metric)) {
                all.extend(Self::by(&key, wanted, &spec.reference, groups)?);
            }
        }
        Ok(all)
    }

    fn by(
        key: &MetricKey,
        spec: &PreferenceSpec,
        reference: &str,
        groups: &[Group<'_>],
    ) -> Result<Option<Self>, ReportError> {
        let mut players: Vec<(&Group<'_>, Scores)> = Vec::new();
        for group in groups {
            let scores = Scores::of(key, &group.runs).map_err(|source| ReportError::Combine {
                system: group.label.clone(),
                source,
            })?;
            players.extend(scores.filter(|s| s.is_per_prompt).map(|s| (group, s)));
        }
        if players.is_empty() {
            tracing::warn!(
                "{} has no values per prompt: no preference can be counted",
                key.title()
            );
            return Ok(None);
        }
        let reference = spec.reference.as_deref().unwrap_or(reference);
        let mut meetings = Vec::new();
        for (system, scores) in &players {
            for (opponent, others) in &players {
                let counterpart = opponent.counterpart(groups, reference);
                let is_reference = counterpart.is_some_and(|c| c.label == system.label);
                let meet = (spec.round_robin || is_reference) && system.label != opponent.label;
                if !meet || !scores.is_comparable(others) {
                    continue;
                }
                let (own, other) = (towards(key, &scores.table), towards(key, &others.table));
                let wins = Bootstrap::default()
                    .win_rate(&own, &other, scores.seeds(others), spec.tolerance)
                    .map_err(|source| ReportError::Combine {
                        system: system.label.clone(),
                        source,
                    })?;
                meetings.push(Meeting {
                    system: system.label.clone(),
                    opponent: opponent.label.clone(),
                    wins,
                    is_reference,
                });
            }
        }
        Ok(Some(Self {
            key: key.clone(),
            tolerance: spec.tolerance,
            systems: players.iter().map(|(group, _)| group.label.clone()).collect(),
            meetings,
            round_robin: spec.round_robin,
        }))
    }

    /// References paired with the systems that are compared with them.
    pub fn of_reference(&self) -> Vec<&Meeting> {
        self.meetings.iter().filter(|m| m.is_reference).collect()
    }

    /// The comparison of `system` with `opponent`.
    pub fn between(&self, system: &str, opponent: &str) -> Option<&Meeting> {
        self.meetings
            .iter()
            .find(|m| m.system == system && m.opponent == opponent)
    }
}

/// `[seed][prompt]`, with the sign for which higher values are better.
fn towards(key: &MetricKey, table: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let sign = match key.better() {
        MetricDirection::Lower => -1.0,
        MetricDirection::Higher | MetricDirection::Neither => 1.0,
    };
    let row = |row: &Vec<f64>| row.iter().map(|value| sign * value).collect();
    table.iter().map(row).collect()
}
