//! The reference fixtures in `tests/golden`, by the library behind `eclipse verify`; and that `verify` cannot be fooled.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use burn::prelude::Device;
use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::models::clip::tokenizer::Tokenizer;
use eclipse_t2i::verify::{Arithmetic, Options, Record, Status, VerifyReport, verify};
use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};
use serde_json::{Value, json};

use crate::tiny::golden as committed;

fn device() -> Device {
    DeviceSpec::default()
        .device()
        .expect("the default device is built in")
}

fn run(dir: &Path, only: Option<&str>) -> VerifyReport {
    let options = Options {
        only: only.map(Into::into),
        ..Options::default()
    };
    verify(&[dir.to_path_buf()], &options, &device()).expect("a fixture")
}

/// A fixture with one golden, made of another's file by `change`.
fn altered(
    golden: &str,
    change: impl FnOnce(&mut HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>, &mut Value),
) -> (tempfile::TempDir, Record) {
    let source = committed("karlo-tiny-s0/goldens").join(format!("{golden}.safetensors"));
    let bytes = std::fs::read(source).expect("the golden");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let file = SafeTensors::deserialize(&bytes).expect("tensors");
    let mut tensors: HashMap<_, _> = file
        .iter()
        .map(|(name, v)| {
            (
                name.to_string(),
                (v.dtype(), v.shape().to_vec(), v.data().to_vec()),
            )
        })
        .collect();
    let text = header
        .metadata()
        .as_ref()
        .and_then(|m| m.get("info"))
        .expect("info")
        .clone();
    let mut info = serde_json::from_str(&text).expect("JSON");
    change(&mut tensors, &mut info);
    let views: HashMap<_, _> = tensors
        .iter()
        .map(|(name, (t, s, d))| (name.clone(), TensorView::new(*t, s.clone(), d).expect("a tensor")))
        .collect();
    let bytes = serialize(views, Some(HashMap::from([("info".into(), info.to_string())]))).expect("bytes");
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(dir.path().join("goldens")).expect("a folder");
    std::fs::write(
        dir.path().join("goldens").join(format!("{golden}.safetensors")),
        bytes,
    )
    .expect("written");
    std::fs::write(dir.path().join("manifest.json"), r#"{"goldens": {}}"#).expect("written");
    let record = run(dir.path(), None).records.remove(0);
    (dir, record)
}

/// The families that a walking prior and the decoders need must be among the goldens, or passing them says nothing.
const FIXTURES: &[(&str, &[&[&str]])] = &[
    ("karlo-tiny-s0", &[NEEDED, &["train"]]),
    ("kandinsky22-tiny-s0", &[NEEDED]),
    (
        "karlo-micro-s0",
        &[&[
            "karlo_decoder_unet",
            "karlo_super_res_first_unet",
            "karlo_super_res_last_unet",
            "text_proj",
            "bicubic_upscale",
            "karlo_decode",
            "karlo_decode_noguidance",
        ]],
    ),
    (
        "eval-tiny-s0",
        &[&[
            "fid_inception_full",
            "fid_inception_narrow",
            "fid_folders",
            "fid_preprocess",
            "frechet_d64_few",
            "kid",
            "npz",
            "pickscore_ties",
            "clip_preprocess",
            "spatial2d",
            "three_in_one",
            "blip_tokens",
            "blip_preprocess",
            "blip_pos_embed",
            "blip_vqa",
        ]],
    ),
    (
        "kandinsky22-micro-s0",
        &[&[
            "k22_unet",
            "noise_level_unet",
            "noise_augmentation",
            "movq",
            "pipeline_k22_decoder",
            "pipeline_k22_decoder_ddim",
            "k22_img2img",
            "k22_init_picture",
            "interpolation",
            "size_rounding",
        ]],
    ),
];
const NEEDED: &[&str] = &[
    "clip_text",
    "clip_vision",
    "prior_diffusion",
    "prior_eclipse",
    "prior_variant_eclipse_short",
    "prior_variant_time_embed_dim",
    "scheduler_",
    "lr_schedule",
    "timestep_embedding",
    "tokenizer",
];

#[test]
fn every_committed_golden_passes_on_every_device() {
    for spec in DeviceSpec::available() {
        let device = spec.device().expect("what is built in and listed can be had");
        let products = spec.check().expect("it computes rightly");
        for &(fixture, all_needed) in FIXTURES {
            let dir = committed(fixture);
            let manifest = std::fs::read_to_string(dir.join("manifest.json")).expect("a manifest");
            let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
            let listed = manifest["goldens"].as_object().expect("an index");
            for needed in all_needed.iter().copied().flatten() {
                assert!(
                    listed.keys().any(|k| k.starts_with(needed)),
                    "{fixture} has no {needed}"
                );
            }
            let options = Options {
                arithmetic: Arithmetic {
                    products,
                    ..Arithmetic::default()
                },
                ..Options::default()
            };
            let report = verify(std::slice::from_ref(&dir), &options, &device).expect("a fixture");
            assert_eq!(report.records.len(), listed.len());
            let bad: Vec<_> = report
                .records
                .iter()
                .filter(|r| r.status != Status::Pass)
                .collect();
            assert!(bad.is_empty(), "on {spec}: {bad:#?}");
        }
    }
}

/// A process has one precision, so each runs in its own.
#[test]
fn half_precision_reproduces_the_goldens_to_its_rounding() {
    let out = tempfile::tempdir().expect("a temporary folder");
    for dtype in ["f16", "bf16"] {
        let json = out.path().join(format!("{dtype}.json"));
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_eclipse"))
            .args(["verify", "--dtype", dtype, "--json"])
            .arg(&json)
            .args(FIXTURES.iter().map(|(fixture, _)| committed(fixture)))
            .output()
            .expect("the program runs");
        let table = String::from_utf8_lossy(&run.stdout);
        assert_eq!(run.status.code(), Some(0), "{table}");
        let records: Vec<Value> =
            serde_json::from_slice(&std::fs::read(&json).expect("records")).expect("JSON");
        let with = |status: &str| -> Vec<&str> {
            let records = records.iter().filter(|r| r["status"] == status);
            records.filter_map(|r| r["golden"].as_str()).collect()
        };
        assert_eq!(with("skipped"), ["train", "karlo_decode"]);
        assert_eq!(with("pass").len() + 2, records.len());
    }
}

#[test]
fn both_forms_of_a_tokenizer_give_the_reference_ids() {
    let root = committed("karlo-tiny-s0");
    let folder = root.join("karlo/tokenizer");
    let text = std::fs::read_to_string(root.join("goldens/tokenizer.json")).expect("the golden");
    let golden: Value = serde_json::from_str(&text).expect("JSON");

    // tokenizer.json as transformers writes it from the same vocabulary.
    let vocab = std::fs::read_to_string(folder.join("vocab.json")).expect("a vocabulary");
    let merges = std::fs::read_to_string(folder.join("merges.txt")).expect("merges");
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let words =
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    let whole = json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [special(49406, "<|startoftext|>"), special(49407, "<|endoftext|>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
        "post_processor": {"type": "RobertaProcessing", "sep": ["<|endoftext|>", 49407],
            "cls": ["<|startoftext|>", 49406], "trim_offsets": false, "add_prefix_space": false},
        "decoder": null,
        "model": {"type": "BPE", "unk_token": "<|endoftext|>", "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "vocab": serde_json::from_str::<Value>(&vocab).expect("JSON"),
            "merges": merges.lines().skip(1).collect::<Vec<_>>()}
    });
    let other = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(other.path().join("tokenizer.json"), whole.to_string()).expect("written");

    for folder in [folder.as_path(), other.path()] {
        let tokenizer = Tokenizer::load(folder, 77).expect("loads");
        assert_eq!(
            (
                tokenizer.n_vocab(),
                tokenizer.bos(),
                tokenizer.eos(),
                tokenizer.pad()
            ),
            (49408, 49406, 49407, 49407)
        );
        let rows = golden["prompts"].as_array().expect("rows");
        assert_eq!(rows.len(), 36);
        for row in rows {
            let text = row["text"].as_str().expect("a text");
            let tokens = tokenizer.encode(text).expect("encodes");
            assert_eq!(json!(tokens.ids), row["hf_fast"], "{text:?}");
            assert_eq!(json!(tokens.n_valid), row["mask_len"], "{text:?}");
            let whole = row["hf_fast_untruncated"].as_array().expect("ids").len();
            assert_eq!(tokens.n_words_cut > 0, whole > 77, "{text:?}");
        }
    }
}

#[test]
fn words_that_do_not_fit_are_counted() {
    let tokenizer = Tokenizer::load(committed("karlo-tiny-s0/karlo/tokenizer"), 77).expect("loads");
    let text = ["word"; 90].join(" ");
    let tokens = tokenizer.encode(&text).expect("encodes");
    assert_eq!((tokens.n_valid, tokens.n_words_cut), (77, 15));
    // Inside a multi-byte text the count is by the original's bytes.
    let text = ["naïve"; 90].join(" ");
    let tokens = tokenizer.encode(&text).expect("encodes");
    assert!(
        tokens.n_words_cut > 15 && tokens.n_words_cut < 90,
        "{}",
        tokens.n_words_cut
    );
}

#[test]
fn a_changed_number_fails() {
    let (_dir, record) = altered("lr_schedule", |tensors, _| {
        let name = tensors.keys().min().expect("a tensor").clone();
        let data = &mut tensors.get_mut(&name).expect("it").2;
        let value = f64::from_le_bytes(data[80..88].try_into().expect("8 bytes")) + 1e-9;
        data[80..88].copy_from_slice(&value.to_le_bytes());
    });
    assert_eq!(record.status, Status::Fail);
    assert!(
        record.max_abs_diff.is_some_and(|d| (d - 1e-9).abs() < 1e-12),
        "{record:?}"
    );
    assert!(
        record
            .message
            .is_some_and(|m| m.ends_with("difference above the tolerance"))
    );
}

#[test]
fn a_tensor_that_nobody_compares_fails() {
    for name in ["out.more", "something"] {
        let (_dir, record) = altered("timestep_embedding", |tensors, _| {
            tensors.insert(name.into(), (Dtype::F32, vec![1], vec![0; 4]));
        });
        assert_eq!(record.status, Status::Fail);
        assert_eq!(record.message, Some(format!("{name} was not compared")));
    }
}

#[test]
fn a_value_that_is_not_finite_fails() {
    let (_dir, record) = altered("timestep_embedding", |tensors, _| {
        tensors.get_mut("dim16").expect("dim16").2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert_eq!(
        (record.status, record.tensor.as_deref()),
        (Status::Fail, Some("dim16"))
    );
}

#[test]
fn another_shape_fails() {
    let (_dir, record) = altered("timestep_embedding", |tensors, _| {
        tensors.get_mut("dim16").expect("dim16").1 = vec![16, 5];
    });
    let message = record.message.unwrap_or_default();
    assert_eq!(
        (record.status, message.as_str()),
        (Status::Fail, "dim16: expected shape [16, 5], computed [5, 16]")
    );
}

#[test]
fn what_cannot_be_computed_is_an_error_with_a_reason() {
    let (_dir, record) = altered("scheduler_unclip_super_res", |_, info| {
        info["config"]["variance_type"] = "huge".into()
    });
    assert_eq!(record.status, Status::Error);
    assert!(
        record
            .message
            .is_some_and(|m| m.contains("variance_type: expected fixed_small_log or"))
    );
    let (_dir, record) = altered("timestep_embedding", |tensors, _| {
        tensors.remove("t");
    });
    assert_eq!(record.status, Status::Error);
    let message = "golden timestep_embedding: tensor `t`: expected a tensor, found none";
    assert_eq!(record.message.as_deref(), Some(message));
}

#[test]
fn broken_absent_and_unknown_goldens_are_reported() {
    let (dir, _) = altered("timestep_embedding", |_, _| {});
    let goldens = dir.path().join("goldens");
    let file = goldens.join("timestep_embedding.safetensors");
    let bytes = std::fs::read(&file).expect("the golden");
    std::fs::write(goldens.join("hologram.safetensors"), &bytes).expect("written");
    std::fs::write(&file, &bytes[..bytes.len() - 10]).expect("written");
    std::fs::write(
        dir.path().join("manifest.json"),
        r#"{"goldens": {"lr_schedule": {}}}"#,
    )
    .expect("written");
    let report = run(dir.path(), None);
    let state: Vec<_> = report
        .records
        .iter()
        .map(|r| (r.golden.as_str(), r.status))
        .collect();
    let want = [
        ("hologram", Status::Unsupported),
        ("lr_schedule", Status::Error),
        ("timestep_embedding", Status::Error),
    ];
    assert_eq!(state, want);
    for record in &report.records[1..] {
        assert!(
            record
                .message
                .as_ref()
                .is_some_and(|m| m.contains(&record.golden)),
            "{record:?}"
        );
    }
}

#[test]
fn nothing_to_do_is_an_error() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let at = |dirs: &[PathBuf], only: &str| {
        let options = Options {
            only: Some(only.into()),
            ..Options::default()
        };
        verify(dirs, &options, &device()).map_err(|e| e.to_string())
    };
    let error = at(&[empty.path().to_path_buf()], "").expect_err("no fixture");
    assert!(
        error.starts_with("no fixture among") && error.ends_with("with a manifest.json, or a .zip of one"),
        "{error}"
    );
    let error = at(&[PathBuf::from("no/such/folder")], "").expect_err("no folder");
    assert_eq!(error, "no such file: no/such/folder");
    let fixture = committed("karlo-tiny-s0");
    let error = at(std::slice::from_ref(&fixture), "holo*").expect_err("no golden");
    assert_eq!(error, "no golden matches \"holo*\"");
    // A folder that is no fixture beside one that is: skipped, and named.
    let report = at(&[empty.path().to_path_buf(), fixture], "lr_schedule").expect("one fixture");
    assert_eq!((report.records.len(), report.skipped.len()), (1, 1));
}

/// A zip archive of these entries.
fn zipped(path: &Path, entries: &[(&str, &[u8])]) {
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).expect("created"));
    for (name, bytes) in entries {
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file(*name, options).expect("started");
        archive.write_all(bytes).expect("written");
    }
    archive.finish().expect("finished");
}

#[test]
fn an_archive_is_a_fixture_and_a_broken_one_an_error() {
    let desk = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| desk.path().join(name);
    let error = |name: &str| {
        let error = verify(&[at(name)], &Options::default(), &device()).expect_err("broken");
        error
            .to_string()
            .replace(&desk.path().display().to_string(), "DESK")
    };
    let golden =
        std::fs::read(committed("karlo-tiny-s0/goldens/lr_schedule.safetensors")).expect("the golden");
    let (manifest, file) = ("manifest.json", "goldens/lr_schedule.safetensors");
    let index: &[u8] = br#"{"goldens": {"lr_schedule": {}}}"#;

    // The fixture itself, and in a folder.
    zipped(&at("plain.zip"), &[(manifest, index), (file, &golden)]);
    let inside: Vec<String> = [manifest, file]
        .iter()
        .map(|name| format!("a-folder/{name}"))
        .collect();
    zipped(&at("folder.zip"), &[(&inside[0], index), (&inside[1], &golden)]);
    let report = verify(
        &[at("plain.zip"), at("folder.zip")],
        &Options::default(),
        &device(),
    )
    .expect("fixtures");
    let found: Vec<_> = report
        .records
        .iter()
        .map(|r| (r.fixture.as_str(), r.status))
        .collect();
    assert_eq!(found, [("plain", Status::Pass), ("folder", Status::Pass)]);

    zipped(&at("empty.zip"), &[]);
    assert!(error("empty.zip").starts_with("no fixture among DESK/empty.zip"));
    std::fs::write(at("text.zip"), "text").expect("written");
    assert!(error("text.zip").starts_with("DESK/text.zip: no zip archive: "));
    let whole = std::fs::read(at("plain.zip")).expect("the archive");
    std::fs::write(at("cut.zip"), &whole[..whole.len() / 2]).expect("written");
    assert!(error("cut.zip").starts_with("DESK/cut.zip: no zip archive: "));
    let mut changed = whole;
    changed[300] ^= 1;
    std::fs::write(at("changed.zip"), changed).expect("written");
    let said = error("changed.zip");
    assert!(
        said.starts_with(&format!("DESK/changed.zip: entry {file:?} cannot be unpacked")),
        "{said}"
    );
    let outside = |name: &str| {
        format!("DESK/outside.zip: entry {name:?}: expected a file or a folder inside the archive")
    };
    zipped(&at("outside.zip"), &[(manifest, index), ("../../outside", b"x")]);
    assert_eq!(error("outside.zip"), outside("../../outside"));
    let mut archive = zip::ZipWriter::new(std::fs::File::create(at("outside.zip")).expect("created"));
    archive
        .add_symlink("goldens", "/", zip::write::SimpleFileOptions::default())
        .expect("written");
    archive.finish().expect("finished");
    assert_eq!(error("outside.zip"), outside("goldens"));
    let mut archive = zip::ZipWriter::new(std::fs::File::create(at("bomb.zip")).expect("created"));
    archive
        .start_file("zeros", zip::write::SimpleFileOptions::default())
        .expect("started");
    std::io::copy(&mut std::io::repeat(0).take((1 << 30) + 1), &mut archive).expect("written");
    archive.finish().expect("finished");
    let expected = "DESK/bomb.zip: entry \"zeros\": expected at most 1024 MiB in the archive's files";
    assert_eq!(error("bomb.zip"), expected);
    let names: Vec<String> = (0..10_001).map(|i| i.to_string()).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    zipped(&at("many.zip"), &many);
    assert_eq!(
        error("many.zip"),
        "DESK/many.zip: expected at most 10000 files, found 10001"
    );
}

#[test]
fn the_dump_has_the_goldens_names_and_passes_itself() {
    let dir = committed("karlo-tiny-s0");
    let out = tempfile::tempdir().expect("a temporary folder");
    let options = Options {
        only: Some("lr_schedule".into()),
        dump: Some(out.path().to_path_buf()),
        ..Options::default()
    };
    verify(std::slice::from_ref(&dir), &options, &device()).expect("runs");
    let names = |path: PathBuf| {
        let bytes = std::fs::read(path).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("tensors");
        let mut names: Vec<_> = file
            .iter()
            .map(|(n, v)| (n.to_string(), v.dtype(), v.shape().to_vec()))
            .collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        names
    };
    let computed = names(out.path().join("lr_schedule.safetensors"));
    assert_eq!(computed, names(dir.join("goldens/lr_schedule.safetensors")));
}

#[test]
fn the_command_prints_a_table_writes_records_and_fails_where_a_golden_does() {
    let eclipse = |dir: &Path, json: &Path, only: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_eclipse"))
            .args(["verify", "--only", only, "--json"])
            .args([json, dir])
            .output()
            .expect("the program runs")
    };
    let out = tempfile::tempdir().expect("a temporary folder");
    let json = out.path().join("records.json");
    let good = eclipse(&committed("karlo-tiny-s0"), &json, "timestep*");
    assert_eq!(
        good.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    let table = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(
        table.contains("timestep_embedding") && table.contains("pass"),
        "{table}"
    );
    assert!(
        table.ends_with("1 goldens: 1 pass, 0 fail, 0 error, 0 UNSUPPORTED\n"),
        "{table}"
    );
    let records: Value = serde_json::from_slice(&std::fs::read(&json).expect("records")).expect("JSON");
    let mut keys: Vec<_> = records[0]
        .as_object()
        .expect("a record")
        .keys()
        .cloned()
        .collect();
    keys.sort();
    let want = [
        "fixture",
        "golden",
        "max_abs_diff",
        "reference_noise",
        "status",
        "tensor",
        "tolerance",
    ];
    assert_eq!(keys, want);
    assert_eq!(records[0]["status"], "pass");

    let (dir, _) = altered("timestep_embedding", |tensors, _| {
        tensors.insert("out.more".into(), (Dtype::F32, vec![1], vec![0; 4]));
    });
    let bad = eclipse(dir.path(), &json, "timestep*");
    assert_eq!(bad.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(stderr.contains("1 of 1 goldens did not pass on"), "{stderr}");
    assert!(String::from_utf8_lossy(&bad.stdout).contains("out.more was not compared"));
}
