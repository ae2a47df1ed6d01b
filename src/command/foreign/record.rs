//! A line of a recorded file, read into a row.
//!
//! ```text
//! bitop -4 write,denyoom | OW,update at 2 | RO,access at 3 to -1
//! xread -4 readonly,blocking,movablekeys | RO,access behind STREAMS from 1 to -1 limit 2
//! msetex -4 write,denyoom,movablekeys | OW,update at 1 count 0 first 1 by 2
//! ```
//!
//! Name (`container|subcommand`), arity and flags as COMMAND shows them, `-` for none; then each key
//! specification: what it does to the keys, [where they begin](Begin), and [which they are](Find), a
//! single one if that is not said. `unknown` stands for what the server cannot specify either.

use crate::command::{Arity, Begin, Find, Keys, Spec, access, flag};

/// A command of a server.
pub(super) struct Record {
    pub(super) spec: Spec,
    pub(super) servers: Vec<&'static str>,
}

impl Record {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(line: &'static str, server: &'static str) -> Result<Self, &'static str> {
        let mut parts = line.split(" | ");
        let mut words = parts.next().unwrap_or_default().split(' ');
        let full_name = words.next().filter(|name| !name.is_empty()).ok_or("no name")?;
        let (parent, name) = full_name.split_once('|').unwrap_or(("", full_name));
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err("a name in upper case");
        }
        let count: i8 = number(words.next())?;
        let least = count.unsigned_abs();
        let arity = if count < 0 { Arity::AtLeast(least) } else { Arity::Exactly(least) };
        let flags = bits(words.next().ok_or("no flags")?, flag::NAMES)?;
        if words.next().is_some() {
            return Err("words behind the flags");
        }
        let keys: Vec<Keys> =
            parts.filter_map(|part| keys(part).transpose()).collect::<Result<_, _>>()?;
        let spec = Spec { name, parent, arity, flags, keys: keys.leak(), ..Spec::BASE };
        Ok(Self { spec, servers: vec![server] })
    }

    /// The container, and the name.
    pub(super) fn id(&self) -> (&'static str, &'static str) {
        (self.spec.parent, self.spec.name)
    }

    /// The same with what an older server has: what either of them accepts counts as accepted.
    pub(super) fn after(mut self, older: Self) -> Self {
        if self.spec.arity != older.spec.arity {
            let least = self.spec.arity.least().min(older.spec.arity.least());
            self.spec.arity = Arity::AtLeast(u8::try_from(least).unwrap_or(u8::MAX));
        }
        self.servers = [older.servers, self.servers].concat();
        self
    }
}

/// One key specification; `None` for one that the server does not know, which is `amend`'s.
fn keys(part: &'static str) -> Result<Option<Keys>, &'static str> {
    let mut words = part.split(' ').peekable();
    let access = bits(words.next().ok_or("an empty specification")?, access::NAMES)?;
    let begin = match (words.next(), words.next()) {
        (Some("unknown"), Some("unknown")) => return Ok(None),
        (Some("at"), at) => Begin::Index(number(at)?),
        (Some("behind"), Some(word)) => {
            words.next_if_eq(&"from").ok_or("no \"from\"")?;
            Begin::Keyword(word, number(words.next())?)
        }
        _ => return Err("no beginning"),
    };
    let mut option = |word| match words.next_if_eq(&word) {
        Some(_) => number::<i8>(words.next()).map(Some),
        None => Ok(None),
    };
    let find = match option("count")? {
        Some(at) => {
            let at = u8::try_from(at).map_err(|_| "a count before the beginning")?;
            let first = option("first")?.ok_or("no \"first\"")?.unsigned_abs();
            Find::Count { at, first, step: option("by")?.unwrap_or(1).unsigned_abs() }
        }
        None => Find::Range {
            last: option("to")?.unwrap_or(0),
            step: option("by")?.unwrap_or(1).unsigned_abs(),
            limit: option("limit")?.unwrap_or(0).unsigned_abs(),
        },
    };
    let (Find::Range { step, .. } | Find::Count { step, .. }) = find;
    match (step, words.next()) {
        (0, _) => Err("keys that are not apart"),
        (_, Some(_)) => Err("words behind the specification"),
        (_, None) => Ok(Some(Keys { access, begin, find, notes: "" })),
    }
}

fn number<N: std::str::FromStr>(word: Option<&str>) -> Result<N, &'static str> {
    word.and_then(|word| word.parse().ok()).ok_or("a number is missing")
}

/// The bits of the names, which have commas between them.
fn bits<B>(names: &str, known: &[(B, &str)]) -> Result<B, &'static str>
where
    B: Copy + Default + std::ops::BitOr<Output = B>,
{
    names.split(',').filter(|&name| name != "-").try_fold(B::default(), |all, name| {
        let row = known.iter().find(|(_, known)| *known == name);
        row.map(|(bit, _)| all | *bit).ok_or("an unknown flag")
    })
}
