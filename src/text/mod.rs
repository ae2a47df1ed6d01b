//! Short byte strings, numbers, patterns, and the display of values.

pub(crate) mod short;
pub(crate) mod number;
pub(crate) mod glob;
pub(crate) mod display;
