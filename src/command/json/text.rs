//! JSON.STRLEN, JSON.STRAPPEND, JSON.TOGGLE.

use super::document::{
    Changed, NO_KEY, change_each, check_len, document, gone, no_path, no_path_or, parse_whole,
    path_at, reply_each, text_at, type_name, unexpected, values,
};
use super::path::PathText;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Json, Kind, Ref, STRING_LEN_MAX, Scalar};
use crate::resp::Sink;

fn string(value: Ref<'_>) -> Option<&[u8]> {
    match value.kind() {
        Kind::Scalar(Scalar::String(text)) => Some(text),
        _ => None,
    }
}

/// JSON.STRLEN key [path]
pub(super) fn len(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.strlen")?;
    let path = path_at(args, 2)?;
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let Some(json) = document(cx, key)? else {
        if !path.is_legacy() {
            return Err(NO_KEY);
        }
        out.null();
        return Ok(());
    };
    let found = values(json, &path.compile()?, pace)?;
    if path.is_legacy() {
        let first = *found.first().ok_or_else(|| no_path(path))?;
        out.count(string(first).ok_or_else(|| unexpected("string", type_name(first)))?.len());
        return Ok(());
    }
    out.array(found.len());
    for value in found {
        match string(value) {
            Some(text) => out.count(text.len()),
            None => out.null(),
        }
    }
    Ok(())
}

/// JSON.STRAPPEND key [path] value
pub(super) fn append(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 3..=usize::MAX, "json.strappend")?;
    // A single argument is the value.
    let (path, text) = match args.len() {
        3 => (PathText::ROOT, text_at(args, 2)?),
        _ => (path_at(args, 2)?, text_at(args, 3)?),
    };
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let len_max = cx.string_len_max.min(STRING_LEN_MAX as u64);
    let mut suffix = None;
    // The value is read first in any case.
    let none_there = || suffix_of(text, &hasher).and_then(|_| gone());
    let is_string = |value: Ref<'_>| string(value).is_some();
    let lens = change_each(cx, key, "json.strappend", path, is_string, none_there, |value, _| {
        let suffix = match &suffix {
            Some(suffix) => suffix,
            None => suffix.insert(suffix_of(text, &hasher)?),
        };
        let mut all = string(value.view()).unwrap_or_default().to_vec();
        all.extend_from_slice(suffix);
        if all.len() as u64 > len_max {
            return Err(Refusal::TOO_LONG);
        }
        *value = Json::scalar(Scalar::String(&all));
        Ok(Changed(true, all.len()))
    })?;
    let none = || no_path_or(&path.full(), "not a string");
    reply_each(path, &lens, none, out, |len, out| out.count(*len))
}

fn suffix_of(text: &str, hasher: &crate::keyspace::KeyHasher) -> Result<Vec<u8>, Refusal> {
    let value = parse_whole(text, hasher)?;
    match string(value.view()) {
        Some(text) => Ok(text.to_vec()),
        None => Err(unexpected("string", text)),
    }
}

/// JSON.TOGGLE key path
pub(super) fn toggle(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 3..=usize::MAX, "json.toggle")?;
    let path = path_at(args, 2)?;
    let key = cx.key(args.at(1));
    let is_bool = |value: Ref<'_>| matches!(value.kind(), Kind::Scalar(Scalar::Bool(_)));
    let toggled = change_each(cx, key, "json.toggle", path, is_bool, gone, |value, _| {
        let is_true = matches!(value.view().kind(), Kind::Scalar(Scalar::Bool(true)));
        *value = Json::scalar(Scalar::Bool(!is_true));
        Ok(Changed(true, !is_true))
    })?;
    let none = || no_path_or(&path.full(), "not a bool");
    reply_each(path, &toggled, none, out, |&is_true, out| {
        if path.is_legacy() {
            out.bulk(if is_true { b"true" } else { b"false" });
        } else {
            out.int(is_true.into());
        }
    })
}
