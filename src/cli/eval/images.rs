//! Metrics on folders of images, from the table of metrics.

use std::path::{Path, PathBuf};

use crate::device::DeviceSpec;
use crate::eval::compbench::Category;
use crate::eval::compbench::spatial::Mend;
use crate::eval::fid::Resize;
use crate::eval::image_score::ImageScore;
use crate::eval::kid::KidOptions;
use crate::eval::metrics::{self, ImageMetric, ImageOption, ImageOptions, ImageSet, MetricInfo};
use crate::files;
use crate::limits;
use crate::world::World;
use clap::Args;
use indicatif::ProgressBar;

use crate::cli::place::Existing;
use crate::cli::{PrecisionArgs, Usage, note, print, print_json};

/// A metric with its row.
pub type Entry = (&'static MetricInfo, &'static dyn ImageMetric);

/// Arguments of the metrics on images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Metrics on images")]
pub struct ImageArgs {
    /// The images: a flat folder (T2I-CompBench's or the one above its samples/, HRS-Bench's, COCO's, ours), or GenEval's.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    #[arg(long, value_name = "DIR|FILE", help = for_readers(
        ImageOption::Reference,
        "What they are compared with",
        ": a folder of images, or an .npz: mu and sigma for Frechet distances, feats for kernel distances",
    ))]
    reference: Option<PathBuf>,
    /// Prompts of the images, one per line in the order of the image names; a CSV, as HRS-Bench's; or COCO's captions_*.json. [default: from side files or image names]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Column of the CSV that holds the prompts [default: synthetic_prompt, original_prompts, prompt, caption or meta_prompt, the first that is there]
    #[arg(long, value_name = "NAME", requires = "prompts")]
    prompt_column: Option<String>,
    #[arg(long, value_name = "NAME", help = for_readers(
        ImageOption::Category,
        "Category of T2I-CompBench, where prompts do not tell it",
        ": color, shape, texture, spatial, non_spatial or complex",
    ))]
    category: Option<Category>,
    #[arg(long, help = for_readers(
        ImageOption::Category,
        "Score a part of a category: some of its 300 prompts, or another number of images for some",
        "",
    ))]
    incomplete: bool,
    #[arg(long, value_name = "FILE", help = for_readers(
        ImageOption::Detections,
        "What UniDet found in the images, in JSON",
        ": {\"image\": NAME, \"pred_boxes\": [[x0, y0, x1, y1]], \"pred_classes\": [ID], \"scores\": [P]} a line",
    ))]
    detections: Option<Existing>,
    #[arg(long, value_name = "QUIRK,..", value_delimiter = ',', help = for_readers(
        ImageOption::Mends,
        "Quirks of the official rules to mend",
        &format!(": {}", Mend::ALL.map(Mend::name).join(", ")),
    ))]
    mend: Vec<Mend>,
    #[arg(long, value_name = "DIR", help = for_readers(
        ImageOption::Other,
        "Images of another system for the same prompts, and how often these here are preferred to them",
        "",
    ))]
    against: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = for_readers(
        ImageOption::Inception,
        "Weights of the FID's network: pt_inception-2015-12-05-6726825d.pth, or the same in safetensors",
        "",
    ))]
    inception: Option<Existing>,
    #[arg(long, value_name = "DIR", help = for_readers(
        ImageOption::Clip,
        "A CLIP with both towers: OpenAI's B/32, but PickScore's H/14 for its score",
        "",
    ))]
    clip: Option<Existing>,
    #[arg(long, value_name = "DIR", help = for_readers(
        ImageOption::Blip,
        "A BLIP that answers questions, as transformers saves it",
        ": config.json, weights, and vocab.txt or tokenizer.json; T2I-CompBench's is blip-vqa-capfilt-large",
    ))]
    blip: Option<Existing>,
    #[arg(long, value_name = "MODE", default_value_t = Resize::PytorchFid, help = for_readers(
        ImageOption::Resize,
        "How images become the network's 299 x 299 pixels",
        ": pytorch-fid, clean or legacy-pytorch",
    ))]
    resize: Resize,
    #[arg(long, value_name = "N", help = for_readers(
        ImageOption::Infinity,
        "Also extrapolate to infinitely many images, from this many subsets",
        "",
    ))]
    infinity: Option<usize>,
    #[arg(long, value_name = "N", default_value_t = KidOptions::default().n_subsets, help = for_readers(
        ImageOption::Subsets,
        "Subsets",
        "",
    ))]
    subsets: usize,
    #[arg(long, value_name = "N", default_value_t = KidOptions::default().subset_size, help = for_readers(
        ImageOption::Subsets,
        "Images of a subset, at most",
        "",
    ))]
    subset_size: usize,
    #[arg(long, value_name = "X", default_value_t = 0.0, help = for_readers(
        ImageOption::Tie,
        "Probabilities no further apart than this are ties",
        "",
    ))]
    tie: f64,
    /// Images in memory at once.
    #[arg(long, value_name = "N", default_value_t = 50)]
    batch: usize,
    #[arg(long, value_name = "FILE", help = for_readers(
        ImageOption::SaveStatistics,
        "Keep the statistics of the images",
        " in this .npz, which pytorch-fid and clean-fid read too",
    ))]
    save_statistics: Option<PathBuf>,
    /// Compare with this result; a result of another protocol is refused.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Folder for <metric>.json [default: eval/ in the folder of images].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compute all features again instead of reading features of known images from the cache (ECLIPSE_CACHE).
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    precision: PrecisionArgs,
}

/// The help of `option`: `what`, the metrics that read it, `rest`.
pub fn for_readers(option: ImageOption, what: &str, rest: &str) -> String {
    let readers = metrics::of_image_folders().filter(|(_, metric)| metric.options().contains(&option));
    let names: Vec<&str> = readers.map(|(info, _)| info.name).collect();
    format!("{what} ({}){rest}", names.join(", "))
}

/// Scores the images by every metric.
pub fn run(
    args: &ImageArgs,
    world: World,
    chosen: &[Entry],
    as_json: bool,
    device: DeviceSpec,
) -> anyhow::Result<()> {
    let options = args.options(world);
    let needs = |info: &MetricInfo, option: &str| {
        Usage(format!(
            "{}: expected {option}; `eclipse eval --help` has an example",
            info.name
        ))
    };
    let folder = args
        .images
        .as_deref()
        .ok_or_else(|| needs(chosen[0].0, "--images DIR"))?;
    for (info, metric) in chosen {
        options.check(*metric).map_err(|option| needs(info, option))?;
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
    let bar = ProgressBar::new(0).with_message("images");
    let progress = |done: usize, of: usize| show(&bar, done, of);
    let precision = format!("{device} {}", args.precision.dtype);
    let device = args.precision.device(device)?;
    let out = args.out(folder);
    let images = ImageSet::open(folder, options, device, precision, &progress)?;
    let mut scores = Vec::new();
    for (info, metric) in chosen {
        let (score, written) = images.score(info, *metric)?;
        for path in written.into_iter().chain([score.write(&out)?]) {
            note(format!("wrote {}", path.display()));
        }
        scores.push((*info, score));
    }
    if as_json {
        let scores: Vec<&ImageScore> = scores.iter().map(|(_, score)| score).collect();
        print_json(&serde_json::to_value(scores)?)?;
    } else {
        print(&table(&scores))?;
    }
    if let Some(path) = &args.compare {
        let other = ImageScore::read(path)?;
        let same = scores.iter().find(|(_, score)| score.metric == other.metric);
        let (info, score) = same.unwrap_or(&scores[0]);
        let difference = score.minus(&other, path)?;
        let verdict = match info.better.is_better(difference, 0.0) {
            true => "better",
            false => "not better",
        };
        print(&format!(
            "{}: {difference:+.6} against {}: {verdict}\n",
            score.metric,
            path.display()
        ))?;
    }
    Ok(())
}

impl ImageArgs {
    /// The folder for results of `images`.
    fn out(&self, images: &Path) -> PathBuf {
        self.out.clone().unwrap_or_else(|| images.join("eval"))
    }

    fn options(&self, world: World) -> ImageOptions {
        let path = |existing: &Option<Existing>| existing.as_deref().map(ToOwned::to_owned);
        ImageOptions {
            reference: self.reference.clone(),
            inception: path(&self.inception),
            clip: path(&self.clip),
            blip: path(&self.blip),
            other: self.against.clone(),
            prompts: self.prompts.clone(),
            prompt_column: self.prompt_column.clone(),
            category: self.category,
            incomplete: self.incomplete,
            detections: path(&self.detections),
            mends: self.mend.iter().copied().collect(),
            results: self.images.as_deref().map(|images| self.out(images)),
            resize: self.resize,
            infinity: self.infinity,
            kid: KidOptions {
                n_subsets: self.subsets,
                subset_size: self.subset_size,
                ..KidOptions::default()
            },
            tie: self.tie,
            save_statistics: self.save_statistics.clone(),
            world,
            batch: self.batch,
            cache: match self.no_cache {
                true => None,
                false => files::cache_dir().ok(),
            },
        }
    }
}

/// Shows how many images of a folder have features; each folder starts at zero.
fn show(bar: &ProgressBar, done: usize, of: usize) {
    if done == 0 {
        bar.reset();
        bar.set_length(of as u64);
    }
    bar.set_position(done as u64);
    if done == of {
        bar.finish_and_clear();
    }
}

/// Markdown.
fn table(scores: &[(&MetricInfo, ImageScore)]) -> String {
    let mut text = "| metric | value | 95 % interval | images | better |\n|---|---|---|---|---|\n".to_owned();
    for (info, score) in scores {
        let digits = info.decimals;
        let interval = score
            .interval
            .map_or_else(String::new, |[low, high]| format!("[{low:.4}, {high:.4}]"));
        text.push_str(&format!(
            "| {} | {:.digits$} | {interval} | {} | {} |\n",
            score.metric,
            score.value,
            score.n,
            info.better.word()
        ));
        for (name, value) in &score.also {
            text.push_str(&format!("| {name} | {value:.digits$} | | | |\n"));
        }
    }
    text
}
