//! Entries as replies.

use super::ids::write_id;
use crate::command::pace::{Strides, units};
use crate::keyspace::{StreamEntry, StreamId, StreamLog};
use crate::rdb::listpack_cursor::PackedElement;
use crate::resp::{Proto, Sink};

/// What a reply consists of, whose length is not known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Array,
    /// Pairs.
    Map,
}

impl Aggregate {
    fn head(self, count: usize, out: &mut Sink<'_>) {
        match self {
            Self::Array => out.array(count),
            Self::Map => out.map(count),
        }
    }
}

/// Writes an aggregate of as many elements or pairs as `body` returns that it has written.
pub(super) fn write_counted(
    of: Aggregate,
    out: &mut Sink<'_>,
    body: impl FnOnce(&mut Sink<'_>) -> usize,
) -> usize {
    let at = out.len();
    of.head(0, out);
    let behind = out.len();
    let count = body(out);
    let pairs = if of == Aggregate::Map && out.proto != Proto::Resp3 { 2 } else { 1 };
    if pairs * count < 10 {
        // One digit, as the 0 that is there.
        out.buffer()[at + 1] = b'0' + (pairs * count) as u8;
    } else {
        let mut head = Vec::with_capacity(16);
        of.head(count, &mut Sink::new(&mut head, out.proto));
        out.buffer().splice(at..behind, head);
    }
    count
}

/// Writes an entry: its id, and its fields with their values.
pub(super) fn write_entry(entry: &StreamEntry<'_>, strides: &mut Strides<'_>, out: &mut Sink<'_>) {
    out.array(2);
    write_id(out, entry.id());
    out.array(2 * entry.fields());
    for (field, value) in entry.pairs() {
        write_element(field, strides, out);
        write_element(value, strides, out);
    }
}

fn write_element(element: PackedElement<'_>, strides: &mut Strides<'_>, out: &mut Sink<'_>) {
    match element {
        PackedElement::Int(value) => {
            strides.step(1);
            out.bulk_int(value);
        }
        PackedElement::Text(text) => {
            strides.step(units(text.len()));
            out.bulk(text);
        }
    }
}

/// Writes the entries from `start` to `end` as an array, at most `count` of them unless that is 0.
pub(super) fn write_range(
    log: &StreamLog,
    (start, end): (StreamId, StreamId),
    backwards: bool,
    count: usize,
    strides: &mut Strides<'_>,
    out: &mut Sink<'_>,
) {
    let entries = if backwards { log.range_back(start, end) } else { log.range(start, end) };
    let count = if count == 0 { usize::MAX } else { count };
    write_counted(Aggregate::Array, out, |out| {
        let mut written = 0;
        for entry in entries.take(count) {
            write_entry(&entry, strides, out);
            written += 1;
        }
        written
    });
}
