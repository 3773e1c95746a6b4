//! What numbers may be: at most so large, finite, not none at all. Numbers of a user are checked before anything of their size is allocated, values
//! that networks computed before they leave the program.

/// Width and height of a drawn picture, in pixels.
pub const MAX_SIDE: usize = 4096;
/// Width times height of a drawn picture: activations and attention grow with it, and 2048 x 2048 is beyond what the published decoders were trained for.
pub const MAX_AREA: usize = 2048 * 2048;
/// Steps of a sampler.
pub const MAX_STEPS: usize = 10_000;
/// Candidates for a prompt.
pub const MAX_BEST_OF: usize = 1024;
/// Pictures of a call.
pub const MAX_PICTURES: usize = 1_000_000;
/// Pairs of a built-in world.
pub const MAX_WORLD_PAIRS: usize = 10_000_000;
/// Threads that decode pictures.
pub const MAX_WORKERS: usize = 1024;
/// Records of a shard: all of them are in memory while it is made.
pub const MAX_CHUNK: usize = 1 << 20;
/// Pixels of a picture that is read.
pub const MAX_PIXELS: u64 = 1 << 30;

/// Bytes of a file that is read whole.
pub const MAX_FILE: u64 = 4 << 30;
/// Bytes of a pipe or a device, which may have no end.
pub const MAX_STREAM: u64 = 64 << 20;
/// Bytes of a configuration, a side file, prompts: text that is read whole.
pub const MAX_TEXT: u64 = 256 << 20;
/// Bytes that a page of a parquet file may have when it is unpacked.
pub const MAX_PAGE: u64 = 1 << 30;
/// Bytes of a name in a tar, or of what describes an entry.
pub const MAX_NAME: u64 = 64 << 10;
/// Bytes of an index that is read whole: COCO's captions, JSON lines, JSON arrays. Those of COCO 2017 have 92 MB.
pub const MAX_INDEX: u64 = 512 << 20;
/// Layers of a prior.
pub const MAX_LAYERS: usize = 1024;
/// Heads of a prior, and values of a head.
pub const MAX_HEADS: usize = 1024;
/// Width of a prior: heads times values of a head.
pub const MAX_WIDTH: usize = 1 << 16;
/// Optimiser steps of a run.
pub const MAX_TRAIN_STEPS: usize = 100_000_000;
/// Examples of a forward pass, or of a queue of negatives.
pub const MAX_BATCH: usize = 1 << 20;
/// Parts of a step, devices that a step is simulated for, checkpoints that are kept, draws of noise a prompt.
pub const MAX_REPEATS: usize = 1024;
/// Train timesteps of a diffusion.
pub const MAX_TIMESTEPS: usize = 1_000_000;
/// Bytes that decoded images and captions may take while they wait for the encoder.
pub const MAX_IN_FLIGHT: usize = 1 << 30;

/// Refuses a number outside `1..=most`; `name` is what the user calls it.
///
/// # Errors
/// The message, with the name, the limit and the number.
pub fn check(name: &str, found: usize, most: usize) -> Result<(), String> {
    match found {
        0 => Err(format!("{name}: expected at least 1, found 0")),
        n if n > most => Err(format!("{name}: expected at most {most}, found {n}")),
        _ => Ok(()),
    }
}

/// Refuses values that are not finite; `what` names them, as in `the image embedding of "a cat"`.
///
/// # Errors
/// [`NotFinite`], with how many there are.
pub fn finite<'a>(
    what: impl FnOnce() -> String,
    values: impl IntoIterator<Item = &'a f32>,
) -> Result<(), NotFinite> {
    match not_finite(values.into_iter().copied()) {
        None => Ok(()),
        Some(odd) => Err(NotFinite {
            what: what(),
            n: odd.n,
        }),
    }
}

/// Values that are infinite or not a number: the first of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odd<T> {
    /// Its place among all values.
    pub at: usize,
    /// The value.
    pub value: T,
    /// How many there are.
    pub n: usize,
}

/// What is not finite among `values`, if anything. Every check of this program asks here and says in its own words what was wrong with what.
pub fn not_finite<T: Copy + Into<f64>>(values: impl IntoIterator<Item = T>) -> Option<Odd<T>> {
    let mut odd: Option<Odd<T>> = None;
    for (at, value) in values.into_iter().enumerate() {
        if !value.into().is_finite() {
            odd.get_or_insert(Odd { at, value, n: 0 }).n += 1;
        }
    }
    odd
}

/// A network gave no numbers, or a file holds none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} has {n} values that are not finite: are the weights damaged? Another dtype or device may help too"
)]
pub struct NotFinite {
    /// What is broken.
    pub what: String,
    /// How many of its values.
    pub n: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused_by_name() {
        assert_eq!(check("--n", 3, 3), Ok(()));
        assert_eq!(
            check("--n", 0, 3),
            Err("--n: expected at least 1, found 0".into())
        );
        assert_eq!(check("--n", 4, 3), Err("--n: expected at most 3, found 4".into()));
        assert_eq!(finite(|| "z".into(), &[1.0, f32::MIN]), Ok(()));
        let error = finite(|| "z".into(), &[1.0, f32::NAN, f32::INFINITY]).expect_err("refused");
        assert_eq!((error.what.as_str(), error.n), ("z", 2));
    }
}
