//! Linear probes: how well a linear map reads facts from embeddings.
//!
//! An image's contents are written as a set of *facts*, each an output of one multi-output [ridge regression](super::ridge) on 0/1
//! targets: noun i is there, noun i has colour c, noun i stands on side s. Questions are then asked of the scores on rows
//! that the fit did not see, as choices between sets of facts (the set with the larger sum of scores is chosen):
//!
//! | bar | question | options, one set of facts each |
//! |---|---|---|
//! | object | which noun is in the image? | each candidate noun |
//! | colour | which colour has noun i? | (i, c) for each colour c |
//! | binding | which of the two has which colour? | {(i, c), (j, e)} against {(i, e), (j, c)} |
//! | relation | where do they stand? | {(i, side), (j, other side)} for each relation |
//!
//! Accuracies are balanced (the mean over classes of the share that is right), so that a frequent noun or colour does not carry
//! the bar. With hundreds of outputs on a hundred dimensions use 20,000 rows or more: fewer measure the probe, not the embeddings.

use std::collections::BTreeMap;

use super::EvalError;
use super::ridge::{Alpha, LinearMap};
use super::rows::Embeddings;

/// Which facts hold in each of `n` images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    n_facts: usize,
    holding: Vec<Vec<usize>>,
}

impl Facts {
    /// `holding[i]`: the facts that hold in image `i`, each below `n_facts`.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if there are no images or no facts, or for the first fact out of range.
    pub fn new(n_facts: usize, holding: Vec<Vec<usize>>) -> Result<Self, EvalError> {
        if n_facts == 0 || holding.is_empty() {
            return Err(EvalError::shape(
                "facts",
                "at least one image and one fact",
                "none",
            ));
        }
        for (i, facts) in holding.iter().enumerate() {
            if let Some(fact) = facts.iter().find(|f| **f >= n_facts) {
                return Err(EvalError::shape(
                    format!("image {i}"),
                    format!("facts below {n_facts}"),
                    fact,
                ));
            }
        }
        Ok(Self { n_facts, holding })
    }

    /// Number of facts.
    pub fn n_facts(&self) -> usize {
        self.n_facts
    }

    /// Number of images.
    pub fn n(&self) -> usize {
        self.holding.len()
    }

    fn targets(&self) -> Result<Embeddings, EvalError> {
        let mut values = vec![0.0; self.n() * self.n_facts];
        for (row, facts) in values.chunks_exact_mut(self.n_facts).zip(&self.holding) {
            facts.iter().for_each(|&fact| row[fact] = 1.0);
        }
        Embeddings::new(self.n(), self.n_facts, values)
    }
}

/// One question about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The image: a row of the scores.
    pub row: usize,
    /// The sets of facts to choose from.
    pub options: Vec<Vec<usize>>,
    /// The option that is true.
    pub answer: usize,
    /// Class of the answer, for balancing: its noun, its colour, its relation.
    pub class: usize,
}

/// How often something was right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Share of all questions.
    pub plain: f64,
    /// Mean over classes of each class's share.
    pub balanced: f64,
    /// Number of questions.
    pub n: usize,
}

/// A fitted probe.
#[derive(Debug, Clone)]
pub struct Probe {
    map: LinearMap,
    /// Per fact: halfway between the mean scores of the images with and without it, on the rows of the fit.
    thresholds: Vec<f64>,
}

impl Probe {
    /// Fits `facts` from `z` (`[n, d]`).
    ///
    /// # Errors
    /// Like [`LinearMap::fit`].
    pub fn fit(z: &Embeddings, facts: &Facts, alpha: &Alpha) -> Result<Self, EvalError> {
        if facts.n() != z.n() {
            return Err(EvalError::shape(
                "facts",
                format!("{} images like the embeddings", z.n()),
                facts.n(),
            ));
        }
        let map = LinearMap::fit(z, &facts.targets()?, alpha)?;
        let scores = map.predict(z)?;
        let (mut sums, mut counts) = (vec![[0.0; 2]; facts.n_facts], vec![[0_usize; 2]; facts.n_facts]);
        for (row, holding) in scores.rows().zip(&facts.holding) {
            for (fact, &score) in row.iter().enumerate() {
                let holds = usize::from(holding.contains(&fact));
                sums[fact][holds] += f64::from(score);
                counts[fact][holds] += 1;
            }
        }
        let halfway = |(sum, count): (&[f64; 2], &[usize; 2])| {
            let mean = |i: usize| {
                if count[i] > 0 {
                    sum[i] / count[i] as f64
                } else {
                    i as f64
                }
            };
            (mean(0) + mean(1)) / 2.0
        };
        let thresholds = sums.iter().zip(&counts).map(halfway).collect();
        Ok(Self { map, thresholds })
    }

    /// The regularisation that was used.
    pub fn alpha(&self) -> f64 {
        self.map.alpha()
    }

    /// Scores of all facts, `[n, n_facts]`: about 1 where the fact holds, about 0 where it does not.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `z` has another width than the probe was fitted on.
    pub fn scores(&self, z: &Embeddings) -> Result<Embeddings, EvalError> {
        self.map.predict(z)
    }

    /// Whether each fact of `which` holds, read by its own threshold from every row of `z`: the mean over facts of the balanced
    /// accuracy (half the share of holding ones that are found plus half the share of the others that are not). Facts that hold
    /// everywhere or nowhere in `facts` are left out.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `facts` does not fit `z` or the probe, or no fact of `which` can be asked.
    pub fn presence(
        &self,
        z: &Embeddings,
        facts: &Facts,
        which: std::ops::Range<usize>,
    ) -> Result<Accuracy, EvalError> {
        if (facts.n(), facts.n_facts) != (z.n(), self.thresholds.len()) || which.end > facts.n_facts {
            let expected = format!("{} images of {} facts", z.n(), self.thresholds.len());
            return Err(EvalError::shape(
                "facts",
                expected,
                format!("{} of {}", facts.n(), facts.n_facts),
            ));
        }
        let scores = self.scores(z)?;
        let (mut balanced, mut right, mut asked) = (Vec::new(), 0_usize, 0_usize);
        for fact in which {
            let (mut hits, mut counts) = ([0_usize; 2], [0_usize; 2]);
            for (row, holding) in scores.rows().zip(&facts.holding) {
                let holds = holding.contains(&fact);
                counts[usize::from(holds)] += 1;
                let found = f64::from(row[fact]) > self.thresholds[fact];
                hits[usize::from(holds)] += usize::from(found == holds);
            }
            if counts.iter().all(|c| *c > 0) {
                balanced.push((0..2).map(|i| hits[i] as f64 / counts[i] as f64).sum::<f64>() / 2.0);
                right += hits[0] + hits[1];
                asked += z.n();
            }
        }
        if balanced.is_empty() {
            let expected = "a fact that holds in some images and not in others";
            return Err(EvalError::shape("facts", expected, "none"));
        }
        let mean = balanced.iter().sum::<f64>() / balanced.len() as f64;
        Ok(Accuracy {
            plain: right as f64 / asked as f64,
            balanced: mean,
            n: asked,
        })
    }
}

/// Answers `questions` by the largest sum of `scores` (`[n, n_facts]`); a tie with the true option is a wrong answer.
///
/// # Errors
/// [`EvalError::Shape`] if there are no questions or one of them names a row, fact or option that is not there.
pub fn choices(scores: &Embeddings, questions: &[Question]) -> Result<Accuracy, EvalError> {
    let mut classes: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (i, question) in questions.iter().enumerate() {
        let facts = || question.options.iter().flatten();
        if question.row >= scores.n()
            || question.answer >= question.options.len()
            || facts().any(|f| *f >= scores.d())
        {
            let expected = format!("rows below {}, facts below {}", scores.n(), scores.d());
            let what = format!("question {i}");
            return Err(EvalError::shape(what, expected, format!("{question:?}")));
        }
        let row = scores.row(question.row);
        let sum = |option: &Vec<usize>| option.iter().map(|&fact| f64::from(row[fact])).sum::<f64>();
        let truth = sum(&question.options[question.answer]);
        let others = question
            .options
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != question.answer);
        let right = others.map(|(_, option)| sum(option)).all(|other| other < truth);
        let (hits, count) = classes.entry(question.class).or_default();
        *hits += usize::from(right);
        *count += 1;
    }
    if classes.is_empty() {
        return Err(EvalError::shape("questions", "at least one", "none"));
    }
    let hits: usize = classes.values().map(|c| c.0).sum();
    let shares: f64 = classes
        .values()
        .map(|(hits, count)| *hits as f64 / *count as f64)
        .sum();
    let plain = hits as f64 / questions.len() as f64;
    Ok(Accuracy {
        plain,
        balanced: shares / classes.len() as f64,
        n: questions.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use rand::RngExt;

    const NOUNS: usize = 5;
    const COLOURS: usize = 3;

    /// Images of one noun (noun 0 in two of three images) in one colour: facts noun i, then noun i in colour c. The embedding is
    /// a random code of the facts plus noise.
    fn world(n: usize, sigma: f32, seed: u64) -> (Embeddings, Facts, Vec<(usize, usize)>) {
        let (d, n_facts) = (24, NOUNS + NOUNS * COLOURS);
        let codes = Noise::new(77).normal_vec(n_facts * d);
        let mut noise = Noise::new(seed);
        let (mut holding, mut scenes, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..n {
            let rng = noise.rng();
            let noun = if rng.random_range(0..3) < 2 {
                0
            } else {
                rng.random_range(1..NOUNS)
            };
            let colour = rng.random_range(0..COLOURS);
            let facts = vec![noun, NOUNS + noun * COLOURS + colour];
            let jitter = noise.normal_vec(d);
            values.extend(
                (0..d).map(|j| facts.iter().map(|f| codes[f * d + j]).sum::<f32>() + sigma * jitter[j]),
            );
            holding.push(facts);
            scenes.push((noun, colour));
        }
        let z = Embeddings::new(n, d, values).expect("finite");
        (z, Facts::new(n_facts, holding).expect("in range"), scenes)
    }

    fn questions(scenes: &[(usize, usize)]) -> (Vec<Question>, Vec<Question>) {
        let of = |(row, &(noun, colour)): (usize, &(usize, usize))| {
            let nouns = (0..NOUNS).map(|i| vec![i]).collect();
            let colours = (0..COLOURS).map(|c| vec![NOUNS + noun * COLOURS + c]).collect();
            let object = Question {
                row,
                options: nouns,
                answer: noun,
                class: noun,
            };
            (
                object,
                Question {
                    row,
                    options: colours,
                    answer: colour,
                    class: colour,
                },
            )
        };
        scenes.iter().enumerate().map(of).unzip()
    }

    #[test]
    fn reads_what_is_linear_and_only_that() -> Result<(), EvalError> {
        let (z, facts, _) = world(2000, 0.3, 1);
        let (unseen, unseen_facts, scenes) = world(500, 0.3, 2);
        let (objects, colours) = questions(&scenes);
        let probe = Probe::fit(&z, &facts, &Alpha::default())?;
        let scores = probe.scores(&unseen)?;
        assert!(choices(&scores, &objects)?.balanced > 0.97);
        assert!(choices(&scores, &colours)?.balanced > 0.97);
        assert!(probe.presence(&unseen, &unseen_facts, 0..NOUNS)?.balanced > 0.97);
        // Embeddings of other images know nothing: guessing noun 0 always is right in two of three, balanced in one of five.
        let (other, _, _) = world(2000, 0.3, 3);
        let blind = Probe::fit(&other, &facts, &Alpha::default())?;
        let guess = choices(&blind.scores(&unseen)?, &objects)?;
        assert!(
            guess.plain > 0.6 && (guess.balanced - 0.2).abs() < 0.03,
            "{guess:?}"
        );
        let presence = blind.presence(&unseen, &unseen_facts, 0..NOUNS)?.balanced;
        assert!((presence - 0.5).abs() < 0.06, "{presence}");
        Ok(())
    }

    #[test]
    fn choices_by_hand() -> Result<(), EvalError> {
        let scores = Embeddings::from_rows(&[[0.9, 0.5, 0.6, 0.1], [0.2, 0.2, 0.0, 0.0]])?;
        let ask = |row, options: &[&[usize]], answer, class| {
            let options = options.iter().map(|o| o.to_vec()).collect();
            Question {
                row,
                options,
                answer,
                class,
            }
        };
        let questions = [
            ask(0, &[&[0], &[1]], 0, 7),       // .9 > .5: right
            ask(0, &[&[0, 3], &[1, 2]], 0, 7), // 1.0 < 1.1: wrong
            ask(1, &[&[0], &[1]], 1, 7),       // a tie: wrong
            ask(1, &[&[3], &[0], &[2]], 1, 9), // right
        ];
        let accuracy = choices(&scores, &questions)?;
        assert_eq!((accuracy.plain, accuracy.n), (0.5, 4));
        assert!((accuracy.balanced - (1.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12);
        assert!(choices(&scores, &[]).is_err());
        assert!(choices(&scores, &[ask(2, &[&[0]], 0, 0)]).is_err());
        assert!(choices(&scores, &[ask(0, &[&[4]], 0, 0)]).is_err());
        assert!(choices(&scores, &[ask(0, &[&[0]], 1, 0)]).is_err());
        Ok(())
    }

    #[test]
    fn facts_are_checked() {
        assert!(Facts::new(0, vec![vec![]]).is_err());
        assert!(Facts::new(2, vec![]).is_err());
        let message = Facts::new(2, vec![vec![0], vec![1, 2]])
            .expect_err("refused")
            .to_string();
        assert_eq!(message, "image 1: expected facts below 2, found 2");
    }
}
