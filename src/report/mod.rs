//! Reports: tables, plots and pages from run directories only.
//!
//! Runs that differ only in their seed are one system. Values are means over seeds and prompts; intervals come from the bootstrap over both
//! ([`crate::eval::bootstrap`]). No number is typed by hand.

mod about;
mod claims;
pub mod comparison;
mod curves;
mod dot_plot;
mod error;
mod finished;
mod gallery;
mod group;
mod index;
mod losses;
mod metric_key;
mod page;
mod plot_style;
mod preference;
mod provenance;
mod results;
mod sheet;
mod text;
mod training;
mod write;

pub use self::about::About;
pub use self::claims::{Order, OrderClaim, OrderClaims};
pub use self::error::ReportError;
pub use self::group::Cell;
pub use self::index::{index, write_index};
pub use self::metric_key::MetricKey;
pub use self::preference::{Meeting, Preference};
pub use self::results::{Report, System};
