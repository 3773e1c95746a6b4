//! Inputs that must not spoil a result without a word, through the real program: repeated images, lost files, numbers without a limit, outputs that
//! cannot be written, side files that change what is computed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use eclipse_t2i::data::examples::Examples;
use eclipse_t2i::data::store::Store;
use eclipse_t2i::data::stored::{Show, StoredPairs};
use image::RgbImage;
use serde_json::json;

use crate::program;
use crate::tiny::{
    self, DIFFUSERS, alter, alter_json, prior_config, write_clip, write_kandinsky, write_prior,
};

fn eclipse(desk: &Path, args: &str) -> (i32, String, String) {
    program::eclipse(desk, args.split_whitespace())
}

fn good(desk: &Path, args: &str) -> String {
    let (code, out, err) = eclipse(desk, args);
    assert_eq!(code, 0, "{args}: {err}");
    out
}

/// The last line of what a call that must fail says, and its exit code.
fn refused(desk: &Path, args: &str) -> (i32, String) {
    let (code, _, err) = eclipse(desk, args);
    let line = err.lines().rfind(|l| l.contains("error:")).unwrap_or_default();
    (code, line.trim_start_matches("error: ").to_owned())
}

fn photo(seed: u8) -> RgbImage {
    RgbImage::from_fn(24, 20, |x, y| {
        image::Rgb([seed, (x * 10) as u8, (y * 12) as u8 ^ seed])
    })
}

fn png(seed: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    photo(seed)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("encodes");
    bytes.into_inner()
}

/// A tar of images by number, each with a caption.
fn write_tar(path: &Path, images: &[u8]) {
    let mut tar = tar::Builder::new(std::fs::File::create(path).expect("a file"));
    for (i, image) in images.iter().enumerate() {
        let caption = format!("words {i} of image {image}");
        for (extension, bytes) in [("png", png(*image)), ("txt", caption.into_bytes())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            let name = format!("{i:05}.{extension}");
            tar.append_data(&mut header, name, bytes.as_slice())
                .expect("appends");
        }
    }
    tar.finish().expect("ends");
}

#[test]
fn a_held_out_image_is_never_trained_on() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    std::fs::create_dir(at("tars")).expect("a folder");
    // Twelve images, each several times: in one shard, in others of its tar, in other tars.
    let images = |shift: u8| (0..30u8).map(|i| (i * 7 + shift) % 12).collect::<Vec<u8>>();
    write_tar(&at("tars/0.tar"), &images(0));
    write_tar(&at("tars/1.tar"), &images(5));
    good(
        desk.path(),
        "encode --clip clip --pairs tars --out store --chunk 16",
    );
    let store = Arc::new(Store::open(&at("store")).expect("opens"));
    assert_eq!(store.n_captions(), 60);
    // Of the 16 records of a shard, those of one image are one picture.
    assert!(
        store
            .shards()
            .iter()
            .all(|s| s.n_pictures == 12 && s.n_captions > 12),
        "{:?}",
        store.shards()
    );
    let distinct: BTreeSet<u32> = store.first_of_image().iter().copied().collect();
    assert_eq!((store.n_images(), distinct.len()), (48, 12));

    for (show, n_held_out) in [
        (Show::EachCaption, 3),
        (Show::OneCaption, 5),
        (Show::OneCaption, 11),
    ] {
        let (trained, held_out) = StoredPairs::parted(store.clone(), show, None, n_held_out);
        let images = |pairs: &StoredPairs| -> BTreeSet<u32> {
            let n = pairs.order().n_examples();
            let examples = pairs.at(3, 0..2 * n);
            examples.iter().map(|e| store.first_of_image()[e.image]).collect()
        };
        let (trained, validated) = (images(&trained), images(&held_out));
        assert!(trained.is_disjoint(&validated), "{trained:?} and {validated:?}");
        assert_eq!(validated.len(), n_held_out);
        assert_eq!(trained.len() + validated.len(), 12);
        // Each of them once, whatever it is repeated.
        assert_eq!(held_out.order().n_examples(), validated.len());
    }
    // A picture's caption is one of all captions that its image has.
    let (trained, _) = StoredPairs::parted(store.clone(), Show::OneCaption, None, 1);
    let n = trained.order().n_examples();
    let seen: BTreeSet<usize> = trained.at(0, 0..60 * n).iter().map(|e| e.caption).collect();
    assert!(seen.len() > 50, "{} of 55 captions", seen.len());

    let run = "[data]\nstore = \"store\"\nn_validation = 3\n[model]\nn_heads = 2\nd_head = 8\nn_layers = 1\n[train]\nsteps = 4\nbatch_size = 4\ncheckpoint_every = 2\n[eval]\nn_noise = 1\n";
    std::fs::write(at("run.toml"), run).expect("written");
    good(desk.path(), "train --config run.toml --out run");
    // Images count, not how often the store has them.
    let (code, said) = refused(
        desk.path(),
        "train --config run.toml --out all --set data.n_validation=12",
    );
    let wanted = "`data.n_validation`: expected less than the 12 images of store, found 12";
    assert_eq!((code, said.as_str()), (1, wanted));
}

#[test]
fn rows_of_one_image_are_one_picture_with_their_captions() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    std::fs::create_dir(at("images")).expect("a folder");
    let mut table = String::from("image,caption\n");
    for round in 0..4 {
        for image in 0..5 {
            std::fs::write(at(&format!("images/{image}.png")), png(image)).expect("written");
            table += &format!("{image}.png,caption {round} of {image}\n");
        }
    }
    std::fs::write(at("captions.csv"), table).expect("written");
    good(
        desk.path(),
        "encode --clip clip --pairs captions.csv --images images --out store",
    );
    let store = Store::open(&at("store")).expect("opens");
    assert_eq!((store.n_images(), store.n_captions()), (5, 20));
    assert!((0..5).all(|i| store.captions_of(i).len() == 4 && store.image_id(i) == format!("{i}.png")));
}

#[test]
fn a_lost_file_is_an_error_with_an_exit_code_of_its_own() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    std::fs::create_dir(at("tars")).expect("a folder");
    for (i, name) in ["0", "1", "2"].iter().enumerate() {
        write_tar(&at(&format!("tars/{name}.tar")), &[i as u8 * 3, i as u8 * 3 + 1]);
    }
    let whole = std::fs::read(at("tars/1.tar")).expect("a tar");
    std::fs::write(at("tars/1.tar"), &whole[..whole.len() / 2]).expect("written");
    let encode = |pairs: &str, more: &str| {
        format!(
            "encode --clip clip --pairs {pairs} --out store-{} {more}",
            more.len()
        )
    };
    let (code, said) = refused(desk.path(), &encode("tars", ""));
    assert!(
        said.starts_with("tars/1.tar: the tar ends early, near byte ")
            && said.ends_with("; --keep-going encodes the rest and names what is lost"),
        "{said}"
    );
    assert_eq!(code, 3);
    assert!(!at("store-0/store.json").exists());
    let (code, said) = refused(desk.path(), &encode("tars", "--keep-going"));
    assert_eq!(
        (code, said.as_str()),
        (
            3,
            "1 file(s) of tars could not be read, see unreadable-file in store-12/rejects.jsonl"
        )
    );
    assert!(Store::open(&at("store-12")).expect("finished").n_images() >= 4);
    let (code, said) = refused(desk.path(), "inspect tars");
    assert!(
        said.starts_with("1 file(s) of tars cannot be read: tars/1.tar: the tar ends early"),
        "{said}"
    );
    assert_eq!(code, 3);
    // One file that ends early has records all the same; one that is nothing but noise has none.
    let (code, _) = refused(desk.path(), "encode --clip clip --pairs tars/1.tar --out one");
    assert_eq!(code, 3);
    std::fs::write(at("noise.tar"), [0x5A; 4096]).expect("written");
    let (code, said) = refused(desk.path(), "encode --clip clip --pairs noise.tar --out noise");
    assert!(
        code == 1 && said.ends_with("; not one record of noise.tar can be used"),
        "{said}"
    );
    // A shard that is not there is known before anything is encoded.
    let (code, said) = refused(
        desk.path(),
        "encode --clip clip --pairs tars/{0..3}.tar --out never",
    );
    assert_eq!(
        (code, said.as_str()),
        (
            3,
            "tars/3.tar: no such file; --keep-going encodes the rest and names what is lost"
        )
    );
    assert!(!at("never").exists());

    // Nothing usable is a failure.
    std::fs::create_dir(at("bad")).expect("a folder");
    for name in ["a.jpg", "b.jpg"] {
        std::fs::write(at(&format!("bad/{name}")), &png(1)[..120]).expect("written");
        std::fs::write(at(&format!("bad/{name}")).with_extension("txt"), "a cat").expect("written");
    }
    let (code, said) = refused(desk.path(), "encode --clip clip --pairs bad --out nothing");
    assert!(
        said.starts_with(
            "nothing: not one record could be used, see rejects.jsonl: 2 broken-picture; bad: a.jpg: "
        ),
        "{said}"
    );
    assert_eq!(code, 1);
    assert!(!at("nothing/store.json").exists());
    let (code, said) = refused(desk.path(), "inspect bad");
    assert!(
        said.starts_with("bad: not one of 2 records can be used (2 rejected); bad: a.jpg: broken-picture: "),
        "{said}"
    );
    assert_eq!(code, 1);
    std::fs::write(at("zeros.tar"), [0; 10240]).expect("written");
    let (code, said) = refused(
        desk.path(),
        "encode --clip clip --pairs zeros.tar --out nothing-2",
    );
    assert_eq!(
        (code, said.as_str()),
        (1, "nothing-2: not one record could be used: the source has none")
    );
}

#[test]
fn numbers_have_limits_and_outputs_are_checked_first() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    write_prior(&at("prior"), &prior_config());
    write_kandinsky(&at("k22"));
    std::fs::write(at("p.txt"), "a red cat\n").expect("written");
    std::fs::create_dir(at("folder.npy")).expect("a folder");
    let draw = "generate --pipeline k22 --clip clip --prior prior --prompt a --steps 1 --out o";
    let prior = "prior --prior prior --text clip --prompts p.txt";
    let answers: Vec<String> = [
        format!("{draw} --size 1000000"),
        format!("{draw} --size 64x4097"),
        format!("{draw} --size 4096"),
        format!("{draw} --size 16 --prior-steps 1000000000000"),
        format!("{draw} --size 16 --sheet nodir/x/s.png"),
        "encode --clip clip --pairs world:emoji?n=1000000000000 --out s".into(),
        "encode --clip clip --pairs world:emoji --out s --chunk 4000000000".into(),
        "encode --clip clip --pairs world:emoji --out s --workers 60000".into(),
        "encode --clip clip --pairs world:emoji --out s --max-pixels 99999999999".into(),
        "inspect a{0..999999}{0..999999}.tar".into(),
        format!("{prior} --out z.npy --best-of 1000000000000"),
        format!("{prior} --out nodir/x/z.npy"),
        format!("{prior} --out folder.npy"),
    ]
    .iter()
    .map(|args| {
        let (code, said) = refused(desk.path(), args);
        format!("{code} {said}")
    })
    .collect();
    insta::assert_snapshot!(answers.join("\n"));
    assert!(
        !at("o").exists() && !at("s").exists(),
        "refused before anything is begun"
    );
}

#[test]
fn embeddings_that_are_no_numbers_are_not_written() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    write_prior(&at("prior"), &prior_config());
    write_kandinsky(&at("k22"));
    std::fs::write(at("p.txt"), "a red cat\n").expect("written");
    good(
        desk.path(),
        "prior --prior prior --text clip --prompts p.txt --out z.safetensors",
    );
    alter(&at("prior").join(DIFFUSERS), |tensors| {
        let weight = tensors.get_mut("proj_in.weight").expect("a tensor");
        weight
            .2
            .chunks_exact_mut(4)
            .for_each(|v| v.copy_from_slice(&f32::NAN.to_le_bytes()));
    });
    for name in ["nan.npy", "nan.safetensors"] {
        let (code, said) = refused(
            desk.path(),
            &format!("prior --prior prior --text clip --prompts p.txt --out {name}"),
        );
        assert!(
            said.starts_with("the prior's embedding of \"a red cat\" has 16 values that are not finite"),
            "{said}"
        );
        assert!(code == 1 && !at(name).exists());
    }
    alter(&at("z.safetensors"), |tensors| {
        tensors.get_mut("z_x_hat").expect("a tensor").2[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
    let (code, said) = refused(
        desk.path(),
        "generate --pipeline k22 --embeddings z.safetensors --clip clip --prior prior --steps 1 --size 16 --out o",
    );
    assert!(
        code == 1 && said.contains("expected finite numbers, found 1 others in row 0"),
        "{said}"
    );
}

/// The photo of a camera that was held upright: stored lying on its side, with the orientation in Exif.
#[test]
fn photos_are_upright_everywhere() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    write_prior(&at("prior"), &prior_config());
    write_kandinsky(&at("k22"));
    let mut jpeg = std::io::Cursor::new(Vec::new());
    photo(9)
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .expect("encodes");
    let jpeg = jpeg.into_inner();
    let exif = b"\xFF\xE1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    for folder in ["lying", "upright"] {
        std::fs::create_dir(at(folder)).expect("a folder");
        std::fs::write(at(folder).join("a.txt"), "a cat").expect("written");
    }
    std::fs::write(at("lying/a.jpg"), [&jpeg[..2], exif, &jpeg[2..]].concat()).expect("written");
    let stored = image::load_from_memory(&jpeg).expect("reads");
    stored
        .rotate90()
        .to_rgb8()
        .save(at("upright/a.png"))
        .expect("saved");
    let z_x = |folder: &str| {
        good(
            desk.path(),
            &format!("encode --clip clip --pairs {folder} --out store-{folder} --dtype f32"),
        );
        let mut row = Vec::new();
        Store::open(&at(&format!("store-{folder}")))
            .expect("opens")
            .z_x(0, &mut row);
        row
    };
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far(&z_x("lying"), &z_x("upright")) < 0.02);
    let draw = |image: &str, out: &str| {
        good(
            desk.path(),
            &format!("vary --pipeline k22 --clip clip --image {image} --steps 2 --size 16 --out {out}"),
        );
        let entries = std::fs::read_dir(at(out)).expect("a folder").flatten();
        let png = entries
            .map(|e| e.path())
            .find(|p| p.extension().is_some_and(|e| e == "png"));
        image::open(png.expect("a picture")).expect("reads").to_rgb8()
    };
    let (a, b) = (draw("lying/a.jpg", "a"), draw("upright/a.png", "b"));
    assert!(a.as_raw().iter().zip(b.as_raw()).all(|(a, b)| a.abs_diff(*b) < 8));
}

#[test]
fn published_folders_of_every_layout_are_read() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    write_clip(&at("clip"));
    write_prior(&at("prior"), &prior_config());
    write_kandinsky(&at("k22"));
    std::fs::write(at("p.txt"), "a red cat\n").expect("written");
    let prior = |name: &str| format!("prior --prior {name} --text clip --prompts p.txt --out {name}.npy");
    good(desk.path(), &prior("prior"));
    let whole = std::fs::read(at("prior.npy")).expect("embeddings");
    // Weights in shards, by both names that diffusers has given to variants.
    let tensors = tiny::read(&at("prior").join(DIFFUSERS));
    for (name, index, shards) in [
        (
            "one",
            "diffusion_pytorch_model.safetensors.index.fp16.json",
            [
                "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
                "diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
            ],
        ),
        (
            "two",
            "diffusion_pytorch_model.safetensors.fp16.index.json",
            [
                "diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
                "diffusion_pytorch_model-00002-of-00002.fp16.safetensors",
            ],
        ),
    ] {
        std::fs::create_dir(at(name)).expect("a folder");
        std::fs::copy(at("prior/config.json"), at(name).join("config.json")).expect("copied");
        let mut map = serde_json::Map::new();
        for (i, shard) in shards.iter().enumerate() {
            let part: tiny::Tensors = tensors
                .iter()
                .enumerate()
                .filter(|(n, _)| n % 2 == i)
                .map(|(_, (k, v))| (k.clone(), v.clone()))
                .collect();
            map.extend(part.keys().map(|key| (key.clone(), json!(shard))));
            tiny::write(&at(name).join(shard), &part);
        }
        std::fs::write(
            at(name).join(index),
            json!({"metadata": {}, "weight_map": map}).to_string(),
        )
        .expect("written");
        good(desk.path(), &prior(name));
        assert!(std::fs::read(at(&format!("{name}.npy"))).expect("embeddings") == whole);
        assert!(good(desk.path(), &format!("inspect {name}")).contains("parameters: "));
    }
    tiny::copy(&at("prior"), &at("pickled"));
    std::fs::rename(at("pickled").join(DIFFUSERS), at("pickled/model.ckpt")).expect("renamed");
    for args in [prior("pickled"), "inspect pickled".into()] {
        let (code, said) = refused(desk.path(), &args);
        let wanted = "; model.ckpt is there: rename it if it is the one";
        assert!(code == 1 && said.ends_with(wanted), "{said}");
    }
    // A byte-order mark, and a scheduler with keys that diffusers leaves of another class.
    let config = std::fs::read(at("prior/config.json")).expect("a config");
    std::fs::write(at("prior/config.json"), [b"\xEF\xBB\xBF", &config[..]].concat()).expect("written");
    good(desk.path(), &prior("prior"));
    let draw = "generate --pipeline k22 --clip clip --prior prior --prompt a --steps 2 --size 16";
    good(desk.path(), &format!("{draw} --out before"));
    alter_json(&at("k22/scheduler/scheduler_config.json"), |config| {
        config["use_karras_sigmas"] = false.into();
        config["algorithm_type"] = "dpmsolver++".into();
    });
    let (code, _, err) = eclipse(desk.path(), &format!("{draw} --out after"));
    assert_eq!((code, err.as_str()), (0, ""));
    // The cache of a hub, whose files are in a snapshot.
    let root = at("models--org--name/snapshots/abc");
    std::fs::create_dir_all(root.parent().expect("a folder")).expect("folders");
    tiny::copy(&at("k22"), &root);
    let (code, said) = refused(
        desk.path(),
        "generate --pipeline models--org--name --clip clip --prior prior --prompt a --out o",
    );
    assert_eq!(
        (code, said.as_str()),
        (
            1,
            "models--org--name is a folder of the Hugging Face cache: give models--org--name/snapshots/abc"
        )
    );
    // A log that is a file has no colours.
    let (code, _, err) = eclipse(
        desk.path(),
        "generate --pipeline k22 --clip clip --prior prior --prompt a --steps 1 --size 17 --out odd",
    );
    assert!(
        code == 0 && err.contains("WARN") && !err.contains('\u{1b}'),
        "{err:?}"
    );
}
