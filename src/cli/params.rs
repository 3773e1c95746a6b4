//! `eclipse params`.

use clap::Args;
use serde_json::json;

use super::drawing::ModelArgs;
use super::output::{print, print_json};
use crate::device::DeviceSpec;
use crate::generate::params::ParamCounts;

/// Arguments of `eclipse params`.
#[derive(Debug, Args)]
pub struct ParamsArgs {
    #[command(flatten)]
    models: ModelArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Counts the parameters of a pipeline, or of the published ones without `--pipeline`.
pub fn run(args: &ParamsArgs, device: DeviceSpec) -> anyhow::Result<()> {
    let counts = match args.models.is_given() {
        true => vec![ParamCounts::of(&args.models.layout()?)?],
        false => ParamCounts::published(&device.device()?),
    };
    if args.json {
        let systems = counts.iter().map(|counts| {
            json!({"system": counts.system, "components": counts.components,
                "paper_total": counts.paper_total(), "full_total": counts.full_total()})
        });
        return print_json(&systems.collect());
    }
    let tables: Vec<String> = counts.iter().map(table).collect();
    print(&tables.join("\n"))
}

/// Markdown: a row a network, and both totals.
fn table(counts: &ParamCounts) -> String {
    let mut text = format!(
        "{}\n\n| network | parameters | in the paper's total |\n|---|--:|---|\n",
        counts.system
    );
    for component in &counts.components {
        let n = component.n.map_or("no weights here".to_owned(), grouped);
        let counted = if component.in_paper_total { "yes" } else { "no" };
        text.push_str(&format!("| {} | {n} | {counted} |\n", component.name));
    }
    let totals = [
        ("paper's total", counts.paper_total()),
        ("full total", counts.full_total()),
    ];
    for (name, n) in totals {
        text.push_str(&format!("| **{name}** | {} ({}) | |\n", grouped(n), short(n)));
    }
    text
}

/// As in 0.93 B or 33.1 M.
fn short(n: usize) -> String {
    match n {
        100_000_000.. => format!("{:.2} B", n as f64 / 1e9),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

/// `n` with a comma before each group of three digits.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<String> = groups
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect();
    groups.join(",")
}
