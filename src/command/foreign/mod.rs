//! Commands of other servers: Slotway does not run them, and must know their keys.
//!
//! A recording may contain them, and a client may send them: the rules are about keys, whatever the
//! command does. A file for each server, recorded from its COMMAND, has all of its commands and
//! subcommands; those that the table has are left out here.
//!
//! ```text
//! recorded/*.txt   name, arity, flags, key specifications: what COMMAND answers
//! record           the files, read into rows
//! amend            what COMMAND does not say, or says wrongly, with its source
//! ```
//!
//! The next version of a server is one more file (`CONTRIBUTING.md` says how it is recorded) and its
//! line in `SERVERS`.

mod amend;
mod record;

use self::record::Record;
use super::commands::{find_in, named};
use super::{Args, Spec};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// The servers, each with its file; of a command that several have, the last one's flags count.
const SERVERS: &[(&str, &str)] = &[
    ("redis 7.0", include_str!("recorded/redis-7.0.txt")),
    ("redis stack 7.4", include_str!("recorded/redis-stack-7.4.txt")),
    ("falkordb 4.16", include_str!("recorded/falkordb-4.16.txt")),
    ("redis 8.2", include_str!("recorded/redis-8.2.txt")),
    ("valkey 9.0", include_str!("recorded/valkey-9.0.txt")),
    ("valkey 9.1", include_str!("recorded/valkey-9.1.txt")),
    ("redis 8.10", include_str!("recorded/redis-8.10.txt")),
];

/// The longest name in the files, in bytes, which is also how much of a request's is looked at.
const NAME_LEN_MAX: usize = 48;

/// Every command with its subcommands.
struct Commands {
    /// By name, in lower case.
    by_name: HashMap<&'static str, &'static Spec>,
    /// The servers that have it, by container and name.
    servers: HashMap<(&'static str, &'static str), &'static [&'static str]>,
}

/// Read once, when the first command is looked up that the table does not have. The rows are leaked
/// because rows are `'static` everywhere else: the process has one set of them to its end.
static COMMANDS: LazyLock<Commands> = LazyLock::new(Commands::read);

impl Commands {
    /// # Panics
    /// If a file is malformed, which a test finds.
    fn read() -> Self {
        let mut records: BTreeMap<(&str, &str), Record> = BTreeMap::new();
        for (server, text) in SERVERS {
            for line in text.lines() {
                let record = Record::read(line, server).unwrap_or_else(|reason| {
                    panic!("{server} has a malformed line, {reason}: {line}")
                });
                match records.remove(&record.id()) {
                    Some(older) => records.insert(record.id(), record.after(older)),
                    None => records.insert(record.id(), record),
                };
            }
        }
        let mut subcommands: HashMap<&str, Vec<Spec>> = HashMap::new();
        let mut servers = HashMap::new();
        let mut commands = Vec::new();
        for (id, record) in records {
            let Record { mut spec, servers: its } = record;
            servers.insert(id, &*its.leak());
            amend::amend(&mut spec);
            match spec.parent {
                "" => commands.push(spec),
                parent => subcommands.entry(parent).or_default().push(spec),
            }
        }
        let mut by_name = HashMap::new();
        for mut spec in commands {
            spec.subcommands = subcommands.remove(spec.name).unwrap_or_default().leak();
            by_name.insert(spec.name, &*Box::leak(Box::new(spec)));
        }
        assert!(subcommands.is_empty(), "containers are missing: {subcommands:?}");
        Self { by_name, servers }
    }
}

/// Returns the row that a request names, however many arguments it has: the table's own, or else that
/// of another server. `None` if no server has it.
#[must_use]
pub fn find(args: Args<'_>) -> Option<&'static Spec> {
    named(args).or_else(|| {
        let name = args.at(0);
        if name.len() > NAME_LEN_MAX {
            return None;
        }
        let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
        let spec = *COMMANDS.by_name.get(&*name)?;
        match args.get(1) {
            Some(name) if !spec.subcommands.is_empty() => find_in(spec, name),
            _ => Some(spec),
        }
    })
}

/// Returns the servers that have a command or subcommand of this row's name, in the order of the
/// files: `["redis 8.2", "valkey 9.1"]`.
#[must_use]
pub fn servers(spec: &Spec) -> &'static [&'static str] {
    COMMANDS.servers.get(&(spec.parent, spec.name)).copied().unwrap_or_default()
}

/// Whether a row is another server's, whose command does not run here.
#[must_use]
pub(crate) fn is_foreign(spec: &Spec) -> bool {
    // The table's own are numbered from 1.
    spec.id == 0
}

/// Whether a command runs a script, whose keys are those that it declares.
#[must_use]
pub(crate) fn is_script(spec: &Spec) -> bool {
    matches!(spec.name, "eval" | "eval_ro" | "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro")
}

#[cfg(test)]
mod tests;
