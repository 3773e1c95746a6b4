//! What the server is told when a run begins.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::experiment::provenance::{Origin, SessionRecord};
use crate::experiment::report_spec::flatten;
use crate::experiment::run::ResolvedRun;
use crate::train::tensorboard::host;

/// What a run is called on the server, and what it was started with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunStart {
    /// The experiment.
    pub experiment: String,
    /// The run.
    pub name: String,
    /// Dotted keys of the configuration and their values.
    pub params: Vec<(String, String)>,
    /// Where and with what it runs.
    pub tags: Vec<(String, String)>,
    /// When it began, in milliseconds since 1970. The server may learn of it after its end.
    pub at: u64,
}

impl RunStart {
    /// The start of a run of `origin`.
    pub fn new(run: &ResolvedRun, origin: &Origin) -> Self {
        let config: toml::Table = run.config().parse().unwrap_or_default();
        let value = |value: toml::Value| match value {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        let params = flatten(&config).into_iter().map(|(key, v)| (key, value(v)));
        let session = SessionRecord::begin(&origin.device);
        let mut tags = vec![
            ("mlflow.source.name", "eclipse".to_owned()),
            ("mlflow.source.type", "LOCAL".into()),
            ("eclipse.version", env!("CARGO_PKG_VERSION").into()),
            ("eclipse.config_sha256", run.hash().into()),
            ("eclipse.device", origin.device.clone()),
            ("eclipse.host", host()),
        ];
        tags.extend(session.git_sha.map(|sha| ("mlflow.source.git.commit", sha)));
        let dirty = session.git_dirty.map(|dirty| dirty.to_string());
        tags.extend(dirty.map(|dirty| ("eclipse.git_dirty", dirty)));
        Self {
            experiment: origin.experiment.clone(),
            name: origin.run.clone(),
            params: params.collect(),
            tags: tags
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            at: now(),
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
