//! COMMAND DOCS beside that of the real servers: which commands are deprecated, since when, and which are
//! the server's own; the arguments of those whose arguments are shown. Texts are our own.

use std::collections::BTreeMap;

use crate::references::report_missing;
use crate::server_process::ServerProcess;
use crate::servers::{Product, Server};
use crate::wire::{Client, Reply, text};

#[test]
fn docs_agree_with_those_of_the_servers() {
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (product, dialect) in [
        (Product::Redis7, "redis7"),
        (Product::Redis8, "redis8"),
        (Product::Redis810, "redis8.10"),
        (Product::Valkey9, "valkey9"),
    ] {
        let reference = match Server::start(product, &[]) {
            Ok(server) => server,
            Err(missing) => {
                report_missing(&missing);
                continue;
            }
        };
        let server = ServerProcess::start(&["--dialect".to_owned(), dialect.to_owned()]);
        let (ours, theirs) = (docs(&mut server.client()), docs(&mut reference.client()));
        for (name, fields) in ours.iter().filter(|(name, _)| !name.starts_with("slotway")) {
            let Some(their_fields) = theirs.get(name) else {
                wrong.push(format!("{dialect} {name}: is not there"));
                continue;
            };
            for field in ["since", "group", "doc_flags", "deprecated_since"] {
                // The table has the version of Redis that brought a command, and the test `table`
                // compares it with Redis 7.0; newer servers count otherwise.
                let is_other = field == "since" && product != Product::Redis7;
                if fields.get(field) != their_fields.get(field) && !is_other {
                    let both = (fields.get(field), their_fields.get(field));
                    wrong.push(format!("{dialect} {name}: {field} {both:?}"));
                }
            }
            if fields.contains_key("replaced_by") != their_fields.contains_key("replaced_by") {
                wrong.push(format!("{dialect} {name}: replaced_by"));
            }
            if let Some(arguments) = fields.get("arguments") {
                compared += 1;
                let theirs = their_fields.get("arguments").map(without_display);
                if theirs.as_ref() != Some(arguments) {
                    wrong.push(format!("{dialect} {name}: arguments {arguments:?}, {theirs:?}"));
                }
            }
            for field in ["summary", "complexity"] {
                if !fields.contains_key(field) {
                    wrong.push(format!("{dialect} {name}: no {field}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared == 0 || compared > 100, "arguments were compared: {compared}");
}

type Fields = BTreeMap<String, Reply>;

/// The fields of every command, subcommands included.
fn docs(client: &mut Client) -> BTreeMap<String, Fields> {
    let mut all = BTreeMap::new();
    collect(&client.ask(&["COMMAND", "DOCS"]), &mut all);
    all
}

fn collect(docs: &Reply, all: &mut BTreeMap<String, Fields>) {
    for (name, fields) in pairs(docs) {
        let fields: Fields = pairs(fields).map(|(name, value)| (name, value.clone())).collect();
        if let Some(subcommands) = fields.get("subcommands") {
            collect(subcommands, all);
        }
        all.insert(name, fields);
    }
}

/// The names and values of a map, which is an array in RESP2.
fn pairs(map: &Reply) -> impl Iterator<Item = (String, &Reply)> {
    let Reply::Array(elements) = map else { panic!("a map: {map:?}") };
    elements.chunks(2).map(|pair| match &pair[0] {
        Reply::Bulk(name) => (text(name), &pair[1]),
        other => panic!("a name: {other:?}"),
    })
}

/// Arguments without the names for people that servers show since Redis 7.2.
fn without_display(arguments: &Reply) -> Reply {
    let Reply::Array(arguments) = arguments else { panic!("arguments: {arguments:?}") };
    let without = |argument: &Reply| {
        let Reply::Array(fields) = argument else { panic!("an argument: {argument:?}") };
        let kept = fields.chunks(2).filter(|pair| pair[0] != Reply::Bulk(b"display_text".to_vec()));
        Reply::Array(kept.flatten().cloned().collect())
    };
    Reply::Array(arguments.iter().map(without).collect())
}
