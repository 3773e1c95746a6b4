//! From prompts to image embeddings and images.
//!
//! The walk of a prompt through [`plan::Plan`] and [`plan::Plan::render`]:
//!
//! ```text
//! prompt
//!   -> text tower            z_y and the hidden states of its tokens       models::clip, captions
//!   -> prior                 z_x_hat, the predicted image embedding        prior
//!   -> plan                  configurations read, settings checked         plan: embedding_plan, then decoder_plan
//!   -> stack                 networks that turn z_x_hat into pixels        stacks: one file each
//!   -> image                 a PNG and its side file                       images, recipe, render
//! ```
//!
//! A plan is made before anything is computed: [`layout`] finds the parts and the stack, the stack's `plan` reads its configurations, and every image
//! gets a [`recipe`]. [`render`] then takes the images chunk by chunk, and in a chunk network by network. Other ways to an image embedding are an
//! image (its vision tower's embedding), a file of [`embeddings`] and an interpolation ([`slerp`]). [`prior_pipeline`] ends with z_x_hat; [`frozen`]
//! is a decoder that stays loaded, for evaluations. [`params`] counts parameters.

pub mod captions;
pub mod decode_job;
pub mod decoder;
pub mod decoder_plan;
mod embedding_plan;
pub mod embeddings;
pub mod error;
pub mod frozen;
pub mod images;
pub mod layout;
pub mod noise_source;
pub mod params;
pub mod parts;
pub mod plan;
pub mod prior;
pub mod prior_pipeline;
pub mod random_stack;
pub mod recipe;
pub mod render;
pub mod request;
pub mod slerp;
pub mod stacks;
pub mod zero_image;
