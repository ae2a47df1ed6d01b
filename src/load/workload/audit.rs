//! Looks at one group at a time while the load runs: one atomic read of all its keys, a judgement.

use crate::load::chance::Chance;
use crate::load::script::{Ask, Moment, Next, Outcome, Script};
use crate::resp::Reply;
use crate::slot::Slot;
use std::sync::Arc;

/// What an audit reads of a group, and what it makes of it.
pub(super) trait Audited: Send + Sync {
    /// How many groups there are.
    fn groups(&self) -> u64;
    /// Writes MGET and its keys for a group; returns the slot. `before` is what must be noted
    /// before the read is sent.
    fn request(&self, group: u64, ask: &mut Vec<Vec<u8>>);
    /// Whatever must be known from before the read: handed to `judge`.
    fn before(&self, group: u64) -> Vec<u64> {
        let _ = group;
        Vec::new()
    }
    /// Judges the values, in the order of the request; `None` is a key that is missing or no number.
    fn judge(&self, group: u64, before: &[u64], values: &[Option<i64>], moment: &Moment);
}

/// An auditor: a script that never commits and is not measured.
pub(super) struct Auditor<W> {
    workload: Arc<W>,
    group: u64,
    args: Vec<Vec<u8>>,
    before: Vec<u64>,
    values: Vec<Option<i64>>,
}

impl<W: Audited> Auditor<W> {
    pub(super) fn new(workload: Arc<W>) -> Self {
        let (args, before, values) = (Vec::new(), Vec::new(), Vec::new());
        Self { workload, group: 0, args, before, values }
    }
}

impl<W: Audited> Script for Auditor<W> {
    fn choose(&mut self, _chance: &mut Chance) {
        self.group = (self.group + 1) % self.workload.groups();
        self.args.clear();
        self.args.push(b"MGET".to_vec());
        self.workload.request(self.group, &mut self.args);
    }

    fn slot(&self) -> Slot {
        self.args.get(1).map_or(Slot::of(b""), |key| Slot::of(key))
    }

    fn rewind(&mut self) {}

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        self.before = self.workload.before(self.group);
        ask.begin(self.args.len(), false);
        self.args.iter().for_each(|arg| ask.argument(arg));
    }

    fn hear(&mut self, _at: usize, reply: Reply<'_>) {
        self.values.clear();
        self.values.extend(reply.elements().into_iter().flatten().map(|value| value.integer()));
    }

    fn conclude(&mut self, moment: &Moment) -> Next {
        if self.values.len() + 1 == self.args.len() {
            self.workload.judge(self.group, &self.before, &self.values, moment);
        }
        Next::Done(Outcome::Committed)
    }
}
