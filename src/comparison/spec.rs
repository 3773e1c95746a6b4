//! The specification of a comparison, `sweep.toml` with `[systems]`:
//!
//! ```toml
//! published = "experiments/table1/published.toml"   # published numbers
//! [systems.karlo]                                   # a pipeline with settings as in `eclipse generate`,
//! label = "Karlo"                                   # or `images`, a folder of images made elsewhere, or neither
//! pipeline = "weights/karlo"
//! [prompts.spatial]
//! source = { kind = "lines", path = "prompts.txt" } # or coco_captions, or a category of T2I-CompBench
//! images = 10
//! [metrics.clip-score]                              # what a metric needs
//! clip = "weights/clip-vit-base-patch32"
//! [table.columns.spatial]
//! prompts = "spatial"
//! metric = "clip-score"
//! [preferences.others]                              # PickScore against a reference, or all against all
//! reference = "karlo"
//! prompts = ["spatial"]
//! [smoke]                                           # replaces values under --smoke
//! ```
//!
//! Paths are relative to the project's root, those of `--set` to the caller's folder. Under `--smoke` a system keeps its label only: what it draws with, or its
//! images, and what metrics need stand in `[smoke]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use toml::{Table, Value};

use super::error::ComparisonError;
use super::prompts::PromptSet;
use super::published::Published;
use super::system::System;
use crate::config::check::{at_least, at_most, bounds_of, known_name, non_negative, require};
use crate::config::layers::{lookup, nest};
use crate::config::{ConfigError, InvalidValue, Layers, Setting, from_toml, one_of, schema};
use crate::device::Precision;
use crate::eval::compbench::spatial::Mend;
use crate::eval::fid::Resize;
use crate::eval::metrics::{self, ImageMetric, ImageOptions, MetricDirection, MetricInfo};
use crate::files;
use crate::limits::MAX_REPEATS;
use crate::weights;

/// The metric of preferences.
pub(super) const PREFERENCE_METRIC: &str = "pick-score";

/// Folders of a comparison that are no system's.
const OWN_FOLDERS: [&str; 2] = ["prompts", "results"];

/// What stands in the file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Spec {
    systems: BTreeMap<String, System>,
    prompts: BTreeMap<String, PromptSet>,
    metrics: BTreeMap<String, MetricSettings>,
    table: TableSpec,
    scatter: Option<Scatter>,
    preferences: BTreeMap<String, PreferenceSpec>,
    published: Option<PathBuf>,
    compute: Compute,
}

/// `[compute]`: how networks compute.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    /// Float type of all networks: f32, f16 or bf16.
    pub dtype: Option<String>,
    /// Images that a decoder draws at once; else 1 on a CPU, 4 on a GPU.
    pub batch: Option<usize>,
}

impl Compute {
    fn check(&self) -> Result<(), InvalidValue> {
        if let Some(dtype) = &self.dtype {
            let known = Precision::names().map(str::to_owned);
            known_name("compute.dtype", known.to_vec(), dtype)?;
        }
        if let Some(batch) = self.batch {
            at_least("compute.batch", 1, batch)?;
            at_most("compute.batch", MAX_REPEATS, batch)?;
        }
        Ok(())
    }

    /// The float type.
    pub fn precision(&self) -> Precision {
        let given = self.dtype.as_deref().and_then(|name| name.parse().ok());
        given.unwrap_or_default()
    }
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TableSpec {
    columns: BTreeMap<String, Column>,
}

/// `[metrics.NAME]`: what a metric needs, as the options of `eclipse eval`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricSettings {
    /// What images are compared with: a folder of images, or an `.npz`.
    pub reference: Option<PathBuf>,
    /// Weights of the FID's network.
    pub inception: Option<PathBuf>,
    /// A CLIP with both towers.
    pub clip: Option<PathBuf>,
    /// A BLIP that answers questions.
    pub blip: Option<PathBuf>,
    /// Name of the file of detections in a system's folder of each prompt set, beside its images or above them.
    pub detections: Option<PathBuf>,
    /// Quirks of T2I-CompBench's spatial score that are mended.
    pub mend: Vec<Mend>,
    /// How images become the FID network's input.
    pub resize: Option<Resize>,
    /// Subsets from which the FID is extrapolated to infinitely many images.
    pub infinity: Option<usize>,
}

impl MetricSettings {
    /// The files and folders that it names.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.reference, &self.inception, &self.clip, &self.blip]
            .into_iter()
            .flatten()
    }

    /// The options of `eclipse eval`. Repositories of weights become their folders.
    pub(super) fn options(&self) -> ImageOptions {
        let found = |given: &Option<PathBuf>| {
            given
                .as_ref()
                .map(|given| weights::folder(given).unwrap_or_else(|_| given.clone()))
        };
        ImageOptions {
            reference: self.reference.clone(),
            inception: self.inception.clone(),
            clip: found(&self.clip),
            blip: found(&self.blip),
            resize: self.resize.unwrap_or_default(),
            mends: self.mend.iter().copied().collect(),
            infinity: self.infinity,
            ..ImageOptions::default()
        }
    }
}

/// `[table.columns.NAME]`: a metric on a prompt set.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Column {
    /// Its name in the specification and in the file of published numbers.
    #[serde(skip)]
    pub name: String,
    /// The prompt set.
    pub prompts: String,
    /// The metric.
    pub metric: String,
    /// Its heading; else its name.
    pub label: String,
    /// Digits behind the point.
    pub decimals: Option<usize>,
}

impl Column {
    fn check_metric(&self) -> Result<(), InvalidValue> {
        known_metric(&format!("table.columns.{}.metric", self.name), &self.metric)
    }

    /// The metric's row.
    pub fn info(&self) -> Option<&'static MetricInfo> {
        metrics::info(&self.metric)
    }

    /// Which values are better.
    pub fn better(&self) -> MetricDirection {
        self.info().map_or(MetricDirection::Neither, |info| info.better)
    }

    /// Digits behind the point.
    pub fn digits(&self) -> usize {
        let usual = || self.info().map_or(4, |info| info.decimals);
        self.decimals.unwrap_or_else(usual)
    }

    /// The heading, with an arrow to better values.
    pub fn heading(&self) -> String {
        let label = if self.label.is_empty() {
            &self.name
        } else {
            &self.label
        };
        format!("{label}{}", self.better().arrow())
    }
}

/// `[scatter]`: parameters against the mean of some columns.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scatter {
    /// The columns.
    pub columns: Vec<String>,
    /// Title of the vertical axis.
    pub label: String,
}

/// `[preferences.NAME]`: PickScore's choices between two systems' images of the same prompts.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreferenceSpec {
    /// Its name in the specification.
    #[serde(skip)]
    pub name: String,
    /// Its heading; else its name.
    pub label: String,
    /// The prompt sets, together.
    pub prompts: Vec<String>,
    /// The system whose wins are counted.
    pub reference: Option<String>,
    /// Its opponents; else all other systems.
    pub against: Vec<String>,
    /// All against all.
    pub round_robin: bool,
    /// Probabilities no further apart than this are ties.
    pub tie: f64,
}

impl PreferenceSpec {
    fn check_tie(&self) -> Result<(), InvalidValue> {
        non_negative(&format!("preferences.{}.tie", self.name), self.tie)
    }
}

/// A comparison that is read and checked.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Its name: the folder's; smoke runs have a separate one.
    pub name: String,
    /// The folder of the specification.
    pub folder: PathBuf,
    /// The systems, in the order of the specification.
    pub systems: Vec<System>,
    /// The prompt sets.
    pub prompts: Vec<PromptSet>,
    /// What metrics need, by name.
    pub metrics: BTreeMap<String, MetricSettings>,
    /// The columns of the table.
    pub columns: Vec<Column>,
    /// The scatter plot.
    pub scatter: Option<Scatter>,
    /// Preferences.
    pub preferences: Vec<PreferenceSpec>,
    /// Published numbers.
    pub published: Published,
    /// How networks compute.
    pub compute: Compute,
    /// Whether this is the comparison as its folder says: no `--smoke`, no `--set`.
    pub is_as_committed: bool,
}

/// Whether the specification at `path`, or one that it extends, names systems.
///
/// # Errors
/// [`ConfigError`] for a file that cannot be read.
pub fn is_comparison(path: &Path) -> Result<bool, ConfigError> {
    Ok(Layers::read(path)?.written().contains_key("systems"))
}

impl Comparison {
    /// Reads the specification at `path`; `settings` override everything.
    ///
    /// # Errors
    /// [`ComparisonError`], naming file and key.
    pub fn read(path: &Path, settings: &[Setting], smoke: bool) -> Result<Self, ComparisonError> {
        let mut layers = Layers::read(path)?;
        let on_top = layers.take(&["smoke"]);
        if smoke {
            for (origin, _, systems) in layers
                .take(&["systems", "metrics"])
                .into_iter()
                .filter(|t| t.1 == "systems")
            {
                layers.push(origin, nest("systems", labels_only(systems)));
            }
            for (origin, _, value) in on_top {
                let Value::Table(table) = value else {
                    return Err(ConfigError::value(origin, "smoke", "a table", value).into());
                };
                layers.push(format!("{origin} [smoke]"), table);
            }
        }
        for setting in settings {
            layers.set(setting);
        }
        let table = layers.written();
        let spec: Spec = layers.deserialize(&table)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let stem = path.file_stem().unwrap_or_default();
        let name = match folder.file_name() {
            Some(parent) if stem == "sweep" => parent,
            _ => stem,
        };
        let mut name = name.to_string_lossy().into_owned();
        if smoke {
            name.push_str("-smoke");
        }
        let comparison = Self {
            name,
            folder,
            systems: ordered(&table, "systems", &spec.systems, |name, system| {
                let label = if system.label.is_empty() {
                    name
                } else {
                    &system.label
                };
                System {
                    name: name.into(),
                    label: label.into(),
                    ..system.clone()
                }
            }),
            prompts: ordered(&table, "prompts", &spec.prompts, |name, set| PromptSet {
                name: name.into(),
                ..set.clone()
            }),
            columns: ordered(&table, "table.columns", &spec.table.columns, |name, column| {
                Column {
                    name: name.into(),
                    ..column.clone()
                }
            }),
            preferences: ordered(&table, "preferences", &spec.preferences, |name, one| {
                PreferenceSpec {
                    name: name.into(),
                    ..one.clone()
                }
            }),
            metrics: spec.metrics,
            scatter: spec.scatter,
            compute: spec.compute,
            published: match &spec.published {
                None => Published::default(),
                Some(path) => published(path)?,
            },
            is_as_committed: !smoke && settings.is_empty(),
        };
        comparison
            .check()
            .map_err(|invalid| match lookup(&table, &invalid.key) {
                Some(_) => layers.invalid(invalid),
                None => invalid.at(path.display()),
            })?;
        if let Some(path) = &spec.published {
            let wrong = |invalid: InvalidValue| invalid.at(path.display());
            comparison.check_published().map_err(wrong)?;
        }
        for set in &comparison.prompts {
            set.prompts()?;
        }
        Ok(comparison)
    }

    /// Every system on every prompt set on which it has a metric.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&System, &PromptSet)> {
        let pairs = self
            .systems
            .iter()
            .flat_map(|system| self.prompts.iter().map(move |set| (system, set)));
        pairs.filter(|(system, set)| !self.metrics_of(system, set).is_empty())
    }

    /// The metrics of a system on a prompt set, each once: those of the set's columns, then that of preferences in which the system takes part.
    pub fn metrics_of(&self, system: &System, set: &PromptSet) -> Vec<&str> {
        let of_columns = self.columns.iter().filter(|column| column.prompts == set.name);
        let mut metrics: Vec<&str> = of_columns.map(|column| column.metric.as_str()).collect();
        let takes_part = |one: &PreferenceSpec| {
            let is_named = one.against.is_empty() || one.against.contains(&system.name);
            one.prompts.contains(&set.name) && (is_named || one.reference.as_ref() == Some(&system.name))
        };
        if self.preferences.iter().any(takes_part) {
            metrics.push(PREFERENCE_METRIC);
        }
        let mut seen = BTreeSet::new();
        metrics.retain(|metric| seen.insert(*metric));
        metrics
    }

    fn check(&self) -> Result<(), InvalidValue> {
        let named = |key: &str, names: Vec<&str>| -> Result<(), InvalidValue> {
            require(key, !names.is_empty(), "at least one", "none")?;
            let is_plain = |name: &str| {
                name.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
            };
            match names.iter().find(|name| !is_plain(name)) {
                Some(bad) => require(
                    &format!("{key}.{bad}"),
                    false,
                    "a name of letters, digits, _ and -, which is a folder's too",
                    bad,
                ),
                None => Ok(()),
            }
        };
        named("systems", self.systems.iter().map(|s| s.name.as_str()).collect())?;
        named("prompts", self.prompts.iter().map(|s| s.name.as_str()).collect())?;
        named(
            "table.columns",
            self.columns.iter().map(|s| s.name.as_str()).collect(),
        )?;
        self.compute.check()?;
        for (i, system) in self.systems.iter().enumerate() {
            let is_free = !OWN_FOLDERS.contains(&system.name.as_str());
            let expected = format!(
                "another name than {}, folders of the comparison",
                OWN_FOLDERS.join(" and ")
            );
            require(
                &format!("systems.{}", system.name),
                is_free,
                expected,
                &system.name,
            )?;
            self.check_system(system, &self.systems[..i])?;
        }
        for set in &self.prompts {
            let key = |name: &str| format!("prompts.{}.{name}", set.name);
            let kinds = "a table such as { kind = \"lines\", path = \"prompts.txt\" }";
            require(&key("source"), set.source.is_some(), kinds, "nothing")?;
            set.check_numbers()?;
        }
        for metric in self.metrics.keys() {
            known_metric(&format!("metrics.{metric}"), metric)?;
        }
        for column in &self.columns {
            let key = |name: &str| format!("table.columns.{}.{name}", column.name);
            column.check_metric()?;
            self.known_prompts(&key("prompts"), &column.prompts)?;
        }
        for column in self.scatter.iter().flat_map(|scatter| &scatter.columns) {
            one_named("scatter.columns", column, self.columns.iter().map(|c| &c.name))?;
        }
        for one in &self.preferences {
            let key = |name: &str| format!("preferences.{}.{name}", one.name);
            require(&key("prompts"), !one.prompts.is_empty(), "at least one", "none")?;
            for set in &one.prompts {
                self.known_prompts(&key("prompts"), set)?;
            }
            for system in one.reference.iter() {
                self.known_system(&key("reference"), system)?;
            }
            for system in &one.against {
                self.known_system(&key("against"), system)?;
            }
            let has_pairs = one.reference.is_some() || one.round_robin;
            require(
                &key("reference"),
                has_pairs,
                "a system, or round_robin = true",
                "nothing",
            )?;
            one.check_tie()?;
        }
        Ok(())
    }

    fn check_system(&self, system: &System, before: &[System]) -> Result<(), InvalidValue> {
        let key = |name: &str| format!("systems.{}.{name}", system.name);
        let shown = |path: &Option<PathBuf>| {
            path.as_ref()
                .map_or_else(String::new, |p| p.display().to_string())
        };
        if system.pipeline.is_some() {
            let expected = "either `pipeline` or `images`: what is drawn here, or was drawn elsewhere";
            require(
                &key("images"),
                system.images.is_none(),
                expected,
                shown(&system.images),
            )?;
        } else {
            for (name, path) in [("prior", &system.prior), ("clip", &system.clip)] {
                require(&key(name), path.is_none(), "`pipeline` beside it", shown(path))?;
            }
        }
        for set in system.folders.keys() {
            self.known_prompts(&key("folders"), set)?;
        }
        let same = |other: &&System| {
            let bare = |system: &System| System {
                name: String::new(),
                label: String::new(),
                ..system.clone()
            };
            other.can_be_measured() && bare(other) == bare(system)
        };
        match before.iter().find(same) {
            None => Ok(()),
            Some(other) => require(
                &key(if system.images.is_some() {
                    "images"
                } else {
                    "pipeline"
                }),
                false,
                format!("other images than those of the system {}", other.name),
                shown(if system.images.is_some() {
                    &system.images
                } else {
                    &system.pipeline
                }),
            ),
        }
    }

    fn known_prompts(&self, key: &str, name: &str) -> Result<(), InvalidValue> {
        one_named(key, name, self.prompts.iter().map(|set| &set.name))
    }

    fn known_system(&self, key: &str, name: &str) -> Result<(), InvalidValue> {
        one_named(key, name, self.systems.iter().map(|system| &system.name))
    }

    fn check_published(&self) -> Result<(), InvalidValue> {
        let published = &self.published;
        for (name, system) in &published.systems {
            self.known_system(&format!("systems.{name}"), name)?;
            for (column, score) in &system.scores {
                let key = format!("systems.{name}.scores.{column}");
                one_named(&key, column, self.columns.iter().map(|c| &c.name))?;
                for note in &score.notes {
                    require(
                        &key,
                        published.footnotes.contains_key(note),
                        "marks of [footnotes]",
                        note,
                    )?;
                }
            }
        }
        for name in published.preferences.keys() {
            let names = self.preferences.iter().map(|one| &one.name);
            one_named(&format!("preferences.{name}"), name, names)?;
        }
        Ok(())
    }
}

/// The JSON Schema of a comparison's `sweep.toml`.
///
/// # Errors
/// [`InvalidValue`], if the checks refuse the example of all their keys: a mistake of the program.
pub fn schema() -> Result<serde_json::Value, InvalidValue> {
    let any = || schema::ANY.to_owned();
    let bounds = bounds_of(|| {
        let compute = Compute {
            dtype: Some(Precision::default().to_string()),
            batch: Some(1),
        };
        compute.check()?;
        let prompts = PromptSet {
            name: any(),
            first: Some(1),
            ..PromptSet::default()
        };
        prompts.check_numbers()?;
        let column = Column {
            name: any(),
            metric: PREFERENCE_METRIC.into(),
            ..Column::default()
        };
        column.check_metric()?;
        let preference = PreferenceSpec {
            name: any(),
            ..PreferenceSpec::default()
        };
        preference.check_tie()
    })?;
    let mut spec = schema::of::<Spec>();
    schema::restrict(&mut spec, &bounds);
    spec["properties"]["metrics"]["propertyNames"] = json!({ "enum": metric_names() });
    let mut whole = spec.clone();
    whole["properties"]["extends"] = schema::extends();
    spec["description"] = json!("Replaces values under --smoke.");
    whole["properties"]["smoke"] = spec;
    Ok(schema::document("Comparison of systems", whole))
}

/// Systems with nothing but their labels.
fn labels_only(systems: Value) -> Value {
    let Value::Table(systems) = systems else {
        return systems;
    };
    let only = |(name, system): (String, Value)| {
        let system = match system {
            Value::Table(keys) => Value::Table(keys.into_iter().filter(|(key, _)| key == "label").collect()),
            other => other,
        };
        (name, system)
    };
    Value::Table(systems.into_iter().map(only).collect())
}

/// The entries of the table at `key`, in the order of the specification.
fn ordered<T, U>(
    table: &Table,
    key: &str,
    map: &BTreeMap<String, T>,
    make: impl Fn(&str, &T) -> U,
) -> Vec<U> {
    let entries = lookup(table, key).and_then(Value::as_table).into_iter().flatten();
    entries
        .filter_map(|(name, _)| Some(make(name, map.get(name)?)))
        .collect()
}

/// The metric `name` on folders of images, with its row.
pub(super) fn metric_named(name: &str) -> Option<(&'static MetricInfo, &'static dyn ImageMetric)> {
    metrics::of_image_folders().find(|(info, _)| info.name == name)
}

/// The names of all metrics on folders of images.
fn metric_names() -> Vec<String> {
    metrics::of_image_folders()
        .map(|(info, _)| info.name.to_owned())
        .collect()
}

fn known_metric(key: &str, name: &str) -> Result<(), InvalidValue> {
    known_name(key, metric_names(), name)
}

fn one_named<'a>(key: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Result<(), InvalidValue> {
    let known: Vec<String> = known.cloned().collect();
    let found = if name.is_empty() { "nothing" } else { name };
    require(key, known.iter().any(|one| one == name), one_of(&known), found)
}

fn published(path: &Path) -> Result<Published, ConfigError> {
    let text = files::read_text(path)?;
    let value: Value = text
        .parse::<Table>()
        .map(Value::Table)
        .map_err(|e| ConfigError::Syntax {
            path: path.to_path_buf(),
            format: "TOML",
            message: format!("\n{e}"),
        })?;
    from_toml(&value, &path.display().to_string())
}
