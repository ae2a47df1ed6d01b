//! `slotway run` from outside: the environment, the report, the baseline, exit codes and signals. The
//! commands are Python's, which has sockets.

use crate::env::poll;
use crate::program::{End, Folder, PROGRAM, Run, slotway};
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::process::Command;

/// Sends its arguments, one a line, to the router port; prints the replies.
const TALK: &str = "
import os, socket, sys
line = socket.create_connection((os.environ['REDIS_HOST'], int(os.environ['REDIS_PORT'])))
replies = line.makefile('rb')
for words in sys.argv[1:]:
    line.sendall(words.encode() + b'\\r\\n')
    print(replies.readline().decode().strip(), flush=True)
";

/// `slotway run` with these options and a command of these words.
fn program(options: &[&str], command: &[&str]) -> Command {
    let mut program = slotway("run");
    program.env("PATH", "/usr/local/bin:/usr/bin:/bin").args(options).arg("--").args(command);
    program
}

fn run(options: &[&str], command: &[&str]) -> End {
    Run::of(&mut program(options, command)).end()
}

/// The same with a command that sends these lines to the cluster.
fn talk(options: &[&str], lines: &[&str]) -> End {
    run(options, &[&["python3", "-c", TALK], lines].concat())
}

#[test]
fn the_command_gets_the_addresses_of_the_cluster() {
    let script = "
import os, socket
nodes = os.environ['REDIS_CLUSTER_NODES'].split(',')
for address in nodes + [os.environ['REDIS_URL'].removeprefix('redis://'), os.environ['MINE']]:
    host, port = address.split(':')
    line = socket.create_connection((host, int(port)))
    line.sendall(b'PING\\r\\n')
    print(len(nodes), line.recv(100).decode().strip())
print(os.environ['OWN'])
";
    let options = ["--shards", "2", "--env", "MINE={host}:{port}", "--env", "OWN={{{node_port}}}"];
    let end = run(&options, &["python3", "-c", script]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let lines: Vec<&str> = end.stdout.lines().collect();
    assert_eq!(lines[..4], ["2 +PONG"; 4]);
    assert!(lines[4].starts_with('{') && lines[4].ends_with('}'), "{}", lines[4]);
    assert!(end.stderr.starts_with("slotway run\n"), "{}", end.stderr);
}

#[test]
fn violations_fail_a_command_that_has_passed() {
    let folder = Folder::new("run-violations");
    let report = folder.file("proof.json");
    let options = ["--report", &report];
    let end = talk(&options, &["SLOTWAY TEST t1", "MSET user:1 a user:2 b", "GET user:1"]);
    assert_eq!((end.code, end.stdout.as_str()), (Some(3), "+OK\n+OK\n$1\n"));
    assert!(end.stderr.contains("cross-slot-command  mset  1 time"), "{}", end.stderr);
    assert!(end.stderr.contains("Next: slotway explain cross-slot-command"), "{}", end.stderr);
    let document: Value = serde_json::from_str(&folder.read("proof.json")).expect("JSON");
    assert_eq!(document["exit_code"], 3);
    assert_eq!(document["violations"][0]["clients"][0]["test"], "t1");
    assert_eq!(document["violations"][0]["refused"], 0);
    // The same, refused.
    let end = talk(&["--cross-slot", "reject"], &["MSET user:1 a user:2 b", "GET user:1"]);
    assert_eq!(end.code, Some(3));
    assert!(end.stdout.starts_with("-CROSSSLOT"), "{}", end.stdout);
    // Clean, and with just a warning.
    let clean = talk(&[], &["MSET {u}1 a {u}2 b"]);
    assert_eq!(clean.code, Some(0));
    assert!(clean.stderr.contains("Next: keep it that way in CI: slotway run"), "{}", clean.stderr);
    assert_eq!(talk(&[], &["DBSIZE"]).code, Some(0));
    assert_eq!(talk(&["--strict"], &["DBSIZE"]).code, Some(3));
}

/// A command that only newer servers have runs in their dialects, and is a gap in the others.
#[test]
fn a_dialect_has_its_commands() {
    let commands = ["HSET h a 1", "HEXPIREAT h 1900000000 FIELDS 1 a"];
    for dialect in ["redis8", "valkey9"] {
        let end = talk(&["--dialect", dialect], &commands);
        assert_eq!((end.code, end.stdout.as_str()), (Some(0), ":1\n*1\n"), "{}", end.stderr);
    }
    let end = talk(&[], &commands);
    assert_eq!(end.code, Some(4));
    assert!(end.stderr.contains("Slotway has no HEXPIREAT in this dialect"), "{}", end.stderr);
}

#[test]
fn a_script_without_keys_is_in_every_report() {
    let folder = Folder::new("run-script-without-keys");
    let files = ["proof.json", "proof.xml", "proof.md", "proof.html", "proof.sarif"];
    let reports: Vec<String> = files.iter().map(|name| folder.file(name)).collect();
    let options: Vec<&str> = reports.iter().flat_map(|file| ["--report", file.as_str()]).collect();
    let script = "EVAL \"return redis.call('incr','n:'..ARGV[1])\" 0 7";
    for policy in ["audit", "reject", "split"] {
        let end = talk(&[&["--cross-slot", policy][..], &options].concat(), &[script]);
        assert_eq!(end.code, Some(3), "{}", end.stderr);
        for part in ["script-without-keys  eval", "line 1: incr", "makes the key from ARGV[1]"] {
            assert!(end.stderr.contains(part), "{part}: {}", end.stderr);
        }
        let document: Value = serde_json::from_str(&folder.read("proof.json")).expect("JSON");
        let row = &document["violations"][0];
        assert_eq!(row["rule"], "script-without-keys");
        let advice = "the script makes the key from ARGV[1]: pass the whole key in KEYS";
        assert_eq!(row["advice"], advice);
        for file in files {
            // Markdown escapes brackets.
            let text = folder.read(file).replace('\\', "");
            for part in ["script-without-keys", advice] {
                assert!(text.contains(part), "{file} {part}: {text}");
            }
        }
    }
    // It uses no key, and it was given its key.
    let clean =
        ["EVAL \"return redis.call('ping')\" 0", "EVAL \"return redis.call('get',KEYS[1])\" 1 a"];
    assert_eq!(talk(&[], &clean).code, Some(0));
}

/// Where something was refused that a server would run, the application did something else from there:
/// nothing of that is proven, whatever was found, and no report is green.
#[test]
fn what_was_refused_here_is_not_proven() {
    let folder = Folder::new("run-not-proven");
    let files = ["proof.json", "proof.xml", "proof.md", "proof.html", "proof.sarif"];
    let reports: Vec<String> = files.iter().map(|name| folder.file(name)).collect();
    let options: Vec<&str> = reports.iter().flat_map(|file| ["--report", file.as_str()]).collect();
    for (lines, says, times) in [
        (&["JSON.SET g $ 1", "JSON.SET g $ 2"][..], "Slotway has no JSON.SET", 2),
        (&["NOSUCH a b"], "no server that Slotway knows has NOSUCH", 1),
        (&["CONFIG SET maxmemory 100mb"], "Slotway has no CONFIG SET MAXMEMORY", 1),
        (&["MULTI", "SET a 1", "NOSUCH x", "EXEC"], "no server that Slotway knows has NOSUCH", 1),
        // A script that goes on: its client does not learn of it.
        (&["EVAL \"redis.pcall('json.set',KEYS[1],'$',1)\" 1 g"], "Slotway has no JSON.SET", 1),
        (&["EVAL \"redis.pcall('nosuch')\" 0"], "no server that Slotway knows has NOSUCH", 1),
    ] {
        for strict in [&[][..], &["--strict"]] {
            let end = talk(&[strict, &options].concat(), lines);
            assert_eq!(end.code, Some(4), "{}", end.stderr);
            for text in ["not proven", says] {
                assert!(end.stderr.contains(text), "{text}: {}", end.stderr);
            }
            assert!(!end.stderr.contains("would run what was seen"), "{}", end.stderr);
        }
        let document: Value = serde_json::from_str(&folder.read("proof.json")).expect("JSON");
        assert_eq!(document["exit_code"], 4);
        assert!(document["gaps"][0].as_str().expect("a gap").starts_with(says), "{document}");
        let totals = &document["totals"];
        let refused = [&totals["refused_commands"], &totals["unknown_commands"]];
        assert_eq!(refused.iter().filter_map(|count| count.as_u64()).sum::<u64>(), times);
        let junit = folder.read("proof.xml");
        let (cases, skipped) =
            (junit.matches("<testcase").count(), junit.matches("<skipped").count());
        assert!(skipped > 0 && skipped + junit.matches("<failure").count() == cases, "{junit}");
        assert!(folder.read("proof.md").contains("Not proven"));
        assert!(folder.read("proof.html").contains("Not proven"));
        assert!(folder.read("proof.sarif").contains("\"executionSuccessful\":false"));
    }
    // Its keys are judged all the same.
    let end = talk(&options, &["JSON.MSET a $ 1 b $ 2"]);
    assert_eq!(end.code, Some(4));
    assert!(end.stderr.contains("1  violation of 1 kind"), "{}", end.stderr);
    assert!(end.stderr.contains("cross-slot-command  json.mset  1 time"), "{}", end.stderr);
    let end = talk(&options, &["EVAL \"redis.pcall('json.set','b','$',1)\" 1 a"]);
    assert_eq!(end.code, Some(4));
    assert!(end.stderr.contains("undeclared-script-key"), "{}", end.stderr);
    // Nor is anything proven by a command that sends nothing, or fails.
    let silent = run(&options, &["true"]);
    assert_eq!(silent.code, Some(4));
    assert!(silent.stderr.contains("sent nothing to the cluster"), "{}", silent.stderr);
    let failed = run(&options, &["sh", "-c", "exit 7"]);
    assert_eq!(failed.code, Some(7));
    assert!(failed.stderr.contains("failed with exit code 7"), "{}", failed.stderr);
    assert!(failed.stderr.contains("Next: make the command pass"), "{}", failed.stderr);
    let document: Value = serde_json::from_str(&folder.read("proof.json")).expect("JSON");
    assert_eq!(document["exit_code"], 7);
    // What was reset, or may come yet, cannot be seen.
    let reset = talk(&[], &["MGET a b", "SLOTWAY VIOLATIONS RESET"]);
    assert_eq!(reset.code, Some(4));
    assert!(reset.stderr.contains("reset while the command ran"), "{}", reset.stderr);
    let script = format!(
        "{TALK}
if os.fork() == 0:
    # Waits for the end of the cluster, with its connection open.
    for at in 0, 1, 2:
        os.close(at)
    line.recv(1)
    os._exit(0)
"
    );
    let left = run(&[], &["python3", "-c", &script, "SET a 1"]);
    assert_eq!(left.code, Some(4), "{}", left.stderr);
    assert!(left.stderr.contains("1 connection still open"), "{}", left.stderr);
    // What every server refuses leaves no gap.
    let script = "EVAL \"redis.pcall('delifeq','g')\" 1 g";
    let end = talk(&[], &["CLIENT NOSUCH", "GET", "DELIFEQ g", "SET a 1", script]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
}

#[test]
fn a_page_says_what_can_be_done() {
    let end = talk(&[], &["MGET a b", "DEL a b"]);
    assert!(end.stderr.contains("cluster clients divide DEL, MGET by key"), "{}", end.stderr);
    // One client: its port says nothing, nor does the date.
    assert!(!end.stderr.contains("127.0.0.1") && !end.stderr.contains("UTC"), "{}", end.stderr);
    assert!(!end.stderr.contains("Busiest slots"), "{}", end.stderr);
    let end = talk(&[], &["MGET a b", "RENAME a b"]);
    assert!(!end.stderr.contains("cluster clients divide"), "{}", end.stderr);
    let end = talk(&[], &["KEYS cart:17:*"]);
    assert!(
        end.stderr.contains("cart:<int>:* (a command that sees one node only)"),
        "{}",
        end.stderr
    );
}

/// A page that is clean because commands were divided says so; one with a violation that no hashtag
/// mends says what does.
#[test]
fn a_page_says_what_a_hashtag_does_not_mend() {
    let end = talk(&["--cross-slot", "split"], &["MSET a 1 b 2", "MGET a b", "GET a"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(end.stderr.contains("2 commands over slots divided by slot"), "{}", end.stderr);
    let end = talk(&[], &["SELECT 1"]);
    assert_eq!(end.code, Some(3));
    assert!(end.stderr.contains("and   for other-database:"), "{}", end.stderr);
    // The keys of refused commands have a price, too.
    let folder = Folder::new("run-price");
    let report = folder.file("proof.json");
    let end = talk(&["--report", &report], &["JSON.MSET a $ 1 b $ 2 c $ 3", "JSON.SET a $ 1"]);
    assert_eq!(end.code, Some(4));
    let document: Value = serde_json::from_str(&folder.read("proof.json")).expect("JSON");
    assert_eq!(document["totals"]["different_keys"], 3, "{}", document["totals"]);
}

/// A key that is no text can be had back.
#[test]
fn a_key_of_any_bytes_is_in_the_json() {
    let folder = Folder::new("run-bytes");
    let report = folder.file("proof.json");
    let end = talk(&["--report", &report], &[r#"MGET "a\x00b" "c\xffd" plain"#]);
    assert_eq!(end.code, Some(3));
    let document: Value = serde_json::from_str(&folder.read("proof.json")).expect("JSON");
    let keys = &document["violations"][0]["examples"][0]["keys"];
    assert_eq!(keys[0]["hex"], "610062");
    assert_eq!(keys[1]["hex"], "63ff64");
    assert_eq!((&keys[2]["key"], &keys[2]["hex"]), (&Value::from("plain"), &Value::Null));
}

#[test]
fn the_commands_own_exit_code_takes_precedence() {
    assert_eq!(run(&[], &["sh", "-c", "exit 7"]).code, Some(7));
    assert_eq!(run(&[], &["sh", "-c", "kill -9 $$"]).code, Some(128 + 9));
    let script = format!("{TALK}\nsys.exit(5)");
    assert_eq!(run(&[], &["python3", "-c", &script, "MSET a 1 b 2"]).code, Some(5));
}

#[test]
fn requests_sent_at_the_very_end_are_reported() {
    // Without replies: one that reaches a closed socket would reset the connection, and with it what
    // the server has not yet read.
    let script = "
import os, socket
line = socket.create_connection((os.environ['REDIS_HOST'], int(os.environ['REDIS_PORT'])))
line.sendall(b'CLIENT REPLY OFF\\r\\n' + b'MGET user:1 user:2\\r\\n' * 100)
line.shutdown(socket.SHUT_WR)
os._exit(0)
";
    let folder = Folder::new("run-late");
    let report = folder.file("proof.json");
    let end = run(&["--report", &report], &["python3", "-c", script]);
    assert_eq!(end.code, Some(3), "{}", end.stderr);
    let document: Value = serde_json::from_str(&folder.read("proof.json")).expect("JSON");
    assert_eq!(document["totals"]["errors"], 100, "{}", document["totals"]);
}

/// `run` and `check` say the same of the same commands, so that the baseline of one fits the other.
#[test]
fn a_baseline_of_run_fits_check() {
    let lines = [
        "MGET user:1 user:2",
        "WATCH x:0",
        "MULTI",
        "SINTERSTORE tmp x:0 y:0",
        "RENAME tmp x:0",
        "SET z:0 1",
        "EXEC",
        "KEYS cart:7:*",
    ];
    let folder = Folder::new("run-baseline-check");
    let history = folder.written("history.txt", &format!("{}\n", lines.join("\n")));
    let check = |options: &[&str]| {
        let options = [&["check", history.as_str(), "--strict"], options].concat();
        Run::of(Command::new(PROGRAM).env_clear().args(options)).end()
    };
    assert_eq!(check(&[]).code, Some(3));
    let (of_run, of_check) = (folder.file("run.baseline"), folder.file("check.baseline"));
    let end = talk(&["--strict", "--allow", &of_run, "--update-baseline"], &lines);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_eq!(check(&["--allow", &of_check, "--update-baseline"]).code, Some(0));
    let text = folder.read("run.baseline");
    assert_eq!(text, folder.read("check.baseline"));
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 5, "{text}");
    let known = check(&["--allow", &of_run]);
    assert_eq!(known.code, Some(0), "{}", known.stdout);
    assert!(known.stdout.contains("5 kinds known"), "{}", known.stdout);
}

#[test]
fn a_baseline_only_shrinks() {
    let folder = Folder::new("run-baseline");
    let known = folder.file("known.txt");
    let (old, new) = ("MGET user:1 user:2", "SINTER a b");
    let update = ["--allow", &known, "--update-baseline"];
    // Written, then held.
    assert_eq!(talk(&update, &[old, "SDIFF c d"]).code, Some(0));
    let text = folder.read("known.txt");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["cross-slot-command mget user:<int>", "cross-slot-command sdiff c d"]);
    let end = talk(&["--allow", &known], &["MGET user:8 user:9"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(end.stderr.contains("cross-slot-command  mget  1 time, known"), "{}", end.stderr);
    assert!(end.stderr.contains("1 kind known from"), "{}", end.stderr);
    assert!(end.stderr.contains("cross-slot-command sdiff c d"), "gone: {}", end.stderr);
    // Something new fails, in every report.
    let reports = ["xml", "sarif", "json", "md"].map(|kind| folder.file(&format!("proof.{kind}")));
    let mut options = vec!["--allow", &known];
    reports.iter().for_each(|path| options.extend(["--report", path]));
    assert_eq!(talk(&options, &[old, new]).code, Some(3));
    let document: Value = serde_json::from_str(&folder.read("proof.json")).expect("JSON");
    assert_eq!(document["baseline"]["known"], 1);
    assert_eq!(document["baseline"]["new"], 1);
    assert!(folder.read("proof.xml").contains("one command, keys in several slots: 1 time\""));
    let sarif: Value = serde_json::from_str(&folder.read("proof.sarif")).expect("JSON");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    let states = results.iter().map(|result| result["baselineState"].as_str().expect("a state"));
    let mut states: Vec<&str> = states.collect();
    states.sort_unstable();
    assert_eq!(states, ["new", "unchanged"]);
    // What no longer occurs is removed by the next update.
    assert_eq!(talk(&update, &[new]).code, Some(0));
    assert!(folder.read("known.txt").ends_with("\ncross-slot-command sinter a b\n"));
    assert_eq!(talk(&["--allow", &known], &[old]).code, Some(3));
    // A failed command did not exercise everything: the baseline is kept.
    let end = run(&update, &["sh", "-c", "exit 5"]);
    assert_eq!(end.code, Some(5), "{}", end.stderr);
    assert!(end.stderr.contains("known.txt is unchanged"), "{}", end.stderr);
    assert!(folder.read("known.txt").ends_with("\ncross-slot-command sinter a b\n"));
}

#[test]
fn mistakes_are_reported_before_anything_runs() {
    let folder = Folder::new("run-wrong");
    let (mark, broken) = (folder.file("mark"), folder.written("broken.txt", "what is this\n"));
    let touch = ["sh", "-c", "touch \"$0\"", &mark];
    let missing = folder.file("missing.txt");
    let unwritable = folder.file("no/such/folder.json");
    for (options, says) in [
        (vec!["--report", &unwritable], "cannot write"),
        (vec!["--report", "proof.doc"], "must end with .json"),
        (vec!["--allow", &missing], "--update-baseline writes it"),
        (vec!["--allow", &broken], "line 1: no rule is named"),
        (vec!["--update-baseline"], "--allow"),
        (vec!["--env", "A={nosuch}"], "{node_urls}"),
        (vec!["--env", "=x"], "NAME=TEMPLATE"),
        (vec!["--shards", "0"], "--shards"),
        (vec!["--cross-slot", "maybe"], "audit"),
    ] {
        let end = run(&options, &touch);
        assert_eq!(end.code, Some(2), "{options:?}: {}", end.stderr);
        assert!(end.stderr.contains(says), "{options:?}: {}", end.stderr);
        assert!(fs::metadata(&mark).is_err(), "{options:?}");
    }
    assert_eq!(run(&[], &[]).code, Some(2));
    let end = run(&[], &["/no/such/command"]);
    assert_eq!(end.code, Some(127));
    assert!(end.stderr.contains("cannot start /no/such/command"), "{}", end.stderr);
    assert_eq!(run(&[], &[&folder.written("plain", "no program")]).code, Some(126));
    // It runs, and proves nothing.
    assert_eq!(run(&[], &touch).code, Some(4));
    assert!(fs::metadata(&mark).is_ok());
}

#[test]
fn signals_reach_the_command_and_no_process_is_left() {
    let script = "
import os, signal
awaited = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
print(os.getpid(), os.environ['REDIS_PORT'], flush=True)
print('got', signal.sigwait(awaited).name, flush=True)
os._exit(9)
";
    for (sent, name) in [
        (Signal::INT, "SIGINT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::HUP, "SIGHUP"),
        (Signal::QUIT, "SIGQUIT"),
    ] {
        let mut run = Run::of(&mut program(&[], &["python3", "-c", script]));
        let line = run.ready();
        let (id, port) = line.trim().split_once(' ').expect("two numbers");
        let id = Pid::from_raw(id.parse().expect("a process")).expect("not 0");
        run.signal(sent);
        let end = run.end();
        assert_eq!((end.code, end.stdout), (Some(9), format!("got {name}\n")));
        assert!(test_kill_process(id).is_err(), "it is gone");
        let port: u16 = port.parse().expect("a port");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the cluster still listens");
    }
    // A command that does not handle the signal ends by it.
    let mut run = Run::of(&mut program(&[], &["sh", "-c", "echo up; exec sleep 600"]));
    assert_eq!(run.ready(), "up\n");
    run.signal(Signal::TERM);
    assert_eq!(run.end().code, Some(128 + 15));
}

/// What ends by SIGKILL can do nothing more: the kernel ends the command.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_run_leaves_no_command_running() {
    let command = ["sh", "-c", "echo $$; exec sleep 600"];
    let mut run = Run::of(&mut program(&[], &command));
    let id = Pid::from_raw(run.ready().trim().parse().expect("a process")).expect("not 0");
    run.signal(Signal::KILL);
    assert_eq!(run.end().code, None);
    // Once it is gone, or a zombie that nobody waits for.
    let ended = poll(|| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero()));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    });
    assert!(ended.is_some(), "the command still runs");
    // A run that died before the command began: nothing begins.
    let late = ["__guard", "2147483647", "0", "--", "echo", "up"];
    let end = Run::of(Command::new(PROGRAM).args(late)).end();
    assert_eq!(
        (end.code, end.stdout, end.stderr),
        (Some(1), String::new(), "slotway: slotway is gone\n".into())
    );
    // The command may have the codes of a failure to start it.
    let end = self::run(&[], &["sh", "-c", "exit 127"]);
    assert_eq!((end.code, end.stderr.contains("cannot start")), (Some(127), false));
}

#[test]
fn the_help_has_variables_and_exit_codes() {
    let end = Run::of(Command::new(PROGRAM).args(["run", "--help"])).end();
    for word in ["REDIS_CLUSTER_NODES", "{node_urls}", "126", "127", "--update-baseline"] {
        assert!(end.stdout.contains(word), "{word}");
    }
}
