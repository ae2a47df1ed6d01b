//! The commands of one server, and how a request finds its row among them.
//!
//! ```text
//! table's rows ──► those that a product has, as it has them ([`Variant`]) ──► Commands
//! ```
//!
//! [`Variant`]: super::spec::Variant

use super::args::word_of;
use super::container::{SHOWN_MAX, truncated, unknown_subcommand};
use super::spec::Arity;
use super::{Args, Invocation, Refusal, Run, ServerCx, Spec, all};
use crate::dialect::{Product, Servers, servers};
use crate::resp::until_nul;
use std::sync::{LazyLock, OnceLock};

/// The commands of a product, found by name.
pub(crate) struct Commands {
    rows: &'static [Spec],
    index: NameIndex,
    /// The error for an unknown command says that arguments follow also if none do.
    lists_no_arguments: bool,
}

/// One for each set of servers, made when first used: the process keeps them to its end.
static OFFERED: [OnceLock<Commands>; servers::SETS] = [const { OnceLock::new() }; servers::SETS];

/// All rows of the table, whoever has the commands.
static ALL: LazyLock<Commands> =
    LazyLock::new(|| Commands::new(all().copied().collect::<Vec<_>>().leak()));

impl Commands {
    /// Returns those of a product.
    #[inline]
    pub(crate) fn of(product: &Product) -> &'static Self {
        OFFERED[usize::from(product.servers)].get_or_init(|| Self::offered(product.servers))
    }

    #[cold]
    fn offered(by: Servers) -> Self {
        let rows = |rows: &mut dyn Iterator<Item = &Spec>| -> &'static [Spec] {
            rows.filter_map(|spec| spec.on(by)).collect::<Vec<_>>().leak()
        };
        let commands =
            all().map(|spec| Spec { subcommands: rows(&mut spec.subcommands.iter()), ..*spec });
        let commands = Self::new(rows(&mut commands.collect::<Vec<_>>().iter()));
        Self { lists_no_arguments: by & servers::REDIS8_10 == 0, ..commands }
    }

    fn new(rows: &'static [Spec]) -> Self {
        Self { rows, index: NameIndex::of(rows), lists_no_arguments: true }
    }

    /// Returns every command's row in the order of the families, without subcommands.
    pub(crate) fn rows(&self) -> &'static [Spec] {
        self.rows
    }

    /// Returns the command of this name, in any case.
    #[must_use]
    pub(crate) fn find(&self, name: &[u8]) -> Option<&'static Spec> {
        self.index.find(name)
    }

    /// Finds the row for a request and checks the number of its arguments.
    ///
    /// # Errors
    /// The command or subcommand is unknown, or takes another number of arguments.
    pub(crate) fn resolve<'a>(&self, args: Args<'a>) -> Result<Invocation<'a>, Refusal> {
        match self.indexed(args) {
            Some(row) => Ok(Invocation::new(row.spec, args)),
            None => self.resolve_any(args),
        }
    }

    /// Returns the indexed row of a request, if it admits the number of its arguments and has no
    /// subcommands.
    #[inline(always)]
    pub(crate) fn indexed(&self, args: Args<'_>) -> Option<&IndexedRow> {
        let row = self.index.row(args.word(0), args.at(0))?;
        // One comparison decides: below the fewest, the difference is huge.
        let more = args.len().wrapping_sub(row.least as usize);
        (more <= row.spread as usize).then_some(row)
    }

    /// As [`Commands::resolve`], of a request in any form.
    #[cold]
    #[inline(never)]
    fn resolve_any<'a>(&self, args: Args<'a>) -> Result<Invocation<'a>, Refusal> {
        let spec = self.find(&args[0]).ok_or_else(|| unknown(args, self.lists_no_arguments))?;
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
    pub(crate) fn named(&self, args: Args<'_>) -> Option<&'static Spec> {
        let spec = self.find(args.at(0))?;
        match args.get(1) {
            Some(name) if !spec.subcommands.is_empty() => find_in(spec, name),
            _ => Some(spec),
        }
    }
}

impl ServerCx<'_> {
    /// Returns the commands of the server.
    pub(super) fn commands(&self) -> &'static Commands {
        Commands::of(self.product)
    }
}

/// Returns a container's subcommand of this name, in any case.
#[must_use]
pub(crate) fn find_in(container: &'static Spec, name: &[u8]) -> Option<&'static Spec> {
    container.subcommands.iter().find(|sub| name.eq_ignore_ascii_case(sub.name.as_bytes()))
}

/// Returns the row of this name, in any case, whatever server has it.
#[must_use]
pub(crate) fn find(name: &[u8]) -> Option<&'static Spec> {
    ALL.find(name)
}

/// Returns the row that a request names, however many arguments it has and whatever server has it.
#[must_use]
pub(crate) fn named(args: Args<'_>) -> Option<&'static Spec> {
    ALL.named(args)
}

/// Finds the row for a request of a test.
#[cfg(test)]
pub(crate) fn resolve(args: Args<'_>) -> Result<Invocation<'_>, Refusal> {
    ALL.resolve(args)
}

fn unknown(args: Args<'_>, lists_none: bool) -> Refusal {
    let shown = |arg, max| truncated(until_nul(arg), max).to_vec();
    let mut text = b"ERR unknown command '".to_vec();
    text.extend(shown(&args[0], SHOWN_MAX));
    if args.len() == 1 && !lists_none {
        text.push(b'\'');
        return Refusal::new(text);
    }
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

/// Setting these bits turns upper case into lower. It may make other bytes equal, which the comparison
/// of the whole name then finds.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// Commands by name: a small open-addressing table over the name's length and first eight bytes,
/// which differ between nearly all commands; the rest of a name is compared only if they are equal.
struct NameIndex {
    /// A power of two in size, at most half full, probed linearly from the bucket of `word` and the
    /// name's length.
    buckets: Box<[Option<IndexedRow>]>,
}

/// A row in the index, with what nearly every request asks of it.
#[derive(Clone)]
pub(crate) struct IndexedRow {
    word: u64,
    /// The row.
    pub(crate) spec: &'static Spec,
    /// The fewest arguments that it takes.
    least: u32,
    /// How many more it may take.
    spread: u32,
    /// The length of its name, if the word determines all of it; else 0.
    whole_len: u8,
    /// The argument that is its only key, or 0.
    pub(crate) only_key: u8,
    /// Whether it names no keys.
    pub(crate) is_keyless: bool,
    /// What [`Spec::runs_directly`] returns.
    pub(crate) is_direct: bool,
}

impl NameIndex {
    fn of(rows: &'static [Spec]) -> Self {
        let mut buckets = vec![None; (2 * rows.len()).next_power_of_two()].into_boxed_slice();
        for spec in rows {
            let name = spec.name.as_bytes();
            // Only a letter becomes a letter when bit 0x20 is set, so that a word of letters is enough.
            let is_whole = name.len() <= 8 && name.iter().all(u8::is_ascii_lowercase);
            let word = word_of(name) | LOWER;
            let mut bucket = Self::bucket(word, name.len(), buckets.len());
            while buckets[bucket].is_some() {
                bucket = (bucket + 1) % buckets.len();
            }
            let (least, spread) = match spec.arity {
                // No request has so many: those of subcommands are counted by their own rows.
                _ if !spec.subcommands.is_empty() => (u32::MAX, 0),
                Arity::Exactly(count) => (count.into(), 0),
                Arity::AtLeast(count) => (count.into(), u32::MAX),
            };
            let whole_len = if is_whole { name.len() as u8 } else { 0 };
            buckets[bucket] = Some(IndexedRow {
                word,
                spec,
                least,
                spread,
                whole_len,
                only_key: spec.only_key().unwrap_or(0),
                is_keyless: spec.keys.is_empty(),
                is_direct: spec.runs_directly(),
            });
        }
        Self { buckets }
    }

    #[inline]
    fn bucket(word: u64, len: usize, buckets: usize) -> usize {
        let mixed = (word ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 40) as usize & (buckets - 1)
    }

    fn find(&self, name: &[u8]) -> Option<&'static Spec> {
        self.row(word_of(name), name).map(|row| row.spec)
    }

    /// Returns the command of this name, in any case; `word` are its first eight bytes.
    #[inline(always)]
    fn row(&self, word: u64, name: &[u8]) -> Option<&IndexedRow> {
        let word = word | LOWER;
        let mut bucket = Self::bucket(word, name.len(), self.buckets.len());
        while let Some(row) = &self.buckets[bucket] {
            let is_equal = || {
                usize::from(row.whole_len) == name.len()
                    || name.eq_ignore_ascii_case(row.spec.name.as_bytes())
            };
            if row.word == word && is_equal() {
                return Some(row);
            }
            bucket = (bucket + 1) & (self.buckets.len() - 1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn a_product_has_only_its_own_commands_in_its_own_form() {
        let [redis7, redis8, valkey9] =
            [&Product::REDIS7, &Product::REDIS8, &Product::VALKEY9].map(Commands::of);
        let arity = |commands: &Commands, name: &[u8]| {
            commands.find(name).map(|spec| spec.arity.as_redis())
        };
        let of = |name| [redis7, redis8, valkey9].map(|commands| arity(commands, name));
        assert_eq!(of(b"get"), [Some(2); 3]);
        assert_eq!(of(b"zrank"), [Some(3), Some(-3), Some(-3)]);
        assert_eq!(of(b"slotway"), [Some(-2); 3]);
        let sub = |commands: &Commands, container: &[u8], name: &[u8]| {
            find_in(commands.find(container).expect("a container"), name).is_some()
        };
        assert!(!sub(redis7, b"client", b"no-touch") && sub(valkey9, b"client", b"no-touch"));
        // A row keeps its number, by which its calls are counted.
        for spec in valkey9.rows() {
            assert_eq!(find(spec.name.as_bytes()).map(|own| own.id), Some(spec.id));
        }
    }
}
