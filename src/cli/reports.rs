//! What `check` and `run` share: reports in files, and how a page looks in this terminal.

use super::Failure;
use crate::report::Report;
use crate::report::proof::{html, json, junit, markdown, sarif, text};
use crate::text::display::Paint;
use clap::ValueEnum;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether a page is painted; `no_color` is what the environment says.
pub(super) fn paint(color: Color, no_color: Option<&str>, is_terminal: bool) -> Paint {
    let is_refused = no_color.is_some_and(|text| !text.is_empty());
    let is_wanted = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => !is_refused && is_terminal,
    };
    if is_wanted { Paint::On } else { Paint::Off }
}

/// Columns of the terminal that a stream is; else as many as a page has.
pub(super) fn columns(stream: impl AsFd) -> usize {
    /// Longer lines are hard to follow.
    const MAX: usize = 120;
    let size = rustix::termios::tcgetwinsize(stream).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(text::COLUMNS).min(MAX)
}

/// Files that a report is to be written to.
pub(super) struct Reports(Vec<(PathBuf, Form)>);

impl Reports {
    /// Looks whether they can be written, before anything else is done.
    pub(super) fn to(paths: &[PathBuf]) -> Result<Self, Failure> {
        let form = |path: &PathBuf| Ok((path.clone(), Form::of(path)?));
        let reports = paths.iter().map(form).collect::<Result<Vec<_>, Failure>>()?;
        for (path, _) in &reports {
            try_out(path).map_err(|error| cannot_write(path, &error, Failure::usage))?;
        }
        Ok(Self(reports))
    }

    /// Writes them; gives their names.
    pub(super) fn write(&self, report: &Report) -> Result<Vec<String>, Failure> {
        let mut written = Vec::new();
        for (path, form) in &self.0 {
            fs::write(path, form.write(report))
                .map_err(|error| cannot_write(path, &error, Failure::machine))?;
            written.push(path.display().to_string());
        }
        Ok(written)
    }
}

/// The failure to write a file, as one of the given kind.
pub(super) fn cannot_write(path: &Path, error: &io::Error, kind: fn(String) -> Failure) -> Failure {
    kind(format!("cannot write {}: {error}", path.display()))
}

/// The form of a report.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Markdown,
    Html,
    Junit,
    Sarif,
}

impl Form {
    fn of(path: &Path) -> Result<Self, Failure> {
        let extension =
            path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        Ok(match extension.as_deref() {
            Some("json") => Self::Json,
            Some("md") => Self::Markdown,
            Some("html") => Self::Html,
            Some("xml") => Self::Junit,
            Some("sarif") => Self::Sarif,
            _ => {
                return Err(Failure::usage(format!(
                    "--report {}: the name must end with .json, .md, .html, .xml or .sarif",
                    path.display()
                )));
            }
        })
    }

    fn write(self, report: &Report) -> String {
        match self {
            Self::Json => json::json(report),
            Self::Markdown => markdown::markdown(report),
            Self::Html => html::html(report),
            Self::Junit => junit::junit(report),
            Self::Sarif => sarif::sarif(report),
        }
    }
}

/// Opens a file for writing and leaves everything as it was.
pub(super) fn try_out(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_new) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).map(|_file| ())
        }
        Err(error) => Err(error),
    }
}
