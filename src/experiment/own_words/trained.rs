//! Finished runs whose priors can draw own prompts.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::DrawError;
use crate::experiment::run::ResolvedRun;
use crate::experiment::run_dir::RunDir;
use crate::experiment::sweep;
use crate::files;

/// Folders in `runs/` of runs outside sweeps: each of their runs is listed separately.
const SINGLE_RUNS: &str = "train";

/// A finished run with a trained prior.
#[derive(Debug, Clone)]
pub struct TrainedRun {
    /// Its directory.
    pub dir: PathBuf,
    /// Its label within the experiment: all axes except the seed.
    pub label: String,
    run: ResolvedRun,
}

impl TrainedRun {
    /// Its configuration.
    pub fn run(&self) -> &ResolvedRun {
        &self.run
    }

    /// The folder of the prior that the run was scored with.
    pub fn prior_dir(&self) -> PathBuf {
        RunDir::new(&self.dir).scored_prior_dir(self.run.eval().checkpoint)
    }
}

/// The priors at `place`: a run directory, or a folder of run directories, which contributes one run per system (the lowest seed).
///
/// # Errors
/// [`DrawError`]: no finished run, a run on a store, or a baseline, which trains no prior.
pub fn priors_at(place: &Path) -> Result<Vec<TrainedRun>, DrawError> {
    if RunDir::new(place).config_path().is_file() {
        return Ok(vec![trained_run(place)?]);
    }
    let mut found: Vec<TrainedRun> = Vec::new();
    if place.is_dir() {
        for dir in files::list_folders(place)? {
            if let Ok(run) = trained_run(&dir)
                && found.iter().all(|other| other.label != run.label)
            {
                found.push(run);
            }
        }
    }
    // One world and one CLIP, so that all priors have one vocabulary.
    if let Some(first) = found.first().map(|first| first.run.clone()) {
        found.retain(|run| run.run.world() == first.world());
    }
    match found.is_empty() {
        true => Err(DrawError::NoRun(place.to_path_buf())),
        false => Ok(found),
    }
}

/// Path of the newest finished run of a built-in world in `runs`: its experiment's folder, or the run itself if it belongs to no sweep.
///
/// # Errors
/// [`DrawError::NoRun`] if there is none.
pub fn newest(runs: &Path) -> Result<PathBuf, DrawError> {
    let none = || DrawError::NoRun(runs.to_path_buf());
    let experiments = if runs.is_dir() {
        files::list_folders(runs)?
    } else {
        return Err(none());
    };
    let mut dirs: Vec<(SystemTime, PathBuf)> = Vec::new();
    for experiment in experiments.iter().filter(|dir| !is_hidden(dir)) {
        for dir in files::list_folders(experiment)? {
            let done = std::fs::metadata(dir.join("DONE")).and_then(|file| file.modified());
            if let Ok(time) = done {
                dirs.push((time, dir));
            }
        }
    }
    dirs.sort();
    let mut newest = dirs.iter().rev().map(|(_, dir)| dir);
    let newest = newest.find(|dir| trained_run(dir).is_ok());
    let dir = newest.ok_or_else(none)?;
    let experiment = dir.parent().unwrap_or(runs);
    Ok(match experiment.file_name() {
        Some(name) if name != SINGLE_RUNS => experiment.to_path_buf(),
        _ => dir.clone(),
    })
}

fn is_hidden(dir: &Path) -> bool {
    dir.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Whether [`super::draw()`] supports the prior of a run with this configuration.
pub fn can_draw(run: &ResolvedRun) -> bool {
    run.data().store.is_none() && run.objective().baseline().is_none()
}

/// The finished run in `dir`.
fn trained_run(dir: &Path) -> Result<TrainedRun, DrawError> {
    let wrong = |reason: &str| DrawError::Run {
        dir: dir.to_path_buf(),
        reason: reason.into(),
    };
    let folder = RunDir::new(dir);
    if !folder.config_path().is_file() {
        return Err(wrong("expected a run directory (with config.toml)"));
    }
    let trial = sweep::single(&folder.config_path(), &[])?;
    let run = trial.run().clone();
    if run.data().store.is_some() {
        return Err(wrong(
            "this prior was trained on a store, not in a built-in world: draw with `eclipse generate --pipeline DECODER --prior DIR`",
        ));
    }
    if run.objective().baseline().is_some() {
        return Err(wrong(
            "a baseline trains no prior: name a run of another objective",
        ));
    }
    if !folder.is_done() {
        return Err(wrong("the run is not finished"));
    }
    let axes = folder.provenance()?.axes;
    let axes: Vec<String> = axes
        .into_iter()
        .filter(|(key, _)| key != "seed")
        .map(|(_, label)| label)
        .collect();
    let label = match axes.is_empty() {
        true => run.objective().kind().to_owned(),
        false => axes.join(" "),
    };
    Ok(TrainedRun {
        dir: dir.to_path_buf(),
        label,
        run,
    })
}
