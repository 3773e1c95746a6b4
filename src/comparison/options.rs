//! How a comparison is run.

use std::path::PathBuf;

use burn::prelude::Device;

use crate::generate::render::RenderOptions;

/// How a comparison is run; none of it changes the images beyond rounding.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What computes.
    pub device: Device,
    /// Its name, for side files and protocols.
    pub device_name: String,
    /// Name of the float type.
    pub dtype: String,
    /// Batches of drawing.
    pub render: RenderOptions,
    /// Images that a metric has in memory at once.
    pub eval_batch: usize,
    /// Folder of features that are known from other calls.
    pub cache: Option<PathBuf>,
}

impl RunOptions {
    /// Device and type of numbers, as protocols say it.
    pub fn precision(&self) -> String {
        format!("{} {}", self.device_name, self.dtype)
    }
}
