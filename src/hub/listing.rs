//! What a repository holds: its revision, licence, and files with sizes and hashes.

use std::path::{Component, Path};

use serde_json::Value;

use super::error::HubError;
use super::name::{MAIN, RepoName};
use super::server::{Asked, Server};

/// The hash that a server promises for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Digest {
    /// SHA-256 of the bytes: large files.
    Sha256(String),
    /// The name that git gives to the bytes.
    Git(String),
}

impl Digest {
    /// The hexadecimal digits, which are the name of the blob.
    pub(super) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path below the repository, with `/`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    pub(super) digest: Digest,
}

/// A revision of a repository, as the server describes it.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The repository, with the revision that was asked for.
    pub repo: RepoName,
    /// The commit.
    pub commit: String,
    /// The licence, as the repository names it.
    pub licence: Option<String>,
    /// All files, by name.
    pub files: Vec<RemoteFile>,
}

impl Listing {
    /// Asks `server` for the revision of `repo`. No file is requested, except the README of a repository whose licence the description lacks.
    ///
    /// # Errors
    /// [`HubError`]: no network, no such repository or revision, no access, or an answer that cannot be used.
    pub fn request(server: &Server, repo: &RepoName) -> Result<Self, HubError> {
        let id = repo.id();
        let revision = repo.revision().unwrap_or(MAIN);
        let asked = Asked { repo: &id, revision };
        let (url, value) = server.describe(&asked)?;
        let wrong = |expected: &str, found: Option<&Value>| HubError::Answer {
            url: url.clone(),
            expected: expected.into(),
            found: found.map_or("none".into(), Value::to_string),
        };
        let commit = value
            .get("sha")
            .and_then(Value::as_str)
            .filter(|sha| is_hex(sha, 40));
        let commit = commit.ok_or_else(|| wrong("a commit at sha", value.get("sha")))?;
        let siblings = value.get("siblings").and_then(Value::as_array);
        let siblings = siblings.ok_or_else(|| wrong("a list of files at siblings", value.get("siblings")))?;
        let mut files = Vec::with_capacity(siblings.len());
        for sibling in siblings {
            let name = sibling.get("rfilename").and_then(Value::as_str);
            let name = name.ok_or_else(|| wrong("a file with rfilename", Some(sibling)))?;
            if !is_below(name) {
                return Err(HubError::Escape {
                    repo: id,
                    name: name.into(),
                });
            }
            let text = |value: Option<&Value>, digits| {
                let text = value.and_then(Value::as_str).filter(|text| is_hex(text, digits));
                text.map(str::to_owned)
            };
            let lfs = sibling.get("lfs").filter(|lfs| lfs.is_object());
            let digest = match lfs {
                Some(lfs) => text(lfs.get("sha256").or(lfs.get("oid")), 64).map(Digest::Sha256),
                None => text(sibling.get("blobId"), 40).map(Digest::Git),
            };
            let bytes = lfs.and_then(|lfs| lfs.get("size")).or(sibling.get("size"));
            let (Some(digest), Some(bytes)) = (digest, bytes.and_then(Value::as_u64)) else {
                return Err(wrong("a file with size and hash", Some(sibling)));
            };
            let name = name.to_owned();
            files.push(RemoteFile { name, bytes, digest });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let commit = commit.to_owned();
        let licence = match licence(value.get("cardData").unwrap_or(&Value::Null)) {
            None if files.iter().any(|file| file.name == "README.md") => {
                let asked = Asked {
                    repo: &id,
                    revision: &commit,
                };
                server
                    .text(&asked, "README.md")
                    .ok()
                    .and_then(|text| front_matter(&text))
            }
            known => known,
        };
        Ok(Self {
            repo: repo.clone(),
            commit,
            licence,
            files,
        })
    }

    /// The repository at this commit: `owner/name@commit`.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.repo.id(), self.commit)
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `name` is a path below the folder that it is joined to.
fn is_below(name: &str) -> bool {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let is_clean =
        !name.contains(['\\', ':', '\0']) && !name.split('/').any(|part| part.is_empty() || part == ".");
    !name.is_empty() && is_clean && Path::new(name).components().all(is_plain)
}

/// The licence in a model card's metadata.
fn licence(card: &Value) -> Option<String> {
    let text = |key: &str| match card.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(texts) => {
            let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
            (!texts.is_empty()).then(|| texts.join(", "))
        }
        _ => None,
    };
    let licence = text("license")?;
    let more: Vec<String> = ["license_name", "license_link"]
        .into_iter()
        .filter_map(text)
        .collect();
    Some(match more.is_empty() {
        true => licence,
        false => format!("{licence} ({})", more.join(", ")),
    })
}

/// The licence in the metadata at the beginning of a README.
fn front_matter(text: &str) -> Option<String> {
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    lines.next().filter(|line| line.trim() == "---")?;
    let mut matter = lines.take_while(|line| line.trim() != "---");
    let value = matter.find_map(|line| line.strip_prefix("license:"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_below_their_folder() {
        for right in ["a", "a/b.json", "a..b", ".gitattributes"] {
            assert!(is_below(right), "{right}");
        }
        for wrong in ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\\b", "c:/a"] {
            assert!(!is_below(wrong), "{wrong}");
        }
    }

    #[test]
    fn licences_are_read_from_cards_and_front_matter() {
        let of = |card: Value| licence(&card);
        assert_eq!(of(serde_json::json!({"license": "mit"})), Some("mit".into()));
        let other =
            serde_json::json!({"license": "other", "license_name": "karlo", "license_link": "LICENSE"});
        assert_eq!(of(other), Some("other (karlo, LICENSE)".into()));
        assert_eq!(
            front_matter("---\ntags: x\nlicense: 'mit'\n---\n# A"),
            Some("mit".into())
        );
        assert_eq!(front_matter("# A\nlicense: mit"), None);
    }
}
