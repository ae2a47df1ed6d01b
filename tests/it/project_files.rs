//! The files of the project that tests read, and those that they write with `UPDATE=1`.

use std::path::{Path, PathBuf};

use crate::env::setting;

/// A path below the project's folder.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Whether the tests shall write what they otherwise compare: `UPDATE=1` in the environment.
pub(crate) fn is_update() -> bool {
    setting("UPDATE").is_some()
}

/// Asserts that a generated file has these contents; with `UPDATE=1`, writes them.
///
/// # Panics
/// The file is stale: `UPDATE=1 cargo test --test it {test}` writes it anew.
pub(crate) fn assert_fresh(name: &str, contents: &str, test: &str) {
    let path = path(name);
    if is_update() {
        return std::fs::write(path, contents).expect("the project's files are writable");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let stale = written.lines().zip(contents.lines()).find(|(written, fresh)| written != fresh);
    assert!(
        written == contents,
        "{name} is stale, at {stale:?}: run UPDATE=1 cargo test --test it {test}"
    );
}

/// The sources, each by its path below `src`; files of tests alone are left out.
pub(crate) fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") && !stem.ends_with("tests") {
                into.push(path);
            }
        }
    }
    let src = path("src");
    let mut all = Vec::new();
    walk(&src, &mut all);
    all.sort();
    let read = |file: &PathBuf| {
        let inside = file.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        (inside, std::fs::read_to_string(file).expect("a source file"))
    };
    all.iter().map(read).collect()
}
