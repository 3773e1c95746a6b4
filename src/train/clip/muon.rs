//! Muon for hidden matrices, AdamW for the rest, under one schedule.

use burn::module::ParamGroup;
use burn::optim::{AdamW, AdamWConfig, ModuleOptimizer};

use super::ClipRecipe;
use crate::train::muon::HiddenMuon;

/// The optimiser of a [`ClipTrainer`](super::ClipTrainer): Muon for the weight matrices of both towers' blocks, AdamW without decay for
/// everything else (embeddings, projections, norms, biases, temperature, heads).
pub fn optimizer(recipe: &ClipRecipe) -> ModuleOptimizer {
    let rest: AdamW = AdamWConfig::new()
        .with_beta_1(0.9)
        .with_beta_2(0.98)
        .with_epsilon(1e-8)
        .with_weight_decay(0.0)
        .build();
    let hidden = HiddenMuon::new(recipe.muon_factor, recipe.weight_decay);
    let matrices = ParamGroup::from_regex(HIDDEN).expect("the pattern is a valid regular expression");
    ModuleOptimizer::from(rest).with_group(matrices, hidden, None)
}

/// Whether the parameter at `path` is Muon's.
#[cfg(test)]
pub(super) fn is_hidden(path: &str) -> bool {
    let group = ParamGroup::from_regex(HIDDEN).expect("the pattern is a valid regular expression");
    group.matches(&burn::module::ParamId::new(), Some(path))
}

/// Paths of the matrices inside transformer blocks (norms' parameters are `gamma` and `beta`).
const HIDDEN: &str = r"\.blocks\.\d+\.(attention\.(query|key|value|output)|fc_1|fc_2)\.weight$";
