//! `eclipse eval`.

use std::fmt::Write;

use clap::{Args, Subcommand};
use eclipse_t2i::eval::checker::{Accuracy, Damage, Share, WRONG, accuracy};
use eclipse_t2i::world::checker::Checker;
use serde_json::json;

use super::Usage;

/// Arguments of `eclipse eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How well the emoji world's checker reads pictures: true renders, damaged ones, wrong ones.
    Checker(CheckerArgs),
}

#[derive(Debug, Args)]
struct CheckerArgs {
    /// Pictures for each kind of damage.
    #[arg(long, value_name = "N", default_value_t = 400)]
    n: usize,
    /// Which pictures.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    let What::Checker(args) = &args.what;
    if args.n == 0 {
        return Err(Usage("--n 0: expected at least 1".into()).into());
    }
    let checker = Checker::new();
    let steps = super::progress::Steps::new();
    let mut rows = Vec::new();
    for (i, damage) in Damage::ALL.into_iter().enumerate() {
        rows.push((damage.name(), accuracy(&checker, damage, args.n, args.seed)));
        steps.show("checker".as_ref(), i + 1, Damage::ALL.len());
    }
    if args.json {
        let rows = rows
            .iter()
            .map(|(name, found)| json!({ "pictures": name, "accuracy": found }));
        return super::print_json(&rows.collect());
    }
    super::print(&table(&rows))
}

/// In Markdown, so that it can be put into the world's README.
fn table(rows: &[(String, Accuracy)]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut titles: Vec<String> = [
        "pictures",
        "object",
        "colour",
        "own colours",
        "binding",
        "relation",
        "count",
    ]
    .map(str::to_owned)
    .to_vec();
    titles.extend(WRONG.map(|kind| format!("wrong {}", kind.name())));
    let mut text = line(titles.clone());
    text.push_str(&"|---".repeat(titles.len()));
    text.push_str("|\n");
    for (name, found) in rows {
        let right = [
            found.object,
            found.colour,
            found.own_colours,
            found.binding,
            found.relation,
            found.count,
        ];
        let mut cells = vec![name.clone()];
        cells.extend(
            right
                .iter()
                .chain(&found.wrong)
                .map(|share| format!("{:.3}", share.value())),
        );
        text.push_str(&line(cells));
    }
    if let Some((_, found)) = rows.first() {
        let n = |share: Share| share.n;
        let wrong: Vec<String> = found.wrong.iter().map(|share| share.n.to_string()).collect();
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
