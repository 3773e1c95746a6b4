//! Reports: tables, plots and pages from run directories only.
//!
//! Runs that differ only in their seed are one system. Values are means over seeds and prompts; intervals come from the bootstrap over both
//! ([`crate::eval::bootstrap`]). No number is typed by hand.

mod about;
mod answer;
mod claims;
mod committed;
pub mod comparison;
mod configuration;
mod curves;
mod dot_plot;
mod error;
mod finished;
mod gallery;
mod group;
mod layout;
mod lead;
mod losses;
mod metric_key;
mod page;
mod plot_style;
mod preference;
mod provenance;
mod results;
mod run_page;
mod sheet;
mod site;
mod step_plot;
mod text;
mod training;
mod write;

pub use self::about::About;
pub use self::claims::{Order, OrderClaim, OrderClaims};
pub use self::error::ReportError;
pub use self::group::Cell;
pub use self::metric_key::MetricKey;
pub use self::preference::{Meeting, Preference};
pub use self::results::{Report, System};
pub use self::site::write_site;
pub use self::write::ReportFiles;
