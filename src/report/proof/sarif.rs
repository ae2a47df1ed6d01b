//! The report as SARIF 2.1.0: a rule per rule, a result per kind of violation.

use super::Report;
use super::rows::ViolationRow;
use crate::ledger::rule::ROWS;
use crate::text::display::plural;
use serde_json::{Value, json};

/// The report.
#[must_use]
pub(crate) fn sarif(report: &Report) -> String {
    let rules: Vec<Value> = ROWS
        .iter()
        .map(|row| {
            json!({
                "id": row.name,
                "shortDescription": { "text": row.title },
                "fullDescription": { "text": row.why },
                "help": { "text": format!("{}\n\n{}\n\n{}", row.why, row.example, row.way_out) },
                "defaultConfiguration": { "level": row.weight.name() },
            })
        })
        .collect();
    let results: Vec<Value> =
        report.violations.iter().map(|violation| result(report, violation)).collect();
    let troubles = report.sources.iter().filter_map(|source| {
        let trouble = source.trouble.as_ref()?;
        let text = format!("{}: {}: {}", source.name, trouble.at, trouble.why);
        Some(json!({ "level": "error", "message": { "text": text } }))
    });
    let gaps = report.gaps.iter().map(
        |gap| json!({ "level": "error", "message": { "text": format!("not proven: {gap}") } }),
    );
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "slotway",
                "version": report.version,
                "rules": rules,
            }},
            "invocations": [{
                "executionSuccessful": report.is_whole() && report.gaps.is_empty(),
                "toolExecutionNotifications": troubles.chain(gaps).collect::<Vec<_>>(),
            }],
            "results": results,
        }],
    });
    document.to_string()
}

fn result(report: &Report, violation: &ViolationRow) -> Value {
    let mut text = format!("{} ({})", violation.title, plural(violation.count, "time"));
    if !violation.command.is_empty() {
        text.push_str(&format!(": {}", violation.command));
    }
    if !violation.patterns.is_empty() {
        text.push_str(&format!(": {}", violation.patterns.join(", ")));
    }
    if let Some(advice) = &violation.advice {
        text.push_str(&format!(". {advice}"));
    }
    if let Some(tag) = report.tag_for(violation) {
        text.push_str(&format!(". A common hashtag would fix it: {tag}"));
    }
    // Only text files have lines, and an example does not name its file.
    let line = violation.examples.iter().find_map(|example| example.line);
    let locations: Vec<Value> = match (line, &report.sources[..]) {
        (Some(line), [source]) if source.name != "stdin" => vec![json!({
            "physicalLocation": {
                "artifactLocation": { "uri": source.name },
                "region": { "startLine": line },
            }
        })],
        _ => Vec::new(),
    };
    let mut result = json!({
        "ruleId": violation.rule,
        "level": violation.weight,
        "message": { "text": text },
        "occurrenceCount": violation.count,
        "locations": locations,
        "partialFingerprints": {
            "slotway/1": format!("{} {} {}", violation.rule, violation.command, violation.patterns.join(" ")),
        },
    });
    if let Some(baseline) = &report.baseline {
        result["baselineState"] = if violation.is_known { "unchanged" } else { "new" }.into();
        if violation.is_known {
            let why = format!("known: {}", baseline.file);
            result["suppressions"] = json!([{ "kind": "external", "justification": why }]);
        }
    }
    result
}
