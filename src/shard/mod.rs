//! A shard: an engine behind a lock that nobody waits for.
//!
//! ```text
//! acquire   try the lock, spin a little; else copy the batch into a job, queue it, try once more,
//!           and await the reply
//! release   run what others queued meanwhile, unlock, look at the queue once more
//! ```
//!
//! Whoever holds the lock serves those who came meanwhile (a combining queue): a hot shard costs
//! one copy per batch instead of a context switch, and no runtime thread ever blocks on it. The
//! second look after the unlock is what makes a job impossible to forget: the one who queues tries
//! the lock after counting his job, the one who unlocks reads the count after unlocking, and both
//! are read-modify-writes of the same counter, so that one of them sees the other.

pub mod engine;
mod blocked;

use crate::command::{Invocation, Pace, Queue};
use crate::keyspace::Guard;
use crate::resp::{Proto, Sink};
use crate::session::{Transaction, Watched};
use crate::slot::{Footprint, Slot};
use crate::state::clients::Client;
use engine::{BatchContext, Blocked, Engine};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// How often to look at a taken lock before queueing a job: about the time of a few commands.
const SPINS_MAX: u32 = 40;
/// A holder serves at most this many jobs of others before it lets somebody else do so.
const DRAIN_MAX: usize = 64;
/// Execution stops when a connection has more unsent output than this, in bytes.
pub const OUTPUT_LEN_MAX: usize = 1 << 20;

/// A shard. The queue is bounded by the number of clients: each has one job in it at the most.
#[derive(Debug)]
pub struct Shard {
    engine: Mutex<Engine>,
    queue: Mutex<VecDeque<Job>>,
    /// How many jobs are queued. Raised after the job is in the queue, lowered after it is out.
    waiting: AtomicUsize,
}

/// What a job does once its turn has come.
#[derive(Debug)]
pub enum Work {
    /// Commands that each stand alone.
    Each(Queue),
    /// A transaction.
    Exec(Box<Transaction>),
    /// One WATCH.
    Watch(Queue, Guard),
    /// One command that may wait for a key.
    Block(Arc<Queue>),
}

impl Work {
    /// The slot that it asks for, and all of it if it runs as one.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Each(queue) | Self::Watch(queue, _) => first_slot(queue),
            Self::Block(queue) => first_slot(queue),
            Self::Exec(transaction) => transaction.slot,
        }
    }

    /// Whether it asks for several slots at once.
    #[must_use]
    pub fn crosses(&self) -> bool {
        let Self::Block(queue) = self else { return false };
        queue.iter().any(|first| matches!(first.footprint, Footprint::Crossing { .. }))
    }
}

fn first_slot(queue: &Queue) -> Option<Slot> {
    queue.iter().next().and_then(|first| first.slot())
}

/// Work that waits for its shard.
#[derive(Debug)]
struct Job {
    /// Who it is for: once that client is closed, nothing of it runs.
    client: Arc<Client>,
    work: Work,
    proto: Proto,
    /// What held for whoever submitted it: the holder's own may be seconds old.
    batch: BatchContext,
    reply: oneshot::Sender<Served>,
}

/// What came of a job.
#[derive(Debug)]
pub struct Served {
    /// The replies.
    pub replies: Vec<u8>,
    /// What was not run, as there is much to send first, or as its slot has moved meanwhile.
    pub rest: Option<Box<Work>>,
    /// The client waits for a key.
    pub blocked: Option<Box<Blocked>>,
}

/// What will come of a job, once it has run.
pub type Pending = oneshot::Receiver<Served>;

/// A held shard. Letting go of it serves whoever queued meanwhile.
pub struct Hold<'s> {
    shard: &'s Arc<Shard>,
    /// Present until the hold is released.
    engine: Option<MutexGuard<'s, Engine>>,
    batch: &'s BatchContext,
}

impl Shard {
    /// A shard that runs `engine`.
    #[must_use]
    pub fn new(engine: Engine) -> Arc<Self> {
        Arc::new(Self {
            engine: Mutex::new(engine),
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Holds the shard if it is free, or becomes so within a few moments.
    #[must_use]
    #[inline]
    pub fn try_hold<'s>(self: &'s Arc<Self>, batch: &'s BatchContext) -> Option<Hold<'s>> {
        for _ in 0..SPINS_MAX {
            if let Some(engine) = self.engine.try_lock() {
                return Some(self.held(engine, batch));
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Holds the shard, blocking the thread until it is free: never on a runtime worker.
    #[must_use]
    pub fn hold<'s>(self: &'s Arc<Self>, batch: &'s BatchContext) -> Hold<'s> {
        self.held(self.engine.lock(), batch)
    }

    #[inline]
    fn held<'s>(
        self: &'s Arc<Self>,
        mut engine: MutexGuard<'s, Engine>,
        batch: &'s BatchContext,
    ) -> Hold<'s> {
        engine.begin(batch);
        Hold { shard: self, engine: Some(engine), batch }
    }

    /// Queues work for whoever holds the shard, and runs it at once if nobody does any more.
    /// The replies never come if the client was closed before its turn.
    pub fn submit(
        self: &Arc<Self>,
        client: &Arc<Client>,
        work: Work,
        proto: Proto,
        batch: &BatchContext,
        pace: &mut dyn Pace,
    ) -> Pending {
        let (reply, pending) = oneshot::channel();
        let job = Job { client: Arc::clone(client), work, proto, batch: *batch, reply };
        self.queue.lock().push_back(job);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if let Some(engine) = self.engine.try_lock() {
            self.held(engine, batch).release(pace);
        }
        pending
    }

    /// How many jobs wait.
    fn waiting(&self) -> usize {
        // A read-modify-write, and one that no compiler turns into a plain load: see the top.
        match self.waiting.compare_exchange(0, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(none) => none,
            Err(some) => some,
        }
    }

    fn next_job(&self) -> Option<Job> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let job = self.queue.lock().pop_front()?;
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(job)
    }
}

impl Hold<'_> {
    /// The engine.
    ///
    /// # Panics
    /// Never: the engine is there until the hold is released, which consumes it.
    pub fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("held until released")
    }

    /// Runs one command.
    #[inline]
    pub fn run(&mut self, invocation: &Invocation<'_>, pace: &mut dyn Pace, out: &mut Sink<'_>) {
        let batch = self.batch;
        let engine = self.engine();
        engine.run(invocation, batch, pace, out);
        engine.settle(batch, pace);
    }

    /// Runs one command that may wait for `client`; gives the wait if it has begun.
    pub fn run_or_wait(
        &mut self,
        invocation: &Invocation<'_>,
        client: &Arc<Client>,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) -> Option<Box<Blocked>> {
        let batch = self.batch;
        let engine = self.engine();
        let blocked = engine.run_or_wait(invocation, client, batch, pace, out);
        engine.settle(batch, pace);
        blocked.map(Box::new)
    }

    /// Runs one command of a transaction; [`Hold::settle`] ends that.
    pub fn run_within(
        &mut self,
        invocation: &Invocation<'_>,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) {
        let batch = self.batch;
        self.engine().run(invocation, batch, pace, out);
    }

    /// Serves those who waited for what a transaction has brought.
    pub fn settle(&mut self, pace: &mut dyn Pace) {
        let batch = self.batch;
        self.engine().settle(batch, pace);
    }

    /// Runs a transaction whose commands all run on this shard.
    pub fn exec(
        &mut self,
        queue: &Queue,
        watched: Option<&Watched>,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) {
        let batch = self.batch;
        self.engine().exec(queue, watched, batch, pace, out);
    }

    /// Serves whoever queued meanwhile, then lets go.
    #[inline]
    pub fn release(mut self, pace: &mut dyn Pace) {
        self.serve_and_unlock(pace);
    }

    /// Unlocks a shard that nobody waits for; else serves those who do.
    #[inline]
    fn serve_and_unlock(&mut self, pace: &mut dyn Pace) {
        if let Some(mut engine) = self.engine.take() {
            engine.publish_events(pace);
            engine.propagate();
            if self.shard.waiting.load(Ordering::Relaxed) == 0 && !engine.keyspace.has_lazy_free() {
                drop(engine);
                if self.shard.waiting() == 0 {
                    return;
                }
                let Some(again) = self.shard.engine.try_lock() else { return };
                engine = again;
            }
            self.engine = Some(engine);
            self.serve(pace);
        }
    }

    /// Serves whoever queued, a bounded number of them, and unlocks.
    #[cold]
    fn serve(&mut self, pace: &mut dyn Pace) {
        let mut served = 0;
        while let Some(mut engine) = self.engine.take() {
            while served < DRAIN_MAX
                && let Some(job) = self.shard.next_job()
            {
                job.run(&mut engine, pace);
                served += 1;
            }
            engine.publish_events(pace);
            engine.propagate();
            let dead = engine.keyspace.take_lazy_free();
            drop(engine);
            if let Some(dead) = dead {
                pace.dispose(Box::new(dead));
            }
            if self.shard.waiting() == 0 {
                return;
            }
            if served >= DRAIN_MAX {
                // Somebody is always to come: a task of its own, if nobody takes the lock before.
                let (shard, batch) = (Arc::clone(self.shard), *self.batch);
                return pace.later(Box::new(move |pace| {
                    if let Some(engine) = shard.engine.try_lock() {
                        shard.held(engine, &batch).release(pace);
                    }
                }));
            }
            self.engine = self.shard.engine.try_lock();
        }
    }
}

impl Job {
    fn run(self, engine: &mut Engine, pace: &mut dyn Pace) {
        if self.client.is_closing() {
            return;
        }
        let batch = &BatchContext { now: pace.now(), ..self.batch };
        engine.begin(batch);
        engine.keyspace.no_touch = self.client.no_touch();
        engine.instrumentation.client = self.client.id;
        engine.reset_timer();
        let mut replies = Vec::new();
        let mut out = Sink::new(&mut replies, self.proto);
        let (mut rest, mut blocked) = (None, None);
        if self.work.slot().is_some_and(|slot| !engine.serves_directly(slot, batch)) {
            // The slot has left, or is about to, since this was submitted.
            rest = Some(Box::new(self.work));
        } else {
            match self.work {
                Work::Each(mut queue) => {
                    queue.skip(engine.run_each(&queue, batch, pace, &mut out));
                    rest = (!queue.is_empty()).then(|| Box::new(Work::Each(queue)));
                }
                Work::Exec(transaction) => {
                    let watched = transaction.watched.as_deref();
                    engine.exec(&transaction.queue, watched, batch, pace, &mut out);
                }
                Work::Watch(queue, guard) => {
                    for watch in queue.iter() {
                        engine.watch(&watch, &guard, &mut out);
                    }
                }
                Work::Block(queue) => {
                    for invocation in queue.iter() {
                        let client = &self.client;
                        blocked = engine.run_or_wait(&invocation, client, batch, pace, &mut out);
                        engine.settle(batch, pace);
                    }
                }
            }
        }
        // The client may have left while its job waited; then nobody reads the replies.
        let _left = self.reply.send(Served { replies, rest, blocked: blocked.map(Box::new) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Args, DeferredWork, resolve};
    use crate::keyspace::{Entry, KeyHasher, Keyspace, Limits, Millis, PackLimits};
    use crate::resp::Span;
    use crate::state::Instrumentation;
    use crate::state::clients::{Clients, RegisteredClient};
    use crate::topology::{Port, Topology};
    use std::net::SocketAddr;
    use std::time::Duration;

    const TERMS: BatchContext = BatchContext {
        now: 1,
        string_len_max: 1 << 20,
        limits: Limits {
            hash: PackLimits { entries_max: 128, value_len_max: 64 },
            zset: PackLimits { entries_max: 128, value_len_max: 64 },
            intset_len_max: 512,
            list_piece: -2,
        },
        events_wanted: 0,
        no_touch: false,
        instrumentation: Instrumentation::NONE,
        port: Port::Router,
    };

    /// Keeps what is to be done later, for the test to do.
    #[derive(Default)]
    pub(super) struct Later {
        deferred: Vec<DeferredWork>,
        now: Millis,
    }

    impl Pace for Later {
        fn step(&mut self, _: usize) {}
        fn now(&self) -> Millis {
            self.now
        }
        fn sleep(&mut self, _: Duration) {}
        fn outside(&mut self, work: &mut dyn FnMut()) {
            work();
        }
        fn dispose(&mut self, dead: Box<dyn Send>) {
            drop(dead);
        }
        fn later(&mut self, work: DeferredWork) {
            self.deferred.push(work);
        }
    }

    fn shard() -> Arc<Shard> {
        Shard::new(Engine::new(
            Keyspace::new(Slot::all(), KeyHasher::new(1), 1),
            0,
            Arc::new(Topology::even(1)),
            Arc::default(),
            Arc::default(),
        ))
    }

    fn client() -> RegisteredClient {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(Clients::default())
            .register(address, address, Port::Router, 3, 0, 1)
            .expect("a seat")
    }

    /// `INCR n` as a job.
    fn increment() -> Work {
        let (buf, spans) = (b"incr n", [Span::new(0, 4), Span::new(5, 1)]);
        let mut queue = Queue::default();
        let invocation = resolve(Args::new(buf, &spans)).expect("INCR is a command");
        assert!(queue.push(&invocation));
        Work::Each(queue)
    }

    #[test]
    fn who_holds_serves_who_came_meanwhile_in_order() {
        let (shard, client, mut pace) = (shard(), client(), Later::default());
        let hold = shard.try_hold(&TERMS).expect("free");
        assert!(shard.try_hold(&TERMS).is_none());
        let mut pending: Vec<Pending> = (0..5)
            .map(|_| shard.submit(&client, increment(), Proto::Resp2, &TERMS, &mut pace))
            .collect();
        assert!(pending.iter_mut().all(|p| p.try_recv().is_err()), "nothing runs while it is held");
        hold.release(&mut pace);
        for (i, mut pending) in pending.into_iter().enumerate() {
            assert_eq!(
                pending.try_recv().expect("served").replies,
                format!(":{}\r\n", i + 1).into_bytes()
            );
        }
        assert!(pace.deferred.is_empty() && shard.try_hold(&TERMS).is_some());
    }

    #[test]
    fn nothing_runs_for_a_client_that_was_closed_meanwhile() {
        let (shard, victim, other) = (shard(), client(), client());
        let mut pace = Later::default();
        let hold = shard.try_hold(&TERMS).expect("free");
        let mut job = |client| shard.submit(client, increment(), Proto::Resp2, &TERMS, &mut pace);
        let (mut lost, mut served) = (job(&victim), job(&other));
        victim.close();
        hold.release(&mut pace);
        assert_eq!(lost.try_recv().err(), Some(oneshot::error::TryRecvError::Closed));
        assert_eq!(served.try_recv().expect("served").replies, b":1\r\n", "only the other's ran");
    }

    /// Whoever waited for a holder that took long begins then, not when the holder began.
    #[test]
    fn a_job_has_the_time_at_which_it_runs() {
        let (shard, client, mut pace) = (shard(), client(), Later::default());
        let hold = shard.try_hold(&TERMS).expect("free");
        let (buf, mut queue) = (b"setnpx300", Queue::default());
        let spans = [(0, 3), (3, 1), (3, 1), (4, 2), (6, 3)].map(|(at, len)| Span::new(at, len));
        assert!(queue.push(&resolve(Args::new(buf, &spans)).expect("SET is a command")));
        let mut pending = shard.submit(&client, Work::Each(queue), Proto::Resp2, &TERMS, &mut pace);
        pace.now = 5000;
        hold.release(&mut pace);
        assert_eq!(pending.try_recv().expect("served").replies, b"+OK\r\n");
        let mut hold = shard.try_hold(&TERMS).expect("free");
        let keyspace = &mut hold.engine().keyspace;
        let key = keyspace.key(Slot::of(b"n"), b"n");
        assert_eq!(keyspace.peek(key).and_then(Entry::expires_at), Some(5300));
    }

    #[test]
    fn who_submits_to_a_free_shard_is_served_at_once() {
        let (shard, client, mut pace) = (shard(), client(), Later::default());
        let mut pending = shard.submit(&client, increment(), Proto::Resp2, &TERMS, &mut pace);
        assert_eq!(pending.try_recv().expect("served").replies, b":1\r\n");
    }

    #[test]
    fn a_job_stops_where_there_is_much_to_send_and_goes_on_from_there() {
        const GETS: usize = 5;
        let (shard, client, mut pace) = (shard(), client(), Later::default());
        let value = vec![b'v'; OUTPUT_LEN_MAX / 2];
        let set = [&b"setn"[..], &value].concat();
        let mut queue = Queue::default();
        let spans = [Span::new(0, 3), Span::new(3, 1), Span::new(4, value.len())];
        assert!(queue.push(&resolve(Args::new(&set, &spans)).expect("SET is a command")));
        for _ in 0..GETS {
            let spans = [Span::new(0, 3), Span::new(3, 1)];
            assert!(queue.push(&resolve(Args::new(b"getn", &spans)).expect("GET is a command")));
        }
        let (mut rest, mut replies) = (Some(Box::new(Work::Each(queue))), Vec::new());
        let mut rounds = 0;
        while let Some(work) = rest {
            let mut pending = shard.submit(&client, *work, Proto::Resp2, &TERMS, &mut pace);
            let served = pending.try_recv().expect("the shard is free");
            assert!(served.replies.len() <= OUTPUT_LEN_MAX + value.len() + 20);
            replies.extend(served.replies);
            (rest, rounds) = (served.rest, rounds + 1);
        }
        let get = [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
        assert!(replies == [b"+OK\r\n", &get.repeat(GETS)[..]].concat() && rounds == 3);
    }

    #[test]
    fn a_holder_serves_so_many_and_leaves_the_rest_to_another() {
        let (shard, client, mut pace) = (shard(), client(), Later::default());
        let hold = shard.try_hold(&TERMS).expect("free");
        let mut pending: Vec<Pending> = (0..2 * DRAIN_MAX + 5)
            .map(|_| shard.submit(&client, increment(), Proto::Resp2, &TERMS, &mut pace))
            .collect();
        hold.release(&mut pace);
        assert!(
            pending[DRAIN_MAX - 1].try_recv().is_ok() && pending[DRAIN_MAX].try_recv().is_err()
        );
        let mut rounds = 0;
        while let Some(work) = pace.deferred.pop() {
            work(&mut pace);
            rounds += 1;
        }
        assert!(rounds == 2 && pending.iter_mut().skip(DRAIN_MAX).all(|p| p.try_recv().is_ok()));
    }

    /// Threads that hold and threads that queue, as fast as they can: every job is answered, and
    /// the count shows that each ran once.
    #[test]
    fn no_job_is_forgotten() {
        const THREADS: usize = 4;
        const JOBS: usize = 5000;
        let (shard, client) = (shard(), client());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut pace = Later::default();
                    for job in 0..JOBS {
                        if job % 3 == 0
                            && let Some(hold) = shard.try_hold(&TERMS)
                        {
                            hold.release(&mut pace);
                        }
                        let pending =
                            shard.submit(&client, increment(), Proto::Resp2, &TERMS, &mut pace);
                        while let Some(work) = pace.deferred.pop() {
                            work(&mut pace);
                        }
                        // Whoever holds the shard now must see the job: this would hang if not.
                        pending.blocking_recv().expect("an answer");
                    }
                });
            }
        });
        let mut hold = shard.try_hold(&TERMS).expect("free");
        let keyspace = &mut hold.engine().keyspace;
        let key = keyspace.key(Slot::of(b"n"), b"n");
        let value =
            keyspace.read(key).and_then(|v| v.as_text().map(|t| t.to_vec())).expect("a count");
        assert_eq!(value, (THREADS * JOBS).to_string().into_bytes());
    }
}
