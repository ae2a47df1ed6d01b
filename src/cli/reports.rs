//! What `check` and `run` share: report files, and colours and columns of the terminal.

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
    /// If the page goes to a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether a page has colours; `no_color` is the value of NO_COLOR.
pub(super) fn paint(color: Color, no_color: Option<&str>, is_terminal: bool) -> Paint {
    let is_disabled = no_color.is_some_and(|text| !text.is_empty());
    let is_wanted = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => !is_disabled && is_terminal,
    };
    if is_wanted { Paint::On } else { Paint::Off }
}

/// Columns of the terminal behind a stream; without a terminal, those of a page.
pub(super) fn columns(stream: impl AsFd) -> usize {
    /// Longer lines are hard to follow.
    const MAX: usize = 120;
    let size = rustix::termios::tcgetwinsize(stream).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(text::COLUMNS).min(MAX)
}

/// The files of a report.
pub(super) struct Reports(Vec<(PathBuf, Format)>);

impl Reports {
    /// Verifies that all of them can be written, before the long work begins.
    pub(super) fn to(paths: &[PathBuf]) -> Result<Self, Failure> {
        let format = |path: &PathBuf| Ok((path.clone(), Format::of(path)?));
        let reports = paths.iter().map(format).collect::<Result<Vec<_>, Failure>>()?;
        for (path, _) in &reports {
            try_out(path).map_err(|error| cannot_write(path, &error, Failure::usage))?;
        }
        Ok(Self(reports))
    }

    /// Writes them and returns their names.
    pub(super) fn write(&self, report: &Report) -> Result<Vec<String>, Failure> {
        let mut written = Vec::new();
        for (path, format) in &self.0 {
            fs::write(path, format.write(report))
                .map_err(|error| cannot_write(path, &error, Failure::machine))?;
            written.push(path.display().to_string());
        }
        Ok(written)
    }
}

/// The failure to write a file, of the given kind.
pub(super) fn cannot_write(path: &Path, error: &io::Error, kind: fn(String) -> Failure) -> Failure {
    kind(format!("cannot write {}: {error}", path.display()))
}

/// The format of a report file.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Markdown,
    Html,
    Junit,
    Sarif,
}

impl Format {
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

/// Opens a file for writing and leaves it unchanged.
pub(super) fn try_out(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_new) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).map(|_file| ())
        }
        Err(error) => Err(error),
    }
}
