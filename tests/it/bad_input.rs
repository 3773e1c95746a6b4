//! What users get wrong, through the real program: exit code and message of each case, and nothing half-written afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use eclipse_t2i::models::clip::preprocess::read_image;
use safetensors::Dtype;
use serde_json::json;

use crate::program::eclipse;
use crate::tiny::{
    alter, alter_json, golden, prior_config, temporaries, write_clip, write_prior, write_time_prior,
};

const RUN: &str = "clip = 'clip'\n[data]\nn_pairs = 8\n[model]\nn_heads = 1\nd_head = 4\nn_layers = 1\n\
    [train]\nsteps = 2\nbatch_size = 4\n[eval]\nn_prompts = 1\nn_noise = 1\n";

const TRAIN: &[&str] = &["train", "--config", "one.toml", "--out", "run"];
const PREDICT: &[&str] = &[
    "prior",
    "--prior",
    "prior",
    "--text",
    "clip",
    "--prompts",
    "prompts.txt",
    "--out",
    "out.npy",
];
const SAMPLE: &[&str] = &[
    "prior",
    "--prior",
    "time",
    "--text",
    "clip",
    "--prompts",
    "prompts.txt",
    "--out",
    "out.safetensors",
];

/// Name of the weights in a prior's folder.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A folder in which every command would work: `clip/`, `prior/`, `time/`, `prompts.txt`, `one.toml`.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    write_prior(&at("prior"), &prior_config());
    write_time_prior(&at("time"));
    std::fs::write(at("prompts.txt"), "a red cat\na blue dog\n").expect("written");
    std::fs::write(at("one.toml"), RUN).expect("written");
    desk
}

/// Every file below `root`, except what a run writes about itself before it fails.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut left) = (BTreeSet::new(), vec![root.to_path_buf()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
            match entry.path() {
                path if path.ends_with("tensorboard") => {} // a file of its own each session
                path if path.is_dir() => left.push(path),
                path => drop(found.insert(path)),
            }
        }
    }
    let of_run = [
        "LOCK",
        "config.toml",
        "spec.toml",
        "provenance.json",
        "metrics.jsonl",
    ];
    found.retain(|path| !of_run.iter().any(|name| path == &root.join("run").join(name)));
    found
}

type Case<'a> = (&'a str, &'a [&'a str], &'a dyn Fn(&Path));

/// Runs each case at a desk of its own and returns what the program said.
fn said(cases: &[Case]) -> String {
    let mut text = String::new();
    for (name, args, spoil) in cases {
        let desk = desk();
        spoil(desk.path());
        let before = files(desk.path());
        let (code, out, err) = eclipse(desk.path(), *args);
        assert!(matches!(code, 1 | 2), "{name}: {code:?}: {out}{err}");
        assert_eq!(out, "", "{name}: stdout is for data");
        assert!(
            err.starts_with("error: ") && !err.contains("panicked"),
            "{name}: {err}"
        );
        assert_eq!(files(desk.path()), before, "{name}");
        assert_eq!(temporaries(desk.path()), Vec::<PathBuf>::new(), "{name}");
        text += &format!("== {name}\n$ eclipse {}\nexit {}\n{err}\n", args.join(" "), code);
    }
    text
}

macro_rules! snapshot {
    ($name:literal, $cases:expr) => {
        insta::with_settings!({filters => vec![("[0-9a-f]{64}", "HASH"), (env!("CARGO_MANIFEST_DIR"), "ROOT")], omit_expression => true}, {
            insta::assert_snapshot!($name, said($cases));
        });
    };
}

fn nothing(_: &Path) {}

fn cut(path: &Path, keep: f64) {
    let bytes = std::fs::read(path).expect("a file");
    std::fs::write(path, &bytes[..(bytes.len() as f64 * keep) as usize]).expect("written");
}

fn append(path: &Path, text: &str) {
    let old = std::fs::read_to_string(path).expect("a file");
    std::fs::write(path, old + text).expect("written");
}

#[test]
fn the_desk_is_in_order() {
    let desk = desk();
    for args in [TRAIN, PREDICT, SAMPLE, &["inspect", "clip"]] {
        let (code, _, err) = eclipse(desk.path(), args);
        assert_eq!(code, 0, "{args:?}: {err}");
    }
    for written in ["run/DONE", "out.npy", "out.safetensors"] {
        assert!(desk.path().join(written).is_file(), "{written}");
    }
}

#[test]
fn configurations() {
    let write =
        |text: &'static str| move |desk: &Path| std::fs::write(desk.join("one.toml"), text).expect("written");
    snapshot!(
        "configurations",
        &[
            ("unknown key", TRAIN, &write("[train]\nlrr = 1.0\n")),
            ("unknown table", TRAIN, &write("[training]\nlr = 1.0\n")),
            (
                "key of another objective",
                TRAIN,
                &write("[objective]\nkind = 'projection'\nlambda = 0.2\n")
            ),
            ("wrong type", TRAIN, &write("[train]\nsteps = 'many'\n")),
            ("a table for a number", TRAIN, &write("[train.lr]\nvalue = 1\n")),
            ("out of range", TRAIN, &write("[train]\nlr = -1.0\n")),
            ("not a number", TRAIN, &write("[objective]\nlambda = nan\n")),
            ("no batch", TRAIN, &write("[train]\nbatch_size = 0\n")),
            (
                "fewer pairs than a batch",
                TRAIN,
                &write("[data]\nn_pairs = 8\n[train]\nbatch_size = 9\n")
            ),
            ("no TOML", TRAIN, &write("[train\nlr = 1\n")),
            ("unknown kind", TRAIN, &write("[objective]\nkind = 'gan'\n")),
            ("missing base", TRAIN, &write("extends = 'base.toml'\n")),
            (
                "odd width",
                TRAIN,
                &write("[train]\nsteps = 1\n[model]\nn_heads = 1\nd_head = 3\n")
            ),
        ]
    );
}

#[test]
fn folders_of_clip() {
    let remove = |name: &'static str| {
        move |desk: &Path| std::fs::remove_file(desk.join("clip").join(name)).expect("it")
    };
    let config = |pointer: &'static str, value: serde_json::Value| {
        move |desk: &Path| {
            alter_json(&desk.join("clip/config.json"), |json| {
                *json.pointer_mut(pointer).expect("a key") = value.clone();
            });
        }
    };
    snapshot!(
        "folders_of_clip",
        &[
            ("no folder", TRAIN, &|desk| std::fs::remove_dir_all(
                desk.join("clip")
            )
            .expect("it")),
            ("no config", TRAIN, &remove("config.json")),
            ("no weights", TRAIN, &remove("model.safetensors")),
            ("no tokenizer", TRAIN, &remove("tokenizer.json")),
            ("no preprocessing", TRAIN, &remove("preprocessor_config.json")),
            ("broken config", TRAIN, &|desk| cut(
                &desk.join("clip/config.json"),
                0.5
            )),
            ("broken tokenizer", TRAIN, &|desk| cut(
                &desk.join("clip/tokenizer.json"),
                0.5
            )),
            ("broken preprocessing", TRAIN, &|desk| cut(
                &desk.join("clip/preprocessor_config.json"),
                0.5
            )),
            ("unknown model", TRAIN, &config("/model_type", json!("siglip"))),
            (
                "unknown activation",
                TRAIN,
                &config("/text_config/hidden_act", json!("relu"))
            ),
            (
                "a word for a number",
                TRAIN,
                &config("/vision_config/hidden_size", json!("wide"))
            ),
            (
                "no heads",
                TRAIN,
                &config("/text_config/num_attention_heads", json!(0))
            ),
            (
                "heads that do not divide",
                TRAIN,
                &config("/vision_config/num_attention_heads", json!(5))
            ),
            ("no patch", TRAIN, &config("/vision_config/patch_size", json!(0))),
            (
                "patches that do not fit",
                TRAIN,
                &config("/vision_config/patch_size", json!(7))
            ),
            (
                "another picture size",
                TRAIN,
                &config("/vision_config/image_size", json!(24))
            ),
            (
                "a text of one token",
                TRAIN,
                &config("/text_config/max_position_embeddings", json!(1))
            ),
            (
                "another joint width",
                TRAIN,
                &config("/projection_dim", json!(20))
            ),
            ("a small vocabulary", TRAIN, &|desk| {
                alter_json(&desk.join("clip/config.json"), |json| {
                    json["text_config"]["vocab_size"] = json!(7)
                });
                alter(&desk.join("clip/model.safetensors"), |tensors| {
                    let table = tensors
                        .get_mut("text_model.embeddings.token_embedding.weight")
                        .expect("it");
                    table.1[0] = 7;
                    table.2.truncate(7 * 16 * 4);
                });
            }),
            ("no temperature", TRAIN, &|desk| {
                alter(&desk.join("clip/model.safetensors"), |tensors| {
                    drop(tensors.remove("logit_scale"))
                });
            }),
        ]
    );
}

#[test]
fn weights() {
    let spoil = |change: fn(&mut crate::tiny::Tensors)| {
        move |desk: &Path| alter(&desk.join("prior").join(WEIGHTS), change)
    };
    let index = |shard: &'static str| {
        move |desk: &Path| {
            std::fs::remove_file(desk.join("prior").join(WEIGHTS)).expect("it");
            let index = json!({"weight_map": {"prd_embedding": shard}}).to_string();
            std::fs::write(desk.join("prior").join(format!("{WEIGHTS}.index.json")), index).expect("written");
        }
    };
    snapshot!(
        "weights",
        &[
            ("cut in the data", PREDICT, &|desk| cut(
                &desk.join("prior").join(WEIGHTS),
                0.9
            )),
            ("cut in the header", PREDICT, &|desk| cut(
                &desk.join("prior").join(WEIGHTS),
                0.01
            )),
            ("empty", PREDICT, &|desk| cut(
                &desk.join("prior").join(WEIGHTS),
                0.0
            )),
            ("something else", PREDICT, &|desk| {
                std::fs::write(
                    desk.join("prior").join(WEIGHTS),
                    "version https://git-lfs.github.com/spec/v1\n",
                )
                .expect("it");
            }),
            (
                "another shape",
                PREDICT,
                &spoil(|t| {
                    t.get_mut("proj_in.weight").expect("it").1 = vec![8, 32];
                    t.get_mut("prd_embedding").expect("it").1 = vec![16];
                })
            ),
            (
                "missing and unused",
                PREDICT,
                &spoil(|t| {
                    let query = t.remove("transformer_blocks.1.attn1.to_q.weight").expect("it");
                    t.insert("transformer_blocks.1.attn1.to_q.lora".into(), query);
                })
            ),
            (
                "integers",
                PREDICT,
                &spoil(|t| t.get_mut("proj_in.bias").expect("it").0 = Dtype::I32)
            ),
            (
                "eight bits",
                PREDICT,
                &spoil(|t| {
                    let bias = t.get_mut("proj_in.bias").expect("it");
                    *bias = (Dtype::F8_E4M3, bias.1.clone(), vec![0; bias.1[0]]);
                })
            ),
            ("a tower for a prior", PREDICT, &|desk| {
                std::fs::copy(
                    desk.join("clip/model.safetensors"),
                    desk.join("prior").join(WEIGHTS),
                )
                .expect("copied");
            }),
            ("a shard outside", PREDICT, &index("../clip/model.safetensors")),
            ("a shard by its whole path", PREDICT, &index("/etc/hostname")),
            ("a shard that is not there", PREDICT, &index("part-1.safetensors")),
            ("no weights", PREDICT, &|desk| std::fs::remove_file(
                desk.join("prior").join(WEIGHTS)
            )
            .expect("it")),
            ("inspected", &["inspect", "prior"], &|desk| cut(
                &desk.join("prior").join(WEIGHTS),
                0.9
            )),
        ]
    );
}

#[test]
fn configs_of_priors() {
    let set = |key: &'static str, value: serde_json::Value| {
        move |desk: &Path| alter_json(&desk.join("prior/config.json"), |json| json[key] = value.clone())
    };
    let schedule = |key: &'static str, value: serde_json::Value| {
        move |desk: &Path| {
            alter_json(&desk.join("time/scheduler_config.json"), |json| {
                json[key] = value.clone()
            })
        }
    };
    snapshot!(
        "configs_of_priors",
        &[
            ("no folder", PREDICT, &|desk| std::fs::remove_dir_all(
                desk.join("prior")
            )
            .expect("it")),
            ("no config", PREDICT, &|desk| std::fs::remove_file(
                desk.join("prior/config.json")
            )
            .expect("it")),
            ("broken config", PREDICT, &|desk| cut(
                &desk.join("prior/config.json"),
                0.5
            )),
            (
                "another class",
                PREDICT,
                &set("_class_name", json!("UNet2DConditionModel"))
            ),
            (
                "unknown activation",
                PREDICT,
                &set("time_embed_act_fn", json!("relu"))
            ),
            ("unknown norm", PREDICT, &set("norm_in_type", json!("batch"))),
            ("unknown query", PREDICT, &set("added_emb_type", json!(null))),
            ("dropout", PREDICT, &set("dropout", json!(0.1))),
            ("extra tokens", PREDICT, &set("additional_embeddings", json!(5))),
            ("no layers", PREDICT, &set("num_layers", json!(0))),
            ("a negative size", PREDICT, &set("embedding_dim", json!(-16))),
            ("another d_clip", PREDICT, &|desk| {
                std::fs::remove_dir_all(desk.join("prior")).expect("it");
                let config = eclipse_t2i::models::prior::PriorConfig {
                    d_clip: 24,
                    ..prior_config()
                };
                write_prior(&desk.join("prior"), &config);
            }),
            ("another text length", PREDICT, &|desk| {
                std::fs::remove_dir_all(desk.join("prior")).expect("it");
                let config = eclipse_t2i::models::prior::PriorConfig {
                    n_text: 77,
                    ..prior_config()
                };
                write_prior(&desk.join("prior"), &config);
            }),
            ("no scheduler", SAMPLE, &|desk| std::fs::remove_file(
                desk.join("time/scheduler_config.json")
            )
            .expect("it")),
            (
                "unknown scheduler",
                SAMPLE,
                &schedule("_class_name", json!("EulerDiscreteScheduler"))
            ),
            (
                "unknown prediction",
                SAMPLE,
                &schedule("prediction_type", json!("velocity"))
            ),
            (
                "unknown variance",
                SAMPLE,
                &schedule("variance_type", json!("huge"))
            ),
            ("no timesteps", SAMPLE, &schedule("num_train_timesteps", json!(0))),
        ]
    );
}

#[test]
fn requests() {
    let more = |args: &[&'static str], extra: &[&'static str]| [args, extra].concat();
    let steps = more(SAMPLE, &["--steps", "0"]);
    let many = more(SAMPLE, &["--steps", "1001"]);
    let guidance = more(SAMPLE, &["--guidance", "-1"]);
    let not_a_number = more(SAMPLE, &["--guidance", "nan"]);
    let eta = more(SAMPLE, &["--eta", "-0.5"]);
    let none = more(SAMPLE, &["--best-of", "0"]);
    let absent = more(&PREDICT[..5], &["--out", "out.npy"]);
    let picture = more(&PREDICT[..7], &["--out", "out.png"]);
    let blocked = more(&PREDICT[..7], &["--out", "prompts.txt/out.npy"]);
    let nowhere = more(&PREDICT[..7], &["--out", "no/such/out.npy"]);
    let unknown = more(PREDICT, &["--device", "tpu"]);
    let run_blocked = ["train", "--config", "one.toml", "--out", "prompts.txt/run"];
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/karlo-tiny-s0.zip");
    let records = [
        "verify",
        "--only",
        "lr_schedule",
        "--json",
        "prompts.txt/records.json",
        fixture,
    ];
    let dump = [
        "verify",
        "--only",
        "lr_schedule",
        "--dump",
        "prompts.txt/dump",
        fixture,
    ];
    snapshot!(
        "requests",
        &[
            ("no prompts", PREDICT, &|desk| std::fs::remove_file(
                desk.join("prompts.txt")
            )
            .expect("it")),
            ("empty prompts", PREDICT, &|desk| std::fs::write(
                desk.join("prompts.txt"),
                "\n  \n"
            )
            .expect("it")),
            ("prompts in Latin-1", PREDICT, &|desk| {
                std::fs::write(desk.join("prompts.txt"), b"a caf\xe9\n").expect("it");
            }),
            ("a folder for prompts", PREDICT, &|desk| {
                std::fs::remove_file(desk.join("prompts.txt")).expect("it");
                std::fs::create_dir(desk.join("prompts.txt")).expect("it");
            }),
            ("--prompts left out", &absent, &nothing),
            ("no steps", &steps, &nothing),
            ("too many steps", &many, &nothing),
            ("negative guidance", &guidance, &nothing),
            ("guidance that is no number", &not_a_number, &nothing),
            ("negative eta", &eta, &nothing),
            ("the best of none", &none, &nothing),
            ("unknown format", &picture, &nothing),
            ("a file for a folder", &blocked, &nothing),
            ("a folder that is not there", &nowhere, &nothing),
            ("a run in a file", &run_blocked, &nothing),
            ("records in a file", &records, &nothing),
            ("a dump in a file", &dump, &nothing),
            ("unknown device", &unknown, &nothing),
        ]
    );
}

/// The disk refuses at every place where a run writes: it stops there, and goes on when the disk is in order again.
#[test]
fn a_run_whose_disk_refuses() {
    for blocked in [
        "checkpoint",
        "prior",
        "eval",
        "metrics.jsonl",
        "eval/embedding.json",
    ] {
        let desk = desk();
        let path = desk.path().join("run").join(blocked);
        // What stands in the way is of the other kind: a file for a folder, a folder for a file.
        let (code, _, err) = eclipse(desk.path(), [TRAIN, &["--set", "train.steps=1"]].concat());
        assert_eq!(code, 0, "{err}");
        let complete = files(desk.path());
        let is_folder = path.is_dir();
        for name in ["DONE", "prior", "checkpoint", "metrics.jsonl", "eval"] {
            let path = desk.path().join("run").join(name);
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        match is_folder {
            true => std::fs::write(&path, "in the way").expect("written"),
            false => std::fs::create_dir_all(path.join("in the way")).expect("made"),
        }
        let again = [TRAIN, &["--set", "train.steps=1", "--resume"]].concat();
        let (code, _, err) = eclipse(desk.path(), &again);
        assert_eq!(code, 1, "{blocked}: {err}");
        let named =
            err.lines().any(|line| line.starts_with("error: ")) && err.contains(&format!("run/{blocked}"));
        assert!(named && !err.contains("panicked"), "{blocked}: {err}");
        assert!(!desk.path().join("run/DONE").exists());
        assert_eq!(temporaries(desk.path()), Vec::<PathBuf>::new(), "{blocked}");
        match is_folder {
            true => std::fs::remove_file(&path).expect("removed"),
            false => std::fs::remove_dir_all(&path).expect("removed"),
        }
        let (code, _, err) = eclipse(desk.path(), &again);
        assert_eq!(code, 0, "{blocked}: {err}");
        assert_eq!(files(desk.path()), complete, "{blocked}");
    }
}

#[test]
fn run_directories_of_others() {
    let made = |desk: &Path| assert_eq!(eclipse(desk, TRAIN).0, 0);
    let other = [TRAIN, &["--set", "objective.lambda=0.5"]].concat();
    snapshot!(
        "run_directories_of_others",
        &[
            ("another configuration", &other, &made),
            ("another CLIP", TRAIN, &|desk| {
                made(desk);
                append(&desk.join("clip/preprocessor_config.json"), "\n");
            }),
            ("a folder with other things", TRAIN, &|desk| {
                std::fs::create_dir(desk.join("run")).expect("made");
                std::fs::write(desk.join("run/thesis.tex"), "").expect("written");
            }),
            ("unfinished", TRAIN, &|desk| {
                made(desk);
                std::fs::remove_file(desk.join("run/DONE")).expect("it");
            }),
            ("a configuration that was edited", TRAIN, &|desk| {
                made(desk);
                std::fs::write(desk.join("run/config.toml"), "[train").expect("written");
            }),
        ]
    );
}

#[test]
fn pictures() {
    let desk = tempfile::tempdir().expect("a folder");
    let whole = golden("karlo-tiny-s0/images/square.png");
    let bytes = std::fs::read(&whole).expect("a picture");
    read_image(&whole).expect("it can be read");
    let mut answers = String::new();
    for (name, bytes) in [
        ("text.png", &b"no picture"[..]),
        ("empty.png", &[]),
        ("cut.png", &bytes[..bytes.len() / 2]),
        ("cut_in_header.png", &bytes[..20]),
    ] {
        std::fs::write(desk.path().join(name), bytes).expect("written");
        let error = read_image(desk.path().join(name)).expect_err(name).to_string();
        answers += &error.replace(&format!("{}/", desk.path().display()), "");
        answers.push('\n');
    }
    let error = read_image(desk.path().join("absent.png"))
        .expect_err("absent")
        .to_string();
    answers += &error.replace(&format!("{}/", desk.path().display()), "");
    insta::assert_snapshot!("pictures", answers);
}
