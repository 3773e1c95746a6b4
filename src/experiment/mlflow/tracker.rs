//! The side of a run: nothing here waits for the server.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread;

use super::client::{self, Point};
use super::queue::{Ending, Message, Shared};
use super::server::Server;
use super::start::{RunStart, now};
use super::worker;
use crate::train::run_folder::TrainingProgress;

/// The connection of this process to a server.
#[derive(Clone)]
pub struct Tracker(Arc<Shared>);

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tracker").field(&self.0.server).finish()
    }
}

impl Tracker {
    /// Starts the thread that sends. Nothing is sent before the first run begins.
    pub fn new(server: Server) -> Self {
        let shared = Arc::new(Shared::new(server));
        let own = shared.clone();
        thread::spawn(move || {
            worker::work(&own);
            own.queue().is_done = true;
            own.done.notify_all();
        });
        Self(shared)
    }

    /// The run in the folder `run` begins, or goes on.
    pub fn begin(&self, run: &Path, start: RunStart) {
        let (_, is_new) = worker::register(run, &self.0.server.uri);
        self.0.put(run, Message::Begin(Box::new(start), is_new));
    }

    /// Sends the values of a logged step.
    pub fn log(&self, run: &Path, progress: TrainingProgress<'_>) {
        if !progress.is_logged {
            return;
        }
        let (split, now) = (progress.phase.split(), now());
        let point = |&(name, value): &(&str, f32)| Point {
            key: client::name(&format!("{split}/{name}")),
            value: f64::from(value),
            timestamp: now,
            step: progress.step,
        };
        let points = || progress.values.iter().map(point).collect();
        self.0.put_values(run, progress.values.len(), points);
    }

    /// The run in the folder `run` ended. Its scores are read from there.
    pub fn end(&self, run: &Path, ending: Ending) {
        self.0.put(run, Message::End(ending, now()));
    }

    /// Sends what the server lacks of a finished run that was begun there.
    pub fn catch_up(&self, run: &Path, start: impl FnOnce() -> RunStart) {
        if worker::is_incomplete(run, &self.0.server.uri) {
            self.begin(run, start());
            self.end(run, Ending::Finished);
        }
    }

    /// Waits until everything is sent, at most [`Server::flush`].
    pub fn close(&self) {
        let mut queue = self.0.queue();
        queue.is_closed = true;
        self.0.changed.notify_all();
        let waited = self
            .0
            .done
            .wait_timeout_while(queue, self.0.server.flush, |q| !q.is_done);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !queue.is_done {
            tracing::warn!(
                "MLflow at {} is slow: not all of the last values were sent; the same command sends them from the run's metrics.jsonl",
                self.0.server.uri
            );
        }
    }
}
