//! SUBSCRIBE and its kin: which messages the connection receives, and the order of messages and
//! replies.
//!
//! Messages from other clients wait in the client's mailbox and are sent between replies: in front
//! of the next one, so that a client that publishes to itself receives the message first. Once a
//! subscription has ended, waiting messages are put in front of its confirmation, and none is sent
//! after that. Once one has begun, waiting messages stay in the mailbox until the confirmation is
//! sent.
//!
//! Confirmations are messages themselves: `CLIENT REPLY OFF` does not hold them back.

use super::{Reply, Session, Step};
use crate::command::{Args, Invocation, Refusal, Spec, flag};
use crate::resp::{Proto, Sink};
use crate::state::pubsub::{ChannelKind, Subscriptions};
use std::sync::Arc;

impl Session {
    /// Returns the error for a command that is not allowed while subscribed (RESP2).
    pub(super) fn bound(spec: &Spec) -> Option<Refusal> {
        (!spec.has(flag::WHILE_SUBSCRIBED)).then(|| {
            Refusal::new(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
                 in this context",
                spec.full_name()
            ))
        })
    }

    /// Replies to the PING of a subscribed RESP2 client, which has the shape of a message; returns
    /// whether the request was a PING.
    pub fn pong(&self, invocation: &Invocation<'_>, out: &mut Sink<'_>) -> bool {
        let is_one = self.gets_pong(invocation);
        if is_one {
            out.push(2);
            out.bulk(b"pong");
            out.bulk(invocation.args.get(1).unwrap_or_default());
        }
        is_one
    }

    /// Returns whether the request is a PING of a subscribed RESP2 client.
    #[must_use]
    pub fn gets_pong(&self, invocation: &Invocation<'_>) -> bool {
        // With more arguments it is refused as usual.
        self.is_bound() && invocation.spec.is_ping() && invocation.args.len() <= 2
    }

    /// Moves messages from other clients into the output, in front of the reply that begins at
    /// `at`.
    pub fn insert_pushes_before(&self, at: usize, out: &mut Vec<u8>) {
        let Some(outbox) = self.client.outbox() else { return };
        if out.len() == at {
            return outbox.take(out);
        }
        let mut mail = Vec::new();
        outbox.take(&mut mail);
        if !mail.is_empty() {
            out.splice(at..at, mail);
        }
    }

    /// Sets the protocol of replies and messages from now on. A client that speaks RESP3 may get
    /// pushes at any time: it may be chosen for another's invalidations.
    pub(super) fn speak(&mut self, proto: Proto) {
        self.proto = proto;
        if proto == Proto::Resp3 {
            self.client.open_outbox(self.node.settings.outbox_limits(), proto);
        } else if let Some(outbox) = self.client.outbox() {
            outbox.set_proto(proto);
        }
    }

    /// (P|S)SUBSCRIBE name [name ...]
    pub(super) fn subscribe(
        &mut self,
        scope: ChannelKind,
        args: Args<'_>,
        out: &mut Sink<'_>,
    ) -> Step<'static> {
        for name in args.from(1) {
            let subscriptions = self.subscriptions.get_or_insert_with(|| {
                let (pubsub, client) = (Arc::clone(&self.node.pubsub), Arc::clone(&self.client));
                let limits = self.node.settings.outbox_limits();
                Box::new(Subscriptions::new(pubsub, client, limits, self.proto))
            });
            match subscriptions.add(scope, name) {
                Ok(()) => confirm(word(scope, true), Some(name), subscriptions.count(scope), out),
                Err(_too_many) => out.error("ERR too many subscriptions"),
            }
        }
        self.forget_none();
        Step::Replied(Reply::Always)
    }

    /// (P|S)UNSUBSCRIBE [name [name ...]]
    pub(super) fn unsubscribe(
        &mut self,
        scope: ChannelKind,
        args: Args<'_>,
        out: &mut Sink<'_>,
    ) -> Step<'static> {
        let word = word(scope, false);
        let mut names: Vec<Vec<u8>> = args.from(1).map(<[u8]>::to_vec).collect();
        if let Some(subscriptions) = &self.subscriptions
            && names.is_empty()
        {
            names.extend(subscriptions.of(scope).iter().map(|name| name.to_vec()));
        }
        if names.is_empty() {
            let count = self.subscriptions.as_ref().map_or(0, |all| all.count(scope));
            confirm(word, None, count, out);
        }
        for name in &names {
            let count = self.subscriptions.as_mut().map_or(0, |subscriptions| {
                subscriptions.remove(scope, name);
                subscriptions.count(scope)
            });
            confirm(word, Some(name), count, out);
        }
        self.forget_none();
        Step::Replied(Reply::Always)
    }

    /// Forgets the subscriptions that were ended from outside.
    pub(super) fn drop_moved_channels(&mut self) {
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.drop_moved_channels();
            self.forget_none();
        }
    }

    /// Drops the empty subscriptions: a session without any is like one that never had any.
    fn forget_none(&mut self) {
        if self.subscriptions.as_ref().is_some_and(|all| all.is_empty()) {
            self.subscriptions = None;
        }
    }
}

/// Returns the kind that a confirmation names.
fn word(scope: ChannelKind, begins: bool) -> &'static str {
    match (scope, begins) {
        (ChannelKind::Channel, true) => "subscribe",
        (ChannelKind::Channel, false) => "unsubscribe",
        (ChannelKind::Pattern, true) => "psubscribe",
        (ChannelKind::Pattern, false) => "punsubscribe",
        (ChannelKind::ShardChannel, true) => "ssubscribe",
        (ChannelKind::ShardChannel, false) => "sunsubscribe",
    }
}

fn confirm(word: &str, name: Option<&[u8]>, count: usize, out: &mut Sink<'_>) {
    out.push(3);
    out.bulk(word.as_bytes());
    out.bulk_or_null(name);
    out.count(count);
}
