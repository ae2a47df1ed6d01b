//! Which file of a folder calls which, read from the sources; and the circles among them.
//!
//! A folder has a module file (`mod.rs`, or `x.rs` beside `x/`) and children, each a file or a folder
//! of its own. Child A depends on child B if it imports or names an item of B, calls one of its
//! functions, or calls a method whose only definition for that type is in B: `self.hold()` in one of
//! five files with an `impl Router`. Types in the module file are common ground: a child may use them,
//! and the module file may name its children's types. Between the module file and a child just calls
//! count.
//!
//! A circle that is reported must be one, so in doubt there is no dependence: the type of a receiver is
//! derived from `self`, parameters, fields, signatures and plain patterns. Where it stays unknown, a
//! method counts if its name is defined once in all sources and is not like one of std's.

mod definitions;
mod reader;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use syn::visit::Visit as _;

pub(crate) use definitions::{attributes, count_functions, is_test};

use definitions::Folder;
use reader::Reader;

/// A source file of a folder.
pub(crate) struct Source {
    /// Below `src`, for messages.
    pub(crate) path: String,
    /// The child that it belongs to; `None` for the module file.
    pub(crate) child: Option<String>,
    /// How many modules it is below the folder: 0 for the module file, 1 for a child's own file.
    pub(crate) depth: usize,
    pub(crate) text: String,
}

/// A line that makes one file depend on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Evidence {
    pub(crate) path: String,
    pub(crate) line: usize,
    /// The line itself.
    pub(crate) text: String,
}

/// Files that depend on each other in a circle: each on the next, the last on the first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circle {
    pub(crate) edges: Vec<Edge>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) evidence: Vec<Evidence>,
}

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files: Vec<_> = self.edges.iter().map(|edge| edge.from.as_str()).collect();
        write!(f, "{} → {}", files.join(" → "), files[0])
    }
}

/// The circles, then each of their edges once with the lines that make it.
pub(crate) fn report(circles: &[Circle]) -> String {
    let mut report = String::new();
    for circle in circles {
        let _ = writeln!(report, "{circle}");
    }
    let edges: BTreeSet<&Edge> = circles.iter().flat_map(|circle| &circle.edges).collect();
    for Edge { from, to, evidence } in edges {
        let _ = writeln!(report, "    {from} → {to}");
        for Evidence { path, line, text } in evidence {
            let _ = writeln!(report, "        {path}:{line}: {text}");
        }
    }
    report
}

/// The node of the module file.
const MODULE: &str = "mod";

/// The circles in a folder: for each edge that is part of one, a shortest circle through it. `folder` is
/// its path in the crate (`command::zset`), `names` has how often each function name is defined in all
/// sources.
pub(crate) fn circles(
    folder: &str,
    sources: &[Source],
    names: &HashMap<String, usize>,
) -> Vec<Circle> {
    let edges = edges(folder, sources, names);
    let mut found: BTreeMap<Vec<&str>, Circle> = BTreeMap::new();
    for (from, to) in edges.keys() {
        let Some(mut way) = way(&edges, to, from) else { continue };
        // One circle has one beginning.
        let least = (0..way.len()).min_by_key(|&at| way[at]).unwrap_or_default();
        way.rotate_left(least);
        let pairs = way.iter().zip(way.iter().cycle().skip(1));
        let of_pair = |(from, to): (&&str, &&str)| Edge {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            evidence: edges[&((*from).to_owned(), (*to).to_owned())].iter().cloned().collect(),
        };
        let circle = Circle { edges: pairs.map(of_pair).collect() };
        found.entry(way).or_insert(circle);
    }
    let mut all: Vec<_> = found.into_values().collect();
    all.sort_by_key(|circle| circle.edges.len());
    all
}

type Edges = BTreeMap<(String, String), BTreeSet<Evidence>>;

/// A shortest way along the edges, with both ends.
fn way<'a>(edges: &'a Edges, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way[way.len() - 1];
            if last == to {
                return Some(way);
            }
            for (_, next) in edges.keys().filter(|(from, _)| from == last) {
                if seen.insert(next) {
                    longer.push([&way[..], &[next.as_str()]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

fn edges(folder: &str, sources: &[Source], names: &HashMap<String, usize>) -> Edges {
    let parsed: Vec<_> = sources
        .iter()
        .map(|source| {
            let syntax = syn::parse_file(&source.text);
            (source, syntax.unwrap_or_else(|error| panic!("{}: {error}", source.path)))
        })
        .collect();
    let mut folder = Folder::new(folder, names);
    for (source, syntax) in &parsed {
        folder.declare(source, syntax);
    }
    for (source, syntax) in &parsed {
        folder.describe(source, syntax);
    }
    let mut edges = Edges::new();
    for (source, syntax) in &parsed {
        Reader::new(&folder, source, &mut edges).visit_file(syntax);
    }
    edges
}

#[cfg(test)]
mod tests;
