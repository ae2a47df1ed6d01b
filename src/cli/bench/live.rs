//! The live line during a run: only on a terminal, and removed before the page is printed.

use crate::load::output::live;
use crate::load::{Plan, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};

/// Steps of the bar.
const STEPS: u64 = 1000;

/// The live line; nothing if stderr is not a terminal.
pub(super) struct LiveLine {
    bar: Option<ProgressBar>,
}

impl LiveLine {
    /// Starts the line on stderr, if that is a terminal.
    pub(super) fn start() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:12} {wide_msg}")
                .expect("a fixed template")
                .progress_chars("=> ");
            bar.with_style(style)
        });
        Self { bar }
    }

    /// Shows the current progress. `before` says which of several runs it is.
    pub(super) fn show(&self, before: &str, progress: &Progress, plan: &Plan) {
        if let Some(bar) = &self.bar {
            let snapshot = progress.snapshot();
            let part = live::part(&snapshot, plan).unwrap_or(0.0);
            bar.set_position((part * STEPS as f64) as u64);
            bar.set_message(format!("{before}{}", live::line(&snapshot)));
        }
    }

    /// Prints a line that stays, above the live line.
    pub(super) fn print_above(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.println(text);
        }
    }

    /// Removes the live line.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
