//! Metrics on folders of images.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::device::DeviceSpec;
use crate::eval::clip_score::preference;
use crate::eval::embedding::cosines;
use crate::eval::features::{Features, features};
use crate::eval::fid::{FULL_RANK, Resize, Statistics, infinity, npz_features};
use crate::eval::frechet::frechet_of;
use crate::eval::image_folder::{self, ImageFile};
use crate::eval::image_score::ImageScore;
use crate::eval::kid::{KidOptions, kid};
use crate::eval::{Bootstrap, Embeddings};
use crate::files;
use crate::limits;
use crate::models::clip::preprocess::Cut;
use crate::models::clip::{ImageEncoder, TextEncoder, logit_scale};
use crate::models::inception::{Inception, SIDE};
use crate::weights::Checkpoint;
use burn::prelude::*;
use burn::tensor::TensorData;
use clap::Args;
use image::RgbImage;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::MetricName;
use crate::cli::place::Existing;
use crate::cli::{PrecisionArgs, Usage, note, print, print_json};

/// Arguments of the metrics on images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Metrics on images")]
pub struct ImageArgs {
    /// The images: a flat folder (T2I-CompBench's, COCO's, ours), or GenEval's.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// What they are compared with (fid, kid, clip-fid): a folder of images, or an .npz: mu and sigma for the Frechet distances, feats for kid.
    #[arg(long, value_name = "DIR|FILE")]
    reference: Option<PathBuf>,
    /// Prompts of the images, one a line in the order of their names, or COCO's captions_*.json. Without it they come from side files or names.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Images of another system for the same prompts (pick-score).
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Weights of the FID's network: pt_inception-2015-12-05-6726825d.pth, or the same in safetensors (fid, kid).
    #[arg(long, value_name = "FILE")]
    inception: Option<Existing>,
    /// A CLIP with both towers: OpenAI's B/32 for clip-score and clip-fid, PickScore's H/14 for pick-score.
    #[arg(long, value_name = "DIR")]
    clip: Option<Existing>,
    /// How images become the network's 299 x 299 pixels (fid, kid): pytorch-fid, clean or legacy-pytorch.
    #[arg(long, value_name = "MODE", default_value_t = Resize::PytorchFid)]
    resize: Resize,
    /// Also extrapolate the FID to infinitely many images, from this many subsets.
    #[arg(long, value_name = "N")]
    infinity: Option<usize>,
    /// Subsets of kid.
    #[arg(long, value_name = "N", default_value_t = KidOptions::default().n_subsets)]
    subsets: usize,
    /// Images of a subset of kid, at most.
    #[arg(long, value_name = "N", default_value_t = KidOptions::default().subset_size)]
    subset_size: usize,
    /// Probabilities no further apart than this are ties (pick-score).
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    tie: f64,
    /// Images in memory at once.
    #[arg(long, value_name = "N", default_value_t = 50)]
    batch: usize,
    /// Keep the statistics of the images (fid, clip-fid) in this .npz, which pytorch-fid and clean-fid read too.
    #[arg(long, value_name = "FILE")]
    save_statistics: Option<PathBuf>,
    /// Compare with this result; one of another protocol is refused.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Folder for <metric>.json [default: eval/ in the folder of images].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compute all features again; without it those of images that were seen before are taken from the cache (ECLIPSE_CACHE).
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    precision: PrecisionArgs,
}

/// The FID's network.
struct InceptionFeatures {
    network: Inception,
    resize: Resize,
    sha256: String,
    precision: String,
    device: Device,
}

impl Features for InceptionFeatures {
    fn identity(&self) -> String {
        format!("inception {} {} {}", self.sha256, self.resize, self.precision)
    }

    fn d(&self) -> usize {
        self.network.d()
    }

    fn prepare(&self, image: &RgbImage) -> Result<Vec<f32>, String> {
        Ok(self.resize.apply(image))
    }

    fn forward(&self, prepared: Vec<f32>, n: usize) -> Vec<f32> {
        let x = Tensor::from_data(TensorData::new(prepared, [n, 3, SIDE, SIDE]), &self.device);
        self.network
            .forward(x)
            .features
            .into_data()
            .iter::<f32>()
            .collect()
    }
}

/// A CLIP's vision tower.
struct ClipFeatures {
    encoder: ImageEncoder,
    cut: Cut,
    sha256: String,
    precision: String,
}

impl Features for ClipFeatures {
    fn identity(&self) -> String {
        let preprocess = self.encoder.preprocess().to_json();
        format!(
            "clip {} {:?} {preprocess} {}",
            self.sha256, self.cut, self.precision
        )
    }

    fn d(&self) -> usize {
        self.encoder.config().projection_dim
    }

    fn prepare(&self, image: &RgbImage) -> Result<Vec<f32>, String> {
        let pixels = self.encoder.preprocess().apply_cut(image, self.cut);
        pixels.map_err(|e| e.to_string())
    }

    fn forward(&self, prepared: Vec<f32>, _: usize) -> Vec<f32> {
        self.encoder
            .encode_pixels(prepared)
            .into_data()
            .iter::<f32>()
            .collect()
    }
}

/// What all metrics of a call share.
struct Call<'a> {
    args: &'a ImageArgs,
    folder: &'a Path,
    images: Vec<ImageFile>,
    device: Device,
    /// Device and type of numbers, for protocols and the cache.
    precision: String,
    /// Features that a metric of this call has computed, by network and folder.
    known: RefCell<HashMap<(String, PathBuf), Rc<Embeddings>>>,
}

/// Scores the images by every metric.
pub fn run(
    args: &ImageArgs,
    metrics: &[MetricName],
    as_json: bool,
    device: DeviceSpec,
) -> anyhow::Result<()> {
    let needs = |option: &str, metric: MetricName| {
        let name = name(metric);
        Usage(format!(
            "{name}: expected {option}; `eclipse eval --help` has an example"
        ))
    };
    let folder = args
        .images
        .as_deref()
        .ok_or_else(|| needs("--images DIR", metrics[0]))?;
    for &metric in metrics {
        let (by_reference, by_inception) = match metric {
            MetricName::Fid | MetricName::Kid => (true, true),
            MetricName::ClipFid => (true, false),
            MetricName::ClipScore | MetricName::PickScore | MetricName::Checker => (false, false),
        };
        if by_reference && args.reference.is_none() {
            return Err(needs("--reference, a folder of images or an .npz", metric).into());
        }
        match by_inception {
            true if args.inception.is_none() => {
                return Err(needs("--inception FILE, the network's weights", metric).into());
            }
            false if args.clip.is_none() => {
                return Err(needs("--clip DIR, a CLIP with both towers", metric).into());
            }
            _ => {}
        }
    }
    for (option, n) in [
        ("--batch", args.batch),
        ("--subsets", args.subsets),
        ("--subset-size", args.subset_size),
    ] {
        limits::check(option, n, limits::MAX_BATCH).map_err(Usage)?;
    }
    if let Some(n) = args.infinity {
        limits::check("--infinity", n, limits::MAX_REPEATS).map_err(Usage)?;
    }
    let call = Call {
        args,
        folder,
        images: image_folder::read(folder, args.prompts.as_deref())?,
        device: args.precision.device(device)?,
        precision: format!("{device} {}", args.precision.dtype),
        known: RefCell::default(),
    };
    let mut scores = Vec::new();
    for &metric in metrics {
        let score = match metric {
            MetricName::Fid => call.fid()?,
            MetricName::Kid => call.kid()?,
            MetricName::ClipFid => call.clip_fid()?,
            MetricName::ClipScore => call.clip_score()?,
            MetricName::PickScore => call.pick_score()?,
            MetricName::Checker => continue,
        };
        let out = args.out.clone().unwrap_or_else(|| folder.join("eval"));
        note(format!("wrote {}", score.write(&out)?.display()));
        scores.push(score);
    }
    if as_json {
        print_json(&serde_json::to_value(&scores)?)?;
    } else {
        print(&table(&scores))?;
    }
    if let Some(path) = &args.compare {
        let other = ImageScore::read(path)?;
        let score = scores
            .iter()
            .find(|score| score.metric == other.metric)
            .unwrap_or(&scores[0]);
        let difference = score.minus(&other, path)?;
        let is_better = (difference < 0.0) == score.lower_is_better && difference != 0.0;
        let verdict = if is_better { "better" } else { "not better" };
        print(&format!(
            "{}: {difference:+.6} against {}: {verdict}\n",
            score.metric,
            path.display()
        ))?;
    }
    Ok(())
}

fn name(metric: MetricName) -> String {
    use clap::ValueEnum;
    metric
        .to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}

/// In Markdown.
fn table(scores: &[ImageScore]) -> String {
    let mut text = "| metric | value | 95 % interval | images | better |\n|---|---|---|---|---|\n".to_owned();
    for score in scores {
        let interval = score
            .interval
            .map_or_else(String::new, |[low, high]| format!("[{low:.4}, {high:.4}]"));
        let better = if score.lower_is_better { "lower" } else { "higher" };
        text.push_str(&format!(
            "| {} | {:.6} | {interval} | {} | {better} |\n",
            score.metric, score.value, score.n
        ));
        for (name, value) in &score.also {
            text.push_str(&format!("| {name} | {value:.6} | | | |\n"));
        }
    }
    text
}

impl Call<'_> {
    fn inception(&self) -> anyhow::Result<InceptionFeatures> {
        let path = self.args.inception.as_deref().unwrap_or(Path::new(""));
        let checkpoint = Checkpoint::open(path)?;
        Ok(InceptionFeatures {
            network: Inception::from_checkpoint(&checkpoint, &self.device)?,
            resize: self.args.resize,
            sha256: checkpoint.sha256()?,
            precision: self.precision.clone(),
            device: self.device.clone(),
        })
    }

    fn clip(&self, cut: Cut) -> anyhow::Result<ClipFeatures> {
        let dir = self.args.clip.as_deref().unwrap_or(Path::new(""));
        Ok(ClipFeatures {
            encoder: ImageEncoder::load(dir, &self.device)?,
            cut,
            sha256: Checkpoint::open(dir)?.sha256()?,
            precision: self.precision.clone(),
        })
    }

    /// The features of `images`, those of `folder`, with a bar.
    fn features(
        &self,
        network: &(dyn Features + Sync),
        folder: &Path,
        images: &[ImageFile],
    ) -> anyhow::Result<Rc<Embeddings>> {
        let key = (network.identity(), folder.to_path_buf());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let paths: Vec<PathBuf> = images.iter().map(|image| image.path.clone()).collect();
        let cache = match self.args.no_cache {
            true => None,
            false => files::cache_dir().ok(),
        };
        let bar = ProgressBar::new(paths.len() as u64).with_message("images");
        let found = features(network, &paths, self.args.batch, cache.as_deref(), &mut |_| {
            bar.inc(1)
        });
        bar.finish_and_clear();
        let found = Rc::new(found?);
        self.known.borrow_mut().insert(key, found.clone());
        Ok(found)
    }

    /// Features or statistics of the reference, as far as the place has them.
    fn reference(&self, network: &(dyn Features + Sync), wants_rows: bool) -> anyhow::Result<Reference> {
        let place = self.args.reference.as_deref().unwrap_or(Path::new(""));
        if place.is_dir() {
            let rows = self.features(network, place, &image_folder::read(place, None)?)?;
            return Ok(Reference::Rows(rows));
        }
        Ok(match wants_rows {
            true => Reference::Rows(Rc::new(npz_features(place)?)),
            false => Reference::Statistics(Statistics::read(place)?),
        })
    }

    /// Of the reference's file, or over its images.
    fn reference_sha256(&self) -> anyhow::Result<String> {
        let place = self.args.reference.as_deref().unwrap_or(Path::new(""));
        if !place.is_dir() {
            return Ok(files::sha256_known(place)?);
        }
        let images = image_folder::read(place, None)?;
        let hashes = images.iter().map(|image| files::sha256_known(&image.path));
        Ok(files::sha256(
            hashes.collect::<Result<Vec<_>, _>>()?.concat().as_bytes(),
        ))
    }

    fn frechet(
        &self,
        metric: &str,
        network: &(dyn Features + Sync),
        protocol: BTreeMap<String, Value>,
    ) -> anyhow::Result<ImageScore> {
        let reference = self.reference(network, false)?;
        let rows = self.features(network, self.folder, &self.images)?;
        let statistics = reference.statistics()?;
        if rows.n() < FULL_RANK.min(network.d()) || statistics.n.is_some_and(|n| n < network.d()) {
            tracing::warn!(
                "{metric} of {} images against {}: less than the {} features, so a covariance is singular and the distance far too large; compare it \
                 only with one of the same numbers, or use kid",
                rows.n(),
                statistics
                    .n
                    .map_or_else(|| "an unknown number".to_owned(), |n| n.to_string()),
                network.d()
            );
        }
        let own = Statistics::of(&rows)?;
        let distance = match &reference {
            Reference::Rows(others) => frechet_of(&rows, others)?,
            Reference::Statistics(statistics) => own.distance(statistics)?,
        };
        if let Some(path) = &self.args.save_statistics {
            own.write(path)?;
            note(format!("wrote {}", path.display()));
        }
        let mut score = self.score(metric, true, distance.distance, protocol);
        score
            .also
            .insert(format!("{metric} mean term"), distance.mean_term);
        if let Some(n_points) = self.args.infinity {
            let found = infinity(&rows, &statistics, n_points, 0)?;
            score.also.insert(format!("{metric} infinity"), found.distance);
        }
        score
            .protocol
            .insert("reference_sha256".into(), self.reference_sha256()?.into());
        score.protocol.insert("reference_n".into(), json!(statistics.n));
        Ok(score)
    }

    fn fid(&self) -> anyhow::Result<ImageScore> {
        let network = self.inception()?;
        let protocol = BTreeMap::from([
            ("resize".to_owned(), json!(self.args.resize.name())),
            ("weights_sha256".to_owned(), json!(network.sha256)),
        ]);
        self.frechet("fid", &network, protocol)
    }

    fn clip_fid(&self) -> anyhow::Result<ImageScore> {
        let network = self.clip(Cut::Even)?;
        let protocol = BTreeMap::from([("weights_sha256".to_owned(), json!(network.sha256))]);
        self.frechet("clip-fid", &network, protocol)
    }

    fn kid(&self) -> anyhow::Result<ImageScore> {
        let network = self.inception()?;
        let reference = self.reference(&network, true)?;
        let rows = self.features(&network, self.folder, &self.images)?;
        let options = KidOptions {
            n_subsets: self.args.subsets,
            subset_size: self.args.subset_size,
            seed: 0,
        };
        let Reference::Rows(others) = &reference else {
            anyhow::bail!("kid needs features, not statistics");
        };
        let (value, each) = kid(&rows, others, options)?;
        let spread = each.iter().map(|v| (v - value).powi(2)).sum::<f64>() / each.len().max(1) as f64;
        let protocol = BTreeMap::from([
            ("resize".to_owned(), json!(self.args.resize.name())),
            ("weights_sha256".to_owned(), json!(network.sha256)),
            ("subsets".to_owned(), json!(options.n_subsets)),
            (
                "subset_size".to_owned(),
                json!(options.subset_size.min(rows.n()).min(others.n())),
            ),
            ("reference_sha256".to_owned(), json!(self.reference_sha256()?)),
            ("reference_n".to_owned(), json!(others.n())),
        ]);
        let mut score = self.score("kid", true, value, protocol);
        score
            .also
            .insert("kid standard deviation over subsets".into(), spread.sqrt());
        Ok(score)
    }

    /// Cosines of images and prompts, and the protocol.
    fn cosines(
        &self,
        folder: &Path,
        images: &[ImageFile],
        cut: Cut,
    ) -> anyhow::Result<(Vec<f64>, BTreeMap<String, Value>)> {
        let network = self.clip(cut)?;
        let prompts = image_folder::prompts(images)?;
        let rows = self.features(&network, folder, images)?;
        let texts = TextEncoder::load(self.args.clip.as_deref().unwrap_or(Path::new("")), &self.device)?;
        let mut z_y = Vec::with_capacity(prompts.len() * network.d());
        for part in prompts.chunks(self.args.batch) {
            z_y.extend(texts.encode(part)?.z_y.into_data().iter::<f32>());
        }
        let z_y = Embeddings::new(prompts.len(), network.d(), z_y)?;
        let protocol = BTreeMap::from([
            ("weights_sha256".to_owned(), json!(network.sha256)),
            (
                "prompts_sha256".to_owned(),
                json!(files::sha256(prompts.join("\n").as_bytes())),
            ),
        ]);
        Ok((cosines(&rows, &z_y)?, protocol))
    }

    fn clip_score(&self) -> anyhow::Result<ImageScore> {
        // As OpenAI's own preprocessing cuts.
        let (cosines, protocol) = self.cosines(self.folder, &self.images, Cut::Even)?;
        self.mean("clip-score", cosines, protocol)
    }

    fn pick_score(&self) -> anyhow::Result<ImageScore> {
        let dir = self.args.clip.as_deref().unwrap_or(Path::new(""));
        let Some(scale) = logit_scale(dir)? else {
            anyhow::bail!(
                "{}: no logit_scale among its weights: PickScore needs the whole model, not a tower",
                dir.display()
            );
        };
        let scored =
            |folder: &Path, images: &[ImageFile]| -> anyhow::Result<(Vec<f64>, BTreeMap<String, Value>)> {
                // As transformers cuts, which PickScore's processor is.
                let (cosines, protocol) = self.cosines(folder, images, Cut::Down)?;
                Ok((cosines.into_iter().map(|c| scale.exp() * c).collect(), protocol))
            };
        let (own, protocol) = scored(self.folder, &self.images)?;
        let mut score = self.mean("pick-score", own.clone(), protocol)?;
        if let Some(folder) = &self.args.against {
            let images = image_folder::read(folder, self.args.prompts.as_deref())?;
            let meetings = image_folder::meetings(&self.images, &images)?;
            let (others, _) = scored(folder, &images)?;
            let first: Vec<f64> = meetings.iter().map(|(i, _)| own[*i]).collect();
            let second: Vec<f64> = meetings.iter().map(|(_, j)| others[*j]).collect();
            let found = preference(&first, &second, self.args.tie, Bootstrap::default())?;
            for (name, interval) in [
                ("win rate", found.win_rate),
                ("mean probability", found.mean_probability),
            ] {
                score
                    .also
                    .insert(format!("{name} against the other"), interval.value);
                score
                    .also
                    .insert(format!("{name} against the other, low"), interval.low);
                score
                    .also
                    .insert(format!("{name} against the other, high"), interval.high);
            }
            score.also.insert("ties".into(), found.n_ties as f64);
            score.protocol.insert("against_path".into(), json!(folder));
        }
        Ok(score)
    }

    /// A mean over images, with its interval.
    fn mean(
        &self,
        metric: &str,
        each: Vec<f64>,
        protocol: BTreeMap<String, Value>,
    ) -> anyhow::Result<ImageScore> {
        let interval = Bootstrap::default().mean(&[each])?;
        let mut score = self.score(metric, false, interval.value, protocol);
        score.interval = Some([interval.low, interval.high]);
        Ok(score)
    }

    fn score(
        &self,
        metric: &str,
        lower_is_better: bool,
        value: f64,
        mut protocol: BTreeMap<String, Value>,
    ) -> ImageScore {
        protocol.insert("precision".into(), json!(self.precision));
        protocol.insert("images_path".into(), json!(self.folder));
        ImageScore {
            metric: metric.to_owned(),
            lower_is_better,
            value,
            interval: None,
            n: self.images.len(),
            also: BTreeMap::new(),
            protocol,
            program: format!("eclipse {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// What images are compared with.
enum Reference {
    Rows(Rc<Embeddings>),
    Statistics(Statistics),
}

impl Reference {
    fn statistics(&self) -> anyhow::Result<Statistics> {
        Ok(match self {
            Self::Rows(rows) => Statistics::of(rows)?,
            Self::Statistics(statistics) => statistics.clone(),
        })
    }
}
