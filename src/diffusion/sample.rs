//! The sampling loop, over a closure.

use std::collections::VecDeque;

use burn::prelude::*;

use super::scheduler::check_eta;
use super::{DiffusionError, Scheduler, Stepped, Visit};
use crate::noise::Noise;

/// Where the noise of the steps comes from.
pub trait DrawNoise<const D: usize> {
    /// The next tensor of N(0, 1) values.
    ///
    /// # Errors
    /// Where the source can run out: [`DiffusionError::NoiseExhausted`], [`DiffusionError::NoiseShape`].
    fn draw(&mut self, shape: [usize; D], device: &Device) -> Result<Tensor<D>, DiffusionError>;
}

impl<const D: usize> DrawNoise<D> for Noise {
    fn draw(&mut self, shape: [usize; D], device: &Device) -> Result<Tensor<D>, DiffusionError> {
        Ok(self.normal(shape, device))
    }
}

/// Noise that was recorded elsewhere, in the order it was drawn: reference trajectories, or a run to be repeated.
#[derive(Debug, Clone)]
pub struct Replay<const D: usize> {
    left: VecDeque<Tensor<D>>,
    drawn: usize,
}

impl<const D: usize> Replay<D> {
    /// Plays `tensors` in order.
    pub fn new(tensors: impl IntoIterator<Item = Tensor<D>>) -> Self {
        Self {
            left: tensors.into_iter().collect(),
            drawn: 0,
        }
    }

    /// How many tensors were not drawn yet.
    pub fn left(&self) -> usize {
        self.left.len()
    }
}

impl<const D: usize> DrawNoise<D> for Replay<D> {
    fn draw(&mut self, shape: [usize; D], device: &Device) -> Result<Tensor<D>, DiffusionError> {
        let noise = self
            .left
            .pop_front()
            .ok_or(DiffusionError::NoiseExhausted { drawn: self.drawn })?;
        if noise.dims() != shape {
            let (expected, found) = (shape.to_vec(), noise.dims().to_vec());
            return Err(DiffusionError::NoiseShape {
                index: self.drawn,
                expected,
                found,
            });
        }
        self.drawn += 1;
        Ok(noise.to_device(device))
    }
}

/// How to sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleOptions {
    /// Number of visited timesteps.
    pub n_steps: usize,
    /// Weight of the added noise: 1 is the plain ancestral sampler, 0 adds none. For DDIM its own eta, where 0 is usual.
    pub eta: f64,
}

/// Runs `x_t` (noise, `[batch, channels, ..]`) through all steps and returns the sample.
///
/// `denoise(x_t, t)` is the network, guidance included; `on_step(step, t, result)` sees every step.
///
/// # Errors
/// A number of steps the schedule cannot give, a bad `eta`, an output of the wrong shape, a noise source that runs out.
pub fn sample<const D: usize>(
    scheduler: &Scheduler,
    x_t: Tensor<D>,
    options: SampleOptions,
    denoise: impl FnMut(Tensor<D>, usize) -> Tensor<D>,
    noise: &mut impl DrawNoise<D>,
    on_step: impl FnMut(usize, usize, &Stepped<D>),
) -> Result<Tensor<D>, DiffusionError> {
    let visits = scheduler.visits(options.n_steps)?;
    sample_visits(scheduler, x_t, &visits, options.eta, denoise, noise, on_step)
}

/// [`sample()`] over some of [`Scheduler::visits`]: the rest of a trajectory that starts from a noised image, or a part of one that changes
/// networks on the way. `on_step` counts from 0 within `visits`.
///
/// # Errors
/// Like [`sample()`].
pub fn sample_visits<const D: usize>(
    scheduler: &Scheduler,
    x_t: Tensor<D>,
    visits: &[Visit],
    eta: f64,
    mut denoise: impl FnMut(Tensor<D>, usize) -> Tensor<D>,
    noise: &mut impl DrawNoise<D>,
    mut on_step: impl FnMut(usize, usize, &Stepped<D>),
) -> Result<Tensor<D>, DiffusionError> {
    check_eta(eta)?;
    let (shape, device) = (x_t.dims(), x_t.device());
    let mut x = x_t;
    for (step, &visit) in visits.iter().enumerate() {
        let output = denoise(x.clone(), visit.t);
        let drawn = if scheduler.draws_noise(visit, eta) {
            Some(noise.draw(shape, &device)?)
        } else {
            None
        };
        let stepped = scheduler.step(visit, output, x, eta, drawn)?;
        on_step(step, visit.t, &stepped);
        x = stepped.x_prev;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{Limit, SchedulerConfig, SchedulerKind, Spacing, Variance};

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_to_vec().expect("f32")
    }

    fn oracle(
        config: SchedulerConfig,
        n_steps: usize,
        eta: f64,
        seed: u64,
    ) -> Result<Vec<f32>, DiffusionError> {
        let device = Device::flex();
        let start = Noise::new(9).normal::<2>([3, 4], &device);
        let x0 = Tensor::<2>::from_data([[1.0, -2.0, 0.5, 0.0]; 3], &device);
        let options = SampleOptions { n_steps, eta };
        let scheduler = Scheduler::new(config);
        sample(
            &scheduler,
            start,
            options,
            |_, _| x0.clone(),
            &mut Noise::new(seed),
            |_, _, _| {},
        )
        .map(values)
    }

    fn configs() -> Vec<SchedulerConfig> {
        let base = SchedulerConfig::diffusion_baseline();
        let ddim = SchedulerConfig {
            kind: SchedulerKind::Ddim {
                set_alpha_to_one: true,
            },
            ..base
        };
        vec![
            SchedulerConfig::unclip_prior(5.0),
            base,
            ddim,
            SchedulerConfig {
                spacing: Spacing::Trailing,
                ..base
            },
        ]
    }

    #[test]
    fn a_network_that_knows_the_answer_is_followed() {
        for config in configs() {
            for n in [1, 2, 7, 50] {
                let out = oracle(config, n, 0.0, 0).expect("samples");
                let want = [1.0, -2.0, 0.5, 0.0];
                for (a, b) in out.iter().zip(want.iter().cycle()) {
                    assert!((a - b).abs() < 5e-3, "{config:?}, {n} steps: {a} for {b}");
                }
            }
        }
    }

    #[test]
    fn eta_zero_ignores_the_noise_and_eta_one_does_not() {
        for config in configs() {
            // The oracle's last step returns x0 itself, so look at a sampler that never trusts it fully.
            let config = SchedulerConfig {
                limit: Limit::Clip { range: 0.25 },
                ..config
            };
            let at = |eta, seed| {
                let device = Device::flex();
                let start = Noise::new(1).normal::<2>([2, 4], &device);
                let mut first = None;
                let options = SampleOptions { n_steps: 5, eta };
                let scheduler = Scheduler::new(config);
                sample(
                    &scheduler,
                    start,
                    options,
                    |x, _| x,
                    &mut Noise::new(seed),
                    |step, _, s| {
                        if step == 0 {
                            first = Some(values(s.x_prev.clone()));
                        }
                    },
                )
                .expect("samples");
                first
            };
            assert_eq!(at(0.0, 1), at(0.0, 2));
            assert_ne!(at(1.0, 1), at(1.0, 2));
        }
    }

    #[test]
    fn step_counts_and_eta_are_checked() {
        let config = SchedulerConfig::diffusion_baseline();
        let message = |n, eta| {
            oracle(config, n, eta, 0)
                .expect_err("must be refused")
                .to_string()
        };
        assert_eq!(
            message(0, 1.0),
            "cannot sample in 0 steps: the schedule has 1000 train timesteps; give 1 to 1000"
        );
        assert_eq!(
            message(1001, 1.0),
            "cannot sample in 1001 steps: the schedule has 1000 train timesteps; give 1 to 1000"
        );
        assert_eq!(
            message(10, -0.5),
            "eta must be a finite number of at least 0, found -0.5"
        );
        let offset = SchedulerConfig {
            spacing: Spacing::Leading { offset: 1 },
            ..config
        };
        let error = oracle(offset, 1000, 1.0, 0)
            .expect_err("must be refused")
            .to_string();
        assert_eq!(
            error,
            "cannot sample in 1000 steps: steps_offset makes the first timestep 1000, the last is 999"
        );
    }

    #[test]
    fn outputs_and_noise_of_another_shape_are_refused() {
        let device = Device::flex();
        let learned = SchedulerConfig {
            kind: SchedulerKind::Ddpm {
                variance: Variance::LearnedRange,
            },
            ..SchedulerConfig::diffusion_baseline()
        };
        let x = Tensor::<2>::zeros([2, 4], &device);
        let options = SampleOptions { n_steps: 3, eta: 1.0 };
        let run = |config, output: Tensor<2>, noise: Vec<Tensor<2>>| {
            let mut replay = Replay::new(noise);
            let scheduler = Scheduler::new(config);
            sample(
                &scheduler,
                x.clone(),
                options,
                |_, _| output.clone(),
                &mut replay,
                |_, _, _| {},
            )
            .expect_err("must be refused")
            .to_string()
        };
        let ok = || Tensor::<2>::zeros([2, 4], &device);
        assert_eq!(
            run(learned, ok(), vec![ok()]),
            "the denoiser returned shape [2, 4] for a sample of shape [2, 4]: a learned variance needs twice the sample's channels"
        );
        let plain = SchedulerConfig::diffusion_baseline();
        assert_eq!(
            run(plain, Tensor::zeros([2, 5], &device), vec![ok()]),
            "the denoiser returned shape [2, 5] for a sample of shape [2, 4]: expected the sample's shape, or twice its channels"
        );
        assert_eq!(
            run(plain, ok(), vec![ok()]),
            "recorded noise ran out after 1 draws"
        );
        assert_eq!(
            run(plain, ok(), vec![Tensor::zeros([1, 4], &device)]),
            "recorded noise 0 has shape [1, 4], the sampler needs [2, 4]"
        );
    }
}
