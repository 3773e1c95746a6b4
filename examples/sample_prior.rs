//! Turn captions into image embeddings with published weights:
//! `cargo run --release --example sample_prior -- PRIOR TEXT`.
//!
//! `PRIOR` is a prior's folder (ECLIPSE, Karlo, Kandinsky 2.2, or one that was trained here), `TEXT` the folder of the CLIP text tower that it reads, or
//! of a pipeline with `text_encoder/` and `tokenizer/`. Without arguments: a miniature of ECLIPSE and the CLIP of the `emoji` world.

use std::error::Error;
use std::path::{Path, PathBuf};

use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::generate::prior_pipeline::{PriorPipeline, PriorRequest};
use eclipse_t2i::noise::Noise;

fn main() -> Result<(), Box<dyn Error>> {
    let mut folders = std::env::args_os().skip(1).map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let prior = folders
        .next()
        .unwrap_or_else(|| root.join("experiments/table1/smoke/eclipse"));
    let text = folders.next().unwrap_or_else(|| root.join("datasets/emoji/clip"));
    sample(&prior, &text)
}

pub fn sample(prior: &Path, text: &Path) -> Result<(), Box<dyn Error>> {
    let device = DeviceSpec::default().device()?;
    let pipeline = PriorPipeline::load(prior, text, &device)?;
    let request = PriorRequest {
        prompts: vec!["a red apple".into(), "a blue dog".into()],
        ..PriorRequest::default()
    };
    // Noise is an argument: the same seed gives the same embeddings on every device.
    let predictions = pipeline.predict(&request, &mut Noise::new(0))?;
    for (prompt, z_x_hat) in request
        .prompts
        .iter()
        .zip(predictions.z_x_hat.chunks(predictions.d_clip))
    {
        println!("{prompt}: {:?} ..", &z_x_hat[..4]);
    }
    Ok(())
}
