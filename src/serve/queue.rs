//! The bounded queue of requests and the one thread that draws them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::catalogue::Catalogue;
use super::gallery::{Gallery, Item, now};
use super::painter::{ImageRecord, Painter, Progress};
use super::request::DrawRequest;

/// Where a job is.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// It waits; 1 is the next.
    Queued(usize),
    /// It is drawn.
    Drawing {
        /// What is done now.
        stage: String,
        /// Steps that were taken.
        done: usize,
        /// All steps of this stage.
        of: usize,
    },
    /// It is in the gallery.
    Done,
    /// It failed.
    Failed(String),
    /// It was cancelled.
    Cancelled,
}

impl Status {
    /// Whether nothing more happens.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_) | Self::Cancelled)
    }
}

/// What a job has given so far.
#[derive(Debug, Clone, PartialEq)]
pub struct JobState {
    /// Where it is.
    pub status: Status,
    /// Finished images.
    pub images: Vec<ImageRecord>,
    /// Priors that do not draw it, and why.
    pub skipped: Vec<(String, String)>,
}

/// A request on its way.
#[derive(Debug)]
pub struct Job {
    /// Its secret name: who knows it may watch and cancel it.
    pub name: String,
    /// The id of its result.
    pub id: String,
    /// What is asked for.
    pub request: DrawRequest,
    /// Who asks: the requests of one address wait for each other.
    client: IpAddr,
    state: Mutex<JobState>,
    changed: watch::Sender<()>,
    is_cancelled: AtomicBool,
    n_watchers: AtomicUsize,
}

/// Unwinds the stack of a painter whose request was cancelled.
struct Unwind;

impl Job {
    /// A copy of its state.
    pub fn state(&self) -> JobState {
        self.lock().clone()
    }

    /// Notified after each change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut JobState)) {
        change(&mut self.lock());
        self.changed.send_replace(());
    }

    fn set(&self, status: Status) {
        self.change(|state| state.status = status);
    }
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} requests are waiting already; try again in {seconds} seconds")]
pub struct Full {
    /// How many.
    pub waiting: usize,
    /// When there will probably be room.
    pub seconds: u64,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    capacity: usize,
    inner: Mutex<Inner>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Arc<Job>>,
    drawing: Option<Arc<Job>>,
    /// All jobs that are watched or not at their end.
    jobs: HashMap<String, Arc<Job>>,
    /// Seconds that the last request took.
    last_seconds: f64,
    is_closed: bool,
}

impl Queue {
    /// A queue in which `capacity` requests can wait.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            inner: Mutex::default(),
            ready: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request of `client`. Addresses take turns: the first requests of all come before the second ones. Another machine may have a quarter of
    /// the places; who shares this machine shares its address. `name`: unguessable.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push(
        &self,
        name: String,
        id: String,
        request: DrawRequest,
        client: IpAddr,
    ) -> Result<Arc<Job>, Full> {
        let mut inner = self.lock();
        let own = inner.waiting.iter().filter(|job| job.client == client).count();
        let share = match client.is_loopback() {
            true => self.capacity,
            false => self.capacity.div_ceil(4),
        };
        if inner.waiting.len() >= self.capacity || own >= share {
            return Err(Full {
                waiting: if own >= share { own } else { inner.waiting.len() },
                seconds: (inner.last_seconds.ceil() as u64).clamp(5, 600),
            });
        }
        let mut turns: HashMap<IpAddr, usize> = HashMap::new();
        let is_later = |job: &Arc<Job>| {
            let turn = turns.entry(job.client).or_default();
            *turn += 1;
            *turn > own + 1
        };
        let at = inner
            .waiting
            .iter()
            .position(is_later)
            .unwrap_or(inner.waiting.len());
        let place = at + usize::from(inner.drawing.is_some());
        let job = Arc::new(Job {
            name: name.clone(),
            id,
            request,
            client,
            state: Mutex::new(JobState {
                status: Status::Queued(place + 1),
                images: Vec::new(),
                skipped: Vec::new(),
            }),
            changed: watch::Sender::new(()),
            is_cancelled: AtomicBool::new(false),
            n_watchers: AtomicUsize::new(0),
        });
        // Jobs whose end nobody watched.
        if inner.jobs.len() > 4 * self.capacity {
            inner.jobs.retain(|_, job| !job.lock().status.is_end());
        }
        inner.jobs.insert(name, job.clone());
        inner.waiting.insert(at, job.clone());
        tell_places(&inner);
        self.ready.notify_one();
        Ok(job)
    }

    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<Arc<Job>> {
        self.lock().jobs.get(name).cloned()
    }

    /// Cancels a job: at once if it waits, else before its next step.
    pub fn cancel(&self, job: &Job) {
        job.is_cancelled.store(true, Ordering::Relaxed);
        let mut inner = self.lock();
        let n = inner.waiting.len();
        inner.waiting.retain(|other| other.name != job.name);
        if inner.waiting.len() < n {
            job.set(Status::Cancelled);
            tell_places(&inner);
        }
    }

    /// Watches a job; when its last watcher is gone before the end, the job is cancelled.
    pub fn watch(self: &Arc<Self>, job: Arc<Job>) -> Watcher {
        job.n_watchers.fetch_add(1, Ordering::Relaxed);
        Watcher {
            queue: self.clone(),
            job,
        }
    }

    /// Cancels everything and ends [`Queue::work`].
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        for job in inner.waiting.drain(..) {
            job.set(Status::Cancelled);
        }
        for job in inner.jobs.values() {
            job.is_cancelled.store(true, Ordering::Relaxed);
        }
        self.ready.notify_all();
    }

    fn next(&self) -> Option<Arc<Job>> {
        let mut inner = self.lock();
        loop {
            if inner.is_closed {
                return None;
            }
            if let Some(job) = inner.waiting.pop_front() {
                inner.drawing = Some(job.clone());
                tell_places(&inner);
                return Some(job);
            }
            inner = self.ready.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Draws request after request until the queue is closed.
    pub fn work(&self, painter: &mut dyn Painter, catalogue: &Catalogue, gallery: &Gallery) {
        while let Some(job) = self.next() {
            let begun = Instant::now();
            // A panic of a network must not end the playground.
            let drawn = catch_unwind(AssertUnwindSafe(|| draw(&job, painter, catalogue, gallery)));
            let status = match drawn {
                Ok(Ok(())) => Status::Done,
                Ok(Err(reason)) => Status::Failed(reason),
                Err(payload) if payload.is::<Unwind>() => Status::Cancelled,
                Err(_) => Status::Failed("the program failed while it drew this; its log says more".into()),
            };
            if let Status::Failed(reason) = &status {
                tracing::warn!("cannot draw {:?}: {reason}", job.request.prompt);
            }
            let mut inner = self.lock();
            inner.drawing = None;
            inner.last_seconds = begun.elapsed().as_secs_f64();
            tell_places(&inner);
            drop(inner);
            job.set(status);
        }
    }
}

/// Tells waiting jobs their places.
fn tell_places(inner: &Inner) {
    let before = 1 + usize::from(inner.drawing.is_some());
    for (i, job) in inner.waiting.iter().enumerate() {
        let place = Status::Queued(i + before);
        if job.lock().status != place {
            job.set(place);
        }
    }
}

/// Draws a request into the gallery, unless it is there already.
fn draw(
    job: &Job,
    painter: &mut dyn Painter,
    catalogue: &Catalogue,
    gallery: &Gallery,
) -> Result<(), String> {
    let check = || {
        if job.is_cancelled.load(Ordering::Relaxed) {
            resume_unwind(Box::new(Unwind));
        }
    };
    check();
    if let Some(item) = gallery.item(&job.id) {
        job.change(|state| (state.images, state.skipped) = (item.images, item.skipped));
        return Ok(());
    }
    let begun = Instant::now();
    let mut draft = gallery.begin(&job.id).map_err(|e| e.to_string())?;
    let mut failed = None;
    painter
        .paint(&job.request, &mut |progress| {
            check();
            match progress {
                Progress::Stage { name, n_steps } => job.set(Status::Drawing {
                    stage: name,
                    done: 0,
                    of: n_steps,
                }),
                Progress::Step => job.change(|state| {
                    if let Status::Drawing { done, of, .. } = &mut state.status {
                        *done = (*done + 1).min(*of);
                    }
                }),
                Progress::Image(image) => match draft.add(&image.png) {
                    Ok(()) => job.change(|state| state.images.push(image.about)),
                    Err(error) => failed = Some(error.to_string()),
                },
                Progress::Skipped { prior, reason } => {
                    job.change(|state| state.skipped.push((prior, reason)));
                }
            }
        })
        .map_err(|e| e.to_string())?;
    if let Some(reason) = failed {
        return Err(reason);
    }
    let state = job.state();
    let labels = job
        .request
        .priors
        .iter()
        .map(|id| (id.clone(), catalogue.label(id).to_owned()));
    let item = Item {
        id: job.id.clone(),
        request: job.request.clone(),
        labels: labels.collect::<BTreeMap<_, _>>(),
        images: state.images,
        skipped: state.skipped,
        drawn_at: now(),
        seconds: begun.elapsed().as_secs_f64(),
    };
    draft.finish(&item).map_err(|e| e.to_string())
}

/// Someone who watches a job.
#[derive(Debug)]
pub struct Watcher {
    queue: Arc<Queue>,
    /// The job.
    pub job: Arc<Job>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let is_last = self.job.n_watchers.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last && !self.job.lock().status.is_end() {
            self.queue.cancel(&self.job);
        }
    }
}
