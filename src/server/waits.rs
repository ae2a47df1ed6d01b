//! The events that a connection waits for before it executes more requests: a shard, a key,
//! replicas, the end of a pause. Input that arrives meanwhile is kept for later.

use super::clock;
use super::connection::{Connection, Rest};
use crate::command::Refusal;
use crate::keyspace::Millis;
use crate::replication::ReplicaWait;
use crate::resp::Sink;
use crate::shard::{Blocked, Pending, Served, WaitFor};
use crate::state::clients::Ending;
use crate::topology::NodeNumber;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The reply to a request that CLIENT UNBLOCK … ERROR has ended.
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

impl Connection {
    /// Awaits the replies of a unit that is in a shard's queue; `None` if the client was closed or has
    /// disconnected.
    pub(super) async fn served(&mut self, mut pending: Pending) -> Option<Served> {
        if let Some(outbox) = self.session.client().outbox() {
            // It may be made at this moment.
            outbox.hold_invalidations(false);
        }
        poll_fn(|cx| match Pin::new(&mut pending).poll(cx) {
            Poll::Ready(served) => Poll::Ready(served.ok()),
            Poll::Pending if self.poll_pushes(cx).is_err() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Takes the replies of a unit that was in a shard's queue; returns what is to be awaited next.
    pub(super) fn take_served(&mut self, served: Served, muted: bool) -> Option<WaitFor> {
        let Served { replies, then } = served;
        if !muted {
            self.keep_unsent(&replies);
        }
        if let Some(outbox) = self.session.client().outbox() {
            outbox.release_invalidations();
        }
        self.settle_tracking();
        let until = self.resumed_until.take();
        match then? {
            WaitFor::Resume(unit) => {
                self.rest = Some(Rest { unit, muted, until });
                None
            }
            WaitFor::Key(mut blocked) => {
                blocked.wait.until = blocked.wait.until.into_iter().chain(until).min();
                Some(WaitFor::Key(blocked))
            }
            other => Some(other),
        }
    }

    /// Notifies the clients that track prefixes of what another thread has changed for this client,
    /// before its replies are sent.
    fn settle_tracking(&self) {
        let nodes = &self.router.server.nodes;
        if nodes.tracking_is_due() {
            nodes.settle_tracking(clock::now(), &mut |sleeper| {
                sleeper.into_iter().for_each(Waker::wake);
            });
        }
    }

    /// Awaits any other event.
    pub(super) async fn wait_for(&mut self, wait: WaitFor, muted: bool) -> io::Result<()> {
        match wait {
            WaitFor::Key(blocked) => self.wait_for_key(blocked, muted).await,
            WaitFor::Replicas(wait) => self.wait_for_replicas(&wait, muted).await,
            WaitFor::Pause(until) => self.wait_for_pause(until).await,
            WaitFor::Node(node) => self.wait_for_node(node).await,
            WaitFor::Resume(unit) => {
                self.rest = Some(Rest { unit, muted, until: None });
                Ok(())
            }
            WaitFor::Shard(pending) => {
                let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
                let served = self.served(pending).await.ok_or_else(closed)?;
                match self.take_served(served, muted) {
                    Some(wait) => Box::pin(self.wait_for(wait, muted)).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Awaits `end` while the client counts as blocked, for a limited time if it `times_out`. Meanwhile its messages are sent and its
    /// input is kept; ends with an error when it disconnects, or sends more than it may.
    async fn blocked_until<T>(
        &mut self,
        times_out: bool,
        mut end: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> io::Result<T> {
        let client = Arc::clone(self.session.client());
        client.note_activity(|activity| {
            (activity.blocked, activity.times_out) = (true, times_out);
        });
        let ended = poll_fn(|cx| {
            if let Poll::Ready(ended) = end(cx) {
                return Poll::Ready(Ok(ended));
            }
            match self.poll_aside(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
        client.note_activity(|activity| activity.blocked = false);
        ended
    }

    /// Awaits the end of a wait for a key and replies. If the client disconnects, the wait ends,
    /// and no value is taken for it any more.
    async fn wait_for_key(&mut self, blocked: Box<Blocked>, muted: bool) -> io::Result<()> {
        let Blocked { call, mut waiting, wait, request } = *blocked;
        let mut time_out = wait.until.map(|until| Box::pin(sleep_until(until)));
        let ending = self
            .blocked_until(wait.until.is_some(), |cx| {
                if let Poll::Ready(ending) = Pin::new(&mut waiting).poll(cx) {
                    // A claim that is dropped unused belongs to a client that is being closed, or
                    // to a shard that failed: no value was taken.
                    return Poll::Ready(ending.unwrap_or(Ending::TimedOut));
                }
                if let Some(sleep) = &mut time_out
                    && sleep.as_mut().poll(cx).is_ready()
                {
                    time_out = None;
                    // If the timeout is too late, the client has just been served.
                    if call.end(Ending::TimedOut) {
                        return Poll::Ready(Ending::TimedOut);
                    }
                }
                Poll::Pending
            })
            .await;
        // A wait that ends because the client disconnected must not be served any more.
        drop(waiting);
        self.session.client().end_wait();
        if let Some(outbox) = self.session.client().outbox() {
            let mut older = Vec::new();
            if outbox.release_invalidations() {
                outbox.take(&mut older);
            }
            self.keep_unsent(&older);
        }
        let mut reply = Vec::new();
        let mut out = Sink::new(&mut reply, self.session.proto());
        match ending? {
            Ending::Served(bytes) => reply = bytes,
            // The reply of the command where it cannot wait.
            Ending::TimedOut => out.null_array(),
            Ending::Unblocked => out.error(UNBLOCKED),
            Ending::Demoted => {
                out.error(Refusal::DEMOTED);
                self.is_closing = true;
            }
            Ending::Elsewhere => {
                let unit = Box::new(crate::session::OwnedUnit::Blocking(request));
                self.rest = Some(Rest { unit, muted, until: wait.until });
                return Ok(());
            }
        }
        if !muted {
            self.keep_unsent(&reply);
        }
        Ok(())
    }

    /// Awaits replicas and replies how many have acknowledged.
    async fn wait_for_replicas(&mut self, wait: &ReplicaWait, muted: bool) -> io::Result<()> {
        let client = Arc::clone(self.session.client());
        let (_call, mut waiting) = client.begin_wait();
        let mut time_out = pin!(sleep_until(clock::now()));
        let ending = self
            .blocked_until(wait.has_timeout(), |cx| {
                if let Poll::Ready(ending) = Pin::new(&mut waiting).poll(cx) {
                    return Poll::Ready(ending.unwrap_or(Ending::TimedOut));
                }
                while time_out.as_mut().poll(cx).is_ready() {
                    match wait.next_check(clock::now()) {
                        Some(at) => time_out.set(sleep_until(at)),
                        None => return Poll::Ready(Ending::TimedOut),
                    }
                }
                Poll::Pending
            })
            .await;
        drop(waiting);
        client.end_wait();
        let mut reply = Vec::new();
        let mut out = Sink::new(&mut reply, self.session.proto());
        match ending? {
            Ending::Unblocked => out.error(UNBLOCKED),
            Ending::Demoted => {
                out.error(Refusal::DEMOTED);
                self.is_closing = true;
            }
            Ending::TimedOut | Ending::Elsewhere | Ending::Served(_) => {
                wait.reply(clock::now(), &mut out);
            }
        }
        if !muted {
            self.keep_unsent(&reply);
        }
        Ok(())
    }

    /// Awaits the end of a pause, by time or by CLIENT UNPAUSE.
    async fn wait_for_pause(&mut self, until: Millis) -> io::Result<()> {
        let pause = Arc::clone(&self.session.node().pause);
        let mut time_out = pin!(sleep_until(until));
        let mut ended = pin!(pause.ended(clock::now()));
        self.blocked_until(false, |cx| {
            let is_over =
                ended.as_mut().poll(cx).is_ready() || time_out.as_mut().poll(cx).is_ready();
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }

    /// Awaits the end of a hang. Input is kept; nothing is sent.
    async fn wait_for_node(&mut self, node: NodeNumber) -> io::Result<()> {
        let (client, router) = (Arc::clone(self.session.client()), Arc::clone(&self.router));
        client.note_activity(|activity| activity.blocked = true);
        let mut again = pin!(router.server.faults.hang_ended(node));
        let over = poll_fn(|cx| match again.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => self.poll_more(cx),
        })
        .await;
        client.note_activity(|activity| activity.blocked = false);
        over
    }
}

/// Completes at this time, or at once if that is over.
fn sleep_until(at: Millis) -> Sleep {
    sleep(Duration::from_millis((at - clock::now()).max(0).unsigned_abs()))
}
