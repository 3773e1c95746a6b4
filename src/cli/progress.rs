//! A line on stderr that says how far training or drawing is; quiet when stderr is no terminal.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use eclipse_t2i::generate::render::Event;
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

/// The bar of the stage that is being computed, and how many pictures are done.
pub struct Stages {
    bar: Option<ProgressBar>,
    n_pictures: usize,
}

impl Stages {
    /// No bar until the first stage.
    pub fn new() -> Self {
        Self {
            bar: None,
            n_pictures: 0,
        }
    }

    /// Shows `event`; gives pictures drawn and pictures that were there already.
    pub fn show(&mut self, event: &Event) -> (usize, usize) {
        let counted = match event {
            Event::Picture(_) => (1, 0),
            Event::Skipped(_) => (0, 1),
            Event::Stage { .. } | Event::Step => (0, 0),
        };
        self.n_pictures += counted.0 + counted.1;
        if !std::io::stderr().is_terminal() {
            return counted;
        }
        match event {
            Event::Stage { name, n_steps } => {
                self.finish();
                let bar = ProgressBar::new(*n_steps as u64)
                    .with_prefix(*name)
                    .with_message(self.told());
                let style = "  {prefix:24} {bar:24} {pos}/{len} steps, {eta} left{msg}";
                let bar = match ProgressStyle::with_template(style) {
                    Ok(style) => bar.with_style(style),
                    Err(_) => bar,
                };
                bar.enable_steady_tick(Duration::from_millis(500));
                self.bar = Some(bar);
            }
            Event::Step => {
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
            }
            Event::Picture(path) | Event::Skipped(path) => {
                if let (Some(bar), true) = (&self.bar, counted.0 > 0) {
                    bar.set_message(self.told());
                    bar.suspend(|| super::note(path.display()));
                }
            }
        }
        counted
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn told(&self) -> String {
        match self.n_pictures {
            0 => String::new(),
            n => format!("; {n} pictures done"),
        }
    }
}
