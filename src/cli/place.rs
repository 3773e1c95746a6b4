//! The project's root, which the program changes to from any folder.
//!
//! `experiments/`, `datasets/` and `runs/` are folders of the root. The root is `--root`, else `ECLIPSE_HOME`, else the nearest parent folder
//! that contains the project, else the caller's folder. Paths that the caller gives remain relative to the
//! caller's folder.

use std::any::TypeId;
use std::ffi::OsString;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

use crate::experiment::{RunDir, sweep};
use crate::files::{self, FileError};
use crate::hub::{self, HubError, RepoName};
use clap::Command;

use super::usage::Usage;

/// Standard input or output instead of a file.
pub const STDIO: &str = "-";
/// The environment variable that names the root.
const HOME: &str = "ECLIPSE_HOME";

/// The caller's folder, if the program has left it.
static CALLED_FROM: OnceLock<PathBuf> = OnceLock::new();

/// Changes to the project's root. Called once, before arguments are parsed.
///
/// # Errors
/// The named root is not a folder.
pub fn enter_root() -> Result<(), Usage> {
    let given = asked_for(std::env::args_os());
    let named = match given {
        Some(root) => Some(("--root", root)),
        None => std::env::var_os(HOME)
            .filter(|home| !home.is_empty())
            .map(|home| (HOME, PathBuf::from(home))),
    };
    let Ok(here) = std::env::current_dir() else {
        return Ok(());
    };
    let root = match named {
        Some((by, root)) => {
            let root = here.join(root);
            if !root.is_dir() {
                return Err(Usage(format!("{by} {}: no such folder", root.display())));
            }
            root
        }
        None => match here.ancestors().find(|folder| is_root(folder)) {
            Some(root) => root.to_path_buf(),
            None => return Ok(()),
        },
    };
    if root != here {
        std::env::set_current_dir(&root)
            .map_err(|e| Usage(format!("cannot change to {}: {}", root.display(), e.kind())))?;
        let _ = CALLED_FROM.set(here);
    }
    Ok(())
}

/// The value of `--root` among the arguments, up to `--`.
fn asked_for(args: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut args = args.skip(1).take_while(|arg| arg != "--");
    while let Some(arg) = args.next() {
        if arg == "--root" {
            return args.next().map(PathBuf::from);
        }
        if let Some(root) = arg.to_str().and_then(|arg| arg.strip_prefix("--root=")) {
            return Some(root.into());
        }
    }
    None
}

fn is_root(folder: &Path) -> bool {
    let is_ours = |text: String| text.contains("name = \"eclipse-t2i\"");
    folder.join("experiments").is_dir()
        && folder.join("datasets").is_dir()
        && std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(is_ours)
}

/// A remedy if a file of a built-in world is missing because the program was called outside of the project; else empty.
pub fn remedy(error: &anyhow::Error) -> &'static str {
    let is_of_world = |e: &(dyn std::error::Error + 'static)| match e.downcast_ref() {
        Some(FileError::Missing(path)) => path.starts_with("datasets"),
        _ => false,
    };
    match error.chain().any(is_of_world) && !Path::new("datasets").exists() {
        true => {
            "; the built-in worlds lie in datasets/ of the project's folder: call the program in it or below it, or name it with --root DIR or ECLIPSE_HOME"
        }
        false => "",
    }
}

/// Whether `path` is standard input or output.
pub fn is_stdio(path: &Path) -> bool {
    path.as_os_str() == STDIO
}

/// Resolves a path given by the caller: the program may have changed its folder.
///
/// # Errors
/// None: the path is not checked here. The signature is that of clap's value parsers.
pub fn path(given: &str) -> Result<PathBuf, String> {
    Ok(resolved(given))
}

/// Gives every option and argument with a path its resolving parser, so that none is forgotten: [`path`], and [`runs`] for `--runs`.
pub fn with_paths(command: Command) -> Command {
    command
        .mut_args(|arg| match arg.get_value_parser().type_id() {
            id if id != TypeId::of::<PathBuf>() => arg,
            _ if arg.get_id() == "runs" => arg.value_parser(runs),
            _ => arg.value_parser(path),
        })
        .mut_subcommands(with_paths)
}

/// A run, a model or another existing folder, by its path or, for a run, by the end of its name.
#[derive(Debug, Clone)]
pub struct Existing(PathBuf);

impl Deref for Existing {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl FromStr for Existing {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        found(given).map(Self)
    }
}

/// The folder of a trained prior, or of a pipeline with a prior: that of [`Existing`], or for a run the prior in it.
#[derive(Debug, Clone)]
pub struct Prior(PathBuf);

impl Prior {
    /// The network's folder, also in a pipeline.
    pub fn network(&self) -> PathBuf {
        let part = self.join("prior");
        let is_pipeline = !self.join("config.json").is_file() && part.join("config.json").is_file();
        if is_pipeline { part } else { self.0.clone() }
    }
}

impl Deref for Prior {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl FromStr for Prior {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let place = found(given)?;
        let run = RunDir::new(&place);
        if run.config_path().is_file() {
            let trial = sweep::single(&run.config_path(), &[]).map_err(|e| e.to_string())?;
            return Ok(Self(run.scored_prior_dir(trial.run().eval().checkpoint)));
        }
        Ok(Self(place))
    }
}

/// `given` as a path from the caller's folder; if nothing exists there, from the root and from `runs/`; else the run in `runs/` whose name is
/// `given` or ends in `_given`, such as the hash of its configuration; else the repository of this name in the Hugging Face cache. Otherwise the
/// caller's path, which the command reports as missing.
fn found(given: &str) -> Result<PathBuf, String> {
    let path = resolved(given);
    let of_root = PathBuf::from(given);
    let of_runs = Path::new("runs").join(given);
    for there in [&path, &of_root, &of_runs] {
        if there.exists() {
            return Ok(there.clone());
        }
    }
    let ending = format!("_{given}");
    let folders = |folder: &Path| files::list_folders(folder).unwrap_or_default();
    let runs: Vec<PathBuf> = folders(Path::new("runs"))
        .iter()
        .flat_map(|experiment| folders(experiment))
        .filter(|run| {
            let name = run.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name == given || name.ends_with(&ending))
        })
        .filter(|run| RunDir::new(run).config_path().is_file())
        .collect();
    match runs.as_slice() {
        [] => match hub::weights_folder(&of_root) {
            Ok(found) if found == of_root => Ok(path),
            Err(HubError::NotCached { .. }) if path.parent().is_some_and(Path::is_dir) => Ok(path),
            found => found.map_err(|e| e.to_string()),
        },
        [run] => Ok(run.clone()),
        several => {
            let names: Vec<String> = several.iter().map(|run| run.display().to_string()).collect();
            Err(format!(
                "{} runs have this name: {}",
                several.len(),
                names.join(", ")
            ))
        }
    }
}

/// Like [`path`]; the default `runs` is relative to the root.
///
/// # Errors
/// None.
pub fn runs(given: &str) -> Result<PathBuf, String> {
    Ok(if given == "runs" {
        given.into()
    } else {
        resolved(given)
    })
}

/// Like [`path`], for the place of a source: a path, a pattern of paths, or a built-in world.
///
/// # Errors
/// None.
pub fn place(given: &str) -> Result<String, String> {
    Ok(resolved(given).display().to_string())
}

/// `given`, relative to the caller's folder; a built-in world has no path.
pub fn resolved(given: &str) -> PathBuf {
    match CALLED_FROM.get() {
        _ if crate::data::source::with_scheme(given).is_some() || given == STDIO => given.into(),
        Some(folder) => folder.join(given),
        None => given.into(),
    }
}

/// [`resolved`] for a folder of weights: the name of a repository remains one.
pub fn resolved_weights(given: &str) -> PathBuf {
    let path = resolved(given);
    match path.exists() || given.parse::<RepoName>().is_err() {
        true => path,
        false => given.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_read_before_the_arguments_are() {
        let root = |args: &[&str]| asked_for(args.iter().map(OsString::from));
        assert_eq!(root(&["eclipse", "--root", "a", "sweep"]), Some("a".into()));
        assert_eq!(root(&["eclipse", "sweep", "--root=b"]), Some("b".into()));
        assert_eq!(root(&["eclipse", "draw", "--", "--root", "c"]), None);
        assert!(is_root(Path::new(env!("CARGO_MANIFEST_DIR"))));
        assert!(!is_root(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
    }
}
