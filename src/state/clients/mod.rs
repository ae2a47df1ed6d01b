//! The connected clients: the state of each connection, and the registry of all of them.
//!
//! ```text
//! connection's task ─ RegisteredClient ─► Arc<Client> ◄── Clients: id -> client ◄── CLIENT LIST
//!      │ abort                                │
//!      └─────────────────────── Client::close ┘◄── CLIENT KILL
//! ```
//!
//! A client's own connection writes here once per read batch ([`Client::note_activity`]); others
//! only read, or close it. An idle connection has to stay cheap, so addresses are kept as numbers
//! and names take memory only when they are set.

mod blocked;
mod outbox;
mod registry;
mod tracking;

pub(crate) use blocked::{Claim, Ending, WaitHandle, Waiting};
pub(crate) use outbox::{ChannelKind, Outbox, OutputLimits, SubscriptionCounts};
pub(crate) use registry::{Clients, ClientsMax, RegisteredClient};
pub(crate) use tracking::TrackingMode;

use crate::keyspace::Millis;
use crate::topology::Port;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::task::AbortHandle;
use tracking::TrackingState;

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// Its id: counted from 1, never reused.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that was connected to.
    pub local: SocketAddr,
    /// The endpoint that it is connected to.
    pub port: Port,
    /// The socket's file descriptor.
    pub fd: i32,
    /// When the connection was accepted.
    pub connected_at: Millis,
    labels: Mutex<Option<Box<Labels>>>,
    activity: Mutex<Activity>,
    end: Mutex<End>,
    /// Present while the client is blocked, and for some time after.
    wait: Mutex<Option<Arc<WaitHandle>>>,
    /// Present from the first HELLO 3, subscription or MONITOR on.
    outbox: OnceLock<Box<Outbox>>,
    /// Set before `end.closing`, under its lock; read without it.
    close_after_reply: AtomicBool,
    no_evict: AtomicBool,
    no_touch: AtomicBool,
    understands_redirect: AtomicBool,
    reads_replicas: AtomicBool,
    /// CLIENT TRACKING.
    tracking: TrackingState,
    /// The selected database.
    database: AtomicU32,
    /// EXECs lost to conflicts since one succeeded.
    lost_execs: AtomicU32,
}

/// The names that a client gives itself, each empty until it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `CLIENT SETNAME`.
    pub name: Box<[u8]>,
    /// `CLIENT SETINFO lib-name`.
    pub lib_name: Box<[u8]>,
    /// `CLIENT SETINFO lib-ver`.
    pub lib_ver: Box<[u8]>,
}

/// One of a client's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// The client's own name.
    Name,
    /// Its library's name.
    LibName,
    /// Its library's version.
    LibVer,
}

/// The error for a name with spaces, line breaks or bytes outside printable ASCII: it would break
/// the lines of `CLIENT LIST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfitLabel;

/// The state of a connection, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// When it last sent something.
    pub last_active: Millis,
    /// The container of its last command (`client` of CLIENT LIST), or nothing.
    pub container: &'static str,
    /// Its last command, or nothing.
    pub command: &'static str,
    /// The RESP version it speaks, 2 or 3.
    pub resp: u8,
    /// The length of its transaction queue, if it is in MULTI.
    pub queued: Option<u32>,
    /// The size of the queue, in bytes.
    pub queued_bytes: usize,
    /// How many keys it watches.
    pub watched: u32,
    /// A watched key has changed: its EXEC will return null.
    pub dirty: bool,
    /// It is blocked.
    pub blocked: bool,
    /// Being blocked ends after some time.
    pub times_out: bool,
    /// CLIENT REPLY is off.
    pub reply_off: bool,
    /// It sees every command (MONITOR).
    pub monitors: bool,
    /// Bytes received since it connected.
    pub bytes_in: u64,
    /// Bytes sent since it connected.
    pub bytes_out: u64,
    /// Commands run since it connected.
    pub commands: u64,
    /// Bytes received and not yet executed.
    pub unread: usize,
    /// Spare capacity of the query buffer.
    pub unread_room: usize,
    /// Bytes of replies not yet sent.
    pub unsent: usize,
}

/// What a client has sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Commands run.
    pub commands: u64,
}

impl Activity {
    const fn new(now: Millis) -> Self {
        Self {
            last_active: now,
            container: "",
            command: "",
            resp: 2,
            queued: None,
            queued_bytes: 0,
            watched: 0,
            dirty: false,
            blocked: false,
            times_out: false,
            reply_off: false,
            monitors: false,
            bytes_in: 0,
            bytes_out: 0,
            commands: 0,
            unread: 0,
            unread_room: 0,
            unsent: 0,
        }
    }
}

/// How others close a connection.
#[derive(Debug, Default)]
struct End {
    /// Aborting drops the connection's task, and with it the socket, the queue and the watches.
    task: Option<AbortHandle>,
    /// Once true, it stays so.
    closing: bool,
}

impl Client {
    pub(super) fn new(
        id: u64,
        peer: SocketAddr,
        local: SocketAddr,
        port: Port,
        fd: i32,
        now: Millis,
    ) -> Self {
        Self {
            id,
            peer,
            local,
            port,
            fd,
            connected_at: now,
            labels: Mutex::default(),
            activity: Mutex::new(Activity::new(now)),
            end: Mutex::default(),
            wait: Mutex::default(),
            outbox: OnceLock::new(),
            close_after_reply: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            understands_redirect: AtomicBool::new(false),
            reads_replicas: AtomicBool::new(false),
            tracking: TrackingState::default(),
            database: AtomicU32::new(0),
            lost_execs: AtomicU32::new(0),
        }
    }

    /// Records the connection's state. Its own task calls this once per read batch, and before a
    /// command that may show the client to itself.
    pub fn note_activity(&self, change: impl FnOnce(&mut Activity)) {
        change(&mut self.activity.lock());
    }

    /// Returns the connection's state as last recorded.
    #[must_use]
    pub fn activity(&self) -> Activity {
        *self.activity.lock()
    }

    /// Returns how many bytes of memory the client takes, buffers included.
    #[must_use]
    pub fn memory(&self) -> usize {
        let at = self.activity();
        let unsent = self.outbox().map_or(at.unsent, Outbox::waiting);
        at.unread + at.unread_room + unsent + at.queued_bytes + size_of::<Self>()
    }

    /// Returns the client's names.
    #[must_use]
    pub fn labels(&self) -> Labels {
        self.labels.lock().as_deref().cloned().unwrap_or_default()
    }

    /// Sets one of the client's names; an empty text removes it.
    ///
    /// # Errors
    /// The text is not a valid name; the old one stays.
    pub fn set_label(&self, label: Label, text: &[u8]) -> Result<(), UnfitLabel> {
        if !is_fit_label(text) {
            return Err(UnfitLabel);
        }
        let mut labels = self.labels.lock();
        if labels.is_none() && text.is_empty() {
            return Ok(());
        }
        let all = labels.get_or_insert_default();
        let place = match label {
            Label::Name => &mut all.name,
            Label::LibName => &mut all.lib_name,
            Label::LibVer => &mut all.lib_ver,
        };
        *place = text.into();
        if **all == Labels::default() {
            *labels = None;
        }
        Ok(())
    }

    /// Removes the client's own name and switches NO-EVICT, NO-TOUCH and READONLY off, as RESET does; its
    /// library keeps its name.
    pub fn reset(&self) {
        if self.set_label(Label::Name, b"").is_ok() {
            self.set_no_evict(false);
            self.set_no_touch(false);
            self.set_reads_replicas(false);
        }
    }

    /// Counts an EXEC of the client that returned null.
    pub fn note_lost_exec(&self) {
        self.lost_execs.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many EXECs were lost since the last one that succeeded, and resets the count.
    pub fn take_lost_execs(&self) -> u64 {
        match self.lost_execs.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.lost_execs.swap(0, Ordering::Relaxed).into(),
        }
    }

    /// Begins a wait for a key; returns the handle that ends it, and the receiver of its ending.
    pub fn begin_wait(&self) -> (Arc<WaitHandle>, Waiting) {
        let (handle, waiting) = WaitHandle::new();
        *self.wait.lock() = Some(Arc::clone(&handle));
        (handle, waiting)
    }

    /// Returns whether the client waits for a key or for replicas.
    fn waits(&self) -> bool {
        self.wait.lock().is_some()
    }

    /// Ends the client's state of waiting.
    pub fn end_wait(&self) {
        *self.wait.lock() = None;
    }

    /// Ends the client's wait for a key; returns whether it was blocked.
    pub fn unblock(&self, ending: Ending) -> bool {
        self.wait.lock().as_ref().is_some_and(|handle| handle.end(ending))
    }

    /// Attaches the task that [`Client::close`] aborts. Once per connection, after spawning.
    pub fn attach(&self, task: AbortHandle) {
        let mut end = self.end.lock();
        if end.closing {
            task.abort();
        }
        end.task = Some(task);
    }

    /// Closes the connection from outside: its task is dropped at its next suspension point, and
    /// nothing in its queue runs.
    ///
    /// [`Client::is_closing`] is checked before each request, so no request starts that the client
    /// sends after this has returned: after CLIENT KILL has replied, an EXEC of the killed client
    /// does not run. Requests that wait for a shard do not run either. A request that is running on
    /// another thread is completed; Redis, with its one thread, has no such moment.
    pub fn close(&self) {
        self.close_after_reply();
        let mut end = self.end.lock();
        end.closing = true;
        if let Some(task) = &end.task {
            task.abort();
        }
    }

    /// Closes the connection once the reply is sent.
    pub fn close_after_reply(&self) {
        self.close_after_reply.store(true, Ordering::Release);
    }

    /// Returns whether the connection is closing: then no further request may start.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.close_after_reply.load(Ordering::Acquire)
    }

    /// Sets `CLIENT NO-EVICT`, which protects the client from being closed to free memory.
    pub fn set_no_evict(&self, on: bool) {
        self.no_evict.store(on, Ordering::Relaxed);
    }

    /// Returns whether `CLIENT NO-EVICT` is on.
    #[must_use]
    pub fn no_evict(&self) -> bool {
        self.no_evict.load(Ordering::Relaxed)
    }

    /// Sets `CLIENT NO-TOUCH`, under which the client's reads do not update access times.
    pub fn set_no_touch(&self, on: bool) {
        self.no_touch.store(on, Ordering::Relaxed);
    }

    /// Returns whether `CLIENT NO-TOUCH` is on.
    #[must_use]
    pub fn no_touch(&self) -> bool {
        self.no_touch.load(Ordering::Relaxed)
    }

    /// Records that the client has said that it understands redirections of a server without slots.
    pub fn set_understands_redirect(&self) {
        self.understands_redirect.store(true, Ordering::Relaxed);
    }

    /// Returns whether the client has said that it understands redirections of a server without slots.
    #[must_use]
    pub fn understands_redirect(&self) -> bool {
        self.understands_redirect.load(Ordering::Relaxed)
    }

    /// Records whether the client has sent READONLY.
    pub fn set_reads_replicas(&self, on: bool) {
        self.reads_replicas.store(on, Ordering::Relaxed);
    }

    /// Returns whether the client has sent READONLY.
    #[must_use]
    pub fn reads_replicas(&self) -> bool {
        self.reads_replicas.load(Ordering::Relaxed)
    }

    /// Records the selected database.
    pub fn set_database(&self, database: u32) {
        self.database.store(database, Ordering::Relaxed);
    }

    /// Returns the selected database.
    #[must_use]
    pub fn database(&self) -> u32 {
        self.database.load(Ordering::Relaxed)
    }
}

/// Returns whether `text` is a valid name: printable ASCII without spaces.
fn is_fit_label(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(clients: &Arc<Clients>) -> RegisteredClient {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        clients.register(address, address, Port::Router, 7, 0, 1).expect("room")
    }

    #[test]
    fn names_are_kept_only_while_one_is_set() {
        let clients = Arc::new(Clients::default());
        let client = register(&clients);
        for unfit in [&b"a b"[..], b"a\n", b"\x7f", b"\xff", b"\0"] {
            assert_eq!(client.set_label(Label::Name, unfit), Err(UnfitLabel));
        }
        client.set_label(Label::Name, b"!~").expect("fit");
        client.set_label(Label::LibVer, b"1").expect("fit");
        assert_eq!(&*client.labels().name, b"!~");
        client.set_label(Label::Name, b"").expect("fit");
        assert_eq!(client.labels(), Labels { lib_ver: (*b"1").into(), ..Labels::default() });
        client.set_label(Label::LibVer, b"").expect("fit");
        assert!(client.labels.lock().is_none());
    }

    #[test]
    fn a_client_is_small() {
        // The rest of 1.5 KiB belongs to the socket's task and its buffers.
        assert!(size_of::<Client>() <= 336, "{}", size_of::<Client>());
    }

    #[tokio::test]
    async fn closing_ends_the_task_whichever_comes_first() {
        let clients = Arc::new(Clients::default());
        for close_first in [true, false] {
            let client = register(&clients);
            let task = tokio::spawn(std::future::pending::<()>());
            if close_first {
                client.close();
                client.attach(task.abort_handle());
            } else {
                client.attach(task.abort_handle());
                client.close();
            }
            assert!(task.await.expect_err("aborted").is_cancelled() && client.is_closing());
        }
    }
}
