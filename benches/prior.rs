//! The training step of the 33M prior (appendix, Table 3), with and without the fast paths, at captions of several lengths.
//!
//! `cargo bench --bench prior`, with `-- /14/` for one length. `plain` does what the reference does: all 77 text tokens and every row of
//! every block are computed. `fast` is what training does on the device: padding is not computed, and the last block computes the query token only. The
//! other variants differ from `fast` in one fast path, to see whether `FastPaths::on` is right about the device. A step is forward, Eq. 5, backward, clipping and
//! AdamW. The throughput column is samples a second; compare within one run.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use eclipse_t2i::device::{DeviceSpec, Precision};
use eclipse_t2i::models::prior::{FastPaths, Prior, PriorConfig};
use eclipse_t2i::nn::torch_default;
use eclipse_t2i::noise::Noise;
use eclipse_t2i::workload;

/// Captions of a step: the paper's 256 on a GPU, an eighth of them elsewhere.
fn batch_size(spec: DeviceSpec) -> usize {
    if spec.is_cpu() { 32 } else { 256 }
}

/// Tokens of the shortest and the longest caption of a batch, start and end included. COCO's have 14 on average, from 9 to 30 and more. 22 beside
/// 6 to 22 shows what leaving out the padding of single captions is worth.
const LENGTHS: [[usize; 2]; 6] = [[6, 6], [14, 14], [6, 22], [22, 22], [30, 30], [77, 77]];

fn training_step(c: &mut Criterion) {
    let config = PriorConfig::eclipse_karlo();
    for spec in DeviceSpec::available() {
        let device = match spec.device() {
            Ok(device) => device.autodiff(),
            Err(error) => {
                eprintln!("{spec}: skipped: {error}");
                continue;
            }
        };
        for lengths in LENGTHS {
            let name = match lengths {
                [n, m] if n == m => n.to_string(),
                [n, m] => format!("{n}-{m}"),
            };
            let mut group = c.benchmark_group(format!("training_step/{name}"));
            group
                .sample_size(10)
                .sampling_mode(SamplingMode::Flat)
                .throughput(Throughput::Elements(batch_size(spec) as u64));
            let fast = FastPaths::on(&device);
            let variants = [
                ("plain", FastPaths::NONE),
                ("fast", fast),
                (
                    if fast.fused_qkv { "unfused" } else { "fused" },
                    FastPaths {
                        fused_qkv: !fast.fused_qkv,
                        ..fast
                    },
                ),
                (
                    "padded",
                    FastPaths {
                        without_padding: false,
                        ..fast
                    },
                ),
            ];
            for (variant, fast_paths) in variants {
                let prior = torch_default(Prior::init(&config, &device), &mut Noise::new(0));
                let prior = prior.with_fast_paths(fast_paths);
                let mut inputs = workload::random_captions(batch_size(spec), lengths, &config, &device);
                if variant == "plain" {
                    inputs.text = inputs.text.padded_to(config.n_text);
                }
                let mut step = workload::training_step(prior, &config, inputs, Precision::F32, &device);
                group.bench_function(BenchmarkId::new(variant, spec), |b| {
                    b.iter(|| {
                        step(false);
                        device.sync().expect("the device works");
                    })
                });
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(10));
    targets = training_step
}
criterion_main!(benches);
