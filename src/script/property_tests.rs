//! Laws of the libraries `cjson`, `cmsgpack`, `struct` and `bit`: what is encoded decodes to itself, JSON
//! is what serde_json reads and writes, bits are those of Rust, and no bytes make a library panic.

use super::interpreter::Interpreter;
use mlua::{Function, IntoLua, Lua, MultiValue, Table, Value};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::collections::BTreeMap;

/// A value that libraries encode.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Bool(bool),
    Number(f64),
    Text(Vec<u8>),
    /// Not empty: an empty table has no kind.
    List(Vec<Node>),
    /// The keys do not look like those of a list.
    Map(BTreeMap<String, Node>),
}

/// Numbers that 14 digits write exactly, which is how many JSON gets.
fn short_numbers() -> BoxedStrategy<f64> {
    prop_oneof![
        (-10_i64.pow(13)..10_i64.pow(13)).prop_map(|n| n as f64),
        (-1_000_000_i32..1_000_000).prop_map(|n| f64::from(n) / 8.0),
        select(vec![0.0, -1.0, 0.5, 1e100, -1e-100, 4_294_967_296.0]),
    ]
    .boxed()
}

/// All but NaN, which equals nothing.
fn numbers() -> BoxedStrategy<f64> {
    let edges = [31, 32, 52, 53, 62, 63, 64].map(|n| 2_f64.powi(n));
    let near = edges.iter().flat_map(|edge| [*edge, -edge, edge - 1.0, edge + 1.0, 1.0 - edge]);
    let whole = prop_oneof![
        any::<i8>().prop_map(i64::from),
        any::<i32>().prop_map(i64::from),
        any::<i64>()
    ];
    prop_oneof![
        any::<f64>().prop_filter("not NaN", |n| !n.is_nan()),
        any::<f32>().prop_filter("not NaN", |n| !n.is_nan()).prop_map(f64::from),
        whole.prop_map(|n| n as f64),
        select(near.collect::<Vec<f64>>()),
        select(vec![f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1]),
    ]
    .boxed()
}

fn nodes(numbers: BoxedStrategy<f64>, texts: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Node> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Node::Bool),
        numbers.prop_map(Node::Number),
        texts.prop_map(Node::Text),
    ];
    leaf.prop_recursive(6, 64, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..20).prop_map(Node::List),
            btree_map("[a-z\u{e4}\\\\\"]{1,8}", inner, 1..8).prop_map(Node::Map),
        ]
    })
    .boxed()
}

fn bytes() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 250..300)].boxed()
}

impl Node {
    fn to_lua(&self, lua: &Lua) -> Value {
        match self {
            Self::Bool(value) => Value::Boolean(*value),
            Self::Number(value) => Value::Number(*value),
            Self::Text(text) => Value::String(lua.create_string(text).expect("memory")),
            Self::List(items) => {
                let items = items.iter().map(|item| item.to_lua(lua));
                Value::Table(lua.create_sequence_from(items).expect("memory"))
            }
            Self::Map(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.to_lua(lua)));
                Value::Table(lua.create_table_from(pairs).expect("memory"))
            }
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Boolean(value) => Self::Bool(*value),
            Value::Number(value) => Self::Number(*value),
            Value::Integer(value) => Self::Number(*value as f64),
            Value::String(text) => Self::Text(text.as_bytes().to_vec()),
            Value::Table(table) if table.raw_len() > 0 => {
                let items = table.sequence_values::<Value>();
                Self::List(items.map(|item| Self::of(&item.expect("an item"))).collect())
            }
            Value::Table(table) => {
                let pairs = table.pairs::<String, Value>().map(|pair| pair.expect("a name"));
                Self::Map(pairs.map(|(key, value)| (key, Self::of(&value))).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Number(value) => (*value).into(),
            Self::Text(text) => String::from_utf8(text.clone()).expect("UTF-8").into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(pairs) => {
                pairs.iter().map(|(key, value)| (key.clone(), value.to_json())).collect()
            }
        }
    }

    fn of_json(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Number(number.as_f64().expect("a number")),
            Json::String(text) => Self::Text(text.clone().into_bytes()),
            Json::Array(items) => Self::List(items.iter().map(Self::of_json).collect()),
            Json::Object(pairs) => Self::Map(
                pairs.iter().map(|(key, value)| (key.clone(), Self::of_json(value))).collect(),
            ),
            Json::Null => panic!("nothing is null"),
        }
    }
}

/// An interpreter, and what its scripts see.
struct Bench(Interpreter);

impl Bench {
    fn new() -> Self {
        Self(Interpreter::new("7.0.15", 0).expect("memory"))
    }

    fn lua(&self) -> &Lua {
        self.0.lua()
    }

    /// Returns the function that this text is.
    fn function(&self, text: &str) -> Function {
        let chunk = self.lua().load(format!("return {text}"));
        chunk.eval().expect("it compiles")
    }
}

fn check<S: Strategy>(strategy: S, law: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if let Err(error) = TestRunner::new(config).run(&strategy, law) {
        panic!("{error}");
    }
}

#[test]
fn json_decodes_to_what_was_encoded_and_is_json() {
    let bench = Bench::new();
    let round =
        bench.function("function(v) local s = cjson.encode(v) return s, cjson.decode(s) end");
    let top = |nodes: BoxedStrategy<Node>| vec(nodes, 1..6).prop_map(Node::List);
    check(top(nodes(short_numbers(), bytes())), |node| {
        let (_, value): (mlua::String, Value) =
            round.call(node.to_lua(bench.lua())).expect("it is encoded");
        prop_assert_eq!(Node::of(&value), node);
        Ok(())
    });
    let decode = bench.function("cjson.decode");
    let texts = ".{0,20}".prop_map(String::into_bytes).boxed();
    check(top(nodes(short_numbers(), texts)), |node| {
        let (text, _): (mlua::String, Value) =
            round.call(node.to_lua(bench.lua())).expect("it is encoded");
        let read = serde_json::from_slice(&text.as_bytes()).expect("it is JSON");
        prop_assert_eq!(Node::of_json(&read), node.clone());
        let written = node.to_json().to_string();
        let value: Value = decode.call(written).expect("it is decoded");
        prop_assert_eq!(Node::of(&value), node);
        Ok(())
    });
}

/// 14 digits are what Redis writes; what has no JSON is refused.
#[test]
fn numbers_in_json_have_fourteen_digits() {
    let bench = Bench::new();
    let encode = bench.function("function(n) return cjson.encode({n}) end");
    check(prop_oneof![numbers(), Just(f64::NAN)], |number| {
        let text: mlua::Result<String> = encode.call(number);
        if !number.is_finite() {
            prop_assert!(text.is_err());
            return Ok(());
        }
        let [read]: [f64; 1] = serde_json::from_str(&text.expect("encoded")).expect("JSON");
        let limit = number.abs() * 5e-14 + f64::MIN_POSITIVE;
        prop_assert!((read - number).abs() <= limit, "{read} {number}");
        Ok(())
    });
}

#[test]
fn messagepack_unpacks_to_what_was_packed() {
    let bench = Bench::new();
    let round = bench.function(
        "function(...) local s = cmsgpack.pack(...) \
         local next, first = cmsgpack.unpack_one(s) \
         return #s, next, first, cmsgpack.unpack(s) end",
    );
    check(vec(nodes(numbers(), bytes()), 1..6), |values| {
        let args = values.iter().map(|node| node.to_lua(bench.lua())).collect::<MultiValue>();
        let all: MultiValue = round.call(args).expect("it is packed");
        let all: Vec<Node> = all.iter().map(Node::of).collect();
        let [Node::Number(len), Node::Number(next), first, unpacked @ ..] = &all[..] else {
            panic!("{all:?}")
        };
        prop_assert_eq!(first, &values[0]);
        prop_assert_eq!(unpacked, &values[..]);
        match values.len() {
            1 => prop_assert_eq!(*next, -1.0),
            _ => prop_assert!((0.0..*len).contains(next), "{next} of {len}"),
        }
        Ok(())
    });
}

/// A value of `struct`, with its option.
fn items() -> BoxedStrategy<(String, Node)> {
    let whole = |option: &'static str, from: i64, to: i64| {
        (from..=to).prop_map(move |n| (option.to_owned(), Node::Number(n as f64))).boxed()
    };
    const EXACT: i64 = 1 << 53;
    let sized = (1_u32..=6, any::<u64>(), any::<bool>()).prop_map(|(size, bits, signed)| {
        let shift = 64 - 8 * size;
        let (option, number) = match signed {
            true => ("i", (((bits << shift).cast_signed()) >> shift) as f64),
            false => ("I", ((bits << shift) >> shift) as f64),
        };
        (format!("{option}{size}"), Node::Number(number))
    });
    let fixed =
        vec(any::<u8>(), 1..20).prop_map(|text| (format!("c{}", text.len()), Node::Text(text)));
    let ended = vec(1_u8.., 0..20).prop_map(|text| ("s".to_owned(), Node::Text(text)));
    let double = numbers().prop_map(|n| ("d".to_owned(), Node::Number(n)));
    let float = any::<f32>()
        .prop_filter("not NaN", |n| !n.is_nan())
        .prop_map(|n| ("f".to_owned(), Node::Number(f64::from(n))));
    prop_oneof![
        whole("b", -128, 127),
        whole("B", 0, 255),
        whole("h", -32768, 32767),
        whole("H", 0, 65535),
        whole("l", -EXACT, EXACT),
        whole("L", 0, EXACT),
        sized,
        fixed,
        ended,
        double,
        float,
    ]
    .boxed()
}

#[test]
fn structures_unpack_to_what_was_packed() {
    let bench = Bench::new();
    let round = bench.function(
        "function(format, ...) local s = struct.pack(format, ...) \
         return #s, struct.unpack(format, s) end",
    );
    let size = bench.function("struct.size");
    let controls = select(vec!["", "<", ">", "!1", "!2", "!4", "!8", "!", " "]);
    check(vec((controls, items()), 1..12), |parts| {
        let format: String =
            parts.iter().map(|(control, (option, _))| format!("{control}{option}")).collect();
        let values = parts.iter().map(|(_, (_, value))| value.to_lua(bench.lua()));
        let format_value = format.as_str().into_lua(bench.lua()).expect("memory");
        let args = std::iter::once(format_value).chain(values).collect::<MultiValue>();
        let all: Vec<Value> = round.call::<MultiValue>(args).expect("it is packed").into_vec();
        let nodes: Vec<Node> = all.iter().map(Node::of).collect();
        let (len, unpacked) = nodes.split_first().expect("a length");
        let (next, unpacked) = unpacked.split_last().expect("a position");
        let (Node::Number(len), Node::Number(next)) = (len, next) else { panic!("{nodes:?}") };
        prop_assert_eq!(*next, len + 1.0);
        let expected: Vec<Node> = parts.iter().map(|(_, (_, value))| value.clone()).collect();
        prop_assert_eq!(unpacked, &expected[..], "{}", format);
        if !format.contains('s') {
            let size: f64 = size.call(format).expect("it has a size");
            prop_assert_eq!(size, *len);
        }
        Ok(())
    });
}

#[test]
fn bits_are_those_of_rust() {
    let bench = Bench::new();
    let all = bench.function(
        "function(a, b, n) return {bit.tobit(a), bit.bnot(a), bit.band(a, b), bit.bor(a, b), \
         bit.bxor(a, b), bit.lshift(a, n), bit.rshift(a, n), bit.arshift(a, n), bit.rol(a, n), \
         bit.ror(a, n), bit.bswap(a), bit.tohex(a)} end",
    );
    let whole = || prop_oneof![any::<i32>().prop_map(i64::from), -(1_i64 << 51)..1 << 51];
    check((whole(), whole(), 0_u32..64), |(a, b, n)| {
        let results: Table = all.call((a as f64, b as f64, n)).expect("numbers");
        let (x, y, by) = (a as i32, b as i32, n & 31);
        let expected = [
            x,
            !x,
            x & y,
            x | y,
            x ^ y,
            x << by,
            (x.cast_unsigned() >> by).cast_signed(),
            x >> by,
            x.rotate_left(by),
            x.rotate_right(by),
            x.swap_bytes(),
        ];
        for (at, expected) in (1..).zip(expected) {
            let result: f64 = results.get(at).expect("a number");
            prop_assert_eq!(result, f64::from(expected), "number {}", at);
        }
        let hex: String = results.get(expected.len() + 1).expect("digits");
        prop_assert_eq!(hex, format!("{x:08x}"));
        Ok(())
    });
}

/// Random bytes, and valid ones of which some were changed.
fn hostile() -> BoxedStrategy<Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"{\"a\":[1,2.5e3,null,true,\"\\u00e4\\ud83d\\ude00\"],\"b\":{}}",
        b"[[[[[[1]]]]]]",
        b"-0.0e+10",
        b"\x93\x01\xa1a\xc0\x82\xa1k\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18\xa1l\xdc\x00\x01\xc3",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x00\x00\x00\x02\xc0\xc0",
        b"\xdb\x7f\xff\xff\xff",
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    ];
    let changed = (select(pieces), vec((any::<usize>(), any::<u8>()), 0..4), any::<usize>());
    let changed = changed.prop_map(|(piece, changes, end)| {
        let mut bytes = piece.to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(1 + end % (2 * bytes.len()));
        bytes
    });
    prop_oneof![
        vec(any::<u8>(), 0..64),
        changed,
        vec(select(b"[]{}:,\"\\ue1-.0 \n".to_vec()), 0..40)
    ]
    .boxed()
}

/// Formats of `struct`, well formed or not.
fn formats() -> BoxedStrategy<String> {
    prop_oneof!["[<>!bBhHlLTfdsxciI0-9 ]{0,16}", ".{0,8}"].boxed()
}

#[test]
fn no_bytes_make_a_library_panic() {
    let bench = Bench::new();
    // Called without pcall: an error is a result, and a panic fails the test. One value is enough.
    let decoders = [
        "function(s) return cjson.decode(s) end",
        "function(s) return (cmsgpack.unpack(s)) end",
        "function(s, n, m) return (cmsgpack.unpack_one(s, n)) end",
        "function(s, n, m) return (cmsgpack.unpack_limit(s, n, m)) end",
        "function(s, n, m, f) return (struct.unpack(f, s, n)) end",
        "function(s, n, m, f) return (struct.unpack(f, s)) end",
        "function(s, n, m, f) return struct.pack(f, s, n, m, s, n) end",
        "function(s, n, m, f) return struct.size(f) end",
        "function(s, n, m, f) return cjson.encode({s, n, [m] = f}) end",
        "function(s, n, m, f) return cmsgpack.pack({[n] = s, [m] = {f}}, {[s] = n}) end",
        "function(s, n, m, f) return bit.tohex(n, m), bit.band(n, m, s) end",
        "function(s, n, m, f) return cjson.encode_number_precision(n), cjson.encode({m}) end",
        "function(s, n, m, f) return cjson.encode_sparse_array(true, n, m), cjson.encode({[7]=s}) end",
        "function(s, n, m, f) local depths = {cjson.encode_max_depth(n), cjson.decode_max_depth(m)} \
         pcall(cjson.decode, s) return depths end",
    ]
    .map(|text| bench.function(text));
    let lua = bench.lua();
    let counts = || {
        prop_oneof![
            -3_i64..70,
            any::<i64>(),
            select(vec![i64::from(i32::MAX), i64::from(i32::MIN)])
        ]
    };
    let results = [const { [const { Cell::new(0_u32) }; 2] }; 14];
    check((hostile(), counts(), counts(), formats()), |(bytes, n, m, format)| {
        for (decode, results) in decoders.iter().zip(&results) {
            let text = lua.create_string(&bytes).expect("memory");
            let args = (text, n as f64, m as f64, format.as_str());
            let either: mlua::Result<MultiValue> = decode.call(args);
            let result = &results[usize::from(either.is_ok())];
            result.set(result.get() + 1);
        }
        Ok(())
    });
    // The first six decode.
    for (at, [refused, taken]) in results.iter().enumerate() {
        assert!(taken.get() > 0 && (at >= 6 || refused.get() > 0), "{at}: {refused:?} {taken:?}");
    }
}
