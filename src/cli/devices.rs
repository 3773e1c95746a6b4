//! `eclipse devices`.

use clap::Args;
use eclipse_t2i::device::DeviceSpec;
use serde_json::json;

/// Arguments of `eclipse devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists every device name, whether this build has it, and whether this machine can use it.
pub fn run(args: &DevicesArgs) -> anyhow::Result<()> {
    let default = DeviceSpec::default().to_string();
    let rows: Vec<(&str, bool, String)> = DeviceSpec::known()
        .into_iter()
        .map(|(name, built)| {
            let state = match (built, name.parse::<DeviceSpec>().and_then(|d| d.device())) {
                (false, _) => format!("not in this build; build with --features {name}"),
                (true, Ok(_)) if name == default => "ready (default)".to_owned(),
                (true, Ok(_)) => "ready".to_owned(),
                (true, Err(e)) => e.to_string(),
            };
            (name, built, state)
        })
        .collect();
    if args.json {
        let rows = rows
            .iter()
            .map(|(n, b, s)| json!({"device": n, "built": b, "state": s}));
        return super::print_json(&rows.collect());
    }
    let lines = rows.iter().map(|(name, _, state)| format!("{name:<8} {state}\n"));
    super::print(&lines.collect::<String>())
}
