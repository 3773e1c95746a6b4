//! Progress on stderr: bars on a terminal; otherwise plain lines for training, and nothing for drawing.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::experiment::TrainingProgress;
use crate::generate::render::RenderEvent;
use crate::train::session::Phase;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use super::output::{note, printable};

/// Runs in training: a bar each on a terminal, otherwise a plain line per logged step.
#[derive(Default)]
pub struct Runs {
    bars: MultiProgress,
    shown: Mutex<HashMap<PathBuf, Shown>>,
}

/// Progress of one run.
struct Shown {
    bar: ProgressBar,
    name: String,
    began: Instant,
    first_step: usize,
    train: String,
    valid: String,
}

impl Runs {
    /// No runs until their first step.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bar` below those of runs.
    pub fn add(&self, bar: ProgressBar) -> ProgressBar {
        self.bars.add(bar)
    }

    /// Writes a line above the bars.
    pub fn say(&self, line: &str) {
        self.bars.suspend(|| note(line));
    }

    /// Shows the progress of `run`.
    pub fn show(&self, run: &Path, progress: TrainingProgress<'_>) {
        let is_terminal = std::io::stderr().is_terminal();
        let Ok(mut shown) = self.shown.lock() else { return };
        let TrainingProgress { step, n_steps, .. } = progress;
        let entry = shown.entry(run.to_path_buf()).or_insert_with(|| {
            let bar = match is_terminal {
                true => self.bars.insert(0, ProgressBar::new(n_steps as u64)),
                false => ProgressBar::hidden(),
            };
            let name = run.file_name().map(|n| n.to_string_lossy().into_owned());
            Shown {
                bar: styled(
                    bar,
                    "  {prefix:.dim} {bar:10} {pos}/{len}, at most {eta} left, {wide_msg}",
                ),
                name: printable(&name.unwrap_or_default()).into_owned(),
                began: Instant::now(),
                first_step: step,
                train: String::new(),
                valid: String::new(),
            }
        });
        let value = progress.values.first();
        let format_values =
            |what: &str| value.map_or_else(String::new, |(name, value)| format!("{what}{name} {value:.4}"));
        match progress.phase {
            Phase::Train => entry.train = format_values(""),
            Phase::Valid => entry.valid = format_values(" valid "),
        }
        let message = format!("{}{}", entry.train, entry.valid);
        if is_terminal {
            entry.bar.set_prefix(entry.name.clone());
            entry.bar.set_message(message);
            entry.bar.set_position(step as u64);
        } else if progress.is_logged && progress.phase == Phase::Train {
            let n = step - entry.first_step;
            let left = match n {
                0 => String::new(),
                n => {
                    let seconds = entry.began.elapsed().as_secs_f64() / n as f64 * (n_steps - step) as f64;
                    format!(
                        ", at most {} left",
                        HumanDuration(Duration::from_secs_f64(seconds))
                    )
                }
            };
            note(format!("{}: step {step}/{n_steps} {message}{left}", entry.name));
        }
    }

    /// Removes the bar of `run`.
    pub fn end(&self, run: &Path) {
        if let Ok(mut shown) = self.shown.lock()
            && let Some(entry) = shown.remove(run)
        {
            entry.bar.finish_and_clear();
        }
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A bar that counts steps.
pub struct Steps(Mutex<Option<ProgressBar>>);

impl Steps {
    /// No bar until the first step.
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Shows `step` of `n_steps`, with `message` unless it is empty.
    pub fn show(&self, name: &str, step: usize, n_steps: usize, message: &str) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let Ok(mut slot) = self.0.lock() else { return };
        let bar = slot.get_or_insert_with(|| {
            let bar = ProgressBar::new(n_steps as u64).with_prefix(name.to_owned());
            styled(bar, "  {prefix} {bar:24} {pos}/{len} steps {msg}, {eta} left")
        });
        bar.set_message(message.to_owned());
        bar.set_position(step as u64);
        if step == n_steps {
            bar.finish_and_clear();
            *slot = None;
        }
    }
}

/// The bar of the current stage, and the number of finished images.
pub struct Stages {
    bar: Option<ProgressBar>,
    n_images: usize,
}

impl Stages {
    /// No bar until the first stage.
    pub fn new() -> Self {
        Self {
            bar: None,
            n_images: 0,
        }
    }

    /// Shows `event`; returns the numbers of drawn images and of existing images.
    pub fn show(&mut self, event: &RenderEvent) -> (usize, usize) {
        let counted = match event {
            RenderEvent::Image(_) => (1, 0),
            RenderEvent::Skipped(_) => (0, 1),
            RenderEvent::Stage { .. } | RenderEvent::Step => (0, 0),
        };
        self.n_images += counted.0 + counted.1;
        if !std::io::stderr().is_terminal() {
            return counted;
        }
        match event {
            RenderEvent::Stage { name, n_steps } => {
                self.finish();
                let bar = ProgressBar::new(*n_steps as u64)
                    .with_prefix(*name)
                    .with_message(self.message());
                let style = "  {prefix:24} {bar:24} {pos}/{len} steps, {eta} left{msg}";
                let bar = styled(bar, style);
                bar.enable_steady_tick(Duration::from_millis(500));
                self.bar = Some(bar);
            }
            RenderEvent::Step => {
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
            }
            RenderEvent::Image(path) | RenderEvent::Skipped(path) => {
                if let (Some(bar), true) = (&self.bar, counted.0 > 0) {
                    bar.set_message(self.message());
                    bar.suspend(|| note(path.display()));
                }
            }
        }
        counted
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn message(&self) -> String {
        match self.n_images {
            0 => String::new(),
            n => format!("; {n} images done"),
        }
    }
}

/// The bar of the file that is downloaded, on a terminal.
pub struct Files {
    bar: ProgressBar,
    name: String,
}

impl Files {
    /// No bar until the first file.
    pub fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            name: String::new(),
        }
    }

    /// Shows that `got` of `size` bytes of `name` are on disk.
    pub fn show(&mut self, name: &str, got: u64, size: u64) {
        if self.name != name {
            self.name = name.to_owned();
            self.bar.finish_and_clear();
            self.bar = match std::io::stderr().is_terminal() {
                true => ProgressBar::new(size),
                false => ProgressBar::hidden(),
            };
            let template =
                "  {msg} {bar:20} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
            self.bar = styled(self.bar.clone(), template).with_position(got);
            self.bar.reset_eta();
            self.bar.set_message(printable(name).into_owned());
        }
        self.bar.set_position(got);
        if got == size {
            self.bar.finish_and_clear();
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
