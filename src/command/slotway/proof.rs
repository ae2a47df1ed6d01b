//! Reports of what the server has recorded of the applications: violations, conflicts, groups, and
//! all of it as the JSON document of `slotway check`.

use crate::command::{Args, Outcome, Refusal, ServerCx};
use crate::ledger::Ledger;
use crate::report::proof::json;
use crate::report::proof::{ConflictRow, GroupRow, ViolationRow};
use crate::report::{Found, Report, Source};
use crate::resp::Sink;
use crate::state::ServerState;
use crate::state::recorder::Part;

/// Builds the report as of now, away from the runtime's workers, as it may take long.
fn report(cx: &mut ServerCx<'_>) -> Report {
    let ServerCx { server, now, pace, .. } = cx;
    let ledger = server.router().observer.recorder.ledger(&server.router().clients, *now);
    let (name, bytes) = ("this server".to_owned(), server.router().stats.bytes_in.get());
    let sources = [Source { name, format: "live", why: None, bytes, trouble: None, gap: None }];
    let found = found(server, &ledger);
    let mut report = None;
    pace.outside(&mut || report = Some(Report::of(&found, &sources, false)));
    report.unwrap_or_else(|| Report::of(&found, &sources, false))
}

/// The input of a report.
fn found<'a>(server: &'a ServerState, ledger: &'a Ledger) -> Found<'a> {
    Found { ledger, topology: &server.topology, title: "slotway serve" }
}

/// Resets a part if the request ends with RESET. Returns whether it does.
fn reset_if_asked(cx: &ServerCx<'_>, args: Args<'_>, part: Part) -> Result<bool, Refusal> {
    match args.len() {
        2 => Ok(false),
        3 if args.is(2, "reset") => {
            cx.node.observer.recorder.reset(part, &cx.node.clients, cx.now);
            Ok(true)
        }
        _ => Err(Refusal::SYNTAX),
    }
}

/// SLOTWAY VIOLATIONS [RESET]
pub(super) fn violations(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if reset_if_asked(cx, args, Part::Violations)? {
        out.ok();
        return Ok(());
    }
    let report = report(cx);
    out.map(5);
    field(out, "errors", report.totals.errors);
    field(out, "warnings", report.totals.warnings);
    field(out, "dropped", report.totals.dropped);
    words(out, "gaps", report.gaps.iter().map(String::as_str));
    out.bulk(b"rows");
    out.array(report.violations.len());
    for row in &report.violations {
        violation(row, &report.groups, out);
    }
    Ok(())
}

fn violation(row: &ViolationRow, groups: &[GroupRow], out: &mut Sink<'_>) {
    out.map(13);
    word(out, "rule", row.rule);
    word(out, "weight", row.weight);
    word(out, "command", &row.command);
    words(out, "patterns", row.patterns.iter().map(String::as_str));
    field(out, "count", row.count);
    field(out, "refused", row.refused);
    field(out, "first-ms", row.first_ms.unwrap_or(0));
    field(out, "last-ms", row.last_ms.unwrap_or(0));
    let example = row.examples.first();
    let keys = example.into_iter().flat_map(|example| &example.keys);
    let keys: Vec<String> = keys.map(|key| format!("{} (slot {})", key.key, key.slot)).collect();
    words(out, "keys", keys.iter().map(String::as_str));
    // Places in a transaction count from 1.
    field(out, "place", example.and_then(|example| example.place).unwrap_or(0) as u64);
    let clients = row.clients.iter().map(|client| {
        let names = [&client.test, &client.name, &client.library, &client.address];
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        let names = names.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        format!("{names} ({})", client.count)
    });
    let clients: Vec<String> = clients.collect();
    words(out, "clients", clients.iter().map(String::as_str));
    let group = row.group.and_then(|at| groups.get(at));
    word(out, "tag", group.and_then(|group| group.tag.as_deref()).unwrap_or_default());
    word(out, "advice", row.advice.as_deref().unwrap_or_default());
}

/// SLOTWAY CONFLICTS [RESET]
pub(super) fn conflicts(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if reset_if_asked(cx, args, Part::Conflicts)? {
        out.ok();
        return Ok(());
    }
    let report = report(cx);
    out.map(4);
    field(out, "lost", report.totals.conflicts);
    field(out, "dropped", report.totals.dropped);
    numbers(out, "commits-by-attempts", &report.commits_by_attempts);
    out.bulk(b"rows");
    out.array(report.conflicts.len());
    for row in &report.conflicts {
        conflict(row, out);
    }
    Ok(())
}

fn conflict(row: &ConflictRow, out: &mut Sink<'_>) {
    out.map(8);
    word(out, "pattern", &row.pattern);
    word(out, "changed-by", &row.command);
    field(out, "count", row.count);
    field(out, "own", row.own);
    word(out, "key", &row.example);
    word(out, "loser", &row.loser);
    word(out, "winner", &row.winner);
    numbers(out, "ages-below-2^i-ms", &row.ages);
}

/// SLOTWAY GROUPS [RESET]
pub(super) fn groups(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if reset_if_asked(cx, args, Part::Groups)? {
        out.ok();
        return Ok(());
    }
    let report = report(cx);
    out.map(3);
    field(out, "commands", report.totals.commands);
    field(out, "transactions", report.totals.transactions);
    out.bulk(b"rows");
    out.array(report.groups.len());
    for row in &report.groups {
        group(row, out);
    }
    Ok(())
}

fn group(row: &GroupRow, out: &mut Sink<'_>) {
    out.map(10);
    words(out, "patterns", row.patterns.iter().map(String::as_str));
    field(out, "count", row.count);
    field(out, "crossing", row.crossing);
    word(out, "verdict", row.verdict);
    word(out, "tag", row.tag.as_deref().unwrap_or_default());
    words(out, "rewritten", row.rewritten.iter().map(|row| row.new_pattern.as_str()));
    let share = |share: Option<f64>| share.map_or(String::new(), |s| format!("{:.1}%", 100.0 * s));
    let price = row.use_price.as_ref();
    word(out, "traffic-in-one-slot", &share(price.map(|price| price.one_slot)));
    word(out, "traffic-on-busiest-shard", &share(price.map(|price| price.busiest_shard)));
    word(out, "kind", row.kind.unwrap_or_default());
    words(out, "other-tags", row.other_tags.iter().map(|other| other.tag.as_str()));
}

/// SLOTWAY PROOF
pub(super) fn proof(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.bulk(json::json(&report(cx)).as_bytes());
    Ok(())
}

/// SLOTWAY TEST [id]: of all clients with the name of this one.
pub(super) fn test(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(Refusal::SYNTAX);
    }
    let name = args.get(2).unwrap_or_default();
    let client_name = cx.me.labels().name;
    cx.node.observer.recorder.begin_test(&client_name, name, &cx.node.clients, cx.now);
    out.ok();
    Ok(())
}

fn word(out: &mut Sink<'_>, name: &str, text: &str) {
    out.bulk(name.as_bytes());
    out.bulk(text.as_bytes());
}

fn field(out: &mut Sink<'_>, name: &str, number: u64) {
    out.bulk(name.as_bytes());
    out.int(number.cast_signed());
}

fn words<'t>(out: &mut Sink<'_>, name: &str, texts: impl ExactSizeIterator<Item = &'t str>) {
    out.bulk(name.as_bytes());
    out.array(texts.len());
    texts.for_each(|text| out.bulk(text.as_bytes()));
}

fn numbers(out: &mut Sink<'_>, name: &str, numbers: &[u64]) {
    out.bulk(name.as_bytes());
    out.array(numbers.len());
    numbers.iter().for_each(|number| out.int(number.cast_signed()));
}
