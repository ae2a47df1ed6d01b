//! `slotway check`: reads files, and shows and writes the report.
//!
//! ```text
//! files ─► parts (a manifest is several) ─► window ─► follower ─► report ─► page, files, exit code
//! ```

mod options;
mod watch;

pub(super) use options::{EXAMPLES, Options};

use self::options::{Common, Keys, What};
use super::Failure;
use super::reports::{self, Reports, columns};
use crate::check::{self, Format, Replay, Trouble, aof, detect};
use crate::ledger::Spot;
use crate::rdb::file_window::FileWindow;
use crate::report::proof::{json, keys, text};
use crate::report::{Report, Source};
use crate::text::display::Paint;
use crate::topology::SHARDS_MAX;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
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
    let parts = parts(&options.files)?;
    let (format, shards) = (options.format, common.shards);
    let (replay, sources) = watch::watched(move |stop| {
        let mut replay = Replay::new(shards);
        let sources = read(&parts, format, &mut replay, stop);
        (replay, sources)
    })?;
    let report = Report::of(&replay.found(), &sources, options.strict);
    let written = reports.write(&report)?;
    let shown = if common.json {
        format!("{}\n", json::json(&report))
    } else {
        text::page(&report, &written, columns(io::stdout()), paint(common))
    };
    show(&shown)?;
    Ok(ExitCode::from(report.exit_code))
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

/// A file to read.
struct Part {
    /// `None` is stdin.
    path: Option<PathBuf>,
    name: String,
    /// Size in bytes; 0 if it is not known.
    len: u64,
}

/// The files to read: a manifest, or a folder with one, stands for the files that it lists.
fn parts(files: &[PathBuf]) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for file in files {
        if file == Path::new("-") {
            parts.push(Part { path: None, name: "stdin".to_owned(), len: 0 });
            continue;
        }
        let manifest = if file.is_dir() { Some(manifest_in(file)?) } else { None };
        let manifest = manifest.or_else(|| {
            file.extension().is_some_and(|extension| extension == "manifest").then(|| file.clone())
        });
        let Some(manifest) = manifest else {
            parts.push(Part::of(file.clone())?);
            continue;
        };
        let wrong = |why: String| Failure::usage(format!("{}: {why}", manifest.display()));
        let text = fs::read_to_string(&manifest)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let folder = manifest.parent().unwrap_or(Path::new("")).to_owned();
        for name in aof::manifest(&text).map_err(wrong)? {
            parts.push(Part::of(folder.join(name))?);
        }
    }
    Ok(parts)
}

impl Part {
    fn of(path: PathBuf) -> Result<Self, Failure> {
        // Opened before anything is read: a wrong name must not be found after an hour.
        let meta = File::open(&path)
            .and_then(|file| file.metadata())
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        if meta.is_dir() {
            return Err(Failure::usage(format!("{} is a folder", path.display())));
        }
        Ok(Self { name: path.display().to_string(), len: meta.len(), path: Some(path) })
    }
}

/// The AOF manifest in a folder.
fn manifest_in(folder: &Path) -> Result<PathBuf, Failure> {
    let wrong =
        |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", folder.display()));
    let entries = fs::read_dir(folder).map_err(|error| wrong(&error))?;
    let mut found = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "manifest"));
    match (found.next(), found.next()) {
        (Some(manifest), None) => Ok(manifest),
        (None, _) => Err(wrong(&"a folder without a manifest of an AOF")),
        (Some(_), Some(_)) => Err(wrong(&"a folder with several manifests: name one of them")),
    }
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
        if stop.load(Ordering::Relaxed) {
            let why = "interrupted before it was read".to_owned();
            let trouble = Some(Trouble { spot: Spot::Byte(0), why, lines: None });
            sources.push(Source { name: part.name.clone(), format: "unread", bytes: 0, trouble });
            continue;
        }
        let mut bytes = 0;
        let mut progress = |fetched: u64| {
            bytes = fetched;
            bar.show(before + fetched);
        };
        let opened: io::Result<Box<dyn Read>> = match &part.path {
            Some(path) => {
                File::open(path).map(|file| Box::new(UntilStopped { file, stop }) as Box<dyn Read>)
            }
            None => Ok(Box::new(io::stdin().lock())),
        };
        let (name, trouble) = match opened {
            Ok(mut from) => {
                let mut feed = FileWindow::new(&mut from, &mut progress);
                let format = format.unwrap_or_else(|| Format::of(first_look(&mut feed)));
                (format.name(), check::read(&mut feed, format, replay))
            }
            Err(error) => {
                let why = format!("cannot be read: {error}");
                ("unread", Some(Trouble { spot: Spot::Byte(0), why, lines: None }))
            }
        };
        replay.forget_client(b"");
        sources.push(Source { name: part.name.clone(), format: name, bytes, trouble });
        before += bytes;
    }
    bar.end();
    sources
}

/// A file whose reads fail once the stop flag is set.
struct UntilStopped<'s> {
    file: File,
    stop: &'s AtomicBool,
}

impl Read for UntilStopped<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        self.file.read(into)
    }
}

/// Returns the first bytes of a file. A pipe may deliver them slowly: one line is enough.
fn first_look<'f>(feed: &'f mut FileWindow<'_>) -> &'f [u8] {
    let mut len = feed.more(1).len();
    while len < detect::LOOK_LEN && !feed.more(len).contains(&b'\n') {
        let more = feed.more(len + 1).len();
        if more == len {
            break;
        }
        len = more;
    }
    let at_hand = feed.more(0);
    &at_hand[..at_hand.len().min(detect::LOOK_LEN)]
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
