//! Muon for hidden matrices, AdamW for the rest, under one schedule.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{
    AdamW, AdamWConfig, AdjustLrFn, LearningRate, ModuleOptimizer, Muon, MuonConfig, Optimizer,
};
use burn::prelude::*;

use super::ClipRecipe;

/// Muon (Jordan 2024) whose learning rate is a multiple of the schedule's. Steps are scaled by `0.2 sqrt(max(d_in, d_out))`, so that
/// their root mean square does not depend on a matrix's shape, nor on whether it is stored transposed (Moonlight, section 2.2).
#[derive(Clone)]
struct HiddenMuon {
    muon: Muon,
    factor: f64,
}

impl Optimizer for HiddenMuon {
    type State<const D: usize> = <Muon as Optimizer>::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        self.muon.step(lr * self.factor, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Muon::to_device(state, device)
    }
}

/// The optimiser of a [`ClipTrainer`](super::ClipTrainer): Muon for the weight matrices of both towers' blocks, AdamW without decay for
/// everything else (embeddings, projections, norms, biases, temperature, heads).
pub fn optimizer(recipe: &ClipRecipe) -> ModuleOptimizer {
    let rest: AdamW = AdamWConfig::new()
        .with_beta_1(0.9)
        .with_beta_2(0.98)
        .with_epsilon(1e-8)
        .with_weight_decay(0.0)
        .build();
    let muon = MuonConfig::new()
        .with_weight_decay(Some(WeightDecayConfig::new(recipe.weight_decay as f32)))
        .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
        .build();
    let hidden = HiddenMuon {
        muon,
        factor: recipe.muon_factor,
    };
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
