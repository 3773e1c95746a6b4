//! Variants of the projection term (Eq. 3).

use burn::prelude::*;
use burn::tensor::assert_shape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::normalize::normalize;

/// The form of the projection term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionForm {
    /// Eq. 3.
    #[default]
    SquaredError,
    /// [`huber`].
    Huber,
    /// [`cosine`].
    Cosine,
}

/// Twice Huber's loss (Huber 1964): `r^2` where `|r| <= delta`, else `2 delta |r| - delta^2`, with `r = z_x_hat - z_x`; the mean over batch and d_clip,
/// `[1]`. The factor 2 makes it Eq. 3 for a large `delta`.
pub fn huber(z_x_hat: Tensor<2>, z_x: Tensor<2>, delta: f64) -> Tensor<1> {
    let [batch, d_clip] = z_x.dims();
    assert_shape!(z_x_hat, [batch, d_clip]);
    let error = (z_x_hat - z_x).abs();
    let near = error.clone().clamp_max(delta);
    (near.clone().square() + (error - near).mul_scalar(2.0 * delta)).mean()
}

/// `1 - cos(z_x_hat, z_x)`, the mean over the batch, `[1]`. It ignores the norm.
pub fn cosine(z_x_hat: Tensor<2>, z_x: Tensor<2>) -> Tensor<1> {
    let [batch, d_clip] = z_x.dims();
    assert_shape!(z_x_hat, [batch, d_clip]);
    let cosines = (normalize(z_x_hat) * normalize(z_x)).sum_dim(1);
    cosines.mean().neg().add_scalar(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;
    use crate::objective::eclipse::{Reduction, projection};
    use proptest::prelude::*;

    fn value(x: Tensor<1>) -> f64 {
        f64::from(x.into_scalar::<f32>())
    }

    fn two(seed: u64, device: &Device) -> [Tensor<2>; 2] {
        let mut noise = Noise::new(seed);
        std::array::from_fn(|_| noise.normal([4, 6], device))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn huber_matches_a_loop_and_is_eq_3_where_delta_is_large(seed in 0u64..1000, delta in 0.05f64..3.0) {
            let device = DeviceSpec::default().device().expect("the default device exists");
            let [x, target] = two(seed, &device);
            let errors: Vec<f64> = (x.clone() - target.clone()).into_data().iter::<f64>().collect();
            let one = |r: &f64| if r.abs() <= delta { r * r } else { 2.0 * delta * r.abs() - delta * delta };
            let by_hand = errors.iter().map(one).sum::<f64>() / errors.len() as f64;
            let ours = value(huber(x.clone(), target.clone(), delta));
            prop_assert!((ours - by_hand).abs() < 1e-5 * by_hand.max(1.0), "{ours} {by_hand}");
            let (wide, squared) = (value(huber(x.clone(), target.clone(), 1e3)), value(projection(x, target, Reduction::Mean)));
            prop_assert!((wide - squared).abs() < 1e-5 * squared, "{wide} {squared}");
        }

        #[test]
        fn cosine_is_zero_along_the_target_two_against_it_and_blind_to_scale(seed in 0u64..1000, scale in 0.1f64..9.0) {
            let device = DeviceSpec::default().device().expect("the default device exists");
            let [x, target] = two(seed, &device);
            prop_assert!(value(cosine(target.clone().mul_scalar(scale), target.clone())).abs() < 1e-5);
            prop_assert!((value(cosine(target.clone().mul_scalar(-scale), target.clone())) - 2.0).abs() < 1e-5);
            let (plain, scaled) = (value(cosine(x.clone(), target.clone())), value(cosine(x.mul_scalar(scale), target)));
            prop_assert!((plain - scaled).abs() < 1e-5);
        }
    }

    #[test]
    fn the_gradient_of_huber_is_bounded_by_delta() {
        let device = DeviceSpec::default()
            .device()
            .expect("the default device exists")
            .autodiff();
        let x = Tensor::<2>::from_floats([[0.0, 0.1, -5.0, 50.0]], &device).require_grad();
        let grads = huber(x.clone(), Tensor::zeros([1, 4], &device), 0.5).backward();
        let grad: Vec<f32> = x
            .grad(&grads)
            .expect("x takes part")
            .into_data()
            .iter::<f32>()
            .collect();
        for (found, wanted) in grad.iter().zip([0.0, 0.05, -0.25, 0.25]) {
            assert!((found - wanted).abs() < 1e-6, "{grad:?}");
        }
    }
}
