//! Who is told of commands as they run: the slow log, the spikes, the monitors.
//!
//! On a command's way this is one comparison of its time and one test of a flag ([`Instrumentation`],
//! settled once per batch); everything here is what follows when one of them strikes.

use super::{
    About, CommandStatsStripes, LatencyMonitor, Monitors, Note, NoteKeys, Recorder, Slowlog,
};
use crate::keyspace::Millis;
use crate::state::clients::{Client, Clients};
use crate::state::settings::Settings;
use std::sync::Arc;

/// What is to be noted of the commands of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrumentation {
    /// Whose commands they are: a client's id, or 0.
    pub client: u64,
    /// Commands that take so many ticks, or more, are told to [`Observer::slow`].
    pub slow_ticks: u64,
    /// Whether to keep how long each took (`latency-tracking`).
    pub tracks: bool,
    /// Whether somebody monitors.
    pub monitored: bool,
}

impl Instrumentation {
    /// Nothing but counts.
    pub const NONE: Self =
        Self { client: 0, slow_ticks: u64::MAX, tracks: false, monitored: false };
}

/// What a command was, for those who are told of it.
#[derive(Clone, Debug)]
pub struct ObservedCommand<A> {
    /// Its arguments; what is secret in them is hidden.
    pub args: A,
    /// Who sent it: a client's id.
    pub client: u64,
    /// When it ran.
    pub now: Millis,
}

/// Those who are told of commands, and the counts of what runs on no shard.
#[derive(Debug, Default)]
pub struct Observer {
    /// The slowest commands of late.
    pub slowlog: Slowlog,
    /// When commands took long.
    pub latency_monitor: LatencyMonitor,
    /// Who sees every command.
    pub monitors: Monitors,
    /// What runs on no shard is counted here.
    pub commandstats: CommandStatsStripes,
    /// What is noted for the proof.
    pub recorder: Recorder,
    clients: Arc<Clients>,
    settings: Arc<Settings>,
    /// Nanoseconds per tick of the clock that the rim measures commands with.
    tick_ns: f64,
}

impl Observer {
    /// Returns an observer that looks clients up in `clients`; a tick of the rim's clock is
    /// `tick_ns` nanoseconds.
    #[must_use]
    pub fn new(clients: Arc<Clients>, settings: Arc<Settings>, tick_ns: f64) -> Self {
        Self { clients, settings, tick_ns, ..Self::default() }
    }

    /// Returns what to note of a client's commands, by the settings of this moment.
    #[must_use]
    pub fn instrumentation(&self, client: u64) -> Instrumentation {
        let slow_us = self.settings.slow_us();
        let spike_us = self.settings.spike_ms().map(|ms| ms.saturating_mul(1000));
        let slow_us = slow_us.unwrap_or(u64::MAX).min(spike_us.unwrap_or(u64::MAX));
        Instrumentation {
            client,
            slow_ticks: if slow_us == u64::MAX { u64::MAX } else { self.ticks(slow_us) },
            tracks: self.settings.tracks_latency(),
            monitored: self.monitors.any(),
        }
    }

    /// Returns the client of this id, if it is there.
    #[must_use]
    pub fn client(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.get(id)
    }

    /// Keeps in mind who a client is that others may ask for when it has left.
    #[cold]
    pub fn note_winner(&self, id: u64) {
        if let Some(client) = self.client(id) {
            let (client, about) = (Some(client), About::Winner);
            self.recorder.take(Note { client, keys: NoteKeys::default(), about });
        }
    }

    /// So many ticks in nanoseconds.
    #[must_use]
    pub fn nanos(&self, ticks: u64) -> u64 {
        (ticks as f64 * self.tick_ns) as u64
    }

    /// So many microseconds in ticks.
    fn ticks(&self, micros: u64) -> u64 {
        (micros as f64 * 1000.0 / self.tick_ns) as u64
    }

    /// A command took longer than some setting finds normal. `is_fast` says that it was one which
    /// never should; `keep_out` that it is not for the slow log.
    #[cold]
    pub fn record_slow<'a, A>(
        &self,
        seen: ObservedCommand<A>,
        ticks: u64,
        is_fast: bool,
        keep_out: bool,
    ) where
        A: ExactSizeIterator<Item = &'a [u8]>,
    {
        let micros = self.nanos(ticks) / 1000;
        if !keep_out && self.settings.slow_us().is_some_and(|slow_us| micros >= slow_us) {
            let client = self.clients.get(seen.client);
            let who = client.map(|client| (client.peer.to_string(), client.labels().name));
            let len_max = self.settings.slowlog_len_max();
            self.slowlog.note(seen.now, micros, seen.args, who.unwrap_or_default(), len_max);
        }
        let millis = micros / 1000;
        if self.settings.spike_ms().is_some_and(|spike_ms| millis >= spike_ms) {
            let event = if is_fast { "fast-command" } else { "command" };
            self.latency_monitor.note(event, seen.now, millis);
        }
    }

    /// Tells the monitors of a command.
    #[cold]
    pub fn feed_monitors<'a>(&self, seen: ObservedCommand<impl Iterator<Item = &'a [u8]>>) {
        let client = self.clients.get(seen.client);
        let database = client.as_ref().map_or(0, |client| client.database());
        let peer = client.map(|client| client.peer);
        self.monitors.feed(seen.now, database, peer, seen.args);
    }
}
