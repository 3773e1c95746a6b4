//! Measures on single embeddings: cosines, retrieval, norms, errors, diversity over noise, place in the modality gap.
//!
//! Functions give one value a row, so that intervals and paired comparisons can be made from them. A row of zeros has cosine 0 to
//! everything.

use nalgebra::DVector;
use rayon::prelude::*;

use super::EvalError;
use super::rows::{Embeddings, Units, dot, norm};

/// Cosine of each row of `a` to the same row of `b`.
///
/// # Errors
/// [`EvalError::Shape`] if `a` and `b` are shaped differently.
pub fn cosines(a: &Embeddings, b: &Embeddings) -> Result<Vec<f64>, EvalError> {
    a.check_like("the first set", b, "the second set")?;
    Ok(a.units()
        .rows()
        .zip(b.units().rows())
        .map(|(a, b)| dot(a, b))
        .collect())
}

/// Mean cosine of each row of `a` to all *other* rows of `b`: what a shuffle of `b` gives on average, without the shuffle's noise.
///
/// # Errors
/// [`EvalError::Shape`] if `a` and `b` are shaped differently, [`EvalError::TooFew`] for a single row.
pub fn cosines_to_others(a: &Embeddings, b: &Embeddings) -> Result<Vec<f64>, EvalError> {
    a.check_like("the first set", b, "the second set")?;
    if a.n() < 2 {
        return Err(EvalError::TooFew {
            what: "rows for a cosine to other rows",
            needed: 2,
            found: a.n(),
        });
    }
    let (a_units, b_units) = (a.units(), b.units());
    let sum = b_units.sum();
    let others = (a.n() - 1) as f64;
    let mean = |(a, b): (&[f64], &[f64])| (dot(a, &sum) - dot(a, b)) / others;
    Ok(a_units.rows().zip(b_units.rows()).map(mean).collect())
}

/// Rank (from 1) of `gallery` row `i` among all gallery rows by cosine to `queries` row `i`. A tie counts against the true row,
/// except with rows that are equal to it: those are the same answer (two prompts of the same text, say).
///
/// # Errors
/// [`EvalError::Shape`] if the two are shaped differently.
pub fn retrieval_ranks(queries: &Embeddings, gallery: &Embeddings) -> Result<Vec<usize>, EvalError> {
    queries.check_like("the queries", gallery, "the gallery")?;
    let (query_units, gallery_units) = (queries.units(), gallery.units());
    let rank = |i: usize| {
        let query = query_units.row(i);
        let to_truth = dot(query, gallery_units.row(i));
        let ahead = |(j, row): &(usize, &[f64])| {
            *j != i && dot(query, row) >= to_truth && gallery.row(*j) != gallery.row(i)
        };
        1 + gallery_units.rows().enumerate().filter(ahead).count()
    };
    Ok((0..queries.n()).into_par_iter().map(rank).collect())
}

/// For each row of `queries` the `k` rows of `gallery` that are nearest to it by cosine, with the cosines; the nearest first.
///
/// # Errors
/// [`EvalError::Shape`] if the rows differ in width.
pub fn nearest(
    queries: &Embeddings,
    gallery: &Embeddings,
    k: usize,
) -> Result<Vec<Vec<(usize, f64)>>, EvalError> {
    queries.check_width("the queries", gallery, "the gallery")?;
    let (query_units, gallery_units) = (queries.units(), gallery.units());
    let of = |query: &[f64]| {
        let cosines = gallery_units.rows().map(|row| dot(query, row)).enumerate();
        let mut ranked: Vec<(usize, f64)> = cosines.collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(k);
        ranked
    };
    Ok(query_units.rows().map(of).collect())
}

/// Share of ranks up to `k`.
pub fn recall(ranks: &[usize], k: usize) -> f64 {
    ranks.iter().filter(|r| **r <= k).count() as f64 / ranks.len() as f64
}

/// `|z_x_hat| / |z_x|` of each row.
///
/// # Errors
/// [`EvalError::Shape`] if the two are shaped differently or a row of `z_x` is zero.
pub fn norm_ratios(z_x_hat: &Embeddings, z_x: &Embeddings) -> Result<Vec<f64>, EvalError> {
    z_x.check_like("z_x", z_x_hat, "z_x_hat")?;
    let norms = z_x.norms();
    if let Some(i) = norms.iter().position(|n| *n == 0.0) {
        return Err(EvalError::shape(format!("z_x, row {i}"), "a norm above 0", 0));
    }
    Ok(z_x_hat.rows().zip(norms).map(|(row, n)| norm(row) / n).collect())
}

/// `|z_x_hat - z_x|^2` of each row, divided by the mean of `|z_x - mean(z_x)|^2`: predicting the mean for everything scores 1 on
/// average.
///
/// # Errors
/// [`EvalError::Shape`] if the two are shaped differently or all rows of `z_x` are the same.
pub fn normalised_errors(z_x_hat: &Embeddings, z_x: &Embeddings) -> Result<Vec<f64>, EvalError> {
    z_x.check_like("z_x", z_x_hat, "z_x_hat")?;
    let mean = z_x.mean();
    let spread = |row: &[f32]| {
        row.iter()
            .zip(&mean)
            .map(|(&v, m)| (f64::from(v) - m).powi(2))
            .sum::<f64>()
    };
    let variance = z_x.rows().map(spread).sum::<f64>() / z_x.n() as f64;
    if variance == 0.0 {
        return Err(EvalError::shape(
            "z_x",
            "rows that differ",
            "the same row everywhere",
        ));
    }
    let error = |(a, b): (&[f32], &[f32])| {
        a.iter()
            .zip(b)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
            .sum::<f64>()
            / variance
    };
    Ok(z_x_hat.rows().zip(z_x.rows()).map(error).collect())
}

/// Mean cosine between the predictions of the same prompt under different noise: `samples[k]` is `[n_prompts, d]`, drawn with noise
/// seed `k`. One value a prompt; 1 means that the prior ignores its noise, and one minus it is the diversity.
///
/// # Errors
/// [`EvalError::TooFew`] for a single sample, [`EvalError::Shape`] if the samples are shaped differently.
pub fn noise_cosines(samples: &[Embeddings]) -> Result<Vec<f64>, EvalError> {
    let k = samples.len();
    if k < 2 {
        return Err(EvalError::TooFew {
            what: "noise seeds for a diversity",
            needed: 2,
            found: k,
        });
    }
    for (i, sample) in samples.iter().enumerate() {
        samples[0].check_like("sample 0", sample, &format!("sample {i}"))?;
    }
    let units: Vec<Units> = samples.iter().map(Embeddings::units).collect();
    let mean = |prompt: usize| {
        let pairs = (0..k).flat_map(|a| (a + 1..k).map(move |b| (a, b)));
        let cosines = pairs.map(|(a, b)| dot(units[a].row(prompt), units[b].row(prompt)));
        cosines.sum::<f64>() / (k * (k - 1) / 2) as f64
    };
    Ok((0..samples[0].n()).into_par_iter().map(mean).collect())
}

/// The modality gap of a CLIP on some pairs: image and text embeddings, each scaled to norm 1, lie in two narrow cones whose centres
/// are apart (Liang et al. 2022, "Mind the gap"). A prior has to cross it; a contrastive loss pulls it back.
#[derive(Debug, Clone, PartialEq)]
pub struct ModalityGap {
    image_mean: DVector<f64>,
    text_mean: DVector<f64>,
}

/// Where embeddings lie in a [`ModalityGap`], one value a row.
#[derive(Debug, Clone, PartialEq)]
pub struct GapPlace {
    /// Along the line from the mean text direction (0) to the mean image direction (1).
    pub position: Vec<f64>,
    /// Distance to the mean image direction.
    pub to_image_mean: Vec<f64>,
    /// Distance to the mean text direction.
    pub to_text_mean: Vec<f64>,
}

impl ModalityGap {
    /// The gap of these embeddings, usually of the training pairs. The numbers of rows may differ.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if the widths differ or the two mean directions are the same.
    pub fn of(z_y: &Embeddings, z_x: &Embeddings) -> Result<Self, EvalError> {
        z_x.check_width("z_x", z_y, "z_y")?;
        let mean = |e: &Embeddings| DVector::from_vec(e.units().sum()) / e.n() as f64;
        let gap = Self {
            image_mean: mean(z_x),
            text_mean: mean(z_y),
        };
        if gap.image_mean == gap.text_mean {
            return Err(EvalError::shape(
                "modality gap",
                "z_x and z_y with different means",
                "the same mean",
            ));
        }
        Ok(gap)
    }

    /// Length of the gap: the distance between the two mean directions.
    pub fn length(&self) -> f64 {
        (&self.image_mean - &self.text_mean).norm()
    }

    /// Where the rows of `z` (`[n, d]`), each scaled to norm 1, lie.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if `z` has another width.
    pub fn place(&self, z: &Embeddings) -> Result<GapPlace, EvalError> {
        let d = self.image_mean.len();
        if z.d() != d {
            return Err(EvalError::shape(
                "modality gap",
                format!("rows of width {d}"),
                z.d(),
            ));
        }
        let along = &self.image_mean - &self.text_mean;
        let n = z.n();
        let mut place = GapPlace {
            position: Vec::with_capacity(n),
            to_image_mean: Vec::with_capacity(n),
            to_text_mean: Vec::with_capacity(n),
        };
        for unit in z.units().rows() {
            let unit = DVector::from_column_slice(unit);
            let from_text = &unit - &self.text_mean;
            place.position.push(from_text.dot(&along) / along.norm_squared());
            place.to_image_mean.push((unit - &self.image_mean).norm());
            place.to_text_mean.push(from_text.norm());
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use proptest::prelude::*;

    fn draw(seed: u64, n: usize, d: usize) -> Embeddings {
        Embeddings::new(n, d, Noise::new(seed).normal_vec(n * d)).expect("finite")
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-9)
    }

    #[test]
    fn the_nearest_come_first() -> Result<(), EvalError> {
        let gallery = Embeddings::from_rows(&[[0.0, 1.0], [5.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])?;
        let queries = Embeddings::from_rows(&[[2.0, 1.0], [-3.0, 0.0]])?;
        let rows: Vec<Vec<usize>> = nearest(&queries, &gallery, 2)?
            .iter()
            .map(|found| found.iter().map(|(row, _)| *row).collect())
            .collect();
        assert_eq!(rows, [[2, 1], [3, 0]]);
        let narrow = Embeddings::from_rows(&[[1.0]])?;
        assert!(nearest(&narrow, &gallery, 2).is_err());
        Ok(())
    }

    #[test]
    fn by_hand() -> Result<(), EvalError> {
        let a = Embeddings::from_rows(&[[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])?;
        let b = Embeddings::from_rows(&[[3.0, 4.0], [0.0, -2.0], [1.0, 0.0]])?;
        assert!(close(&cosines(&a, &b)?, &[0.6, -1.0, 0.0]));
        // row 0: cos to (0,-1) and (1,0); row 1: to (.6,.8) and (1,0)
        assert!(close(&cosines_to_others(&a, &b)?, &[0.5, 0.4, 0.0]));
        assert!(close(&norm_ratios(&a, &b)?, &[0.4, 0.5, 0.0]));
        assert!(norm_ratios(&b, &a).is_err(), "a z_x of zeros");
        // variance of b about (4/3, 2/3): (25 + 4 + 1) / 3 - 16/9 - 4/9
        let variance = 10.0 - 20.0 / 9.0;
        let errors = [17.0 / variance, 9.0 / variance, 1.0 / variance];
        assert!(close(&normalised_errors(&a, &b)?, &errors));
        Ok(())
    }

    #[test]
    fn ranks_by_hand() -> Result<(), EvalError> {
        let gallery = Embeddings::from_rows(&[[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])?;
        let queries = Embeddings::from_rows(&[[1.0, 0.1], [0.1, 1.0], [1.0, 0.1], [1.0, 0.1], [1.0, 0.1]])?;
        // Row 2 is parallel to row 0 but not equal: each loses the tie. Rows 1 and 3 are equal: neither is in the other's way.
        assert_eq!(retrieval_ranks(&queries, &gallery)?, [2, 1, 2, 3, 5]);
        assert_eq!(
            (recall(&[2, 1, 2, 3, 5], 1), recall(&[2, 1, 2, 3, 5], 2)),
            (0.2, 0.6)
        );
        Ok(())
    }

    #[test]
    fn diversity_by_hand() -> Result<(), EvalError> {
        let one = Embeddings::from_rows(&[[1.0, 0.0], [1.0, 1.0]])?;
        let two = Embeddings::from_rows(&[[0.0, 2.0], [3.0, 3.0]])?;
        let three = Embeddings::from_rows(&[[-1.0, 0.0], [2.0, 2.0]])?;
        assert!(close(
            &noise_cosines(&[one.clone(), two, three])?,
            &[-1.0 / 3.0, 1.0]
        ));
        assert!(noise_cosines(std::slice::from_ref(&one)).is_err());
        Ok(())
    }

    #[test]
    fn gap_by_hand() -> Result<(), EvalError> {
        let z_y = Embeddings::from_rows(&[[5.0, 0.0]])?;
        let z_x = Embeddings::from_rows(&[[0.0, 0.5], [0.0, 2.0]])?;
        let gap = ModalityGap::of(&z_y, &z_x)?;
        assert!((gap.length() - 2_f64.sqrt()).abs() < 1e-12);
        let place = gap.place(&Embeddings::from_rows(&[
            [7.0, 0.0],
            [0.0, 7.0],
            [1.0, 1.0],
            [0.0, -1.0],
        ])?)?;
        let half = (2.0 - 2_f64.sqrt()).sqrt();
        assert!(close(&place.position, &[0.0, 1.0, 0.5, 0.0]));
        assert!(close(&place.to_image_mean, &[2_f64.sqrt(), 0.0, half, 2.0]));
        assert!(close(
            &place.to_text_mean,
            &[0.0, 2_f64.sqrt(), half, 2_f64.sqrt()]
        ));
        assert!(ModalityGap::of(&z_x, &z_x).is_err());
        Ok(())
    }

    proptest! {
        #[test]
        fn shuffled_cosine_is_the_mean_over_other_rows(seed in any::<u64>(), n in 2..9_usize, d in 1..20_usize) {
            let (a, b) = (draw(seed, n, d), draw(seed ^ 1, n, d));
            let fast = cosines_to_others(&a, &b)?;
            for (i, fast) in fast.into_iter().enumerate() {
                let others: Vec<usize> = (0..n).filter(|j| *j != i).collect();
                let slow = cosines(&a.select(&vec![i; n - 1]), &b.select(&others))?;
                prop_assert!((fast - slow.iter().sum::<f64>() / (n - 1) as f64).abs() < 1e-12);
            }
        }

        #[test]
        fn everything_finds_itself(seed in any::<u64>(), n in 1..30_usize, d in 2..20_usize) {
            let a = draw(seed, n, d);
            prop_assert_eq!(retrieval_ranks(&a, &a)?, vec![1; n]);
            prop_assert!(normalised_errors(&a, &a).map_or(n == 1, |e| e.iter().all(|v| *v == 0.0)));
            prop_assert!(noise_cosines(&[a.clone(), a.clone()])?.iter().all(|c| (c - 1.0).abs() < 1e-12));
        }

        #[test]
        fn the_mean_scores_one(seed in any::<u64>(), n in 2..30_usize, d in 1..10_usize) {
            let z_x = draw(seed, n, d);
            let mean: Vec<f32> = z_x.mean().iter().map(|v| *v as f32).collect();
            let errors = normalised_errors(&Embeddings::from_rows(&vec![mean; n])?, &z_x)?;
            prop_assert!((errors.iter().sum::<f64>() / n as f64 - 1.0).abs() < 1e-5);
        }
    }
}
