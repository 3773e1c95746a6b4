//! The calls of MLflow's REST API 2.0 that tracking needs.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::server::Server;
use crate::files::http_client;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Most metrics of a batch.
pub(super) const MAX_METRICS: usize = 1000;
/// Most parameters of a batch.
const MAX_PARAMS: usize = 100;
/// Most characters of a parameter's value.
const MAX_VALUE: usize = 6000;
/// The tag by which a run is found again.
const KEY_TAG: &str = "eclipse.key";

/// A value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) key: String,
    pub(super) value: f64,
    /// Milliseconds since 1970.
    pub(super) timestamp: u64,
    pub(super) step: usize,
}

impl Point {
    /// As MLflow's protobuf wants it: numbers that JSON lacks are texts.
    fn to_json(&self) -> Value {
        let value = match self.value {
            v if v.is_nan() => json!("NaN"),
            f64::INFINITY => json!("Infinity"),
            f64::NEG_INFINITY => json!("-Infinity"),
            v => json!(v),
        };
        json!({"key": self.key, "value": value, "timestamp": self.timestamp, "step": self.step})
    }
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No answer, or one that a later attempt may improve.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that stays.
    #[error("{code} ({status}): {message}")]
    Refused {
        status: u16,
        code: String,
        message: String,
    },
}

impl CallError {
    fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}

/// The API of a server.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
    authorization: Option<String>,
}

impl Client {
    pub(super) fn new(server: &Server) -> Self {
        Self {
            agent: http_client(Some(TIMEOUT)),
            base: format!("{}/api/2.0/mlflow", server.uri),
            authorization: server.authorization.clone(),
        }
    }

    /// The experiment of this name, which is made if it does not exist.
    pub(super) fn experiment(&self, name: &str) -> Result<String, CallError> {
        let id = |answer: Value| text(&answer["experiment"]["experiment_id"]);
        let found = || {
            self.get("experiments/get-by-name", &[("experiment_name", name)])
                .and_then(id)
        };
        match found() {
            Err(error) if error.is("RESOURCE_DOES_NOT_EXIST") => (),
            found => return found,
        }
        match self.post("experiments/create", &json!({"name": name})) {
            Ok(answer) => text(&answer["experiment_id"]),
            // Another process was faster.
            Err(error) if error.is("RESOURCE_ALREADY_EXISTS") => found(),
            Err(error) => Err(error),
        }
    }

    /// The run whose key is `key`, if there is one.
    pub(super) fn find(&self, experiment: &str, key: &str) -> Result<Option<String>, CallError> {
        let request = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.`{KEY_TAG}` = '{key}'"),
            "max_results": 1,
        });
        let answer = self.post("runs/search", &request)?;
        answer["runs"]
            .get(0)
            .map(|run| text(&run["info"]["run_id"]))
            .transpose()
    }

    pub(super) fn create(
        &self,
        experiment: &str,
        name: &str,
        key: &str,
        tags: &[(String, String)],
        now: u64,
    ) -> Result<String, CallError> {
        let own = [(KEY_TAG.to_owned(), key.to_owned())];
        let tags = own.iter().chain(tags);
        let tags: Vec<Value> = tags
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        let request = json!({"experiment_id": experiment, "run_name": name, "start_time": now, "tags": tags});
        let answer = self.post("runs/create", &request)?;
        text(&answer["run"]["info"]["run_id"])
    }

    /// The last step of every metric of a run; `None` for a run that does not exist or was deleted.
    pub(super) fn last_steps(&self, run: &str) -> Result<Option<HashMap<String, usize>>, CallError> {
        let answer = match self.get("runs/get", &[("run_id", run)]) {
            Err(error) if error.is("RESOURCE_DOES_NOT_EXIST") => return Ok(None),
            answer => answer?,
        };
        if answer["run"]["info"]["lifecycle_stage"] == "deleted" {
            return Ok(None);
        }
        let metrics = answer["run"]["data"]["metrics"].as_array().into_iter().flatten();
        let step = |metric: &Value| {
            let step = &metric["step"];
            let step = step.as_u64().or_else(|| step.as_str()?.parse().ok());
            Some((metric["key"].as_str()?.to_owned(), step? as usize))
        };
        Ok(Some(metrics.filter_map(step).collect()))
    }

    /// Adds at most [`MAX_METRICS`] values. A value that the server has is not added again.
    pub(super) fn log(&self, run: &str, points: &[Point]) -> Result<(), CallError> {
        let metrics: Vec<Value> = points.iter().map(Point::to_json).collect();
        self.post("runs/log-batch", &json!({"run_id": run, "metrics": metrics}))
            .map(drop)
    }

    pub(super) fn params(&self, run: &str, params: &[(String, String)]) -> Result<(), CallError> {
        params.chunks(MAX_PARAMS).try_for_each(|some| {
            let short = |value: &str| value.chars().take(MAX_VALUE).collect::<String>();
            let some = some
                .iter()
                .map(|(key, value)| json!({"key": name(key), "value": short(value)}));
            let request = json!({"run_id": run, "params": some.collect::<Vec<_>>()});
            self.post("runs/log-batch", &request).map(drop)
        })
    }

    /// Sets the status, and the time of the end if it is one.
    pub(super) fn status(&self, run: &str, status: &str, end: Option<u64>) -> Result<(), CallError> {
        let mut request = json!({"run_id": run, "status": status});
        if let Some(end) = end {
            request["end_time"] = json!(end);
        }
        self.post("runs/update", &request).map(drop)
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CallError> {
        let request = self.agent.get(format!("{}/{path}", self.base));
        let request = request.query_pairs(query.iter().copied());
        let request = match &self.authorization {
            Some(value) => request.header("Authorization", value),
            None => request,
        };
        answer(request.call())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        let request = self.agent.post(format!("{}/{path}", self.base));
        let request = request.header("Content-Type", "application/json");
        let request = match &self.authorization {
            Some(value) => request.header("Authorization", value),
            None => request,
        };
        answer(request.send(body.to_string()))
    }
}

/// The JSON of an answer, or the error that it is.
fn answer(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, CallError> {
    let unreachable = |error: ureq::Error| CallError::Unreachable(error.to_string());
    let mut answer = answer.map_err(unreachable)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_to_string().map_err(unreachable)?;
    let json: Option<Value> = serde_json::from_str(&body).ok();
    match (status, json) {
        (200..300, Some(json)) => Ok(json),
        (408 | 429 | 500.., _) => Err(CallError::Unreachable(format!("it answers with status {status}"))),
        (_, json) => {
            let json = json.unwrap_or_default();
            let field = |name: &str, usual: &str| json[name].as_str().unwrap_or(usual).to_owned();
            Err(CallError::Refused {
                status,
                code: field("error_code", "an answer that is none of MLflow's API"),
                message: field(
                    "message",
                    "is this the address of an MLflow server, and are the login variables right?",
                ),
            })
        }
    }
}

fn text(value: &Value) -> Result<String, CallError> {
    let missing = || CallError::Refused {
        status: 200,
        code: "an answer that is none of MLflow's API".into(),
        message: "is this the address of an MLflow server?".into(),
    };
    value.as_str().map(str::to_owned).ok_or_else(missing)
}

/// `name` with an underscore for each character that MLflow refuses in names.
pub(super) fn name(name: &str) -> String {
    let is_right = |c: char| c.is_ascii_alphanumeric() || "_-./ ".contains(c);
    name.chars().map(|c| if is_right(c) { c } else { '_' }).collect()
}
