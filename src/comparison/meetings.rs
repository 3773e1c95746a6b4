//! PickScore's choices between two systems, prompt by prompt.

use std::collections::BTreeMap;

use crate::eval::pick_score::{PreferenceRate, preference};
use crate::eval::{Bootstrap, EvalError, Interval};

/// The value of one image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageValue {
    /// Its prompt.
    pub(super) prompt: String,
    /// The value.
    pub(super) value: f64,
}

/// Two systems' images of the same prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct Meeting {
    /// Index of the system whose wins are counted.
    pub system: usize,
    /// Index of the other.
    pub opponent: usize,
    /// Share of wins, a tie as half a win, with its interval over prompts.
    pub win_rate: Interval,
    /// Mean probability of the system's image, with its interval over prompts.
    pub mean_probability: Interval,
    /// Prompts.
    pub n_prompts: usize,
    /// Pairs of images that are ties.
    pub n_ties: usize,
    /// What differs between the protocols of the two, if anything does.
    pub differs: Option<String>,
}

/// PickScore's choices between `own` and `others`, and the number of prompts that both have. The k-th image of a prompt meets the k-th of the other system;
/// images without a counterpart do not count.
///
/// # Errors
/// [`EvalError::TooFew`] without a prompt that both have.
pub(super) fn meet(
    own: &[ImageValue],
    others: &[ImageValue],
    tie: f64,
) -> Result<(PreferenceRate, usize), EvalError> {
    let (mut own, mut others) = (by_prompt(own), by_prompt(others));
    own.retain(|prompt, _| others.contains_key(prompt));
    others.retain(|prompt, _| own.contains_key(prompt));
    for (a, b) in own.values_mut().zip(others.values_mut()) {
        let n = a.len().min(b.len());
        a.truncate(n);
        b.truncate(n);
    }
    if own.is_empty() {
        return Err(EvalError::TooFew {
            what: "prompts of which both systems have an image, for a preference",
            needed: 1,
            found: 0,
        });
    }
    let (first, second): (Vec<_>, Vec<_>) = (own.into_values().collect(), others.into_values().collect());
    let n_prompts = first.len();
    Ok((preference(&first, &second, tie, Bootstrap::default())?, n_prompts))
}

/// The values of each prompt, in the order of their images.
fn by_prompt(values: &[ImageValue]) -> BTreeMap<&str, Vec<f64>> {
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for value in values {
        all.entry(&value.prompt).or_default().push(value.value);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(scores: &[(&str, f64)]) -> Vec<ImageValue> {
        let value = |(prompt, value): &(&str, f64)| ImageValue {
            prompt: (*prompt).into(),
            value: *value,
        };
        scores.iter().map(value).collect()
    }

    #[test]
    fn images_meet_prompt_by_prompt() -> Result<(), EvalError> {
        let first = [("a", 2.0), ("a", 2.0), ("a", 0.0), ("b", 0.0), ("lonely", 9.0)];
        let second = [("b", 1.0), ("b", 5.0), ("a", 1.0), ("a", 1.0), ("a", 1.0)];
        let (found, n) = meet(&values(&first), &values(&second), 0.0)?;
        assert!(
            (found.win_rate.value - 1.0 / 3.0).abs() < 1e-12 && n == 2,
            "{found:?} {n}"
        );
        assert!(meet(&values(&first[4..]), &values(&second), 0.0).is_err());
        Ok(())
    }
}
