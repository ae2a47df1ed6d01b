//! What others write to a client: messages of channels, and what a monitor sees.
//!
//! ```text
//! publisher ── mail ──► Mailbox: bytes ──── poll ───► the connection's next write
//!     │                    └── waker                        │
//!     └◄── whom to wake ───────┘            unsent ◄──────────┘ what the socket did not take
//! ```
//!
//! A publisher copies a message into each mailbox and is done: it never waits for a reader and
//! makes no system call. It is told whom to wake, so that a batch of messages wakes nobody before
//! its end and goes to a subscriber in one write. Whoever lets more wait than `client-output-buffer-limit`
//! allows is closed by the one whose message was too much.
//!
//! A client has a mailbox from the first time that it listens; most never do.

use super::Client;
use crate::keyspace::Millis;
use crate::resp::Proto;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::Waker;

/// Most bytes that wait for a client, whatever the settings say.
pub const OUTPUT_LEN_MAX: usize = 1 << 30;
/// An emptied mailbox keeps up to this much room for the next messages, in bytes.
const ROOM_KEPT_MAX: usize = 2048;

/// How many bytes may wait for a client of some class (`client-output-buffer-limit`).
#[derive(Debug, Default)]
pub struct OutputLimit {
    hard: AtomicUsize,
    soft: AtomicUsize,
    soft_s: AtomicU32,
}

/// The limits of those classes of clients that get mail.
#[derive(Debug, Default)]
pub struct OutputLimits {
    /// Clients that are not subscribed to anything.
    pub normal: OutputLimit,
    /// Subscribers.
    pub pubsub: OutputLimit,
}

impl OutputLimit {
    /// Sets it: more than `hard` bytes close a client at once, more than `soft` for `soft_s` seconds
    /// do; 0 is no limit.
    pub fn set(&self, hard: usize, soft: usize, soft_s: u32) {
        self.hard.store(hard, Ordering::Relaxed);
        self.soft.store(soft, Ordering::Relaxed);
        self.soft_s.store(soft_s, Ordering::Relaxed);
    }

    /// More bytes than this close a client at once; `None` for no limit.
    #[must_use]
    pub fn hard(&self) -> Option<usize> {
        Some(self.hard.load(Ordering::Relaxed)).filter(|&hard| hard > 0)
    }

    /// Returns whether `waiting` bytes are too many; `soft_since` is when they became more than the
    /// soft limit, if they are.
    fn is_exceeded(&self, waiting: usize, soft_since: &mut Option<Millis>, now: Millis) -> bool {
        let soft = self.soft.load(Ordering::Relaxed);
        if soft == 0 || waiting <= soft {
            *soft_since = None;
        } else {
            let since = *soft_since.get_or_insert(now);
            let patience = i64::from(self.soft_s.load(Ordering::Relaxed)) * 1000;
            if now - since > patience {
                return true;
            }
        }
        waiting > self.hard().unwrap_or(OUTPUT_LEN_MAX).min(OUTPUT_LEN_MAX)
    }
}

/// What a client may be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// A channel.
    Channel,
    /// Every channel that matches a pattern.
    Pattern,
    /// A shard channel: another world of names, which patterns do not see.
    ShardChannel,
}

/// How many subscriptions of each kind a client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the number of what its name says")]
pub struct SubscriptionCounts {
    pub channels: u32,
    pub patterns: u32,
    pub shard_channels: u32,
}

impl SubscriptionCounts {
    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Where what others write to a client waits for its connection.
#[derive(Debug)]
pub struct Outbox {
    limits: Arc<OutputLimits>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Whole messages, in the protocol that the client spoke when each was written.
    bytes: Vec<u8>,
    proto: Proto,
    /// The connection's task, if it is to be told of mail.
    waker: Option<Waker>,
    /// Bytes that the connection has taken and not sent, when it last said so.
    unsent: usize,
    /// Since when more waits than the soft limit allows.
    soft_since: Option<Millis>,
    subscriptions: SubscriptionCounts,
}

impl Client {
    /// Returns the client's mailbox, which it gets if it has none; what is put into it from now on
    /// is in `proto`.
    pub fn open_outbox(&self, limits: &Arc<OutputLimits>, proto: Proto) -> &Outbox {
        let outbox = self.outbox.get_or_init(|| Box::new(Outbox::new(Arc::clone(limits))));
        outbox.set_proto(proto);
        outbox
    }

    /// Returns the client's mailbox, if it ever listened.
    #[must_use]
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.get().map(|outbox| &**outbox)
    }

    /// Returns what the client is subscribed to.
    #[must_use]
    pub fn subscription_counts(&self) -> SubscriptionCounts {
        self.outbox()
            .map_or_else(SubscriptionCounts::default, |outbox| outbox.inner.lock().subscriptions)
    }

    /// Writes to the client what `message` is in its protocol. If its connection sleeps, gives what
    /// wakes it: the caller does so once its batch is done. A client that lets too much wait is
    /// closed instead; one that never listened gets nothing.
    #[must_use = "a connection that is not woken does not send"]
    pub fn push_output<'l>(
        &self,
        now: Millis,
        message: impl FnOnce(Proto) -> &'l [u8],
    ) -> Option<Waker> {
        let outbox = self.outbox.get()?;
        if self.is_closing() {
            return None;
        }
        let mut inner = outbox.inner.lock();
        let proto = inner.proto;
        inner.bytes.extend_from_slice(message(proto));
        if !outbox.is_overfull(&mut inner, now) {
            return inner.waker.take();
        }
        let waiting = inner.waiting();
        inner.bytes = Vec::new();
        drop(inner);
        tracing::warn!(
            client = self.id,
            bytes = waiting,
            "closing a client that does not read its messages"
        );
        self.close();
        None
    }

    /// Closes the client if it has let too much wait for too long, though nothing is written to it.
    pub fn check_output_limit(&self, now: Millis) {
        let Some(outbox) = self.outbox() else { return };
        let is_overfull = outbox.is_overfull(&mut outbox.inner.lock(), now);
        if is_overfull && !self.is_closing() {
            tracing::warn!(client = self.id, "closing a client that is slow to read its messages");
            self.close();
        }
    }
}

impl Outbox {
    fn new(limits: Arc<OutputLimits>) -> Self {
        let inner = Inner {
            bytes: Vec::new(),
            proto: Proto::Resp2,
            waker: None,
            unsent: 0,
            soft_since: None,
            subscriptions: SubscriptionCounts::default(),
        };
        Self { limits, inner: Mutex::new(inner) }
    }

    fn is_overfull(&self, inner: &mut Inner, now: Millis) -> bool {
        let limits = &self.limits;
        let limit = if inner.subscriptions.is_empty() { &limits.normal } else { &limits.pubsub };
        limit.is_exceeded(inner.waiting(), &mut inner.soft_since, now)
    }

    /// What is written from now on is in this protocol.
    pub fn set_proto(&self, proto: Proto) {
        self.inner.lock().proto = proto;
    }

    /// Notes that the client listens to one shard channel less; returns how many are left.
    pub fn remove_shard_channel(&self) -> usize {
        let subscriptions = &mut self.inner.lock().subscriptions;
        subscriptions.shard_channels = subscriptions.shard_channels.saturating_sub(1);
        subscriptions.shard_channels as usize
    }

    /// Notes what the client is subscribed to.
    pub fn set_subscription_counts(&self, subscriptions: SubscriptionCounts) {
        self.inner.lock().subscriptions = subscriptions;
    }

    /// Moves what has come to the end of `into`.
    pub fn take(&self, into: &mut Vec<u8>) {
        self.inner.lock().take(into);
    }

    /// Moves what has come to the end of `into`, and has `waker` woken when more comes. `unsent`
    /// bytes were taken before and wait for the socket.
    pub fn poll(&self, waker: &Waker, unsent: usize, into: &mut Vec<u8>) {
        let mut inner = self.inner.lock();
        inner.take(into);
        inner.unsent = unsent;
        match &mut inner.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Notes how many bytes were taken and wait for the socket.
    pub fn note_unsent(&self, unsent: usize) {
        self.inner.lock().unsent = unsent;
    }

    /// Returns how many bytes wait, to be taken and for the socket.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.lock().waiting()
    }
}

impl Inner {
    fn waiting(&self) -> usize {
        self.bytes.len() + self.unsent
    }

    fn take(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.bytes);
        if self.bytes.capacity() > ROOM_KEPT_MAX {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Clients, RegisteredClient};
    use super::*;
    use crate::topology::Port;
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicU64;
    use std::task::Wake;

    #[derive(Default)]
    struct Bell(AtomicU64);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn seat() -> RegisteredClient {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(Clients::default())
            .register(address, address, Port::Router, 7, 0, 1)
            .expect("room")
    }

    /// Writes `len` bytes; returns whether there was somebody to wake.
    fn write(client: &Client, now: Millis, len: usize) -> bool {
        client.push_output(now, |_| &[b'x'; 100][..len]).map(Waker::wake).is_some()
    }

    #[test]
    fn one_wake_up_for_all_that_comes_before_it_is_taken() {
        let (client, bell) = (seat(), Arc::new(Bell::default()));
        assert!(client.push_output(0, |_| b"lost").is_none() && client.outbox().is_none());
        let outbox = client.open_outbox(&Arc::default(), Proto::Resp2);
        let (waker, mut got) = (Waker::from(Arc::clone(&bell)), Vec::new());
        outbox.poll(&waker, 0, &mut got);
        assert!(write(&client, 0, 1) && !write(&client, 0, 2));
        let message = |proto| if proto == Proto::Resp3 { &b"3"[..] } else { b"2" };
        assert!(client.push_output(0, message).is_none());
        outbox.set_proto(Proto::Resp3);
        assert!(client.push_output(0, message).is_none());
        outbox.poll(&waker, 0, &mut got);
        assert_eq!((&got[..], bell.0.load(Ordering::Relaxed)), (&b"xxx23"[..], 1));
        assert!(write(&client, 0, 1), "it sleeps again");
    }

    #[test]
    fn too_much_mail_closes_the_client() {
        let limits = Arc::new(OutputLimits::default());
        limits.pubsub.set(100, 50, 2);
        limits.normal.set(10, 0, 0);
        let subscriptions = SubscriptionCounts { channels: 1, ..SubscriptionCounts::default() };
        // At once beyond the hard limit, which counts what the connection could not send.
        for unsent in [0, 40] {
            let client = seat();
            let outbox = client.open_outbox(&limits, Proto::Resp2);
            outbox.set_subscription_counts(subscriptions);
            outbox.note_unsent(unsent);
            write(&client, 0, 100 - unsent);
            assert!(!client.is_closing() && outbox.waiting() == 100);
            write(&client, 0, 1);
            assert!(client.is_closing());
            assert_eq!(outbox.waiting(), unsent, "nothing is kept for it");
        }
        // After some time beyond the soft limit, whether more comes or not.
        for comes in [true, false] {
            let client = seat();
            let outbox = client.open_outbox(&limits, Proto::Resp2);
            outbox.set_subscription_counts(subscriptions);
            write(&client, 1000, 51);
            write(&client, 3000, 1);
            client.check_output_limit(3000);
            assert!(!client.is_closing());
            outbox.take(&mut Vec::new());
            client.check_output_limit(3001);
            write(&client, 3001, 51);
            client.check_output_limit(5001);
            assert!(!client.is_closing(), "the time begins anew");
            if comes {
                write(&client, 5002, 0);
            } else {
                client.check_output_limit(5002);
            }
            assert!(client.is_closing());
        }
        // Who is no subscriber goes by another limit.
        let client = seat();
        client.open_outbox(&limits, Proto::Resp2);
        write(&client, 0, 11);
        assert!(client.is_closing());
    }
}
