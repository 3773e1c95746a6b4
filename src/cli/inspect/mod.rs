//! `eclipse inspect`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::source::with_scheme;
use crate::data::store::{self, MANIFEST, SETTINGS, Store};
use crate::eval::ScoreFile;
use crate::experiment::provenance::SessionRecord;
use crate::experiment::{MetricsLog, RunDir};
use crate::files;
use crate::hub::repository_of;
use crate::weights::Checkpoint;
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::Usage;
use super::encode::SourceArgs;
use super::place::Existing;

mod source;

/// Arguments of `eclipse inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A model directory, a pipeline directory, a safetensors file, a run directory, a store, or a source that `eclipse encode` reads.
    path: Existing,
    #[command(flatten)]
    source: SourceArgs,
    /// Records of a source to read, images included; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sample: usize,
    /// Verify the hash of every shard of a store.
    #[arg(long)]
    verify: bool,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Describes the content of the path.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let (found, error) = found(args)?;
    if args.json {
        super::print_json(&found)?;
    } else {
        super::print(&lines(&found, 0))?;
    }
    error.map_or(Ok(()), Err)
}

/// The description, and the faults of a source that can be used only in part or not at all.
fn found(args: &InspectArgs) -> anyhow::Result<(Value, Option<anyhow::Error>)> {
    let whole = |found: anyhow::Result<Value>| Ok((found?, None));
    let path: &Path = &args.path;
    let place = path.to_string_lossy();
    let is_drawn = with_scheme(&place).is_some();
    let is_pattern = place.contains(['*', '{', '?', '[']);
    if !path.exists() && !is_drawn && !is_pattern {
        return Err(Usage(format!("no such file or folder: {}", path.display())).into());
    }
    let run = RunDir::new(path);
    if run.config_path().is_file() {
        return whole(look_at_run(&run));
    }
    let has_parts = path.is_dir() && !store::parts(path)?.is_empty();
    if path.join(MANIFEST).is_file() || path.join(SETTINGS).is_file() || has_parts {
        return whole(look_at_store(path, args.verify));
    }
    let is_model = path.extension().is_some_and(|e| e == "safetensors")
        || has_weights(path)
        || std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .any(|e| has_weights(&e.path()));
    if is_model {
        return whole(look(path, args.tensors));
    }
    source::look(&place, &args.source.options(), args.sample)
}

fn look_at_store(path: &Path, verify: bool) -> anyhow::Result<Value> {
    let store = Store::open(path)?;
    if verify {
        store.verify()?;
    }
    let manifest = store.manifest();
    let settings = &manifest.settings;
    Ok(json!({
        "store": path,
        "pictures": manifest.n_pictures,
        "captions": manifest.n_captions,
        "tokens": manifest.n_tokens,
        "captions cut": manifest.n_cut,
        "rejects": manifest.rejects,
        "shards": manifest.shards.len(),
        "bytes": manifest.shards.iter().map(|s| s.bytes).sum::<u64>(),
        "dtype": settings.dtype,
        "hidden": settings.hidden,
        "target": settings.target,
        "encoder": settings.encoder,
        "source": settings.source,
        "mean norm of z_x": manifest.norm_x,
        "mean norm of z_y": manifest.norm_y,
        "hashes": if verify { "as the manifest says" } else { "not compared (--verify)" },
    }))
}

/// Describes a model directory, a pipeline or a file of weights.
pub(super) fn look(path: &Path, tensors: bool) -> anyhow::Result<Value> {
    let weights = path.is_file() || has_weights(path);
    let mut parts = BTreeMap::new();
    if !weights {
        for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
            let entry = entry?.path();
            if entry.is_dir() && has_weights(&entry) {
                let name = entry.file_name().map(|n| n.to_string_lossy().into_owned());
                parts.insert(name.unwrap_or_default(), look(&entry, tensors)?);
            }
        }
        if !parts.is_empty() {
            let mut found = json!({ "pipeline": path, "components": parts });
            name_repository(&mut found, path);
            return Ok(found);
        }
    }
    let checkpoint = Checkpoint::open(path)?;
    let mut dtypes: BTreeMap<String, usize> = BTreeMap::new();
    let mut listed = serde_json::Map::new();
    for (name, tensor) in checkpoint.tensors() {
        let n = tensor.shape.iter().product::<usize>();
        *dtypes.entry(format!("{:?}", tensor.dtype)).or_default() += n;
        listed.insert(
            name.clone(),
            json!(format!("{:?} {:?}", tensor.dtype, tensor.shape)),
        );
    }
    let mut found = json!({
        "weights": checkpoint.path(),
        "kind": kind(path),
        "parameters": dtypes.values().sum::<usize>(),
        "tensors": checkpoint.tensors().len(),
        "values by dtype": dtypes,
        "metadata": checkpoint.metadata(),
    });
    name_repository(&mut found, path);
    if tensors {
        found["tensors"] = Value::Object(listed);
    }
    Ok(found)
}

/// Adds the repository and the commit of weights in the Hugging Face cache.
fn name_repository(found: &mut Value, path: &Path) {
    if let Some(repository) = repository_of(path) {
        found["repository"] = json!(repository);
    }
}

fn look_at_run(run: &RunDir) -> anyhow::Result<Value> {
    let provenance = run.provenance()?;
    let last = provenance.sessions.last();
    Ok(json!({
        "run": provenance.run,
        "experiment": provenance.experiment,
        "state": if run.is_done() { "done" } else { "not finished" },
        "axes": provenance.axes.iter().cloned().collect::<BTreeMap<_, _>>(),
        "seed": provenance.seed,
        "device": last.map(|s| s.device.clone()),
        "code": last.and_then(|s| s.git_sha.clone()),
        "started": provenance.sessions.first().map(|s| s.start.clone()),
        "finished": last.and_then(|s| s.end.clone()),
        "inputs": provenance.inputs,
        "seconds": seconds(&provenance.sessions),
        "training": training(run)?,
        "scores": scores(run)?,
    }))
}

/// Progress of a run: the last values of `metrics.jsonl`.
fn training(run: &RunDir) -> anyhow::Result<Value> {
    let rows = MetricsLog::read(run.metrics_path())?;
    let mut last = BTreeMap::new();
    for row in &rows {
        last.insert(format!("{}/{}", row.split, row.name), row.value);
    }
    let config: toml::Table = files::read_text(run.config_path())?.parse().unwrap_or_default();
    let of = config
        .get("train")
        .and_then(|train| train.get("steps"))
        .and_then(toml::Value::as_integer);
    Ok(json!({
        "step": rows.iter().map(|row| row.step).max(),
        "of": of,
        "last values": last,
    }))
}

/// Scores of a run, as `name@split`: all prompts, and for the summary of each group of scores each split too.
fn scores(run: &RunDir) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut scores = BTreeMap::new();
    for file in run.eval_files()? {
        let metrics = ScoreFile::read(&file)?.into_metrics().into_iter();
        let shown = metrics.filter(|metric| metric.split == "all" || metric.name.ends_with("/all"));
        scores.extend(shown.map(|metric| (format!("{}@{}", metric.name, metric.split), metric.value)));
    }
    Ok(scores)
}

/// Total duration of the finished sessions.
fn seconds(sessions: &[SessionRecord]) -> Option<u64> {
    let time = |text: &str| humantime::parse_rfc3339(text).ok();
    let all = sessions.iter().map(|session| {
        let took = time(session.end.as_deref()?)?.duration_since(time(&session.start)?);
        Some(took.ok()?.as_secs())
    });
    let known: Vec<u64> = all.flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum())
}

fn has_weights(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .any(|name| {
            let stems = ["model", "diffusion_pytorch_model", "pytorch_model"];
            let stem = stems.iter().any(|stem| name.starts_with(stem));
            let is_index = name.contains(".index.") && name.ends_with(".json");
            // Of a `.ckpt` the reader's error says what to do.
            let ends = [".safetensors", ".bin", ".ckpt"];
            stem && (is_index || ends.iter().any(|end| name.ends_with(end)))
        })
}

/// The model described by config.json.
pub(super) fn kind(path: &Path) -> Option<String> {
    let config: Value = serde_json::from_str(&files::read_text(path.join("config.json")).ok()?).ok()?;
    let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
    text("_class_name")
        .or_else(|| config.get("architectures")?.get(0)?.as_str().map(str::to_owned))
        .or_else(|| text("model_type"))
}

/// JSON as indented `key: value` lines.
fn lines(value: &Value, depth: usize) -> String {
    let Value::Object(map) = value else {
        return String::new();
    };
    let indent = "  ".repeat(depth);
    let mut text = String::new();
    for (key, value) in map {
        match value {
            Value::Object(inner) if inner.is_empty() => {}
            Value::Null => {}
            Value::Object(_) => text.push_str(&format!("{indent}{key}:\n{}", lines(value, depth + 1))),
            Value::String(s) => text.push_str(&format!("{indent}{key}: {s}\n")),
            other => text.push_str(&format!("{indent}{key}: {other}\n")),
        }
    }
    text
}
