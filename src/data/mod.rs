//! Training pairs and prompts.

pub mod encode;
pub mod examples;
pub mod order;
pub mod pairs;
pub mod prompts;
