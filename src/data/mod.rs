//! Training pairs and prompts.

mod budget;
pub mod encode;
pub mod examples;
pub mod order;
pub mod pairs;
pub mod pipeline;
pub mod prompts;
pub mod source;
pub mod store;
pub mod stored;
