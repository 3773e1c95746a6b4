//! The small unCLIP decoder of a world: Kandinsky 2.2's UNet, reading z_x of the world's frozen CLIP, in squares of pixels.
//!
//! The network predicts the clean image x0 and its loss is that of the noise, since `|eps - eps_hat|^2 = SNR |x0 - x0_hat|^2`, with the weight kept
//! within `snr_weight`: below, so that it also learns to draw from pure noise what z_x says (Salimans and Ho 2022, section 4); above, so that the last
//! specks of noise do not crowd out everything else (min-SNR, Hang et al. 2023). Squares of pixels have as many channels as the network is wide, and
//! it learns to pass on that many channels of noise far later than to draw (Li and He 2025).
//!
//! Axes: batch; channels, h, w of the squares; d_clip.

mod batch;
mod make;
mod recipe;
mod scores;
mod start;
#[cfg(test)]
mod tests;
mod trainer;

pub use batch::{DecoderBatch, DecoderBatches};
pub use make::{DecoderRecord, MakeDecoder, make_decoder};
pub use recipe::DecoderRecipe;
pub use scores::{DecoderScores, Found};
pub use start::Readout;
pub use trainer::{DecoderCriterion, DecoderNetwork, DecoderTrainer};
