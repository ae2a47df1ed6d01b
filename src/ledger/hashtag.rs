//! The hashtags that put keys which are used together into one slot.
//!
//! ```text
//! sets seen together      bull:mail:wait    bull:mail:active        cart:7:items    user:7
//! their beginning         {bull}:mail:wait  {bull}:mail:active      -
//! a part of them          {bull:mail}:wait  {bull:mail}:active      cart:{7}:items  user:{7}
//! a prefix before them    {app}:bull:…      {app}:bull:…            {app}:cart:…    {app}:user:…
//! ```
//!
//! The beginning ([`beginning`]) is what an author can set by an option; it has to be the same in all
//! keys. For parts see [`super::common_part`]. A prefix is always possible.

use super::common_part::{CommonPart, KEY_CHARS_MAX, Pair, Set, find};
use super::namespace::{Library, beginning};
use super::pattern::{pattern, shown};
use std::sync::Arc;

/// A hashtag for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    place: Place,
    /// How many different tags the sets would have.
    pub values: usize,
    /// One of these tags with its braces, for display.
    pub shown: String,
}

/// Where a hashtag is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Around this beginning of all keys.
    Beginning(Box<[u8]>),
    /// Around this part of all keys.
    Part(CommonPart),
    /// Before all keys.
    Prefix,
}

/// The kind of a hashtag, as reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TagKind {
    /// The beginning of the keys, which an option may hold.
    Beginning,
    /// A part of the keys, which the code that builds them has to enclose.
    Part,
    /// A prefix before the keys.
    Prefix,
}

impl TagKind {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beginning => "beginning",
            Self::Part => "part",
            Self::Prefix => "prefix",
        }
    }
}

/// The prefix that is suggested: any text will do in its place.
const PREFIX: &str = "{app}";

impl Tag {
    /// Returns the tag around the beginning of the keys of all sets, if it is the same everywhere.
    #[must_use]
    pub(crate) fn of_beginning(sets: &[Set]) -> Option<Self> {
        let mut keys = sets.iter().flatten().map(|(_, key)| beginning(key));
        let text = keys.next()??;
        keys.all(|other| other == Some(text)).then(|| Self {
            place: Place::Beginning(text.into()),
            values: 1,
            shown: format!("{{{}}}", shown(text, KEY_CHARS_MAX)),
        })
    }

    fn of_part(part: CommonPart) -> Self {
        let shown = format!("{{{}}}", part.shown);
        Self { values: part.values, shown, place: Place::Part(part) }
    }

    /// Returns the tag before all keys.
    #[must_use]
    pub(crate) fn of_prefix() -> Self {
        Self { place: Place::Prefix, values: 1, shown: PREFIX.to_owned() }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> TagKind {
        match self.place {
            Place::Beginning(_) => TagKind::Beginning,
            Place::Part(_) => TagKind::Part,
            Place::Prefix => TagKind::Prefix,
        }
    }

    /// The beginning that it encloses, if it is one.
    #[must_use]
    pub fn beginning(&self) -> Option<&[u8]> {
        match &self.place {
            Place::Beginning(text) => Some(text),
            Place::Part(_) | Place::Prefix => None,
        }
    }

    /// Returns a key of pattern number `of` with the tag. `None` if the key does not have the beginning
    /// or the pieces of its pattern.
    #[must_use]
    pub fn write(&self, of: usize, key: &[u8]) -> Option<Vec<u8>> {
        match &self.place {
            Place::Beginning(text) => {
                let rest = (beginning(key)? == &**text).then(|| &key[text.len()..])?;
                Some([b"{", &**text, b"}", rest].concat())
            }
            Place::Part(part) => part.write(of, key),
            Place::Prefix => {
                // Some libraries begin with the delimiter that would follow a prefix.
                let delimiter = if key.first() == Some(&b':') { "" } else { ":" };
                Some([PREFIX.as_bytes(), delimiter.as_bytes(), key].concat())
            }
        }
    }

    /// Returns the pattern of the pattern's keys with the tag.
    #[must_use]
    pub fn pattern(&self, of: usize, key: &[u8]) -> String {
        self.write(of, key).map_or_else(String::new, |key| pattern(&key))
    }
}

/// Returns the hashtags for these sets of keys of `patterns`, the one first that an author can set most
/// easily; at least one. If none of them is a part of the keys: the pairs of patterns that have nothing
/// in common, or none, if each pair has a common part but all together have not.
///
/// The beginning comes first, then a part, since it is written where keys are built, then a prefix: it
/// needs one option, but all keys are then in one slot. Only where a library's option is known to be a
/// prefix, that is first.
pub(crate) fn choices(patterns: &[Arc<str>], sets: &[Set]) -> (Vec<Tag>, Vec<Pair>) {
    let of_beginning = Tag::of_beginning(sets);
    let (part, pairs) = match find(patterns, sets) {
        Ok(part) => (Some(Tag::of_part(part)), Vec::new()),
        Err(pairs) => (None, pairs),
    };
    let mut keys = sets.iter().flatten().map(|(_, key)| key);
    let is_prefixed = keys.any(|key| Library::of(key).is_some_and(Library::is_prefixing));
    let prefix = Some(Tag::of_prefix());
    match of_beginning {
        Some(first) => {
            let part = part.filter(|part| part.shown != first.shown);
            (std::iter::once(first).chain(part).collect(), Vec::new())
        }
        None => {
            let all = if is_prefixed { [prefix, part] } else { [part, prefix] };
            (all.into_iter().flatten().collect(), pairs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TagKind::{Beginning, Part, Prefix};
    use super::*;
    use crate::ledger::common_part::bare;
    use crate::ledger::common_part::tests::numbered;
    use crate::slot::{Slot, hashed_part};
    use proptest::prelude::*;

    fn with(tag: &Tag, set: &Set) -> Vec<String> {
        let written = set.iter().map(|(of, key)| {
            String::from_utf8(tag.write(*of, key).expect("made as its pattern")).expect("text")
        });
        written.collect()
    }

    /// The first choice, and its place, for the first set.
    fn first(sets: &[&[&str]], kind: TagKind, expected: &[&str]) {
        let (patterns, sets) = numbered(sets);
        let tag = choices(&patterns, &sets).0.swap_remove(0);
        assert_eq!(
            (tag.kind(), with(&tag, &sets[0])),
            (kind, expected.iter().map(|key| (*key).to_owned()).collect())
        );
    }

    #[test]
    fn braces_of_a_key_stay_and_the_tag_comes_before_them() {
        first(
            &[&["q:ts:{\"class\":\"add\"}", "q:jobs"]],
            TagKind::Beginning,
            &["{q}:ts:{\"class\":\"add\"}", "{q}:jobs"],
        );
        first(
            &[&["{{user}}:1", "{{user}}:2"], &["{{order}}:1", "{{user}}:1"]],
            TagKind::Prefix,
            &["{app}:{{user}}:1", "{app}:{{user}}:2"],
        );
    }

    /// Keys as libraries make them, and what is suggested for them first; `ID` stands for one.
    const FIRST: &[(TagKind, &[(&str, &str)])] = &[
        // bee-queue, BullMQ, Resque, rsmq, RQ, dramatiq, connect-redis, Keyv, Spring Session
        (
            Beginning,
            &[("bq:paint:jobs", "{bq}:paint:jobs"), ("bq:paint:waiting", "{bq}:paint:waiting")],
        ),
        (Beginning, &[("bull:q:wait", "{bull}:q:wait"), ("bull:q:1", "{bull}:q:1")]),
        (
            Beginning,
            &[("resque:queues", "{resque}:queues"), ("resque:queue:mail", "{resque}:queue:mail")],
        ),
        (
            Beginning,
            &[("rsmq:q", "{rsmq}:q"), ("rsmq:q:Q", "{rsmq}:q:Q"), ("rsmq:QUEUES", "{rsmq}:QUEUES")],
        ),
        (Beginning, &[("rq:job:ID", "{rq}:job:ID"), ("rq:queue:default", "{rq}:queue:default")]),
        (
            Beginning,
            &[
                ("dramatiq:default", "{dramatiq}:default"),
                ("dramatiq:default.msgs", "{dramatiq}:default.msgs"),
                ("dramatiq:__acks__.ID.default", "{dramatiq}:__acks__.ID.default"),
            ],
        ),
        (Beginning, &[("sess:ID", "{sess}:ID"), ("sess:a", "{sess}:a")]),
        (Beginning, &[("keyv:a", "{keyv}:a"), ("keyv:b", "{keyv}:b")]),
        (
            Beginning,
            &[
                ("spring:session:sessions:ID", "{spring:session}:sessions:ID"),
                ("spring:session:sessions:expires:ID", "{spring:session}:sessions:expires:ID"),
                (
                    "spring:session:expirations:1700000000000",
                    "{spring:session}:expirations:1700000000000",
                ),
            ],
        ),
        // Laravel, by its default and with an own name; Socket.IO; rate-limiter-flexible
        (
            Beginning,
            &[
                ("laravel_database_queues:default", "{laravel_database}_queues:default"),
                (
                    "laravel_database_queues:default:reserved",
                    "{laravel_database}_queues:default:reserved",
                ),
            ],
        ),
        (
            Beginning,
            &[
                ("shop_database_queues:default", "{shop}_database_queues:default"),
                ("shop_database_queues:default:notify", "{shop}_database_queues:default:notify"),
            ],
        ),
        (
            Beginning,
            &[
                ("socket.io#/#", "{socket.io}#/#"),
                ("socket.io-request#/#", "{socket.io}-request#/#"),
            ],
        ),
        (Beginning, &[("rlflx:ada", "{rlflx}:ada"), ("rlflx:10.0.0.1", "{rlflx}:10.0.0.1")]),
        // Celery's transport, django-redis, Sidekiq and node-cache-manager without a store prefix
        (Prefix, &[("unacked", "{app}:unacked"), ("unacked_index", "{app}:unacked_index")]),
        (Prefix, &[("celery", "{app}:celery"), ("celery\x06\x163", "{app}:celery\x06\x163")]),
        (
            Prefix,
            &[("celery", "{app}:celery"), ("_kombu.binding.celery", "{app}:_kombu.binding.celery")],
        ),
        (Prefix, &[(":1:page", "{app}:1:page"), (":1:user.7", "{app}:1:user.7")]),
        (Prefix, &[("queues", "{app}:queues"), ("queue:default", "{app}:queue:default")]),
        (Prefix, &[("ada", "{app}:ada"), ("bob", "{app}:bob")]),
        (Prefix, &[("order:77", "{app}:order:77"), ("stock:3", "{app}:stock:3")]),
        // Own keys.
        (Part, &[("cart:7:items", "cart:{7}:items"), ("user:7", "user:{7}")]),
        (Beginning, &[("cart:7:items", "{cart}:7:items"), ("cart:7:total", "{cart}:7:total")]),
    ];

    #[test]
    fn what_an_author_can_set_is_first() {
        let id = |text: &str| text.replace("ID", "0f8fad5b-d9cb-469f-a165-70867728950e");
        for (kind, keys) in FIRST {
            let (old, new): (Vec<String>, Vec<String>) =
                keys.iter().map(|(old, new)| (id(old), id(new))).unzip();
            let old: Vec<&str> = old.iter().map(String::as_str).collect();
            let new: Vec<&str> = new.iter().map(String::as_str).collect();
            first(&[&old], *kind, &new);
        }
    }

    /// Without the tag's braces, or the prefix, a key with the tag is the key; its first brace is the
    /// tag's.
    fn is_kept(tag: &Tag, key: &[u8], new: &[u8]) -> bool {
        let open = new.iter().position(|&byte| byte == b'{').expect("a tag");
        let inside = hashed_part(new);
        let rest = &new[open + inside.len() + 2..];
        let without = [&new[..open], inside, rest].concat();
        match tag.kind() {
            TagKind::Beginning => without == key,
            // The braces of another tag may have been replaced.
            TagKind::Part => without == bare(key),
            TagKind::Prefix => new.ends_with(key) && new.len() <= key.len() + PREFIX.len() + 1,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Keys of names, numbers, delimiters, and braces that are tags, JSON or unbalanced.
        #[test]
        fn every_choice_puts_each_set_into_one_slot_and_loses_nothing(
            sets in prop::collection::vec(
                prop::collection::vec(
                    prop::collection::vec("[ab7]|cart|bull|spring:session|[:./_-]|\\{|\\}|\\{7\\}|\\{\"a\":7\\}|\\{a\\}|celery", 1..6)
                        .prop_map(|pieces| pieces.concat()),
                    2..5,
                ),
                1..4,
            )
        ) {
            let sets: Vec<Vec<&str>> =
                sets.iter().map(|set| set.iter().map(String::as_str).collect()).collect();
            let sets: Vec<&[&str]> = sets.iter().map(Vec::as_slice).collect();
            let (patterns, sets) = numbered(&sets);
            let (tags, _) = choices(&patterns, &sets);
            prop_assert!(!tags.is_empty());
            for tag in &tags {
                for set in &sets {
                    let written: Vec<Vec<u8>> = set
                        .iter()
                        .map(|(of, key)| tag.write(*of, key).expect("made as its pattern"))
                        .collect();
                    for ((_, key), new) in set.iter().zip(&written) {
                        prop_assert_eq!(Slot::of(new), Slot::of(&written[0]), "{:?}", tag);
                        prop_assert!(is_kept(tag, key, new), "{:?} {:?} {:?}", tag, key, new);
                    }
                }
            }
        }
    }
}
