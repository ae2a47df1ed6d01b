//! What observes commands as they run: slow log, latency monitor, monitors, recorder.
//!
//! On a command's way this costs one comparison of its time and one test of a flag
//! ([`Instrumentation`], set once per batch); the rest runs only when one of them applies.

use super::{
    About, CommandStatsStripes, LatencyMonitor, Monitors, Note, NoteKeys, Recorder, SlotTraffic,
    SlotUse, Slowlog,
};
use crate::keyspace::Millis;
use crate::slot::Slot;
use crate::state::clients::{Client, Clients};
use crate::state::settings::{SIZES, SLOT_BYTES, SLOT_TIME, SLOTS, Settings};
use std::sync::Arc;

/// What to record of the commands of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrumentation {
    /// The id of the client that sent them, or 0.
    pub client: u64,
    /// Commands that take so many ticks or more go to [`Observer::record_slow`].
    pub slow_ticks: u64,
    /// Whether to record each command's time (`latency-tracking`).
    pub tracks: bool,
    /// Whether there are monitors.
    pub monitored: bool,
    /// Whether the commands are those of a script.
    pub in_script: bool,
    /// The number of the client if what they read is remembered (CLIENT TRACKING), else 0.
    pub reader: u32,
    /// Whether the commands of each slot are counted.
    pub counts_slots: bool,
    /// From how many ticks on a command is looked at, for whatever reason: 0 unless only slow ones are.
    pub looked_at_from: u64,
}

impl Instrumentation {
    /// Counts only.
    pub const NONE: Self = Self {
        client: 0,
        slow_ticks: u64::MAX,
        tracks: false,
        monitored: false,
        in_script: false,
        reader: 0,
        counts_slots: false,
        looked_at_from: u64::MAX,
    };

    /// Returns the same for a client of this number whose reads are remembered; 0 for one whose are not.
    #[must_use]
    #[inline]
    pub fn with_reader(self, reader: u32) -> Self {
        let looked_at_from = match self.monitored || reader != 0 || self.counts_slots {
            true => 0,
            false => self.slow_ticks,
        };
        Self { reader, looked_at_from, ..self }
    }
}

/// A command, as observers see it.
#[derive(Clone, Debug)]
pub struct ObservedCommand<A> {
    /// Its arguments, with secrets redacted.
    pub args: A,
    /// The id of the client that sent it.
    pub client: u64,
    /// The time when it ran.
    pub now: Millis,
    /// Whether a script has called it.
    pub in_script: bool,
    /// The bytes of its request; 0 for one that a script has made, or that was observed before.
    pub request_len: usize,
    /// The bytes of its reply.
    pub reply_len: usize,
}

/// The observers of the commands of a port's clients, and the statistics of those that run on no
/// shard.
#[derive(Debug, Default)]
pub struct Observer {
    /// The router port's, if these are a node's: it observes the clients of all ports.
    whole: Option<Arc<Self>>,
    /// The slow log.
    pub slowlog: Slowlog,
    /// The log of large requests.
    pub large_requests: Slowlog,
    /// The log of large replies.
    pub large_replies: Slowlog,
    /// The latency monitor.
    pub latency_monitor: LatencyMonitor,
    /// The monitors.
    pub monitors: Monitors,
    /// What the commands of each slot take.
    pub slot_traffic: SlotTraffic,
    /// Statistics of commands that run on no shard.
    pub commandstats: CommandStatsStripes,
    /// The recorder of violations and conflicts, the same for all ports.
    pub recorder: Arc<Recorder>,
    clients: Arc<Clients>,
    settings: Arc<Settings>,
    /// Nanoseconds per tick of the clock that commands are measured with.
    tick_ns: f64,
}

impl Observer {
    /// Makes the router port's observer, which looks clients up in `clients`; a tick of the clock
    /// is `tick_ns` nanoseconds.
    #[must_use]
    pub fn new(
        clients: Arc<Clients>,
        settings: Arc<Settings>,
        recorder: Arc<Recorder>,
        tick_ns: f64,
    ) -> Self {
        Self { clients, settings, recorder, tick_ns, ..Self::default() }
    }

    /// Makes the observer of a node.
    #[must_use]
    pub fn of_node(whole: &Arc<Self>, settings: Arc<Settings>) -> Self {
        Self {
            whole: Some(Arc::clone(whole)),
            recorder: Arc::clone(&whole.recorder),
            clients: Arc::clone(&whole.clients),
            settings,
            tick_ns: whole.tick_ns,
            ..Self::default()
        }
    }

    /// This observer, and the router port's if it is a node's.
    fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.whole.as_deref())
    }

    /// Returns a number for each of the settings that [`Observer::instrumentation`] goes by: the
    /// port's, and the router port's.
    #[must_use]
    #[inline]
    pub fn settings_versions(&self) -> (u64, u64) {
        let version = |observer: &Self| observer.settings.version();
        (version(self), self.whole.as_deref().map_or(0, version))
    }

    /// Returns whether a monitor sees the commands.
    #[must_use]
    #[inline]
    pub fn is_monitored(&self) -> bool {
        self.each().any(|observer| observer.monitors.any())
    }

    /// Returns what to record of a client's commands, by the present settings.
    #[must_use]
    pub fn instrumentation(&self, client: u64) -> Instrumentation {
        let looks_at = self.each().fold(0, |all, observer| all | observer.settings.looks_at());
        let slow_us = self.each().map(Self::slow_us).min().unwrap_or(u64::MAX);
        // To look at sizes is to look at every command.
        let slow_us = if looks_at & SIZES != 0 { 0 } else { slow_us };
        Instrumentation {
            client,
            slow_ticks: if slow_us == u64::MAX { u64::MAX } else { self.ticks(slow_us) },
            tracks: self.settings.tracks_latency(),
            monitored: self.is_monitored(),
            in_script: false,
            reader: 0,
            counts_slots: looks_at & SLOTS != 0,
            looked_at_from: 0,
        }
        .with_reader(0)
    }

    /// Returns from how many microseconds on a command is slow, or a spike.
    #[inline]
    fn slow_us(&self) -> u64 {
        let spike_us = self.settings.spike_ms().map(|ms| ms.saturating_mul(1000));
        self.settings.slow_us().unwrap_or(u64::MAX).min(spike_us.unwrap_or(u64::MAX))
    }

    /// Returns the client of this id, if it is connected.
    #[must_use]
    pub fn client(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.get(id)
    }

    /// Records a client that tripped a guard, so that reports can name it after it has
    /// disconnected.
    #[cold]
    pub fn note_winner(&self, id: u64) {
        if let Some(client) = self.client(id) {
            let (client, about) = (Some(client), About::Winner);
            self.recorder.take(Note { client, keys: NoteKeys::default(), about });
        }
    }

    /// Converts ticks to nanoseconds.
    #[must_use]
    pub fn nanos(&self, ticks: u64) -> u64 {
        (ticks as f64 * self.tick_ns) as u64
    }

    /// Converts microseconds to ticks.
    fn ticks(&self, micros: u64) -> u64 {
        (micros as f64 * 1000.0 / self.tick_ns) as u64
    }

    /// Counts what a command of a slot has taken, at the ports that count.
    #[cold]
    pub fn count_slot(&self, slot: Slot, used: SlotUse) {
        for observer in self.each() {
            let metrics = observer.settings.slot_metrics();
            let of = |metric, amount| if metrics & metric != 0 { amount } else { 0 };
            if metrics != 0 {
                let used = SlotUse {
                    nanos: of(SLOT_TIME, used.nanos),
                    bytes_in: of(SLOT_BYTES, used.bytes_in),
                    bytes_out: of(SLOT_BYTES, used.bytes_out),
                };
                observer.slot_traffic.add(slot, used);
            }
        }
    }

    /// Records a command in the slow log, the logs of sizes and the latency monitor, as far as their
    /// thresholds are exceeded. `is_fast` says that the command is flagged FAST; `keep_out` keeps it out of
    /// the slow log.
    #[cold]
    pub fn record_slow<'a, A>(
        &self,
        seen: ObservedCommand<A>,
        ticks: u64,
        is_fast: bool,
        keep_out: bool,
    ) where
        A: ExactSizeIterator<Item = &'a [u8]> + Clone,
    {
        for observer in self.each() {
            observer.record_slow_here(seen.clone(), ticks, is_fast, keep_out);
        }
    }

    fn record_slow_here<'a, A>(
        &self,
        seen: ObservedCommand<A>,
        ticks: u64,
        is_fast: bool,
        keep_out: bool,
    ) where
        A: ExactSizeIterator<Item = &'a [u8]> + Clone,
    {
        let micros = self.nanos(ticks) / 1000;
        let settings = &self.settings;
        let is_large = |len: usize, bytes: Option<usize>| {
            bytes.is_some_and(|bytes| len >= bytes && len > 0).then_some(len as u64)
        };
        let slow = settings.slow_us().is_some_and(|slow_us| micros >= slow_us).then_some(micros);
        let request = is_large(seen.request_len, settings.large_request_bytes());
        let reply = is_large(seen.reply_len, settings.large_reply_bytes());
        for (log, amount, len_max) in [
            (&self.slowlog, slow, settings.slowlog_len_max()),
            (&self.large_requests, request, settings.large_requests_max()),
            (&self.large_replies, reply, settings.large_replies_max()),
        ] {
            let Some(amount) = amount.filter(|_| !keep_out) else { continue };
            let client = self.clients.get(seen.client);
            let who = client.map(|client| (client.peer.to_string(), client.labels().name));
            log.note(seen.now, amount, seen.args.clone(), who.unwrap_or_default(), len_max);
        }
        let millis = micros / 1000;
        if self.settings.spike_ms().is_some_and(|spike_ms| millis >= spike_ms) {
            let event = if is_fast { "fast-command" } else { "command" };
            self.latency_monitor.note(event, seen.now, millis);
        }
    }

    /// Sends a command to the monitors.
    #[cold]
    pub fn feed_monitors<'a>(&self, seen: ObservedCommand<impl Iterator<Item = &'a [u8]> + Clone>) {
        let client = self.clients.get(seen.client);
        let database = client.as_ref().map_or(0, |client| client.database());
        let sender = match (seen.in_script, client) {
            (true, _) => "lua".to_owned(),
            (false, Some(client)) => client.peer.to_string(),
            (false, None) => "?".to_owned(),
        };
        for observer in self.each().filter(|observer| observer.monitors.any()) {
            observer.monitors.send(seen.now, database, &sender, seen.args.clone());
        }
    }
}
