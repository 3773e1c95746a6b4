//! Kernels of CubeCL, the runtime below `wgpu`, `vulkan`, `metal` and `cuda`: where compiled and tuned kernels are kept, and how many are launched.
//!
//! A kernel is compiled at its first launch, and each shape of an operation is tuned at its first use. [`configure`] lets both survive the process.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};

use burn::cubecl::bundle::{self, BundleFormat, BundleManifest, SqliteBundle};
use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use burn::cubecl::environment;
use burn::cubecl::logging::{LaunchObservation, LaunchObserver};

use super::kernel_error::KernelError;
use super::places::{self, Place};

/// Defaults of this program: what was compiled is kept, tuning is short.
const DEFAULTS: &str = "
compilation = { cache = true }
autotune = { level = \"minimal\", bench = { min_samples = 1, max_samples = 3 } }
";

/// CubeCL's own files of settings.
const FILES: [&str; 4] = ["cubecl.toml", "CubeCL.toml", "burn.toml", "Burn.toml"];

/// Configures CubeCL, before its first device. A `cubecl.toml` or `burn.toml` in the current folder or above it replaces the defaults of this program,
/// and `CUBECL_*` variables take precedence over both.
pub fn configure() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        CubeClRuntimeConfig::try_set(configuration().override_from_env());
    });
}

fn configuration() -> CubeClRuntimeConfig {
    let here = std::env::current_dir().unwrap_or_default();
    let theirs = here
        .ancestors()
        .flat_map(|folder| FILES.map(|file| folder.join(file)));
    if let Some(file) = theirs.into_iter().find(|file| file.is_file()) {
        tracing::info!("{} configures the GPU's kernels", file.display());
        return CubeClRuntimeConfig::from_current_dir();
    }
    let mut config: CubeClRuntimeConfig =
        toml::from_str(DEFAULTS).expect("the defaults are settings of CubeCL");
    let Place { folder, warning } = places::kernels();
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    match folder {
        Some(folder) => config.environment.path = burn::cubecl::config::cache::CacheConfig::Directory(folder),
        None => config.autotune.disable_cache = true,
    }
    config
}

/// The file that holds the compiled and tuned kernels.
pub fn file() -> Option<PathBuf> {
    configure();
    Some(environment::path())
}

/// Entries of [`file`] by kind: kernels, tuning results, measurements.
pub fn kept() -> BTreeMap<String, usize> {
    configure();
    let rows = environment::namespaces().into_iter();
    rows.fold(BTreeMap::new(), |mut kept, row| {
        *kept.entry(row.namespace).or_default() += row.entries as usize;
        kept
    })
}

/// Saves all compiled and tuned kernels as one file, which [`load`] reads on another machine with the same device.
///
/// # Errors
/// [`KernelError`], naming the file, also if no kernels are kept.
pub fn save(out: &Path, device: &str) -> Result<(), KernelError> {
    if kept().is_empty() {
        let reason = "nothing is kept, so that there is nothing to save. On `wgpu` the cache of the driver has the compiled shaders, and builds with the feature \
            `autotune` (or `tuned`) keep tuning results";
        return Err(KernelError::new(out, reason));
    }
    let options = bundle::ExportOptions {
        name: device.to_owned(),
        environments: vec![bundle::EnvironmentInfo {
            label: device.to_owned(),
            devices: vec![device.to_owned()],
            ..Default::default()
        }],
        format: BundleFormat::Sqlite,
        ..Default::default()
    };
    bundle::export(&[environment::path()], out, &options)
        .map(drop)
        .map_err(|e| KernelError::new(out, e))
}

/// Adds the kernels of a file of [`save`]. Returns how many were new.
///
/// # Errors
/// [`KernelError`] if the file is none of [`save`], or of another version of CubeCL or another kind of device.
pub fn load(file: &Path, device: &str) -> Result<usize, KernelError> {
    configure();
    let saved = SqliteBundle::open(file).map_err(|e| KernelError::new(file, e))?;
    check(saved.manifest(), device).map_err(|reason| KernelError::new(file, reason))?;
    let report = bundle::import(&saved);
    match report.failed {
        0 => Ok(report.imported),
        n => Err(KernelError::new(
            file,
            format!(
                "{n} kernels could not be written to {}",
                environment::path().display()
            ),
        )),
    }
}

/// CubeCL ignores kernels of other versions and devices in silence.
fn check(manifest: &BundleManifest, device: &str) -> Result<(), String> {
    let kind = |device: &str| device.split(':').next().unwrap_or_default().to_owned();
    let (expected, found) = (cubecl_version(), manifest.cubecl_version.clone());
    if expected.as_ref().is_some_and(|expected| *expected != found) {
        let expected = expected.unwrap_or_default();
        return Err(format!(
            "kernels of CubeCL {found}, and this program has {expected}: save them again"
        ));
    }
    if kind(&manifest.name) != kind(device) {
        let name = &manifest.name;
        return Err(format!(
            "kernels for `{name}`, and the device is `{device}`: choose it with --device"
        ));
    }
    Ok(())
}

/// The version of CubeCL, from a bundle of nothing.
fn cubecl_version() -> Option<String> {
    let folder = tempfile::tempdir().ok()?;
    let nothing: [PathBuf; 0] = [];
    let manifest = bundle::export(
        &nothing,
        folder.path().join("empty"),
        &bundle::ExportOptions::default(),
    )
    .ok()?;
    Some(manifest.cubecl_version)
}

/// Counts the launches of kernels, in the whole process, while it lives.
#[derive(Debug)]
pub struct Launches {
    counts: Arc<Counts>,
    _observation: LaunchObservation,
}

struct Counts {
    by_type: Mutex<BTreeMap<&'static str, usize>>,
    on_new: Box<dyn Fn(&str, usize) + Send + Sync>,
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by_type.fmt(f)
    }
}

impl LaunchObserver for Counts {
    fn launched(&self, kernel: &'static str) {
        let mut counts = self.by_type.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(kernel).or_default();
        *count += 1;
        if *count == 1 {
            let n = counts.len();
            drop(counts);
            (self.on_new)(&short(kernel), n);
        }
    }
}

impl Launches {
    /// Starts to count.
    pub fn watch() -> Self {
        Self::watch_new(|_, _| {})
    }

    /// [`Launches::watch`]; `on_new(name, n)` is told of the first launch of each kernel, the `n`th one.
    pub fn watch_new(on_new: impl Fn(&str, usize) + Send + Sync + 'static) -> Self {
        let counts = Arc::new(Counts {
            by_type: Mutex::default(),
            on_new: Box::new(on_new),
        });
        Self {
            _observation: LaunchObservation::new(counts.clone()),
            counts,
        }
    }

    /// Launches so far, by kernel.
    pub fn by_kernel(&self) -> BTreeMap<String, usize> {
        let counts = self.counts.by_type.lock().unwrap_or_else(PoisonError::into_inner);
        let named = counts.iter().map(|(name, n)| (short(name), *n));
        named.fold(BTreeMap::new(), |mut sums, (name, n)| {
            *sums.entry(name).or_default() += n;
            sums
        })
    }

    /// Kernels so far: types with their parameters, of which [`Launches::by_kernel`] joins those of one name.
    pub fn kernels(&self) -> usize {
        self.counts
            .by_type
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Launches so far.
    pub fn total(&self) -> usize {
        self.counts
            .by_type
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .sum()
    }
}

/// The name of a kernel's type without path and parameters.
fn short(name: &str) -> String {
    let plain = name.split('<').next().unwrap_or(name);
    plain.rsplit("::").next().unwrap_or(plain).to_owned()
}
