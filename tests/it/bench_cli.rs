//! `slotway bench` from outside: the page, the files, the exit codes, signals.

use crate::env::poll;
use crate::faulty_server::{Fault, FaultyServer};
use crate::program::{End, Folder, PROGRAM, Run, slotway};
use crate::server_process::{ServerProcess, info};
use crate::wire::Reply;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::process::Command;

/// A load that ends at once.
const SMALL: &str = "-n 300 -c 4 -g 4";

/// `slotway bench` with these arguments and an empty environment.
fn bench(line: &str) -> Command {
    slotway(&format!("bench {line}"))
}

fn ended(line: &str) -> End {
    Run::of(&mut bench(line)).end()
}

/// The end of a run that has to succeed.
fn well(line: &str) -> End {
    let end = ended(line);
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{line}: {}", end.stdout);
    end
}

/// The document of a run with `--json`.
fn document(line: &str) -> (Option<i32>, Value) {
    let end = ended(&format!("{line} --json"));
    let value = serde_json::from_str(&end.stdout);
    (
        end.code,
        value.unwrap_or_else(|error| panic!("{line}: {error}: {} {}", end.stdout, end.stderr)),
    )
}

/// Slotway with these options.
fn server(options: &[&str]) -> ServerProcess {
    ServerProcess::start(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
}

/// Waits until a load has sent so many commands to the server.
fn wait_for_load(server: &ServerProcess, commands: u64) {
    let mut observer = server.client();
    let begun = || (info(&mut observer, "total_commands_processed") >= commands).then_some(());
    poll(begun).expect("the load begins");
}

// ── the page ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_page_leads_with_two_numbers_and_ends_with_a_command() {
    let page = well(SMALL).stdout;
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(lines[0], "slotway bench transfer");
    let lead = lines.iter().position(|line| line.is_empty()).expect("the head ends") + 1;
    assert!(lines[lead].ends_with("committed transactions per second"), "{page}");
    assert!(lines[lead + 1].contains("p99 of a transaction"), "{page}");
    assert!(lines[lead + 2].contains("attempts aborted"), "{page}");
    assert!(page.contains("The run was short"), "300 transactions say little: {page}");
    assert!(page.contains("held") && !page.contains("BROKEN"), "{page}");
    let last = lines.last().expect("a last line").trim();
    // The suggested command is valid.
    let next = last.strip_prefix("slotway ").expect("a command");
    let check = Run::of(Command::new(PROGRAM).args(next.split_whitespace()).arg("--help")).end();
    assert_eq!(check.code, Some(0), "{last}: {}", check.stderr);
    assert!(lines[lines.len() - 2].starts_with("Next: "), "{page}");
}

#[test]
fn colours_are_for_terminals_unless_an_option_says_otherwise() {
    let has_colours = |line: &str, no_color: Option<&str>| {
        let mut command = bench(&format!("{SMALL} {line}"));
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let end = Run::of(&mut command).end();
        assert_eq!(end.code, Some(0), "{line}: {}", end.stderr);
        end.stdout.contains('\x1b')
    };
    // The tests' stdout is a pipe.
    assert!(!has_colours("", None));
    assert!(!has_colours("--color never", None));
    assert!(!has_colours("--color auto", Some("1")));
    assert!(has_colours("--color always", None));
}

#[test]
fn every_workload_succeeds_and_prints_its_page() {
    for kind in
        ["counter", "transfer", "order", "append", "lock", "incr", "multi", "read", "pipeline"]
    {
        let page = well(&format!("{kind} -n 60 -c 4 -g 4")).stdout;
        assert!(page.starts_with(&format!("slotway bench {kind}\n")), "{page}");
        assert!(page.contains("\nInvariants\n  held"), "{kind} has an invariant: {page}");
    }
}

// ── exit codes ────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_wrong_command_line_exits_2_and_says_what_is_wrong() {
    for (line, words) in [
        ("nosuch", &["nosuch", "transfer"][..]),
        ("--nosuch", &["--nosuch"]),
        ("--duration 10", &["--duration", "10s"]),
        ("--duration 0s", &["--duration"]),
        ("--connections 0", &["--connections 0", "from 1"]),
        ("--threads 9 -c 4", &["--threads 9", "4 connections"]),
        ("counter --pipeline 2", &["--pipeline 2", "WATCH"]),
        ("--cross 150%", &["--cross", "0 to 1"]),
        ("--keys-per-group 1", &["--keys-per-group 1", "transfer"]),
        ("--rate 0", &["--rate 0"]),
        ("--rate 5 --think 1ms", &["--rate", "--think"]),
        ("--distribution normal", &["normal", "zipfian"]),
        ("--retry often", &["often", "exponential"]),
        ("--target http://h", &["http", "redis://"]),
        ("--sweep shards=1,2", &["shards", "groups"]),
        ("--sweep groups=0", &["groups"]),
        ("--sweep groups=1 --compare own own", &["--sweep", "--compare"]),
        ("--fail-if p99>5", &["p99>5", "5ms"]),
        ("--fail-if speed>5", &["speed", "p99"]),
        ("--html /nonexistent/report.html", &["/nonexistent/report.html"]),
        ("--plan /nonexistent/plan.toml", &["/nonexistent/plan.toml"]),
        ("/nonexistent/workload.toml", &["/nonexistent/workload.toml"]),
    ] {
        let End { code, stdout, stderr } = ended(line);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{line}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{line}: no {word:?} in {stderr:?}");
        }
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    }
}

#[test]
fn a_target_that_is_not_there_exits_2_and_is_named() {
    let unused = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = unused.local_addr().expect("it is bound");
    drop(unused);
    let End { code, stdout, stderr } =
        ended(&format!("{SMALL} --patience 300ms -t redis://{address}"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains(&address.to_string()), "{stderr}");
}

#[test]
fn a_wrong_password_exits_2_and_is_not_shown() {
    let server = server(&["--requirepass", "sesame"]);
    let address = server.address;
    for (login, is_right) in [("", false), (":wrongword@", false), (":sesame@", true)] {
        let End { code, stdout, stderr } = ended(&format!("{SMALL} -t redis://{login}{address}"));
        assert_eq!(code, Some(if is_right { 0 } else { 2 }), "{login}: {stderr}");
        if !is_right {
            assert!(stderr.contains("AUTH") || stderr.contains("WRONGPASS"), "{login}: {stderr}");
        }
        let all = stdout + &stderr;
        assert!(!all.contains("wrongword") && !all.contains("sesame"), "{login}: {all}");
    }
}

#[test]
fn a_broken_invariant_exits_3_and_is_reported_with_its_evidence() {
    let folder = Folder::new("bench-broken");
    let file = folder.file("wrong.toml");
    // An invariant that cannot hold: the counter is one too low from the start.
    fs::write(
        &file,
        "[[setup]]\neach = \"key\"\ncommand = \"SET $tag:n:$key 0\"\n\
         [[transaction]]\npick = { k = \"key\" }\nwrite = [\"INCR $tag:n:$k\"]\n\
         [[invariant]]\nname = \"one more than there were\"\neach = \"key\"\nread = \"GET $tag:n:$key\"\n\
         expect = \"sum == commits + 1\"\n",
    )
    .expect("the temporary directory is writable");
    let End { code, stdout, stderr } = ended(&format!("{file} {SMALL} --fail-if p99>0ns"));
    assert_eq!(code, Some(3), "goes before a bound: {stderr} {stdout}");
    assert!(stdout.contains("BROKEN") && stdout.contains("one more than there were"), "{stdout}");
    // Nor does a file that cannot be written hide it: this one takes no byte.
    let End { code, stdout, stderr } = ended(&format!("{file} {SMALL} --json=/dev/full"));
    assert_eq!(code, Some(3), "{stderr} {stdout}");
    assert!(stdout.contains("BROKEN") && stderr.contains("cannot write /dev/full"), "{stderr}");
    let (code, document) = document(&format!("{file} {SMALL}"));
    assert_eq!(code, Some(3));
    assert_eq!(document["exit_code"], 3);
    let invariant = &document["runs"][0]["invariants"][0];
    assert_eq!(invariant["verdict"], "broken");
    assert!(invariant["evidence"][0]["what"].is_string(), "{invariant}");
}

#[test]
fn a_bound_that_is_exceeded_exits_4_with_the_whole_page() {
    let End { code, stdout, stderr } =
        ended(&format!("{SMALL} --fail-if p99>60s,max>0ns,committed<1"));
    assert_eq!(code, Some(4), "{stderr} {stdout}");
    assert!(stdout.contains("kept  p99>60s") && stdout.contains("FAILED  max>0ns"), "{stdout}");
    let (code, document) = document(&format!("{SMALL} --fail-if max>0ns"));
    assert_eq!((code, &document["exit_code"]), (Some(4), &Value::from(4)));
    assert_eq!(document["bounds"][0]["is_failed"], true);
    well(&format!("{SMALL} --fail-if p99>60s"));
}

#[test]
fn a_server_that_dies_exits_2_and_keeps_what_was_measured() {
    let server = server(&[]);
    let address = server.address;
    let run = Run::of(&mut bench(&format!(
        "incr -c 4 -d 60s --patience 300ms -t redis://{address} --json"
    )));
    wait_for_load(&server, 3000);
    drop(server);
    let End { code, stdout, stderr } = run.end();
    assert_eq!(code, Some(2), "{stderr} {stdout}");
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    let run = &document["runs"][0];
    assert_eq!(run["ending"], "target-lost", "{run}");
    assert!(
        run["ending_why"].as_str().is_some_and(|why| why.contains(&address.to_string())),
        "{run}"
    );
    assert!(run["totals"]["committed"].as_u64() > Some(0), "{run}");
}

#[test]
fn an_interrupt_ends_the_load_early_and_keeps_what_was_measured() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = server(&[]);
        let address = server.address;
        let run = Run::of(&mut bench(&format!("incr -c 4 -d 60s -t redis://{address}")));
        wait_for_load(&server, 3000);
        run.signal(signal);
        let End { code, stdout, stderr } = run.end();
        assert_eq!(code, Some(0), "{signal:?}: {stderr} {stdout}");
        assert!(stdout.contains("Stopped by the user"), "{signal:?}: {stdout}");
        assert!(stdout.contains("held"), "what was done is checked: {stdout}");
    }
}

#[test]
fn an_undecided_invariant_exits_2_and_every_report_says_so_first() {
    let server = FaultyServer::start(Fault::Replies("MGET", b"-ERR unknown command 'MGET'\r\n"));
    let folder = Folder::new("bench-undecided");
    let html = folder.file("r.html");
    let line = format!("counter {SMALL} -t redis://{} --html {html}", server.address);
    // A bound that is exceeded does not hide it, and one that is kept does not excuse it.
    for bound in ["p99>60s", "max>0ns"] {
        let End { code, stdout, stderr } = ended(&format!("{line} --fail-if {bound}"));
        assert_eq!(code, Some(2), "{bound}: {stderr} {stdout}");
        let note = stdout.lines().find(|line| line.contains("Note")).expect("a note");
        assert!(note.contains("1 of 1 invariant is undecided"), "{stdout}");
        assert!(stdout.contains("  open  ") && !stdout.contains("  held  "), "{stdout}");
        let page = folder.read("r.html");
        let (lead, rest) = page.split_once("1 of 1 invariant is undecided").expect("it is said");
        assert!(!lead.contains("<h2>") && rest.contains("undecided</span>"), "at the top: {page}");
    }
    let (code, document) = document(&line);
    assert_eq!((code, &document["exit_code"]), (Some(2), &Value::from(2)));
    let run = &document["runs"][0];
    assert_eq!(run["invariants"][0]["verdict"], "undecided", "{run}");
    assert!(run["invariants"][0]["undecided_why"].as_str().is_some_and(|why| why.contains("MGET")));
    assert!(run["warnings"][0].as_str().is_some_and(|text| text.contains("undecided")), "{run}");
    assert_eq!((&run["ending"], &run["keys"]["ending"]), (&"finished".into(), &"removed".into()));

    let page = ended(&format!("{line} --sweep groups=1,2"));
    assert_eq!(page.code, Some(2), "{}", page.stderr);
    let note = page.stdout.lines().find(|line| line.contains("Note")).expect("a note");
    assert!(note.contains("In all runs") && note.contains("undecided"), "{}", page.stdout);
}

#[test]
fn keys_of_a_run_that_was_killed_are_removed_by_the_next_one() {
    let server = server(&[]);
    let address = server.address;
    let run = Run::of(&mut bench(&format!("incr -c 4 -d 60s -t redis://{address}")));
    wait_for_load(&server, 3000);
    run.signal(Signal::KILL);
    assert_eq!(run.end().code, None);
    // Its claim is still there for some seconds.
    let next = format!("counter {SMALL} -t redis://{address}");
    let End { code, stderr, .. } = ended(&next);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("another run uses") && stderr.contains("its claim ends"), "{stderr}");
    let mut client = server.client();
    assert_eq!(client.ask(&["DEL", "{bench:run}:claim"]), Reply::Int(1));
    let (code, document) = document(&next);
    let run = &document["runs"][0];
    assert_eq!(code, Some(0), "{run}");
    assert_eq!((&run["keys"]["old"], &run["keys"]["ending"]), (&64.into(), &"removed".into()));
    assert_eq!(run["keys"]["begin_with"], "{bench:");
}

#[test]
fn a_second_interrupt_ends_without_results_and_says_what_may_be_left() {
    let server = FaultyServer::start(Fault::Hangs(900));
    let line = format!("incr -c 4 -g 4 -d 60s --patience 60s -t redis://{}", server.address);
    let mut run = Run::of(&mut bench(&line));
    poll(|| (server.commands() >= 900).then_some(())).expect("the load begins");
    // Both are seen, as each is sent again until the program has ended.
    let ended = poll(|| {
        run.signal(Signal::INT);
        run.has_ended().then_some(())
    });
    ended.expect("it does not wait for the server");
    let End { code, stdout, stderr } = run.end();
    assert_eq!((code, stdout.as_str()), (Some(130), ""), "{stderr}");
    assert!(
        stderr.contains("interrupted twice") && stderr.contains("{bench: may be left"),
        "{stderr}"
    );
}

// ── files ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn files_are_written_and_named() {
    let folder = Folder::new("bench-files");
    let [html, json, csv, hgrm] =
        ["r.html", "r.json", "r.csv", "r.hgrm"].map(|name| folder.file(name));
    let line = format!("{SMALL} --html {html} --json={json} --csv {csv} --hgrm {hgrm}");
    let page = well(&line).stdout;
    for name in ["r.html", "r.json", "r.csv", "r.hgrm"] {
        assert!(page.contains(name), "{name} is named: {page}");
    }
    assert!(folder.read("r.html").starts_with("<!DOCTYPE html>"));
    assert!(folder.read("r.csv").starts_with("run,at_s,"));
    assert!(folder.read("r.hgrm").contains("#[Mean"));
    let document: Value = serde_json::from_str(&folder.read("r.json")).expect("JSON");
    assert_eq!(document["schema"], "slotway-bench/1");
    let totals = &document["runs"][0]["totals"];
    let done = ["committed", "declined"].map(|name| totals[name].as_u64().expect("a count"));
    assert_eq!(done.iter().sum::<u64>(), 300, "{totals}");
}

#[test]
fn a_file_that_cannot_be_written_exits_1_and_the_document_agrees() {
    // This one takes no byte.
    let End { code, stdout, stderr } = ended(&format!("{SMALL} --json --html /dev/full"));
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stderr.contains("cannot write /dev/full"), "{stderr}");
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(document["exit_code"], 1);
}

#[test]
fn a_file_that_is_there_stays_if_the_run_cannot_begin() {
    let folder = Folder::new("bench-stays");
    let html = folder.file("r.html");
    fs::write(&html, "of yesterday").expect("the temporary directory is writable");
    let End { code, .. } = ended(&format!("--html {html} --patience 100ms -t redis://127.0.0.1:1"));
    assert_eq!(code, Some(2));
    assert_eq!(folder.read("r.html"), "of yesterday");
    let new = folder.file("new.html");
    ended(&format!("--html {new} --patience 100ms -t redis://127.0.0.1:1"));
    assert!(!std::path::Path::new(&new).exists(), "an empty file would say that there was a run");
}

// ── several runs ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_sweep_has_a_row_and_a_distribution_for_each_value() {
    let folder = Folder::new("bench-sweep");
    let hgrm = folder.file("curve.hgrm");
    let page = well(&format!("counter -c 4 -n 80 --sweep groups=1,4 --hgrm {hgrm}")).stdout;
    for part in ["a sweep of groups", "at groups=1", "at groups=4", "in 2 of 2 runs"] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    for name in ["curve-groups-1.hgrm", "curve-groups-4.hgrm"] {
        assert!(folder.read(name).contains("Total count    =           80"), "{name}");
    }
    let (code, document) = document("counter -c 4 -n 80 --sweep groups=1,4");
    assert_eq!(
        (code, document["kind"].as_str(), document["axis"].as_str()),
        (Some(0), Some("sweep"), Some("groups"))
    );
    let labels: Vec<&str> = document["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .filter_map(|run| run["label"].as_str())
        .collect();
    assert_eq!(labels, ["groups=1", "groups=4"]);
}

#[test]
fn a_comparison_has_both_sides_and_ratios() {
    let server = server(&[]);
    let address = server.address;
    let (code, document) =
        document(&format!("incr -c 4 -n 200 --compare own redis://{address} --rounds 2"));
    assert_eq!((code, document["kind"].as_str()), (Some(0), Some("comparison")));
    let runs = document["runs"].as_array().expect("runs");
    let labels: Vec<&str> = runs.iter().filter_map(|run| run["label"].as_str()).collect();
    assert_eq!(labels, ["a-1", "a-2", "b-1", "b-2"]);
    assert!(runs[0]["target"].as_str().is_some_and(|target| target.contains("in this process")));
    assert!(
        runs[2]["plan"]["target"]["url"]
            .as_str()
            .is_some_and(|url| url.contains(&address.to_string()))
    );
    assert_eq!(document["ratios"][0]["name"], "committed/s");
    assert!(document["ratios"][0]["median"].as_f64() > Some(0.0));
}

// ── precedence of settings ────────────────────────────────────────────────────────────────────────

#[test]
fn option_goes_before_environment_before_plan_before_default() {
    let folder = Folder::new("bench-plan");
    let file = folder.file("plan.toml");
    fs::write(
        &file,
        "seed = 5\n[workload]\nkind = \"incr\"\n[shape]\nconnections = 3\ngroups = 2\ntransactions = 90\n",
    )
    .expect("the temporary directory is writable");
    let plan = |line: &str, environment: &[(&str, &str)]| {
        let mut command = bench(&format!("{line} --json"));
        let end = Run::of(command.envs(environment.iter().copied())).end();
        let document: Value = serde_json::from_str(&end.stdout)
            .unwrap_or_else(|error| panic!("{line}: {error}: {}", end.stderr));
        document["runs"][0]["plan"].clone()
    };
    let of_file = plan(&format!("--plan {file}"), &[]);
    assert_eq!((&of_file["seed"], &of_file["workload"]["kind"]), (&5.into(), &"incr".into()));
    assert_eq!(of_file["shape"]["keys-per-group"], 16, "the default");
    let environment = [
        ("SLOTWAY_BENCH_PLAN", file.as_str()),
        ("SLOTWAY_BENCH_SEED", "6"),
        ("SLOTWAY_BENCH_GROUPS", "3"),
    ];
    let of_environment = plan("", &environment);
    assert_eq!(
        (&of_environment["seed"], &of_environment["shape"]["groups"]),
        (&6.into(), &3.into())
    );
    let of_line = plan("counter --seed 7", &environment);
    assert_eq!((&of_line["seed"], &of_line["workload"]["kind"]), (&7.into(), &"counter".into()));
    assert_eq!(
        (&of_line["shape"]["connections"], &of_line["shape"]["groups"]),
        (&3.into(), &3.into())
    );

    fs::write(&file, "[shape]\nconections = 3\n").expect("the temporary directory is writable");
    let End { code, stderr, .. } = ended(&format!("--plan {file}"));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("conections") && stderr.contains("plan.toml"), "{stderr}");
}

#[test]
fn help_names_workloads_exit_codes_and_every_option() {
    let mut command = bench("--help");
    let help = Run::of(command.env("SLOTWAY_BENCH_TARGET", "redis://:sesame@h")).end();
    assert_eq!(help.code, Some(0));
    for word in [
        "transfer",
        "append",
        "FILE.toml",
        "Exit codes",
        "--target",
        "--rate",
        "--sweep",
        "--compare",
        "--fail-if",
        "--html",
        "SLOTWAY_BENCH_RATE",
        "[default: 50]",
    ] {
        assert!(help.stdout.contains(word), "no {word} in {}", help.stdout);
    }
    assert!(!help.stdout.contains("sesame"), "the help shows the password of the environment");
}
