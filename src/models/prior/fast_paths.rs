//! Faster ways to compute a prior that give the same numbers, to rounding.

use burn::prelude::*;

use crate::device;

/// Which fast paths a prior takes. Which of them are faster depends on the device: [`FastPaths::on`] chooses, `benches/prior.rs` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastPaths {
    /// Padding is not computed, not even that of single captions of a batch.
    pub without_padding: bool,
    /// The last block computes only the query token, whose output is the prediction.
    pub last_token: bool,
    /// Queries, keys and values are computed by one product with the three matrices side by side, where all three are of the same tokens.
    pub fused_qkv: bool,
}

impl FastPaths {
    /// No fast path: what the reference computes.
    pub const NONE: Self = Self {
        without_padding: false,
        last_token: false,
        fused_qkv: false,
    };

    /// Every fast path.
    pub const ALL: Self = Self {
        without_padding: true,
        last_token: true,
        fused_qkv: true,
    };

    /// The fast paths that were measured to be faster on such a device.
    pub fn on(device: &Device) -> Self {
        Self {
            without_padding: true,
            last_token: true,
            fused_qkv: device::fuses_products(device),
        }
    }
}
