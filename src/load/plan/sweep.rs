//! A sweep: one run for each value of a setting.

use super::{Distribution, Plan, RUNS_MAX};
use crate::load::failure::Failure;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// One run per value of a setting: the contention curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// What varies.
    pub axis: Axis,
    /// Its values, in the order of the runs.
    pub values: Vec<f64>,
}

/// What a sweep varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// [`super::Shape::groups`].
    Groups,
    /// [`super::Shape::keys_per_group`].
    Keys,
    /// [`super::Shape::connections`].
    Clients,
    /// [`super::Shape::rate`].
    Rate,
    /// [`Distribution::Zipfian`]'s theta.
    Theta,
    /// [`super::Shape::pipeline`].
    Pipeline,
    /// [`super::Workload::cross`].
    Cross,
}

impl Axis {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Groups,
        Self::Keys,
        Self::Clients,
        Self::Rate,
        Self::Theta,
        Self::Pipeline,
        Self::Cross,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Keys => "keys",
            Self::Clients => "clients",
            Self::Rate => "rate",
            Self::Theta => "theta",
            Self::Pipeline => "pipeline",
            Self::Cross => "cross",
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Groups | Self::Keys | Self::Clients | Self::Pipeline)
    }
}

impl FromStr for Sweep {
    type Err = Failure;

    /// Reads `groups=1,4,16,64`.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let names = || Axis::ALL.map(Axis::name).join(", ");
        let (name, values) = text.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "write a sweep as NAME=VALUE,VALUE…, where NAME is one of {}",
                names()
            ))
        })?;
        let axis =
            Axis::ALL.into_iter().find(|axis| axis.name() == name.trim()).ok_or_else(|| {
                Failure::usage(format!(
                    "unknown setting {name:?} of a sweep; it can vary {}",
                    names()
                ))
            })?;
        let number = |text: &str| {
            let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            let number = number.filter(|n| !axis.is_whole() || (n.fract() == 0.0 && *n >= 1.0));
            number.ok_or_else(|| {
                Failure::usage(format!("{:?} is not a valid value of {}", text.trim(), axis.name()))
            })
        };
        let values = values.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
        if values.len() > RUNS_MAX {
            return Err(Failure::usage(format!("a sweep has at most {RUNS_MAX} values")));
        }
        Ok(Self { axis, values })
    }
}

impl Sweep {
    /// The plan of the run with this value.
    #[must_use]
    pub fn apply(&self, plan: &Plan, value: f64) -> Plan {
        let mut plan = plan.clone();
        let shape = &mut plan.shape;
        // `from_str` accepts only integers where they are required, and the cast saturates.
        match self.axis {
            Axis::Groups => shape.groups = value as usize,
            Axis::Keys => shape.keys_per_group = value as usize,
            Axis::Clients => shape.connections = value as usize,
            Axis::Rate => shape.rate = Some(value),
            Axis::Theta => shape.distribution = Distribution::Zipfian { theta: value },
            Axis::Pipeline => shape.pipeline = value as usize,
            Axis::Cross => plan.workload.cross = value,
        }
        plan
    }
}
