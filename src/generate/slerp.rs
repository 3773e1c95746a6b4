//! Interpolation of image embeddings: on the sphere (Shoemake 1985), as in unCLIP (Ramesh et al. 2022, section 3.2), and by a weighted sum.

/// Two directions closer than this (in the cosine) are interpolated in a straight line, because their angle is too small to divide by.
const PARALLEL: f64 = 0.9995;

/// The embedding a fraction `at` of the way from `a` (0) to `b` (1): along the great circle, with the weights applied to the embeddings themselves, so
/// that their lengths blend too. Nearly parallel ones, and a zero one, are blended in a straight line.
///
/// # Panics
/// If the lengths differ.
pub fn slerp(a: &[f32], b: &[f32], at: f64) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "both embeddings must have one width");
    let dot =
        |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum() };
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let (from, to) = if cosine.abs() < PARALLEL {
        let angle = cosine.acos();
        let part = |t: f64| (t * angle).sin() / angle.sin();
        (part(1.0 - at), part(at))
    } else {
        (1.0 - at, at)
    };
    let blend = |(&a, &b): (&f32, &f32)| (f64::from(a) * from + f64::from(b) * to) as f32;
    a.iter().zip(b).map(blend).collect()
}

/// The weighted sum of embeddings (reference: `KandinskyV22PriorPipeline.interpolate`); weights need not add up to 1.
///
/// # Panics
/// If there are none, or their lengths differ.
pub fn mix(parts: &[(Vec<f32>, f64)]) -> Vec<f32> {
    let mut sum = vec![0.0f64; parts[0].0.len()];
    for (embedding, weight) in parts {
        assert_eq!(embedding.len(), sum.len(), "all embeddings must have one width");
        for (sum, &x) in sum.iter_mut().zip(embedding) {
            *sum += weight * f64::from(x);
        }
    }
    sum.into_iter().map(|x| x as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_met_and_the_middle_is_on_the_circle() {
        let (a, b) = ([2.0, 0.0, 0.0], [0.0, 2.0, 0.0]);
        assert_eq!(slerp(&a, &b, 0.0), a);
        let end = slerp(&a, &b, 1.0);
        assert!((end[0]).abs() < 1e-6 && (end[1] - 2.0).abs() < 1e-6, "{end:?}");
        let third = slerp(&a, &b, 1.0 / 3.0);
        let expected = [
            2.0 * 30f32.to_radians().cos(),
            2.0 * 30f32.to_radians().sin(),
            0.0,
        ];
        for (x, y) in third.iter().zip(expected) {
            assert!((x - y).abs() < 1e-6, "{third:?}");
        }
    }

    #[test]
    fn parallel_and_zero_embeddings_blend_in_a_straight_line() {
        assert_eq!(slerp(&[1.0, 1.0], &[3.0, 3.0], 0.5), [2.0, 2.0]);
        assert_eq!(slerp(&[0.0, 0.0], &[3.0, 1.0], 0.5), [1.5, 0.5]);
        assert_eq!(slerp(&[1.0, 0.0], &[-1.0, 0.0], 0.25), [0.5, 0.0]);
    }
}
