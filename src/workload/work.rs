//! The list of workloads: names, sizes, configurations.

use std::fmt;
use std::str::FromStr;

use burn::prelude::*;

use super::parts::{self, Call};
use super::sizes::Sizes;
use crate::config::InvalidValue;
use crate::config::check::require;
use crate::device::{DeviceError, DeviceSpec, Precision};
use crate::models::clip::{ClipTextConfig, ClipVisionConfig};
use crate::models::prior::PriorConfig;
use crate::models::unet::UNetConfig;

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A training step of the 33M prior.
    Step,
    /// A forward pass of the 33M prior.
    Infer,
    /// The text tower of CLIP ViT-L/14.
    TextL14,
    /// The vision tower of CLIP ViT-L/14.
    VisionL14,
    /// The text tower of CLIP ViT-bigG/14.
    TextBigg14,
    /// The vision tower of CLIP ViT-bigG/14.
    VisionBigg14,
    /// A step of Kandinsky 2.2's UNet; a guided step of an image has two latents.
    Unet,
    /// MoVQ's decoder, to eight times the side.
    Movq,
    /// A step of Karlo's super-resolution.
    SuperRes,
    /// A product of two square matrices.
    Gemm,
    /// The largest product of a training step.
    GemmStep,
    /// A copy of 256 MiB in the host's memory.
    Copy,
}

/// No workload has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown workload `{found}`: expected {}", Work::names().join(", "))]
pub struct UnknownWork {
    /// The name found.
    pub found: String,
}

impl Work {
    /// Every workload, with its name.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Step, "step"),
        (Self::Infer, "infer"),
        (Self::TextL14, "text-l14"),
        (Self::VisionL14, "vision-l14"),
        (Self::TextBigg14, "text-bigg14"),
        (Self::VisionBigg14, "vision-bigg14"),
        (Self::Unet, "unet"),
        (Self::Movq, "movq"),
        (Self::SuperRes, "super-res"),
        (Self::Gemm, "gemm"),
        (Self::GemmStep, "gemm-step"),
        (Self::Copy, "copy"),
    ];

    /// The names of all.
    pub fn names() -> [&'static str; Self::ALL.len()] {
        Self::ALL.map(|(_, name)| name)
    }

    /// The sizes of benches/RESULTS.md.
    pub fn published(self) -> Sizes {
        let (batch, tokens, side) = match self {
            Self::Step | Self::GemmStep => (32, 14, 1),
            Self::Infer => (64, 14, 1),
            Self::TextL14 | Self::TextBigg14 => (32, 77, 1),
            Self::VisionL14 | Self::VisionBigg14 => (8, 1, 224),
            Self::Unet => (2, 1, 64),
            Self::Movq => (1, 1, 64),
            Self::SuperRes => (1, 1, 256),
            Self::Gemm | Self::Copy => (1, 1, 1),
        };
        let width = if self == Self::Gemm { 1024 } else { 512 };
        Sizes {
            batch,
            tokens,
            width,
            side,
        }
    }

    /// Sizes for a test.
    pub fn tiny(self) -> Sizes {
        let of_images = matches!(self, Self::VisionL14 | Self::VisionBigg14);
        Sizes {
            batch: 2,
            tokens: 3,
            width: 64,
            side: if of_images { 28 } else { 16 },
        }
    }

    /// Checks that the networks have these sizes.
    ///
    /// # Errors
    /// [`InvalidValue`], naming the size.
    pub fn check(self, sizes: Sizes) -> Result<(), InvalidValue> {
        let Sizes {
            batch,
            tokens,
            width,
            side,
        } = sizes;
        require("batch", batch > 0, "at least 1", batch)?;
        require("tokens", (1..=77).contains(&tokens), "1 to 77", tokens)?;
        let width_multiple = match self {
            Self::Step | Self::Infer | Self::GemmStep => 32,
            _ => 1,
        };
        multiple("width", width, width_multiple)?;
        let side_multiple = match self {
            Self::Unet | Self::SuperRes => 8,
            Self::VisionL14 | Self::VisionBigg14 => 14,
            _ => 1,
        };
        multiple("side", side, side_multiple)
    }

    /// The device that computes in `dtype`; training keeps its parameters in f32 and casts inside the step.
    ///
    /// # Errors
    /// As [`DeviceSpec::device_in`].
    pub fn device(self, spec: DeviceSpec, dtype: Precision) -> Result<Device, DeviceError> {
        match self {
            Self::Step => spec.device(),
            _ => spec.device_in(dtype),
        }
    }

    /// The networks and inputs, with random values, on a device of [`Work::device`]. `tiny`: networks of a few layers.
    pub fn prepare(self, sizes: Sizes, tiny: bool, dtype: Precision, device: &Device) -> Call {
        let unet = |published| {
            if tiny {
                parts::tiny_unet(published)
            } else {
                published
            }
        };
        match self {
            Self::Step => parts::step(&prior(sizes, tiny), sizes, dtype, device),
            Self::Infer => parts::infer(&prior(sizes, tiny), sizes, device),
            Self::TextL14 => parts::text(&text(ClipTextConfig::vit_l14(), tiny), sizes, device),
            Self::TextBigg14 => parts::text(&text(ClipTextConfig::vit_bigg14(), tiny), sizes, device),
            Self::VisionL14 => {
                parts::vision(&vision(ClipVisionConfig::vit_l14(), sizes, tiny), sizes, device)
            }
            Self::VisionBigg14 => {
                let config = vision(ClipVisionConfig::vit_bigg14(), sizes, tiny);
                parts::vision(&config, sizes, device)
            }
            Self::Unet => parts::unet(&unet(UNetConfig::kandinsky22()), sizes, device),
            Self::SuperRes => parts::unet(&unet(UNetConfig::karlo_super_res()), sizes, device),
            Self::Movq => parts::movq(sizes, device),
            Self::Gemm => parts::product([sizes.width; 3], device),
            // The rows of a packed step: each caption's tokens, its pooled embedding, noise and query.
            Self::GemmStep => {
                let rows = sizes.batch * (sizes.tokens + PriorConfig::N_EXTRA);
                parts::product([rows, sizes.width, 4 * sizes.width], device)
            }
            Self::Copy => parts::copy(if tiny { 1 << 16 } else { 1 << 26 }),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

impl FromStr for Work {
    type Err = UnknownWork;

    fn from_str(text: &str) -> Result<Self, UnknownWork> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        found.map_or_else(|| Err(UnknownWork { found: text.into() }), |work| Ok(work.0))
    }
}

fn multiple(key: &'static str, value: usize, of: usize) -> Result<(), InvalidValue> {
    let expected = match of {
        1 => "at least 1".into(),
        n => format!("a multiple of {n}"),
    };
    require(key, value > 0 && value.is_multiple_of(of), expected, value)
}

/// The 33M prior at this width: 512 is the paper's.
fn prior(sizes: Sizes, tiny: bool) -> PriorConfig {
    let published = PriorConfig::eclipse_karlo();
    PriorConfig {
        n_heads: sizes.width / published.d_head,
        n_layers: if tiny { 1 } else { published.n_layers },
        ..published
    }
}

fn text(published: ClipTextConfig, tiny: bool) -> ClipTextConfig {
    ClipTextConfig {
        num_hidden_layers: if tiny { 1 } else { published.num_hidden_layers },
        ..published
    }
}

fn vision(published: ClipVisionConfig, sizes: Sizes, tiny: bool) -> ClipVisionConfig {
    ClipVisionConfig {
        num_hidden_layers: if tiny { 1 } else { published.num_hidden_layers },
        image_size: sizes.side,
        ..published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_parsed_from_its_name_and_its_own_sizes_pass_the_check() {
        for (work, name) in Work::ALL {
            assert_eq!(name.parse::<Work>().ok(), Some(work));
            assert_eq!(work.to_string(), name);
            for sizes in [work.published(), work.tiny()] {
                assert_eq!(work.check(sizes), Ok(()), "{name}");
            }
        }
        let odd = Sizes {
            side: 60,
            ..Work::Unet.published()
        };
        let error = Work::Unet.check(odd).expect_err("60 is no multiple of 8");
        assert_eq!(error.to_string(), "side: expected a multiple of 8, found 60");
    }
}
