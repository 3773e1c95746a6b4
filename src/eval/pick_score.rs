//! PickScore (arXiv 2305.01569): what people would choose among the images of one prompt.
//!
//! The score is the cosine of an image's and a prompt's embedding ([`super::embedding::cosines`]) by a CLIP H/14 that was trained on people's choices,
//! times the model's scale; the softmax over the images of one prompt is the probability that each would be chosen.

use super::EvalError;
use super::bootstrap::{Bootstrap, Interval};

/// Probabilities of being chosen, of the images of one prompt, by their scores.
pub fn probabilities(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let each: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
    let sum: f64 = each.iter().sum();
    each.into_iter().map(|e| e / sum).collect()
}

/// Which of two images is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first.
    First,
    /// The second.
    Second,
    /// Neither: the probabilities are no further apart than the threshold.
    Tie,
}

impl Choice {
    /// By the probabilities of both (reference: PickScore's `get_pred`).
    pub fn of(first: f64, second: f64, threshold: f64) -> Self {
        match (first - second).abs() <= threshold {
            true => Self::Tie,
            false if first > second => Self::First,
            false => Self::Second,
        }
    }

    /// How right it is where `label` is a person's choice: 1 for the same, a half where one of the two is a tie (reference: PickScore's `calc_score`).
    pub fn score(self, label: Self) -> f64 {
        match (self, label) {
            (a, b) if a == b => 1.0,
            (Self::Tie, _) | (_, Self::Tie) => 0.5,
            _ => 0.0,
        }
    }
}

/// How often one system is preferred to another on the same prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferenceRate {
    /// Share of images that are chosen, a tie as half of one, with its interval over prompts.
    pub win_rate: Interval,
    /// Mean probability of the first system's image, with its interval over prompts.
    pub mean_probability: Interval,
    /// Pairs of images that are ties.
    pub n_ties: usize,
}

/// Compares two systems prompt by prompt. `first` and `second` are the scores of the images of each prompt; the `k`-th image of a prompt meets the `k`-th of the
/// other system. Each prompt counts once, however many images it has; probabilities no further apart than `threshold` are ties.
///
/// # Errors
/// [`EvalError::Shape`] for other numbers of prompts, or of images of one.
pub fn preference(
    first: &[Vec<f64>],
    second: &[Vec<f64>],
    threshold: f64,
    bootstrap: Bootstrap,
) -> Result<PreferenceRate, EvalError> {
    let lengths = |scores: &[Vec<f64>]| scores.iter().map(Vec::len).collect::<Vec<_>>();
    if first.is_empty() || first.iter().any(Vec::is_empty) || lengths(first) != lengths(second) {
        return Err(EvalError::shape(
            "scores",
            format!("images of {} prompts, as the first system has", first.len()),
            format!("{} prompts or other numbers of images", second.len()),
        ));
    }
    let (mut wins, mut probabilities_of_first, mut n_ties) = (Vec::new(), Vec::new(), 0);
    for (own, other) in first.iter().zip(second) {
        let pairs = own.iter().zip(other);
        let chances: Vec<f64> = pairs.map(|(a, b)| probabilities(&[*a, *b])[0]).collect();
        let won = chances.iter().map(|p| match Choice::of(*p, 1.0 - p, threshold) {
            Choice::First => 1.0,
            Choice::Second => 0.0,
            Choice::Tie => {
                n_ties += 1;
                0.5
            }
        });
        let n = chances.len() as f64;
        wins.push(won.sum::<f64>() / n);
        probabilities_of_first.push(chances.iter().sum::<f64>() / n);
    }
    Ok(PreferenceRate {
        win_rate: bootstrap.mean(&[wins])?,
        mean_probability: bootstrap.mean(&[probabilities_of_first])?,
        n_ties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_count_once_however_many_images_they_have() -> Result<(), EvalError> {
        let first = [vec![2.0, 2.0, 0.0], vec![0.0]];
        let second = [vec![1.0, 1.0, 1.0], vec![1.0]];
        let bootstrap = Bootstrap::default();
        let there = preference(&first, &second, 0.0, bootstrap)?;
        assert!((there.win_rate.value - 1.0 / 3.0).abs() < 1e-12, "{there:?}");
        let back = preference(&second, &first, 0.0, bootstrap)?;
        assert!((there.win_rate.value + back.win_rate.value - 1.0).abs() < 1e-12);
        let tied = preference(&first, &first, 0.0, bootstrap)?;
        assert_eq!((tied.win_rate.value, tied.n_ties), (0.5, 4));
        assert!(preference(&first, &second[..1], 0.0, bootstrap).is_err());
        assert!(preference(&first, &[vec![1.0], vec![1.0]], 0.0, bootstrap).is_err());
        Ok(())
    }
}
