//! The outbox: output pushed to a client by others, namely messages of channels, lines of MONITOR
//! and invalidations of keys that the client tracks.
//!
//! ```text
//! publisher ── push_output ──► Outbox: bytes ──── poll ───► the connection's next write
//!     │                           └── waker                       │
//!     └◄──── waker to wake ───────────┘           unsent ◄────────┘ not yet taken by the socket
//! ```
//!
//! A publisher copies a message into each outbox and is done: it never waits for a reader and makes
//! no system call. It gets the wakers of sleeping connections and wakes them at the end of its
//! batch, so that a batch of messages reaches a subscriber in one write. A client that exceeds
//! `client-output-buffer-limit` is closed by the publisher whose message exceeds it.
//!
//! A client has an outbox from its first HELLO 3, subscription or MONITOR on; most never have one.
//!
//! Invalidations stand apart: one that is due to a change after a read must not overtake the reply
//! to that read, or the client would cache the old value for good. So no reply is sent after an
//! invalidation that was there before: the connection takes them behind each reply, and holds them
//! back while a reply is on its way from another thread.

use super::{Client, TrackingMode};
use crate::keyspace::Millis;
use crate::resp::Proto;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

/// Most bytes in an outbox, whatever the settings say.
pub(crate) const OUTPUT_LEN_MAX: usize = 1 << 30;
/// Most capacity that an emptied outbox keeps, in bytes.
const ROOM_KEPT_MAX: usize = 2048;

/// The output buffer limit of a class of clients (`client-output-buffer-limit`).
#[derive(Debug, Default)]
pub struct OutputLimit {
    hard: AtomicUsize,
    soft: AtomicUsize,
    soft_s: AtomicU32,
}

/// The limits of the classes of clients that have an outbox.
#[derive(Debug, Default)]
pub struct OutputLimits {
    /// Clients that are not subscribed to anything.
    pub normal: OutputLimit,
    /// Subscribers.
    pub pubsub: OutputLimit,
    /// How many clients were closed because they exceeded a limit.
    closed: AtomicU64,
}

impl OutputLimits {
    /// Counts a client that is closed because it exceeds a limit.
    pub fn count_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many clients were closed because they exceeded a limit.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Resets the count of closed clients.
    pub fn reset_closed(&self) {
        self.closed.store(0, Ordering::Relaxed);
    }
}

impl OutputLimit {
    /// Sets the limit: more than `hard` bytes close a client at once, more than `soft` bytes do
    /// after `soft_s` seconds; 0 means no limit.
    pub fn set(&self, hard: usize, soft: usize, soft_s: u32) {
        self.hard.store(hard, Ordering::Relaxed);
        self.soft.store(soft, Ordering::Relaxed);
        self.soft_s.store(soft_s, Ordering::Relaxed);
    }

    /// Returns the hard limit in bytes; `None` for no limit.
    #[must_use]
    pub fn hard(&self) -> Option<usize> {
        Some(self.hard.load(Ordering::Relaxed)).filter(|&hard| hard > 0)
    }

    /// Returns whether `waiting` bytes exceed the limit; `soft_since` is the time when they
    /// exceeded the soft limit, if they do.
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

/// The kinds of channels that a client can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// A channel.
    Channel,
    /// Every channel that matches a pattern.
    Pattern,
    /// A shard channel: a namespace of its own, which patterns do not match.
    ShardChannel,
}

/// A client's number of subscriptions by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// A client's outbox.
#[derive(Debug)]
pub struct Outbox {
    limits: Arc<OutputLimits>,
    inner: Mutex<Inner>,
    /// Whether there are invalidations, for their own client to see without the lock.
    has_invalidations: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    /// Whole messages, each in the protocol that the client used when it was written.
    bytes: Vec<u8>,
    /// Invalidations, which come after the replies that are on their way.
    invalidations: Vec<u8>,
    /// A reply is on its way from another thread.
    holds_back: bool,
    proto: Proto,
    /// The connection's waker, if it is to be woken by output.
    waker: Option<Waker>,
    /// Bytes that the connection has taken and not sent, as last recorded.
    unsent: usize,
    /// The time when the soft limit was exceeded.
    soft_since: Option<Millis>,
    subscriptions: SubscriptionCounts,
}

impl Client {
    /// Returns the client's outbox, creating it if there is none; further output is in `proto`.
    pub fn open_outbox(&self, limits: &Arc<OutputLimits>, proto: Proto) -> &Outbox {
        let outbox = self.outbox.get_or_init(|| Box::new(Outbox::new(Arc::clone(limits))));
        outbox.set_proto(proto);
        outbox
    }

    /// Returns the client's outbox, if it has one.
    #[must_use]
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.get().map(|outbox| &**outbox)
    }

    /// Returns the client's number of subscriptions by kind.
    #[must_use]
    pub fn subscription_counts(&self) -> SubscriptionCounts {
        self.outbox()
            .map_or_else(SubscriptionCounts::default, |outbox| outbox.inner.lock().subscriptions)
    }

    /// Appends `message`, in the client's protocol, to its outbox. If its connection sleeps,
    /// returns its waker, for the caller to wake at the end of its batch. A client beyond its limit
    /// is closed instead; one without an outbox gets nothing.
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
        self.after_push(outbox, inner, now)
    }

    /// Appends an invalidation to the client's outbox as [`Client::push_output`] does: `message`
    /// returns it, if the client can get one, by its protocol and whether it has subscriptions.
    /// With `is_own` the client is the one that has read the keys.
    #[must_use = "a connection that is not woken does not send"]
    pub fn push_invalidation<'l>(
        &self,
        now: Millis,
        is_own: bool,
        message: impl FnOnce(Proto, bool) -> Option<&'l [u8]>,
    ) -> Option<Waker> {
        let outbox = self.outbox.get()?;
        if self.is_closing() {
            return None;
        }
        let mut inner = outbox.inner.lock();
        let message = message(inner.proto, !inner.subscriptions.is_empty())?;
        // One for another's sake stays behind those that are there.
        let is_behind = is_own || !inner.invalidations.is_empty();
        if is_behind {
            outbox.has_invalidations.store(true, Ordering::Release);
        }
        let queue = if is_behind { &mut inner.invalidations } else { &mut inner.bytes };
        queue.extend_from_slice(message);
        self.after_push(outbox, inner, now)
    }

    /// Returns the waker of a client that sleeps; closes the client if it is beyond its limit.
    fn after_push(
        &self,
        outbox: &Outbox,
        mut inner: MutexGuard<'_, Inner>,
        now: Millis,
    ) -> Option<Waker> {
        if !outbox.is_overfull(&mut inner, now) {
            return inner.waker.take();
        }
        let waiting = inner.waiting();
        (inner.bytes, inner.invalidations) = (Vec::new(), Vec::new());
        drop(inner);
        tracing::warn!(
            client = self.id,
            bytes = waiting,
            "closing a client that does not read its messages"
        );
        outbox.limits.count_closed();
        self.close();
        None
    }

    /// Has the invalidations so far go before a reply that is about to be made on another thread, and
    /// those from now on behind it.
    pub fn hold_invalidations(&self) {
        if let Some(outbox) = self.outbox()
            && self.tracking() != TrackingMode::OFF
        {
            outbox.hold_invalidations(true);
        }
    }

    /// Closes the client if it exceeds its output buffer limit.
    pub fn check_output_limit(&self, now: Millis) {
        let Some(outbox) = self.outbox() else { return };
        let is_overfull = outbox.is_overfull(&mut outbox.inner.lock(), now);
        if is_overfull && !self.is_closing() {
            tracing::warn!(client = self.id, "closing a client that is slow to read its messages");
            outbox.limits.count_closed();
            self.close();
        }
    }
}

impl Outbox {
    fn new(limits: Arc<OutputLimits>) -> Self {
        let inner = Inner {
            bytes: Vec::new(),
            invalidations: Vec::new(),
            holds_back: false,
            proto: Proto::Resp2,
            waker: None,
            unsent: 0,
            soft_since: None,
            subscriptions: SubscriptionCounts::default(),
        };
        Self { limits, inner: Mutex::new(inner), has_invalidations: AtomicBool::new(false) }
    }

    fn is_overfull(&self, inner: &mut Inner, now: Millis) -> bool {
        let limits = &self.limits;
        let limit = if inner.subscriptions.is_empty() { &limits.normal } else { &limits.pubsub };
        limit.is_exceeded(inner.waiting(), &mut inner.soft_since, now)
    }

    /// Sets the protocol of further output.
    pub fn set_proto(&self, proto: Proto) {
        self.inner.lock().proto = proto;
    }

    /// Records one shard channel less; returns how many are left.
    pub fn remove_shard_channel(&self) -> usize {
        let subscriptions = &mut self.inner.lock().subscriptions;
        subscriptions.shard_channels = subscriptions.shard_channels.saturating_sub(1);
        subscriptions.shard_channels as usize
    }

    /// Records the client's number of subscriptions.
    pub fn set_subscription_counts(&self, subscriptions: SubscriptionCounts) {
        self.inner.lock().subscriptions = subscriptions;
    }

    /// Moves the output to the end of `into`, but for invalidations.
    pub fn take(&self, into: &mut Vec<u8>) {
        self.inner.lock().take(into);
    }

    /// Moves the invalidations to the end of `into`, which is behind every reply so far.
    pub fn take_invalidations(&self, into: &mut Vec<u8>) {
        if self.has_invalidations.load(Ordering::Acquire) {
            let mut inner = self.inner.lock();
            self.has_invalidations.store(false, Ordering::Relaxed);
            take(&mut inner.invalidations, into);
        }
    }

    /// Holds invalidations back: a reply is on its way from another thread. Those that are there
    /// already go before it if they are `older` than it.
    pub fn hold_invalidations(&self, older: bool) {
        let mut inner = self.inner.lock();
        inner.holds_back = true;
        if older {
            let Inner { bytes, invalidations, .. } = &mut *inner;
            take(invalidations, bytes);
        }
    }

    /// Ends what [`Outbox::hold_invalidations`] began, if it did; returns whether it did.
    pub fn release_invalidations(&self) -> bool {
        std::mem::take(&mut self.inner.lock().holds_back)
    }

    /// Moves the output to the end of `into`, and has `waker` woken when more is written. `unsent`
    /// bytes were taken before and are not sent yet.
    pub fn poll(&self, waker: &Waker, unsent: usize, into: &mut Vec<u8>) {
        let mut inner = self.inner.lock();
        inner.take(into);
        if !inner.holds_back {
            take(&mut inner.invalidations, into);
        }
        inner.unsent = unsent;
        match &mut inner.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Records how many bytes were taken and are not sent yet.
    pub fn note_unsent(&self, unsent: usize) {
        self.inner.lock().unsent = unsent;
    }

    /// Returns how many bytes are in the outbox or taken and not sent yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.lock().waiting()
    }
}

impl Inner {
    fn waiting(&self) -> usize {
        self.bytes.len() + self.invalidations.len() + self.unsent
    }

    fn take(&mut self, into: &mut Vec<u8>) {
        take(&mut self.bytes, into);
    }
}

/// Moves a queue of output to the end of `into`.
fn take(queue: &mut Vec<u8>, into: &mut Vec<u8>) {
    into.extend_from_slice(queue);
    if queue.capacity() > ROOM_KEPT_MAX {
        *queue = Vec::new();
    } else {
        queue.clear();
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

    /// Writes `len` bytes; returns whether there was a waker to wake.
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

    /// Sends an invalidation, one for the client's own sake or for another's.
    fn invalidate(client: &Client, is_own: bool, message: &str) {
        let sleeper = client.push_invalidation(0, is_own, |_, _| Some(message.as_bytes()));
        assert!(sleeper.is_none(), "nobody sleeps");
    }

    #[test]
    fn invalidations_come_behind_the_replies_that_are_on_their_way() {
        let client = seat();
        let outbox = client.open_outbox(&Arc::default(), Proto::Resp3);
        let polled = |outbox: &Outbox| {
            let mut got = Vec::new();
            outbox.poll(Waker::noop(), 0, &mut got);
            // Nobody is to be woken in what follows.
            outbox.inner.lock().waker = None;
            String::from_utf8(got).expect("text")
        };
        // Between requests they are sent at once, in their order.
        invalidate(&client, true, "a");
        invalidate(&client, false, "b");
        assert!(client.push_output(0, |_| b"m").is_none());
        assert_eq!(polled(outbox), "mab");
        // Behind a reply, and not before the next: messages of channels have another place.
        invalidate(&client, true, "c");
        let mut got = b"reply".to_vec();
        outbox.take(&mut got);
        outbox.take_invalidations(&mut got);
        assert_eq!(got, b"replyc");
        // While a reply is on its way from another thread, only those that are older go before it.
        invalidate(&client, true, "d");
        outbox.hold_invalidations(false);
        invalidate(&client, true, "e");
        assert_eq!(polled(outbox), "");
        assert!(outbox.release_invalidations() && !outbox.release_invalidations());
        assert_eq!(polled(outbox), "de");
        invalidate(&client, true, "f");
        outbox.hold_invalidations(true);
        invalidate(&client, true, "g");
        assert_eq!(polled(outbox), "f");
        outbox.release_invalidations();
        assert_eq!(polled(outbox), "g");
    }

    #[test]
    fn too_much_output_closes_the_client() {
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
        // After some time beyond the soft limit, whether more is written or not.
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
        // Clients without subscriptions have another limit.
        let client = seat();
        client.open_outbox(&limits, Proto::Resp2);
        write(&client, 0, 11);
        assert!(client.is_closing());
    }
}
