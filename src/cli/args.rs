//! Arguments shared by several commands.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use burn::tensor::Device;
use clap::Args;

use crate::data::prompts;
use crate::device::{DeviceError, DeviceSpec, Precision};
use crate::experiment::mlflow::Server;
use crate::experiment::spec::Objective;
use crate::experiment::{PriorRunner, Setting, TrainingProgress};
use crate::world::World;

use super::{Usage, place, progress};

/// Options of commands that read a specification.
#[derive(Debug, Args)]
pub(super) struct SpecArgs {
    #[arg(long = "set", value_name = "KEY=VALUE", help = set_help())]
    pub(super) settings: Vec<Setting>,
    /// Short for --set seed=N.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u32>,
}

pub(super) fn set_help() -> String {
    format!(
        "Set a key over everything else; may be repeated. One that names an axis replaces it: seed=3, seed=[0,1]. `objective.kind` is one of {}",
        Objective::KINDS.join(", ")
    )
}

impl SpecArgs {
    pub(super) fn settings(&self) -> Vec<Setting> {
        let seed = self.seed.map(|n| Setting {
            key: "seed".into(),
            value: i64::from(n).into(),
        });
        // Path keys are relative to the caller's folder, like all arguments.
        const PATHS: [&str; 4] = ["clip", "decoder", "data.store", "data.validation"];
        let given = self.settings.iter().cloned().map(|mut setting| {
            if let (true, Some(path)) = (PATHS.contains(&setting.key.as_str()), setting.value.as_str()) {
                let is_weights = !setting.key.starts_with("data.");
                let path = if is_weights {
                    place::resolved_weights(path)
                } else {
                    place::resolved(path)
                };
                setting.value = path.display().to_string().into();
            }
            setting
        });
        given.chain(seed).collect()
    }
}

/// Folders of the runs and of the report.
#[derive(Debug, Args)]
pub struct Destination {
    /// Folder of all run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Folder of the report. [default: results/ beside the runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write the committed results: results/ beside the specification, without the page, which --site makes.
    #[arg(long, conflicts_with = "out")]
    pub publish: bool,
    /// Print the table as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of commands that only run networks.
#[derive(Debug, Args)]
pub(super) struct PrecisionArgs {
    /// Data type in which networks compute, whatever their files hold: f32, f16 or bf16. Half precision halves the memory; values between networks
    /// remain f32.
    #[arg(long, value_name = "DTYPE", default_value_t)]
    pub(super) dtype: Precision,
}

impl PrecisionArgs {
    pub(super) fn device(&self, device: DeviceSpec) -> Result<Device, DeviceError> {
        device.device_in(self.dtype)
    }
}

/// An experiment's name, or the path of a file or folder relative to the caller's folder.
pub(super) fn experiment(given: &str) -> String {
    let path = place::resolved(given);
    match path.exists() {
        true => path.display().to_string(),
        false => given.to_owned(),
    }
}

/// Parses the name of a world.
pub(super) fn world_named(name: &str) -> Result<World, String> {
    World::named(name).ok_or_else(|| format!("expected one of {}", World::ALL.map(World::name).join(", ")))
}

/// The runner of priors, which reports progress to `runs`.
pub(super) fn prior_runner(device: DeviceSpec, runs: &Arc<progress::Runs>) -> anyhow::Result<PriorRunner> {
    let runs = runs.clone();
    let on_step = move |run: &std::path::Path, progress: TrainingProgress<'_>| runs.show(run, progress);
    Ok(PriorRunner::new(device.device()?, Arc::new(on_step)))
}

/// The MLflow server that the environment names.
pub(super) fn mlflow_server() -> Result<Option<Server>, Usage> {
    Server::from_env().map_err(|error| Usage(error.to_string()))
}

/// The prompts of a file, or of standard input for `-`.
pub(super) fn read_prompts(path: &Path) -> anyhow::Result<Vec<String>> {
    if !place::is_stdio(path) {
        return Ok(prompts::read_prompts(path)?);
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read prompts from standard input")?;
    Ok(prompts::prompts_of(&text, path)?)
}
