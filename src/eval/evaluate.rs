//! All metrics of one prior on one set of test prompts.
//!
//! | metric | what | better |
//! |---|---|---|
//! | `forced_choice/{object, colour, texture, binding, relation, all}` | true picture chosen, see [`super::forced_choice`] | 1 |
//! | `forced_choice/bystander` | the same against a picture with (or without) what the prompt does not mention | 1 |
//! | `margin/{..}` | cosine to the true picture minus the largest to a wrong one | high |
//! | `cos/z_x`, `nmse` | `z_x_hat` against `z_x`: cosine; squared error relative to the variance of `z_x` | 1; 0 |
//! | `cos/z_y` | cosine of `z_x_hat` to its own text; compare with `cos/reference`, that of the true `z_x` | as the reference |
//! | `cos/other_z_y` | mean cosine of `z_x_hat` to the other prompts' texts | low |
//! | `retrieval/image_r{1,5,10}` | `z_x_hat` finds its true picture among those of all prompts | 1 |
//! | `retrieval/caption_r{1,5,10}` | `z_x_hat` finds its caption among all prompts | 1 |
//! | `frechet`, `frechet_relative` | distance to the distribution of `z_x`, see [`super::frechet`]; relative to its variance | 0 |
//! | `norm_ratio` | norm of `z_x_hat` over that of `z_x` | 1 |
//! | `gap/position` | place between mean text (0) and mean image (1), see [`super::embedding::ModalityGap`] | that of images |
//! | `gap/to_image_mean`, `gap/to_text_mean` | distance to the two ends | that of images |
//! | `diversity` | 1 - mean cosine between predictions of a prompt under different noise; only with several noise seeds | |
//!
//! Each is given for `all` prompts and for every split that has prompts. With several noise seeds, values per prompt are means over
//! them, and the Frechet distance is the mean of the distances of each seed's predictions, so that a system with one noise seed
//! and one with four are measured at the same number of rows.

use super::EvalError;
use super::embedding::{
    ModalityGap, cosines, cosines_to_others, noise_cosines, norm_ratios, normalised_errors, retrieval_ranks,
};
use super::forced_choice::{Candidates, Kind, forced_choice};
use super::frechet::{Moments, frechet};
use super::results::{EvalFile, Metric};
use super::rows::Embeddings;
pub use crate::world::Split;

/// Ranks up to which retrieval counts.
const RECALL_AT: [usize; 3] = [1, 5, 10];

/// What [`evaluate`] needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The predictions: one `[n_prompts, d]` for each noise seed.
    pub z_x_hat: &'a [Embeddings],
    /// The prompts' text embeddings, `[n_prompts, d]`.
    pub z_y: &'a Embeddings,
    /// One true picture of each prompt, `[n_prompts, d]`.
    pub z_x: &'a Embeddings,
    /// These and wrong ones to choose between, if there are any.
    pub candidates: Option<&'a Candidates>,
    /// The split of each prompt; empty: prompts of no split, measured together only.
    pub splits: &'a [Split],
    /// The modality gap of the training pairs.
    pub gap: &'a ModalityGap,
}

/// Every metric of the table above, in its order.
///
/// # Errors
/// [`EvalError::Shape`] or [`EvalError::TooFew`] (fewer than two prompts) naming the input at fault.
pub fn evaluate(inputs: &Inputs<'_>) -> Result<EvalFile, EvalError> {
    let z_x = inputs.z_x;
    let n = z_x.n();
    if inputs.z_x_hat.is_empty() {
        return Err(EvalError::TooFew {
            what: "noise seeds to evaluate",
            needed: 1,
            found: 0,
        });
    }
    for (k, sample) in inputs.z_x_hat.iter().enumerate() {
        z_x.check_like("the true pictures", sample, &format!("z_x_hat of noise seed {k}"))?;
    }
    z_x.check_like("the true pictures", inputs.z_y, "z_y")?;
    if !inputs.splits.is_empty() && inputs.splits.len() != n {
        return Err(EvalError::shape(
            "splits",
            format!("{n}, one a prompt"),
            inputs.splits.len(),
        ));
    }
    let mut table = Table::new(n, inputs.splits);
    if let Some(candidates) = inputs.candidates {
        add_choices(&mut table, inputs, candidates)?;
    }
    let mean = |measure: &dyn Fn(&Embeddings) -> Result<Vec<f64>, EvalError>| {
        let values: Vec<Vec<f64>> = inputs.z_x_hat.iter().map(measure).collect::<Result<_, _>>()?;
        Ok::<_, EvalError>(mean_over_seeds(&values))
    };
    table.add("cos/z_x", &mean(&|p| cosines(p, z_x))?);
    table.add("nmse", &mean(&|p| normalised_errors(p, z_x))?);
    table.add("cos/z_y", &mean(&|p| cosines(p, inputs.z_y))?);
    table.add("cos/reference", &cosines(z_x, inputs.z_y)?);
    table.add("cos/other_z_y", &mean(&|p| cosines_to_others(p, inputs.z_y))?);
    for (name, gallery) in [("image", z_x), ("caption", inputs.z_y)] {
        let ranks: Vec<Vec<usize>> = inputs
            .z_x_hat
            .iter()
            .map(|p| retrieval_ranks(p, gallery))
            .collect::<Result<_, _>>()?;
        for k in RECALL_AT {
            let hit = |rank: &usize| f64::from(u8::from(*rank <= k));
            let hits: Vec<Vec<f64>> = ranks.iter().map(|r| r.iter().map(hit).collect()).collect();
            table.add(&format!("retrieval/{name}_r{k}"), &mean_over_seeds(&hits));
        }
    }
    add_frechet(&mut table, "", inputs.z_x_hat, z_x)?;
    table.add("norm_ratio", &mean(&|p| norm_ratios(p, z_x))?);
    let places = inputs
        .z_x_hat
        .iter()
        .map(|p| inputs.gap.place(p))
        .collect::<Result<Vec<_>, _>>()?;
    let column = |of: &dyn Fn(&super::embedding::GapPlace) -> Vec<f64>| {
        mean_over_seeds(&places.iter().map(of).collect::<Vec<_>>())
    };
    table.add("gap/position", &column(&|p| p.position.clone()));
    table.add("gap/to_image_mean", &column(&|p| p.to_image_mean.clone()));
    table.add("gap/to_text_mean", &column(&|p| p.to_text_mean.clone()));
    if inputs.z_x_hat.len() > 1 {
        let alike = noise_cosines(inputs.z_x_hat)?;
        table.add("diversity", &alike.iter().map(|c| 1.0 - c).collect::<Vec<_>>());
    }
    Ok(EvalFile::new(table.metrics))
}

fn add_choices(table: &mut Table<'_>, inputs: &Inputs<'_>, candidates: &Candidates) -> Result<(), EvalError> {
    let outcomes = inputs
        .z_x_hat
        .iter()
        .map(|p| forced_choice(p, candidates))
        .collect::<Result<Vec<_>, _>>()?;
    let names = Kind::ALL
        .map(|k| (Some(k), k.name()))
        .into_iter()
        .chain([(None, "all")]);
    let margins: Vec<(&str, Vec<Vec<Option<f64>>>)> = names
        .map(|(kind, name)| {
            let of =
                |o: &super::forced_choice::Outcomes| kind.map_or_else(|| o.margins_all(), |k| o.margins(k));
            (name, outcomes.iter().map(of).collect())
        })
        .collect();
    let right = |margin: f64| f64::from(u8::from(margin > 0.0));
    for (name, margins) in &margins {
        table.add_some(&format!("forced_choice/{name}"), &mean_of_asked(margins, right));
    }
    for (name, margins) in &margins {
        table.add_some(
            &format!("margin/{name}"),
            &mean_of_asked(margins, |margin| margin),
        );
    }
    Ok(())
}

/// `<prefix>frechet` and `<prefix>frechet_relative`, the mean over the samples in `z_x_hat`.
pub(super) fn add_frechet(
    table: &mut Table<'_>,
    prefix: &str,
    z_x_hat: &[Embeddings],
    z_x: &Embeddings,
) -> Result<(), EvalError> {
    let mut relative = Vec::new();
    for (split, rows) in table.groups() {
        if rows.len() < 2 {
            continue;
        }
        let reference = Moments::of(&z_x.select(&rows))?;
        let distances = z_x_hat
            .iter()
            .map(|sample| frechet(&Moments::of(&sample.select(&rows))?, &reference))
            .collect::<Result<Vec<_>, _>>()?;
        let (n, d, k) = (rows.len(), z_x.d(), distances.len() as f64);
        let note = distances.iter().any(|f| f.rank_deficient).then(|| {
            format!(
                "{n} prompts for {d} dimensions: biased upwards; compare only at the same number of prompts"
            )
        });
        let metric = |name: &str, value: f64| Metric {
            note: note.clone(),
            ..Metric::scalar(format!("{prefix}{name}"), split, value, n)
        };
        table.metrics.push(metric(
            "frechet",
            distances.iter().map(|f| f.distance).sum::<f64>() / k,
        ));
        let shares: Option<Vec<f64>> = distances.iter().map(super::frechet::Frechet::relative).collect();
        relative.extend(shares.map(|s| metric("frechet_relative", s.iter().sum::<f64>() / k)));
    }
    table.metrics.extend(relative);
    Ok(())
}

/// Collects metrics over all prompts and each split.
pub(super) struct Table<'a> {
    n: usize,
    splits: &'a [Split],
    pub(super) metrics: Vec<Metric>,
}

impl<'a> Table<'a> {
    /// A table of `n` prompts and their splits, if they have any.
    pub(super) fn new(n: usize, splits: &'a [Split]) -> Self {
        Self {
            n,
            splits,
            metrics: Vec::new(),
        }
    }

    /// The prompts of `all` and of each split that has some.
    fn groups(&self) -> Vec<(&'static str, Vec<usize>)> {
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

    fn add(&mut self, name: &str, values: &[f64]) {
        self.add_some(name, &values.iter().copied().map(Some).collect::<Vec<_>>());
    }

    /// Puts the metrics of `other` behind these.
    pub(super) fn append(&mut self, other: Table<'_>) {
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
fn mean_over_seeds(values: &[Vec<f64>]) -> Vec<f64> {
    let mean = |i: usize| values.iter().map(|v| v[i]).sum::<f64>() / values.len() as f64;
    (0..values[0].len()).map(mean).collect()
}

/// [`mean_over_seeds`] of `score(margin)`, where there is a margin; whether there is does not depend on the seed.
fn mean_of_asked(margins: &[Vec<Option<f64>>], score: impl Fn(f64) -> f64) -> Vec<Option<f64>> {
    let mean = |i: usize| {
        let scores: Option<Vec<f64>> = margins.iter().map(|m| m[i].map(&score)).collect();
        scores.map(|s| s.iter().sum::<f64>() / s.len() as f64)
    };
    (0..margins[0].len()).map(mean).collect()
}
