//! `slotway bench`: from options to a run, and from its report to the page and the files.
//!
//! ```text
//! options ─► Task ─► a thread that runs it ─► Results ─► bounds ─► files, page, exit code
//!                        ▲          │ Progress
//!              Ctrl-C ───┘          └─► live line (this thread)
//! ```

mod live;
mod options;
mod values;

pub(super) use options::{Options, workloads};
pub(super) use values::Time;

use self::live::LiveLine;
use self::options::{Color, Task};
use super::Failure;
use crate::load::output::text::{self, Paint};
use crate::load::output::{Bounds, Finding, Results, csv, hgrm, html, json};
use crate::load::{self, EXIT_BROKEN, EXIT_FAILED, Progress};
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How often the live line is drawn.
const LIVE_INTERVAL: Duration = Duration::from_millis(100);
/// Exit code of a program that was interrupted and could not finish.
const EXIT_INTERRUPTED: u8 = 130;

/// Runs what the options ask for.
pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let task = options.task()?;
    let files = Files::of(options)?;
    let results = watch(task)?;
    let findings =
        options.fail_if.as_ref().map_or(Vec::new(), |bounds: &Bounds| bounds.judge(&results));
    let written = files.write(&results, &findings);
    let code = exit_code(results.exit_code(&findings), &written);
    let is_json = options.json.as_deref() == Some(Path::new("-"));
    let shown = if is_json {
        let mut document = json::json_with_exit_code(&results, &findings, code);
        document.push('\n');
        document
    } else {
        let names: Vec<String> = written
            .as_deref()
            .unwrap_or_default()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        text::page(&results, &findings, &names, paint(options))
    };
    show(&shown)?;
    written.map_err(|failure| Failure { code, ..failure })?;
    Ok(ExitCode::from(code))
}

/// The exit code: what was found about the target goes before a file that could not be written.
fn exit_code(found: u8, written: &Result<Vec<PathBuf>, Failure>) -> u8 {
    match written {
        Err(failure) if ![EXIT_BROKEN, EXIT_FAILED].contains(&found) => failure.code,
        _ => found,
    }
}

fn paint(options: &Options) -> Paint {
    let is_refused = options.no_color.as_ref().is_some_and(|text| !text.is_empty());
    let is_wanted = match options.color.unwrap_or(Color::Auto) {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => !is_refused && io::stdout().is_terminal(),
    };
    if is_wanted { Paint::On } else { Paint::Off }
}

/// Writes to stdout. A closed pipe is no error: the reader has seen enough.
fn show(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::machine(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// An event of the thread that runs the load.
enum Event {
    /// One of several runs has ended.
    Step(String),
    /// All runs have ended.
    Done(Result<Results, load::Failure>),
}

/// Runs the load in a thread of its own and shows its progress. The first Ctrl-C (or SIGTERM) ends
/// the load early and keeps its results; the second one ends the program.
fn watch(task: Task) -> Result<Results, Failure> {
    let progress = Arc::new(Progress::default());
    // At most one event per run, and runs are bounded.
    let (sender, mut events) = mpsc::unbounded_channel();
    let plan = task.plan().clone();
    let begin_with = format!("{{{}:", plan.workload.prefix);
    let runs = match &task {
        Task::Run(_) => 1,
        Task::Sweep(_, sweep) => sweep.values.len(),
        Task::Compare(_, _, rounds) => rounds * 2,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::machine(format!("cannot start the live line: {error}")))?;
    let shared = Arc::clone(&progress);
    std::thread::Builder::new()
        .name("slotway-bench".to_owned())
        .spawn(move || {
            let outcome = perform(&task, &shared, &sender);
            // The receiver is gone if the program was interrupted twice.
            let _ = sender.send(Event::Done(outcome));
        })
        .map_err(|error| Failure::machine(format!("cannot start a thread: {error}")))?;
    let live = LiveLine::start();
    let outcome = runtime.block_on(async {
        let cannot = |error| Failure::machine(format!("cannot handle signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut tick = tokio::time::interval(LIVE_INTERVAL);
        let mut ended = 0;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Step(text)) => {
                        ended += 1;
                        live.print_above(&text);
                    }
                    Some(Event::Done(outcome)) => return outcome.map_err(Failure::from),
                    None => return Err(Failure::machine("the load ended without a result: a bug, please report it")),
                },
                _ = interrupt.recv() => stop(&progress, &begin_with)?,
                _ = terminate.recv() => stop(&progress, &begin_with)?,
                _ = tick.tick() => {
                    let before = if runs > 1 { format!("{}/{runs}  ", ended + 1) } else { String::new() };
                    live.show(&before, &progress, &plan);
                }
            }
        }
    });
    live.end();
    outcome
}

/// Stops the load early; the second call ends the program. `begin_with` is how its keys begin.
fn stop(progress: &Progress, begin_with: &str) -> Result<(), Failure> {
    if progress.is_stopped() {
        let message = format!(
            "interrupted twice: ended without results; keys that begin with {begin_with} may be left on the target"
        );
        return Err(Failure { message, code: EXIT_INTERRUPTED });
    }
    progress.stop();
    Ok(())
}

fn perform(
    task: &Task,
    progress: &Progress,
    sender: &mpsc::UnboundedSender<Event>,
) -> Result<Results, load::Failure> {
    let step = |label: String, report: &load::Report| {
        let _ = sender.send(Event::Step(load::output::live::step(&label, report)));
    };
    match task {
        Task::Run(plan) => load::run(plan, progress).map(|report| Results::Run(Box::new(report))),
        Task::Sweep(plan, sweep) => {
            let name = sweep.axis.name();
            load::sweep(plan, sweep, progress, &mut |value, report| {
                step(format!("{name}={value}"), report);
            })
            .map(Results::Sweep)
        }
        Task::Compare(plan, other, rounds) => {
            load::compare(plan, other, *rounds, progress, &mut |is_b, report| {
                step(if is_b { "b" } else { "a" }.to_owned(), report);
            })
            .map(Results::Comparison)
        }
    }
}

/// The files to write.
struct Files {
    json: Option<PathBuf>,
    html: Option<PathBuf>,
    csv: Option<PathBuf>,
    hgrm: Option<PathBuf>,
}

impl Files {
    /// Checks that they can be written, before the load takes its time.
    fn of(options: &Options) -> Result<Self, Failure> {
        let json = options.json.clone().filter(|path| path != Path::new("-"));
        let files = Self {
            json,
            html: options.html.clone(),
            csv: options.csv.clone(),
            hgrm: options.hgrm.clone(),
        };
        for path in [&files.json, &files.html, &files.csv, &files.hgrm].into_iter().flatten() {
            try_out(path).map_err(|error| {
                Failure::usage(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        Ok(files)
    }

    /// Writes all of them; returns their names.
    fn write(&self, results: &Results, findings: &[Finding]) -> Result<Vec<PathBuf>, Failure> {
        let mut written = Vec::new();
        let mut write = |path: PathBuf, text: &str| -> Result<(), Failure> {
            fs::write(&path, text).map_err(|error| {
                Failure::machine(format!("cannot write {}: {error}", path.display()))
            })?;
            written.push(path);
            Ok(())
        };
        if let Some(path) = &self.html {
            write(path.clone(), &html::html(results, findings))?;
        }
        if let Some(path) = &self.json {
            write(path.clone(), &json::json(results, findings))?;
        }
        if let Some(path) = &self.csv {
            write(path.clone(), &csv::csv(results))?;
        }
        if let Some(path) = &self.hgrm {
            for (name, text) in hgrm::files(results) {
                write(named(path, &name), &text)?;
            }
        }
        Ok(written)
    }
}

/// Checks that a file can be written, without a change to it.
fn try_out(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_new) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).map(|_file| ())
        }
        Err(error) => Err(error),
    }
}

/// Adds a name to that of a file: `curve.hgrm` becomes `curve-groups-4.hgrm`.
fn named(path: &Path, name: &str) -> PathBuf {
    if name.is_empty() {
        return path.to_owned();
    }
    let mut stem = path.file_stem().unwrap_or_default().to_owned();
    stem.push(format!("-{name}"));
    if let Some(extension) = path.extension() {
        stem.push(".");
        stem.push(extension);
    }
    path.with_file_name(stem)
}
