//! Predictions brought back to the size of true embeddings before a decoder draws them.
//!
//! A regression predicts the mean of all z_x that a caption allows. Means are shorter than what they are means of, and lie closer together, while a
//! decoder has only ever seen true z_x. Both remedies change sizes only, by one number or one a row; where a prediction points stays as it is, seen
//! from the origin or from the mean of all images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Embeddings, EvalError};

/// What a decoder gets of z_x_hat, with true z_x to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecoderInput {
    /// z_x_hat itself, as in the paper.
    #[default]
    AsPredicted,
    /// Each row as long as true z_x are on average.
    TrueNorm,
    /// As far from the mean of true z_x as these are themselves, in the mean square over all rows: `mean + s (z_x_hat - mean)`.
    TrueSpread,
}

impl DecoderInput {
    /// `z_x_hat` `[n, d]` with the size that `z_x` `[m, d]` have. Rows of zeros, and predictions that all are the mean itself, stay as they are.
    ///
    /// # Errors
    /// [`EvalError::Shape`] for another width.
    pub fn of(self, z_x_hat: &Embeddings, z_x: &Embeddings) -> Result<Embeddings, EvalError> {
        if z_x_hat.d() != z_x.d() {
            return Err(EvalError::shape(
                "z_x",
                format!("rows of width {}", z_x_hat.d()),
                z_x.d(),
            ));
        }
        let values = match self {
            Self::AsPredicted => return Ok(z_x_hat.clone()),
            Self::TrueNorm => {
                let length = z_x.mean_norm();
                let scaled = z_x_hat.rows().zip(z_x_hat.norms()).flat_map(|(row, norm)| {
                    let scale = if norm > 0.0 { length / norm } else { 1.0 };
                    row.iter().map(move |&v| (scale * f64::from(v)) as f32)
                });
                scaled.collect()
            }
            Self::TrueSpread => {
                let mean = z_x.mean();
                let off = |v: f32, m: f64| f64::from(v) - m;
                let spread = |rows: &Embeddings| -> f64 {
                    let squares = rows
                        .rows()
                        .flat_map(|row| row.iter().zip(mean.iter()).map(|(&v, &m)| off(v, m).powi(2)));
                    squares.sum::<f64>() / rows.n() as f64
                };
                let found = spread(z_x_hat);
                let scale = if found > 0.0 {
                    (spread(z_x) / found).sqrt()
                } else {
                    1.0
                };
                let moved = z_x_hat.rows().flat_map(|row| {
                    row.iter()
                        .zip(mean.iter())
                        .map(|(&v, &m)| (m + scale * off(v, m)) as f32)
                });
                moved.collect()
            }
        };
        Embeddings::new(z_x_hat.n(), z_x_hat.d(), values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-4 * (1.0 + b.abs())
    }

    #[test]
    fn by_hand() -> Result<(), EvalError> {
        let z_x = Embeddings::from_rows(&[[0.0, 2.0], [4.0, 2.0]])?;
        let z_x_hat = Embeddings::from_rows(&[[3.0_f32, 4.0], [2.0, 1.0]])?;
        assert_eq!(DecoderInput::AsPredicted.of(&z_x_hat, &z_x)?, z_x_hat);
        // The mean of 2 and the root of 20, over 5.
        let length = (2.0 + 20.0_f64.sqrt()) / 2.0;
        let scaled = DecoderInput::TrueNorm.of(&z_x_hat, &z_x)?;
        assert!(near(f64::from(scaled.row(0)[1]), 4.0 * length / 5.0));
        // Around (2, 2): mean squares of 4 and of (1 + 4 + 1) / 2.
        let moved = DecoderInput::TrueSpread.of(&z_x_hat, &z_x)?;
        assert!(near(
            f64::from(moved.row(0)[1]),
            2.0 + 2.0 * (4.0_f64 / 3.0).sqrt()
        ));
        let odd = Embeddings::from_rows(&[[1.0_f32]])?;
        assert!(DecoderInput::TrueNorm.of(&odd, &z_x).is_err());
        Ok(())
    }

    proptest! {
        #[test]
        fn sizes_are_those_of_true_embeddings(seed in 0_u64..1000, n in 1_usize..9, shrink in 0.05_f32..3.0) {
            let mut noise = crate::noise::Noise::new(seed);
            let mut rows = |n: usize, scale: f32| {
                Embeddings::new(n, 6, noise.normal_vec(n * 6).into_iter().map(|v| scale * v + 0.3).collect()).expect("finite")
            };
            let (z_x, z_x_hat) = (rows(12, 1.0), rows(n, shrink));
            let scaled = DecoderInput::TrueNorm.of(&z_x_hat, &z_x).expect("one width");
            for norm in scaled.norms() {
                prop_assert!(near(norm, z_x.mean_norm()));
            }
            // What has the right size stays.
            for input in [DecoderInput::TrueNorm, DecoderInput::TrueSpread] {
                let once = input.of(&z_x_hat, &z_x).expect("one width");
                let twice = input.of(&once, &z_x).expect("one width");
                for (a, b) in once.values().iter().zip(twice.values()) {
                    prop_assert!(near(f64::from(*a), f64::from(*b)));
                }
            }
        }
    }
}
