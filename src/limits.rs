//! What numbers of a user may be at most. Each is checked before anything of its size is allocated, and its message names it.

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
