//! JSON.OBJKEYS, JSON.OBJLEN.

use super::document::{
    NO_KEY, check_len, document, no_path_or, path_at, type_name, unexpected, values,
};
use crate::command::{Args, Cx, Outcome};
use crate::keyspace::{Kind, Ref};
use crate::resp::Sink;

fn count(value: Ref<'_>) -> Option<usize> {
    if let Kind::Object(len) = value.kind() { Some(len) } else { None }
}

/// JSON.OBJKEYS key [path]
pub(super) fn keys(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.objkeys")?;
    let path = path_at(args, 2)?;
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let reply = |value: Ref<'_>, len: usize, out: &mut Sink<'_>| {
        out.array(len);
        value.children().for_each(|(key, _)| out.bulk(key.unwrap_or_default()));
        pace.step(len);
    };
    let Some(json) = document(cx, key)? else {
        if !path.is_legacy() {
            return Err(NO_KEY);
        }
        out.null();
        return Ok(());
    };
    let compiled = path.compile();
    if path.is_legacy() {
        let found = match compiled {
            Ok(path) => values(json, &path, pace)?,
            Err(_) => Vec::new(),
        };
        match found.first() {
            None => out.null(),
            Some(first) => {
                let none = || no_path_or(&path.full(), "not an object");
                reply(*first, count(*first).ok_or_else(none)?, out);
            }
        }
        return Ok(());
    }
    let found = values(json, &compiled?, pace)?;
    out.array(found.len());
    for value in found {
        match count(value) {
            Some(len) => reply(value, len, out),
            None => out.null(),
        }
    }
    Ok(())
}

/// JSON.OBJLEN key [path]
pub(super) fn len(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.objlen")?;
    let path = path_at(args, 2)?;
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let Some(json) = document(cx, key)? else {
        if !path.is_legacy() {
            return Err(no_path_or(&path.full(), "not an object"));
        }
        out.null();
        return Ok(());
    };
    let compiled = path.compile();
    if path.is_legacy() {
        let found = match compiled {
            Ok(path) => values(json, &path, pace)?,
            Err(_) => Vec::new(),
        };
        match found.first() {
            None => out.null(),
            Some(first) => {
                let wrong = || unexpected("object", type_name(*first));
                out.count(count(*first).ok_or_else(wrong)?);
            }
        }
        return Ok(());
    }
    let found = values(json, &compiled?, pace)?;
    out.array(found.len());
    for value in found {
        match count(value) {
            Some(len) => out.count(len),
            None => out.null(),
        }
    }
    Ok(())
}
