//! Reads RDB files: the keys that are stored, with their sizes and types.

use super::pipeline::{self, Batch};
use super::replay::Replay;
use super::{Trouble, aof};
use crate::ledger::Spot;
use crate::ledger::pattern::shown;
use crate::ledger::violation::TEXT_CHARS_MAX;
use crate::rdb::file::{self, RdbError, Record, Rest};
use crate::rdb::file_window::FileWindow;
use crate::text::display::plural;

/// A key in a batch: its words are the key, and the name of its type.
#[derive(Debug)]
struct Row {
    bytes: u64,
    /// It is the first one in a database other than number 0.
    is_first_elsewhere: bool,
}

/// Reads a file: the bytes on this core, the keys on another one if there is.
pub(super) fn read(window: &mut FileWindow<'_>, to: &mut Replay, cores: usize) -> Option<Trouble> {
    let take = |batch: &Batch<Row>| {
        batch.each(|args, row| {
            let (key, kind) = (args.at(0), args.get(1).unwrap_or_default());
            let kind = str::from_utf8(kind).unwrap_or_default();
            to.ledger.key_stats.stored(key, row.bytes, kind);
            if row.is_first_elsewhere {
                to.key_in_other_database(key);
            }
        });
    };
    let outcome = pipeline::run(cores, take, |pass| {
        let (mut is_elsewhere, mut batch) = (false, Batch::default());
        let outcome = file::read(window, &mut |met| match met {
            Record::Database(number) => is_elsewhere = number != 0,
            Record::Key { key, bytes, kind } => {
                for word in [key, kind.as_bytes()] {
                    let span = batch.add(word);
                    batch.spans.push(span);
                }
                let is_first_elsewhere = std::mem::take(&mut is_elsewhere);
                batch.end_request(Row { bytes, is_first_elsewhere });
                if batch.is_full() {
                    pass(&mut batch);
                }
            }
        });
        pass(&mut batch);
        outcome
    });
    match outcome {
        Ok(Rest::Nothing) => None,
        Ok(Rest::Commands) => aof::read(window, to, cores),
        Err(broken) => Some(trouble(broken)),
    }
}

fn trouble(broken: RdbError) -> Trouble {
    let RdbError { at, mut why, key, keys_before } = broken;
    if let Some(key) = key {
        why += &format!(", in the value of key {}", shown(&key, TEXT_CHARS_MAX));
    }
    if let Some(keys) = keys_before {
        why += &format!("; the count of {} is partial", plural(keys, "key"));
    }
    Trouble { spot: Spot::Byte(at), why, lines: None }
}
