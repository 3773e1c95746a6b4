//! `eclipse pretrain`.

use std::path::{Path, PathBuf};

use crate::device::DeviceSpec;
use crate::files;
use crate::testbed::acceptance::MeasureSizes;
use crate::testbed::{ClipRecipe, DecoderRecipe, MakeClip, MakeDecoder, make_clip, make_decoder};
use crate::weights::read_json;
use crate::world::World;
use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::place::Existing;
use super::stop;

/// Arguments of `eclipse pretrain`.
#[derive(Debug, Args)]
pub struct PretrainArgs {
    #[arg(value_parser = super::world_named, help = worlds())]
    world: World,
    /// The model to train.
    #[arg(long, value_enum, default_value_t = ModelPart::Clip)]
    part: ModelPart,
    /// The CLIP whose image embeddings a decoder reads. [default: datasets/WORLD/clip]
    #[arg(long, value_name = "DIR")]
    clip: Option<Existing>,
    /// A trained decoder of the recipe's sizes, whose UNet initialises the training; the recipe may add noise augmentation (`max_noise_level`).
    #[arg(long, value_name = "DIR")]
    start_from: Option<Existing>,
    /// Output folder of the model. [default: clip/ or decoder/ in the run's folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of checkpoints and metrics; an interrupted run resumes from it. [default: runs/pretrain/WORLD-seedN, for a decoder
    /// runs/pretrain/WORLD-decoder-seedN]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Seed of initial weights and of all batches.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Another recipe: a JSON object with some of the keys under `recipe` in `pretrain.json`; other keys keep their values.
    #[arg(long, value_name = "FILE", conflicts_with = "smoke")]
    recipe: Option<PathBuf>,
    /// Optimiser steps, if not the recipe's.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Also copy the model to datasets/WORLD/PART, replacing the model that all experiments use; refused below its acceptance thresholds.
    #[arg(long, conflicts_with = "smoke")]
    publish: bool,
    /// Check in seconds that all parts work together.
    #[arg(long)]
    smoke: bool,
    /// Print the content of `pretrain.json`.
    #[arg(long)]
    json: bool,
}

/// Help on the argument for the world.
fn worlds() -> String {
    format!("The world: {}", World::ALL.map(World::name).join(" or "))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModelPart {
    /// Text and vision tower.
    Clip,
    /// The decoder from image embeddings to images.
    Decoder,
}

/// Trains one of the world's small models and prints its measurements.
pub fn run(args: &PretrainArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let (run_dir, out) = folders(args);
    super::check_output_folder("--run-dir", &run_dir)?;
    super::check_output_folder("--out", &out)?;
    if args.steps == Some(0) {
        return Err(super::Usage("--steps 0: expected at least 1".into()).into());
    }
    match args.part {
        ModelPart::Clip if args.clip.is_some() => {
            Err(super::Usage("--clip: only a decoder reads a CLIP; add --part decoder".into()).into())
        }
        ModelPart::Clip if args.start_from.is_some() => Err(super::Usage(
            "--start-from: only a decoder starts from another; add --part decoder".into(),
        )
        .into()),
        ModelPart::Clip => run_clip(args, device),
        ModelPart::Decoder => run_decoder(args, device),
    }
}

/// Folders of checkpoints and of the model: the named or the default ones.
fn folders(args: &PretrainArgs) -> (PathBuf, PathBuf) {
    let (part, infix) = match args.part {
        ModelPart::Clip => ("clip", ""),
        ModelPart::Decoder => ("decoder", "-decoder"),
    };
    let name = if args.smoke {
        format!("{}{infix}-smoke", args.world)
    } else {
        format!("{}{infix}-seed{}", args.world, args.seed)
    };
    let run_dir = args
        .run_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs/pretrain").join(name));
    let out = args.out.clone().unwrap_or_else(|| run_dir.join(part));
    (run_dir, out)
}

/// Prints the result for a finished model; publishes it on request if `missed`, the list of missed thresholds, is empty.
fn finish(args: &PretrainArgs, out: &Path, part: &str, missed: Option<String>) -> anyhow::Result<String> {
    let there = PathBuf::from("datasets").join(args.world.name()).join(part);
    let written = format!("written to {}\n", out.display());
    match (args.publish, missed) {
        (false, _) => Ok(written),
        (true, Some(missed)) => anyhow::bail!(
            "not published, {} stays as it is: {missed}; the model is in {}",
            there.display(),
            out.display()
        ),
        (true, None) => {
            copy_folder(out, &there)?;
            Ok(format!("{written}published to {}\n", there.display()))
        }
    }
}

/// Copies the files of a folder and its subfolders over those of another.
fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    files::create_dir(to)?;
    for file in files::list(from)? {
        files::copy(&file, to.join(file.file_name().unwrap_or_default()))?;
    }
    for folder in files::list_folders(from)? {
        copy_folder(&folder, &to.join(folder.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// The recipe with the keys of the file at `path` replaced.
fn changed<T: Serialize + DeserializeOwned>(recipe: &T, path: &Path) -> anyhow::Result<T> {
    let given: serde_json::Map<String, serde_json::Value> = read_json(path)?;
    let mut all = serde_json::to_value(recipe)?;
    if let Some(all) = all.as_object_mut() {
        all.extend(given);
    }
    serde_json::from_value(all).with_context(|| path.display().to_string())
}

/// The error of an invalid recipe, with the file's path.
fn refused(args: &PretrainArgs, reason: String) -> super::Usage {
    super::Usage(match &args.recipe {
        Some(path) => format!("{}: {reason}", path.display()),
        None => reason,
    })
}

fn run_clip(args: &PretrainArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let base: ClipRecipe = match &args.recipe {
        Some(path) => changed(&ClipRecipe::of(args.world), path)?,
        None if args.smoke => ClipRecipe::smoke(args.world),
        None => ClipRecipe::of(args.world),
    };
    let n_steps = args.steps.unwrap_or(base.n_steps);
    let recipe = ClipRecipe {
        seed: args.seed,
        n_steps,
        ..base
    };
    recipe.check().map_err(|reason| refused(args, reason))?;
    let (run_dir, out) = folders(args);
    let sizes = if args.smoke {
        MeasureSizes {
            n_captions: 30,
            n_probe: 200,
            n_asked: 100,
        }
    } else {
        MeasureSizes::default()
    };
    let request = MakeClip {
        world: args.world,
        recipe,
        sizes,
        out,
        run_dir,
        device,
        stop: stop::on_signals()?,
    };
    let (steps, name) = (
        super::progress::Steps::new(),
        request.run_dir.display().to_string(),
    );
    let record = make_clip(&request, move |step, loss| {
        steps.show(&name, step, n_steps, &format!("loss {loss:.4}"));
    })
    .map_err(stop::pretraining_error)
    .context("cannot make the world's CLIP")?;
    let end = finish(args, &request.out, "clip", record.thresholds.missed())?;
    if args.json {
        return super::print_json(&serde_json::to_value(&record)?);
    }
    super::print(&format!("{}{end}", record.thresholds))
}

fn run_decoder(args: &PretrainArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let base: DecoderRecipe = match &args.recipe {
        Some(path) => changed(&DecoderRecipe::of(args.world), path)?,
        None if args.smoke => DecoderRecipe::smoke(),
        None => DecoderRecipe::of(args.world),
    };
    let n_steps = args.steps.unwrap_or(base.n_steps);
    let recipe = DecoderRecipe {
        seed: args.seed,
        n_steps,
        ..base
    };
    recipe.check(args.world).map_err(|reason| refused(args, reason))?;
    let (run_dir, out) = folders(args);
    let built_in = PathBuf::from("datasets").join(args.world.name());
    let request = MakeDecoder {
        world: args.world,
        recipe,
        clip: match &args.clip {
            Some(clip) => clip.to_path_buf(),
            None => built_in.join("clip"),
        },
        n_asked: if args.smoke { 4 } else { 500 },
        out,
        start_from: args.start_from.as_ref().map(|dir| dir.to_path_buf()),
        run_dir,
        device,
        stop: stop::on_signals()?,
    };
    let (steps, name) = (
        super::progress::Steps::new(),
        request.run_dir.display().to_string(),
    );
    let record = make_decoder(&request, move |step, loss| {
        steps.show(&name, step, n_steps, &format!("loss {loss:.4}"));
    })
    .map_err(stop::pretraining_error)
    .context("cannot make the world's decoder")?;
    let end = finish(args, &request.out, "decoder", record.scores.missed(args.world))?;
    if args.json {
        return super::print_json(&serde_json::to_value(&record)?);
    }
    super::print(&format!("{}{end}", record.scores))
}
