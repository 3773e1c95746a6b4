//! `eclipse fetch`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use crate::generate::layout::PipelineLayout;
use crate::generate::parts::Part;
use crate::generate::stacks;
use crate::hub::{self, Download, FileState, HubError, Listing, RepoName, Selection, Server};
use crate::models::prior::PriorConfig;
use clap::Args;
use indicatif::DecimalBytes;
use serde_json::{Value, json};

use super::output::note;
use super::stop::{self, Stopped};
use super::{Usage, inspect, progress};

/// Prompt of the command that is suggested.
const EXAMPLE: &str = "black apples in the basket";

/// Arguments of `eclipse fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The repository as owner/name, or owner/name@revision for another branch, tag or commit than main.
    #[arg(value_name = "REPO[@REVISION]")]
    repo: RepoName,
    /// Download without asking.
    #[arg(long, short)]
    yes: bool,
    /// Also download the files whose path matches the pattern, as in '*.png'; may be repeated.
    #[arg(long, value_name = "GLOB")]
    include: Vec<glob::Pattern>,
    /// Download every file, not only those that this program reads.
    #[arg(long)]
    all: bool,
    /// List the files with their sizes, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Downloads a repository to the Hugging Face cache.
pub fn run(args: &FetchArgs) -> anyhow::Result<()> {
    let is_offline =
        |value: String| !matches!(value.to_lowercase().as_str(), "" | "0" | "no" | "off" | "false");
    if std::env::var("HF_HUB_OFFLINE").is_ok_and(is_offline) {
        return Err(HubError::Offline(args.repo.to_string()).into());
    }
    let server = Server::from_environment()?;
    let selection = Selection {
        all: args.all,
        include: args.include.clone(),
    };
    let listing = Listing::request(&server, &args.repo)?;
    let download = Download::plan(listing, &selection, &hub::cache()?)?;
    if !args.json {
        super::print(&summary(&download, &server))?;
    }
    let left = download.left();
    let is_complete = download.files().iter().all(|file| file.state == FileState::Here);
    if args.dry_run {
        return match args.json {
            true => super::print_json(&described(&download, &server, None)),
            false => Ok(()),
        };
    }
    if !is_complete && !args.yes && !agreed(left, args.json)? {
        return Err(Usage("nothing was downloaded".into()).into());
    }
    let stop = stop::on_signals()?;
    let mut bars = progress::Files::new();
    let result = download.run(&server, &|| stop.is_requested(), &mut |file, got| {
        bars.show(&file.name, got, file.bytes);
    });
    bars.finish();
    let folder = match result {
        Err(stopped @ HubError::Stopped(_)) => return Err(Stopped::new(stopped, None).into()),
        result => result?,
    };
    let (what, next) = (recognised(&folder), next_command(&args.repo, &folder));
    if args.json {
        let mut value = described(&download, &server, Some(&folder));
        value["what"] = json!(what);
        value["next"] = json!(next);
        return super::print_json(&value);
    }
    let what = what.map_or_else(String::new, |what| format!("{what}\n"));
    super::print(&format!("{}\n{what}next: {next}\n", folder.display()))
}

/// Asks whether to download `left` bytes.
fn agreed(left: u64, json: bool) -> anyhow::Result<bool> {
    let size = DecimalBytes(left);
    if !std::io::stdin().is_terminal() || json {
        let reason = if json {
            "--json does not ask"
        } else {
            "there is no terminal to ask"
        };
        return Err(Usage(format!("{size} to download, and {reason}: give --yes")).into());
    }
    let mut asked = std::io::stderr();
    write!(asked, "Download {size}? [y/N] ")?;
    asked.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Repository, licence, files and sizes.
fn summary(download: &Download, server: &Server) -> String {
    let listing = download.listing();
    let licence = listing.licence.as_deref().unwrap_or("none named");
    let page = server.page(&listing.repo.id());
    let mut text = format!("{}\nlicence: {licence} ({page})\n", listing.pinned());
    for planned in download.files() {
        let state = match planned.state {
            FileState::Here => ", here already".into(),
            FileState::Part(n) => format!(", {} here already", DecimalBytes(n)),
            FileState::Absent => String::new(),
        };
        text += &format!(
            "  {}  {}{state}\n",
            planned.file.name,
            DecimalBytes(planned.file.bytes)
        );
    }
    let (n, n_all) = (download.files().len(), listing.files.len());
    let others = match n_all - n {
        0 => String::new(),
        n => format!("; left out, because this program does not read them: {n} (--all)"),
    };
    text + &format!(
        "{n} files, {} to download{others}\n",
        DecimalBytes(download.left())
    )
}

/// The same as JSON.
fn described(download: &Download, server: &Server, folder: Option<&Path>) -> Value {
    let listing = download.listing();
    let files = download.files().iter().map(|planned| {
        json!({"name": planned.file.name, "bytes": planned.file.bytes, "to download": planned.left()})
    });
    json!({
        "repository": listing.repo.id(),
        "revision": listing.commit,
        "page": server.page(&listing.repo.id()),
        "licence": listing.licence,
        "files": files.collect::<Vec<_>>(),
        "bytes": download.files().iter().map(|planned| planned.file.bytes).sum::<u64>(),
        "to download": download.left(),
        "folder": folder,
    })
}

/// What the folder holds, as `eclipse inspect` recognises it.
fn recognised(folder: &Path) -> Option<String> {
    let found = inspect::look(folder, false)
        .inspect_err(|e| note(format!("warning: {e:#}")))
        .ok()?;
    let kind = |value: &Value| value["kind"].as_str().unwrap_or("weights").to_owned();
    Some(match found["components"].as_object() {
        None => kind(&found),
        Some(parts) => {
            let parts: Vec<String> = parts
                .iter()
                .map(|(name, part)| format!("{name} ({})", kind(part)))
                .collect();
            format!("a pipeline of {}", parts.join(", "))
        }
    })
}

/// A command that uses the weights in `folder`.
fn next_command(repo: &RepoName, folder: &Path) -> String {
    let decoder_of = |width: Option<usize>| {
        let published = |stack: &stacks::Stack| stack.about().published.filter(|(d, _)| Some(*d) == width);
        let found = stacks::ALL.iter().find_map(published);
        found.map_or("DECODER", |(_, name)| name)
    };
    let prior = |dir: &Path| {
        let width = PriorConfig::read(dir)
            .ok()
            .map(|config| config.d_out.unwrap_or(config.d_clip));
        let decoder = decoder_of(width);
        format!("eclipse generate --pipeline {decoder} --prior {repo} --prompt \"{EXAMPLE}\"")
    };
    if let Ok(layout) = PipelineLayout::open(folder, None, None) {
        match (layout.part(Part::DECODER), layout.part(Part::PRIOR)) {
            (Ok(_), Ok(_)) => return format!("eclipse generate --pipeline {repo} --prompt \"{EXAMPLE}\""),
            (Ok(_), Err(_)) => {
                return format!("eclipse generate --pipeline {repo} --prior PRIOR --prompt \"{EXAMPLE}\"");
            }
            (Err(_), Ok(dir)) => return prior(dir),
            (Err(_), Err(_)) => {}
        }
    }
    match inspect::kind(folder).as_deref() {
        Some("PriorTransformer") => prior(folder),
        Some(kind) if kind.starts_with("CLIP") => {
            format!("eclipse encode --clip {repo} --pairs PAIRS --out STORE")
        }
        Some("BlipForQuestionAnswering") => format!("eclipse eval blip-vqa --blip {repo} --images IMAGES"),
        _ => format!("eclipse inspect {repo}"),
    }
}
