//! The transcripts in `tests/transcripts`, one test for each file and side: `ours` plays it against
//! Slotway, `reference` plays it against the server that gave the answers. One more test sees to it
//! that no command is without a transcript.
//!
//! With `UPDATE=1` in the environment both sides of a file first record the reference's answers, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock};

use crate::nodes::Stage;
use crate::player::{self, Outcome};
use crate::project_files::{self, assert_fresh, is_update};
use crate::references::{self, Order};
use crate::server_process::ServerProcess;
use crate::transcript::{Action, Piece, Token, Transcript};
use crate::wire::{Answer, Client, Reply, text};

/// Makes the tests of all files. Where the answers are Slotway's own rule, no reference has a say.
macro_rules! transcripts {
    ($($name:ident: $source:ident,)*) => {
        /// The files that have tests.
        const LISTED: &[&str] = &[$(stringify!($name),)*];

        mod ours {
            $(#[test] fn $name() { super::holds_on_ours(stringify!($name)); })*
        }

        mod reference {
            $(transcripts!(@reference $source $name);)*
        }
    };
    (@reference rule $name:ident) => {};
    (@reference $source:ident $name:ident) => {
        #[test] fn $name() { super::holds_on_reference(stringify!($name)); }
    };
}

include!("transcript_list.rs");

/// Every file has its tests; `UPDATE=1` enters new ones into the list, and plays them at once.
#[test]
fn the_list_is_complete() {
    let mut list = String::from(
        "// The files in tests/transcripts, each with the source of its answers.\n\
         // Written by `UPDATE=1 cargo test --test it transcripts::the_list`.\n\
         transcripts! {\n",
    );
    let mut unlisted = Vec::new();
    for name in names() {
        let source = match File::read(&name).transcript.reference {
            Some(reference) => reference.word().replace('.', "_"),
            None => "rule".to_owned(),
        };
        let _ = writeln!(list, "    {name}: {source},");
        if !LISTED.contains(&name.as_str()) {
            unlisted.push(name);
        }
    }
    list.push_str("}\n");
    assert_fresh("tests/it/transcript_list.rs", &list, "transcripts::the_list");
    unlisted.iter().for_each(|name| holds_on_ours(name));
}

/// Every command and subcommand that Slotway lists is used in some transcript.
#[test]
fn every_command_has_a_transcript() {
    let mut used = BTreeSet::new();
    for name in names() {
        for step in &File::read(&name).transcript.steps {
            let (Action::Command(argv) | Action::Held(argv)) = &step.action else { continue };
            let words: Vec<_> = argv.iter().take(2).map(lower).collect();
            used.insert(words[0].clone());
            used.insert(words.join("|"));
        }
    }
    let mut missing = BTreeSet::new();
    for dialect in ["redis7", "redis8", "redis8.10", "valkey9"] {
        let server = ServerProcess::start(&["--dialect".to_owned(), dialect.to_owned()]);
        let mut client = Client::connect(server.address).expect("the server accepts connections");
        let listed = match client.call(&["COMMAND", "LIST"]) {
            Answer::Reply(Reply::Array(names)) => names,
            other => panic!("COMMAND LIST answers {other:?}"),
        };
        assert!(!listed.is_empty(), "COMMAND LIST is empty");
        for name in listed {
            let name = match name {
                Reply::Bulk(name) | Reply::Simple(name) => text(&name),
                other => panic!("COMMAND LIST names a command {other:?}"),
            };
            if !used.contains(&name) {
                missing.insert(name);
            }
        }
    }
    assert!(missing.is_empty(), "no file in tests/transcripts uses {missing:?}");
}

fn lower(token: &Token) -> String {
    let bytes = token.iter().flat_map(|piece| match piece {
        Piece::Bytes(bytes) => bytes.as_slice(),
        Piece::Saved(_) => b"$",
    });
    bytes.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

// ── the two sides ─────────────────────────────────────────────────────────────────────────────────

/// Slotway answers as the file says, byte for byte.
fn holds_on_ours(name: &str) {
    form_clusters_ahead();
    if is_update() {
        record_once(name);
    }
    let file = File::read(name);
    // A server of its own for each file: none inherits a key, a setting or a client.
    let (_server, stage) = match file.transcript.cluster {
        Some(shape) => ServerProcess::start_cluster(shape, &file.transcript.ours),
        None => {
            let server = ServerProcess::start(&file.transcript.ours);
            let stage = Stage::endpoint(server.address);
            (server, stage)
        }
    };
    file.assert_held(&player::play(&file.transcript, &stage));
}

/// What the file says of the reference is still what the reference answers.
fn holds_on_reference(name: &str) {
    form_clusters_ahead();
    if is_update() {
        return record_once(name);
    }
    let file = File::read(name);
    if let Some(outcome) = file.on_reference(player::play) {
        file.assert_held(&outcome);
    }
}

/// Writes the reference's answers into the file, unless that is done: each side of the file asks for it.
fn record_once(name: &str) {
    static RECORDED: Mutex<BTreeMap<String, Arc<OnceLock<()>>>> = Mutex::new(BTreeMap::new());
    let mut all = RECORDED.lock().expect("nothing below panics while it is held");
    let done = Arc::clone(all.entry(name.to_owned()).or_default());
    drop(all);
    done.get_or_init(|| {
        let file = File::read(name);
        if file.transcript.reference.is_none() {
            return;
        }
        let outcome = file.on_reference(player::record).expect("a recording needs its reference");
        if !outcome.fresh.is_empty() {
            let text = file.transcript.with_answers(&outcome.fresh);
            std::fs::write(project_files::path(&file.path), text)
                .expect("the transcripts are writable");
        }
        file.assert_held(&outcome);
    });
}

/// Begins to form the clusters of reference nodes that the selected tests need. The nodes spend their
/// time waiting to hear of each other, while other tests run.
fn form_clusters_ahead() {
    references::form_ahead(|| {
        let selected = |name: &&&str| {
            let side = if is_update() { "" } else { "reference::" };
            crate::env::selects(&format!("transcripts::{side}{name}"))
        };
        let files = LISTED.iter().filter(selected).map(|name| File::read(name));
        files.filter_map(|file| file.order()).collect()
    });
}

// ── files ─────────────────────────────────────────────────────────────────────────────────────────

struct File {
    /// As in the list: with `_` for `-`.
    name: String,
    /// Below the project's folder.
    path: String,
    transcript: Transcript,
}

impl File {
    fn read(name: &str) -> Self {
        let path = format!("{FOLDER}/{}.txt", name.replace('_', "-"));
        let text = std::fs::read_to_string(project_files::path(&path))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        match Transcript::parse(&text) {
            Ok(transcript) => Self { name: name.to_owned(), path, transcript },
            Err(error) => panic!("{path}:{error}"),
        }
    }

    /// The cluster of reference nodes that the file speaks to, if it does.
    fn order(&self) -> Option<Order> {
        let Transcript { cluster, reference, redis, .. } = &self.transcript;
        Some(Order {
            name: self.name.clone(),
            reference: (*reference)?,
            shape: (*cluster)?,
            options: redis.clone(),
        })
    }

    /// Plays the file against its reference; `None` if that is missing, which is reported.
    fn on_reference(&self, play: impl Fn(&Transcript, &Stage) -> Outcome) -> Option<Outcome> {
        if let Some(order) = self.order() {
            // The file's own: what the file does to it cannot be flushed.
            let cluster = references::cluster(&order)?;
            return Some(play(&self.transcript, &cluster.stage));
        }
        let reference = self.transcript.reference?;
        let oracle = references::lease_of(reference, &self.transcript.redis)?;
        let before = oracle.settings();
        let outcome = play(&self.transcript, &Stage::endpoint(oracle.address));
        // Other files meet the same server.
        let mut left = oracle.settings();
        left.retain(|setting| !before.contains(setting));
        assert!(left.is_empty(), "{} leaves settings behind: {left:?}", self.path);
        Some(outcome)
    }

    fn assert_held(&self, outcome: &Outcome) {
        let mut report = String::new();
        for (line, what) in &outcome.failures {
            let _ = writeln!(report, "{}:{line}: {what}", self.path);
        }
        assert!(report.is_empty(), "{report}");
    }
}

const FOLDER: &str = "tests/transcripts";

/// The names of all files, as in the list.
fn names() -> Vec<String> {
    let entries = std::fs::read_dir(project_files::path(FOLDER)).expect(FOLDER);
    let paths = entries.map(|entry| entry.expect(FOLDER).path());
    let mut names = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|e| e == "txt")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
            "tests are named after {name}.txt: it may have a-z, 0-9 and `-`"
        );
        names.push(name.replace('-', "_"));
    }
    names.sort();
    assert!(!names.is_empty(), "no transcript to play");
    names
}
