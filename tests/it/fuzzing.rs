//! The property that the fuzz target checks on any input, checked here on the inputs in `fuzz/seeds`;
//! and the freshness of the fuzzer's dictionary (`UPDATE=1 cargo test --test it fuzzing` writes it anew).

use crate::conversation::converse;

/// Runs a conversation in one piece and in two: no panic, and the same replies. The first byte of
/// `input` says where the rest is cut.
pub(crate) fn check(input: &[u8]) {
    let Some((&cut, bytes)) = input.split_first() else { return };
    let (front, back) = bytes.split_at(usize::from(cut) * bytes.len() / 256);
    let (whole, halves) = (converse(&[bytes]), converse(&[front, back]));
    if !counts_reads(bytes) {
        assert_eq!(whole.escape_ascii().to_string(), halves.escape_ascii().to_string());
    }
}

/// Whether the conversation may query counters: INFO, CLIENT INFO and CLIENT LIST count reads, which
/// depend on where the bytes are cut.
fn counts_reads(bytes: &[u8]) -> bool {
    [&b"info"[..], b"list"]
        .iter()
        .any(|&word| bytes.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::project_files::{assert_fresh, path};
    use slotway::internals::command;
    use std::collections::BTreeSet;

    #[test]
    fn every_seed_holds() {
        let seeds = std::fs::read_dir(path("fuzz/seeds")).expect("fuzz/seeds is there");
        let seeds: Vec<_> = seeds.map(|seed| seed.expect("a file").path()).collect();
        assert!(seeds.len() >= 10, "the seeds were not found");
        for seed in seeds {
            crate::env::say(&seed.display().to_string());
            check(&std::fs::read(seed).expect("a seed can be read"));
        }
    }

    #[test]
    fn the_dictionary_is_fresh() {
        let names = command::all()
            .flat_map(|spec| [spec.parent, spec.name])
            .filter(|name| !name.is_empty());
        let names: BTreeSet<_> = names.map(|name| format!("\"{name}\"\n")).collect();
        let fresh = names.into_iter().collect::<String>();
        assert_fresh("fuzz/commands.dict", &fresh, "fuzzing");
    }
}
