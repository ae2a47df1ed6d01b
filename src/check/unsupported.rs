//! Commands that a file may contain and this server does not support: only their keys are known.
//!
//! The rows have the form of the table of commands. A test fails when the table has one of them: the
//! row here is to be removed then. [`find`] searches both.

use crate::command::{self, Args, Arity, Begin, Find, Keys, Spec, access, flag};
use access::{RO, RW};

/// Returns the row of a request, from either table.
#[must_use]
pub fn find(args: Args<'_>) -> Option<&'static Spec> {
    command::named(args).or_else(|| {
        let name = args.at(0);
        UNSUPPORTED.iter().find(|row| name.eq_ignore_ascii_case(row.name.as_bytes()))
    })
}

/// Keys from an argument to the end.
const fn to_end(access: u16, first: u8) -> Keys {
    Keys::range(access, first, -1, 1)
}

/// A number of keys, and the keys behind it.
const fn counted(at: u8) -> Keys {
    let find = Find::Count { at: 0, first: 1, step: 1 };
    Keys { access: RW, begin: Begin::Index(at), find, notes: "" }
}

/// Keys behind this word, if it is there from argument `from` on.
const fn behind(access: u16, word: &'static str, from: i8, find: Find) -> Keys {
    Keys { access, begin: Begin::Keyword(word, from), find, notes: "" }
}

const ONE: Find = Find::Range { last: 0, step: 1, limit: 0 };
const HALF: Find = Find::Range { last: -1, step: 1, limit: 2 };

const fn reads(name: &'static str, keys: &'static [Keys]) -> Spec {
    Spec { name, arity: Arity::AtLeast(2), flags: flag::READ, keys, ..Spec::BASE }
}

const fn writes(name: &'static str, keys: &'static [Keys]) -> Spec {
    Spec { flags: flag::WRITE, ..reads(name, keys) }
}

const READ_ONE: &[Keys] = &[Keys::at(RO, 1)];
const WRITE_ONE: &[Keys] = &[Keys::at(RW, 1)];
/// The key behind the subcommand: `XGROUP CREATE key`, `XINFO STREAM key`.
const SECOND: &[Keys] = &[Keys::at(RW, 2)];
const SCRIPT: &[Keys] = &[counted(2)];
const RADIUS: &[Keys] =
    &[Keys::at(RO, 1), behind(RW, "store", 5, ONE), behind(RW, "storedist", 5, ONE)];

const UNSUPPORTED: &[Spec] = &[
    reads("bitcount", READ_ONE),
    writes("bitfield", WRITE_ONE),
    reads("bitfield_ro", READ_ONE),
    writes("bitop", &[Keys::at(RW, 2), to_end(RO, 3)]),
    reads("bitpos", READ_ONE),
    reads("getbit", READ_ONE),
    writes("setbit", WRITE_ONE),
    writes("geoadd", WRITE_ONE),
    reads("geodist", READ_ONE),
    reads("geohash", READ_ONE),
    reads("geopos", READ_ONE),
    writes("georadius", RADIUS),
    writes("georadiusbymember", RADIUS),
    reads("georadius_ro", READ_ONE),
    reads("georadiusbymember_ro", READ_ONE),
    reads("geosearch", READ_ONE),
    writes("geosearchstore", &[Keys::at(RW, 1), Keys::at(RO, 2)]),
    writes("pfadd", WRITE_ONE),
    reads("pfcount", &[to_end(RO, 1)]),
    writes("pfmerge", &[to_end(RW, 1)]),
    writes("xack", WRITE_ONE),
    writes("xadd", WRITE_ONE),
    writes("xautoclaim", WRITE_ONE),
    writes("xclaim", WRITE_ONE),
    writes("xdel", WRITE_ONE),
    writes("xgroup", SECOND),
    reads("xinfo", SECOND),
    reads("xlen", READ_ONE),
    reads("xpending", READ_ONE),
    reads("xrange", READ_ONE),
    reads("xread", &[behind(RO, "streams", 1, HALF)]),
    writes("xreadgroup", &[behind(RW, "streams", 4, HALF)]),
    reads("xrevrange", READ_ONE),
    writes("xsetid", WRITE_ONE),
    writes("xtrim", WRITE_ONE),
    // Scripts change keys by the commands that they call, and MONITOR shows each of those.
    reads("eval", SCRIPT),
    reads("eval_ro", SCRIPT),
    reads("evalsha", SCRIPT),
    reads("evalsha_ro", SCRIPT),
    reads("fcall", SCRIPT),
    reads("fcall_ro", SCRIPT),
];

/// Whether a command runs a script, whose keys are those that it declares.
#[must_use]
pub fn is_script(spec: &Spec) -> bool {
    spec.keys.first().is_some_and(|keys| matches!(keys.find, Find::Count { .. }))
        && matches!(
            spec.name.as_bytes(),
            [b'e', b'v', b'a', b'l', ..] | [b'f', b'c', b'a', b'l', b'l', ..]
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tokenizer::Words;

    #[test]
    fn no_supported_command_is_listed() {
        for row in UNSUPPORTED {
            assert!(command::find(row.name.as_bytes()).is_none(), "{} is supported now", row.name);
        }
    }

    /// Answers of COMMAND GETKEYS of redis-server 7.0.15.
    #[test]
    fn keys_stand_where_the_reference_finds_them() {
        for (request, keys) in [
            ("eval s 2 a b c", "a b"),
            ("evalsha s 0", ""),
            ("fcall f 1 a b", "a"),
            ("xread count 1 block 0 streams a b 0 0", "a b"),
            ("xreadgroup group g c streams a >", "a"),
            ("xgroup create a g $", "a"),
            ("bitop and d a b", "d a b"),
            ("pfmerge d a b", "d a b"),
            ("georadius a 1 1 1 m store b", "a b"),
            ("geosearchstore d a frommember m byradius 1 m", "d a"),
            ("setbit a 1 1", "a"),
        ] {
            let mut words = Words::default();
            words.split(request.as_bytes()).expect("good words");
            let args = words.args().expect("words");
            let mut found = Vec::new();
            find(args).expect(request).each_key(args, |key| {
                found.push(String::from_utf8_lossy(key).into_owned());
            });
            assert_eq!(found.join(" "), keys, "{request}");
        }
    }
}
