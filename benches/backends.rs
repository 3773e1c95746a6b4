//! The same work on every backend of this build: a prior's forward pass and training step.
//!
//! `cargo bench --bench backends`; with `--features ndarray` (or `vulkan`, `cuda`) beside the default, the backends stand side by side in
//! one run. Times are seconds a batch; the throughput column is samples a second. Sizes: `emoji` is the prior of the built-in experiments,
//! `33m` the paper's (appendix, Table 3) at a small batch.

use std::time::Duration;

use burn::prelude::*;
use burn::train::TrainStep;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::models::prior::{Prior, PriorConfig, TextCondition};
use eclipse_t2i::nn::{TokenMask, torch_default};
use eclipse_t2i::noise::Noise;
use eclipse_t2i::objective::contrastive::Negatives;
use eclipse_t2i::train::micro_batches::MicroBatches;
use eclipse_t2i::train::objectives::eclipse::{Eclipse, EclipseBatch};
use eclipse_t2i::train::trainer::{Trainer, UpdateOptions};

struct Size {
    name: &'static str,
    config: PriorConfig,
    batch: usize,
}

fn sizes() -> [Size; 2] {
    let small = PriorConfig {
        n_heads: 4,
        d_head: 32,
        n_layers: 3,
        d_clip: 128,
        n_text: 12,
        ..PriorConfig::eclipse_karlo()
    };
    [
        Size {
            name: "emoji",
            config: small,
            batch: 64,
        },
        Size {
            name: "33m",
            config: PriorConfig::eclipse_karlo(),
            batch: 4,
        },
    ]
}

fn batch(size: &Size, device: &Device) -> EclipseBatch {
    let (b, t, d) = (size.batch, size.config.n_text, size.config.d_clip);
    let mut noise = Noise::new(1);
    let text = TextCondition {
        z_y: noise.normal([b, d], device),
        tokens: noise.normal([b, t, d], device),
        mask: Some(TokenMask::of_lengths(&vec![t; b], t, device)),
    };
    EclipseBatch {
        eps: noise.normal([b, d], device),
        z_x: noise.normal([b, d], device),
        text,
        negatives: Negatives::default(),
    }
}

fn prior(c: &mut Criterion) {
    let update = UpdateOptions {
        grad_clip: Some(1.0),
        ..UpdateOptions::default()
    };
    for spec in DeviceSpec::available() {
        let device = match spec.device() {
            Ok(device) => device,
            Err(error) => {
                eprintln!("{spec}: skipped: {error}");
                continue;
            }
        };
        for size in sizes() {
            let mut group = c.benchmark_group(format!("prior/{}", size.name));
            group
                .sample_size(10)
                .sampling_mode(SamplingMode::Flat)
                .measurement_time(Duration::from_secs(8));
            group.throughput(Throughput::Elements(size.batch as u64));
            let init = |device: &Device| torch_default(Prior::init(&size.config, device), &mut Noise::new(0));

            let (module, inputs) = (init(&device), batch(&size, &device));
            group.bench_function(BenchmarkId::new("forward", spec), |b| {
                b.iter(|| {
                    module
                        .forward(inputs.eps.clone(), inputs.text.clone())
                        .into_data()
                })
            });
            let device = device.clone().autodiff();
            let (trainer, inputs) = (
                Trainer::new(init(&device), Eclipse::default().criterion(0.01), update, || {
                    init(&device)
                }),
                batch(&size, &device),
            );
            group.bench_function(BenchmarkId::new("train_step", spec), |b| {
                b.iter(|| {
                    trainer
                        .step(MicroBatches::one(1, inputs.clone()))
                        .item
                        .values
                        .into_data()
                })
            });
            group.finish();
        }
    }
}

criterion_group!(benches, prior);
criterion_main!(benches);
