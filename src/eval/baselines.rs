//! Baselines: priors without a network, for comparison in every table.
//!
//! A prior trained with a squared error should beat [`Ridge`]. A prior that only repeats the text scores like [`TextAsPrior`], one that has memorised
//! its pairs like [`NearestCaption`]. The two oracles are the ceiling: the embedding of another image of what the prompt says, and the mean over many
//! such embeddings, which minimises the squared error.

use std::fmt;
use std::str::FromStr;

use nalgebra::DVector;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EvalError;
use super::ridge::{Alpha, LinearMap};
use super::rows::{Embeddings, Units, dot, norm};

/// A fitted baseline: predicts image embeddings from text embeddings.
pub trait FittedBaseline: Send + Sync {
    /// `z_x_hat` (`[n, d]`) for `z_y` (`[n, d]`).
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `z_y` is not shaped as the baseline needs it.
    fn predict(&self, z_y: &Embeddings) -> Result<Embeddings, EvalError>;
}

/// Which baseline, by the name that specs and tables use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BaselineKind {
    /// [`TextAsPrior`]
    TextAsPrior,
    /// [`MeanShift`]
    MeanShift,
    /// [`MeanShift`] of text embeddings that were brought to the images' mean norm first.
    ScaledMeanShift,
    /// [`Ridge`]
    Ridge,
    /// [`NearestCaption`]
    NearestCaption,
    /// [`Oracle`], of one image.
    Oracle,
    /// [`Oracle`], of the mean over images.
    OracleMean,
}

impl BaselineKind {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 7] = [
        Self::TextAsPrior,
        Self::MeanShift,
        Self::ScaledMeanShift,
        Self::Ridge,
        Self::NearestCaption,
        Self::Oracle,
        Self::OracleMean,
    ];

    /// The name in specs and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextAsPrior => "text_as_prior",
            Self::MeanShift => "mean_shift",
            Self::ScaledMeanShift => "scaled_mean_shift",
            Self::Ridge => "ridge",
            Self::NearestCaption => "nearest_caption",
            Self::Oracle => "oracle",
            Self::OracleMean => "oracle_mean",
        }
    }

    /// Fits the baseline on training pairs `z_y`, `z_x` (`[n, d]` each). `answers` is what an oracle answers: for each test prompt the embedding
    /// of another image of what it says, or the mean over such, `[n_prompts, d]`.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `z_y` and `z_x` are shaped differently; [`Ridge`] adds its own.
    pub fn fit(
        self,
        z_y: &Embeddings,
        z_x: &Embeddings,
        answers: &Embeddings,
    ) -> Result<Box<dyn FittedBaseline>, EvalError> {
        Ok(match self {
            Self::TextAsPrior => Box::new(TextAsPrior::fit(z_y, z_x)?),
            Self::MeanShift => Box::new(MeanShift::fit(z_y, z_x)?),
            Self::ScaledMeanShift => Box::new(MeanShift::fit_scaled(z_y, z_x)?),
            Self::Ridge => Box::new(Ridge::fit(z_y, z_x, &Alpha::default())?),
            Self::NearestCaption => Box::new(NearestCaption::fit(z_y, z_x)?),
            Self::Oracle | Self::OracleMean => Box::new(Oracle::new(answers.clone())),
        })
    }
}

impl fmt::Display for BaselineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BaselineKind {
    type Err = EvalError;

    fn from_str(text: &str) -> Result<Self, EvalError> {
        Self::ALL.into_iter().find(|k| k.name() == text).ok_or_else(|| {
            let expected =
                "text_as_prior, mean_shift, scaled_mean_shift, ridge, nearest_caption, oracle or oracle_mean";
            EvalError::parameter("baseline", text, expected)
        })
    }
}

/// The direction of `z_y` at the mean norm of training images. The cosine to `z_y` is 1; the distance to real image
/// embeddings is the whole modality gap.
#[derive(Debug, Clone)]
pub struct TextAsPrior {
    norm: f64,
}

impl TextAsPrior {
    /// Takes the mean norm of `z_x`.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `z_y` and `z_x` are shaped differently.
    pub fn fit(z_y: &Embeddings, z_x: &Embeddings) -> Result<Self, EvalError> {
        z_x.check_like("z_x", z_y, "z_y")?;
        Ok(Self {
            norm: z_x.mean_norm(),
        })
    }
}

impl FittedBaseline for TextAsPrior {
    fn predict(&self, z_y: &Embeddings) -> Result<Embeddings, EvalError> {
        map_rows(z_y, |row| {
            let length = norm(row);
            let scale = if length > 0.0 { self.norm / length } else { 0.0 };
            row.iter().map(move |&v| f64::from(v) * scale)
        })
    }
}

/// `scale * z_y + mean(z_x - scale * z_y)`: the text embedding, moved across the modality gap.
#[derive(Debug, Clone)]
pub struct MeanShift {
    scale: f64,
    shift: DVector<f64>,
}

impl MeanShift {
    /// With scale 1. A CLIP whose text and image embeddings differ in norm (nothing in its loss forbids it) gives predictions of
    /// the wrong norm; [`MeanShift::fit_scaled`] does not.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `z_y` and `z_x` are shaped differently.
    pub fn fit(z_y: &Embeddings, z_x: &Embeddings) -> Result<Self, EvalError> {
        Self::with_scale(z_y, z_x, 1.0)
    }

    /// With the scale that brings the text embeddings' mean norm to the images'.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `z_y` and `z_x` are shaped differently or all of `z_y` is zero.
    pub fn fit_scaled(z_y: &Embeddings, z_x: &Embeddings) -> Result<Self, EvalError> {
        let norm = z_y.mean_norm();
        if norm == 0.0 {
            return Err(EvalError::shape("z_y", "a mean norm above 0", 0));
        }
        Self::with_scale(z_y, z_x, z_x.mean_norm() / norm)
    }

    fn with_scale(z_y: &Embeddings, z_x: &Embeddings, scale: f64) -> Result<Self, EvalError> {
        z_x.check_like("z_x", z_y, "z_y")?;
        Ok(Self {
            scale,
            shift: z_x.mean() - z_y.mean() * scale,
        })
    }
}

impl FittedBaseline for MeanShift {
    fn predict(&self, z_y: &Embeddings) -> Result<Embeddings, EvalError> {
        check_width(z_y, self.shift.len())?;
        map_rows(z_y, |row| {
            row.iter()
                .zip(&self.shift)
                .map(|(&v, s)| f64::from(v) * self.scale + s)
        })
    }
}

/// The linear map of least squared error, regularised; see [`super::ridge`].
#[derive(Debug, Clone)]
pub struct Ridge {
    map: LinearMap,
}

impl Ridge {
    /// Fits `z_x` from `z_y`.
    ///
    /// # Errors
    /// Like [`LinearMap::fit`].
    pub fn fit(z_y: &Embeddings, z_x: &Embeddings, alpha: &Alpha) -> Result<Self, EvalError> {
        z_x.check_like("z_x", z_y, "z_y")?;
        Ok(Self {
            map: LinearMap::fit(z_y, z_x, alpha)?,
        })
    }

    /// The regularisation that was used.
    pub fn alpha(&self) -> f64 {
        self.map.alpha()
    }
}

impl FittedBaseline for Ridge {
    fn predict(&self, z_y: &Embeddings) -> Result<Embeddings, EvalError> {
        self.map.predict(z_y)
    }
}

/// The image embedding of the training pair whose caption is nearest by cosine: a prior that has memorised its pairs. The earlier
/// pair wins a tie.
pub struct NearestCaption {
    captions: Units,
    z_x: Embeddings,
}

impl NearestCaption {
    /// Keeps the pairs.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `z_y` and `z_x` are shaped differently.
    pub fn fit(z_y: &Embeddings, z_x: &Embeddings) -> Result<Self, EvalError> {
        z_x.check_like("z_x", z_y, "z_y")?;
        Ok(Self {
            captions: z_y.units(),
            z_x: z_x.clone(),
        })
    }
}

impl FittedBaseline for NearestCaption {
    fn predict(&self, z_y: &Embeddings) -> Result<Embeddings, EvalError> {
        check_width(z_y, self.z_x.d())?;
        let queries = z_y.units();
        let nearest = |i: usize| {
            let mut best = (0, f64::NEG_INFINITY);
            for (j, caption) in self.captions.rows().enumerate() {
                let cosine = dot(queries.row(i), caption);
                if cosine > best.1 {
                    best = (j, cosine);
                }
            }
            best.0
        };
        let rows: Vec<usize> = (0..z_y.n()).into_par_iter().map(nearest).collect();
        Ok(self.z_x.select(&rows))
    }
}

/// Knows images of what is asked. With the embedding of one it answers as a prior could that samples perfectly: its scores are the ceiling, its
/// Frechet distance is the floor that finite samples set. With the mean over many it answers E\[z_x | prompt\], which the squared error of Eq. 3 asks
/// for: the ceiling of priors that have one answer to a prompt and no other term.
#[derive(Debug, Clone)]
pub struct Oracle {
    answers: Embeddings,
}

impl Oracle {
    /// `answers`: for each prompt, in order; not made from the image it is scored against.
    pub fn new(answers: Embeddings) -> Self {
        Self { answers }
    }
}

impl FittedBaseline for Oracle {
    fn predict(&self, z_y: &Embeddings) -> Result<Embeddings, EvalError> {
        self.answers.check_like("the oracle's answers", z_y, "z_y")?;
        Ok(self.answers.clone())
    }
}

fn check_width(z_y: &Embeddings, d: usize) -> Result<(), EvalError> {
    if z_y.d() == d {
        return Ok(());
    }
    Err(EvalError::shape(
        "z_y",
        format!("rows of width {d} like the training pairs"),
        z_y.d(),
    ))
}

fn map_rows<'a, I: Iterator<Item = f64>>(
    rows: &'a Embeddings,
    map: impl Fn(&'a [f32]) -> I,
) -> Result<Embeddings, EvalError> {
    let values = rows.rows().flat_map(map).map(|v| v as f32).collect();
    Embeddings::new(rows.n(), rows.d(), values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::embedding::cosines;
    use crate::noise::Noise;
    use proptest::prelude::*;

    fn pairs() -> Result<(Embeddings, Embeddings), EvalError> {
        let z_y = Embeddings::from_rows(&[[2.0, 0.0], [0.0, 4.0]])?;
        let z_x = Embeddings::from_rows(&[[3.0, 4.0], [0.0, 1.0]])?;
        Ok((z_y, z_x))
    }

    #[test]
    fn by_hand() -> Result<(), EvalError> {
        let (z_y, z_x) = pairs()?;
        let query = Embeddings::from_rows(&[[3.0, 4.0], [-0.1, 9.0]])?;
        let rows = |kind: BaselineKind| kind.fit(&z_y, &z_x, &query)?.predict(&query);
        // mean norm of z_x: 3
        let text = rows(BaselineKind::TextAsPrior)?;
        assert!((text.row(0)[0] - 1.8).abs() < 1e-6 && (text.row(0)[1] - 2.4).abs() < 1e-6);
        // mean z_x = (1.5, 2.5), mean z_y = (1, 2)
        assert_eq!(rows(BaselineKind::MeanShift)?.row(0), [3.5, 4.5]);
        // the norms of z_y average 3 too
        assert_eq!(
            rows(BaselineKind::ScaledMeanShift)?,
            rows(BaselineKind::MeanShift)?
        );
        assert_eq!(rows(BaselineKind::NearestCaption)?, z_x.select(&[1, 1]));
        assert_eq!(rows(BaselineKind::Oracle)?, query);
        Ok(())
    }

    #[test]
    fn ridge_finds_a_linear_prior() -> Result<(), EvalError> {
        let (n, d) = (300, 4);
        let mut noise = Noise::new(5);
        let z_y = Embeddings::new(n, d, noise.normal_vec(n * d))?;
        let rotate = |r: &[f32]| [r[1] + 1.0, -r[0], 2.0 * r[3], r[2] - 0.5];
        let z_x = Embeddings::from_rows(&z_y.rows().map(rotate).collect::<Vec<_>>())?;
        let ridge = Ridge::fit(&z_y, &z_x, &Alpha::default())?;
        let found = ridge.predict(&z_y)?;
        let worst = found
            .values()
            .iter()
            .zip(z_x.values())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst}");
        Ok(())
    }

    #[test]
    fn names_and_shapes() -> Result<(), EvalError> {
        for kind in BaselineKind::ALL {
            assert_eq!(kind.to_string().parse::<BaselineKind>()?, kind);
        }
        assert_eq!(
            "clip".parse::<BaselineKind>().expect_err("unknown").to_string(),
            "baseline = clip: expected text_as_prior, mean_shift, scaled_mean_shift, ridge, nearest_caption, oracle or oracle_mean"
        );
        let (z_y, z_x) = pairs()?;
        let narrow = Embeddings::from_rows(&[[1.0], [2.0]])?;
        for kind in BaselineKind::ALL {
            if !matches!(kind, BaselineKind::Oracle | BaselineKind::OracleMean) {
                assert!(kind.fit(&narrow, &z_x, &z_x).is_err(), "{kind}");
            }
            if kind != BaselineKind::TextAsPrior && kind != BaselineKind::Ridge {
                assert!(kind.fit(&z_y, &z_x, &z_x)?.predict(&narrow).is_err(), "{kind}");
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn each_does_what_it_says(seed in any::<u64>(), n in 4..20_usize, d in 2..8_usize) {
            let mut noise = Noise::new(seed);
            let mut draw = || Embeddings::new(n, d, noise.normal_vec(n * d));
            let (z_y, z_x, other) = (draw()?, draw()?, draw()?);
            let text = TextAsPrior::fit(&z_y, &z_x)?.predict(&other)?;
            prop_assert!(text.norms().iter().all(|l| (l - z_x.mean_norm()).abs() < 1e-5));
            prop_assert!(cosines(&text, &other)?.iter().all(|c| *c > 1.0 - 1e-6));
            for shift in [MeanShift::fit(&z_y, &z_x)?, MeanShift::fit_scaled(&z_y, &z_x)?] {
                prop_assert!((shift.predict(&z_y)?.mean() - z_x.mean()).amax() < 1e-5);
            }
            // a memory is perfect on what it has seen
            prop_assert_eq!(NearestCaption::fit(&z_y, &z_x)?.predict(&z_y)?, z_x);
        }
    }
}
