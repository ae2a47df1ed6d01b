//! The modules of `src/lib.rs` are in the order of dependence: each may use only those above it. Inside
//! folders, files do not call each other in circles. A few names belong to one file only: the CRC, the
//! command line parser, the clock.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::env::setting;
use crate::project_files;
use crate::source_graph::{Source, circles, count_functions, report};

/// The module that a file of `src` belongs to: the first component of its path.
fn module_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// The modules that follow `crate::` in `text`: one name, or several in braces.
fn used(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let word = |s: &str| {
            s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        };
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = &list[..list.find('}').unwrap_or(list.len())];
                found.extend(list.split(',').map(|item| word(item.trim())));
            }
            None => found.push(word(rest)),
        }
    }
    found
}

#[test]
fn a_module_uses_only_those_above_it() {
    let all = project_files::sources();
    let (_, lib) = all.iter().find(|(path, _)| path == "lib.rs").expect("lib.rs");
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| {
            line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';')
        })
        .collect();
    assert!(order.len() > 8, "the list of modules was read: {order:?}");
    let rank = |module: &str| order.iter().position(|m| *m == module);
    let (mut wrong, mut uses) = (Vec::new(), 0);
    for (path, text) in &all {
        let module = module_of(path);
        if module == "lib" || module == "main" {
            continue;
        }
        let own = rank(module).unwrap_or_else(|| panic!("{module} is not in lib.rs"));
        for name in used(text) {
            let Some(other) = rank(&name) else { continue };
            uses += 1;
            if other > own {
                wrong.push(format!("src/{path} uses {name}, which is below {module}"));
            }
        }
    }
    assert!(uses > 50, "uses were found: {uses}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_names_are_used_in_one_place_only() {
    for (name, home) in
        [("crc16::", "slot/crc.rs"), ("clap::", "cli"), ("SystemTime::now(", "server/clock.rs")]
    {
        for (path, text) in project_files::sources() {
            let at_home = Path::new(&path).starts_with(home);
            assert!(at_home || !text.contains(name), "src/{path} names {name}");
        }
    }
}

/// One file says what a node replies for a slot that it does not serve.
#[test]
fn redirections_are_said_in_one_place() {
    for word in ["\"MOVED\"", "\"ASK\"", "\"TRYAGAIN "] {
        let says: Vec<String> = project_files::sources()
            .into_iter()
            .filter(|(path, _)| {
                ["router/", "session/", "shard/", "server/"].iter().any(|dir| path.starts_with(dir))
            })
            .filter(|(path, text)| !path.contains("test") && text.contains(word))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(says, ["router/redirect.rs"], "{word}");
    }
}

/// ARCHITECTURE.md names files that exist: the journeys of a request are the files that it passes.
#[test]
fn the_journeys_pass_files_that_exist() {
    let text = fs::read_to_string(project_files::path("docs/ARCHITECTURE.md")).expect("a document");
    let source = project_files::path("src");
    let is_of_path = |c: char| c.is_ascii_lowercase() || c == '_' || c == '/';
    let mut named = 0;
    for word in text.split(|c: char| !is_of_path(c)).filter(|word| word.contains('/')) {
        let Some((folder, file)) = word.trim_matches('/').split_once('/') else { continue };
        if !source.join(folder).is_dir() {
            continue;
        }
        let file = source.join(folder).join(file);
        assert!(file.is_dir() || file.with_extension("rs").is_file(), "{word} is no file of src");
        named += 1;
    }
    assert!(named > 30, "the journeys name files: {named}");
}

// ── inside folders ────────────────────────────────────────────────────────────────────────────────

/// Folders without circles among their files, by their paths in the crate.
const ONE_DIRECTION: &[&str] = &[
    "cli::bench",
    "cli::check",
    "cli::run",
    "command::cluster",
    "command::connection",
    "command::server",
    "command::slotway",
    "command::string",
    "faults",
    "state",
    "keyspace::hash",
    "keyspace::list",
    "keyspace::set",
    "keyspace::zset",
    "ledger",
    "text::number",
    "resp",
    "router",
    "server",
    "session",
    "state::settings",
    "shard",
];

/// `SLOTWAY_FOLDERS=keyspace,rdb` looks at other folders.
#[test]
fn files_of_a_folder_do_not_call_each_other_in_circles() {
    let all = project_files::sources();
    let mut names = HashMap::new();
    for (path, text) in &all {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        count_functions(&syntax, &mut names);
    }
    let others = setting("SLOTWAY_FOLDERS");
    let others = others.as_ref().map(|others| others.split(',').collect::<Vec<_>>());
    let mut wrong = String::new();
    for folder in others.as_deref().unwrap_or(ONE_DIRECTION) {
        let circles = circles(folder, &sources(folder, &all), &names);
        if !circles.is_empty() {
            wrong += &format!("\nsrc/{folder}\n{}", report(&circles));
        }
    }
    assert!(wrong.is_empty(), "files of a folder call each other in circles\n{wrong}");
}

/// The files of a folder: `folder` is its path in the crate.
fn sources(folder: &str, all: &[(String, String)]) -> Vec<Source> {
    let folder = folder.replace("::", "/");
    let mut found = Vec::new();
    for (path, text) in all {
        let inside = if *path == format!("{folder}.rs") {
            Some("")
        } else {
            path.strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/'))
        };
        let Some(inside) = inside else { continue };
        let mut steps: Vec<_> = Path::new(inside)
            .with_extension("")
            .iter()
            .map(|step| step.to_string_lossy().into_owned())
            .collect();
        if steps.last().is_some_and(|last| last == "mod") {
            steps.pop();
        }
        found.push(Source {
            path: path.clone(),
            child: steps.first().cloned(),
            depth: steps.len(),
            text: text.clone(),
        });
    }
    assert!(found.iter().any(|source| source.child.is_none()), "src/{folder} has no module file");
    assert!(found.len() > 1, "src/{folder} has no files");
    found
}
