//! Frechet distance between two sets of embeddings, each taken for a Gaussian.
//!
//! `FD = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))` (Heusel et al. 2017, Eq. 6), all in f64. The root of the product,
//! which is not symmetric, is never formed: `tr (S_1 S_2)^(1/2) = tr (S_1^(1/2) S_2 S_1^(1/2))^(1/2)`, and the matrix on the
//! right is symmetric positive semidefinite, so two symmetric eigendecompositions do. (An iterative root in f32 gives wrong
//! distances; a complex one needs its imaginary part argued away.) Nothing is added to the diagonal.

use nalgebra::{DMatrix, DVector};

use super::EvalError;
use super::rows::{Embeddings, cross};

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
                what: "covariance",
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
        if covariance.iter().chain(mean.iter()).any(|v| !v.is_finite()) || skew > 1e-6 * covariance.amax() {
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
    let root = square_root(&a.covariance)?;
    let inner = symmetric(&root * &reference.covariance * &root);
    let mean_term = (&a.mean - &reference.mean).norm_squared();
    let traces = a.variance() + reference.variance();
    let covariance_term = (traces - 2.0 * root_trace(&inner)?).max(0.0);
    Ok(Frechet {
        distance: mean_term + covariance_term,
        mean_term,
        covariance_term,
        reference_variance: reference.variance(),
        rank_deficient: a.is_rank_deficient() || reference.is_rank_deficient(),
    })
}

/// [`frechet`] of the moments of two sets of embeddings.
///
/// # Errors
/// Like [`frechet`] and [`Moments::of`].
pub fn frechet_of(rows: &Embeddings, reference: &Embeddings) -> Result<Frechet, EvalError> {
    frechet(&Moments::of(rows)?, &Moments::of(reference)?)
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
fn root_trace(m: &DMatrix<f64>) -> Result<f64, EvalError> {
    let values = eigen(m.clone())?.eigenvalues;
    let floor = values.max() * f64::EPSILON * values.len() as f64;
    Ok(values.iter().filter(|v| **v > floor).map(|v| v.sqrt()).sum())
}
