//! Sweeps with a stand-in for training: skipping, resuming, failing, and being killed at any moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eclipse_t2i::eval::kept_images::{KeptImage, KeptImages};
use eclipse_t2i::eval::{EvalFile, Metric};
use eclipse_t2i::experiment::report_spec::ReportSpec;
use eclipse_t2i::experiment::spec::Objective;
use eclipse_t2i::experiment::sweep_runner::{SweepOptions, run_path, sweep};
use eclipse_t2i::experiment::{
    Failure, MetricRow, MetricsLog, Outcome, ResolvedRun, RunDir, Runner, SweepSpec, Trial,
};
use eclipse_t2i::files;
use eclipse_t2i::noise::{Noise, Stream};
use eclipse_t2i::report::{About, Order, Report, ReportFiles};
use eclipse_t2i::train::stop::Stop;
use rand_chacha::rand_core::Rng;

const SPEC: &str = "
baselines = ['ridge']
[train]
steps = 12
checkpoint_every = 4
[axes]
objective.eclipse = { kind = 'eclipse' }
objective.projection = { kind = 'projection' }
seed = [0, 1]
[report]
reference = 'eclipse'
columns = ['forced_choice/all', 'frechet@all']
preference = { metric = 'forced_choice/all@unseen', round_robin = true }
";

/// A sweep over an axis of numbers.
const NUMBERS: &str = "
baselines = ['ridge']
[train]
steps = 12
checkpoint_every = 4
[axes]
'objective.lambda' = [0.0, 0.02, 0.2]
seed = [0, 1]
[report]
reference = 'lambda=0'
columns = ['forced_choice/all', 'frechet@all']
curve = { x = 'objective.lambda', log = true, metrics = ['forced_choice/all@unseen', 'frechet@all'] }
";

const README: &str =
    "# toy: does it work?\n\n**Claim:** [the log](../LOG.md) says so.\n\nMore, with <tags>.\n";

/// A prompt that a page must not take for HTML.
pub const PROMPT: &str = "a <b>red</b> cup & a \"blue\" dog";

/// Steps like a trainer: its weights are one number that depends on every step, checkpointed with the noise.
#[derive(Default)]
pub struct Pretend {
    /// Time that a step takes.
    pub pause: Duration,
    /// Label of the objective that fails at step 6, if any.
    fails: Mutex<Option<&'static str>>,
    /// Label of the objective whose held-out loss still falls at the last step, if any.
    improves: Option<&'static str>,
    begun: AtomicUsize,
}

impl Runner for Pretend {
    fn inputs(&self, _run: &ResolvedRun) -> Result<BTreeMap<String, String>, Failure> {
        Ok([("clip".to_owned(), "c0ffee".to_owned())].into())
    }

    fn execute(&self, run: &ResolvedRun, dir: &RunDir) -> Result<(), Failure> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let checkpoint = dir.checkpoint_dir().join("state.json");
        files::create_dir(dir.checkpoint_dir())?;
        let (mut step, mut weight) = match files::read_text(&checkpoint) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => (0usize, run.seed() as f64),
        };
        let mut log = MetricsLog::open_after(dir.metrics_path(), step)?;
        while step < run.train().steps.min(12) {
            step += 1;
            let failing = *self.fails.lock().expect("not poisoned") == Some(run.objective().kind());
            if step == 6 && failing {
                return Err(format!("loss is not finite at step {step}").into());
            }
            weight = (weight * 1.5 + step as f64).sin();
            log.log(step, 0, "train", &[("loss", weight)])?;
            let held_out = match self.improves == Some(run.objective().kind()) {
                true => 1.0 / step as f64,
                false => 1.0 + 0.5f64.powi(3 * step as i32),
            };
            log.log(step, 0, "valid", &[("loss", held_out)])?;
            std::thread::sleep(self.pause);
            if step % run.train().checkpoint_every == 0 {
                files::write_atomic(&checkpoint, serde_json::to_string(&(step, weight))?.as_bytes())?;
            }
        }
        let skill = match run.objective() {
            Objective::Eclipse(_) => 0.8,
            Objective::Projection(_) => 0.6,
            _ => 0.5,
        };
        let mut noise = Noise::of(run.seed(), Stream::Test(weight.to_bits()));
        let mut scores = Vec::new();
        for (split, n) in [("seen", 40), ("unseen", 30)] {
            let draw = |p| {
                (
                    p,
                    f64::from(f64::from(noise.rng().next_u32()) / f64::from(u32::MAX) < skill),
                )
            };
            scores.push(Metric::per_prompt(
                "forced_choice/all",
                split,
                &(0..n).map(draw).collect::<Vec<_>>(),
            ));
        }
        scores.push(Metric::scalar("frechet", "all", 1.0 - skill + weight / 50.0, 70));
        EvalFile::new(scores).write(dir.eval_path("embedding"))?;
        keep_pictures(run.seed(), dir)
    }
}

/// A picture of each split, one right and one wrong.
fn keep_pictures(seed: u64, dir: &RunDir) -> Result<(), Failure> {
    files::create_dir(dir.images_dir())?;
    let mut shown = Vec::new();
    for (split, colour) in [("seen", true), ("unseen", false)] {
        let file = format!("{split}.png");
        let shade = image::Rgb([40 * seed as u8, 90, if colour { 200 } else { 20 }]);
        image::RgbImage::from_pixel(16, 16, shade).save(dir.images_dir().join(&file))?;
        shown.push(KeptImage {
            prompt: format!("{PROMPT}, {split}"),
            split: split.into(),
            file,
            verdict: vec![("object".into(), true), ("colour".into(), colour)],
        });
    }
    Ok(KeptImages::new(shown).write(&dir.images_dir())?)
}

/// The sweep above, in a folder of its own.
pub struct Bench {
    temp: tempfile::TempDir,
    pub trials: Vec<Trial>,
    pub spec: SweepSpec,
}

impl Bench {
    pub fn new() -> Self {
        Self::of(SPEC)
    }

    /// Over an axis of numbers.
    pub fn over_numbers() -> Self {
        Self::of(NUMBERS)
    }

    fn of(text: &str) -> Self {
        let temp = tempfile::tempdir().expect("temporary folder");
        let folder = temp.path().join("toy");
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("sweep.toml"), text).expect("written");
        std::fs::write(folder.join("README.md"), README).expect("written");
        let spec = SweepSpec::read(&folder.to_string_lossy(), &[], false).expect("valid");
        Self {
            trials: spec.expand().expect("valid"),
            spec,
            temp,
        }
    }

    pub fn root(&self) -> &Path {
        self.temp.path()
    }

    pub fn runs(&self) -> PathBuf {
        self.temp.path().join("runs/toy")
    }

    pub fn dirs(&self) -> Vec<PathBuf> {
        self.trials.iter().map(|p| run_path(&self.runs(), p)).collect()
    }

    pub fn sweep(&self, executor: &Pretend, jobs: usize) -> Vec<Outcome> {
        sweep(&self.trials, &options(self.runs(), jobs), executor, &|_| ())
    }

    /// Reads the runs and writes their report where committed results lie; returns it and the folder.
    pub fn report(&self) -> (Report, PathBuf) {
        let report = Report::read("toy", &self.runs(), &self.dirs(), self.spec.report()).expect("readable");
        let out = self.spec.folder().join("results");
        let about = About::read(self.spec.folder(), &out).expect("readable");
        report
            .write(&out, self.spec.report(), &about, ReportFiles::All)
            .expect("writable");
        (report, out)
    }

    /// What the runs found out: metrics and scores of each.
    fn results(&self) -> Vec<(Vec<MetricRow>, EvalFile)> {
        let read = |dir: &PathBuf| {
            let dir = RunDir::new(dir);
            let rows = MetricsLog::read(dir.metrics_path()).expect("readable");
            (
                rows,
                EvalFile::read(dir.eval_path("embedding")).expect("readable"),
            )
        };
        self.dirs().iter().map(read).collect()
    }
}

fn options(runs: PathBuf, jobs: usize) -> SweepOptions {
    SweepOptions {
        runs,
        experiment: "toy".into(),
        device: "flex".into(),
        jobs,
        tracker: None,
        stop: Stop::default(),
    }
}

fn count(outcomes: &[Outcome], is: impl Fn(&Outcome) -> bool) -> usize {
    outcomes.iter().filter(|o| is(o)).count()
}

#[test]
fn finished_runs_are_skipped() {
    let bench = Bench::new();
    let executor = Pretend::default();
    assert_eq!(
        count(&bench.sweep(&executor, 1), |o| matches!(
            o,
            Outcome::Done { resumed: false, .. }
        )),
        5
    );
    assert_eq!(
        count(&bench.sweep(&executor, 1), |o| matches!(o, Outcome::Skipped)),
        5
    );
    assert_eq!(executor.begun.load(Ordering::Relaxed), 5);
}

#[test]
fn jobs_change_nothing_in_the_results() {
    let (one, four) = (Bench::new(), Bench::new());
    assert!(one.sweep(&Pretend::default(), 1).iter().all(Outcome::is_done));
    let slow = Pretend {
        pause: Duration::from_millis(1),
        ..Pretend::default()
    };
    assert!(four.sweep(&slow, 4).iter().all(Outcome::is_done));
    assert_eq!(one.results(), four.results());
}

#[test]
fn a_run_that_fails_does_not_stop_the_others_and_resumes() {
    let whole = Bench::new();
    assert!(whole.sweep(&Pretend::default(), 1).iter().all(Outcome::is_done));
    let bench = Bench::new();
    let executor = Pretend::default();
    *executor.fails.lock().expect("not poisoned") = Some("projection");
    let outcomes = bench.sweep(&executor, 1);
    assert_eq!(count(&outcomes, Outcome::is_done), 3);
    let said = outcomes.iter().find_map(|o| match o {
        Outcome::Failed(failure) => Some(failure.to_string()),
        _ => None,
    });
    assert_eq!(said.as_deref(), Some("loss is not finite at step 6"));
    *executor.fails.lock().expect("not poisoned") = None;
    let outcomes = bench.sweep(&executor, 1);
    assert_eq!(
        count(&outcomes, |o| matches!(o, Outcome::Done { resumed: true, .. })),
        2
    );
    assert_eq!(count(&outcomes, |o| matches!(o, Outcome::Skipped)), 3);
    assert_eq!(bench.results(), whole.results());
}

/// Not a test by itself: the process that [`a_sweep_killed_at_any_moment_resumes`] kills.
#[test]
fn killed_child() {
    let Ok(runs) = std::env::var("ECLIPSE_TEST_KILLED_SWEEP") else {
        return;
    };
    let bench = Bench::new();
    let executor = Pretend {
        pause: Duration::from_millis(4),
        ..Pretend::default()
    };
    sweep(&bench.trials, &options(runs.into(), 2), &executor, &|_| ());
}

#[test]
fn a_sweep_killed_at_any_moment_resumes() {
    let whole = Bench::new();
    assert!(whole.sweep(&Pretend::default(), 1).iter().all(Outcome::is_done));
    let bench = Bench::new();
    let mut cut = 0;
    for wait in [25, 8, 40, 3, 60, 15, 90, 30] {
        let mut child = Command::new(std::env::current_exe().expect("a test binary"))
            .args(["--exact", "sweep::killed_child", "--test-threads=1"])
            .env("ECLIPSE_TEST_KILLED_SWEEP", bench.runs())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().expect("killed");
        child.wait().expect("reaped");
        cut += bench
            .dirs()
            .iter()
            .filter(|d| d.exists() && !RunDir::new(d).is_done())
            .count();
    }
    assert!(cut > 0, "no run was ever cut short: the test tests nothing");
    assert!(bench.sweep(&Pretend::default(), 1).iter().all(Outcome::is_done));
    assert_eq!(bench.results(), whole.results());
    for dir in bench.dirs() {
        let names = std::fs::read_dir(&dir).expect("readable").flatten();
        let litter = names
            .filter(|e| e.file_name().to_string_lossy().starts_with(".tmp-"))
            .count();
        assert_eq!(litter, 0, "{}", dir.display());
        assert!(
            RunDir::new(&dir)
                .provenance()
                .expect("readable")
                .sessions
                .iter()
                .any(|s| s.end.is_some())
        );
    }
}

#[test]
fn a_run_that_another_process_holds_is_left_alone() {
    let bench = Bench::new();
    let first = RunDir::new(&bench.dirs()[0]);
    let claim = first
        .claim(bench.trials[0].run(), &Default::default())
        .expect("free")
        .expect("new");
    let outcomes = bench.sweep(&Pretend::default(), 1);
    assert!(matches!(&outcomes[0], Outcome::Busy { pid } if *pid == std::process::id().to_string()));
    assert_eq!(count(&outcomes, Outcome::is_done), 4);
    drop(claim);
}

#[test]
fn a_disk_that_refuses_is_named_and_nothing_is_left() {
    let bench = Bench::new();
    std::fs::write(bench.root().join("runs"), "a file where the folder should be").expect("written");
    let outcomes = bench.sweep(&Pretend::default(), 1);
    let Outcome::Failed(failure) = &outcomes[0] else {
        panic!("a run cannot lie inside a file")
    };
    let chain = std::iter::successors(Some(failure.as_ref() as &dyn std::error::Error), |e| e.source());
    let said = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let dir = bench.dirs()[0].display().to_string();
    assert!(
        said.starts_with(&format!("cannot use run directory {dir}: cannot create {dir}: ")),
        "{said}"
    );
    assert!(bench.root().join("runs").is_file());
}

#[test]
fn a_report_comes_from_run_directories_only() {
    let bench = Bench::new();
    bench.sweep(&Pretend::default(), 1);
    let (report, out) = bench.report();
    let systems: Vec<_> = report
        .systems
        .iter()
        .map(|s| (s.label.as_str(), s.n_runs))
        .collect();
    assert_eq!(systems, [("eclipse", 2), ("projection", 2), ("ridge", 1)]);
    for system in &report.systems {
        for (key, cell) in &system.cells {
            let is_per_prompt = key.name.starts_with("forced_choice");
            assert_eq!(cell.has_interval, is_per_prompt || system.n_runs > 1);
            assert!(
                cell.interval.contains(cell.interval.value),
                "{} {key:?}",
                system.label
            );
            assert_eq!(
                cell.difference.is_some(),
                is_per_prompt && system.label != "eclipse"
            );
        }
    }
    let mean = |i: usize| {
        let found = bench.results();
        let runs = bench.dirs().into_iter().zip(found).filter(|(d, _)| {
            d.to_string_lossy()
                .contains(&format!("objective-{}", systems[i].0))
        });
        let values: Vec<f64> = runs
            .map(|(_, (_, eval))| eval.get("forced_choice/all", "unseen").expect("there").value)
            .collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    for (i, system) in report.systems.iter().enumerate() {
        let key = report
            .metrics
            .iter()
            .find(|k| k.split == "unseen")
            .expect("there");
        // Score files keep 9 digits.
        let (shown, expected) = (system.cells[key].interval.value, mean(i));
        assert!(
            (shown - expected).abs() < 1e-8,
            "{}: {shown}, expected {expected}",
            system.label
        );
    }
    let markdown = files::read_text(out.join("README.md")).expect("written");
    let made = markdown.lines().last().expect("not empty");
    assert!(made.starts_with("5 finished runs; code "), "{made}");
    insta::assert_snapshot!("report_markdown", markdown.replace(made, "MADE"));
    insta::assert_snapshot!("report_table", report.table(bench.spec.report()));
    insta::assert_snapshot!(
        "report_csv",
        files::read_text(out.join("scores.csv")).expect("written")
    );
    let svg = files::read_text(out.join("figure.svg")).expect("written");
    for text in [
        "ECLIPSE",
        "Projection",
        "ridge regression",
        "embeddings right",
        "frechet",
        "unseen",
    ] {
        assert!(svg.contains(text), "the plot does not say {text}");
    }
    // 2 panels: 3 systems x 2 splits, 3 systems x 1; and the legend's three.
    assert_eq!(svg.matches("<circle").count(), 6 + 3 + 3);
    let preferences = files::read_text(out.join("preferences.csv")).expect("written");
    assert_eq!(
        preferences.lines().count(),
        1 + 6,
        "every system against every other"
    );
    for line in preferences.lines().skip(1) {
        let number = |i: usize| {
            line.split(',')
                .nth(i)
                .and_then(|v| v.parse::<f64>().ok())
                .expect("a number")
        };
        let (win, tie, loss, rate) = (number(4), number(7), number(10), number(13));
        assert!(
            (win + tie + loss - 1.0).abs() < 1e-5 && (win + tie / 2.0 - rate).abs() < 1e-5,
            "{line}"
        );
    }
}

#[test]
fn no_order_is_claimed_where_training_had_not_converged() {
    let bench = Bench::new();
    let executor = Pretend {
        improves: Some("projection"),
        ..Pretend::default()
    };
    bench.sweep(&executor, 2);
    let (report, out) = bench.report();
    let orders: Vec<_> = report
        .claims(&report.select(&["forced_choice/all@unseen".into()]))
        .into_iter()
        .flat_map(|claims| claims.metrics)
        .flat_map(|(_, claims)| claims)
        .map(|claim| (claim.other, claim.order))
        .collect();
    assert_eq!(
        orders,
        [
            ("projection".to_owned(), Order::NotClaimed),
            ("ridge".to_owned(), Order::Above)
        ],
        "eclipse has converged, and ridge needs no training"
    );
    let said = "no order is claimed for them: projection (no: still improving).";
    for file in ["README.md", "index.html"] {
        let text = files::read_text(out.join(file)).expect("written");
        assert!(text.contains(said), "{file}: {text}");
    }
    let csv = files::read_text(out.join("scores.csv")).expect("written");
    let last = |system: &str| {
        let row = csv.lines().find(|line| line.starts_with(system)).expect("a row");
        row.rsplit(',').next().expect("a column").to_owned()
    };
    assert_eq!(
        ["eclipse", "projection", "ridge"].map(last),
        ["yes", "no: still improving", "-"]
    );
}

#[test]
fn curves_have_a_point_for_each_number_and_zero_at_the_left() {
    let bench = Bench::over_numbers();
    bench.sweep(&Pretend::default(), 2);
    let (report, out) = bench.report();
    assert_eq!(report.systems.len(), 4);
    let svg = files::read_text(out.join("figure.svg")).expect("written");
    // 2 panels of one line with three points, and the legend's mark.
    assert_eq!(svg.matches("<circle").count(), 2 * 3 + 1);
    for text in [
        "objective.lambda",
        "ECLIPSE",
        "ridge regression",
        "embeddings right, unseen",
        "frechet",
    ] {
        assert!(svg.contains(text), "the curves do not say {text}");
    }
    // Labels of x stand in their order, zero first.
    let place = |label: &str| {
        let at = svg
            .find(&format!("\n{label}\n"))
            .unwrap_or_else(|| panic!("no label {label} in {svg}"));
        let start = svg[..at].rfind("x=\"").expect("a place") + 3;
        svg[start..]
            .split('"')
            .next()
            .and_then(|x| x.parse::<i32>().ok())
            .expect("a number")
    };
    assert!(place("0") < place("0.02") && place("0.02") < place("0.2"));
    let markdown = files::read_text(out.join("README.md")).expect("written");
    assert!(markdown.contains("![scores](figure.svg)"), "{markdown}");
}

#[test]
fn a_page_holds_everything_and_asks_for_nothing() {
    let bench = Bench::new();
    bench.sweep(&Pretend::default(), 2);
    let (_, out) = bench.report();
    let page = files::read_text(out.join("index.html")).expect("written");
    // Three systems, two prompts each, of the first seed.
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 6);
    assert_eq!(page.matches("<img ").count(), 6);
    assert_eq!(
        (page.matches("✗ colour").count(), page.matches("✓ colour").count()),
        (3, 3)
    );
    for part in [
        "<h1>toy: does it work?</h1>",
        "<strong>Claim:</strong> <a href=\"../../LOG.md\">the log</a>",
        "a &lt;b&gt;red&lt;/b&gt; cup &amp; a",
        "<table id=\"scores\">",
        "Claims of order",
        "Preferences by embeddings right, unseen",
        "<th>objective.kind</th>",
        "<td>&quot;eclipse&quot;</td>",
        "train.steps = 12",
        "clip c0ffee",
        "<a href=\"scores.csv\">",
    ] {
        assert!(page.contains(part), "the page does not say {part}: {page}");
    }
    for part in ["<script", "src=\"http", "url(", "@import", "<b>red", "<tags>"] {
        assert!(!page.contains(part), "the page has {part}");
    }
    let run = out.join("../../runs/toy").join(bench.trials[0].name());
    std::fs::remove_file(run.join("pictures/seen.png")).expect("removed");
    assert!(
        !RunDir::new(&run).is_reportable(),
        "what it recorded is not all there"
    );
    // A run of an earlier version recorded nothing.
    std::fs::remove_file(run.join("SHA256SUMS")).expect("recorded");
    let report = Report::read("toy", &bench.runs(), &bench.dirs(), bench.spec.report()).expect("readable");
    let error = report
        .write(&out, bench.spec.report(), &About::default(), ReportFiles::All)
        .expect_err("a picture is gone");
    let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let said = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    assert!(said.contains("pictures/seen.png"), "{said}");
}

#[test]
fn committed_results_give_the_report_of_their_runs() {
    let bench = Bench::new();
    bench.sweep(&Pretend::default(), 2);
    let (report, out) = bench.report();
    let committed = Report::committed(&bench.spec, &bench.trials)
        .expect("readable")
        .expect("committed");
    assert_eq!(
        (&committed.metrics, &committed.made),
        (&report.metrics, &report.made)
    );
    assert_eq!(committed.csv().expect("CSV"), report.csv().expect("CSV"));
    assert_eq!(
        committed.preferences_csv().expect("CSV"),
        report.preferences_csv().expect("CSV")
    );
    let claims = |report: &Report| report.claims_markdown(&report.select(&bench.spec.report().columns));
    assert_eq!(claims(&committed), claims(&report));
    let referenced = |report: &Report| report.preferences[0].of_reference().len();
    assert_eq!(referenced(&committed), referenced(&report));

    // As it is committed: no page, and the scores packed.
    let written = report
        .write(
            &out,
            bench.spec.report(),
            &About::default(),
            ReportFiles::Committed,
        )
        .expect("published");
    let mut names: Vec<_> = written.iter().flat_map(|path| path.file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        ["README.md", "figure.svg", "preferences.csv", "scores.csv.gz"]
    );
    assert!(!out.join("scores.csv").exists() && !out.join("index.html").exists());
    let packed = Report::committed(&bench.spec, &bench.trials)
        .expect("readable")
        .expect("committed");
    assert_eq!(packed.csv().expect("CSV"), report.csv().expect("CSV"));

    std::fs::write(out.join("scores.csv.gz"), "system,metric").expect("written");
    let error = Report::committed(&bench.spec, &bench.trials)
        .expect_err("no gzip")
        .to_string();
    assert!(error.contains("scores.csv.gz: expected the CSV that"), "{error}");
    std::fs::remove_file(out.join("scores.csv.gz")).expect("removed");
    std::fs::write(out.join("scores.csv"), "system,metric\neclipse,x\n").expect("written");
    let error = Report::committed(&bench.spec, &bench.trials)
        .expect_err("columns lack")
        .to_string();
    assert!(error.contains("scores.csv: expected the CSV that"), "{error}");
}

#[test]
fn a_damaged_run_directory_is_named() {
    let bench = Bench::new();
    bench.sweep(&Pretend::default(), 1);
    let dir = RunDir::new(&bench.dirs()[1]);
    let report = |what: &str| {
        let error =
            Report::read("toy", &bench.runs(), &bench.dirs(), &ReportSpec::default()).expect_err(what);
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let said = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        said.replace(&dir.path().display().to_string(), "RUN")
    };
    let eval = dir.eval_path("embedding");
    let good = files::read(&eval).expect("written");
    files::write_atomic(&eval, &good[..good.len() / 2]).expect("writable");
    let said = report("cut");
    assert!(
        said.contains("RUN/eval/embedding.json was changed or damaged: expected sha256 "),
        "{said}"
    );
    // Runs of earlier versions have no recorded hashes: what cannot be read is still named.
    std::fs::remove_file(dir.path().join("SHA256SUMS")).expect("recorded");
    assert!(
        report("cut")
            .starts_with("cannot use the scores of RUN: RUN/eval/embedding.json is no evaluation file")
    );
    files::write_atomic(&eval, &good).expect("writable");
    files::write_atomic(dir.path().join("provenance.json"), b"{}").expect("writable");
    assert_eq!(
        report("emptied"),
        "RUN/provenance.json: expected JSON of this program's layout, found missing field `version` at line 1 column 2"
    );
}
