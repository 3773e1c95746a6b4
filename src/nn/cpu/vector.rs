//! Functions that the compiler turns into vector instructions, where libm's are scalar.

use pulp::Arch;

/// Runs `f` compiled for the best instruction set of this CPU; what `f` calls has to be inlined.
#[inline]
pub(super) fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(f)
}

/// e^x within 2 units in the last place, for x in -87 .. 88; beyond, the value at the border. By Cody and Waite's reduction and the polynomial of
/// Cephes' `expf`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding it rounds to an integer, whose bits are then the lowest of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// x / (1 + e^(-a x)): SiLU for a = 1, OpenAI's quick GELU for a = 1.702.
#[inline(always)]
pub(super) fn gated(x: f32, a: f32) -> f32 {
    x / (1.0 + exp(-a * x))
}

/// The error function within 2e-7, by the rational function of Eigen and XLA.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    // Beyond it the result is 1 in f32.
    const END: f32 = 3.832_507;
    let x = if x < -END { -END } else { x };
    let x = if x > END { END } else { x };
    let x2 = x * x;
    let p = -2.726_142_3e-10;
    let p = p * x2 + 2.770_681_4e-8;
    let p = p * x2 - 2.101_024e-6;
    let p = p * x2 - 5.692_506_5e-5;
    let p = p * x2 - 7.349_906_3e-4;
    let p = p * x2 - 2.954_6e-3;
    let p = p * x2 - 1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * x2 - 2.133_740_6e-4;
    let q = q * x2 - 1.682_827e-3;
    let q = q * x2 - 7.373_329e-3;
    let q = q * x2 - 1.426_473_9e-2;
    x * p / q
}

/// x Phi(x), the exact GELU.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Its derivative, Phi(x) + x phi(x).
#[inline(always)]
pub(super) fn gelu_derivative(x: f32) -> f32 {
    const INVERSE_SQRT_2_PI: f32 = 0.398_942_3;
    let cdf = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
    cdf + x * INVERSE_SQRT_2_PI * exp(-0.5 * x * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let want = f64::from(x).exp();
            let off = (f64::from(exp(x)) - want).abs() / want;
            worst = worst.max(off);
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1000.0) < 2e-38 && exp(1000.0) > 1e38);
    }

    #[test]
    fn gates_are_their_formula_at_all_magnitudes() {
        for a in [1.0f32, 1.702] {
            for i in -4000..=4000 {
                let x = i as f32 / 20.0;
                let want = f64::from(x) / (1.0 + (-f64::from(a) * f64::from(x)).exp());
                let off = (f64::from(gated(x, a)) - want).abs();
                // The exponent is rounded, too.
                let allowed = (4e-7 + 1e-7 * f64::from((a * x).abs())) * want.abs() + 1e-35;
                assert!(off <= allowed, "{x}: {off}");
            }
            assert!(gated(f32::NAN, a).is_nan());
        }
    }
}
