//! Muon for hidden matrices, AdamW for the rest, under one schedule.

#[cfg(test)]
use burn::module::ParamGroup;
use burn::optim::ModuleOptimizer;

use super::recipe::ClipRecipe;
use crate::train::muon::{HiddenMuon, adamw_and_muon};

/// The optimiser of a [`ClipTrainer`](super::ClipTrainer): Muon for the weight matrices of both towers' blocks, AdamW without decay for
/// everything else (embeddings, projections, norms, biases, temperature, heads).
pub fn optimizer(recipe: &ClipRecipe) -> ModuleOptimizer {
    adamw_and_muon(HIDDEN, HiddenMuon::new(recipe.muon_factor, recipe.weight_decay))
}

/// Whether the parameter at `path` is Muon's.
#[cfg(test)]
pub(super) fn is_hidden(path: &str) -> bool {
    let group = ParamGroup::from_regex(HIDDEN).expect("the pattern is a valid regular expression");
    group.matches(&burn::module::ParamId::new(), Some(path))
}

/// Paths of the matrices inside transformer blocks (norms' parameters are `gamma` and `beta`).
const HIDDEN: &str = r"\.blocks\.\d+\.(attention\.(query|key|value|output)|fc_1|fc_2)\.weight$";
