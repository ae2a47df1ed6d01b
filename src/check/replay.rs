//! Follows what clients say, command by command, and enters into the ledger what a cluster would
//! have refused: one standalone Redis ran it all, so that everything is there to be seen.
//!
//! ```text
//! WATCH a ─► watched ─┐
//! MULTI              │ EXEC: the keys of the queue, of the watch, of both ─► violations, together
//! SET b ───► queue ──┘       a watched key that somebody wrote ───────────► conflicts
//! anything else ─────────────────────────────────────────────────────────► violations, together
//! ```

use super::unsupported;
use crate::command::{Args, Spec, flag};
use crate::ledger::lru::LruTable;
use crate::ledger::pattern::shown;
use crate::ledger::{Breach, Fate, Ledger, LostExec, Origin, Rule, Spot};
use crate::report::Found;
use crate::slot::Slot;
use crate::topology::Topology;
use std::collections::HashSet;

/// Clients that are followed at the same time.
pub const CLIENTS_MAX: usize = 16_384;
/// Commands of a transaction that are kept.
const QUEUE_MAX: usize = 4096;
/// Keys of a transaction, of a WATCH or of a script that are kept.
const KEYS_MAX: usize = 4096;
/// Names of commands in the name of a transaction.
const NAMES_MAX: usize = 4;
/// Clients with a WATCH who are told of changes.
const WATCHING_MAX: usize = 256;
/// Characters of a client's name that are kept.
const NAME_CHARS_MAX: usize = 80;

/// A command, with what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct SeenCommand<'a> {
    /// Its words.
    pub args: Args<'a>,
    /// Who said it; empty if all is said by one.
    pub client: &'a [u8],
    /// The database it went to, if the source tells.
    pub database: Option<u64>,
    /// When, in milliseconds since the epoch.
    pub at_ms: Option<u64>,
    /// Where it stands.
    pub spot: Spot,
    /// Whether a script called it.
    pub by_script: bool,
}

/// What is known of a client.
#[derive(Debug, Default)]
struct ClientState {
    origin: Origin,
    watched: Vec<Watched>,
    queue: Option<Vec<Queued>>,
    /// Attempts that were lost since the last commit.
    lost: u64,
    uses_other_database: bool,
}

#[derive(Debug)]
struct Watched {
    key: Vec<u8>,
    at_ms: Option<u64>,
    /// The command that changed it first, who sent that, and when.
    changed: Option<(&'static str, Origin, Option<u64>)>,
}

#[derive(Debug)]
struct Queued {
    name: String,
    keys: Vec<Vec<u8>>,
}

/// A script that is running.
#[derive(Debug)]
struct Script {
    spec: &'static Spec,
    origin: Origin,
    declared: Vec<Vec<u8>>,
    used: Vec<Vec<u8>>,
}

/// Follows clients.
#[derive(Debug)]
pub struct Replay {
    /// What is found goes here.
    pub ledger: Ledger,
    topology: Topology,
    clients: LruTable<Vec<u8>, ClientState>,
    watching: Vec<Vec<u8>>,
    script: Option<Script>,
}

impl Replay {
    /// Follows clients of what would be a cluster with so many shards, at least one.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            ledger: Ledger::default(),
            topology: Topology::even(shards.max(1)),
            clients: LruTable::new(CLIENTS_MAX),
            watching: Vec::new(),
            script: None,
        }
    }

    /// What a report is made from.
    #[must_use]
    pub fn found(&self) -> Found<'_> {
        Found { ledger: &self.ledger, topology: &self.topology, title: "slotway check" }
    }

    /// A client's transaction is over, whatever became of it: the next line is another's.
    pub fn forget_client(&mut self, client: &[u8]) {
        self.clients.remove(client);
        self.watching.retain(|other| other != client);
    }

    /// Whether a client is in the middle of a transaction.
    #[must_use]
    pub fn is_queueing(&self, client: &[u8]) -> bool {
        self.clients.get(client).is_some_and(|talk| talk.queue.is_some())
    }

    /// Keys that are used together, without commands: a line of keys.
    pub fn keys_together(&mut self, keys: &[&[u8]], spot: Spot) {
        keys.iter().for_each(|key| self.ledger.key_stats.used(key));
        self.ledger.key_groups.enter(keys);
        self.ledger.counts.transactions += 1;
        if crosses(keys.iter().copied()) {
            self.ledger.violations.enter(&Breach {
                rule: Rule::CrossSlotTransaction,
                command: "",
                keys,
                keys_hidden: 0,
                place: None,
                origin: &Origin::default(),
                at_ms: None,
                spot,
                fate: Fate::Ran,
            });
        }
    }

    /// Takes a command.
    pub fn command(&mut self, said: &SeenCommand<'_>) {
        self.ledger.counts.commands += 1;
        let Some(spec) = unsupported::find(said.args) else {
            self.ledger.unknown.enter(said.args.at(0));
            return;
        };
        let mut keys: Vec<&[u8]> = Vec::new();
        spec.each_key(said.args, |key| {
            if keys.len() < KEYS_MAX {
                keys.push(key);
            }
        });
        if spec.name != "watch" {
            keys.iter().for_each(|key| self.ledger.key_stats.used(key));
        }
        if said.by_script {
            return self.by_script(said, spec, &keys);
        }
        self.end_script();
        let origin = self.talk(said).origin.clone();
        self.database(said, spec, &origin);
        match (spec.parent, spec.name) {
            ("", "multi") => self.talk(said).queue = Some(Vec::new()),
            ("", "exec") => self.exec(said, &origin),
            ("", "discard" | "reset" | "quit") => {
                self.talk(said).queue = None;
                self.unwatch(said);
            }
            // In a transaction it does nothing.
            ("", "unwatch") if self.talk(said).queue.is_none() => self.unwatch(said),
            ("", "watch") => self.watch(said, &keys, &origin),
            ("client", "setname") => self.talk(said).origin.name = text(said.args.get(2)),
            ("client", "setinfo") if said.args.is(2, "lib-name") => {
                self.talk(said).origin.library = text(said.args.get(3));
            }
            ("", "hello") => {
                let at = (1..said.args.len()).find(|&at| said.args.is(at, "setname"));
                if let Some(at) = at {
                    self.talk(said).origin.name = text(said.args.get(at + 1));
                }
            }
            _ => self.plain(said, spec, &keys, &origin),
        }
    }

    /// What has begun and did not end until the file did.
    pub fn end(&mut self) {
        self.end_script();
    }

    fn talk(&mut self, said: &SeenCommand<'_>) -> &mut ClientState {
        self.clients.row(
            said.client,
            || said.client.to_vec(),
            || ClientState {
                origin: Origin { address: text(Some(said.client)), ..Origin::default() },
                ..ClientState::default()
            },
        )
    }

    fn breach(
        &mut self,
        said: &SeenCommand<'_>,
        rule: Rule,
        command: &str,
        keys: &[&[u8]],
        place: Option<usize>,
        origin: &Origin,
    ) {
        let (at_ms, spot) = (said.at_ms, said.spot);
        self.ledger.violations.enter(&Breach {
            rule,
            command,
            keys,
            keys_hidden: 0,
            place,
            origin,
            at_ms,
            spot,
            fate: Fate::Ran,
        });
    }

    /// A cluster has one database.
    fn database(&mut self, said: &SeenCommand<'_>, spec: &'static Spec, origin: &Origin) {
        let other = match (spec.parent, spec.name) {
            ("", "select") => said.args.get(1).is_some_and(|number| number != b"0"),
            ("", "move" | "swapdb") => true,
            // The SELECT may have been said before anybody listened.
            _ => {
                let is_other = said.database.is_some_and(|number| number != 0);
                is_other && !self.talk(said).uses_other_database
            }
        };
        if other {
            self.talk(said).uses_other_database = true;
            let is_told = matches!(spec.name, "select" | "move" | "swapdb");
            let command = if is_told { spec.name } else { "select" };
            self.breach(said, Rule::OtherDatabase, command, &[], None, origin);
        }
    }

    /// A command that steers nothing: it runs, or is queued.
    fn plain(
        &mut self,
        said: &SeenCommand<'_>,
        spec: &'static Spec,
        keys: &[&[u8]],
        origin: &Origin,
    ) {
        let name = spec.full_name().into_owned();
        let queue = &mut self.talk(said).queue;
        let place = queue.as_mut().map(|queue| {
            let own = keys.iter().map(|key| key.to_vec()).collect();
            if queue.len() < QUEUE_MAX {
                queue.push(Queued { name: name.clone(), keys: own });
            }
            queue.len()
        });
        if crosses(keys.iter().copied()) {
            self.breach(said, Rule::CrossSlotCommand, &name, keys, place, origin);
        }
        const TOUCHES: u32 = flag::READ | flag::WRITE;
        if spec.keys.is_empty() && spec.flags & TOUCHES != 0 && !IS_HARMLESS.contains(&spec.name) {
            self.breach(said, Rule::NodeLocal, &name, &[], place, origin);
        }
        if sorts_by_pattern(spec, said.args) {
            self.breach(said, Rule::SortByPattern, &name, keys, place, origin);
        }
        if unsupported::is_script(spec) {
            self.ledger.counts.scripts += 1;
            let declared = keys.iter().map(|key| key.to_vec()).collect();
            self.script = Some(Script { spec, origin: origin.clone(), declared, used: Vec::new() });
        } else if place.is_none() {
            self.ledger.key_groups.enter(keys);
        }
        if spec.writes() {
            self.changed(said, spec.name, keys, origin);
        }
    }

    /// Tells whoever watches these keys. FLUSHALL and its like change all.
    fn changed(
        &mut self,
        said: &SeenCommand<'_>,
        name: &'static str,
        keys: &[&[u8]],
        origin: &Origin,
    ) {
        for client in &self.watching {
            let Some(talk) = self.clients.get_mut(client) else { continue };
            // Its own transaction changes what it watched, and that is no conflict.
            if talk.queue.is_some() && client == said.client {
                continue;
            }
            for watched in talk.watched.iter_mut().filter(|watched| watched.changed.is_none()) {
                if keys.is_empty() || keys.contains(&watched.key.as_slice()) {
                    watched.changed = Some((name, origin.clone(), said.at_ms));
                }
            }
        }
    }

    fn watch(&mut self, said: &SeenCommand<'_>, keys: &[&[u8]], origin: &Origin) {
        // A second WATCH adds to what the first one guards: it has to go to the same node.
        let slots: Vec<Slot> = keys.iter().map(|key| Slot::of(key)).collect();
        let watched = self.talk(said).watched.iter().map(|watched| &watched.key);
        let elsewhere = watched.clone().find(|key| !slots.contains(&Slot::of(key)));
        if crosses(keys.iter().copied()) {
            self.breach(said, Rule::CrossSlotWatch, "watch", keys, None, origin);
        } else if let Some(elsewhere) = elsewhere.cloned() {
            let keys: Vec<&[u8]> =
                [elsewhere.as_slice()].into_iter().chain(keys.iter().copied()).collect();
            self.breach(said, Rule::CrossSlotWatch, "watch", &keys, None, origin);
        }
        let talk = self.talk(said);
        for key in keys {
            if talk.watched.len() < KEYS_MAX && talk.watched.iter().all(|w| w.key != *key) {
                talk.watched.push(Watched { key: key.to_vec(), at_ms: said.at_ms, changed: None });
            }
        }
        let is_known = self.watching.iter().any(|client| client == said.client);
        if !is_known && self.watching.len() < WATCHING_MAX {
            self.watching.push(said.client.to_vec());
        }
    }

    fn unwatch(&mut self, said: &SeenCommand<'_>) {
        self.talk(said).watched.clear();
        self.watching.retain(|client| client != said.client);
    }

    fn exec(&mut self, said: &SeenCommand<'_>, origin: &Origin) {
        let talk = self.talk(said);
        let queue = talk.queue.take();
        let watched = std::mem::take(&mut talk.watched);
        let lost_before = talk.lost;
        self.watching.retain(|client| client != said.client);
        let Some(queue) = queue else { return };
        self.ledger.counts.transactions += 1;
        // Each key once: what is used three times is no more telling than what is used once.
        let mut seen = HashSet::new();
        let queued = queue.iter().flat_map(|queued| &queued.keys).map(Vec::as_slice);
        let queued: Vec<&[u8]> = queued.filter(|key| seen.insert(*key)).take(KEYS_MAX).collect();
        let guard: Vec<&[u8]> = watched.iter().map(|watched| watched.key.as_slice()).collect();
        let all: Vec<&[u8]> = guard.iter().chain(&queued).copied().collect();
        self.ledger.key_groups.enter(&all);

        // Commands that cross slots by themselves have been told.
        let firsts = queue.iter().filter_map(|queued| queued.keys.first());
        let firsts = firsts.map(Vec::as_slice);
        if crosses(firsts.clone()) {
            let name = transaction(&queue);
            let first = firsts.clone().next().map(Slot::of);
            let place = queue.iter().position(|queued| {
                queued.keys.first().is_some_and(|key| Some(Slot::of(key)) != first)
            });
            let place = place.map(|at| at + 1);
            self.breach(said, Rule::CrossSlotTransaction, &name, &queued, place, origin);
        } else if !crosses(guard.iter().copied()) && crosses(guard.iter().copied().chain(firsts)) {
            self.breach(said, Rule::WatchElsewhere, &transaction(&queue), &all, None, origin);
        }

        if watched.is_empty() {
            return;
        }
        // What MONITOR shows of a transaction that was aborted is its EXEC alone.
        if !queue.is_empty() {
            self.ledger.conflicts.committed(lost_before + 1);
            self.talk(said).lost = 0;
            return;
        }
        let mut is_lost = false;
        for watched in watched {
            let Some((command, winner, changed_ms)) = watched.changed else { continue };
            is_lost = true;
            let age_ms =
                changed_ms.zip(watched.at_ms).map(|(end, start)| end.saturating_sub(start));
            self.ledger.conflicts.enter(&LostExec {
                key: &watched.key,
                command,
                winner: &winner,
                loser: origin,
                age_ms,
                at_ms: said.at_ms,
            });
        }
        self.talk(said).lost += u64::from(is_lost);
    }

    /// A command that the running script calls.
    fn by_script(&mut self, said: &SeenCommand<'_>, spec: &'static Spec, keys: &[&[u8]]) {
        let Some(script) = &mut self.script else { return };
        for key in keys {
            if script.used.len() < KEYS_MAX && !script.used.iter().any(|used| used == key) {
                script.used.push(key.to_vec());
            }
        }
        let home = script.declared.first().map(|key| Slot::of(key));
        let reset_timer = keys.iter().copied().find(|key| home != Some(Slot::of(key)));
        let declared: Vec<&[u8]> = script.declared.iter().map(Vec::as_slice).collect();
        let reset_timer = reset_timer.filter(|key| !declared.contains(key));
        let origin = script.origin.clone();
        if let Some(reset_timer) = reset_timer {
            let shares = home.is_some_and(|home| {
                self.topology.shard_of(home) == self.topology.shard_of(Slot::of(reset_timer))
            });
            let rule = if shares { Rule::SharedShard } else { Rule::UndeclaredScriptKey };
            let name = format!("{}: {}", script.spec.name, spec.full_name());
            // The key that says where the script runs, and the one that may be elsewhere: with all that
            // it declares, every number of keys would be a row of its own.
            let keys: Vec<&[u8]> =
                declared.first().copied().into_iter().chain([reset_timer]).collect();
            let keys: Vec<Vec<u8>> = keys.into_iter().map(<[u8]>::to_vec).collect();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            self.breach(said, rule, &name, &keys, None, &origin);
        }
        if spec.writes() {
            self.changed(said, spec.name, keys, &origin);
        }
    }

    /// The script is over: what it was given and what it used belongs together.
    fn end_script(&mut self) {
        if let Some(script) = self.script.take() {
            let keys: Vec<&[u8]> =
                script.declared.iter().chain(&script.used).map(Vec::as_slice).collect();
            self.ledger.key_groups.enter(&keys);
        }
    }
}

/// They read or write, without keys, and it is the same everywhere.
const IS_HARMLESS: &[&str] = &["lolwut"];

/// Whether keys live in more than one slot.
fn crosses<'k>(mut keys: impl Iterator<Item = &'k [u8]>) -> bool {
    keys.next().map(Slot::of).is_some_and(|first| keys.any(|key| Slot::of(key) != first))
}

/// `multi: decrby, incrby`.
fn transaction(queue: &[Queued]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for queued in queue {
        if names.len() > NAMES_MAX {
            break;
        }
        if !names.contains(&queued.name.as_str()) {
            names.push(&queued.name);
        }
    }
    if names.len() > NAMES_MAX {
        names[NAMES_MAX] = "…";
    }
    format!("multi: {}", names.join(", "))
}

/// SORT with BY a pattern, or with GET, which Redis 7.0 refuses in a cluster. (BY without a star
/// only says that nothing is to be sorted.)
fn sorts_by_pattern(spec: &Spec, args: Args<'_>) -> bool {
    matches!(spec.name, "sort" | "sort_ro")
        && (2..args.len().saturating_sub(1))
            .any(|at| args.is(at, "get") || args.is(at, "by") && args.at(at + 1).contains(&b'*'))
}

fn text(bytes: Option<&[u8]>) -> String {
    shown(bytes.unwrap_or_default(), NAME_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tokenizer::Words;

    /// Lines `client: command`, `client lua: command`.
    fn follow(conversation: &str) -> Replay {
        let mut replay = Replay::new(3);
        for (at, line) in conversation.lines().enumerate() {
            let Some((client, command)) = line.trim().split_once(": ") else { continue };
            let mut words = Words::default();
            words.split(command.as_bytes()).expect("good words");
            replay.command(&SeenCommand {
                args: words.args().expect("a command"),
                client: client.trim_end_matches(" lua").as_bytes(),
                database: None,
                at_ms: Some(1000 * at as u64),
                spot: Spot::Line(at as u64 + 1),
                by_script: client.ends_with(" lua"),
            });
        }
        replay.end();
        replay
    }

    fn violations(conversation: &str) -> Vec<String> {
        let replay = follow(conversation);
        let rows = replay.ledger.violations.rows();
        let shown = rows.iter().map(|(topic, row)| {
            let place = row.examples[0].place.map_or(String::new(), |at| format!(" at {at}"));
            format!("{} {} {}{place}", topic.rule.name(), topic.command, row.count)
        });
        shown.collect()
    }

    #[test]
    fn what_a_cluster_would_refuse_is_entered() {
        let cases: &[(&str, &[&str])] = &[
            ("a: mget {x}1 {x}2", &[]),
            ("a: mget x y\na: mget x y", &["cross-slot-command mget 2"]),
            ("a: multi\na: set {x}1 1\na: incr {x}2\na: exec", &[]),
            (
                "a: multi\na: set x 1\na: incr y\na: exec",
                &["cross-slot-transaction multi: set, incr 1 at 2"],
            ),
            ("a: multi\na: ping\na: mset x 1 y 1\na: exec", &["cross-slot-command mset 1 at 2"]),
            ("a: multi\na: set x 1\na: incr y\na: discard\na: get y", &[]),
            ("a: multi\na: set x 1\nb: set y 1\na: exec", &[]),
            ("a: watch x y\na: unwatch", &["cross-slot-watch watch 1"]),
            (
                "a: watch x\na: watch y\na: multi\na: set x 1\na: exec",
                &["cross-slot-watch watch 1"],
            ),
            ("a: watch x\na: unwatch\na: watch y", &[]),
            ("a: watch {x}1\na: watch {x}2", &[]),
            ("a: watch x\na: multi\na: set y 1\na: exec", &["watch-elsewhere multi: set 1"]),
            ("a: watch {x}1\na: multi\na: set {x}2 1\na: exec", &[]),
            ("a: watch x\na: unwatch\na: multi\na: set y 1\na: exec", &[]),
            (
                "a: dbsize\na: scan 0\na: lolwut",
                &["node-local-command dbsize 1", "node-local-command scan 1"],
            ),
            ("a: select 0\na: select 3", &["other-database select 1"]),
            ("a: sort l by nosort\na: sort l by w_*", &["sort-by-pattern sort 1"]),
            // foo and other are in different shards of three, foo and b{foo} in one slot.
            (
                "a: eval s 1 foo\na lua: get foo\na lua: get b{foo}\na lua: get bar",
                &["undeclared-script-key eval: get 1"],
            ),
            ("a: eval s 0\na lua: get foo", &["undeclared-script-key eval: get 1"]),
        ];
        for (conversation, expected) in cases {
            assert_eq!(violations(conversation), *expected, "{conversation}");
        }
    }

    #[test]
    fn different_slots_of_one_shard_are_a_matter_of_luck() {
        let shard = |key: &str| Topology::even(3).shard_of(Slot::of(key.as_bytes()));
        let other = (0..).map(|n| format!("k{n}")).find(|k| shard(k) == shard("foo"));
        let other = other.expect("one of many");
        let found = violations(&format!("a: eval s 1 foo\na lua: get {other}"));
        assert_eq!(found, ["shared-shard eval: get 1"]);
    }

    #[test]
    fn conflicts_name_the_key_and_the_winner() {
        // An aborted transaction is shown without its commands.
        let replay = follow(
            "a: watch {s}1\nb: incr {s}1\na: multi\na: exec\na: watch {s}1\na: multi\na: set {s}1 5\na: exec",
        );
        let conflicts = &replay.ledger.conflicts;
        let rows = conflicts.rows();
        let (contest, row) = rows[0];
        assert_eq!(
            (&*contest.pattern, &*contest.command, row.count, row.own),
            ("{s}<int>", "incr", 1, 0)
        );
        assert_eq!((row.winner.address.as_str(), row.loser.address.as_str()), ("b", "a"));
        assert_eq!(conflicts.commits_by_attempts[..3], [0, 1, 0]);
    }

    #[test]
    fn clients_are_named_as_they_name_themselves() {
        let replay = follow("a: client setname web\na: client setinfo lib-name lib\na: mget x y");
        let rows = replay.ledger.violations.rows();
        assert_eq!(rows[0].1.clients[0].0.shown(), "web lib a");
    }

    #[test]
    fn an_example_names_each_key_once() {
        let replay = follow("a: multi\na: set x 1\na: get x\na: incr y\na: get x\na: exec");
        let rows = replay.ledger.violations.rows();
        let example = &rows[0].1.examples[0];
        let keys: Vec<&str> = example.keys.iter().map(|key| key.key.as_str()).collect();
        assert_eq!((keys, example.place), (vec!["x", "y"], Some(3)));
    }

    #[test]
    fn unknown_commands_are_counted_by_name() {
        let replay = follow("a: json.set x $ 1\na: JSON.SET y $ 1\na: get x");
        let Ledger { unknown, counts, .. } = &replay.ledger;
        assert_eq!(unknown.rows(), [("json.set", 2)]);
        assert_eq!((counts.commands, unknown.total), (3, 2));
    }
}
