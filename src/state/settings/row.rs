//! A parameter as a row of the table, and the macros that write rows of the usual kinds.

use super::Settings;
use super::value_type::{Value, ValueType};
use std::borrow::Cow;

/// A parameter.
pub(super) struct Row {
    /// In lower case.
    pub(super) name: &'static str,
    /// The type of its values.
    pub(super) value_type: ValueType,
    pub(super) get: fn(&Settings) -> Value,
    pub(super) set: SetRule,
}

/// Returns why a value is refused.
pub(super) type Check = fn(&Settings, &Value) -> Result<(), Cow<'static, str>>;

/// How a parameter is changed.
#[derive(Clone, Copy)]
pub(super) enum SetRule {
    /// Sets any valid value.
    Freely(fn(&Settings, Value)),
    /// Sets a value that the first function accepts.
    Checked(Check, fn(&Settings, Value)),
    /// Sets any valid value for this port alone: that of the router port is not that of the nodes.
    Own(fn(&Settings, Value)),
    /// Redis can change it, Slotway cannot, for this reason.
    Fixed(&'static str),
    /// Redis cannot change it either.
    Never,
    /// Nor does Redis, unless its configuration file allows clients to.
    Protected,
}

pub(super) const CHOSEN_AT_START: &str = "it is chosen when the server starts";
pub(super) const I32_MAX: i128 = i32::MAX as i128;
pub(super) const I64_MAX: i128 = i64::MAX as i128;
pub(super) const U64_MAX: i128 = u64::MAX as i128;
pub(super) const PORT: ValueType = ValueType::Int(0, u16::MAX as i128);

/// A row for a number in an atomic of [`Settings`].
macro_rules! number {
    ($name:literal, $value_type:expr, $($cell:ident).+) => {
        number!($name, $value_type, $($cell).+, Freely)
    };
    ($name:literal, $value_type:expr, $($cell:ident).+, $rule:ident) => {
        Row {
            name: $name,
            value_type: $value_type,
            get: |settings| Value::Number(number(&settings.$($cell).+).into()),
            set: SetRule::$rule(|settings, value| {
                settings.$($cell).+.store(value.number(), Ordering::Relaxed)
            }),
        }
    };
}

/// A row for a boolean in an atomic of [`Settings`].
macro_rules! yes_no {
    ($name:literal, $($cell:ident).+) => {
        Row {
            name: $name,
            value_type: ValueType::YesNo,
            get: |settings| Value::Bool(settings.$($cell).+.load(Ordering::Relaxed)),
            set: SetRule::Freely(|settings, value| {
                settings.$($cell).+.store(value.is_yes(), Ordering::Relaxed)
            }),
        }
    };
}

/// A row for a value that is kept and shown, and decides nothing here: what it is about does not
/// exist, or is the same for every value. A second name of the same value stands before `as`.
macro_rules! kept {
    ($name:literal, $value_type:expr, $default:literal) => {
        kept!($name as $name, $value_type, $default)
    };
    ($name:literal as $kept:literal, $value_type:expr, $default:literal) => {
        Row {
            name: $name,
            value_type: $value_type,
            get: |settings| settings.kept($kept).unwrap_or_else(|| $value_type.constant($default)),
            set: SetRule::Freely(|settings, value| settings.keep($kept, value)),
        }
    };
    ($name:literal, $value_type:expr, $default:literal, $check:expr) => {
        Row {
            name: $name,
            value_type: $value_type,
            get: |settings| settings.kept($name).unwrap_or_else(|| $value_type.constant($default)),
            set: SetRule::Checked($check, |settings, value| settings.keep($name, value)),
        }
    };
}

/// A row with a constant value, which Redis could change and Slotway cannot.
macro_rules! fixed {
    ($name:literal, $value_type:expr, $value:literal, $why:expr) => {
        Row {
            name: $name,
            value_type: $value_type,
            get: |_| $value_type.constant($value),
            set: SetRule::Fixed($why),
        }
    };
}

/// A row with a constant value, which Redis cannot change either.
macro_rules! never {
    ($name:literal, $value_type:expr, $value:literal) => {
        Row {
            name: $name,
            value_type: $value_type,
            get: |_| $value_type.constant($value),
            set: SetRule::Never,
        }
    };
}

pub(super) use {fixed, kept, never, number, yes_no};
