//! The report of a comparison of systems: what was measured beside what is published.

mod notes;
mod page;
mod preference_text;
mod scatter;
mod text;
mod write;

pub(super) use page::{lead, page};
pub use text::{as_json, table};
pub use write::write_comparison;
