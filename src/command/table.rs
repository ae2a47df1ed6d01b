//! The table of commands: all rows, numbered, and how a request finds its own.

use super::container::{SHOWN_MAX, truncated, unknown_subcommand};
use super::spec::{BASE, flag};
use super::{Args, Invocation, Refusal, Run, Spec};
use super::{
    bitmap, cluster, connection, database, dump, expire, function, generic, geo, hash, hyperloglog,
    introspect, list, object, pubsub, scan, script, server, set, slotway, sort, stream, string,
    transaction, zset,
};
use crate::resp::until_nul;
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
    let copy = find(b"copy").copied().unwrap_or(BASE);
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

/// Returns the command of this name, in any case.
#[must_use]
pub(crate) fn find(name: &[u8]) -> Option<&'static Spec> {
    INDEX.find(name)
}

/// Returns a container's subcommand of this name, in any case.
#[must_use]
pub(crate) fn find_in(container: &'static Spec, name: &[u8]) -> Option<&'static Spec> {
    container.subcommands.iter().find(|sub| name.eq_ignore_ascii_case(sub.name.as_bytes()))
}

/// Finds the row for a request and checks the number of its arguments.
///
/// # Errors
/// The command or subcommand is unknown, or takes another number of arguments.
pub(crate) fn resolve(args: Args<'_>) -> Result<Invocation<'_>, Refusal> {
    let spec = find(&args[0]).ok_or_else(|| unknown(args))?;
    if spec.subcommands.is_empty() {
        return if spec.arity.admits(args.len()) {
            Ok(Invocation::new(spec, args))
        } else {
            Err(Refusal::arity(&spec.full_name()))
        };
    }
    let Some(name) = args.get(1) else {
        // A container without a subcommand may itself be a command: COMMAND.
        return match spec.run {
            Run::Container => Err(Refusal::arity(spec.name)),
            _ => Ok(Invocation::new(spec, args)),
        };
    };
    let sub = find_in(spec, name).ok_or_else(|| unknown_subcommand(spec, name))?;
    if sub.arity.admits(args.len()) {
        Ok(Invocation::new(sub, args))
    } else {
        Err(Refusal::arity(&sub.full_name()))
    }
}

/// Returns the row that a request names, however many arguments it has; `None` if there is none.
#[must_use]
pub(crate) fn named(args: Args<'_>) -> Option<&'static Spec> {
    let spec = find(args.at(0))?;
    match args.get(1) {
        Some(name) if !spec.subcommands.is_empty() => find_in(spec, name),
        _ => Some(spec),
    }
}

fn unknown(args: Args<'_>) -> Refusal {
    let shown = |arg, max| truncated(until_nul(arg), max).to_vec();
    let mut text = b"ERR unknown command '".to_vec();
    text.extend(shown(&args[0], SHOWN_MAX));
    text.extend(b"', with args beginning with: ");
    let mut listed = Vec::new();
    for arg in args.from(1) {
        if listed.len() >= SHOWN_MAX {
            break;
        }
        listed.push(b'\'');
        listed.extend(shown(arg, SHOWN_MAX - (listed.len() - 1)));
        listed.extend(b"' ");
    }
    text.extend(listed);
    Refusal::new(text)
}

/// Commands by name: a small open-addressing table over the name's length and first eight bytes,
/// which differ between nearly all commands; the rest of a name is compared only if they are equal.
struct NameIndex {
    /// A power of two in size, at most half full, probed linearly from the bucket of `word` and the
    /// name's length.
    buckets: Box<[Option<Indexed>]>,
}

/// A command in the index.
#[derive(Clone, Copy)]
struct Indexed {
    word: u64,
    /// Whether the word and the length determine the whole name.
    is_whole: bool,
    spec: &'static Spec,
}

static INDEX: LazyLock<NameIndex> = LazyLock::new(|| {
    let mut buckets = vec![None; (2 * all().count()).next_power_of_two()].into_boxed_slice();
    for spec in all() {
        // Only a letter becomes a letter when bit 0x20 is set, so that a word of letters is enough.
        let is_whole = spec.name.len() <= 8 && spec.name.bytes().all(|b| b.is_ascii_lowercase());
        let word = NameIndex::word(spec.name.as_bytes());
        let mut bucket = NameIndex::bucket(word, spec.name.len(), buckets.len());
        while buckets[bucket].is_some() {
            bucket = (bucket + 1) % buckets.len();
        }
        buckets[bucket] = Some(Indexed { word, is_whole, spec });
    }
    NameIndex { buckets }
});

impl NameIndex {
    /// The name's first eight bytes, letters in lower case, zeros after a shorter one.
    #[inline]
    fn word(name: &[u8]) -> u64 {
        // Setting this bit turns upper case into lower. It may make other bytes equal, which the
        // comparison of the whole name then finds.
        const LOWER: u64 = 0x2020_2020_2020_2020;
        let four = |at: usize| {
            u64::from(u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]))
        };
        LOWER
            | match *name {
                [] => 0,
                [a, b, c, d, e, f, g, h, ..] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
                [_, _, _, _, ..] => four(0) | four(name.len() - 4) << (8 * (name.len() - 4)),
                [a, ..] => {
                    let (middle, last) = (name[name.len() / 2], name[name.len() - 1]);
                    u64::from(a)
                        | u64::from(middle) << (8 * (name.len() / 2))
                        | u64::from(last) << (8 * (name.len() - 1))
                }
            }
    }

    #[inline]
    fn bucket(word: u64, len: usize, buckets: usize) -> usize {
        let mixed = (word ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 40) as usize & (buckets - 1)
    }

    fn find(&self, name: &[u8]) -> Option<&'static Spec> {
        let word = Self::word(name);
        let mut bucket = Self::bucket(word, name.len(), self.buckets.len());
        while let Some(Indexed { word: its, is_whole, spec }) = self.buckets[bucket] {
            let is_equal = || is_whole || name.eq_ignore_ascii_case(spec.name.as_bytes());
            if its == word && name.len() == spec.name.len() && is_equal() {
                return Some(spec);
            }
            bucket = (bucket + 1) & (self.buckets.len() - 1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::flag;
    use std::collections::HashSet;

    #[test]
    fn every_command_is_found_by_its_name_and_only_once() {
        let mut seen = HashSet::new();
        for spec in all() {
            assert!(seen.insert(spec.name), "{} occurs twice", spec.name);
            for name in [spec.name.to_owned(), spec.name.to_ascii_uppercase()] {
                assert_eq!(find(name.as_bytes()).expect(&name).name, spec.name);
            }
        }
        assert!(
            find(b"").is_none()
                && find(b"nosuch").is_none()
                && find(b"sort\x7fro").is_none()
                && find(&[b'x'; 1000]).is_none()
        );
    }

    /// The rows with a flag, by name.
    fn with(flag: u32) -> Vec<String> {
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
