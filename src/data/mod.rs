//! Training pairs and prompts.

pub mod encode;
pub mod pairs;
pub mod prompts;
