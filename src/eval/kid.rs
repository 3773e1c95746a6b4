//! The kernel inception distance (arXiv 1801.01401) as clean-fid computes it: the mean over random subsets of an unbiased estimate of the squared maximum
//! mean discrepancy with the kernel `(x . y / d + 1)^3`.
//!
//! Unlike the FID it has no bias from the number of images; it is not multiplied by 100 or 1,000 here.

use nalgebra::DMatrix;
use rand::seq::index::sample;
use rayon::prelude::*;

use super::{Embeddings, EvalError};
use crate::noise::{Noise, Stream};

/// Which subsets are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KidOptions {
    /// Subsets: 100 in clean-fid.
    pub n_subsets: usize,
    /// Images of a subset at most: 1,000 in clean-fid. Never more than there are on either side.
    pub subset_size: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for KidOptions {
    fn default() -> Self {
        Self {
            n_subsets: 100,
            subset_size: 1000,
            seed: 0,
        }
    }
}

/// The distance of `features` to `reference`, and that of each subset.
///
/// # Errors
/// [`EvalError::Shape`] if the widths differ, [`EvalError::TooFew`] for less than two images on a side.
pub fn kid(
    features: &Embeddings,
    reference: &Embeddings,
    options: KidOptions,
) -> Result<(f64, Vec<f64>), EvalError> {
    let (n, m) = (features.n(), reference.n());
    let size = n.min(m).min(options.subset_size);
    let draw = |k: usize| {
        let mut draws = Noise::of(options.seed, Stream::Repetition(k as u64));
        let mut rows = |n: usize| sample(draws.rng(), n, size).into_vec();
        (rows(n), rows(m))
    };
    let subsets: Vec<_> = (0..options.n_subsets.max(1)).map(draw).collect();
    kid_of(features, reference, &subsets)
}

/// [`kid`] of given subsets: rows of `features`, rows of `reference`, as many.
///
/// # Errors
/// Like [`kid`].
pub fn kid_of(
    features: &Embeddings,
    reference: &Embeddings,
    subsets: &[(Vec<usize>, Vec<usize>)],
) -> Result<(f64, Vec<f64>), EvalError> {
    if features.d() != reference.d() {
        return Err(EvalError::shape(
            "KID",
            format!("width {} like the reference", reference.d()),
            features.d(),
        ));
    }
    if let Some((rows, _)) = subsets.iter().find(|(a, b)| a.len().min(b.len()) < 2) {
        return Err(EvalError::TooFew {
            what: "images of a KID subset",
            needed: 2,
            found: rows.len(),
        });
    }
    let each: Vec<f64> = subsets
        .par_iter()
        .map(|(rows, others)| discrepancy(&features.select(rows), &reference.select(others)))
        .collect();
    Ok((each.iter().sum::<f64>() / each.len().max(1) as f64, each))
}

/// The unbiased estimate for two sets of the same size.
fn discrepancy(x: &Embeddings, y: &Embeddings) -> f64 {
    let m = x.n() as f64;
    let [x, y] = [x, y]
        .map(|rows| DMatrix::from_iterator(rows.d(), rows.n(), rows.values().iter().copied().map(f64::from)));
    let d = x.nrows() as f64;
    let kernel = |dot: f64| (dot / d + 1.0).powi(3);
    let among = |a: &DMatrix<f64>, b: &DMatrix<f64>| (a.transpose() * b).map(kernel);
    let within = |a: &DMatrix<f64>| {
        let kernels = among(a, a);
        kernels.sum() - kernels.trace()
    };
    (within(&x) + within(&y)) / (m * (m - 1.0)) - 2.0 * among(&x, &y).sum() / (m * m)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One dimension, two points a side: k(a, b) = (ab + 1)^3.
    #[test]
    fn by_hand() -> Result<(), EvalError> {
        let rows = |v: [f32; 2]| Embeddings::new(2, 1, v.to_vec());
        let (x, y) = (rows([0.0, 1.0])?, rows([1.0, 2.0])?);
        // Within x: k(0, 1) = 1 twice; within y: k(1, 2) = 27 twice; between: 1 + 1 + 8 + 27.
        let expected = (2.0 + 54.0) / 2.0 - 2.0 * 37.0 / 4.0;
        let (value, each) = kid(
            &x,
            &y,
            KidOptions {
                n_subsets: 3,
                ..KidOptions::default()
            },
        )?;
        assert_eq!((value, each.len()), (expected, 3));
        let wide = Embeddings::new(1, 2, vec![0.0; 2])?;
        assert!(kid(&x, &wide, KidOptions::default()).is_err());
        assert!(kid(&x, &Embeddings::new(1, 1, vec![0.0])?, KidOptions::default()).is_err());
        Ok(())
    }
}
