//! The Hugging Face cache: `models--owner--name/{blobs,refs,snapshots}`, as the Python package `huggingface_hub` writes it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::name::{MAIN, RepoName};
use crate::files;

/// Ending of the part of a blob.
pub(super) const PART: &str = ".incomplete";

/// The folder with the repositories: `HF_HUB_CACHE`, else `hub` in the home folder of Hugging Face.
///
/// # Errors
/// [`HubError::NoCache`] if there is no home folder.
pub fn cache() -> Result<PathBuf, HubError> {
    match variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")) {
        Some(cache) => Ok(cache),
        None => Ok(home()?.join("hub")),
    }
}

/// `HF_HOME`, else `huggingface` in `XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// [`HubError::NoCache`] if there is no home folder.
pub(super) fn home() -> Result<PathBuf, HubError> {
    let usual = || {
        let caches = variable("XDG_CACHE_HOME").or_else(|| Some(dirs::home_dir()?.join(".cache")));
        caches.map(|caches| caches.join("huggingface"))
    };
    variable("HF_HOME").or_else(usual).ok_or(HubError::NoCache)
}

fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    let path = PathBuf::from(value);
    match (path.strip_prefix("~"), dirs::home_dir()) {
        (Ok(rest), Some(home)) => Some(home.join(rest)),
        _ => Some(path),
    }
}

/// The folder of weights that `given` names: itself if it exists, else the snapshot of the repository of this name in the cache. What is no name of a
/// repository is returned as it is, for the reader to report; so is a path in a folder that exists.
///
/// # Errors
/// [`HubError`] for a repository that is not in the cache, or not completely.
pub fn weights_folder(given: &Path) -> Result<PathBuf, HubError> {
    let name = given.to_str().and_then(|text| text.parse().ok());
    match name {
        Some(name) if !given.exists() => match snapshot(&cache()?, &name) {
            Err(HubError::NotCached { .. }) if given.parent().is_some_and(Path::is_dir) => {
                Ok(given.to_path_buf())
            }
            found => found,
        },
        _ => Ok(given.to_path_buf()),
    }
}

/// The repository and the commit of a path in a cache, as `owner/name@commit`.
pub fn repository_of(path: &Path) -> Option<String> {
    let mut names = path.components().map(|part| part.as_os_str().to_str());
    while let Some(part) = names.next() {
        if let Some(repo) = part.and_then(RepoName::of_folder)
            && names.next() == Some(Some("snapshots"))
        {
            return names.next().flatten().map(|commit| format!("{repo}@{commit}"));
        }
    }
    None
}

/// The folder of the revision of `repo` in `cache`; without a revision, that of `refs/main`, or the only one.
///
/// # Errors
/// [`HubError`]: not there, not complete, or ambiguous.
pub fn snapshot(cache: &Path, repo: &RepoName) -> Result<PathBuf, HubError> {
    let folder = cache.join(repo.folder());
    let commits = commits(&folder);
    if commits.is_empty() {
        return Err(HubError::NotCached {
            name: repo.to_string(),
            cache: cache.to_path_buf(),
        });
    }
    let revision = repo.revision().unwrap_or(MAIN);
    let known = || commits.clone();
    let is_there = |commit: &String| commits.contains(commit);
    let by_ref = files::read_text(folder.join("refs").join(revision));
    let by_ref = by_ref.ok().map(|text| text.trim().to_owned());
    let begins: Vec<&String> = commits.iter().filter(|c| c.starts_with(revision)).collect();
    let commit = match (by_ref.filter(is_there), repo.revision(), begins.as_slice()) {
        (Some(commit), ..) => commit,
        (None, Some(_), [commit]) if revision.len() >= 7 => (*commit).clone(),
        (None, Some(_), _) => {
            return Err(HubError::NotThisRevision {
                repo: repo.id(),
                revision: revision.into(),
                folder,
                known: known(),
            });
        }
        (None, None, _) if commits.len() == 1 => commits[0].clone(),
        (None, None, _) => {
            return Err(HubError::Several {
                repo: repo.id(),
                folder,
                known: known(),
            });
        }
    };
    let found = folder.join("snapshots").join(&commit);
    if let Some(file) = dangling(&found)? {
        return Err(HubError::Incomplete {
            repo: repo.to_string(),
            file,
        });
    }
    let blobs = files::list(folder.join("blobs")).unwrap_or_default();
    match blobs
        .into_iter()
        .find(|blob| blob.extension() == Some(OsStr::new(&PART[1..])))
    {
        Some(part) => Err(HubError::Part {
            repo: repo.to_string(),
            part,
        }),
        None => Ok(found),
    }
}

/// The commits with a snapshot.
fn commits(folder: &Path) -> Vec<String> {
    let snapshots = files::list_folders(folder.join("snapshots")).unwrap_or_default();
    let names = snapshots.iter().filter_map(|path| path.file_name()?.to_str());
    names.map(str::to_owned).collect()
}

/// The first link in `folder`, or in folders below it, that leads nowhere.
fn dangling(folder: &Path) -> Result<Option<PathBuf>, HubError> {
    for path in files::list_names(folder)? {
        let found = match path.is_symlink() {
            true => (!path.exists()).then_some(path),
            false if path.is_dir() => dangling(&path)?,
            false => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn snapshots_are_found_as_python_leaves_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("models--a--b");
        let find = |name: &str| snapshot(dir.path(), &name.parse().expect("a name"));
        let said = |name: &str| {
            find(name)
                .expect_err("refused")
                .to_string()
                .replace(&dir.path().display().to_string(), "HUB")
        };
        assert_eq!(
            said("a/b"),
            "no such file or folder: a/b; the Hugging Face cache HUB has no repository of this name either (`eclipse fetch a/b` downloads it)"
        );
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        for name in [&format!("snapshots/{one}/prior"), "blobs", "refs/refs/pr"] {
            files::create_dir(folder.join(name)).expect("made");
        }
        std::fs::write(folder.join("blobs/x"), "text").expect("written");
        let file = folder.join("snapshots").join(&one).join("prior/config.json");
        symlink("../../../blobs/x", &file).expect("linked");
        assert_eq!(
            find("a/b").expect("the only one"),
            folder.join("snapshots").join(&one)
        );
        assert_eq!(repository_of(&file), Some(format!("a/b@{one}")));
        files::create_dir(folder.join("snapshots").join(&two)).expect("made");
        assert_eq!(
            said("a/b"),
            format!(
                "HUB/models--a--b has several revisions and no refs/main: name one of them, as in a/b@{one}: {one}, {two}"
            )
        );
        std::fs::write(folder.join("refs/main"), format!("{two}\n")).expect("written");
        std::fs::write(folder.join("refs/refs/pr/1"), &one).expect("written");
        for (name, commit) in [
            ("a/b", &two),
            ("a/b@1111111", &one),
            ("a/b@refs/pr/1", &one),
            ("a/b@main", &two),
        ] {
            assert_eq!(find(name).expect(name), folder.join("snapshots").join(commit));
        }
        assert_eq!(
            said("a/b@v2"),
            format!(
                "HUB/models--a--b has no revision v2, only {one}, {two} (`eclipse fetch a/b@v2` downloads it)"
            )
        );
        std::fs::write(folder.join("blobs/y.incomplete"), "te").expect("written");
        assert!(said("a/b").starts_with(
            "HUB/models--a--b/blobs/y.incomplete is the part of an interrupted download of a/b"
        ));
        std::fs::remove_file(folder.join("blobs/x")).expect("there");
        assert_eq!(
            said(&format!("a/b@{one}")),
            format!(
                "HUB/models--a--b/snapshots/{one}/prior/config.json is not complete: its download was interrupted (`eclipse fetch a/b@{one}` resumes it)"
            )
        );
    }
}
