//! Kernels launched by a training step and by a sampling step on the GPUs of this build, and whether they compute what a CPU computes:
//! `cargo test --release --features wgpu --test launches -- --nocapture`.
//!
//! Not part of `cargo test`: it needs a device of CubeCL; Mesa's software Vulkan is one. A launch costs a GPU some microseconds whatever it computes, and
//! small kernels bound a step, so that their number is a budget: it does not depend on how busy the machine is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::ops::ConvOptions;
use burn::train::TrainStep;
use eclipse_t2i::device::{DeviceSpec, kernels};
use eclipse_t2i::models::prior::{Prior, PriorConfig, TextCondition};
use eclipse_t2i::nn::{TokenMask, conv2d, torch_default};
use eclipse_t2i::noise::Noise;
use eclipse_t2i::objective::contrastive::Negatives;
use eclipse_t2i::train::micro_batches::{Losses, MicroBatches};
use eclipse_t2i::train::objectives::eclipse::{Eclipse, EclipseBatch, EclipseCriterion};
use eclipse_t2i::train::trainer::{AdamWOptions, Trainer, UpdateOptions};

/// Launches of a step with three blocks: forward, backward, clipping and AdamW. 520 were counted with `wgpu`. Fusion replaces the kernels of this program,
/// and tuning chooses others from time to time: 759 and 762 were counted with `wgpu,tuned`.
const TRAINING: usize = if cfg!(feature = "fusion") { 850 } else { 541 };
/// Launches of one prediction, with three blocks: 105; 115 and 129.
const SAMPLING: usize = if cfg!(feature = "fusion") { 130 } else { 110 };

const BATCH: usize = 8;
const TOKENS: usize = 14;

fn config() -> PriorConfig {
    PriorConfig {
        n_heads: 4,
        d_head: 32,
        n_layers: 3,
        d_clip: 128,
        ..PriorConfig::eclipse_karlo()
    }
}

fn batch(config: &PriorConfig, device: &Device) -> EclipseBatch {
    let (mut noise, d) = (Noise::new(1), config.d_clip);
    EclipseBatch {
        eps: noise.normal([BATCH, d], device),
        z_x: noise.normal([BATCH, d], device),
        text: TextCondition {
            z_y: noise.normal([BATCH, d], device),
            tokens: noise.normal([BATCH, TOKENS, d], device),
            mask: Some(TokenMask::of_lengths(&[TOKENS; BATCH], TOKENS, device)),
        },
        negatives: Negatives::default(),
    }
}

/// Launches of `work` when its kernels are compiled and tuned: of its third call.
fn launches(device: &Device, mut work: impl FnMut()) -> (usize, BTreeMap<String, usize>) {
    let sync = || device.sync().expect("the device works");
    for _ in 0..2 {
        work();
        sync();
    }
    let launches = kernels::Launches::watch();
    work();
    sync();
    (launches.total(), launches.by_kernel())
}

fn table(what: &str, (total, by_kernel): &(usize, BTreeMap<String, usize>)) {
    println!("{what}: {total} launches");
    let mut rows: Vec<_> = by_kernel.iter().collect();
    rows.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    for (kernel, n) in rows {
        println!("  {n:>5} {kernel}");
    }
}

/// Launches are counted in the whole process, so that tests wait for each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The GPUs of this build that work, without autodiff.
fn gpus() -> Vec<(DeviceSpec, Device)> {
    let specs = DeviceSpec::available().into_iter().filter(|spec| !spec.is_cpu());
    let open = |spec: DeviceSpec| match spec.device() {
        Ok(device) => Some((spec, device)),
        Err(error) => {
            println!("{spec}: skipped: {error}");
            None
        }
    };
    let found: Vec<_> = specs.filter_map(open).collect();
    assert!(
        !found.is_empty(),
        "no GPU of this build can be used; `eclipse devices` says why"
    );
    found
}

type Trained = Trainer<Prior, EclipseCriterion>;

fn trainer(config: &PriorConfig, device: &Device) -> Trained {
    let prior = torch_default(Prior::init(config, device), &mut Noise::new(0));
    let update = UpdateOptions {
        grad_clip: Some(0.1),
        ..UpdateOptions::default()
    };
    Trainer::new(prior, Eclipse::default().criterion(0.01), update, || {
        Prior::init(config, device)
    })
}

/// All values of a module, and how many tensors have them.
#[derive(Default)]
struct Values(Vec<f32>, usize);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(param.val().into_data().iter::<f32>());
        self.1 += 1;
    }
}

/// The parameters after some steps, and the loss of each.
fn train(device: &Device) -> (Values, Vec<f32>) {
    let (config, device) = (config(), device.clone().autodiff());
    let mut trainer = trainer(&config, &device);
    let options = AdamWOptions {
        weight_decay: 0.1,
        ..AdamWOptions::default()
    };
    let (mut optimizer, inputs) = (options.init(), batch(&config, &device));
    let mut losses = Vec::new();
    for _ in 0..4 {
        let step = trainer.step(MicroBatches::one(1, inputs.clone()));
        let loss = trainer.losses(inputs.clone()).remove(0).1;
        losses.push(loss.into_data().iter::<f32>().next().expect("a scalar"));
        trainer = trainer.optimize(&mut optimizer, 1e-3.into(), step.grads);
    }
    let mut values = Values::default();
    trainer.visit(&mut values);
    (values, losses)
}

#[test]
fn training_agrees_with_a_cpu() {
    let _alone = alone();
    let cpu = DeviceSpec::default().device().expect("a CPU");
    let (expected, losses) = train(&cpu);
    for (spec, device) in gpus() {
        let (found, found_losses) = train(&device);
        for (a, b) in found_losses.iter().zip(&losses) {
            assert!(
                (a - b).abs() < 1e-3 * b.abs(),
                "{spec}: losses {found_losses:?}, {losses:?}"
            );
        }
        // A step of AdamW has the size of the learning rate whatever the gradient, so that a few gradients near zero differ in sign.
        let far = found
            .0
            .iter()
            .zip(&expected.0)
            .filter(|(a, b)| (*a - *b).abs() > 2e-4)
            .count();
        let n = expected.0.len();
        println!("{spec}: {far} of {n} parameters differ by more than 2e-4 after four steps of 1e-3");
        assert!(far * 200 < n, "{spec}: {far} of {n} parameters differ");
    }
}

#[test]
fn launches_stay_within_their_budget() {
    let _alone = alone();
    for (spec, plain) in gpus() {
        let (config, device) = (config(), plain.clone().autodiff());
        let mut optimizer = AdamWOptions::default().init();
        let mut trainer = trainer(&config, &device);
        let mut values = Values::default();
        trainer.visit(&mut values);
        println!("{} parameters in {} tensors", values.0.len(), values.1);
        let inputs = batch(&config, &device);
        let forward = launches(&device, || {
            let _ = trainer.network().forward(inputs.eps.clone(), inputs.text.clone());
        });
        table(&format!("{spec}, forward pass"), &forward);
        let training = launches(&device, || {
            let grads = trainer.step(MicroBatches::one(1, inputs.clone())).grads;
            trainer = trainer.clone().optimize(&mut optimizer, 5e-5.into(), grads);
        });
        table(&format!("{spec}, training step"), &training);
        let prior = torch_default(Prior::init(&config, &plain), &mut Noise::new(0));
        let inputs = batch(&config, &plain);
        let sampling = launches(&plain, || {
            let _ = prior.forward(inputs.eps.clone(), inputs.text.clone());
        });
        table(&format!("{spec}, sampling step"), &sampling);
        assert!(training.0 > 0, "{spec}: nothing was counted");
        assert!(
            training.0 <= TRAINING,
            "{spec}: {} launches of a training step, at most {TRAINING}",
            training.0
        );
        assert!(
            sampling.0 <= SAMPLING,
            "{spec}: {} launches of a sampling step, at most {SAMPLING}",
            sampling.0
        );
    }
}

/// Gradients of more than 65,536 parameters have a norm that is added up in one order (`train::flat::sum`).
#[test]
fn training_repeats_bit_for_bit() {
    let _alone = alone();
    for (spec, device) in gpus() {
        let (first, again) = (train(&device), train(&device));
        assert_eq!(first.1, again.1, "{spec}: losses");
        let differ = first.0.0.iter().zip(&again.0.0).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 0, "{spec}: parameters");
    }
}

/// They are matrix products with the windows of the image there (`device::convolves_by_products`), in parts where those are many.
#[test]
fn convolutions_agree_with_a_cpu() {
    let _alone = alone();
    let cpu = DeviceSpec::default().device().expect("a CPU");
    let mut noise = Noise::new(2);
    let cases = [
        // Kernel, stride, zeros around the image, image.
        ([3, 3], [1, 1], [1, 1], [2, 5, 30, 29]),
        ([3, 3], [2, 2], [0, 0], [2, 5, 30, 29]),
        ([1, 7], [1, 1], [0, 3], [3, 4, 9, 11]),
        ([5, 5], [1, 1], [2, 2], [1, 3, 4, 4]),
        ([14, 14], [14, 14], [0, 0], [2, 3, 56, 42]),
        ([1, 1], [1, 1], [0, 0], [2, 6, 7, 8]),
        ([1, 1], [2, 2], [0, 0], [2, 6, 7, 8]),
        // 40 million values of windows.
        ([3, 3], [1, 1], [1, 1], [1, 64, 200, 347]),
    ];
    for (spec, device) in gpus() {
        for (kernel, stride, padding, size) in cases {
            let weight: Tensor<4> = noise.normal([7, size[1], kernel[0], kernel[1]], &cpu);
            let bias: Tensor<1> = noise.normal([7], &cpu);
            // Channels last in memory.
            let [batch, channels, h, w] = size;
            let x: Tensor<4> = noise.normal([batch, h, w, channels], &cpu).permute([0, 3, 1, 2]);
            let options = ConvOptions::new(stride, padding, [1, 1], 1);
            let expected = conv2d(x.clone(), weight.clone(), Some(bias.clone()), options.clone());
            let there = |x: Tensor<4>| Tensor::<4>::from_data(x.into_data(), &device);
            let x = there(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]);
            let bias = Tensor::from_data(bias.into_data(), &device);
            let found = conv2d(x, there(weight), Some(bias), options);
            assert_eq!(found.dims(), expected.dims(), "{spec}: {kernel:?} {stride:?}");
            let found = Tensor::<4>::from_data(found.into_data(), &cpu);
            let off = (found - expected).abs().max().into_scalar::<f32>();
            // Values of order sqrt(c_in * taps), up to 24; TF32 rounds factors by 2^-11.
            println!("{spec}: {kernel:?} {stride:?} {size:?}: off by {off:.1e}");
            assert!(off < 5e-2, "{spec}: {kernel:?} {stride:?} {size:?}: off by {off}");
        }
    }
}
