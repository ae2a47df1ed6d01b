//! The baseline file of `check` and `run`: read before the work begins, compared with the report, and
//! rewritten if that is asked for.

use super::Failure;
use super::reports::{cannot_write, try_out};
use crate::report::{Baseline, Report};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The options of a baseline.
#[derive(clap::Args, Debug)]
pub(super) struct BaselineOptions {
    /// Accept the kinds of violations listed in this file; fail on others
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// Rewrite that file with the kinds that occurred
    #[arg(long, requires = "allow")]
    update_baseline: bool,
}

/// A baseline file that can be used.
pub(super) struct BaselineFile {
    path: PathBuf,
    baseline: Baseline,
    /// It is to be rewritten.
    pub(super) is_updated: bool,
}

impl BaselineOptions {
    /// Reads the file, if there is one. It may be missing only if it is to be rewritten.
    pub(super) fn open(&self) -> Result<Option<BaselineFile>, Failure> {
        let Some(path) = &self.allow else { return Ok(None) };
        let is_updated = self.update_baseline;
        let wrong = |why: String| Failure::usage(format!("--allow {}: {why}", path.display()));
        if is_updated {
            try_out(path).map_err(|error| cannot_write(path, &error, Failure::usage))?;
        }
        let baseline = match fs::read_to_string(path) {
            Ok(text) => Baseline::read(&text).map_err(wrong)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_updated => {
                Baseline::default()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = "there is no such file; --update-baseline writes it";
                return Err(wrong(why.to_owned()));
            }
            Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        };
        Ok(Some(BaselineFile { path: path.clone(), baseline, is_updated }))
    }
}

impl BaselineFile {
    /// Lets the kinds of violations that it lists pass.
    pub(super) fn apply(&self, report: &mut Report) {
        report.allow(&self.baseline, &self.path.display().to_string());
    }

    /// Rewrites it with the kinds that the report has.
    pub(super) fn rewrite(&self, report: &Report) -> Result<(), Failure> {
        let failing = report.violations.iter().filter(|row| report.counts(row));
        fs::write(&self.path, Baseline::of(failing).text())
            .map_err(|error| cannot_write(&self.path, &error, Failure::machine))
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
