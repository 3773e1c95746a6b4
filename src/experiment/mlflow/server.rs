//! The server that `MLFLOW_*` name.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Longest wait for deliveries at the end of the program.
const FLUSH: Duration = Duration::from_secs(5);

/// An MLflow server and how to log in.
#[derive(Clone)]
pub struct Server {
    /// Its address, without a slash at the end.
    pub uri: String,
    /// The experiment of all runs, instead of their own.
    pub experiment: Option<String>,
    /// The value of the `Authorization` header.
    pub(super) authorization: Option<String>,
    /// Longest wait for deliveries at the end of the program.
    pub flush: Duration,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: expected {expected}, found {found}")]
pub struct ServerError {
    variable: &'static str,
    expected: &'static str,
    found: String,
}

impl Server {
    /// The server that the environment names; `None` without `MLFLOW_TRACKING_URI`.
    ///
    /// # Errors
    /// [`ServerError`], naming the variable.
    pub fn from_env() -> Result<Option<Self>, ServerError> {
        Self::read(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// The server that the variables `get` name.
    ///
    /// # Errors
    /// [`ServerError`], naming the variable.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ServerError> {
        let get = |name: &str| get(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let Some(uri) = get("MLFLOW_TRACKING_URI") else {
            return Ok(None);
        };
        let wrong = |expected: &'static str, found: &str| ServerError {
            variable: "MLFLOW_TRACKING_URI",
            expected,
            found: found.to_owned(),
        };
        let rest = uri
            .strip_prefix("http://")
            .or_else(|| uri.strip_prefix("https://"));
        let host = rest
            .and_then(|rest| rest.split(['/', '?', '#']).next())
            .unwrap_or_default();
        if host.is_empty() || uri.contains(char::is_whitespace) {
            let expected = "the http or https address of an MLflow server, as in http://127.0.0.1:5000 (`mlflow server` starts one); folders, \
                            databases and databricks are not supported";
            return Err(wrong(expected, &uri));
        }
        if host.contains('@') {
            let expected = "an address without a password: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are for it";
            return Err(wrong(expected, "one"));
        }
        let authorization = match (get("MLFLOW_TRACKING_USERNAME"), get("MLFLOW_TRACKING_PASSWORD")) {
            (Some(user), Some(password)) => {
                let both = BASE64_STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {both}"))
            }
            (None, None) => get("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}")),
            (user, _) => {
                let (variable, other) = match user {
                    Some(_) => (
                        "MLFLOW_TRACKING_PASSWORD",
                        "a value beside MLFLOW_TRACKING_USERNAME",
                    ),
                    None => (
                        "MLFLOW_TRACKING_USERNAME",
                        "a value beside MLFLOW_TRACKING_PASSWORD",
                    ),
                };
                return Err(ServerError {
                    variable,
                    expected: other,
                    found: "nothing".into(),
                });
            }
        };
        Ok(Some(Self {
            uri: uri.trim_end_matches('/').to_owned(),
            experiment: get("MLFLOW_EXPERIMENT_NAME"),
            authorization,
            flush: FLUSH,
        }))
    }
}

impl std::fmt::Debug for Server {
    /// Without what it logs in with.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Server>, String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Server::read(get).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_name_a_server() {
        assert!(read(&[]).expect("right").is_none());
        assert!(read(&[("MLFLOW_TRACKING_URI", " ")]).expect("right").is_none());
        let uri = ("MLFLOW_TRACKING_URI", "https://example.org/mlflow/");
        let server = read(&[uri, ("MLFLOW_TRACKING_TOKEN", "t")])
            .expect("right")
            .expect("one");
        assert_eq!(server.uri, "https://example.org/mlflow");
        assert_eq!(server.authorization.as_deref(), Some("Bearer t"));
        assert_eq!(format!("{server:?}"), "Server(https://example.org/mlflow)");
        let user = ("MLFLOW_TRACKING_USERNAME", "a");
        let password = ("MLFLOW_TRACKING_PASSWORD", "b");
        let server = read(&[uri, user, password]).expect("right").expect("one");
        assert_eq!(server.authorization.as_deref(), Some("Basic YTpi"));
        for wrong in [
            "file:///mlruns",
            "mlruns",
            "databricks",
            "sqlite:///a.db",
            "http://",
            "http://a b",
        ] {
            let error = read(&[("MLFLOW_TRACKING_URI", wrong)]).expect_err(wrong);
            assert!(
                error.starts_with("MLFLOW_TRACKING_URI: expected the http or https address"),
                "{error}"
            );
            assert!(error.ends_with(&format!("found {wrong}")), "{error}");
        }
        let error = read(&[("MLFLOW_TRACKING_URI", "http://a:secret@b")]).expect_err("refused");
        assert!(!error.contains("secret"), "{error}");
        let error = read(&[uri, user]).expect_err("refused");
        assert_eq!(
            error,
            "MLFLOW_TRACKING_PASSWORD: expected a value beside MLFLOW_TRACKING_USERNAME, found nothing"
        );
    }
}
