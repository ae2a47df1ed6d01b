//! `--fail-if p99>5ms,abort>20%`: bounds that fail a run, for CI.
//!
//! A bound is a measure, one of `> >= < <=`, and a number in the measure's unit. A run fails if the
//! comparison is true, and also if there is nothing to compare: a run without a single commit has
//! no p99, and must not pass CI.

use super::form;
use super::{Results, Run};
use crate::load::Failure;
use crate::load::report::{Latency, Report, ratio};
use std::str::FromStr;

/// The maximum number of bounds.
pub(crate) const BOUNDS_MAX: usize = 64;

/// Several bounds. A run fails by any of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bounds(pub Vec<Bound>);

/// One bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bound {
    /// The bound as given: `p99>5ms`.
    pub text: String,
    measure: Measure,
    order: Order,
    limit: f64,
}

/// A bound applied to a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The bound as given.
    pub bound: String,
    /// The run, as [`Run::label`].
    pub run: String,
    /// The measured value: nanoseconds, a share of 0 to 1, or a plain number. `None`: there was
    /// nothing to measure.
    pub value: Option<f64>,
    /// The value with its unit.
    pub shown: String,
    /// Whether the run fails by it.
    pub is_failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Above,
    AtLeast,
    Below,
    AtMost,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    /// Of the latency of transactions.
    Transaction(Statistic),
    /// Of the latency of attempts.
    Attempt(Statistic),
    Committed,
    Abort,
    Refused,
    GivenUp,
    Unknown,
    Malformed,
    AttemptsPerCommit,
    Imbalance,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Quantile(f64),
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Time,
    Share,
    Number,
}

/// The names of the measures other than latency.
const PLAIN: [(&str, Measure); 8] = [
    ("committed", Measure::Committed),
    ("abort", Measure::Abort),
    ("refused", Measure::Refused),
    ("given-up", Measure::GivenUp),
    ("unknown", Measure::Unknown),
    ("malformed", Measure::Malformed),
    ("attempts", Measure::AttemptsPerCommit),
    ("imbalance", Measure::Imbalance),
];

impl Measure {
    fn from_name(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_prefix("attempt-") {
            return Statistic::from_name(rest).map(Self::Attempt);
        }
        let plain = PLAIN.into_iter().find(|(plain, _)| *plain == name).map(|(_, measure)| measure);
        plain.or_else(|| Statistic::from_name(name).map(Self::Transaction))
    }

    const fn unit(self) -> Unit {
        match self {
            Self::Transaction(_) | Self::Attempt(_) => Unit::Time,
            Self::Abort | Self::Refused | Self::GivenUp => Unit::Share,
            Self::Committed
            | Self::Unknown
            | Self::Malformed
            | Self::AttemptsPerCommit
            | Self::Imbalance => Unit::Number,
        }
    }

    /// The value of a run; `None` if there is nothing to measure.
    fn of(self, report: &Report) -> Option<f64> {
        let totals = &report.totals;
        match self {
            Self::Transaction(statistic) => statistic.of(&report.transaction_latency),
            Self::Attempt(statistic) => statistic.of(&report.attempt_latency),
            Self::Committed => Some(report.committed_per_second()),
            Self::Abort => (totals.attempts > 0).then(|| totals.abort_rate()),
            Self::Refused => {
                let unexpected = report.refusals.iter().filter(|refusal| !refusal.expected);
                let count = unexpected.map(|refusal| refusal.count).sum();
                (totals.attempts > 0).then(|| ratio(count, totals.attempts))
            }
            Self::GivenUp => {
                let all = totals.committed + totals.declined + totals.given_up + totals.unknown;
                (all > 0).then(|| ratio(totals.given_up, all))
            }
            Self::Unknown => Some(totals.unknown as f64),
            Self::Malformed => Some(totals.malformed as f64),
            Self::AttemptsPerCommit => (totals.committed > 0).then(|| totals.attempts_per_commit()),
            Self::Imbalance => (totals.committed > 0).then(|| report.imbalance()),
        }
    }
}

impl Statistic {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Self::Mean),
            "max" => Some(Self::Max),
            _ => {
                let percent: f64 = name.strip_prefix('p')?.parse().ok()?;
                (percent > 0.0 && percent <= 100.0).then_some(Self::Quantile(percent / 100.0))
            }
        }
    }

    fn of(self, latency: &Latency) -> Option<f64> {
        (latency.count() > 0).then(|| match self {
            Self::Quantile(share) => latency.quantile_ns(share) as f64,
            Self::Mean => latency.mean_ns(),
            Self::Max => latency.max_ns() as f64,
        })
    }
}

impl Unit {
    fn read(self, text: &str) -> Option<f64> {
        let with = |units: &[(&str, f64)]| {
            units.iter().find_map(|(unit, factor)| {
                let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
                Some(number * factor)
            })
        };
        let number = match self {
            // The longer names first: "ms" ends in "s".
            Self::Time => with(&[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)]),
            Self::Share => with(&[("%", 0.01), ("", 1.0)]),
            Self::Number => with(&[("k", 1e3), ("M", 1e6), ("", 1.0)]),
        };
        number.filter(|n| n.is_finite() && *n >= 0.0)
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::Time => "a time such as 5ms, 800us or 1.5s",
            Self::Share => "a share such as 20% or 0.2",
            Self::Number => "a number such as 20000 or 20k",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Time => form::time_ns(value),
            Self::Share => form::percent(value),
            Self::Number if value.fract() == 0.0 => form::count(value as u64),
            Self::Number => form::rate(value),
        }
    }
}

impl FromStr for Bounds {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let bounds = text.split(',').map(str::parse).collect::<Result<Vec<Bound>, _>>()?;
        if bounds.len() > BOUNDS_MAX {
            return Err(Failure::usage(format!("--fail-if: at most {BOUNDS_MAX} bounds")));
        }
        Ok(Self(bounds))
    }
}

impl FromStr for Bound {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        let at = text.find(['<', '>']).ok_or_else(|| {
            Failure::usage(format!(
                "--fail-if {text:?}: a bound is a measure, < or >, and a number, as in p99>5ms,abort>20%"
            ))
        })?;
        let (name, rest) = text.split_at(at);
        let (order, number) = match (rest.strip_prefix(">="), rest.strip_prefix("<=")) {
            (Some(number), _) => (Order::AtLeast, number),
            (_, Some(number)) => (Order::AtMost, number),
            _ if rest.starts_with('>') => (Order::Above, &rest[1..]),
            _ => (Order::Below, &rest[1..]),
        };
        let measure = Measure::from_name(name.trim()).ok_or_else(|| {
            let names = PLAIN.map(|(name, _)| name).join(", ");
            Failure::usage(format!(
                "--fail-if {text:?}: there is no measure {:?}; measures are p50, p99, p99.9 (any), mean, max, the \
                 same with the prefix attempt-, and {names}",
                name.trim()
            ))
        })?;
        let unit = measure.unit();
        let limit = unit.read(number.trim()).ok_or_else(|| {
            Failure::usage(format!(
                "--fail-if {text:?}: {:?} should be {}",
                number.trim(),
                unit.hint()
            ))
        })?;
        Ok(Self { text: text.to_owned(), measure, order, limit })
    }
}

impl Bound {
    fn judge(&self, run: &Run<'_>) -> Finding {
        let value = self.measure.of(run.report);
        let is_failed = value.is_none_or(|value| match self.order {
            Order::Above => value > self.limit,
            Order::AtLeast => value >= self.limit,
            Order::Below => value < self.limit,
            Order::AtMost => value <= self.limit,
        });
        let shown = value.map_or("nothing to measure".to_owned(), |v| self.measure.unit().show(v));
        Finding { bound: self.text.clone(), run: run.label.clone(), value, shown, is_failed }
    }
}

impl Bounds {
    /// Applies every bound to every run.
    #[must_use]
    pub(crate) fn judge(&self, results: &Results) -> Vec<Finding> {
        let runs = results.runs();
        self.0.iter().flat_map(|bound| runs.iter().map(|run| bound.judge(run))).collect()
    }
}
