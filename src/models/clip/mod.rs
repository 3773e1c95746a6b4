//! CLIP's text and vision towers (reference: transformers `CLIPTextModelWithProjection`, `CLIPVisionModelWithProjection`).
//!
//! Both read a folder with `config.json` and weights: a single tower (as the published pipelines hold) or a full `CLIPModel`, whose other
//! tower is then skipped. Embeddings are the projected, pooled outputs, **not** normalised: `z_y` for captions, `z_x` for images.

mod added;
mod config;
mod encode;
mod encoder;
mod error;
pub mod folders;
mod joint;
mod modes;
pub mod preprocess;
mod text;
pub mod tokenizer;
mod vision;

pub use config::{ClipConfig, ClipTextConfig, ClipVisionConfig};
pub use encode::{ClipError, ImageEncoder, TextEncoder};
pub use joint::{Clip, MAPPING as JOINT_MAPPING, logit_scale};
pub use modes::Processor;
pub use text::{ClipText, MAPPING as TEXT_MAPPING, TextOutput};
pub use vision::{ClipVision, MAPPING as VISION_MAPPING, VisionOutput};
