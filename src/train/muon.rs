//! Muon (Jordan 2024) for hidden weights of any rank, at a multiple of the schedule's learning rate.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{
    AdamW, AdamWConfig, AdjustLrFn, LearningRate, ModuleOptimizer, Muon, MuonConfig, Optimizer,
};
use burn::prelude::*;

/// Muon on weights as matrices: convolutions are flattened to `[c_out, c_in k k]`. Steps are scaled by `0.2 sqrt(max(rows, columns))`, so that
/// their root mean square does not depend on a matrix's shape, nor on whether it is stored transposed (Moonlight, section 2.2).
#[derive(Clone)]
pub struct HiddenMuon {
    muon: Muon,
    factor: f64,
}

impl HiddenMuon {
    /// A learning rate `factor` times the schedule's; `weight_decay` is decoupled.
    pub fn new(factor: f64, weight_decay: f64) -> Self {
        let muon = MuonConfig::new()
            .with_weight_decay(Some(WeightDecayConfig::new(weight_decay as f32)))
            .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
            .build();
        Self { muon, factor }
    }
}

/// An optimiser of Muon for the weights whose paths match `hidden`, a regular expression, and AdamW without weight decay for all other
/// parameters.
///
/// # Panics
/// If `hidden` is no regular expression.
pub fn adamw_and_muon(hidden: &str, muon: HiddenMuon) -> ModuleOptimizer {
    let rest: AdamW = AdamWConfig::new()
        .with_beta_1(0.9)
        .with_beta_2(0.98)
        .with_epsilon(1e-8)
        .with_weight_decay(0.0)
        .build();
    let hidden = ParamGroup::from_regex(hidden).expect("a valid regular expression");
    ModuleOptimizer::from(rest).with_group(hidden, muon, None)
}

impl Optimizer for HiddenMuon {
    type State<const D: usize> = <Muon as Optimizer>::State<2>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let shape = tensor.shape();
        let matrix = |x: Tensor<D>| x.flatten::<2>(1, D - 1);
        let (tensor, state) = self
            .muon
            .step(lr * self.factor, matrix(tensor), matrix(grad), state);
        (tensor.reshape(shape), state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Muon::to_device(state, device)
    }
}
