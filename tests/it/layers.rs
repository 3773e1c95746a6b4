//! The architecture, read from the sources: a module uses modules of lower layers only, files of one module have no dependency cycles, and nothing
//! goes around the two modules that own devices and randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// Modules of the library by layer, the highest first. A module may use modules of lower layers, and itself.
const LAYERS: &[&[&str]] = &[
    &["serve"],
    &["report", "verify"],
    &["experiment", "comparison"],
    &["testbed", "benchmark", "workload"],
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
        "hub",
        "device",
        "noise",
        "files",
        "limits",
        "config",
    ],
];

/// Modules of the lowest layer that the others of this layer may use too.
const FOUNDATION: &[&str] = &["files", "noise", "device", "limits", "config", "hub"];

/// Modules that must also not know these.
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
        &["src/device.rs", "src/device/custom_kernels.rs"],
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
    (
        "stacks::karlo",
        &["src/generate/stacks/", "src/verify/"],
        "a decoder stack is known by its line in the list only",
    ),
    (
        "stacks::kandinsky22",
        &["src/generate/stacks/", "src/verify/"],
        "a decoder stack is known by its line in the list only",
    ),
    (
        "stacks::pixels",
        &["src/generate/stacks/", "src/verify/"],
        "a decoder stack is known by its line in the list only",
    ),
    (
        "Objective::Eclipse(",
        &[
            "src/train/objectives/",
            "src/experiment/spec.rs",
            "src/experiment/run.rs",
        ],
        "an objective is known by its line in the list only",
    ),
    (
        "Objective::Projection(",
        &["src/train/objectives/", "src/experiment/run.rs"],
        "an objective is known by its line in the list only",
    ),
    (
        "Objective::Diffusion(",
        &["src/train/objectives/", "src/experiment/run.rs"],
        "an objective is known by its line in the list only",
    ),
    (
        "Objective::Flow(",
        &["src/train/objectives/", "src/experiment/run.rs"],
        "an objective is known by its line in the list only",
    ),
    (
        "Objective::Baseline(",
        &["src/train/objectives/", "src/experiment/run.rs"],
        "an objective is known by its line in the list only",
    ),
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

fn module(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let first = inside.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main", "cli"].contains(&name)).then_some(name)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The modules that a line names: `crate::module`, and each first segment of `crate::{a::b, c}`.
fn named(line: &str) -> Vec<&str> {
    fn word(s: &str) -> &str {
        s.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or("")
    }
    let mut modules = Vec::new();
    for part in line.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(list) => modules.extend(
                list.split(['}', ';'])
                    .next()
                    .unwrap_or("")
                    .split(',')
                    .map(|s| word(s.trim())),
            ),
            None => modules.push(word(part)),
        }
    }
    modules.retain(|r| layer(r).is_some());
    modules
}

fn upward(path: &str, text: &str) -> Vec<String> {
    let Some(here) = module(path) else { return vec![] };
    let Some(level) = layer(here) else {
        return vec![format!(
            "{path}: the module {here} is in no layer; add it to LAYERS and to the crate's documentation"
        )];
    };
    let mut wrong = Vec::new();
    for (number, line) in code(text) {
        for other in named(line) {
            let below = layer(other).is_some_and(|f| f > level);
            let foundation = layer(other) == Some(level) && FOUNDATION.contains(&other);
            if other != here && !below && !foundation {
                wrong.push(format!(
                    "{path}:{number}: {here} uses {other}, which is not in a lower layer"
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
fn modules_use_lower_layers_only() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| upward(path, text))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn devices_noise_and_output_stay_in_their_modules() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| reserved(path, text))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The path of the module that the file at `path` is: `src/eval/fid.rs` is `[eval, fid]`.
fn module_path(path: &str) -> Vec<String> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = inside.split('/').map(String::from).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// What a file names: its `use` declarations, and paths in its code. Without tests.
#[derive(Default)]
struct Named {
    imports: Vec<Vec<String>>,
    paths: Vec<Vec<String>>,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn flatten(tree: &syn::UseTree, before: &[String], imports: &mut Vec<Vec<String>>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), imports),
        syn::UseTree::Name(name) if name.ident == "self" => imports.push(before.to_vec()),
        syn::UseTree::Name(name) => imports.push(with(&name.ident)),
        syn::UseTree::Rename(rename) => imports.push(with(&rename.ident)),
        syn::UseTree::Glob(_) => imports.push(before.to_vec()),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, imports)),
    }
}

impl<'a> Visit<'a> for Named {
    fn visit_item(&mut self, item: &'a syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        flatten(&item.tree, &[], &mut self.imports);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if names.len() > 1 {
            self.paths.push(names);
        }
        visit::visit_path(self, path);
    }
}

/// A dependency: the path of a module.
type ModulePath = Vec<String>;

/// Which module uses which. An item that a module re-exports counts as that of the module which defines it.
fn dependencies(sources: &[(String, String)]) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
    let mut named: BTreeMap<ModulePath, (Named, Vec<ModulePath>)> = BTreeMap::new();
    for (path, text) in sources.iter().filter(|(path, _)| path != "src/main.rs") {
        let mut found = Named::default();
        let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{path}: {e}"));
        found.visit_file(&file);
        // What `pub use` names is not used here.
        let mut exported = Vec::new();
        for item in &file.items {
            if let syn::Item::Use(item) = item
                && !matches!(item.vis, syn::Visibility::Inherited)
            {
                flatten(&item.tree, &[], &mut exported);
            }
        }
        named.insert(module_path(path), (found, exported));
    }
    let absolute = |here: &[String], path: &[String]| -> Option<ModulePath> {
        let mut base = here.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (base, rest) = (vec![], &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                let child = [here, &[first.to_owned()]].concat();
                named.contains_key(&child).then_some(())?;
            }
        }
        Some([base.as_slice(), rest].concat())
    };
    let resolve = |path: ModulePath| -> ModulePath {
        let mut path = path;
        for _ in 0..8 {
            let known = (0..=path.len()).rev().find(|&n| named.contains_key(&path[..n]));
            let known = known.expect("the root of the crate is a module");
            let (module, rest) = path.split_at(known);
            let Some(item) = rest.first() else { break };
            let imports = &named[module].0.imports;
            let Some(import) = imports.iter().find(|import| import.last() == Some(item)) else {
                return module.to_vec();
            };
            let Some(target) = absolute(module, import) else {
                return module.to_vec();
            };
            path = [target.as_slice(), &rest[1..]].concat();
        }
        let known = (0..=path.len()).rev().find(|&n| named.contains_key(&path[..n]));
        path.truncate(known.unwrap_or(0));
        path
    };
    let uses = |here: &ModulePath| {
        let (found, exported) = &named[here];
        let imports = found.imports.iter().filter(|import| !exported.contains(import));
        let all = imports
            .chain(&found.paths)
            .filter_map(|path| absolute(here, path));
        all.map(resolve).filter(|other| other != here).collect()
    };
    named.keys().map(|here| (here.clone(), uses(here))).collect()
}

/// Two modules that depend on each other, directly or through others: the first such pair for each module.
fn cycles(uses: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Vec<String> {
    let reach = |from: &ModulePath| -> BTreeSet<ModulePath> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for other in uses.get(&module).into_iter().flatten() {
                if seen.insert(other.clone()) {
                    next.push(other.clone());
                }
            }
        }
        seen
    };
    let all: BTreeMap<&ModulePath, BTreeSet<ModulePath>> =
        uses.keys().map(|module| (module, reach(module))).collect();
    let mut found = Vec::new();
    for (module, direct) in uses {
        for other in direct {
            if all.get(other).is_some_and(|reached| reached.contains(module)) {
                found.push(format!("{} -> {}", module.join("::"), other.join("::")));
            }
        }
    }
    found
}

/// Longer files have more than one job.
const MAX_LINES: usize = 700;

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines >= MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines, expected less than {MAX_LINES}"))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn files_have_no_dependency_cycles() {
    let found = cycles(&dependencies(&sources()));
    assert!(found.is_empty(), "arrows of cycles:\n{}", found.join("\n"));
}

#[test]
fn the_cycle_rule_catches_what_it_is_for() {
    let found = |files: &[(&str, &str)]| {
        let files: Vec<_> = files
            .iter()
            .map(|(p, t)| (format!("src/{p}"), (*t).into()))
            .collect();
        cycles(&dependencies(&files)).len()
    };
    let root = ("lib.rs", "pub mod a; pub mod b;");
    assert_eq!(
        found(&[root, ("a.rs", "use crate::b::B;"), ("b.rs", "use super::a::A;")]),
        2
    );
    assert_eq!(
        found(&[
            root,
            ("a.rs", "fn f() { crate::b::g() }"),
            ("b.rs", "use super::a;")
        ]),
        2
    );
    assert_eq!(
        found(&[root, ("a.rs", "use crate::b::B;"), ("b.rs", "pub struct B;")]),
        0
    );
    let test = "#[cfg(test)] mod tests { use crate::a::A; }";
    assert_eq!(found(&[root, ("a.rs", "use crate::b::B;"), ("b.rs", test)]), 0);
    // A re-export is no use, and what is re-exported is its file's.
    let parent = (
        "a/mod.rs",
        "mod kind; mod one; pub use kind::Kind; fn all() { one::make() }",
    );
    let child = ("a/one.rs", "use super::Kind;");
    assert_eq!(found(&[root, parent, child, ("a/kind.rs", ""), ("b.rs", "")]), 0);
    let parent = ("a/mod.rs", "mod one; pub struct Kind; fn all() { one::make() }");
    assert_eq!(found(&[root, parent, child, ("b.rs", "")]), 2);
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
    assert_eq!(say("src/cli/vary.rs", "use crate::generate::stacks::karlo;"), 1);
    assert_eq!(say("src/report/page.rs", "if let Objective::Flow(f) = x {"), 1);
    assert_eq!(say("src/train/objectives/mod.rs", "Objective::Flow(f)"), 0);
}

/// What a training step runs through on the device. A value that is read back makes the host wait for the device, and the device then for the host.
const STEP: &[&str] = &[
    "src/models/prior/",
    "src/nn/",
    "src/objective/",
    "src/train/ema.rs",
    "src/train/gradients.rs",
    "src/train/micro_batches.rs",
    "src/train/muon.rs",
    "src/train/objectives/",
    "src/train/trainer.rs",
];

/// Kernels for memory that the program shares with the device.
const HOST: &str = "src/nn/cpu/";

#[test]
fn a_training_step_reads_nothing_back() {
    let reads = ["into_data(", "to_data(", "into_scalar(", "TokenMask::from("];
    let mut found = Vec::new();
    for (path, text) in sources() {
        let is_step = STEP.iter().any(|part| path.starts_with(part)) && !path.starts_with(HOST);
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code(own).filter(|_| is_step) {
            if reads.iter().any(|read| line.contains(read)) {
                found.push(format!("{path}:{number}"));
            }
        }
    }
    // `TokenMask::from`, for masks that only the device has; loaders make masks from lengths.
    assert!(
        matches!(found.as_slice(), [only] if only.starts_with("src/nn/token_mask.rs:")),
        "read-backs in a training step: {found:?}"
    );
}
