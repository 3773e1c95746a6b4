//! The model card: what a stranger has to know about exported weights. Every word of it is read from the run.

use burn::tensor::DType;

use super::super::run::Run;
use super::super::spec::ObjectiveSpec;
use super::{ExportError, PRIOR, SCHEDULER, Source, WEIGHTS, warnings};
use crate::files;
use crate::generate::prior::AnyPrior;
use crate::models::prior::PriorConfig;
use crate::weights::Checkpoint;
use crate::world::World;

/// `README.md` of an export.
pub(super) fn write(
    source: &Source,
    config: &PriorConfig,
    prior: &AnyPrior,
    dtype: DType,
) -> Result<String, ExportError> {
    let weights = source.prior.join(WEIGHTS);
    let checkpoint = Checkpoint::open(&source.prior)?;
    let n: usize = checkpoint
        .tensors()
        .values()
        .map(|t| t.shape.iter().product::<usize>())
        .sum();
    let mut rows = vec![
        (
            "network",
            format!(
                "PriorTransformer {}, {} blocks, {} heads of {}, embeddings of {}, {} text tokens; {n} parameters in {}",
                if config.has_time() {
                    "with time"
                } else {
                    "without time"
                },
                config.n_layers,
                config.n_heads,
                config.d_head,
                config.d_clip,
                config.n_text,
                name(dtype),
            ),
        ),
        ("reads of a caption", reads(config).into()),
    ];
    if weights.is_file() {
        rows.push(("made from weights of sha256", files::sha256_file(&weights)?));
    }
    let mut text = String::from(
        "---\nlibrary_name: diffusers\nlicense: other\ntags: [text-to-image, unclip, prior]\n---\n\n",
    );
    match &source.run {
        Some((run, provenance)) => {
            text += &format!("# {} of {}\n", provenance.run, provenance.experiment);
            let train = run.train();
            let last = provenance.sessions.last();
            rows.extend([
                ("objective", label(run)),
                ("data", data(run)),
                (
                    "training",
                    format!(
                        "{} steps of {} pairs, seed {}",
                        train.steps,
                        train.batch_size * train.accumulate,
                        run.seed()
                    ),
                ),
            ]);
            for (input, hash) in &provenance.inputs {
                if input.starts_with("clip/") && input.ends_with(".safetensors") {
                    let encoder = format!("{}, {input} of sha256 {hash}", run.clip().display());
                    rows.push(("encoder", encoder));
                }
                if input.starts_with("store/") {
                    rows.push((
                        "embeddings",
                        format!("{input} of sha256 {hash}, which names their encoder"),
                    ));
                }
            }
            let code = last
                .and_then(|s| s.git_sha.clone())
                .unwrap_or_else(|| "unknown".into());
            let changed = match last.and_then(|s| s.git_dirty) {
                Some(true) => ", with changes",
                _ => "",
            };
            rows.extend([
                (
                    "code",
                    format!(
                        "eclipse-t2i {}, commit {code}{changed}",
                        provenance.package_version
                    ),
                ),
                (
                    "device",
                    last.map_or_else(|| "unknown".into(), |s| s.device.clone()),
                ),
                (
                    "finished",
                    last.and_then(|s| s.end.clone())
                        .unwrap_or_else(|| "unknown".into()),
                ),
            ]);
        }
        None => {
            text += "# A prior\n";
            rows.push((
                "training",
                "unknown: exported from a folder without a run's record".into(),
            ));
        }
    }
    text += "\nTurns a text embedding of CLIP into an image embedding, from which an unCLIP decoder draws. Written by `eclipse export`.\n\n| | |\n|---|---|\n";
    for (key, value) in rows {
        text += &format!("| {key} | {value} |\n");
    }
    text += "\n## Use\n";
    text += &usage(config, prior);
    for warning in warnings(config, prior) {
        text += &format!("\n**Beware:** {warning}.\n");
    }
    text += &format!("\n## Licence\n{}", licence(source));
    if let Some((run, _)) = &source.run {
        text += &format!("\n## Configuration\n```toml\n{}```\n", run.config());
    }
    Ok(text)
}

/// The objective with what sets it apart.
pub(super) fn label(run: &Run) -> String {
    match run.objective() {
        ObjectiveSpec::Eclipse(eclipse) => format!("eclipse (Eq. 5, lambda {})", eclipse.lambda),
        ObjectiveSpec::Projection(_) => "projection (Eq. 3)".into(),
        ObjectiveSpec::Diffusion(diffusion) => {
            format!("diffusion (Eq. 1, {} timesteps)", diffusion.train_steps)
        }
        ObjectiveSpec::Flow(_) => "flow matching".into(),
        ObjectiveSpec::Baseline(baseline) => baseline.method.name().into(),
    }
}

fn data(run: &Run) -> String {
    let data = run.data();
    if let Some(store) = &data.store {
        return format!("the store {}", store.display());
    }
    format!(
        "{} pairs of the built-in world `{}`",
        data.n_pairs,
        run.world().name()
    )
}

fn reads(config: &PriorConfig) -> &'static str {
    use crate::models::prior::Conditioning;
    match config.conditioning {
        Conditioning::Both => "the text embedding and the hidden states",
        Conditioning::Pooled => "the text embedding alone",
        Conditioning::Hidden => "the hidden states alone",
    }
}

fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        _ => "f32",
    }
}

fn usage(config: &PriorConfig, prior: &AnyPrior) -> String {
    let ours = format!("`eclipse prior --prior THIS/{PRIOR} --text CLIP --prompts FILE --out FILE`");
    match (config.has_time(), prior) {
        (false, _) => format!(
            "{ours}. One pass over Gaussian noise. The class is the time-independent `PriorTransformer` of the ECLIPSE authors \
             (eclipse-inference, `src/priors/prior_transformer.py`); diffusers' own class has a time embedding and does not fit.\n"
        ),
        (true, AnyPrior::Flow(..)) => format!("{ours}. Euler steps of the flow in `{SCHEDULER}/`.\n"),
        (true, _) => format!(
            "{ours}, or in Python `diffusers.PriorTransformer.from_pretrained(THIS, subfolder=\"{PRIOR}\")` with the scheduler in `{SCHEDULER}/`.\n"
        ),
    }
}

fn licence(source: &Source) -> String {
    let world = match source
        .run
        .as_ref()
        .filter(|(run, _)| run.data().store.is_none())
        .map(|(run, _)| run.world())
    {
        Some(World::Emoji) => {
            " The pictures of the world `emoji` are made of Twemoji, copyright Twitter, Inc and other contributors, CC-BY 4.0."
        }
        Some(World::Shapes) => " The pictures of the world `shapes` are drawn by the program.",
        None if source.run.is_some() => "",
        None => {
            " Published priors carry their own licence (those of Karlo and ECLIPSE are OpenRAIL, with restrictions of use that pass on to copies)."
        }
    };
    format!(
        "Weights are bound by the terms of the encoder and the data that they were trained on; look at both before you pass them on.{world}\n"
    )
}
