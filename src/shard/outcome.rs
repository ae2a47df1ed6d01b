//! The outcome of a request: one type from the engine to the socket.

use crate::command::{Invocation, Queue, Refusal, Wait};
use crate::keyspace::Millis;
use crate::replication::ReplicaWait;
use crate::resp::Sink;
use crate::session::OwnedUnit;
use crate::state::clients::{Client, WaitHandle, Waiting};
use crate::topology::NodeNumber;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The outcome of a request, or of the requests of a turn.
#[derive(Debug)]
pub enum Outcome {
    /// The reply is written: continue.
    Replied,
    /// Every whole request has its reply; at least this many bytes, from 1, make the next one
    /// whole.
    Drained {
        /// In bytes, counted from the end of the input.
        missing: usize,
    },
    /// Send the output, then take another turn: there is much of it, or the rest needs a new batch
    /// context.
    Flush,
    /// Send the output, await this, then take another turn.
    Wait {
        /// The event that the connection waits for.
        wait: WaitFor,
        /// The client has muted the replies (`CLIENT REPLY OFF`).
        muted: bool,
    },
    /// Send the output, then close.
    Close,
    /// Close at once.
    Sever,
}

/// The event that a connection waits for before it continues.
#[derive(Debug)]
pub enum WaitFor {
    /// The replies of a unit that is in a shard's queue.
    Shard(Pending),
    /// A value at one of several keys, or a timeout.
    Key(Box<Blocked>),
    /// Replicas that acknowledge the client's writes (`WAIT`); the reply is how many have.
    Replicas(Box<ReplicaWait>),
    /// The end of CLIENT PAUSE, at this time at the latest. The request is decoded again then.
    Pause(Millis),
    /// A node that a fault has stopped. Received input is kept.
    Node(NodeNumber),
    /// Only the output has to be sent: then this unit is resumed.
    Resume(Box<OwnedUnit>),
}

/// A client that waits for a key.
#[derive(Debug)]
pub struct Blocked {
    /// Ends the wait.
    pub call: Arc<WaitHandle>,
    /// Receives how the wait ended.
    pub waiting: Waiting,
    /// How long the wait lasts, and the reply if it times out.
    pub wait: Wait,
    /// The request, a single command, in case it has to run again.
    pub request: Arc<Queue>,
}

/// The outcome of a unit that was in a shard's queue.
#[derive(Debug)]
pub struct Served {
    /// The replies.
    pub replies: Vec<u8>,
    /// The event that its connection has to wait for, or the unit that it has to resume, if any.
    pub then: Option<WaitFor>,
}

/// The queue of the units that wait for a shard, as the script sees it that makes them wait.
pub(crate) trait RefuseWaiting: Send + Sync + std::fmt::Debug {
    /// Replies to all of them that a script runs. A WATCH keeps waiting: it would have succeeded.
    fn refuse_waiting(&self, busy: &Refusal);
}

/// Receives the outcome of a unit in a queue; never anything if its client was closed before.
pub(crate) type Pending = oneshot::Receiver<Served>;

impl Outcome {
    /// Returns a wait whose end gets a reply unless the session is muted, which is decided later.
    #[must_use]
    pub fn wait(wait: WaitFor) -> Self {
        Self::Wait { wait, muted: false }
    }

    /// Returns the outcome of a command that may have blocked its client.
    #[must_use]
    pub fn of_blocked(blocked: Option<Box<Blocked>>) -> Self {
        blocked.map_or(Self::Replied, |blocked| Self::wait(WaitFor::Key(blocked)))
    }
}

impl Blocked {
    /// Blocks `client` on `invocation`. Returns `None` if the request is too long to be kept: then
    /// the reply is that there is no value.
    pub fn begin(
        invocation: &Invocation<'_>,
        client: &Arc<Client>,
        wait: Wait,
        out: &mut Sink<'_>,
    ) -> Option<Box<Self>> {
        let mut request = Queue::default();
        let kept = match &wait.resolved {
            Some(resolved) => Invocation { args: resolved.args(), known: None, ..*invocation },
            None => *invocation,
        };
        if !request.push(&kept) {
            wait.null_reply.write(out);
            return None;
        }
        let (call, waiting) = client.begin_wait();
        Some(Box::new(Self { call, waiting, wait, request: Arc::new(request) }))
    }
}
