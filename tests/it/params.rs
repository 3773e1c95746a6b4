//! `eclipse params`.

use std::path::Path;

use eclipse_t2i::weights::Checkpoint;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::program::eclipse;
use crate::tiny;

/// Numbers in the tensors of a file whose names `is_counted` holds of.
fn numbers(file: &Path, is_counted: impl Fn(&str) -> bool) -> usize {
    let bytes = std::fs::read(file).expect("weights");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors").tensors();
    let counted = tensors.iter().filter(|(name, _)| is_counted(name));
    counted
        .map(|(_, tensor)| tensor.shape().iter().product::<usize>())
        .sum()
}

/// A decoder's folder, an ECLIPSE prior and a CLIP in one file: what the files hold, and what of it the paper counts.
#[test]
fn parameters_are_counted_in_the_files() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |path: &str| desk.path().join(path);
    tiny::write_kandinsky(&at("decoder"));
    tiny::write_prior(&at("prior"), &tiny::prior_config());
    tiny::write_clip(&at("clip"));
    let all = "params --pipeline decoder --prior prior --clip clip --json";
    let (code, out, err) = eclipse(desk.path(), all.split(' '));
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    let found = &found[0];
    let in_clip = |tower: &str| numbers(&at("clip/model.safetensors"), |name| name.starts_with(tower));
    let network = |folder: &str| {
        numbers(&at(folder).join(tiny::DIFFUSERS), |name| {
            !name.starts_with("clip_")
        })
    };
    let expected = [
        ("prior", network("prior"), true),
        ("image_encoder", in_clip("vis"), false),
        ("decoder", network("decoder/unet"), true),
        ("movq", network("decoder/movq"), false),
        ("text_encoder", in_clip("text_"), false),
    ];
    let components: Vec<(&str, usize, bool)> = found["components"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| {
            let n = c["n"].as_u64().expect("a number") as usize;
            (
                c["name"].as_str().expect("a name"),
                n,
                c["in_paper_total"] == true,
            )
        })
        .collect();
    assert_eq!(components, expected);
    let sum = |of: &dyn Fn(bool) -> bool| -> usize {
        let counted = expected.iter().filter(|(_, _, in_paper)| of(*in_paper));
        counted.map(|(_, n, _)| n).sum()
    };
    assert_eq!(found["paper_total"], sum(&|in_paper| in_paper));
    assert_eq!(found["full_total"], sum(&|_| true));

    // Published folders of earlier years have PyTorch files.
    let unet = at("decoder/unet");
    std::fs::remove_file(unet.join(tiny::DIFFUSERS)).expect("removed");
    let eval = tiny::golden("eval-tiny-s0");
    tiny::copy(
        &eval.join("torch_files/first_zip.pth"),
        &unet.join("diffusion_pytorch_model.bin"),
    );
    let names = Checkpoint::open(eval.join("torch_files/first_zip.pth")).expect("a file of PyTorch's");
    let narrow = numbers(&eval.join("inception_narrow/model.safetensors"), |name| {
        names.tensors().contains_key(name) && !name.ends_with("num_batches_tracked")
    });
    let (_, out, _) = eclipse(desk.path(), "params --pipeline decoder --prior prior".split(' '));
    let rows: Vec<&str> = out.lines().collect();
    let with_commas = |n: usize| match n {
        1000.. => format!("{},{:03}", n / 1000, n % 1000),
        _ => n.to_string(),
    };
    assert!(
        rows.contains(&format!("| decoder | {} | yes |", with_commas(narrow)).as_str()),
        "{out}"
    );
    assert!(rows.contains(&"| text_encoder | no weights here | no |"), "{out}");

    // What the paper counts must be there.
    std::fs::remove_file(unet.join("diffusion_pytorch_model.bin")).expect("removed");
    for (args, expected) in [
        ("params --pipeline decoder --prior prior", "no weights in "),
        (
            "params --pipeline decoder",
            "no prior/ in decoder: name a prior with --prior",
        ),
        ("params --prior prior", "which decoder? give --pipeline DIR"),
    ] {
        let (code, _, err) = eclipse(desk.path(), args.split(' '));
        assert!(code > 0 && err.contains(expected), "{args}: {err}");
    }
}
