//! `eclipse eval` on folders of images, and everything that is wrong with them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program;

pub fn fixture() -> PathBuf {
    crate::tiny::golden("eval-tiny-s0")
}

/// A folder with the fixture's images and weights in it.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    for name in ["images", "inception_narrow", "npz", "torch_files"] {
        copy(&fixture().join(name), &desk.path().join(name));
    }
    desk
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

/// Statistics with the mean `mu` and a covariance of one.
fn write_npz(path: &Path, mu: &[f64]) {
    use std::io::Write;
    let npy = |shape: String, values: &mut dyn Iterator<Item = f64>| {
        let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
        header.push_str(&" ".repeat(63 - (header.len() + 10) % 64));
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values.flat_map(f64::to_le_bytes));
        bytes
    };
    let d = mu.len();
    let mut identity = (0..d * d).map(|i| f64::from(u8::from(i % (d + 1) == 0)));
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).expect("created"));
    for (name, bytes) in [
        ("mu.npy", npy(format!("{d},"), &mut mu.iter().copied())),
        ("sigma.npy", npy(format!("{d}, {d}"), &mut identity)),
    ] {
        archive
            .start_file(name, zip::write::SimpleFileOptions::default())
            .expect("begun");
        archive.write_all(&bytes).expect("written");
    }
    archive.finish().expect("finished");
}

pub fn eval(desk: &Path, args: &str) -> (i32, String, String) {
    let mut all = vec!["eval"];
    all.extend(args.split_whitespace());
    program::eclipse(desk, all)
}

pub fn good(desk: &Path, args: &str) -> Vec<Value> {
    let (code, out, err) = eval(desk, &format!("{args} --json"));
    assert_eq!(code, 0, "{args}: {err}");
    serde_json::from_str(&out).expect("JSON")
}

const FID: &str =
    "--images images/fid_a --reference images/fid_b --inception inception_narrow/model.safetensors";

/// Two folders to pytorch-fid's distance, from weights in every format, by way of the cache and of statistics on disk.
#[test]
fn fid_of_folders_is_that_of_pytorch_fid() {
    let desk = desk();
    let folder = desk.path();
    let golden = std::fs::read(fixture().join("goldens/fid_folders_narrow.safetensors")).expect("the golden");
    let golden = safetensors::SafeTensors::deserialize(&golden).expect("reads");
    let golden = golden
        .tensor("out.fid_svd")
        .expect("the distance")
        .data()
        .to_vec();
    let golden = f64::from_le_bytes(golden.try_into().expect("one number"));
    let near = |value: &Value| (value.as_f64().expect("a number") / golden - 1.0).abs();
    let first = good(
        folder,
        &format!("fid kid {FID} --subset-size 5 --save-statistics a.npz"),
    );
    // Features are f32 and differ by 5e-6 of values of order 1 (`eclipse verify`), the distance by a few times that.
    assert!(near(&first[0]["value"]) < 2e-5, "{golden}: {}", first[0]["value"]);
    assert_eq!((&first[0]["n"], &first[1]["metric"]), (&12.into(), &"kid".into()));
    // From statistics, which lose half the digits where covariances are singular.
    let back = "fid --images images/fid_b --reference a.npz --inception inception_narrow/model.safetensors --infinity 3 --out b";
    let back = good(folder, back);
    assert!(near(&back[0]["value"]) < 1e-3, "{golden}: {}", back[0]["value"]);
    assert!(
        back[0]["also"]["fid infinity"]
            .as_f64()
            .is_some_and(f64::is_finite)
    );
    assert_eq!(back[0]["protocol"]["reference_n"], 12);
    // The same call again gives the same file, and is compared with it.
    let file = folder.join("images/fid_a/eval/fid.json");
    let (code, out, err) = eval(folder, &format!("fid {FID} --compare images/fid_a/eval/fid.json"));
    assert_eq!(code, 0, "{err}");
    assert!(file.is_file() && out.contains("fid: +0.000000 against"), "{out}");
    let (code, _, err) = eval(
        folder,
        &format!("fid {FID} --resize clean --out c --compare images/fid_a/eval/fid.json"),
    );
    assert_eq!(code, 1);
    assert!(
        err.contains("`resize` is \"pytorch-fid\" there, \"clean\" here"),
        "{err}"
    );
}

/// CLIPScore and PickScore of images and prompts.
#[test]
fn clip_scores_prefer_themselves_to_nobody() {
    let desk = desk();
    let folder = desk.path();
    crate::tiny::write_clip(&folder.join("clip"));
    let prompts: String = (0..12)
        .map(|i| format!("a red cat and {} dogs\n", i % 3))
        .collect();
    std::fs::write(folder.join("prompts.txt"), prompts).expect("written");
    let call = "clip-score pick-score --images images/fid_a --against images/fid_a --prompts prompts.txt --clip clip";
    let found = good(folder, call);
    let [clip, pick] = &found[..] else {
        panic!("{found:?}")
    };
    let number = |value: &Value| value.as_f64().expect("a number");
    assert!(number(&clip["value"]).abs() <= 1.0);
    let [low, high] = [0, 1].map(|i| number(&clip["interval"][i]));
    assert!(low <= number(&clip["value"]) && number(&clip["value"]) <= high);
    assert_eq!(pick["also"]["win rate against the other"], 0.5);
    assert_eq!(pick["also"]["ties"], 12.0);
}

/// Modes and sizes of files are no reason to refuse them: FID sees what Pillow's `convert("RGB")` makes of each, whatever its format.
#[test]
fn images_of_mixed_sizes_and_modes_are_read_as_rgb() {
    let desk = desk();
    let folder = desk.path();
    for name in ["mixed", "plain"] {
        std::fs::create_dir(folder.join(name)).expect("made");
    }
    for (i, name) in ["rgba", "gray", "palette", "tall", "wide", "square64"]
        .into_iter()
        .enumerate()
    {
        let from = folder.join(format!("images/{name}.png"));
        std::fs::copy(&from, folder.join(format!("mixed/{i}.png"))).expect("copied");
        let rgb = eclipse_t2i::models::clip::preprocess::read_image(&from).expect("an image");
        rgb.save(folder.join(format!("plain/{i}.webp"))).expect("written");
    }
    let call = "fid --images mixed --reference plain --inception inception_narrow/model.safetensors";
    let found = good(folder, call);
    assert_eq!(found[0]["n"], 6);
    let distance = found[0]["value"].as_f64().expect("a number");
    assert!(distance.abs() < 1e-9, "{distance}");
    // Fewer images than features: a covariance is singular, which is said.
    let (code, _, err) = eval(folder, call);
    assert!(
        code == 0 && err.contains("a covariance is singular and the distance far too large"),
        "{err}"
    );
}

/// Images that a run drew have the same scores by the run's own evaluation and by their folder. A report has both, unless runs were scored differently.
#[test]
fn images_of_a_run_score_the_same_both_ways_and_a_report_shows_both() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |path: &str| desk.path().join(path);
    let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
    std::os::unix::fs::symlink(datasets, at("datasets")).expect("linked");
    let spec = "baselines = ['oracle', 'ridge']\n[data]\nn_pairs = 64\n[model]\nn_heads = 2\nd_head = 8\nn_layers = 1\n\
        [train]\nsteps = 2\nbatch_size = 8\n[eval]\nn_prompts = 6\nn_noise = 1\nn_pictures = 6\nn_shown = 6\n\
        [axes]\n\"objective.kind\" = ['projection']\n";
    std::fs::create_dir_all(at("experiments/toy")).expect("made");
    std::fs::write(at("experiments/toy/sweep.toml"), spec).expect("written");
    let (code, _, err) = program::eclipse(desk.path(), ["sweep", "toy"]);
    assert_eq!(code, 0, "{err}");
    let runs = eclipse_t2i::files::list_folders(at("runs/toy")).expect("runs");
    let runs: Vec<PathBuf> = runs
        .into_iter()
        .filter(|run| run.join("DONE").is_file())
        .collect();
    assert_eq!(runs.len(), 3);
    let number = |value: &Value| value.as_f64().expect("a number");
    let mut best = 0.0_f64;
    for run in &runs {
        let files = eclipse_t2i::files::list(run.join("eval")).expect("scores");
        let files = files.iter().map(|file| std::fs::read(file).expect("readable"));
        let files: Vec<Value> = files
            .map(|text| serde_json::from_slice(&text).expect("JSON"))
            .collect();
        let own = |name: &str| {
            let mut all = files
                .iter()
                .flat_map(|file| file["metrics"].as_array().expect("a list"));
            let metric = all.find(|metric| metric["name"] == name && metric["split"] == "all");
            metric.map_or_else(|| panic!("{name}"), |metric| number(&metric["value"]))
        };
        let call = format!(
            "world-checker clip-score --images {0}/pictures --clip datasets/emoji/clip --out {0}/eval",
            run.display()
        );
        let found = good(desk.path(), &call);
        let [checker, clip] = &found[..] else {
            panic!("{found:?}")
        };
        for (name, value) in [
            ("all", &checker["value"]),
            ("object", &checker["also"]["object"]),
            ("colour", &checker["also"]["colour"]),
            ("relation", &checker["also"]["relation"]),
            ("clip_score", &clip["value"]),
        ] {
            // Nine digits are kept of a run's scores; texts were encoded in other batches.
            let own = own(&format!("picture/{name}"));
            assert!((number(value) - own).abs() < 1e-6, "{name}: {value} {own}");
        }
        best = best.max(number(&checker["value"]));
    }
    assert!(best > 0.3, "nothing was drawn that could be right: {best}");

    let report = ["report", "toy", "--json"];
    let (code, out, err) = program::eclipse(desk.path(), report);
    assert_eq!(code, 0, "{err}");
    let rows: Vec<Value> = serde_json::from_str(&out).expect("JSON");
    for metric in ["world-checker", "clip-score"] {
        let of_runs: Vec<&Value> = rows.iter().filter(|row| row["metric"] == metric).collect();
        assert_eq!(of_runs.len(), 3, "{metric}");
        let in_interval = |row: &&Value| {
            let [low, value, high] = ["low", "value", "high"].map(|key| number(&row[key]));
            low <= value && value <= high
        };
        assert!(of_runs.iter().all(in_interval), "{of_runs:?}");
    }
    let page = std::fs::read_to_string(at("runs/toy/results/index.html")).expect("the page");
    for text in [
        "Protocol of world-checker",
        "<dt>world</dt><dd>emoji</dd>",
        "everything that the prompt asks for (share of images; higher",
    ] {
        assert!(page.contains(text), "{text}");
    }

    // Other prompts are another protocol.
    std::fs::write(at("prompts.txt"), "a red car\n").expect("written");
    let run = runs[0].display();
    let call = format!("world-checker --images {run}/pictures --prompts prompts.txt --out {run}/eval");
    good(desk.path(), &call);
    let (code, _, err) = program::eclipse(desk.path(), report);
    assert_eq!(code, 1);
    assert!(
        err.contains("into one column: score the images of all runs in the same way, or remove one")
            && err.contains("`prompts_sha256` is "),
        "{err}"
    );
    std::fs::write(
        runs[0].join("eval/world-checker.json"),
        "{\"metric\": \"world-checker\"}",
    )
    .expect("written");
    let (code, _, err) = program::eclipse(desk.path(), report);
    assert!(
        code == 1 && err.contains("world-checker.json") && err.contains("lower_is_better"),
        "{err}"
    );
}

/// CLIPScore sees transparent and palette images as OpenAI's CLIP does, PickScore as transformers does.
#[test]
fn transparent_images_are_seen_as_each_reference_sees_them() {
    let desk = desk();
    let folder = desk.path();
    crate::tiny::write_clip(&folder.join("clip"));
    let score = |metric: &str, name: &str, image: &image::DynamicImage| {
        let images = folder.join(name);
        std::fs::create_dir_all(&images).expect("made");
        image.save(images.join("a red cat_0.png")).expect("written");
        let found = good(folder, &format!("{metric} --images {name} --clip clip"));
        (
            found[0]["value"].as_f64().expect("a number"),
            found[0]["protocol"]["preprocess"].clone(),
        )
    };
    // Red behind nothing: where alpha is 0, colours are not seen by OpenAI's, and white by transformers.
    let clear = |value: u8| {
        let pixel = |x: u32, y: u32| {
            image::Rgba(if x < 20 {
                [value, 0, 0, 0]
            } else {
                [0, (y * 8) as u8, 200, 255]
            })
        };
        image::DynamicImage::ImageRgba8(image::RgbaImage::from_fn(40, 30, pixel))
    };
    for (metric, preprocess, background) in [
        ("clip-score", "openai-clip", None),
        ("pick-score", "transformers", Some(255)),
    ] {
        let (first, told) = score(metric, "first", &clear(255));
        assert_eq!(told, preprocess);
        assert_eq!(
            score(metric, "second", &clear(60)).0,
            first,
            "{metric} sees what cannot be seen"
        );
        if let Some(value) = background {
            let laid = image::RgbImage::from_fn(40, 30, |x, y| {
                image::Rgb(if x < 20 {
                    [value; 3]
                } else {
                    [0, (y * 8) as u8, 200]
                })
            });
            assert_eq!(score(metric, "laid", &laid.into()).0, first);
        }
    }
}

/// Folders in which something is not as it should be, each with what is said of it.
#[test]
fn what_is_wrong_with_folders_is_said() {
    let desk = desk();
    let folder = desk.path();
    crate::tiny::write_clip(&folder.join("clip"));
    let whole = std::fs::read(folder.join("images/fid_a/000.png")).expect("an image");
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    put("empty_file/a red cat_0.png", b"");
    put("cut/a red cat_0.png", &whole[..whole.len() / 2]);
    put("twice/a red cat_7.png", &whole);
    put("twice/a red cat_007.webp", &whole);
    put("bitmaps/a red cat_0.png", &whole);
    put("bitmaps/a red cat_1.bmp", &whole);
    put("bitmaps/a red cat_2.tiff", &whole);
    put("nested/colors/level1/00000_00.png", &whole);
    put("nested/colors/level2/00000_00.png", &whole);
    put("links/a red cat_1.png", &whole);
    std::os::unix::fs::symlink("nowhere.png", folder.join("links/a red cat_0.png")).expect("linked");
    for name in ["00000_00", "00000_01", "00001_00", "00003_00"] {
        put(&format!("numbered/{name}.png"), &whole);
    }
    put(
        "three.csv",
        b"meta_prompt,synthetic_prompt,level\nAsk,a cat,1\nAsk,a dog,2\nAsk,a cow,3\n",
    );
    put(
        "five.csv",
        b"original_prompts,level\na cat,1\na dog,1\na cow,1\na hen,2\na fox,2\n",
    );
    put("gap.csv", b"prompt\na cat\n \n");
    put("words.csv", b"text,level\na cat,1\n");
    put("twenty.txt", "a cat\n".repeat(20).as_bytes());
    put("lone/metadata.jsonl", b"{}");
    put("broken/00000/metadata.jsonl", b"{\"tag\": 1}");
    put("broken/00000/samples/0000.png", &whole);
    let mut told = String::new();
    for args in [
        "--images empty_file",
        "--images cut",
        "--images twice",
        "--images bitmaps",
        "--images nested",
        "--images nested/colors",
        "--images nested/colors/level1",
        "--images links",
        "--images numbered --prompts three.csv",
        "--images numbered --prompts five.csv",
        "--images numbered --prompts gap.csv",
        "--images numbered --prompts words.csv",
        "--images numbered --prompts five.csv --prompt-column prompt",
        "--images numbered --prompt-column prompt",
        "--images images/fid_a --prompts twenty.txt",
        "--images images/fid_a --prompts nosuch.txt",
        "--images lone",
        "--images broken",
    ] {
        let (code, _, err) = eval(folder, &format!("clip-score --clip clip {args}"));
        assert!(code == 1 || code == 2, "{args}: {code} {err}");
        let from = err.lines().skip_while(|line| !line.starts_with("error"));
        let lines: Vec<&str> = from.take_while(|line| !line.is_empty()).map(str::trim).collect();
        told.push_str(&format!("{args}\n  {} (exit code {code})\n", lines.join(" ")));
    }
    insta::assert_snapshot!("image_folder_mistakes", told);
}

/// Layouts that are read, with the files that are left out.
#[test]
fn layouts_are_read_and_other_files_are_counted() {
    let desk = desk();
    let folder = desk.path();
    crate::tiny::write_clip(&folder.join("clip"));
    let copy = |i: usize, name: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::copy(folder.join(format!("images/fid_a/{i:03}.png")), path).expect("copied");
    };
    let score = |args: &str| {
        let (code, out, err) = eval(folder, &format!("clip-score --clip clip --json {args}"));
        assert_eq!(code, 0, "{args}: {err}");
        let scores: Vec<Value> = serde_json::from_str(&out).expect("JSON");
        (
            scores[0]["n"].clone(),
            scores[0]["value"].as_f64().expect("a number"),
            err,
        )
    };
    // Ten prompts; HRS-Bench's numbers, plain numbers and T2I-CompBench's names say the same.
    let prompts: Vec<String> = (0..10).map(|i| format!("a red cat and {i} dogs")).collect();
    let mut table = "meta_prompt,synthetic_prompt,level\n".to_owned();
    for (i, prompt) in prompts.iter().enumerate() {
        copy(i, &format!("hrs/{i:05}_00.png"));
        copy(i + 1, &format!("hrs/{i:05}_01.png"));
        copy(i, &format!("plain/{}.png", 2 * i));
        copy(i + 1, &format!("plain/{}.png", 2 * i + 1));
        copy(i, &format!("official/samples/{prompt}_{:06}.png", 2 * i));
        copy(i + 1, &format!("official/samples/{prompt}_{:06}.png", 2 * i + 1));
        copy(0, &format!("official/{prompt}-grid-{i:05}.png"));
        table.push_str(&format!("\"Ask, please\",{prompt},1\n"));
    }
    std::fs::write(folder.join("prompts.csv"), table).expect("written");
    std::fs::write(folder.join("prompts.txt"), prompts.join("\n")).expect("written");
    let (n, value, said) = score("--images official");
    assert_eq!(n, 20);
    assert!(!said.contains("not scored"), "{said}");
    for args in [
        "--images hrs --prompts prompts.csv",
        "--images hrs --prompts prompts.csv --prompt-column synthetic_prompt",
        "--images plain --prompts prompts.txt",
        "--images official/samples",
    ] {
        let (n, other, _) = score(args);
        assert_eq!(n, 20, "{args}");
        assert!((other - value).abs() < 1e-9, "{args}: {other}, {value}");
    }
    // Another column is another prompt.
    assert_ne!(
        score("--images hrs --prompts prompts.csv --prompt-column meta_prompt").1,
        value
    );
    // What is left out is counted and named; a link to an image is one.
    std::fs::create_dir(folder.join("linked")).expect("made");
    std::os::unix::fs::symlink(
        folder.join("images/fid_a/000.png"),
        folder.join("linked/a red cat_0.png"),
    )
    .expect("linked");
    copy(1, "linked/a red cat_1.PNG");
    copy(2, "linked/more/a red cat_2.png");
    for name in ["Thumbs.db", "log.txt", ".DS_Store", "a red cat_1.txt", "x", "y"] {
        std::fs::write(folder.join("linked").join(name), "x").expect("written");
    }
    let (n, _, said) = score("--images linked");
    assert_eq!(n, 2);
    assert!(
        said.contains("linked: 4 other files are not scored: Thumbs.db, log.txt, x, and 1 more"),
        "{said}"
    );
    assert!(
        said.contains("linked: images in sub-folders are not scored: 1 in linked/more"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_with_images_and_weights_is_said() {
    let desk = desk();
    let folder = desk.path();
    let at = |name: &str| folder.join(name);
    std::fs::create_dir(at("empty")).expect("made");
    std::fs::create_dir(at("bad")).expect("made");
    std::fs::copy(at("images/fid_a/000.png"), at("bad/0.png")).expect("copied");
    std::fs::write(at("bad/1.png"), "no image").expect("written");
    std::fs::write(at("two.txt"), "a\nb\nc\nd\ne\n").expect("written");
    std::fs::write(at("red.txt"), "a red car\n").expect("written");
    std::fs::write(at("sky.txt"), "the sky over Berlin\n").expect("written");
    let weights = std::fs::read(at("torch_files/first_zip.pth")).expect("weights");
    std::fs::write(at("cut.pth"), &weights[..weights.len() / 2]).expect("written");
    // os.system("touch owned"), if anybody executed it.
    std::fs::write(
        at("evil.pth"),
        b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch owned\x85R.",
    )
    .expect("written");
    crate::tiny::write_clip(&at("clip"));
    // Weights and statistics with NaN.
    let mut weights = std::fs::read(at("inception_narrow/model.safetensors")).expect("weights");
    let half = weights.len() / 8 * 4;
    weights[half..]
        .as_chunks_mut::<4>()
        .0
        .fill(f32::NAN.to_le_bytes());
    std::fs::write(at("nan.safetensors"), weights).expect("written");
    write_npz(&at("nan.npz"), &[f64::NAN; 128]);
    let mut told = String::new();
    for args in [
        "fid".to_owned(),
        "fid --images images/fid_a".into(),
        "fid --images images/fid_a --reference images/fid_b".into(),
        "clip-score --images images/fid_a".into(),
        "checker fid".into(),
        "fid kid --images empty --reference images/fid_b --inception inception_narrow/model.safetensors"
            .into(),
        FID.replace("images/fid_a", "nosuch") + " fid",
        FID.replace("images/fid_a", "bad") + " fid",
        FID.replace("images/fid_b", "npz/stats_stored.npz") + " fid",
        FID.replace("images/fid_b", "npz/kid_feats.npz") + " fid",
        FID.replace("images/fid_b", "npz/stats_stored.npz") + " kid",
        FID.replace("inception_narrow/model.safetensors", "cut.pth") + " fid",
        FID.replace("inception_narrow/model.safetensors", "evil.pth") + " fid",
        FID.replace("inception_narrow/model.safetensors", "clip/model.safetensors") + " fid",
        FID.replace("inception_narrow/model.safetensors", "nan.safetensors") + " fid",
        FID.replace("images/fid_b", "nan.npz") + " fid",
        FID.replace("images/fid_b", "cut.pth") + " fid",
        FID.to_owned() + " fid --resize nearest",
        FID.to_owned() + " kid --subset-size 0",
        "clip-score --images images/fid_a --clip clip".into(),
        "clip-score --images images/fid_a --clip clip --prompts two.txt".into(),
        "pick-score --images images/fid_a --clip inception_narrow".into(),
        "world-checker --images images/fid_a".into(),
        "world-checker --images images/fid_a --prompts red.txt".into(),
        "world-checker --images images/fid_a --prompts sky.txt --world shapes".into(),
    ] {
        let (code, _, err) = eval(folder, &args);
        assert!(code == 1 || code == 2, "{args}: {code} {err}");
        assert!(!err.contains("panicked"), "{args}: {err}");
        let first: String = err
            .lines()
            .find(|l| l.starts_with("error"))
            .unwrap_or_default()
            .chars()
            .take(400)
            .collect();
        told.push_str(&format!("{args}\n  {first} (exit code {code})\n"));
    }
    assert!(!at("owned").exists(), "a pickle was executed");
    insta::assert_snapshot!("image_metric_mistakes", told);
}
