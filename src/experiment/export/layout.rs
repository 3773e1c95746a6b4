//! Names of an export's files and folders.

/// Folder of the network, as in published pipelines.
pub const PRIOR: &str = "prior";
/// Folder of the scheduler of a prior with time.
pub const SCHEDULER: &str = "scheduler";
/// Folder of a decoder that is part of the export.
pub(super) const DECODER: &str = "decoder";
pub(super) const INDEX: &str = "model_index.json";
pub(super) const CARD: &str = "README.md";
pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
pub(super) const SCHEDULER_CONFIG: &str = "scheduler_config.json";
/// The release of diffusers whose layout this is (the golden numbers were made with it).
pub(super) const DIFFUSERS_VERSION: &str = "0.42.1";
