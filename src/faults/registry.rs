//! The armed faults: plain data; the time is always an argument.

use super::grammar::{ExecAnswer, FaultScope};
use super::scenario::Playback;
use crate::keyspace::Millis;
use crate::slot::Slot;
use crate::topology::NodeNumber;
use std::fmt;

/// Most faults armed at a time.
pub(crate) const FAULTS_MAX: usize = 256;

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The node is down: connections are refused or, if it hangs, never answered.
    Stop {
        /// Which node.
        node: NodeNumber,
        /// Connections are accepted and never answered.
        hangs: bool,
    },
    /// A replica of this stopped node is promoted when this ends.
    Promotion(NodeNumber),
    /// The cluster is down.
    Down,
    /// A slot is half-migrated.
    Hold {
        /// Which slot.
        slot: Slot,
        /// The source node.
        from: NodeNumber,
        /// The target node.
        to: NodeNumber,
    },
    /// Slots that migrate as a whole are not handed over.
    HoldMigrations,
    /// Replies are delayed.
    Latency {
        /// Which replies.
        scope: FaultScope<NodeNumber>,
        /// The delay.
        ms: Millis,
    },
    /// EXEC replies this and runs nothing.
    Exec {
        /// The reply.
        answer: ExecAnswer,
        /// Which EXECs.
        scope: FaultScope<NodeNumber>,
    },
    /// A key is touched right before an EXEC that watches it.
    Conflict(Vec<u8>),
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = |scope: &FaultScope<NodeNumber>| match scope {
            FaultScope::Anywhere => String::new(),
            FaultScope::Slot(slot) => format!(" SLOT {}", slot.number()),
            FaultScope::Node(node) => format!(" NODE {node}"),
        };
        match self {
            Self::Stop { node, hangs: false } => write!(f, "STOP {node}"),
            Self::Stop { node, hangs: true } => write!(f, "STOP {node} HANG"),
            Self::Promotion(node) => write!(f, "PROMOTE {node}"),
            Self::Down => f.write_str("DOWN"),
            Self::Hold { slot, from, to } => {
                write!(f, "HOLD {} FROM {from} TO {to}", slot.number())
            }
            Self::HoldMigrations => f.write_str("HOLD MIGRATIONS"),
            Self::Latency { scope: at, ms } => write!(f, "LATENCY{} {ms}", scope(at)),
            Self::Exec { answer, scope: at } => write!(f, "EXEC {}{}", answer.name(), scope(at)),
            Self::Conflict(key) => write!(f, "CONFLICT {}", key.escape_ascii()),
        }
    }
}

/// A fault that is armed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its id: counted from 1, never reused.
    pub id: u64,
    /// Its kind.
    pub kind: FaultKind,
    /// When it ends by itself.
    pub until: Millis,
    /// How many times more it fires, if limited.
    pub left: Option<u32>,
    /// How many times it has fired.
    pub fired: u64,
}

impl Fault {
    /// Formats it as `SLOTWAY FAULTS` shows it.
    #[must_use]
    pub fn line(&self, now: Millis) -> String {
        let left = self.left.map_or("-".to_owned(), |left| left.to_string());
        let ms = (self.until - now).max(0);
        format!("id={} fired={} left={left} ms={ms} fault={}", self.id, self.fired, self.kind)
    }
}

/// Every armed fault, in the order of arming.
#[derive(Debug, Default)]
pub(super) struct Registry {
    faults: Vec<Fault>,
    last_id: u64,
    /// When something besides faults and scenarios is to be done.
    pub(super) work_due: Option<Millis>,
    /// The running scenario, or the last one.
    pub(super) playback: Option<Playback>,
}

impl Registry {
    /// Arms a fault; `None` if there are too many.
    pub(super) fn arm(&mut self, kind: FaultKind, until: Millis, left: Option<u32>) -> Option<u64> {
        if self.faults.len() >= FAULTS_MAX {
            return None;
        }
        self.last_id += 1;
        self.faults.push(Fault { id: self.last_id, kind, until, left, fired: 0 });
        Some(self.last_id)
    }

    /// Returns when the next fault ends or the next step is due.
    pub(super) fn due(&self) -> Option<Millis> {
        let ends = self.faults.iter().map(|fault| fault.until);
        let besides =
            self.playback.as_ref().and_then(Playback::due).into_iter().chain(self.work_due);
        ends.chain(besides).min()
    }

    pub(super) fn all(&self) -> &[Fault] {
        &self.faults
    }

    /// Removes and returns the faults for which `ends` is true, in order.
    pub(super) fn take(&mut self, mut ends: impl FnMut(&Fault) -> bool) -> Vec<Fault> {
        self.faults.extract_if(.., |fault| ends(fault)).collect()
    }

    /// Fires each fault that has not ended and for which `applies` returns something; returns what it
    /// returned. With `once`, only the first one fires.
    pub(super) fn fire<R>(
        &mut self,
        now: Millis,
        once: bool,
        mut applies: impl FnMut(&FaultKind) -> Option<R>,
    ) -> Vec<R> {
        let mut results = Vec::new();
        for fault in self.faults.iter_mut().filter(|fault| fault.until > now) {
            if fault.left == Some(0) || once && !results.is_empty() {
                continue;
            }
            if let Some(result) = applies(&fault.kind) {
                fault.fired += 1;
                fault.left = fault.left.map(|left| left - 1);
                results.push(result);
            }
        }
        self.faults.retain(|fault| fault.left != Some(0));
        results
    }
}
