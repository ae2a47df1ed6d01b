//! Tests of the lock's queue: order, bounds, and that no job is forgotten.

use super::*;
use crate::command::{Args, DeferredWork, resolve};
use crate::dialect::Product;
use crate::faults::ArmedFaults;
use crate::keyspace::{Entry, KeyHasher, Keyspace, Limits, Millis, NodeLimits, PackLimits};
use crate::resp::Span;
use crate::slot::Slot;
use crate::state::clients::{Clients, RegisteredClient};
use crate::state::{Instrumentation, ServerConfig, ServerState};
use crate::topology::{Port, Topology};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

const BATCH: BatchContext = BatchContext {
    now: 1,
    string_len_max: 1 << 20,
    limits: Limits {
        hash: PackLimits { entries_max: 128, value_len_max: 64 },
        zset: PackLimits { entries_max: 128, value_len_max: 64 },
        intset_len_max: 512,
        list_piece: -2,
        sparse_len_max: 3000,
        stream_node: NodeLimits { entries_max: 100, bytes_max: 4096 },
    },
    no_touch: false,
    instrumentation: Instrumentation::NONE,
    port: Port::Router,
    product: &Product::REDIS7,
};

/// Keeps deferred work, for the test to run.
#[derive(Default)]
pub(super) struct Later {
    deferred: RefCell<Vec<DeferredWork>>,
    now: Cell<Millis>,
}

impl Pace for Later {
    fn step(&self, _: usize) {}
    fn now(&self) -> Millis {
        self.now.get()
    }
    fn sleep(&self, _: Duration) {}
    fn outside(&self, work: &mut dyn FnMut()) {
        work();
    }
    fn dispose(&self, dead: Box<dyn Send>) {
        drop(dead);
    }
    fn later(&self, work: DeferredWork) {
        self.deferred.borrow_mut().push(work);
    }
}

impl Later {
    fn pop(&self) -> Option<DeferredWork> {
        self.deferred.borrow_mut().pop()
    }
}

fn shard() -> Arc<Shard> {
    Shard::new(Engine::new(
        Keyspace::new(Slot::all(), KeyHasher::new(1), 1),
        0,
        Arc::new(Topology::even(1)),
        ServerState::new(ServerConfig::default()).nodes,
    ))
}

fn client() -> RegisteredClient {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    Arc::new(Clients::default()).register(address, address, Port::Router, 3, 0, 1).expect("a seat")
}

/// Returns `INCR n` as a job.
fn increment() -> OwnedUnit {
    let (buf, spans) = (b"incr n", [Span::new(0, 4), Span::new(5, 1)]);
    let mut queue = Queue::default();
    let invocation = resolve(Args::new(buf, &spans)).expect("INCR is a command");
    assert!(queue.push(&invocation));
    OwnedUnit::Commands(queue)
}

#[test]
fn who_holds_serves_who_came_meanwhile_in_order() {
    let (shard, client, pace) = (shard(), client(), Later::default());
    let turn = Turn::new(BATCH, &pace);
    let hold = shard.try_hold(&turn).expect("free");
    assert!(shard.try_hold(&turn).is_none());
    let mut pending: Vec<Pending> =
        (0..5).map(|_| shard.submit(&client, increment(), Proto::Resp2, &BATCH, &pace)).collect();
    assert!(pending.iter_mut().all(|p| p.try_recv().is_err()), "nothing runs while it is held");
    drop(hold);
    for (i, mut pending) in pending.into_iter().enumerate() {
        assert_eq!(
            pending.try_recv().expect("served").replies,
            format!(":{}\r\n", i + 1).into_bytes()
        );
    }
    assert!(pace.deferred.borrow().is_empty() && shard.try_hold(&turn).is_some());
}

#[test]
fn nothing_runs_for_a_client_that_was_closed_meanwhile() {
    let (shard, victim, other) = (shard(), client(), client());
    let pace = Later::default();
    let turn = Turn::new(BATCH, &pace);
    let hold = shard.try_hold(&turn).expect("free");
    let job = |client| shard.submit(client, increment(), Proto::Resp2, &BATCH, &pace);
    let (mut lost, mut served) = (job(&victim), job(&other));
    victim.close();
    drop(hold);
    assert_eq!(lost.try_recv().err(), Some(oneshot::error::TryRecvError::Closed));
    assert_eq!(served.try_recv().expect("served").replies, b":1\r\n", "only the other's ran");
}

/// A script may take long: the client of the holder would wait for its reply meanwhile.
#[test]
fn who_holds_leaves_scripts_and_what_is_behind_them_to_another() {
    let (shard, client, pace) = (shard(), client(), Later::default());
    let turn = Turn::new(BATCH, &pace);
    let script = || {
        let (buf, mut queue) = (b"evalreturn 10", Queue::default());
        let spans = [Span::new(0, 4), Span::new(4, 8), Span::new(12, 1)];
        assert!(queue.push(&resolve(Args::new(buf, &spans)).expect("EVAL is a command")));
        OwnedUnit::Commands(queue)
    };
    let hold = shard.try_hold(&turn).expect("free");
    let units = [increment(), script(), increment(), script()];
    let mut pending = units.map(|unit| shard.submit(&client, unit, Proto::Resp2, &BATCH, &pace));
    drop(hold);
    let served = |pending: &mut [Pending; 4]| pending.each_mut().map(|one| one.try_recv().is_ok());
    assert_eq!(served(&mut pending), [true, false, false, false]);
    // Further holders leave them to the same task.
    drop(shard.try_hold(&turn).expect("free"));
    assert_eq!(pace.deferred.borrow().len(), 1);
    pace.pop().expect("one task")(&pace);
    assert_eq!(served(&mut pending), [false, true, true, true], "each of the others once");
    assert!(pace.deferred.borrow().is_empty() && shard.try_hold(&turn).is_some());
}

/// A job that waited for a slow holder begins at its own time, not at the holder's.
#[test]
fn a_job_has_the_time_at_which_it_runs() {
    let (shard, client, pace) = (shard(), client(), Later::default());
    let turn = Turn::new(BATCH, &pace);
    let hold = shard.try_hold(&turn).expect("free");
    let (buf, mut queue) = (b"setnpx300", Queue::default());
    let spans = [(0, 3), (3, 1), (3, 1), (4, 2), (6, 3)].map(|(at, len)| Span::new(at, len));
    assert!(queue.push(&resolve(Args::new(buf, &spans)).expect("SET is a command")));
    let mut pending =
        shard.submit(&client, OwnedUnit::Commands(queue), Proto::Resp2, &BATCH, &pace);
    pace.now.set(5000);
    drop(hold);
    assert_eq!(pending.try_recv().expect("served").replies, b"+OK\r\n");
    let mut hold = shard.try_hold(&turn).expect("free");
    let keyspace = &mut hold.engine().keyspace;
    let key = keyspace.key(Slot::of(b"n"), b"n");
    assert_eq!(keyspace.peek(key).and_then(Entry::expires_at), Some(5300));
}

#[test]
fn who_submits_to_a_free_shard_is_served_at_once() {
    let (shard, client, pace) = (shard(), client(), Later::default());
    let mut pending = shard.submit(&client, increment(), Proto::Resp2, &BATCH, &pace);
    assert_eq!(pending.try_recv().expect("served").replies, b":1\r\n");
}

#[test]
fn a_job_stops_where_there_is_much_to_send_and_goes_on_from_there() {
    const GETS: usize = 5;
    let (shard, client, pace) = (shard(), client(), Later::default());
    let value = vec![b'v'; OUTPUT_LEN_MAX / 2];
    let set = [&b"setn"[..], &value].concat();
    let mut queue = Queue::default();
    let spans = [Span::new(0, 3), Span::new(3, 1), Span::new(4, value.len())];
    assert!(queue.push(&resolve(Args::new(&set, &spans)).expect("SET is a command")));
    for _ in 0..GETS {
        let spans = [Span::new(0, 3), Span::new(3, 1)];
        assert!(queue.push(&resolve(Args::new(b"getn", &spans)).expect("GET is a command")));
    }
    let (mut rest, mut replies) = (Some(Box::new(OwnedUnit::Commands(queue))), Vec::new());
    let mut rounds = 0;
    while let Some(unit) = rest {
        let mut pending = shard.submit(&client, *unit, Proto::Resp2, &BATCH, &pace);
        let served = pending.try_recv().expect("the shard is free");
        assert!(served.replies.len() <= OUTPUT_LEN_MAX + value.len() + 20);
        replies.extend(served.replies);
        rounds += 1;
        rest = served.then.map(|then| match then {
            WaitFor::Resume(unit) => unit,
            other => panic!("nothing to wait for: {other:?}"),
        });
    }
    let get = [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
    assert!(replies == [b"+OK\r\n", &get.repeat(GETS)[..]].concat() && rounds == 3);
}

#[test]
fn a_holder_serves_so_many_and_leaves_the_rest_to_another() {
    let (shard, client, pace) = (shard(), client(), Later::default());
    let turn = Turn::new(BATCH, &pace);
    let hold = shard.try_hold(&turn).expect("free");
    let mut pending: Vec<Pending> = (0..2 * DRAIN_MAX + 5)
        .map(|_| shard.submit(&client, increment(), Proto::Resp2, &BATCH, &pace))
        .collect();
    drop(hold);
    assert!(pending[DRAIN_MAX - 1].try_recv().is_ok() && pending[DRAIN_MAX].try_recv().is_err());
    let mut rounds = 0;
    while let Some(work) = pace.pop() {
        work(&pace);
        rounds += 1;
    }
    assert!(rounds == 2 && pending.iter_mut().skip(DRAIN_MAX).all(|p| p.try_recv().is_ok()));
}

/// Threads that hold and threads that queue, as fast as they can: every job gets a reply, and the
/// count shows that each ran once.
#[test]
fn no_job_is_forgotten() {
    const THREADS: usize = 4;
    const JOBS: usize = 5000;
    let (shard, client) = (shard(), client());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let pace = Later::default();
                let turn = Turn::new(BATCH, &pace);
                for job in 0..JOBS {
                    if job % 3 == 0
                        && let Some(hold) = shard.try_hold(&turn)
                    {
                        drop(hold);
                    }
                    let pending = shard.submit(&client, increment(), Proto::Resp2, &BATCH, &pace);
                    while let Some(work) = pace.pop() {
                        work(&pace);
                    }
                    // The present holder must see the job: otherwise this hangs.
                    pending.blocking_recv().expect("a reply");
                }
            });
        }
    });
    let pace = Later::default();
    let turn = Turn::new(BATCH, &pace);
    let mut hold = shard.try_hold(&turn).expect("free");
    let keyspace = &mut hold.engine().keyspace;
    let key = keyspace.key(Slot::of(b"n"), b"n");
    let value = keyspace.read(key).and_then(|v| v.as_text().map(|t| t.to_vec())).expect("a count");
    assert_eq!(value, (THREADS * JOBS).to_string().into_bytes());
}

#[test]
fn a_shard_is_prepared_for_each_turn_that_comes_between() {
    let (shard, client, pace) = (shard(), client(), Later::default());
    let turn = |number, now| {
        let batch = BatchContext { now, ..BATCH };
        Turn::numbered(number, batch, ArmedFaults::default(), &pace)
    };
    let (first, second) = (turn(1, 100), turn(2, 200));
    let now = |turn| shard.try_hold(turn).expect("free").engine().keyspace.now();
    assert_eq!([now(&first), now(&second), now(&first)], [100, 200, 100]);
    // What is set stays as long as no other turn holds it, and this one does not forget.
    let no_touch = |turn| shard.try_hold(turn).expect("free").engine().keyspace.no_touch;
    shard.try_hold(&first).expect("free").engine().keyspace.no_touch = true;
    assert!(no_touch(&first));
    first.forget();
    assert!(!no_touch(&first));
    // A job of another client has a time of its own.
    assert_eq!(now(&second), 200);
    pace.now.set(300);
    drop(shard.submit(&client, increment(), Proto::Resp2, &BATCH, &pace));
    assert_eq!(now(&second), 200);
}

#[test]
fn who_looks_serves_who_came_meanwhile() {
    let (shard, client, pace) = (shard(), client(), Later::default());
    let turn = Turn::new(BATCH, &pace);
    let look = shard.try_look().expect("free");
    assert!(look.keyspace().is_empty() && shard.try_look().is_none());
    let mut pending = shard.submit(&client, increment(), Proto::Resp2, &BATCH, &pace);
    assert!(pending.try_recv().is_err(), "nothing runs while it is looked at");
    look.end(&shard, &turn);
    assert_eq!(pending.try_recv().expect("served").replies, b":1\r\n");
}
