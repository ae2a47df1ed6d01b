//! The values of options: times with their unit, numbers, shares, targets.

use super::super::Failure;
use crate::load::plan::Distribution;
use crate::load::{self, Url};
use serde::Deserialize;
use std::str::FromStr;
use std::time::Duration;

/// The default theta of `zipfian`: the customary one.
const THETA_DEFAULT: f64 = 0.99;
/// The default share of the first group of `hot`.
const HOT_DEFAULT: f64 = 0.5;
/// The name of the cluster inside this process, instead of an address.
const OWN: &str = "own";

/// A target: an address, or `None` for a cluster inside this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct TargetArg(pub Option<Url>);

impl FromStr for TargetArg {
    type Err = load::Failure;

    fn from_str(text: &str) -> Result<Self, load::Failure> {
        if text == OWN { Ok(Self(None)) } else { text.parse().map(|url| Self(Some(url))) }
    }
}

/// A length of time with its unit: `800us`, `5ms`, `10s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::cli) struct Time(pub Duration);

impl Time {
    pub(in crate::cli) fn ms(self, name: &str) -> Result<u64, Failure> {
        self.whole(name, 1_000_000, "1ms")
    }

    pub(super) fn us(self, name: &str) -> Result<u64, Failure> {
        self.whole(name, 1000, "1us")
    }

    /// The number of units; an error if it is not an integer.
    fn whole(self, name: &str, unit_ns: u128, unit: &str) -> Result<u64, Failure> {
        let ns = self.0.as_nanos();
        u64::try_from(ns / unit_ns)
            .ok()
            .filter(|_| ns.is_multiple_of(unit_ns))
            .ok_or_else(|| Failure::usage(format!("{name}: must be a multiple of {unit}")))
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let unit_s = match unit.trim() {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err("write a number and its unit: 800us, 5ms, 10s, 2m, 1h".to_owned()),
        };
        let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
        // Whole nanoseconds: a product such as 0.1 * 1e-6 is not exact.
        Duration::try_from_secs_f64(number * unit_s)
            .map(|time| Self(Duration::from_nanos(time.as_nanos() as u64)))
            .map_err(|_| format!("{text} is too long"))
    }
}

/// `20000`, `20k`, `1.5M`.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let (digits, factor) = match (text.strip_suffix('k'), text.strip_suffix('M')) {
        (Some(digits), _) => (digits, 1e3),
        (_, Some(digits)) => (digits, 1e6),
        _ => (text, 1.0),
    };
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite());
    number.map(|number| number * factor).ok_or_else(|| "write a number, as 20000 or 20k".to_owned())
}

pub(super) fn whole(text: &str) -> Result<u64, String> {
    let whole = |number: &f64| number.fract() == 0.0 && (0.0..=9e15).contains(number);
    let number = number(text).ok().filter(whole);
    number
        .map(|number| number as u64)
        .ok_or_else(|| "write a whole number, as 20000 or 20k".to_owned())
}

/// `5%` or `0.05`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (digits, parts) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits, 100.0));
    let share = digits.parse::<f64>().ok().map(|number| number / parts);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a share from 0 to 1, as 5% or 0.05".to_owned())
}

pub(super) fn distribution(text: &str) -> Result<Distribution, String> {
    let (name, number) = text.split_once(':').map_or((text, None), |(name, n)| (name, Some(n)));
    match (name, number) {
        ("uniform", None) => Ok(Distribution::Uniform),
        ("zipfian", None) => Ok(Distribution::Zipfian { theta: THETA_DEFAULT }),
        ("zipfian", Some(theta)) => theta
            .parse()
            .map(|theta| Distribution::Zipfian { theta })
            .map_err(|_| format!("{theta:?} is not a number")),
        ("hot", None) => Ok(Distribution::Hot { share: HOT_DEFAULT }),
        ("hot", Some(number)) => share(number).map(|share| Distribution::Hot { share }),
        _ => Err("write uniform, zipfian, zipfian:0.99, hot or hot:50%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ns) in [
            ("100us", 100_000),
            ("0.1ms", 100_000),
            ("5ms", 5_000_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("1 h", 3_600_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Time(Duration::from_nanos(ns))), "{text}");
        }
        for text in ["", "5", "ms", "-5ms", "1.2.3s", "5d", "1e9h", "99999999999999999999h"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_and_shares_may_be_short() {
        assert_eq!((number("20k"), number("1.5M"), number("7")), (Ok(2e4), Ok(1.5e6), Ok(7.0)));
        assert_eq!((whole("1k"), whole("0")), (Ok(1000), Ok(0)));
        assert_eq!((share("5%"), share("0.25")), (Ok(0.05), Ok(0.25)));
        for text in ["", "k", "x", "NaN", "inf", "1.5", "-1", "1e99"] {
            assert!(whole(text).is_err(), "{text}");
        }
        for text in ["", "%", "101%", "1.1", "-1%", "NaN"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
