//! Kernels launched by a training step and by a sampling step, on the GPUs of this build:
//! `cargo test --release --features wgpu --test launches -- --nocapture`.
//!
//! Not part of `cargo test`: it needs a device of CubeCL; Mesa's software Vulkan is one. A launch costs a GPU some microseconds whatever it computes, and
//! small kernels bound a step, so that their number is a budget: it does not depend on how busy the machine is.

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::train::TrainStep;
use eclipse_t2i::device::{DeviceSpec, kernels};
use eclipse_t2i::models::prior::{Prior, PriorConfig, TextCondition};
use eclipse_t2i::nn::{TokenMask, torch_default};
use eclipse_t2i::noise::Noise;
use eclipse_t2i::objective::contrastive::Negatives;
use eclipse_t2i::train::micro_batches::MicroBatches;
use eclipse_t2i::train::objectives::eclipse::{Eclipse, EclipseBatch};
use eclipse_t2i::train::trainer::{AdamWOptions, Trainer, UpdateOptions};

/// Launches of a step with three blocks: forward, backward, clipping and AdamW.
const TRAINING: usize = 4000;
/// Launches of one prediction, with three blocks.
const SAMPLING: usize = 400;

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

#[test]
fn launches_stay_within_their_budget() {
    let gpus = DeviceSpec::available().into_iter().filter(|spec| !spec.is_cpu());
    let mut tested = 0;
    for spec in gpus {
        let plain = match spec.device() {
            Ok(device) => device,
            Err(error) => {
                println!("{spec}: skipped: {error}");
                continue;
            }
        };
        let (config, device) = (config(), plain.clone().autodiff());
        let prior = torch_default(Prior::init(&config, &device), &mut Noise::new(0));
        let update = UpdateOptions {
            grad_clip: Some(1.0),
            ..UpdateOptions::default()
        };
        let mut optimizer = AdamWOptions::default().init();
        let mut trainer = Trainer::new(prior, Eclipse::default().criterion(0.01), update, || {
            Prior::init(&config, &device)
        });
        let inputs = batch(&config, &device);
        let forward = launches(&device, || {
            let _ = trainer.network().forward(inputs.eps.clone(), inputs.text.clone());
        });
        table(&format!("{spec}, forward pass"), &forward);
        let training = launches(&device, || {
            let grads = trainer.step(MicroBatches::one(1, inputs.clone())).grads;
            trainer = optimizer.step(5e-5, trainer.clone(), grads);
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
        tested += 1;
    }
    assert!(
        tested > 0,
        "no GPU of this build can be used; `eclipse devices` says why"
    );
}
