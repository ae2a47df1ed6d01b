//! CLIENT TRACKING and CLIENT CACHING: which changed keys the client is notified of.

use super::Session;
use super::state::{Caching, ReplyMode};
use crate::command::{Args, Outcome, Refusal};
use crate::resp::Sink;
use crate::state::clients::TrackingMode;
use crate::state::tracking::PREFIXES_MAX;
use crate::state::{ServerState, TrackingSeat};

/// The options of CLIENT TRACKING.
#[derive(Default)]
struct Options<'a> {
    mode: TrackingMode,
    redirect: u64,
    prefixes: Vec<&'a [u8]>,
}

impl Session {
    /// Appends the invalidations of keys that the client has read to the output, behind its last reply.
    pub fn append_invalidations(&self, out: &mut Vec<u8>) {
        if let Some(outbox) = self.client.outbox().filter(|_| self.tracks()) {
            outbox.take_invalidations(out);
        }
    }

    /// Decides whether a CLIENT CACHING before this request covers it; `keeps` if this is a CLIENT
    /// command, which leaves that to the next one.
    pub(super) fn advance_caching(&mut self, keeps: bool) {
        match self.caching {
            Caching::Next if !keeps => self.caching = Caching::Now,
            Caching::Now if self.transaction.is_none() => self.end_caching(),
            Caching::No | Caching::Next | Caching::Now => {}
        }
    }

    fn end_caching(&mut self) {
        self.caching = Caching::No;
        self.client.set_caching(false);
    }

    /// Switches tracking off.
    pub(super) fn end_tracking(&mut self) {
        if let Some(seat) = &self.tracking {
            seat.switch_off();
        }
        self.caching = Caching::No;
    }

    /// CLIENT TRACKING (ON|OFF) [REDIRECT id] [BCAST] [PREFIX prefix ...] [OPTIN] [OPTOUT] [NOLOOP]
    pub(super) fn client_tracking(
        &mut self,
        server: &ServerState,
        args: Args<'_>,
        out: &mut Sink<'_>,
    ) -> Outcome {
        let options = self.tracking_options(args)?;
        if args.is(2, "on") {
            self.check_tracking(&options)?;
            let Options { mode, redirect, prefixes } = options;
            if self.reply_mode == ReplyMode::On {
                self.reply_mode = ReplyMode::OnWithInvalidations;
            }
            let seat = self
                .tracking
                .get_or_insert_with(|| Box::new(TrackingSeat::new(&server.nodes, &self.client)));
            let all: &[&[u8]] = if prefixes.is_empty() { &[b""] } else { &prefixes };
            seat.switch_on(mode, redirect, all.iter().copied());
        } else if args.is(2, "off") {
            self.end_tracking();
        } else {
            return Err(Refusal::SYNTAX);
        }
        out.ok();
        Ok(())
    }

    fn tracking_options<'a>(&self, args: Args<'a>) -> Result<Options<'a>, Refusal> {
        let (mut options, mut at) = (Options::default(), 3);
        while at < args.len() {
            let more = at + 1 < args.len();
            if args.is(at, "redirect") && more {
                at += 1;
                if options.redirect != 0 {
                    return Err(Refusal::of(
                        "ERR A client can only redirect to a single other client",
                    ));
                }
                let id = u64::try_from(args.int(at)?).ok();
                let chosen = id.filter(|&id| self.node.client(id).is_some());
                options.redirect = chosen
                    .ok_or(Refusal::of("ERR The client ID you want redirect to does not exist"))?;
            } else if args.is(at, "prefix") && more {
                at += 1;
                options.prefixes.push(args.at(at));
            } else {
                let words = [
                    ("bcast", TrackingMode::BCAST),
                    ("optin", TrackingMode::OPTIN),
                    ("optout", TrackingMode::OPTOUT),
                    ("noloop", TrackingMode::NOLOOP),
                ];
                let found = words.into_iter().find(|(word, _)| args.is(at, word));
                options.mode = options.mode.with(found.ok_or(Refusal::SYNTAX)?.1);
            }
            at += 1;
        }
        Ok(options)
    }

    /// Checks whether the options agree with each other and with the present state, in Redis' order.
    fn check_tracking(&self, options: &Options<'_>) -> Outcome {
        let Options { mode, ref prefixes, .. } = *options;
        let before = self.client.tracking();
        let (optin, optout) = (TrackingMode::OPTIN, TrackingMode::OPTOUT);
        let is_bcast = mode.has(TrackingMode::BCAST);
        if !is_bcast && !prefixes.is_empty() {
            return Err(Refusal::of("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if before.has(TrackingMode::ON) && before.has(TrackingMode::BCAST) != is_bcast {
            return Err(Refusal::of(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and \
                 then re-enabling it with a different mode.",
            ));
        }
        if is_bcast && mode.is_by_choice() {
            return Err(Refusal::of("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if mode.has(optin) && mode.has(optout) {
            return Err(Refusal::of("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        if (mode.has(optin) && before.has(optout)) || (mode.has(optout) && before.has(optin)) {
            return Err(Refusal::of(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and \
                 then re-enabling it with a different mode.",
            ));
        }
        if is_bcast { self.check_prefixes(prefixes) } else { Ok(()) }
    }

    /// Checks that no prefix of the client is the front of another.
    fn check_prefixes(&self, prefixes: &[&[u8]]) -> Outcome {
        let existing = self.node.tracking.prefixes_of(self.client.id);
        if existing.len() + prefixes.len() > PREFIXES_MAX {
            return Err(Refusal::of("ERR too many prefixes"));
        }
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        for (at, prefix) in prefixes.iter().enumerate() {
            if let Some(other) = existing.iter().find(|other| overlap(prefix, other)) {
                return Err(overlapping(prefix, b"an existing", other));
            }
            if let Some(other) = prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
                return Err(overlapping(prefix, b"another provided", other));
            }
        }
        Ok(())
    }

    /// CLIENT CACHING (YES|NO): whether the keys that the next request reads are remembered; within a
    /// transaction, `is_queued`, those of the commands behind it.
    pub(super) fn client_caching(
        &mut self,
        is_queued: bool,
        args: Args<'_>,
        out: &mut Sink<'_>,
    ) -> Outcome {
        let mode = self.client.tracking();
        if !mode.has(TrackingMode::ON) {
            return Err(Refusal::of(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
                 or OPTOUT mode enabled",
            ));
        }
        let (needed, otherwise) = if args.is(2, "yes") {
            let text =
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
            (TrackingMode::OPTIN, text)
        } else if args.is(2, "no") {
            let text =
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
            (TrackingMode::OPTOUT, text)
        } else {
            return Err(Refusal::SYNTAX);
        };
        if !mode.has(needed) {
            return Err(Refusal::of(otherwise));
        }
        self.caching = if is_queued { Caching::Now } else { Caching::Next };
        self.client.set_caching(true);
        out.ok();
        Ok(())
    }
}

fn overlapping(prefix: &[u8], kind: &[u8], other: &[u8]) -> Refusal {
    let end = b"'. Prefixes for a single client must not overlap.";
    Refusal::new(
        [b"ERR Prefix '", prefix, b"' overlaps with ", kind, b" prefix '", other, end].concat(),
    )
}
