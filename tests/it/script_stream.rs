//! Random scripts run by the reference and by Slotway, with every pair of replies compared: calls,
//! loops, returns of every shape, the libraries, numbers at every edge.
//!
//! One seed makes one stream: `SLOTWAY_SEED` repeats a run, `SLOTWAY_SCRIPTS` sets its length. The
//! scripts of a stream work on the same keys, so that what one leaves is what the next finds.
//!
//! Left out: `error` with a table that has no text, which ends the reference; what depends on the
//! order of a hash table (SPOP); addresses in texts; and where an error was raised if Slotway does not know.

use fastrand::Rng;

use crate::env::{say, setting};
use crate::references;
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, text};

/// The seed of a run that names none.
const SEED: u64 = 0x5C_81_97;
/// The default number of scripts: some seconds in a debug build.
const SCRIPTS: usize = 3_000;
/// Deepest nesting of values.
const DEPTH: usize = 3;
/// The keys that scripts are given: of one slot.
const KEYS: [&str; 2] = ["{t}a", "{t}b"];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3.5",
    "-0",
    "2^53",
    "2^53+1",
    "-2^53",
    "1e17",
    "1e15",
    "1e14",
    "123456789012345",
    "0.1",
    "1/3",
    "1/0",
    "-1/0",
    "0/0",
    "2^31",
    "2^32",
    "2^63",
    "-2^63",
    "1e100",
    "255",
    "256",
    "65536",
    "100",
    "1e-5",
    "99999999999999.9",
];
const STRINGS: &[&str] = &[
    r#""""#,
    r#""a""#,
    r#""abc""#,
    r#""10""#,
    r#""1e3""#,
    r#""0x10""#,
    r#""  5 ""#,
    r#""\0x""#,
    r#""a\r\nb""#,
    r#""\255\254""#,
    r#""key""#,
    r#""[1,2]""#,
    r#""{\"a\":[1,null,true]}""#,
    r#""nan""#,
    r#""inf""#,
    r#""-""#,
    r#"string.rep("x",40)"#,
];
const OTHERS: &[&str] =
    &["true", "false", "nil", "cjson.null", "ARGV[1]", "ARGV[2]", "KEYS[1]", "#ARGV", "ARGV"];
const FIELDS: &[&str] =
    &["a", "b", "ok", "err", "double", "map", "set", "big_number", "verbatim_string", "x"];
const INDICES: &[&str] =
    &["1", "2", "3", "5", "10", "20", "1.5", "0", "-1", r#""1""#, r#""a""#, "true"];
/// What one value is put into; `_` stands for it.
const FUNCTIONS: &[&str] = &[
    "cjson.encode(_)",
    "cjson.decode(_)",
    "cjson.decode(cjson.encode(_))",
    "cmsgpack.pack(_)",
    "cmsgpack.unpack(_)",
    "cmsgpack.unpack(cmsgpack.pack(_))",
    "S(_)",
    "tonumber(_)",
    "S(tonumber(_))",
    "type(_)",
    "math.floor(_)",
    "math.abs(_)",
    "math.fmod(_)",
    "math.sqrt(_)",
    "math.max(_)",
    "bit.tobit(_)",
    "bit.bnot(_)",
    "bit.tohex(_)",
    "string.len(_)",
    "string.upper(_)",
    "string.reverse(_)",
    "string.byte(_)",
    "string.rep(_)",
    "redis.sha1hex(_)",
    "redis.error_reply(_)",
    "redis.status_reply(_)",
    "redis.setresp(_)",
    "table.concat(_)",
    "table.getn(_)",
    "unpack(_)",
    "#(_)",
    "-(_)",
    "not (_)",
    r##"select("#",_)"##,
    "struct.size(_)",
    "next(_)",
    "ipairs(_)",
    "loadstring(_)",
    "error(S(_))",
    "assert(_)",
    "rawlen(_)",
    r#"string.format("%d",_)"#,
    r#"string.format("%s",_)"#,
    r#"string.format("%5.2f",_)"#,
    r#"string.format("%g",_)"#,
    r#"string.format("%x",_)"#,
    r#"string.format("%q",_)"#,
    r#"string.format("%z",_)"#,
    r#"struct.pack("i",_)"#,
    r#"struct.pack(">h",_)"#,
    r#"struct.pack("<I4",_)"#,
    r#"struct.pack("d",_)"#,
    r#"struct.pack("s",_)"#,
    r#"struct.pack("c0",_)"#,
    r#"struct.pack("bH",_)"#,
    r#"struct.pack("i8",_)"#,
    r#"struct.pack("!8d",_)"#,
    r#"{struct.unpack("i",_)}"#,
    r#"{struct.unpack(">h",_)}"#,
    r#"{struct.unpack("b",_)}"#,
    r#"{struct.unpack("s",_)}"#,
    r#"{struct.unpack("bc0",_)}"#,
    r#"{struct.unpack("d",_)}"#,
    "{pcall(function() return _ end)}",
    "{pcall(cjson.encode,_)}",
    "pcall(cmsgpack.pack,_)",
    "{pcall(string.rep,_)}",
    r#"string.gsub(_,"[a-c]","%0%0")"#,
];
const OPERATORS: &[&str] =
    &["+", "-", "*", "/", "%", "^", "..", "==", "<", "<=", "~=", " and ", " or "];
/// Commands of one key; `_` stands for a value.
const CALLS: &[&str] = &[
    r#""get",K"#,
    r#""set",K,_"#,
    r#""incr",K"#,
    r#""incrby",K,_"#,
    r#""lpush",K,_,_"#,
    r#""lrange",K,0,-1"#,
    r#""hset",K,_,_"#,
    r#""hgetall",K"#,
    r#""zadd",K,_,_"#,
    r#""zrange",K,0,-1,"withscores""#,
    r#""zscore",K,_"#,
    r#""del",K"#,
    r#""exists",K"#,
    r#""type",K"#,
    r#""sadd",K,_"#,
    r#""scard",K"#,
    r#""mget",KEYS[1],KEYS[2]"#,
    r#""nosuch""#,
    r#""get""#,
    r#""expire",K,100"#,
    r#""append",K,_"#,
    r#""strlen",K"#,
    r#""hget",K,"a""#,
    r#""ping""#,
    r#""echo",_"#,
    "_",
    r#""getrange",K,0,_"#,
    r#""rename",KEYS[1],KEYS[2]"#,
    r#""lpop",K"#,
    r#""setex",K,_,1"#,
    r#""zincrby",K,_,"m""#,
    r#""multi""#,
];

/// A function of each script: a value as text, without an address.
const TEXT: &str = r#"local function S(v) local t=type(v) if t=="nil" or t=="boolean" or t=="number" or t=="string" then return tostring(v) end return t end"#;

/// Writes scripts.
struct Scripts {
    chance: Rng,
}

impl Scripts {
    fn one_of(&mut self, of: &[&'static str]) -> &'static str {
        of[self.chance.usize(..of.len())]
    }

    fn value(&mut self, depth: usize) -> String {
        match self.chance.u32(..100) {
            0..30 => self.one_of(NUMBERS).to_owned(),
            30..50 => self.one_of(STRINGS).to_owned(),
            50..65 => self.one_of(OTHERS).to_owned(),
            65..85 if depth < DEPTH => self.table(depth + 1),
            85.. if depth < DEPTH => self.call(depth + 1),
            _ => "1".to_owned(),
        }
    }

    fn table(&mut self, depth: usize) -> String {
        let items = self.chance.usize(..6);
        let items: Vec<String> = (0..items)
            .map(|_| {
                let value = self.value(depth);
                match self.chance.u32(..100) {
                    0..60 => value,
                    60..75 => format!("[{}]={value}", self.one_of(INDICES)),
                    _ => format!("{}={value}", self.one_of(FIELDS)),
                }
            })
            .collect();
        format!("{{{}}}", items.join(","))
    }

    fn call(&mut self, depth: usize) -> String {
        match self.chance.u32(..100) {
            0..15 => self.command(depth),
            15..25 => {
                let (left, right) = (self.value(depth), self.value(depth));
                format!("(({left}){}({right}))", self.one_of(OPERATORS))
            }
            _ => {
                let function = self.one_of(FUNCTIONS);
                let value = self.value(depth);
                function.replacen('_', &value, 1)
            }
        }
    }

    fn command(&mut self, depth: usize) -> String {
        let key = ["KEYS[1]", "KEYS[2]"][self.chance.usize(..2)];
        let mut args = String::new();
        for part in self.one_of(CALLS).split_inclusive(['_', 'K']) {
            let (rest, hole) = part.split_at(part.len() - 1);
            args.push_str(rest);
            match hole {
                "_" => args.push_str(&self.value(depth.max(DEPTH - 1))),
                // Not the beginning of KEYS.
                "K" if part.starts_with(',') => args.push_str(key),
                other => args.push_str(other),
            }
        }
        let args = args.replace("KEYS[1]EYS", "KEYS").replace("KEYS[2]EYS", "KEYS");
        format!("redis.{}({args})", ["call", "pcall"][self.chance.usize(..2)])
    }

    fn statement(&mut self, depth: usize) -> String {
        let inner = |scripts: &mut Self| match depth < 2 {
            true => scripts.statement(depth + 1),
            false => "local q=1".to_owned(),
        };
        match self.chance.u32(..100) {
            0..40 => format!("local {}={}", self.one_of(&["x", "y", "z", "w"]), self.value(0)),
            40..60 => format!("local _={}", self.command(0)),
            60..70 => format!("for i=1,{} do {} end", self.chance.u32(1..5), inner(self)),
            70..78 => {
                let condition = self.value(0);
                format!("if {condition} then {} else {} end", inner(self), inner(self))
            }
            78..83 => format!("redis.setresp({})", self.chance.u32(2..4)),
            83..88 => format!("for k,v in pairs({}) do local z=v end", self.value(0)),
            88..92 => {
                let (table, key, value) = (self.table(2), self.value(2), self.value(2));
                format!("local t={table} t[{key}]={value}")
            }
            _ => format!("local ok,e=pcall(function() {} end)", inner(self)),
        }
    }

    fn script(&mut self) -> String {
        let mut lines: Vec<String> =
            (0..self.chance.usize(..5)).map(|_| self.statement(0)).collect();
        let result = match self.chance.u32(..6) {
            0 => self.value(0),
            1 => self.table(0),
            2 => self.command(0),
            3 => "{x,y,z}".to_owned(),
            4 => format!("{{{},{}}}", self.value(0), self.value(0)),
            _ => "x".to_owned(),
        };
        lines.push(format!("return {result}"));
        format!("{TEXT} {}", lines.join("\n"))
    }
}

/// An answer as text, without addresses.
fn comparable(answer: &Answer) -> String {
    let shown = match answer {
        Answer::Reply(reply) => shown(reply),
        other => format!("{other:?}"),
    };
    let (mut rest, mut out) = (&shown[..], String::new());
    while let Some(at) = rest.find(": 0x") {
        out.push_str(&rest[..at]);
        out.push_str(": ADDRESS");
        rest = rest[at + 4..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out + rest
}

/// The end of an error whose place Slotway does not know: it was raised in a call that ended a function
/// (docs/differences.md).
const NO_PLACE: &str = ", on =[C]:-1.";

/// Returns an error of a script without its place.
fn without_place(error: &str) -> String {
    let Some((text, line)) = error.rsplit_once(", on @user_script:") else { return error.into() };
    let place = format!("-ERR user_script:{}: ", line.trim_end_matches('.'));
    text.replacen(&place, "-ERR ", 1) + NO_PLACE
}

fn shown(reply: &Reply) -> String {
    let all = |items: &[Reply]| items.iter().map(shown).collect::<Vec<_>>().join(" ");
    match reply {
        Reply::Error(line) => format!("-{}", text(line)),
        Reply::Bulk(bytes) => format!("\"{}\"", text(bytes)),
        Reply::Array(items) => format!("[{}]", all(items)),
        Reply::Map(items) => format!("%[{}]", all(items)),
        Reply::Set(items) => format!("~[{}]", all(items)),
        other => format!("{other:?}"),
    }
}

#[test]
fn random_scripts_get_the_same_replies() {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED);
    let length = number("SLOTWAY_SCRIPTS").map_or(SCRIPTS, |n| n as usize);
    let Some(oracle) = references::lease(&[]) else { return };
    let ours = ServerProcess::start(&[]);
    let open = |address| Client::connect(address).expect("both servers accept connections");
    let mut clients = [open(oracle.address), open(ours.address)];
    clients[0].call(&["FLUSHALL"]);
    let mut scripts = Scripts { chance: Rng::with_seed(seed) };
    let (mut errors, mut is_resp3) = (0, false);
    for step in 0..length {
        if scripts.chance.u32(..50) == 0 {
            is_resp3 = !is_resp3;
            let version = if is_resp3 { "3" } else { "2" };
            clients.iter_mut().for_each(|client| drop(client.call(&["HELLO", version])));
        }
        if scripts.chance.u32(..20) == 0 {
            clients.iter_mut().for_each(|client| drop(client.call(&["DEL", KEYS[0], KEYS[1]])));
        }
        let script = scripts.script();
        let args = [scripts.one_of(&["5", "x", "", "-1.5", "1e5"]), scripts.one_of(&["abc", "7"])];
        let request = ["EVAL", &script, "2", KEYS[0], KEYS[1], args[0], args[1]];
        let [theirs, ours] = clients.each_mut().map(|client| client.call(&request));
        errors += usize::from(matches!(theirs, Answer::Reply(Reply::Error(_))));
        let (theirs, ours) = (comparable(&theirs), comparable(&ours));
        let theirs = if ours.ends_with(NO_PLACE) { without_place(&theirs) } else { theirs };
        assert_eq!(
            ours,
            theirs,
            "seed {seed}, step {step}: {}\nRepeat: SLOTWAY_SEED={seed} SLOTWAY_SCRIPTS={} cargo \
             test --test it script_stream",
            text(script.as_bytes()),
            step + 1
        );
    }
    say(&format!("seed {seed}: {length} scripts compared, {errors} of them ended with an error"));
    assert!(errors * 10 < length * 9, "the stream is dull: {errors} errors of {length}");
}
