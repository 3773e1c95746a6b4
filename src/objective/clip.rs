//! CLIP's contrastive loss with known true and false pairs.
//!
//! CLIP's own loss (the CLIP paper, figure 3) treats every other pair of the batch as a negative. In a world with few words most of them
//! would be false negatives, so here every pair is true, false or unknown, and a row may have several true pairs. Each true pair is a
//! softmax of its own against the row's false pairs; unknown pairs and other true pairs are left out.
//!
//! Axes: n_captions; n_images; d_clip.

use burn::prelude::*;
use burn::tensor::activation::softplus;
use burn::tensor::assert_shape;

use super::normalize::normalize;

/// Added to a logit to exclude it from a sum of exponentials.
const OUT: f32 = -1e9;

/// True and false pairs of captions and images; pairs that are neither are unknown.
#[derive(Debug, Clone)]
pub struct TruthMatrix {
    /// 1 where the caption is true of the image, else 0; `[n_captions, n_images]`.
    pub holds: Tensor<2>,
    /// 1 where the caption is false of the image, else 0; `[n_captions, n_images]`.
    pub fails: Tensor<2>,
}

/// The mean of both directions, `[1]`: over captions (which image?) and over images (which caption?), each the mean over rows with a
/// true pair of the mean over their true pairs of `-log( e^s / (e^s + sum of e^s over the false pairs) )`, where `s = scale * cosine`.
/// `z_x`: `[n_images, d_clip]`, `z_y`: `[n_captions, d_clip]`, `scale`: `[1]`.
///
/// With a true diagonal and all other pairs false this is CLIP's own loss.
pub fn truth_contrastive(z_x: Tensor<2>, z_y: Tensor<2>, truth: &TruthMatrix, scale: Tensor<1>) -> Tensor<1> {
    let (n_images, n_captions) = (z_x.dims()[0], z_y.dims()[0]);
    assert_shape!(truth.holds, [n_captions, n_images]);
    assert_shape!(truth.fails, [n_captions, n_images]);
    let logits = normalize(z_y).matmul(normalize(z_x).transpose()) * scale.unsqueeze::<2>();
    let by_caption = rows(logits.clone(), truth.holds.clone(), truth.fails.clone());
    let by_image = rows(
        logits.transpose(),
        truth.holds.clone().transpose(),
        truth.fails.clone().transpose(),
    );
    (by_caption + by_image).mul_scalar(0.5)
}

fn rows(logits: Tensor<2>, holds: Tensor<2>, fails: Tensor<2>) -> Tensor<1> {
    let against = logits.clone() + fails.mul_scalar(-1.0).add_scalar(1.0).mul_scalar(OUT);
    let top = against.clone().detach().max_dim(1);
    let log_sum = (against - top.clone()).exp().sum_dim(1).log() + top;
    let pairs = softplus(log_sum - logits, 1.0) * holds.clone();
    let n_true = holds.sum_dim(1);
    let n_rows = n_true.clone().clamp_max(1.0).sum().clamp_min(1.0);
    (pairs.sum_dim(1) / n_true.clamp_min(1.0)).sum() / n_rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;
    use crate::objective::eclipse::{Direction, contrastive};
    use proptest::prelude::*;
    use rand::RngExt;

    fn device() -> Device {
        DeviceSpec::default().device().expect("the default device exists")
    }

    fn value(x: Tensor<1>) -> f64 {
        f64::from(x.into_scalar::<f32>())
    }

    /// 1 true, -1 false, 0 unknown.
    fn matrix(known: &[i8], n_captions: usize) -> TruthMatrix {
        let n_images = known.len() / n_captions;
        let part = |sign: i8| {
            let values: Vec<f32> = known.iter().map(|&k| f32::from(u8::from(k == sign))).collect();
            Tensor::from_data(TensorData::new(values, [n_captions, n_images]), &device())
        };
        TruthMatrix {
            holds: part(1),
            fails: part(-1),
        }
    }

    fn by_hand(cosines: &[f64], known: &[i8], n_captions: usize, scale: f64) -> f64 {
        let n_images = known.len() / n_captions;
        let direction = |n: usize, m: usize, at: &dyn Fn(usize, usize) -> usize| {
            let mut rows = Vec::new();
            for i in 0..n {
                let s = |j: usize| scale * cosines[at(i, j)];
                let k = |j: usize| known[at(i, j)];
                let wrong: f64 = (0..m).filter(|&j| k(j) < 0).map(|j| s(j).exp()).sum();
                let losses: Vec<f64> = (0..m)
                    .filter(|&j| k(j) > 0)
                    .map(|j| -(s(j).exp() / (s(j).exp() + wrong)).ln())
                    .collect();
                if !losses.is_empty() {
                    rows.push(losses.iter().sum::<f64>() / losses.len() as f64);
                }
            }
            rows.iter().sum::<f64>() / rows.len().max(1) as f64
        };
        let captions = direction(n_captions, n_images, &|i, j| i * n_images + j);
        let images = direction(n_images, n_captions, &|i, j| j * n_images + i);
        (captions + images) / 2.0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn matches_loops(seed in 0u64..1000, n_captions in 1usize..6, n_images in 1usize..5, scale in 0.5f64..30.0) {
            let d = 6;
            let mut noise = Noise::new(seed);
            let z_x: Tensor<2> = noise.normal([n_images, d], &device());
            let z_y: Tensor<2> = noise.normal([n_captions, d], &device());
            let known: Vec<i8> = (0..n_captions * n_images).map(|_| noise.rng().random_range(-1..=1)).collect();
            let cosines = normalize(z_y.clone()).matmul(normalize(z_x.clone()).transpose());
            let cosines: Vec<f64> = cosines.into_data().iter::<f64>().collect();
            let expected = by_hand(&cosines, &known, n_captions, scale);
            let scale = Tensor::from_floats([scale as f32], &device());
            let found = value(truth_contrastive(z_x, z_y, &matrix(&known, n_captions), scale));
            prop_assert!((found - expected).abs() < 1e-4 * expected.max(1.0), "{found} {expected}");
        }
    }

    #[test]
    fn a_true_diagonal_is_clips_own_loss() {
        let mut noise = Noise::new(3);
        let z: [Tensor<2>; 2] = std::array::from_fn(|_| noise.normal([5, 8], &device()));
        let [z_x, z_y] = z;
        let known: Vec<i8> = (0..25).map(|i| if i / 5 == i % 5 { 1 } else { -1 }).collect();
        let ours = truth_contrastive(
            z_x.clone(),
            z_y.clone(),
            &matrix(&known, 5),
            Tensor::from_floats([10.0], &device()),
        );
        let clip = contrastive(z_x, z_y, 0.1, Direction::Symmetric);
        assert!((value(ours) - value(clip)).abs() < 1e-5);
    }

    #[test]
    fn gradients_stay_finite_without_false_pairs_and_without_true_ones() {
        for known in [[1, 1, 0, 1], [-1, -1, 0, -1], [0; 4]] {
            let device = device().autodiff();
            let mut noise = Noise::new(4);
            let z_x: Tensor<2> = noise.normal([2, 3], &device).require_grad();
            let z_y: Tensor<2> = noise.normal([2, 3], &device);
            let truth = matrix(&known, 2);
            let to = |x: Tensor<2>| Tensor::<2>::from_data(x.into_data(), &device);
            let truth = TruthMatrix {
                holds: to(truth.holds),
                fails: to(truth.fails),
            };
            let loss = truth_contrastive(z_x.clone(), z_y, &truth, Tensor::from_floats([20.0], &device));
            let grads = loss.backward();
            assert_eq!(value(loss.inner()), 0.0, "{known:?}");
            let grad = z_x.grad(&grads).expect("z_x takes part").into_data();
            assert!(grad.iter::<f32>().all(|g| g == 0.0), "{known:?}");
        }
    }
}
