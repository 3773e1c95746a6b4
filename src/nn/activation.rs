//! Activations by the names that published configs use.
//!
//! Burn's `nn::activation` has no quick GELU and other names, and its GELU has an inexact derivative on most backends ([`has_exact_gelu`]).

use std::str::FromStr;

use burn::prelude::*;
use burn::tensor::activation;
use serde::{Deserialize, Serialize};

use super::cpu;
use crate::device::{custom_kernels, has_exact_gelu, takes_custom_kernels};

/// An activation function, chosen by a config's `hidden_act` or `time_embed_act_fn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`: OpenAI's CLIP (reference: transformers `QuickGELUActivation`).
    QuickGelu,
    /// `x * Phi(x)`, exact by erf: OpenCLIP's towers and the prior's feed-forward.
    Gelu,
    /// `x * sigmoid(x)`: time embeddings.
    Silu,
}

/// A config names an activation that this code does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown activation `{0}`: expected quick_gelu, gelu or silu")]
pub struct UnknownActivation(pub String);

impl FromStr for Activation {
    type Err = UnknownActivation;

    fn from_str(name: &str) -> Result<Self, UnknownActivation> {
        match name {
            "quick_gelu" => Ok(Self::QuickGelu),
            "gelu" => Ok(Self::Gelu),
            "silu" | "swish" => Ok(Self::Silu),
            other => Err(UnknownActivation(other.to_string())),
        }
    }
}

impl Activation {
    /// Element by element; the shape stays.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::QuickGelu if cpu::is_used(&x) => cpu::quick_gelu(x),
            Self::Silu if cpu::is_used(&x) => cpu::silu(x),
            Self::QuickGelu => {
                // 1.702: the constant of OpenAI's approximation
                let gate = activation::sigmoid(x.clone().mul_scalar(1.702));
                x * gate
            }
            Self::Gelu if has_exact_gelu(&x.device()) => match cpu::is_large(&x) {
                true => cpu::gelu(x).unwrap_or_else(activation::gelu),
                false => activation::gelu(x),
            },
            Self::Gelu if takes_custom_kernels(&x) => custom_kernels::gelu(x),
            Self::Gelu => {
                let phi = x
                    .clone()
                    .mul_scalar(std::f64::consts::FRAC_1_SQRT_2)
                    .erf()
                    .add_scalar(1.0)
                    .mul_scalar(0.5);
                x * phi
            }
            Self::Silu => activation::silu(x),
        }
    }
}
