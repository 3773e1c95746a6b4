//! Repositories of published weights: found by name in the Hugging Face cache, and downloaded to it.
//!
//! A name is `owner/name`, with `@revision` where another revision than the current one is meant. Lookups need no network.

mod cache;
mod download;
mod error;
mod listing;
mod name;
mod select;
mod server;

pub use cache::{cache, repository_of, snapshot, weights_folder};
pub use download::{Download, FileState, PlannedFile};
pub use error::HubError;
pub use listing::{Listing, RemoteFile};
pub use name::RepoName;
pub use select::Selection;
pub use server::Server;
