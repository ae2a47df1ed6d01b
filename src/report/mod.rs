//! Reports: what `check`, `run` and `bench` share to show what they found.
//!
//! ```text
//! terminal   a page in the terminal ──┐
//!                                     ├─ table   rows under a head
//! html       a self-contained page ───┘
//! proof/     the report of `check` and `run`, in all its formats
//! ```
//!
//! The report of `bench` is in `load::output`. Nothing here reads a clock or opens a file: a report
//! in, text out.

pub(crate) mod html;
pub(crate) mod proof;
pub(crate) mod table;
pub(crate) mod terminal;

pub(crate) use proof::{Baseline, Ended, Found, Report, Source, Trouble, UNREAD};
