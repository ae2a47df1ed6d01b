//! The table of commands: all rows, numbered.

#[cfg(feature = "json")]
use super::json;
use super::spec::{BASE, flag};
use super::{Invocation, Run, Spec};
use super::{
    bitmap, cluster, connection, database, dump, expire, function, generic, geo, hash, hyperloglog,
    introspect, list, object, pubsub, scan, script, server, set, slotway, sort, stream, string,
    transaction, zset,
};
use std::sync::LazyLock;

/// Every family's rows, in the order of `docs/commands.md`.
const FAMILIES: &[&[Spec]] = &[
    string::ROWS,
    bitmap::ROWS,
    hyperloglog::ROWS,
    hash::ROWS,
    list::ROWS,
    set::ROWS,
    zset::ROWS,
    geo::ROWS,
    stream::ROWS,
    generic::ROWS,
    database::ROWS,
    sort::ROWS,
    expire::ROWS,
    scan::ROWS,
    object::ROWS,
    dump::ROWS,
    transaction::ROWS,
    script::ROWS,
    function::ROWS,
    pubsub::ROWS,
    connection::ROWS,
    server::ROWS,
    introspect::ROWS,
    cluster::ROWS,
    #[cfg(feature = "json")]
    json::ROWS,
    slotway::ROWS,
];

/// How many commands there are, and how many subcommands.
const COUNTS: (usize, usize) = {
    let (mut commands, mut subcommands, mut f) = (0, 0, 0);
    while f < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[f].len() {
            subcommands += FAMILIES[f][i].subcommands.len();
            i += 1;
        }
        commands += FAMILIES[f].len();
        f += 1;
    }
    (commands, subcommands)
};

/// Every subcommand's row, numbered after the commands, in their order.
static SUBCOMMANDS: [Spec; COUNTS.1] = {
    let mut all = [BASE; COUNTS.1];
    let (mut next, mut f) = (0, 0);
    while f < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[f].len() {
            let subcommands = FAMILIES[f][i].subcommands;
            let mut s = 0;
            while s < subcommands.len() {
                all[next] = subcommands[s];
                all[next].id = (COUNTS.0 + next + 1) as u16;
                (next, s) = (next + 1, s + 1);
            }
            i += 1;
        }
        f += 1;
    }
    all
};

/// Every command's row, numbered, with its subcommands' numbered rows, built from the families.
static COMMANDS: [Spec; COUNTS.0] = with_numbers(&SUBCOMMANDS);

const fn with_numbers(subcommands: &'static [Spec]) -> [Spec; COUNTS.0] {
    let mut all = [BASE; COUNTS.0];
    let (mut next, mut rest, mut f) = (0, subcommands, 0);
    while f < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[f].len() {
            all[next] = FAMILIES[f][i];
            all[next].id = (next + 1) as u16;
            (all[next].subcommands, rest) = rest.split_at(all[next].subcommands.len());
            (next, i) = (next + 1, i + 1);
        }
        f += 1;
    }
    all
}

/// Returns every command's row in the order of the families, without subcommands.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    COMMANDS.iter()
}

/// Returns the row with this number, if there is one.
#[must_use]
pub(crate) fn numbered(id: u16) -> Option<&'static Spec> {
    let at = usize::from(id.checked_sub(1)?);
    COMMANDS.get(at).or_else(|| SUBCOMMANDS.get(at - COMMANDS.len()))
}

/// COPY where there are databases: it reaches the shards of two of them.
static COPY_BETWEEN_DATABASES: LazyLock<Spec> = LazyLock::new(|| {
    let copy = all().find(|spec| spec.has(flag::NAMES_DATABASE)).copied().unwrap_or(BASE);
    Spec { run: Run::Whole(database::copy), ..copy }
});

/// Returns the request as it runs where there are databases, if it names one.
#[must_use]
pub(crate) fn between_databases<'a>(invocation: &Invocation<'a>) -> Option<Invocation<'a>> {
    /// Where the options of COPY begin.
    const OPTIONS: usize = 3;
    let &Invocation { spec, args, .. } = invocation;
    let names =
        spec.has(flag::NAMES_DATABASE) && (OPTIONS..args.len()).any(|option| args.is(option, "db"));
    names.then(|| Invocation { spec: &COPY_BETWEEN_DATABASES, ..*invocation })
}

#[cfg(test)]
mod tests {
    use super::*;
    /// The rows with a flag, by name.
    fn with(flag: u64) -> Vec<String> {
        let rows = all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
        rows.filter(|spec| spec.has(flag)).map(|spec| spec.full_name().into_owned()).collect()
    }

    #[test]
    fn internal_flags_are_on_the_rows_that_they_are_for() {
        assert_eq!(
            with(flag::WHILE_SUBSCRIBED),
            [
                "subscribe",
                "unsubscribe",
                "psubscribe",
                "punsubscribe",
                "ssubscribe",
                "sunsubscribe",
                "ping",
                "quit",
                "reset"
            ]
        );
        assert!(all().filter(|spec| spec.is_ping()).map(|spec| spec.name).eq(["ping"]));
        assert_eq!(with(flag::OTHER_DATABASE), ["move", "swapdb"]);
        assert_eq!(
            with(flag::NODE_LOCAL),
            ["keys", "randomkey", "scan", "dbsize", "flushall", "flushdb"]
        );
    }

    #[test]
    fn what_reads_or_writes_all_keys_is_node_local() {
        for spec in all().filter(|spec| matches!(spec.run, Run::Cluster(_) | Run::Whole(_))) {
            let is_keyless = spec.keys.is_empty() && spec.has(flag::READ | flag::WRITE);
            let expected = is_keyless && !spec.has(flag::OTHER_DATABASE);
            assert_eq!(spec.has(flag::NODE_LOCAL), expected, "{}", spec.name);
        }
    }
}
