//! Slots move, masters fail over and nodes come and go while clients work: a plain client at the
//! router port notices none of it, cluster clients follow redirections, and nothing is lost or doubled.
//!
//! The history is checked: the final value contains every acknowledged increment, and nothing else.
//! The mover works as long as the clients do. Their interleaving varies; the assertions do not depend
//! on it.
//!
//! A plain client must cope with any pace. A cluster client gives up when the slot has moved again at
//! each of its attempts: there the mover waits for a reply to each client before each step.

use crate::env::poll;
use crate::wire::{Answer, Client, Reply, text};
use slotway::{Dialect, TestCluster, TestClusterBuilder};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

const WRITERS: usize = 3;
const COMMITS: usize = 60;

/// The slot of `{m}`.
fn slot() -> u16 {
    slotway::slot::Slot::of(b"{m}").number()
}

fn client(address: SocketAddr) -> Client {
    Client::connect(address).expect("the cluster accepts connections")
}

fn number(reply: &Reply) -> i64 {
    match reply {
        Reply::Int(number) => *number,
        Reply::Bulk(bytes) => text(bytes).parse().expect("a number"),
        Reply::NullBulk => 0,
        other => panic!("no number but {other:?}"),
    }
}

fn order(cluster: &TestCluster, words: &str) {
    cluster.order(words).unwrap_or_else(|error| panic!("SLOTWAY {words}: {error}"));
}

/// When the mover takes its next step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At once.
    Own,
    /// When every client that still works has had a reply since the step before, or during it.
    Answers,
}

/// For the mover: each client notifies it of its replies until it has ended.
struct Clients(Vec<Receiver<()>>);

impl Clients {
    /// Waits as `pace` says; returns whether any client still works.
    fn keep(&mut self, pace: Pace) -> bool {
        self.0.retain(|client| match pace {
            Pace::Answers => client.recv().is_ok(),
            Pace::Own => !matches!(client.try_recv(), Err(TryRecvError::Disconnected)),
        });
        !self.0.is_empty()
    }
}

/// Moves the slot in every way, each at least twice, until all clients have ended. If there are
/// replicas, one is promoted in every round.
fn keep_moving(cluster: &TestCluster, clients: &mut Clients, pace: Pace) {
    let slot = slot();
    // The current master of each pair. The replicas' numbers follow the masters'.
    let mut masters = [0, 1, 2];
    let has_replicas = cluster.nodes().len() > masters.len();
    let mut owner = 2;
    for round in 0.. {
        let mut next = (owner + 1) % 3;
        order(cluster, &format!("MOVE {slot} TO {}", masters[next]));
        owner = next;
        clients.keep(pace);
        if has_replicas {
            let replica = (masters[owner] + 3) % 6;
            cluster.command_at(replica, &["CLUSTER", "FAILOVER"]).expect("a failover");
            masters[owner] = replica;
            clients.keep(pace);
        }
        if has_whole_slots(cluster) {
            next = (owner + 1) % 3;
            migrate_whole(cluster, slot, masters[owner], masters[next]);
            owner = next;
            clients.keep(pace);
        }
        // Half-way: some keys are migrated, then the others too, or they go back.
        next = (owner + 1) % 3;
        let ahead = "KEYS {m}ahead {m}guarded";
        order(cluster, &format!("HOLD {slot} TO {} {ahead}", masters[next]));
        clients.keep(pace);
        if round % 2 == 0 {
            order(cluster, &format!("FINISH {slot}"));
            owner = next;
        } else {
            order(cluster, &format!("REVERT {slot}"));
        }
        if !clients.keep(pace) && round >= 3 {
            return;
        }
    }
}

/// Whether slots can be migrated as a whole: CLUSTER MIGRATESLOTS.
fn has_whole_slots(cluster: &TestCluster) -> bool {
    cluster.command_at(0, &["CLUSTER", "GETSLOTMIGRATIONS"]).is_ok()
}

/// Migrates a slot as a whole, and waits until the target has it.
fn migrate_whole(cluster: &TestCluster, slot: u16, from: usize, to: usize) {
    let (slot, id) = (slot.to_string(), cluster.nodes()[to].id.as_str());
    let begin = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &slot, &slot, "NODE", id];
    cluster.command_at(from, &begin).expect("a migration");
    let mut source = client(cluster.nodes()[from].address);
    let ended = poll(|| {
        let Reply::Array(records) = source.ask(&["CLUSTER", "GETSLOTMIGRATIONS"]) else {
            panic!("the log is an array")
        };
        let Some(Reply::Array(latest)) = records.first() else { panic!("it has the migration") };
        let state = latest.chunks(2).find(|pair| pair[0] == Reply::Bulk(b"state".to_vec()));
        let state = state.map(|pair| pair[1].clone());
        assert_ne!(state, Some(Reply::Bulk(b"failed".to_vec())), "{latest:?}");
        (state == Some(Reply::Bulk(b"success".to_vec()))).then_some(())
    });
    ended.expect("the migration ends");
}

/// Runs `work` in [`WRITERS`] threads while the slot moves. `work` calls its argument at each reply.
fn while_it_moves(cluster: &TestCluster, pace: Pace, work: impl Fn(usize, &dyn Fn()) + Sync) {
    thread::scope(|scope| {
        let work = &work;
        let start = |n| {
            let (replies, mover): (SyncSender<()>, _) = sync_channel(1);
            // One pending notification is enough.
            let answered = move || _ = replies.try_send(());
            (scope.spawn(move || work(n, &answered)), mover)
        };
        let (workers, replies): (Vec<_>, Vec<_>) = (0..WRITERS).map(start).unzip();
        let mover = scope.spawn(|| keep_moving(cluster, &mut Clients(replies), pace));
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        mover.join().expect("the slot could be moved");
        ended.into_iter().for_each(|end| end.expect("a worker's assertions hold"));
    });
}

#[test]
fn a_plain_client_notices_no_slot_move() {
    plain_clients_work(TestCluster::builder());
}

#[test]
fn a_plain_client_notices_no_slot_that_migrates_as_a_whole() {
    plain_clients_work(TestCluster::builder().dialect(&Dialect::VALKEY9));
}

/// Transactions with and without WATCH, and single commands, at the router port: every reply is that of
/// a server without slots.
fn plain_clients_work(builder: TestClusterBuilder) {
    let cluster = builder.threads(2).start().expect("a cluster");
    while_it_moves(&cluster, Pace::Own, |writer, _| {
        let mut client = client(cluster.router());
        let mut committed = 0;
        while committed < COMMITS {
            assert!(matches!(client.ask(&["WATCH", "{m}guarded"]), Reply::Simple(_)));
            let value = number(&client.ask(&["GET", "{m}guarded"])) + 1;
            client.ask(&["MULTI"]);
            client.ask(&["SET", "{m}guarded", &value.to_string()]);
            client.ask(&["INCR", "{m}ahead"]);
            match client.ask(&["EXEC"]) {
                Reply::NullArray => continue,
                Reply::Array(replies) => {
                    assert!(matches!(replies[1], Reply::Int(_)), "{replies:?}");
                }
                other => panic!("EXEC answers {other:?}"),
            }
            committed += 1;
            client.ask(&["MULTI"]);
            client.ask(&["INCR", "{m}unguarded"]);
            client.ask(&["INCR", "{m}ahead"]);
            assert!(matches!(client.ask(&["EXEC"]), Reply::Array(_)), "it runs without a WATCH");
            let own = format!("{{m}}own{writer}");
            assert_eq!(number(&client.ask(&["INCR", &own])), committed as i64);
            let Reply::Array(several) = client.ask(&["MGET", &own, "{m}ahead", "{m}none"]) else {
                panic!("MGET answers an array")
            };
            assert_eq!(number(&several[0]), committed as i64);
            assert_eq!(several[2], Reply::NullBulk);
        }
    });
    let mut client = client(cluster.router());
    let all = (WRITERS * COMMITS) as i64;
    for (key, expected) in [("{m}guarded", all), ("{m}unguarded", all), ("{m}ahead", 2 * all)] {
        assert_eq!(number(&client.ask(&["GET", key])), expected, "{key}");
    }
    assert_eq!(number(&client.ask(&["DBSIZE"])), 3 + WRITERS as i64, "no key is in two places");
}

/// A JSON document goes along with its slot: no addition in it, and no element, gets lost.
#[test]
fn a_document_moves_with_its_slot() {
    let cluster = TestCluster::builder().json().threads(2).start().expect("a cluster");
    let ok = Reply::Simple(b"OK".to_vec());
    let start = r#"{"n":0,"all":[]}"#;
    assert_eq!(client(cluster.router()).ask(&["JSON.SET", "{m}doc", "$", start]), ok);
    while_it_moves(&cluster, Pace::Own, |_, _| {
        let mut client = client(cluster.router());
        for _ in 0..COMMITS {
            client.ask(&["MULTI"]);
            client.ask(&["JSON.NUMINCRBY", "{m}doc", "$.n", "1"]);
            client.ask(&["JSON.ARRAPPEND", "{m}doc", "$.all", "\"x\""]);
            let Reply::Array(replies) = client.ask(&["EXEC"]) else { panic!("EXEC runs") };
            assert!(matches!(replies[..], [Reply::Bulk(_), Reply::Array(_)]), "{replies:?}");
        }
    });
    let mut client = client(cluster.router());
    let all = WRITERS * COMMITS;
    let sum = format!("[{all}]").into_bytes();
    assert_eq!(client.ask(&["JSON.GET", "{m}doc", "$.n"]), Reply::Bulk(sum));
    let len = Reply::Array(vec![Reply::Int(all as i64)]);
    assert_eq!(client.ask(&["JSON.ARRLEN", "{m}doc", "$.all"]), len);
}

/// Under an audit, clients transfer between accounts in several slots while one of these moves: the sum
/// is right at any moment, and no acknowledged transfer is lost.
#[test]
fn an_audit_is_atomic_while_slots_move() {
    const ACCOUNTS: [&str; 4] = ["{m}a", "{m}b", "c", "d"];
    const EACH: i64 = 1000;
    let cluster = TestCluster::builder().threads(2).start().expect("a cluster");
    cluster.command(&["CONFIG", "SET", "cross-slot", "audit"]).expect("a setting");
    let mut first = client(cluster.router());
    for account in ACCOUNTS {
        first.ask(&["SET", account, &EACH.to_string()]);
    }
    let sum = |reply: &Reply| match reply {
        Reply::Array(amounts) => amounts.iter().map(number).sum::<i64>(),
        other => panic!("MGET answers {other:?}"),
    };
    let everything = ["MGET", ACCOUNTS[0], ACCOUNTS[1], ACCOUNTS[2], ACCOUNTS[3]];
    while_it_moves(&cluster, Pace::Answers, |writer, answered| {
        let mut client = client(cluster.router());
        let mut rng = fastrand::Rng::with_seed(writer as u64);
        for n in 1..=COMMITS {
            let from = rng.usize(..ACCOUNTS.len());
            let to = (from + rng.usize(1..ACCOUNTS.len())) % ACCOUNTS.len();
            let (from, to) = (ACCOUNTS[from], ACCOUNTS[to]);
            if n % 3 == 0 {
                // Without a WATCH: it runs at once.
                client.ask(&["MULTI"]);
                client.ask(&["DECRBY", from, "1"]);
                client.ask(&["INCRBY", to, "1"]);
                client.ask(&everything);
                let Reply::Array(replies) = client.ask(&["EXEC"]) else {
                    panic!("it runs without a WATCH")
                };
                assert_eq!(sum(&replies[2]), EACH * ACCOUNTS.len() as i64, "within EXEC");
            } else {
                loop {
                    client.ask(&["WATCH", from, to]);
                    let Reply::Array(amounts) = client.ask(&["MGET", from, to]) else {
                        panic!("MGET answers an array")
                    };
                    let (less, more) = (number(&amounts[0]) - 1, number(&amounts[1]) + 1);
                    client.ask(&["MULTI"]);
                    client.ask(&["MSET", from, &less.to_string(), to, &more.to_string()]);
                    client.ask(&["INCR", "committed"]);
                    match client.ask(&["EXEC"]) {
                        Reply::NullArray => {}
                        Reply::Array(_) => break,
                        other => panic!("EXEC answers {other:?}"),
                    }
                }
            }
            assert_eq!(sum(&client.ask(&everything)), EACH * ACCOUNTS.len() as i64);
            answered();
        }
    });
    assert_eq!(sum(&first.ask(&everything)), EACH * ACCOUNTS.len() as i64);
    let guarded = WRITERS * (COMMITS - COMMITS / 3);
    assert_eq!(number(&first.ask(&["GET", "committed"])), guarded as i64);
    assert_eq!(
        number(&first.ask(&["DBSIZE"])),
        ACCOUNTS.len() as i64 + 1,
        "no key is in two places"
    );
}

/// A client that is blocked at the router port is served at any owner of the key, each element once.
#[test]
fn blocked_clients_are_served_at_any_owner_of_the_key() {
    let cluster = TestCluster::builder().threads(2).start().expect("a cluster");
    let (each, queue) = (COMMITS, "{m}queue");
    while_it_moves(&cluster, Pace::Own, |worker, _| {
        let mut client = client(cluster.router());
        if worker == 0 {
            for n in 0..each {
                assert!(number(&client.ask(&["RPUSH", queue, &n.to_string()])) > 0);
            }
        } else if worker == 1 {
            for n in 0..each {
                match client.ask(&["BLPOP", queue, "0"]) {
                    Reply::Array(parts) => assert_eq!(number(&parts[1]), n as i64, "in order"),
                    other => panic!("BLPOP answers {other:?}"),
                }
            }
        }
    });
}

#[test]
fn redis_rs_loses_and_doubles_nothing() {
    cluster_clients_work(TestCluster::builder());
}

#[test]
fn redis_rs_loses_and_doubles_nothing_of_slots_that_migrate_as_a_whole() {
    cluster_clients_work(TestCluster::builder().dialect(&Dialect::VALKEY9));
}

/// redis-rs' cluster client, blocking, over node ports, while slots move and masters fail over.
fn cluster_clients_work(builder: TestClusterBuilder) {
    let cluster = builder.replicas(1).threads(2).start().expect("a cluster");
    let open = || {
        let client = redis::cluster::ClusterClient::builder(cluster.node_urls()).retries(64);
        client.build().expect("settings").get_connection().expect("a connection")
    };
    while_it_moves(&cluster, Pace::Answers, |writer, answered| {
        let mut connection = open();
        for n in 1..=COMMITS as i64 {
            let own = format!("{{m}}own{writer}");
            let value: i64 = redis::cmd("INCR").arg(&own).query(&mut connection).expect("INCR");
            assert_eq!(value, n);
            answered();
            let total: i64 =
                redis::cmd("INCR").arg("{m}total").query(&mut connection).expect("INCR");
            assert!(total >= n);
            answered();
        }
    });
    let total: i64 = redis::cmd("GET").arg("{m}total").query(&mut open()).expect("GET");
    assert_eq!(total, (WRITERS * COMMITS) as i64);
}

/// The same client, async: transactions packed into one write, over all slots.
#[test]
fn redis_rs_async_runs_transactions_at_their_owners() {
    let cluster = TestCluster::builder().threads(2).start().expect("a cluster");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = redis::cluster::ClusterClient::new(cluster.node_urls()).expect("settings");
        let mut connection = client.get_async_connection().await.expect("a connection");
        for n in 0..50 {
            let (a, b) = (format!("{{{n}}}a"), format!("{{{n}}}b"));
            let (old, both): (Option<i64>, Vec<i64>) = redis::pipe()
                .atomic()
                .cmd("SET")
                .arg(&a)
                .arg(n)
                .ignore()
                .cmd("GET")
                .arg(&b)
                .cmd("MGET")
                .arg(&a)
                .arg(&a)
                .query_async(&mut connection)
                .await
                .expect("a transaction in one slot");
            assert_eq!((old, both), (None, vec![n, n]));
        }
        let crossed: redis::RedisResult<Vec<i64>> =
            redis::cmd("MGET").arg("{1}a").arg("{2}a").query_async(&mut connection).await;
        // The client splits MGET by slots itself.
        assert_eq!(crossed.expect("two slots"), [1, 2]);
    });
    // It may be dropped in async code too.
    runtime.block_on(async { drop(cluster) });
}

/// Many clusters at once; each has ports of its own, and ends when it is dropped.
#[test]
fn many_clusters_run_side_by_side() {
    let clusters: Vec<TestCluster> = thread::scope(|scope| {
        let start = || TestCluster::builder().shards(4).seed(7_001).start().expect("a cluster");
        let all: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        all.into_iter().map(|one| one.join().expect("started")).collect()
    });
    let ids = |cluster: &TestCluster| {
        cluster.nodes().iter().map(|node| node.id.clone()).collect::<Vec<_>>()
    };
    for (n, cluster) in clusters.iter().enumerate() {
        assert_eq!(ids(cluster), ids(&clusters[0]), "the same seed gives the same ids");
        client(cluster.router()).ask(&["SET", "n", &n.to_string()]);
    }
    for (n, cluster) in clusters.iter().enumerate() {
        assert_eq!(number(&client(cluster.router()).ask(&["GET", "n"])), n as i64);
    }
    let nodes: Vec<_> = clusters.iter().flat_map(|c| c.nodes().to_vec()).collect();
    drop(clusters);
    for node in nodes {
        // Another process may have the port by now.
        if let Ok(mut other) = Client::connect(node.address) {
            let id = Answer::Reply(Reply::Bulk(node.id.clone().into_bytes()));
            assert_ne!(other.call(&["CLUSTER", "MYID"]), id, "{node:?} still serves");
        }
    }
}
