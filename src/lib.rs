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
//! # Map
//! A module uses modules of lower layers only, and the files of a module have no dependency cycles; a test reads the sources and fails otherwise.
//!
//! ```text
//! cli          the program: one file per command
//! serve        the playground: a local page that draws prompts; queue, gallery, checks of who asks
//! report       tables, plots, pages of run directories        verify      reference numbers, recomputed by the modules below
//! experiment   specifications, sweeps, run directories, the runner of priors, exports
//! comparison   systems, prompt sets and metrics: images drawn and scored, published numbers beside
//! benchmark    what priors are trained and tested on          testbed     how the built-in worlds' CLIP and decoder are made
//! workload     what the benchmarks measure: steps and networks with random weights
//! train        sessions, checkpoints, EMA, schedules, negatives; objectives/, one file each
//! eval         metrics/, one table; intervals, baselines, the checker
//! data         sources/, stores, pairs, prompt files          generate    prompt -> z_x_hat -> image; stacks/, one file each
//! models       clip, prior, unet, movq, inception, blip, ..   objective   Eq. 1, 3, 4, 5, other forms; CLIP's own loss
//! weights   nn   world   diffusion   image_file   hub   config   device   noise   files   limits
//! ```
//!
//! | to add | one file in | and one line in |
//! |---|---|---|
//! | a training objective | `train/objectives/` | [`train::objectives`] |
//! | a decoder stack | `generate/stacks/` | [`generate::stacks`] |
//! | an evaluation metric | `eval/metrics/` | [`eval::metrics`] |
//! | a data source | `data/source/` | [`data::source`] |
//! | a built-in world | `world/worlds/` | [`world`] |
//!
//! CONTRIBUTING.md has a worked example of each of the first four.
//!
//! # Three walks
//! **A caption, in training.** `models::clip` tokenises and encodes it to [`models::text::EncodedTexts`] on the host; [`data`] keeps it, in memory
//! ([`data::pairs`]) or in a store on disk ([`data::store`]). [`data::examples::Examples`] says which pairs a step has; an objective in
//! [`train::objectives`] turns them into a batch with a [`models::text::TextCondition`] on the device, and its [`train::trainer::Criterion`] into a loss
//! of [`objective`]. [`train::session::fit`] runs the steps.
//!
//! **A prompt, in generation.** [`generate::plan::Plan`] reads the request and the pipeline's folder and finds its decoder stack. Rendering encodes the
//! prompt (z_y, tokens), samples a prior ([`generate::prior::AnyPrior`]) to z_x_hat, and lets the stack of [`generate::stacks`] decode it to an image.
//!
//! **A run, in an experiment.** [`experiment::SweepSpec`] expands axes to runs; [`experiment::RunSpec`] is checked and gets its hash;
//! [`experiment::PriorRunner`] opens the [`benchmark::Benchmark`], lets the objective train, predicts the test captions and scores them with
//! [`eval::metrics`]; [`report`] reads the run directories and nothing else.
//!
//! # Examples
//! These are the programs of `examples/`: `cargo run --release --example NAME`.
//!
//! `train_prior`:
//!
//! ```no_run
#![doc = include_str!("../examples/train_prior.rs")]
//! ```
//!
//! `sample_prior`:
//!
//! ```no_run
#![doc = include_str!("../examples/sample_prior.rs")]
//! ```
//!
//! `score_embeddings`:
//!
//! ```no_run
#![doc = include_str!("../examples/score_embeddings.rs")]
//! ```
//!
//! `add_objective`:
//!
//! ```no_run
#![doc = include_str!("../examples/add_objective.rs")]
//! ```
#![warn(missing_docs, unreachable_pub)]
#![deny(unsafe_code)]
#![deny(clippy::print_stderr, clippy::print_stdout)] // what is told goes through `tracing`, or back to the caller

pub mod benchmark;
#[doc(hidden)]
pub mod cli;
pub mod comparison;
pub mod config;
pub mod data;
pub mod device;
pub mod diffusion;
pub mod eval;
pub mod experiment;
pub mod files;
pub mod generate;
pub mod hub;
pub mod image_file;
pub mod limits;
pub mod models;
pub mod nn;
pub mod noise;
pub mod objective;
pub mod report;
pub mod serve;
pub mod testbed;
pub mod train;
pub mod verify;
pub mod weights;
pub mod workload;
pub mod world;
