//! `eclipse eval checker`.

use std::fmt::Write;

use crate::eval::checker::{Accuracy, Damage, HitRate, WRONG, accuracy};
use crate::limits;
use crate::world::checker::Checker;
use crate::world::{VariantKind, World};
use clap::Args;
use serde_json::json;

use crate::cli::Usage;

/// Arguments of the checker.
#[derive(Debug, Args)]
#[command(next_help_heading = "The checker of a built-in world")]
pub struct CheckerArgs {
    /// Images per kind of damage.
    #[arg(long, value_name = "N", default_value_t = 400)]
    n: usize,
    /// The images.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Measures and prints.
pub fn run(args: &CheckerArgs, world: World, as_json: bool) -> anyhow::Result<()> {
    if args.n == 0 {
        return Err(Usage("--n 0: expected at least 1".into()).into());
    }
    limits::check("--n", args.n, limits::MAX_IMAGES).map_err(Usage)?;
    let checker = Checker::new(world);
    let steps = crate::cli::progress::Steps::new();
    let mut rows = Vec::new();
    for (i, damage) in Damage::ALL.into_iter().enumerate() {
        rows.push((damage.name(world), accuracy(&checker, damage, args.n, args.seed)));
        steps.show("checker", i + 1, Damage::ALL.len(), "");
    }
    if as_json {
        let rows = rows
            .iter()
            .map(|(name, found)| json!({ "pictures": name, "accuracy": found }));
        return crate::cli::print_json(&rows.collect());
    }
    crate::cli::print(&table(world, &rows))
}

/// Markdown, for the world's README. Attributes that the world lacks have no column.
fn table(world: World, rows: &[(String, Accuracy)]) -> String {
    type Column = (&'static str, fn(&Accuracy) -> HitRate);
    const COLUMNS: [Column; 7] = [
        ("object", |found| found.object),
        ("colour", |found| found.colour),
        ("texture", |found| found.texture),
        ("own colours", |found| found.own_colours),
        ("binding", |found| found.binding),
        ("relation", |found| found.relation),
        ("count", |found| found.count),
    ];
    let has_textures = !world.textures().is_empty();
    let columns: Vec<Column> = COLUMNS
        .into_iter()
        .filter(|(name, _)| match *name {
            "texture" => has_textures,
            "own colours" => world.has_own_colours(),
            _ => true,
        })
        .collect();
    let wrong: Vec<usize> = (0..WRONG.len())
        .filter(|&i| has_textures || WRONG[i] != VariantKind::Texture)
        .collect();
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut titles = vec!["pictures".to_owned()];
    titles.extend(columns.iter().map(|(name, _)| (*name).to_owned()));
    titles.extend(wrong.iter().map(|&i| format!("wrong {}", WRONG[i].name())));
    let n_columns = titles.len();
    let mut text = line(titles);
    text.push_str(&"|---".repeat(n_columns));
    text.push_str("|\n");
    for (name, found) in rows {
        let right = columns.iter().map(|(_, of)| of(found));
        let shares = right.chain(wrong.iter().map(|&i| found.wrong[i]));
        let mut cells = vec![name.clone()];
        cells.extend(shares.map(|share| format!("{:.3}", share.value())));
        text.push_str(&line(cells));
    }
    if let Some((_, found)) = rows.first() {
        let n = |share: HitRate| share.n;
        let wrong: Vec<String> = wrong.iter().map(|&i| found.wrong[i].n.to_string()).collect();
        let _ = writeln!(
            text,
            "\nEach row: {} main objects ({} painted), {} pairs of painted ones, {} relations, {} pictures; {} wrong pictures.",
            n(found.object),
            n(found.colour),
            n(found.binding),
            n(found.relation),
            n(found.count),
            wrong.join(", "),
        );
    }
    text
}
