//! Ways through a prior that are shorter and lead to the same numbers, to rounding.

use burn::prelude::*;

use crate::device;

/// Which of them a prior takes. Which are shorter depends on the device: [`Shortcuts::on`] knows, `benches/prior.rs` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortcuts {
    /// Rows of padding stay out of the network, those of single captions of a batch too.
    pub without_padding: bool,
    /// The last block computes the token that is read and no other.
    pub last_token: bool,
    /// Queries, keys and values by one product with the three matrices side by side, where all three are of the same rows.
    pub fused_qkv: bool,
}

impl Shortcuts {
    /// None: what the reference computes.
    pub const NONE: Self = Self {
        without_padding: false,
        last_token: false,
        fused_qkv: false,
    };

    /// All of them.
    pub const ALL: Self = Self {
        without_padding: true,
        last_token: true,
        fused_qkv: true,
    };

    /// Those that were faster on such a device.
    pub fn on(device: &Device) -> Self {
        Self {
            without_padding: true,
            last_token: true,
            fused_qkv: device::fuses_products(device),
        }
    }
}
