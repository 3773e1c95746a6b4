//! The program as a user meets it: help, listings, errors, exit codes.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::program::{self, eclipse};
use crate::sweep::{Bench, Pretend};
use crate::tiny;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with one small specification, `one.toml`, and one experiment, `toy`.
fn desk() -> tempfile::TempDir {
    let temp = tempfile::tempdir().expect("temporary folder");
    let sweep = temp.path().join("experiments/toy");
    std::fs::create_dir_all(&sweep).expect("made");
    std::fs::write(temp.path().join("one.toml"), "[train]\nsteps = 5\n").expect("written");
    std::fs::write(
        sweep.join("sweep.toml"),
        "extends = '../../one.toml'\n[axes]\nseed = [0, 1]\n",
    )
    .expect("written");
    temp
}

#[test]
fn help_of_every_command() {
    let mut help = eclipse(root(), ["--help"]).1;
    for command in [
        "sweep",
        "train",
        "report",
        "draw",
        "generate",
        "vary",
        "interpolate",
        "verify",
        "pretrain",
        "inspect",
        "export",
        "eval",
        "devices",
    ] {
        let (code, text, _) = eclipse(root(), [command, "--help"]);
        assert_eq!(code, 0);
        help.push_str(&format!("\n==== {command}\n{text}"));
    }
    insta::assert_snapshot!("help", help);
}

#[test]
fn a_dry_run_prints_the_complete_configuration() {
    let desk = desk();
    // What a run reads is checked too.
    let (code, _, err) = eclipse(desk.path(), ["train", "--config", "one.toml", "--dry-run"]);
    assert_eq!(code, 1);
    assert!(err.contains("datasets/emoji/clip/config.json"), "{err}");
    std::os::unix::fs::symlink(root().join("datasets"), desk.path().join("datasets")).expect("linked");
    let (code, config, _) = eclipse(
        desk.path(),
        [
            "train",
            "--config",
            "one.toml",
            "--set",
            "objective.lambda=0.5",
            "--seed",
            "3",
            "--dry-run",
        ],
    );
    assert_eq!(code, 0);
    insta::assert_snapshot!("dry_run", config);
    std::fs::write(desk.path().join("again.toml"), &config).expect("written");
    assert_eq!(
        eclipse(desk.path(), ["train", "--config", "again.toml", "--dry-run"]).1,
        config
    );
}

#[test]
fn a_sweep_lists_its_runs() {
    let (code, runs, _) = eclipse(root(), ["sweep", "objectives", "--dry-run"]);
    assert_eq!(code, 0);
    insta::with_settings!({filters => vec![("_[0-9a-f]{8}\n", "_HASH\n")]}, {
        insta::assert_snapshot!("expansion", runs);
    });
    // From any folder of the project, and from elsewhere with --root.
    let inner = root().join("src/cli");
    assert_eq!(eclipse(&inner, ["sweep", "objectives", "--dry-run"]).1, runs);
    let desk = tempfile::tempdir().expect("a folder");
    let at = root().display().to_string();
    let from_elsewhere = eclipse(desk.path(), ["--root", &at, "sweep", "objectives", "--dry-run"]);
    assert_eq!((from_elsewhere.0, from_elsewhere.1), (0, runs.clone()));
    // What is typed stays relative to the folder that it is typed in.
    std::fs::write(desk.path().join("one.toml"), "[train]\nsteps = 7\n").expect("written");
    let (code, config, err) = eclipse(
        desk.path(),
        ["--root", &at, "train", "--config", "one.toml", "--dry-run"],
    );
    assert!(code == 0 && config.contains("steps = 7"), "{err}");
    let (_, json, _) = eclipse(root(), ["sweep", "objectives", "--dry-run", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json.as_array().expect("a list").len(), runs.lines().count());
}

#[test]
fn eval_checker_prints_a_table_and_the_same_as_json() {
    let (code, table, _) = eclipse(root(), ["eval", "checker", "--n", "2"]);
    assert_eq!(code, 0);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).collect();
    let json = eclipse(root(), ["eval", "checker", "--n", "2", "--json"]).1;
    let json: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json.len() + 1, rows.len(), "{table}");
    for (row, record) in rows[1..].iter().zip(&json) {
        let name = record["pictures"].as_str().expect("a name");
        let object = &record["accuracy"]["object"];
        let share = object["hits"].as_f64().expect("a number") / object["n"].as_f64().expect("a number");
        assert!(
            row.starts_with(&format!("| {name} | {share:.3} |")),
            "{row}: {record}"
        );
    }
    assert!(rows[1].starts_with("| true renders | 1.000 |"), "{table}");
}

/// A full device behind stderr changes nothing, and names of files do not command a terminal.
#[cfg(target_os = "linux")]
#[test]
fn stderr_may_be_lost_and_names_are_escaped() {
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("a full device")
    };
    let out = tempfile::tempdir().expect("a folder");
    let status = |args: &[&str]| {
        let mut command = crate::program::command(out.path(), args);
        command.env("RUST_LOG", "debug").stdout(full()).stderr(full());
        command.status().expect("starts").code()
    };
    assert_eq!(status(&["inspect", "nope"]), Some(2), "only the message is lost");
    let (code, _, err) = eclipse(out.path(), ["inspect", "no\u{1b}[31m\u{9b}2J\r"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("no\\u{1b}[31m\\u{9b}2J\\r") && !err.contains(['\u{1b}', '\u{9b}', '\r']),
        "{err:?}"
    );
}

/// Every mistake in arguments: exit code 2, one error line, nothing written.
#[test]
fn mistakes_in_arguments() {
    let cases: &[&[&str]] = &[
        &["sweep"],
        &["sweep", "nope"],
        &["sweep", "toy", "--jobs", "0"],
        &["sweep", "toy", "--set", "nope"],
        &["sweep", "toy", "--set", "a..b=1"],
        &["sweep", "toy", "--set", "train.lrr=3"],
        &["sweep", "toy", "--set", "objective.lambda=big"],
        &["sweep", "toy", "--set", "objective.lambda=-1"],
        &["sweep", "toy", "--device", "gpu"],
        &["sweep", "toy", "--device", "flex:1"],
        &["train", "--config", "nope.toml"],
        &["train", "--config", "experiments/toy/sweep.toml", "--dry-run"],
        &["train", "--config", "binary.toml"],
        &["inspect", "nope"],
        &["prior", "--dtype", "f8"],
        &["eval", "checker", "--n", "0"],
        &["pretrain", "emoji", "--steps", "0"],
        &["pretrain", "emoji", "--clip", "datasets/emoji/clip"],
        &["pretrain", "circus"],
        &["pretrain", "emoji", "--recipe", "empty.json"],
        &[
            "pretrain",
            "shapes",
            "--part",
            "decoder",
            "--recipe",
            "empty.json",
        ],
        &["train", "toy"],
        &["train", "lr=1e-4"],
        &["sweep", "tpy"],
        &["sweep", "toy", "--set", "lr=1e-4"],
        &["draw", "a dog", "--seed", "-1"],
        &["frobnicate"],
    ];
    let desk = desk();
    std::fs::write(desk.path().join("binary.toml"), [b's', 0xff, b'=']).expect("written");
    std::fs::write(desk.path().join("empty.json"), r#"{"n_steps": 0}"#).expect("written");
    let mut answers = String::new();
    for args in cases {
        let (code, out, err) = eclipse(desk.path(), *args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        answers.push_str(&format!("$ eclipse {}\n{err}\n", args.join(" ")));
    }
    assert!(!desk.path().join("runs").exists());
    insta::assert_snapshot!("mistakes_in_arguments", answers);
}

#[test]
fn a_device_outside_the_build_is_refused_with_what_there_is() {
    let devices = eclipse(root(), ["devices", "--json"]).1;
    let devices: Vec<serde_json::Value> = serde_json::from_str(&devices).expect("JSON");
    assert_eq!(devices.len(), 6);
    assert!(
        devices.iter().any(|d| d["state"] == "ready (default)"),
        "{devices:?}"
    );
    let missing = devices
        .iter()
        .find(|d| d["built"] == false)
        .expect("no build has metal and cuda together");
    let name = missing["device"].as_str().expect("a name");
    let desk = desk();
    let (code, _, err) = eclipse(desk.path(), ["sweep", "toy", "--device", name]);
    assert_eq!(code, 2, "{err}");
    assert!(
        err.starts_with(&format!(
            "error: device `{name}` is not in this build, which has: "
        )),
        "{err}"
    );
    assert!(!desk.path().join("runs").exists());
}

#[test]
fn a_cpu_has_no_kernels_to_warm() {
    let desk = desk();
    for what in [["--config", "one.toml"], ["--experiment", "toy"]] {
        let (code, _, err) = eclipse(desk.path(), ["warm", what[0], what[1]]);
        assert_eq!(code, 0, "{err}");
        assert!(err.contains("compiles and tunes no kernels"), "{err}");
    }
    for (args, code, part) in [
        (&["warm"][..], 2, "--experiment"),
        (&["warm", "--config", "none.toml"], 2, "none.toml"),
        (
            &["warm", "--load", "kernels.db"],
            2,
            "kernels.db: `flex` has no kernels",
        ),
        (
            &["warm", "--config", "one.toml", "--save", "k.db"],
            2,
            "`flex` has no kernels",
        ),
    ] {
        let (found, _, err) = eclipse(desk.path(), args);
        assert_eq!(found, code, "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
}

#[test]
fn reports_of_finished_runs() {
    let bench = Bench::new();
    let folder = bench.root();
    let (code, _, err) = eclipse(folder, ["report", "toy/sweep.toml"]);
    assert_eq!(code, 1);
    assert_eq!(
        err,
        "error: no finished run in runs/toy: expected directories with a DONE file; run the sweep first\n"
    );
    bench.sweep(&Pretend::default(), 2);
    let (code, table, _) = eclipse(folder, ["report", "toy/sweep.toml"]);
    assert_eq!(code, 0);
    assert!(folder.join("runs/toy/results/index.html").is_file());
    assert!(!folder.join("toy/results").exists(), "not without --publish");
    let (code, _, err) = eclipse(
        folder,
        ["report", "toy/sweep.toml", "--publish", "--set", "seed=0"],
    );
    assert_eq!(code, 2);
    assert!(err.contains("--publish"), "{err}");
    let (code, again, _) = eclipse(folder, ["report", "toy/sweep.toml", "--publish"]);
    assert_eq!((code, &again), (0, &table));
    assert_eq!(table.lines().count(), 3 + 3, "{table}");
    assert!(folder.join("toy/results/figure.svg").is_file());
    assert!(
        !folder.join("toy/results/index.html").exists(),
        "pages are built, not committed"
    );
    // Any system on request; the committed report stays as it is.
    let committed = || std::fs::read(folder.join("toy/results/README.md")).expect("written");
    let before = committed();
    let against = |system: &str| eclipse(folder, ["report", "toy/sweep.toml", "--reference", system]);
    let (code, said, _) = against("projection");
    assert_eq!(code, 0);
    assert!(
        said.contains("- **forced_choice/all unseen** (higher is better): projection below eclipse -0.167 [-0.300, -0.033]"),
        "{said}"
    );
    let (code, _, err) = against("magic");
    assert_eq!(code, 1);
    let end = "error: --reference magic: expected a system of this report or one part of its label, one of eclipse; projection; ridge\n";
    assert!(err.ends_with(end), "{err}");
    assert_eq!(committed(), before);
    let (code, json, _) = eclipse(folder, ["report", "runs/toy", "--json", "--out", "elsewhere"]);
    assert_eq!(code, 0);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        rows.len(),
        3 * 3 + 2 * 3,
        "three scores each, and loss, its step and all steps of the two that are trained"
    );
    assert!(folder.join("elsewhere/README.md").is_file());
    // An experiment may be called like a folder that has nothing to do with it.
    let spec = std::fs::read_to_string(folder.join("toy/sweep.toml")).expect("there");
    std::fs::create_dir_all(folder.join("experiments/world")).expect("made");
    std::fs::create_dir(folder.join("world")).expect("made");
    std::fs::write(folder.join("experiments/world/sweep.toml"), spec).expect("written");
    let (code, _, err) = eclipse(folder, ["report", "world"]);
    assert_eq!(code, 1);
    assert!(err.contains("no finished run in runs/world:"), "{err}");
    // A run by its path, by its name and by the end of its name; from other folders too.
    let run = &bench.dirs()[0];
    let name = run.file_name().expect("a name").to_string_lossy().into_owned();
    let hash = name.rsplit('_').next().expect("a hash");
    for given in [&run.display().to_string(), &format!("toy/{name}"), &name, hash] {
        let (code, said, err) = eclipse(folder, ["inspect", given]);
        assert_eq!(code, 0, "{given}: {err}");
        for line in [
            "state: done",
            "clip: c0ffee",
            "seconds: ",
            "  forced_choice/all@unseen: ",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }
    let below = folder.join("elsewhere").display().to_string();
    let root = folder.display().to_string();
    let (code, _, err) = eclipse(Path::new(&below), ["--root", &root, "inspect", hash]);
    assert_eq!(code, 0, "{err}");
    let twin = folder.join("runs/other").join(&name);
    std::fs::create_dir_all(&twin).expect("made");
    std::fs::copy(run.join("config.toml"), twin.join("config.toml")).expect("copied");
    let (code, _, err) = eclipse(folder, ["inspect", hash]);
    assert_eq!(code, 2);
    assert!(err.contains("2 runs have this name: runs/other/"), "{err}");
    std::fs::remove_dir_all(folder.join("runs/other")).expect("removed");
    let (code, said, _) = eclipse(folder, ["list", "runs"]);
    assert_eq!(code, 0);
    assert_eq!(said.lines().count(), bench.dirs().len(), "{said}");
    assert!(said.contains(&format!("done  runs/toy/{name}")), "{said}");
}

#[test]
fn experiments_are_listed_with_their_questions() {
    let (code, said, _) = eclipse(root(), ["list"]);
    assert_eq!(code, 0);
    let line = said
        .lines()
        .find(|line| line.starts_with("objectives "))
        .expect("is listed");
    assert!(
        line.ends_with("does the contrastive term make a prior compose?"),
        "{line}"
    );
    let folders = std::fs::read_dir(root().join("experiments"))
        .expect("a folder")
        .flatten();
    let sweeps = folders.filter(|folder| folder.path().join("sweep.toml").is_file());
    assert_eq!(said.lines().count(), sweeps.count());
    let (code, json, _) = eclipse(root(), ["list", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, rows.len()), (0, said.lines().count()));
    let empty = tempfile::tempdir().expect("a folder");
    let (code, said, err) = eclipse(empty.path(), ["list", "runs"]);
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(err.contains("eclipse sweep NAME"), "{err}");
}

#[test]
fn standard_input_and_output_in_the_place_of_files() {
    let desk = tempfile::tempdir().expect("a folder");
    tiny::write_clip(&desk.path().join("clip"));
    tiny::write_prior(&desk.path().join("some/prior"), &tiny::prior_config());
    std::fs::write(desk.path().join("prompts.txt"), "a dog\na cat\n").expect("written");
    // The prior of a pipeline's folder.
    let call = "prior --prior some --text clip --prompts PROMPTS --out OUT";
    let words = |prompts: &str, out: &str| call.replace("PROMPTS", prompts).replace("OUT", out);
    let (code, _, err) = eclipse(desk.path(), words("prompts.txt", "file.npy").split(' '));
    assert_eq!(code, 0, "{err}");
    let mut child = program::command(desk.path(), words("-", "-").split(' '));
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(b"a dog\na cat\n").expect("read");
    drop(pipe);
    let output = child.wait_with_output().expect("reaped");
    assert!(output.status.success());
    let file = std::fs::read(desk.path().join("file.npy")).expect("written");
    assert!(output.stdout == file, "the same bytes");
    assert!(!desk.path().join("-").exists());
}

#[test]
fn the_version_names_the_commit() {
    let (code, said, _) = eclipse(root(), ["--version"]);
    assert_eq!(code, 0);
    let commit = said
        .split_once(" (")
        .and_then(|(_, rest)| rest.trim().strip_suffix(')'));
    let commit = commit.expect("in brackets");
    let git = program::git(root(), ["rev-parse", "--short=9", "HEAD"]);
    let expected = git.filter(|_| root().join(".git").exists());
    assert_eq!(commit, expected.as_deref().unwrap_or("no git"));
}

#[test]
fn a_run_directory_of_another_configuration_is_refused() {
    let bench = Bench::new();
    bench.sweep(&Pretend::default(), 2);
    let (dirs, folder) = (bench.dirs(), bench.root());
    let config = dirs[0].join("config.toml").display().to_string();
    let out = dirs[1].display().to_string();
    let (code, _, err) = eclipse(folder, ["train", "--config", &config, "--out", &out]);
    assert_eq!(code, 1);
    let err = err.replace(&out, "RUN");
    assert_eq!(
        err,
        "error: RUN holds another run: seed is 1 there, expected 0; give another directory or remove it\n"
    );
}

#[test]
fn inspecting_what_is_no_model() {
    let desk = desk();
    let cut = desk.path().join("model.safetensors");
    std::fs::write(&cut, b"\x10\0\0\0\0\0\0\0{\"a\"").expect("written");
    let (code, out, err) = eclipse(desk.path(), ["inspect", "model.safetensors"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("error: ") && err.contains("model.safetensors"),
        "{err}"
    );
    let (code, _, err) = eclipse(desk.path(), ["inspect", "experiments"]);
    assert_eq!(code, 1);
    assert!(err.contains("experiments"), "{err}");
}
