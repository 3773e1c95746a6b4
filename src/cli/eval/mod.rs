//! `eclipse eval`.

mod checker;
mod images;

use crate::device::DeviceSpec;
use crate::eval::metrics::{self, ImageOption};
use crate::world::World;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::Usage;

const EXAMPLES: &str = "\
Examples:
  eclipse eval fid kid --images drawn/ --reference coco/ --inception pt_inception-2015-12-05-6726825d.pth
  eclipse eval clip-score --images samples/ --clip clip-vit-base-patch32
  eclipse eval pick-score --images ours/ --against theirs/ --prompts prompts.txt --clip PickScore_v1
  eclipse eval spatial --images samples/ --detections found.json
  eclipse eval blip-vqa --images color/samples --blip blip-vqa-capfilt-large
  eclipse eval checker --world shapes";

/// Arguments of `eclipse eval`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    /// Measures to compute; one or several.
    #[arg(required = true, value_name = "METRIC", value_parser = measures())]
    metrics: Vec<Measure>,
    #[arg(long, value_name = "NAME", default_value = "emoji", value_parser = crate::cli::world_named, help = images::for_readers(
        ImageOption::World,
        "The built-in world",
        "; also the world whose checker `checker` measures",
    ))]
    world: World,
    #[command(flatten)]
    images: images::ImageArgs,
    #[command(flatten)]
    checker: checker::CheckerArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A measure.
#[derive(Clone)]
enum Measure {
    /// A metric on a folder of images.
    Images(images::Entry),
    /// The checker of a built-in world.
    Checker,
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Images((info, _)) => info.name,
            Self::Checker => CHECKER,
        })
    }
}

const CHECKER: &str = "checker";

/// The names of all measures, with meaning and direction.
fn measures() -> impl TypedValueParser<Value = Measure> {
    let of_images =
        metrics::of_image_folders().map(|(info, _)| PossibleValue::new(info.name).help(info.sentence()));
    let checker = PossibleValue::new(CHECKER)
        .help("How well a built-in world's checker reads images: true renders, damaged ones, wrong ones");
    PossibleValuesParser::new(of_images.chain([checker])).map(|name| {
        let found = metrics::of_image_folders().find(|(info, _)| info.name == name);
        found.map_or(Measure::Checker, Measure::Images)
    })
}

/// Computes, prints and saves the measures.
pub fn run(args: &EvalArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let of_images = args.metrics.iter().filter_map(|measure| match measure {
        Measure::Images(entry) => Some(*entry),
        Measure::Checker => None,
    });
    let of_images: Vec<images::Entry> = of_images.collect();
    match (of_images.len(), args.metrics.len()) {
        (n, all) if n == all => images::run(&args.images, args.world, &of_images, args.json, device),
        (0, 1) => checker::run(&args.checker, args.world, args.json),
        _ => Err(
            Usage("checker: expected no other metric beside it, it scores no images of yours".into()).into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, command};
    use clap::FromArgMatches;

    #[test]
    fn a_metric_of_the_table_is_a_metric_of_the_command() -> anyhow::Result<()> {
        let mut command = command();
        let help = command
            .find_subcommand_mut("eval")
            .expect("the command")
            .render_long_help()
            .to_string();
        let row = "Mean brightness of the images (share of white; higher is better)";
        let said = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&format!("- toy-brightness: {row}")), "{help}");
        assert!(
            said.contains("(fid, kid)") && said.contains("(fid, kid, clip-fid)"),
            "{help}"
        );

        let folder = tempfile::tempdir()?;
        for (name, value) in [("black.png", 0), ("white.png", 255)] {
            image::RgbImage::from_pixel(2, 3, image::Rgb([value; 3])).save(folder.path().join(name))?;
        }
        let path = folder.path().display().to_string();
        let args = [
            "eclipse",
            "eval",
            "toy-brightness",
            "--no-cache",
            "--images",
            &path,
        ];
        Cli::from_arg_matches(&crate::cli::command().try_get_matches_from(args)?)?.run()?;
        let score: serde_json::Value =
            crate::weights::read_json(&folder.path().join("eval/toy-brightness.json"))?;
        assert_eq!((&score["value"], &score["n"]), (&0.5.into(), &2.into()));
        assert_eq!(score["lower_is_better"], false);
        Ok(())
    }
}
