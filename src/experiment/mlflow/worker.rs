//! The thread that sends.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{CallError, Client, MAX_METRICS, Point, name};
use super::queue::{Ending, Message, Shared};
use super::start::{RunStart, now};
use crate::config::{read_json, write_json};
use crate::eval::results::EvalFile;
use crate::experiment::run_dir::RunDir;
use crate::train::metrics::{MetricRow, MetricsLog};
use crate::train::run_folder::METRICS;

/// The file in a run's folder that says which MLflow run it is.
const FILE: &str = "mlflow.json";
/// Time in which values are gathered to a batch.
const GATHER: Duration = Duration::from_secs(1);
/// Longest pause before the next attempt.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The MLflow run of a folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The server.
    uri: String,
    /// A random text that the run has as a tag; written before the run is created, so that a run whose id was lost is found.
    key: String,
    /// The run's id.
    run_id: Option<String>,
    /// The server has everything, and the end.
    #[serde(default)]
    is_complete: bool,
}

/// Whether a run in `folder` was begun with the server at `uri`, and not all of it is there.
pub(super) fn is_incomplete(folder: &Path, uri: &str) -> bool {
    read_identity(&folder.join(FILE)).is_some_and(|known| known.uri == uri && !known.is_complete)
}

/// The identity of the run in `folder` with the server at `uri`, and whether it is new: written before anything is sent, so that what is never sent is known.
pub(super) fn register(folder: &Path, uri: &str) -> (Identity, bool) {
    let path = folder.join(FILE);
    match read_identity(&path).filter(|known| known.uri == uri) {
        Some(known) => (known, false),
        None => {
            let identity = Identity {
                uri: uri.to_owned(),
                key: random_key(),
                ..Identity::default()
            };
            keep(&path, &identity);
            (identity, true)
        }
    }
}

fn read_identity(path: &Path) -> Option<Identity> {
    read_json(path).ok()
}

/// A run that has not ended, or whose end was not sent.
#[derive(Default)]
struct Tracked {
    start: RunStart,
    /// No process has tried to create it.
    is_new: bool,
    id: Option<String>,
    /// The last step of each metric that the server has.
    sent: HashMap<String, usize>,
    pending: VecDeque<Point>,
    /// Everything was added to `pending` after the end.
    is_complete: bool,
    end: Option<(Ending, u64)>,
    /// The server refuses it.
    is_refused: bool,
}

struct Worker<'a> {
    shared: &'a Shared,
    client: Client,
    is_reachable: bool,
    warnings: HashSet<String>,
}

/// Sends until the queue is closed and nothing is left, or the server does not answer then.
pub(super) fn work(shared: &Shared) {
    let mut worker = Worker {
        client: Client::new(&shared.server),
        shared,
        is_reachable: true,
        warnings: HashSet::new(),
    };
    let mut runs: BTreeMap<PathBuf, Tracked> = BTreeMap::new();
    let mut pause = GATHER;
    loop {
        let mut queue = shared.queue();
        let is_idle = |run: &Tracked| {
            let is_known = run.id.is_some() || run.is_refused;
            is_known && run.pending.is_empty() && run.end.is_none()
        };
        while !queue.is_closed && queue.messages.is_empty() && runs.values().all(is_idle) {
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let gathered = shared
            .changed
            .wait_timeout_while(queue, pause, |queue| !queue.is_closed);
        let (mut queue, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        let messages: Vec<_> = queue.messages.drain(..).collect();
        let is_closed = queue.is_closed;
        drop(queue);
        for (folder, message) in messages {
            let run = runs.entry(folder).or_default();
            match message {
                Message::Begin(start, is_new) => (run.start, run.is_new) = (*start, is_new),
                Message::Values(points) => run.pending.extend(points),
                Message::End(ending, at) => run.end = Some((ending, at)),
            }
        }
        match worker.send_all(&mut runs) {
            Ok(()) => {
                worker.reached();
                pause = GATHER;
            }
            Err(reason) => {
                worker.lost(&reason);
                pause = (pause * 2).min(MAX_PAUSE);
                if is_closed {
                    return;
                }
            }
        }
        if is_closed && shared.queue().messages.is_empty() {
            return;
        }
    }
}

impl Worker<'_> {
    /// Sends what all runs have; ended runs are removed.
    fn send_all(&mut self, runs: &mut BTreeMap<PathBuf, Tracked>) -> Result<(), String> {
        for (folder, run) in runs.iter_mut() {
            match self.send(folder, run) {
                Ok(()) => (),
                Err(CallError::Unreachable(reason)) => return Err(reason),
                Err(refused) => {
                    run.is_refused = true;
                    self.let_go(run.pending.drain(..).len());
                    self.warn(format!("refuses the run {}: {refused}", run.start.name));
                }
            }
        }
        runs.retain(|_, run| run.end.is_none());
        Ok(())
    }

    fn send(&mut self, folder: &Path, run: &mut Tracked) -> Result<(), CallError> {
        if run.is_refused {
            self.let_go(run.pending.drain(..).len());
            return Ok(());
        }
        let mut is_behind = self.shared.queue().behind.remove(folder);
        let id = match &run.id {
            Some(id) => id.clone(),
            None => {
                // A second attempt looks for the run that the first may have created.
                let is_new = std::mem::take(&mut run.is_new);
                let (id, sent) = self.open(folder, run, is_new)?;
                (run.id, run.sent) = (Some(id.clone()), sent);
                is_behind = true;
                id
            }
        };
        is_behind |= run.end.is_some();
        if is_behind && !run.is_complete {
            let before = run.pending.len();
            run.add_missing(folder);
            self.shared.queue().held += run.pending.len() - before;
        }
        self.send_pending(&id, run)?;
        if let Some((ending, at)) = run.end {
            self.client.status(&id, ending.name(), Some(at))?;
            let path = folder.join(FILE);
            if ending == Ending::Finished
                && let Some(known) = read_identity(&path)
            {
                let is_complete = true;
                keep(&path, &Identity { is_complete, ..known });
            }
        }
        Ok(())
    }

    /// The run's id on the server and the steps that are there: the run that the folder names, else a new one.
    fn open(
        &self,
        folder: &Path,
        run: &Tracked,
        is_new: bool,
    ) -> Result<(String, HashMap<String, usize>), CallError> {
        let (start, path, uri) = (&run.start, folder.join(FILE), &self.shared.server.uri);
        let mut identity = register(folder, uri).0;
        let of_server = self.shared.server.experiment.as_ref();
        let experiment = self.client.experiment(of_server.unwrap_or(&start.experiment))?;
        let found = match &identity.run_id {
            Some(id) => Some(id.clone()),
            None if is_new => None,
            None => self.client.find(&experiment, &identity.key)?,
        };
        let sent = match &found {
            Some(id) => self.client.last_steps(id)?,
            None => None,
        };
        let (id, sent) = match (found, sent) {
            (Some(id), Some(sent)) => {
                self.client.status(&id, "RUNNING", None)?;
                (id, sent)
            }
            _ => {
                let id =
                    self.client
                        .create(&experiment, &start.name, &identity.key, &start.tags, start.at)?;
                (id, HashMap::new())
            }
        };
        identity.run_id = Some(id.clone());
        keep(&path, &identity);
        self.client.params(&id, &start.params)?;
        Ok((id, sent))
    }

    /// Sends the values that wait, in batches.
    fn send_pending(&mut self, id: &str, run: &mut Tracked) -> Result<(), CallError> {
        while !run.pending.is_empty() {
            let n = run.pending.len().min(MAX_METRICS);
            let batch: Vec<Point> = run
                .pending
                .range(..n)
                .filter(|point| run.is_new(point))
                .cloned()
                .collect();
            if !batch.is_empty() {
                match self.client.log(id, &batch) {
                    Err(refused @ CallError::Refused { status: 400, .. }) => {
                        self.warn(format!("refuses values of the run {}: {refused}", run.start.name));
                    }
                    answer => answer?,
                }
            }
            for point in run.pending.drain(..n) {
                run.sent.insert(point.key, point.step);
            }
            self.let_go(n);
        }
        Ok(())
    }

    fn let_go(&self, n: usize) {
        let mut queue = self.shared.queue();
        queue.held = queue.held.saturating_sub(n);
    }

    fn reached(&mut self) {
        if !self.is_reachable {
            self.is_reachable = true;
            tracing::warn!("MLflow at {} answers again", self.shared.server.uri);
        }
    }

    fn lost(&mut self, reason: &str) {
        if self.is_reachable {
            self.is_reachable = false;
            tracing::warn!(
                "MLflow at {} does not answer ({reason}); runs go on, and their values are sent when it does",
                self.shared.server.uri
            );
        }
    }

    /// Warns once of each problem.
    fn warn(&mut self, problem: String) {
        if !self.warnings.contains(&problem) {
            tracing::warn!("MLflow at {} {problem}", self.shared.server.uri);
            self.warnings.insert(problem);
        }
    }
}

impl Tracked {
    /// Whether the server lacks this value. Steps of a metric are sent in order.
    fn is_new(&self, point: &Point) -> bool {
        self.sent.get(&point.key).is_none_or(|&step| point.step > step)
    }

    /// Adds what the server lacks and nobody put into the queue: from the run's log, and after the end the scores.
    fn add_missing(&mut self, folder: &Path) {
        let held: HashSet<(&str, usize)> = self.pending.iter().map(|p| (p.key.as_str(), p.step)).collect();
        let rows = MetricsLog::read(folder.join(METRICS)).unwrap_or_default();
        let points = rows.iter().map(point);
        let missing = points.filter(|p| self.is_new(p) && !held.contains(&(p.key.as_str(), p.step)));
        let missing: Vec<Point> = missing.collect();
        self.pending.extend(missing);
        self.pending.make_contiguous().sort_by_key(|point| point.step);
        if self.end.is_some() {
            self.pending.extend(scores(folder));
            self.is_complete = true;
        }
    }
}

fn point(row: &MetricRow) -> Point {
    // What runs log has 32 bits; the reader of JSON may miss the last digit of 64.
    let exact = |value: f64| f64::from(value as f32);
    Point {
        key: name(&format!("{}/{}", row.split, row.name)),
        value: row.value.map_or(f64::NAN, exact),
        timestamp: now(),
        step: row.step,
    }
}

/// The final scores in a run's folder.
fn scores(folder: &Path) -> Vec<Point> {
    let files = RunDir::new(folder).eval_files().unwrap_or_default();
    let results = files.iter().filter_map(|path| EvalFile::read(path).ok());
    let metrics = results.flat_map(|file| file.metrics);
    metrics
        .map(|metric| Point {
            key: name(&format!("score/{}/{}", metric.name, metric.split)),
            value: metric.value,
            timestamp: now(),
            step: 0,
        })
        .collect()
}

/// Writes the file that names the run. A folder that cannot be written costs the resumed run its curves, not the run itself.
fn keep(path: &Path, identity: &Identity) {
    // A run that fails at once leaves no folder.
    let is_there = path.parent().is_some_and(Path::is_dir);
    if is_there && let Err(error) = write_json(path, identity) {
        tracing::warn!("{error}; a resumed run will be another one in MLflow");
    }
}

/// A text that no other run has.
fn random_key() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&now().to_le_bytes());
        bytes[8..12].copy_from_slice(&std::process::id().to_le_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
