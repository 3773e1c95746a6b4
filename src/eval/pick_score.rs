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
    /// Share of prompts won, a tie as half a win, with its interval over prompts.
    pub win_rate: Interval,
    /// Mean probability of the first, with its interval.
    pub mean_probability: Interval,
    /// Prompts that are ties.
    pub n_ties: usize,
}

/// Compares the scores of two systems prompt by prompt; probabilities no further apart than `threshold` are ties.
///
/// # Errors
/// [`EvalError::Shape`] for other numbers of prompts.
pub fn preference(
    first: &[f64],
    second: &[f64],
    threshold: f64,
    bootstrap: Bootstrap,
) -> Result<PreferenceRate, EvalError> {
    if first.len() != second.len() || first.is_empty() {
        return Err(EvalError::shape(
            "scores",
            format!("{} prompts, as the first system has", first.len()),
            second.len(),
        ));
    }
    let pairs = first.iter().zip(second);
    let probability: Vec<f64> = pairs.map(|(a, b)| probabilities(&[*a, *b])[0]).collect();
    let wins: Vec<f64> = probability
        .iter()
        .map(|p| match Choice::of(*p, 1.0 - p, threshold) {
            Choice::First => 1.0,
            Choice::Second => 0.0,
            Choice::Tie => 0.5,
        })
        .collect();
    let n_ties = wins.iter().filter(|w| **w == 0.5).count();
    Ok(PreferenceRate {
        win_rate: bootstrap.mean(&[wins])?,
        mean_probability: bootstrap.mean(&[probability])?,
        n_ties,
    })
}
