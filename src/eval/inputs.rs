//! What embeddings are evaluated on, and the table that metrics are added to.
//!
//! Each metric is given for `all` prompts and for every split that has prompts. With several noise seeds, values per prompt are means over them, and a
//! Frechet distance is the mean of the distances of each seed's predictions, so that a system with one noise seed and one with four are measured at the
//! same number of rows.

use super::EvalError;
use super::embedding::ModalityGap;
use super::forced_choice::Candidates;
use super::results::Metric;
use super::rows::Embeddings;
pub use crate::world::Split;

/// What [`evaluate`](super::evaluate) needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The predictions: one `[n_prompts, d]` for each noise seed.
    pub z_x_hat: &'a [Embeddings],
    /// The prompts' text embeddings, `[n_prompts, d]`.
    pub z_y: &'a Embeddings,
    /// One true image of each prompt, `[n_prompts, d]`.
    pub z_x: &'a Embeddings,
    /// These and wrong ones to choose between, if there are any.
    pub candidates: Option<&'a Candidates>,
    /// The split of each prompt; empty: prompts of no split, measured together only.
    pub splits: &'a [Split],
    /// The modality gap of the training pairs.
    pub gap: &'a ModalityGap,
}

impl Inputs<'_> {
    /// Fails unless all parts fit each other.
    ///
    /// # Errors
    /// [`EvalError::Shape`] or [`EvalError::TooFew`], naming the input at fault.
    pub(super) fn check(&self) -> Result<(), EvalError> {
        let z_x = self.z_x;
        let n = z_x.n();
        if self.z_x_hat.is_empty() {
            return Err(EvalError::TooFew {
                what: "noise seeds to evaluate",
                needed: 1,
                found: 0,
            });
        }
        for (k, sample) in self.z_x_hat.iter().enumerate() {
            z_x.check_like("the true images", sample, &format!("z_x_hat of noise seed {k}"))?;
        }
        z_x.check_like("the true images", self.z_y, "z_y")?;
        if !self.splits.is_empty() && self.splits.len() != n {
            return Err(EvalError::shape(
                "splits",
                format!("{n}, one a prompt"),
                self.splits.len(),
            ));
        }
        Ok(())
    }

    /// Per prompt, the mean over noise seeds of what `measure` says of the predictions of one seed.
    ///
    /// # Errors
    /// Those of `measure`.
    pub(super) fn mean_over_seeds(
        &self,
        measure: impl Fn(&Embeddings) -> Result<Vec<f64>, EvalError>,
    ) -> Result<Vec<f64>, EvalError> {
        let values: Vec<Vec<f64>> = self.z_x_hat.iter().map(measure).collect::<Result<_, _>>()?;
        Ok(mean_over_seeds(&values))
    }
}

/// Collects metrics over all prompts and each split.
pub(super) struct MetricTable<'a> {
    n: usize,
    splits: &'a [Split],
    pub(super) metrics: Vec<Metric>,
}

impl<'a> MetricTable<'a> {
    /// A table of `n` prompts and their splits, if they have any.
    pub(super) fn new(n: usize, splits: &'a [Split]) -> Self {
        Self {
            n,
            splits,
            metrics: Vec::new(),
        }
    }

    /// The prompts of `all` and of each split that has some.
    pub(super) fn groups(&self) -> Vec<(&'static str, Vec<usize>)> {
        let rows = |split: Option<Split>| -> Vec<usize> {
            (0..self.n)
                .filter(|i| split.is_none_or(|s| self.splits.get(*i) == Some(&s)))
                .collect()
        };
        let named = Split::ALL.map(|s| (s.name(), rows(Some(s))));
        std::iter::once(("all", rows(None)))
            .chain(named)
            .filter(|(_, rows)| !rows.is_empty())
            .collect()
    }

    /// A metric with a value for each prompt.
    pub(super) fn add(&mut self, name: &str, values: &[f64]) {
        self.add_some(name, &values.iter().copied().map(Some).collect::<Vec<_>>());
    }

    /// Puts the metrics of `other` behind these.
    pub(super) fn append(&mut self, other: MetricTable<'_>) {
        self.metrics.extend(other.metrics);
    }

    /// A metric of the prompts that have a value.
    pub(super) fn add_some(&mut self, name: &str, values: &[Option<f64>]) {
        for (split, rows) in self.groups() {
            let there: Vec<(usize, f64)> = rows.iter().filter_map(|&i| Some((i, values[i]?))).collect();
            if !there.is_empty() {
                self.metrics.push(Metric::per_prompt(name, split, &there));
            }
        }
    }
}

/// Per prompt, the mean of `[seed][prompt]`.
pub(super) fn mean_over_seeds(values: &[Vec<f64>]) -> Vec<f64> {
    let mean = |i: usize| values.iter().map(|v| v[i]).sum::<f64>() / values.len() as f64;
    (0..values[0].len()).map(mean).collect()
}
