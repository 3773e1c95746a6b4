//! CLIP's text and vision towers (reference: transformers `CLIPTextModelWithProjection`, `CLIPVisionModelWithProjection`).
//!
//! Both read a folder with `config.json` and weights: a single tower (as the published pipelines hold) or a full `CLIPModel`, whose other
//! tower is then skipped. Embeddings are the projected, pooled outputs, **not** normalised: `z_y` for captions, `z_x` for pictures.

mod config;
mod encoder;
mod text;
mod vision;

pub use config::{ClipConfig, ClipTextConfig, ClipVisionConfig};
pub use text::{ClipText, TextOutput};
pub use vision::{ClipVision, VisionOutput};
