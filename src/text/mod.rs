//! Numbers, patterns, and the display of values.

pub mod number;
pub mod glob;
pub mod display;
