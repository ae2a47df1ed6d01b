//! Text as Redis and people read it: numbers, patterns, and values for display.

pub mod number;
pub mod glob;
pub mod display;
