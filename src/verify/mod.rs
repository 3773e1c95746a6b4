//! Does this build, on this device, compute what the reference computes?
//!
//! A *fixture* is a folder (or a zip archive of one) with miniature checkpoints in the published layouts, `goldens/*.safetensors` and a
//! `manifest.json`. A *golden* holds inputs and the reference's outputs of one part. [`verify()`] runs every golden through the production loaders, modules and samplers and
//! compares.
//!
//! **Nothing is passed over silently.** A golden passes only if every tensor in it was either compared or read as an input, every `out.*` tensor was
//! compared, and all comparisons are within the tolerance ([`tolerance`]). A golden of a family that is not supported, or that half precision leaves out, is
//! reported as such.
//!
//! To add a family: a file with `pub(super) fn run(context: &Context) -> Outcome`, and one line in `FAMILIES`.

mod blip;
mod clip;
mod clip_score;
mod distances;
pub mod fixture;
mod inception;
mod lr_schedule;
mod movq;
mod noise_augmentation;
mod pipeline;
mod prior;
mod scheduler;
mod spatial;
mod text_input;
mod text_proj;
mod three_in_one;
mod timestep_embedding;
pub mod tolerance;
mod train;
mod unet;
mod upscale;

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::prelude::*;
use serde::Serialize;

use crate::device::Precision;

pub use fixture::{Array, Computed, Context, Fixture, FixtureError, Outcome, Values};
pub use tolerance::{Arithmetic, Tolerance};

/// Runs one golden.
type Family = fn(&Context) -> Outcome;

/// Goldens by the start of their name; the first match counts.
const FAMILIES: &[(&str, Family)] = &[
    ("clip_text", clip::text),
    ("clip_vision", clip::vision),
    ("prior_eclipse", prior::eclipse),
    ("prior_diffusion", prior::diffusion),
    ("prior_variant_", prior::variant),
    ("text_proj", text_proj::run),
    ("movq", movq::run),
    ("bicubic_upscale", upscale::run),
    ("train", train::run),
    ("pipeline_eclipse_k22_decoder", pipeline::kandinsky22_decoder),
    ("pipeline_k22_decoder", pipeline::kandinsky22_decoder),
    ("k22_img2img", pipeline::kandinsky22_decoder),
    ("k22_init_picture", pipeline::init_picture),
    ("interpolation", pipeline::interpolation),
    ("size_rounding", pipeline::size_rounding),
    ("pipeline_eclipse_k22_prior", pipeline::kandinsky22_eclipse),
    ("pipeline_eclipse_karlo", pipeline::karlo_eclipse),
    ("pipeline_k22_prior", pipeline::kandinsky22),
    ("pipeline_karlo_image_variation", pipeline::karlo_image_variation),
    ("pipeline_karlo", pipeline::karlo),
    ("scheduler_", scheduler::run),
    ("tokenizer", text_input::tokenizer),
    ("preprocess", text_input::preprocess),
    ("timestep_embedding", timestep_embedding::run),
    ("lr_schedule", lr_schedule::run),
    ("k22_unet", unet::kandinsky22),
    ("noise_level_unet", unet::noise_level),
    ("noise_augmentation", noise_augmentation::run),
    ("karlo_decoder_unet", unet::karlo_decoder),
    ("karlo_decode", pipeline::karlo_decode),
    ("karlo_super_res_", unet::karlo_super_res),
    ("fid_inception_recipe", inception::recipe),
    ("fid_inception_", inception::inception),
    ("fid_preprocess_", inception::preprocess),
    ("fid_folders_", inception::folders),
    ("frechet_summary", distances::frechet_table),
    ("frechet_", distances::frechet_case),
    ("npz", distances::archives),
    ("kid_", distances::kid),
    ("clip_fid", distances::clip_fid),
    ("clip_preprocess", clip_score::clip_preprocess),
    ("bootstrap", clip_score::bootstrap),
    ("clipscore", clip_score::clip_score),
    ("pickscore_ties", clip_score::ties),
    ("pickscore", clip_score::pick_score),
    ("spatial2d", spatial::spatial),
    ("three_in_one", three_in_one::three_in_one),
    ("blip_tokens", blip::tokens),
    ("blip_preprocess", blip::preprocess),
    ("blip_pos_embed", blip::positions),
    ("blip_vqa", blip::answers),
];

/// Goldens that half precision leaves out, and why.
const F32_ONLY: &[(&str, &str)] = &[
    ("train", "training keeps its parameters in f32"),
    (
        "karlo_decode",
        "x0 is clipped after a division by 5e-5: rounding decides between -1 and 1",
    ),
];

/// Verdict on a golden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything within tolerance.
    Pass,
    /// A tensor is off, or was not compared.
    Fail,
    /// No code here computes this golden.
    Unsupported,
    /// It could not be computed.
    Error,
    /// The device does not compute in the precision that it needs.
    Skipped,
}

/// The result of one golden: its worst tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Name of the fixture's folder or archive.
    pub fixture: String,
    /// Name of the golden.
    pub golden: String,
    /// The tensor that is worst in proportion to its tolerance.
    pub tensor: Option<String>,
    /// Its largest absolute difference; `None` where nothing comparable was computed.
    pub max_abs_diff: Option<f64>,
    /// The reference's own rounding error on that tensor (its f32 against its f64), where the golden tells.
    pub reference_noise: Option<f64>,
    /// What was allowed.
    pub tolerance: Option<f64>,
    /// The verdict.
    pub status: Status,
    /// Why, unless it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What [`verify()`] found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VerifyReport {
    /// One record for each golden, in the order of the folders and names.
    pub records: Vec<Record>,
    /// Paths that are no fixtures, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only goldens whose name contains this, or matches it where it has `*` or `?`.
    pub only: Option<String>,
    /// Folder for what was computed, under the goldens' file and tensor names (below the fixture's name where there are several fixtures).
    pub dump: Option<PathBuf>,
    /// In what the device computes: how much is rounding.
    pub arithmetic: Arithmetic,
}

/// Runs the goldens of `dirs`, folders or zip archives, on `device`. What has no `manifest.json` is skipped and listed.
///
/// # Errors
/// [`FixtureError`] where there is nothing to run (no such folder, no fixture among them, no golden that matches) or the dump cannot be written. A
/// golden that cannot be computed is a record, not an error.
pub fn verify(dirs: &[PathBuf], options: &Options, device: &Device) -> Result<VerifyReport, FixtureError> {
    let mut report = VerifyReport::default();
    let mut fixtures = Vec::new();
    for dir in dirs {
        match Fixture::open(dir)? {
            Ok(fixture) => fixtures.push(fixture),
            Err(reason) => report.skipped.push((dir.clone(), reason)),
        }
    }
    if fixtures.is_empty() {
        return Err(FixtureError::NoFixture(dirs.to_vec()));
    }
    for fixture in &fixtures {
        for golden in fixture.goldens() {
            if options
                .only
                .as_deref()
                .is_some_and(|pattern| !matches(pattern, golden))
            {
                continue;
            }
            let (record, computed) = run_golden(fixture, golden, device, options.arithmetic);
            tracing::debug!(fixture = record.fixture, golden, status = ?record.status, "verified");
            report.records.push(record);
            if let Some(folder) = &options.dump
                && !computed.is_empty()
            {
                let folder = if fixtures.len() > 1 {
                    folder.join(fixture.name())
                } else {
                    folder.clone()
                };
                fixture::dump(&folder, golden, &computed)?;
            }
        }
    }
    if report.records.is_empty() {
        return Err(FixtureError::NoMatch(options.only.clone().unwrap_or_default()));
    }
    Ok(report)
}

fn run_golden(
    fixture: &Fixture,
    golden: &str,
    device: &Device,
    arithmetic: Arithmetic,
) -> (Record, Vec<Computed>) {
    let mut record = Record {
        fixture: fixture.name().to_string(),
        golden: golden.to_string(),
        tensor: None,
        max_abs_diff: None,
        reference_noise: None,
        tolerance: None,
        status: Status::Unsupported,
        message: None,
    };
    let Some((_, family)) = FAMILIES.iter().find(|(prefix, _)| golden.starts_with(prefix)) else {
        record.message = Some("no part of this build computes it".into());
        return (record, Vec::new());
    };
    let f32_only = F32_ONLY.iter().find(|(name, _)| *name == golden);
    if let (Some((_, reason)), true) = (f32_only, arithmetic.precision != Precision::F32) {
        record.status = Status::Skipped;
        record.message = Some((*reason).into());
        return (record, Vec::new());
    }
    match compute(fixture, golden, *family, device) {
        Err(error) => {
            record.status = Status::Error;
            record.message = Some(chain(&*error));
            (record, Vec::new())
        }
        Ok((context, computed)) => {
            judge(&mut record, &context, &computed, arithmetic);
            (record, computed)
        }
    }
}

/// Opens a golden and runs its family.
fn compute<'a>(
    fixture: &'a Fixture,
    golden: &str,
    family: Family,
    device: &Device,
) -> Result<(Context<'a>, Vec<Computed>), Box<dyn std::error::Error + Send + Sync>> {
    let context = fixture.context(golden, device)?;
    // A shape that does not fit is a programmer's error elsewhere; here it must not end the other goldens.
    let run = std::panic::AssertUnwindSafe(|| family(&context));
    let computed = std::panic::catch_unwind(run).unwrap_or_else(|panic| Err(panic_text(&*panic).into()))?;
    Ok((context, computed))
}

/// Compares what was computed with what stands in the golden and fills in `record`.
fn judge(record: &mut Record, context: &Context, computed: &[Computed], arithmetic: Arithmetic) {
    let mut missing: BTreeMap<&str, &str> = context
        .golden()
        .keys()
        .filter(|name| name.starts_with("out.") || !context.was_read(name))
        .map(|name| (name.as_str(), "was not compared"))
        .collect();
    let mut worst = -1.0f64;
    let mut problem = None;
    for c in computed {
        missing.remove(c.name.as_str());
        let Some(reference) = context.golden().get(&c.name) else {
            problem.get_or_insert(format!("{}: computed, but the golden has no such tensor", c.name));
            continue;
        };
        if c.array.shape != reference.shape {
            let (found, want) = (&c.array.shape, &reference.shape);
            problem.get_or_insert(format!("{}: expected shape {want:?}, computed {found:?}", c.name));
            continue;
        }
        let noise = context.reference_noise(&c.name);
        let allowed = c.tolerance.allowed(noise, reference.max_abs(), arithmetic);
        let difference = reference.max_abs_diff(&c.array);
        let badness = if difference <= allowed {
            // Exact matches of exact comparisons rank last.
            if allowed > 0.0 { difference / allowed } else { 0.0 }
        } else {
            f64::INFINITY
        };
        if badness > worst
            || (badness.is_infinite() && worst.is_infinite() && Some(difference) > record.max_abs_diff)
        {
            worst = badness;
            record.tensor = Some(c.name.clone());
            record.max_abs_diff = Some(difference);
            record.reference_noise = noise;
            record.tolerance = Some(allowed);
        }
    }
    if let Some((name, what)) = missing.first_key_value() {
        let more = if missing.len() > 1 {
            format!(" (and {} more)", missing.len() - 1)
        } else {
            String::new()
        };
        problem.get_or_insert(format!("{name} {what}{more}"));
    }
    if worst.is_infinite() {
        let tensor = record.tensor.as_deref().unwrap_or_default();
        problem.get_or_insert(format!("{tensor}: difference above the tolerance"));
    }
    if computed.is_empty() {
        problem.get_or_insert("nothing was computed".into());
    }
    record.status = match problem {
        Some(_) => Status::Fail,
        None => Status::Pass,
    };
    record.message = problem;
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("no message"))
}

/// An error and its sources on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Whether `name` contains `pattern`, or matches it as a whole where it has `*` (any run) or `?` (any one character).
fn matches(pattern: &str, name: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return name.contains(pattern);
    }
    fn glob(p: &[u8], n: &[u8]) -> bool {
        match (p.first(), n.first()) {
            (None, None) => true,
            (Some(b'*'), _) => glob(&p[1..], n) || (!n.is_empty() && glob(p, &n[1..])),
            (Some(b'?'), Some(_)) => glob(&p[1..], &n[1..]),
            (Some(a), Some(b)) if a == b => glob(&p[1..], &n[1..]),
            _ => false,
        }
    }
    glob(pattern.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("clip", "clip_text") && matches("text", "clip_text") && !matches("x_", "clip_text"));
        assert!(matches("clip_*", "clip_text") && matches("*", "a") && matches("clip_tex?", "clip_text"));
        assert!(
            !matches("clip_*", "a_clip_")
                && !matches("c?p", "clip")
                && matches("p*_eta0.?", "pipeline_eta0.2")
        );
    }
}
