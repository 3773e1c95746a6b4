//! A folder of images for metrics, with what metrics share: options, networks, and features that are known already.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::prelude::*;
use burn::tensor::TensorData;
use image::RgbImage;
use serde_json::{Value, json};

use super::info::{MetricDirection, MetricInfo};
use super::shared_networks::SharedNetworks;
use crate::eval::compbench::Category;
use crate::eval::compbench::counts::{CountError, Counts};
use crate::eval::compbench::detections::DetectionsError;
use crate::eval::compbench::spatial::Mends;
use crate::eval::embedding::cosines;
use crate::eval::features::{FeatureError, Features, each_image, features};
use crate::eval::fid::{Resize, Statistics, StatisticsError, check_width, npz_features};
use crate::eval::image_folder::{self, ImageFile, ImageFolderError, PromptFile};
use crate::eval::image_score::ImageScore;
use crate::eval::kid::KidOptions;
use crate::eval::per_image::{self, PerImageError};
use crate::eval::{Bootstrap, Embeddings, EvalError};
use crate::files::{self, FileError};
use crate::image_file::Pixels;
use crate::models::blip::{BlipError, Vqa};
use crate::models::clip::{ClipError, ImageEncoder, Processor, TextEncoder};
use crate::models::inception::{Inception, SIDE};
use crate::weights::{Checkpoint, WeightsError};
use crate::world::World;

/// A metric on a folder of images.
pub trait ImageMetric: Sync {
    /// The options that it reads. It cannot be computed without those that are [required](ImageOption::required).
    fn options(&self) -> &'static [ImageOption];

    /// Computes it.
    ///
    /// # Errors
    /// [`ImageMetricError`], naming the file at fault.
    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError>;
}

/// What a metric says of a folder of images.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// More of the same computation, by name.
    pub also: BTreeMap<String, f64>,
    /// What another number must share to be compared, beside images and precision: weights, preprocessing, reference.
    pub protocol: BTreeMap<String, Value>,
    /// The scores of the images, in their order, for metrics that are means over them. The interval of such a metric is over prompts, with all images of each.
    pub each: Vec<f64>,
    /// Files that it wrote.
    pub written: Vec<PathBuf>,
}

/// An option of `eclipse eval` that some metrics read and others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageOption {
    /// [`ImageOptions::reference`].
    Reference,
    /// [`ImageOptions::inception`].
    Inception,
    /// [`ImageOptions::clip`].
    Clip,
    /// [`ImageOptions::blip`].
    Blip,
    /// [`ImageOptions::other`].
    Other,
    /// [`ImageOptions::resize`].
    Resize,
    /// [`ImageOptions::infinity`].
    Infinity,
    /// [`ImageOptions::kid`].
    Subsets,
    /// [`ImageOptions::tie`].
    Tie,
    /// [`ImageOptions::save_statistics`].
    SaveStatistics,
    /// [`ImageOptions::category`] and [`ImageOptions::incomplete`].
    Category,
    /// [`ImageOptions::detections`].
    Detections,
    /// [`ImageOptions::mends`].
    Mends,
    /// [`ImageOptions::world`].
    World,
}

impl ImageOption {
    /// How an error asks for the option, for those that have no default.
    pub fn required(self) -> Option<&'static str> {
        match self {
            Self::Reference => Some("--reference, a folder of images or an .npz"),
            Self::Inception => Some("--inception FILE, the network's weights"),
            Self::Clip => Some("--clip DIR, a CLIP with both towers"),
            Self::Detections => Some("--detections FILE, what UniDet found in the images"),
            Self::Blip => Some("--blip DIR, a BLIP that answers questions"),
            Self::Other
            | Self::Resize
            | Self::Infinity
            | Self::Subsets
            | Self::Tie
            | Self::SaveStatistics
            | Self::Category
            | Self::Mends
            | Self::World => None,
        }
    }
}

/// Options of metrics on images.
#[derive(Debug, Clone, Default)]
pub struct ImageOptions {
    /// What the images are compared with: a folder of images, or an `.npz` of statistics or features.
    pub reference: Option<PathBuf>,
    /// Weights of the FID's network.
    pub inception: Option<PathBuf>,
    /// A folder with both towers of a CLIP.
    pub clip: Option<PathBuf>,
    /// A folder with a BLIP that answers questions.
    pub blip: Option<PathBuf>,
    /// A folder with another system's images for the same prompts.
    pub other: Option<PathBuf>,
    /// Prompts of the images, where names and side files do not tell them.
    pub prompts: Option<PathBuf>,
    /// The column of their file that holds them, where it is a CSV.
    pub prompt_column: Option<String>,
    /// The category of T2I-CompBench, where the prompts do not tell it.
    pub category: Option<Category>,
    /// Whether prompts of the category may lack images.
    pub incomplete: bool,
    /// What a detector found in the images, see [`compbench::detections`](crate::eval::compbench::detections).
    pub detections: Option<PathBuf>,
    /// Quirks of T2I-CompBench's spatial score that are mended.
    pub mends: Mends,
    /// The folder of results: scores of single images are written there, and read by metrics that combine others.
    pub results: Option<PathBuf>,
    /// How images become the FID network's input.
    pub resize: Resize,
    /// Subsets from which the FID is extrapolated to infinitely many images.
    pub infinity: Option<usize>,
    /// Subsets of the KID.
    pub kid: KidOptions,
    /// Probabilities no further apart than this are ties.
    pub tie: f64,
    /// Where to keep the statistics of the images.
    pub save_statistics: Option<PathBuf>,
    /// The built-in world that the images are of.
    pub world: World,
    /// Images in memory at once; 0 is 1.
    pub batch: usize,
    /// Folder of features that are known from other calls.
    pub cache: Option<PathBuf>,
}

impl ImageOptions {
    /// The file of prompts.
    pub(super) fn prompt_file(&self) -> Option<PromptFile<'_>> {
        let path = self.prompts.as_deref()?;
        let column = self.prompt_column.as_deref();
        Some(PromptFile { path, column })
    }

    /// Fails unless the options that `metric` requires are there, with how to ask for the first that is not.
    ///
    /// # Errors
    /// [`ImageOption::required`] of that option.
    pub fn check(&self, metric: &dyn ImageMetric) -> Result<(), &'static str> {
        let is_there = |option: ImageOption| match option {
            ImageOption::Reference => self.reference.is_some(),
            ImageOption::Inception => self.inception.is_some(),
            ImageOption::Clip => self.clip.is_some(),
            ImageOption::Detections => self.detections.is_some(),
            ImageOption::Blip => self.blip.is_some(),
            _ => true,
        };
        let lacking = metric.options().iter().find(|option| !is_there(**option));
        lacking.and_then(|option| option.required()).map_or(Ok(()), Err)
    }
}

/// A metric cannot be computed on a folder of images.
#[derive(Debug, thiserror::Error)]
pub enum ImageMetricError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] ImageFolderError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An image, or what a network makes of it.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// Weights of a network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A CLIP.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// A BLIP.
    #[error(transparent)]
    Blip(#[from] BlipError),
    /// Nothing to ask about an image.
    #[error(
        "{}: no noun phrase in its prompt {prompt:?}, so that there is nothing to ask (the benchmark would score it 1): expected one such as \"a red cat\"", .image.display()
    )]
    NoPhrase {
        /// The image.
        image: PathBuf,
        /// Its prompt.
        prompt: String,
    },
    /// Statistics or features of the reference.
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
    /// Sizes and counts.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Images of a category.
    #[error(transparent)]
    Count(#[from] CountError),
    /// What a detector found.
    #[error(transparent)]
    Detections(#[from] DetectionsError),
    /// Scores of single images.
    #[error(transparent)]
    PerImage(#[from] PerImageError),
    /// A result that another is made of.
    #[error("{path}: {reason}")]
    Part {
        /// The result's file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// A prompt that is none of the world's.
    #[error(
        "{}: the world {world} has no such prompt: expected its words, as in {:?}, found {prompt:?}",
        .path.display(),
        .world.example()
    )]
    Prompt {
        /// The image.
        path: PathBuf,
        /// Its prompt.
        prompt: String,
        /// The world.
        world: World,
    },
    /// A CLIP without the scale of its logits.
    #[error("{}: no logit_scale among its weights: PickScore needs the whole model, not a tower", .0.display())]
    NoLogitScale(PathBuf),
}

/// A folder of images with options and networks.
pub struct ImageSet<'a> {
    /// The folder.
    pub folder: PathBuf,
    /// Its images, with their prompts where they are known.
    pub images: Vec<ImageFile>,
    /// The options.
    pub options: ImageOptions,
    /// What computes.
    pub device: Device,
    /// Device and type of numbers, for protocols and the cache.
    pub precision: String,
    /// Called after each image with the number of images of a folder whose features are known, and the number of all.
    progress: &'a dyn Fn(usize, usize),
    /// Features that a metric of this call has computed, by network and folder.
    known: RefCell<HashMap<(String, PathBuf), Rc<Embeddings>>>,
    /// What other folders use too.
    shared: Rc<SharedNetworks>,
}

impl<'a> ImageSet<'a> {
    /// Lists the images of `folder`.
    ///
    /// # Errors
    /// [`ImageFolderError`].
    pub fn open(
        folder: &Path,
        options: ImageOptions,
        device: Device,
        precision: String,
        progress: &'a dyn Fn(usize, usize),
    ) -> Result<Self, ImageFolderError> {
        Ok(Self {
            folder: folder.to_path_buf(),
            images: image_folder::read_with(folder, options.prompt_file())?,
            options,
            device,
            precision,
            progress,
            known: RefCell::default(),
            shared: Rc::default(),
        })
    }

    /// The same with networks that other folders share.
    #[must_use]
    pub fn sharing(self, shared: Rc<SharedNetworks>) -> Self {
        Self { shared, ..self }
    }

    /// Computes `metric`, whose row is `info`: the result, and the files that were written on the way.
    ///
    /// # Errors
    /// [`ImageMetricError`], naming the file at fault.
    pub fn score(
        &self,
        info: &MetricInfo,
        metric: &dyn ImageMetric,
    ) -> Result<(ImageScore, Vec<PathBuf>), ImageMetricError> {
        let mut measured = metric.measure(self)?;
        measured
            .protocol
            .insert("precision".into(), json!(self.precision));
        measured.protocol.insert("images_path".into(), json!(self.folder));
        if let Some(results) = self
            .options
            .results
            .as_deref()
            .filter(|_| !measured.each.is_empty())
        {
            let each = per_image::write(results, info.name, &self.folder, &self.images, &measured.each)?;
            measured.written.push(each);
        }
        let interval = match measured.each.is_empty() {
            true => None,
            false => {
                let by_prompt = image_folder::by_prompt(&self.images, measured.each.iter().copied());
                let clusters: Vec<Vec<f64>> = by_prompt.into_values().collect();
                let interval = Bootstrap::default().clustered_mean(&clusters)?;
                Some([interval.low, interval.high])
            }
        };
        let score = ImageScore {
            metric: info.name.to_owned(),
            lower_is_better: info.better == MetricDirection::Lower,
            value: measured.value,
            interval,
            n: self.images.len(),
            also: measured.also,
            protocol: measured.protocol,
            program: format!("eclipse {}", env!("CARGO_PKG_VERSION")),
        };
        Ok((score, measured.written))
    }

    /// The category of T2I-CompBench whose prompts the images show, if they show one's, and what it adds to a protocol.
    ///
    /// # Errors
    /// [`CountError`] unless its prompts have the same number of images each, or may be [incomplete](ImageOptions::incomplete);
    /// [`ImageFolderError::Content`] for an image whose prompt is not known.
    pub fn category(&self) -> Result<(Option<Category>, BTreeMap<String, Value>), ImageMetricError> {
        let prompts = image_folder::prompts(&self.images)?;
        let shown = Category::of(prompts.iter().map(String::as_str));
        let Some(category) = self.options.category.or(shown) else {
            return Ok((None, BTreeMap::new()));
        };
        let counts = Counts::of(category, &prompts);
        if !self.options.incomplete {
            counts.check(&self.folder, |i| self.images[i].path.clone(), &prompts)?;
        }
        let mut protocol = BTreeMap::from([
            ("category".to_owned(), json!(category.name())),
            ("category_prompts".to_owned(), json!(counts.prompts)),
            (
                "images_per_prompt".to_owned(),
                match counts.each {
                    (least, most) if least == most => json!(most),
                    (least, most) => json!([least, most]),
                },
            ),
        ]);
        if counts.strays > 0 {
            protocol.insert("images_of_other_prompts".to_owned(), json!(counts.strays));
        }
        Ok((Some(category), protocol))
    }

    /// The folder of results.
    pub(super) fn results(&self) -> PathBuf {
        let default = || self.folder.join("eval");
        self.options.results.clone().unwrap_or_else(default)
    }

    /// The FID's network.
    pub(super) fn inception(&self) -> Result<Rc<InceptionFeatures>, ImageMetricError> {
        let path = self.options.inception.as_deref().unwrap_or(Path::new(""));
        let key = format!("{} {}", path.display(), self.options.resize);
        self.shared.get_or_load("inception", key, || {
            let checkpoint = Checkpoint::open(path)?;
            Ok(InceptionFeatures {
                network: Inception::from_checkpoint(&checkpoint, &self.device)?,
                resize: self.options.resize,
                sha256: checkpoint.sha256()?,
                precision: self.precision.clone(),
                device: self.device.clone(),
            })
        })
    }

    /// The vision tower of the CLIP.
    pub(super) fn clip(&self, processor: Processor) -> Result<Rc<ClipFeatures>, ImageMetricError> {
        let dir = self.clip_dir();
        let key = format!("{} {}", dir.display(), processor.name());
        self.shared.get_or_load("clip", key, || {
            Ok(ClipFeatures {
                encoder: ImageEncoder::load(dir, &self.device)?,
                processor,
                sha256: Checkpoint::open(dir)?.sha256()?,
                precision: self.precision.clone(),
            })
        })
    }

    /// The BLIP that answers questions.
    pub(super) fn blip(&self) -> Result<Rc<Vqa>, ImageMetricError> {
        let dir = self.blip_dir();
        let load = || Ok(Vqa::load(dir, &self.device)?);
        self.shared.get_or_load("blip", dir.display().to_string(), load)
    }

    /// The folder of the CLIP.
    pub(super) fn clip_dir(&self) -> &Path {
        self.options.clip.as_deref().unwrap_or(Path::new(""))
    }

    /// The folder of the BLIP.
    pub(super) fn blip_dir(&self) -> &Path {
        self.options.blip.as_deref().unwrap_or(Path::new(""))
    }

    /// What `read` makes of each image and its number, where no network is needed.
    ///
    /// # Errors
    /// [`FeatureError`], naming the image.
    pub(super) fn each<T: Send>(
        &self,
        read: &(dyn Fn(usize, &RgbImage) -> Result<T, String> + Sync),
    ) -> Result<Vec<T>, FeatureError> {
        let paths: Vec<PathBuf> = self.images.iter().map(|image| image.path.clone()).collect();
        (self.progress)(0, paths.len());
        each_image(&paths, self.options.batch, read, &mut |done| {
            (self.progress)(done, paths.len())
        })
    }

    /// The features of the images, a row each.
    ///
    /// # Errors
    /// [`FeatureError`], naming the image.
    pub fn features(&self, network: &(dyn Features + Sync)) -> Result<Rc<Embeddings>, FeatureError> {
        self.features_of(network, &self.folder, &self.images)
    }

    /// The features of `images`, those of `folder`.
    fn features_of(
        &self,
        network: &(dyn Features + Sync),
        folder: &Path,
        images: &[ImageFile],
    ) -> Result<Rc<Embeddings>, FeatureError> {
        let key = (network.identity(), folder.to_path_buf());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let paths: Vec<PathBuf> = images.iter().map(|image| image.path.clone()).collect();
        let (mut done, of) = (0, paths.len());
        (self.progress)(done, of);
        let cache = self.options.cache.as_deref();
        let found = features(network, &paths, self.options.batch, cache, &mut |_| {
            done += 1;
            (self.progress)(done, of);
        })?;
        let found = Rc::new(found);
        self.known.borrow_mut().insert(key, found.clone());
        Ok(found)
    }

    /// Features of the reference, where it has them, else its statistics.
    pub(super) fn reference(&self, network: &(dyn Features + Sync)) -> Result<Reference, ImageMetricError> {
        let place = self.reference_path();
        match place.is_dir() {
            true => Ok(Reference::Rows(self.features_of_reference(network)?)),
            false => {
                let statistics = Statistics::read(place)?;
                check_width(place, statistics.moments.mean().len(), network.d())?;
                Ok(Reference::Statistics(statistics))
            }
        }
    }

    /// Features of the reference.
    pub(super) fn features_of_reference(
        &self,
        network: &(dyn Features + Sync),
    ) -> Result<Rc<Embeddings>, ImageMetricError> {
        let place = self.reference_path();
        match place.is_dir() {
            true => {
                let key = format!("{} {}", network.identity(), place.display());
                let load = || -> Result<_, ImageMetricError> {
                    let images = image_folder::read(place, None)?;
                    Ok(self.features_of(network, place, &images)?)
                };
                let found: Rc<Rc<Embeddings>> = self.shared.get_or_load("reference", key, load)?;
                Ok((*found).clone())
            }
            false => {
                let features = npz_features(place)?;
                check_width(place, features.d(), network.d())?;
                Ok(Rc::new(features))
            }
        }
    }

    /// SHA-256 of the reference's file, or over its images.
    pub(super) fn reference_sha256(&self) -> Result<String, ImageMetricError> {
        let place = self.reference_path();
        if !place.is_dir() {
            return Ok(files::sha256_known(place)?);
        }
        let images = image_folder::read(place, None)?;
        let hashes = images.iter().map(|image| files::sha256_known(&image.path));
        Ok(files::sha256(
            hashes.collect::<Result<Vec<_>, _>>()?.concat().as_bytes(),
        ))
    }

    fn reference_path(&self) -> &Path {
        self.options.reference.as_deref().unwrap_or(Path::new(""))
    }

    /// Cosines by the CLIP of `images`, those of `folder`, and the text of each; and the protocol.
    pub(super) fn cosines(
        &self,
        folder: &Path,
        images: &[ImageFile],
        prompts: &[String],
        processor: Processor,
    ) -> Result<(Vec<f64>, BTreeMap<String, Value>), ImageMetricError> {
        let network = self.clip(processor)?;
        let rows = self.features_of(&*network, folder, images)?;
        let dir = self.clip_dir();
        let load = || TextEncoder::load(dir, &self.device);
        let texts = self
            .shared
            .get_or_load("text encoder", dir.display().to_string(), load)?;
        // Each text once: a prompt may have many images.
        let mut places: HashMap<&String, usize> = HashMap::new();
        let mut different = Vec::new();
        let place = |text| {
            *places.entry(text).or_insert_with(|| {
                different.push(text.clone());
                different.len() - 1
            })
        };
        let own: Vec<usize> = prompts.iter().map(place).collect();
        let mut z_y = Vec::with_capacity(different.len() * network.d());
        for part in different.chunks(self.options.batch.max(1)) {
            z_y.extend(texts.encode(part)?.z_y.into_data().iter::<f32>());
        }
        let z_y = Embeddings::new(different.len(), network.d(), z_y)?.select(&own);
        let protocol = BTreeMap::from([
            ("weights_sha256".to_owned(), json!(network.sha256)),
            ("preprocess".to_owned(), json!(processor.name())),
            (
                "prompts_sha256".to_owned(),
                json!(files::sha256(prompts.join("\n").as_bytes())),
            ),
        ]);
        Ok((cosines(&rows, &z_y)?, protocol))
    }
}

impl Measured {
    /// The mean of a value for each image.
    pub fn mean(each: Vec<f64>, protocol: BTreeMap<String, Value>) -> Self {
        Self {
            value: each.iter().sum::<f64>() / each.len() as f64,
            each,
            protocol,
            ..Self::default()
        }
    }
}

/// What images are compared with.
pub(super) enum Reference {
    Rows(Rc<Embeddings>),
    Statistics(Statistics),
}

impl Reference {
    /// Its mean and covariance.
    pub(super) fn statistics(&self) -> Result<Statistics, EvalError> {
        match self {
            Self::Rows(rows) => Statistics::of(rows),
            Self::Statistics(statistics) => Ok(statistics.clone()),
        }
    }
}

/// The FID's network.
pub(super) struct InceptionFeatures {
    network: Inception,
    resize: Resize,
    pub(super) sha256: String,
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
pub(super) struct ClipFeatures {
    encoder: ImageEncoder,
    processor: Processor,
    pub(super) sha256: String,
    precision: String,
}

impl Features for ClipFeatures {
    fn identity(&self) -> String {
        let preprocess = self.encoder.preprocess().to_json();
        format!(
            "clip {} {} {preprocess} {}",
            self.sha256,
            self.processor.name(),
            self.precision
        )
    }

    fn d(&self) -> usize {
        self.encoder.config().projection_dim
    }

    fn prepare(&self, image: &RgbImage) -> Result<Vec<f32>, String> {
        self.prepare_pixels(&image.clone().into())
    }

    fn prepare_pixels(&self, image: &Pixels) -> Result<Vec<f32>, String> {
        let pixels = self.encoder.preprocess().apply_pixels(image, self.processor);
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
