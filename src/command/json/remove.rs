//! JSON.DEL, JSON.FORGET, JSON.CLEAR.

use super::document::{Changed, WRONG_TYPE, change, check_len, path_at};
use super::path::Walk;
use super::place::{Place, deleted_places, place_of, steps};
use crate::command::{Args, Cx, Outcome};
use crate::keyspace::{Json, Kind, Number, Ref, Scalar, Value, event};
use crate::resp::Sink;

/// JSON.DEL key [path]
pub(super) fn del(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.del")?;
    let path = path_at(args, 2)?;
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    match cx.keyspace.peek(key).map(|entry| matches!(entry.value(), Value::Json(_))) {
        None => {
            cx.keyspace.touch(key.bytes, true);
            out.int(0);
            return Ok(());
        }
        Some(false) => {
            cx.keyspace.touch(key.bytes, false);
            return Err(WRONG_TYPE);
        }
        Some(true) => {}
    }
    if path.full() == "$" {
        cx.keyspace.delete(key);
        cx.keyspace.notify_event(event::MODULE, "json.del", key.bytes);
        out.int(1);
        return Ok(());
    }
    let hasher = cx.keyspace.hasher().clone();
    let count = change(cx, key, "json.del", |json| {
        let path = path.compile()?;
        let root = json.view();
        let found = Walk::new(root, pace).places(&path)?;
        let places = found.iter().map(|found| steps(root, &found.place)).collect();
        let mut count = 0;
        for steps in deleted_places(places) {
            let place = place_of(json.view(), &steps);
            let Some((&last, parent)) = place.as_deref().and_then(<[u32]>::split_last) else {
                continue;
            };
            json.update(parent, &hasher, &mut |parent| parent.remove(last as usize));
            count += 1;
        }
        Ok(Changed(count > 0, count))
    })?;
    out.count(count);
    Ok(())
}

/// JSON.CLEAR key [path]
pub(super) fn clear(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    check_len(args, 2..=usize::MAX, "json.clear")?;
    let path = path_at(args, 2)?;
    let key = cx.key(args.at(1));
    let (pace, hasher) = (cx.pace, cx.keyspace.hasher().clone());
    let count = change(cx, key, "json.clear", |json| {
        let path = path.compile()?;
        let root = json.view();
        let found = Walk::new(root, pace).places(&path)?;
        let places: Vec<_> = found
            .into_iter()
            .filter(|found| is_full(found.value))
            .map(|found| Place::new(root, found.place))
            .collect();
        let mut count = 0;
        for place in places {
            let Some(place) = place.find(json.view()) else { continue };
            json.update(&place, &hasher, &mut |value| *value = cleared(value.view()));
            count += 1;
        }
        Ok(Changed(count > 0, count))
    })?;
    out.count(count);
    Ok(())
}

/// What JSON.CLEAR makes of a value.
fn cleared(value: Ref<'_>) -> Json {
    match value.kind() {
        Kind::Array(_) => Json::empty_array(),
        Kind::Object(_) => Json::empty_object(),
        Kind::Scalar(_) => Json::scalar(Scalar::Number(Number::Int(0))),
    }
}

/// Whether JSON.CLEAR changes a value.
fn is_full(value: Ref<'_>) -> bool {
    match value.kind() {
        Kind::Array(len) | Kind::Object(len) => len > 0,
        Kind::Scalar(Scalar::Number(number)) => number.as_f64() != 0.0,
        Kind::Scalar(_) => false,
    }
}
