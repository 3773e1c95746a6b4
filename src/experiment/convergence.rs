//! Whether a training converged, judged by its validation loss.
//!
//! The rule is the same for every objective, because each objective is judged by its own loss on held-out pairs: training has
//! converged when its last quarter lowered the minimum of the validation loss by less than 1 %, and the loss of the scored parameters is within 1 % of
//! that minimum.

use super::metrics::MetricRow;
use super::spec::ScoredCheckpoint;
use crate::eval::Metric;

/// The last fraction of a training, in which the loss may no longer improve.
const LAST_PART: f64 = 0.25;
/// Relative improvements of the minimum below this value count as none.
const TOLERANCE: f64 = 0.01;
/// Fewest validations for a verdict.
const FEWEST: usize = 8;

/// The rule in words, for reports.
pub const RULE: &str = "Converged: the last quarter of the training steps lowered the minimum of the held-out loss by less than 1 %, and the scored \
parameters lie within 1 % of that minimum, in every run of the system. An order between two systems is claimed only where both have converged or need \
no training.";

/// Verdict of the validation loss on the end of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Convergence {
    /// At the minimum, which no longer falls.
    Converged,
    /// The scored parameters are past the minimum: the prior overfits its pairs.
    PastMinimum,
    /// The minimum still falls.
    Improving,
    /// Too few validations, or none.
    Unknown,
}

impl Convergence {
    /// The verdict on the rows of `metrics.jsonl`: the validations' `loss`.
    pub fn of(rows: &[MetricRow], scored: ScoredCheckpoint) -> Self {
        Self::of_losses(&losses(rows), scored)
    }

    /// The verdict on `(step, loss)` pairs, in order.
    fn of_losses(losses: &[(usize, f64)], scored: ScoredCheckpoint) -> Self {
        match Evidence::of(losses, scored) {
            None => Self::Unknown,
            Some(evidence) if !evidence.is_level(evidence.before) => Self::Improving,
            Some(evidence) if !evidence.is_level(evidence.scored) => Self::PastMinimum,
            Some(_) => Self::Converged,
        }
    }

    /// How the verdict on the rows of `metrics.jsonl` was reached, in sentences with its numbers.
    pub fn reason(rows: &[MetricRow], scored: ScoredCheckpoint) -> String {
        let losses = losses(rows);
        let Some(evidence) = Evidence::of(&losses, scored) else {
            return format!("{} validations; a verdict needs {FEWEST}.", losses.len());
        };
        let above = |loss: f64| match evidence.minimum.1 {
            0.0 => format!("{loss:.4}"),
            minimum => format!("{:.2} % above it", 100.0 * (loss - minimum) / minimum.abs()),
        };
        let (step, minimum) = evidence.minimum;
        format!(
            "The lowest held-out loss is {minimum:.4}, at step {step} of {}. Before the last quarter, up to step {:.0}, the lowest was {}, and the loss of \
             the scored parameters is {}; the rule allows less than {:.0} %.",
            evidence.last_step,
            evidence.quarter(),
            above(evidence.before),
            above(evidence.scored),
            100.0 * TOLERANCE
        )
    }

    /// The verdict of the text in the column `converged` of tables; none for `-` and unknown texts.
    pub fn from_words(words: &str) -> Option<Self> {
        let all = [Self::Converged, Self::PastMinimum, Self::Improving, Self::Unknown];
        all.into_iter().find(|verdict| verdict.words() == words)
    }

    /// The text in the column `converged` of tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Converged => "yes",
            Self::PastMinimum => "no: past the minimum",
            Self::Improving => "no: still improving",
            Self::Unknown => "unknown",
        }
    }
}

/// `(step, loss)` of the validations, in order.
fn losses(rows: &[MetricRow]) -> Vec<(usize, f64)> {
    let validations = rows
        .iter()
        .filter(|row| row.split == "valid" && row.name == "loss");
    validations
        .filter_map(|row| Some((row.step, row.value?)))
        .collect()
}

/// The validation whose parameters are scored.
pub fn scored_step(rows: &[MetricRow], scored: ScoredCheckpoint) -> Option<usize> {
    at_scored(&losses(rows), scored).map(|(step, _)| step)
}

fn at_scored(losses: &[(usize, f64)], scored: ScoredCheckpoint) -> Option<(usize, f64)> {
    match scored {
        ScoredCheckpoint::Last => losses.last().copied(),
        ScoredCheckpoint::Best => losses.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)),
    }
}

/// What a verdict rests on.
struct Evidence {
    last_step: usize,
    /// The lowest loss, with its first step.
    minimum: (usize, f64),
    /// The lowest loss before the last part of the training.
    before: f64,
    /// The loss of the scored parameters.
    scored: f64,
}

impl Evidence {
    /// `None` for too few validations.
    fn of(losses: &[(usize, f64)], scored: ScoredCheckpoint) -> Option<Self> {
        let last_step = losses.last().filter(|_| losses.len() >= FEWEST)?.0;
        let mut evidence = Self {
            last_step,
            minimum: at_scored(losses, ScoredCheckpoint::Best)?,
            before: f64::INFINITY,
            scored: at_scored(losses, scored)?.1,
        };
        let early = losses
            .iter()
            .filter(|(step, _)| *step as f64 <= evidence.quarter());
        evidence.before = early.map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
        Some(evidence)
    }

    /// The step at which the last part begins.
    fn quarter(&self) -> f64 {
        (1.0 - LAST_PART) * self.last_step as f64
    }

    fn is_level(&self, loss: f64) -> bool {
        loss - self.minimum.1 < TOLERANCE * self.minimum.1.abs()
    }
}

/// A run's validations as metrics: every value at the scored parameters (`held_out/loss`, `held_out/cos/z_x`, ...), the step of these
/// parameters (`held_out/step`), and the steps of the whole training (`train/steps`). Empty for a run without validations.
pub fn held_out_metrics(rows: &[MetricRow], scored: ScoredCheckpoint) -> Vec<Metric> {
    let validations: Vec<&MetricRow> = rows.iter().filter(|row| row.split == "valid").collect();
    let losses = losses(rows);
    let (Some((scored, _)), Some((last, _))) = (at_scored(&losses, scored), losses.last().copied()) else {
        return vec![];
    };
    let n = losses.len();
    let values = validations.iter().filter(|row| row.step == scored);
    let values = values.filter_map(|row| {
        let name = format!("held_out/{}", row.name);
        Some(Metric::scalar(name, "all", row.value?, n))
    });
    let steps = [("held_out/step", scored), ("train/steps", last)];
    let steps = steps.map(|(name, step)| Metric::scalar(name, "all", step as f64, n));
    values.chain(steps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(losses: impl IntoIterator<Item = f64>, scored: ScoredCheckpoint) -> Convergence {
        let losses: Vec<(usize, f64)> = (1..).map(|i| 100 * i).zip(losses).collect();
        Convergence::of_losses(&losses, scored)
    }

    #[test]
    fn the_last_quarter_and_the_scored_parameters_decide() {
        use ScoredCheckpoint::{Best, Last};
        let falling = (1..=12).map(|i| 1.0 / f64::from(i));
        let level = [
            9.0, 5.0, 3.0, 2.0, 1.01, 1.005, 1.0, 1.0, 0.999, 1.0, 0.999, 0.998,
        ];
        let turning = [9.0, 5.0, 3.0, 1.0, 1.1, 1.2, 1.3, 1.4];
        for scored in [Last, Best] {
            assert_eq!(of(falling.clone(), scored), Convergence::Improving);
            assert_eq!(of(level, scored), Convergence::Converged);
            assert_eq!(of(falling.clone().take(FEWEST - 1), scored), Convergence::Unknown);
        }
        assert_eq!(of(turning, Last), Convergence::PastMinimum);
        assert_eq!(of(turning, Best), Convergence::Converged);
        // A new minimum in the last quarter is an improvement, even if the curve rises afterwards.
        assert_eq!(
            of([9.0, 5.0, 3.0, 2.9, 2.8, 2.7, 2.0, 2.0], Best),
            Convergence::Improving
        );
        // Losses may be negative.
        assert_eq!(
            of([9.0, 5.0, 3.0, -2.0, -2.0, -2.0, -2.5, -2.5], Best),
            Convergence::Improving
        );
    }

    #[test]
    fn a_verdict_says_what_it_rests_on() {
        let rows = |losses: &[f64]| -> Vec<MetricRow> {
            let row = |(i, loss): (usize, &f64)| MetricRow {
                step: 100 * (i + 1),
                epoch: 0,
                split: "valid".into(),
                name: "loss".into(),
                value: Some(*loss),
            };
            losses.iter().enumerate().map(row).collect()
        };
        let turning = rows(&[9.0, 5.0, 3.0, 1.0, 1.1, 1.2, 1.3, 1.4]);
        let reason = Convergence::reason(&turning, ScoredCheckpoint::Last);
        for part in [
            "1.0000, at step 400 of 800",
            "up to step 600",
            "was 0.00 % above it",
            "is 40.00 % above it",
        ] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert_eq!(scored_step(&turning, ScoredCheckpoint::Best), Some(400));
        assert_eq!(
            Convergence::reason(&turning[..3], ScoredCheckpoint::Best),
            "3 validations; a verdict needs 8."
        );
    }

    #[test]
    fn held_out_values_are_those_of_the_scored_parameters() {
        let row = |step, split: &str, name: &str, value| MetricRow {
            step,
            epoch: 0,
            split: split.into(),
            name: name.into(),
            value,
        };
        let rows = [
            row(10, "train", "loss", Some(0.1)),
            row(10, "valid", "loss", Some(3.0)),
            row(10, "valid", "cos/z_x", Some(0.3)),
            row(20, "valid", "loss", Some(1.0)),
            row(20, "valid", "cos/z_x", Some(0.5)),
            row(30, "valid", "loss", Some(2.0)),
            row(30, "valid", "cos/z_x", None),
        ];
        let values = |scored| {
            let metrics = held_out_metrics(&rows, scored);
            metrics.into_iter().map(|m| (m.name, m.value)).collect::<Vec<_>>()
        };
        let named = |values: &[(&str, f64)]| -> Vec<(String, f64)> {
            values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect()
        };
        assert_eq!(
            values(ScoredCheckpoint::Best),
            named(&[
                ("held_out/loss", 1.0),
                ("held_out/cos/z_x", 0.5),
                ("held_out/step", 20.0),
                ("train/steps", 30.0)
            ])
        );
        assert_eq!(
            values(ScoredCheckpoint::Last),
            named(&[
                ("held_out/loss", 2.0),
                ("held_out/step", 30.0),
                ("train/steps", 30.0)
            ])
        );
        assert_eq!(held_out_metrics(&rows[..1], ScoredCheckpoint::Last), []);
    }
}
