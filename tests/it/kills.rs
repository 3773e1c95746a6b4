//! Commands that are killed at moments which a seed draws, and begun again, end as if nothing had happened: byte for byte, with nothing half-written left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use eclipse_t2i::noise::Noise;
use rand::RngExt;

use crate::program::{command, said};
use crate::tiny;

/// Kills of each command.
const KILLS: u64 = 5;

/// A CLIP, a store of its embeddings, a specification of a small run, a sweep of it over two seeds, and a pipeline.
pub fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    tiny::write_clip(&at("clip"));
    tiny::write_prior(&at("prior"), &tiny::prior_config());
    tiny::write_kandinsky(&at("k22"));
    let run = "[data]\nstore = \"store\"\nn_validation = 10\n[model]\nn_heads = 2\nd_head = 8\nn_layers = 1\n\
               [train]\nsteps = 60\nbatch_size = 4\ncheckpoint_every = 5\n";
    std::fs::write(at("one.toml"), run).expect("written");
    std::fs::write(at("two.toml"), format!("{run}[axes]\nseed = [0, 1]\n")).expect("written");
    let prompts: String = (0..24).map(|i| format!("a dog and {i} cats\n")).collect();
    std::fs::write(at("prompts.txt"), prompts).expect("written");
    run_whole(
        desk.path(),
        "encode --clip clip --pairs world:emoji?n=100&seed=1 --chunk 30 --out store",
    );
    desk
}

fn run_whole(desk: &Path, args: &str) -> Duration {
    let started = Instant::now();
    let output = command(desk, args.split_whitespace()).output().expect("starts");
    assert!(output.status.success(), "{args}: {}", said(&output));
    started.elapsed()
}

/// What a command leaves, by name: everything but what tells times, processes and attempts.
fn results(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut left) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let is_of_attempts = [
                "provenance.json",
                "checkpoint",
                "shards.jsonl",
                "SHA256SUMS",
                "LOCK",
                // A run that was trained may be killed before its prior is kept for others.
                ".priors",
                "DONE",
                ".lock",
                "results",
            ]
            .contains(&name.as_str())
                || name.starts_with("events.out");
            match path.is_dir() {
                _ if is_of_attempts => {}
                true => left.push(path),
                false => {
                    let name = path.strip_prefix(folder).expect("below").to_path_buf();
                    found.insert(name, std::fs::read(path).expect("a file"));
                }
            }
        }
    }
    found
}

/// Holds that `whole` and `killed` are the same but for where they lie.
fn same_results(desk: &Path, args: &str) {
    let (whole, killed) = (results(&desk.join("whole")), results(&desk.join("killed")));
    let names = |of: &BTreeMap<PathBuf, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&whole), names(&killed), "{args}");
    assert!(
        whole.len() > 2,
        "{args}: nothing was compared: {:?}",
        names(&whole)
    );
    for (name, bytes) in &whole {
        // They say where they lie.
        let plain = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("killed", "whole");
        let is_same = *bytes == killed[name] || plain(bytes) == plain(&killed[name]);
        assert!(is_same, "{args}: {} differs", name.display());
    }
}

/// Runs `args` (with OUT for the folder of its results) whole, and killed at seeded moments; `again` is added from the second time on.
fn killed_ends_the_same(seed: u64, args: &str, again: &str) {
    let desk = desk();
    let call = |out: &str, more: &str| format!("{} {more}", args.replace("OUT", out));
    let time = run_whole(desk.path(), &call("whole", ""));
    let mut noise = Noise::new(seed);
    let (mut n_cut, mut i) = (0, 0);
    // On a machine that is less busy than when the whole one was timed, a run may be over before its moment.
    while i < KILLS || (n_cut == 0 && i < 4 * KILLS) {
        let more = if i == 0 { "" } else { again };
        let words = call("killed", more);
        let mut child = command(desk.path(), words.split_whitespace());
        let mut child = child
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let moment = time.mul_f64(noise.rng().random_range(0.05..0.35));
        let started = Instant::now();
        while started.elapsed() < moment && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        i += 1;
        n_cut += u64::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("killed, or over");
        child.wait().expect("reaped");
    }
    assert!(
        n_cut > 0,
        "{args}: no run was ever cut short: the test tests nothing"
    );
    run_whole(desk.path(), &call("killed", again));
    assert_eq!(
        tiny::temporaries(&desk.path().join("killed")),
        Vec::<PathBuf>::new(),
        "{args}"
    );
    same_results(desk.path(), args);
}

/// Whether a run at or below `folder` has begun its log. By name alone: a process that is at work may rename a file between its listing and its reading.
#[cfg(unix)]
fn is_begun(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    folder.join("metrics.jsonl").is_file() || entries.map(|entry| entry.path()).any(|path| is_begun(&path))
}

/// Asks `args` to stop a moment after it began to train, and continues with what it says: the end is that of a run that was left alone.
#[cfg(unix)]
fn interrupted_ends_the_same(args: &str) {
    use std::os::unix::process::ExitStatusExt;

    let desk = desk();
    let call = |out: &str| args.replace("OUT", out);
    run_whole(desk.path(), &call("whole"));
    let mut child = command(desk.path(), call("killed").split_whitespace());
    let mut child = child
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let begun = || is_begun(&desk.path().join("killed"));
    while !begun() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let signalled = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(
        signalled.is_ok_and(|status| status.success()),
        "{args}: was over at once"
    );
    let output = child.wait_with_output().expect("reaped");
    assert_eq!(output.status.signal(), None);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(130), "{args}: {text}");
    let (_, next) = text
        .rsplit_once("continue with: eclipse ")
        .expect("says how to go on");
    run_whole(desk.path(), next.trim());
    same_results(desk.path(), args);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_it_goes_on() {
    interrupted_ends_the_same("train --config one.toml --out OUT");
    interrupted_ends_the_same("sweep two.toml --runs OUT --out results --jobs 2");
}

#[test]
fn training() {
    killed_ends_the_same(1, "train --config one.toml --out OUT", "--resume");
}

#[test]
fn encoding() {
    killed_ends_the_same(
        2,
        "encode --clip clip --pairs world:emoji?n=1200&seed=1 --chunk 30 --out OUT",
        "",
    );
}

#[test]
fn sweeps() {
    killed_ends_the_same(3, "sweep two.toml --runs OUT --out results --jobs 2", "");
}

#[test]
fn drawing() {
    let call = "generate --pipeline k22 --clip clip --prior prior --steps 3 --size 16 --prompts prompts.txt --out OUT";
    killed_ends_the_same(4, call, "");
}
