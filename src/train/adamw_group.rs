//! AdamW on all parameters of a step at once.
//!
//! Burn's optimisers see one parameter at a time. In [`step`], AdamW only collects the parameters with their gradients and states; a few operations on
//! flat tensors then update the moments of all, and each parameter moves by its slice of the result. Each element is computed by the same operations in
//! the same order. In checkpoints the state is Burn's, parameter by parameter.

#![expect(
    clippy::large_enum_variant,
    clippy::result_large_err,
    reason = "tensors are handles; a step moves a few of them per parameter"
)]

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{
    AdamW, AdamWState, AdaptiveMomentumState, GradientsParams, LearningRate, ModuleOptimizer, Optimizer,
    RecordState, StateSink, StateSource,
};
use burn::prelude::*;
use burn::tensor::DType;

use super::flat;

/// The moments of one parameter.
#[derive(Clone)]
pub(super) enum State<const D: usize> {
    /// In tensors of their own.
    Own(AdamWState<D>),
    /// Slices of a group's.
    Member(Member),
}

/// A place in a group's moments, which are there when the step is done.
#[derive(Clone)]
pub(super) struct Member {
    moments: Arc<OnceLock<Moments>>,
    from: usize,
    shape: Shape,
}

#[derive(Debug)]
struct Moments {
    time: usize,
    first: Tensor<1>,
    second: Tensor<1>,
}

impl Member {
    fn moments(&self) -> &Moments {
        self.moments.get().expect("the step of the group is done")
    }
}

impl<const D: usize> State<D> {
    /// The moments in tensors of their own.
    pub(super) fn into_own(self) -> AdamWState<D> {
        match self {
            Self::Own(state) => state,
            Self::Member(member) => {
                let moments = member.moments();
                let slice = |all| flat::slice(all, member.from, member.shape.clone());
                AdamWState::new(AdaptiveMomentumState {
                    time: moments.time,
                    moment_1: slice(&moments.first),
                    moment_2: slice(&moments.second),
                    max_moment_2: None,
                })
            }
        }
    }

    pub(super) fn onto(self, device: &Device) -> Self {
        match self {
            Self::Member(member) if member.moments().first.device() == *device => Self::Member(member),
            state => Self::Own(AdamW::to_device(state.into_own(), device)),
        }
    }

    fn time(&self) -> usize {
        match self {
            Self::Own(state) => state.momentum.time,
            Self::Member(member) => member.moments().time,
        }
    }
}

impl<const D: usize> RecordState for State<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        self.clone().into_own().state_flatten(prefix, out);
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        AdamWState::state_unflatten(prefix, source, device).map(Self::Own)
    }
}

/// What an update depends on beside the tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    pub(super) lr: LearningRate,
    pub(super) betas: [f32; 2],
    pub(super) eps: f32,
    pub(super) weight_decay: f32,
}

/// A parameter that waits for its update.
struct Part {
    parameter: Tensor<1>,
    grad: Tensor<1>,
    before: Before,
}

/// The moments of a parameter before the step.
enum Before {
    /// There are none: the first step.
    Nothing,
    Own([Tensor<1>; 2]),
    Member(Member),
}

/// The parameters of a step so far.
#[derive(Default)]
struct Group {
    /// Rule, number of steps done and dtype, the same for all.
    rule: Option<(Rule, usize, DType)>,
    parts: Vec<Part>,
    /// Where the next part begins.
    room: usize,
    moments: Arc<OnceLock<Moments>>,
    /// Stands for every parameter until the step is done.
    stand_in: Option<Tensor<1>>,
}

thread_local! {
    /// The group that the optimiser of a running [`step`] on this thread fills.
    static OPEN: RefCell<Option<Group>> = const { RefCell::new(None) };
}

/// A step of `optimizer` on `module`, whose parameters under AdamW are updated together.
pub(super) fn step<M: Module>(
    optimizer: &mut ModuleOptimizer,
    lr: ModuleLearningRate,
    module: M,
    grads: GradientsParams,
) -> M {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    OPEN.set(Some(Group::default()));
    let module = optimizer.step(lr, module, grads);
    match OPEN.take() {
        Some(group) if !group.parts.is_empty() => module.map(&mut Fill {
            shapes: shapes.0.into_iter(),
            updated: group.update().into_iter(),
        }),
        _ => module,
    }
}

/// Adds a parameter to the group of the step, if there is one that it fits. Until the step is done, a single element stands for the parameter.
///
/// # Errors
/// The state, if the parameter has to be updated by itself.
pub(super) fn join<const D: usize>(
    rule: Rule,
    parameter: &Tensor<D>,
    grad: &Tensor<D>,
    state: Option<State<D>>,
) -> Result<(Tensor<D>, State<D>), Option<State<D>>> {
    OPEN.with_borrow_mut(|open| {
        let time = state.as_ref().map_or(0, State::time);
        let rule = (rule, time, parameter.dtype());
        let several = parameter.shape().num_elements() > 1;
        let Some(group) = open.as_mut().filter(|_| several) else {
            return Err(state);
        };
        if *group.rule.get_or_insert(rule) != rule {
            return Err(state);
        }
        Ok(group.push(parameter.clone(), grad.clone(), state))
    })
}

impl Group {
    fn push<const D: usize>(
        &mut self,
        parameter: Tensor<D>,
        grad: Tensor<D>,
        state: Option<State<D>>,
    ) -> (Tensor<D>, State<D>) {
        let (shape, options) = (parameter.shape(), (&parameter.device(), parameter.dtype()));
        let stand_in = self.stand_in.get_or_insert_with(|| Tensor::zeros([1], options));
        let stand_in = stand_in.clone().reshape([1; D]);
        let member = Member {
            moments: self.moments.clone(),
            from: self.room,
            shape,
        };
        self.room += flat::room(&member.shape);
        self.parts.push(Part {
            parameter: flat::of(parameter),
            grad: flat::of(grad),
            before: match state {
                None => Before::Nothing,
                Some(State::Own(AdamWState { momentum })) => {
                    Before::Own([momentum.moment_1, momentum.moment_2].map(flat::of))
                }
                Some(State::Member(member)) => Before::Member(member),
            },
        });
        (stand_in, State::Member(member))
    }

    /// The moments of the step before, if all parts were a group with the same places.
    fn same_group(&self) -> Option<&Moments> {
        let Before::Member(Member { moments: same, .. }) = &self.parts.first()?.before else {
            return None;
        };
        let mut from = 0;
        for part in &self.parts {
            match &part.before {
                Before::Member(member) if member.from == from && Arc::ptr_eq(&member.moments, same) => {
                    from += flat::room(&member.shape);
                }
                _ => return None,
            }
        }
        same.get().filter(|moments| moments.first.dims()[0] == from)
    }

    /// The moments of all parts before the step, `None` in the first step.
    fn before(&self) -> Option<[Tensor<1>; 2]> {
        if let Some(moments) = self.same_group() {
            return Some([moments.first.clone(), moments.second.clone()]);
        }
        let own = |part: &Part| match &part.before {
            Before::Nothing => None,
            Before::Own(moments) => Some(moments.clone()),
            Before::Member(member) => {
                let moments = member.moments();
                let slice = |all| flat::slice::<1>(all, member.from, [member.shape.num_elements()].into());
                Some([slice(&moments.first), slice(&moments.second)])
            }
        };
        let own: Option<Vec<_>> = self.parts.iter().map(own).collect();
        let (first, second) = own?.into_iter().map(|[first, second]| (first, second)).unzip();
        Some([flat::join(first), flat::join(second)])
    }

    /// Computes the moments of the step, and returns the new parameters in the order of [`join`].
    fn update(self) -> Vec<Tensor<1>> {
        let before = self.before();
        let (rule, time, _) = self.rule.expect("a group with parts has a rule");
        let time = time + 1;
        let ([beta_1, beta_2], parts) = (rule.betas, self.parts);
        let grad = flat::join(parts.iter().map(|part| part.grad.clone()).collect());
        let new_1 = grad.clone().mul_scalar(1.0 - beta_1);
        let new_2 = grad.square().mul_scalar(1.0 - beta_2);
        let (first, second) = match before {
            Some([first, second]) => (
                first.mul_scalar(beta_1).add(new_1),
                second.mul_scalar(beta_2).add(new_2),
            ),
            None => (new_1, new_2),
        };
        let corrected =
            |moment: &Tensor<1>, beta: f32| moment.clone().div_scalar(1.0 - beta.powi(time as i32));
        let root = corrected(&second, beta_2).sqrt().add_scalar(rule.eps);
        let steps = corrected(&first, beta_1).div(root).mul_scalar(rule.lr);
        let decay_rate = rule.lr * f64::from(rule.weight_decay);
        let moments = Moments { time, first, second };
        self.moments.set(moments).expect("a group is updated once");
        let mut from = 0;
        let moved = |part: Part| {
            let shape = part.parameter.shape();
            let step = flat::slice::<1>(&steps, from, shape.clone());
            from += flat::room(&shape);
            match decay_rate {
                0.0 => part.parameter - step,
                _ => part.parameter.mul_scalar(1.0 - decay_rate) - step,
            }
        };
        parts.into_iter().map(moved).collect()
    }
}

/// The shapes of a module's parameters.
#[derive(Default)]
struct Shapes(Vec<Shape>);

impl ModuleVisitor for Shapes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.lazy_shape());
    }
}

/// Replaces what stands for a parameter, which has another shape, by the updated parameter.
struct Fill {
    shapes: std::vec::IntoIter<Shape>,
    updated: std::vec::IntoIter<Tensor<1>>,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = self.shapes.next().expect("the parameters of the step");
        if param.lazy_shape() == shape {
            return param;
        }
        let updated = self.updated.next().expect("an update of each member");
        param.map(|stand_in| {
            let mut parameter = Tensor::from_inner(updated.reshape(shape));
            if let Some(strategy) = stand_in.gradient_checkpointing_strategy() {
                parameter = parameter.with_gradient_checkpointing_strategy(strategy);
            }
            parameter.set_require_grad(stand_in.is_require_grad())
        })
    }
}
