//! `bicubic_upscale`: what Karlo's super-resolution reads, with antialiasing and without.

use burn::prelude::*;

use super::{Computed, Context, Outcome, Tolerance};
use crate::nn::upscale_bicubic;

pub(super) fn run(context: &Context) -> Outcome {
    let x: Tensor<4> = context.float("in")?;
    let upscaled = |name: &str, antialias: bool| -> Outcome {
        let Some(&[_, _, h, w]) = context.golden().get(name).map(|a| a.shape.as_slice()) else {
            return Err(format!("{name}: expected a tensor of four axes").into());
        };
        let y = upscale_bicubic(x.clone(), [h, w], antialias);
        Ok(vec![Computed::tensor(name, y, Tolerance::Pixel)])
    };
    Ok([upscaled("out", true)?, upscaled("out_noantialias", false)?].concat())
}
