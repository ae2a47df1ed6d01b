//! The claim of a run on the keys of its prefix. While it lasts no other run begins with the same
//! keys: each would see the other's writes as faults of the target.
//!
//! ```text
//! SET {PREFIX:run}:claim id NX PX lease      before anything else is written
//! GET, SET … XX PX lease                     every few seconds, in a thread of its own
//! GET, DEL                                   after the keys have been removed
//! ```
//!
//! The claim of a run that is killed ends by itself. One that lapses during the run (the target
//! stood still for longer, or someone removed the key) does not end the run: it is found out
//! afterwards, because then violations may be someone else's doing.

use super::failure::Failure;
use super::keys::{Keys, shown};
use super::setup_client::{SetupClient, expect_no_error};
use super::target::Endpoint;
use crate::resp::Reply;
use crate::server;
use crate::slot::Slot;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a claim lasts without being renewed, in milliseconds.
pub(crate) const LEASE_MS: u64 = 10_000;
/// Time between two renewals.
const RENEWAL: Duration = Duration::from_secs(2);
/// How often a claim is tried to be taken: another one may end between two requests.
const TRIES: usize = 3;
/// How every claim begins: a value of another form is no claim of a run.
const FORM: &str = "slotway bench, process ";

/// Why a claim was not in force all the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lapse {
    /// It was gone.
    Vanished,
    /// Another run has it, which names itself.
    Taken(String),
}

/// A claim that is renewed until it is dropped, which gives it back.
pub(crate) struct Claim {
    holder: Arc<Mutex<Holder>>,
    /// Closed to end the renewer.
    stop: Option<Sender<()>>,
    renewer: Option<JoinHandle<()>>,
}

impl Claim {
    /// Takes the claim of a prefix.
    ///
    /// # Errors
    /// Another run has it, or the target refused a request or was lost.
    pub(crate) fn take(endpoint: &Endpoint, keys: &Keys) -> Result<Self, Failure> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let id = format!(
            "{FORM}{} on {}, run {}-{}",
            std::process::id(),
            rustix::system::uname().nodename().to_string_lossy(),
            server::now(),
            RUNS.fetch_add(1, Ordering::Relaxed)
        );
        let client = Some(SetupClient::new(endpoint.clone())?);
        let (endpoint, key) = (endpoint.clone(), keys.claim());
        let mut holder =
            Holder { endpoint, client, key, id: id.into_bytes(), lapse: None, is_left: false };
        holder.take(keys)?;
        let holder = Arc::new(Mutex::new(holder));
        let (stop, stopped) = channel();
        let of_thread = Arc::clone(&holder);
        let renewer = std::thread::Builder::new()
            .name("load claim".to_owned())
            .spawn(move || renew_until(&stopped, &of_thread))
            .map_err(|error| Failure::machine(format!("cannot start a thread: {error}")));
        match renewer {
            Ok(renewer) => Ok(Self { holder, stop: Some(stop), renewer: Some(renewer) }),
            Err(failure) => {
                holder.lock().give_back();
                Err(failure)
            }
        }
    }

    /// Returns why the claim was not in force all the time; `None` also if that is not known.
    /// `looks`: whether to look at it now, or only at what the last renewals have seen.
    #[must_use]
    pub(crate) fn lapse(&self, looks: bool) -> Option<Lapse> {
        let mut holder = self.holder.lock();
        if looks {
            let _seen = holder.look();
        }
        holder.lapse.clone()
    }

    /// Does not give the claim back: a target that does not reply need not be waited for again.
    pub(crate) fn leave_to_end(&self) {
        self.holder.lock().is_left = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(renewer) = self.renewer.take() {
            // A panic of the renewer has been printed, and nothing of it is needed here.
            let _ended = renewer.join();
        }
        self.holder.lock().give_back();
    }
}

fn renew_until(stopped: &Receiver<()>, holder: &Mutex<Holder>) {
    while stopped.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
        holder.lock().renew();
    }
}

/// The key of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Ours,
    Nothing,
    /// Another value, or no reply.
    Other,
}

struct Holder {
    endpoint: Endpoint,
    /// `None` if it was lost.
    client: Option<SetupClient>,
    key: Vec<u8>,
    id: Vec<u8>,
    lapse: Option<Lapse>,
    /// Whether it is left to end by itself.
    is_left: bool,
}

impl Holder {
    fn take(&mut self, keys: &Keys) -> Result<(), Failure> {
        for _ in 0..TRIES {
            if self.set(b"NX")? {
                return Ok(());
            }
            let mut other = None;
            self.ask(&[b"GET"], &mut |reply| {
                other = if let Reply::Bulk(id) = reply { Some(shown(id)) } else { None };
            })?;
            let Some(other) = other else { continue };
            let mut left = None;
            self.ask(&[b"PTTL"], &mut |reply| left = reply.integer())?;
            let left =
                left.and_then(|left| u64::try_from(left).ok()).map_or_else(String::new, |left| {
                    format!("; if it was killed, its claim ends in {} s", left.div_ceil(1000))
                });
            return Err(Failure::target(format!(
                "another run uses the keys that begin with {} ({other}): wait for its end or choose another \
                 --prefix{left}",
                keys.begin_with()
            )));
        }
        Err(Failure::target(format!("the claim {} cannot be taken", shown(&self.key))))
    }

    /// Sends a command on the claim's key.
    fn ask(&mut self, words: &[&[u8]], on_reply: &mut dyn FnMut(Reply<'_>)) -> Result<(), Failure> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(SetupClient::new(self.endpoint.clone())?),
        };
        let mut args = vec![words[0], &self.key];
        args.extend(&words[1..]);
        client.call(Slot::of(&self.key), &args, &mut |reply| {
            expect_no_error(reply)?;
            on_reply(reply);
            Ok(())
        })
    }

    /// Sets the claim for a lease, on a condition: `NX` or `XX`. Returns whether it was met.
    fn set(&mut self, condition: &[u8]) -> Result<bool, Failure> {
        let (id, lease) = (self.id.clone(), LEASE_MS.to_string());
        let mut is_set = false;
        self.ask(&[b"SET", &id, condition, b"PX", lease.as_bytes()], &mut |reply| {
            is_set = reply.is_ok();
        })?;
        Ok(is_set)
    }

    /// Looks at the key and notes a lapse.
    fn look(&mut self) -> Seen {
        let id = self.id.clone();
        let (mut seen, mut other) = (Seen::Other, None);
        let asked = self.ask(&[b"GET"], &mut |reply| match reply {
            Reply::Null => seen = Seen::Nothing,
            Reply::Bulk(text) if text == id => seen = Seen::Ours,
            Reply::Bulk(text) if text.starts_with(FORM.as_bytes()) => other = Some(shown(text)),
            _ => {}
        });
        if asked.is_err() {
            self.client = None;
        }
        match other {
            Some(other) => self.lapse = Some(Lapse::Taken(other)),
            None if seen == Seen::Nothing => {
                self.lapse.get_or_insert(Lapse::Vanished);
            }
            None => {}
        }
        seen
    }

    fn renew(&mut self) {
        // What fails is tried again with the next renewal.
        let _renewed = match self.look() {
            Seen::Ours => self.set(b"XX"),
            // Whatever happened, others are to stay away until the end.
            Seen::Nothing => self.set(b"NX"),
            Seen::Other => Ok(false),
        };
    }

    fn give_back(&mut self) {
        if !self.is_left && self.look() == Seen::Ours {
            // If it fails, the claim ends by itself.
            let _given_back = self.ask(&[b"DEL"], &mut |_| {});
        }
    }
}
