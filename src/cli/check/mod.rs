//! `slotway check`: reads files, and shows and writes the report.
//!
//! ```text
//! files ─► parts (a manifest is several) ─► decompressed ─► window ─► replay ─► report ─► page, files, exit code
//! ```

mod compressed;
mod input;
mod options;
mod watch;

pub(super) use options::{EXAMPLES, Options};

use self::input::{Part, parts};
use self::options::{Common, Keys, What};
use super::Failure;
use super::reports::{self, Reports, columns};
use crate::check::{self, Format, Replay, Trouble};
use crate::ledger::Spot;
use crate::rdb::file_window::FileWindow;
use crate::report::proof::{EXIT_INPUT, EXIT_VIOLATIONS, json, keys, text};
use crate::report::{Report, Source, UNREAD};
use crate::text::display::Paint;
use crate::topology::SHARDS_MAX;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the check that the options describe.
pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    if let Some(What::Keys(keys)) = &options.what {
        return named(keys);
    }
    let common = &options.common;
    within(common.shards)?;
    let reports = Reports::to(&options.report)?;
    let baseline = options.baseline.open()?;
    let parts = parts(&options.files)?;
    let (format, shards) = (options.format, common.shards);
    let (replay, sources) = watch::watched(move |stop| {
        let mut replay = Replay::new(shards);
        let sources = read(&parts, format, &mut replay, stop);
        (replay, sources)
    })?;
    let mut report = Report::of(&replay.found(), &sources, options.strict);
    if let Some(baseline) = &baseline {
        baseline.apply(&mut report);
    }
    let written = reports.write(&report)?;
    // What could not be read may have further kinds: the baseline is kept.
    let updated = baseline.filter(|baseline| baseline.is_updated && report.exit_code != EXIT_INPUT);
    if let Some(baseline) = &updated {
        baseline.rewrite(&report)?;
    }
    let shown = if common.json {
        format!("{}\n", json::json(&report))
    } else {
        text::page(&report, &written, columns(io::stdout()), paint(common))
    };
    show(&shown)?;
    Ok(ExitCode::from(match report.exit_code {
        // All violations are in the baseline now.
        EXIT_VIOLATIONS if updated.is_some() => 0,
        found => found,
    }))
}

/// Checks keys given on the command line.
fn named(options: &Keys) -> Result<ExitCode, Failure> {
    let common = &options.common;
    within(common.shards)?;
    let given: Vec<Vec<u8>> = options.keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    let keys = keys::Keys::of(&given, common.shards);
    let shown = if common.json {
        format!("{}\n", keys.json())
    } else {
        keys.page(columns(io::stdout()), paint(common))
    };
    show(&shown)?;
    Ok(ExitCode::from(keys.exit_code))
}

fn within(shards: usize) -> Result<(), Failure> {
    if (1..=SHARDS_MAX).contains(&shards) {
        return Ok(());
    }
    Err(Failure::usage(format!("--shards {shards}: must be from 1 to {SHARDS_MAX}")))
}

/// Reads all parts in order.
fn read(
    parts: &[Part],
    format: Option<Format>,
    replay: &mut Replay,
    stop: &AtomicBool,
) -> Vec<Source> {
    let whole: u64 = parts.iter().map(|part| part.len).sum();
    let bar = Bar::start(whole);
    let mut sources = Vec::new();
    let mut before = 0;
    for part in parts {
        let raw = Cell::new(0);
        sources.push(if stop.load(Ordering::Relaxed) {
            unread(part, 0, "interrupted before it was read".to_owned())
        } else {
            read_part(part, format, replay, stop, (&raw, &|| bar.show(before + raw.get())))
        });
        replay.forget_client(b"");
        before += raw.get();
    }
    bar.end();
    sources
}

/// Reads a part; `raw` counts its bytes as they are stored, and is shown again and again.
fn read_part(
    part: &Part,
    format: Option<Format>,
    replay: &mut Replay,
    stop: &AtomicBool,
    (raw, show): (&Cell<u64>, &dyn Fn()),
) -> Source {
    let (packed, mut from) = match part.open(raw, stop) {
        Ok(opened) => opened,
        Err(error) => return unread(part, 0, format!("cannot be read: {error}")),
    };
    let mut bytes = 0;
    let mut progress = |fetched: u64| {
        bytes = fetched;
        show();
    };
    let mut window = FileWindow::new(&mut *from, &mut progress);
    let form = part.form(format, &mut window);
    let is_nothing = window.more(0).is_empty();
    let form = match (form, window.failure()) {
        (_, Some(error)) if is_nothing => Err(format!("cannot be read: {error}")),
        (form, _) => form,
    };
    let form = match form {
        Ok(form) => form,
        Err(why) => return unread(part, bytes, why),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let check::Outcome { trouble, gap, left_out } = check::read(&mut window, &form, replay, cores);
    let packed = packed.map(|name| format!("decompressed ({name})"));
    let why: Vec<String> = packed.into_iter().chain([form.why]).chain(left_out).collect();
    let (name, why) = (part.name.clone(), Some(why.join("; ")));
    Source { name, format: form.format.name(), why, bytes, trouble, gap }
}

/// A part of which nothing was read.
fn unread(part: &Part, bytes: u64, why: String) -> Source {
    let trouble = Some(Trouble { spot: Spot::Byte(0), why, lines: None });
    Source { name: part.name.clone(), format: UNREAD, why: None, bytes, trouble, gap: None }
}

/// The progress bar on stderr, if that is a terminal and the input is long.
struct Bar(Option<ProgressBar>);

impl Bar {
    /// Shorter inputs are read in less than a second.
    const LEN_MIN: u64 = 32 << 20;

    fn start(whole: u64) -> Self {
        let is_shown = io::stderr().is_terminal() && whole >= Self::LEN_MIN;
        Self(is_shown.then(|| {
            let bar = ProgressBar::with_draw_target(Some(whole), ProgressDrawTarget::stderr());
            let form = "{bar:24} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
            let style = ProgressStyle::with_template(form).expect("a fixed template");
            bar.with_style(style.progress_chars("=> "))
        }))
    }

    fn show(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }

    fn end(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

fn paint(common: &Common) -> Paint {
    reports::paint(common.color, common.no_color.as_deref(), io::stdout().is_terminal())
}

/// Writes to stdout. A closed pipe is not an error: `slotway check … | head`.
pub(super) fn show(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::machine(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
