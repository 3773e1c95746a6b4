//! BLIP-VQA: `eclipse eval blip-vqa`, and everything that is wrong with a BLIP or with prompts.

use std::path::Path;

use eclipse_t2i::weights::Checkpoint;
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::{program, tiny};

/// A folder with the fixture's BLIP, its goldens and the images that they are about.
fn fixture() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["blip_vqa", "goldens", "images"] {
        tiny::copy(&tiny::golden("eval-tiny-s0").join(name), &dir.path().join(name));
    }
    dir
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn eval(desk: &Path, args: &str) -> (i32, String, String) {
    let mut all = vec!["eval"];
    all.extend(args.split_whitespace());
    program::eclipse(desk, all)
}

fn score(desk: &Path, args: &str) -> Value {
    let (code, out, err) = eval(desk, &format!("{args} --json"));
    assert_eq!(code, 0, "{args}: {err}");
    let scores: Value = serde_json::from_str(&out).expect("JSON");
    scores[0].clone()
}

/// The golden's images in the benchmark's layout, numbered from the last to the first: the scores are those of its script, and they are cached by image and
/// questions.
#[test]
fn scores_of_a_folder_are_those_of_the_script() {
    let fixture = fixture();
    let at = |name: &str| fixture.path().join(name);
    let bytes = std::fs::read(at("goldens/blip_vqa.safetensors")).expect("the golden");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
    let info = &header.metadata().as_ref().expect("metadata")["info"];
    let info: Value = serde_json::from_str(info).expect("JSON");
    let list = |key: &str| -> Vec<String> { serde_json::from_value(info[key].clone()).expect("texts") };
    let (images, prompts, expected) = (list("images"), list("prompts"), list("image_scores_official"));
    std::fs::create_dir(at("samples")).expect("made");
    for (i, (image, prompt)) in images.iter().zip(&prompts).enumerate() {
        let name = format!("samples/{prompt}_{:06}.png", images.len() - i);
        std::fs::copy(at(image), at(&name)).expect("copied");
    }
    let number = |text: &str| text.parse::<f64>().expect("a number");
    // Four digits, each of which may be rounded the other way.
    let near = |a: f64, b: f64| (a - b).abs() < 2e-4;
    let call = "blip-vqa --images samples --blip blip_vqa";
    let answers = || -> Vec<f64> {
        let rows = read(&at("samples/eval/annotation_blip/vqa_result.json"));
        let rows = rows.as_array().expect("rows").iter().enumerate();
        let answer = |(i, row): (usize, &Value)| {
            assert_eq!(row["question_id"], i + 1);
            row["answer"].as_f64().expect("a number")
        };
        rows.map(answer).collect()
    };
    let first = score(fixture.path(), &format!("{call} --no-cache"));
    let found = answers();
    for (found, expected) in found.iter().rev().zip(&expected) {
        assert!(near(*found, number(expected)), "{found} {expected}");
    }
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    assert!((first["value"].as_f64().expect("a number") - mean).abs() < 1e-12);
    assert_eq!(
        (
            &first["n"],
            &first["protocol"]["phrases"],
            &first["protocol"]["image_size"]
        ),
        (&6.into(), &"official".into(), &480.into())
    );
    // Image by image and from the cache it is the same.
    for _ in 0..2 {
        let again = score(fixture.path(), &format!("{call} --batch 1"));
        assert!(near(again["value"].as_f64().expect("a number"), mean));
        assert!(answers().iter().zip(&found).all(|(a, b)| near(*a, *b)));
    }
    // In half precision it is nearly the same: a bf16 number has three digits.
    let half = score(fixture.path(), &format!("{call} --dtype bf16 --out half"));
    assert!(
        (half["value"].as_f64().expect("a number") - mean).abs() < 0.02,
        "{half}"
    );
    assert!(
        half["protocol"]["precision"]
            .as_str()
            .is_some_and(|told| told.ends_with("bf16"))
    );
    // Other questions about a known image are not answered by the cache.
    std::fs::write(at("prompts.txt"), ["The red hat"; 6].join("\n")).expect("written");
    let other = score(
        fixture.path(),
        &format!("{call} --prompts prompts.txt --out other"),
    );
    assert!(!near(other["value"].as_f64().expect("a number"), mean));
    assert_eq!(other["protocol"]["phrases"], "rules");
}

/// Weights in PyTorch's files, whole and sharded, are found in a folder.
#[test]
fn pytorch_files_of_a_folder_are_read() {
    let zip = tiny::golden("eval-tiny-s0/torch_files/first_zip.pth");
    let wanted = Checkpoint::open(&zip).expect("a file of PyTorch's");
    let all = tiny::read(&tiny::golden("eval-tiny-s0/inception_narrow/model.safetensors"));
    let legacy = Checkpoint::open(zip.with_file_name("first_legacy.pth")).expect("an old file of PyTorch's");
    for found in [&wanted, &legacy] {
        // PyTorch's counters of batches are left out of safetensors.
        let kept = found
            .tensors()
            .iter()
            .filter(|(name, _)| !name.ends_with("num_batches_tracked"));
        assert!(kept.clone().count() > 50);
        for (name, tensor) in kept {
            assert!(tensor.bytes()[..] == all[name].2, "{name}");
        }
    }
    let same = |dir: &Path| {
        let found = Checkpoint::open(dir).expect("weights");
        assert_eq!(found.tensors().len(), wanted.tensors().len());
        for (name, tensor) in wanted.tensors() {
            assert!(found.tensors()[name].bytes() == tensor.bytes(), "{name}");
        }
    };
    let dir = tempfile::tempdir().expect("a folder");
    let whole = dir.path().join("pytorch_model.bin");
    std::fs::copy(zip, &whole).expect("copied");
    same(dir.path());
    let shard = "pytorch_model-00001-of-00001.bin";
    std::fs::rename(whole, dir.path().join(shard)).expect("renamed");
    let map: serde_json::Map<String, Value> = wanted
        .tensors()
        .keys()
        .map(|name| (name.clone(), json!(shard)))
        .collect();
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    std::fs::write(dir.path().join("pytorch_model.bin.index.json"), index).expect("written");
    same(dir.path());
}

#[test]
fn what_is_wrong_with_a_blip_or_a_prompt_is_said() {
    let fixture = fixture();
    let at = |name: &str| fixture.path().join(name);
    let variant = |name: &str, change: &dyn Fn(&Path)| {
        tiny::copy(&at("blip_vqa"), &at(name));
        change(&at(name));
    };
    tiny::write_clip(&at("clip"));
    let config = |dir: &Path, change: &dyn Fn(&mut Value)| tiny::alter_json(&dir.join("config.json"), change);
    variant("captioner", &|dir| {
        config(dir, &|config| {
            config["architectures"] = json!(["BlipForConditionalGeneration"])
        });
    });
    variant("no-text", &|dir| {
        config(dir, &|config| {
            drop(config.as_object_mut().expect("an object").remove("text_config"))
        });
    });
    variant("small", &|dir| {
        config(dir, &|config| config["vision_config"]["image_size"] = 384.into())
    });
    variant("odd", &|dir| {
        config(dir, &|config| {
            config["text_config"]["num_attention_heads"] = 3.into()
        })
    });
    variant("cut", &|dir| {
        let path = dir.join("model.safetensors");
        let bytes = std::fs::read(&path).expect("weights");
        std::fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
    });
    variant("untied", &|dir| {
        tiny::alter(&dir.join("model.safetensors"), |tensors| {
            let bias = tensors["text_decoder.cls.predictions.bias"].2.len();
            let other = (Dtype::F32, vec![bias / 4], vec![1; bias]);
            tensors.insert("text_decoder.cls.predictions.decoder.bias".into(), other);
        });
    });
    variant("mute", &|dir| {
        std::fs::remove_file(dir.join("vocab.txt")).expect("removed")
    });
    variant("forgetful", &|dir| {
        let path = dir.join("vocab.txt");
        let text = std::fs::read_to_string(&path).expect("words");
        let words: Vec<&str> = text.lines().take(2500).collect();
        std::fs::write(path, words.join("\n")).expect("written");
    });
    variant("nearest", &|dir| {
        tiny::alter_json(&dir.join("preprocessor_config.json"), |config| {
            config["resample"] = 0.into()
        });
    });
    let image = |name: &str| {
        let path = at(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::copy(at("images/square64.png"), path).expect("copied");
    };
    image("named/a red cat_000000.png");
    image("unnamed/0.png");
    image("vague/running quickly_000000.png");
    let mut told = String::new();
    let call = |images: &str, blip: &str| format!("blip-vqa --images {images} --blip {blip}");
    for args in [
        "blip-vqa --images named".to_owned(),
        call("named", "nosuch"),
        call("named", "clip"),
        call("named", "captioner"),
        call("named", "no-text"),
        call("named", "small"),
        call("named", "odd"),
        call("named", "cut"),
        call("named", "untied"),
        call("named", "mute"),
        call("named", "forgetful"),
        call("named", "nearest"),
        call("unnamed", "blip_vqa"),
        call("vague", "blip_vqa"),
    ] {
        let (code, _, err) = eval(fixture.path(), &args);
        assert!(code == 1 || code == 2, "{args}: {code} {err}");
        assert!(!err.contains("panicked"), "{args}: {err}");
        let start = err.find("error").unwrap_or_default();
        let said: Vec<&str> = err[start..].lines().take(4).collect();
        told.push_str(&format!("{args}\n  {} (exit code {code})\n", said.join("\n  ")));
    }
    insta::assert_snapshot!("blip_mistakes", told);
}
