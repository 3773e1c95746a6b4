//! Requests to the Hugging Face Hub, or to a mirror of it.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::Body;
use ureq::http::{HeaderMap, Response};

use super::cache;
use super::error::HubError;
use crate::files::{self, http_client};

/// The Hugging Face Hub.
const ENDPOINT: &str = "https://huggingface.co";
/// Longest time for the list of a repository's files.
const LISTING: Duration = Duration::from_secs(60);
/// Bytes of a list of files, and of a README that is read for its licence.
const MOST: u64 = 64 << 20;
/// Characters of a path that are not encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where repositories are downloaded from, and as whom.
pub struct Server {
    endpoint: String,
    token: Option<String>,
}

/// What is asked for, for errors.
pub(super) struct Asked<'a> {
    /// `owner/name`.
    pub(super) repo: &'a str,
    /// Branch, tag or commit.
    pub(super) revision: &'a str,
}

impl Server {
    /// `HF_ENDPOINT`, else the Hugging Face Hub; the token of `HF_TOKEN`, else of the file that Python's `hf auth login` writes.
    ///
    /// # Errors
    /// [`HubError::Answer`] for an endpoint that is no address.
    pub fn from_environment() -> Result<Self, HubError> {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(HubError::Unreachable {
                url: endpoint,
                reason: "expected an address that begins with https:// or http://".into(),
            });
        }
        let file = || {
            let path = std::env::var_os("HF_TOKEN_PATH").map(Into::into);
            let path = path.or_else(|| Some(cache::home().ok()?.join("token")))?;
            files::read_text(path).ok()
        };
        let token = text("HF_TOKEN")
            .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
            .or_else(file);
        let token = token
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        Ok(Self { endpoint, token })
    }

    /// The address of the server.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The page of a repository.
    pub fn page(&self, repo: &str) -> String {
        format!("{}/{repo}", self.endpoint)
    }

    /// The description of a repository, in JSON.
    pub(super) fn describe(&self, asked: &Asked<'_>) -> Result<(String, serde_json::Value), HubError> {
        let revision = encoded(asked.revision);
        let url = format!(
            "{}/api/models/{}/revision/{revision}?blobs=true",
            self.endpoint, asked.repo
        );
        let answer = self.get(&url, asked, Some(LISTING), &[])?;
        if answer.status().as_u16() != 200 {
            return Err(self.refusal(&url, asked, &answer));
        }
        let wrong = |found: &str| HubError::Answer {
            url: url.clone(),
            expected: "the description of a repository, in JSON".into(),
            found: found.into(),
        };
        if is_page(answer.headers()) {
            return Err(wrong("a web page"));
        }
        let bytes = whole(&url, answer)?;
        let value = serde_json::from_slice(&bytes).map_err(|e| wrong(&format!("no JSON: {e}")))?;
        Ok((url, value))
    }

    /// The text of a small file.
    pub(super) fn text(&self, asked: &Asked<'_>, file: &str) -> Result<String, HubError> {
        let (url, answer) = self.file(asked, file, 0)?;
        Ok(String::from_utf8_lossy(&whole(&url, answer)?).into_owned())
    }

    /// A file from byte `from`: status 200 (from its beginning after all), 206 or 416.
    pub(super) fn file(
        &self,
        asked: &Asked<'_>,
        file: &str,
        from: u64,
    ) -> Result<(String, Response<Body>), HubError> {
        let path: Vec<String> = file.split('/').map(encoded).collect();
        let (repo, revision) = (asked.repo, encoded(asked.revision));
        let url = format!("{}/{repo}/resolve/{revision}/{}", self.endpoint, path.join("/"));
        let range = format!("bytes={from}-");
        let range = [("range", range.as_str())];
        let answer = self.get(&url, asked, None, if from > 0 { &range } else { &[] })?;
        match answer.status().as_u16() {
            200 | 206 | 416 if is_page(answer.headers()) && !file.ends_with(".html") => {
                Err(HubError::Answer {
                    url,
                    expected: format!("the file {file}"),
                    found: "a web page".into(),
                })
            }
            200 => Ok((url, answer)),
            206 | 416 if from > 0 => Ok((url, answer)),
            _ => Err(self.refusal(&url, asked, &answer)),
        }
    }

    fn get(
        &self,
        url: &str,
        asked: &Asked<'_>,
        whole: Option<Duration>,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, HubError> {
        tracing::debug!("{} from {url}", asked.repo);
        let mut request = http_client(whole).get(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().map_err(|e| unreachable(url, &e))
    }

    /// The error of a status that is no success.
    fn refusal(&self, url: &str, asked: &Asked<'_>, answer: &Response<Body>) -> HubError {
        let code = answer.headers().get("x-error-code");
        let code = code.and_then(|code| code.to_str().ok()).unwrap_or_default();
        let (repo, endpoint) = (asked.repo.to_owned(), self.endpoint.clone());
        let has_token = self.token.is_some();
        match (answer.status().as_u16(), code) {
            (_, "GatedRepo") => HubError::Gated {
                page: self.page(&repo),
                repo,
                has_token,
            },
            (_, "RevisionNotFound") => HubError::NoRevision {
                repo,
                endpoint,
                revision: asked.revision.into(),
            },
            (status @ (401 | 403), _) => HubError::Unauthorised {
                repo,
                url: url.into(),
                status,
                has_token,
            },
            (404, "RepoNotFound") => HubError::NoRepository { repo, endpoint },
            (404, _) if url.contains("/api/models/") => HubError::NoRepository { repo, endpoint },
            (status, _) => HubError::Status {
                url: url.into(),
                status,
            },
        }
    }
}

/// All bytes of an answer, if it is small.
fn whole(url: &str, answer: Response<Body>) -> Result<Vec<u8>, HubError> {
    let body = answer.into_body().into_with_config().limit(MOST);
    body.read_to_vec().map_err(|e| unreachable(url, &e))
}

fn unreachable(url: &str, error: &ureq::Error) -> HubError {
    HubError::Unreachable {
        url: url.into(),
        reason: error.to_string(),
    }
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/html"))
}

fn encoded(part: &str) -> String {
    utf8_percent_encode(part, PLAIN).to_string()
}
