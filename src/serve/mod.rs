//! The playground: a page on this machine that draws prompts with the priors at hand.
//!
//! ```text
//! browser --form--> router --request--> queue --> worker thread: painter --images--> gallery (on disk)
//!         <--events-- job <------------------------- progress
//! ```
//! [`catalogue`] says what is offered, and a [`Painter`] draws it: [`world`] with the small models of a built-in world, [`published`] with a published
//! decoder. [`request`] checks what is asked for, [`guard`] who asks.

pub mod catalogue;
mod connections;
pub mod gallery;
pub mod guard;
mod pages;
pub mod painter;
pub mod published;
pub mod queue;
pub mod request;
pub mod router;
pub mod server;
#[cfg(test)]
mod tests;
pub mod world;

pub use painter::Painter;
pub use server::{ServeError, Server};
