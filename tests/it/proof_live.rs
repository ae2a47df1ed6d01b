//! What a running server records for the proof: in every dialect, from many clients at once, and that
//! nothing is lost without being counted.

use crate::nodes::Shape;
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, command};
use serde_json::Value;
use std::process::Command;
use std::thread;

/// The document of SLOTWAY PROOF.
fn proof(client: &mut Client) -> Value {
    match client.ask(&["SLOTWAY", "PROOF"]) {
        Reply::Bulk(document) => serde_json::from_slice(&document).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

/// `rule command count refused` of each kind.
fn violations(document: &Value) -> Vec<String> {
    let rows = document["violations"].as_array().expect("rows");
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let row = |row: &Value| {
        let (rule, command) = (text(row, "rule"), text(row, "command"));
        format!("{rule} {command} {} {}", row["count"], row["refused"])
    };
    rows.iter().map(row).collect()
}

fn number(document: &Value, pointer: &str) -> u64 {
    document.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}"))
}

fn lines(client: &mut Client, lines: &[&str]) {
    for line in lines {
        client.ask(&line.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn every_dialect_records_what_it_refuses() {
    // bar and a{b} belong to the first node, in different slots.
    let guarded = ["WATCH bar", "MULTI", "SET a{b} 1", "EXEC"];
    let crossing = ["MULTI", "SET bar 1", "GET a{b}", "EXEC"];
    for (dialect, elsewhere) in [
        ("redis7", "shared-shard multi: set 1 0"),
        ("valkey9", "shared-shard multi: set 1 0"),
        ("enterprise", "watch-elsewhere multi: set 1 1"),
        ("serverless", "watch-elsewhere multi: set 1 1"),
    ] {
        let shape = Shape { masters: 2, replicas: 0, spares: 0 };
        let options = ["--dialect".to_owned(), dialect.to_owned()];
        let (server, stage) = ServerProcess::start_cluster(shape, &options);
        let node = stage.address_of("n1").expect("a node");
        let mut client = Client::connect(node).expect("it takes connections");
        lines(&mut client, &guarded);
        lines(&mut client, &crossing);
        lines(&mut client, &["MGET bar a{b}"]);
        let mut expected = [
            "cross-slot-command mget 1 1",
            "cross-slot-transaction multi: set, get 1 1",
            elsewhere,
        ];
        expected.sort_unstable();
        let mut found = violations(&proof(&mut server.client()));
        found.sort();
        assert_eq!(found, expected, "{dialect}");
    }
}

#[test]
fn many_clients_lose_nothing_uncounted() {
    const CLIENTS: u64 = 4;
    const EACH: u64 = 500;
    let server = ServerProcess::start(&[]);
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let mut client = server.client();
            scope.spawn(move || {
                client.ask(&["CLIENT", "SETNAME", &format!("worker-{n}")]);
                let request = command(&["DEL", &format!("a:{n}"), "b:1"]);
                client.send(&request.repeat(EACH as usize));
                for _ in 0..EACH {
                    let Answer::Reply(Reply::Error(error)) = client.read() else {
                        panic!("no error")
                    };
                    assert!(error.starts_with(b"CROSSSLOT"));
                }
            });
        }
    });
    let document = proof(&mut server.client());
    let counted = number(&document, "/totals/errors") + number(&document, "/totals/dropped");
    assert_eq!(counted, CLIENTS * EACH);
    let row = &document["violations"][0];
    assert_eq!(document["violations"].as_array().map(Vec::len), Some(1));
    let mut names: Vec<&str> = row["clients"]
        .as_array()
        .expect("clients")
        .iter()
        .filter_map(|client| client["name"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["worker-0", "worker-1", "worker-2", "worker-3"]);
}

#[test]
fn every_lost_exec_has_a_winner_and_every_commit_its_attempts() {
    const CLIENTS: u64 = 4;
    const COMMITS: u64 = 100;
    let server = ServerProcess::start(&[]);
    let lost: u64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = server.client();
                scope.spawn(move || {
                    let (mut lost, mut commits) = (0, 0);
                    while commits < COMMITS {
                        lines(&mut client, &["WATCH stock:1", "GET stock:1", "MULTI"]);
                        lines(&mut client, &["INCR stock:1"]);
                        match client.ask(&["EXEC"]) {
                            Reply::Array(_) => commits += 1,
                            _ => lost += 1,
                        }
                    }
                    lost
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("it ends")).sum()
    });
    let document = proof(&mut server.client());
    let recorded = number(&document, "/totals/conflicts");
    assert_eq!(recorded + number(&document, "/totals/dropped"), lost);
    let commits = document["commits_by_attempts"].as_array().expect("a histogram");
    let commits: u64 = commits.iter().filter_map(Value::as_u64).sum();
    assert_eq!(commits, CLIENTS * COMMITS);
    for row in document["conflicts"].as_array().expect("rows") {
        let winner = (row["pattern"].as_str(), row["command"].as_str(), &row["own"]);
        assert_eq!(winner, (Some("stock:<int>"), Some("incr"), &Value::from(0)));
    }
}

#[test]
fn a_sample_is_scaled_to_the_whole() {
    const REQUESTS: u64 = 20_000;
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    let mut batch = Vec::new();
    for n in 0..REQUESTS {
        batch.extend(command(&["MGET", &format!("{{u:{n}}}a"), &format!("{{u:{n}}}b")]));
    }
    client.send(&batch);
    (0..REQUESTS).for_each(|_| assert!(matches!(client.read(), Answer::Reply(_))));
    let document = proof(&mut client);
    let estimated = number(&document, "/groups/0/count") as f64 / REQUESTS as f64;
    assert!((0.95..=1.05).contains(&estimated), "{estimated} of the requests");
    assert_eq!(document.pointer("/totals/is_sampled"), Some(&Value::Bool(true)));
    assert_eq!(document.pointer("/totals/is_exact"), Some(&Value::Bool(false)));
    assert_eq!(document["groups"][0]["verdict"], "fits");
}

/// Neither the proof nor what INFO and CLIENT LIST show has a password that a client has sent.
#[test]
fn no_report_has_a_password() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    let requests = [
        "AUTH s3cret",
        "AUTH user s3cret",
        "HELLO 2 AUTH user s3cret SETNAME x",
        "CONFIG SET masterauth s3cret",
        "ACL SETUSER user >s3cret",
        "MIGRATE 127.0.0.1 1 a 0 10 AUTH s3cret",
        "MIGRATE 127.0.0.1 1 k 0 10 AUTH2 user s3cret KEYS a b",
        "MSET a 1 b 2",
        "MULTI",
        "CONFIG SET requirepass s3cret nosuch 1",
        "SET a 1",
        "SET b 2",
        "EXEC",
        "CLIENT SETNAME x",
    ];
    lines(&mut client, &requests);
    // Replies show their bytes as numbers.
    let secret = format!("{:?}", b"s3cret");
    let secret = secret.trim_matches(['[', ']']);
    for shown in [
        &["SLOTWAY", "PROOF"][..],
        &["SLOTWAY", "VIOLATIONS"],
        &["SLOTWAY", "GROUPS"],
        &["SLOTWAY", "CONFLICTS"],
        &["INFO", "everything"],
        &["CLIENT", "LIST"],
    ] {
        let reply = format!("{:?}", client.ask(shown));
        assert!(reply.len() > 40 && !reply.contains(secret), "{shown:?}: {reply}");
    }
    assert_eq!(proof(&mut client)["violations"].as_array().map(Vec::is_empty), Some(false));
}

/// Workers with client names of their own, two connections each, and one client without a name. Each
/// test uses keys with its name, of letters only: rows are by pattern.
#[test]
fn tests_that_run_in_parallel_do_not_mix() {
    let server = ServerProcess::start(&[]);
    lines(&mut server.client(), &["SLOTWAY TEST rest"]);
    thread::scope(|scope| {
        for worker in ["anna", "bert", "cora", "dora"] {
            let (mut fixture, mut code) = (server.client(), server.client());
            scope.spawn(move || {
                let name = format!("CLIENT SETNAME {worker}");
                lines(&mut fixture, &[&name]);
                lines(&mut code, &[&name]);
                for test in 'a'..='j' {
                    let test = format!("{worker}-{test}");
                    lines(&mut fixture, &[&format!("SLOTWAY TEST {test}")]);
                    lines(&mut code, &[&format!("MGET {test}:1 {test}:2")]);
                }
                lines(&mut fixture, &["SLOTWAY TEST"]);
                lines(&mut code, &["MGET rest:1 rest:2"]);
            });
        }
        let mut unnamed = server.client();
        scope.spawn(move || lines(&mut unnamed, &["MGET rest:1 rest:2"]));
    });
    let document = proof(&mut server.client());
    let rows = document["violations"].as_array().expect("rows");
    for row in rows {
        let pattern = row["patterns"][0].as_str().expect("a pattern");
        let clients = row["clients"].as_array().expect("clients");
        assert_eq!(clients.len(), if pattern == "rest:<int>" { 5 } else { 1 }, "{row}");
        for client in clients {
            assert_eq!(format!("{}:<int>", client["test"].as_str().expect("a test")), pattern);
        }
    }
    assert_eq!(rows.len(), 4 * 10 + 1);
}

#[test]
fn ctl_shows_rows_in_lines() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    lines(&mut client, &["CLIENT SETINFO LIB-NAME shop-py", "CLIENT SETINFO LIB-VER 1.2"]);
    lines(&mut client, &["SLOTWAY TEST t1", "MGET cart:1 cart:2"]);
    let ctl = |words: &[&str]| {
        let port = server.address.port().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_slotway"))
            .args([&["ctl", "--port", &port], words].concat())
            .output()
            .expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, shown) = ctl(&["violations"]);
    assert_eq!(code, Some(0));
    for line in [
        "errors                    1",
        "rule                      cross-slot-command",
        "command                   mget",
        "patterns                  cart:<int>",
        "keys                      cart:1 (slot 1420), cart:2 (slot 13807)",
        "tag                       {cart}",
    ] {
        assert!(shown.lines().any(|other| other == line), "{line} in\n{shown}");
    }
    assert!(shown.contains("t1 shop-py 1.2 127.0.0.1:"), "{shown}");
    assert_eq!(ctl(&["violations", "reset"]), (Some(0), "OK\n".to_owned()));
    assert_eq!(ctl(&["violations"]).1.lines().next(), Some("errors                    0"));
    assert!(ctl(&["proof"]).1.starts_with("{\"schema\":\"slotway-proof/1\""));
}
