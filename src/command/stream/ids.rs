//! Ids as arguments and in replies.

use crate::command::{Args, Refusal};
use crate::keyspace::StreamId;
use crate::resp::{Sink, until_nul};
use crate::text::number::{parse_i64, spell_u64};

/// Longest text of an id that is looked at, in bytes.
const TEXT_LEN_MAX: usize = 127;

/// Longest text of an id in a reply, in bytes.
const SPELLED_LEN_MAX: usize = 20 + 1 + 20;

pub(super) const INVALID_ID: Refusal =
    Refusal::of("ERR Invalid stream ID specified as stream command argument");

/// Which ids an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A time, and perhaps a number.
    Strict,
    /// `-` and `+` as well, for the least and the greatest.
    Open,
}

/// An id of which the number may be left to the stream: `5-*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddedId {
    pub(super) id: StreamId,
    /// The number is the next one of that time.
    pub(super) is_partial: bool,
}

/// Reads digits as Redis does: an integer, or else what C's strtoull reads, which takes a sign, zeros
/// and space before the digits.
fn parse_u64(text: &[u8]) -> Option<u64> {
    if let Some(value) = parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(|byte| is_space(byte)).count()..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, digit| {
        value.checked_mul(10)?.checked_add((digit - b'0').into())
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

fn parse(text: &[u8], missing_seq: u64, form: Form) -> Option<AddedId> {
    if text.len() > TEXT_LEN_MAX {
        return None;
    }
    let whole = |id| Some(AddedId { id, is_partial: false });
    let text = until_nul(text);
    match text {
        b"-" | b"+" if form == Form::Strict => return None,
        b"-" => return whole(StreamId::MIN),
        b"+" => return whole(StreamId::MAX),
        _ => {}
    }
    let Some(dash) = text.iter().position(|&byte| byte == b'-') else {
        return whole(StreamId { ms: parse_u64(text)?, seq: missing_seq });
    };
    let (ms, seq) = (parse_u64(&text[..dash])?, &text[dash + 1..]);
    if seq == b"*" {
        return Some(AddedId { id: StreamId { ms, seq: 0 }, is_partial: true });
    }
    whole(StreamId { ms, seq: parse_u64(seq)? })
}

fn parse_whole(text: &[u8], missing_seq: u64, form: Form) -> Option<StreamId> {
    let AddedId { id, is_partial } = parse(text, missing_seq, form)?;
    (!is_partial).then_some(id)
}

/// Reads an id.
pub(super) fn id_of(text: &[u8]) -> Result<StreamId, Refusal> {
    parse_whole(text, 0, Form::Strict).ok_or(INVALID_ID)
}

/// Reads an id, or `-` or `+`.
pub(super) fn open_id_of(text: &[u8]) -> Result<StreamId, Refusal> {
    parse_whole(text, 0, Form::Open).ok_or(INVALID_ID)
}

/// Reads the id of an entry to be added.
pub(super) fn added_id_of(text: &[u8]) -> Result<AddedId, Refusal> {
    parse(text, 0, Form::Strict).ok_or(INVALID_ID)
}

/// Reads all arguments from `first` on as ids.
pub(super) fn ids_from(args: Args<'_>, first: usize) -> Result<Vec<StreamId>, Refusal> {
    args.from(first).map(id_of).collect()
}

/// Reads the start of a range: an id, `-`, or `(` and the id before the first one.
pub(super) fn start_of(text: &[u8]) -> Result<StreamId, Refusal> {
    let (id, is_excluded) = edge_of(text, 0)?;
    if !is_excluded {
        return Ok(id);
    }
    id.next().ok_or(Refusal::of("ERR invalid start ID for the interval"))
}

/// Reads the end of a range.
pub(super) fn end_of(text: &[u8]) -> Result<StreamId, Refusal> {
    let (id, is_excluded) = edge_of(text, u64::MAX)?;
    if !is_excluded {
        return Ok(id);
    }
    id.previous().ok_or(Refusal::of("ERR invalid end ID for the interval"))
}

fn edge_of(text: &[u8], missing_seq: u64) -> Result<(StreamId, bool), Refusal> {
    let (id, is_excluded) = match text {
        [b'(', id @ ..] if !id.is_empty() => (parse_whole(id, missing_seq, Form::Strict), true),
        _ => (parse_whole(text, missing_seq, Form::Open), false),
    };
    Ok((id.ok_or(INVALID_ID)?, is_excluded))
}

/// Appends an id as text.
pub(super) fn push_id(text: &mut Vec<u8>, id: StreamId) {
    let mut spelled = [0; SPELLED_LEN_MAX];
    let start = spell(&mut spelled, id);
    text.extend_from_slice(&spelled[start..]);
}

/// Writes an id as a byte string.
pub(super) fn write_id(out: &mut Sink<'_>, id: StreamId) {
    let mut spelled = [0; SPELLED_LEN_MAX];
    let start = spell(&mut spelled, id);
    out.bulk(&spelled[start..]);
}

/// Writes an id to the end of `text`; returns where it starts.
fn spell(text: &mut [u8; SPELLED_LEN_MAX], id: StreamId) -> usize {
    let dash = spell_u64(text, id.seq) - 1;
    text[dash] = b'-';
    spell_u64(&mut text[..dash], id.ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> Option<StreamId> {
        Some(StreamId { ms, seq })
    }

    #[test]
    fn ids_are_read_as_the_reference_reads_them() {
        let strict = |text: &str| parse_whole(text.as_bytes(), 7, Form::Strict);
        assert_eq!(strict("5"), id(5, 7));
        assert_eq!(strict("5-3"), id(5, 3));
        assert_eq!(strict("05-03"), id(5, 3));
        assert_eq!(strict("+5- 3"), id(5, 3));
        assert_eq!(strict("5--03"), id(5, u64::MAX - 2));
        assert_eq!(strict("18446744073709551615-18446744073709551615"), Some(StreamId::MAX));
        assert_eq!(strict("5-3\0junk"), id(5, 3));
        for bad in ["", "-", "+", "-1", "5-", "5-3-1", "5-x", "x", "5--3", "5-*", "*", "5 -1"] {
            assert_eq!(strict(bad), None, "{bad}");
        }
        assert_eq!(strict("18446744073709551616"), None);
        assert_eq!(strict(&"0".repeat(128)), None);
        assert_eq!(open_id_of(b"+").ok(), Some(StreamId::MAX));
    }

    #[test]
    fn ids_are_written_as_they_are_read() {
        for id in [StreamId::MIN, StreamId::MAX, StreamId { ms: 1_700_000_000_123, seq: 45 }] {
            let mut text = Vec::new();
            push_id(&mut text, id);
            assert_eq!(id_of(&text).ok(), Some(id), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn edges_may_exclude_their_id() {
        assert_eq!(start_of(b"(5-18446744073709551615").ok(), id(6, 0));
        assert_eq!(start_of(b"(5").ok(), id(5, 1));
        assert_eq!(end_of(b"(5-0").ok(), id(4, u64::MAX));
        assert_eq!(end_of(b"5").ok(), id(5, u64::MAX));
        assert!(end_of(b"(0-0").is_err() && start_of(b"(+").is_err() && start_of(b"(").is_err());
    }
}
