//! A line on stderr that says how far training is; quiet when stderr is no terminal.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// The bar of the run that is being trained.
pub struct Steps(Mutex<Option<ProgressBar>>);

impl Steps {
    /// No bar until the first step.
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Shows `step` of `n_steps`.
    pub fn show(&self, run: &Path, step: usize, n_steps: usize) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let Ok(mut slot) = self.0.lock() else { return };
        let bar = slot.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("  {msg} {bar:24} {pos}/{len} steps, {eta} left");
            let name = run
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            let bar = ProgressBar::new(n_steps as u64).with_message(name);
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        bar.set_position(step as u64);
        if step == n_steps {
            bar.finish_and_clear();
            *slot = None;
        }
    }
}
