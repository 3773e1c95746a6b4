//! `eclipse schema`.

use std::path::PathBuf;

use crate::comparison;
use crate::experiment::{run_schema, sweep_schema};
use crate::files;
use crate::testbed::{ClipRecipe, DecoderRecipe};
use clap::{Args, ValueEnum};

use super::Usage;

/// Arguments of `eclipse schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The kind of file.
    #[arg(value_enum, required_unless_present = "write")]
    kind: Option<FileKind>,
    /// Write KIND.schema.json, or one of each kind without KIND, to this folder.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileKind {
    /// `sweep.toml` and `base.toml` of an experiment.
    Sweep,
    /// `sweep.toml` of a comparison of systems, with `[systems]`.
    Comparison,
    /// Published numbers beside a comparison.
    Published,
    /// One run, as in `eclipse train --config`.
    Train,
    /// Recipe of a world's CLIP, as in `eclipse pretrain --recipe`.
    PretrainClip,
    /// Recipe of a world's decoder.
    PretrainDecoder,
}

impl FileKind {
    fn schema(self) -> anyhow::Result<serde_json::Value> {
        let schema = match self {
            Self::Sweep => sweep_schema(),
            Self::Comparison => comparison::schema(),
            Self::Published => Ok(comparison::Published::schema()),
            Self::Train => run_schema(),
            Self::PretrainClip => ClipRecipe::schema(),
            Self::PretrainDecoder => DecoderRecipe::schema(),
        };
        schema.map_err(|invalid| anyhow::anyhow!("the program's own defaults are out of range: {invalid}"))
    }

    fn file_name(self) -> String {
        let name = self.to_possible_value();
        let name = name.map_or_else(String::new, |value| value.get_name().to_owned());
        format!("{name}.schema.json")
    }
}

/// Prints or writes the JSON Schema of a kind of file.
pub fn run(args: &SchemaArgs) -> anyhow::Result<()> {
    let Some(folder) = &args.write else {
        let kind = args.kind.ok_or_else(|| Usage("which kind of file?".into()))?;
        return super::print_json(&kind.schema()?);
    };
    super::check_output_folder("--write", folder)?;
    files::create_dir(folder)?;
    let kinds = args
        .kind
        .map_or_else(|| FileKind::value_variants().to_vec(), |kind| vec![kind]);
    for kind in kinds {
        let path = folder.join(kind.file_name());
        crate::config::write_json(&path, &kind.schema()?)?;
        super::note(format!("written: {}", path.display()));
    }
    Ok(())
}
