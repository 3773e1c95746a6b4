//! Stores: what is encoded is what CLIP says, however often the work was interrupted and by however many machines it was done; and runs train on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use eclipse_t2i::data::encode::{FrozenClip, clip_hash};
use eclipse_t2i::data::examples::Examples;
use eclipse_t2i::data::store::{Store, StoreError};
use eclipse_t2i::data::stored::{Show, StoredPairs};
use eclipse_t2i::generate::prior::AnyPrior;
use eclipse_t2i::world::{PairOptions, World};
use proptest::prelude::*;
use std::sync::Arc;

use crate::program::{command, said};
use crate::tiny::{self, D_CLIP, device, kill_when};

/// A folder with a random CLIP.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    tiny::write_clip(&desk.path().join("clip"));
    desk
}

fn eclipse(desk: &Path, args: &[&str]) -> Output {
    command(desk, args).output().expect("the program starts")
}

fn done(desk: &Path, args: &[&str]) {
    let output = eclipse(desk, args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
}

/// `eclipse encode` of `n` pairs of the emoji world into `out`.
fn encode<'a>(source: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["encode", "--clip", "clip", "--pairs", source, "--out", out];
    args.extend(more);
    args
}

#[test]
fn an_encoding_says_where_its_time_went() {
    let desk = desk();
    let more = ["--profile", "--json"];
    let output = eclipse(desk.path(), &encode("world:emoji?n=8", "store", &more));
    assert!(output.status.success(), "{}", said(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let stages = result["stages"].as_object().expect("stages");
    assert_eq!(stages.len(), 8);
    let seconds = |name: &str| stages[name].as_f64().expect("a number");
    let total = result["seconds"].as_f64().expect("a number");
    // The encoder's own stages do not overlap.
    let encoder = ["image embeddings", "text embeddings", "write", "wait for images"].map(seconds);
    assert!(encoder.iter().all(|s| *s > 0.0) && encoder.iter().sum::<f64>() <= total);
    let settings = |name: &str| {
        let text = std::fs::read_to_string(desk.path().join(name).join("encode.json"));
        text.expect("the settings of a store")
    };
    assert!(!settings("store").contains("compute"));

    // Another precision is another store, and is not continued with this one.
    done(
        desk.path(),
        &encode("world:emoji?n=8", "half", &["--compute", "bf16"]),
    );
    assert!(settings("half").contains("bf16"), "{}", settings("half"));
    let mixed = eclipse(desk.path(), &encode("world:emoji?n=8", "half", &[]));
    assert!(
        !mixed.status.success() && said(&mixed).contains("compute"),
        "{}",
        said(&mixed)
    );
}

fn open(desk: &Path, name: &str) -> Store {
    Store::open(&desk.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Every file of a folder that says something, by name.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.ends_with(".lock") => {}
                path => {
                    let bytes = std::fs::read(&path).expect("a file");
                    all.push((path.strip_prefix(folder).expect("inside").to_path_buf(), bytes));
                }
            }
        }
    }
    all.sort();
    all
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{} differs", name.display());
    }
}

#[test]
fn a_store_has_what_clip_says() {
    let desk = desk();
    let source = "world:emoji?n=60&seed=3";
    done(
        desk.path(),
        &encode(source, "f32", &["--dtype", "f32", "--chunk", "7", "--batch", "5"]),
    );
    done(desk.path(), &encode(source, "f16", &["--chunk", "64"]));
    done(
        desk.path(),
        &encode(source, "lean", &["--dtype", "f32", "--hidden", "none"]),
    );
    let clip = FrozenClip::load(&desk.path().join("clip"), &device()).expect("loads");
    let pairs = World::Emoji.pairs(60, 3, &PairOptions::default());
    let wanted = clip.pairs(&pairs).expect("encodes");
    let text_of = |caption: usize| wanted.texts.get(caption).hidden.to_vec();
    for (name, tolerance) in [("f32", 1e-5), ("f16", 4e-3), ("lean", 1e-5)] {
        let store = open(desk.path(), name);
        store.verify().expect("hashes");
        store
            .expect_clip(&clip_hash(&desk.path().join("clip")).expect("hashes"))
            .expect("the same");
        assert_eq!((store.n_images(), store.n_captions()), (60, 60));
        let close = |what: &str, found: &[f32], wanted: &[f32]| {
            assert_eq!(found.len(), wanted.len(), "{name} {what}");
            let far = found
                .iter()
                .zip(wanted)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(far <= tolerance, "{name} {what}: {far} apart");
        };
        for (i, pair) in pairs.iter().enumerate() {
            assert_eq!(store.captions_of(i), i..i + 1);
            assert_eq!(store.image_id(i), i.to_string());
            let (mut z_x, mut z_y, mut hidden) = (vec![], vec![], vec![]);
            store.z_x(i, &mut z_x);
            store.z_y(i, &mut z_y);
            close("z_x", &z_x, &wanted.z_x[i * D_CLIP..][..D_CLIP]);
            close("z_y", &z_y, &wanted.texts.z_y()[i * D_CLIP..][..D_CLIP]);
            assert_eq!(store.hidden(i, &mut hidden), name != "lean");
            if name != "lean" {
                close("hidden", &hidden, &text_of(i));
            }
            let tokens = clip.text().tokenizer().encode(&pair.caption).expect("a caption");
            let ids: Vec<u32> = store.ids(i).into_iter().map(u32::from).collect();
            assert_eq!(ids, tokens.ids[..tokens.n_valid]);
        }
        close("empty", &store.empty().z_y, wanted.empty.z_y());
        let (mean, std) = wanted.statistics();
        close("mean", &store.manifest().mean, &mean);
        close("std", &store.manifest().std, &std);
    }

    // What a prior is shown is the same from memory, from stored states and from states made again.
    let encoder = eclipse_t2i::models::clip::TextEncoder::load(&desk.path().join("clip"), &device());
    let stored =
        |name: &str, texts| StoredPairs::new(Arc::new(open(desk.path(), name)), Show::EachCaption, texts);
    let sources: [&dyn Examples; 2] = [
        &stored("f32", None),
        &stored("lean", Some(Arc::new(encoder.expect("loads")))),
    ];
    let shown = wanted.at(0, 0..20);
    let masked: Vec<_> = shown
        .iter()
        .enumerate()
        .map(|(i, e)| (i % 3 > 0).then_some(*e))
        .collect();
    for data in sources {
        let close = |found: Vec<f32>, wanted: Vec<f32>| {
            let far = found
                .iter()
                .zip(&wanted)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(
                found.len() == wanted.len() && far <= 1e-5,
                "{data:?}: {far} apart"
            );
        };
        let host = |t: burn::prelude::Tensor<2>| t.into_data().iter::<f32>().collect::<Vec<f32>>();
        close(
            host(data.z_x(&shown, &device())),
            host(wanted.z_x(&shown, &device())),
        );
        let (found, wanted) = (data.text(&masked, &device()), wanted.text(&masked, &device()));
        assert_eq!(found.tokens.dims(), wanted.tokens.dims());
        close(host(found.z_y), host(wanted.z_y));
        let (mask, wanted_mask) = (found.mask.expect("a mask"), wanted.mask.expect("a mask"));
        close(host(mask.values()), host(wanted_mask.values()));
        assert_eq!(mask.counts(), wanted_mask.counts());
        let [n, length, d] = found.tokens.dims();
        let counts = mask.values().reshape([n, length, 1]).expand([n, length, d]);
        let tokens = |t: burn::prelude::Tensor<3>| {
            (t * counts.clone())
                .into_data()
                .iter::<f32>()
                .collect::<Vec<f32>>()
        };
        close(tokens(found.tokens), tokens(wanted.tokens));
    }
}

#[test]
fn an_encoding_that_is_killed_ends_as_if_it_had_not_been() {
    let desk = desk();
    let source = "world:emoji?n=1400&seed=1";
    let args = |out| encode(source, out, &["--chunk", "30"]);
    done(desk.path(), &args("whole"));
    let killed = desk.path().join("killed");
    let shards = || std::fs::read_dir(killed.join("shards")).map_or(0, Iterator::count);
    for n in [1, 6, 20, 38] {
        let mut child = command(desk.path(), args("killed"));
        kill_when(child.stderr(Stdio::null()).spawn().expect("starts"), || {
            shards() >= n
        });
        assert!(!killed.join("store.json").exists());
        let error = Store::open(&killed).expect_err("not finished");
        assert!(error.to_string().contains("was cut short"), "{error}");
        for (name, bytes) in files(&killed.join("shards")) {
            if !name.to_string_lossy().starts_with(".tmp-") {
                let whole = std::fs::read(desk.path().join("whole/shards").join(&name)).expect("there");
                assert!(bytes == whole, "{} is half a shard", name.display());
            }
        }
    }
    done(desk.path(), &args("killed"));
    assert_same(&desk.path().join("whole"), &killed);
    // Once more, nothing is made.
    let output = eclipse(desk.path(), &[&args("killed")[..], &["--json"]].concat());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&told["encoded_now"], &told["pictures"]),
        (&0.into(), &1400.into())
    );
}

#[test]
fn parts_of_several_machines_make_the_same_store() {
    let desk = desk();
    let source = "world:emoji?n=2300&seed=1";
    done(desk.path(), &encode(source, "whole", &["--chunk", "400"]));
    for part in ["0/2", "1/2"] {
        done(
            desk.path(),
            &encode(source, "parts", &["--chunk", "400", "--shard", part]),
        );
    }
    let error = Store::open(&desk.path().join("parts")).expect_err("not merged");
    assert!(
        error
            .to_string()
            .contains("`eclipse merge` makes one store of them"),
        "{error}"
    );
    done(desk.path(), &["merge", "parts"]);
    let (whole, merged) = (open(desk.path(), "whole"), open(desk.path(), "parts"));
    merged.verify().expect("hashes");
    assert_eq!(merged.n_images(), 2300);
    assert_eq!(
        (&merged.manifest().mean, &merged.manifest().std),
        (&whole.manifest().mean, &whole.manifest().std)
    );
    for i in (0..2300).step_by(97) {
        let row = |store: &Store| {
            let mut row = Vec::new();
            store.z_x(i, &mut row);
            store.hidden(store.captions_of(i).start, &mut row);
            (store.image_id(i), row)
        };
        assert_eq!(row(&whole), row(&merged));
    }
}

/// A tar of a few pictures with captions.
fn write_tar(path: &Path, seed: u64) {
    let file = std::fs::File::create(path).expect("a file");
    let mut tar = tar::Builder::new(file);
    for (i, pair) in World::Emoji
        .pairs(5, seed, &PairOptions::default())
        .iter()
        .enumerate()
    {
        let mut png = std::io::Cursor::new(Vec::new());
        let image = eclipse_t2i::data::encode::scene_image(&pair.scene);
        image
            .write_to(&mut png, image::ImageFormat::Png)
            .expect("encodes");
        for (extension, bytes) in [
            ("png", png.get_ref().as_slice()),
            ("txt", pair.caption.as_bytes()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            let name = format!("{seed:03}{i:04}.{extension}");
            tar.append_data(&mut header, name, bytes).expect("appends");
        }
    }
    tar.finish().expect("ends");
}

#[test]
fn clip_and_pictures_may_lie_elsewhere_on_another_machine() {
    let desk = desk();
    let at = |name: &str| desk.path().join(name);
    for place in ["here", "there"] {
        std::fs::create_dir(at(place)).expect("a folder");
        for unit in 0..3 {
            write_tar(&at(place).join(format!("{unit:05}.tar")), unit);
        }
    }
    std::fs::create_dir(at("their-clip")).expect("a folder");
    for (name, bytes) in files(&at("clip")) {
        std::fs::write(at("their-clip").join(name), bytes).expect("written");
    }
    let part = |clip, pairs, shard| {
        let args = [
            "encode", "--clip", clip, "--pairs", pairs, "--out", "parts", "--shard", shard,
        ];
        done(desk.path(), &args);
    };
    done(desk.path(), &encode("here", "whole", &[]));
    part("clip", "here", "0/2");
    part("their-clip", "there", "1/2");
    // Gone on with where the pictures have been moved to: nothing is to be done.
    part("their-clip", "there", "0/2");
    done(desk.path(), &["merge", "parts"]);
    let (whole, merged) = (open(desk.path(), "whole"), open(desk.path(), "parts"));
    assert_eq!((whole.n_images(), merged.n_images()), (15, 15));
    for i in 0..15 {
        let row = |store: &Store| {
            let mut row = Vec::new();
            store.z_x(i, &mut row);
            store.hidden(i, &mut row);
            (store.image_id(i), row)
        };
        assert_eq!(row(&whole), row(&merged));
    }
    // Other pictures at the same place are another source.
    write_tar(&at("here/00003.tar"), 3);
    let output = eclipse(desk.path(), &encode("here", "whole", &[]));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("whole was begun with another `n_units`: 3, not 4"),
        "{}",
        said(&output)
    );
}

const RUN: &str = r#"
[data]
store = "store"
n_validation = 20
[model]
n_heads = 2
d_head = 8
n_layers = 2
[train]
steps = 120
batch_size = 6
accumulate = 2
ema_decay = 0.9
lr = 1e-3
checkpoint_every = 15
log_every = 1
[eval]
n_noise = 2
"#;

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["train", "--config", "run.toml", "--out", out];
    args.extend(more);
    args
}

#[test]
fn a_run_on_a_store_is_validated_and_survives_a_kill() {
    let desk = desk();
    done(
        desk.path(),
        &encode("world:emoji?n=150", "store", &["--chunk", "40"]),
    );
    std::fs::write(desk.path().join("run.toml"), RUN).expect("written");
    done(desk.path(), &train("whole", &[]));
    let (whole, killed) = (desk.path().join("whole"), desk.path().join("killed"));
    let wrote = |step: usize| {
        let text = std::fs::read_to_string(killed.join("metrics.jsonl")).unwrap_or_default();
        text.contains(&format!("\"step\":{step},"))
    };
    for (step, more) in [(5, &[][..]), (40, &["--resume"]), (100, &["--resume"])] {
        let mut child = command(desk.path(), train("killed", more));
        kill_when(child.stderr(Stdio::null()).spawn().expect("starts"), || {
            wrote(step)
        });
    }
    done(desk.path(), &train("killed", &["--resume"]));
    for name in [
        "config.toml",
        "metrics.jsonl",
        "eval/embedding.json",
        "prior/diffusion_pytorch_model.safetensors",
        "prior_best/diffusion_pytorch_model.safetensors",
    ] {
        let read = |run: &Path| std::fs::read(run.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(read(&whole) == read(&killed), "{name} differs");
    }
    let metrics = std::fs::read_to_string(whole.join("metrics.jsonl")).expect("metrics");
    let valid = metrics
        .lines()
        .filter(|l| l.contains("\"split\":\"valid\"") && l.contains("\"name\":\"loss\""));
    assert_eq!(valid.count(), 8, "one at each checkpoint");
    let scores = std::fs::read_to_string(whole.join("eval/embedding.json")).expect("scores");
    for name in [
        "cos/z_x",
        "cos/z_y",
        "retrieval/image_r1",
        "frechet_relative",
        "norm_ratio",
        "diversity",
    ] {
        assert!(scores.contains(&format!("\"{name}\"")), "{name}");
    }
    AnyPrior::load(&whole.join("prior_best"), &device()).expect("loads");

    // States that are made again, each picture once a pass, other objectives, another store to validate on.
    done(
        desk.path(),
        &encode("world:emoji?n=150", "lean", &["--hidden", "none"]),
    );
    done(desk.path(), &encode("world:emoji?n=30&seed=9", "other", &[]));
    let short = ["--set", "train.steps=4", "--set", "train.ema_decay=0"];
    let lean = [
        "--set",
        "data.store=lean",
        "--set",
        "clip=clip",
        "--set",
        "data.one_caption=true",
    ];
    done(desk.path(), &train("lean-run", &[&short[..], &lean].concat()));
    let other = [
        "--set",
        "data.n_validation=0",
        "--set",
        "data.validation=other",
        "--set",
        "objective.kind=diffusion",
    ];
    done(desk.path(), &train("diffusion", &[&short[..], &other].concat()));
    AnyPrior::load(&desk.path().join("diffusion/prior_best"), &device()).expect("loads");
    let two = ["--devices", "flex,flex", "--set", "objective.gather=true"];
    done(desk.path(), &train("two", &[&short[..], &two].concat()));
    done(desk.path(), &train("one", &[&short[..], &two[2..]].concat()));
    let weights = |run: &str| tiny::read(&desk.path().join(run).join("prior").join(tiny::DIFFUSERS));
    assert!(
        weights("one") == weights("two"),
        "two devices train what one trains"
    );
    let burns = [&short[..], &two, &["--strategy", "multi-device"]].concat();
    done(desk.path(), &train("burns", &burns));
    let record = std::fs::read_to_string(desk.path().join("burns/provenance.json")).expect("there");
    assert!(record.contains("flex,flex (multi-device)"), "{record}");
    let values = |bytes: &[u8]| -> Vec<f32> {
        let four = bytes.as_chunks::<4>().0.iter();
        four.map(|b| f32::from_le_bytes(*b)).collect()
    };
    for ((name, one), (_, burns)) in weights("one").iter().zip(&weights("burns")) {
        let (one, burns) = (values(&one.2), values(&burns.2));
        let far = one.iter().zip(burns).map(|(a, b)| (a - b).abs()).sum::<f32>() / one.len() as f32;
        // Four steps of Adam at 1e-3 go farther.
        assert!(far < 1e-5, "{name}: {far}");
    }
}

/// Everything that can be wrong about a store, with what is said of it.
#[test]
fn what_is_wrong_with_a_store_is_said() {
    let desk = desk();
    let at = |name: &str| desk.path().join(name);
    let source = "world:emoji?n=20";
    std::fs::write(
        at("run.toml"),
        RUN.replace("n_validation = 20", "n_validation = 2"),
    )
    .expect("written");
    done(desk.path(), &encode(source, "store", &["--chunk", "8"]));
    let mut answers = String::new();
    let mut ask = |what: &str, args: &[&str]| {
        let output = eclipse(desk.path(), args);
        let text = said(&output).replace(&desk.path().display().to_string(), "DESK");
        let text = text
            .lines()
            .filter(|l| !l.contains(" source, "))
            .collect::<Vec<_>>()
            .join("\n  ");
        answers.push_str(&format!(
            "{what}\n  {} (exit code {})\n",
            text.trim_end(),
            output.status.code().unwrap_or(-1)
        ));
    };
    let shard = at("store/shards/00000-001.safetensors");
    ask("another chunk", &encode(source, "store", &["--chunk", "9"]));
    ask(
        "another dtype",
        &encode(source, "store", &["--chunk", "8", "--dtype", "f32"]),
    );
    ask(
        "another source",
        &encode("world:emoji?n=21", "store", &["--chunk", "8"]),
    );
    ask(
        "another limit",
        &encode(source, "store", &["--chunk", "8", "--max-pixels", "50"]),
    );
    ask("no such part", &encode(source, "parts", &["--shard", "2/2"]));
    ask(
        "more parts than units",
        &encode(source, "parts", &["--shard", "0/2"]),
    );
    ask("no parts", &["merge", "store"]);
    done(
        desk.path(),
        &encode("world:emoji?n=1500", "parts", &["--shard", "0/2"]),
    );
    ask("a part is missing", &["merge", "parts"]);
    ask("inspecting parts", &["inspect", "parts"]);
    done(
        desk.path(),
        &encode("world:emoji?n=1500&seed=1", "parts", &["--shard", "1/2"]),
    );
    ask("parts of two sources", &["merge", "parts"]);
    ask("no store", &train("run-1", &["--set", "data.store=nothing"]));
    ask("not finished", &train("run-2", &["--set", "data.store=parts"]));
    let four = ["--set", "train.accumulate=4"];
    for (what, more) in [
        ("more devices than parts", &["--devices", "flex,flex,flex"][..]),
        ("a strategy for nobody", &["--strategy", "multi-device"]),
        (
            "parts that do not go round",
            &[
                "--devices",
                "flex,flex,flex",
                "--strategy",
                "multi-device",
                four[0],
                four[1],
            ],
        ),
        (
            "devices that exchange no gradients",
            &["--devices", "flex,flex", "--strategy", "ddp"],
        ),
        (
            "no such strategy",
            &["--devices", "flex,flex", "--strategy", "ps"],
        ),
    ] {
        ask(what, &train("run-0", more));
    }
    ask(
        "too few pairs",
        &train("run-3", &["--set", "train.batch_size=11"]),
    );
    ask(
        "all held out",
        &train("run-4", &["--set", "data.n_validation=20"]),
    );
    tiny::write_clip(&at("other"));
    tiny::alter_json(&at("other/preprocessor_config.json"), |config| {
        config["image_mean"] = [0.5, 0.5, 0.5].into()
    });
    done(desk.path(), &encode(source, "lean", &["--hidden", "none"]));
    ask(
        "no CLIP for the states",
        &train("run-5", &["--set", "data.store=lean"]),
    );
    ask(
        "another CLIP for the states",
        &train("run-6", &["--set", "data.store=lean", "--set", "clip=other"]),
    );
    let clip = [
        "encode",
        "--clip",
        "other",
        "--pairs",
        "world:emoji?n=20",
        "--out",
        "theirs",
    ];
    done(desk.path(), &clip);
    let both = ["--set", "data.n_validation=0", "--set", "data.validation=theirs"];
    ask("validated on another CLIP's", &train("run-7", &both));

    let mut unit = [0.0; D_CLIP];
    unit[3] = 1.0;
    retrieved(&at("retrieved"), &[unit, unit]);
    retrieved(&at("narrow"), &[[1.0f32, 2.0]]);
    ask("normalised embeddings", &encode("retrieved", "normalised", &[]));
    retrieved(&at("large"), &[[1e6; D_CLIP]]);
    ask(
        "embeddings that half precision does not hold",
        &encode("large", "large-store", &[]),
    );
    ask(
        "embeddings of another width",
        &encode("narrow", "narrow-store", &[]),
    );
    done(desk.path(), &encode("retrieved", "accepted", &["--target", "l2"]));
    assert!(!at("normalised/store.json").exists() && at("accepted/store.json").exists());

    let bytes = std::fs::read(&shard).expect("a shard");
    let mut changed = bytes.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    std::fs::write(&shard, &changed).expect("written");
    ask("a shard that has changed", &["inspect", "store", "--verify"]);
    std::fs::write(&shard, &bytes[..bytes.len() / 2]).expect("written");
    ask("a shard that was cut short", &train("run-8", &[]));
    std::fs::remove_file(&shard).expect("removed");
    ask("a shard that is gone", &train("run-9", &[]));
    // A lock that this process holds.
    let _lock = eclipse_t2i::data::store::Lock::take(&at("store")).expect("free");
    ask("two writers", &encode(source, "store", &["--chunk", "8"]));
    let answers = answers.replace(&std::process::id().to_string(), "PID");
    let hash = without_hashes(&answers);
    insta::assert_snapshot!("store_mistakes", hash);
    assert!((0..11).all(|i| !at(&format!("run-{i}/prior")).exists()));
}

/// clip-retrieval's output for these rows, each of the caption "a cat".
fn retrieved<const D: usize>(folder: &Path, rows: &[[f32; D]]) {
    use parquet::column::writer::ColumnWriter;
    for name in ["img_emb", "metadata"] {
        std::fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {D}), }}",
        rows.len()
    );
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend(rows.iter().flatten().flat_map(|v| v.to_le_bytes()));
    std::fs::write(folder.join("img_emb/img_emb_0.npy"), npy).expect("written");

    let schema =
        parquet::schema::parser::parse_message_type("message m { REQUIRED BYTE_ARRAY caption (UTF8); }");
    let file = std::fs::File::create(folder.join("metadata/metadata_0.parquet")).expect("a file");
    let schema = Arc::new(schema.expect("a schema"));
    let mut writer =
        parquet::file::writer::SerializedFileWriter::new(file, schema, Arc::default()).expect("begins");
    let mut group = writer.next_row_group().expect("a group");
    let mut column = group.next_column().expect("a column").expect("one");
    match column.untyped() {
        ColumnWriter::ByteArrayColumnWriter(typed) => {
            typed
                .write_batch(&vec!["a cat".into(); rows.len()], None, None)
                .expect("writes");
        }
        _ => panic!("a column of texts"),
    }
    column.close().expect("closes");
    group.close().expect("closes");
    writer.close().expect("closes");
}

/// Hashes differ from machine to machine only where floats do; their words are what is tested.
fn without_hashes(text: &str) -> String {
    let is_hash = |word: &str| word.len() >= 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    let word = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_hash(bare) {
            word.replace(bare, "HASH")
        } else {
            word.to_owned()
        }
    };
    text.split('\n')
        .map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn inspect_counts_and_warns() {
    let desk = desk();
    let at = |name: &str| desk.path().join("pictures").join(name);
    std::fs::create_dir(desk.path().join("pictures")).expect("a folder");
    for (name, red, caption) in [
        ("a", 1, "a cat"),
        ("b", 1, "a cat"),
        ("c", 2, "a dog"),
        ("d", 3, "  "),
    ] {
        image::RgbImage::from_pixel(12, 10, image::Rgb([red, 0, 0]))
            .save(at(&format!("{name}.png")))
            .expect("saved");
        std::fs::write(at(&format!("{name}.txt")), caption).expect("written");
    }
    std::fs::write(at("e.jpg"), "no picture").expect("written");
    std::fs::write(at("e.txt"), "broken").expect("written");
    let json = |args: &[&str]| -> serde_json::Value {
        let output = eclipse(desk.path(), args);
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let found = json(&["inspect", "pictures", "--json"]);
    assert_eq!(
        (&found["format"], &found["records"], &found["looked at"]),
        (&"folder".into(), &5.into(), &5.into())
    );
    assert_eq!(
        found["rejects"],
        serde_json::json!({ "broken-picture": 1, "no-caption": 1 })
    );
    assert_eq!(
        found["warnings"],
        serde_json::json!([
            "1 of 3 captions repeat another: false negatives of Eq. 4 (objective.false_negatives = \"mask_wording\")",
            "1 pictures are the same as another: a.png and b.png ..",
            "3 pictures have a side of less than 224 pixels",
            "2 of 5 records cannot be used",
        ])
    );
    assert_eq!(
        json(&["inspect", "pictures", "--sample", "2", "--json"])["looked at"],
        2
    );

    // What inspect warns of is what encode rejects, with the place of each.
    done(desk.path(), &encode("pictures", "store", &[]));
    let told = json(&["inspect", "store", "--verify", "--json"]);
    assert_eq!(
        (&told["pictures"], &told["rejects"]),
        // Two files of the same image are one picture with two captions.
        (&2.into(), &found["rejects"])
    );
    let rejects = std::fs::read_to_string(desk.path().join("store/rejects.jsonl")).expect("a list");
    assert!(
        rejects.contains("pictures: d.png") && rejects.contains("pictures: e.jpg"),
        "{rejects}"
    );
    // What does not fit is cut, and told.
    std::fs::create_dir(desk.path().join("long")).expect("a folder");
    std::fs::copy(at("a.png"), desk.path().join("long/a.png")).expect("copied");
    std::fs::write(desk.path().join("long/a.txt"), "a cat ".repeat(40)).expect("written");
    assert_eq!(
        json(&[&encode("long", "cut", &[])[..], &["--json"]].concat())["captions_cut"],
        1
    );
    let output = eclipse(desk.path(), &["inspect", "nothing"]);
    assert_eq!(
        (output.status.code(), said(&output).trim()),
        (Some(2), "error: no such file or folder: nothing")
    );
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_nothing_half_written_stays() {
    let desk = desk();
    let program = env!("CARGO_BIN_EXE_eclipse");
    // No file of more than 8 blocks of 512 bytes: the first shard does not fit.
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {program} encode --clip clip --pairs 'world:emoji?n=200' --out store"
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(desk.path())
        .output()
        .expect("a shell");
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(
        text.contains("cannot write store/shards/00000-000.safetensors"),
        "{text}"
    );
    assert_eq!(
        std::fs::read_dir(desk.path().join("store/shards"))
            .expect("a folder")
            .count(),
        0
    );
    done(desk.path(), &encode("world:emoji?n=200", "store", &[]));
}

/// Manifest, shard and empty caption of a store of six pairs.
fn small() -> &'static [Vec<u8>; 3] {
    use std::sync::OnceLock;
    static STORE: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    STORE.get_or_init(|| {
        let desk = desk();
        done(desk.path(), &encode("world:emoji?n=6", "store", &[]));
        FILES.map(|name| std::fs::read(desk.path().join("store").join(name)).expect("a file"))
    })
}

const FILES: [&str; 3] = ["store.json", "shards/00000-000.safetensors", "empty.safetensors"];

proptest! {
    #[test]
    fn a_damaged_shard_is_refused_or_read_but_nothing_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), cut in any::<prop::sample::Index>(), truncate: bool,
    ) {
        let [manifest, shard, empty] = small().clone();
        // Some damage to the header, some to what it speaks of.
        let mut shard = shard;
        for (place, value) in &damage {
            let place = place.index(shard.len());
            shard[place] = *value;
        }
        if truncate {
            shard.truncate(cut.index(shard.len()));
        }
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("shards")).expect("a folder");
        let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        manifest["shards"][0]["bytes"] = shard.len().into();
        // The hashes are right, so that the damage is seen by what reads the values.
        manifest["shards"][0]["sha256"] = eclipse_t2i::files::sha256(&shard).into();
        manifest["sha256"] = "".into();
        for (name, bytes) in FILES.iter().zip([manifest.to_string().into_bytes(), shard, empty]) {
            std::fs::write(dir.path().join(name), bytes).expect("written");
        }
        match Store::open(dir.path()) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(store) => {
                let mut out = Vec::new();
                for image in 0..store.n_images() {
                    store.z_x(image, &mut out);
                    store.image_id(image);
                    for caption in store.captions_of(image) {
                        store.ids(caption);
                        store.hidden(caption, &mut out);
                    }
                }
                let verified = matches!(store.verify(), Ok(()) | Err(StoreError::Content { .. }));
                prop_assert!(verified);
            }
        }
    }
}
