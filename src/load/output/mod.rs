//! The results of a run, in the formats that people and programs read.
//!
//! ```text
//!                     ┌─ text    the page in the terminal
//! Results ─► tables ──┤
//!    │    ─► svg ─────┴─ html    one self-contained file: tables, charts
//!    ├──────────────────► json    everything, by a numbered schema (docs/bench.md)
//!    ├──────────────────► csv     the time series, a row per interval
//!    └──────────────────► hgrm    the latency distribution, as HdrHistogram's tools read it
//! ```
//!
//! Nothing here reads a clock or opens a file: reports in, text out.

pub(crate) mod bounds;
pub(crate) mod command;
pub(crate) mod csv;
mod form;
pub(crate) mod hgrm;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod live;
mod next;
mod svg;
mod tables;
pub mod text;
mod warnings;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub(crate) use bounds::{Bounds, Finding};
pub(crate) use next::{Next, next};
pub(crate) use warnings::warnings;

use super::report::{Comparison, Report, SweepReport};
use super::{EXIT_BOUND, EXIT_BROKEN, EXIT_FAILED, Failure};

/// The results of one call of the program.
#[derive(Clone, Debug)]
pub enum Results {
    /// One run.
    Run(Box<Report>),
    /// A sweep over one parameter.
    Sweep(SweepReport),
    /// A comparison of two targets.
    Comparison(Comparison),
}

/// One of the runs of [`Results`], with what distinguishes it from the others.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// `groups=4`, `a-1`; empty for a single run.
    pub label: String,
    /// In a sweep: the value of the parameter.
    pub value: Option<f64>,
    /// Its report.
    pub report: &'a Report,
}

impl Results {
    /// All runs in order; of a comparison first those of `a`, then those of `b`.
    #[must_use]
    pub fn runs(&self) -> Vec<Run<'_>> {
        match self {
            Self::Run(report) => vec![Run { label: String::new(), value: None, report }],
            Self::Sweep(SweepReport { axis, runs, .. }) => runs
                .iter()
                .map(|(value, report)| Run {
                    label: format!("{}={value}", axis.name()),
                    value: Some(*value),
                    report,
                })
                .collect(),
            Self::Comparison(Comparison { a, b, .. }) => [("a", a), ("b", b)]
                .into_iter()
                .flat_map(|(side, reports)| {
                    reports.iter().enumerate().map(move |(at, report)| Run {
                        label: format!("{side}-{}", at + 1),
                        value: None,
                        report,
                    })
                })
                .collect(),
        }
    }

    /// Why there are fewer runs than planned, if one of several could not start.
    #[must_use]
    pub fn cut_short(&self) -> Option<&Failure> {
        match self {
            Self::Run(_) => None,
            Self::Sweep(SweepReport { cut_short, .. })
            | Self::Comparison(Comparison { cut_short, .. }) => cut_short.as_ref(),
        }
    }

    /// The program's exit code: a broken invariant takes precedence over a lost target, and that
    /// over a bound of `--fail-if`.
    #[must_use]
    pub fn exit_code(&self, findings: &[Finding]) -> u8 {
        let codes: Vec<u8> = self.runs().iter().map(|run| run.report.exit_code()).collect();
        let cut_short = self.cut_short().map(|failure| failure.cause.exit_code());
        let bound = findings.iter().any(|finding| finding.is_failed).then_some(EXIT_BOUND);
        [EXIT_BROKEN, EXIT_FAILED]
            .into_iter()
            .find(|code| codes.contains(code))
            .or(cut_short)
            .or(bound)
            .unwrap_or(0)
    }
}
