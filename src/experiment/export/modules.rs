//! The Python of an export: modules where diffusers has no class that fits.

use std::path::Path;

use crate::files::{self, FileError};
use crate::generate::stacks::PythonModule;

/// The network.
pub(super) const PRIOR_MODULE: PythonModule = PythonModule {
    name: "eclipse_prior",
    class: "EclipsePrior",
    text: include_str!("python/eclipse_prior.py"),
};
/// The pipeline.
pub(super) const PRIOR_PIPELINE: PythonModule = PythonModule {
    name: "eclipse_prior_pipeline",
    class: "EclipsePriorPipeline",
    text: include_str!("python/eclipse_prior_pipeline.py"),
};

/// Writes a module into `dir`.
pub(super) fn write_module(dir: &Path, module: &PythonModule) -> Result<(), FileError> {
    files::write_atomic(dir.join(format!("{}.py", module.name)), module.text.as_bytes())
}
