//! `eclipse eval` on folders of images, and everything that is wrong with them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/eval-tiny-s0")
}

/// A folder with the fixture's images and weights in it.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    for name in ["images", "inception_narrow", "npz"] {
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

fn eval(desk: &Path, args: &str) -> (i32, String, String) {
    let mut all = vec!["eval"];
    all.extend(args.split_whitespace());
    program::eclipse(desk, all)
}

fn good(desk: &Path, args: &str) -> Vec<Value> {
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
    for weights in ["model_zip.pth", "model_legacy.pth"] {
        let found = good(
            folder,
            &format!("fid {FID} --no-cache").replace("model.safetensors", weights),
        );
        assert_eq!(found[0]["value"], first[0]["value"], "{weights}");
        assert_ne!(
            found[0]["protocol"]["weights_sha256"],
            first[0]["protocol"]["weights_sha256"]
        );
    }
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
        code == 1 && err.contains("world-checker.json") && err.contains("missing field"),
        "{err}"
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
    let weights = std::fs::read(at("inception_narrow/model_zip.pth")).expect("weights");
    std::fs::write(at("cut.pth"), &weights[..weights.len() / 2]).expect("written");
    // os.system("touch owned"), if anybody executed it.
    std::fs::write(
        at("evil.pth"),
        b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch owned\x85R.",
    )
    .expect("written");
    crate::tiny::write_clip(&at("clip"));
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
