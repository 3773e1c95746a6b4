//! How much is measured.

use serde::{Deserialize, Serialize};

/// How many captions and images a measurement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureSizes {
    /// Captions of the zero-shot forced choice.
    pub n_captions: usize,
    /// Images the probes are fitted on.
    pub n_probe: usize,
    /// New images the probes are asked about.
    pub n_asked: usize,
}

impl Default for MeasureSizes {
    fn default() -> Self {
        Self {
            n_captions: 1200,
            n_probe: 20_000,
            n_asked: 4000,
        }
    }
}
