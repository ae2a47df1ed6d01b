//! Commands on their way from the reader to the replay, on two cores if there are two.
//!
//! ```text
//! bytes ─► lines, words (this thread) ══ batches ══► replay, ledger (another thread, or this one)
//!                    ▲                    empty ones ║
//!                    ╚═══════════════════════════════╝
//! ```
//!
//! The reader needs nothing of the replay, and the replay takes the commands in their order: the ledger is
//! the same on one core and on two. Memory is bounded by the batches under way; a command that fills more
//! than one is waited for.

use crate::command::Args;
use crate::resp::Span;
use std::mem::replace;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Bytes of a batch: less than a core's cache.
const BATCH_LEN: usize = 128 << 10;
/// Batches under way.
const BATCHES_MAX: usize = 8;
/// A batch of more bytes is waited for, and its memory is given back.
const BIG_LEN: usize = 4 * BATCH_LEN;

/// Requests in their order, each with what its source says about it.
#[derive(Debug)]
pub(super) struct Batch<R> {
    /// The words of all requests, and what rows refer to.
    pub(super) bytes: Vec<u8>,
    /// The words of all requests.
    pub(super) spans: Vec<Span>,
    /// The end of each request in `spans`, and what is known of it.
    rows: Vec<(usize, R)>,
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Self { bytes: Vec::new(), spans: Vec::new(), rows: Vec::new() }
    }
}

impl<R> Batch<R> {
    /// Appends bytes; returns where they are.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Span {
        let span = Span::new(self.bytes.len(), bytes.len());
        self.bytes.extend_from_slice(bytes);
        span
    }

    /// Ends a request, whose words are the spans behind the request before.
    pub(super) fn end_request(&mut self, row: R) {
        self.rows.push((self.spans.len(), row));
    }

    /// Whether it is to be passed on.
    pub(super) fn is_full(&self) -> bool {
        self.size() >= BATCH_LEN
    }

    fn size(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.spans) + size_of_val(&*self.rows)
    }

    /// Calls `take` with each request that has words.
    pub(super) fn each<'b>(&'b self, mut take: impl FnMut(Args<'b>, &'b R)) {
        let mut start = 0;
        for (end, row) in &self.rows {
            let spans = &self.spans[replace(&mut start, *end)..*end];
            if !spans.is_empty() {
                take(Args::new(&self.bytes, spans), row);
            }
        }
    }

    fn clear(&mut self) {
        if self.size() > BIG_LEN {
            *self = Self::default();
        }
        self.bytes.clear();
        self.spans.clear();
        self.rows.clear();
    }
}

/// Passes a batch on, and leaves an empty one.
pub(super) type Pass<'p, R> = dyn FnMut(&mut Batch<R>) + 'p;

/// Runs `read`, which passes batches on, and `take` with each of them: on a thread of its own if there is
/// more than one core. All are taken when it returns.
pub(super) fn run<R: Send, T>(
    cores: usize,
    mut take: impl FnMut(&Batch<R>) + Send,
    read: impl FnOnce(&mut Pass<'_, R>) -> T,
) -> T {
    if cores < 2 {
        return read(&mut |batch| {
            take(batch);
            batch.clear();
        });
    }
    let (full, to_take) = sync_channel::<Batch<R>>(BATCHES_MAX);
    let (empty, taken) = sync_channel::<Batch<R>>(BATCHES_MAX);
    thread::scope(|scope| {
        scope.spawn(move || {
            for mut batch in to_take {
                take(&batch);
                batch.clear();
                // The reader is gone when it has read everything.
                let _gone = empty.send(batch);
            }
        });
        let mut way = Way { full, taken, under_way: 0 };
        read(&mut |batch| way.pass(batch))
    })
}

/// The batches between the two threads.
struct Way<R> {
    full: SyncSender<Batch<R>>,
    taken: Receiver<Batch<R>>,
    under_way: usize,
}

impl<R> Way<R> {
    fn pass(&mut self, batch: &mut Batch<R>) {
        let is_big = batch.size() > BIG_LEN;
        let next = if self.under_way < BATCHES_MAX - 1 { Batch::default() } else { self.next() };
        if self.full.send(replace(batch, next)).is_err() {
            // The other thread has panicked, which the scope reports.
            return;
        }
        self.under_way += 1;
        while is_big && self.under_way > 0 {
            drop(self.next());
        }
    }

    /// Returns the next batch that was taken.
    fn next(&mut self) -> Batch<R> {
        self.under_way -= 1;
        self.taken.recv().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of these lengths, one a request, as they come out behind the pipeline.
    fn through(cores: usize, lens: &[usize]) -> Vec<(usize, usize)> {
        let mut taken = Vec::new();
        let take = |batch: &Batch<usize>| {
            batch.each(|args, row| taken.push((*row, args.at(0).len())));
        };
        run(cores, take, |pass| {
            let mut batch = Batch::default();
            for (at, len) in lens.iter().enumerate() {
                let span = batch.add(&vec![b'x'; *len]);
                batch.spans.push(span);
                batch.end_request(at);
                if batch.is_full() {
                    pass(&mut batch);
                }
            }
            pass(&mut batch);
        });
        taken
    }

    #[test]
    fn requests_keep_their_order_on_any_number_of_cores() {
        let lens: Vec<usize> =
            (0..2000).map(|n| if n % 500 == 7 { 3 * BIG_LEN } else { n * 13 % 5000 }).collect();
        let expected: Vec<(usize, usize)> = lens.iter().copied().enumerate().collect();
        for cores in [1, 2] {
            assert_eq!(through(cores, &lens), expected);
        }
        assert_eq!(through(2, &[]), []);
    }

    #[test]
    fn the_memory_of_a_long_command_is_given_back() {
        let mut batch = Batch::<()>::default();
        batch.add(&vec![b'x'; 2 * BIG_LEN]);
        batch.clear();
        assert_eq!(batch.bytes.capacity(), 0);
    }
}
