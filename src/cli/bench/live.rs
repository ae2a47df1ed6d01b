//! The line that moves while a run goes on: on a terminal only, and gone when the page comes.

use crate::load::output::live;
use crate::load::{Plan, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};

/// Steps of the bar.
const STEPS: u64 = 1000;

/// The line, or nothing where nobody looks.
pub(super) struct Live {
    bar: Option<ProgressBar>,
}

impl Live {
    /// A line on stderr, if that is a terminal.
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

    /// Shows what is going on now. `before` tells which of several runs it is.
    pub(super) fn show(&self, before: &str, progress: &Progress, plan: &Plan) {
        if let Some(bar) = &self.bar {
            let glance = progress.glance();
            let part = live::part(&glance, plan).unwrap_or(0.0);
            bar.set_position((part * STEPS as f64) as u64);
            bar.set_message(format!("{before}{}", live::line(&glance)));
        }
    }

    /// Leaves a line behind, above the one that moves.
    pub(super) fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.println(text);
        }
    }

    /// Takes the line away.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
