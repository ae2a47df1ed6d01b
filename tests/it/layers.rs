//! The modules of `src/lib.rs` are in the order of dependence: each may use only those above it. A few
//! names belong to one file only: the CRC, the command line parser, the clock.

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(of: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(of).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The module that a file of `src` belongs to: the first component of its path.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(source()).expect("below src");
    let first =
        inside.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
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
    let lib = fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| {
            line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';')
        })
        .collect();
    assert!(order.len() > 8, "the list of modules was read: {order:?}");
    let rank = |module: &str| order.iter().position(|m| *m == module);
    let (mut all, mut wrong, mut uses) = (Vec::new(), Vec::new(), 0);
    files(&source(), &mut all);
    for path in all {
        let module = module_of(&path);
        if module == "lib" || module == "main" {
            continue;
        }
        let own = rank(&module).unwrap_or_else(|| panic!("{module} stands in lib.rs"));
        for name in used(&fs::read_to_string(&path).expect("a source file")) {
            let Some(other) = rank(&name) else { continue };
            uses += 1;
            if other > own {
                wrong.push(format!("{} uses {name}, which stands below {module}", path.display()));
            }
        }
    }
    assert!(uses > 50, "uses were found: {uses}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_names_are_used_in_one_place_only() {
    let mut all = Vec::new();
    files(&source(), &mut all);
    for (name, home) in
        [("crc16::", "slot.rs"), ("clap::", "cli"), ("SystemTime::now(", "server/clock.rs")]
    {
        for path in &all {
            let text = fs::read_to_string(path).expect("a source file");
            let inside = path.strip_prefix(source()).expect("below src");
            let at_home = inside.starts_with(home) || home.is_empty();
            assert!(at_home || !text.contains(name), "{} names {name}", path.display());
        }
    }
}
