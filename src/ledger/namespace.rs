//! The part of a key that its author can set without a change where keys are built: the beginning,
//! which most libraries take from a prefix or namespace option, or a prefix that they have room for.
//!
//! ```text
//! bq:paint:jobs                    first part, up to the first delimiter       bq
//! spring:session:sessions:1a2b     a library's default, which has two          spring:session
//! :1:page                          nothing: an option puts a prefix before     -
//! ```
//!
//! From a key alone nobody can see how much of it is an option's value, but whatever begins the key
//! includes its first part. So the first part is the beginning, except for the defaults of libraries
//! that are known here.

use super::pattern::{Kind, pieces};

/// A library with an option for the beginning of its keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Library {
    /// Its name.
    pub name: &'static str,
    /// The option's name; empty if it has none, so that a connection has to put it before each key.
    pub option: &'static str,
    /// The default beginning, without the delimiter behind it; `None` if the option puts a prefix
    /// before keys that have nothing in common.
    beginning: Option<&'static str>,
    /// Its keys: whole ones, or, if they end with a delimiter, the beginnings of them.
    keys: &'static [&'static str],
    /// Bytes that only its keys contain, if there are such.
    inside: &'static [u8],
}

const fn row(
    name: &'static str,
    option: &'static str,
    beginning: Option<&'static str>,
    keys: &'static [&'static str],
) -> Library {
    Library { name, option, beginning, keys, inside: b"" }
}

/// The libraries, with their defaults as their documentation has them.
const LIBRARIES: &[Library] = &[
    row("BullMQ", "prefix", Some("bull"), &["bull:"]),
    row("bee-queue", "prefix", Some("bq"), &["bq:"]),
    Library {
        inside: b"\x06\x16",
        ..row(
            "Celery",
            "global_keyprefix",
            None,
            &[
                "celery",
                "unacked",
                "unacked_index",
                "unacked_mutex",
                "_kombu.binding.",
                "celery-task-meta-",
            ],
        )
    },
    row("connect-redis", "prefix", Some("sess"), &["sess:"]),
    row("Django", "KEY_PREFIX", None, &[":1:"]),
    row("dramatiq", "namespace", Some("dramatiq"), &["dramatiq:"]),
    row("Keyv", "namespace", Some("keyv"), &["keyv:"]),
    row("Laravel", "REDIS_PREFIX", Some("laravel_database"), &["laravel_database_"]),
    row("Laravel", "REDIS_PREFIX", Some("laravel-database"), &["laravel-database-"]),
    row("rate-limiter-flexible", "keyPrefix", Some("rlflx"), &["rlflx:"]),
    row("Resque", "Resque.redis.namespace", Some("resque"), &["resque:"]),
    row("RQ", "", Some("rq"), &["rq:"]),
    row("rsmq", "ns", Some("rsmq"), &["rsmq:"]),
    row("Socket.IO", "key", Some("socket.io"), &["socket.io#", "socket.io-"]),
    row("Spring Session", "namespace", Some("spring:session"), &["spring:session:"]),
];

impl Library {
    /// Returns the library that this key looks like one of.
    #[must_use]
    pub(crate) fn of(key: &[u8]) -> Option<&'static Self> {
        LIBRARIES.iter().find(|library| library.has(key))
    }

    fn has(&self, key: &[u8]) -> bool {
        let looks = |text: &&str| match text.ends_with(|last: char| !last.is_alphanumeric()) {
            true => key.starts_with(text.as_bytes()),
            false => key == text.as_bytes(),
        };
        let len = self.inside.len();
        self.keys.iter().any(looks) || len > 0 && key.windows(len).any(|w| w == self.inside)
    }

    /// Whether its option puts a prefix before its keys, and no part of them is its value.
    #[must_use]
    pub(crate) fn is_prefixing(&self) -> bool {
        self.beginning.is_none()
    }
}

/// Returns the beginning of a key: the default of the library that it looks like one of, or its part
/// before the first delimiter, if that consists of letters. Never contains a brace.
#[must_use]
pub(crate) fn beginning(key: &[u8]) -> Option<&[u8]> {
    if let Some(library) = Library::of(key) {
        return key.get(..library.beginning?.len());
    }
    let pieces = pieces(key);
    let end = pieces.iter().position(|piece| piece.kind == Kind::Mark).unwrap_or(pieces.len());
    // Digits and identifiers differ from key to key: no option has them as its value.
    let is_name = end > 0 && pieces[..end].iter().all(|piece| piece.kind == Kind::Word);
    is_name.then(|| &key[..pieces[end - 1].end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_what_an_option_can_hold() {
        for (key, expected) in [
            ("bq:paint:jobs", Some("bq")),
            ("shop.cart.7", Some("shop")),
            ("myapp_database_queues:default", Some("myapp")),
            ("celery", None),
            ("unacked_index", None),
            ("shop\x06\x163", None),
            ("unacked_orders", Some("unacked")),
            ("celeryd", Some("celeryd")),
            ("spring:session:sessions:1", Some("spring:session")),
            ("spring:cache:1", Some("spring")),
            ("laravel_database_queues:default", Some("laravel_database")),
            (":1:page", None),
            ("{user}:1", None),
            ("user:{1}", Some("user")),
            ("user{1}", Some("user")),
            ("7:cart", None),
            ("user42:cart", None),
            ("0f8fad5b-d9cb-469f-a165-70867728950e:cart", None),
            ("", None),
        ] {
            let found =
                beginning(key.as_bytes()).map(|text| std::str::from_utf8(text).expect("text"));
            assert_eq!(found, expected, "{key}");
        }
    }

    #[test]
    fn libraries_differ_and_their_keys_have_their_defaults() {
        for library in LIBRARIES {
            for text in library.keys {
                assert_eq!(Library::of(text.as_bytes()), Some(library), "{text}");
                let has_default = |beginning: &str| {
                    text.starts_with(beginning) && !beginning.contains(['{', '}'])
                };
                assert!(library.beginning.is_none_or(has_default), "{text}");
            }
        }
    }
}
