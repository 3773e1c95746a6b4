//! Classifier-free guidance (Ho and Salimans 2022), written once for every model.

use burn::prelude::*;

/// `u + scale (c - u)`: 1 is the conditional prediction itself, 0 the unconditional one. The prediction may be `eps` or `x0`.
pub fn guide<const D: usize>(unconditional: Tensor<D>, conditional: Tensor<D>, scale: f64) -> Tensor<D> {
    (conditional - unconditional.clone()) * scale + unconditional
}

/// Guides an output whose batch holds the unconditional half first: `[2 batch, channels or 2 channels, ..]` -> `[batch, same channels, ..]`.
///
/// With `2 channels` the second half of them is a learned variance: it is not guided but taken from the conditional half of the batch, as Karlo
/// and Kandinsky 2.2 do.
///
/// # Panics
/// If the batch is odd, or the output has neither `channels` nor `2 channels`.
pub fn guide_halves<const D: usize>(output: Tensor<D>, channels: usize, scale: f64) -> Tensor<D> {
    let dims = output.dims();
    assert!(
        dims[0].is_multiple_of(2),
        "guidance needs both halves, the batch is {}",
        dims[0]
    );
    assert!(
        dims[1] == channels || dims[1] == 2 * channels,
        "guidance expects {channels} or {} channels, found {}",
        2 * channels,
        dims[1]
    );
    let batch = dims[0] / 2;
    let unconditional = output.clone().narrow(0, 0, batch);
    let conditional = output.narrow(0, batch, batch);
    let guided = guide(
        unconditional.narrow(1, 0, channels),
        conditional.clone().narrow(1, 0, channels),
        scale,
    );
    if dims[1] == channels {
        return guided;
    }
    Tensor::cat(vec![guided, conditional.narrow(1, channels, channels)], 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_one_is_the_conditional_half_and_variance_is_never_guided() {
        let device = Device::flex();
        let output = Tensor::<2>::from_data([[1.0, 2.0, 7.0, 8.0], [3.0, 5.0, 9.0, 10.0]], &device);
        let at = |scale| {
            guide_halves(output.clone(), 2, scale)
                .into_data()
                .try_to_vec::<f32>()
                .expect("f32")
        };
        assert_eq!(at(1.0), [3.0, 5.0, 9.0, 10.0]);
        assert_eq!(at(4.0), [9.0, 14.0, 9.0, 10.0]);
        assert_eq!(
            guide_halves(output, 4, 0.0)
                .into_data()
                .try_to_vec::<f32>()
                .expect("f32"),
            [1.0, 2.0, 7.0, 8.0]
        );
    }
}
