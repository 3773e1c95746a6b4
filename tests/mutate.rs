//! Every reader of files from outside, given files that were damaged at random: it returns or refuses, it never panics, hangs or takes memory that the
//! file does not account for; and where a recorded hash covers the bytes, no changed byte passes.
//!
//! One line of [`readers`] a reader. Each gets the same 2,500 inputs every time; `ECLIPSE_MUTATE_SECONDS` gives it
//! as many as fit in so many seconds, `ECLIPSE_MUTATE_SEED` is the first seed (0). What fails is
//! written to the target's temporary folder and named, so that it can become a test of its own.

#[path = "it/program.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod program;
#[path = "it/tiny.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod tiny;

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eclipse_t2i::data::prompts::read_prompts;
use eclipse_t2i::data::source::{ImageLimits, Item, RecordImage, Source, SourceOptions};
use eclipse_t2i::data::store::{Damage, Store};
use eclipse_t2i::diffusion::SchedulerConfig;
use eclipse_t2i::eval::compbench::detections;
use eclipse_t2i::eval::compbench::spatial::Mends;
use eclipse_t2i::eval::fid::{Statistics, npz_features};
use eclipse_t2i::eval::image_folder;
use eclipse_t2i::experiment::{MetricsLog, RunDir, SweepSpec};
use eclipse_t2i::files::Sums;
use eclipse_t2i::generate::recipe::Recipe;
use eclipse_t2i::image_file;
use eclipse_t2i::models::blip::{BlipConfig, BlipPreprocess, QuestionTokenizer};
use eclipse_t2i::models::clip::preprocess::Preprocess;
use eclipse_t2i::models::clip::tokenizer::Tokenizer;
use eclipse_t2i::models::clip::{ClipConfig, ClipTextConfig};
use eclipse_t2i::models::prior::PriorConfig;
use eclipse_t2i::models::unet::UNetConfig;
use eclipse_t2i::noise::{Noise, Stream};
use eclipse_t2i::weights::Checkpoint;
use eclipse_t2i::world::World;
use rand::{Rng, RngExt};

/// Counts what is allocated now, and the most since it was asked.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory that a reader may take beside the files, whatever they hold: an image within the limits below, decoded and turned, has 12 bytes a pixel.
const MOST: usize = 256 << 20;
/// What a damaged file may take to be read or refused, on a busy machine.
const SLOWEST: Duration = Duration::from_secs(20);
/// Images of a source.
const LIMITS: ImageLimits = ImageLimits {
    max_pixels: 1 << 20,
    max_side: 4096,
    max_bytes: 1 << 22,
    min_side: 1,
};

/// A reader, the files it starts from, and which of them is damaged.
struct Reader {
    name: &'static str,
    /// Writes whole files into a folder; gives the ones to damage.
    write: fn(&Path) -> Vec<PathBuf>,
    /// Reads the folder to its end; says whether everything was accepted.
    read: fn(&Path) -> bool,
    /// Recorded hashes cover every byte.
    is_sealed: bool,
}

fn readers() -> Vec<Reader> {
    let open = |name, write, read| Reader {
        name,
        write,
        read,
        is_sealed: false,
    };
    vec![
        open(
            "jpeg",
            |dir| images(dir, &["grey.jpg", "progressive.jpg", "restart.jpg"]),
            each_image,
        ),
        open(
            "png",
            |dir| images(dir, &["grey.png", "progressive.png"]),
            each_image,
        ),
        open("webp", webp, each_image),
        open(
            "safetensors",
            |dir| put(dir, "inception_narrow/model.safetensors", "w.safetensors"),
            weights,
        ),
        open(
            "pth, zip",
            |dir| put(dir, "torch_files/first_zip.pth", "w.pth"),
            weights,
        ),
        open(
            "pth, before 1.6",
            |dir| put(dir, "torch_files/first_legacy.pth", "w.pth"),
            weights,
        ),
        open(
            "npz",
            |dir| put(dir, "npz/stats_compressed.npz", "a.npz"),
            archives,
        ),
        open("tokenizer", tokenizer, |dir| {
            Tokenizer::load(dir, World::Emoji.context()).is_ok()
        }),
        open("blip", blip, read_blip),
        open("model configs", configs, read_configs),
        open("tar", tar, source),
        open("parquet", parquet, source),
        open("tsv", tsv, source),
        open("jsonl", jsonl, source),
        open("coco", coco, source),
        open("npy", npy, source),
        open(
            "prompts",
            |dir| text(dir, "prompts.txt", "a red cat\n\u{feff}two dogs\n"),
            |dir| read_prompts(&dir.join("prompts.txt")).is_ok(),
        ),
        open("detections", detected, |dir| {
            detections::read(&dir.join("found.jsonl"), &Mends::new(), &mut |_| Ok(())).is_ok()
        }),
        open("side file", side, |dir| Recipe::read(&dir.join("a.json")).is_ok()),
        open("spec", spec, |dir| {
            SweepSpec::read(&dir.join("sweep.toml").display().to_string(), &[], false)
                .and_then(|s| s.expand())
                .is_ok()
        }),
        open("metrics", metrics, |dir| {
            MetricsLog::read(dir.join("metrics.jsonl")).is_ok()
        }),
        open("run", run, |dir| RunDir::new(dir).provenance().is_ok()),
        Reader {
            name: "store",
            write: store,
            read: whole_store,
            is_sealed: true,
        },
        Reader {
            name: "sums",
            write: sums,
            read: |dir| Sums::read(dir).is_ok_and(|sums| sums.is_some_and(|sums| sums.check("").is_ok())),
            is_sealed: true,
        },
    ]
}

fn put(dir: &Path, from: &str, name: &str) -> Vec<PathBuf> {
    let path = dir.join(name);
    std::fs::copy(tiny::golden("eval-tiny-s0").join(from), &path).expect("copied");
    vec![path]
}

fn text(dir: &Path, name: &str, text: &str) -> Vec<PathBuf> {
    std::fs::write(dir.join(name), text).expect("written");
    vec![dir.join(name)]
}

fn images(dir: &Path, names: &[&str]) -> Vec<PathBuf> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/image_file");
    let copied = names.iter().map(|name| {
        std::fs::copy(from.join(name), dir.join(name)).expect("copied");
        dir.join(name)
    });
    copied.collect()
}

fn webp(dir: &Path) -> Vec<PathBuf> {
    let image = image::RgbImage::from_fn(40, 30, |x, y| {
        image::Rgb([x as u8 * 6, y as u8 * 8, (x * y) as u8])
    });
    image.save(dir.join("a.webp")).expect("written");
    vec![dir.join("a.webp")]
}

fn png_bytes() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_fn(20, 16, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, 7]));
    image
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("encodes");
    bytes.into_inner()
}

fn each_image(dir: &Path) -> bool {
    let files = std::fs::read_dir(dir).expect("a folder").flatten();
    let read =
        files.map(|file| image_file::decode(&std::fs::read(file.path()).expect("a file"), &LIMITS).is_ok());
    // All of them are read, whatever becomes of the first.
    read.filter(|is_whole| !is_whole).count() == 0
}

fn weights(dir: &Path) -> bool {
    let file = std::fs::read_dir(dir)
        .expect("a folder")
        .flatten()
        .next()
        .expect("a file")
        .path();
    Checkpoint::open(file)
        .is_ok_and(|checkpoint| checkpoint.tensors().values().all(|tensor| tensor.read().is_ok()))
}

fn archives(dir: &Path) -> bool {
    let path = dir.join("a.npz");
    let _ = npz_features(&path);
    Statistics::read(&path).is_ok()
}

fn tokenizer(dir: &Path) -> Vec<PathBuf> {
    tiny::write_clip(dir);
    [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ]
    .map(|name| dir.join(name))
    .into()
}

/// A BLIP with a vocabulary of six words.
fn blip(dir: &Path) -> Vec<PathBuf> {
    let golden = tiny::golden("eval-tiny-s0/blip_vqa");
    let names = ["config.json", "preprocessor_config.json", "vocab.txt"];
    for name in &names[..2] {
        std::fs::copy(golden.join(name), dir.join(name)).expect("copied");
    }
    tiny::alter_json(&dir.join(names[0]), |config| {
        config["text_config"]["bos_token_id"] = 6.into();
        config["text_config"]["vocab_size"] = 8.into();
    });
    text(dir, names[2], "[PAD]\n[UNK]\n[SEP]\nyes\nno\ncat\n");
    names.map(|name| dir.join(name)).into()
}

fn read_blip(dir: &Path) -> bool {
    let config = BlipConfig::read(dir);
    let asks = |config: BlipConfig| {
        let tokenizer = QuestionTokenizer::load(dir, &config.text);
        tokenizer.is_ok_and(|tokenizer| tokenizer.encode("a red cat?").is_ok())
    };
    config.is_ok_and(asks) && BlipPreprocess::read(dir, 32).is_ok()
}

fn configs(dir: &Path) -> Vec<PathBuf> {
    let golden = tiny::golden("kandinsky22-micro-s0");
    let mut found = Vec::new();
    let mut left = vec![golden];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                left.push(path);
            } else if name.ends_with("config.json") {
                let to = dir.join(format!("{}", found.len()));
                std::fs::create_dir_all(&to).expect("made");
                std::fs::copy(&path, to.join(&name)).expect("copied");
                found.push(to.join(name));
            }
        }
    }
    let prior = dir.join("prior");
    std::fs::create_dir(&prior).expect("made");
    tiny::write_prior(&prior, &tiny::prior_config());
    std::fs::remove_file(prior.join("diffusion_pytorch_model.safetensors")).expect("there");
    found.push(prior.join("config.json"));
    found
}

fn read_configs(dir: &Path) -> bool {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let dir = entry.path();
        let _ = PriorConfig::read(&dir);
        let _ = UNetConfig::read(&dir);
        let _ = ClipTextConfig::read(&dir);
        let _ = serde_json::from_str::<ClipConfig>(
            &std::fs::read_to_string(dir.join("config.json")).unwrap_or_default(),
        );
        let _ = Preprocess::read(&dir);
        let _ = SchedulerConfig::read(&dir);
    }
    true
}

fn tar(dir: &Path) -> Vec<PathBuf> {
    let mut builder = tar::Builder::new(std::fs::File::create(dir.join("00000.tar")).expect("made"));
    let long = "n".repeat(130);
    for name in ["000", "001", long.as_str()] {
        for (end, bytes) in [
            ("png", png_bytes()),
            ("txt", b"a red cat".to_vec()),
            ("json", br#"{"caption": "b"}"#.to_vec()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, format!("{name}.{end}"), bytes.as_slice())
                .expect("appends");
        }
    }
    builder.finish().expect("ends");
    vec![dir.join("00000.tar")]
}

fn parquet(dir: &Path) -> Vec<PathBuf> {
    use ::parquet::column::writer::ColumnWriter;
    use ::parquet::data_type::ByteArray;
    use ::parquet::file::writer::SerializedFileWriter;
    let schema = "message m { required binary image; required binary caption (UTF8); }";
    let schema = ::parquet::schema::parser::parse_message_type(schema).expect("a schema");
    let file = std::fs::File::create(dir.join("a.parquet")).expect("made");
    let compressed = ::parquet::file::properties::WriterProperties::builder()
        .set_compression(::parquet::basic::Compression::SNAPPY)
        .build();
    let mut writer = SerializedFileWriter::new(file, schema.into(), compressed.into()).expect("begins");
    let mut group = writer.next_row_group().expect("a group");
    for values in [vec![png_bytes(); 3], vec![b"a cat".to_vec(); 3]] {
        let mut column = group.next_column().expect("a column").expect("another");
        let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
        if let ColumnWriter::ByteArrayColumnWriter(typed) = column.untyped() {
            typed.write_batch(&values, None, None).expect("writes");
        }
        column.close().expect("ends");
    }
    group.close().expect("ends");
    writer.close().expect("ends");
    vec![dir.join("a.parquet")]
}

fn with_images(dir: &Path) {
    for name in ["a.png", "b.png", "000000000001.png"] {
        std::fs::write(dir.join(name), png_bytes()).expect("written");
    }
}

fn tsv(dir: &Path) -> Vec<PathBuf> {
    with_images(dir);
    text(
        dir,
        "rows.tsv",
        "image\tcaption\na.png\ta \"red\" cat\nb.png\ttwo dogs\n",
    )
}

fn jsonl(dir: &Path) -> Vec<PathBuf> {
    with_images(dir);
    text(
        dir,
        "metadata.jsonl",
        "{\"file_name\": \"a.png\", \"text\": \"a\"}\n{\"file_name\": \"b.png\", \"text\": [\"b\", \"c\"]}\n",
    )
}

fn coco(dir: &Path) -> Vec<PathBuf> {
    with_images(dir);
    let captions = r#"{"images": [{"id": 1, "file_name": "000000000001.png"}], "annotations": [{"image_id": 1, "id": 3, "caption": "a cat"}]}"#;
    text(dir, "captions.json", captions)
}

fn npy(dir: &Path) -> Vec<PathBuf> {
    for name in ["img_emb", "metadata"] {
        std::fs::create_dir(dir.join(name)).expect("made");
    }
    parquet(&dir.join("metadata"));
    std::fs::rename(
        dir.join("metadata/a.parquet"),
        dir.join("metadata/metadata_0.parquet"),
    )
    .expect("renamed");
    let mut bytes = Vec::new();
    {
        use npyz::WriterBuilder;
        let writer = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&[3, 8])
            .writer(&mut bytes);
        let mut writer = writer.begin_nd().expect("begins");
        writer.extend((0..24).map(|i| i as f32)).expect("writes");
        writer.finish().expect("ends");
    }
    std::fs::write(dir.join("img_emb/img_emb_0.npy"), bytes).expect("written");
    vec![
        dir.join("img_emb/img_emb_0.npy"),
        dir.join("metadata/metadata_0.parquet"),
    ]
}

/// Reads a source to the end of every unit; folders that are one file are opened by it.
fn source(dir: &Path) -> bool {
    let lone = ["captions.json", "rows.tsv"].map(|name| dir.join(name));
    let place = lone
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| dir.to_path_buf());
    let options = SourceOptions {
        limits: LIMITS,
        images: Some(dir.to_path_buf()),
        ..SourceOptions::default()
    };
    let Ok(source) = Source::open(&place.display().to_string(), &options) else {
        return false;
    };
    let mut is_whole = source.faults().next().is_none();
    for unit in 0..source.n_units() {
        let Ok(items) = source.unit(unit) else {
            return false;
        };
        for item in items {
            match item {
                Item::Record(record) => {
                    let is_embedding = matches!(record.image, RecordImage::Embedding(_));
                    is_whole &=
                        is_embedding || record.image.load(&LIMITS).and_then(|p| p.decode(&LIMITS)).is_ok();
                }
                Item::Reject(_) | Item::Fault(_) => is_whole = false,
            }
        }
    }
    is_whole
}

fn detected(dir: &Path) -> Vec<PathBuf> {
    text(
        dir,
        "found.jsonl",
        "{\"image\": \"a.png\", \"pred_boxes\": [[0, 1.5, 20, 30]], \"pred_classes\": [7], \"scores\": [0.75]}\n\
         {\"image\": \"b.png\", \"image_size\": [64, 48], \"detections\": [{\"label\": \"dog\", \"box\": [1, 2, 3, 4], \"score\": 1}]}\n",
    )
}

fn side(dir: &Path) -> Vec<PathBuf> {
    with_images(dir);
    let _ = image_folder::read(dir, None);
    text(
        dir,
        "a.json",
        r#"{"version": 1, "program": "eclipse 0.1.0", "origin": {"prompt": "a cat"}, "seed": 3, "stack": "karlo"}"#,
    )
}

fn spec(dir: &Path) -> Vec<PathBuf> {
    text(
        dir,
        "base.toml",
        "world = 'emoji'\n[data]\nn_pairs = 64\n[train]\nsteps = 10\nbatch_size = 8\nlr = 1e-3\n",
    );
    text(
        dir,
        "sweep.toml",
        "extends = 'base.toml'\n[axes]\nobjective.a = { kind = 'eclipse', lambda = 0.2 }\nseed = [0, 1]\n",
    );
    vec![dir.join("base.toml"), dir.join("sweep.toml")]
}

fn metrics(dir: &Path) -> Vec<PathBuf> {
    let line = |step: usize| {
        format!("{{\"step\":{step},\"epoch\":0,\"split\":\"train\",\"name\":\"loss\",\"value\":0.{step}}}\n")
    };
    text(dir, "metrics.jsonl", &(0..20).map(line).collect::<String>())
}

fn run(dir: &Path) -> Vec<PathBuf> {
    text(
        dir,
        "provenance.json",
        r#"{"version": "0.1.0", "commit": null, "seed": 1, "inputs": {"a": "b"}, "sessions": []}"#,
    )
}

fn store(dir: &Path) -> Vec<PathBuf> {
    tiny::write_clip(&dir.join("clip"));
    let args = [
        "encode",
        "--clip",
        "clip",
        "--pairs",
        "world:emoji?n=12",
        "--out",
        "store",
        "--chunk",
        "6",
    ];
    let output = program::command(dir, args).output().expect("starts");
    assert!(output.status.success(), "{}", program::said(&output));
    let mut files = vec![dir.join("store/store.json")];
    files.extend(
        std::fs::read_dir(dir.join("store/shards"))
            .expect("shards")
            .flatten()
            .map(|e| e.path()),
    );
    files
}

fn whole_store(dir: &Path) -> bool {
    let Ok(store) = Store::open(&dir.join("store")) else {
        return false;
    };
    let mut z_x = Vec::new();
    Damage::catch(|| (0..store.n_images()).for_each(|i| store.z_x(i, &mut z_x))).is_ok()
}

fn sums(dir: &Path) -> Vec<PathBuf> {
    text(dir, "a", "one");
    text(dir, "b", "two");
    Sums::of(dir, &["a", "b"])
        .expect("readable")
        .write()
        .expect("written");
    vec![dir.join("a"), dir.join("b")]
}

/// Damages bytes: bits, numbers at their ends, pieces cut, doubled or moved.
fn mutate(bytes: &mut Vec<u8>, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..=4usize) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let n = bytes.len();
        // Headers decide, so half of the damage is near the ends.
        let at = match rng.random_range(0..4u8) {
            0 => rng.random_range(0..n.min(64)),
            1 => n - 1 - rng.random_range(0..n.min(64)),
            _ => rng.random_range(0..n),
        };
        let piece = rng.random_range(1..=n.min(256));
        match rng.random_range(0..8u8) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8u8),
            1 => bytes[at] = rng.random(),
            2 => {
                let extreme: &[u8] = [
                    [0xFF; 8].as_slice(),
                    &[0; 8],
                    &[0xFF, 0xFF, 0xFF, 0x7F],
                    &[0, 0, 0, 0x80],
                    b"99999999",
                    b"-1",
                ][rng.random_range(0..6usize)];
                for (to, from) in bytes[at..].iter_mut().zip(extreme) {
                    *to = *from;
                }
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..(at + piece).min(n))),
            5 => {
                let copied = bytes[at..(at + piece).min(n)].to_vec();
                let to = rng.random_range(0..=n);
                bytes.splice(to..to, copied);
            }
            6 => {
                let junk: Vec<u8> = (0..piece).map(|_| rng.random()).collect();
                bytes.splice(at..at, junk);
            }
            _ => {
                let other = rng.random_range(0..n);
                bytes.swap(at, other);
            }
        }
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|v| v.parse().ok())
            .unwrap_or(default)
    };
    let (seconds, first) = (
        number("ECLIPSE_MUTATE_SECONDS", 0),
        number("ECLIPSE_MUTATE_SEED", 0),
    );
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutate");
    std::fs::create_dir_all(&kept).expect("made");
    let (mut wrong, mut told) = (
        Vec::new(),
        String::from("| reader | inputs | accepted | most memory beside the files |\n|---|---|---|---|\n"),
    );
    for reader in readers() {
        let dir = tempfile::tempdir().expect("a folder");
        let targets = (reader.write)(dir.path());
        let whole: Vec<Vec<u8>> = targets
            .iter()
            .map(|path| std::fs::read(path).expect("a file"))
            .collect();
        let accepts_whole = (reader.read)(dir.path());
        let needs_whole = !["side file", "run"].contains(&reader.name);
        if needs_whole && !accepts_whole {
            wrong.push(format!("{}: whole files are refused", reader.name));
            continue;
        }
        let (started, mut n, mut accepted, mut most) = (Instant::now(), 0u64, 0u64, 0usize);
        while started.elapsed() < Duration::from_secs(seconds) || n < 2500 {
            let mut noise = Noise::of(first + n, Stream::Test(7));
            let rng = noise.rng();
            let i = rng.random_range(0..targets.len());
            let mut bytes = whole[i].clone();
            mutate(&mut bytes, rng);
            n += 1;
            if bytes == whole[i] {
                continue;
            }
            std::fs::write(&targets[i], &bytes).expect("written");
            let before = NOW.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            let one = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| (reader.read)(dir.path())));
            let (took, memory) = (one.elapsed(), PEAK.load(Ordering::Relaxed).saturating_sub(before));
            most = most.max(memory.saturating_sub(4 * bytes.len()));
            let why = match result {
                Err(_) => Some("panicked".to_owned()),
                Ok(true) if reader.is_sealed => Some("a changed byte was accepted".to_owned()),
                Ok(_) if took > SLOWEST => Some(format!("took {took:?}")),
                Ok(_) if memory > MOST + 4 * bytes.len() => {
                    Some(format!("took {} MiB for {} bytes", memory >> 20, bytes.len()))
                }
                Ok(ok) => {
                    accepted += u64::from(ok);
                    None
                }
            };
            if let Some(why) = why {
                let file = kept.join(format!(
                    "{}-{}",
                    reader.name.replace([' ', ','], "-"),
                    first + n - 1
                ));
                std::fs::write(&file, &bytes).expect("written");
                wrong.push(format!("{}: {why}, by {}", reader.name, file.display()));
                if wrong.len() > 20 {
                    break;
                }
            }
            std::fs::write(&targets[i], &whole[i]).expect("written");
        }
        told.push_str(&format!(
            "| {} | {n} | {accepted} | {:.1} MiB |\n",
            reader.name,
            most as f64 / f64::from(1 << 20)
        ));
    }
    println!("{told}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
