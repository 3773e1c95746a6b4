//! Properties of sampling and of the priors' networks, on the reference fixtures' own checkpoints.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::train::TrainStep;
use eclipse_t2i::diffusion::{DiffusionError, DrawNoise, Replay};
use eclipse_t2i::generate::prior::{AnyPrior, PriorSettings};
use eclipse_t2i::models::prior::{Conditioning, FastPaths, Prior, PriorConfig, TextCondition};
use eclipse_t2i::nn::TokenMask;
use eclipse_t2i::noise::Noise;
use eclipse_t2i::objective::contrastive::Negatives;
use eclipse_t2i::train::micro_batches::MicroBatches;
use eclipse_t2i::train::objectives::eclipse::{Eclipse, EclipseBatch, EclipseTrainer};
use eclipse_t2i::train::trainer::{Trainer, UpdateOptions};
use eclipse_t2i::weights::Checkpoint;
use rand::RngExt;

use crate::tiny::{D_CLIP, device, golden};

const N_TEXT: usize = 77;

fn diffusion() -> AnyPrior {
    AnyPrior::load(&golden("karlo-tiny-s0/karlo/prior"), &device())
        .expect("loads")
        .1
}

fn one_pass() -> AnyPrior {
    AnyPrior::load(&golden("karlo-tiny-s0/eclipse_prior"), &device())
        .expect("loads")
        .1
}

/// `n` random captions of 3, 6, 9 .. tokens.
fn captions(n: usize, seed: u64) -> TextCondition {
    let (mut noise, device) = (Noise::new(seed), device());
    let lengths: Vec<usize> = (0..n).map(|row| (3 * (row + 1)).min(N_TEXT)).collect();
    TextCondition {
        z_y: noise.normal([n, D_CLIP], &device),
        tokens: noise.normal([n, N_TEXT, D_CLIP], &device),
        mask: Some(TokenMask::of_lengths(&lengths, N_TEXT, &device)),
    }
}

fn rows(text: &TextCondition, from: usize, n: usize) -> TextCondition {
    text.select(&(from..from + n).collect::<Vec<_>>())
}

fn values(x: Tensor<2>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

fn settings(guidance: f64, eta: f64) -> PriorSettings {
    PriorSettings {
        n_steps: 5,
        guidance,
        eta,
    }
}

fn sampled(
    prior: &AnyPrior,
    text: &TextCondition,
    away: &TextCondition,
    s: PriorSettings,
    noise: &mut impl DrawNoise<2>,
) -> Vec<f32> {
    values(
        prior
            .sample(text.clone(), away.clone(), s, noise, |_| {})
            .expect("samples"),
    )
}

/// One start, then other noise.
struct StartThen(Option<Noise>, Noise);

impl DrawNoise<2> for StartThen {
    fn draw(&mut self, shape: [usize; 2], device: &Device) -> Result<Tensor<2>, DiffusionError> {
        match self.0.take() {
            Some(mut start) => start.draw(shape, device),
            None => self.1.draw(shape, device),
        }
    }
}

fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-5)
}

#[test]
fn padding_that_all_captions_have_may_be_left_out() {
    let text = captions(4, 1);
    let short = text.clone().without_padding();
    assert_eq!(short.tokens.dims(), [4, 12, D_CLIP], "the longest has 12 tokens");
    assert_eq!(short.clone().padded_to(N_TEXT).tokens.dims(), [4, N_TEXT, D_CLIP]);
    let AnyPrior::OnePass(prior) = one_pass() else {
        panic!("no time")
    };
    let noise = || Noise::new(3).normal([4, D_CLIP], &device());
    let long = values(prior.forward(noise(), text.clone()));
    assert!(near(&long, &values(prior.forward(noise(), short.clone()))));
    // What counts does not move: without the last token the longest caption is another one.
    let cut = TextCondition {
        z_y: short.z_y,
        tokens: short.tokens.narrow(1, 0, 11),
        mask: short.mask.map(|m| m.first(11)),
    };
    assert!(!near(&long, &values(prior.forward(noise(), cut))));
}

/// Gradients of every parameter, by its path.
fn gradients(trainer: &EclipseTrainer, batch: EclipseBatch) -> BTreeMap<String, Vec<f32>> {
    struct Visitor(GradientsParams, Vec<String>, BTreeMap<String, Vec<f32>>);
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.1.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.1.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                let values = gradient.into_data().iter::<f32>().collect();
                self.2.insert(self.1.join("."), values);
            }
        }
    }
    let mut visitor = Visitor(
        trainer.step(MicroBatches::one(1, batch)).grads,
        Vec::new(),
        BTreeMap::new(),
    );
    trainer.visit(&mut visitor);
    visitor.2
}

/// Padding never enters the network, the last block computes one row a caption, queries, keys and values come from one product: with each of these
/// and with all, predictions, loss (Eq. 5) and gradients are those of the whole computation.
#[test]
fn fast_paths_give_the_same_numbers() {
    const BATCH: usize = 5;
    let device = device().autodiff();
    let dir = golden("karlo-tiny-s0/eclipse_prior");
    let weights = Checkpoint::open(&dir).expect("weights");
    let one = |set: fn(&mut FastPaths)| {
        let mut fast_paths = FastPaths::NONE;
        set(&mut fast_paths);
        fast_paths
    };
    let mut seen = Vec::new();
    for (seed, conditioning, fast_paths) in [
        (1, Conditioning::Both, FastPaths::on(&device)),
        (2, Conditioning::Both, one(|s| s.without_padding = true)),
        (3, Conditioning::Both, one(|s| s.last_token = true)),
        (4, Conditioning::Both, one(|s| s.fused_qkv = true)),
        (5, Conditioning::Both, FastPaths::ALL),
        (6, Conditioning::Pooled, FastPaths::ALL),
        (7, Conditioning::Hidden, FastPaths::ALL),
    ] {
        let mut noise = Noise::new(seed);
        // Any length, none and all included, and holes.
        let lengths: Vec<usize> = (0..BATCH).map(|_| noise.rng().random_range(0..=N_TEXT)).collect();
        let counts = |i: usize| i % N_TEXT < lengths[i / N_TEXT] && noise.rng().random::<f32>() < 0.9;
        let mask: Vec<bool> = (0..BATCH * N_TEXT).map(counts).collect();
        let text = TextCondition {
            z_y: noise.normal([BATCH, D_CLIP], &device),
            tokens: noise.normal([BATCH, N_TEXT, D_CLIP], &device),
            mask: Some(TokenMask::new(mask, [BATCH, N_TEXT], &device)),
        };
        let batch = EclipseBatch {
            eps: noise.normal([BATCH, D_CLIP], &device),
            z_x: noise.normal([BATCH, D_CLIP], &device),
            text: text.clone().without_padding(),
            negatives: Negatives::default(),
        };
        let whole = EclipseBatch {
            text,
            ..batch.clone()
        };
        let config = PriorConfig {
            conditioning,
            ..PriorConfig::read(&dir).expect("a config")
        };
        let prior = Prior::from_checkpoint(&config, &weights, &device).expect("loads");
        let trainer = |fast_paths| {
            let prior = prior.clone().with_fast_paths(fast_paths);
            Trainer::new(
                prior.clone(),
                Eclipse::default().criterion(0.1),
                UpdateOptions::default(),
                || prior,
            )
        };
        let (fast, plain) = (trainer(fast_paths), trainer(FastPaths::NONE));
        let ((ours, our_loss), (theirs, their_loss)) = (fast.loss(batch.clone()), plain.loss(whole.clone()));
        assert!(near(&values(ours.clone()), &values(theirs)), "{fast_paths:?}");
        let (ours, theirs): (f32, f32) = (our_loss.total.into_scalar(), their_loss.total.into_scalar());
        assert!((ours - theirs).abs() < 1e-5 * theirs, "{ours} {theirs}");
        let (ours, theirs) = (gradients(&fast, batch), gradients(&plain, whole));
        assert!(
            ours.len() > 30 && ours.keys().eq(theirs.keys()),
            "{:?}",
            ours.keys()
        );
        for (name, theirs) in &theirs {
            // Sums over other numbers of rows round differently.
            let largest = theirs.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            for (ours, theirs) in ours[name].iter().zip(theirs) {
                let off = (ours - theirs).abs();
                assert!(
                    off < 1e-5 * (1.0 + largest),
                    "{name}: {ours} {theirs} {fast_paths:?} {conditioning:?}"
                );
            }
        }
        seen.push(ours["prior.trunk.positions"].clone());
    }
    assert!(
        seen.windows(2).all(|pair| pair[0] != pair[1]),
        "what is compared depends on the batch"
    );
}

#[test]
fn captions_read_once_serve_every_timestep() {
    let AnyPrior::Diffusion(prior, _) = diffusion() else {
        panic!("it has time")
    };
    let text = captions(3, 1);
    let read = prior.encode_prefix(text.clone().without_padding());
    let masked = prior.encode_prefix(TextCondition {
        mask: None,
        ..text.clone()
    });
    for (i, t) in [0.0, 17.0, 999.0].into_iter().enumerate() {
        let x_t: Tensor<2> = Noise::new(i as u64).normal([3, D_CLIP], &device());
        let plain = values(prior.forward(x_t.clone(), &[t; 3], text.clone()));
        assert!(
            near(&plain, &values(prior.forward_cached(x_t.clone(), &[t; 3], &read))),
            "{t}"
        );
        assert!(
            !near(
                &plain,
                &values(prior.forward_cached(x_t.clone(), &[998.0 - t; 3], &read))
            ),
            "{t}"
        );
        let without = TextCondition {
            mask: None,
            ..text.clone()
        };
        let plain = values(prior.forward(x_t.clone(), &[t; 3], without));
        assert!(
            near(&plain, &values(prior.forward_cached(x_t, &[t; 3], &masked))),
            "{t}"
        );
    }
}

#[test]
fn without_eta_only_the_start_is_random() {
    let (prior, text, away) = (diffusion(), captions(3, 1), captions(3, 2));
    let with = |eta: f64, seed: u64| {
        let mut noise = StartThen(Some(Noise::new(7)), Noise::new(seed));
        sampled(&prior, &text, &away, settings(4.0, eta), &mut noise)
    };
    assert_eq!(with(0.0, 100), with(0.0, 200));
    assert_ne!(with(1.0, 100), with(1.0, 200), "eta 1 does look at the noise");
    assert_ne!(with(0.0, 100), with(1.0, 100));
}

#[test]
fn guidance_one_is_no_guidance() {
    let (prior, text) = (diffusion(), captions(3, 1));
    let with = |guidance: f64, away: u64| {
        sampled(
            &prior,
            &text,
            &captions(3, away),
            settings(guidance, 1.0),
            &mut Noise::new(7),
        )
    };
    let plain = with(1.0, 2);
    assert_eq!(
        plain,
        with(1.0, 3),
        "what is not guided away from does not matter"
    );
    assert_eq!(
        plain,
        with(0.0, 2),
        "up to 1 is none, as in the published pipelines"
    );
    // The formula itself goes to the same place from above.
    for (a, b) in plain.iter().zip(with(1.0 + 1e-9, 2)) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    assert_ne!(with(4.0, 2), with(4.0, 3), "guidance looks at both");
}

#[test]
fn the_best_of_n_is_the_nearest_to_its_caption() {
    let (text, away) = (captions(4, 1), captions(4, 2));
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    for prior in [diffusion(), one_pass()] {
        let s = settings(2.0, 1.0);
        let mut noise = Noise::new(5);
        let draws: Vec<Vec<f32>> = (0..6)
            .map(|_| sampled(&prior, &text, &away, s, &mut noise))
            .collect();
        let best = prior
            .sample_best_of(6, &text, &away, s, &mut Noise::new(5))
            .expect("samples");
        let (best, z_y) = (values(best), values(text.z_y.clone()));
        let mut winners = Vec::new();
        for row in 0..4 {
            let cut = |v: &[f32]| v[row * D_CLIP..][..D_CLIP].to_vec();
            let score = |k: &usize| cosine(&cut(&draws[*k]), &cut(&z_y));
            let winner = (0..6)
                .max_by(|a, b| score(a).total_cmp(&score(b)))
                .expect("six draws");
            assert_eq!(cut(&best), cut(&draws[winner]), "row {row}");
            winners.push(winner);
        }
        winners.dedup();
        assert!(winners.len() > 1, "rows are chosen one by one: {winners:?}");
        let error = prior
            .sample_best_of(0, &text, &away, s, &mut Noise::new(5))
            .expect_err("of none");
        assert_eq!(error.to_string(), "best-of must be at least 1, found 0");
    }
}

#[test]
fn what_lies_in_the_padding_does_not_matter() {
    for prior in [diffusion(), one_pass()] {
        let (text, away) = (captions(4, 1), captions(4, 2));
        let mask = text
            .mask
            .clone()
            .expect("a mask")
            .values()
            .unsqueeze_dim::<3>(2)
            .expand([4, N_TEXT, D_CLIP]);
        let other = Noise::new(9)
            .normal([4, N_TEXT, D_CLIP], &device())
            .mul_scalar(30.0);
        let changed = TextCondition {
            tokens: text.tokens.clone() * mask.clone() + other.clone() * (1.0 - mask.clone()),
            ..text.clone()
        };
        let at = |text: &TextCondition| sampled(&prior, text, &away, settings(4.0, 1.0), &mut Noise::new(5));
        assert_eq!(at(&text), at(&changed));
        // Inside the caption it does.
        let changed = TextCondition {
            tokens: text.tokens.clone() * (1.0 - mask.clone()) + other * mask,
            ..text.clone()
        };
        assert_ne!(at(&text), at(&changed));
        let unmasked = TextCondition {
            mask: None,
            ..text.clone()
        };
        let plain = prior.sample(
            unmasked,
            rows(&away, 0, 4),
            settings(1.0, 1.0),
            &mut Noise::new(5),
            |_| {},
        );
        assert_ne!(values(plain.expect("samples")), at(&text), "the mask is used");
    }
}

#[test]
fn a_prediction_does_not_depend_on_the_batch_around_it() {
    let (text, away) = (captions(5, 1), captions(5, 2));
    for prior in [diffusion(), one_pass()] {
        let mut noise = Noise::new(5);
        let drawn: Vec<Tensor<2>> = (0..6).map(|_| noise.normal([5, D_CLIP], &device())).collect();
        let replay =
            |row: usize, n: usize| Replay::new(drawn.iter().map(move |x| x.clone().narrow(0, row, n)));
        let whole = sampled(&prior, &text, &away, settings(3.0, 1.0), &mut replay(0, 5));
        for row in 0..5 {
            let (text, away) = (rows(&text, row, 1), rows(&away, row, 1));
            let alone = sampled(&prior, &text, &away, settings(3.0, 1.0), &mut replay(row, 1));
            for (a, b) in alone.iter().zip(&whole[row * D_CLIP..]) {
                // Products of another size may add up in another order.
                assert!(
                    (a - b).abs() < 2e-5 * (1.0 + b.abs()),
                    "row {row}: {a} alone, {b} in the batch"
                );
            }
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let (text, plain) = (captions(1, 1), PriorSettings::default());
    for (bad, message) in [
        (
            PriorSettings { n_steps: 0, ..plain },
            "steps must be at least 1, found 0",
        ),
        (
            PriorSettings {
                guidance: -0.5,
                ..plain
            },
            "guidance must be at least 0 and finite, found -0.5",
        ),
        (
            PriorSettings {
                guidance: f64::NAN,
                ..plain
            },
            "guidance must be at least 0 and finite, found NaN",
        ),
        (
            PriorSettings { eta: -1.0, ..plain },
            "eta must be at least 0 and finite, found -1",
        ),
        (
            PriorSettings {
                eta: f64::INFINITY,
                ..plain
            },
            "eta must be at least 0 and finite, found inf",
        ),
    ] {
        for prior in [diffusion(), one_pass()] {
            let refused = prior.sample(text.clone(), text.clone(), bad, &mut Noise::new(0), |_| {});
            assert_eq!(refused.expect_err("refused").to_string(), message);
        }
    }
    let too_many = PriorSettings {
        n_steps: 1001,
        ..plain
    };
    let refused = diffusion().sample(text.clone(), text, too_many, &mut Noise::new(0), |_| {});
    insta::assert_snapshot!(refused.expect_err("refused").to_string(), @"cannot sample in 1001 steps: the schedule has 1000 train timesteps; give 1 to 1000");
}

/// A process has one precision, so each runs in its own.
#[test]
fn half_precision_is_near_and_not_the_same() {
    let desk = tempfile::tempdir().expect("a temporary folder");
    let prompts = desk.path().join("prompts.txt");
    std::fs::write(&prompts, "black apples in the basket\na red cube\n").expect("written");
    let predicted = |dtype: &str, prior: &str| -> Vec<f32> {
        let out = desk.path().join(format!("{dtype}.safetensors"));
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_eclipse"))
            .args(["prior", "--dtype", dtype, "--steps", "5"])
            .arg("--prior")
            .arg(golden("karlo-tiny-s0").join(prior))
            .arg("--text")
            .arg(golden("karlo-tiny-s0/karlo"))
            .arg("--prompts")
            .arg(&prompts)
            .arg("--out")
            .arg(&out)
            .output()
            .expect("the program runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let file = Checkpoint::open(&out).expect("written");
        let data = file.read("z_x_hat").expect("the prediction");
        data.try_to_vec().expect("f32")
    };
    for prior in ["karlo/prior", "eclipse_prior"] {
        let exact = predicted("f32", prior);
        let off = |dtype: &str| -> f32 {
            let other = predicted(dtype, prior);
            exact
                .iter()
                .zip(other)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max)
        };
        // Rounding to 11 and to 8 significant bits, on values up to 4.
        let (f16, bf16) = (off("f16"), off("bf16"));
        assert!(1e-5 < f16 && f16 < 0.05, "{prior}: f16 is off by {f16}");
        assert!(f16 < bf16 && bf16 < 0.4, "{prior}: bf16 is off by {bf16}");
    }
}
