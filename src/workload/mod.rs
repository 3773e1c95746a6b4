//! Workloads of the benchmarks: the networks and steps that decide how long training, encoding and drawing take, at their published sizes or tiny
//! ones, with random weights and inputs. `benches/rows` and `benches/prior.rs` measure them on a CPU, `eclipse dev measure` on any device.

mod captions;
mod parts;
mod random_weights;
mod sizes;
mod work;

pub use captions::random_captions;
pub use parts::{Call, training_step};
pub use random_weights::random_weights;
pub use sizes::Sizes;
pub use work::{UnknownWork, Work};
