//! BLIP for visual question answering (reference: transformers `BlipForQuestionAnswering`, T2I-CompBench's `BLIPvqa_eval`).
//!
//! A ViT encodes the image, a BERT with cross-attention to it the question, and a second BERT starts the answer from the question's states. Only the first
//! word of the answer is computed, for the probability of "yes".

mod config;
mod error;
mod preprocess;
mod text;
mod tokenizer;
mod vision;
mod vqa;

pub use config::{BlipConfig, BlipTextConfig, BlipVisionConfig, VISION_NORM_EPS};
pub use error::BlipError;
pub use preprocess::BlipPreprocess;
pub use text::{AnswerDecoder, QuestionEncoder};
pub use tokenizer::{QuestionTokenizer, pre_question};
pub use vision::{BlipVision, interpolate_positions};
pub use vqa::{AskedTokens, MAPPING, SIDE, Vqa, VqaNetwork, p_yes};
