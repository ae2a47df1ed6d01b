//! JSON.NUMINCRBY, JSON.NUMMULTBY, JSON.NUMPOWBY.

use super::document::{Changed, change_each, check_len, coded, gone, no_path_or, path_at, text_at};
use super::get::reply_number;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Json, Kind, Number, Ref, Scalar};
use crate::resp::{Proto, Sink};

/// An operation: on integers, which wrap around, and on floats.
struct Operation {
    name: &'static str,
    ints: fn(i64, i64) -> i64,
    floats: fn(f64, f64) -> f64,
}

/// JSON.NUMINCRBY key path number
pub(super) fn incr_by(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (ints, floats) = (i64::wrapping_add, |a: f64, b: f64| a + b);
    calculate(cx, args, &Operation { name: "json.numincrby", ints, floats }, out)
}

/// JSON.NUMMULTBY key path number
pub(super) fn mult_by(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (ints, floats) = (i64::wrapping_mul, |a: f64, b: f64| a * b);
    calculate(cx, args, &Operation { name: "json.nummultby", ints, floats }, out)
}

/// JSON.NUMPOWBY key path number
pub(super) fn pow_by(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    // The lower half of the exponent is what counts.
    let ints = |a: i64, b: i64| a.wrapping_pow(b as u32);
    calculate(cx, args, &Operation { name: "json.numpowby", ints, floats: f64::powf }, out)
}

fn calculate(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    operation: &Operation,
    out: &mut Sink<'_>,
) -> Outcome {
    check_len(args, 4..=usize::MAX, operation.name)?;
    let (path, text) = (path_at(args, 2)?, text_at(args, 3)?);
    let path = if out.proto == Proto::Resp3 { path.of_all_values() } else { path };
    let key = cx.key(args.at(1));
    let mut operand = None;
    // The number is read first in any case.
    let none_there = || parse_number(text).and_then(|_| gone());
    let changed = change_each(cx, key, operation.name, path, is_number, none_there, |value, _| {
        let by = match operand {
            Some(by) => by,
            None => *operand.insert(parse_number(text)?),
        };
        let Kind::Scalar(Scalar::Number(old)) = value.view().kind() else {
            return Err(Refusal::impossible("a number is none"));
        };
        let new = match (old, by) {
            (Number::Int(old), Number::Int(by)) => Number::Int((operation.ints)(old, by)),
            _ => {
                let float = (operation.floats)(old.as_f64(), by.as_f64());
                if !float.is_finite() {
                    return Err(Refusal::of("ERR result is not a number"));
                }
                Number::Float(float)
            }
        };
        *value = Json::scalar(Scalar::Number(new));
        Ok(Changed(true, new))
    });
    let results = changed?;
    if out.proto == Proto::Resp3 {
        out.array(results.len());
        for result in results {
            match result {
                Some(number) => reply_number(number, out),
                None => out.null(),
            }
        }
        return Ok(());
    }
    let write = |text: &mut Vec<u8>, result: &Option<Number>| match result {
        Some(number) => number.write(text),
        None => text.extend_from_slice(b"null"),
    };
    let mut text = Vec::new();
    if path.is_legacy() {
        let none = || no_path_or(&path.full(), "does not contains a number");
        write(&mut text, results.last().ok_or_else(none)?);
    } else {
        text.push(b'[');
        for (n, result) in results.iter().enumerate() {
            if n > 0 {
                text.push(b',');
            }
            write(&mut text, result);
        }
        text.push(b']');
    }
    out.bulk(&text);
    Ok(())
}

fn is_number(value: Ref<'_>) -> bool {
    matches!(value.kind(), Kind::Scalar(Scalar::Number(_)))
}

/// A JSON number.
fn parse_number(text: &str) -> Result<Number, Refusal> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(coded)?;
    let serde_json::Value::Number(number) = value else {
        return Err(Refusal::of("bad input number"));
    };
    let int = number.as_i64().map(Number::Int);
    let uint = || number.as_u64().map(Number::Uint);
    int.or_else(uint)
        .or_else(|| number.as_f64().map(Number::Float))
        .ok_or(Refusal::of("bad input number"))
}
