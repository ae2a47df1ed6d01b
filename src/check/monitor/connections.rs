//! Tells the connections of a server apart, of which MONITOR shows the addresses only.
//!
//! ```text
//! multi              shown when it came
//! set a 1   ┐        shown when EXEC ran them: directly before it, nothing of another client between;
//! get a     ┘        what a transaction queued and did not run is never shown
//! exec
//! ```
//!
//! So commands behind a MULTI wait until the EXEC decides: they were its transaction, or, if another
//! client comes first, those of a new connection from the same port. (The shards of Slotway run side by
//! side: there, what a transaction ran has the time of its EXEC.) A new connection is also known by what
//! clients send first, by its database, and by a long silence. Connections over Unix sockets all have
//! one address: their commands are judged one by one, and none of their transactions.

use super::super::replay::{Replay, SeenCommand};
use super::super::tokenizer::Words;
use crate::command::Args;
use crate::ledger::Spot;
use crate::ledger::lru::LruTable;

/// Connections whose state is kept.
const CONNECTIONS_MAX: usize = 16_384;
/// Connections whose commands wait for their EXEC.
const PENDING_MAX: usize = 64;
/// Commands that wait for one EXEC, and their bytes; what is beyond is taken for the transaction's.
const QUEUE_MAX: usize = 4096;
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// A port can be another client's after so long: TIME_WAIT of Linux.
const SILENCE_MAX_US: u64 = 60_000_000;

/// A command that MONITOR showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) args: Args<'a>,
    /// The address.
    pub(super) client: &'a [u8],
    pub(super) database: u64,
    pub(super) at_us: u64,
    pub(super) spot: Spot,
}

/// The connections of one server.
#[derive(Debug)]
pub(super) struct Connections {
    /// Before each address, where several servers are recorded.
    server: Vec<u8>,
    known: LruTable<Vec<u8>, Connection>,
    pending: Vec<Pending>,
    /// Lines so far.
    lines: u64,
    /// EXECs of connections that share an address.
    pub(super) shared: u64,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Connection {
    /// `None` if its next command can be in any.
    database: Option<u64>,
    at_us: u64,
    /// It has sent more than what a client begins with.
    has_worked: bool,
    is_queueing: bool,
    is_watching: bool,
}

/// Commands of a connection behind a MULTI.
#[derive(Debug)]
struct Pending {
    client: Vec<u8>,
    commands: Vec<Waiting>,
    bytes: usize,
    at_us: u64,
    /// The line of the last of them.
    line: u64,
}

#[derive(Debug)]
struct Waiting {
    words: Words,
    database: u64,
    at_us: u64,
    spot: Spot,
    by_script: bool,
}

/// What a command does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    /// RESET, QUIT.
    End,
    Select,
    /// HELLO, CLIENT SETINFO: of a connection's first commands.
    Greet,
    /// AUTH, CLIENT SETNAME, COMMAND: mostly of its first.
    Begin,
    /// What may stand among the first ones.
    Idle,
    Work,
}

impl Act {
    fn of(args: Args<'_>) -> Self {
        let is = |word: &str| args.is(0, word);
        let is_client = |word: &str| is("client") && args.is(1, word);
        let first = args.at(0).first().map(u8::to_ascii_lowercase);
        match first {
            Some(b'm') if is("multi") => Self::Multi,
            Some(b'e') if is("exec") => Self::Exec,
            Some(b'd') if is("discard") => Self::Discard,
            Some(b'w') if is("watch") => Self::Watch,
            Some(b'u') if is("unwatch") => Self::Unwatch,
            Some(b'r' | b'q') if is("reset") || is("quit") => Self::End,
            Some(b's') if is("select") => Self::Select,
            Some(b'h') if is("hello") => Self::Greet,
            Some(b'c') if is_client("setinfo") => Self::Greet,
            Some(b'c') if is_client("setname") || is("command") => Self::Begin,
            Some(b'a') if is("auth") => Self::Begin,
            Some(b'c' | b'p' | b'i' | b'r')
                if is("client") || is("ping") || is("info") || is("readonly") =>
            {
                Self::Idle
            }
            _ => Self::Work,
        }
    }
}

impl Connections {
    pub(super) fn new(server: &[u8]) -> Self {
        Self {
            server: server.to_vec(),
            known: LruTable::new(CONNECTIONS_MAX),
            pending: Vec::new(),
            lines: 0,
            shared: 0,
        }
    }

    /// The name of the server; empty if there is but one.
    pub(super) fn server(&self) -> &[u8] {
        &self.server
    }

    /// Takes the next line.
    pub(super) fn see(&mut self, shown: &Shown<'_>, to: &mut Replay) {
        self.lines += 1;
        if shown.client == b"lua" {
            return self.by_script(shown, to);
        }
        self.release_interrupted(shown, to);
        let act = Act::of(shown.args);
        if is_shared(shown.client) {
            return self.of_shared(shown, act, to);
        }
        let waits = self.pending.iter().any(|pending| pending.client == shown.client);
        let mut place = self.place(shown.client);
        if self.known.at(place).is_over(shown, act, waits) {
            self.replace(shown.client, to);
            place = self.place(shown.client);
        }
        let connection = self.known.at(place);
        connection.at_us = shown.at_us;
        connection.database = (!matches!(act, Act::Select | Act::End)).then_some(shown.database);
        connection.has_worked |= !matches!(act, Act::Greet | Act::Begin | Act::Idle | Act::Select);
        match act {
            Act::Exec => return self.exec(shown, to),
            _ if connection.is_queueing && !matches!(act, Act::Multi | Act::Discard | Act::End) => {
                return self.wait(shown, false, to);
            }
            Act::Multi => connection.is_queueing = true,
            Act::Watch => connection.is_watching = true,
            Act::Unwatch => connection.is_watching = false,
            Act::Discard => (connection.is_queueing, connection.is_watching) = (false, false),
            Act::End => *connection = Connection::default(),
            _ => {}
        }
        self.feed(shown, false, to);
    }

    /// Takes what still waits: no EXEC has come for it.
    pub(super) fn end(&mut self, to: &mut Replay) {
        while let Some(pending) = self.pending.first() {
            let client = pending.client.clone();
            self.replace(&client, to);
        }
    }

    fn row(&mut self, client: &[u8]) -> &mut Connection {
        self.known.row(client, || client.to_vec(), Connection::default)
    }

    /// Returns the place of a connection in `known`.
    fn place(&mut self, client: &[u8]) -> usize {
        self.known.place(client, || client.to_vec(), Connection::default)
    }

    /// Takes a command that a script called: it belongs to the line before it.
    fn by_script(&mut self, shown: &Shown<'_>, to: &mut Replay) {
        let line = self.lines;
        match self.pending.iter().find(|pending| pending.line + 1 == line) {
            Some(pending) => {
                let client = pending.client.clone();
                self.wait(&Shown { client: &client, ..*shown }, true, to);
            }
            None => self.feed(shown, true, to),
        }
    }

    /// Ends the waiting of what has certainly been no transaction: a line of another client came between
    /// by a clock of microseconds, or one of its own at another time.
    fn release_interrupted(&mut self, shown: &Shown<'_>, to: &mut Replay) {
        let line = self.lines;
        let is_none = |pending: &Pending| {
            let is_own = pending.client == shown.client;
            let is_exact = !pending.at_us.is_multiple_of(1000);
            let came_between = !is_own || pending.line + 1 != line;
            came_between && pending.at_us != shown.at_us && (is_own || is_exact)
        };
        while let Some(pending) = self.pending.iter().find(|pending| is_none(pending)) {
            let client = pending.client.clone();
            self.replace(&client, to);
        }
    }

    /// Takes what waits as commands of a new connection: the old one has ended unseen.
    fn replace(&mut self, client: &[u8], to: &mut Replay) {
        let name = self.named(client);
        to.forget_client(&name);
        let known = self.row(client);
        *known = Connection { database: known.database, ..Connection::default() };
        let at = self.pending.iter().position(|pending| pending.client == client);
        if let Some(pending) = at.map(|at| self.pending.remove(at)) {
            self.row(client).has_worked = true;
            feed_all(&name, &pending.commands, to);
        }
    }

    /// Keeps a command until it is known what became of its MULTI.
    fn wait(&mut self, shown: &Shown<'_>, by_script: bool, to: &mut Replay) {
        let line = self.lines;
        let at = self.pending.iter().position(|pending| pending.client == shown.client);
        let at = at.unwrap_or_else(|| {
            if self.pending.len() >= PENDING_MAX {
                let client = self.pending[0].client.clone();
                self.replace(&client, to);
            }
            let client = shown.client.to_vec();
            self.pending.push(Pending { client, commands: Vec::new(), bytes: 0, at_us: 0, line });
            self.pending.len() - 1
        });
        let name = self.named(shown.client);
        let pending = &mut self.pending[at];
        let mut words = Words::default();
        shown.args.from(0).for_each(|word| words.push(word));
        pending.bytes += words.len();
        (pending.at_us, pending.line) = (shown.at_us, line);
        let Shown { database, at_us, spot, .. } = *shown;
        pending.commands.push(Waiting { words, database, at_us, spot, by_script });
        if pending.commands.len() > QUEUE_MAX || pending.bytes > QUEUE_BYTES_MAX {
            pending.bytes = 0;
            feed_all(&name, &std::mem::take(&mut pending.commands), to);
        }
    }

    fn exec(&mut self, shown: &Shown<'_>, to: &mut Replay) {
        let connection = self.row(shown.client);
        let (was_queueing, was_watching) = (connection.is_queueing, connection.is_watching);
        (connection.is_queueing, connection.is_watching) = (false, false);
        let name = self.named(shown.client);
        if !was_queueing && was_watching {
            // Its MULTI was not seen, or was another connection's: so may the WATCH have been.
            to.forget_client(&name);
        }
        let at = self.pending.iter().position(|pending| pending.client == shown.client);
        if let Some(pending) = at.map(|at| self.pending.remove(at)) {
            feed_all(&name, &pending.commands, to);
        }
        self.feed(shown, false, to);
    }

    /// Takes a command of connections that share an address: which one sent it cannot be seen.
    fn of_shared(&mut self, shown: &Shown<'_>, act: Act, to: &mut Replay) {
        match act {
            Act::Work | Act::Select | Act::Idle => self.feed(shown, false, to),
            _ => {
                to.ledger.counts.commands += 1;
                self.shared += u64::from(act == Act::Exec);
            }
        }
    }

    fn feed(&self, shown: &Shown<'_>, by_script: bool, to: &mut Replay) {
        let Shown { args, database, at_us, spot, .. } = *shown;
        let seen = |client| SeenCommand {
            args,
            client,
            database: Some(database),
            at_ms: Some(at_us / 1000),
            spot,
            by_script,
            has_run: true,
        };
        if self.server.is_empty() {
            to.command(&seen(shown.client));
        } else {
            to.command(&seen(&self.named(shown.client)));
        }
    }

    /// The name by which a client is replayed and shown.
    fn named(&self, client: &[u8]) -> Vec<u8> {
        let space: &[u8] = if self.server.is_empty() { b"" } else { b" " };
        [&self.server, space, client].concat()
    }
}

impl Connection {
    /// Whether this command is another connection's from the same port.
    fn is_over(&self, shown: &Shown<'_>, act: Act, waits: bool) -> bool {
        let is_open = self.is_queueing || self.is_watching;
        let is_elsewhere = self.database.is_some_and(|database| database != shown.database)
            && !matches!(act, Act::Select | Act::End);
        is_elsewhere
            || is_open && shown.at_us.saturating_sub(self.at_us) > SILENCE_MAX_US
            || match act {
                Act::Greet => self.has_worked || is_open,
                Act::Begin => is_open,
                // A server may show a nested MULTI or WATCH, which is an error: a new connection is likelier.
                Act::Multi | Act::Watch => self.is_queueing,
                // What is discarded is never shown.
                Act::Discard | Act::End => waits,
                _ => false,
            }
    }
}

/// Whether connections with this address can be several: those over a Unix socket have its path.
fn is_shared(client: &[u8]) -> bool {
    client.starts_with(b"unix:") || client.starts_with(b"/") || matches!(client, b"" | b"?:0")
}

fn feed_all(client: &[u8], commands: &[Waiting], to: &mut Replay) {
    for waiting in commands {
        let Some(args) = waiting.words.args() else { continue };
        to.command(&SeenCommand {
            args,
            client,
            database: Some(waiting.database),
            at_ms: Some(waiting.at_us / 1000),
            spot: waiting.spot,
            by_script: waiting.by_script,
            has_run: true,
        });
    }
}
