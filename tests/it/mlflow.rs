//! Runs on an MLflow server: exact requests, and servers that are slow, down or unwilling. `just mlflow` repeats the round trip with the real server.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use eclipse_t2i::eval::results::{EvalFile, Metric};
use eclipse_t2i::experiment::mlflow::{Ending, RunStart, Server, Tracker};
use eclipse_t2i::experiment::{MetricsLog, TrainingProgress};
use eclipse_t2i::train::session::Phase;
use serde_json::{Value, json};

use crate::kills::desk;
use crate::program::{command, said};

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// A run as the server keeps it.
#[derive(Default, Clone)]
struct Kept {
    name: String,
    status: String,
    tags: BTreeMap<String, String>,
    params: BTreeMap<String, String>,
    /// By key and step: the values, of which there should be one.
    metrics: BTreeMap<(String, u64), Vec<Value>>,
}

impl Kept {
    fn steps(&self, key: &str) -> Vec<u64> {
        let of_key = self.metrics.keys().filter(|(name, _)| name == key);
        of_key.map(|(_, step)| *step).collect()
    }

    fn has_doubles(&self) -> bool {
        self.metrics.values().any(|values| values.len() > 1)
    }
}

/// How the server answers.
#[derive(Default, Clone, Copy)]
enum Mood {
    #[default]
    Well,
    /// With this status, if the path contains this.
    Refusing(u16, &'static str),
    /// After this time.
    Slow(Duration),
}

#[derive(Default)]
struct Shelf {
    mood: Mood,
    requests: Vec<String>,
    experiments: Vec<String>,
    runs: Vec<Kept>,
}

/// A fake server on a port of its own.
#[derive(Clone)]
struct Fake {
    shelf: Arc<Mutex<Shelf>>,
    uri: String,
}

impl Fake {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let uri = format!("http://{}", listener.local_addr().expect("an address"));
        let fake = Self {
            shelf: Arc::default(),
            uri,
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await.expect("serves");
            });
        });
        fake
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("no panic")
    }

    fn mood(&self, mood: Mood) {
        self.shelf().mood = mood;
    }

    fn server(&self) -> Server {
        server(&self.uri)
    }

    fn runs(&self) -> Vec<Kept> {
        self.shelf().runs.clone()
    }

    /// The program with this server.
    fn program(&self, folder: &Path, args: &str) -> std::process::Command {
        let mut program = command(folder, args.split_whitespace());
        program.env("MLFLOW_TRACKING_URI", &self.uri);
        for other in [
            "EXPERIMENT_NAME",
            "TRACKING_TOKEN",
            "TRACKING_USERNAME",
            "TRACKING_PASSWORD",
        ] {
            program.env_remove(format!("MLFLOW_{other}"));
        }
        program
    }
}

fn server(uri: &str) -> Server {
    let get = |name: &str| match name {
        "MLFLOW_TRACKING_URI" => Some(uri.to_owned()),
        "MLFLOW_TRACKING_TOKEN" => Some("secret".to_owned()),
        _ => None,
    };
    Server::read(get).expect("right").expect("one")
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let mood = fake.shelf().mood;
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 10 << 20).await.expect("a body");
    let path = parts.uri.to_string();
    if let Mood::Slow(time) = mood {
        tokio::time::sleep(time).await;
    }
    let login = parts
        .headers
        .get("authorization")
        .map_or("", |v| v.to_str().expect("text"));
    let body = String::from_utf8(body.to_vec()).expect("text");
    let mut shelf = fake.shelf();
    shelf
        .requests
        .push(format!("{} {path} [{login}] {body}", parts.method));
    if let Mood::Refusing(status, part) = mood
        && path.contains(part)
    {
        let status = StatusCode::from_u16(status).expect("a status");
        let body = json!({"error_code": "INVALID_PARAMETER_VALUE", "message": "not like this"});
        return (status, JSON, body.to_string()).into_response();
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    match shelf.answer(&path, &body) {
        Ok(answer) => (JSON, answer.to_string()).into_response(),
        Err(code) => {
            let body = json!({"error_code": code, "message": "no"});
            (StatusCode::NOT_FOUND, JSON, body.to_string()).into_response()
        }
    }
}

impl Shelf {
    fn answer(&mut self, path: &str, body: &Value) -> Result<Value, &'static str> {
        let missing = "RESOURCE_DOES_NOT_EXIST";
        let path = path.strip_prefix("/api/2.0/mlflow/").ok_or(missing)?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let value = query.split_once('=').map_or("", |(_, value)| value);
        let run = body["run_id"].as_str().unwrap_or(value).parse::<usize>().ok();
        let info = |i: usize, run: &Kept| json!({"run_id": i.to_string(), "lifecycle_stage": "active", "status": run.status});
        match path {
            "experiments/get-by-name" => {
                let id = self
                    .experiments
                    .iter()
                    .position(|name| name == value)
                    .ok_or(missing)?;
                Ok(json!({"experiment": {"experiment_id": id.to_string(), "name": value}}))
            }
            "experiments/create" => {
                self.experiments
                    .push(body["name"].as_str().expect("a name").to_owned());
                Ok(json!({"experiment_id": (self.experiments.len() - 1).to_string()}))
            }
            "runs/create" => {
                let tags = pairs(&body["tags"]);
                let name = body["run_name"].as_str().expect("a name").to_owned();
                self.runs.push(Kept {
                    name,
                    status: "RUNNING".into(),
                    tags,
                    ..Kept::default()
                });
                let last = self.runs.len() - 1;
                Ok(json!({"run": {"info": info(last, &self.runs[last])}}))
            }
            "runs/search" => {
                let filter = body["filter"].as_str().expect("a filter");
                let has = |run: &Kept| filter.ends_with(&format!("'{}'", run.tags["eclipse.key"]));
                let found = self.runs.iter().enumerate().filter(|(_, run)| has(run));
                let found: Vec<Value> = found.map(|(i, run)| json!({"info": info(i, run)})).collect();
                Ok(json!({"runs": found}))
            }
            "runs/get" => {
                let i = run.ok_or(missing)?;
                let kept = self.runs.get(i).ok_or(missing)?;
                let last: BTreeMap<&String, u64> =
                    kept.metrics.keys().map(|(key, step)| (key, *step)).collect();
                let metrics: Vec<Value> = last
                    .iter()
                    .map(|(key, step)| json!({"key": key, "step": step}))
                    .collect();
                Ok(json!({"run": {"info": info(i, kept), "data": {"metrics": metrics}}}))
            }
            "runs/update" => {
                let status = body["status"].as_str().expect("a status");
                self.runs.get_mut(run.ok_or(missing)?).ok_or(missing)?.status = status.into();
                Ok(json!({}))
            }
            "runs/log-batch" => {
                let kept = self.runs.get_mut(run.ok_or(missing)?).ok_or(missing)?;
                kept.params.extend(pairs(&body["params"]));
                let metrics = body["metrics"].as_array().into_iter().flatten();
                assert!(metrics.clone().count() <= 1000, "MLflow's limit");
                for metric in metrics {
                    let key = metric["key"].as_str().expect("a key").to_owned();
                    let step = metric["step"].as_u64().expect("a step");
                    kept.metrics
                        .entry((key, step))
                        .or_default()
                        .push(metric["value"].clone());
                }
                Ok(json!({}))
            }
            _ => Err("ENDPOINT_NOT_FOUND"),
        }
    }
}

fn pairs(list: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let list = list.as_array().into_iter().flatten();
    list.map(|pair| (text(&pair["key"]), text(&pair["value"])))
        .collect()
}

fn start() -> RunStart {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    RunStart {
        experiment: "lambda".into(),
        name: "lambda=0.2_12345678".into(),
        params: vec![pair("train.lr", "0.001"), pair("objective.kind", "eclipse")],
        tags: vec![pair("eclipse.device", "flex")],
        at: 1_764_000_000_000,
    }
}

fn logged<'a>(phase: Phase, step: usize, values: &'a [(&'a str, f32)]) -> TrainingProgress<'a> {
    TrainingProgress {
        phase,
        step,
        n_steps: 100,
        values,
        is_logged: true,
    }
}

/// Waits until `reached`.
fn wait(what: &str, reached: impl Fn() -> bool) {
    let started = Instant::now();
    while !reached() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn requests_of_a_run() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let eval = folder.path().join("eval");
    std::fs::create_dir(&eval).expect("made");
    let score = Metric::scalar("forced_choice/all", "unseen", 0.75, 8);
    EvalFile::new(vec![score])
        .write(eval.join("embedding.json"))
        .expect("written");
    let tracker = Tracker::new(fake.server());
    tracker.begin(folder.path(), start());
    let values = [
        ("loss", 0.5),
        ("lr", 1e-3),
        ("lambda_contrastive/projection", f32::NAN),
        ("grad_norm", f32::INFINITY),
    ];
    tracker.log(folder.path(), logged(Phase::Train, 1, &values));
    tracker.log(folder.path(), logged(Phase::Valid, 1, &[("loss", 0.25)]));
    let unlogged = TrainingProgress {
        is_logged: false,
        ..logged(Phase::Train, 2, &values)
    };
    tracker.log(folder.path(), unlogged);
    tracker.end(folder.path(), Ending::Finished);
    tracker.close();
    let requests = fake.shelf().requests.join("\n");
    insta::with_settings!({filters => vec![(r"\b17\d{11}\b", "TIME"), (r"[0-9a-f]{32}", "KEY")]}, {
        insta::assert_snapshot!(requests);
    });
    assert_eq!(fake.runs()[0].status, "FINISHED");
    let identity = std::fs::read_to_string(folder.path().join("mlflow.json")).expect("kept");
    assert!(
        !identity.contains("secret") && identity.contains("\"run_id\": \"0\""),
        "{identity}"
    );
}

#[test]
fn a_resumed_run_sends_each_step_once() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let log = |tracker: &Tracker, steps: std::ops::RangeInclusive<usize>| {
        let before = steps.start() - 1;
        let mut rows = MetricsLog::open_after(folder.path().join("metrics.jsonl"), before).expect("opened");
        for step in steps {
            rows.log(step, 0, "train", &[("loss", step as f64)])
                .expect("written");
            tracker.log(
                folder.path(),
                logged(Phase::Train, step, &[("loss", step as f32)]),
            );
        }
    };
    let all = |n: u64| (1..=n).collect::<Vec<_>>();
    let tracker = Tracker::new(fake.server());
    tracker.begin(folder.path(), start());
    log(&tracker, 1..=7);
    tracker.end(folder.path(), Ending::Stopped);
    tracker.close();
    assert_eq!(fake.runs()[0].status, "KILLED");
    // From a checkpoint before the last step that was sent.
    let tracker = Tracker::new(fake.server());
    tracker.begin(folder.path(), start());
    log(&tracker, 5..=12);
    tracker.close();
    assert_eq!(
        (fake.runs()[0].status.as_str(), fake.runs()[0].steps("train/loss")),
        ("RUNNING", all(12))
    );
    // Killed before the id was kept, and after steps that were not sent.
    let path = folder.path().join("mlflow.json");
    let mut identity: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("kept")).expect("JSON");
    identity["run_id"] = Value::Null;
    std::fs::write(&path, identity.to_string()).expect("written");
    let tracker = Tracker::new(server("http://127.0.0.1:9"));
    log(&tracker, 13..=15);
    let tracker = Tracker::new(fake.server());
    tracker.begin(folder.path(), start());
    log(&tracker, 16..=17);
    tracker.end(folder.path(), Ending::Finished);
    tracker.close();
    let runs = fake.runs();
    assert_eq!(runs.len(), 1, "one run all the time");
    assert_eq!(
        (runs[0].status.as_str(), runs[0].steps("train/loss")),
        ("FINISHED", all(17))
    );
    assert!(!runs[0].has_doubles());
    // A run that was deleted on the server begins anew, with all steps.
    fake.shelf().runs.clear();
    let tracker = Tracker::new(fake.server());
    tracker.begin(folder.path(), start());
    tracker.end(folder.path(), Ending::Finished);
    tracker.close();
    assert_eq!(fake.runs()[0].steps("train/loss"), all(17));
}

#[test]
fn no_run_waits_for_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let slow = Fake::start();
    slow.mood(Mood::Slow(Duration::from_secs(600)));
    for uri in [
        slow.uri.as_str(),
        "http://127.0.0.1:9",
        "http://no-such-host.invalid",
    ] {
        let mut server = server(uri);
        server.flush = Duration::from_millis(300);
        let tracker = Tracker::new(server);
        let started = Instant::now();
        tracker.begin(folder.path(), start());
        let values = [("loss", 0.5); 8];
        for step in 1..=100_000 {
            tracker.log(folder.path(), logged(Phase::Train, step, &values));
        }
        tracker.end(folder.path(), Ending::Finished);
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(1),
            "{took:?} for 100,000 steps at {uri}"
        );
        tracker.close();
        let closed = started.elapsed() - took;
        assert!(closed < Duration::from_secs(2), "{closed:?} for the end at {uri}");
    }
}

#[test]
fn an_outage_loses_nothing() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    fake.mood(Mood::Refusing(503, ""));
    let mut rows = MetricsLog::open_after(folder.path().join("metrics.jsonl"), 0).expect("opened");
    let mut server = fake.server();
    server.flush = Duration::from_secs(60);
    let tracker = Tracker::new(server);
    tracker.begin(folder.path(), start());
    // More than may wait: the rest comes from the log.
    let n = 30_000;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for step in 1..=n {
        rows.log(step, 0, "train", &names.map(|name| (name, step as f64)))
            .expect("written");
        tracker.log(
            folder.path(),
            logged(Phase::Train, step, &names.map(|name| (name, step as f32))),
        );
    }
    wait("an attempt", || !fake.shelf().requests.is_empty());
    assert!(fake.runs().is_empty());
    fake.mood(Mood::Well);
    wait("what was held, and the rest", || {
        let shelf = fake.shelf();
        shelf
            .runs
            .first()
            .is_some_and(|run| run.metrics.len() == n * names.len())
    });
    rows.log(n + 1, 0, "train", &[("a", 0.0)]).expect("written");
    tracker.log(folder.path(), logged(Phase::Train, n + 1, &[("a", 0.0)]));
    wait("values after it", || {
        fake.runs()[0].metrics.len() == n * names.len() + 1
    });
    tracker.end(folder.path(), Ending::Finished);
    tracker.close();
    assert!(!fake.runs()[0].has_doubles());
    assert_eq!(fake.runs()[0].status, "FINISHED");
}

#[test]
fn an_unwilling_server_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let track = |fake: &Fake| {
        let tracker = Tracker::new(fake.server());
        tracker.begin(folder.path(), start());
        for step in 1..=50 {
            tracker.log(folder.path(), logged(Phase::Train, step, &[("loss", 0.5)]));
        }
        tracker.end(folder.path(), Ending::Failed);
        tracker.close();
        fake.shelf().requests.len()
    };
    let fake = Fake::start();
    fake.mood(Mood::Refusing(403, ""));
    assert_eq!(track(&fake), 1, "no login, no second attempt");
    let fake = Fake::start();
    fake.mood(Mood::Refusing(400, "log-batch"));
    assert!(track(&fake) < 10);
    let fake = Fake::start();
    track(&fake);
    assert_eq!(fake.runs()[0].status, "FAILED");
}

/// What the log has, and what the server has.
fn same_as_log(kept: &Kept, folder: &Path) {
    let rows = MetricsLog::read(folder.join("metrics.jsonl")).expect("a log");
    let mut n = 0;
    for row in &rows {
        let key = (format!("{}/{}", row.split, row.name), row.step as u64);
        let value = row.value.map_or(json!("NaN"), |value| json!(value));
        assert_eq!(kept.metrics.get(&key), Some(&vec![value]), "{key:?}");
        n += 1;
    }
    let scores = kept
        .metrics
        .keys()
        .filter(|(key, _)| key.starts_with("score/"))
        .count();
    assert!(scores > 0);
    assert_eq!(kept.metrics.len(), n + scores, "no more than the log");
}

#[test]
fn the_program_tracks_a_sweep_and_a_resumed_run() {
    let desk = desk();
    let fake = Fake::start();
    let output = fake
        .program(desk.path(), "sweep two.toml --jobs 2")
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    let runs = fake.runs();
    assert_eq!(runs.len(), 2);
    assert_eq!(fake.shelf().experiments, ["two"]);
    for kept in &runs {
        assert_eq!(kept.status, "FINISHED");
        assert_eq!(kept.params["train.steps"], "60");
        assert_eq!(kept.params["objective.kind"], "eclipse");
        assert_eq!(kept.tags["eclipse.device"], "flex");
        same_as_log(kept, &desk.path().join("runs/two").join(&kept.name));
    }
    assert_eq!(
        runs.iter()
            .map(|run| run.params["seed"].as_str())
            .collect::<Vec<_>>()
            .concat()
            .len(),
        2
    );

    let mut program = fake.program(
        desk.path(),
        "train --config one.toml --out run --set train.steps=4000",
    );
    program.env("MLFLOW_EXPERIMENT_NAME", "mine");
    let mut child = program
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    wait("the first values", || {
        fake.runs()
            .get(2)
            .is_some_and(|run| run.steps("train/loss").len() > 1)
    });
    child.kill().expect("killed");
    child.wait().expect("ends");
    let before = fake.runs()[2].clone();
    let args = "train --config one.toml --out run --set train.steps=4000 --resume";
    let output = fake
        .program(desk.path(), args)
        .env("MLFLOW_EXPERIMENT_NAME", "mine")
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fake.shelf().experiments, ["two", "mine"]);
    let runs = fake.runs();
    assert_eq!(runs.len(), 3, "the same run");
    assert!(before.metrics.len() < runs[2].metrics.len());
    assert_eq!(runs[2].status, "FINISHED");
    same_as_log(&runs[2], &desk.path().join("run"));

    fake.mood(Mood::Refusing(503, ""));
    let output = fake
        .program(desk.path(), "train --config one.toml --out other")
        .output()
        .expect("starts");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("MLflow").count(), 1, "{text}");
    assert!(
        text.contains("does not answer (it answers with status 503); runs go on"),
        "{text}"
    );
    fake.mood(Mood::Well);
    // The same command sends what a finished run lacks.
    let args = "train --config one.toml --out other";
    for _ in 0..2 {
        let output = fake.program(desk.path(), args).output().expect("starts");
        assert!(said(&output).contains("already finished"), "{}", said(&output));
        let runs = fake.runs();
        assert_eq!((runs.len(), runs[3].status.as_str()), (4, "FINISHED"));
        same_as_log(&runs[3], &desk.path().join("other"));
    }
    fake.mood(Mood::Refusing(503, ""));
    let mut program = fake.program(
        desk.path(),
        "train --config one.toml --out third --set train.steps=4000",
    );
    let child = program.stderr(Stdio::piped()).spawn().expect("starts");
    let before = fake.shelf().requests.len();
    wait("an attempt", || fake.shelf().requests.len() > before);
    fake.mood(Mood::Well);
    let text = said(&child.wait_with_output().expect("ends"));
    assert_eq!(text.matches("MLflow").count(), 2, "{text}");
    assert!(text.contains("answers again"), "{text}");
    same_as_log(&fake.runs()[4], &desk.path().join("third"));
    for args in ["train --config one.toml", "sweep two.toml --dry-run"] {
        let mut program = command(desk.path(), args.split_whitespace());
        let output = program
            .env("MLFLOW_TRACKING_URI", "databricks")
            .output()
            .expect("starts");
        assert_eq!(output.status.code(), Some(2));
        let text = said(&output);
        assert!(
            text.starts_with(
                "error: MLFLOW_TRACKING_URI: expected the http or https address of an MLflow server"
            ),
            "{text}"
        );
    }
}
