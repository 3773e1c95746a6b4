//! What numbers may be: at most so large, finite, not none at all. Numbers of a user are checked before anything of their size is allocated, values
//! that networks computed before they leave the program.

/// Width and height of a drawn image, in pixels.
pub const MAX_SIDE: usize = 4096;
/// Width times height of a drawn image: activations and attention grow with it, and 2048 x 2048 is beyond what the published decoders were trained for.
pub const MAX_AREA: usize = 2048 * 2048;
/// Steps of a sampler.
pub const MAX_STEPS: usize = 10_000;
/// Candidates for a prompt.
pub const MAX_BEST_OF: usize = 1024;
/// Images of a call.
pub const MAX_IMAGES: usize = 1_000_000;
/// Pairs of a built-in world.
pub const MAX_WORLD_PAIRS: usize = 10_000_000;
/// Threads that decode images.
pub const MAX_WORKERS: usize = 1024;
/// Records of a shard: all of them are in memory while it is made.
pub const MAX_CHUNK: usize = 1 << 20;
/// Pixels of an input image.
pub const MAX_PIXELS: u64 = 1 << 30;

/// Bytes of a file that is read as a whole.
pub const MAX_FILE: u64 = 4 << 30;
/// Bytes read from a pipe or a device, which may be endless.
pub const MAX_STREAM: u64 = 64 << 20;
/// Bytes of a text file that is read as a whole: configurations, sidecar files, prompts.
pub const MAX_TEXT: u64 = 256 << 20;
/// Bytes of a parquet page after decompression.
pub const MAX_PAGE: u64 = 1 << 30;
/// Bytes of a name or of an extended header in a tar.
pub const MAX_NAME: u64 = 64 << 10;
/// Bytes of an index that is read as a whole: COCO captions, JSON lines, JSON arrays. The COCO 2017 captions have 92 MB.
pub const MAX_INDEX: u64 = 512 << 20;
/// Bytes of an archive of files after decompression.
pub const MAX_ARCHIVE: u64 = 1 << 30;
/// Files in such an archive.
pub const MAX_ARCHIVE_FILES: usize = 10_000;
/// Layers of a prior.
pub const MAX_LAYERS: usize = 1024;
/// Heads of a prior, and width of a head.
pub const MAX_HEADS: usize = 1024;
/// Width of a prior: number of heads times width of a head.
pub const MAX_WIDTH: usize = 1 << 16;
/// Optimiser steps of a run.
pub const MAX_TRAIN_STEPS: usize = 100_000_000;
/// Examples of a forward pass, or of a queue of negatives.
pub const MAX_BATCH: usize = 1 << 20;
/// Micro-batches of a step, simulated devices, kept checkpoints, noise samples per prompt.
pub const MAX_REPEATS: usize = 1024;
/// Training timesteps of a diffusion.
pub const MAX_TIMESTEPS: usize = 1_000_000;
/// Bytes of decoded images and captions that wait for the encoder.
pub const MAX_IN_FLIGHT: usize = 1 << 30;

/// Refuses a number outside `1..=most`; `name` is the option or key in the message.
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

/// The first value that is infinite or not a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odd<T> {
    /// Its index among all values.
    pub at: usize,
    /// The value.
    pub value: T,
    /// Number of such values.
    pub n: usize,
}

/// Finds values that are not finite. Every check of finite values calls this function and words its own message.
pub fn not_finite<T: Copy + Into<f64>>(values: impl IntoIterator<Item = T>) -> Option<Odd<T>> {
    let mut odd: Option<Odd<T>> = None;
    for (at, value) in values.into_iter().enumerate() {
        if !value.into().is_finite() {
            odd.get_or_insert(Odd { at, value, n: 0 }).n += 1;
        }
    }
    odd
}

/// A network computed values that are not finite, or a file contains such values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} has {n} values that are not finite: are the weights damaged? Another dtype or device may help too"
)]
pub struct NotFinite {
    /// What has these values.
    pub what: String,
    /// Number of such values.
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
