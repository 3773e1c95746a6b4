//! Specifications: layers, axes, and what every mistake is answered with.

use std::collections::BTreeMap;
use std::path::Path;

use eclipse_t2i::comparison::{Comparison, is_comparison};
use eclipse_t2i::experiment::spec::Objective;
use eclipse_t2i::experiment::{RunSpec, Setting, SpecError, SweepSpec, Trial, sweep};
use proptest::prelude::*;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let temp = tempfile::tempdir().expect("temporary folder");
    for (name, text) in files {
        let path = temp.path().join(name);
        std::fs::create_dir_all(path.parent().expect("files lie in the folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    temp
}

fn settings(given: &[&str]) -> Vec<Setting> {
    given.iter().map(|s| s.parse().expect("a setting")).collect()
}

fn expand(file: &Path, given: &[&str], smoke: bool) -> Result<Vec<Trial>, SpecError> {
    SweepSpec::read(&file.to_string_lossy(), &settings(given), smoke)?.expand()
}

/// The runs of a sweep file in a folder of its own.
fn planned(text: &str, given: &[&str]) -> Result<Vec<Trial>, SpecError> {
    let temp = folder(&[("x/sweep.toml", text)]);
    expand(&temp.path().join("x"), given, false)
}

fn labels(runs: &[Trial]) -> Vec<String> {
    let label = |p: &Trial| {
        p.axes()
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    runs.iter().map(label).collect()
}

fn lambda(run: &Trial) -> Option<f64> {
    match run.run().objective() {
        Objective::Eclipse(o) => Some(o.lambda),
        _ => None,
    }
}

#[test]
fn later_layers_win() {
    let temp = folder(&[
        (
            "root.toml",
            "seed = 1\n[train]\nsteps = 10\nlr = 1e-3\n[data]\nn_pairs = 300",
        ),
        (
            "deep/base.toml",
            "extends = '../root.toml'\n[train]\nsteps = 20\n[objective]\nlambda = 0.1",
        ),
        (
            "deep/sweep.toml",
            "extends = 'base.toml'\n[train]\nbatch_size = 8\n[axes]\n'objective.lambda' = [0.5, 1]",
        ),
    ]);
    let runs = expand(
        &temp.path().join("deep/sweep.toml"),
        &["train.batch_size=9"],
        false,
    )
    .expect("valid");
    assert_eq!(
        runs.iter().map(lambda).collect::<Vec<_>>(),
        [Some(0.5), Some(1.0)]
    );
    let run = runs[0].run();
    assert_eq!((run.seed(), run.data().n_pairs), (1, 300));
    assert_eq!(
        (run.train().steps, run.train().batch_size, run.train().lr),
        (20, 9, 1e-3)
    );
}

#[test]
fn a_table_of_another_kind_is_replaced() {
    let base = "[objective]\nkind = 'diffusion'\ncond_drop = 0.3\nsampler.steps = 2\n";
    let same = planned(&format!("{base}[axes]\n'objective.sampler.eta' = [0, 1]"), &[]).expect("valid");
    let Objective::Diffusion(d) = same[0].run().objective() else {
        panic!("still diffusion")
    };
    assert_eq!((d.cond_drop, d.sampler.steps, d.sampler.eta), (0.3, 2, 0.0));
    let other = planned(base, &["objective={kind=\"eclipse\"}"]).expect("cond_drop does not leak");
    assert_eq!(lambda(&other[0]), Some(0.2));
}

#[test]
fn axes_multiply_with_the_last_fastest_and_names_are_unique() {
    let text = "[axes]\ndata.n_pairs = [256, 512]\nobjective.e = {kind = 'eclipse'}\nobjective.p = {kind = 'projection'}\nseed = [0, 1]";
    let runs = planned(text, &[]).expect("valid");
    insta::assert_snapshot!(labels(&runs).join("\n"), @r"
    data.n_pairs=256 objective=e seed=0
    data.n_pairs=256 objective=e seed=1
    data.n_pairs=256 objective=p seed=0
    data.n_pairs=256 objective=p seed=1
    data.n_pairs=512 objective=e seed=0
    data.n_pairs=512 objective=e seed=1
    data.n_pairs=512 objective=p seed=0
    data.n_pairs=512 objective=p seed=1
    ");
    let mut names: Vec<_> = runs.iter().map(Trial::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 8);
}

#[test]
fn a_setting_of_an_axis_replaces_it() {
    let text = "[axes]\nobjective.e = {kind = 'eclipse'}\nobjective.p = {kind = 'projection'}\nseed = [0, 1]";
    let labels = |given: &[&str]| labels(&planned(text, given).expect("valid"));
    assert_eq!(labels(&["objective=p", "seed=5"]), ["objective=p seed=5"]);
    assert_eq!(
        labels(&["seed=[7, 8]", "objective=e"]),
        ["objective=e seed=7", "objective=e seed=8"]
    );
}

#[test]
fn an_objectives_key_goes_to_the_runs_that_have_it() {
    let text = "[axes]\nobjective.e = {kind = 'eclipse'}\nobjective.p = {kind = 'projection'}";
    let runs = planned(text, &["objective.lambda=0.5"]).expect("valid");
    assert_eq!(runs.iter().map(lambda).collect::<Vec<_>>(), [Some(0.5), None]);
    let unused = planned(text, &["objective.cond_drop=0.2"])
        .expect_err("no diffusion here")
        .to_string();
    assert_eq!(
        unused,
        "--set objective.cond_drop=0.2: objective.cond_drop: unknown key, expected a key of an objective in this sweep"
    );
    assert!(
        planned(text, &["objective.lamda=0.5"]).is_err(),
        "a typo is not ignored"
    );
}

#[test]
fn baselines_depend_on_the_data_only() {
    let text = "baselines = ['ridge', 'oracle']\n[train]\nsteps = 5\n[axes]\n'data.n_pairs' = [256, 512]\nseed = [0, 1]";
    let names = |given: &[&str]| -> Vec<String> {
        let runs = planned(text, given).expect("valid");
        runs[runs.len() - 4..]
            .iter()
            .map(|p| p.name().to_owned())
            .collect()
    };
    let runs = planned(text, &[]).expect("valid");
    insta::assert_snapshot!(labels(&runs[4..]).join("\n"), @r"
    objective=ridge data.n_pairs=256
    objective=ridge data.n_pairs=512
    objective=oracle data.n_pairs=256
    objective=oracle data.n_pairs=512
    ");
    assert_eq!(
        names(&[]),
        names(&["train.lr=0.1", "seed=3"]),
        "training does not touch them"
    );
    assert_ne!(names(&[]), names(&["eval.seed=3"]));
}

#[test]
fn smoke_makes_runs_tiny_and_keeps_them_apart() {
    let text = "[train]\nsteps = 9000\n[axes]\nseed = [0, 1, 2]\n[smoke]\ntrain.steps = 3\naxes.seed = [4]";
    let temp = folder(&[("x/sweep.toml", text)]);
    let path = temp.path().join("x").to_string_lossy().into_owned();
    let spec = SweepSpec::read(&path, &[], true).expect("valid");
    let runs = spec.expand().expect("valid");
    assert_eq!(
        (spec.name().as_str(), labels(&runs)),
        ("x-smoke", vec!["seed=4".to_owned()])
    );
    assert_eq!(
        (runs[0].run().train().steps, runs[0].run().train().batch_size),
        (3, 16)
    );
    assert!(!spec.is_as_committed());
    let full = SweepSpec::read(&path, &[], false).expect("valid");
    assert_eq!(
        (full.name().as_str(), full.expand().expect("valid").len()),
        ("x", 3)
    );
    assert!(full.is_as_committed());
}

#[test]
fn a_config_read_back_is_the_same_run_under_the_same_hash() {
    let runs = planned("[axes]\n'objective.lambda' = [0.3]", &[]).expect("valid");
    let temp = folder(&[("config.toml", runs[0].run().config())]);
    let again = sweep::single(&temp.path().join("config.toml"), &[]).expect("valid");
    assert_eq!(again.run(), runs[0].run());
}

#[test]
fn every_committed_experiment_resolves_also_under_smoke() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut found = 0;
    for entry in std::fs::read_dir(root).expect("there are experiments").flatten() {
        if entry.path().join("sweep.toml").is_file() {
            found += 1;
            if is_comparison(&entry.path().join("sweep.toml")).expect("readable") {
                for smoke in [false, true] {
                    Comparison::read(&entry.path().join("sweep.toml"), &[], smoke)
                        .unwrap_or_else(|e| panic!("{}: {e}", entry.path().display()));
                }
                continue;
            }
            for smoke in [false, true] {
                let runs = expand(&entry.path(), &[], smoke)
                    .unwrap_or_else(|e| panic!("{}: {e}", entry.path().display()));
                assert!(!runs.is_empty());
            }
            sweep::single(&entry.path().join("base.toml"), &[]).expect("the base is a run by itself");
        }
    }
    assert!(found >= 15);
}

/// Committed results are found by the hash of their run's configuration, which is part of the run's name: no change of the code may move one. Smoke
/// runs have no results.
#[test]
fn committed_runs_keep_their_hashes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut folders: Vec<_> = std::fs::read_dir(root)
        .expect("there are experiments")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("sweep.toml").is_file())
        .filter(|path| !is_comparison(&path.join("sweep.toml")).expect("readable"))
        .collect();
    folders.sort();
    let mut names = String::new();
    for folder in folders {
        let experiment = folder.file_name().expect("a name").to_string_lossy().into_owned();
        for run in expand(&folder, &[], false).expect("valid") {
            names += &format!("{experiment}/{}\n", run.name());
        }
    }
    let moved = names.lines().zip(include_str!("run_names.txt").lines());
    let moved: Vec<_> = moved.filter(|(now, then)| now != then).take(5).collect();
    assert!(
        moved.is_empty() && names == include_str!("run_names.txt"),
        "(now, committed): {moved:#?}; add a new experiment's runs to tests/it/run_names.txt: NAME/ before each line of `eclipse sweep NAME --dry-run`"
    );
}

#[test]
fn the_papers_recipes_say_what_the_paper_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/paper");
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir(&root).expect("there are recipes").flatten() {
        let path = entry.path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_none_or(|e| e != "toml") || name == "base" || name == "lambda-study" {
            continue;
        }
        let planned = sweep::single(&path, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let run = planned.run();
        let (train, model) = (run.train(), run.model());
        assert_eq!(
            (train.steps, train.batch_size, train.accumulate, train.lr),
            (60_000, 256, 4, 5e-5),
            "{name}"
        );
        let trained = |n_heads, d_head, n_layers, d_clip: usize| {
            let d = n_heads * d_head;
            let block = 12 * d * d + 13 * d;
            n_layers * block + d * 81 + 3 * (d_clip * d + d) + d * d_clip + d_clip + 2 * d
        };
        let n = trained(model.n_heads, model.d_head, model.n_layers, 768);
        let wanted = if name == "scale-89m" {
            87_000_000..91_000_000
        } else {
            33_141_504..33_141_505
        };
        assert!(wanted.contains(&n), "{name}: {n} parameters");
        let data = name
            .strip_suffix("-projection")
            .or_else(|| name.strip_suffix("-diffusion"));
        let store = format!(
            "stores/{}",
            if name == "scale-89m" {
                "karlo-cc12m"
            } else {
                data.unwrap_or(&name)
            }
        );
        assert_eq!(run.data().store.as_deref(), Some(Path::new(&store)), "{name}");
        *kinds.entry(run.objective().kind()).or_insert(0) += 1;
    }
    assert_eq!(
        kinds,
        BTreeMap::from([("diffusion", 5), ("eclipse", 6), ("projection", 5)])
    );
    let study = expand(&root.join("lambda-study.toml"), &[], false).expect("a sweep");
    assert_eq!(study.len(), 18);
    assert!(study.iter().all(|planned| planned.run().train().steps == 20_000));
}

/// Every way to get a specification wrong, with its answer.
#[test]
fn mistakes_are_answered_with_file_key_expected_and_found() {
    let cases: &[(&str, &str)] = &[
        ("unknown table", "[trian]\nsteps = 1"),
        ("unknown key", "[train]\nlrr = 1e-3"),
        (
            "unknown nested key",
            "[objective]\nkind = 'diffusion'\nsampler.step = 3",
        ),
        (
            "a key of another kind",
            "[objective]\nkind = 'projection'\nlambda = 0.2",
        ),
        (
            "key of a schedule without keys",
            "[train.schedule]\nkind = 'constant'\nt_0 = 5",
        ),
        ("wrong type", "[train]\nsteps = 'many'"),
        ("negative count", "[data]\nn_pairs = -3"),
        ("fraction for a count", "[train]\nsteps = 1.5"),
        ("number for a switch", "[data]\nholes = 1"),
        ("not a table", "model = 3"),
        ("unknown kind", "[objective]\nkind = 'gan'"),
        ("unknown choice", "[objective]\nreduction = 'max'"),
        ("unknown world", "world = 'coco'"),
        ("tau", "[objective]\ntau = 'learned'"),
        ("tau range", "[objective]\ntau = 0"),
        ("lambda range", "[objective]\nlambda = -0.1"),
        ("not finite", "[train]\nlr = nan"),
        ("betas", "[train]\nbetas = [0.9, 1.0]"),
        ("three betas", "[train]\nbetas = [0.9, 0.9, 0.9]"),
        ("batch beyond the pairs", "[data]\nn_pairs = 10"),
        (
            "steps of the sampler",
            "[objective]\nkind = 'diffusion'\ntrain_steps = 10",
        ),
        (
            "schedule that the sampler's file cannot hold",
            "[objective]\nkind = 'diffusion'\nsampler.scheduler = 'unclip'",
        ),
        ("steps of a flow", "[objective]\nkind = 'flow'\nsampler.steps = 0"),
        ("guidance of a flow", "[objective]\nkind = 'flow'\ncond_drop = 0"),
        ("a flow has no eta", "[objective]\nkind = 'flow'\nsampler.eta = 0"),
        (
            "what a flow predicts",
            "[objective]\nkind = 'flow'\nprediction = 'epsilon'",
        ),
        ("form of the first term", "[objective]\nprojection = 'l1'"),
        ("form of the second term", "[objective]\ncontrastive = 'triplet'"),
        ("huber_delta", "[objective]\nhuber_delta = 0"),
        ("siglip_bias", "[objective]\nsiglip_bias = inf"),
        (
            "sum of a cosine",
            "[objective]\nprojection = 'cosine'\nreduction = 'sum'",
        ),
        (
            "direction of siglip",
            "[objective]\ncontrastive = 'siglip'\ndirection = 'symmetric'",
        ),
        ("no device", "[objective]\ndevices = 0"),
        ("more devices than pairs", "[objective]\ndevices = 4"),
        ("more in the queue than pairs", "[objective]\nqueue = 1001"),
        (
            "texts that nothing looks at",
            "[objective]\nqueue = 10\ndirection = 'text_to_image'",
        ),
        ("gathered from nowhere", "[objective]\ngather = true"),
        ("no step", "[train]\naccumulate = 0"),
        ("an average that stands still", "[train]\nema_decay = 1.0"),
        ("one checkpoint", "[train]\nkeep_checkpoints = 1"),
        ("another store for a world", "[data]\nvalidation = 'a'"),
        ("patience with nothing", "[train]\npatience = 3"),
        (
            "patience without checkpoints",
            "[data]\nn_validation = 10\n[train]\npatience = 3\ncheckpoint_every = 0",
        ),
        ("the best of nothing", "[eval]\ncheckpoint = 'best'"),
        (
            "validated twice",
            "[data]\nstore = 'a'\nvalidation = 'b'\nn_validation = 10",
        ),
        (
            "pictures of a store",
            "[data]\nstore = 'a'\n[eval]\nn_pictures = 10",
        ),
        (
            "meanings in a store",
            "[data]\nstore = 'a'\n[objective]\nfalse_negatives = 'mask_meaning'",
        ),
        (
            "a baseline of a store",
            "[data]\nstore = 'a'\n[objective]\nkind = 'baseline'",
        ),
        ("false negatives", "[objective]\nfalse_negatives = 'mask'"),
        ("conditioning", "[model]\nconditioning = 'tokens'"),
        ("slice", "[data]\nslice = 'half'"),
        ("captions", "[data]\ncaptions = 'long'"),
        (
            "betas of the noise",
            "[objective]\nkind = 'diffusion'\nbeta_start = 0.5",
        ),
        ("axis value", "[axes]\n'train.steps' = [5, 0]"),
        ("unknown axis", "[axes]\n'train.step' = [5]"),
        ("axis of one value", "[axes]\nseed = 3"),
        ("empty axis", "[axes]\nseed = []"),
        ("axis value twice", "[axes]\nseed = [1, 1]"),
        ("axes that are none", "axes = [1]"),
        (
            "runs that are equal",
            "[axes]\n'train.schedule.t_0' = [0, 60000]\n",
        ),
        ("unknown baseline", "baselines = ['magic']"),
        ("report", "[report]\ncolumn = ['x']"),
        ("columns of a report", "[report]\ncolumns = 'x'"),
        ("a curve over nothing", "[report]\ncurve = { log = true }"),
        ("a curve that is none", "[report]\ncurve = 'objective.lambda'"),
        (
            "a curve over a typo",
            "[report]\ncurve = { x = 'objective.lamda' }",
        ),
        (
            "a curve over words",
            "[report]\ncurve = [{ x = 'seed' }, { x = 'world' }]",
        ),
        (
            "a curve with two systems at one point",
            "[axes]\n'objective.lambda' = [0.1, 0.2]\n'data.n_pairs' = [300, 400]\n\
             [report]\ncurve = { x = 'objective.lambda', series = 'world' }",
        ),
        (
            "a curve of a typo",
            "[report]\ncurve = { x = 'objective.lambda', only = { data.n_pair = 7 } }",
        ),
        (
            "a preference by nothing",
            "[report]\npreference = [{ tolerance = 0.1 }]",
        ),
        (
            "tolerance",
            "[report]\npreference = { metric = 'x', tolerance = -1 }",
        ),
        (
            "round robin",
            "[report]\npreference = { metric = 'x', round_robin = 'yes' }",
        ),
        ("extends", "extends = 3"),
        ("missing base", "extends = 'nothing.toml'"),
        ("circle", "extends = 'sweep.toml'"),
        ("no TOML", "seed == 1"),
        ("pairs beyond any memory", "[data]\nn_pairs = 100000000000"),
        ("layers beyond any memory", "[model]\nn_layers = 100000"),
        (
            "width beyond any memory",
            "[model]\nn_heads = 1024\nd_head = 1024",
        ),
        (
            "batch beyond any memory",
            "[data]\nn_pairs = 10000000\n[train]\nbatch_size = 9000000",
        ),
        ("steps without end", "[train]\nsteps = 1000000000000"),
        ("queue beyond any memory", "[objective]\nqueue = 100000000"),
    ];
    let mut answers = String::new();
    for (what, text) in cases {
        let temp = folder(&[("x/sweep.toml", text)]);
        let error = expand(&temp.path().join("x"), &[], false).expect_err(what);
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let said = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let said = said.replace(&temp.path().join("x").display().to_string(), "EXPERIMENT");
        answers.push_str(&format!("{what}\n  {}\n", said.trim_end().replace('\n', "\n  ")));
    }
    insta::assert_snapshot!("mistakes", answers);
}

proptest! {
    #[test]
    fn resolving_what_was_written_gives_the_same_run(
        seed in 0u64..=i64::MAX as u64, lambda in 0.0f64..10.0, tau in 1e-3f64..1.0, lr in 1e-8f64..1.0,
        steps in 1usize..1_000_000, t_0 in 0usize..1000, beta in 0.0f64..0.999, bias: bool, kind in 0usize..5,
    ) {
        let text = format!(
            "seed = {seed}\n[data]\nbias = {bias}\n[train]\nlr = {lr:?}\nsteps = {steps}\nbetas = [{beta:?}, 0.5]\n\
             schedule.t_0 = {t_0}\n[objective]\nkind = '{}'\n{}",
            Objective::KINDS[kind],
            if kind == 0 { format!("lambda = {lambda:?}\ntau = {tau:?}") } else { String::new() },
        );
        let run = toml::from_str::<RunSpec>(&with_schedule_kind(&text)).expect("valid").resolve().expect("in range");
        let again = toml::from_str::<RunSpec>(run.config()).expect("valid").resolve().expect("in range");
        prop_assert_eq!(&again, &run);
        prop_assert_eq!(again.hash(), run.hash());
    }
}

/// Outside the layers, a tagged table has to name its kind.
fn with_schedule_kind(text: &str) -> String {
    text.replace("schedule.t_0", "schedule.kind = 'sgdr'\nschedule.t_0")
}
