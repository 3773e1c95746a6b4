//! Text and data on stdout, notes on stderr.

use std::io::{ErrorKind, Write};
use std::path::Path;

/// Writes text to stdout.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(printable(text).as_bytes())
}

/// Writes bytes to stdout. A closed pipe is not an error.
pub(super) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("cannot write to stdout"))
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr. Errors are ignored: a closed pipe, a full device or a closed terminal do not end the work.
pub fn note(line: impl std::fmt::Display) {
    // A single write, so that lines of several threads do not mix.
    let _ = std::io::stderr().write_all(format!("{}\n", printable(&line.to_string())).as_bytes());
}

/// `text` with control characters escaped, except line ends and tabs: file names are untrusted and must not control the terminal.
pub(super) fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    let commands = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    match text.contains(commands) {
        false => text.into(),
        true => text
            .chars()
            .map(|c| match commands(c) {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            })
            .collect::<String>()
            .into(),
    }
}

/// Writes `value` to stdout as indented JSON.
pub(super) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{value:#}\n"))
}

/// The `file://` link of a page.
pub(super) fn link(page: &Path) -> String {
    let path = page.canonicalize().unwrap_or_else(|_| page.to_path_buf());
    let bytes = path.to_string_lossy().into_owned().into_bytes();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~+".contains(&byte);
    let encoded = bytes.into_iter().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    format!("file://{}", encoded.collect::<String>())
}

/// What to type for this program: its relative path as it was called (`cargo run` calls `target/release/eclipse`), else its name.
pub(super) fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    let path = Path::new(&called);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    match path.is_relative() {
        true if !called.is_empty() => called,
        _ => name.unwrap_or_else(|| "eclipse".into()),
    }
}
