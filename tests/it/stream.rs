//! The stream of random commands: a table of templates, a random generator, and the state of each client
//! (a transaction, a WATCH), so that a stream stays within what both servers promise alike.

use std::collections::VecDeque;

use fastrand::Rng;

use crate::wire::text;

/// Clients of a stream; number 1 speaks RESP3.
pub(crate) const CLIENTS: usize = 3;
/// Keys live in these slots, a few in each.
const TAGS: [&str; 3] = ["{a}", "{b}", "{c}"];
const KEYS_PER_TAG: usize = 5;

/// Templates: a weight, then a command. `$…` is drawn anew each time, `a|b` is one of the two, and an
/// empty choice leaves the argument out.
const KEYED: &[&str] = &[
    "8 SET $key $value",
    "2 SET $key $value |NX|XX |GET",
    "2 SET $key $value |NX|XX |GET KEEPTTL",
    "2 SET $key $value EX|ex $seconds |NX|XX",
    "1 SET $key $value PX $millis |GET",
    "2 SET $key $value EXAT $second",
    "2 SET $key $value PXAT $milli |GET",
    "1 SETEX $key $seconds $value",
    "1 PSETEX $key $millis $value",
    "2 SETNX $key $value",
    "5 GET $key",
    "1 GETDEL $key",
    "1 GETEX $key |PERSIST",
    "1 GETEX $key EX $seconds",
    "1 GETEX $key PXAT $milli",
    "1 GETEX $key EXAT $second",
    "2 GETSET $key $value",
    "3 APPEND $key $value",
    "2 STRLEN $key",
    "2 GETRANGE|SUBSTR $key $index $index",
    "2 SETRANGE $key $offset $value",
    "4 INCR|DECR $key",
    "4 INCRBY|DECRBY $key $integer",
    "3 INCRBYFLOAT $key $float",
    "2 MGET $key $key $key",
    "2 MSET $key $value $key $value",
    "1 MSETNX $key $value $key $value",
    "1 LCS $key $key |LEN|IDX",
    "1 LCS $key $key IDX MINMATCHLEN $index |WITHMATCHLEN",
    "8 HSET $key $field $value $field $value",
    "2 HSET $key $fields",
    "2 HMSET $key $field $value",
    "2 HSETNX $key $field $value",
    "3 HGET $key $field",
    "2 HMGET $key $field $field",
    "4 HDEL $key $field $field",
    "3 HGETALL $key",
    "1 HKEYS|HVALS $key",
    "2 HLEN $key",
    "1 HEXISTS|HSTRLEN $key $field",
    "3 HINCRBY $key $field $integer",
    "2 HINCRBYFLOAT $key $field $float",
    "1 HRANDFIELD $key",
    "1 HRANDFIELD $key $index |WITHVALUES",
    "6 LPUSH|RPUSH $key:list $element $element",
    "2 LPUSH|RPUSH $key:list $elements",
    "2 LPUSHX|RPUSHX $key:list $element",
    "4 LPOP|RPOP $key:list",
    "3 LPOP|RPOP $key:list $offset",
    "2 LLEN $key:list",
    "3 LRANGE $key:list $index $index",
    "1 LRANGE $key:list 0 -1",
    "3 LINDEX $key:list $index",
    "3 LSET $key:list $index $element",
    "4 LINSERT $key:list BEFORE|AFTER $element $element",
    "3 LREM $key:list $rank $element",
    "2 LTRIM $key:list $index $index",
    "1 LTRIM $key:list 1|3|-300 -1|-2|300",
    "2 LPOS $key:list $element |RANK $rank",
    "2 LPOS $key:list $element RANK $rank COUNT $rank MAXLEN $index",
    "1 LPOS $key:list $element COUNT 0",
    "4 LMOVE $key:list $key:list LEFT|RIGHT LEFT|RIGHT",
    "2 RPOPLPUSH $key:list $key:list",
    "2 LMPOP 2 $key:list $key:list LEFT|RIGHT",
    "1 LMPOP 1 $key:list LEFT|RIGHT COUNT $offset",
    "1 BLPOP|BRPOP $key:list $key:list $key:list 0.001",
    "1 BLMOVE $key:list $key:list LEFT|RIGHT LEFT|RIGHT 0.001",
    "1 BRPOPLPUSH $key:list $key:list 0.001",
    "1 BLMPOP 0.001 2 $key:list $key:list LEFT|RIGHT COUNT 3",
    "1 COPY|RENAME $key:list $key:list",
    "1 OBJECT ENCODING $key:list",
    "1 DUMP|TYPE|TTL $key:list",
    "1 DEL $key:list",
    "2 SORT $key:list BY nosort |DESC",
    "1 SORT $key:list BY nosort |DESC LIMIT $index $index STORE $key:list",
    "1 SORT $key:set BY nosort |DESC LIMIT $index $index STORE $key:list",
    "3 RPUSH $only:number $integer $integer $integer",
    "1 LTRIM $only:number 0 50",
    "2 SORT|SORT_RO $only:number |ASC|DESC |ALPHA LIMIT $index $index",
    "1 SORT $only:number |DESC STORE $only:number",
    "1 SORT $only:number STORE $key:list",
    "1 SORT $key:zset BY nosort |DESC LIMIT $index $index",
    "1 SORT $key:zset ALPHA |DESC STORE $key:list",
    "6 SADD $key:set $member $member",
    "2 SADD $key:set $members",
    "3 SREM $key:set $member $member",
    "1 SREM $key:set $members",
    "2 SISMEMBER $key:set $member",
    "1 SMISMEMBER $key:set $member $member",
    "2 SCARD $key:set",
    "2 SMEMBERS $key:set",
    "2 SMOVE $key:set $key:set $member",
    "1 SPOP $key:set 5000|0|-1|x",
    "1 SRANDMEMBER $key:set",
    "1 SRANDMEMBER $key:set $index",
    "2 SINTER|SUNION|SDIFF $key:set $key:set",
    "1 SINTER|SUNION|SDIFF $key:set",
    "1 SINTER|SUNION|SDIFF $key:set $key:set $key:set",
    "2 SINTERSTORE|SUNIONSTORE|SDIFFSTORE $key:set $key:set $key:set",
    "1 SINTERSTORE|SUNIONSTORE|SDIFFSTORE $key:set $key:set",
    "1 SINTERSTORE|SUNIONSTORE|SDIFFSTORE $key:set $key:set $key:set $key:set",
    "1 SINTERCARD 2 $key:set $key:set",
    "1 SINTERCARD 2 $key:set $key:set LIMIT $index",
    "1 DEL $key:set $key:set",
    "1 COPY $key:set $key:set REPLACE",
    "1 RENAME $key:set $key:set",
    "1 EXPIRE $key:set $seconds",
    "1 OBJECT ENCODING $key:set",
    "1 DUMP|TYPE|TTL $key:set",
    "6 ZADD $key:zset $score $rival $score $rival",
    "2 ZADD $key:zset |NX|XX |CH $score $rival $score $rival",
    "2 ZADD $key:zset |XX GT|LT |CH $score $rival $score $rival",
    "2 ZADD $key:zset |NX|XX |GT|LT INCR $score $rival",
    "2 ZADD $key:zset $rivals",
    "3 ZINCRBY $key:zset $score $rival",
    "3 ZREM $key:zset $rival $rival",
    "2 ZSCORE $key:zset $rival",
    "1 ZMSCORE $key:zset $rival $rival",
    "1 ZCARD $key:zset",
    "3 ZRANK|ZREVRANK $key:zset $rival",
    "2 ZCOUNT $key:zset $edge $edge",
    "3 ZRANGE $key:zset $index $index |REV |WITHSCORES",
    "2 ZRANGE $key:zset $edge $edge BYSCORE |REV |WITHSCORES",
    "2 ZRANGE $key:zset $edge $edge BYSCORE |REV LIMIT $index $index",
    "2 ZREVRANGE $key:zset $index $index |WITHSCORES",
    "2 ZRANGEBYSCORE|ZREVRANGEBYSCORE $key:zset $edge $edge |WITHSCORES",
    "1 ZRANGEBYSCORE|ZREVRANGEBYSCORE $key:zset $edge $edge LIMIT $index $index",
    "1 ZRANGESTORE $key:zset $key:zset $index $index |REV",
    "1 ZRANGESTORE $key:zset $key:zset $edge $edge BYSCORE |REV",
    "1 ZREMRANGEBYRANK $key:zset $index $index",
    "1 ZREMRANGEBYSCORE $key:zset $edge $edge",
    "2 ZPOPMIN|ZPOPMAX $key:zset |1|2|20",
    "1 ZMPOP 2 $key:zset $key:zset MIN|MAX",
    "1 ZMPOP 1 $key:zset MIN|MAX COUNT 3|30",
    "1 BZPOPMIN|BZPOPMAX $key:zset $key:zset $key:zset 0.001",
    "1 BZMPOP 0.001 3 $key:zset $key:zset $key:zset MIN|MAX",
    "1 ZRANDMEMBER $key:zset",
    "1 ZRANDMEMBER $key:zset $index |WITHSCORES",
    "2 ZUNION|ZINTER|ZDIFF 2 $key:zset $key:zset |WITHSCORES",
    "2 ZUNION|ZINTER 3 $key:zset $key:zset $key:set WEIGHTS $score $score $score WITHSCORES",
    "1 ZUNION|ZINTER 2 $key:zset $key:zset AGGREGATE SUM|MIN|MAX WITHSCORES",
    "2 ZUNIONSTORE|ZINTERSTORE|ZDIFFSTORE $key:zset 2 $key:zset $key:zset",
    "1 ZUNIONSTORE|ZINTERSTORE $key:zset 2 $key:zset $key:set WEIGHTS $score $score AGGREGATE SUM|MIN|MAX",
    "1 ZINTERCARD 2 $key:zset $key:zset |LIMIT",
    "1 ZINTERCARD 2 $key:zset $key:zset LIMIT $index",
    "1 COPY|RENAME $key:zset $key:zset",
    "1 OBJECT ENCODING $key:zset",
    "1 DUMP|TYPE|TTL $key:zset",
    "1 DEL $key:zset $key:zset",
    "3 ZADD $only:lex 0 $rival 0 $rival 0 $rival",
    "1 ZADD $only:lex $rivals:0",
    "1 ZREM $only:lex $rival $rival",
    "2 ZLEXCOUNT $only:lex $lex $lex",
    "2 ZRANGEBYLEX|ZREVRANGEBYLEX $only:lex $lex $lex",
    "1 ZRANGEBYLEX|ZREVRANGEBYLEX $only:lex $lex $lex LIMIT $index $index",
    "2 ZRANGE $only:lex $lex $lex BYLEX |REV",
    "1 ZRANGESTORE $only:lex $only:lex $lex $lex BYLEX",
    "1 ZREMRANGEBYLEX $only:lex $lex $lex",
    "3 DEL|UNLINK $key",
    "1 DEL|UNLINK $key $key",
    "2 EXISTS|TOUCH $key $key",
    "2 TYPE $key",
    "1 OBJECT ENCODING $key",
    "3 EXPIRE $key $seconds |NX|XX|GT|LT",
    "2 PEXPIRE $key $millis |NX|XX|GT|LT",
    "2 EXPIREAT $key $second |NX|XX|GT|LT",
    "2 PEXPIREAT $key $milli |NX|XX|GT|LT",
    "1 EXPIRE|PEXPIRE $key 0|-1 |LT|XX",
    "2 PERSIST $key",
    "1 TTL|PTTL $key",
    "1 EXPIRETIME|PEXPIRETIME $key",
    "2 RENAME $key $key",
    "1 RENAMENX $key $key",
    "2 COPY $key $key |REPLACE",
    "1 DUMP $key",
    "1 PING|ECHO $value",
    "1 PING",
];

/// Further templates if the keys of a request may be in several slots: elements sorted by the values of
/// other keys. (By numbers: the order of equal weights is undefined under ALPHA.)
const SPREAD: &[&str] = &[
    "3 SET $weight $integer",
    "3 HSET $record f $value n $integer",
    "1 DEL $weight $record",
    "3 RPUSH $only:sorted $small $small $small",
    "1 LTRIM $only:sorted 0 20",
    "3 SORT|SORT_RO $only:sorted BY w_* |DESC GET # GET h_*->f GET w_*",
    "2 SORT|SORT_RO $only:sorted BY h_*->n |DESC LIMIT $index $index GET # GET nosuch*",
    "1 SORT $only:sorted BY w_* GET h_*->f GET # STORE $key:list",
    "1 SORT|SORT_RO $only:sorted BY nosort GET w_* GET fixed",
    "1 SORT $key:set BY w_* |DESC STORE $key:list",
    "2 MGET $key $weight $weight $key",
];

/// Commands on more than one slot: never within a transaction.
const WHOLE: &[&str] = &[
    "2 DBSIZE",
    "2 KEYS *",
    "1 KEYS {a}*|*1|*[2-3]|nosuch",
    "1 RANDOMKEY",
    "1 FLUSHALL|FLUSHDB",
    "1 SELECT 0|1|x",
    "1 HSCAN $key 0",
    "1 HSCAN $key 0 MATCH *1",
    "1 ZSCAN $key:zset 0",
    "1 ZSCAN $key:zset 0 MATCH *1",
    "1 SSCAN $key:set 0",
    "1 SSCAN $key:set 0 MATCH *1",
];

const BAD: &[&str] = &[
    "",
    "0",
    "-1",
    "abc",
    "1.5",
    " 1",
    "1e3",
    "nan",
    "inf",
    "0x10",
    "+1",
    "-0",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "NOSUCH",
    "\u{e9}\r\n",
];

/// One command, and which of its arguments are keys.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) keys: Vec<Vec<u8>>,
}

impl Command {
    fn of(words: &[&str]) -> Self {
        Self { argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(), keys: vec![] }
    }

    /// In lower case.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.argv[0]).to_lowercase()
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, argument) in self.argv.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}\"{}\"", text(argument))?;
        }
        Ok(())
    }
}

/// The state of a client.
#[derive(Clone, Debug, Default)]
struct State {
    in_multi: bool,
    /// The slot that its WATCH or its transaction is bound to.
    tag: Option<usize>,
    /// Commands that have to follow.
    next: VecDeque<Command>,
}

/// The endless stream of a seed.
pub(crate) struct Stream {
    rng: Rng,
    /// Keys that are used together are drawn from any slots.
    is_spread: bool,
    states: Vec<State>,
    keyed: Vec<Vec<&'static str>>,
    whole: Vec<Vec<&'static str>>,
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            is_spread: false,
            states: vec![State::default(); CLIENTS],
            keyed: weighted(KEYED),
            whole: weighted(WHOLE),
        }
    }

    /// A stream with several slots in a request or transaction, for servers that allow that.
    pub(crate) fn spread(seed: u64) -> Self {
        let mut stream = Self { is_spread: true, ..Self::new(seed) };
        stream.keyed.extend(weighted(SPREAD));
        stream
    }

    /// The next command, and the client that sends it.
    pub(crate) fn next(&mut self) -> (usize, Command) {
        let client = self.rng.usize(..CLIENTS);
        let command = match self.states[client].next.pop_front() {
            Some(command) => command,
            None if self.states[client].in_multi => self.in_transaction(client),
            None => self.outside(client),
        };
        (client, command)
    }

    fn outside(&mut self, client: usize) -> Command {
        match self.rng.u32(..1000) {
            0..80 => {
                let tag = self.bind(client);
                self.states[client] =
                    State { in_multi: true, tag: Some(tag), next: VecDeque::new() };
                Command::of(&["MULTI"])
            }
            80..140 => {
                let tag = self.bind(client);
                self.states[client].tag = Some(tag);
                let keys: Vec<_> = (0..self.rng.usize(1..4)).map(|_| self.near(tag)).collect();
                self.watch(keys)
            }
            140..155 => {
                self.states[client] = State::default();
                Command::of(&["UNWATCH"])
            }
            155..160 => Command::of(&["EXEC"]),
            160..165 => Command::of(&["DISCARD"]),
            165..168 => Command::of(&["MULTI", "x"]),
            // Client 1 would fall back to RESP2.
            168..171 if client != 1 => {
                self.states[client] = State::default();
                Command::of(&["RESET"])
            }
            171..174 => Command::of(&["NOSUCH", "x"]),
            174..200 => self.draw(client, true),
            _ => self.draw(client, false),
        }
    }

    fn in_transaction(&mut self, client: usize) -> Command {
        let over = State::default();
        match self.rng.u32(..1000) {
            0..150 => {
                self.states[client] = over;
                Command::of(&["EXEC"])
            }
            150..180 => {
                self.states[client] = over;
                Command::of(&["DISCARD"])
            }
            180..184 => {
                self.states[client] = over;
                Command::of(&["EXEC", "x"])
            }
            184..188 => Command::of(&["DISCARD", "x"]),
            188..198 => Command::of(&["MULTI"]),
            198..205 => {
                let tag = self.bind(client);
                let key = self.near(tag);
                self.watch(vec![key])
            }
            205..215 => Command::of(&["UNWATCH"]),
            215..220 => Command::of(&["NOSUCH", "x"]),
            _ => self.draw(client, false),
        }
    }

    /// The slot that the client is bound to, or a random one.
    fn bind(&mut self, client: usize) -> usize {
        self.states[client].tag.unwrap_or_else(|| self.rng.usize(..TAGS.len()))
    }

    fn watch(&mut self, keys: Vec<Vec<u8>>) -> Command {
        let mut argv = vec![b"WATCH".to_vec()];
        argv.extend_from_slice(&keys);
        Command { argv, keys }
    }

    fn draw(&mut self, client: usize, whole: bool) -> Command {
        let templates = if whole { &self.whole } else { &self.keyed };
        let template = templates[self.rng.usize(..templates.len())].clone();
        let in_multi = self.states[client].in_multi;
        let tag = match self.states[client].tag {
            Some(tag) if in_multi => tag,
            _ => self.rng.usize(..TAGS.len()),
        };
        let strays = self.is_spread || (!in_multi && self.rng.u32(..50) == 0);
        let mut command = Command { argv: vec![], keys: vec![] };
        for word in template {
            self.fill(word, if strays { None } else { Some(tag) }, &mut command);
        }
        // A SET may create a key that has already expired. When it is deleted is up to the server, and
        // DBSIZE shows it: so the same client accesses it at once.
        if command.name() == "set" {
            let mut look = Command::of(&["EXISTS"]);
            look.argv.push(command.keys[0].clone());
            look.keys = command.keys.clone();
            if command.argv.iter().any(|argument| {
                argument.eq_ignore_ascii_case(b"PXAT") || argument.eq_ignore_ascii_case(b"EXAT")
            }) {
                self.states[client].next.push_back(look);
            }
        }
        if self.rng.u32(..25) == 0 {
            self.spoil(&mut command);
        }
        command
    }

    /// Makes one argument too many, too few, or wrong. Keys stay: a transaction is bound to their slot.
    fn spoil(&mut self, command: &mut Command) {
        // A wait must not become endless.
        if command.name().starts_with('b') {
            return;
        }
        // SORT of the reference on anything but a number depends on an earlier command: it checks an
        // `errno` that it does not reset.
        let is_sorted = |key: &Vec<u8>| {
            [&b"number"[..], b"sorted", b"w_"]
                .iter()
                .any(|part| key.windows(part.len()).any(|w| w == *part))
        };
        if ["rpush", "set"].contains(&&*command.name()) && is_sorted(&command.keys[0]) {
            return;
        }
        let bad = BAD[self.rng.usize(..BAD.len())].as_bytes().to_vec();
        match self.rng.u32(..4) {
            0 => command.argv.push(bad),
            // SPOP without a count would leave a random set.
            1 if command.argv.len() > 1 && command.name() != "spop" => {
                command.argv.pop();
            }
            _ if command.argv.len() > 1 => {
                let at = self.rng.usize(1..command.argv.len());
                if !command.keys.contains(&command.argv[at]) {
                    command.argv[at] = bad;
                }
            }
            _ => {}
        }
    }

    fn fill(&mut self, word: &str, tag: Option<usize>, command: &mut Command) {
        let argument = match word {
            "$key" => {
                let tag = tag.unwrap_or_else(|| self.rng.usize(..TAGS.len()));
                let key = self.key(tag);
                command.keys.push(key.clone());
                key
            }
            // Keys that mostly have one type, or most commands would be of the wrong type.
            word if word.starts_with("$key:") => {
                let tag = tag.unwrap_or_else(|| self.rng.usize(..TAGS.len()));
                let key = match self.rng.u32(..20) {
                    0 => self.key(tag),
                    _ => format!("{}{}{}", TAGS[tag], &word[5..], self.rng.usize(..4)).into_bytes(),
                };
                command.keys.push(key.clone());
                key
            }
            // Keys that have no other type, since these commands need it.
            word if word.starts_with("$only:") => {
                let tag = tag.unwrap_or_else(|| self.rng.usize(..TAGS.len()));
                let key = format!("{}{}{}", TAGS[tag], &word[6..], self.rng.usize(..4));
                command.keys.push(key.clone().into_bytes());
                key.into_bytes()
            }
            // Each in a slot of its own.
            "$weight" | "$record" => {
                let name = if word == "$weight" { "w" } else { "h" };
                let key = format!("{name}_{}", self.rng.u32(..8)).into_bytes();
                command.keys.push(key.clone());
                key
            }
            "$small" => self.rng.u32(..8).to_string().into_bytes(),
            "$score" => self.score(),
            "$rival" => self.rival(),
            "$rivals" | "$rivals:0" => {
                // Enough, over a few draws, to leave the small encoding behind.
                for _ in 0..self.rng.usize(1..60) {
                    let score = if word == "$rivals" { self.score() } else { b"0".to_vec() };
                    let rival = format!("wide{}", self.rng.u32(..300)).into_bytes();
                    command.argv.extend([score, rival]);
                }
                return;
            }
            "$edge" => match self.rng.u32(..8) {
                0 => self.pick(&["-inf", "inf", "+inf", "(inf"]),
                1..4 => [b"(", &self.score()[..]].concat(),
                _ => self.score(),
            },
            "$lex" => match self.rng.u32(..8) {
                0 => self.pick(&["-", "+"]),
                1..4 => [b"(", &self.rival()[..]].concat(),
                _ => [b"[", &self.rival()[..]].concat(),
            },
            "$element" => self.element(),
            "$elements" => {
                // Enough, over a few draws, for more than one piece.
                for _ in 0..self.rng.usize(1..300) {
                    let element = self.element();
                    command.argv.push(element);
                }
                return;
            }
            "$rank" => self.rng.i32(-3..4).to_string().into_bytes(),
            "$member" => self.member(),
            "$members" => {
                // Integers, so many that over a few draws they are too many for an array.
                let from = self.rng.i32(-400..400);
                let members = from..from + self.rng.i32(1..300);
                command.argv.extend(members.map(|member| member.to_string().into_bytes()));
                return;
            }
            "$value" => self.value(),
            "$field" => self.field(),
            "$fields" => {
                // Enough, over a few draws, to leave the small encoding behind.
                for _ in 0..self.rng.usize(1..60) {
                    let field = format!("wide{}", self.rng.u32(..200));
                    let value = self.value();
                    command.argv.extend([field.into_bytes(), value]);
                }
                return;
            }
            "$integer" => self.integer(),
            "$float" => self.pick(&[
                "0.1",
                "-0.1",
                "1",
                "-2.5",
                "1e3",
                "3.0e-5",
                "123456.789",
                "0",
                "1e17",
                "0.25",
            ]),
            "$index" => self.rng.i32(-20..40).to_string().into_bytes(),
            "$offset" => self.rng.u32(..100).to_string().into_bytes(),
            // Far ahead, and far from one another: see the note in `differential.rs`.
            "$seconds" => (10_000 + 7 * self.rng.u64(..1_000_000)).to_string().into_bytes(),
            "$millis" => (10_000_000 + 7_000 * self.rng.u64(..1_000_000)).to_string().into_bytes(),
            "$second" => {
                self.pick(&["33177117420", "33177117421", "33177117500", "1", "1000000000"])
            }
            "$milli" => self.pick(&[
                "33177117420000",
                "33177117420001",
                "33177117420999",
                "1",
                "1000000000000",
            ]),
            word => {
                let choices: Vec<_> = word.split('|').collect();
                match self.pick(&choices) {
                    choice if choice.is_empty() => return,
                    choice => choice,
                }
            }
        };
        command.argv.push(argument);
    }

    fn pick(&mut self, choices: &[&str]) -> Vec<u8> {
        choices[self.rng.usize(..choices.len())].as_bytes().to_vec()
    }

    /// A key that may be used together with those of this tag.
    fn near(&mut self, tag: usize) -> Vec<u8> {
        let tag = if self.is_spread { self.rng.usize(..TAGS.len()) } else { tag };
        self.key(tag)
    }

    fn key(&mut self, tag: usize) -> Vec<u8> {
        format!("{}{}", TAGS[tag], self.rng.usize(..KEYS_PER_TAG)).into_bytes()
    }

    /// Mostly one of a few, so that searches succeed.
    fn element(&mut self) -> Vec<u8> {
        match self.rng.u32(..40) {
            0..15 => self.rng.u32(..6).to_string().into_bytes(),
            15..28 => format!("e{}", self.rng.u32(..8)).into_bytes(),
            28 => vec![b'x'; self.rng.usize(3000..10_000)],
            _ => self.value(),
        }
    }

    fn field(&mut self) -> Vec<u8> {
        match self.rng.u32(..20) {
            0 => vec![],
            1 => b"\x00\xff\r\n".to_vec(),
            2 => format!("wide{}", self.rng.u32(..200)).into_bytes(),
            3 => self.rng.u32(..100).to_string().into_bytes(),
            _ => format!("f{}", self.rng.u32(..8)).into_bytes(),
        }
    }

    /// Mostly a small number, so that scores tie.
    fn score(&mut self) -> Vec<u8> {
        match self.rng.u32(..40) {
            0 => self.pick(&["inf", "-inf", "-0", "1e17", "-1e300", "0x10", "1e-320", "5e18"]),
            1 => self.rng.i64(..).to_string().into_bytes(),
            2..6 => (f64::from(self.rng.i32(-100_000..100_000)) / 1000.0).to_string().into_bytes(),
            6..12 => (f64::from(self.rng.i32(-40..40)) / 4.0).to_string().into_bytes(),
            _ => self.rng.i32(-10..20).to_string().into_bytes(),
        }
    }

    /// A member of a sorted set.
    fn rival(&mut self) -> Vec<u8> {
        match self.rng.u32(..60) {
            0 => self.value(),
            1..4 => self.field(),
            4..14 => format!("wide{}", self.rng.u32(..300)).into_bytes(),
            _ => self.rng.i32(-15..15).to_string().into_bytes(),
        }
    }

    /// Mostly a small integer; other members change the set's encoding to a table.
    fn member(&mut self) -> Vec<u8> {
        match self.rng.u32(..60) {
            0 => self.field(),
            1 => self.value(),
            2 => self.integer(),
            3 => self.rng.i32(..).to_string().into_bytes(),
            _ => self.rng.i32(-15..15).to_string().into_bytes(),
        }
    }

    fn integer(&mut self) -> Vec<u8> {
        match self.rng.u32(..10) {
            0 => self.pick(&["9223372036854775807", "-9223372036854775808", "9223372036854775806"]),
            1 => self.rng.i64(..).to_string().into_bytes(),
            _ => self.rng.i32(-100..1000).to_string().into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.u32(..20) {
            0..6 => self.integer(),
            6..9 => {
                let number = f64::from(self.rng.i32(-1_000_000..1_000_000)) / 1000.0;
                number.to_string().into_bytes()
            }
            9 => self
                .pick(&["1e5", "-0", "01", " 1", "1 ", "+1", "5.0e3", "nan", "inf", "0.30", "-"]),
            10 => vec![],
            // Around the lengths at which the reference changes an encoding: 20, 44, 64.
            11..14 => {
                let lengths = [19, 20, 21, 43, 44, 45, 63, 64, 65, 200];
                let length = lengths[self.rng.usize(..lengths.len())];
                vec![self.rng.lowercase() as u8; length]
            }
            14 => (0..self.rng.usize(..40)).map(|_| self.rng.u8(..)).collect(),
            15 => vec![b'L'; self.rng.usize(1000..3000)],
            _ => (0..self.rng.usize(1..12)).map(|_| self.rng.lowercase() as u8).collect(),
        }
    }
}

/// Repeats each template by its weight, split into words.
fn weighted(templates: &[&'static str]) -> Vec<Vec<&'static str>> {
    let mut all = Vec::new();
    for template in templates {
        let (weight, words) = template.split_once(' ').expect("a weight, then a command");
        let weight = weight.parse().expect("a weight is a number");
        all.extend(std::iter::repeat_n(words.split(' ').collect::<Vec<_>>(), weight));
    }
    all
}
