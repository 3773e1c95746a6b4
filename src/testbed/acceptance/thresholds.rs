//! The accuracies that a small CLIP has to reach.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::eval::forced_choice::Kind;
use crate::world::World;

/// One accuracy and the threshold that it has to reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// `zero_shot` or `probe`.
    pub question: String,
    /// `object`, `colour`, `texture`, `binding` or `relation`.
    pub kind: String,
    /// Share of right answers; of a probe the mean over classes.
    pub accuracy: f64,
    /// What it has to reach.
    #[serde(rename = "bar")]
    pub threshold: f64,
    /// Answers.
    pub n: usize,
}

/// All accuracies of a CLIP, with their thresholds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thresholds(pub Vec<Threshold>);

impl Thresholds {
    /// Whether every threshold is reached.
    pub fn reached(&self) -> bool {
        self.missed().is_none()
    }

    /// The thresholds that are not reached, in words.
    pub fn missed(&self) -> Option<String> {
        let below = self.0.iter().filter(|t| t.accuracy < t.threshold);
        let missed: Vec<String> = below
            .map(|t| {
                format!(
                    "{} {} is {:.3}, expected at least {}",
                    t.question, t.kind, t.accuracy, t.threshold
                )
            })
            .collect();
        (!missed.is_empty()).then(|| missed.join(", "))
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:<9} {:>8} {:>5} {:>6}",
            "question", "kind", "accuracy", "bar", "n"
        )?;
        for Threshold {
            question,
            kind,
            accuracy,
            threshold,
            n,
        } in &self.0
        {
            let verdict = if accuracy >= threshold {
                ""
            } else {
                "  below the bar"
            };
            writeln!(
                f,
                "{question:<10} {kind:<9} {accuracy:>8.3} {threshold:>5.2} {n:>6}{verdict}"
            )?;
        }
        Ok(())
    }
}

/// The thresholds of a kind, from which on a small CLIP can stand in for a real one: zero-shot, probe.
pub(super) fn of_kind(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::Object => (0.95, 0.85),
        Kind::Colour => (0.97, 0.85),
        Kind::Texture => (0.95, 0.85),
        Kind::Binding => (0.95, 0.9),
        Kind::Relation | Kind::Distractor => (0.9, 0.9),
    }
}

/// The kinds that are measured in a world.
pub(super) fn kinds(world: World) -> impl Iterator<Item = Kind> {
    [
        Kind::Object,
        Kind::Colour,
        Kind::Texture,
        Kind::Binding,
        Kind::Relation,
    ]
    .into_iter()
    .filter(move |kind| *kind != Kind::Texture || !world.textures().is_empty())
}
