//! JSON.ARRAPPEND, ARRINSERT, ARRINDEX, ARRLEN, ARRPOP, ARRTRIM.

use super::document::{
    Changed, NO_KEY, change_each, check_depth, check_len, document, gone, int_at, no_original_path,
    no_path, no_path_or, parse, parse_whole, path_at, reply_each, text_at, type_name, unexpected,
    values,
};
use super::get::{Format, reply_value};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Json, KeyHasher, Kind, Layout, Ref};
use crate::resp::{Proto, Sink};

fn is_array(value: Ref<'_>) -> bool {
    matches!(value.kind(), Kind::Array(_))
}

fn len_of(value: Ref<'_>) -> usize {
    if let Kind::Array(len) = value.kind() { len } else { 0 }
}

/// The values of the arguments from `first` on.
fn parse_from(args: Args<'_>, first: usize, hasher: &KeyHasher) -> Result<Vec<Json>, Refusal> {
    (first..args.len()).map(|i| parse(text_at(args, i)?, hasher)).collect()
}

/// Refuses values that would nest a document too deep, in an array within so many containers.
fn check_depths(values: &[Json], around: usize) -> Outcome {
    values.iter().try_for_each(|value| check_depth(around + 1, value.view()))
}

/// JSON.ARRAPPEND key path value [value ...]
pub(super) fn append(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 4..=usize::MAX, "json.arrappend")?;
    let path = path_at(args, 2)?;
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let new = parse_from(args, 3, &hasher)?;
    let lens = change_each(cx, key, "json.arrappend", path, is_array, gone, |array, around| {
        let len = len_of(array.view());
        check_depths(&new, around)?;
        array.insert(len, new.clone(), &hasher);
        Ok(Changed(true, len + new.len()))
    })?;
    let none = || no_path_or(path.original(), "not an array");
    reply_each(path, &lens, none, out, |len, out| out.count(*len))
}

/// JSON.ARRINSERT key path index value [value ...]
pub(super) fn insert(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 5..=usize::MAX, "json.arrinsert")?;
    let (path, index) = (path_at(args, 2)?, int_at(args, 3)?);
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let new = parse_from(args, 4, &hasher)?;
    let lens = change_each(cx, key, "json.arrinsert", path, is_array, gone, |array, around| {
        let len = len_of(array.view());
        check_depths(&new, around)?;
        let at = if index < 0 { (len as i64).checked_add(index) } else { Some(index) };
        let at = at.and_then(|at| usize::try_from(at).ok()).filter(|&at| at <= len);
        let at = at.ok_or(Refusal::of("ERR index out of bounds"))?;
        array.insert(at, new.clone(), &hasher);
        Ok(Changed(true, len + new.len()))
    })?;
    let none = || no_path_or(&path.full(), "not an array");
    reply_each(path, &lens, none, out, |len, out| out.count(*len))
}

/// JSON.ARRINDEX key path value [start [stop]]
pub(super) fn index(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 4..=6, "json.arrindex")?;
    let (path, text) = (path_at(args, 2)?, text_at(args, 3)?);
    let bound = |i| if i < args.len() { int_at(args, i) } else { Ok(0) };
    let (start, stop) = (bound(4)?, bound(5)?);
    let wanted = parse_whole(text, cx.keyspace.hasher())?;
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let none = || no_original_path(path);
    let json = document(cx, key)?.ok_or_else(none)?;
    let found = values(json, &path.compile()?, pace)?;
    let find = |array: Ref<'_>| {
        let range = range_of(start, stop, len_of(array));
        let mut within = array.children().enumerate().skip(range.start).take(range.len());
        pace.step(range.len());
        let at =
            within.find(|(_, (_, value))| value.is_same(wanted.view())).map(|(at, _)| at as i64);
        at.unwrap_or(-1)
    };
    if path.is_legacy() {
        let first = *found.first().ok_or_else(|| no_path(path))?;
        if !is_array(first) {
            return Err(unexpected("array", type_name(first)));
        }
        out.int(find(first));
        return Ok(());
    }
    let found: Vec<_> = found.into_iter().map(|v| is_array(v).then(|| find(v))).collect();
    reply_each(path, &found, none, out, |at, out| out.int(*at))
}

/// From `start` before `stop`, negative ones counted from the end; a `stop` of 0 or beyond is the end.
fn range_of(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len_i = len as i64;
    let from_end = |at: i64| if at < 0 { (len_i + at.max(-len_i)).max(0) } else { at.min(len_i) };
    let start = from_end(start);
    let stop = if stop == 0 { len_i } else { from_end(stop) };
    start as usize..stop.max(start) as usize
}

/// JSON.ARRLEN key [path]
pub(super) fn len(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.arrlen")?;
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
        let Some(first) = found.first() else {
            return Err(no_original_path(path));
        };
        if !is_array(*first) {
            return Err(no_path_or(path.original(), "not an array"));
        }
        out.count(len_of(*first));
        return Ok(());
    }
    let lens: Vec<_> = found.into_iter().map(|v| is_array(v).then(|| len_of(v))).collect();
    let none = || no_path_or(path.original(), "not an array");
    reply_each(path, &lens, none, out, |len, out| out.count(*len))
}

/// JSON.ARRPOP key [FORMAT format] [path [index]]
pub(super) fn pop(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.arrpop")?;
    let (first, format) = pop_format(args, out.proto)?;
    let path = path_at(args, first)?;
    if format != Format::String && path.is_legacy() {
        return Err(Refusal::of("Legacy paths are supported only with FORMAT STRINGS"));
    }
    // What is no number counts as the last.
    let index = if first + 1 < args.len() { int_at(args, first + 1).unwrap_or(-1) } else { -1 };
    let key = cx.key(args.at(1));
    let popped = change_each(
        cx,
        key,
        "json.arrpop",
        path,
        is_array,
        || Ok(None),
        |array, _| {
            let len = len_of(array.view()) as i64;
            let at = if index < 0 { (len + index.max(-len)).max(0) } else { index.min(len - 1) };
            let Some(element) = array.view().child(at as usize).map(Ref::to_json) else {
                return Ok(Changed(false, None));
            };
            array.remove(at as usize);
            Ok(Changed(true, Some(element)))
        },
    )?;
    let none = || no_path_or(&path.full(), "not an array");
    reply_each(path, &popped, none, out, |element, out| match element {
        Some(element) if format == Format::String => out.bulk(&element.view().to_text()),
        Some(element) => reply_value(element.view(), format, &Layout::default(), out),
        None => out.null(),
    })
}

fn pop_format(args: Args<'_>, proto: Proto) -> Result<(usize, Format), Refusal> {
    if !args.is(2, "format") || args.len() < 4 {
        return Ok((2, Format::String));
    }
    let format = match text_at(args, 3)? {
        "STRINGS" => Format::String,
        "EXPAND1" => Format::Expand1,
        "EXPAND" => Format::Expand,
        _ => return Err(Refusal::of("ERR wrong reply format")),
    };
    match proto {
        Proto::Resp2 => Err(Refusal::of("ERR FORMAT argument is not supported on RESP2")),
        Proto::Resp3 => Ok((4, format)),
    }
}

/// JSON.ARRTRIM key path start stop
pub(super) fn trim(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 5..=usize::MAX, "json.arrtrim")?;
    let path = path_at(args, 2)?;
    let (start, stop) = (int_at(args, 3)?, int_at(args, 4)?);
    let key = cx.key(args.at(1));
    let lens = change_each(cx, key, "json.arrtrim", path, is_array, gone, |array, _| {
        let len = len_of(array.view()) as i64;
        let from_end = |at: i64| if at < 0 { (len + at.max(-len)).max(0) } else { at };
        let first = from_end(start);
        let end = from_end(stop).min(len - 1) + 1;
        let kept = if first >= end { 0..0 } else { first as usize..end as usize };
        let count = kept.len();
        array.keep(kept);
        Ok(Changed(true, count))
    })?;
    let none = || no_path_or(&path.full(), "not an array");
    reply_each(path, &lens, none, out, |len, out| out.count(*len))
}
