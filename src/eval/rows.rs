//! Sets of embeddings on the host, and the sums of products that the statistics of this module are made of.
//!
//! Values are stored as f32, as models produce them; every sum runs in f64. Parallel work is cut into pieces of a fixed size
//! and added up in a fixed order, so no result depends on the number of threads.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::EvalError;

use crate::limits;

/// Rows in one piece of [`cross`]: small enough that a piece of d = 1280 fits the cache, large enough for a fast product.
const PIECE_ROWS: usize = 512;
/// Pieces of [`cross`] in flight; bounds its memory at this many d x d matrices.
const PIECES_AT_ONCE: usize = 8;

/// `n` embeddings of width `d`, row-major. Every value is finite, and neither `n` nor `d` is zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    n: usize,
    d: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// `values` as `[n, d]`, row after row.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if there are not `n * d` values or one side is zero, [`EvalError::NonFinite`] for the first NaN or infinity.
    pub fn new(n: usize, d: usize, values: Vec<f32>) -> Result<Self, EvalError> {
        if n == 0 || d == 0 || n.checked_mul(d) != Some(values.len()) {
            return Err(EvalError::shape(
                "embeddings",
                format!("n * d values with n, d >= 1 for [n, d] = [{n}, {d}]"),
                format!("{} values", values.len()),
            ));
        }
        if let Some(limits::Odd { at, value, .. }) = limits::not_finite(values.iter().copied()) {
            return Err(EvalError::NonFinite {
                row: at / d,
                column: at % d,
                value,
            });
        }
        Ok(Self { n, d, values })
    }

    /// One embedding per element of `rows`.
    ///
    /// # Errors
    /// Like [`Embeddings::new`]; also [`EvalError::Shape`] naming the first row of another width.
    pub fn from_rows<R: AsRef<[f32]>>(rows: &[R]) -> Result<Self, EvalError> {
        let d = rows.first().map_or(0, |r| r.as_ref().len());
        if let Some((i, bad)) = rows.iter().enumerate().find(|(_, r)| r.as_ref().len() != d) {
            let found = bad.as_ref().len();
            return Err(EvalError::shape(
                format!("embeddings, row {i}"),
                format!("{d} values"),
                found,
            ));
        }
        Self::new(
            rows.len(),
            d,
            rows.iter().flat_map(|r| r.as_ref().iter().copied()).collect(),
        )
    }

    /// The columns of a `[d, n]` matrix, rounded to f32.
    ///
    /// # Errors
    /// Like [`Embeddings::new`].
    pub fn from_columns(columns: &DMatrix<f64>) -> Result<Self, EvalError> {
        Self::new(
            columns.ncols(),
            columns.nrows(),
            columns.iter().map(|&v| v as f32).collect(),
        )
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Width of a row.
    pub fn d(&self) -> usize {
        self.d
    }

    /// Row `i`. Panics if `i >= n`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.d..(i + 1) * self.d]
    }

    /// All rows, in order.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.d)
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The rows with these numbers, in this order; numbers may repeat. Panics if one is `>= n` or there are none.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        assert!(!rows.is_empty(), "a set of embeddings has at least one row");
        let values = rows.iter().flat_map(|&i| self.row(i).iter().copied()).collect();
        Self {
            n: rows.len(),
            d: self.d,
            values,
        }
    }

    /// Mean row, `[d]`.
    pub fn mean(&self) -> DVector<f64> {
        let mut sum = DVector::zeros(self.d);
        for row in self.rows() {
            for (s, &v) in sum.iter_mut().zip(row) {
                *s += f64::from(v);
            }
        }
        sum / self.n as f64
    }

    /// Euclidean norm of each row.
    pub fn norms(&self) -> Vec<f64> {
        self.rows().map(norm).collect()
    }

    /// Mean of [`Embeddings::norms`].
    pub fn mean_norm(&self) -> f64 {
        self.norms().iter().sum::<f64>() / self.n as f64
    }

    /// Every row divided by its norm, in f64; a row of zeros stays one.
    pub(super) fn units(&self) -> Units {
        let mut values = Vec::with_capacity(self.values.len());
        for row in self.rows() {
            let length = norm(row);
            let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
            values.extend(row.iter().map(|&v| f64::from(v) * scale));
        }
        Units { d: self.d, values }
    }

    /// Rows `start..end` minus `mean`, as the columns of a `[d, end - start]` matrix.
    fn centred_columns(&self, start: usize, end: usize, mean: &DVector<f64>) -> DMatrix<f64> {
        let mut columns = DMatrix::zeros(self.d, end - start);
        for (mut column, row) in columns.column_iter_mut().zip(self.rows().skip(start)) {
            for ((c, &v), m) in column.iter_mut().zip(row).zip(mean) {
                *c = f64::from(v) - m;
            }
        }
        columns
    }

    /// Fails unless `other` has as many rows as `self` and they are as wide.
    pub(super) fn check_like(&self, name: &str, other: &Self, other_name: &str) -> Result<(), EvalError> {
        if (self.n, self.d) == (other.n, other.d) {
            return Ok(());
        }
        let expected = format!("[{}, {}] like {name}", self.n, self.d);
        Err(EvalError::shape(
            other_name,
            expected,
            format!("[{}, {}]", other.n, other.d),
        ))
    }

    /// Fails unless `other`'s rows are as wide as those of `self`.
    pub(super) fn check_width(&self, name: &str, other: &Self, other_name: &str) -> Result<(), EvalError> {
        if self.d == other.d {
            return Ok(());
        }
        let expected = format!("rows of width {} like {name}", self.d);
        Err(EvalError::shape(
            other_name,
            expected,
            format!("width {}", other.d),
        ))
    }
}

/// Rows of unit norm in f64 (or of zeros).
pub(super) struct Units {
    d: usize,
    values: Vec<f64>,
}

impl Units {
    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.d..(i + 1) * self.d]
    }

    pub(super) fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.d)
    }

    /// Sum of the rows.
    pub(super) fn sum(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.d];
        for row in self.rows() {
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
        sum
    }
}

/// Euclidean norm.
pub(super) fn norm(row: &[f32]) -> f64 {
    row.iter()
        .map(|&v| f64::from(v) * f64::from(v))
        .sum::<f64>()
        .sqrt()
}

/// Inner product, in eight running sums; equal rows give equal products, bit for bit.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8
        .remainder()
        .iter()
        .zip(b8.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a8.zip(b8) {
        for ((s, x), y) in sums.iter_mut().zip(x).zip(y) {
            *s += x * y;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Sum over rows of `(a - mean_a) (b - mean_b)^T`, `[d_a, d_b]`; `a` and `b` have the same number of rows.
pub(super) fn cross(
    a: &Embeddings,
    mean_a: &DVector<f64>,
    b: &Embeddings,
    mean_b: &DVector<f64>,
) -> DMatrix<f64> {
    debug_assert_eq!(a.n, b.n);
    let starts: Vec<usize> = (0..a.n).step_by(PIECE_ROWS).collect();
    let mut sum = DMatrix::zeros(a.d, b.d);
    for group in starts.chunks(PIECES_AT_ONCE) {
        let pieces: Vec<DMatrix<f64>> = group
            .par_iter()
            .map(|&start| {
                let end = (start + PIECE_ROWS).min(a.n);
                let left = a.centred_columns(start, end, mean_a);
                left * b.centred_columns(start, end, mean_b).transpose()
            })
            .collect();
        for piece in pieces {
            sum += piece;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    #[test]
    fn shapes_and_values_are_checked() {
        let text = |r: Result<Embeddings, EvalError>| r.expect_err("refused").to_string();
        assert_eq!(
            text(Embeddings::new(2, 3, vec![0.0; 5])),
            "embeddings: expected n * d values with n, d >= 1 for [n, d] = [2, 3], found 5 values"
        );
        assert!(Embeddings::new(0, 3, vec![]).is_err());
        assert!(Embeddings::new(3, 0, vec![]).is_err());
        assert_eq!(
            text(Embeddings::new(2, 2, vec![0.0, 1.0, f32::NAN, 0.0])),
            "embeddings: row 1, column 0 is NaN, expected a finite number"
        );
        assert_eq!(
            text(Embeddings::from_rows(&[vec![1.0, 2.0], vec![1.0]])),
            "embeddings, row 1: expected 2 values, found 1"
        );
        assert!(Embeddings::from_rows::<Vec<f32>>(&[]).is_err());
    }

    #[test]
    fn rows_means_and_norms() -> Result<(), EvalError> {
        let e = Embeddings::from_rows(&[[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]])?;
        assert_eq!((e.n(), e.d(), e.row(2)), (3, 2, [0.0, -2.0].as_slice()));
        assert_eq!(e.norms(), [5.0, 0.0, 2.0]);
        assert_eq!(e.mean().as_slice(), [1.0, 2.0 / 3.0]);
        assert_eq!(
            e.select(&[2, 0, 2]),
            Embeddings::from_rows(&[[0.0, -2.0], [3.0, 4.0], [0.0, -2.0]])?
        );
        let units = e.units();
        assert_eq!(
            (units.row(0), units.row(1)),
            ([3.0 * 0.2, 4.0 * 0.2].as_slice(), [0.0, 0.0].as_slice())
        );
        Ok(())
    }

    #[test]
    fn cross_is_the_plain_sum_at_any_number_of_threads() -> Result<(), Box<dyn std::error::Error>> {
        let (n, d_a, d_b) = (PIECE_ROWS * (PIECES_AT_ONCE + 1) + 7, 5, 3);
        let mut noise = Noise::new(3);
        let a = Embeddings::new(n, d_a, noise.normal_vec(n * d_a))?;
        let b = Embeddings::new(n, d_b, noise.normal_vec(n * d_b))?;
        let (mean_a, mean_b) = (a.mean(), b.mean());
        let in_pool = |threads: usize| -> Result<_, rayon::ThreadPoolBuildError> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            Ok(pool.install(|| cross(&a, &mean_a, &b, &mean_b)))
        };
        let one = in_pool(1)?;
        assert_eq!(one, in_pool(3)?);
        let mut plain = DMatrix::zeros(d_a, d_b);
        for (x, y) in a.rows().zip(b.rows()) {
            for i in 0..d_a {
                for j in 0..d_b {
                    plain[(i, j)] += (f64::from(x[i]) - mean_a[i]) * (f64::from(y[j]) - mean_b[j]);
                }
            }
        }
        assert!((one - plain).amax() < 1e-9);
        Ok(())
    }

    #[test]
    fn dot_adds_every_element() {
        let a: Vec<f64> = (1..=19).map(f64::from).collect();
        assert_eq!(dot(&a, &a), 2470.0); // 19 * 20 * 39 / 6
    }
}
