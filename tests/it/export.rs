//! `eclipse export`: what it writes is what was trained, in the published layout; what it refuses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eclipse_t2i::generate::prior::{AnyPrior, PriorSettings};
use eclipse_t2i::models::clip::{ImageEncoder, TextEncoder};
use eclipse_t2i::models::prior::{PriorConfig, TextCondition};
use eclipse_t2i::noise::Noise;
use safetensors::Dtype;
use serde_json::Value;

use crate::keys::published;
use crate::program::eclipse;
use crate::tiny::{self, DIFFUSERS, device, golden, temporaries, write_clip, write_prior};

const RUN: &str = "clip = 'clip'\n[data]\nn_pairs = 8\n[model]\nn_heads = 2\nd_head = 4\nn_layers = 2\n\
    [train]\nsteps = 2\nbatch_size = 4\n[eval]\nn_prompts = 1\nn_noise = 1\n";

/// A desk with a tiny CLIP and finished runs: `one_pass`, `time`, `hidden` (reads hidden states alone), `flow`, `baseline`.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    write_clip(&desk.path().join("clip"));
    std::fs::write(desk.path().join("one.toml"), RUN).expect("written");
    for (name, setting) in [
        ("one_pass", "objective.kind=eclipse"),
        ("time", "objective.kind=diffusion"),
        ("hidden", "model.conditioning=hidden"),
        ("flow", "objective.kind=flow"),
        ("baseline", "objective.kind=baseline"),
    ] {
        let args = ["train", "--config", "one.toml", "--out", name, "--set", setting];
        let (code, _, err) = eclipse(desk.path(), args);
        assert_eq!(code, 0, "{err}");
    }
    desk
}

fn json(path: &Path) -> serde_json::Map<String, Value> {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("an object")
}

/// The towers of an export encode as the CLIP that they were parted from.
fn same_towers(clip: &Path, export: &Path) {
    let texts = |dir: &Path| {
        let tower = TextEncoder::load(dir, &device()).expect("loads");
        let encoded = tower.encode(&["a red car", "a purple dog"]).expect("encodes");
        encoded.z_y.into_data().iter::<f32>().collect::<Vec<_>>()
    };
    assert_eq!(texts(export), texts(clip));
    let zero = |dir: &Path| {
        let tower = ImageEncoder::load(dir, &device()).expect("loads");
        tower.zero_image().into_data().iter::<f32>().collect::<Vec<_>>()
    };
    assert_eq!(zero(&export.join("image_encoder")), zero(clip));
}

/// What a prior makes of one caption.
fn predicted(dir: &Path) -> Vec<f32> {
    let (config, prior) = AnyPrior::load(dir, &device()).expect("loads");
    let mut noise = Noise::new(1);
    let text = TextCondition {
        z_y: noise.normal([2, config.d_clip], &device()),
        tokens: noise.normal([2, config.n_text, config.d_clip], &device()),
        mask: Some(burn::tensor::Tensor::<2>::ones([2, config.n_text], &device()).into()),
    };
    let settings = PriorSettings {
        n_steps: 3,
        ..PriorSettings::default()
    };
    let sampled = prior.sample(text.clone(), text, settings, &mut noise, |_| {});
    sampled.expect("samples").into_data().iter::<f32>().collect()
}

#[test]
fn an_export_is_the_trained_prior_in_the_published_layout() {
    let desk = desk();
    let at = |path: &str| desk.path().join(path);
    let export = |run: &str, to: &str, more: &[&str]| {
        let (code, out, err) = eclipse(desk.path(), [&["export", run, "--to", to], more].concat());
        assert_eq!(code, 0, "{err}");
        assert!(out.lines().all(|line| line.starts_with("wrote ")), "{out}");
        let n_files = out.lines().count();
        (n_files, err)
    };
    for (run, config, scheduler) in [
        ("one_pass", "karlo-tiny-s0/eclipse_prior/config.json", false),
        ("time", "karlo-tiny-s0/karlo/prior/config.json", true),
    ] {
        let to = format!("{run}_out/deep");
        let (n_files, err) = export(run, &format!("{run}_alone"), &["--prior-only"]);
        assert_eq!((n_files, err.as_str()), (3 + usize::from(scheduler), ""), "{run}");
        let (_, err) = export(run, &to, &[]);
        assert!(err.contains("no decoder is known"), "{err}");
        let (from, to) = (at(run).join("prior"), at(&to));
        let index = json(&to.join("model_index.json"));
        assert_eq!(index["_class_name"][1], "EclipsePriorPipeline");
        assert_eq!(index["scheduler"][0].is_null(), !scheduler, "{run}");
        assert_eq!(index["tokenizer"][1], "PreTrainedTokenizerFast");
        for part in [
            "eclipse_prior_pipeline.py",
            "prior/eclipse_prior.py",
            "tokenizer/tokenizer.json",
        ] {
            assert!(to.join(part).is_file(), "{run}: {part}");
        }
        same_towers(&at("clip"), &to);
        assert_eq!(
            tiny::read(&to.join("prior").join(DIFFUSERS)),
            tiny::read(&from.join(DIFFUSERS)),
            "{run}"
        );
        let (ours, theirs) = (json(&to.join("prior/config.json")), json(&golden(config)));
        assert_eq!(
            ours.keys().collect::<std::collections::BTreeSet<_>>(),
            theirs.keys().collect(),
            "{run}"
        );
        assert_eq!(ours["_class_name"], theirs["_class_name"]);
        assert_eq!(predicted(&to.join("prior")), predicted(&from), "{run}");
        let folder = to.join("scheduler");
        assert_eq!(folder.exists(), scheduler, "{run}");
        if scheduler {
            assert_eq!(
                json(&folder.join("scheduler_config.json")),
                json(&from.join("scheduler_config.json"))
            );
        }
        let card = std::fs::read_to_string(to.join("README.md")).expect("a card");
        let config = std::fs::read_to_string(at(run).join("config.toml")).expect("a config");
        assert!(card.contains(&config), "{card}");
        if run == "one_pass" {
            insta::with_settings!({filters => vec![
                ("[0-9a-f]{64}", "HASH"),
                ("commit [^|]*", "COMMIT "),
                (r"20\d\d-[^|]*Z", "TIME"),
                (r"(?s)```toml.*```", "CONFIG"),
                (r"one_\w+ of", "RUN of"),
            ]}, {
                insta::assert_snapshot!("card", card);
            });
        }
    }

    // An export exports again: it is a prior's folder beside its scheduler.
    export("time_out/deep/prior", "again", &["--dtype", "f16"]);
    let stored = tiny::read(&at("again/prior").join(DIFFUSERS));
    assert!(stored.values().all(|(dtype, ..)| *dtype == Dtype::F16));
    for (a, b) in predicted(&at("again/prior"))
        .iter()
        .zip(predicted(&at("time/prior")))
    {
        assert!((a - b).abs() < 0.02 * (1.0 + b.abs()), "{a} {b}");
    }
    let card = std::fs::read_to_string(at("again/README.md")).expect("a card");
    assert!(
        card.contains("in f16 |") && card.contains("without a run's record"),
        "{card}"
    );

    // What other software will not know is said.
    let (_, err) = export("hidden", "hidden_out", &["--prior-only"]);
    assert!(
        err.contains("WARN") && err.contains("`conditioning`: \"hidden\""),
        "{err}"
    );
    assert_eq!(
        json(&at("hidden_out/prior/config.json"))["conditioning"],
        "hidden"
    );
    assert_eq!(predicted(&at("hidden_out/prior")), predicted(&at("hidden/prior")));
    let (_, err) = export("flow", "flow_out", &["--prior-only"]);
    assert!(err.contains("flow matching"), "{err}");
    assert_eq!(predicted(&at("flow_out/prior")), predicted(&at("flow/prior")));
    assert_eq!(temporaries(desk.path()), Vec::<PathBuf>::new());
}

/// At full size: names and shapes of the published lists, on disk.
#[test]
fn full_size_exports_have_the_published_tensors() {
    let desk = tempfile::tempdir().expect("a folder");
    let sizes = PriorConfig::eclipse_karlo();
    for (name, config) in [
        ("eclipse_karlo_prior", sizes.clone()),
        ("diffusion_33m_prior_768", sizes.time_conditioned()),
    ] {
        let from = desk.path().join(name);
        write_prior(&from, &config);
        let scheduler = golden("karlo-tiny-s0/karlo/prior_scheduler/scheduler_config.json");
        std::fs::copy(scheduler, from.join("scheduler_config.json")).expect("copied");
        let (code, _, err) = eclipse(
            desk.path(),
            ["export", name, "--to", "out", "--dtype", "f16", "--prior-only"],
        );
        assert_eq!((code, err.as_str()), (0, ""));
        let to = desk.path().join("out");
        let shapes: BTreeMap<_, _> = tiny::read(&to.join("prior").join(DIFFUSERS))
            .into_iter()
            .map(|(name, (_, shape, _))| (name, shape))
            .collect();
        let (wanted, expected) = published(name);
        assert_eq!(shapes, expected, "{name}");
        let config = json(&to.join("prior/config.json"));
        for (key, value) in wanted.as_object().expect("a config") {
            assert_eq!(config.get(key), Some(value), "{name}: {key}");
        }
        std::fs::remove_dir_all(to).expect("removed");
    }
}

#[test]
fn what_cannot_be_exported() {
    let desk = desk();
    let at = |path: &str| desk.path().join(path);
    std::fs::create_dir_all(at("mine")).expect("made");
    std::fs::write(at("mine/notes.txt"), "mine").expect("written");
    std::fs::write(at("a_file"), "mine").expect("written");
    let (code, _, err) = eclipse(desk.path(), ["export", "one_pass", "--to", "earlier"]);
    assert_eq!(code, 0, "{err}");
    std::fs::remove_file(at("time/DONE")).expect("removed");
    std::fs::remove_file(at("flow/prior/scheduler_config.json")).expect("removed");
    tiny::alter(&at("hidden/prior").join(DIFFUSERS), |t| {
        drop(t.remove("prd_embedding"))
    });
    // As runs of earlier versions are, which recorded no hashes: what is wrong with the files is found without them.
    for run in ["hidden", "flow"] {
        std::fs::remove_file(at(run).join("SHA256SUMS")).expect("recorded");
    }
    let mut said = String::new();
    for args in [
        &["nope", "--to", "out"][..],
        &["clip", "--to", "out"],
        &["mine", "--to", "out"],
        &["time", "--to", "out"],
        &["baseline", "--to", "out"],
        &["one_pass", "--to", "mine"],
        &["one_pass", "--to", "earlier"],
        &["one_pass", "--to", "a_file"],
        &["one_pass", "--to", "a_file/below"],
        &["one_pass", "--to", "out", "--dtype", "f8"],
        &["one_pass"],
        &["hidden", "--to", "out"],
        &["flow", "--to", "out"],
        &["one_pass/prior", "--to", "out"],
        &["one_pass", "--to", "out", "--clip", "mine"],
        &["one_pass", "--to", "out", "--decoder", "mine"],
    ] {
        let (code, out, err) = eclipse(desk.path(), [&["export"], args].concat());
        assert!(matches!(code, 1 | 2) && out.is_empty(), "{args:?}: {out}");
        said += &format!("$ eclipse export {}\nexit {}\n{err}\n", args.join(" "), code);
    }
    assert!(!at("out").exists());
    assert_eq!(std::fs::read_dir(at("mine")).expect("there").count(), 1);
    assert_eq!(temporaries(desk.path()), Vec::<PathBuf>::new());
    let said = said.replace(&desk.path().display().to_string(), "DESK");
    insta::assert_snapshot!("mistakes", said);
}
