//! Losses of diffusion models: Eq. 1 of the paper, where the prior predicts the clean image embedding, and a decoder's.

use burn::prelude::*;

use super::eclipse::{Reduction, projection};

/// Eq. 1, `L = E || z_x - g(x_t, t, z_y) ||^2`: `[1]`, the mean over batch and d_clip.
///
/// `z_x_0_hat`: the prediction of the clean embedding from its noisy version at a random `t`; `z_x`: the clean embedding, whitened if the prior
/// works in whitened space.
pub fn clean_prediction(z_x_0_hat: Tensor<2>, z_x: Tensor<2>) -> Tensor<1> {
    projection(z_x_0_hat, z_x, Reduction::Mean)
}

/// A decoder's loss, `mean(weight |x_hat - x|^2)`: `[1]`, the mean over batch, channels and pixels. `x_hat`, `x`: `[batch, channels, h, w]`; `weight`:
/// `[batch, 1, 1, 1]`, a function of the timestep.
pub fn weighted(x_hat: Tensor<4>, x: Tensor<4>, weight: Tensor<4>) -> Tensor<1> {
    ((x_hat - x).square() * weight).mean()
}
