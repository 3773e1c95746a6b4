//! Training pairs and prompts.

pub mod pairs;
pub mod prompts;
