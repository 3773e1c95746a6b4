//! Opens the benchmark of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::prelude::*;

use super::benchmark::{Benchmark, BenchmarkSpec};
use super::images::{check_decoder, decoder_files};
use super::memo::Memo;
use super::store::StoreBenchmark;
use super::test_set::TestSet;
use super::world::{ImageTools, WorldBenchmark, WorldPairs};
use crate::data::encode::{FrozenClip, clip_files};
use crate::data::store::{MANIFEST, Store};
use crate::files;
use crate::generate::frozen::FrozenDecoder;
use crate::train::objectives::{Objective, PriorObjective};
use crate::train::prior::ClipTemperature;
use crate::train::session::Failure;
use crate::world::World;
use crate::world::checker::Checker;

/// Opens benchmarks on one device. Frozen networks, encoded pairs and encoded test sets are shared between benchmarks.
pub struct Benchmarks {
    device: Device,
    clips: Memo<PathBuf, FrozenClip>,
    pairs: Memo<String, WorldPairs>,
    test_sets: Memo<String, TestSet>,
    decoders: Memo<PathBuf, FrozenDecoder>,
    checkers: Memo<World, Checker>,
}

impl Benchmarks {
    /// On `device` (without autodiff); loads nothing yet.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            clips: Memo::new(),
            pairs: Memo::new(),
            test_sets: Memo::new(),
            decoders: Memo::new(),
            checkers: Memo::new(),
        }
    }

    /// The benchmark of a run: that of its store if the run names one, else that of its world.
    ///
    /// # Errors
    /// An input cannot be loaded, or inputs do not match.
    pub fn open(&self, spec: &BenchmarkSpec<'_>) -> Result<Box<dyn Benchmark>, Failure> {
        if spec.data.store.is_some() {
            return Ok(Box::new(StoreBenchmark::open(spec, &self.device)?));
        }
        let (world, data, eval, dir) = (spec.world, spec.data, spec.eval, spec.clip.display());
        let clip = self.clip(spec)?;
        let key = format!("{world} {dir} {data:?}");
        let pairs = self.pairs.get(key, || WorldPairs::new(spec, &clip))?;
        let key = format!("{world} {dir} {} {}", eval.n_prompts, eval.seed);
        let test_set = self
            .test_sets
            .get(key, || TestSet::new(world, &clip, eval.n_prompts, eval.seed))?;
        let tools = self.image_tools(spec, &clip)?;
        Ok(Box::new(WorldBenchmark::new(
            spec,
            clip,
            pairs,
            test_set,
            tools,
            &self.device,
        )))
    }

    /// Quick checks of the run's inputs.
    ///
    /// # Errors
    /// A reason why [`Benchmarks::open`] or the training would fail.
    pub fn check(&self, spec: &BenchmarkSpec<'_>, objective: &Objective) -> Result<(), Failure> {
        Self::inputs(spec)?;
        if spec.data.store.is_some() {
            return Ok(());
        }
        let clip = self.clip(spec)?;
        self.image_tools(spec, &clip)?;
        objective.check_clip(ClipTemperature {
            tau: clip.tau(),
            clip: &spec.clip.display().to_string(),
        })
    }

    /// SHA-256 of the files that a run reads, by name.
    ///
    /// # Errors
    /// A file is missing.
    pub fn inputs(spec: &BenchmarkSpec<'_>) -> Result<BTreeMap<String, String>, Failure> {
        let mut hashes = Self::embedding_inputs(spec)?;
        if spec.eval.n_pictures > 0 {
            hashes.extend(decoder_files(spec.decoder)?);
        }
        Ok(hashes)
    }

    /// SHA-256 of the files that determine a run's embeddings, by name: its CLIP's, or the manifests of its stores, which contain the hashes of all
    /// shards.
    ///
    /// # Errors
    /// A file is missing.
    pub fn embedding_inputs(spec: &BenchmarkSpec<'_>) -> Result<BTreeMap<String, String>, Failure> {
        let data = spec.data;
        let Some(store) = &data.store else {
            return Ok(clip_files(spec.clip)?);
        };
        let mut hashes = BTreeMap::new();
        for (name, store) in [("store", Some(store)), ("validation", data.validation.as_ref())] {
            let Some(store) = store else { continue };
            Store::open(store)?;
            let hash = files::sha256_file(store.join(MANIFEST))?;
            hashes.insert(format!("{name}/{MANIFEST}"), hash);
        }
        Ok(hashes)
    }

    fn clip(&self, spec: &BenchmarkSpec<'_>) -> Result<Arc<FrozenClip>, Failure> {
        let load = || FrozenClip::load(spec.clip, &self.device);
        Ok(self.clips.get(spec.clip.to_path_buf(), load)?)
    }

    /// The decoder, which must be trained on this CLIP, and the checker, if the run's images are scored.
    fn image_tools(
        &self,
        spec: &BenchmarkSpec<'_>,
        clip: &FrozenClip,
    ) -> Result<Option<ImageTools>, Failure> {
        if spec.eval.n_pictures == 0 {
            return Ok(None);
        }
        let load = || FrozenDecoder::load(spec.decoder, &self.device);
        let decoder = self.decoders.get(spec.decoder.to_path_buf(), load)?;
        check_decoder(spec.clip, spec.decoder, &decoder, clip.d_clip())?;
        let checker = || Ok::<_, Failure>(Checker::new(spec.world));
        let checker = self.checkers.get(spec.world, checker)?;
        Ok(Some(ImageTools { decoder, checker }))
    }
}
