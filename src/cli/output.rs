//! Text and data on stdout, notes on stderr.

use std::io::{ErrorKind, Write};

/// Writes text to stdout.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(printable(text).as_bytes())
}

/// Writes data to stdout as it is. A reader that closed the pipe has seen enough.
pub(super) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("cannot write to stdout"))
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr, whoever reads it: a closed pipe, a full device or a terminal that is gone do not end the work.
pub fn note(line: impl std::fmt::Display) {
    // In one piece, so that lines of several threads do not mix.
    let _ = std::io::stderr().write_all(format!("{}\n", printable(&line.to_string())).as_bytes());
}

/// `text` with its control characters escaped, but for line ends and tabs: names of files are other people's text, and must not command a terminal.
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
