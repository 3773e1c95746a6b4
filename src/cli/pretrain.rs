//! `eclipse pretrain`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::experiment::bars::BarSizes;
use eclipse_t2i::experiment::pretrain::{Pretrain, pretrain_emoji};
use eclipse_t2i::train::clip::ClipRecipe;

/// Arguments of `eclipse pretrain`.
#[derive(Debug, Args)]
pub struct PretrainArgs {
    /// The world.
    world: World,
    /// Where the model goes. [default: datasets/emoji/clip, with --smoke runs/pretrain/emoji-smoke/clip]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Checkpoints and metrics; a run that was stopped goes on from here. [default: runs/pretrain/emoji-seedN]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Seed of the first values and of all batches.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Optimiser steps, if not the recipe's.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Only see that everything fits together, in seconds.
    #[arg(long)]
    smoke: bool,
    /// Print what `pretrain.json` says.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum World {
    /// Pictures of emoji.
    Emoji,
}

/// Makes the world's small CLIP and prints what it can tell.
pub fn run(args: &PretrainArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let World::Emoji = args.world;
    let base = if args.smoke {
        ClipRecipe::smoke()
    } else {
        ClipRecipe::default()
    };
    let n_steps = args.steps.unwrap_or(base.n_steps);
    if n_steps == 0 {
        return Err(super::Usage("--steps 0: expected at least 1".into()).into());
    }
    let recipe = ClipRecipe {
        seed: args.seed,
        n_steps,
        ..base
    };
    let name = if args.smoke {
        "emoji-smoke".to_owned()
    } else {
        format!("emoji-seed{}", args.seed)
    };
    let run_dir = args
        .run_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs/pretrain").join(name));
    let out = match (&args.out, args.smoke) {
        (Some(out), _) => out.clone(),
        (None, true) => run_dir.join("clip"),
        (None, false) => PathBuf::from("datasets/emoji/clip"),
    };
    let sizes = if args.smoke {
        BarSizes {
            n_captions: 30,
            n_probe: 200,
            n_asked: 100,
        }
    } else {
        BarSizes::default()
    };
    let request = Pretrain {
        recipe,
        sizes,
        out,
        run_dir,
        device,
    };
    let (steps, run) = (super::progress::Steps::new(), request.run_dir.clone());
    let record = pretrain_emoji(&request, move |step, _| steps.show(&run, step, n_steps))
        .context("cannot make the world's CLIP")?;
    if args.json {
        return super::print_json(&serde_json::to_value(&record)?);
    }
    super::print(&format!("{}written to {}\n", record.bars, request.out.display()))
}
