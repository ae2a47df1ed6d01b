//! The transcripts in `tests/transcripts`, played three ways: against our server, against the
//! reference, and against our command table to see that no command is without one.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::env::setting;
use crate::nodes::Stage;
use crate::oracle::{Oracle, OracleCluster};
use crate::player::{self, Outcome};
use crate::server_process::ServerProcess;
use crate::transcript::{Action, Piece, Token, Transcript};
use crate::wire::{Answer, Client, Reply};

/// Our server answers every transcript, byte for byte. With `UPDATE=1` in the environment the
/// reference's answers are taken down first.
#[test]
fn transcripts_hold() {
    if setting("UPDATE").is_some() {
        rerecord();
    }
    let outcomes = selected().into_iter().map(|(name, transcript)| {
        // A server of its own for each file: none inherits a key, a setting or a client.
        let (_ours, stage) = match transcript.cluster {
            Some(shape) => ServerProcess::start_cluster(shape, &transcript.ours),
            None => {
                let ours = ServerProcess::start(&transcript.ours);
                let stage = Stage::endpoint(ours.address);
                (ours, stage)
            }
        };
        (name, player::play(&transcript, &stage))
    });
    report(outcomes.collect());
}

/// What the transcripts say of Redis is still what Redis says.
#[test]
fn transcripts_are_what_the_reference_answers() {
    if setting("UPDATE").is_some() {
        return;
    }
    report(on_reference(|_, transcript, stage| player::play(transcript, stage)));
}

/// Every command and subcommand that our server lists is used in some transcript.
#[test]
fn every_command_has_a_transcript() {
    let mut used = BTreeSet::new();
    for (_, transcript) in read_all() {
        for step in &transcript.steps {
            let (Action::Command(argv) | Action::Held(argv)) = &step.action else { continue };
            let words: Vec<_> = argv.iter().take(2).map(lower).collect();
            used.insert(words[0].clone());
            used.insert(words.join("|"));
        }
    }
    let ours = ServerProcess::start(&[]);
    let mut client = Client::connect(ours.address).expect("our server accepts connections");
    let listed = match client.call(&["COMMAND", "LIST"]) {
        Answer::Reply(Reply::Array(names)) => names,
        other => panic!("COMMAND LIST answers {other:?}"),
    };
    assert!(!listed.is_empty(), "COMMAND LIST is empty");
    let missing: Vec<_> = listed
        .iter()
        .map(|name| match name {
            Reply::Bulk(name) | Reply::Simple(name) => String::from_utf8_lossy(name).into_owned(),
            other => panic!("COMMAND LIST names a command {other:?}"),
        })
        .filter(|name| !used.contains(name))
        .collect();
    assert!(missing.is_empty(), "no file in tests/transcripts uses {missing:?}");
}

fn lower(token: &Token) -> String {
    let bytes = token.iter().flat_map(|piece| match piece {
        Piece::Bytes(bytes) => bytes.as_slice(),
        Piece::Saved(_) => b"$",
    });
    bytes.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

fn rerecord() {
    report(on_reference(|name, transcript, stage| {
        let outcome = player::record(transcript, stage);
        if !outcome.fresh.is_empty() {
            let text = transcript.with_answers(&outcome.fresh);
            std::fs::write(folder().join(name), text).expect("the transcripts are writable");
        }
        outcome
    }));
}

/// Lets each file that the reference can speak to meet it.
fn on_reference(
    play: impl Fn(&str, &Transcript, &Stage) -> Outcome + Sync,
) -> Vec<(String, Outcome)> {
    let files = selected().into_iter().filter(|(_, transcript)| transcript.reference.is_some());
    let (clusters, alone): (Vec<_>, Vec<_>) = files.partition(|(_, t)| t.cluster.is_some());
    let mut oracles = Oracles::default();
    let outcomes = alone.iter().map(|(name, transcript)| {
        let oracle = oracles.emptied(name, &transcript.redis);
        (name, oracle.map(|o| play(name, transcript, &Stage::endpoint(o.address))))
    });
    let mut outcomes: Vec<_> = outcomes.collect();
    // Nodes spend their time waiting to hear of each other, so some clusters are played at once. Each
    // is the file's own: what the file did to it cannot be flushed.
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((name, transcript)) = clusters.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (Some(shape), Some(reference)) = (transcript.cluster, transcript.reference) else {
                unreachable!("these files have both")
            };
            let cluster = OracleCluster::start(reference, shape, &transcript.redis);
            done.push((name, cluster.map(|cluster| play(name, transcript, &cluster.stage))));
        }
        done
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| match worker.join() {
            Ok(done) => outcomes.extend(done),
            Err(panic) => std::panic::resume_unwind(panic),
        });
    });
    let told = outcomes.into_iter().map(|(name, outcome)| {
        let outcome = outcome.unwrap_or_else(|| {
            say(&format!("{name}: no such reference server, so its answers stand unchecked"));
            Outcome::default()
        });
        (name.clone(), outcome)
    });
    told.collect()
}

/// One reference server per set of options, started when first needed.
#[derive(Default)]
struct Oracles(HashMap<Vec<String>, Option<Oracle>>);

impl Oracles {
    /// The reference with these options, emptied; `None` if none can be had.
    fn emptied(&mut self, name: &str, options: &[String]) -> Option<&Oracle> {
        let start = || Oracle::start(options);
        let oracle = self.0.entry(options.to_vec()).or_insert_with(start).as_ref()?;
        let mut client =
            Client::connect(oracle.address).expect("the reference accepts connections");
        if let Some(at) = options.iter().position(|option| option == "--requirepass") {
            client.call(&["AUTH", &options[at + 1]]);
        }
        let flushed = client.call(&["FLUSHALL"]);
        assert_eq!(flushed, Answer::Reply(Reply::Simple(b"OK".to_vec())), "{name}");
        Some(oracle)
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

fn read_all() -> Vec<(String, Transcript)> {
    let entries = std::fs::read_dir(folder()).expect("tests/transcripts exists");
    let paths = entries.map(|entry| entry.expect("tests/transcripts is readable").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no transcript to play");
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a transcript is UTF-8 text");
        match Transcript::parse(&text) {
            Ok(transcript) => (name, transcript),
            Err(error) => panic!("tests/transcripts/{name}:{error}"),
        }
    };
    paths.into_iter().map(read).collect()
}

/// All files, or with `ONLY=strings` in the environment those whose name holds the word.
fn selected() -> Vec<(String, Transcript)> {
    let only = setting("ONLY").unwrap_or_default();
    read_all().into_iter().filter(|(name, _)| name.contains(&only)).collect()
}

/// Fails if any file failed, with all of them.
fn report(outcomes: Vec<(String, Outcome)>) {
    let mut failed = BTreeSet::new();
    for (name, outcome) in &outcomes {
        for (line, what) in &outcome.failures {
            failed.insert(name.as_str());
            say(&format!("tests/transcripts/{name}:{line}: {what}"));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} transcripts fail: {failed:?}",
        failed.len(),
        outcomes.len()
    );
}

/// Test output: shown by the test harness when the test fails.
#[expect(clippy::print_stderr, reason = "the harness shows it beside the failure")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
