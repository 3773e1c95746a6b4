//! Text-to-image priors of the unCLIP stack, on Burn: train, sample, evaluate and sweep them.
//!
//! ```text
//! prompt --CLIP text--> z_y, tokens --prior--> z_x_hat --unCLIP decoder--> image
//! image  --CLIP vision--> z_x            (training pairs: z_x, z_y, tokens)
//! ```
//!
//! The reference is ECLIPSE (arXiv 2312.04655): a 33M-parameter prior without diffusion, trained with a projection loss (Eq. 3) plus
//! lambda times a CLIP contrastive loss (Eq. 4), beside its two baselines, Projection and Diffusion-Baseline.
//!
//! Burn chooses its backend at run time: modules take a `&Device` and know nothing else about it. [`device::DeviceSpec`] is the one place
//! that knows what a build holds.
//!
//! # The house
//! A room knows only rooms below it; a test reads the `use crate::` lines and fails on an arrow that points up.
//!
//! ```text
//! cli          the program
//! report       tables, plots, pages of run directories      verify      reference numbers through the rooms below
//! experiment   specs, run directories, sweeps
//! testbed      the small CLIP and decoder of a built-in world
//! eval         scores on embeddings, intervals, checker       train       burn-train sessions, optimisers, schedules
//! data         sources, stores, pairs, prompt files           generate    prompt -> z_x_hat -> picture
//! models       clip, prior, unet, movq, text_proj             objective   Eq. 1, 3, 4, 5, other forms; CLIP's own loss
//! weights   nn   world   diffusion   image_file   device   noise   files   limits
//! ```
//!
//! A caption walks tokenizer -> `models::clip` -> `data` -> `train` -> `objective` and back; a prompt walks `models::clip` -> `generate`
//! (prior, then decoder) -> `eval`, or a picture on disk.
//!
//! # Example
//! A prior without time is one forward pass over noise. Here is a small one with fresh weights:
//!
//! ```
//! use burn::prelude::*;
//! use eclipse_t2i::device::DeviceSpec;
//! use eclipse_t2i::models::prior::{Prior, PriorConfig, TextCondition};
//! use eclipse_t2i::nn::{TokenMask, torch_default};
//! use eclipse_t2i::noise::Noise;
//!
//! let device = DeviceSpec::default().device()?;
//! let config = PriorConfig { n_heads: 2, d_head: 8, n_layers: 1, d_clip: 16, n_text: 4, ..PriorConfig::eclipse_karlo() };
//! let mut noise = Noise::new(0);
//! let prior = torch_default(Prior::init(&config, &device), &mut noise);
//! let text = TextCondition {
//!     z_y: noise.normal([1, 16], &device),
//!     tokens: noise.normal([1, 4, 16], &device),
//!     mask: Some(TokenMask::of_lengths(&[4], 4, &device)),
//! };
//! let z_x_hat = prior.forward(noise.normal([1, 16], &device), text);
//! assert_eq!(z_x_hat.dims(), [1, 16]);
//! # Ok::<(), eclipse_t2i::device::DeviceError>(())
//! ```
//!
//! With published weights, [`generate::prior_pipeline::PriorPipeline`] goes from prompts to embeddings, and a [`generate::plan::Plan`] to images.
#![warn(missing_docs, unreachable_pub)]
#![deny(unsafe_code)]
#![deny(clippy::print_stderr, clippy::print_stdout)] // what is told goes through `tracing`, or back to the caller

pub mod benchmark;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
pub mod diffusion;
pub mod eval;
pub mod experiment;
pub mod files;
pub mod generate;
pub mod image_file;
pub mod limits;
pub mod models;
pub mod nn;
pub mod noise;
pub mod objective;
pub mod report;
pub mod testbed;
pub mod train;
pub mod verify;
pub mod weights;
pub mod world;
