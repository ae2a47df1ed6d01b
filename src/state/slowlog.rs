//! SLOWLOG and COMMANDLOG: the recent commands that were slow, or whose request or reply was large, the
//! newest first.
//!
//! Only few commands get here, so one lock around everything does not hurt.

use crate::keyspace::Millis;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most arguments of an entry; of more, the last one gives how many were cut.
const ARGS_MAX: usize = 32;
/// Longest argument, in bytes; a longer one is cut, followed by the number of bytes cut.
const ARG_LEN_MAX: usize = 128;

/// A command in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    /// Its id: counted from 0 since the start, not reset.
    pub id: u64,
    /// The time when it ran, in seconds since the epoch.
    pub at_s: i64,
    /// Its duration in microseconds, or the size of its request or reply in bytes.
    pub amount: u64,
    /// Its arguments, shortened.
    pub args: Vec<Box<[u8]>>,
    /// Address and port of the client.
    pub peer: String,
    /// The client's name.
    pub name: Box<[u8]>,
}

/// The log.
#[derive(Debug, Default)]
pub struct Slowlog {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    /// The newest first.
    entries: VecDeque<Arc<SlowEntry>>,
    next_id: u64,
}

impl Slowlog {
    /// Adds a command that took, or had, `amount`, and removes the oldest entries beyond `len_max`.
    pub fn note<'a>(
        &self,
        now: Millis,
        amount: u64,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        (peer, name): (String, Box<[u8]>),
        len_max: usize,
    ) {
        let args = shorten(args);
        let at_s = now.div_euclid(1000);
        let mut log = self.log.lock();
        let id = log.next_id;
        log.next_id += 1;
        log.entries.push_front(Arc::new(SlowEntry { id, at_s, amount, args, peer, name }));
        log.entries.truncate(len_max);
    }

    /// Returns up to `count` of the newest entries.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<Arc<SlowEntry>> {
        self.log.lock().entries.iter().take(count).cloned().collect()
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.lock().entries.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all entries.
    pub fn reset(&self) {
        let _freed_without_the_lock = std::mem::take(&mut self.log.lock().entries);
    }
}

fn shorten<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Box<[u8]>> {
    let count = args.len();
    let kept = if count > ARGS_MAX { ARGS_MAX - 1 } else { count };
    let more = (count > kept).then(|| format!("... ({} more arguments)", count - kept));
    let cut = |arg: &[u8]| match arg.split_at_checked(ARG_LEN_MAX) {
        Some((kept, rest)) if !rest.is_empty() => {
            [kept, format!("... ({} more bytes)", rest.len()).as_bytes()].concat().into()
        }
        _ => arg.into(),
    };
    args.take(kept).map(cut).chain(more.map(|text| text.into_bytes().into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(log: &Slowlog, args: &[&[u8]]) {
        log.note(1999, 7, args.iter().copied(), ("peer".into(), Box::default()), 2);
    }

    #[test]
    fn the_newest_are_kept_and_ids_go_on() {
        let log = Slowlog::default();
        for _ in 0..3 {
            note(&log, &[b"a"]);
        }
        let ids = |log: &Slowlog| log.newest(9).iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(&log), [2, 1]);
        assert_eq!(log.newest(1)[0].at_s, 1);
        log.reset();
        assert!(log.is_empty());
        note(&log, &[b"a"]);
        assert_eq!(ids(&log), [3]);
    }

    #[test]
    fn long_commands_are_shortened() {
        let log = Slowlog::default();
        let long = [b'x'; 129];
        note(&log, &[&long[..128], &long]);
        let text = |at: usize| String::from_utf8(log.newest(1)[0].args[at].to_vec()).expect("text");
        assert_eq!(text(0), "x".repeat(128));
        assert_eq!(text(1), "x".repeat(128) + "... (1 more bytes)");
        note(&log, &[&b"a"[..]; 32]);
        assert_eq!((log.newest(1)[0].args.len(), text(31)), (32, "a".into()));
        note(&log, &[&b"a"[..]; 33]);
        let last = "... (2 more arguments)";
        assert_eq!((log.newest(1)[0].args.len(), text(31)), (32, last.into()));
    }
}
