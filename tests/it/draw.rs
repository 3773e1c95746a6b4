//! `eclipse sweep` to `eclipse draw`: from training to images of own words.

use std::path::Path;

use crate::program::eclipse;
use crate::serve::Playground;

#[test]
fn a_sweep_ends_with_the_command_that_draws_own_words() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |path: &str| desk.path().join(path);
    std::os::unix::fs::symlink(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets"),
        at("datasets"),
    )
    .expect("linked");
    let (code, _, err) = eclipse(desk.path(), ["draw", "a red car"]);
    assert_eq!(code, 2);
    assert!(
        err.contains("no finished run") && err.contains("eclipse sweep objectives"),
        "{err}"
    );

    let spec = "[data]\nn_pairs = 16\n[model]\nn_heads = 2\nd_head = 8\nn_layers = 1\n[train]\nsteps = 2\nbatch_size = 8\n\
        [eval]\nn_prompts = 2\nn_noise = 1\nn_pictures = 0\n[axes]\n\"objective.kind\" = ['eclipse', 'projection']\nseed = [0, 1]\n";
    std::fs::create_dir_all(at("experiments/toy")).expect("made");
    std::fs::write(at("experiments/toy/sweep.toml"), spec).expect("written");
    let (code, _, err) = eclipse(desk.path(), ["sweep", "toy"]);
    assert_eq!(code, 0, "{err}");
    let last: Vec<&str> = err.lines().rev().take(3).collect();
    assert_eq!(
        last[2],
        "draw your own words: eclipse draw \"a red car on the left of a blue dog\" --run runs/toy"
    );
    let page = last[0]
        .strip_prefix("the report, a page for a browser: file://")
        .expect("a link");
    assert!(
        Path::new(page).is_file() && page.ends_with("runs/toy/results/index.html"),
        "{page}"
    );
    assert!(!at("experiments/toy/results").exists());
    // Without a terminal: plain lines that say how far training is, no codes of colours.
    assert!(err.contains("step 2/2 loss ") && !err.contains('\u{1b}'), "{err}");

    let words = "a red car on the left of a blue dog";
    let (code, out, err) = eclipse(desk.path(), ["draw", words, "--images", "2", "--zoom", "2"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("row 1: eclipse: \"a red car"), "{out}");
    assert!(
        lines[1].starts_with("row 2: projection: ") && lines[1].contains(" of 2 right"),
        "{out}"
    );
    assert!(
        lines[2].starts_with("wrote draw.png: a row for each prompt and prior"),
        "{out}"
    );
    let sheet = image::open(at("draw.png")).expect("an image");
    // Two of 64 pixels, enlarged twice, in each of two rows; the gaps are the sheet's.
    assert!(
        sheet.width() > 256 && sheet.height() > 256 && sheet.width() < 300,
        "{sheet:?}"
    );

    // The same again; another seed draws something else.
    let first = std::fs::read(at("draw.png")).expect("there");
    let again = |more: &[&str]| {
        let args = [
            &["draw", words, "--images", "2", "--zoom", "2", "--run", "runs/toy"],
            more,
        ]
        .concat();
        assert_eq!(eclipse(desk.path(), args).0, 0);
        std::fs::read(at("draw.png")).expect("there")
    };
    assert_eq!(again(&[]), first);
    assert_ne!(again(&["--seed", "5"]), first);

    // The playground offers the same priors, and draws the same.
    let (code, _, err) = eclipse(
        desk.path(),
        ["draw", words, "--images", "2", "--zoom", "1", "--out", "one.png"],
    );
    assert_eq!(code, 0, "{err}");
    let sheet = image::open(at("one.png")).expect("an image").into_rgb8();
    let playground = Playground::start_in(desk.path(), &[]);
    let form = "prior=toy.eclipse&prior=toy.projection&prior=oracle&images=2";
    let (item, images) = playground.draw(&format!("prompt={}&{form}", words.replace(' ', "+")));
    assert_eq!(
        (images.len(), &item["labels"]["toy.eclipse"]),
        (6, &"ECLIPSE".into())
    );
    for (n, image) in images.iter().take(4).enumerate() {
        let (x, y) = (4 + 68 * (n as u32 % 2), 4 + 68 * (n as u32 / 2));
        let cell = image::imageops::crop_imm(&sheet, x, y, 64, 64).to_image();
        assert_eq!(cell, *image, "image {n}");
    }
    drop(playground);

    let (code, out, err) = eclipse(
        desk.path(),
        ["draw", "a purple unicorn and a dog", "--out", "other.png"],
    );
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.starts_with(
            "error: the world emoji does not know \"purple\", \"unicorn\".\nIt knows the objects "
        ),
        "{err}"
    );
    assert!(
        err.contains("elephant") && err.contains("yellow") && !at("other.png").exists(),
        "{err}"
    );
}

#[test]
fn a_rejected_configuration_leaves_no_folder() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |path: &str| desk.path().join(path);
    crate::tiny::write_clip(&at("clip"));
    std::fs::write(
        at("one.toml"),
        "clip = 'clip'\ndecoder = 'none'\n[eval]\nn_pictures = 2\n",
    )
    .expect("written");
    for args in [
        &["train", "--config", "one.toml", "--out", "runs/train/one"][..],
        &["train", "--config", "one.toml", "--dry-run"],
    ] {
        let (code, _, err) = eclipse(desk.path(), args);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("none"), "{err}");
        assert!(!at("runs").exists(), "{args:?}");
    }
}
