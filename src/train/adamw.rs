//! AdamW, in one pass over memory on CPUs.
//!
//! Burn's own AdamW (0.22.1) is fourteen operations a parameter, which flex runs on one thread. Here an element is read once, updated by the same
//! operations in the same order, and written once, on all threads. The numbers, and the state in checkpoints, are Burn's. GPUs
//! update a parameter by one kernel, or all parameters together: [`adamw_group`].

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::prelude::*;
use rayon::prelude::*;

use super::adamw_group::{self, Rule, State};
use crate::device::{self, AdamWStep, custom_kernels};

/// Elements that a thread updates at a time.
const CHUNK: usize = 1 << 14;

/// AdamW (Loshchilov and Hutter 2019) with PyTorch's semantics.
#[derive(Clone)]
pub(super) struct FusedAdamW {
    betas: [f32; 2],
    eps: f32,
    weight_decay: f32,
    /// For devices without host memory.
    generic: AdamW,
}

impl FusedAdamW {
    pub(super) fn new(betas: (f64, f64), eps: f64, weight_decay: f64) -> Self {
        let (betas, eps, weight_decay) = ([betas.0 as f32, betas.1 as f32], eps as f32, weight_decay as f32);
        let generic = AdamWConfig::new()
            .with_beta_1(betas[0])
            .with_beta_2(betas[1])
            .with_epsilon(eps)
            .with_weight_decay(weight_decay);
        Self {
            betas,
            eps,
            weight_decay,
            generic: generic.build(),
        }
    }
}

impl Optimizer for FusedAdamW {
    type State<const D: usize> = State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        parameter: Tensor<D>,
        grad: Tensor<D>,
        state: Option<State<D>>,
    ) -> (Tensor<D>, Option<State<D>>) {
        let rule = Rule {
            lr,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
        };
        let joined = if device::takes_custom_kernels(&parameter) {
            Err(state)
        } else {
            adamw_group::join(rule, &parameter, &grad, state)
        };
        match joined {
            Ok((stand_in, state)) => (stand_in, Some(state)),
            Err(state) => {
                let (parameter, state) = self.step_alone(lr, parameter, grad, state.map(State::into_own));
                (parameter, state.map(State::Own))
            }
        }
    }

    fn to_device<const D: usize>(state: State<D>, device: &Device) -> State<D> {
        state.onto(device)
    }
}

impl FusedAdamW {
    /// What the step number `time`, from 1, tells a kernel.
    fn at(&self, lr: LearningRate, time: usize) -> AdamWStep {
        AdamWStep {
            betas: self.betas,
            corrections: self.betas.map(|beta| 1.0 - beta.powi(time as i32)),
            eps: self.eps,
            kept: (1.0 - lr * f64::from(self.weight_decay)) as f32,
            lr: lr as f32,
        }
    }

    /// The update of one parameter.
    fn step_alone<const D: usize>(
        &self,
        lr: LearningRate,
        parameter: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let Some(AdamWState { momentum }) = state else {
            // The first step creates the state.
            return self.generic.step(lr, parameter, grad, None);
        };
        let device = parameter.device();
        let is_f32 = [&parameter, &grad, &momentum.moment_1, &momentum.moment_2]
            .iter()
            .all(|tensor| tensor.dtype() == burn::tensor::DType::F32);
        if is_f32 && device::takes_custom_kernels(&parameter) {
            let time = momentum.time + 1;
            let tensors = [parameter, momentum.moment_1, momentum.moment_2, grad];
            let [parameter, moment_1, moment_2] = custom_kernels::adamw(self.at(lr, time), tensors);
            let momentum = AdaptiveMomentumState {
                time,
                moment_1,
                moment_2,
                max_moment_2: None,
            };
            return (parameter, Some(AdamWState { momentum }));
        }
        if !(device::shares_memory(&device) && is_f32) {
            return self
                .generic
                .step(lr, parameter, grad, Some(AdamWState { momentum }));
        }
        let time = momentum.time + 1;
        let [beta_1, beta_2] = self.betas;
        let (rest_1, rest_2) = (1.0 - beta_1, 1.0 - beta_2);
        let correction_1 = 1.0 - beta_1.powi(time as i32);
        let correction_2 = 1.0 - beta_2.powi(time as i32);
        let decay_rate = lr * f64::from(self.weight_decay);
        let (kept, lr, eps) = ((1.0 - decay_rate) as f32, lr as f32, self.eps);
        // Flex gives its memory away where nothing else refers to it, and takes it back: no copy.
        let mut host = [parameter, momentum.moment_1, momentum.moment_2].map(Tensor::into_data);
        let grad = grad.into_data();
        let updated = (|| {
            let [p, m, v] = &mut host;
            let (p, m) = (p.as_mut_slice::<f32>().ok()?, m.as_mut_slice::<f32>().ok()?);
            let (v, g) = (v.as_mut_slice::<f32>().ok()?, grad.as_slice::<f32>().ok()?);
            let chunks = (
                p.par_chunks_mut(CHUNK),
                m.par_chunks_mut(CHUNK),
                v.par_chunks_mut(CHUNK),
                g.par_chunks(CHUNK),
            );
            chunks.into_par_iter().for_each(|(p, m, v, g)| {
                for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    *m = *m * beta_1 + g * rest_1;
                    *v = *v * beta_2 + (g * g) * rest_2;
                    let step = (*m / correction_1) / ((*v / correction_2).sqrt() + eps);
                    *p = *p * kept - step * lr;
                }
            });
            Some(())
        })();
        updated.expect("four tensors of f32");
        let [parameter, moment_1, moment_2] = host.map(|data| Tensor::from_data(data, &device));
        let momentum = AdaptiveMomentumState {
            time,
            moment_1,
            moment_2,
            max_moment_2: None,
        };
        (parameter, Some(AdamWState { momentum }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{GradientsParams, ModuleOptimizer};

    #[test]
    fn every_bit_is_of_burns_adamw() {
        let device = DeviceSpec::default().device().expect("the default device");
        let values =
            |tensor: &Tensor<2>| -> Vec<u32> { tensor.to_data().iter::<f32>().map(f32::to_bits).collect() };
        for weight_decay in [0.0, 0.03] {
            let fused = FusedAdamW::new((0.9, 0.98), 1e-8, weight_decay);
            let mut noise = Noise::new(1);
            let shape = [131, 257];
            let start: Tensor<2> = noise.normal(shape, &device);
            let (mut ours, mut theirs) = ((start.clone(), None), (start, None));
            for step in 0..5 {
                let grad: Tensor<2> = noise.normal(shape, &device).mul_scalar(1e-3);
                let lr = 1e-3 / f64::from(step + 1);
                ours = fused.step(lr, ours.0, grad.clone(), ours.1);
                theirs = fused.generic.step(lr, theirs.0, grad, theirs.1);
                assert_eq!(values(&ours.0), values(&theirs.0), "step {step}");
            }
            let moments =
                |state: Option<AdamWState<2>>| state.map(|s| (s.momentum.time, values(&s.momentum.moment_2)));
            assert_eq!(moments(ours.1.map(State::into_own)), moments(theirs.1));
        }
    }

    /// Every way to train, from the same start with the same gradients: parameters and the optimiser's record after each step.
    #[test]
    fn a_group_is_updated_as_each_of_its_members() {
        let device = DeviceSpec::default()
            .device()
            .expect("the default device")
            .autodiff();
        // A norm's epsilon aside, parameters of one element, of odd sizes, and without a gradient.
        let module = || -> Vec<Linear> {
            let sizes = [(16, 8), (3, 5), (1, 1), (4, 4)];
            sizes.map(|(n, m)| LinearConfig::new(n, m).init(&device)).into()
        };
        let start = module();
        let grads = |step: u64| {
            let (mut noise, mut grads) = (Noise::new(step), GradientsParams::new());
            for layer in &start[..3] {
                let plain = device.clone().inner();
                let bias = layer.bias.as_ref().expect("a bias");
                grads.register::<2>(layer.weight.id, noise.normal(layer.weight.dims(), &plain));
                grads.register::<1>(bias.id, noise.normal(bias.dims(), &plain));
            }
            grads
        };
        let bits = |module: &[Linear]| -> Vec<u32> {
            let of = |layer: &Linear| {
                let bias = layer.bias.as_ref().expect("a bias").val().into_data();
                let data = [layer.weight.val().into_data(), bias];
                data.into_iter()
                    .flat_map(|data| data.iter::<f32>().map(f32::to_bits).collect::<Vec<_>>())
                    .collect::<Vec<_>>()
            };
            module.iter().flat_map(of).collect()
        };
        for weight_decay in [0.0, 0.03] {
            let optimizer = || ModuleOptimizer::from(FusedAdamW::new((0.9, 0.98), 1e-8, weight_decay));
            let (mut alone, mut grouped) = ((optimizer(), start.clone()), (optimizer(), start.clone()));
            // Continues as a checkpoint of the other way at every step.
            let mut crossed = (optimizer(), start.clone());
            for step in 0..5 {
                let lr = 1e-3 / (step + 1) as f64;
                alone.1 = alone.0.step(lr, alone.1, grads(step));
                grouped.1 = adamw_group::step(&mut grouped.0, lr.into(), grouped.1, grads(step));
                crossed.1 = match step % 2 {
                    0 => adamw_group::step(&mut crossed.0, lr.into(), crossed.1, grads(step)),
                    _ => crossed.0.step(lr, crossed.1, grads(step)),
                };
                let record = crossed.0.to_record().into_bytes().expect("a record");
                crossed.0 = optimizer().from_bytes(record).expect("a record");
                assert_eq!(bits(&grouped.1), bits(&alone.1), "step {step}");
                assert_eq!(
                    bits(&crossed.1),
                    bits(&alone.1),
                    "step {step}, through checkpoints"
                );
            }
            assert!(grouped.1[0].weight.is_require_grad());
            assert_ne!(bits(&alone.1[..3]), bits(&start[..3]));
            assert_eq!(bits(&alone.1[3..]), bits(&start[3..]), "without gradients");
        }
    }
}
