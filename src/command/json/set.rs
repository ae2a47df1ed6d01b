//! JSON.SET, JSON.MSET, JSON.MERGE.

use super::document::{
    Changed, WRONG_TYPE, change, check_depth, check_len, parse, path_at, text_at,
};
use super::path::{Element, Found, Path, PathText, Walk};
use super::place::{Step, place_of, steps};
use crate::command::{Args, Cx, Outcome, Pace, Refusal};
use crate::keyspace::{Edited, Json, Key, KeyHasher, Kind, Ref, Scalar, Ttl, Value, event};
use crate::resp::Sink;

const NEW_AT_ROOT: Refusal = Refusal::of("ERR new objects must be created at the root");
const NOT_STATIC: Refusal = Refusal::of("Err wrong static path");
const NO_INDEX: Refusal = Refusal::of("ERR array index out of range");

/// When a value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    /// NX
    IfMissing,
    /// XX
    IfThere,
}

/// Where a value goes.
#[derive(Debug)]
enum Target {
    /// In the place of this value.
    Over(Vec<Step>),
    /// Into this object, under a new key.
    Into(Vec<Step>, Box<[u8]>),
}

/// Returns the places that a path means for writing.
fn targets(
    root: Ref<'_>,
    path: PathText<'_>,
    condition: Condition,
    pace: &dyn Pace,
) -> Result<Vec<Target>, Refusal> {
    let path = path.compile()?;
    if condition != Condition::IfMissing {
        let found = Walk::new(root, pace).places(&path)?;
        if !found.is_empty() || condition == Condition::IfThere {
            return Ok(found.iter().map(|found| Target::Over(steps(root, &found.place))).collect());
        }
    }
    if !path.is_static() {
        return Err(NOT_STATIC);
    }
    let Path(mut elements) = path;
    match elements.pop() {
        None => Err(Refusal::of("Err path must end with object key to set")),
        Some(Element::Name(name)) => {
            let parents = Walk::new(root, pace).places(&Path(elements))?;
            let into = |Found { place, .. }: Found<'_>| {
                Target::Into(steps(root, &place), name.as_bytes().into())
            };
            Ok(parents.into_iter().map(into).collect())
        }
        Some(last) => {
            elements.push(last);
            let found = Walk::new(root, pace).places(&Path(elements))?;
            if found.is_empty() { Err(NO_INDEX) } else { Ok(Vec::new()) }
        }
    }
}

/// Puts a value to its targets; returns whether anything was changed.
fn apply(
    json: &mut Json,
    targets: &[Target],
    value: &Json,
    hasher: &KeyHasher,
    is_merge: bool,
) -> Result<bool, Refusal> {
    let mut is_changed = false;
    for target in targets {
        let (Target::Over(steps) | Target::Into(steps, _)) = target;
        let Some(place) = place_of(json.view(), steps) else { continue };
        check_depth(place.len() + 1, value.view())?;
        json.update(&place, hasher, &mut |old| match target {
            Target::Over(_) => {
                if is_merge {
                    merge_into(old, value.view(), hasher);
                } else {
                    *old = value.clone();
                }
                is_changed = true;
            }
            Target::Into(_, key) => {
                let is_object = matches!(old.view().kind(), Kind::Object(_));
                if is_object && old.view().member(key).is_none() {
                    old.put(key, value.clone(), hasher);
                    is_changed = true;
                }
            }
        });
    }
    Ok(is_changed)
}

/// JSON.SET key path value [NX | XX] [FORMAT format]
pub(super) fn set(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 4..=usize::MAX, "json.set")?;
    let (path, text) = (path_at(args, 2)?, text_at(args, 3)?);
    let condition = options(args)?;
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let is_set = put(cx, key, |cx, old| {
        cx.pace.step(text.len() / 100);
        let value = parse(text, &hasher)?;
        match old {
            Some(_) if path.full() == "$" => {
                Ok(if condition == Condition::IfMissing { Put::Nothing } else { Put::New(value) })
            }
            Some(json) => {
                let targets = targets(json.view(), path, condition, cx.pace)?;
                Ok(Put::Changed(apply(json, &targets, &value, &hasher, false)?))
            }
            None if condition == Condition::IfThere => Ok(Put::Nothing),
            None if path.full() == "$" => Ok(Put::New(value)),
            None => Err(NEW_AT_ROOT),
        }
    })?;
    reply_set(cx, key, is_set, "json.set", out);
    Ok(())
}

fn reply_set(cx: &mut Cx<'_>, key: Key<'_>, is_set: bool, name: &'static str, out: &mut Sink<'_>) {
    if is_set {
        cx.keyspace.notify_event(event::MODULE, name, key.bytes);
        out.ok();
    } else {
        out.null();
    }
}

fn options(args: Args<'_>) -> Result<Condition, Refusal> {
    let (mut condition, mut i) = (Condition::Always, 4);
    while i < args.len() {
        text_at(args, i)?;
        if args.is(i, "nx") && condition == Condition::Always {
            condition = Condition::IfMissing;
        } else if args.is(i, "xx") && condition == Condition::Always {
            condition = Condition::IfThere;
        } else if args.is(i, "format") {
            i += 1;
            match args.get(i) {
                None => return Err(Refusal::arity("json.set")),
                Some(b"JSON" | b"STRING") => {}
                Some(b"BSON") => return Err(Refusal::of("ERR BSON is not supported")),
                Some(_) => return Err(Refusal::of("ERR wrong format")),
            }
        } else {
            return Err(Refusal::SYNTAX);
        }
        i += 1;
    }
    Ok(condition)
}

/// What a command does to a document.
enum Put {
    Nothing,
    /// It was changed in place, or not.
    Changed(bool),
    /// It becomes this one.
    New(Json),
}

/// Lets `decide` set or change the document at a key, which may be missing; returns whether it did. The
/// key counts as changed whatever happens.
fn put<'a>(
    cx: &mut Cx<'a>,
    key: Key<'_>,
    decide: impl FnOnce(&CxParts<'a>, Option<&mut Json>) -> Result<Put, Refusal>,
) -> Result<bool, Refusal> {
    let parts = CxParts { pace: cx.pace };
    let mut decide = Some(decide);
    let mut run = |old: Option<&mut Json>| match decide.take() {
        Some(decide) => decide(&parts, old),
        None => Ok(Put::Nothing),
    };
    let edited = cx.keyspace.edit(key, |value| {
        Edited::Changed(match value {
            Value::Json(json) => run(Some(json)).map(|put| match put {
                Put::Nothing => (false, None),
                Put::Changed(is_changed) => (is_changed, None),
                Put::New(new) => (true, Some(std::mem::replace(&mut **json, new))),
            }),
            _ => Err(WRONG_TYPE),
        })
    });
    match edited {
        Some(result) => {
            let (is_changed, old) = result?;
            if let Some(old) = old {
                cx.keyspace.free_lazily(Value::Json(Box::new(old)));
            }
            Ok(is_changed)
        }
        None => match run(None) {
            Ok(Put::New(new)) => {
                cx.keyspace.set(key, Value::Json(Box::new(new)), Ttl::Clear);
                Ok(true)
            }
            other => {
                cx.keyspace.touch(key.bytes, true);
                other.map(|_| false)
            }
        },
    }
}

/// What [`put`]'s decision may use.
struct CxParts<'a> {
    pace: &'a dyn Pace,
}

/// JSON.MERGE key path value
pub(super) fn merge(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 4..=usize::MAX, "json.merge")?;
    let (path, text) = (path_at(args, 2)?, text_at(args, 3)?);
    if args.len() > 4 {
        return Err(Refusal::SYNTAX);
    }
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let is_set = put(cx, key, |cx, old| {
        cx.pace.step(text.len() / 100);
        let value = parse(text, &hasher)?;
        match old {
            Some(json) if path.full() == "$" => {
                check_depth(0, value.view())?;
                merge_into(json, value.view(), &hasher);
                Ok(Put::Changed(true))
            }
            Some(json) => {
                let targets = targets(json.view(), path, Condition::Always, cx.pace)?;
                Ok(Put::Changed(apply(json, &targets, &value, &hasher, true)?))
            }
            None if path.full() == "$" => Ok(Put::New(value)),
            None => Err(NEW_AT_ROOT),
        }
    })?;
    reply_set(cx, key, is_set, "json.merge", out);
    Ok(())
}

/// Merges a value into another as RFC 7396 says.
fn merge_into(old: &mut Json, patch: Ref<'_>, hasher: &KeyHasher) {
    if !matches!(patch.kind(), Kind::Object(_)) {
        *old = patch.to_json();
        return;
    }
    if !matches!(old.view().kind(), Kind::Object(_)) {
        *old = Json::empty_object();
    }
    for (key, value) in patch.children() {
        let key = key.unwrap_or_default();
        let at = old.view().member(key).map(|(at, _)| at);
        let is_null = matches!(value.kind(), Kind::Scalar(Scalar::Null));
        match at {
            Some(at) if is_null => old.remove(at),
            None if is_null => {}
            Some(at) => {
                old.update(&[at as u32], hasher, &mut |member| merge_into(member, value, hasher));
            }
            None => {
                let mut new = Json::scalar(Scalar::Null);
                merge_into(&mut new, value, hasher);
                old.put(key, new, hasher);
            }
        }
    }
}

/// JSON.MSET key path value [key path value ...]
pub(super) fn mset(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 4..=usize::MAX, "json.mset")?;
    let (hasher, pace) = (cx.keyspace.hasher().clone(), cx.pace);
    let mut all = Vec::with_capacity(args.len() / 3);
    for i in (1..args.len()).step_by(3) {
        let key = cx.key(args.at(i));
        let is_there = cx.keyspace.peek(key).is_some();
        cx.keyspace.touch(key.bytes, !is_there);
        let rest =
            |n| if i + n < args.len() { Ok(i + n) } else { Err(Refusal::arity("json.mset")) };
        let path = path_at(args, rest(1)?)?;
        let text = text_at(args, rest(2)?)?;
        pace.step(text.len() / 100);
        let old = match cx.keyspace.get(key) {
            Some(Value::Json(json)) => Some(&**json),
            Some(_) => return Err(WRONG_TYPE),
            None => None,
        };
        let is_root = path.full() == "$";
        let targets = match old {
            _ if is_root => None,
            Some(json) => Some(targets(json.view(), path, Condition::Always, pace)?),
            None => return Err(NEW_AT_ROOT),
        };
        all.push((key, targets, parse(text, &hasher)?));
    }
    for (key, targets, value) in all {
        let is_set = match targets {
            None => put(cx, key, |_, _| Ok(Put::New(value)))?,
            Some(targets) => change(cx, key, "", |json| {
                Ok(Changed(false, apply(json, &targets, &value, &hasher, false)?))
            })?,
        };
        if is_set {
            cx.keyspace.notify_event(event::MODULE, "json.mset", key.bytes);
        }
    }
    out.ok();
    Ok(())
}
