//! Frechet distance between two sets of embeddings, each taken for a Gaussian.
//!
//! `FD = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))` (Heusel et al. 2017, Eq. 6), all in f64. The root of the product,
//! which is not symmetric, is never formed: `tr (S_1 S_2)^(1/2) = tr (R^T S_2 R)^(1/2)` for any `R` with `R R^T = S_1`, and the matrix on
//! the right is symmetric positive semidefinite. `R` is the Cholesky factor, which is fast, or for a singular `S_1` its symmetric root. (An iterative root in f32 gives wrong
//! distances; a complex one needs its imaginary part argued away.) Nothing is added to the diagonal.

use nalgebra::{DMatrix, DVector};

use super::EvalError;
use super::rows::{Embeddings, cross};

use crate::limits;

/// Mean and unbiased covariance (divided by n - 1) of a set of embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    n: usize,
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl Moments {
    /// The moments of `rows`, of which there must be two or more.
    ///
    /// # Errors
    /// [`EvalError::TooFew`] for a single row.
    pub fn of(rows: &Embeddings) -> Result<Self, EvalError> {
        if rows.n() < 2 {
            return Err(EvalError::TooFew {
                what: "rows for a covariance",
                needed: 2,
                found: rows.n(),
            });
        }
        let mean = rows.mean();
        let sum = cross(rows, &mean, rows, &mean);
        Ok(Self {
            n: rows.n(),
            covariance: symmetric(sum / (rows.n() - 1) as f64),
            mean,
        })
    }

    /// Moments from elsewhere: `mean` is `[d]`, `covariance` `[d, d]` and symmetric, estimated from `n` rows.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if the sizes disagree, or if the covariance is not symmetric to 1e-6 of its largest entry or not finite.
    pub fn new(n: usize, mean: DVector<f64>, covariance: DMatrix<f64>) -> Result<Self, EvalError> {
        let (d, shape) = (mean.len(), covariance.shape());
        if shape != (d, d) {
            return Err(EvalError::shape(
                "covariance",
                format!("[{d}, {d}] like the mean"),
                format!("{shape:?}"),
            ));
        }
        let skew = (&covariance - covariance.transpose()).amax();
        if limits::not_finite(covariance.iter().chain(mean.iter()).copied()).is_some()
            || skew > 1e-6 * covariance.amax()
        {
            let expected = "a symmetric matrix of finite numbers";
            return Err(EvalError::shape(
                "covariance",
                expected,
                format!("asymmetry {skew:e}"),
            ));
        }
        Ok(Self {
            n,
            mean,
            covariance: symmetric(covariance),
        })
    }

    /// Number of rows that the moments were estimated from.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Mean, `[d]`.
    pub fn mean(&self) -> &DVector<f64> {
        &self.mean
    }

    /// Covariance, `[d, d]`.
    pub fn covariance(&self) -> &DMatrix<f64> {
        &self.covariance
    }

    /// Total variance: the trace of the covariance.
    pub fn variance(&self) -> f64 {
        self.covariance.trace()
    }

    /// Whether the covariance cannot have full rank, because there were no more rows than dimensions.
    pub fn is_rank_deficient(&self) -> bool {
        self.n <= self.mean.len()
    }
}

/// A Frechet distance and its parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frechet {
    /// The (squared) distance, in the square of the embeddings' unit; never negative.
    pub distance: f64,
    /// `|mu_1 - mu_2|^2`.
    pub mean_term: f64,
    /// `tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))`.
    pub covariance_term: f64,
    /// Total variance of the reference.
    pub reference_variance: f64,
    /// Total variance of the other.
    pub variance: f64,
    /// Either covariance was estimated from no more rows than dimensions. The distance still exists, but it is biased upwards
    /// and only comparable with distances from the same numbers of rows. It is not corrected.
    pub rank_deficient: bool,
}

impl Frechet {
    /// The distance relative to the total variance of the reference, which makes it independent of the embeddings' scale:
    /// about 1 for a point mass at the reference's mean. `None` if the reference does not vary.
    pub fn relative(&self) -> Option<f64> {
        (self.reference_variance > 0.0).then(|| self.distance / self.reference_variance)
    }
}

/// The Frechet distance of `a` to `reference`. It is symmetric; only [`Frechet::relative`] tells the two apart.
///
/// # Errors
/// [`EvalError::Shape`] if the widths differ, [`EvalError::NoConvergence`] if an eigendecomposition does not converge.
pub fn frechet(a: &Moments, reference: &Moments) -> Result<Frechet, EvalError> {
    let (d, found) = (reference.mean.len(), a.mean.len());
    if d != found {
        return Err(EvalError::shape(
            "Frechet distance",
            format!("width {d} like the reference"),
            found,
        ));
    }
    // Moments from files may not say how many rows they are of: the factorisation finds out.
    let is_singular = a.n > 0 && a.is_rank_deficient();
    let factor = match a.covariance.clone().cholesky().filter(|_| !is_singular) {
        Some(cholesky) => cholesky.unpack(),
        None => square_root(&a.covariance)?,
    };
    let inner = symmetric(factor.transpose() * &reference.covariance * &factor);
    Ok(parts(a, reference, root_trace(&inner)))
}

/// [`frechet`] of the moments of two sets of embeddings. Of few rows, whose covariances are singular, the root's trace is the sum of the singular values
/// of the product of the centred rows, which loses no digits where the root of a covariance loses half of them.
///
/// # Errors
/// Like [`frechet`] and [`Moments::of`].
pub fn frechet_of(rows: &Embeddings, reference: &Embeddings) -> Result<Frechet, EvalError> {
    let (a, b) = (Moments::of(rows)?, Moments::of(reference)?);
    let (n, m, d) = (rows.n(), reference.n(), rows.d());
    if d != reference.d() || n.max(m) > d {
        return frechet(&a, &b);
    }
    let centred = |rows: &Embeddings, mean: &DVector<f64>| {
        let value = |row: usize, column: usize| f64::from(rows.row(row)[column]) - mean[column];
        DMatrix::from_fn(rows.n(), d, value) / ((rows.n() - 1) as f64).sqrt()
    };
    let product = centred(rows, &a.mean) * centred(reference, &b.mean).transpose();
    let singular = product
        .try_svd(false, false, f64::EPSILON, 100 * n.max(m))
        .ok_or(EvalError::NoConvergence {
            what: "singular values of two sets of embeddings",
            d: n.max(m),
        })?;
    Ok(parts(&a, &b, singular.singular_values.sum()))
}

/// The distance, given the trace of the root of the covariances' product.
fn parts(a: &Moments, reference: &Moments, root_trace: f64) -> Frechet {
    let mean_term = (&a.mean - &reference.mean).norm_squared();
    let traces = a.variance() + reference.variance();
    let covariance_term = (traces - 2.0 * root_trace).max(0.0);
    Frechet {
        distance: mean_term + covariance_term,
        mean_term,
        covariance_term,
        reference_variance: reference.variance(),
        variance: a.variance(),
        rank_deficient: a.is_rank_deficient() || reference.is_rank_deficient(),
    }
}

/// The symmetric part, which takes rounding out of a matrix that is symmetric by construction.
fn symmetric(m: DMatrix<f64>) -> DMatrix<f64> {
    let transposed = m.transpose();
    (m + transposed) * 0.5
}

fn eigen(m: DMatrix<f64>) -> Result<nalgebra::SymmetricEigen<f64, nalgebra::Dyn>, EvalError> {
    /// QR sweeps take two or three an eigenvalue; this many means trouble.
    const SWEEPS_PER_DIMENSION: usize = 100;
    let d = m.nrows();
    m.try_symmetric_eigen(f64::EPSILON, SWEEPS_PER_DIMENSION * d)
        .ok_or(EvalError::NoConvergence {
            what: "eigendecomposition of a covariance",
            d,
        })
}

/// Root of a symmetric positive semidefinite matrix. Eigenvalues below zero are rounding and count as zero.
fn square_root(m: &DMatrix<f64>) -> Result<DMatrix<f64>, EvalError> {
    let eigen = eigen(m.clone())?;
    let mut scaled = eigen.eigenvectors.clone();
    for (mut column, value) in scaled.column_iter_mut().zip(eigen.eigenvalues.iter()) {
        column *= value.max(0.0).sqrt();
    }
    Ok(scaled * eigen.eigenvectors.transpose())
}

/// Trace of the root of a symmetric positive semidefinite matrix. Eigenvalues within rounding of zero count as zero, since
/// the root would turn an error of 1e-16 into one of 1e-8.
fn root_trace(m: &DMatrix<f64>) -> f64 {
    let values = m.symmetric_eigenvalues();
    let floor = values.max() * f64::EPSILON * values.len() as f64;
    values.iter().filter(|v| **v > floor).map(|v| v.sqrt()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use proptest::prelude::*;

    fn draw(seed: u64, n: usize, d: usize) -> Embeddings {
        Embeddings::new(n, d, Noise::new(seed).normal_vec(n * d)).expect("finite")
    }

    fn diagonal(mean: &[f64], variance: &[f64]) -> Moments {
        let covariance = DMatrix::from_diagonal(&DVector::from_column_slice(variance));
        Moments::new(1000, DVector::from_column_slice(mean), covariance).expect("symmetric")
    }

    #[test]
    fn moments_by_hand() -> Result<(), EvalError> {
        let moments = Moments::of(&Embeddings::from_rows(&[[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]])?)?;
        assert_eq!(moments.mean().as_slice(), [2.0, 1.0]);
        assert_eq!(moments.covariance().as_slice(), [1.0, 0.0, 0.0, 3.0]);
        assert_eq!(moments.variance(), 4.0);
        assert!(!moments.is_rank_deficient());
        assert!(Moments::of(&Embeddings::from_rows(&[[1.0, 0.0]])?).is_err());
        let skew = DMatrix::from_row_slice(2, 2, &[1.0, 0.5, 0.0, 1.0]);
        assert!(Moments::new(9, DVector::zeros(2), skew).is_err());
        Ok(())
    }

    /// Two Gaussians that do not commute. The covariances' product is [[2, 1], [1, 1]] [[3, -1], [-1, 2]] = [[5, 0], [2, 1]] with
    /// eigenvalues 5 and 1, so the distance is |(1, -2)|^2 + 3 + 5 - 2 (sqrt 5 + 1).
    #[test]
    fn two_gaussians_by_hand() -> Result<(), EvalError> {
        let moments = |mean: [f64; 2], covariance: [f64; 4]| {
            Moments::new(
                99,
                DVector::from_row_slice(&mean),
                DMatrix::from_row_slice(2, 2, &covariance),
            )
        };
        let a = moments([1.0, 0.0], [2.0, 1.0, 1.0, 1.0])?;
        let b = moments([0.0, 2.0], [3.0, -1.0, -1.0, 2.0])?;
        let fd = frechet(&a, &b)?;
        let covariance_term = 8.0 - 2.0 * (5_f64.sqrt() + 1.0);
        assert!((fd.mean_term - 5.0).abs() < 1e-12);
        assert!((fd.covariance_term - covariance_term).abs() < 1e-12, "{fd:?}");
        assert!((fd.distance - 5.0 - covariance_term).abs() < 1e-12);
        assert_eq!(fd.relative(), Some(fd.distance / 5.0));
        let point = diagonal(&[0.0, 0.0], &[0.0, 0.0]);
        assert_eq!(frechet(&b, &point)?.relative(), None);
        assert!(
            (frechet(&point, &b)?.distance - 9.0).abs() < 1e-12,
            "mean 4, variance 5"
        );
        Ok(())
    }

    #[test]
    fn few_rows_are_flagged_and_still_at_distance_zero_from_themselves() -> Result<(), EvalError> {
        let few = draw(4, 10, 40);
        let fd = frechet_of(&few, &few)?;
        assert!(fd.rank_deficient);
        assert!(fd.distance < 1e-6, "{fd:?}");
        assert!(!frechet_of(&draw(5, 41, 40), &draw(6, 41, 40))?.rank_deficient);
        assert!(frechet_of(&few, &draw(5, 10, 39)).is_err());
        Ok(())
    }

    #[test]
    fn finite_samples_of_one_distribution_are_biased_apart_by_one_over_n() -> Result<(), EvalError> {
        let at = |n: usize| frechet_of(&draw(7, n, 16), &draw(8, n, 16)).map(|f| f.distance);
        let (few, many) = (at(200)?, at(3200)?);
        assert!((8.0..32.0).contains(&(few / many)), "{few} {many}"); // 16 expected
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn diagonal_gaussians_have_a_closed_form(
            rows in prop::collection::vec((-3.0..3.0_f64, 0.0..4.0_f64, -3.0..3.0_f64, 0.0..4.0_f64), 1..12),
        ) {
            let column = |f: fn(&(f64, f64, f64, f64)) -> f64| rows.iter().map(f).collect::<Vec<_>>();
            let a = diagonal(&column(|r| r.0), &column(|r| r.1));
            let b = diagonal(&column(|r| r.2), &column(|r| r.3));
            let expected: f64 =
                rows.iter().map(|r| (r.0 - r.2).powi(2) + (r.1.sqrt() - r.3.sqrt()).powi(2)).sum();
            prop_assert!((frechet(&a, &b)?.distance - expected).abs() < 1e-6);
        }

        #[test]
        fn zero_to_itself_symmetric_and_blind_to_rotation(seed in any::<u64>(), n in 12..60_usize, d in 1..10_usize) {
            let (a, b) = (draw(seed, n, d), draw(seed ^ 1, n, d));
            let ab = frechet_of(&a, &b)?.distance;
            prop_assert!(frechet_of(&a, &a)?.distance < 1e-9);
            prop_assert!((ab - frechet_of(&b, &a)?.distance).abs() < 1e-9);
            let square = DMatrix::from_iterator(d, d, Noise::new(!seed).normal_vec(d * d).into_iter().map(f64::from));
            let q = square.qr().q();
            let rotate = |m: Moments| Moments::new(n, &q * &m.mean, symmetric(&q * &m.covariance * q.transpose()));
            let rotated = frechet(&rotate(Moments::of(&a)?)?, &rotate(Moments::of(&b)?)?)?;
            prop_assert!((ab - rotated.distance).abs() < 1e-8);
        }

        #[test]
        fn a_shift_costs_its_square_and_a_scale_the_square_of_the_difference(seed in any::<u64>(), s in 0.1..3.0_f32) {
            let a = draw(seed, 50, 4);
            let shifted = Embeddings::new(50, 4, a.values().iter().map(|v| v + s).collect())?;
            prop_assert!((frechet_of(&shifted, &a)?.distance - 4.0 * f64::from(s).powi(2)).abs() < 1e-4);
            let moments = Moments::of(&a)?;
            let s = f64::from(s);
            let scaled = Moments::new(50, moments.mean.clone(), &moments.covariance * (s * s))?;
            prop_assert!((frechet(&scaled, &moments)?.distance - (s - 1.0).powi(2) * moments.variance()).abs() < 1e-6);
        }
    }
}
