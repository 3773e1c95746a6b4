//! Ridge regression in closed form: the linear map that the baseline prior and the probes share.
//!
//! `min over W, b of sum_i |y_i - W^T x_i - b|^2 + alpha * s * |W|^2` with `s` the mean eigenvalue of the scatter of `x`, so that
//! `alpha` has no unit: 1 shrinks an average direction by half, whatever the scale of `x` and the number of rows. The bias is not
//! shrunk: `x` and `y` are centred first. Solved by Cholesky in f64.

use nalgebra::{DMatrix, DVector};
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::EvalError;
use super::rows::{Embeddings, cross};
use crate::noise::Noise;

/// Rows that [`LinearMap::predict`] maps in one product.
const PIECE_ROWS: usize = 512;

/// How the regularisation is chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Alpha {
    /// This value, at least 0.
    Fixed(f64),
    /// The value of `grid` with the least squared error on a random slice of the rows (drawn by `seed`) that the fit did not see; the
    /// map is then fitted again on all rows. The earlier value wins a tie.
    HeldOut {
        /// Candidates, each at least 0.
        grid: Vec<f64>,
        /// Share of the rows held out, in (0, 1).
        share: f64,
        /// Seed of the draw.
        seed: u64,
    },
}

impl Default for Alpha {
    /// Decades from 1e-6 to 10 on a fifth of the rows.
    fn default() -> Self {
        Self::HeldOut {
            grid: (-6..=1).map(|e| 10_f64.powi(e)).collect(),
            share: 0.2,
            seed: 0,
        }
    }
}

/// `y = W^T x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearMap {
    /// `[d_y, d_x]`
    weight: DMatrix<f64>,
    /// `[d_y]`
    bias: DVector<f64>,
    alpha: f64,
}

impl LinearMap {
    /// Fits `y` (`[n, d_y]`) from `x` (`[n, d_x]`).
    ///
    /// # Errors
    /// [`EvalError::Shape`] if the numbers of rows differ, [`EvalError::TooFew`] below two rows (three to hold some out),
    /// [`EvalError::Parameter`] for an alpha or share out of range, [`EvalError::Singular`] if alpha is too small for the data.
    pub fn fit(x: &Embeddings, y: &Embeddings, alpha: &Alpha) -> Result<Self, EvalError> {
        if x.n() != y.n() {
            return Err(EvalError::shape(
                "ridge targets",
                format!("{} rows like the inputs", x.n()),
                y.n(),
            ));
        }
        match alpha {
            Alpha::Fixed(alpha) => Normal::of(x, y)?.solve(*alpha),
            Alpha::HeldOut { grid, share, seed } => {
                let alpha = best_alpha(x, y, grid, *share, *seed)?;
                Normal::of(x, y)?.solve(alpha)
            }
        }
    }

    /// The regularisation that was used.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// `W^T`, `[d_y, d_x]`.
    pub fn weight(&self) -> &DMatrix<f64> {
        &self.weight
    }

    /// `b`, `[d_y]`.
    pub fn bias(&self) -> &DVector<f64> {
        &self.bias
    }

    /// `y` for each row of `x` (`[n, d_x]`), `[n, d_y]`.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `x` has another width than the map was fitted on.
    pub fn predict(&self, x: &Embeddings) -> Result<Embeddings, EvalError> {
        let (d_y, d_x) = self.weight.shape();
        if x.d() != d_x {
            return Err(EvalError::shape(
                "linear map",
                format!("rows of width {d_x}"),
                x.d(),
            ));
        }
        let pieces: Vec<Vec<f32>> = x
            .values()
            .par_chunks(PIECE_ROWS * d_x)
            .map(|rows| {
                let n = rows.len() / d_x;
                let columns = DMatrix::from_iterator(d_x, n, rows.iter().map(|&v| f64::from(v)));
                let mut y = &self.weight * columns;
                y.column_iter_mut().for_each(|mut column| column += &self.bias);
                y.iter().map(|&v| v as f32).collect()
            })
            .collect();
        Embeddings::new(x.n(), d_y, pieces.concat())
    }
}

/// The normal equations of one data set.
struct Normal {
    /// Scatter of `x`, `[d_x, d_x]`.
    gram: DMatrix<f64>,
    /// `[d_x, d_y]`
    cross: DMatrix<f64>,
    mean_x: DVector<f64>,
    mean_y: DVector<f64>,
}

impl Normal {
    fn of(x: &Embeddings, y: &Embeddings) -> Result<Self, EvalError> {
        if x.n() < 2 {
            return Err(EvalError::TooFew {
                what: "rows for a ridge regression",
                needed: 2,
                found: x.n(),
            });
        }
        let (mean_x, mean_y) = (x.mean(), y.mean());
        let gram = cross(x, &mean_x, x, &mean_x);
        let cross = cross(x, &mean_x, y, &mean_y);
        Ok(Self {
            gram,
            cross,
            mean_x,
            mean_y,
        })
    }

    fn solve(&self, alpha: f64) -> Result<LinearMap, EvalError> {
        if !(alpha >= 0.0 && alpha.is_finite()) {
            return Err(EvalError::parameter("alpha", alpha, "a number >= 0"));
        }
        let d = self.gram.nrows();
        let mut system = self.gram.clone();
        let scale = self.gram.trace() / d as f64;
        for i in 0..d {
            system[(i, i)] += alpha * scale;
        }
        let singular = EvalError::Singular {
            what: "ridge regression",
            alpha,
            d,
        };
        let Some(factor) = system.cholesky() else {
            return Err(singular);
        };
        // Cholesky goes through on a singular matrix when rounding leaves the pivots positive; they are then tiny.
        let pivots = factor.l_dirty().diagonal();
        if pivots.min() <= pivots.max() * f64::EPSILON.sqrt() {
            return Err(singular);
        }
        let weight = factor.solve(&self.cross).transpose();
        let bias = &self.mean_y - &weight * &self.mean_x;
        Ok(LinearMap { weight, bias, alpha })
    }
}

fn best_alpha(x: &Embeddings, y: &Embeddings, grid: &[f64], share: f64, seed: u64) -> Result<f64, EvalError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(EvalError::parameter(
            "share of rows held out",
            share,
            "a number in (0, 1)",
        ));
    }
    if x.n() < 3 {
        return Err(EvalError::TooFew {
            what: "rows to choose alpha with",
            needed: 3,
            found: x.n(),
        });
    }
    let mut order: Vec<usize> = (0..x.n()).collect();
    order.shuffle(Noise::new(seed).rng());
    let n_held_out = ((x.n() as f64 * share).round() as usize).clamp(1, x.n() - 2);
    let (held_out, fitted) = order.split_at_mut(n_held_out);
    held_out.sort_unstable();
    fitted.sort_unstable();
    let normal = Normal::of(&x.select(fitted), &y.select(fitted))?;
    let (x, y) = (x.select(held_out), y.select(held_out));
    let mut best: Option<(f64, f64)> = None;
    let mut failure = EvalError::parameter("grid of alphas", "[]", "at least one number >= 0");
    for &alpha in grid {
        match normal.solve(alpha) {
            Ok(map) => {
                let predicted = map.predict(&x)?;
                let error = squared_error(&predicted, &y);
                if best.is_none_or(|(least, _)| error < least) {
                    best = Some((error, alpha));
                }
            }
            // Too small for these rows: a larger one of the grid may do.
            Err(singular @ EvalError::Singular { .. }) => failure = singular,
            Err(other) => return Err(other),
        }
    }
    best.map(|(_, alpha)| alpha).ok_or(failure)
}

fn squared_error(a: &Embeddings, b: &Embeddings) -> f64 {
    a.values()
        .iter()
        .zip(b.values())
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `x` of normal draws and `y = A x + 3 + noise`.
    fn linear_data(n: usize, d_x: usize, d_y: usize, sigma: f32, seed: u64) -> (Embeddings, Embeddings) {
        let mut noise = Noise::new(seed);
        let a = noise.normal_vec(d_x * d_y);
        let x = Embeddings::new(n, d_x, noise.normal_vec(n * d_x)).expect("finite");
        let mut y = noise.normal_vec(n * d_y);
        for (i, row) in x.rows().enumerate() {
            for j in 0..d_y {
                let clean: f32 = row.iter().zip(&a[j * d_x..]).map(|(v, w)| v * w).sum();
                y[i * d_y + j] = clean + 3.0 + sigma * y[i * d_y + j];
            }
        }
        let y = Embeddings::new(n, d_y, y).expect("finite");
        (x, y)
    }

    #[test]
    fn by_hand() -> Result<(), EvalError> {
        // x = -1, 0, 1; y = 0, 1, 5: scatter 2, cross 5, so W = 5 / (2 + 2 alpha) and b = mean(y) = 2.
        let x = Embeddings::from_rows(&[[-1.0], [0.0], [1.0]])?;
        let y = Embeddings::from_rows(&[[0.0], [1.0], [5.0]])?;
        for (alpha, slope) in [(0.0, 2.5), (1.0, 1.25), (4.0, 0.5)] {
            let map = LinearMap::fit(&x, &y, &Alpha::Fixed(alpha))?;
            assert!((map.weight()[(0, 0)] - slope).abs() < 1e-12);
            assert!((map.bias()[0] - 2.0).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn alpha_zero_recovers_a_linear_map_and_noise_asks_for_more() -> Result<(), EvalError> {
        let (x, y) = linear_data(600, 6, 4, 0.0, 1);
        let map = LinearMap::fit(&x, &y, &Alpha::Fixed(0.0))?;
        assert!(squared_error(&map.predict(&x)?, &y) < 1e-8);
        assert_eq!(LinearMap::fit(&x, &y, &Alpha::default())?.alpha(), 1e-6);
        let (x, y) = linear_data(24, 16, 4, 6.0, 2);
        assert!(LinearMap::fit(&x, &y, &Alpha::default())?.alpha() >= 0.1);
        Ok(())
    }

    #[test]
    fn singular_systems_are_refused_unless_regularised() -> Result<(), EvalError> {
        let (x, y) = linear_data(5, 8, 2, 0.1, 3);
        let message = LinearMap::fit(&x, &y, &Alpha::Fixed(0.0))
            .expect_err("singular")
            .to_string();
        assert_eq!(
            message,
            "ridge regression with alpha = 0: the 8 x 8 system is singular; use an alpha above zero"
        );
        LinearMap::fit(&x, &y, &Alpha::Fixed(1e-3))?;
        let grid = Alpha::HeldOut {
            grid: vec![0.0, 0.5],
            share: 0.2,
            seed: 0,
        };
        assert_eq!(LinearMap::fit(&x, &y, &grid)?.alpha(), 0.5);
        let constant = Embeddings::new(3, 1, vec![2.0; 3])?;
        assert!(LinearMap::fit(&constant, &constant, &Alpha::Fixed(1.0)).is_err());
        assert!(LinearMap::fit(&x, &y, &Alpha::Fixed(-1.0)).is_err());
        assert!(LinearMap::fit(&x, &constant, &Alpha::Fixed(1.0)).is_err());
        let none = Alpha::HeldOut {
            grid: vec![],
            share: 0.2,
            seed: 0,
        };
        let message = LinearMap::fit(&x, &y, &none).expect_err("no grid").to_string();
        assert_eq!(message, "grid of alphas = []: expected at least one number >= 0");
        Ok(())
    }

    proptest! {
        #[test]
        fn the_gradient_vanishes_at_the_solution(seed in any::<u64>(), alpha in 1e-4..10.0_f64) {
            let (n, d_x, d_y) = (30, 5, 3);
            let (x, y) = linear_data(n, d_x, d_y, 1.0, seed);
            let map = LinearMap::fit(&x, &y, &Alpha::Fixed(alpha))?;
            let scale = Normal::of(&x, &y)?.gram.trace() / d_x as f64;
            // d/dW: sum_i (W^T x_i + b - y_i) x_i^T + alpha s W^T; d/db: sum_i of the residual
            let mut gradient = map.weight() * (alpha * scale);
            let mut residuals = DVector::zeros(d_y);
            for (x, y) in x.rows().zip(y.rows()) {
                let x = DVector::from_iterator(d_x, x.iter().map(|&v| f64::from(v)));
                let y = DVector::from_iterator(d_y, y.iter().map(|&v| f64::from(v)));
                let residual = map.weight() * &x + map.bias() - y;
                gradient += &residual * x.transpose();
                residuals += residual;
            }
            prop_assert!(gradient.amax() < 1e-9, "{}", gradient.amax());
            prop_assert!(residuals.amax() < 1e-9);
        }

        #[test]
        fn alpha_has_no_unit(seed in any::<u64>(), scale in 0.01..100.0_f32) {
            let (x, y) = linear_data(40, 4, 2, 1.0, seed);
            let scaled = Embeddings::new(40, 4, x.values().iter().map(|v| v * scale).collect())?;
            let a = LinearMap::fit(&x, &y, &Alpha::Fixed(0.3))?.predict(&x)?;
            let b = LinearMap::fit(&scaled, &y, &Alpha::Fixed(0.3))?.predict(&scaled)?;
            prop_assert!(squared_error(&a, &b) < 1e-6);
        }
    }
}
