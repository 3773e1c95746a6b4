//! `eclipse devices`.

use std::process::{Command, Stdio};

use crate::device::DeviceSpec;
use clap::Args;
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
            let state = match (built, name == default) {
                (false, _) => format!("not in this build; build with --features {name}"),
                (true, is_default) => match try_out(name) {
                    Ok(note) => {
                        let default = if is_default { " (default)" } else { "" };
                        let gap = if note.is_empty() { "" } else { "; " };
                        format!("ready{default}{gap}{note}")
                    }
                    Err(trouble) => trouble,
                },
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

/// Checks `device` with a known computation: returns a remark, or the error. Software drivers may end the process, so
/// a child process runs the check.
fn try_out(device: &str) -> Result<String, String> {
    let output = std::env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command.args(["--device", device, "dev", "check-device"]);
        command.env_remove("RUST_LOG").stdin(Stdio::null()).output()
    });
    match output {
        Err(e) => Err(format!("cannot be tried: {e}")),
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let error = text.lines().find_map(|line| line.strip_prefix("error: "));
            let died = || format!("unusable: its driver ended the process ({})", output.status);
            Err(error.map_or_else(died, str::to_owned))
        }
    }
}
