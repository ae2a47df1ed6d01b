//! What the commands share: the document at a key, the values of a path in it, replies.

use super::error::error_of;
use super::path::{Found, Path, PathText, Walk};
use super::place::Place;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{DEPTH_MAX, Edited, Json, Key, KeyHasher, Kind, Ref, Scalar, Value, event};
use crate::resp::{Proto, Sink};

/// The key holds a value of another type.
pub(super) const WRONG_TYPE: Refusal = Refusal::of("Existing key has wrong Redis type");
/// The key does not exist, and the command needs it.
pub(super) const NO_KEY: Refusal =
    Refusal::of("ERR could not perform this operation on a key that doesn't exist");
const NOT_UTF8: Refusal = Refusal::of("Couldn't parse as UTF-8 string");
/// The error of a value that a change before has removed, or that has no name.
pub(super) fn gone<R>() -> Result<R, Refusal> {
    Err(Refusal::of("ERR Path does not exist"))
}
const TOO_DEEP: Refusal = Refusal::of("ERR the document would be nested too deep");

/// Argument `i` as text.
pub(super) fn text_at<'a>(args: Args<'a>, i: usize) -> Result<&'a str, Refusal> {
    std::str::from_utf8(args.at(i)).map_err(|_| NOT_UTF8)
}

/// Argument `i` as a path; the whole document if there is none.
pub(super) fn path_at(args: Args<'_>, i: usize) -> Result<PathText<'_>, Refusal> {
    if i < args.len() { text_at(args, i).map(PathText::new) } else { Ok(PathText::ROOT) }
}

/// Argument `i` as an integer, as modules of Redis read one.
pub(super) fn int_at(args: Args<'_>, i: usize) -> Result<i64, Refusal> {
    args.int(i).map_err(|_| Refusal::of("Couldn't parse as integer"))
}

/// The error for too few arguments, or too many.
pub(super) fn check_len(
    args: Args<'_>,
    range: std::ops::RangeInclusive<usize>,
    name: &str,
) -> Outcome {
    if range.contains(&args.len()) { Ok(()) } else { Err(Refusal::arity(name)) }
}

/// Reads a value; what follows it is ignored.
pub(super) fn parse(text: &str, hasher: &KeyHasher) -> Result<Json, Refusal> {
    Json::parse(text, hasher).map_err(|error| error_of(&error.to_string()))
}

/// The same, but nothing may follow, and the error has a code.
pub(super) fn parse_whole(text: &str, hasher: &KeyHasher) -> Result<Json, Refusal> {
    Json::parse_whole(text, hasher).map_err(coded)
}

/// The error of a value that is read for a command's own use.
pub(super) fn coded(error: serde_json::Error) -> Refusal {
    error_of(&format!("ERR {error}"))
}

/// Reads the document at a key.
pub(super) fn document<'c>(cx: &'c mut Cx<'_>, key: Key<'_>) -> Result<Option<&'c Json>, Refusal> {
    match cx.keyspace.read(key) {
        None => Ok(None),
        Some(Value::Json(json)) => Ok(Some(json)),
        Some(_) => Err(WRONG_TYPE),
    }
}

/// Whether a change changed anything, with its result.
pub(super) struct Changed<R>(pub(super) bool, pub(super) R);

/// Changes the document at a key, which has to exist; publishes the event `name` if it changes.
pub(super) fn change<R>(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    name: &'static str,
    change: impl FnOnce(&mut Json) -> Result<Changed<R>, Refusal>,
) -> Result<R, Refusal> {
    let edited = cx.keyspace.edit(key, |value| {
        Edited::Changed(match value {
            Value::Json(json) => change(json),
            _ => Err(WRONG_TYPE),
        })
    });
    match edited {
        None => {
            cx.keyspace.touch(key.bytes, true);
            Err(NO_KEY)
        }
        Some(Err(refusal)) => Err(refusal),
        Some(Ok(Changed(is_changed, result))) => {
            if is_changed {
                cx.keyspace.notify_event(event::MODULE, name, key.bytes);
            }
            Ok(result)
        }
    }
}

/// Changes the values of a path for which `is_fit`: `change` is called with each of them in turn, and
/// finds it as its predecessors have left it; it is given how many containers are around. Returns the results: of a legacy path those of the values
/// that fit, of a JSONPath `None` for the others. `gone` is the result for a value that is not there any
/// more.
pub(super) fn change_each<R>(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    name: &'static str,
    path: PathText<'_>,
    is_fit: impl Fn(Ref<'_>) -> bool,
    gone: impl Fn() -> Result<R, Refusal>,
    mut change_one: impl FnMut(&mut Json, usize) -> Result<Changed<R>, Refusal>,
) -> Result<Vec<Option<R>>, Refusal> {
    let (pace, hasher) = (cx.pace, cx.keyspace.hasher().clone());
    change(cx, key, name, |json| {
        let compiled = path.compile()?;
        let root = json.view();
        let found = Walk::new(root, pace).places(&compiled)?;
        let places: Vec<_> = found
            .into_iter()
            .map(|Found { value, place }| is_fit(value).then(|| Place::new(root, place)))
            .filter(|place| place.is_some() || !path.is_legacy())
            .collect();
        let (mut is_changed, mut results) = (false, Vec::with_capacity(places.len()));
        for place in places {
            let mut result = Ok(None);
            if let Some(place) = place {
                match place.find(json.view()) {
                    None => result = gone().map(|result| Some(Changed(false, result))),
                    Some(place) if json.view().at(&place).is_some_and(&is_fit) => {
                        json.update(&place, &hasher, &mut |value| {
                            result = change_one(value, place.len()).map(Some);
                        });
                    }
                    Some(_) => {}
                }
            }
            results.push(result?.map(|Changed(changed, result)| {
                is_changed |= changed;
                result
            }));
        }
        Ok(Changed(is_changed, results))
    })
}

/// Returns the values of a path.
pub(super) fn values<'d>(
    json: &'d Json,
    path: &Path<'_>,
    cx_pace: &dyn crate::command::Pace,
) -> Result<Vec<Ref<'d>>, Refusal> {
    let found = Walk::new(json.view(), cx_pace).values(path)?;
    Ok(found.into_iter().map(|found| found.value).collect())
}

/// The error of a legacy path that matches nothing.
pub(super) fn no_path(path: PathText<'_>) -> Refusal {
    error_of(&format!("ERR Path '{}' does not exist", path.full()))
}

/// The same with the path as it was sent.
pub(super) fn no_original_path(path: PathText<'_>) -> Refusal {
    error_of(&format!("ERR Path '{}' does not exist", path.original()))
}

/// The same, or nothing of a type.
pub(super) fn no_path_or(path: &str, what: &str) -> Refusal {
    error_of(&format!("ERR Path '{path}' does not exist or {what}"))
}

/// The error of a value of another type than the command needs.
pub(super) fn unexpected(expected: &str, found: &str) -> Refusal {
    error_of(&format!("WRONGTYPE wrong type of path value - expected {expected} but found {found}"))
}

/// The type as JSON.TYPE says it.
pub(super) fn type_name(value: Ref<'_>) -> &'static str {
    use crate::keyspace::Number;
    match value.kind() {
        Kind::Scalar(Scalar::Null) => "null",
        Kind::Scalar(Scalar::Bool(_)) => "boolean",
        Kind::Scalar(Scalar::Number(Number::Float(_))) => "number",
        Kind::Scalar(Scalar::Number(_)) => "integer",
        Kind::Scalar(Scalar::String(_)) => "string",
        Kind::Array(_) => "array",
        Kind::Object(_) => "object",
    }
}

/// Replies with a result for each value of a path, null where there is none; of a legacy path with the
/// last.
pub(super) fn reply_each<R>(
    path: PathText<'_>,
    results: &[Option<R>],
    none: impl FnOnce() -> Refusal,
    out: &mut Sink<'_>,
    reply: impl Fn(&R, &mut Sink<'_>),
) -> Outcome {
    let one = |result: &Option<R>, out: &mut Sink<'_>| match result {
        Some(result) => reply(result, out),
        None => out.null(),
    };
    if path.is_legacy() {
        one(results.last().ok_or_else(none)?, out);
    } else {
        out.array(results.len());
        results.iter().for_each(|result| one(result, out));
    }
    Ok(())
}

/// Refuses what would nest the document deeper than it may be.
pub(super) fn check_depth(around: usize, new: Ref<'_>) -> Outcome {
    if around + new.depth() > DEPTH_MAX { Err(TOO_DEEP) } else { Ok(()) }
}

/// Replies with a floating-point number, as Redis writes one since 7.2: its shortest digits, with an
/// exponent where that is much shorter.
pub(super) fn reply_double(value: f64, out: &mut Sink<'_>) {
    let text = double_text(value);
    match out.proto {
        Proto::Resp2 => out.bulk(text.as_bytes()),
        Proto::Resp3 => {
            out.raw(b",");
            out.raw(text.as_bytes());
            out.raw(b"\r\n");
        }
    }
}

/// Whole numbers up to this are written as integers.
const INTEGRAL_MAX: f64 = (i64::MAX / 2) as f64;

fn double_text(value: f64) -> String {
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    if value.fract() == 0.0 && value.abs() <= INTEGRAL_MAX {
        return (value as i64).to_string();
    }
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits = mantissa.replace('.', "");
    let (len, exponent) = (digits.len() as i64, exponent.parse::<i64>().unwrap_or(0));
    // The value is the digits as an integer, times ten to this power.
    let power = exponent - len + 1;
    let sign = if value < 0.0 { "-" } else { "" };
    if power >= 0 && exponent.abs() < len + 7 {
        return format!("{sign}{digits}{}", "0".repeat(power as usize));
    }
    if power < 0 && (power > -7 || exponent.abs() < 4) {
        return match usize::try_from(len + power) {
            Ok(whole @ 1..) => format!("{sign}{}.{}", &digits[..whole], &digits[whole..]),
            _ => format!("{sign}0.{}{digits}", "0".repeat((-power - len) as usize)),
        };
    }
    let fraction = if len > 1 { format!(".{}", &digits[1..]) } else { String::new() };
    let way = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{}{fraction}e{way}{}", &digits[..1], exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_a_server_does() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e5, "100000"),
            (1e-7, "1e-7"),
            (0.00001, "0.00001"),
            (1e21, "1e+21"),
            (1e17, "100000000000000000"),
            (5e18, "5e+18"),
            (123_456_789.123_456_79, "1.2345678912345679e+8"),
            (123_456_789.125, "123456789.125"),
            (1.234_567_890_123_456_7e20, "123456789012345670000"),
            (-9.223_372_036_854_776e18, "-9223372036854776000"),
            (5e-324, "5e-324"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (0.300_000_000_000_000_04, "0.30000000000000004"),
            (-1.5, "-1.5"),
        ] {
            assert_eq!(double_text(value), text);
        }
    }
}
