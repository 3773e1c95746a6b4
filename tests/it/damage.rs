//! Damage is found and not laundered: stores, sources and checkpoints whose bytes have changed since they were written.

use std::path::Path;
use std::process::Output;

use crate::program::{command, said};
use crate::tiny;

fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    tiny::write_clip(&desk.path().join("clip"));
    desk
}

fn eclipse(desk: &Path, args: &str) -> Output {
    command(desk, args.split_whitespace())
        .output()
        .expect("the program starts")
}

fn done(desk: &Path, args: &str) -> String {
    let output = eclipse(desk, args);
    assert!(output.status.success(), "{args}: {}", said(&output));
    said(&output)
}

fn refused(desk: &Path, args: &str) -> String {
    let output = eclipse(desk, args);
    assert_eq!(output.status.code(), Some(1), "{args}: {}", said(&output));
    said(&output)
}

/// Changes a byte in the middle of a file, which keeps its size.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).expect("written");
}

const ENCODE: &str = "encode --clip clip --pairs world:emoji?n=100&seed=1 --chunk 30 --out store";

#[test]
fn a_damaged_shard_is_made_again_and_the_others_stay() {
    let desk = desk();
    let at = |name: &str| desk.path().join("store").join(name);
    done(desk.path(), ENCODE);
    let read = |name: &str| std::fs::read(at(name)).expect("a file");
    let whole: Vec<Vec<u8>> = ["store.json", "shards/00000-001.safetensors"].map(&read).into();
    let others = |name: &str| {
        std::fs::metadata(at(name))
            .and_then(|m| m.modified())
            .expect("a time")
    };
    let before = others("shards/00000-002.safetensors");
    for damage in ["flipped", "cut", "gone"] {
        let shard = at("shards/00000-001.safetensors");
        match damage {
            "flipped" => flip(&shard),
            "cut" => std::fs::write(&shard, &whole[1][..100]).expect("written"),
            _ => std::fs::remove_file(&shard).expect("removed"),
        }
        let text = done(desk.path(), ENCODE);
        assert!(
            damage == "gone" || text.contains("00000-001.safetensors: "),
            "{text}"
        );
        assert_eq!(read("shards/00000-001.safetensors"), whole[1], "{damage}");
        assert_eq!(read("store.json"), whole[0], "{damage}");
        assert_eq!(others("shards/00000-002.safetensors"), before, "{damage}");
    }
    // So are the other files, and a manifest that is not what was written of it.
    for name in ["empty.safetensors", "store.json"] {
        let then = read(name);
        flip(&at(name));
        let text = done(desk.path(), ENCODE);
        assert!(text.contains(name) && text.contains("is made again"), "{text}");
        assert_eq!(read(name), then);
    }
    // A hash that was cut short is not that of an earlier version, which has none.
    let text = String::from_utf8(whole[0].clone()).expect("text");
    std::fs::write(
        at("store.json"),
        text.replacen("\"\n}", "", 1)
            .trim_end_matches(|c: char| c.is_ascii_hexdigit())
            .to_owned()
            + "0\"\n}",
    )
    .expect("written");
    let text = done(desk.path(), ENCODE);
    assert!(
        text.contains("store.json") && text.contains("is made again"),
        "{text}"
    );
    assert_eq!(read("store.json"), whole[0]);
    // A manifest of an earlier version has hashes of shards only. It stays: runs name the store by it.
    let mut manifest: serde_json::Value = serde_json::from_slice(&whole[0]).expect("JSON");
    for key in ["files", "sha256"] {
        manifest.as_object_mut().and_then(|m| m.remove(key)).expect(key);
    }
    let old = manifest.to_string();
    std::fs::write(at("store.json"), &old).expect("written");
    done(desk.path(), ENCODE);
    assert_eq!(read("store.json"), old.as_bytes());
    assert_eq!(tiny::temporaries(desk.path()), Vec::<std::path::PathBuf>::new());
}

const RUN: &str = "[data]\nstore = \"store\"\nn_validation = 10\n[model]\nn_heads = 2\nd_head = 8\nn_layers = 1\n\
    [train]\nsteps = 20\nbatch_size = 4\ncheckpoint_every = 5\n";

#[test]
fn a_run_refuses_a_damaged_shard_and_goes_back_from_a_damaged_checkpoint() {
    let desk = desk();
    let at = |name: &str| desk.path().join(name);
    done(desk.path(), ENCODE);
    std::fs::write(at("one.toml"), RUN).expect("written");
    let shard = at("store/shards/00000-001.safetensors");
    let whole = std::fs::read(&shard).expect("a shard");
    flip(&shard);
    let text = refused(desk.path(), "train --config one.toml --out broken");
    assert!(
        text.contains("00000-001.safetensors: `sha256`: expected") && !text.contains("panicked"),
        "{text}"
    );
    std::fs::write(&shard, whole).expect("written");

    done(desk.path(), "train --config one.toml --out whole");
    done(desk.path(), "train --config one.toml --out damaged");
    let weights = |run: &str| {
        let name = "prior/diffusion_pytorch_model.safetensors";
        std::fs::read(at(run).join(name)).expect("weights")
    };
    // The newest checkpoint is damaged and the prior is lost: trained again from the one before, bit for bit.
    flip(&at("damaged/checkpoint/model-4.bpk"));
    std::fs::remove_dir_all(at("damaged/prior")).expect("removed");
    let text = done(desk.path(), "train --config one.toml --out damaged --resume");
    assert!(
        text.contains("model-4.bpk was changed or damaged") && !text.contains("panicked"),
        "{text}"
    );
    for file in ["metrics.jsonl", "eval/embedding.json"] {
        let read = |run: &str| std::fs::read(at(run).join(file)).expect("a result");
        assert!(read("whole") == read("damaged"), "{file} differs");
    }
    assert!(weights("whole") == weights("damaged"));
    // Scores that are gone or changed are made again; weights that were changed are not exported.
    let scores = || std::fs::read(at("damaged/eval/embedding.json")).expect("scores");
    let were = scores();
    flip(&at("damaged/eval/embedding.json"));
    let text = done(desk.path(), "train --config one.toml --out damaged --resume");
    assert!(
        text.contains("embedding.json was changed or damaged") && text.contains("made again"),
        "{text}"
    );
    assert!(scores() == were);
    std::fs::remove_file(at("damaged/eval/embedding.json")).expect("removed");
    done(desk.path(), "train --config one.toml --out damaged --resume");
    assert!(at("damaged/eval/embedding.json").is_file());
    flip(&at("damaged/prior/diffusion_pytorch_model.safetensors"));
    let text = refused(desk.path(), "export damaged --to out");
    assert!(
        text.contains("was changed or damaged") && !at("out").exists(),
        "{text}"
    );
    // A store is no validation set of itself.
    let own = RUN.replace("n_validation = 10", "validation = \"store\"");
    std::fs::write(at("own.toml"), own).expect("written");
    let text = refused(desk.path(), "train --config own.toml --out own");
    assert!(text.contains("`data.validation`: "), "{text}");
}

#[test]
fn an_image_or_a_caption_that_is_edited_is_noticed() {
    let desk = desk();
    let at = |name: &str| desk.path().join("pairs").join(name);
    std::fs::create_dir(at("")).expect("a folder");
    for i in 0..6u8 {
        let image = image::RgbImage::from_fn(24, 24, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, i * 40]));
        image.save(at(&format!("{i}.png"))).expect("written");
        std::fs::write(at(&format!("{i}.txt")), "a dog").expect("written");
    }
    let encode = "encode --clip clip --pairs pairs --out store --chunk 2";
    done(desk.path(), encode);
    // A copy with another time is the same file.
    let bytes = std::fs::read(at("1.png")).expect("a file");
    std::fs::write(at("1.png"), &bytes).expect("written");
    done(desk.path(), encode);
    std::fs::write(at("4.txt"), "a cat").expect("written");
    let text = refused(desk.path(), encode);
    assert!(
        text.contains("pairs/4.txt was changed after it was encoded"),
        "{text}"
    );
    std::fs::write(at("4.txt"), "a dog").expect("written");
    image::RgbImage::new(24, 24).save(at("5.png")).expect("written");
    let text = refused(desk.path(), encode);
    assert!(
        text.contains("pairs/5.png was changed after it was encoded"),
        "{text}"
    );
}
