//! Training as a user relies on it: runs that are killed, runs that blow up, losses that fall, curves that stay.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::optim::lr_scheduler::LrScheduler;
use burn::prelude::*;
use burn::tensor::DType;
use burn::train::TrainStep;
use eclipse_t2i::data::examples::Examples;
use eclipse_t2i::data::pairs::Pairs;
use eclipse_t2i::device::Precision;
use eclipse_t2i::diffusion::{Scheduler, SchedulerConfig};
use eclipse_t2i::experiment::MetricsLog;
use eclipse_t2i::generate::prior::{AnyPrior, PriorSettings};
use eclipse_t2i::models::prior::{DiffusionPrior, Prior};
use eclipse_t2i::models::text::{EncodedText, EncodedTexts, TextCondition};
use eclipse_t2i::noise::Noise;
use eclipse_t2i::train::checkpoint::{Best, last_complete};
use eclipse_t2i::train::micro_batches::WorkerShard;
use eclipse_t2i::train::negatives::NegativeOptions;
use eclipse_t2i::train::objectives::eclipse::{Eclipse, EclipseCriterion, EclipseTrainer, eclipse_batches};
use eclipse_t2i::train::objectives::{
    NoisePath, NoisingOptions, TargetPrediction, TimeConditionedTrainer, noised_batches,
};
use eclipse_t2i::train::prior::StepLayout;
use eclipse_t2i::train::schedule::{LrSchedule, SteppedLr};
use eclipse_t2i::train::session::{
    MetricSink, Phase, Session, SessionOptions, TrainError, Validation, Workers, checkpoints, fit,
    resumable_step,
};
use eclipse_t2i::train::stop::Stop;
use eclipse_t2i::train::trainer::{AdamWOptions, GradientSum, Trainer, UpdateOptions};

use crate::program;
use crate::tiny::{self, D_CLIP, device, golden, kill_when};

const CONFIG: &str = r#"
clip = "clip"
[data]
n_pairs = 48
[model]
n_heads = 2
d_head = 8
n_layers = 2
[train]
steps = 240
batch_size = 12
lr = 1e-3
checkpoint_every = 20
log_every = 1
[eval]
n_prompts = 3
n_noise = 2
"#;

/// A folder with a random CLIP and a small run's specification.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    tiny::write_clip(&desk.path().join("clip"));
    std::fs::write(desk.path().join("one.toml"), CONFIG).expect("written");
    desk
}

/// `eclipse train` of the desk's run into `out`.
fn train(desk: &Path, out: &str, more: &[&str]) -> Command {
    let args = ["train", "--config", "one.toml", "--out", out];
    let mut command = program::command(desk, args.iter().chain(more));
    command.stdout(Stdio::null());
    command
}

fn finish(mut command: Command) {
    let output = command.output().expect("the program starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Everything of a run that must not depend on how it came about.
fn results(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = [
        "config.toml",
        "metrics.jsonl",
        "eval/embedding.json",
        "prior/config.json",
        "prior/diffusion_pytorch_model.safetensors",
    ];
    let read = |name: &str| {
        (
            PathBuf::from(name),
            std::fs::read(run.join(name)).expect("a result"),
        )
    };
    assert!(run.join("DONE").is_file());
    assert_eq!(tiny::temporaries(run), Vec::<PathBuf>::new());
    names.into_iter().map(read).collect()
}

fn assert_same(a: &Path, b: &Path) {
    for ((name, a), (_, b)) in results(a).into_iter().zip(results(b)) {
        let lines = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .lines()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let differ = || {
            let (a, b) = (lines(&a), lines(&b));
            let unlike = a
                .iter()
                .zip(&b)
                .position(|(a, b)| a != b)
                .unwrap_or(a.len().min(b.len()));
            format!(
                "line {} of {} and {}: {:?}, {:?}",
                unlike + 1,
                a.len(),
                b.len(),
                a.get(unlike),
                b.get(unlike)
            )
        };
        assert!(a == b, "{} differs in {}", name.display(), differ());
    }
}

#[test]
fn a_run_killed_at_any_moment_ends_as_if_it_had_not_been() {
    let desk = desk();
    let (whole, killed) = (desk.path().join("whole"), desk.path().join("killed"));
    // One thread here and as many as there are below: results must not depend on that either.
    let mut straight = train(desk.path(), "whole", &[]);
    straight.env("RAYON_NUM_THREADS", "1");
    finish(straight);
    let wrote = |step: usize| {
        let text = std::fs::read_to_string(killed.join("metrics.jsonl")).unwrap_or_default();
        text.contains(&format!("\"step\":{step},"))
    };
    let start = |more: &[&str]| {
        let mut command = train(desk.path(), "killed", more);
        command.stderr(Stdio::null()).spawn().expect("the program starts")
    };
    kill_when(start(&[]), || wrote(7)); // before any checkpoint
    kill_when(start(&["--resume"]), || {
        killed.join("checkpoint/model-3.bpk").exists()
    }); // while one is being written
    kill_when(start(&["--resume"]), || wrote(130)); // between two
    assert!(last_complete(&killed.join("checkpoint")) >= Some(6));
    assert!(!killed.join("DONE").exists() && !killed.join("prior").exists());
    finish(train(desk.path(), "killed", &["--resume"]));
    assert_same(&whole, &killed);

    // After training, before the scores.
    std::fs::remove_file(killed.join("DONE")).expect("removed");
    std::fs::remove_file(killed.join("eval/embedding.json")).expect("removed");
    finish(train(desk.path(), "killed", &["--resume"]));
    assert_same(&whole, &killed);
}

/// Runs with these settings, whole and killed in between, end the same.
fn killed_or_not(settings: &[&str]) {
    let desk = desk();
    let more: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    finish(train(desk.path(), "whole", &more));
    let metrics = desk.path().join("killed/metrics.jsonl");
    let child = train(desk.path(), "killed", &more).stderr(Stdio::null()).spawn();
    kill_when(child.expect("starts"), || {
        std::fs::read_to_string(&metrics).is_ok_and(|text| text.contains("\"step\":90,"))
    });
    finish(train(desk.path(), "killed", &[&more[..], &["--resume"]].concat()));
    assert_same(&desk.path().join("whole"), &desk.path().join("killed"));
}

#[test]
fn a_killed_diffusion_run_ends_the_same_too() {
    killed_or_not(&["objective.kind=diffusion", "objective.sampler.steps=5"]);
}

#[test]
fn a_killed_flow_ends_the_same_too() {
    killed_or_not(&["objective.kind=flow", "objective.sampler.steps=5"]);
}

#[test]
fn a_killed_run_has_its_queue_again() {
    killed_or_not(&[
        "objective.queue=30",
        "objective.devices=3",
        "objective.false_negatives=mask_meaning",
    ]);
}

/// Pairs of a random CLIP have nothing in common, so a prior learns its pairs by heart and the held-out loss turns early.
#[test]
fn patience_ends_a_run_after_its_best_checkpoint_and_that_one_is_scored() {
    let desk = desk();
    let run = |out: &str, more: &[&str]| {
        let settings = [
            "data.n_validation=24",
            "train.patience=2",
            "train.schedule.kind=constant",
        ];
        let settings = settings.iter().chain(more).flat_map(|setting| ["--set", setting]);
        finish(train(desk.path(), out, &settings.collect::<Vec<_>>()));
        desk.path().join(out)
    };
    let last = run("last", &[]);
    let losses: Vec<(usize, f64)> = MetricsLog::read(last.join("metrics.jsonl"))
        .expect("readable")
        .into_iter()
        .filter(|row| row.split == "valid" && row.name == "loss")
        .map(|row| (row.step, row.value.expect("finite")))
        .collect();
    let best = losses
        .iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("validated")
        .0;
    let steps: Vec<usize> = losses.iter().map(|(step, _)| *step).collect();
    assert!(best + 40 < 240, "{losses:?} should turn");
    assert_eq!(steps, (1..=best / 20 + 2).map(|i| 20 * i).collect::<Vec<_>>());

    let weights = |run: &Path, prior: &str| {
        let path = run.join(prior).join("diffusion_pytorch_model.safetensors");
        std::fs::read(path).expect("saved")
    };
    let scores = |run: &Path| std::fs::read(run.join("eval/embedding.json")).expect("scored");
    let scored_at_best = run("best", &["eval.checkpoint=best"]);
    assert_eq!(
        weights(&last, "prior_best"),
        weights(&scored_at_best, "prior_best")
    );
    assert_ne!(weights(&last, "prior_best"), weights(&last, "prior"));
    assert_ne!(scores(&last), scores(&scored_at_best));
    // A run of that many steps is what it scores.
    let short = run("short", &[&format!("train.steps={best}")]);
    assert_eq!(weights(&last, "prior_best"), weights(&short, "prior"));
    assert_eq!(scores(&scored_at_best), scores(&short));

    // One that was killed after its last checkpoint is not trained further.
    let before = results(&last);
    for path in ["DONE", "eval/embedding.json"] {
        std::fs::remove_file(last.join(path)).expect("removed");
    }
    for path in ["prior", "prior_best"] {
        std::fs::remove_dir_all(last.join(path)).expect("removed");
    }
    let config = last.join("config.toml");
    let args = [
        "train",
        "--config",
        config.to_str().expect("a path"),
        "--out",
        "last",
        "--resume",
    ];
    finish(program::command(desk.path(), args.iter()));
    assert!(before == results(&last));
}

#[test]
fn a_prior_that_is_shown_less_says_so_and_is_sampled_so() {
    let desk = desk();
    for (name, what) in [("pooled", "pooled"), ("hidden", "hidden"), ("both", "both")] {
        let set = format!("model.conditioning={what}");
        finish(train(
            desk.path(),
            name,
            &["--set", "train.steps=8", "--set", &set],
        ));
    }
    let load = |name: &str| AnyPrior::load(&desk.path().join(name).join("prior"), &device()).expect("loads");
    let keys = |name: &str| {
        let text = std::fs::read_to_string(desk.path().join(name).join("prior/config.json")).expect("there");
        text.contains("conditioning")
    };
    assert!(
        keys("pooled") && keys("hidden") && !keys("both"),
        "the published layout otherwise"
    );
    let pairs = pairs(4);
    let text = pairs.texts.to_device(&device());
    let other_tokens = TextCondition {
        tokens: Noise::new(5).normal(text.tokens.dims(), &device()),
        ..text.clone()
    };
    let other_pooled = TextCondition {
        z_y: text.z_y.clone().neg(),
        ..text.clone()
    };
    for (name, sees_tokens, sees_pooled) in [
        ("pooled", false, true),
        ("hidden", true, false),
        ("both", true, true),
    ] {
        let prior = load(name).1;
        let sample = |text: &TextCondition| {
            let z_x_hat = prior.sample(
                text.clone(),
                text.clone(),
                PriorSettings::default(),
                &mut Noise::new(1),
                |_| {},
            );
            z_x_hat
                .expect("samples")
                .into_data()
                .iter::<f32>()
                .collect::<Vec<f32>>()
        };
        let plain = sample(&text);
        assert_eq!(plain != sample(&other_tokens), sees_tokens, "{name}");
        assert_eq!(plain != sample(&other_pooled), sees_pooled, "{name}");
    }
}

#[test]
fn lambda_zero_is_projection_bit_for_bit() {
    let desk = desk();
    let short = ["--set", "train.steps=30"];
    finish(train(
        desk.path(),
        "zero",
        &[&short[..], &["--set", "objective.lambda=0"]].concat(),
    ));
    finish(train(
        desk.path(),
        "projection",
        &[&short[..], &["--set", "objective.kind=projection"]].concat(),
    ));
    finish(train(desk.path(), "eclipse", &short));
    let all = |name: &str| {
        let mut found = results(&desk.path().join(name));
        found.retain(|(name, _)| name != Path::new("config.toml"));
        found
    };
    assert!(all("zero") == all("projection"));
    assert!(all("zero") != all("eclipse"), "lambda does something");
}

#[test]
fn a_run_that_blows_up_names_the_step() {
    let desk = desk();
    let output = train(desk.path(), "run", &["--set", "train.lr=1e30"])
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // Before it, how far the run came.
    let error: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with("run: step"))
        .collect();
    insta::assert_snapshot!(error.join("\n"), @"error: step 2: `loss` is NaN; the run stops here, its last checkpoint is step 0");
    let run = desk.path().join("run");
    assert!(!run.join("DONE").exists() && !run.join("prior").exists());
    assert_eq!(tiny::temporaries(&run), Vec::<PathBuf>::new());
}

/// Random pairs: what a prior learns of them is by heart.
fn pairs(n: usize) -> Arc<Pairs> {
    let (n_text, mut noise) = (eclipse_t2i::world::World::Emoji.context(), Noise::new(11));
    let mut texts = |n: usize| {
        let z_y = noise.normal_vec(n * D_CLIP);
        let hidden = noise.normal_vec(n * n_text * D_CLIP);
        let mut texts = EncodedTexts::new(D_CLIP);
        for (z_y, hidden) in z_y.chunks(D_CLIP).zip(hidden.chunks(n_text * D_CLIP)) {
            let hidden = &hidden[..6 * D_CLIP];
            texts.push(EncodedText { z_y, hidden });
        }
        texts
    };
    let (texts, empty) = (texts(n), texts(1));
    Arc::new(Pairs::new(noise.normal_vec(n * D_CLIP), texts, empty, 0..n, 0..n))
}

fn criterion(lambda: f64) -> EclipseCriterion {
    let eclipse = Eclipse {
        lambda,
        ..Eclipse::default()
    };
    eclipse.criterion(0.07)
}

fn blank_prior() -> Prior {
    Prior::init(&tiny::prior_config(), &device().autodiff())
}

fn time_conditioned(dir: &Path) -> TimeConditionedTrainer {
    let config = tiny::prior_config().time_conditioned();
    tiny::write_prior(&dir.join("time"), &config);
    let device = device().autodiff();
    let (_, prior) = DiffusionPrior::load(&dir.join("time"), &device).expect("loads");
    Trainer::new(prior, TargetPrediction, clipped(), || {
        DiffusionPrior::init(&config, &device)
    })
}

fn clipped() -> UpdateOptions {
    UpdateOptions {
        grad_clip: Some(1.0),
        ..UpdateOptions::default()
    }
}

fn adamw() -> AdamWOptions {
    AdamWOptions {
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.01,
    }
}

fn one_cycle(steps: usize) -> SteppedLr {
    let cycle = LrSchedule::OneCycle {
        lr: 3e-3,
        total: steps,
        pct_start: 0.3,
        div: 25.0,
        final_div: 1e4,
    };
    SteppedLr::new(cycle.check().expect("a schedule"))
}

fn trainer(dir: &Path, lambda: f64) -> EclipseTrainer {
    tiny::write_prior(&dir.join("start"), &tiny::prior_config());
    let (_, prior) = Prior::load(&dir.join("start"), &device().autodiff()).expect("loads");
    Trainer::new(prior, criterion(lambda), clipped(), blank_prior)
}

const N_STEPS: usize = 40;
const EVERY: usize = 5;

/// Trains in `dir`; the target of step `bad` is not a number. Returns the weights.
fn train_with(dir: &Path, bad: usize, pause: Duration) -> Result<tiny::Tensors, TrainError> {
    train_until(dir, bad, pause, None)
}

/// As [`train_with`]; asks to stop when the report of step `last` is there.
fn train_until(
    dir: &Path,
    bad: usize,
    pause: Duration,
    last: Option<usize>,
) -> Result<tiny::Tensors, TrainError> {
    let stop = Stop::default();
    let asked = stop.clone();
    let batches = eclipse_batches(pairs(24), StepLayout::whole(8), 3, NegativeOptions::default());
    let batch = move |step: usize, shard: WorkerShard, device: &Device| {
        let mut batch = batches(step, shard, device);
        if step == bad {
            let part = &mut batch.batches[0];
            part.z_x = part.z_x.clone().mul_scalar(f32::NAN);
        }
        batch
    };
    let sink: MetricSink = Box::new(move |_, step, _| {
        if Some(step) == last {
            asked.request();
        }
        std::thread::sleep(pause);
        Ok(())
    });
    let session = SessionOptions::new(N_STEPS, EVERY);
    let trained = fit(
        trainer(dir, 0.2),
        adamw().init(),
        one_cycle(N_STEPS),
        batch,
        None,
        Session {
            dir,
            options: session,
            workers: Workers::One,
            sink,
            stop,
        },
    )?;
    std::fs::create_dir_all(dir.join("end")).expect("a folder");
    trained
        .network()
        .save(&tiny::prior_config(), &dir.join("end"))
        .expect("saved");
    Ok(tiny::read(&dir.join("end/diffusion_pytorch_model.safetensors")))
}

#[test]
fn a_value_that_is_not_finite_stops_the_run_and_spares_the_checkpoints() {
    let straight = tempfile::tempdir().expect("a folder");
    let whole = train_with(straight.path(), 0, Duration::ZERO).expect("trains");
    // In the middle of an epoch, at its end and at its start; with the report of a step on time, and late.
    for (bad, kept) in [(13, 10), (15, 10), (16, 15), (2, 0)] {
        for pause in [Duration::ZERO, Duration::from_millis(15)] {
            let dir = tempfile::tempdir().expect("a folder");
            let error = train_with(dir.path(), bad, pause).expect_err("stops");
            assert!(
                matches!(error, TrainError::NonFinite { step, .. } if step == bad),
                "{error:?}"
            );
            assert_eq!(
                error.to_string(),
                format!("step {bad}: `loss` is NaN; the run stops here, its last checkpoint is step {kept}")
            );
            let last = last_complete(&dir.path().join("checkpoint")).unwrap_or(0) * EVERY;
            assert_eq!(last, kept, "step {bad} was not finite");
            // With the cause gone the run goes on from there, as if nothing had been.
            assert!(train_with(dir.path(), 0, Duration::ZERO).expect("goes on") == whole);
        }
    }
}

#[test]
fn a_run_that_is_asked_to_stop_saves_the_step_that_it_is_at_and_goes_on_from_there() {
    let straight = tempfile::tempdir().expect("a folder");
    let whole = train_with(straight.path(), 0, Duration::ZERO).expect("trains");
    let options = SessionOptions::new(N_STEPS, EVERY);
    let dir = tempfile::tempdir().expect("a folder");
    // Before the first checkpoint, twice within an epoch, at the end of one, at the start of one.
    for last in [2, 11, 13, 20, 26] {
        let done = resumable_step(dir.path(), &options);
        let ended = train_until(dir.path(), 0, Duration::ZERO, Some(last));
        let Err(TrainError::Interrupted { step, n_steps }) = ended else {
            // A stop that comes when all is done changes nothing.
            assert!(last <= done || resumable_step(dir.path(), &options) == N_STEPS);
            continue;
        };
        assert_eq!(n_steps, N_STEPS);
        assert!(step >= last && step > done, "asked at {last}, stopped at {step}");
        assert_eq!(resumable_step(dir.path(), &options), step);
    }
    assert!(resumable_step(dir.path(), &options) >= 2, "nothing was saved");
    // Records of a step that was cut off do not count; those of the checkpoint before do.
    let folder = dir.path().join("checkpoint");
    let of_steps = || {
        let files = std::fs::read_dir(&folder)
            .expect("a folder")
            .flatten()
            .map(|e| e.path());
        files
            .filter(|path| path.to_string_lossy().contains("-at-"))
            .collect::<Vec<_>>()
    };
    for path in of_steps() {
        std::fs::write(path, "cut").expect("written");
    }
    assert_eq!(resumable_step(dir.path(), &options) % EVERY, 0);
    assert!(train_with(dir.path(), 0, Duration::ZERO).expect("goes on") == whole);
    assert_eq!(of_steps(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_sink_that_cannot_write_stops_the_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let sink: MetricSink = Box::new(|_, step, _| match step {
        7 => Err(eclipse_t2i::files::FileError::Missing("metrics".into())),
        _ => Ok(()),
    });
    let session = SessionOptions::new(N_STEPS, EVERY);
    let batches = eclipse_batches(pairs(24), StepLayout::whole(8), 3, NegativeOptions::default());
    let fitted = fit(
        trainer(dir.path(), 0.2),
        adamw().init(),
        one_cycle(N_STEPS),
        batches,
        None,
        Session {
            dir: dir.path(),
            options: session,
            workers: Workers::One,
            sink,
            stop: Stop::default(),
        },
    );
    assert_eq!(
        fitted.err().map(|e| e.to_string()).as_deref(),
        Some("no such file: metrics")
    );
}

#[test]
fn one_batch_is_learned_by_heart() {
    let dir = tempfile::tempdir().expect("a folder");
    let batches = eclipse_batches(pairs(8), StepLayout::whole(8), 3, NegativeOptions::default());
    for lambda in [0.0, 0.2] {
        let mut trainer = trainer(dir.path(), lambda);
        let (mut optimizer, mut schedule) = (adamw().init(), one_cycle(150));
        let loss = |trainer: &EclipseTrainer| {
            let (_, loss) = trainer.loss(
                batches(1, WorkerShard::WHOLE, &device().autodiff())
                    .batches
                    .remove(0),
            );
            loss.total.into_scalar::<f32>()
        };
        let first = loss(&trainer);
        for _ in 0..150 {
            let grads = trainer
                .step(batches(1, WorkerShard::WHOLE, &device().autodiff()))
                .grads;
            trainer = trainer.optimize(&mut optimizer, schedule.step().into(), grads);
        }
        let last = loss(&trainer);
        assert!(
            last * 10.0 < first,
            "lambda {lambda}: {first} fell to {last} only"
        );
    }
}

/// The Diffusion-Baseline's.
fn baseline_path() -> NoisePath {
    let scheduler = Scheduler::new(SchedulerConfig::diffusion_baseline());
    NoisePath::Diffusion {
        alphas_cumprod: scheduler.schedule().alphas_cumprod().to_vec(),
    }
}

/// Gradients of a prior's step, flat.
fn flat<M: Module>(module: &M, grads: &GradientsParams) -> Vec<f32> {
    struct Flat<'a>(&'a GradientsParams, Vec<f32>);
    impl ModuleVisitor for Flat<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.0.get::<D>(param.id) {
                self.1.extend(grad.into_data().iter::<f32>());
            }
        }
    }
    let mut flat = Flat(grads, vec![]);
    module.visit(&mut flat);
    flat.1
}

fn assert_close(a: &[f32], b: &[f32]) {
    let scale = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let far = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(
        a.len() == b.len() && far <= 1e-5 * scale,
        "{far} apart, on values up to {scale}"
    );
}

#[test]
fn a_step_is_the_same_in_parts_and_on_several_devices() {
    let dir = tempfile::tempdir().expect("a folder");
    let home = device().autodiff();
    let cut = |batch_size, n_batches, n_devices| StepLayout {
        batch_size,
        n_batches,
        devices: vec![home.clone(); n_devices],
    };
    let gather = NegativeOptions {
        gather: true,
        ..NegativeOptions::default()
    };
    let trainer = trainer(dir.path(), 0.2);
    let eclipse = |cut: StepLayout, negatives| {
        let output = trainer.step(eclipse_batches(pairs(24), cut, 3, negatives)(
            2,
            WorkerShard::WHOLE,
            &home,
        ));
        let values: Vec<f32> = output.item.values.into_data().iter::<f32>().collect();
        (flat(&trainer, &output.grads), values)
    };
    let whole = eclipse(cut(12, 1, 0), NegativeOptions::default());
    let alone = eclipse(cut(4, 3, 0), gather);
    assert_eq!(
        alone,
        eclipse(cut(4, 3, 2), gather),
        "on two devices, the second of which gets one part"
    );
    assert_eq!(alone, eclipse(cut(4, 3, 3), gather), "on three");
    assert_close(&alone.0, &whole.0);
    // All values but the share of the contrastive term, which is a ratio of means in one and a mean of ratios in the other.
    for (i, (a, b)) in alone.1.iter().zip(&whole.1).enumerate().filter(|(i, _)| *i != 3) {
        assert!((a - b).abs() <= 1e-4 * b.abs(), "value {i}: {a}, {b}");
    }
    let own = eclipse(cut(4, 3, 0), NegativeOptions::default());
    assert!(own.1[2] < whole.1[2], "fewer texts stand against an image");

    let trainer = time_conditioned(dir.path());
    let noising = NoisingOptions {
        path: baseline_path(),
        cond_drop: 0.3,
        whitening: None,
    };
    let diffusion = |cut| {
        let batch = noised_batches(pairs(24), noising.clone(), cut, 3)(2, WorkerShard::WHOLE, &home);
        flat(&trainer, &trainer.step(batch).grads)
    };
    let alone = diffusion(cut(4, 3, 0));
    assert_eq!(alone, diffusion(cut(4, 3, 3)));
    assert_close(&alone, &diffusion(cut(12, 1, 0)));
}

#[test]
fn mixed_precision_has_the_gradients_of_f32_to_rounding() {
    let dir = tempfile::tempdir().expect("a folder");
    let home = device().autodiff();
    let start = trainer(dir.path(), 0.2).into_network();
    let gradients = |compute| {
        let update = UpdateOptions {
            compute,
            ..UpdateOptions::default()
        };
        let trainer = Trainer::new(start.clone(), criterion(0.2), update, blank_prior);
        let batches = eclipse_batches(pairs(24), StepLayout::whole(12), 3, NegativeOptions::default());
        let output = trainer.step(batches(2, WorkerShard::WHOLE, &home));
        flat(&trainer, &output.grads)
    };
    let (exact, mixed) = (gradients(Precision::F32), gradients(Precision::Bf16));
    assert_ne!(mixed, exact);
    assert_eq!(mixed, gradients(Precision::Bf16), "the same step twice");
    assert_eq!(mixed.len(), exact.len(), "of every parameter");
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let cos = dot(&mixed, &exact) / (dot(&mixed, &mixed) * dot(&exact, &exact)).sqrt();
    assert!(cos > 0.999, "{cos}");
}

#[test]
fn mixed_precision_keeps_parameters_in_f32_and_repeats_itself() {
    let train = |compute| {
        let dir = tempfile::tempdir().expect("a folder");
        let how = Validated {
            cut: StepLayout::whole(8),
            workers: Workers::One,
            adamw: adamw(),
            lr: 1e-3,
            grad_clip: Some(1.0),
            compute,
        };
        let (found, trained) = train_validated(dir.path(), 2 * EVERY, how);
        let (_, best) = Best::load(&checkpoints(dir.path()), trained.clone())
            .expect("reads")
            .expect("is kept");
        for trainer in [&trained, &best] {
            trainer.visit(&mut AllF32);
        }
        (found, weights(trained.result()))
    };
    let mixed = train(Precision::Bf16);
    assert_eq!(mixed, train(Precision::Bf16));
    let exact = train(Precision::F32);
    assert_ne!(mixed, exact);
    for ((phase, step, loss), (.., exact)) in mixed.0.iter().zip(&exact.0) {
        assert!(
            (loss - exact).abs() < 0.01 * exact,
            "{phase:?} {step}: {loss}, {exact}"
        );
    }
}

/// Asserts that every parameter is f32.
struct AllF32;

impl ModuleVisitor for AllF32 {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        assert_eq!(param.val().dtype(), DType::F32);
    }
}

/// How a validated run is trained.
#[derive(Clone)]
struct Validated {
    cut: StepLayout,
    workers: Workers,
    adamw: AdamWOptions,
    lr: f64,
    grad_clip: Option<f64>,
    compute: Precision,
}

/// Trains for these steps with a moving average and a validation; the losses that the sink got, and the trained.
fn train_validated(dir: &Path, n_steps: usize, how: Validated) -> (Vec<(Phase, usize, f32)>, EclipseTrainer) {
    let found = Arc::new(Mutex::new(Vec::new()));
    let sink: MetricSink = Box::new({
        let found = found.clone();
        move |phase, step, values| {
            assert_eq!(values[0].0, "loss");
            found.lock().expect("one writer").push((phase, step, values[0].1));
            Ok(())
        }
    });
    let held_out = eclipse_batches(pairs(8), StepLayout::whole(4), 5, NegativeOptions::default());
    let validation = Validation {
        n_batches: 2,
        batch: Arc::new(move |i, device: &Device| {
            held_out(i + 1, WorkerShard::WHOLE, device).batches.remove(0)
        }),
    };
    let mut start = trainer(dir, 0.2);
    start = Trainer::new(
        start.into_network(),
        criterion(0.2),
        UpdateOptions {
            compute: how.compute,
            ema_decay: Some(0.9),
            grad_clip: how.grad_clip,
            sum: match how.workers {
                Workers::MultiDevice(_) => GradientSum::Optimizer,
                _ => GradientSum::Backward,
            },
        },
        blank_prior,
    );
    let gather = NegativeOptions {
        gather: true,
        ..NegativeOptions::default()
    };
    let trained = fit(
        start,
        how.adamw.init(),
        SteppedLr::new(LrSchedule::Constant { lr: how.lr }),
        eclipse_batches(pairs(24), how.cut, 3, gather),
        Some(validation),
        Session {
            dir,
            options: SessionOptions::new(n_steps, EVERY),
            workers: how.workers,
            sink,
            stop: Stop::default(),
        },
    )
    .expect("trains");
    let found = found.lock().expect("the writer is gone").clone();
    (found, trained)
}

#[test]
fn validation_says_which_checkpoint_was_best_and_that_one_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let how = Validated {
        cut: StepLayout::whole(8),
        workers: Workers::One,
        adamw: adamw(),
        lr: 0.02, // so high that soon the pairs are known by heart and others are not
        grad_clip: Some(1.0),
        compute: Precision::F32,
    };
    let one = |dir: &Path, n_steps| {
        let (found, trained) = train_validated(dir, n_steps, how.clone());
        let valid = found.into_iter().filter(|found| found.0 == Phase::Valid);
        (
            valid.map(|(_, step, loss)| (step, loss)).collect::<Vec<_>>(),
            trained,
        )
    };
    let (found, trained) = one(dir.path(), 60);
    assert_eq!(
        found.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        (1..=12).map(|epoch| epoch * EVERY).collect::<Vec<_>>()
    );
    let lowest = found
        .iter()
        .copied()
        .reduce(|a, b| if b.1 < a.1 { b } else { a })
        .expect("some");
    assert!(lowest.0 < 60 - EVERY, "none of the last two: {found:?}");
    let (best, kept) = Best::load(&checkpoints(dir.path()), trained.clone())
        .expect("reads")
        .expect("is kept");
    assert_eq!((best.step, best.loss), lowest);

    // What is kept is what was measured: the average, as it was then.
    let held_out = eclipse_batches(pairs(8), StepLayout::whole(4), 5, NegativeOptions::default());
    let loss = |trainer: &EclipseTrainer| {
        let one = |i| {
            let part = held_out(i, WorkerShard::WHOLE, &device()).batches.remove(0);
            burn::train::InferenceStep::step(trainer, part)
                .values
                .into_data()
                .iter::<f32>()
                .next()
                .expect("a loss")
        };
        (one(1) + one(2)) / 2.0
    };
    assert!((loss(&kept) - lowest.1).abs() <= 1e-5 * lowest.1);
    assert!(loss(&trained) > lowest.1);

    // StepLayout off and continued, the same: the best of the first part is not forgotten.
    let halves = tempfile::tempdir().expect("a folder");
    let (first, _) = one(halves.path(), 40);
    let (second, end) = one(halves.path(), 60);
    assert_eq!([first, second].concat(), found);
    assert_eq!(weights(end.result()), weights(trained.result()));
    assert_ne!(
        weights(trained.network()),
        weights(trained.result()),
        "an average is something else"
    );
    let again = Best::load(&checkpoints(halves.path()), end)
        .expect("reads")
        .expect("is kept")
        .0;
    assert_eq!(again, best);
}

/// Parameters, flat.
fn weights<M: Module>(module: &M) -> Vec<f32> {
    struct All(Vec<f32>);
    impl ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().iter::<f32>());
        }
    }
    let mut all = All(vec![]);
    module.visit(&mut all);
    all.0
}

#[test]
fn burn_trains_workers_train_to_the_same() {
    let train = |dir: &tempfile::TempDir, n_steps, workers, grad_clip| {
        let how = Validated {
            cut: StepLayout {
                batch_size: 4,
                n_batches: 6,
                devices: vec![],
            },
            workers,
            // All but plain gradient descent, so that the size of a gradient shows and rounding does not grow.
            adamw: AdamWOptions {
                eps: 1e3,
                weight_decay: 0.0,
                ..adamw()
            },
            lr: 100.0,
            grad_clip,
            compute: Precision::F32,
        };
        train_validated(dir.path(), n_steps, how)
    };
    // Bounds: f32 sums in another order, of which 5e-6 of the way and 2e-7 of a loss were seen, twenty and fifty times over.
    let folder = || tempfile::tempdir().expect("a folder");
    let devices = |n| Workers::MultiDevice(vec![device().autodiff(); n]);
    let start = weights(trainer(folder().path(), 0.2).result());
    for grad_clip in [None, Some(0.05)] {
        let (losses, alone) = train(&folder(), 12, Workers::One, grad_clip);
        let check = |(found, trained): (Vec<(Phase, usize, f32)>, EclipseTrainer)| {
            let places = |all: &[(Phase, usize, f32)]| all.iter().map(|f| (f.0, f.1)).collect::<Vec<_>>();
            assert_eq!(places(&found), places(&losses), "one report a step");
            for (found, loss) in found.iter().zip(&losses) {
                assert!((found.2 - loss.2).abs() <= 1e-5 * loss.2, "{found:?}, {loss:?}");
            }
            for (a, b) in [
                (weights(trained.network()), weights(alone.network())),
                (weights(trained.result()), weights(alone.result())),
            ] {
                let largest = |a: &[f32]| a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                let (far, way) = (largest(&a), largest(&start));
                assert!(far <= 1e-4 * way, "{far} apart after a way of {way}");
            }
        };
        check(train(&folder(), 12, devices(2), grad_clip));
        check(train(&folder(), 12, devices(3), grad_clip));
        // Begun by two workers, ended by three.
        let dir = folder();
        let (begun, _) = train(&dir, 10, devices(2), grad_clip);
        let (ended, trained) = train(&dir, 12, devices(3), grad_clip);
        check(([begun, ended].concat(), trained));
    }
}

/// Losses of 20 steps.
fn curve<M, B, V>(
    model: M,
    batch: impl Fn(usize, WorkerShard, &Device) -> B + Send + Sync + 'static,
) -> Vec<f64>
where
    B: Send + 'static,
    V: Send + 'static,
    M: burn::train::LearnerModel
        + TrainStep<Input = B, Output = eclipse_t2i::train::session::StepReport>
        + burn::train::InferenceStep<Input = V, Output = eclipse_t2i::train::session::StepReport>,
{
    let dir = tempfile::tempdir().expect("a folder");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink: MetricSink = Box::new({
        let seen = seen.clone();
        move |_, step, values| {
            assert_eq!(values[0].0, "loss");
            let mut seen = seen.lock().expect("one writer");
            assert_eq!(step, seen.len() + 1, "steps come in order");
            seen.push(f64::from(values[0].1));
            Ok(())
        }
    });
    let session = SessionOptions::new(20, 20);
    fit(
        model,
        adamw().init(),
        one_cycle(20),
        batch,
        None,
        Session {
            dir: dir.path(),
            options: session,
            workers: Workers::One,
            sink,
            stop: Stop::default(),
        },
    )
    .expect("trains");
    let seen = seen.lock().expect("the writer is gone");
    seen.clone()
}

/// Rounding of f32 sums, which differs between machines, carried through 20 steps.
const CURVE_TOLERANCE: f64 = 1e-4;

#[test]
fn loss_curves_are_the_committed_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let noising = NoisingOptions {
        path: baseline_path(),
        cond_drop: 0.1,
        whitening: Some(pairs(24).statistics()),
    };
    let computed = serde_json::json!({
        "eclipse": curve(trainer(dir.path(), 0.2), eclipse_batches(pairs(24), StepLayout::whole(8), 3, NegativeOptions::default())),
        "projection": curve(trainer(dir.path(), 0.0), eclipse_batches(pairs(24), StepLayout::whole(8), 3, NegativeOptions::default())),
        "diffusion": curve(time_conditioned(dir.path()), noised_batches(pairs(24), noising, StepLayout::whole(8), 3)),
    });
    let path = golden("loss_curves.json");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let committed: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let numbers =
        |v: &serde_json::Value| -> Vec<f64> { serde_json::from_value(v.clone()).unwrap_or_default() };
    for (name, curve) in computed.as_object().expect("three") {
        let (curve, want) = (numbers(curve), numbers(&committed[name]));
        let same = |(a, b): (&f64, &f64)| (a - b).abs() <= CURVE_TOLERANCE * b.abs();
        assert!(
            want.len() == 20 && curve.iter().zip(&want).all(same),
            "{name} has another curve. If that is meant, make {} this:\n{computed}",
            path.display()
        );
    }
}
