//! Whether a training had converged, by its held-out loss.
//!
//! The rule is the same for every objective, since each is judged by the loss that it minimises, on pairs that it does not train on: training has
//! converged when its last quarter lowered the minimum of the held-out loss by less than 1 %, and what is scored lies within 1 % of that minimum.

use super::metrics::MetricRow;
use super::spec::ScoredCheckpoint;

/// The last part of a training that must bring no more gain.
const LAST_PART: f64 = 0.25;
/// The gain that counts as none, relative to the minimum.
const TOLERANCE: f64 = 0.01;
/// Validations without which the last part cannot be told from the rest.
const FEWEST: usize = 8;

/// The rule in words, for reports.
pub const RULE: &str = "Converged: the last quarter of the training steps lowered the minimum of the held-out loss by less than 1 %, and the scored \
parameters lie within 1 % of that minimum, in every run of the system. An order between two systems is claimed only where both have converged or need \
no training.";

/// What the held-out loss says about the end of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Convergence {
    /// At its minimum, and the minimum no longer falls.
    Converged,
    /// The scored parameters are past the minimum: the prior has begun to memorise its pairs.
    PastMinimum,
    /// The minimum was still falling.
    Improving,
    /// There were too few validations to tell, or none.
    Unknown,
}

impl Convergence {
    /// By the rows of `metrics.jsonl`: the validations' `loss`.
    pub fn of(rows: &[MetricRow], scored: ScoredCheckpoint) -> Self {
        let validations = rows
            .iter()
            .filter(|row| row.split == "valid" && row.name == "loss");
        let losses: Vec<(usize, f64)> = validations
            .filter_map(|row| Some((row.step, row.value?)))
            .collect();
        Self::of_losses(&losses, scored)
    }

    /// By `(step, loss)`, in order.
    fn of_losses(losses: &[(usize, f64)], scored: ScoredCheckpoint) -> Self {
        let Some(&(last_step, last)) = losses.last().filter(|_| losses.len() >= FEWEST) else {
            return Self::Unknown;
        };
        let lowest = |before: f64| {
            let part = losses.iter().filter(|(step, _)| *step as f64 <= before);
            part.map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min)
        };
        let minimum = lowest(last_step as f64);
        let is_level = |loss: f64| loss - minimum < TOLERANCE * minimum.abs();
        let scored = match scored {
            ScoredCheckpoint::Last => last,
            ScoredCheckpoint::Best => minimum,
        };
        match (
            is_level(lowest((1.0 - LAST_PART) * last_step as f64)),
            is_level(scored),
        ) {
            (false, _) => Self::Improving,
            (true, false) => Self::PastMinimum,
            (true, true) => Self::Converged,
        }
    }

    /// As in the column `converged` of tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::Converged => "yes",
            Self::PastMinimum => "no: past the minimum",
            Self::Improving => "no: still improving",
            Self::Unknown => "unknown",
        }
    }
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
        // A new minimum in the last quarter is a gain, however late the curve turns.
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
}
