//! `eclipse encode` and `eclipse merge`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::data::encode::FrozenClip;
use crate::data::pipeline::{EncodeOptions, Estimate, Pipeline, PipelineError, Progress, Stage, Stages};
use crate::data::source::{Columns, Fault, Format, ImageLimits, Source, SourceOptions, UNREADABLE};
use crate::data::store::{self, Hidden, Manifest, StoreDtype, Target, Writer};
use crate::device::{DeviceSpec, Precision};
use crate::limits;
use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Unreadable, Usage};

/// Options of a source of pairs.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// Folder of the images, for sources that only name them (COCO captions, TSV).
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    #[arg(long, help = format!("The source's format, where it is not what it looks like: {}", Format::names()))]
    format: Option<Format>,
    /// Most pixels of an image; larger images are rejected before decoding.
    #[arg(long, value_name = "N", default_value_t = ImageLimits::default().max_pixels, value_parser = clap::value_parser!(u64).range(1..=limits::MAX_PIXELS))]
    max_pixels: u64,
    /// The image column or key: a file, a URL or the image itself. [default: detected by name]
    #[arg(long, value_name = "NAME")]
    image_column: Option<String>,
    /// The caption column or key. [default: detected by name]
    #[arg(long, value_name = "NAME")]
    caption_column: Option<String>,
    /// The column separator of a table: a character, or tab. [default: detected from the first line]
    #[arg(long, value_name = "CHAR", value_parser = separator)]
    separator: Option<char>,
    /// The split to read if names of files or folders indicate several: train, validation or test.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Row i of a table has the image with number i (000000000.jpg), whatever the row names: for images downloaded in the table's order.
    #[arg(long)]
    by_position: bool,
}

fn separator(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        ("tab" | "\\t", ..) => Ok('\t'),
        (_, Some(c), None) if c != '"' && c != '\n' => Ok(c),
        _ => Err("expected one character, or tab".into()),
    }
}

impl SourceArgs {
    pub(super) fn options(&self) -> SourceOptions {
        SourceOptions {
            format: self.format,
            images: self.images.clone(),
            limits: ImageLimits {
                max_pixels: self.max_pixels,
                ..ImageLimits::default()
            },
            columns: Columns {
                image: self.image_column.clone(),
                caption: self.caption_column.clone(),
            },
            separator: self.separator,
            split: self.split.clone(),
            by_position: self.by_position,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HiddenArg {
    Stored,
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DtypeArg {
    F16,
    F32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TargetArg {
    Raw,
    L2,
}

/// Arguments of `eclipse encode`.
#[derive(Debug, Args)]
pub struct EncodeArgs {
    /// The CLIP: a folder with both towers, or a pipeline's.
    #[arg(long, value_name = "DIR")]
    clip: super::place::Existing,
    /// The pairs: webdataset tars, COCO captions, a table, JSON lines, a folder of images, parquet (a file, a folder or a pattern such as
    /// 'cc3m/{00000..00331}.tar'), clip-retrieval's output, or a built-in world such as world:emoji?n=1000.
    #[arg(long, value_name = "SOURCE", value_parser = crate::cli::place::place)]
    pairs: String,
    #[command(flatten)]
    source: SourceArgs,
    /// Folder of the store. An interrupted encoding resumes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Encode part i (from 0) of n, on one of n machines: 0/4. `eclipse merge` combines all parts into one store.
    #[arg(long, value_name = "I/N", value_parser = shard, default_value = "0/1")]
    shard: (usize, usize),
    /// Most records of a shard file: the unit of a resumed encoding and of memory use.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=limits::MAX_CHUNK as i64))]
    chunk: u32,
    /// Store the text tower's hidden states, or run the text tower during training. Hidden states are most of a store's size.
    #[arg(long, value_enum, default_value = "stored")]
    hidden: HiddenArg,
    /// Data type of the values.
    #[arg(long, value_enum, default_value = "f16")]
    dtype: DtypeArg,
    /// Data type in which the networks compute: f32, f16 or bf16. Half precision halves the memory; on a CPU it saves no time. The store names it.
    #[arg(long, value_name = "DTYPE", default_value_t)]
    compute: Precision,
    /// Image embeddings to store: raw, the target of priors, or normalised to length 1 (l2).
    #[arg(long, value_enum, default_value = "raw")]
    target: TargetArg,
    /// Threads that decode images. [default: one per core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=limits::MAX_WORKERS as i64))]
    workers: u16,
    /// Images, and captions, per forward pass.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Continue if files of the source are missing or unreadable; they are listed, and the exit code is 3.
    #[arg(long)]
    keep_going: bool,
    /// Print the estimated size of the store and stop.
    #[arg(long)]
    dry_run: bool,
    /// Also print the seconds of each stage, and which one bounds the encoding.
    #[arg(long)]
    profile: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parsed {
        Some((i, n)) if i < n => Ok((i, n)),
        _ => Err("expected i/n with i from 0 to n - 1, such as 0/4".into()),
    }
}

/// Encodes a source into a store.
pub fn run(args: &EncodeArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let source_options = args.source.options();
    let limits = source_options.limits.clone();
    let source = Source::open(&args.pairs, &source_options)?;
    for note in source.notes() {
        tracing::warn!("{note}");
    }
    let faults: Vec<&Fault> = source.faults().collect();
    if let Some(first) = faults.first().filter(|_| !args.keep_going) {
        let more = match faults.len() {
            1 => String::new(),
            n => format!(" (and {} more files)", n - 1),
        };
        let hint = "--keep-going encodes the rest and names what is lost";
        return Err(Unreadable(format!("{first}{more}; {hint}")).into());
    }
    let (part, n_parts) = args.shard;
    if n_parts > 1 && n_parts > source.n_units() {
        // Checked for every part: parts without units could never be merged.
        let hint = format!(
            "--shard {part}/{n_parts}: {} has {} unit(s), and each part needs one at least",
            args.pairs,
            source.n_units()
        );
        return Err(Usage(hint).into());
    }
    let clip = FrozenClip::load(&args.clip, &device.device_in(args.compute)?)?;
    let options = EncodeOptions {
        dtype: match args.dtype {
            DtypeArg::F16 => StoreDtype::F16,
            DtypeArg::F32 => StoreDtype::F32,
        },
        hidden: match args.hidden {
            HiddenArg::Stored => Hidden::Stored,
            HiddenArg::None => Hidden::None,
        },
        compute: args.compute,
        target: match args.target {
            TargetArg::Raw => Target::Raw,
            TargetArg::L2 => Target::L2,
        },
        chunk: args.chunk as usize,
        part: (part, n_parts),
        n_workers: usize::from(args.workers),
        batch: usize::from(args.batch),
        limits,
        keep_going: args.keep_going,
    };
    let pipeline = Pipeline::new(&clip, &args.clip, &source, &args.pairs, options)?;
    let estimate = pipeline.estimate()?;
    super::note(format!("{}: {}", args.pairs, describe(&estimate, &source)));
    if args.dry_run {
        return Ok(());
    }
    let out = match n_parts {
        1 => args.out.clone(),
        _ => store::part_dir(&args.out, part, n_parts),
    };
    crate::files::create_dir(&out)?;
    // Checked before anything is written, so that the user may choose other settings for the same folder.
    let on_disk = store::bytes_there(&out)?;
    let needed = estimate.bytes().map(|n| n.saturating_sub(on_disk));
    if let (Some(free), Some(needed)) = (fs4::available_space(&out).ok(), needed)
        && free < needed
    {
        anyhow::bail!(
            "{}: the store needs about {} more, and {} are free; --hidden none leaves out most of it",
            out.display(),
            HumanBytes(needed),
            HumanBytes(free)
        );
    }
    let writer = Writer::open(&out, pipeline.settings().clone())?;
    let bar = bar(estimate.n_records);
    let start = Instant::now();
    let (mut made, mut there) = (0, 0);
    let manifest = pipeline.run(&writer, &mut |progress| match progress {
        Progress::Records(n) => {
            made += n;
            bar.inc(n as u64);
        }
        Progress::There(n) => {
            there += n;
            bar.inc(n as u64);
            bar.reset_eta();
        }
        Progress::Shard => {}
    });
    bar.finish_and_clear();
    let manifest = match manifest {
        Err(PipelineError::Unreadable { fault, has_records }) if !has_records && source.n_units() == 1 => {
            anyhow::bail!("{fault}; not one record of {} can be used", args.pairs)
        }
        Err(error @ PipelineError::Unreadable { .. }) => {
            return Err(Unreadable(error.to_string()).into());
        }
        other => other?,
    };
    report(args, &manifest, made, start.elapsed(), pipeline.stages())?;
    told_unreadable(&manifest, &args.pairs, &out)
}

/// An error that names the list of unreadable files, if there are any.
fn told_unreadable(manifest: &Manifest, of: &str, store: &Path) -> anyhow::Result<()> {
    match manifest.rejects.get(UNREADABLE) {
        None => Ok(()),
        Some(n) => {
            let list = store.join("rejects.jsonl");
            let message = format!(
                "{n} file(s) of {of} could not be read, see {UNREADABLE} in {}",
                list.display()
            );
            Err(Unreadable(message).into())
        }
    }
}

fn describe(estimate: &Estimate, source: &Source) -> String {
    let records = match (estimate.n_records, estimate.bytes()) {
        (Some(n), Some(bytes)) => {
            let about = if estimate.counted { "" } else { "about " };
            format!("{about}{n} records, about {}", HumanBytes(bytes))
        }
        _ => format!("{} unit(s)", source.n_units()),
    };
    format!(
        "{} source, {records} ({} a record, {:.1} caption(s) of {:.1} tokens)",
        source.format(),
        HumanBytes(estimate.bytes_a_record as u64),
        estimate.captions,
        estimate.tokens
    )
}

fn bar(n_records: Option<usize>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, style) = match n_records {
        Some(n) => (
            ProgressBar::new(n as u64),
            "  {bar:24} {pos}/{len} pairs, {per_sec}, {eta} left",
        ),
        None => (
            ProgressBar::no_length(),
            "  {spinner} {pos} pairs, {per_sec}, {elapsed}",
        ),
    };
    let bar = match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Seconds by stage.
fn profile(stages: &Stages, made: usize, took: Duration) -> String {
    let took = took.as_secs_f64();
    let rows = Stage::ALL.into_iter().map(|(stage, name)| {
        let seconds = stages.of(stage).as_secs_f64();
        let rate = match seconds > 0.0 {
            true => format!("{:.0}", made as f64 / seconds),
            false => "-".into(),
        };
        let threads = if stage.is_parallel() { "workers" } else { "encoder" };
        format!(
            "{name:<17} {threads:<8} {seconds:>9.2} {:>8.2} {rate:>10}\n",
            seconds / took
        )
    });
    format!(
        "{:<17} {:<8} {:>9} {:>8} {:>10}\n{}bound by: {}\n",
        "stage",
        "threads",
        "seconds",
        "cores",
        "records/s",
        rows.collect::<String>(),
        stages.bound()
    )
}

fn report(
    args: &EncodeArgs,
    manifest: &Manifest,
    made: usize,
    took: Duration,
    stages: &Stages,
) -> anyhow::Result<()> {
    let bytes: u64 = manifest.shards.iter().map(|s| s.bytes).sum();
    let rejected: usize = manifest.rejects.values().sum();
    let per_second = made as f64 / took.as_secs_f64();
    if args.json {
        let seconds =
            Stage::ALL.map(|(stage, name)| (name.to_owned(), json!(stages.of(stage).as_secs_f64())));
        let mut result = json!({
            "store": args.out,
            "pictures": manifest.n_pictures,
            "captions": manifest.n_captions,
            "tokens": manifest.n_tokens,
            "captions_cut": manifest.n_cut,
            "rejects": manifest.rejects,
            "bytes": bytes,
            "shards": manifest.shards.len(),
            "encoded_now": made,
            "seconds": took.as_secs_f64(),
        });
        if args.profile {
            result["stages"] = serde_json::Map::from_iter(seconds).into();
        }
        return super::print_json(&result);
    }
    let mut text = format!(
        "{}: {} pictures, {} captions of {} tokens, {} in {} shard(s)\n",
        args.out.display(),
        manifest.n_pictures,
        manifest.n_captions,
        manifest.n_tokens,
        HumanBytes(bytes),
        manifest.shards.len()
    );
    if manifest.n_cut > 0 {
        text.push_str(&format!(
            "{} captions did not fit into the text tower and were cut\n",
            manifest.n_cut
        ));
    }
    if rejected > 0 {
        let reasons: Vec<String> = manifest
            .rejects
            .iter()
            .map(|(reason, n)| format!("{n} {reason}"))
            .collect();
        text.push_str(&format!(
            "{rejected} rejected, see rejects.jsonl: {}\n",
            reasons.join(", ")
        ));
    }
    if made > 0 {
        super::note(format!(
            "{made} records in {:.1} s: {per_second:.0} a second",
            took.as_secs_f64()
        ));
    }
    if args.profile {
        text.push_str(&profile(stages, made, took));
    }
    super::print(&text)
}

/// Arguments of `eclipse merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Folder with the parts written by `eclipse encode --shard i/n`.
    store: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Combines parts into one store.
pub fn merge(args: &MergeArgs) -> anyhow::Result<()> {
    if !args.store.is_dir() {
        return Err(Usage(format!("no such folder: {}", args.store.display())).into());
    }
    let merged = store::merge(&args.store)?;
    let manifest = &merged.manifest;
    if args.json {
        super::print_json(&json!({
            "store": args.store,
            "parts": merged.n_parts,
            "pictures": manifest.n_pictures,
            "captions": manifest.n_captions,
            "rejects": manifest.rejects,
        }))?;
        return told_unreadable(manifest, &manifest.settings.source, &args.store);
    }
    super::print(&format!(
        "{}: {} parts, {} pictures, {} captions\n",
        args.store.display(),
        merged.n_parts,
        manifest.n_pictures,
        manifest.n_captions
    ))?;
    told_unreadable(manifest, &manifest.settings.source, &args.store)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;
    use crate::data::source::Item;

    /// The example of CONTRIBUTING.md: one file, and one line in a list.
    #[test]
    fn a_new_source_is_read_and_told_of_everywhere() {
        let mut command = crate::cli::command();
        let encode = command.find_subcommand_mut("encode").expect("a command");
        let help = encode.render_long_help().to_string();
        assert!(help.contains("world or plain"), "{help}");
        let error = "none".parse::<Format>().expect_err("no format");
        assert!(error.ends_with("world, plain"), "{error}");

        let source = Source::open("plain:red,blue", &SourceOptions::default()).expect("opens");
        let captions = |item: Item| match item {
            Item::Record(record) => record.captions[0].text.clone(),
            other => panic!("{other:?}"),
        };
        let read: Vec<String> = source.unit(0).expect("read").map(captions).collect();
        assert_eq!(read, ["a red image", "a blue image"]);
        let inspect = ["eclipse", "inspect", "plain:red,blue", "--json"];
        Cli::try_parse_from(inspect)
            .expect("a command")
            .run()
            .expect("inspects");
        let inspect = ["eclipse", "inspect", "plain:green"];
        let error = Cli::try_parse_from(inspect).expect("a command").run();
        assert_eq!(
            error.expect_err("no such colour").to_string(),
            "plain:green: expected red or blue"
        );
    }

    #[test]
    fn contributing_has_the_example() {
        let text = include_str!("../../CONTRIBUTING.md");
        assert!(text.contains(include_str!("../data/source/toy.rs")));
        let line = "    #[cfg(test)] toy,\n";
        assert!(text.contains(line) && include_str!("../data/source/mod.rs").contains(line));
    }
}
