//! Equations 3, 4 and 5 of the paper: the projection loss, the CLIP contrastive loss, and their weighted sum.
//!
//! Axes: batch; d_clip. `z_x`: image embeddings (targets); `z_y`: text embeddings; `z_x_hat`: the prior's predictions.

use burn::prelude::*;
use burn::tensor::assert_shape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::contrastive::Direction;
use super::contrastive::{Negatives, info_nce};

/// How Eq. 3's squared norm is reduced over d_clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Mean over batch and d_clip, as `mse_loss` does; lambda = 0.2 is meant for this reduction (a sum is d_clip times larger).
    #[default]
    Mean,
    /// Sum over d_clip, mean over the batch: the squared norm as printed.
    Sum,
}

/// The two terms of Eq. 5 and their sum, each `[1]`.
#[derive(Debug, Clone)]
pub struct EclipseLoss {
    /// `projection + lambda * contrastive`.
    pub total: Tensor<1>,
    /// Eq. 3.
    pub projection: Tensor<1>,
    /// Eq. 4; `None` when lambda is 0, because it is not computed.
    pub contrastive: Option<Tensor<1>>,
}

/// Eq. 3, `L_proj = E || z_x - g(eps, z_y) ||^2`: `[1]`.
///
/// Targets are raw CLIP embeddings (the released pipelines hand predictions to the decoder unchanged).
pub fn projection(z_x_hat: Tensor<2>, z_x: Tensor<2>, reduction: Reduction) -> Tensor<1> {
    let [batch, d_clip] = z_x.dims();
    assert_shape!(z_x_hat, [batch, d_clip]);
    let mean = (z_x_hat - z_x).square().mean();
    match reduction {
        Reduction::Mean => mean,
        Reduction::Sum => mean.mul_scalar(d_clip as f64),
    }
}

/// Eq. 4, `L_CLS = -1/N sum_i log( exp(<z_x_hat_i, z_y_i>/tau) / sum_j exp(<z_x_hat_i, z_y_j>/tau) )`: `[1]`.
///
/// `<,>` is the cosine; N is the batch (the paper's sum starts at 0 and divides by N; this is the plain mean). `tau` is not stated in the
/// paper: 0.01, the inverse of CLIP's clamped logit scale, is the default elsewhere.
pub fn contrastive(z_x_hat: Tensor<2>, z_y: Tensor<2>, tau: f64, direction: Direction) -> Tensor<1> {
    info_nce(z_x_hat, z_y, tau, direction, &Negatives::default())
}

/// Eq. 5, `L = L_proj + lambda * L_CLS`, of these or other forms of the two terms, each `[1]`. With `lambda` 0 the result is the first term and the
/// contrastive term is not computed.
pub fn eclipse(projection: Tensor<1>, lambda: f64, contrastive: impl FnOnce() -> Tensor<1>) -> EclipseLoss {
    if lambda == 0.0 {
        return EclipseLoss {
            total: projection.clone(),
            projection,
            contrastive: None,
        };
    }
    let contrastive = contrastive();
    let total = projection.clone() + contrastive.clone().mul_scalar(lambda);
    EclipseLoss {
        total,
        projection,
        contrastive: Some(contrastive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;
    use proptest::prelude::*;

    fn batch(seed: u64, n: usize, d: usize) -> [Tensor<2>; 3] {
        let device = DeviceSpec::default().device().expect("the default device exists");
        let mut noise = Noise::new(seed);
        std::array::from_fn(|_| noise.normal([n, d], &device))
    }

    fn value(x: Tensor<1>) -> f64 {
        f64::from(x.into_scalar::<f32>())
    }

    /// Eq. 4 by two loops in f64.
    fn contrastive_by_hand(z_x_hat: &Tensor<2>, z_y: &Tensor<2>, tau: f64) -> f64 {
        let [n, d] = z_y.dims();
        let rows = |x: &Tensor<2>| x.to_data().iter::<f32>().collect::<Vec<f32>>();
        let (a, b) = (rows(z_x_hat), rows(z_y));
        let dot = |x: &[f32], y: &[f32]| {
            x.iter()
                .zip(y)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum::<f64>()
        };
        let cos = |i: usize, j: usize| {
            let (x, y) = (&a[i * d..][..d], &b[j * d..][..d]);
            dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
        };
        let row = |i: usize| (0..n).map(|j| (cos(i, j) / tau).exp()).sum::<f64>().ln() - cos(i, i) / tau;
        (0..n).map(row).sum::<f64>() / n as f64
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn contrastive_matches_two_loops(seed in 0u64..1000, n in 2usize..9, d in 2usize..17) {
            let [x, _, y] = batch(seed, n, d);
            let by_hand = contrastive_by_hand(&x, &y, 0.1);
            let ours = value(contrastive(x, y, 0.1, Direction::ImageToText));
            prop_assert!((ours - by_hand).abs() < 1e-4 * by_hand.max(1.0), "{ours} {by_hand}");
        }

        #[test]
        fn contrastive_ignores_scale_and_order(seed in 0u64..1000, scale in 0.1f64..20.0) {
            let [x, _, y] = batch(seed, 6, 5);
            let plain = value(contrastive(x.clone(), y.clone(), 0.07, Direction::Symmetric));
            let flipped = value(contrastive(x.flip([0]).mul_scalar(scale), y.flip([0]), 0.07, Direction::Symmetric));
            prop_assert!((plain - flipped).abs() < 1e-4 * plain.max(1.0), "{plain} {flipped}");
        }

        #[test]
        fn eclipse_at_lambda_zero_is_projection(seed in 0u64..1000) {
            let [x, target, _] = batch(seed, 4, 7);
            let first = projection(x.clone(), target.clone(), Reduction::Mean);
            let loss = eclipse(first, 0.0, || panic!("nobody asked for the second term"));
            prop_assert!(loss.contrastive.is_none());
            prop_assert_eq!(value(loss.total), value(projection(x, target, Reduction::Mean)));
        }
    }

    #[test]
    fn sum_is_d_clip_times_mean() {
        let [x, target, _] = batch(1, 3, 8);
        let mean = value(projection(x.clone(), target.clone(), Reduction::Mean));
        let sum = value(projection(x, target, Reduction::Sum));
        assert!((sum / mean - 8.0).abs() < 1e-5);
    }
}
