//! T2I-CompBench's BLIP-VQA (arXiv 2307.06350, section 4.1): is what the noun phrases of a prompt name in the image?
//!
//! Each phrase is a question, "a green bench?". The score of an image is the product over its phrases of the probability of "yes" among "yes" and "no"
//! ([`crate::models::blip`]), and the score of a category the mean over images. Reference: `BLIPvqa_eval/BLIP_vqa.py`, which rounds probabilities and
//! products to four digits and multiplies in f32.

/// Phrases of a prompt that are asked about, at most (reference: `--np_num`).
pub const MAX_PHRASES: usize = 8;

/// The question about a phrase.
pub fn question(phrase: &str) -> String {
    format!("{phrase}?")
}

/// Four digits, ties to even as Python's format has them.
fn rounded(value: f32) -> f64 {
    format!("{value:.4}").parse().unwrap_or(f64::NAN)
}

/// The score of an image whose questions have these probabilities of "yes".
pub fn image_score(yes: &[f32]) -> f64 {
    rounded(yes.iter().map(|p| rounded(*p) as f32).product())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_and_products_have_four_digits() {
        // 0.1423 * 0.0760 = 0.0108148
        assert_eq!(image_score(&[0.142_34, 0.075_96]), 0.0108);
        assert_eq!(image_score(&[0.000_04, 1.0]), 0.0);
        assert_eq!(image_score(&[]), 1.0);
    }
}
