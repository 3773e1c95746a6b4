//! T2I-CompBench's scores by `eclipse eval`: positions, 3-in-1, counts, and what is wrong with folders and detections.

use std::path::Path;

use eclipse_t2i::eval::compbench::Category;
use serde_json::{Value, json};

use crate::image_metrics::{eval, fixture, good};

/// A golden that is a table.
fn table(name: &str) -> Value {
    let path = fixture().join("goldens").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("the golden")).expect("JSON")
}

/// Writes a file that is not an image; scores of detections look at none.
fn touch(folder: &Path, name: &str) {
    std::fs::create_dir_all(folder).expect("made");
    std::fs::write(folder.join(name), name).expect("written");
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The scores of single images, by `question_id`.
fn each(file: &Path) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(file).expect("scores of single images");
    let scores: Value = serde_json::from_str(&text).expect("JSON");
    let scores = scores.as_array().expect("a list").iter();
    scores
        .map(|score| {
            (
                score["question_id"].as_u64().expect("a number"),
                number(&score["answer"]),
            )
        })
        .collect()
}

/// Images and detections of a golden's cases, as the official script gets them, to its score of every image and to its mean.
#[test]
fn the_spatial_score_is_the_official_scripts() {
    let golden = table("spatial2d.json");
    let labels: Vec<&str> = golden["labels"]
        .as_array()
        .expect("labels")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (key, average, more) in [
        ("cases", "average_text", ""),
        (
            "complex_cases",
            "complex_average_text",
            " --category complex --incomplete",
        ),
    ] {
        let desk = tempfile::tempdir().expect("a folder");
        let cases = golden[key].as_array().expect("cases");
        let (mut lines, mut list) = (String::new(), Vec::new());
        for (i, case) in cases.iter().enumerate() {
            let name = format!("{}_{i:06}.png", case["prompt"].as_str().expect("a prompt"));
            touch(&desk.path().join("drawn/samples"), &name);
            let found = case["detections"].as_array().expect("detections");
            let of = |key: &str| found.iter().map(|d| d[key].clone()).collect::<Vec<_>>();
            let ids = found
                .iter()
                .map(|d| labels.iter().position(|label| d["label"] == **label));
            let fields = json!({"image": format!("out/samples/{name}"), "pred_boxes": of("box"), "pred_classes": ids.collect::<Vec<_>>(),
                "scores": of("score")});
            lines.push_str(&format!("{fields}\n"));
            // The same in pixels of a square of twice the size, from the last image to the first.
            let twice = found.iter().map(|d| {
                let rect = d["box"]
                    .as_array()
                    .expect("a box")
                    .iter()
                    .map(|v| 2.0 * number(v));
                json!({"label": d["label"], "box": rect.collect::<Vec<_>>(), "score": d["score"]})
            });
            list.insert(
                0,
                json!({"image": name, "image_size": [958, 958], "detections": twice.collect::<Vec<_>>()}),
            );
        }
        std::fs::write(desk.path().join("found.jsonl"), lines).expect("written");
        std::fs::write(desk.path().join("found.json"), json!(list).to_string()).expect("written");
        let expected: f64 = golden[average]
            .as_str()
            .and_then(|t| t.strip_prefix("score avg:")?.parse().ok())
            .expect("a mean");
        for file in ["found.jsonl", "found.json"] {
            let found = good(
                desk.path(),
                &format!("spatial --images drawn --detections {file}{more}"),
            );
            assert!(
                (number(&found[0]["value"]) - expected).abs() < 1e-12,
                "{file}: {}",
                found[0]
            );
            assert_eq!(found[0]["protocol"]["mended"], json!([]));
            let scores = each(
                &desk
                    .path()
                    .join("drawn/eval/labels/annotation_obj_detection_2d/vqa_result.json"),
            );
            for ((id, score), (i, case)) in scores.iter().zip(cases.iter().enumerate()) {
                assert_eq!(*id, i as u64);
                assert!((score - number(&case["score"])).abs() < 1e-12, "{case}: {score}");
            }
        }
        // A mended rule is another number, and is not compared with the official one.
        let mended = format!(
            "spatial --images drawn --detections found.json --out mended --mend on-top-of,low-scores{more}"
        );
        let found = good(desk.path(), &mended);
        assert!(number(&found[0]["value"]) > expected);
        let (code, _, err) = eval(
            desk.path(),
            &format!("{mended} --compare drawn/eval/spatial.json"),
        );
        assert_eq!(code, 1);
        assert!(
            err.contains("`mended` is [] there, [\"on-top-of\",\"low-scores\"] here"),
            "{err}"
        );
    }
}

/// All complex prompts with two images each: the mean of what each prompt asks for, from the results of its parts.
#[test]
fn three_scores_make_that_of_the_complex_category() {
    let desk = tempfile::tempdir().expect("a folder");
    let folder = desk.path().join("drawn");
    std::fs::create_dir(&folder).expect("made");
    let dot = |value: u8, name: &str| {
        let dot = image::RgbImage::from_pixel(2, 2, image::Rgb([value, 90, 255 - value]));
        dot.save(folder.join(name)).expect("written");
    };
    let mut lines = String::new();
    for (i, prompt) in Category::Complex.prompts().iter().enumerate() {
        for k in 0..2 {
            let name = format!("{prompt}_{:06}.png", 2 * i + k);
            dot((i % 250) as u8, &name);
            let boxes = json!([{"label": "hat", "box": [0, 0, 9, 9], "score": 0.5 + k as f64 / 10.0}, {"label": "coat", "box": [0, 30, 9, 39], "score": 0.75}]);
            lines.push_str(&format!("{}\n", json!({"image": name, "detections": boxes})));
        }
    }
    std::fs::write(desk.path().join("found.jsonl"), lines).expect("written");
    crate::tiny::write_clip(&desk.path().join("clip"));
    let call = "--images drawn --detections found.jsonl --clip clip";
    let (code, _, err) = eval(desk.path(), &format!("spatial clip-score 3-in-1 {call}"));
    assert!(
        code == 1
            && err.contains("blip-vqa.json: no such result: expected those of blip-vqa, spatial, clip-score"),
        "{err}"
    );
    // Positions stand for answers here.
    let out = folder.join("eval");
    let spatial = std::fs::read_to_string(out.join("spatial.json")).expect("the result");
    let spatial: Value = serde_json::from_str(&spatial).expect("JSON");
    let mut blip = spatial.clone();
    blip["metric"] = "blip-vqa".into();
    std::fs::write(out.join("blip-vqa.json"), blip.to_string()).expect("written");
    std::fs::create_dir(out.join("annotation_blip")).expect("made");
    for name in ["vqa_result.json", "mapping.json"] {
        let from = out.join("labels/annotation_obj_detection_2d").join(name);
        std::fs::copy(from, out.join("annotation_blip").join(name)).expect("copied");
    }
    let found = good(desk.path(), "3-in-1 --images drawn");
    let protocol = &found[0]["protocol"];
    assert_eq!(
        (
            &protocol["category"],
            &protocol["category_prompts"],
            &protocol["images_per_prompt"]
        ),
        (&"complex".into(), &300.into(), &2.into())
    );
    assert_eq!(protocol["clip-score"]["texts"], "without adjectives");
    assert_eq!(found[0]["n"], 600);
    let [attributes, clip, both] = ["annotation_blip", "annotation_clip", "annotation_3_in_1"]
        .map(|name| each(&out.join(name).join("vqa_result.json")));
    // The first prompt is one of positions, the last but one of actions.
    let prompt = |id: usize| Category::Complex.prompts()[id / 2];
    let list = |name: &str| {
        std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("datasets/t2i_compbench")
                .join(name),
        )
        .expect("a list")
    };
    let (positions, actions) = (list("complex_val_spatial.txt"), list("complex_val_action.txt"));
    for id in 0..600 {
        let (a, c) = (attributes[id].1, clip[id].1);
        let expected = match (positions.contains(prompt(id)), actions.contains(prompt(id))) {
            (true, _) => a,
            (false, true) => (a + c) / 2.0,
            (false, false) => (a + a + c) / 3.0,
        };
        assert!((both[id].1 - expected).abs() < 1e-12, "{}", prompt(id));
    }
    // An image that has changed has no score any more.
    dot(251, &format!("{}_000000.png", prompt(0)));
    let (code, _, err) = eval(desk.path(), "3-in-1 --images drawn");
    assert!(
        code == 1 && err.contains("as it is now: compute blip-vqa again"),
        "{err}"
    );
}

#[test]
fn what_is_wrong_with_categories_and_detections_is_said() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    let prompts = Category::Spatial.prompts();
    let mut all = Vec::new();
    for (i, prompt) in prompts.iter().enumerate() {
        let name = format!("{prompt}_{i:06}.png");
        touch(&at("whole"), &name);
        if i > 4 {
            touch(&at("part"), &name);
        }
        all.push(json!({"image": name, "detections": []}));
    }
    let write = |name: &str, entries: &[Value]| {
        std::fs::write(at(name), json!(entries).to_string()).expect("written")
    };
    write("all.json", &all);
    write("few.json", &all[3..]);
    write("twice.json", &[&all[..], &all[..1]].concat());
    write(
        "other.json",
        &[json!({"image": "a cat_000000.png", "detections": []})],
    );
    let with = |entry: Value| {
        let mut entries = all.clone();
        entries[7] = json!({"image": all[7]["image"], "detections": [entry]});
        entries
    };
    write(
        "label.json",
        &with(json!({"label": 722, "box": [0, 0, 1, 1], "score": 1})),
    );
    write(
        "name.json",
        &with(json!({"label": "sofa", "box": [0, 0, 1, 1], "score": 1})),
    );
    write(
        "box.json",
        &with(json!({"label": "dog", "box": [5, 0, 1, 1], "score": 1})),
    );
    std::fs::write(
        at("nan.json"),
        r#"[{"image": "x", "pred_boxes": [[NaN, 0, 1, 1]], "pred_classes": [0], "scores": [1]}]"#,
    )
    .expect("written");
    std::fs::write(at("cut.json"), &json!(all).to_string()[..900]).expect("written");
    let mut told = String::new();
    for args in [
        "--images whole",
        "--images whole --detections nosuch.json",
        "--images whole --detections few.json",
        "--images whole --detections twice.json",
        "--images whole --detections other.json",
        "--images whole --detections label.json",
        "--images whole --detections name.json",
        "--images whole --detections box.json",
        "--images whole --detections nan.json",
        "--images whole --detections cut.json",
        "--images whole --detections all.json --category shape",
        "--images whole --detections all.json --category shapes",
        "--images whole --detections all.json --mend everything",
        "--images part --detections all.json",
        "--images part --detections few.json --incomplete",
    ] {
        let (code, _, err) = eval(desk.path(), &format!("spatial {args}"));
        assert!(code == 1 || code == 2, "{args}: {code} {err}");
        let first = err
            .lines()
            .find(|line| line.starts_with("error"))
            .unwrap_or_default();
        told.push_str(&format!("spatial {args}\n  {first} (exit code {code})\n"));
    }
    let (code, _, err) = eval(desk.path(), "3-in-1 --images whole");
    told.push_str(&format!(
        "3-in-1 --images whole\n  {} (exit code {code})\n",
        err.lines().next().unwrap_or_default()
    ));
    insta::assert_snapshot!("compbench_mistakes", told);

    // A part says that it is one, and is not compared with the whole.
    write("rest.json", &all[5..]);
    let whole = good(desk.path(), "spatial --images whole --detections all.json");
    assert_eq!(
        (&whole[0]["value"], &whole[0]["protocol"]["category_prompts"]),
        (&0.0.into(), &300.into())
    );
    let part = "spatial --images part --detections rest.json --incomplete --compare whole/eval/spatial.json";
    let (code, _, err) = eval(desk.path(), part);
    assert!(
        code == 1 && err.contains("`category_prompts` is 300 there, 295 here"),
        "{err}"
    );
}
