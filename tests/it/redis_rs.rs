//! redis-rs against the built server, blocking and async, over RESP2 and RESP3: the client that Rust
//! applications use. The tests check what it sends (WATCH loops, pipelines packed into one write,
//! HELLO) and the error kinds that it returns; transcripts check the replies themselves.

use std::collections::{HashMap, HashSet};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncCommands, Client, Commands, Connection, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisError, ServerErrorKind, pipe,
};

use crate::server_process::ServerProcess;

const WORKERS: usize = 6;
const COMMITS: usize = 30;

fn client(server: &ServerProcess, protocol: ProtocolVersion) -> Client {
    let info = format!("redis://{}", server.address).into_connection_info().expect("a URL");
    let settings = info.redis_settings().clone().set_protocol(protocol);
    Client::open(info.set_redis_settings(settings)).expect("connection settings")
}

/// Runs the body over both protocols, each against a server of its own.
fn over_both(body: impl Fn(&Client, Connection)) {
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        let server = ServerProcess::start(&[]);
        let client = client(&server, protocol);
        let connection = client.get_connection().expect("the server accepts");
        body(&client, connection);
    }
}

/// The same for an async body.
fn over_both_async(body: impl AsyncFn(&Client, MultiplexedConnection)) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        let server = ServerProcess::start(&[]);
        let client = client(&server, protocol);
        runtime.block_on(async {
            let connection = client.get_multiplexed_async_connection().await;
            body(&client, connection.expect("the server accepts")).await;
        });
    }
}

fn server_kinds(error: RedisError) -> Vec<(usize, Option<ServerErrorKind>)> {
    let errors = error.into_server_errors().expect("the server said so, not the client");
    errors.iter().map(|(index, error)| (*index, error.kind())).collect()
}

#[test]
fn values_hashes_and_expiry() {
    over_both(|_, mut redis| {
        let () = redis.set("a", 41).expect("SET");
        assert_eq!(redis.incr::<_, _, i64>("a", 1).expect("INCR"), 42);
        assert_eq!(redis.get::<_, Option<String>>("none").expect("GET"), None);
        let () = redis.mset(&[("{m}a", "x"), ("{m}b", "y")]).expect("MSET");
        let both: (String, String) = redis.mget(&["{m}a", "{m}b"]).expect("MGET");
        assert_eq!(both, ("x".into(), "y".into()));

        let () = redis.hset_multiple("h", &[("name", "ada"), ("born", "1815")]).expect("HSET");
        let all: HashMap<String, String> = redis.hgetall("h").expect("HGETALL");
        let expected = HashMap::from([("name", "ada"), ("born", "1815")]);
        assert_eq!(all, expected.into_iter().map(|(f, v)| (f.into(), v.into())).collect());
        assert_eq!(redis.hincr::<_, _, _, i64>("h", "born", 37).expect("HINCRBY"), 1852);

        assert!(redis.expire::<_, bool>("h", 100).expect("EXPIRE"));
        assert!((95..=100).contains(&redis.ttl::<_, i64>("h").expect("TTL")));
        assert!(redis.pexpire_at::<_, bool>("h", 1).expect("PEXPIREAT"));
        assert!(!redis.exists::<_, bool>("h").expect("EXISTS"));

        let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_le_bytes()[0]).collect();
        let () = redis.set(b"\0\r\n\xff", &bytes).expect("SET");
        assert!(redis.get::<_, Vec<u8>>(b"\0\r\n\xff").expect("GET") == bytes);
    });
}

#[test]
fn pipelines_and_scans_cover_every_shard() {
    over_both(|_, mut redis| {
        let mut pipeline = pipe();
        for number in 0..1000 {
            pipeline.set(format!("p:{number}"), number).ignore().get(format!("p:{number}"));
        }
        let answers: Vec<usize> = pipeline.query(&mut redis).expect("a pipeline over all slots");
        assert_eq!(answers, (0..1000).collect::<Vec<_>>());

        let found: Vec<String> = redis
            .scan_match("p:*")
            .expect("SCAN")
            .collect::<Result<_, _>>()
            .expect("each page of SCAN");
        assert_eq!(found.len(), 1000, "each key once on a quiet server");
        assert_eq!(found.into_iter().collect::<HashSet<_>>().len(), 1000);
    });
}

#[test]
fn a_transaction_commits_and_a_touched_key_stops_it() {
    over_both(|client, mut redis| {
        let mut other = client.get_connection().expect("the server accepts");
        let (count,): (i64,) = pipe()
            .atomic()
            .set("{t}a", 1)
            .ignore()
            .incr("{t}a", 1)
            .query(&mut redis)
            .expect("EXEC");
        assert_eq!(count, 2);

        let () = redis::cmd("WATCH").arg("{t}a").query(&mut redis).expect("WATCH");
        let () = other.set("{t}a", 2).expect("SET");
        let lost: Option<(i64,)> = pipe().atomic().incr("{t}a", 1).query(&mut redis).expect("EXEC");
        assert_eq!(lost, None);
        assert_eq!(redis.get::<_, i64>("{t}a").expect("GET"), 2);
    });
}

#[test]
fn watch_loops_under_contention_lose_no_commit() {
    over_both(|client, mut redis| {
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    let mut mine = client.get_connection().expect("the server accepts");
                    for _ in 0..COMMITS {
                        let ((),) =
                            redis::transaction(&mut mine, &["{c}count"], |mine, pipeline| {
                                let count: Option<usize> = mine.get("{c}count")?;
                                pipeline.set("{c}count", count.unwrap_or(0) + 1).query(mine)
                            })
                            .expect("a WATCH loop");
                    }
                });
            }
        });
        assert_eq!(redis.get::<_, usize>("{c}count").expect("GET"), WORKERS * COMMITS);
    });
}

#[test]
fn errors_arrive_under_their_own_kind() {
    over_both(|_, mut redis| {
        let crossing = redis.mset::<_, _, ()>(&[("foo", 1), ("bar", 2)]).expect_err("two slots");
        assert_eq!(crossing.kind(), ErrorKind::Server(ServerErrorKind::CrossSlot));

        // The router refuses the second command when it is queued: the error is at its place.
        let aborted = pipe().atomic().set("foo", 1).set("bar", 2).exec(&mut redis);
        let aborted = aborted.expect_err("two slots");
        assert_eq!(aborted.kind(), ErrorKind::Server(ServerErrorKind::ExecAbort));
        assert_eq!(server_kinds(aborted), [(1, Some(ServerErrorKind::CrossSlot))]);
        assert!(!redis.exists::<_, bool>("foo").expect("EXISTS"), "nothing of it ran");

        let () = redis.set("text", "x").expect("SET");
        let wrong = redis.hget::<_, _, ()>("text", "f").expect_err("a string is no hash");
        assert_eq!(wrong.code(), Some("WRONGTYPE"));
        let unknown = redis::cmd("NOSUCH").exec(&mut redis).expect_err("no such command");
        assert_eq!(unknown.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
    });
}

#[test]
fn a_killed_connection_runs_nothing_and_a_new_one_serves() {
    over_both(|client, mut redis| {
        let mut victim = client.get_connection().expect("the server accepts");
        let id: i64 = redis::cmd("CLIENT").arg("ID").query(&mut victim).expect("CLIENT ID");
        let () = redis::cmd("MULTI").query(&mut victim).expect("MULTI");
        let () = redis::cmd("SET").arg("k").arg(1).query(&mut victim).expect("QUEUED");
        let killed: i64 =
            redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).query(&mut redis).expect("KILL");
        assert_eq!(killed, 1);
        let cut = redis::cmd("EXEC").query::<()>(&mut victim).expect_err("the connection is gone");
        assert!(cut.is_connection_dropped() || cut.is_io_error(), "{cut}");
        assert!(!redis.exists::<_, bool>("k").expect("EXISTS"));

        let mut again = client.get_connection().expect("the server accepts");
        assert_eq!(redis::cmd("PING").query::<String>(&mut again).expect("PING"), "PONG");
    });
}

#[test]
fn one_async_connection_serves_many_tasks_at_once() {
    over_both_async(async |_, redis| {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200 {
            let mut redis = redis.clone();
            tasks.spawn(async move {
                let key = format!("task:{number}");
                let () = redis.set(&key, number).await.expect("SET");
                let seen: usize = redis.get(&key).await.expect("GET");
                assert_eq!(seen, number, "each task reads its own answer");
                redis.incr::<_, _, usize>("shared", 1).await.expect("INCR")
            });
        }
        let mut numbers = tasks.join_all().await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    });
}

#[test]
fn async_watch_loops_under_contention_lose_no_commit() {
    over_both_async(async |client, mut redis| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..WORKERS {
            // WATCH belongs to a connection, so each worker has its own.
            let mine = client.get_multiplexed_async_connection().await.expect("the server accepts");
            tasks.spawn(async move {
                for _ in 0..COMMITS {
                    let body =
                        async |mut mine: MultiplexedConnection, mut pipeline: redis::Pipeline| {
                            let count: Option<usize> = mine.get("{c}count").await?;
                            let count = count.unwrap_or(0) + 1;
                            pipeline.set("{c}count", count).query_async(&mut mine).await
                        };
                    let ((),) = redis::aio::transaction_async(mine.clone(), &["{c}count"], body)
                        .await
                        .expect("a WATCH loop");
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(redis.get::<_, usize>("{c}count").await.expect("GET"), WORKERS * COMMITS);
    });
}
