//! `eclipse generate`.

use std::path::PathBuf;

use crate::device::DeviceSpec;
use crate::generate::embeddings::embedding_origins;
use crate::generate::plan::Plan;
use crate::generate::recipe::{Origin, Recipe};
use crate::generate::stacks;
use crate::limits;
use clap::Args;

use super::Usage;
use super::drawing::{ModelArgs, OutArgs, SampleArgs, draw, usage};

/// Fraction of the trajectory that is sampled from an initial image (reference: img2img's default).
const STRENGTH: f64 = 0.3;

/// Arguments of `eclipse generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    models: ModelArgs,
    /// Prompt to draw; may be repeated.
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,
    /// Prompts from a file, one per line, UTF-8; - is standard input.
    #[arg(long = "prompts", value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Image embeddings instead of prompts: a file written by `eclipse prior --out FILE.safetensors`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompts", "prompt_file"])]
    embeddings: Option<PathBuf>,
    /// Images per prompt.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    images: u16,
    #[arg(long, value_name = "IMAGE", help = init_help())]
    init: Option<PathBuf>,
    /// With --init: strength in 0..=1, the fraction of the steps that is taken.
    #[arg(long, value_name = "X", default_value_t = STRENGTH, requires = "init", allow_negative_numbers = true)]
    strength: f64,
    /// Draw the image of a .json file again, from the folders it names; weights and settings must be unchanged.
    #[arg(
        long,
        value_name = "FILE.json",
        conflicts_with_all = ["pipeline", "prompts", "prompt_file", "embeddings", "init"])]
    repeat: Option<PathBuf>,
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    out: OutArgs,
}

/// Description of the command, from the list of stacks.
pub fn about() -> String {
    let published = stacks::each(|about| about.published.map(|_| about.name.into()));
    format!("Draw prompts with a published decoder: {published}")
}

fn init_help() -> String {
    let those = stacks::each(|about| about.starts_from_image.then(|| about.name.into()));
    format!("Start from this image instead of noise ({those})")
}

/// Turns prompts into images.
pub fn run(args: &GenerateArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let options = args.out.options(device);
    if let Some(path) = &args.repeat {
        let recipe = Recipe::read(path)?;
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let plan = Plan::repeat(&recipe, &name.unwrap_or_default(), &options).map_err(usage)?;
        return draw(&plan, &args.out, device);
    }
    let mut origins: Vec<Origin> = args.prompts.iter().cloned().map(Origin::Prompt).collect();
    if let Some(path) = &args.prompt_file {
        origins.extend(super::read_prompts(path)?.into_iter().map(Origin::Prompt));
    }
    if let Some(path) = &args.embeddings {
        origins = embedding_origins(path)?;
    }
    if origins.is_empty() {
        return Err(Usage("nothing to draw: give --prompt, --prompts or --embeddings".into()).into());
    }
    let n = usize::from(args.images);
    limits::check("images of a call", origins.len() * n, limits::MAX_IMAGES).map_err(Usage)?;
    let origins = origins
        .into_iter()
        .flat_map(|o| std::iter::repeat_n(o, n))
        .collect();
    let mut request = args.sample.request("generate", origins, false);
    request.init = args.init.clone().map(|image| (image, args.strength));
    let plan = Plan::new(&request, args.models.layout()?, &options).map_err(usage)?;
    draw(&plan, &args.out, device)
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, command};
    use crate::generate::images::read_png_texts;
    use crate::models::clip::preprocess::read_image;
    use crate::{files, weights};
    use clap::FromArgMatches;
    use safetensors::tensor::{Dtype, TensorView};
    use serde_json::json;
    use std::path::Path;

    fn eclipse(args: &[&str]) -> Result<(), String> {
        let matches = command()
            .try_get_matches_from([&["eclipse"], args].concat())
            .map_err(|e| e.to_string())?;
        let cli = Cli::from_arg_matches(&matches).map_err(|e| e.to_string())?;
        cli.run().map_err(|e| format!("{e:#}"))
    }

    /// A pipeline of the toy stack, and a file with the embedding of one image.
    fn flat_colours(dir: &Path) {
        let write = |file: &str, value: serde_json::Value| {
            let path = dir.join("flat").join(file);
            files::create_dir(path.parent().expect("a folder")).expect("made");
            weights::write_json(&path, &value).expect("written");
        };
        write(
            "model_index.json",
            json!({"_class_name": "FlatColourPipeline", "palette": ["toy", "Palette"]}),
        );
        write("palette/config.json", json!({"d_clip": 4, "side": 6}));
        let z_x: Vec<u8> = [1.0f32, -1.0, 0.0, 7.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F32, vec![1, 4], &z_x).expect("fits");
        let file = safetensors::serialize([("z_x_hat", view)], None).expect("fits");
        std::fs::write(dir.join("z.safetensors"), file).expect("written");
    }

    /// The stack of CONTRIBUTING.md draws, is described and is exported like the others.
    #[test]
    fn a_stack_is_one_file_and_one_line() {
        let desk = tempfile::tempdir().expect("a folder");
        flat_colours(desk.path());
        let at = |name: &str| desk.path().join(name).display().to_string();
        let (flat, z) = (at("flat"), at("z.safetensors"));
        let draw = ["generate", "--pipeline", &flat, "--embeddings", &z];
        eclipse(&[&draw[..], &["--out", &at("once")]].concat()).expect("drawn");
        let image = desk.path().join("once/000000-z.png");
        let pixels = read_image(&image).expect("an image");
        assert_eq!(pixels.dimensions(), (6, 6));
        assert!(pixels.pixels().all(|p| p.0 == [255, 0, 127]));
        let texts = read_png_texts(&image).expect("texts");
        assert!(texts.contains(&("decoder".into(), "flat colours".into())));

        let side = at("once/000000-z.json");
        eclipse(&["generate", "--repeat", &side, "--out", &at("twice")]).expect("drawn again");
        let bytes = |folder: &str| files::read(desk.path().join(folder).join("000000-z.png")).expect("there");
        assert_eq!(bytes("once"), bytes("twice"));

        let said = eclipse(
            &[
                &draw[..],
                &["--out", &at("third"), "--init", &at("once/000000-z.png")],
            ]
            .concat(),
        );
        assert_eq!(
            said,
            Err(
                "init: image-to-image is not possible with flat colours, only with Kandinsky 2.2, small decoders of pixels"
                    .into()
            )
        );
        let said = eclipse(&["generate", "--help"]).expect_err("help");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "Known are Karlo, Kandinsky 2.2, small decoders of pixels, flat colours",
            "[default: 25 for Karlo, 100 for Kandinsky 2.2, 4 for small decoders of pixels;",
            "flat colours: that of the palette]",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }

        let class = |name: &str| {
            weights::write_json(
                &desk.path().join("flat/model_index.json"),
                &json!({"_class_name": name}),
            )
        };
        class("NoPipeline").expect("written");
        let said = eclipse(&draw).expect_err("unknown");
        assert!(
            said.contains("UnCLIPPipeline") && said.ends_with("FlatColourPipeline)"),
            "{said}"
        );
        flat_colours(desk.path());

        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/karlo-tiny-s0.zip");
        let golden = files::unpack(&archive, &desk.path().join("golden")).expect("a fixture");
        let golden = |name: &str| golden.join(name).display().to_string();
        let (prior, clip, to) = (golden("eclipse_prior"), golden("karlo"), at("export"));
        eclipse(&["export", &prior, "--clip", &clip, "--decoder", &flat, "--to", &to]).expect("exported");
        let card = files::read_text(desk.path().join("export/README.md")).expect("a card");
        assert!(
            card.contains("decoder(colour=embeddings.image_embeds[:3]).images[0]"),
            "{card}"
        );
        assert!(card.contains("\nEvery image has one colour.\n"), "{card}");
    }

    /// The worked example is the code tested above.
    #[test]
    fn contributing_shows_the_stack() {
        let guide = include_str!("../../CONTRIBUTING.md");
        assert!(guide.contains(include_str!("../generate/stacks/toy.rs")));
        let list = include_str!("../generate/stacks/mod.rs");
        let line = "    #[cfg(test)]\n    toy::FlatColour,\n";
        assert!(list.contains(line) && guide.contains("toy::FlatColour,"));
    }
}
