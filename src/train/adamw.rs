//! AdamW in one pass over memory on CPUs.
//!
//! Burn's own AdamW (0.22.1) is fourteen operations a parameter, which flex runs on one thread. Here an element is read once, updated by the same
//! operations in the same order, and written once, on all threads. The numbers, and the state in checkpoints, are Burn's.

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::prelude::*;
use rayon::prelude::*;

use crate::device;

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
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
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

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamW::to_device(state, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;

    #[test]
    fn every_bit_is_of_burns_adamw() {
        let device = DeviceSpec::default().device().expect("the default device");
        let values = |tensor: &Tensor<2>| {
            tensor
                .to_data()
                .iter::<f32>()
                .map(f32::to_bits)
                .collect::<Vec<_>>()
        };
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
            assert_eq!(moments(ours.1), moments(theirs.1));
        }
    }
}
