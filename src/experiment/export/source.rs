//! The prior that is exported, and what its run says of it.

use std::path::{Path, PathBuf};

use super::error::ExportError;
use super::layout::CONFIG;
use crate::data::store::Store;
use crate::experiment::provenance::Provenance;
use crate::experiment::run::ResolvedRun;
use crate::experiment::{RunDir, sweep};
use crate::train::objectives::PriorObjective;
use crate::world::World;

/// A prior, and the run that trained it.
#[derive(Debug)]
pub(super) struct ExportSource {
    /// The folder of the prior.
    pub(super) prior: PathBuf,
    /// The run that trained it, if it was trained here.
    pub(super) run: Option<(ResolvedRun, Provenance)>,
}

impl ExportSource {
    /// Opens a finished run directory or a prior's folder.
    pub(super) fn open(path: &Path) -> Result<Self, ExportError> {
        let dir = RunDir::new(path);
        if !dir.config_path().is_file() {
            if !path.join(CONFIG).is_file() {
                return Err(ExportError::NoPrior(path.to_path_buf()));
            }
            return Ok(Self {
                prior: path.to_path_buf(),
                run: None,
            });
        }
        let trial = sweep::single(&dir.config_path(), &[])?;
        let run = trial.run().clone();
        if run.objective().baseline().is_some() {
            return Err(ExportError::Baseline {
                dir: path.to_path_buf(),
                name: run.objective().label(),
            });
        }
        if !dir.is_done() {
            return Err(ExportError::Unfinished {
                dir: path.to_path_buf(),
            });
        }
        for read in ["config.toml", "provenance.json", "prior/"] {
            dir.check(read)?;
        }
        let provenance = dir.provenance()?;
        Ok(Self {
            prior: dir.prior_dir(),
            run: Some((run, provenance)),
        })
    }

    /// The world of the run, if it was trained on a built-in one.
    pub(super) fn world(&self) -> Option<World> {
        self.world_run().map(ResolvedRun::world)
    }

    /// The run, if it was trained on a built-in world.
    pub(super) fn world_run(&self) -> Option<&ResolvedRun> {
        let (run, _) = self.run.as_ref()?;
        run.data().store.is_none().then_some(run)
    }

    /// The folder of the CLIP that the prior reads: the one that was named, that of the run or its store, that of the pipeline with the prior's folder.
    pub(super) fn clip(&self, named: Option<&Path>) -> Result<PathBuf, ExportError> {
        if let Some(clip) = named {
            return Ok(clip.to_path_buf());
        }
        let none = || ExportError::NoClip {
            dir: self.prior.clone(),
        };
        let Some((run, _)) = &self.run else {
            let pipeline = self.prior.join("..");
            return match pipeline.join("text_encoder").is_dir() {
                true => Ok(pipeline),
                false => Err(none()),
            };
        };
        let Some(store) = &run.data().store else {
            return Ok(run.clip().to_path_buf());
        };
        if !run.clip().as_os_str().is_empty() {
            return Ok(run.clip().to_path_buf());
        }
        let manifest = Store::open(store).map(|store| store.manifest().settings.encoder.dir.clone());
        let dir = manifest.map(PathBuf::from).map_err(|_| none())?;
        if dir.is_dir() { Ok(dir) } else { Err(none()) }
    }
}
