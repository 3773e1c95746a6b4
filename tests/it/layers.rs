//! The architecture, read from the source text: arrows between rooms point down, and nothing goes around the two rooms that
//! own devices and randomness.

use std::path::{Path, PathBuf};

/// Rooms of the library by floor, the highest first. A room may use rooms of lower floors, and itself.
const FLOORS: &[&[&str]] = &[
    &["report", "verify"],
    &["experiment"],
    &["testbed", "benchmark"],
    &["train"],
    &["eval"],
    &["data", "generate"],
    &["models", "objective"],
    &[
        "weights",
        "nn",
        "world",
        "diffusion",
        "image_file",
        "device",
        "noise",
        "files",
        "limits",
        "config",
    ],
];

/// Arrows within the lowest floor: those that everything else stands on.
const SAME_FLOOR: &[&str] = &["files", "noise", "device", "limits", "config"];

/// Rooms that must also not know these.
const BLIND: &[(&str, &[&str])] = &[("world", &["burn::"]), ("diffusion", &["crate::models"])];

/// What only some files may say. The text, who may, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        "Device::default()",
        &[],
        "its order prefers GPUs: build the device from a DeviceSpec",
    ),
    (
        "Tensor::random",
        &["src/noise.rs"],
        "all noise is an argument and comes from crate::noise",
    ),
    (
        "thread_rng",
        &[],
        "all noise is an argument and comes from crate::noise",
    ),
    (
        "rand::rng()",
        &[],
        "all noise is an argument and comes from crate::noise",
    ),
    (
        "cfg(feature",
        &["src/device.rs"],
        "backends are chosen in src/device.rs",
    ),
    (
        "cfg!(feature",
        &["src/device.rs"],
        "backends are chosen in src/device.rs",
    ),
    (
        "println!",
        &["src/main.rs", "src/cli/"],
        "the library speaks through return values and tracing",
    ),
    (
        "print!(",
        &["src/main.rs", "src/cli/"],
        "the library speaks through return values and tracing",
    ),
    ("dbg!", &[], "left over from debugging"),
];

/// `(path from the package root, text)` of every source file.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder)
            .expect("source folders are readable")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join("src"), &mut paths);
    paths.sort();
    let name = |p: &Path| {
        p.strip_prefix(root)
            .expect("under the root")
            .to_string_lossy()
            .replace('\\', "/")
    };
    let text = |p: &Path| std::fs::read_to_string(p).expect("sources are UTF-8");
    paths.iter().map(|p| (name(p), text(p))).collect()
}

/// Lines of code: without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or(line)));
    lines.filter(|(_, line)| !line.trim().is_empty())
}

fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let first = inside.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main", "cli"].contains(&name)).then_some(name)
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a line names: `crate::room`, and each first segment of `crate::{a::b, c}`.
fn named(line: &str) -> Vec<&str> {
    fn word(s: &str) -> &str {
        s.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or("")
    }
    let mut rooms = Vec::new();
    for part in line.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(list) => rooms.extend(
                list.split(['}', ';'])
                    .next()
                    .unwrap_or("")
                    .split(',')
                    .map(|s| word(s.trim())),
            ),
            None => rooms.push(word(part)),
        }
    }
    rooms.retain(|r| floor(r).is_some());
    rooms
}

fn upward(path: &str, text: &str) -> Vec<String> {
    let Some(here) = room(path) else { return vec![] };
    let Some(level) = floor(here) else {
        return vec![format!(
            "{path}: the room {here} is on no floor; add it to FLOORS and to the crate's documentation"
        )];
    };
    let mut wrong = Vec::new();
    for (number, line) in code(text) {
        for other in named(line) {
            let below = floor(other).is_some_and(|f| f > level);
            let foundation = floor(other) == Some(level) && SAME_FLOOR.contains(&other);
            if other != here && !below && !foundation {
                wrong.push(format!(
                    "{path}:{number}: {here} uses {other}, which is not on a lower floor"
                ));
            }
        }
        for (blind, hidden) in BLIND.iter().filter(|(blind, _)| *blind == here) {
            let seen = hidden.iter().find(|h| line.contains(**h));
            wrong.extend(seen.map(|h| format!("{path}:{number}: {blind} must not know {h}")));
        }
    }
    wrong
}

fn reserved(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, line) in code(text) {
        for (what, allowed, why) in RESERVED {
            let may = allowed
                .iter()
                .any(|a| path == *a || (a.ends_with('/') && path.starts_with(a)));
            if line.contains(what) && !may {
                wrong.push(format!("{path}:{number}: {what}: {why}"));
            }
        }
    }
    wrong
}

#[test]
fn arrows_point_down() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| upward(path, text))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn devices_noise_and_output_stay_in_their_rooms() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| reserved(path, text))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_rules_catch_what_they_are_for() {
    let up = |path: &str, line: &str| upward(path, line).len();
    assert_eq!(up("src/models/prior/mod.rs", "use crate::train::Learner;"), 1);
    assert_eq!(up("src/models/prior/mod.rs", "use crate::{nn, eval::Metric};"), 1);
    assert_eq!(up("src/eval/mod.rs", "let x = crate::train::session();"), 1);
    assert_eq!(
        up(
            "src/train/mod.rs",
            "use crate::models::prior::Prior; // not crate::cli"
        ),
        0
    );
    assert_eq!(up("src/weights/load.rs", "use crate::files::read;"), 0);
    assert_eq!(up("src/world/scene.rs", "use burn::prelude::*;"), 1);
    assert_eq!(up("src/helpers/mod.rs", ""), 1);
    assert_eq!(up("src/cli/sweep.rs", "use crate::anything;"), 0);
    let say = |path: &str, line: &str| reserved(path, line).len();
    assert_eq!(say("src/train/mod.rs", "let d = Device::default();"), 1);
    assert_eq!(say("src/train/mod.rs", "eprintln!(\"x\");"), 1);
    assert_eq!(say("src/cli/mod.rs", "eprintln!(\"x\");"), 0);
    assert_eq!(say("src/nn/mod.rs", "#[cfg(feature = \"cuda\")]"), 1);
    assert_eq!(say("src/noise.rs", "Tensor::random"), 0);
}
