//! JSON.GET, JSON.MGET, JSON.TYPE, JSON.RESP.

use super::document::{
    check_len, document, no_original_path, no_path, path_at, reply_double, text_at, type_name,
    values,
};
use super::path::PathText;
use crate::command::{Args, Cx, Outcome, Pace, Refusal};
use crate::keyspace::{Json, Kind, Layout, Number, Ref, Scalar, Value, write_string};
use crate::resp::{Proto, Sink};

/// What RESP3 replies are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text.
    String,
    /// An array for each path, with strings and containers as text.
    Expand1,
    /// An array for each path, with everything as what it is.
    Expand,
}

/// JSON.GET's arguments.
struct Request<'a> {
    layout: Layout<'a>,
    format: Format,
    paths: Vec<PathText<'a>>,
}

impl<'a> Request<'a> {
    fn read(args: Args<'a>, proto: Proto) -> Result<Self, Refusal> {
        let (layout, format) = (Layout::default(), Format::String);
        let mut it = Self { layout, format, paths: Vec::with_capacity(1) };
        let mut i = 2;
        // What is not text ends the list.
        while let Some(Ok(word)) = args.get(i).map(std::str::from_utf8) {
            let option = |name: &str| word.eq_ignore_ascii_case(name);
            let value = |i: usize| match args.get(i + 1) {
                Some(_) => text_at(args, i + 1),
                None => Err(Refusal::arity("json.get")),
            };
            i += match () {
                () if option("indent") => {
                    it.layout.indent = value(i)?.as_bytes();
                    2
                }
                () if option("newline") => {
                    it.layout.newline = value(i)?.as_bytes();
                    2
                }
                () if option("space") => {
                    it.layout.space = value(i)?.as_bytes();
                    2
                }
                () if option("format") => {
                    if proto == Proto::Resp2 && it.paths.is_empty() {
                        return Err(Refusal::of("ERR FORMAT argument is not supported on RESP2"));
                    }
                    it.format = match value(i)? {
                        "STRING" => Format::String,
                        "EXPAND1" => Format::Expand1,
                        "EXPAND" => Format::Expand,
                        _ => return Err(Refusal::of("ERR wrong reply format")),
                    };
                    2
                }
                () if option("noescape") => 1,
                () => {
                    it.paths.push(PathText::new(word));
                    1
                }
            };
        }
        if it.paths.is_empty() {
            it.paths.push(PathText::ROOT);
        }
        Ok(it)
    }
}

/// JSON.GET key [INDENT text] [NEWLINE text] [SPACE text] [FORMAT format] [path ...]
pub(super) fn get(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.get")?;
    let request = Request::read(args, out.proto)?;
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let Some(json) = document(cx, key)? else {
        out.null();
        return Ok(());
    };
    if out.proto == Proto::Resp3 && request.format != Format::String {
        return get_as_values(json, &request, pace, out);
    }
    let text = match request.paths[..] {
        [path] => text_of(json, path, &request.layout, pace)?,
        _ => text_of_all(json, &request, pace)?,
    };
    out.bulk(&text);
    Ok(())
}

/// The text of the first value of a legacy path, or of an array of all values of a JSONPath.
fn text_of(
    json: &Json,
    path: PathText<'_>,
    layout: &Layout<'_>,
    pace: &dyn Pace,
) -> Result<Vec<u8>, Refusal> {
    let found = values(json, &path.compile()?, pace)?;
    let mut text = Vec::new();
    if path.is_legacy() {
        found.first().ok_or_else(|| no_path(path))?.write(&mut text, layout, 0);
    } else {
        write_all(&found, layout, 0, &mut text);
    }
    pace.step(text.len() / 100);
    Ok(text)
}

/// Writes an array of values.
fn write_all(values: &[Ref<'_>], layout: &Layout<'_>, depth: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for (n, value) in values.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        layout.line(out, depth + 1);
        value.write(out, layout, depth + 1);
    }
    if !values.is_empty() {
        layout.line(out, depth);
    }
    out.push(b']');
}

/// The text of an object with a member for each path; paths that are malformed have none. RedisJSON's
/// order of members is random; here it is that of the request.
fn text_of_all(json: &Json, request: &Request<'_>, pace: &dyn Pace) -> Result<Vec<u8>, Refusal> {
    let (layout, mut text) = (&request.layout, vec![b'{']);
    let is_legacy = request.paths.iter().all(|path| path.is_legacy());
    let mut written: Vec<&str> = Vec::new();
    for path in &request.paths {
        let Ok(compiled) = path.compile() else { continue };
        let found = values(json, &compiled, pace)?;
        let first = found.first();
        if is_legacy && first.is_none() {
            return Err(no_original_path(*path));
        }
        if written.contains(&path.original()) {
            continue;
        }
        if !written.is_empty() {
            text.push(b',');
        }
        written.push(path.original());
        layout.line(&mut text, 1);
        write_string(&mut text, path.original().as_bytes());
        text.push(b':');
        text.extend_from_slice(layout.space);
        match first {
            Some(first) if is_legacy => first.write(&mut text, layout, 1),
            _ => write_all(&found, layout, 1, &mut text),
        }
        pace.step(text.len() / 100);
    }
    if !written.is_empty() {
        layout.line(&mut text, 0);
    }
    text.push(b'}');
    Ok(text)
}

fn get_as_values(
    json: &Json,
    request: &Request<'_>,
    pace: &dyn Pace,
    out: &mut Sink<'_>,
) -> Outcome {
    let mut all = Vec::with_capacity(request.paths.len());
    for path in &request.paths {
        all.push(match path.compile() {
            Ok(path) => values(json, &path, pace)?,
            Err(_) => Vec::new(),
        });
    }
    out.array(all.len());
    for values in all {
        out.array(values.len());
        for value in values {
            reply_value(value, request.format, &request.layout, out);
        }
    }
    Ok(())
}

/// Replies with a value as what it is.
pub(super) fn reply_value(value: Ref<'_>, format: Format, layout: &Layout<'_>, out: &mut Sink<'_>) {
    let as_text = |out: &mut Sink<'_>| {
        let mut text = Vec::new();
        value.write(&mut text, layout, 0);
        out.bulk(&text);
    };
    match value.kind() {
        Kind::Scalar(Scalar::Null) => out.null(),
        Kind::Scalar(Scalar::Bool(value)) => out.boolean(value),
        Kind::Scalar(Scalar::Number(number)) => reply_number(number, out),
        _ if format == Format::Expand1 => as_text(out),
        Kind::Scalar(Scalar::String(text)) => out.bulk(text),
        Kind::Array(len) => {
            out.array(len);
            value.children().for_each(|(_, child)| reply_value(child, format, layout, out));
        }
        Kind::Object(len) => {
            out.map(len);
            for (key, child) in value.children() {
                out.bulk(key.unwrap_or_default());
                reply_value(child, format, layout, out);
            }
        }
    }
}

/// Replies with a number. Integers beyond 63 bits are floating-point numbers.
pub(super) fn reply_number(number: Number, out: &mut Sink<'_>) {
    match number {
        Number::Int(int) => out.int(int),
        Number::Uint(_) | Number::Float(_) => reply_double(number.as_f64(), out),
    }
}

/// JSON.MGET key [key ...] path
pub(super) fn mget(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 3..=usize::MAX, "json.mget")?;
    let path = path_at(args, args.len() - 1)?;
    let keys = args.len() - 2;
    let pace = cx.pace;
    let mut texts = Vec::with_capacity(keys);
    for name in args.from(1).take(keys) {
        let key = cx.key(name);
        texts.push(match cx.keyspace.read(key) {
            Some(Value::Json(json)) => text_of(json, path, &Layout::default(), pace).ok(),
            _ => None,
        });
    }
    out.array(keys);
    texts.iter().for_each(|text| out.bulk_or_null(text.as_deref()));
    Ok(())
}

/// JSON.TYPE key [path]
pub(super) fn type_of(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.type")?;
    let path = path_at(args, 2)?;
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let json = document(cx, key)?;
    let found = match json {
        Some(json) => Some(match path.compile() {
            Ok(compiled) => values(json, &compiled, pace)?,
            Err(_) if path.is_legacy() => Vec::new(),
            Err(refusal) => return Err(refusal),
        }),
        None => None,
    };
    // Each reply is in an array of its own in RESP3.
    if out.proto == Proto::Resp3 {
        out.array(1);
    }
    match found {
        Some(found) if !path.is_legacy() => {
            out.array(found.len());
            found.iter().for_each(|value| out.bulk(type_name(*value).as_bytes()));
        }
        found => {
            let first = found.and_then(|found| found.first().map(|value| type_name(*value)));
            out.bulk_or_null(first.map(str::as_bytes));
        }
    }
    Ok(())
}

/// JSON.RESP key [path]
pub(super) fn resp(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.resp")?;
    let path = path_at(args, 2)?;
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let Some(json) = document(cx, key)? else {
        out.null();
        return Ok(());
    };
    let found = values(json, &path.compile()?, pace)?;
    if path.is_legacy() {
        reply_resp(*found.first().ok_or_else(|| no_path(path))?, out);
    } else {
        out.array(found.len());
        found.into_iter().for_each(|value| reply_resp(value, out));
    }
    Ok(())
}

fn reply_resp(value: Ref<'_>, out: &mut Sink<'_>) {
    match value.kind() {
        Kind::Scalar(Scalar::Null) => out.null(),
        Kind::Scalar(Scalar::Bool(value)) => out.simple(if value { "true" } else { "false" }),
        Kind::Scalar(Scalar::Number(number)) => reply_number(number, out),
        Kind::Scalar(Scalar::String(text)) => out.bulk(text),
        Kind::Array(len) => {
            out.array(1 + len);
            out.simple("[");
            value.children().for_each(|(_, child)| reply_resp(child, out));
        }
        Kind::Object(len) => {
            out.array(1 + 2 * len);
            out.simple("{");
            for (key, child) in value.children() {
                out.bulk(key.unwrap_or_default());
                reply_resp(child, out);
            }
        }
    }
}
