//! The compile-time check of rows.

use super::{Begin, Find, Run, Secret, Spec, access, flag};
use crate::command::NAME_LEN_MAX;

/// Rejects malformed rows at compile time: used as `const _: () = check(ROWS);`.
///
/// # Panics
/// If a row is malformed, which stops the build.
pub(in crate::command) const fn check(rows: &[Spec]) {
    check_below(rows, "", 0);
}

/// `depth` is how many words of the request come before a row's own: 0 for commands.
const fn check_below(rows: &[Spec], parent: &str, depth: usize) {
    let mut i = 0;
    while i < rows.len() {
        let row = &rows[i];
        assert!(!row.name.is_empty(), "a row has a name");
        assert!(same(row.parent, parent), "a subcommand names its container");
        assert!(row.name.len() <= NAME_LEN_MAX, "a name fits the look-up buffer");
        let mut c = 0;
        while c < row.name.len() {
            assert!(!row.name.as_bytes()[c].is_ascii_uppercase(), "names are lower case");
            c += 1;
        }
        assert!(!row.summary.is_empty(), "a row has a summary");
        assert!(row.arity.least() > depth, "the arity counts the name");
        assert!(
            !(matches!(row.run, Run::Container) && row.subcommands.is_empty()),
            "a row has a function or subcommands"
        );
        let mut k = 0;
        while k < row.keys.len() {
            if let Begin::Index(first) = row.keys[k].begin {
                assert!(first as usize > depth, "a key is not the command's name");
                if let Find::Range { last, .. } = row.keys[k].find {
                    // The position of a shard channel is looked up only after the arity was
                    // checked. The further keys of PFMERGE may be missing.
                    assert!(
                        (first as usize) < row.arity.least()
                            || row.keys[k].access & access::NOT_KEY != 0
                            // Modules count their arguments themselves.
                            || row.has(flag::MODULE)
                            || (k > 0 && last < 0),
                        "the first key is within the arity"
                    );
                }
            }
            let (Find::Range { step, .. } | Find::Count { step, .. }) = row.keys[k].find;
            assert!(step > 0, "keys are apart");
            k += 1;
        }
        let mut s = 0;
        while s < row.secrets.len() {
            if let Secret::After { step, count, .. } = row.secrets[s] {
                assert!(step > 0 && count > 0, "a word hides arguments");
            }
            s += 1;
        }
        let mut j = 0;
        while j < i {
            assert!(!same(rows[j].name, row.name), "a name occurs once");
            j += 1;
        }
        check_below(row.subcommands, row.name, depth + 1);
        i += 1;
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
