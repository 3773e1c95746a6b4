//! PickScore's choices between two systems, prompt by prompt.

use std::collections::BTreeMap;

use crate::eval::pick_score::{Choice, probabilities};
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

/// The win rate and the mean probability of `own` against `others`, with intervals over prompts, the number of prompts and of ties. The k-th image of a prompt
/// meets the k-th of the other system; images without a counterpart do not count.
///
/// # Errors
/// [`EvalError::TooFew`] without a prompt that both have.
pub(super) fn meet(
    own: &[ImageValue],
    others: &[ImageValue],
    tie: f64,
) -> Result<(Interval, Interval, usize, usize), EvalError> {
    let (own, others) = (by_prompt(own), by_prompt(others));
    let (mut wins, mut chances, mut n_ties) = (Vec::new(), Vec::new(), 0);
    for (prompt, values) in own {
        let pairs = values.iter().zip(others.get(prompt).into_iter().flatten());
        let probability: Vec<f64> = pairs.map(|(a, b)| probabilities(&[*a, *b])[0]).collect();
        if probability.is_empty() {
            continue;
        }
        let won = probability.iter().map(|p| match Choice::of(*p, 1.0 - p, tie) {
            Choice::First => 1.0,
            Choice::Second => 0.0,
            Choice::Tie => {
                n_ties += 1;
                0.5
            }
        });
        let n = probability.len() as f64;
        wins.push(won.sum::<f64>() / n);
        chances.push(probability.iter().sum::<f64>() / n);
    }
    if wins.is_empty() {
        return Err(EvalError::TooFew {
            what: "prompts of which both systems have an image, for a preference",
            needed: 1,
            found: 0,
        });
    }
    let n = wins.len();
    let bootstrap = Bootstrap::default();
    Ok((bootstrap.mean(&[wins])?, bootstrap.mean(&[chances])?, n, n_ties))
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
    use crate::eval::pick_score::preference;

    fn values(scores: &[(&str, f64)]) -> Vec<ImageValue> {
        let value = |(prompt, value): &(&str, f64)| ImageValue {
            prompt: (*prompt).into(),
            value: *value,
        };
        scores.iter().map(value).collect()
    }

    #[test]
    fn with_one_image_a_prompt_it_is_the_preference() -> Result<(), EvalError> {
        let first = [("a", 20.5), ("b", 21.0), ("c", 19.0), ("d", 18.0)];
        let second = [("d", 18.5), ("a", 20.0), ("c", 19.0), ("b", 20.9)];
        let (wins, chances, n, n_ties) = meet(&values(&first), &values(&second), 0.0)?;
        let usual = preference(
            &[20.5, 21.0, 19.0, 18.0],
            &[20.0, 20.9, 19.0, 18.5],
            0.0,
            Bootstrap::default(),
        )?;
        assert_eq!(
            (wins, chances, n_ties),
            (usual.win_rate, usual.mean_probability, usual.n_ties)
        );
        assert_eq!((n, wins.value), (4, 0.625));
        Ok(())
    }

    #[test]
    fn prompts_count_once_however_many_images_they_have() -> Result<(), EvalError> {
        let first = [("a", 2.0), ("a", 2.0), ("a", 0.0), ("b", 0.0), ("lonely", 9.0)];
        let second = [("a", 1.0), ("a", 1.0), ("a", 1.0), ("b", 1.0), ("b", 5.0)];
        let (wins, _, n, _) = meet(&values(&first), &values(&second), 0.0)?;
        assert!((wins.value - 1.0 / 3.0).abs() < 1e-12 && n == 2, "{wins:?} {n}");
        let (back, _, _, _) = meet(&values(&second), &values(&first), 0.0)?;
        assert!((wins.value + back.value - 1.0).abs() < 1e-12);
        assert!(meet(&values(&first[4..]), &values(&second), 0.0).is_err());
        Ok(())
    }
}
