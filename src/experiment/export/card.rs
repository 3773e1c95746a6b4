//! The model card: what a user has to know about exported weights, read from the run.

use burn::tensor::DType;

use super::decoder::Place;
use super::error::ExportError;
use super::layout::{DECODER, DIFFUSERS_VERSION, PRIOR, SCHEDULER, WEIGHTS};
use super::pipeline::ExportedPipeline;
use super::source::ExportSource;
use crate::experiment::own_words::example;
use crate::experiment::run::ResolvedRun;
use crate::files;
use crate::generate::prior::{AnyPrior, PriorSettings};
use crate::models::prior::PriorConfig;
use crate::train::objectives::PriorObjective;
use crate::weights::Checkpoint;

/// `README.md` of an export.
pub(super) fn write(
    source: &ExportSource,
    config: &PriorConfig,
    prior: &AnyPrior,
    dtype: DType,
    around: Option<&ExportedPipeline>,
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
                ("objective", run.objective().label()),
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
    let beware = match around {
        Some(around) => {
            text += &lines(source, around);
            around.warnings()
        }
        None => {
            text += &usage(config, prior);
            warnings(config, prior)
        }
    };
    for warning in beware {
        text += &format!("\n**Beware:** {warning}.\n");
    }
    text += &format!("\n## Licence\n{}", licence(source));
    if let Some((run, _)) = &source.run {
        text += &format!("\n## Configuration\n```toml\n{}```\n", run.config());
    }
    Ok(text)
}

fn data(run: &ResolvedRun) -> String {
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

/// The prompt in the lines of Python, where the prior was not trained on a built-in world.
const PROMPT: &str = "black apples in the basket";

/// How to go from a prompt to an image in Python, and with this program.
fn lines(source: &ExportSource, around: &ExportedPipeline) -> String {
    let prompt = source.world().map_or(PROMPT, example);
    let (trust, call) = match around.is_stock {
        true => ("", call(around.settings)),
        false => (", trust_remote_code=True", String::new()),
    };
    let mut python = format!(
        "from diffusers import DiffusionPipeline\nprior = DiffusionPipeline.from_pretrained(\".\"{trust})\n"
    );
    let embeddings = format!("embeddings = prior(\"{prompt}\"{call})\n");
    let load =
        |name: &str, trust: &str| format!("decoder = DiffusionPipeline.from_pretrained(\"{name}\"{trust})\n");
    python += &match &around.decoder {
        Some(decoder) => {
            let (name, trust) = match &decoder.place {
                Place::Bundled(_) => (format!("./{DECODER}"), ", trust_remote_code=True"),
                Place::Named(name) => (name.clone(), ""),
            };
            let arguments = decoder.stack.about().python.arguments;
            load(&name, trust)
                + &embeddings
                + &format!("decoder({arguments}).images[0].save(\"image.png\")\n")
        }
        None => embeddings + "print(embeddings.image_embeds.shape)\n",
    };
    let mut text = format!(
        "With diffusers {DIFFUSERS_VERSION}, transformers and PyTorch, in this folder (elsewhere, give its path in the place of `.`):\n\n```python\n{python}```\n"
    );
    if !around.is_stock {
        text += "\n`trust_remote_code` lets diffusers load this folder's own short Python modules: its stock classes do not sample such a prior.\n";
    }
    let (note, pipeline) = match &around.decoder {
        Some(decoder) => (
            decoder.stack.about().python.note,
            match decoder.place {
                Place::Bundled(_) => "THIS",
                Place::Named(_) => "DECODER --prior THIS",
            },
        ),
        None => ("", "DECODER --prior THIS"),
    };
    if !note.is_empty() {
        text += &format!("\n{note}\n");
    }
    text + &format!("\nWith this program: `eclipse generate --pipeline {pipeline} --prompt \"{prompt}\"`.\n")
}

/// The arguments with which diffusers' own pipeline samples as the run does, where its defaults differ.
fn call(settings: PriorSettings) -> String {
    let own = PriorSettings::default();
    let mut text = String::new();
    if settings.n_steps != own.n_steps {
        text += &format!(", num_inference_steps={}", settings.n_steps);
    }
    if settings.guidance != own.guidance {
        text += &format!(", guidance_scale={:?}", settings.guidance);
    }
    text
}

/// How to use a network alone.
fn usage(config: &PriorConfig, prior: &AnyPrior) -> String {
    let ours = format!("`eclipse prior --prior THIS/{PRIOR} --text CLIP --prompts FILE --out FILE`");
    match (config.has_time(), prior) {
        (false, _) => format!(
            "{ours}. One pass over Gaussian noise. The class is the time-independent `PriorTransformer` of the ECLIPSE authors \
             (eclipse-inference, `src/priors/prior_transformer.py`); diffusers' own class has a time embedding and does not fit.\n"
        ),
        (true, AnyPrior::Flow(..)) => format!("{ours}. Euler steps of the flow in `{SCHEDULER}/`.\n"),
        (true, _) => format!(
            "{ours}. In Python `diffusers.PriorTransformer.from_pretrained(THIS, subfolder=\"{PRIOR}\")` loads the network, and the scheduler in \
             `{SCHEDULER}/` samples it; `KandinskyV22PriorPipeline` does that for an `UnCLIPScheduler` only. An export without `--prior-only` is a \
             whole pipeline.\n"
        ),
    }
}

fn licence(source: &ExportSource) -> String {
    let world = match source.world() {
        Some(world) => format!(" The images of the world `{world}` are {}.", world.credits()),
        None if source.run.is_some() => String::new(),
        None => {
            " Published priors carry their own licence (those of Karlo and ECLIPSE are OpenRAIL, with restrictions of use that pass on to copies)."
                .into()
        }
    };
    format!(
        "Weights are bound by the terms of the encoder and the data that they were trained on; look at both before you pass them on.{world}\n"
    )
}

/// What other software does differently with a network alone.
pub(super) fn warnings(config: &PriorConfig, prior: &AnyPrior) -> Vec<String> {
    let mut found = Vec::new();
    if !config.conditioning.is_both() {
        let kept = serde_json::to_value(config.conditioning).unwrap_or_default();
        found.push(format!(
            "prior/config.json says `conditioning`: {kept}, which other software does not know and ignores: it would show this prior both the text \
             embedding and the text's hidden states, and it was trained on one of them"
        ));
    }
    if let AnyPrior::Flow(..) = prior {
        found.push(
            "this prior was trained by flow matching: other software loads its network, but no pipeline of diffusers samples such a prior"
                .into(),
        );
    }
    found
}
