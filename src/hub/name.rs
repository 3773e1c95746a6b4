//! Names of repositories: `owner/name`, with or without `@revision`.

use std::fmt;
use std::str::FromStr;

use super::error::HubError;

/// The revision of a repository that names none.
pub(super) const MAIN: &str = "main";

/// A repository of the Hugging Face Hub, perhaps with a revision: a branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoName {
    owner: String,
    name: String,
    revision: Option<String>,
}

impl RepoName {
    /// `owner/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The revision, if one is named.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Name of its folder in a cache.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }

    /// The name of the folder [`RepoName::folder`], as `owner/name`.
    pub(super) fn of_folder(folder: &str) -> Option<String> {
        let (owner, name) = folder.strip_prefix("models--")?.split_once("--")?;
        Some(format!("{owner}/{name}"))
    }
}

impl FromStr for RepoName {
    type Err = HubError;

    fn from_str(given: &str) -> Result<Self, HubError> {
        let wrong = || HubError::Name(given.into());
        let (id, revision) = match given.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (given, None),
        };
        let (owner, name) = id.split_once('/').ok_or_else(wrong)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name = |text: &str| {
            text.chars().all(plain)
                && text.len() <= 96
                && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && !text.contains("--")
                && !text.contains("..")
        };
        let is_revision = |text: &str| {
            let is_part = |part: &str| !part.is_empty() && part.chars().all(plain) && !part.starts_with('.');
            text.len() <= 256 && text.split('/').all(is_part) && !text.contains("..")
        };
        match is_name(owner) && is_name(name) && revision.is_none_or(is_revision) {
            true => Ok(Self {
                owner: owner.into(),
                name: name.into(),
                revision: revision.map(Into::into),
            }),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            owner,
            name,
            revision,
        } = self;
        match revision {
            Some(revision) => write!(f, "{owner}/{name}@{revision}"),
            None => write!(f, "{owner}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_owner_and_name() {
        for right in ["a/b", "kakaobrain/karlo-v1-alpha", "a/b.c@refs/pr/1", "a/b@v1.0"] {
            assert_eq!(right.parse::<RepoName>().expect(right).to_string(), right);
        }
        for wrong in [
            "", "a", "/a", "a/", "a/b/c", "../a", "a/..", "./a", "a/b@", "a/b@../x", "a/b@/x", "a/b--c",
            "a b/c", "~/a",
        ] {
            assert!(wrong.parse::<RepoName>().is_err(), "{wrong}");
        }
    }
}
