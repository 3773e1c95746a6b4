//! Forced choice: is the true image's embedding nearer to `z_x_hat`, by cosine, than those of images that differ in one way?
//!
//! The images are re-rendered variants of the scene that the prompt asks for: another noun, another colour, another texture, colours or
//! textures swapped, another relation. This reads from a prediction exactly what an image of it would have to show, needs no
//! decoder, and unlike a linear probe it does not depend on directions in which real embeddings hardly vary.

use std::str::FromStr;

use super::EvalError;
use super::rows::{Embeddings, dot};
/// In what a wrong image differs from the true one.
pub use crate::world::VariantKind as Kind;

impl FromStr for Kind {
    type Err = EvalError;

    fn from_str(text: &str) -> Result<Self, EvalError> {
        Self::ALL.into_iter().find(|k| k.name() == text).ok_or_else(|| {
            EvalError::parameter(
                "kind",
                text,
                "object, colour, texture, binding, relation or bystander",
            )
        })
    }
}

/// The images of each prompt: one true, some wrong. Wrong ones of all prompts stand in one set of rows, so that a
/// vision tower can encode them in one go.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidates {
    truth: Embeddings,
    wrong: Embeddings,
    labels: Vec<(usize, Kind)>,
}

impl Candidates {
    /// `truth`: `[n_prompts, d]`, the true image of each prompt. `wrong`: `[n_wrong, d]`; `labels[i]` says which prompt row `i`
    /// is offered to, and its kind. A prompt need not have every kind, or any.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if the widths or counts disagree or a label names a prompt that is not there.
    pub fn new(truth: Embeddings, wrong: Embeddings, labels: Vec<(usize, Kind)>) -> Result<Self, EvalError> {
        truth.check_width("the true images", &wrong, "the wrong images")?;
        if labels.len() != wrong.n() {
            let expected = format!("{} labels, one a wrong image", wrong.n());
            return Err(EvalError::shape(
                "labels of the wrong images",
                expected,
                labels.len(),
            ));
        }
        if let Some((i, (prompt, _))) = labels.iter().enumerate().find(|(_, l)| l.0 >= truth.n()) {
            let what = format!("label of wrong image {i}");
            return Err(EvalError::shape(
                what,
                format!("a prompt below {}", truth.n()),
                prompt,
            ));
        }
        Ok(Self { truth, wrong, labels })
    }

    /// The true images, `[n_prompts, d]`.
    pub fn truth(&self) -> &Embeddings {
        &self.truth
    }

    /// Number of prompts.
    pub fn n_prompts(&self) -> usize {
        self.truth.n()
    }
}

/// How far each prompt's true image is ahead of the wrong ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes {
    /// Per prompt and [`Kind`]: the smallest `cos(z_x_hat, true) - cos(z_x_hat, wrong)`, or none without such images.
    margins: Vec<[Option<f64>; Kind::ALL.len()]>,
}

impl Outcomes {
    /// Per prompt: the cosine to the true image minus the largest cosine to a wrong one of this kind.
    pub fn margins(&self, kind: Kind) -> Vec<Option<f64>> {
        self.margins.iter().map(|m| m[kind as usize]).collect()
    }

    /// Per prompt: the margin to all wrong images of the kinds that make the prompt false, which is every kind but
    /// [`Kind::Distractor`].
    pub fn margins_all(&self) -> Vec<Option<f64>> {
        let false_kinds = Kind::ALL.into_iter().filter(|k| *k != Kind::Distractor);
        self.margins
            .iter()
            .map(|m| false_kinds.clone().filter_map(|k| m[k as usize]).reduce(f64::min))
            .collect()
    }

    /// Per prompt: whether the true image was chosen over every wrong one of this kind. A tie is a wrong choice.
    pub fn correct(&self, kind: Kind) -> Vec<Option<bool>> {
        self.margins(kind)
            .into_iter()
            .map(|m| m.map(|m| m > 0.0))
            .collect()
    }

    /// [`Outcomes::correct`] over the kinds of [`Outcomes::margins_all`].
    pub fn correct_all(&self) -> Vec<Option<bool>> {
        self.margins_all()
            .into_iter()
            .map(|m| m.map(|m| m > 0.0))
            .collect()
    }
}

/// The share of choices that are right; none if nothing was asked.
pub fn accuracy(correct: &[Option<bool>]) -> Option<f64> {
    let asked: Vec<bool> = correct.iter().copied().flatten().collect();
    let right = asked.iter().filter(|c| **c).count();
    (!asked.is_empty()).then(|| right as f64 / asked.len() as f64)
}

/// Lets each row of `z_x_hat` (`[n_prompts, d]`) choose among its prompt's images. With `z_y` in the place of `z_x_hat` this is
/// CLIP's own zero-shot forced choice. An embedding of zeros has cosine 0 to everything.
///
/// # Errors
/// [`EvalError::Shape`] if `z_x_hat` is not shaped like the true images.
pub fn forced_choice(z_x_hat: &Embeddings, candidates: &Candidates) -> Result<Outcomes, EvalError> {
    candidates
        .truth
        .check_like("the true images", z_x_hat, "z_x_hat")?;
    let (predicted, truth) = (z_x_hat.units(), candidates.truth.units());
    let wrong = candidates.wrong.units();
    let to_truth: Vec<f64> = predicted
        .rows()
        .zip(truth.rows())
        .map(|(p, t)| dot(p, t))
        .collect();
    let mut margins = vec![[None; Kind::ALL.len()]; candidates.n_prompts()];
    for (&(prompt, kind), image) in candidates.labels.iter().zip(wrong.rows()) {
        let margin = to_truth[prompt] - dot(predicted.row(prompt), image);
        let smallest = &mut margins[prompt][kind as usize];
        *smallest = Some(smallest.map_or(margin, |m: f64| m.min(margin)));
    }
    Ok(Outcomes { margins })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use proptest::prelude::*;

    #[test]
    fn by_hand() -> Result<(), EvalError> {
        // Three prompts in the plane: the prediction points right, along the diagonal, and up.
        let z_x_hat = Embeddings::from_rows(&[[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]])?;
        let truth = Embeddings::from_rows(&[[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]])?;
        let wrong = Embeddings::from_rows(&[
            [1.0, 0.2],  // prompt 0: a little further off than the truth
            [1.0, 0.0],  // prompt 0: nearer than the truth
            [0.0, 9.0],  // prompt 1: as far as the truth, on the other side
            [-1.0, 0.0], // prompt 2: far
            [0.0, 7.0],  // prompt 2: the truth itself at another length
        ])?;
        let labels = vec![
            (0, Kind::Object),
            (0, Kind::Colour),
            (1, Kind::Relation),
            (2, Kind::Object),
            (2, Kind::Distractor),
        ];
        let outcomes = forced_choice(&z_x_hat, &Candidates::new(truth, wrong, labels)?)?;
        assert_eq!(outcomes.correct(Kind::Object), [Some(true), None, Some(true)]);
        assert_eq!(outcomes.correct(Kind::Colour), [Some(false), None, None]);
        assert_eq!(
            outcomes.correct(Kind::Relation),
            [None, Some(false), None],
            "a tie is wrong"
        );
        assert_eq!(outcomes.correct(Kind::Distractor), [None, None, Some(false)]);
        assert_eq!(
            outcomes.correct_all(),
            [Some(false), Some(false), Some(true)],
            "bystanders do not count"
        );
        let margin = outcomes.margins(Kind::Object)[2].expect("asked");
        assert_eq!(margin, 1.0);
        let cos = |x: f64, y: f64| x / x.hypot(y);
        let expected = cos(1.0, 0.1_f32.into()) - cos(1.0, 0.2_f32.into());
        assert!((outcomes.margins(Kind::Object)[0].expect("asked") - expected).abs() < 1e-12);
        assert_eq!(accuracy(&outcomes.correct_all()), Some(1.0 / 3.0));
        assert_eq!(accuracy(&outcomes.correct(Kind::Binding)), None);
        Ok(())
    }

    #[test]
    fn bad_labels_are_named() -> Result<(), EvalError> {
        let e = |n: usize| Embeddings::new(n, 2, vec![1.0; 2 * n]);
        let message = |c: Result<Candidates, EvalError>| c.expect_err("refused").to_string();
        assert_eq!(
            message(Candidates::new(e(2)?, e(3)?, vec![(0, Kind::Object)])),
            "labels of the wrong images: expected 3 labels, one a wrong image, found 1"
        );
        assert_eq!(
            message(Candidates::new(e(2)?, e(1)?, vec![(2, Kind::Object)])),
            "label of wrong image 0: expected a prompt below 2, found 2"
        );
        let candidates = Candidates::new(e(2)?, e(1)?, vec![(1, Kind::Object)])?;
        let found = forced_choice(&e(3)?, &candidates)
            .expect_err("refused")
            .to_string();
        assert_eq!(
            found,
            "z_x_hat: expected [2, 2] like the true images, found [3, 2]"
        );
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse::<Kind>()?, kind);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn only_directions_matter_and_the_truth_always_wins_for_itself(
            seed in any::<u64>(), n in 1..6_usize, each in 1..5_usize, scale in 0.01..100.0_f32,
        ) {
            let d = 5;
            let mut noise = Noise::new(seed);
            let mut draw = |n: usize| Embeddings::new(n, d, noise.normal_vec(n * d));
            let (truth, wrong, z_x_hat) = (draw(n)?, draw(n * each)?, draw(n)?);
            let labels = (0..n * each).map(|i| (i / each, Kind::ALL[i % Kind::ALL.len()])).collect();
            let candidates = Candidates::new(truth.clone(), wrong, labels)?;
            let outcomes = forced_choice(&truth, &candidates)?;
            prop_assert!(outcomes.correct_all().iter().flatten().all(|c| *c));
            let a = forced_choice(&z_x_hat, &candidates)?;
            let scaled = Embeddings::new(n, d, z_x_hat.values().iter().map(|v| v * scale).collect())?;
            let b = forced_choice(&scaled, &candidates)?;
            for kind in Kind::ALL {
                for (x, y) in a.margins(kind).iter().zip(b.margins(kind)) {
                    prop_assert_eq!(x.is_some(), y.is_some());
                    prop_assert!((x.unwrap_or(0.0) - y.unwrap_or(0.0)).abs() < 1e-5);
                }
                // "all" is never easier than one of its kinds
                if kind != Kind::Distractor {
                    for (one, all) in a.margins(kind).iter().zip(a.margins_all()) {
                        prop_assert!(one.is_none_or(|one| all.is_some_and(|all| all <= one)));
                    }
                }
            }
        }
    }
}
