//! Checks of whole groups: one at a time by an auditor during the run, all of them after it. A
//! group is read with one MGET, which is atomic.

use crate::load::failure::Failure;
use crate::load::random::Rng;
use crate::load::script::{Moment, Next, Outcome, RoundWriter, Script};
use crate::load::setup_client::{SetupClient, expect_elements};
use crate::resp::Reply;
use crate::slot::Slot;
use std::sync::Arc;

/// A workload whose invariants hold of the values of a group at any moment.
pub(super) trait Audited: Send + Sync {
    /// The number of groups.
    fn groups(&self) -> u64;
    /// Adds the names of the keys to read of a group to `keys`.
    fn keys(&self, group: u64, keys: &mut Vec<Vec<u8>>);
    /// Returns what [`Audited::verify`] must know from before the read.
    fn snapshot_before(&self, group: u64) -> Vec<u64> {
        let _ = group;
        Vec::new()
    }
    /// Checks the values, in the order of the keys; `None` is a key that is missing or not a
    /// number.
    fn verify(&self, group: u64, before: &[u64], values: &[Option<i64>], moment: &Moment);
}

/// A script that reads one group after the other and checks it. It never commits and is not
/// measured.
pub(super) struct Auditor<W> {
    workload: Arc<W>,
    group: u64,
    keys: Vec<Vec<u8>>,
    before: Vec<u64>,
    values: Vec<Option<i64>>,
}

impl<W: Audited> Auditor<W> {
    pub(super) fn new(workload: Arc<W>) -> Self {
        Self { workload, group: 0, keys: Vec::new(), before: Vec::new(), values: Vec::new() }
    }
}

impl<W: Audited> Script for Auditor<W> {
    fn choose(&mut self, _rng: &mut Rng) {
        self.group = (self.group + 1) % self.workload.groups();
        self.keys.clear();
        self.workload.keys(self.group, &mut self.keys);
    }

    fn slot(&self) -> Slot {
        self.keys.first().map_or(Slot::of(b""), |key| Slot::of(key))
    }

    fn begin_attempt(&mut self) {}

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        self.before = self.workload.snapshot_before(self.group);
        out.begin(self.keys.len() + 1, false);
        out.argument(b"MGET");
        self.keys.iter().for_each(|key| out.argument(key));
    }

    fn read_reply(&mut self, _at: usize, reply: Reply<'_>) {
        self.values.clear();
        // What says nothing about the keys is left out, and the group is then not checked.
        if let Ok(elements) = expect_elements(reply, Some(self.keys.len() as u64), "MGET") {
            self.values.extend(elements.map(|element| element.integer()));
        }
    }

    fn finish_round(&mut self, moment: &Moment) -> Next {
        if self.values.len() == self.keys.len() {
            self.workload.verify(self.group, &self.before, &self.values, moment);
        }
        Next::Done(Outcome::Committed)
    }
}

/// Reads every group after the run and calls `verify` with its values.
pub(super) fn read_groups(
    workload: &dyn Audited,
    client: &mut SetupClient,
    verify: &mut dyn FnMut(u64, &[Option<i64>]),
) -> Result<(), Failure> {
    let mut keys = Vec::new();
    workload.keys(0, &mut keys);
    let len = keys.len();
    client.pipeline(
        workload.groups(),
        &mut |group, request| {
            keys.clear();
            workload.keys(group, &mut keys);
            request.begin(len + 1);
            request.argument(b"MGET");
            keys.iter().for_each(|key| request.argument(key));
            Slot::of(&keys[0])
        },
        &mut |group, reply| {
            let elements = expect_elements(reply, Some(len as u64), "MGET")?;
            let values: Vec<_> = elements.map(|element| element.integer()).collect();
            verify(group, &values);
            Ok(())
        },
    )
}
