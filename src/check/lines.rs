//! The lines of a text file, and which of them cannot be read.

use super::Trouble;
use super::detect::BYTE_ORDER_MARK;
use crate::ledger::Spot;
use crate::rdb::file_window::{FileWindow, Line};

/// Takes a line, its number, and whether the file ends in the middle of it; an error says why it cannot
/// be read.
pub(super) type TakeLine<'t> = dyn FnMut(&[u8], u64, bool) -> Result<(), String> + 't;

/// Takes all lines, numbered from 1. Returns the trouble with those that could not be read.
pub(super) fn each_line(window: &mut FileWindow<'_>, take: &mut TakeLine<'_>) -> Option<Trouble> {
    if window.more(BYTE_ORDER_MARK.len()).starts_with(BYTE_ORDER_MARK) {
        window.take(BYTE_ORDER_MARK.len());
    }
    let mut trouble: Option<Trouble> = None;
    let mut number = 0;
    while let Some(line) = window.line() {
        number += 1;
        let outcome = match line {
            Line::TooLong => Err("the line is too long".to_owned()),
            Line::Whole(line) => take(line.strip_suffix(b"\r").unwrap_or(line), number, false),
            Line::Last(line) => take(line, number, true).map_err(|why| cut(&why)),
        };
        if let Err(why) = outcome {
            let first = || Trouble { spot: Spot::Line(number), why, lines: Some(0) };
            let trouble = trouble.get_or_insert_with(first);
            trouble.lines = trouble.lines.map(|lines| lines + 1);
        }
    }
    trouble
}

/// Why the last line of a file cannot be read, if it has no end.
pub(super) fn cut(why: &str) -> String {
    format!("the file ends in the middle of a line: {why}")
}
