//! burn-train's data loaders: the steps of a run, an epoch at a time, and the batches of its validation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::prelude::*;

use super::super::micro_batches::WorkerShard;
use super::super::stop::{Stop, StoppedAt};
use super::options::{SessionOptions, Validation};
use crate::data::store::Damage;

/// Creates a worker's batch of a step.
pub(super) type MakeShare<B> = Arc<dyn Fn(usize, WorkerShard, &Device) -> B + Send + Sync>;

/// Prefetched batches beyond the one in progress.
const AHEAD: usize = 1;

/// The steps as burn-train's data loader: each pass is the next `checkpoint_every` steps. With several workers, each has a slice.
pub(super) struct Steps<B> {
    pub(super) batch: MakeShare<B>,
    /// Number of epochs started.
    pub(super) next_epoch: Arc<AtomicUsize>,
    /// Number of completed steps of the run.
    pub(super) done: usize,
    pub(super) options: SessionOptions,
    pub(super) shard: WorkerShard,
    pub(super) device: Device,
    pub(super) stop: Stop,
    pub(super) stopped_at: StoppedAt,
}

impl<B> Steps<B> {
    fn with(&self, shard: WorkerShard, next_epoch: Arc<AtomicUsize>, device: &Device) -> Arc<Self> {
        Arc::new(Self {
            batch: self.batch.clone(),
            next_epoch,
            done: self.done,
            options: self.options,
            shard,
            device: device.clone(),
            stop: self.stop.clone(),
            stopped_at: self.stopped_at.clone(),
        })
    }
}

/// A batch, or the error of the damaged shard that it would have been read from.
fn made<B>(make: impl FnOnce() -> B) -> Result<B, DatasetError> {
    Damage::catch(make).map_err(DatasetError::new)
}

/// Batches, created on a separate thread.
struct StepsOfEpoch<B> {
    batches: Receiver<Result<B, DatasetError>>,
    maker: Option<JoinHandle<()>>,
    first: usize,
    next: usize,
    end: usize,
    /// With a single worker only: several workers would stop at different steps, so they continue to the end of the epoch.
    stop: Option<(Stop, StoppedAt)>,
}

impl<B> Iterator for StepsOfEpoch<B> {
    type Item = Result<B, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        if let Some((_, stopped_at)) = self.stop.as_ref().filter(|(stop, _)| stop.is_requested()) {
            stopped_at.set(self.next);
            return None;
        }
        self.next += 1;
        match (self.batches.recv(), &mut self.maker) {
            (Ok(batch), _) => Some(batch),
            (Err(_), maker) => match maker.take().map(JoinHandle::join) {
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                _ => None,
            },
        }
    }
}

impl<B> DataLoaderIterator<B> for StepsOfEpoch<B> {
    fn progress(&self) -> Progress {
        Progress::new(
            self.next - self.first,
            self.end - self.first,
            Some("steps".into()),
        )
    }
}

impl<B: Send + 'static> DataLoader<B> for Steps<B> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<B> + 'a> {
        let begin = self.next_epoch.fetch_add(1, Ordering::Relaxed) * self.options.checkpoint_every;
        let end = (begin + self.options.checkpoint_every).min(self.options.n_steps);
        // The first epoch may resume within.
        let first = begin.max(self.done);
        let (sender, batches) = mpsc::sync_channel(AHEAD);
        let (batch, shard, device) = (self.batch.clone(), self.shard, self.device.clone());
        let maker = thread::spawn(move || {
            for step in first + 1..=end {
                // The receiver is gone when the run was stopped.
                let made = made(|| batch(step, shard, &device));
                let is_over = made.is_err();
                if sender.send(made).is_err() || is_over {
                    break;
                }
            }
        });
        Box::new(StepsOfEpoch {
            batches,
            maker: Some(maker),
            first,
            next: first,
            end,
            stop: (self.shard.n == 1).then(|| (self.stop.clone(), self.stopped_at.clone())),
        })
    }

    /// Counted by worker, so that each slice has its own passes.
    fn num_items(&self) -> usize {
        self.options.checkpoint_every * self.shard.n
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<B>> {
        self.with(self.shard, self.next_epoch.clone(), device)
    }

    fn slice(&self, start: usize, _end: usize) -> Arc<dyn DataLoader<B>> {
        let shard = WorkerShard {
            index: start / self.options.checkpoint_every,
            n: self.shard.n,
        };
        let next_epoch = self.next_epoch.load(Ordering::Relaxed);
        self.with(shard, Arc::new(AtomicUsize::new(next_epoch)), &self.device)
    }
}

/// The validation batches, if any, as burn-train's data loader: all of them in each epoch.
pub(super) struct HeldOut<V> {
    pub(super) validation: Option<Validation<V>>,
    pub(super) device: Device,
    pub(super) stopped_at: StoppedAt,
}

struct Batches<'a, V> {
    held_out: &'a HeldOut<V>,
    next: usize,
}

impl<V> Iterator for Batches<'_, V> {
    type Item = Result<V, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let validation = self.held_out.validation.as_ref()?;
        // An incomplete epoch is not validated.
        if self.held_out.stopped_at.get().is_some() {
            return None;
        }
        let i = self.next;
        self.next += 1;
        (i < validation.n_batches).then(|| made(|| (validation.batch)(i, &self.held_out.device)))
    }
}

impl<V: Send + 'static> DataLoaderIterator<V> for Batches<'_, V> {
    fn progress(&self) -> Progress {
        Progress::new(self.next, self.held_out.num_items(), None)
    }
}

impl<V: Send + 'static> DataLoader<V> for HeldOut<V> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<V> + 'a> {
        Box::new(Batches {
            held_out: self,
            next: 0,
        })
    }

    fn num_items(&self) -> usize {
        self.validation.as_ref().map_or(0, |v| v.n_batches)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<V>> {
        Arc::new(Self {
            validation: self.validation.clone(),
            device: device.clone(),
            stopped_at: self.stopped_at.clone(),
        })
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<V>> {
        self.to_device(&self.device)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::{Noise, Stream};

    /// What a step reads, as the objectives make it: from its number alone.
    fn of_step(step: usize) -> (usize, Vec<f32>) {
        (step, Noise::of(1, Stream::StepNoise(step as u64)).normal_vec(3))
    }

    /// Two epochs of steps, with waits in the making of batches and in the steps; the most batches that were made and not yet asked for.
    fn run(making: Duration, computing: Duration) -> (Vec<(usize, Vec<f32>)>, usize) {
        let made = Arc::new(AtomicUsize::new(0));
        let steps = Steps {
            batch: Arc::new({
                let made = made.clone();
                move |step, _, _: &Device| {
                    thread::sleep(making);
                    made.fetch_add(1, Ordering::SeqCst);
                    of_step(step)
                }
            }),
            next_epoch: Arc::default(),
            done: 0,
            options: SessionOptions::new(7, 4),
            shard: WorkerShard::WHOLE,
            device: DeviceSpec::default().device().expect("the default device"),
            stop: Stop::default(),
            stopped_at: StoppedAt::default(),
        };
        let (mut found, mut most) = (Vec::new(), 0);
        for _ in 0..2 {
            for batch in steps.iter() {
                found.push(batch.expect("a batch"));
                thread::sleep(computing);
                most = most.max(made.load(Ordering::SeqCst) - found.len());
            }
        }
        (found, most)
    }

    #[test]
    fn batches_are_made_ahead_and_their_order_and_contents_do_not_depend_on_it() {
        let expected: Vec<_> = (1..=7).map(of_step).collect();
        let (none, some) = (Duration::ZERO, Duration::from_millis(5));
        for (making, computing) in [(none, none), (some, none)] {
            let (found, most) = run(making, computing);
            assert_eq!(found, expected);
            // One waits, and one was made after it.
            assert!(most <= AHEAD + 1, "{most}");
        }
        // A busy machine may not run the maker while a step waits.
        let (start, mut computing, mut most) = (Instant::now(), some, 0);
        while most <= AHEAD && start.elapsed() < Duration::from_secs(60) {
            let (found, ahead) = run(none, computing);
            assert_eq!(found, expected);
            (most, computing) = (ahead, computing * 2);
        }
        assert_eq!(most, AHEAD + 1);
    }
}
