//! What waits for the server.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::client::Point;
use super::server::Server;
use super::start::RunStart;

/// Most values that wait for the server: about 20 MB.
const MAX_HELD: usize = 200_000;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is finished and scored.
    Finished,
    /// It failed.
    Failed,
    /// It was stopped on request.
    Stopped,
}

impl Ending {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Stopped => "KILLED",
        }
    }
}

/// What the process and its sending thread share.
pub(super) struct Shared {
    pub(super) server: Server,
    queue: Mutex<Queue>,
    /// Something was put into the queue, or it is closed.
    pub(super) changed: Condvar,
    /// The thread is done.
    pub(super) done: Condvar,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) messages: VecDeque<(PathBuf, Message)>,
    /// Values in messages and with the thread.
    pub(super) held: usize,
    /// Runs some of whose values did not fit; their log has them.
    pub(super) behind: HashSet<PathBuf>,
    pub(super) is_closed: bool,
    pub(super) is_done: bool,
}

/// News of a run.
pub(super) enum Message {
    Begin(Box<RunStart>, bool),
    Values(Vec<Point>),
    End(Ending, u64),
}

impl Shared {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            queue: Mutex::default(),
            changed: Condvar::new(),
            done: Condvar::new(),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, run: &Path, message: Message) {
        self.queue().messages.push_back((run.to_path_buf(), message));
        self.changed.notify_all();
    }

    /// Puts `n` values of a run, unless too many wait: the run's log has them.
    pub(super) fn put_values(&self, run: &Path, n: usize, points: impl FnOnce() -> Vec<Point>) {
        let mut queue = self.queue();
        if queue.behind.contains(run) {
            return;
        }
        if queue.held + n > MAX_HELD {
            queue.behind.insert(run.to_path_buf());
            return;
        }
        queue.held += n;
        queue
            .messages
            .push_back((run.to_path_buf(), Message::Values(points())));
        self.changed.notify_all();
    }
}
