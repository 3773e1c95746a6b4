//! Where the program works: the project's root, whatever folder it is called from.
//!
//! `experiments/`, `datasets/` and `runs/` are folders of the root. It is `--root`, else `ECLIPSE_HOME`, else the nearest folder above the caller's
//! that holds the project; where there is none, the caller's folder. The program changes to it; paths that the caller gives stay relative to the
//! folder that they were given in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::Usage;

/// What an environment variable names the root with.
const HOME: &str = "ECLIPSE_HOME";

/// The caller's folder, where the program has left it.
static CALLED_FROM: OnceLock<PathBuf> = OnceLock::new();

/// Changes to the project's root. Called once, before arguments are parsed.
///
/// # Errors
/// A root that was named and is no folder.
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

/// A path as the caller gave it, for a program that may have changed its folder.
///
/// # Errors
/// None: paths are not looked at here. The signature is that of clap's parsers of values.
pub fn path(given: &str) -> Result<PathBuf, String> {
    Ok(resolved(given))
}

/// As [`path`]; `runs`, the default, is the root's.
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

/// As [`path`], of what a source's place is told by: a path, a pattern of paths, or a built-in world.
///
/// # Errors
/// None.
pub fn place(given: &str) -> Result<String, String> {
    Ok(resolved(given).display().to_string())
}

/// `given`, relative to the caller's folder; a built-in world has none.
pub fn resolved(given: &str) -> PathBuf {
    match CALLED_FROM.get() {
        _ if given.starts_with("world:") => given.into(),
        Some(folder) => folder.join(given),
        None => given.into(),
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
