//! The programs of `examples/`, which the library's documentation shows, run.

#[path = "../../examples/add_objective.rs"]
mod add_objective;
#[path = "../../examples/sample_prior.rs"]
#[allow(dead_code, reason = "its main reads arguments")]
mod sample_prior;
#[path = "../../examples/score_embeddings.rs"]
mod score_embeddings;
#[path = "../../examples/train_prior.rs"]
mod train_prior;

use std::path::Path;

use crate::tiny::golden;

#[test]
fn the_programs_of_the_documentation_run() {
    train_prior::main().expect("trains");
    add_objective::main().expect("trains");
    score_embeddings::main().expect("scores");
    let karlo = golden("karlo-tiny-s0/karlo");
    sample_prior::sample(&karlo.join("prior"), &karlo).expect("samples");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let miniature = root.join("experiments/table1/smoke/eclipse");
    sample_prior::sample(&miniature, &root.join("datasets/emoji/clip")).expect("samples");
}
