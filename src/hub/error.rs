//! Errors of repositories of weights.

use std::path::PathBuf;

use indicatif::DecimalBytes;

use crate::files::FileError;

/// A repository that cannot be found, read or downloaded.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder for downloads cannot be written.
    #[error("the Hugging Face cache cannot be written; HF_HOME names another folder for it")]
    Cache(#[source] FileError),
    /// Not the name of a repository.
    #[error(
        "{0} is no repository: expected owner/name or owner/name@revision, as in kakaobrain/karlo-v1-alpha"
    )]
    Name(String),
    /// There is no home folder.
    #[error("no folder for the Hugging Face cache: set HF_HOME to one")]
    NoCache,
    /// Neither a folder nor a repository in the cache.
    #[error(
        "no such file or folder: {name}; the Hugging Face cache {} has no repository of this name either (`eclipse fetch {name}` downloads it)",
        .cache.display()
    )]
    NotCached {
        /// The name as it was given.
        name: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The cache has other revisions.
    #[error(
        "{} has no revision {revision}, only {} (`eclipse fetch {repo}@{revision}` downloads it)",
        .folder.display(), one_of(.known)
    )]
    NotThisRevision {
        /// The repository.
        repo: String,
        /// The revision that was asked for.
        revision: String,
        /// Its folder in the cache.
        folder: PathBuf,
        /// The commits that are there.
        known: Vec<String>,
    },
    /// Several revisions, and no record which one is current.
    #[error(
        "{} has several revisions and no refs/main: name one of them, as in {repo}@{}: {}",
        .folder.display(), .known[0], one_of(.known)
    )]
    Several {
        /// The repository.
        repo: String,
        /// Its folder in the cache.
        folder: PathBuf,
        /// The commits that are there.
        known: Vec<String>,
    },
    /// A file of a snapshot whose download has not finished.
    #[error("{} is not complete: its download was interrupted (`eclipse fetch {repo}` resumes it)", .file.display())]
    Incomplete {
        /// The repository, with its revision.
        repo: String,
        /// The file.
        file: PathBuf,
    },
    /// A part of a file that no snapshot names.
    #[error(
        "{} is the part of an interrupted download of {repo}: `eclipse fetch {repo}` completes what this program reads; \
         if the folder is complete without it, remove the part", .part.display()
    )]
    Part {
        /// The repository, with its revision.
        repo: String,
        /// The part.
        part: PathBuf,
    },
    /// The environment forbids downloads.
    #[error("HF_HUB_OFFLINE is set: unset it to download {0}")]
    Offline(String),
    /// No connection.
    #[error(
        "cannot reach {url}: {reason}; check the network, and HTTPS_PROXY and HF_ENDPOINT if you use a proxy or a mirror"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// A licence that has to be accepted.
    #[error(
        "{repo} is gated: accept its licence at {page}, then set HF_TOKEN to a token of that account{}",
        refused(*.has_token)
    )]
    Gated {
        /// The repository.
        repo: String,
        /// Its page.
        page: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The server refuses the request without naming a reason.
    #[error(
        "{url}: status {status}: no repository {repo} for this account; check the name, or set HF_TOKEN if it is private or gated{}",
        refused(*.has_token)
    )]
    Unauthorised {
        /// The repository.
        repo: String,
        /// The address.
        url: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// No such repository.
    #[error(
        "{endpoint} has no repository {repo}: check the name (owner/name, as in the address of its page)"
    )]
    NoRepository {
        /// The repository.
        repo: String,
        /// The server.
        endpoint: String,
    },
    /// No such revision.
    #[error("{endpoint}/{repo} has no revision {revision}: expected a branch, a tag or a commit")]
    NoRevision {
        /// The repository.
        repo: String,
        /// The server.
        endpoint: String,
        /// The revision.
        revision: String,
    },
    /// Another status than was expected.
    #[error("{url}: expected status 200, found {status}{}", if *.status >= 500 { "; try again later" } else { "" })]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// An answer that is not what was asked for.
    #[error(
        "{url}: expected {expected}, found {found}; is HF_ENDPOINT right, and does no proxy or login page answer in its place?"
    )]
    Answer {
        /// The address.
        url: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A file name that leaves the folder.
    #[error("{repo} lists a file {name:?}, which is not a path below its folder: nothing was downloaded")]
    Escape {
        /// The repository.
        repo: String,
        /// The name.
        name: String,
    },
    /// Nothing that this program reads.
    #[error(
        "{repo} has no weights that this program reads ({found}); --include GLOB or --all downloads other files"
    )]
    NoWeights {
        /// The repository.
        repo: String,
        /// What there is.
        found: String,
    },
    /// The disk is too small.
    #[error("{}: the download needs {}, and {} are free; HF_HOME names another folder for the Hugging Face cache", .folder.display(), DecimalBytes(*.needed), DecimalBytes(*.free))]
    Space {
        /// The cache.
        folder: PathBuf,
        /// Bytes to download.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The connection ended early.
    #[error(
        "{file}: the connection ended after {got} of {size} bytes ({reason}); the part is kept, and the same command resumes it"
    )]
    Cut {
        /// The file.
        file: String,
        /// Bytes on disk.
        got: u64,
        /// Bytes of the file.
        size: u64,
        /// Why.
        reason: String,
    },
    /// The bytes are not those that the server promised.
    #[error(
        "{file} was damaged on the way: expected {expected}, found {found}; the download was removed, the same command repeats it"
    )]
    Damaged {
        /// The file.
        file: String,
        /// The hash or size that the repository names.
        expected: String,
        /// Those of the bytes.
        found: String,
    },
    /// Another process downloads the file.
    #[error("another process downloads {file} ({} is locked): wait for it", .lock.display())]
    Busy {
        /// The file.
        file: String,
        /// The lock.
        lock: PathBuf,
    },
    /// The caller asked to stop.
    #[error("stopped in {0}, the part is kept")]
    Stopped(String),
}

fn refused(has_token: bool) -> &'static str {
    match has_token {
        true => " (the token that was sent has no access)",
        false => "",
    }
}

fn one_of(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.join(", "),
    }
}
