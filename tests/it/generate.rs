//! From prompts to images through the real program, on tiny pipelines of the published stacks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use burn::prelude::*;
use eclipse_t2i::generate::images::read_png_texts;
use eclipse_t2i::generate::noise_source::{BatchNoise, NoiseStage, RowNoise};
use eclipse_t2i::generate::recipe::Recipe;
use eclipse_t2i::models::clip::ImageEncoder;
use eclipse_t2i::models::clip::preprocess::read_image;
use image::RgbImage;
use safetensors::Dtype;
use serde_json::json;

use crate::program;
use crate::tiny::{
    D_CLIP, DIFFUSERS, Tensors, alter, alter_json, device, golden, prior_config, read, temporaries, write,
    write_clip, write_kandinsky, write_karlo, write_prior, write_time_prior,
};

/// Both stacks, a CLIP, a prior without time and one with it, an image.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    write_prior(&at("prior"), &prior_config());
    write_time_prior(&at("time"));
    write_karlo(&at("karlo"));
    write_kandinsky(&at("k22"));
    std::fs::copy(golden("kandinsky22-micro-s0/images/wide.png"), at("fox.png")).expect("copied");
    desk
}

fn eclipse(desk: &Path, args: &str, more: &[&str]) -> (i32, String, String) {
    program::eclipse(desk, args.split_whitespace().chain(more.iter().copied()))
}

/// Runs a call that must succeed and returns stdout and stderr.
fn good(desk: &Path, args: &str, more: &[&str]) -> (String, String) {
    let (code, out, err) = eclipse(desk, args, more);
    assert_eq!(code, 0, "{args} {more:?}: {err}");
    assert_eq!(temporaries(desk), Vec::<PathBuf>::new());
    (out, err)
}

/// Files of a folder by name, without those of a call that was killed.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a folder").flatten();
    let entries = entries.filter(|e| !e.file_name().to_string_lossy().starts_with('.'));
    let file = |e: std::fs::DirEntry| {
        let name = e.file_name().to_string_lossy().into_owned();
        (name, std::fs::read(e.path()).expect("a file"))
    };
    entries.map(file).collect()
}

fn image(path: PathBuf) -> RgbImage {
    read_image(&path).unwrap_or_else(|e| panic!("{e}"))
}

/// The largest difference between two images, in grey levels.
fn apart(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    let differences = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b));
    differences.max().unwrap_or(0)
}

const KARLO: &str = "generate --pipeline karlo --clip clip --prior prior --steps 3 --super-res-steps 2";
const K22: &str = "generate --pipeline k22 --clip clip --prior prior --steps 3 --size 16";
const CATS: [&str; 4] = ["--prompt", "a red cat", "--prompt", "a blue dog"];

#[test]
fn finished_images_are_kept_and_repeated() {
    let desk = desk();
    let folder = desk.path();
    let (out, err) = good(folder, KARLO, &CATS);
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("drew 2 pictures in pictures\n", "")
    );
    let drawn = files(&folder.join("pictures"));
    let names: Vec<&String> = drawn.keys().collect();
    let expected = [
        "000000-a-red-cat.json",
        "000000-a-red-cat.png",
        "000001-a-blue-dog.json",
        "000001-a-blue-dog.png",
    ];
    assert_eq!(names, expected);
    let cat = image(folder.join("pictures/000000-a-red-cat.png"));
    assert_eq!(cat.dimensions(), (12, 12));
    assert!(apart(&cat, &image(folder.join("pictures/000001-a-blue-dog.png"))) > 0);

    // What is there is left alone; what is lost is made again, bit for bit.
    std::fs::remove_file(folder.join("pictures/000001-a-blue-dog.png")).expect("removed");
    let (out, _) = good(folder, KARLO, &CATS);
    assert_eq!(out, "drew 1 pictures in pictures, 1 were there already\n");
    assert_eq!(files(&folder.join("pictures")), drawn);

    // A side file repeats its image.
    let side = "pictures/000001-a-blue-dog.json";
    good(folder, "generate --out again --repeat", &[side]);
    let again = files(&folder.join("again"));
    assert_eq!(again["000001-a-blue-dog.png"], drawn["000001-a-blue-dog.png"]);
    assert_eq!(again["000001-a-blue-dog.json"], drawn["000001-a-blue-dog.json"]);

    // An image is the same in any batch, but for rounding.
    good(folder, &format!("{KARLO} --batch 2 --out batched"), &CATS);
    for name in [&expected[1], &expected[3]] {
        let (one, two) = (
            folder.join("pictures").join(name),
            folder.join("batched").join(name),
        );
        assert!(apart(&image(one), &image(two)) <= 1);
    }

    // Another call does not overwrite it unasked.
    let (code, _, err) = eclipse(folder, &KARLO.replace("--steps 3", "--steps 4"), &CATS);
    assert_eq!(code, 1);
    assert_eq!(
        err,
        "error: pictures/000000-a-red-cat.png is of another call: `decoder.settings.n_steps` is 3 there, 4 now; \
         give another folder, or --overwrite\n"
    );
    assert_eq!(files(&folder.join("pictures")), drawn);
    let more = KARLO.replace("--steps 3", "--steps 4 --overwrite");
    good(folder, &more, &CATS);
    assert_ne!(files(&folder.join("pictures")), drawn);

    // Other weights do not pass for the old ones, not even by four bytes of which a sample takes none.
    alter(&folder.join("karlo/decoder").join(DIFFUSERS), |tensors| {
        let largest = tensors.values_mut().max_by_key(|(_, _, bytes)| bytes.len());
        let (_, _, bytes) = largest.expect("tensors");
        // Between the first 256 bytes and those in the middle.
        let at = bytes.len() / 4 / 4 * 4;
        assert!(at > 256 && at + 4 < (bytes.len() - 256) / 2);
        bytes[at..at + 4].copy_from_slice(&1f32.to_le_bytes());
    });
    let (code, _, err) = eclipse(
        folder,
        "generate --out third --repeat",
        &["again/000001-a-blue-dog.json"],
    );
    assert_eq!(code, 1);
    let message = "error: cannot repeat the call exactly: `weights.decoder.sha256` was ";
    assert!(err.starts_with(message), "{err}");
    assert!(!folder.join("third").exists());
}

/// A call that is killed leaves whole images, each with its side file, and the next call draws only the others.
#[test]
fn a_killed_call_leaves_whole_images_and_goes_on() {
    let desk = desk();
    let folder = desk.path();
    let prompts: String = (0..40).map(|i| format!("a dog and {i} cats\n")).collect();
    std::fs::write(folder.join("prompts.txt"), prompts).expect("written");
    let call = format!("{K22} --prompts prompts.txt");
    let out = folder.join("pictures");
    let finished = || {
        let names = std::fs::read_dir(&out).into_iter().flatten().flatten();
        names
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "png"))
            .collect::<Vec<_>>()
    };
    let mut before = BTreeMap::new();
    for n in [1, 9] {
        let mut child = program::command(folder, call.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let started = Instant::now();
        while finished().len() < n {
            assert!(started.elapsed() < Duration::from_secs(120), "nothing was drawn");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");
        for path in finished() {
            assert_eq!(image(path.clone()).dimensions(), (16, 16));
            Recipe::read(&path.with_extension("json")).expect("its side file");
        }
        let now = files(&out);
        assert!(before.iter().all(|(name, bytes)| now.get(name) == Some(bytes)));
        before = now;
    }
    let n = finished().len();
    assert!(n < 40, "no call was ever cut short: the test tests nothing");
    let (code, out_text, err) = eclipse(folder, &call, &[]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out_text,
        format!("drew {} pictures in pictures, {n} were there already\n", 40 - n)
    );
    let after = files(&out);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));

    // As if nothing had happened. What a killed call was writing is gone.
    let (code, _, err) = eclipse(folder, &format!("{call} --out whole"), &[]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(temporaries(folder), Vec::<PathBuf>::new());
    let whole = files(&folder.join("whole"));
    assert_eq!(whole.len(), 80);
    assert!(whole.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
}

#[test]
fn an_image_says_how_it_was_made() {
    let desk = desk();
    let folder = desk.path();
    let prompt = "a red cat, снег 猫";
    good(
        folder,
        &K22.replace("--prior prior", "--prior time --prior-steps 2"),
        &[
            "--prompt",
            prompt,
            "--seed",
            "7",
            "--negative",
            "a dog",
            "--scheduler",
            "ddim",
        ],
    );
    let stem = "pictures/000000-a-red-cat-снег-猫";
    let texts: BTreeMap<String, String> = read_png_texts(&folder.join(format!("{stem}.png")))
        .expect("an image")
        .into_iter()
        .collect();
    let text = |key: &str| texts[key].as_str();
    assert_eq!(
        (text("prompt"), text("negative"), text("seed")),
        (prompt, "a dog", "7")
    );
    assert_eq!((text("steps"), text("guidance")), ("3", "4"));
    assert_eq!(text("scheduler"), "DDPMScheduler, sampled by Ddim");
    let parts: Vec<&str> = text("weights")
        .lines()
        .map(|l| l.split(' ').next().expect("a word"))
        .collect();
    assert_eq!(parts, ["text_encoder", "prior", "decoder", "movq"]);

    let recipe = Recipe::read(&folder.join(format!("{stem}.json"))).expect("a side file");
    let value = serde_json::to_value(&recipe).expect("JSON");
    assert_eq!(value["origin"], json!({"prompt": prompt}));
    assert_eq!(
        value["prior"]["diffusion"]["settings"],
        json!({"n_steps": 2, "guidance": 4.0, "eta": 1.0})
    );
    assert_eq!(
        value["decoder"]["settings"],
        json!({"n_steps": 3, "guidance": 4.0, "eta": 0.0})
    );
    assert_eq!(value["decoder"]["scheduler"]["_class_name"], "DDPMScheduler");
    assert_eq!(value["size"], json!({"width": 16, "height": 16}));
}

#[test]
fn kandinsky_rounds_sizes_and_caches_the_zero_image() {
    let desk = desk();
    let folder = desk.path();
    let caches = || {
        let tower = folder.join("clip").canonicalize().expect("there");
        let key = eclipse_t2i::files::sha256(tower.as_os_str().as_encoded_bytes());
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache/zero_image");
        all.join(format!("{}.safetensors", &key[..16]))
    };
    let cache = caches();
    let before = std::fs::read_dir(folder.join("clip")).expect("there").count();
    assert!(!cache.exists());
    let (_, err) = good(folder, &K22.replace("--size 16", "--size 17x10"), &CATS[..2]);
    let after = std::fs::read_dir(folder.join("clip")).expect("there").count();
    assert_eq!(before, after, "a folder of weights is not written to");
    assert!(err.contains("17 x 10 pixels were rounded up to 20 x 12"), "{err}");
    let stem = "pictures/000000-a-red-cat.png";
    let first = image(folder.join(stem));
    assert_eq!(first.dimensions(), (20, 12));

    let encoder = ImageEncoder::load(&folder.join("clip"), &device()).expect("loads");
    let zero: Vec<f32> = encoder.zero_image().into_data().try_to_vec().expect("f32");
    let stored = |tensors: &Tensors| -> Vec<f32> {
        let (_, shape, bytes) = &tensors["image_embeds"];
        assert_eq!(shape, &[1, D_CLIP]);
        let chunks = bytes.as_chunks::<4>().0;
        chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    assert_eq!(stored(&read(&cache)), zero);

    // The next call reads it: altered, it makes another image.
    let bytes = std::fs::read(&cache).expect("a file");
    let end = bytes.len();
    let mut altered = bytes.clone();
    altered[end - 4 * D_CLIP..].copy_from_slice(&[5f32.to_le_bytes(); D_CLIP].concat());
    std::fs::write(&cache, &altered).expect("written");
    let again = K22.replace("--size 16", "--size 20x12 --overwrite --out other");
    good(folder, &again, &CATS[..2]);
    assert!(apart(&first, &image(folder.join("other/000000-a-red-cat.png"))) > 0);
    // Of other weights it is computed again.
    alter(&folder.join("clip/model.safetensors"), |tensors| {
        let (_, _, bytes) = tensors.get_mut("visual_projection.weight").expect("it");
        bytes[..4].copy_from_slice(&0.5f32.to_le_bytes());
    });
    good(folder, &again, &CATS[2..]);
    let renewed = stored(&read(&cache));
    assert_ne!(renewed, zero);
    assert_ne!(renewed, [5.0; D_CLIP]);
    std::fs::remove_file(cache).expect("there");
}

#[test]
fn the_ends_of_an_interpolation_are_the_images_themselves() {
    let desk = desk();
    let folder = desk.path();
    let between = K22.replace("generate", "interpolate --frames 3 --seed 5 --from @fox.png");
    good(folder, &between, &["--to", "a red cat"]);
    let frame = |i: usize| image(folder.join(format!("pictures/00000{i}-fox-to-a-red-cat.png")));
    let vary = K22.replace("generate", "vary --seed 5 --out varied --image fox.png");
    good(folder, &vary.replace("--prior prior", ""), &[]);
    good(folder, &format!("{K22} --seed 5 --out drawn"), &CATS[..2]);
    assert_eq!(frame(0), image(folder.join("varied/000000-fox.png")));
    assert_eq!(
        apart(&frame(2), &image(folder.join("drawn/000000-a-red-cat.png"))),
        0
    );
    assert!(apart(&frame(1), &frame(0)) > 0 && apart(&frame(1), &frame(2)) > 0);

    let mix = K22.replace("generate", "interpolate --seed 5 --out mixed --mix 1=@fox.png");
    good(folder, &mix, &["--mix", "0=a red cat"]);
    let mixed = image(folder.join("mixed/000000-1-fox-and-0-a-red-cat.png"));
    assert_eq!(mixed, frame(0));

    // Karlo's variations need no prior either.
    good(
        folder,
        "vary --pipeline karlo --clip clip --steps 2 --image fox.png --variations 2 --out karlo-foxes",
        &[],
    );
    let foxes = files(&folder.join("karlo-foxes"));
    assert_ne!(foxes["000000-fox.png"], foxes["000001-fox.png"]);
}

/// The draws of the image with `seed` in one stage, as a file's tensor of one row.
fn draws(seed: u64, stage: NoiseStage, n: usize, shape: [usize; 4]) -> Vec<(Dtype, Vec<usize>, Vec<u8>)> {
    let mut row = [RowNoise::seeded(seed, stage)];
    let mut draw = || -> Vec<u8> {
        use eclipse_t2i::diffusion::DrawNoise;
        let tensor: Tensor<4> = BatchNoise(&mut row).draw(shape, &device()).expect("drawn");
        let values: Vec<f32> = tensor.into_data().try_to_vec().expect("f32");
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    };
    (0..n).map(|_| (Dtype::F32, shape.to_vec(), draw())).collect()
}

#[test]
fn recorded_noise_and_embeddings_make_the_same_image() {
    let desk = desk();
    let folder = desk.path();
    let guided = format!("{KARLO} --seed 9");
    good(folder, &guided, &CATS[..2]);
    let original = image(folder.join("pictures/000000-a-red-cat.png"));

    // Every draw: one of the prior, three of the decoder (none at t = 0), two of super-resolution.
    let mut prior = draws(9, NoiseStage::Prior, 1, [1, D_CLIP, 1, 1]);
    prior[0].1 = vec![1, D_CLIP];
    let all = [
        prior,
        draws(9, NoiseStage::Decoder, 3, [1, 3, 8, 8]),
        draws(9, NoiseStage::SuperRes, 2, [1, 3, 12, 12]),
    ]
    .concat();
    let named = |i: usize| format!("noise.{i:03}");
    let whole: Tensors = all
        .iter()
        .cloned()
        .enumerate()
        .map(|(i, t)| (named(i), t))
        .collect();
    write(&folder.join("noise.safetensors"), &whole);
    let replayed = format!("{KARLO} --seed 1 --out replayed --latents noise.safetensors");
    good(folder, &replayed, &CATS[..2]);
    assert_eq!(original, image(folder.join("replayed/000000-a-red-cat.png")));

    let mut short = whole.clone();
    short.remove(&named(5));
    write(&folder.join("noise.safetensors"), &short);
    let (code, _, err) = eclipse(folder, &replayed.replace("replayed", "short"), &CATS[..2]);
    assert_eq!(code, 1);
    assert_eq!(
        err,
        "error: noise.safetensors holds 5 draws, this call makes 6: 1 prior, 3 decoder, 2 super_res\n"
    );
    assert!(!folder.join("short").exists());

    // Initial latents by name; the seed gives the rest.
    let latent = Tensors::from([("super_res".to_string(), all[4].clone())]);
    write(&folder.join("latents.safetensors"), &latent);
    let partly = format!("{KARLO} --seed 9 --out partly --latents latents.safetensors");
    good(folder, &partly, &CATS[..2]);
    assert_eq!(original, image(folder.join("partly/000000-a-red-cat.png")));
    let other = Tensors::from([("super_res".to_string(), all[5].clone())]);
    write(&folder.join("latents.safetensors"), &other);
    good(folder, &partly.replace("--out partly", "--out other"), &CATS[..2]);
    let other = image(folder.join("other/000000-a-red-cat.png"));
    assert!(apart(&original, &other) > 0);

    // Image embeddings in place of the prior: the decoder's noise is the same as with it.
    good(
        folder,
        &format!("{K22} --seed 9 --out k22 --guidance 1 --save-steps"),
        &CATS[..2],
    );
    let predict = "prior --prior prior --text clip --prompts prompts.txt --out z.safetensors --seed 4";
    std::fs::write(folder.join("prompts.txt"), "a red cat\na blue dog\n").expect("written");
    good(folder, predict, &[]);
    let embed = K22.replace(
        "--prior prior",
        "--embeddings z.safetensors --seed 9 --out embedded",
    );
    good(folder, &embed, &[]);
    let recipe = Recipe::read(&folder.join("embedded/000001-a-blue-dog.json")).expect("a side file");
    assert_eq!((recipe.seed, recipe.prior), (10, None));

    // The trajectory ends where the image begins.
    let steps = read(&folder.join("k22/000000-a-red-cat.steps.safetensors"));
    let shapes: Vec<(&str, &[usize])> = steps
        .iter()
        .map(|(n, (_, s, _))| (n.as_str(), s.as_slice()))
        .collect();
    assert_eq!(shapes, [("decoder_steps", &[3, 4, 8, 8][..])]);
    let last = image(folder.join("k22/000000-a-red-cat.step002.png"));
    assert_eq!(last, image(folder.join("k22/000000-a-red-cat.png")));
}

#[test]
fn an_image_to_start_from() {
    let desk = desk();
    let folder = desk.path();
    let from = K22.replace("--steps 3", "--steps 10 --init fox.png");
    good(folder, &format!("{from} --strength 0.1 --out near"), &CATS[..2]);
    good(folder, &format!("{from} --strength 1 --out far"), &CATS[..2]);
    let of = |dir: &str| image(folder.join(dir).join("000000-a-red-cat.png"));
    assert!(apart(&of("near"), &of("far")) > 0);
    good(
        folder,
        "generate --out again --repeat near/000000-a-red-cat.json",
        &[],
    );
    assert_eq!(of("near"), of("again"));
    // The image is part of the call.
    std::fs::copy(
        golden("kandinsky22-micro-s0/images/large.png"),
        folder.join("fox.png"),
    )
    .expect("copied");
    let (code, _, err) = eclipse(
        folder,
        "generate --out third --repeat near/000000-a-red-cat.json",
        &[],
    );
    assert_eq!(code, 1);
    assert!(err.contains("`init.image.sha256` was"), "{err}");
}

#[test]
fn an_over_long_prompt_is_cut_and_said_so() {
    let desk = desk();
    let long = "a red cat a red cat a red cat a red cat and a blue dog";
    let (_, err) = good(desk.path(), KARLO, &["--prompt", long]);
    assert!(
        err.contains(
            "the last 6 words do not fit the text tower and were cut: \"red cat and a blue dog\" of \"a red cat"
        ),
        "{err}"
    );
}

/// Every mistake: exit code, message, nothing written.
#[test]
fn mistakes() {
    let cat = ["--prompt", "a red cat"];
    let none = |_: &Path| {};
    let class = |file: &'static str, key: &'static str, value: serde_json::Value| {
        move |desk: &Path| alter_json(&desk.join(file), |v| v[key] = value.clone())
    };
    type Spoil = Box<dyn Fn(&Path)>;
    let spoil = |f: fn(&Path)| -> Spoil { Box::new(f) };
    let cases: Vec<(&str, String, &[&str], Spoil)> = vec![
        ("no prompt", KARLO.into(), &[], Box::new(none)),
        ("no pipeline given", "generate".into(), &cat, Box::new(none)),
        (
            "no steps",
            format!("{K22} --steps 0").replace("--steps 3 ", ""),
            &cat,
            Box::new(none),
        ),
        (
            "too many steps",
            K22.replace("--steps 3", "--steps 1001"),
            &cat,
            Box::new(none),
        ),
        (
            "no steps of super-resolution",
            KARLO.replace("--super-res-steps 2", "--super-res-steps 0"),
            &cat,
            Box::new(none),
        ),
        (
            "no steps of the prior",
            format!("{KARLO} --prior-steps 0"),
            &cat,
            Box::new(none),
        ),
        (
            "guidance below 0",
            format!("{KARLO} --guidance -1"),
            &cat,
            Box::new(none),
        ),
        (
            "guidance of the prior below 0",
            format!("{KARLO} --prior-guidance -1"),
            &cat,
            Box::new(none),
        ),
        (
            "eta below 0",
            format!("{K22} --decoder-eta -0.5"),
            &cat,
            Box::new(none),
        ),
        (
            "strength above 1",
            format!("{K22} --init fox.png --strength 1.5"),
            &cat,
            Box::new(none),
        ),
        (
            "strength below 0",
            format!("{K22} --init fox.png --strength -0.5"),
            &cat,
            Box::new(none),
        ),
        (
            "strength of no step",
            format!("{K22} --init fox.png --strength 0.2"),
            &cat,
            Box::new(none),
        ),
        (
            "strength without an image",
            format!("{K22} --strength 0.2"),
            &cat,
            Box::new(none),
        ),
        (
            "Karlo from an image",
            format!("{KARLO} --init fox.png"),
            &cat,
            Box::new(none),
        ),
        (
            "size of 0",
            K22.replace("--size 16", "--size 0x16"),
            &cat,
            Box::new(none),
        ),
        (
            "size below 0",
            K22.replace("--size 16", "--size=-16"),
            &cat,
            Box::new(none),
        ),
        (
            "Karlo's size",
            format!("{KARLO} --size 512"),
            &cat,
            Box::new(none),
        ),
        (
            "an unknown sampler",
            format!("{K22} --scheduler euler"),
            &cat,
            Box::new(none),
        ),
        ("a batch of 0", format!("{K22} --batch 0"), &cat, Box::new(none)),
        (
            "one frame",
            "interpolate --pipeline k22 --from a --to b --frames 1".into(),
            &[],
            Box::new(none),
        ),
        (
            "half an interpolation",
            "interpolate --pipeline k22 --from a".into(),
            &[],
            Box::new(none),
        ),
        (
            "an image without its @",
            "interpolate --pipeline k22 --from nosuch.png --to b".into(),
            &[],
            Box::new(none),
        ),
        (
            "an image that is not there",
            "interpolate --pipeline k22 --from @nosuch.png --to b".into(),
            &[],
            Box::new(none),
        ),
        (
            "a mixture without a weight",
            "interpolate --pipeline k22 --mix cat".into(),
            &[],
            Box::new(none),
        ),
        (
            "nothing to vary",
            "vary --pipeline k22".into(),
            &[],
            Box::new(none),
        ),
        (
            "an image file that is not there",
            "vary --pipeline k22 --clip clip --image cat.png".into(),
            &[],
            Box::new(none),
        ),
        (
            "no pipeline there",
            K22.replace("--pipeline k22", "--pipeline clip"),
            &cat,
            Box::new(none),
        ),
        (
            "two stacks",
            K22.replace("--pipeline k22", "--pipeline ."),
            &cat,
            Box::new(none),
        ),
        (
            "no prior",
            K22.replace("--prior prior ", ""),
            &cat,
            Box::new(none),
        ),
        (
            "no prior there",
            K22.replace("--prior prior", "--prior k22"),
            &cat,
            Box::new(none),
        ),
        ("no CLIP", KARLO.replace("--clip clip ", ""), &cat, Box::new(none)),
        (
            "no CLIP there",
            K22.replace("--clip clip", "--clip k22"),
            &cat,
            Box::new(none),
        ),
        (
            "a part is missing",
            KARLO.into(),
            &cat,
            spoil(|desk| std::fs::remove_dir_all(desk.join("karlo/super_res_last")).expect("removed")),
        ),
        (
            "its weights are missing",
            K22.into(),
            &cat,
            spoil(|desk| std::fs::remove_file(desk.join("k22/movq").join(DIFFUSERS)).expect("removed")),
        ),
        (
            "an unknown pipeline",
            K22.into(),
            &cat,
            Box::new(class(
                "k22/model_index.json",
                "_class_name",
                json!("StableDiffusionPipeline"),
            )),
        ),
        (
            "an unknown part",
            K22.into(),
            &cat,
            Box::new(class(
                "k22/model_index.json",
                "movq",
                json!(["diffusers", "AutoencoderKL"]),
            )),
        ),
        (
            "an unknown scheduler",
            K22.into(),
            &cat,
            Box::new(class(
                "k22/scheduler/scheduler_config.json",
                "_class_name",
                json!("EulerDiscreteScheduler"),
            )),
        ),
        (
            "an unknown block",
            K22.into(),
            &cat,
            Box::new(class(
                "k22/unet/config.json",
                "mid_block_type",
                json!("UNetMidBlock2DCrossAttn"),
            )),
        ),
        (
            "an unknown activation",
            K22.into(),
            &cat,
            Box::new(class("k22/movq/config.json", "act_fn", json!("mish"))),
        ),
        (
            "a prior for another decoder",
            K22.into(),
            &cat,
            Box::new(class("k22/unet/config.json", "encoder_hid_dim", json!(24))),
        ),
        (
            "a prior for another Karlo",
            KARLO.into(),
            &cat,
            Box::new(class(
                "karlo/text_proj/config.json",
                "clip_embeddings_dim",
                json!(24),
            )),
        ),
        (
            "a text projection for another decoder",
            KARLO.into(),
            &cat,
            Box::new(class(
                "karlo/text_proj/config.json",
                "cross_attention_dim",
                json!(24),
            )),
        ),
        (
            "a prior for another CLIP",
            K22.into(),
            &cat,
            Box::new(class("prior/config.json", "embedding_dim", json!(24))),
        ),
        (
            "embeddings of another width",
            "generate --pipeline k22 --clip clip --embeddings z.safetensors".into(),
            &[],
            spoil(|desk| {
                let z = (Dtype::F32, vec![1, 2], vec![0; 8]);
                write(
                    &desk.join("z.safetensors"),
                    &Tensors::from([("z_x_hat".to_string(), z)]),
                );
            }),
        ),
        (
            "no embeddings",
            "generate --pipeline k22 --clip clip --embeddings prior/diffusion_pytorch_model.safetensors"
                .into(),
            &[],
            Box::new(none),
        ),
        (
            "an image without a side file",
            K22.into(),
            &cat,
            spoil(|desk| {
                std::fs::create_dir(desk.join("pictures")).expect("made");
                std::fs::copy(desk.join("fox.png"), desk.join("pictures/000000-a-red-cat.png"))
                    .expect("copied");
            }),
        ),
        (
            "no side file",
            "generate --repeat fox.png".into(),
            &[],
            Box::new(none),
        ),
    ];
    let mut text = String::new();
    for (name, args, more, spoil) in &cases {
        let desk = desk();
        spoil(desk.path());
        let (code, out, err) = eclipse(desk.path(), args, more);
        assert_eq!(out, "", "{name}");
        assert!(code == 1 || code == 2, "{name}: {code} {err}");
        assert!(
            err.starts_with("error: ") && !err.contains("panicked"),
            "{name}: {err}"
        );
        let pictures = desk.path().join("pictures");
        assert!(!pictures.exists() || files(&pictures).len() == 1, "{name}");
        assert_eq!(temporaries(desk.path()), Vec::<PathBuf>::new());
        let call = [args.split_whitespace().collect::<Vec<_>>(), more.to_vec()]
            .concat()
            .join(" ");
        text += &format!("== {name}\n$ eclipse {call}\nexit {code}\n{err}\n");
    }
    insta::with_settings!({filters => vec![(r"[^ ]*/z\.safetensors", "z.safetensors")], omit_expression => true}, { insta::assert_snapshot!("mistakes", text) });
}
