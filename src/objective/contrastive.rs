//! Variants of the contrastive term (Eq. 4): SigLIP's pairwise loss, additional negatives, masked negatives.

use burn::prelude::*;
use burn::tensor::activation::{log_softmax, softplus};
use burn::tensor::assert_shape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::normalize::normalize;

/// The direction of the softmax of Eq. 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Over the batch's texts, for each predicted image: what Eq. 4 prints.
    #[default]
    ImageToText,
    /// Over the batch's predicted images, for each text.
    TextToImage,
    /// The mean of both directions, as in CLIP's training.
    Symmetric,
}

/// Added to a logit to exclude it from a sum of exponentials.
const OUT: f64 = -1e9;

/// The form of the contrastive term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContrastiveForm {
    /// Eq. 4: [`info_nce`].
    #[default]
    InfoNce,
    /// [`siglip`].
    Siglip,
}

/// Additional and masked negatives. The default is the batch alone.
#[derive(Debug, Clone, Default)]
pub struct Negatives {
    /// Text embeddings of other pairs, `[n_others, d_clip]`.
    pub others: Option<Tensor<2>>,
    /// 1 where a text is a negative of an image and 0 where it is masked, `[batch, batch + n_others]`; the diagonal (the pairs) is 1.
    pub counts: Option<Tensor<2>>,
}

impl Negatives {
    /// Cosines over `tau`, `[batch, batch + n_others]`: the batch's own texts first.
    fn logits(&self, z_x_hat: Tensor<2>, z_y: Tensor<2>, tau: f64) -> Tensor<2> {
        let [batch, d_clip] = z_y.dims();
        assert_shape!(z_x_hat, [batch, d_clip]);
        let texts = match &self.others {
            Some(others) => Tensor::cat(vec![z_y, others.clone()], 0),
            None => z_y,
        };
        normalize(z_x_hat)
            .matmul(normalize(texts).transpose())
            .div_scalar(tau)
    }
}

/// Eq. 4 over the batch's texts and the additional texts; `[1]`. `tau`: see [`super::eclipse::contrastive`], which calls this with the batch alone.
///
/// The direction from a text to the predicted images uses the images of the batch only.
pub fn info_nce(
    z_x_hat: Tensor<2>,
    z_y: Tensor<2>,
    tau: f64,
    direction: Direction,
    negatives: &Negatives,
) -> Tensor<1> {
    let batch = z_y.dims()[0];
    let mut logits = negatives.logits(z_x_hat, z_y, tau);
    if let Some(counts) = &negatives.counts {
        logits = logits + counts.clone().neg().add_scalar(1.0).mul_scalar(OUT);
    }
    let own = || logits.clone().narrow(1, 0, batch).transpose();
    match direction {
        Direction::ImageToText => cross_entropy(logits),
        Direction::TextToImage => cross_entropy(own()),
        Direction::Symmetric => (cross_entropy(own()) + cross_entropy(logits)).mul_scalar(0.5),
    }
}

/// Mean over the rows of `-log softmax(row)[row index]`; `[n, at least n]`.
fn cross_entropy(logits: Tensor<2>) -> Tensor<1> {
    let n = logits.dims()[0];
    let diagonal = Tensor::<2>::eye(n, &logits.device());
    (log_softmax(logits, 1).narrow(1, 0, n) * diagonal)
        .sum()
        .neg()
        .div_scalar(n as f64)
}

/// SigLIP's loss (Zhai et al. 2023, "Sigmoid loss for language image pre-training", Eq. 1): a binary classification of every image and text,
/// `-1/N sum_i sum_j log sigmoid( sign_ij (cos_ij / tau + bias) )`, where `sign_ij` is 1 for the pairs and -1 for all others; `[1]`.
///
/// SigLIP learns tau and bias, starting from 0.1 and -10; here both are constants, like the temperature of Eq. 4.
pub fn siglip(z_x_hat: Tensor<2>, z_y: Tensor<2>, tau: f64, bias: f64, negatives: &Negatives) -> Tensor<1> {
    let batch = z_y.dims()[0];
    let logits = negatives.logits(z_x_hat, z_y, tau).add_scalar(bias);
    let [_, n_texts] = logits.dims();
    let pairs = Tensor::<2>::eye(batch, &logits.device());
    let pairs = match n_texts - batch {
        0 => pairs,
        n => Tensor::cat(vec![pairs.clone(), Tensor::zeros([batch, n], &pairs.device())], 1),
    };
    let sign = pairs.mul_scalar(2.0).sub_scalar(1.0);
    let mut losses = softplus((logits * sign).neg(), 1.0);
    if let Some(counts) = &negatives.counts {
        losses = losses * counts.clone();
    }
    losses.sum().div_scalar(batch as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSpec;
    use crate::noise::Noise;
    use proptest::prelude::*;
    use rand::RngExt;

    struct Case {
        x: Tensor<2>,
        y: Tensor<2>,
        negatives: Negatives,
        /// `[batch][batch + others]`
        cosines: Vec<Vec<f64>>,
        counts: Vec<Vec<bool>>,
    }

    fn case(seed: u64, n: usize, others: usize, masked: bool) -> Case {
        let device = DeviceSpec::default().device().expect("the default device exists");
        let (d, mut noise) = (7, Noise::new(seed));
        let [x, y]: [Tensor<2>; 2] = std::array::from_fn(|_| noise.normal([n, d], &device));
        let more: Option<Tensor<2>> = (others > 0).then(|| noise.normal([others, d], &device));
        let counts: Vec<Vec<bool>> = (0..n)
            .map(|i| {
                (0..n + others)
                    .map(|j| i == j || !masked || noise.rng().random_bool(0.6))
                    .collect()
            })
            .collect();
        let flat: Vec<f32> = counts.iter().flatten().map(|&c| f32::from(u8::from(c))).collect();
        let texts = match &more {
            Some(more) => Tensor::cat(vec![y.clone(), more.clone()], 0),
            None => y.clone(),
        };
        let cosines = normalize(x.clone()).matmul(normalize(texts).transpose());
        let cosines: Vec<f64> = cosines.into_data().iter::<f64>().collect();
        Case {
            negatives: Negatives {
                others: more,
                counts: masked.then(|| Tensor::from_data(TensorData::new(flat, [n, n + others]), &device)),
            },
            x,
            y,
            cosines: cosines.chunks(n + others).map(<[f64]>::to_vec).collect(),
            counts,
        }
    }

    fn value(x: Tensor<1>) -> f64 {
        f64::from(x.into_scalar::<f32>())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn info_nce_matches_loops(seed in 0u64..1000, n in 2usize..7, others in 0usize..5, masked: bool, tau in 0.05f64..1.0) {
            let c = case(seed, n, others, masked);
            let there = |i: usize| {
                let all: f64 = (0..n + others).filter(|&j| c.counts[i][j]).map(|j| (c.cosines[i][j] / tau).exp()).sum();
                all.ln() - c.cosines[i][i] / tau
            };
            let back = |j: usize| {
                let all: f64 = (0..n).filter(|&i| c.counts[i][j]).map(|i| (c.cosines[i][j] / tau).exp()).sum();
                all.ln() - c.cosines[j][j] / tau
            };
            let mean = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
            let (there, back) = (mean(&there), mean(&back));
            for (direction, by_hand) in [(Direction::ImageToText, there), (Direction::TextToImage, back), (Direction::Symmetric, (there + back) / 2.0)] {
                let ours = value(info_nce(c.x.clone(), c.y.clone(), tau, direction, &c.negatives));
                prop_assert!((ours - by_hand).abs() < 1e-4 * by_hand.max(1.0), "{direction:?}: {ours} {by_hand}");
            }
        }

        #[test]
        fn siglip_matches_loops(seed in 0u64..1000, n in 1usize..7, others in 0usize..5, masked: bool, tau in 0.05f64..1.0, bias in -12.0f64..3.0) {
            let c = case(seed, n, others, masked);
            let one = |i: usize, j: usize| {
                let s = c.cosines[i][j] / tau + bias;
                (if i == j { -s } else { s }).exp().ln_1p()
            };
            let all = (0..n).flat_map(|i| (0..n + others).map(move |j| (i, j))).filter(|&(i, j)| c.counts[i][j]);
            let by_hand = all.map(|(i, j)| one(i, j)).sum::<f64>() / n as f64;
            let ours = value(siglip(c.x, c.y, tau, bias, &c.negatives));
            prop_assert!((ours - by_hand).abs() < 1e-4 * by_hand.max(1.0), "{ours} {by_hand}");
        }
    }
}
