//! What keeps a predicted `x0` in range.

use burn::prelude::*;

use super::Limit;

/// Applies `limit` to `x0` `[batch, ..]`.
pub fn apply<const D: usize>(limit: Limit, x0: Tensor<D>) -> Tensor<D> {
    match limit {
        Limit::None => x0,
        Limit::Clip { range } => x0.clamp(-range, range),
        Limit::Threshold { ratio, max } => dynamic(x0, ratio, max),
    }
}

/// Dynamic thresholding: each sample is clamped to its own `s`, the quantile `ratio` of its absolute values kept within `1 ..= max`, and divided
/// by it (Saharia et al. 2022, section 2.3).
fn dynamic<const D: usize>(x0: Tensor<D>, ratio: f64, max: f64) -> Tensor<D> {
    let dims = x0.dims();
    let batch = dims[0];
    let n = x0.shape().num_elements() / batch.max(1);
    let flat: Tensor<2> = x0.reshape([batch, n]);
    // Linear interpolation between order statistics, as torch.quantile does.
    let position = ratio * (n - 1) as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    let sorted = flat.clone().abs().sort(1);
    let below = sorted.clone().narrow(1, low, 1);
    let above = sorted.narrow(1, high, 1);
    let s = below.clone() + (above - below) * (position - low as f64);
    // torch applies the lower bound first, so that a `max` below 1 wins.
    let s = s.clamp_min(1.0).clamp_max(max).expand([batch, n]);
    (flat.max_pair(-s.clone()).min_pair(s.clone()) / s).reshape(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: [[f32; 5]; 2], ratio: f64, max: f64) -> Vec<f32> {
        let device = Device::flex();
        let x = Tensor::<2>::from_data(values, &device);
        apply(Limit::Threshold { ratio, max }, x)
            .into_data()
            .try_to_vec()
            .expect("f32")
    }

    #[test]
    fn each_row_has_its_own_bound() {
        // Row 0: quantile 0.75 of |x| is 3, so 4 is cut and everything divided by 3. Row 1 stays inside 1: only the clamp to 1 applies.
        let out = run(
            [[0.0, -1.0, 2.0, 3.0, -4.0], [0.1, 0.2, -0.3, 0.4, -0.5]],
            0.75,
            10.0,
        );
        let want = [0.0, -1.0 / 3.0, 2.0 / 3.0, 1.0, -1.0, 0.1, 0.2, -0.3, 0.4, -0.5];
        assert!(out.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
    }

    #[test]
    fn the_bound_is_capped() {
        let out = run([[0.0, -1.0, 2.0, 3.0, -4.0]; 2], 1.0, 2.0);
        assert_eq!(&out[..5], &[0.0, -0.5, 1.0, 1.0, -1.0]);
    }
}
