//! Which clients CLIENT LIST shows and CLIENT KILL closes.

use super::super::{Args, Refusal, ServerCx};
use super::client_line::flags_of;
use crate::dialect::servers;
use crate::keyspace::Millis;
use crate::resp::until_nul;
use crate::state::clients::Client;
use crate::text::number::parse_i64;

/// The types of clients in filters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    /// No client is one: replicas have no connection to their master.
    Master,
    Replica,
    Pubsub,
}

impl Kind {
    pub(super) fn of(client: &Client) -> Self {
        if client.subscription_counts().is_empty() { Self::Normal } else { Self::Pubsub }
    }

    pub(super) fn parse(name: &[u8]) -> Result<Self, Refusal> {
        match &*name.to_ascii_lowercase() {
            b"normal" => Ok(Self::Normal),
            b"master" => Ok(Self::Master),
            b"slave" | b"replica" => Ok(Self::Replica),
            b"pubsub" => Ok(Self::Pubsub),
            _ => Err(Refusal::new([b"ERR Unknown client type '", until_nul(name), b"'"].concat())),
        }
    }
}

/// What a client is tested for.
enum Test<'a> {
    Id(Vec<u64>),
    Type(Kind),
    Peer(&'a [u8]),
    Local(&'a [u8]),
    /// Every client is the default user, the only one.
    User,
    /// Connected for so many seconds.
    Age(i64),
    /// Silent for so many seconds.
    Idle(i64),
    /// All of these letters.
    Flags(&'a [u8]),
    Name(&'a [u8]),
    LibName(&'a [u8]),
    LibVer(&'a [u8]),
    Database(i64),
    /// All of these letters.
    Capabilities(&'a [u8]),
    Ip(&'a [u8]),
}

/// The words for tests, and the servers whose CLIENT KILL, or CLIENT LIST with filters, takes them.
const WORDS: [(&str, u8); 14] = [
    ("id", servers::ALL),
    ("type", servers::ALL),
    ("addr", servers::ALL),
    ("laddr", servers::ALL),
    ("user", servers::ALL),
    ("maxage", servers::SINCE_7_2),
    ("idle", servers::VALKEY9),
    ("flags", servers::VALKEY9),
    ("name", servers::VALKEY9),
    ("lib-name", servers::VALKEY9),
    ("lib-ver", servers::VALKEY9),
    ("db", servers::VALKEY9),
    ("capa", servers::VALKEY9),
    ("ip", servers::VALKEY9),
];

/// Words that have no form with `NOT-`.
const NEVER_NOT: [&str; 2] = ["maxage", "idle"];

/// The letters of flags that a client may have, in some server.
const FLAGS: &[u8] = b"ABEIMNOPRSTUbcdeirtux";
/// The letters of capabilities: of `redirect` alone.
const CAPABILITIES: &[u8] = b"r";

/// Which clients are meant: those that pass every test.
pub(super) struct Filter<'a> {
    /// Each with its place in [`WORDS`], and whether it is to fail: one of each at most.
    tests: Vec<(usize, bool, Test<'a>)>,
    /// The client with this id is left out.
    skipped: Option<u64>,
}

impl<'a> Filter<'a> {
    /// Reads the filters behind the first two words of a request; SKIPME is about its sender, and is
    /// `skipped` if it is not given.
    pub(super) fn parse(
        cx: &ServerCx<'_>,
        args: Args<'a>,
        skipped: Option<u64>,
    ) -> Result<Self, Refusal> {
        let mut filter = Self { tests: Vec::new(), skipped };
        let mut at = 2;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(Refusal::SYNTAX)?;
            if args.is(at, "skipme") {
                filter.skipped = match &*value.to_ascii_lowercase() {
                    b"yes" => Some(cx.me.id),
                    b"no" => None,
                    _ => return Err(Refusal::SYNTAX),
                };
                at += 2;
                continue;
            }
            let (word, fails) = word(cx.product.servers, &args[at]).ok_or(Refusal::SYNTAX)?;
            let mut taken = 1;
            let test = match WORDS[word].0 {
                "id" => {
                    let ids = ids(cx, args, at + 1)?;
                    taken = ids.len();
                    let known =
                        filter.tests.iter_mut().find(|(it, not, _)| (*it, *not) == (word, fails));
                    if let Some((_, _, Test::Id(known))) = known {
                        known.extend(ids);
                        at += 1 + taken;
                        continue;
                    }
                    Test::Id(ids)
                }
                name => test(cx, name, fails, value)?,
            };
            filter.tests.retain(|(it, not, _)| (*it, *not) != (word, fails));
            filter.tests.push((word, fails, test));
            at += 1 + taken;
        }
        Ok(filter)
    }

    /// Returns whether a client passes.
    pub(super) fn fits(&self, client: &Client, now: Millis) -> bool {
        self.skipped != Some(client.id)
            && self.tests.iter().all(|(_, fails, test)| test.passes(client, now) != *fails)
    }

    /// Returns the ids of the clients of which alone some may pass, if they are named.
    pub(super) fn ids(&self) -> Option<&[u64]> {
        self.tests.iter().find_map(|(_, fails, test)| match test {
            Test::Id(ids) if !fails => Some(&ids[..]),
            _ => None,
        })
    }
}

/// Finds a word that one of these servers takes, and whether it begins with `NOT-`.
fn word(servers: u8, text: &[u8]) -> Option<(usize, bool)> {
    let text = text.to_ascii_lowercase();
    let (name, fails) = match text.strip_prefix(b"not-") {
        Some(name) if servers & servers::VALKEY9 != 0 => (name, true),
        _ => (&text[..], false),
    };
    let found = WORDS
        .iter()
        .position(|(word, of)| word.as_bytes() == name && of & servers != 0)
        .filter(|&at| !(fails && NEVER_NOT.contains(&WORDS[at].0)))?;
    Some((found, fails))
}

/// Reads one id; in Valkey as many as follow.
fn ids(cx: &ServerCx<'_>, args: Args<'_>, from: usize) -> Result<Vec<u64>, Refusal> {
    let positive = |id: Option<i64>| {
        let id = id.and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
        id.ok_or(Refusal::of("ERR client-id should be greater than 0"))
    };
    let mut numbers = args.from(from).map(parse_i64);
    if cx.product.servers & servers::VALKEY9 == 0 {
        return Ok(vec![positive(numbers.next().flatten())?]);
    }
    let ids = numbers.map_while(|id| id).map(|id| positive(Some(id)));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() { Err(Refusal::SYNTAX) } else { Ok(ids) }
}

/// Reads the value of any other test.
fn test<'a>(
    cx: &ServerCx<'_>,
    name: &str,
    fails: bool,
    value: &'a [u8],
) -> Result<Test<'a>, Refusal> {
    let not = if fails { "NOT-" } else { "" };
    let letters = |known: &[u8], what: &str, whole: &str| {
        if value.iter().all(|letter| known.contains(letter)) {
            return Ok(value);
        }
        let filter = if fails { whole } else { "provided" };
        let text = format!("ERR Unknown {what} found in the {filter} filter: ");
        Err(Refusal::new([text.as_bytes(), until_nul(value)].concat()))
    };
    Ok(match name {
        "type" => Test::Type(Kind::parse(value)?),
        "addr" => Test::Peer(value),
        "laddr" => Test::Local(value),
        "user" if value == b"default" => Test::User,
        "user" => {
            return Err(Refusal::new([b"ERR No such user '", until_nul(value), b"'"].concat()));
        }
        "maxage" => Test::Age(seconds(name, value)?),
        "idle" => Test::Idle(seconds(name, value)?),
        "flags" => Test::Flags(letters(FLAGS, "flags", "NOT-FLAGS")?),
        "capa" => Test::Capabilities(letters(CAPABILITIES, "capa", "NOT-CAPA")?),
        "name" => Test::Name(value),
        "lib-name" => Test::LibName(value),
        "lib-ver" => Test::LibVer(value),
        "ip" => Test::Ip(value),
        _ => {
            let wrong = |what: String| Refusal::new(format!("ERR {not}DB {what}"));
            let number = parse_i64(value)
                .ok_or_else(|| wrong("is not an integer or out of range".to_owned()))?;
            let last = cx.node.settings.databases() as i64 - 1;
            if !(0..=last).contains(&number) {
                return Err(wrong(format!("number should be between 0 and {last}")));
            }
            Test::Database(number)
        }
    })
}

fn seconds(name: &str, value: &[u8]) -> Result<i64, Refusal> {
    let wrong = |what: &str| Refusal::new(format!("ERR {name} {what}"));
    let seconds = parse_i64(value).ok_or_else(|| wrong("is not an integer or out of range"))?;
    if seconds > 0 { Ok(seconds) } else { Err(wrong("should be greater than 0")) }
}

impl Test<'_> {
    fn passes(&self, client: &Client, now: Millis) -> bool {
        let for_seconds = |since: Millis, seconds: i64| (now - since) / 1000 >= seconds;
        let is = |text: String, value: &[u8]| text.as_bytes() == value;
        // A label that was not set is none, not even the empty one.
        let is_label = |label: &[u8], value: &[u8]| !label.is_empty() && label == value;
        match self {
            Self::Id(ids) => ids.contains(&client.id),
            Self::Type(kind) => *kind == Kind::of(client),
            Self::Peer(address) => is(client.peer.to_string(), address),
            Self::Local(address) => is(client.local.to_string(), address),
            Self::User => true,
            Self::Age(seconds) => for_seconds(client.connected_at, *seconds),
            Self::Idle(seconds) => for_seconds(client.activity().last_active, *seconds),
            Self::Flags(letters) => {
                let flags = flags_of(client);
                letters.iter().all(|letter| flags.as_bytes().contains(letter))
            }
            Self::Name(name) => is_label(&client.labels().name, name),
            Self::LibName(name) => is_label(&client.labels().lib_name, name),
            Self::LibVer(version) => is_label(&client.labels().lib_ver, version),
            Self::Database(number) => i64::from(client.database()) == *number,
            Self::Capabilities(letters) => letters.is_empty() || client.understands_redirect(),
            Self::Ip(ip) => is(client.peer.ip().to_string(), ip),
        }
    }
}
