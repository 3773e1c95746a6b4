//! Exponential moving averages (EMA) of parameters, kept inside the model in training: checkpoints contain them, and a resumed run continues them.
//!
//! Burn's learner changes a model only through its optimiser. So an EMA's update is registered in the place of its gradient, and
//! the optimiser of its group ([`EmaUpdate`]) applies it unchanged.

use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsParams, LearningRate, Optimizer};
use burn::prelude::*;

/// The values of `from` in `fresh`, a module of the same architecture. The parameters of `fresh` keep their identities.
///
/// # Panics
/// If `fresh` has other parameters.
pub fn copy_of<M: Module>(from: &M, fresh: M) -> M {
    let mut values = Values::default();
    from.visit(&mut values);
    fresh.map(&mut values)
}

/// Registers `(1 - decay) (ema - model)` as the gradients of `ema`.
pub fn register_ema_update<M: Module>(ema: &M, model: &M, decay: f64, grads: &mut GradientsParams) {
    let mut values = Values::default();
    model.visit(&mut values);
    ema.visit(&mut Steps {
        values,
        fraction: 1.0 - decay,
        grads,
    });
}

/// [`register_ema_update`] in step `step` (from 1): the decay is lower in the first steps, so that the initial values fade quickly.
pub fn register_ema_update_at<M: Module>(
    step: usize,
    ema: &M,
    model: &M,
    decay: f64,
    grads: &mut GradientsParams,
) {
    let decay = decay.min(step as f64 / (step as f64 + 9.0));
    register_ema_update(ema, model, decay, grads);
}

/// Subtracts the gradient and ignores the learning rate.
#[derive(Debug, Clone, Copy)]
pub struct EmaUpdate;

impl Optimizer for EmaUpdate {
    type State<const D: usize> = ();

    fn step<const D: usize>(
        &self,
        _lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        _state: Option<()>,
    ) -> (Tensor<D>, Option<()>) {
        (tensor - grad, None)
    }

    fn to_device<const D: usize>((): (), _device: &Device) {}
}

/// Parameters in the order of the module's fields, flat and without autodiff.
#[derive(Default)]
struct Values(VecDeque<Tensor<1>>);

impl Values {
    fn next<const D: usize>(&mut self, shape: Shape) -> Tensor<D> {
        let next = self.0.pop_front().expect("two modules of one shape");
        next.reshape(shape)
    }
}

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().detach().inner();
        let n = value.shape().num_elements();
        self.0.push_back(value.reshape([n]));
    }
}

impl ModuleMapper for Values {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = Tensor::from_inner(self.next::<D>(param.lazy_shape()));
        let id = param.id;
        param.transform_for_load(value, id)
    }
}

struct Steps<'a> {
    values: Values,
    fraction: f64,
    grads: &'a mut GradientsParams,
}

impl ModuleVisitor for Steps<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let ema = param.val().detach().inner();
        let value = self.values.next::<D>(ema.shape());
        self.grads
            .register::<D>(param.id, (ema - value).mul_scalar(self.fraction));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::ModuleOptimizer;

    #[test]
    fn an_average_follows_step_by_step_and_the_model_stays() {
        let device = Device::flex().autodiff();
        let linear = |value: f32| -> Linear {
            let fill = |param: Param<Tensor<2>>| param.map(|w| w.zeros_like().add_scalar(value));
            let mut linear = LinearConfig::new(2, 3).with_bias(false).init(&device);
            linear.weight = fill(linear.weight);
            linear
        };
        let value = |linear: &Linear| -> Vec<f32> {
            let weight = linear.weight.val().into_data();
            weight.iter::<f32>().collect()
        };
        let model = linear(2.0);
        let mut ema = copy_of(&model, linear(5.0));
        assert_eq!(value(&ema), [2.0; 6]);
        assert_ne!(ema.weight.id, model.weight.id);

        let model = linear(4.0);
        let mut optimizer = ModuleOptimizer::from(EmaUpdate);
        for expected in [2.5, 2.875] {
            let mut grads = GradientsParams::new();
            register_ema_update(&ema, &model, 0.75, &mut grads);
            assert!(grads.get::<2>(model.weight.id).is_none());
            ema = optimizer.step(1e-3, ema, grads);
            assert_eq!(value(&ema), [expected; 6]);
        }
    }
}
