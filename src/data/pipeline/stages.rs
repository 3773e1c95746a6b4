//! Where the time of an encoding goes, so that what bounds it is known on any machine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A stage of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reads records and image files.
    Read,
    /// Decodes images.
    Decode,
    /// Resizes, crops and normalises images.
    Resize,
    /// Hashes the pixels, to find repeated images.
    Hash,
    /// Computes image embeddings.
    Images,
    /// Computes text embeddings and hidden states.
    Captions,
    /// Writes shards.
    Write,
    /// The encoder waits for decoded images.
    WaitForImages,
}

impl Stage {
    /// All stages; [`Stage::Read`] to [`Stage::Hash`] run on all worker threads, the others on one.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Read, "read"),
        (Self::Decode, "decode"),
        (Self::Resize, "resize"),
        (Self::Hash, "hash"),
        (Self::Images, "image embeddings"),
        (Self::Captions, "text embeddings"),
        (Self::Write, "write"),
        (Self::WaitForImages, "wait for images"),
    ];

    /// Whether worker threads share it.
    pub fn is_parallel(self) -> bool {
        matches!(self, Self::Read | Self::Decode | Self::Resize | Self::Hash)
    }
}

/// Seconds of each stage, summed over threads.
#[derive(Debug, Default)]
pub struct Stages([AtomicU64; Stage::ALL.len()]);

impl Stages {
    /// Adds the time of `work` to a stage.
    pub(super) fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0[stage as usize].fetch_add(nanos, Ordering::Relaxed);
        result
    }

    /// The time of a stage, summed over threads.
    pub fn of(&self, stage: Stage) -> Duration {
        Duration::from_nanos(self.0[stage as usize].load(Ordering::Relaxed))
    }

    /// The stage that bounds the encoding: the encoder's longest one; if it mostly waits, the longest one of the worker threads.
    pub fn bound(&self) -> &'static str {
        let longest = |parallel: bool| {
            let stages = Stage::ALL
                .into_iter()
                .filter(|(stage, _)| stage.is_parallel() == parallel);
            stages.max_by_key(|(stage, _)| self.of(*stage))
        };
        let slowest = match longest(false) {
            Some((Stage::WaitForImages, _)) => longest(true),
            other => other,
        };
        slowest.map_or("nothing", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_that_the_encoder_waits_for_is_the_bound() {
        let stages = Stages::default();
        let add = |stage: Stage, nanos| stages.0[stage as usize].fetch_add(nanos, Ordering::Relaxed);
        add(Stage::Decode, 90);
        add(Stage::Images, 50);
        add(Stage::WaitForImages, 10);
        assert_eq!(stages.bound(), "image embeddings");
        add(Stage::WaitForImages, 60);
        assert_eq!(stages.bound(), "decode");
        for (at, (stage, _)) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(at, stage as usize);
        }
    }
}
