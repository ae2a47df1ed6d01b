//! Paths beside an evaluator that is as plain as can be, and hostile paths.

use super::*;
use crate::command::Immediate;
use crate::keyspace::{Json, KeyHasher};
use proptest::prelude::*;
use serde_json::Value;

fn document(text: &str) -> Json {
    Json::parse_whole(text, &KeyHasher::new(1)).expect("it is JSON")
}

/// The values that a path matches, as text.
fn matches(json: &Json, path: &str) -> Result<Vec<String>, String> {
    let error =
        |refusal: crate::command::Refusal| String::from_utf8_lossy(refusal.text()).into_owned();
    let path = PathText::new(path).compile().map_err(error)?;
    let found = Walk::new(json.view(), &Immediate(0)).places(&path).map_err(error)?;
    for found in found.iter().filter(|found| found.place.iter().all(|at| at & BY_NAME == 0)) {
        let there = json.view().at(&found.place).expect("a place leads to its value");
        assert!(there == found.value);
    }
    Ok(found.iter().map(|f| String::from_utf8_lossy(&f.value.to_text()).into_owned()).collect())
}

/// A step of a path, in the naive evaluator.
#[derive(Clone, Debug)]
enum Naive {
    Name(String),
    Index(i64),
    Range(Option<i64>, Option<i64>, Option<usize>),
    All,
    Below(Box<Naive>),
    Greater(i64),
}

impl Naive {
    fn text(&self) -> String {
        let number = |n: &Option<i64>| n.map(|n| n.to_string()).unwrap_or_default();
        match self {
            Self::Name(name) => format!("[\"{name}\"]"),
            Self::Index(at) => format!("[{at}]"),
            Self::Range(from, to, step) => {
                let step = step.map(|step| format!(":{step}")).unwrap_or_default();
                format!("[{}:{}{step}]", number(from), number(to))
            }
            Self::All => "[*]".to_owned(),
            Self::Below(step) => format!("..{}", step.text()),
            Self::Greater(than) => format!("[?(@>{than})]"),
        }
    }

    fn children(value: &Value) -> Vec<&Value> {
        match value {
            Value::Array(all) => all.iter().collect(),
            Value::Object(all) => all.values().collect(),
            _ => Vec::new(),
        }
    }

    fn on<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let position = |at: i64, len: usize| match at {
            0.. => usize::try_from(at).expect("it fits").min(len),
            _ => usize::try_from(at + len as i64).unwrap_or(0),
        };
        match self {
            Self::Name(name) => {
                value.as_object().and_then(|all| all.get(name)).into_iter().collect()
            }
            Self::Index(at) => {
                let all = value.as_array();
                all.and_then(|all| all.get(position(*at, all.len()))).into_iter().collect()
            }
            Self::Range(from, to, step) => {
                let Some(all) = value.as_array() else { return Vec::new() };
                let from = from.map_or(0, |at| position(at, all.len()));
                let to = to.map_or(all.len(), |at| position(at, all.len()));
                (from..to).step_by(step.unwrap_or(1)).map(|at| &all[at]).collect()
            }
            Self::All => Self::children(value),
            Self::Below(step) => {
                let mut found = step.on(value);
                for child in Self::children(value) {
                    found.extend(self.on(child));
                }
                found
            }
            Self::Greater(than) => {
                // A scalar is tested itself.
                let is_container = value.is_array() || value.is_object();
                let all = if is_container { Self::children(value) } else { vec![value] };
                let is_greater = |it: &Value| it.as_i64().is_some_and(|int| int > *than);
                all.into_iter().filter(|it| is_greater(it)).collect()
            }
        }
    }
}

fn step() -> impl Strategy<Value = Naive> {
    let number = || prop::option::of(-5_i64..6);
    let single = prop_oneof![
        "[abc]".prop_map(Naive::Name),
        (-5_i64..6).prop_map(Naive::Index),
        (number(), number(), prop::option::of(1_usize..4))
            .prop_map(|(from, to, step)| Naive::Range(from, to, step)),
        Just(Naive::All),
        (-5_i64..6).prop_map(Naive::Greater),
    ];
    single.prop_flat_map(|single| {
        let below = Naive::Below(Box::new(single.clone()));
        prop_oneof![3 => Just(single), 1 => Just(below)]
    })
}

fn value() -> impl Strategy<Value = Value> {
    (-5_i64..6).prop_map(Value::from).prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn paths_match_what_a_naive_evaluator_matches(
        value in value(),
        steps in prop::collection::vec(step(), 0..4),
    ) {
        let path: String =
            std::iter::once("$".to_owned()).chain(steps.iter().map(Naive::text)).collect();
        let mut expected = vec![&value];
        for step in &steps {
            expected = expected.into_iter().flat_map(|value| step.on(value)).collect();
        }
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        // The order within a descent differs: it is compared with the server's.
        let (mut found, mut expected) = (matches(&document(&value.to_string()), &path).expect(&path), expected);
        if path.contains("..") {
            found.sort();
            expected.sort();
        }
        prop_assert_eq!(found, expected, "{} on {}", path, value);
    }

    #[test]
    fn any_text_is_a_path_or_an_error(text in "[$.\\[\\]?()@*:,'\"\\\\a-c0-2<>=!~&| -]{0,40}") {
        let json = document(r#"{"a":[1,{"b":2}],"c":"x"}"#);
        let _any = matches(&json, &text);
        let _any = matches(&json, &format!("$[?({text})]"));
    }

    #[test]
    fn any_unicode_is_a_path_or_an_error(text in any::<String>()) {
        let _any = matches(&document("[1]"), &text);
    }
}

#[test]
fn hostile_paths_end_in_an_error() {
    let json = document(r#"{"a":[1,2]}"#);
    let nested =
        |open: &str, close: &str, n: usize| format!("$[?{}@.a{}]", open.repeat(n), close.repeat(n));
    assert!(matches(&json, &nested("(", ")", 100)).is_ok());
    for path in [
        nested("(", ")", 100_000),
        nested("(", "", 100_000),
        format!("${}", "[?@".repeat(100_000)),
        format!("$[?{}]", "@[?".repeat(100_000)),
    ] {
        let error = matches(&json, &path).expect_err("it is nested too deep");
        assert!(error.contains("nested too deep"), "{error:.100}");
    }
    assert_eq!(matches(&json, &format!("${}", ".a".repeat(100_000))), Ok(vec![]));
    assert_eq!(matches(&json, &format!("${}", "..a".repeat(100_000))), Ok(vec![]));
    assert_eq!(
        matches(&json, &format!("$.a[{}0]", "0,".repeat(100_000))).map(|m| m.len()),
        Ok(100_001)
    );
    assert!(matches(&json, &format!("$.a[{}", "0,".repeat(100_000))).is_err());
    assert!(matches(&json, &"[".repeat(100_000)).is_err());
    assert!(matches(&json, &format!("$[{}", "?1".repeat(100_000))).is_err());
    assert_eq!(matches(&json, "$.a[-9223372036854775808]"), Ok(vec!["1".to_owned()]));
    assert_eq!(matches(&json, "$.a[99999999999999999999]"), Ok(vec![]));
    assert_eq!(
        matches(&json, "$.a[0:99999999999999999999:99999999999999999999]").map(|m| m.len()),
        Ok(1)
    );
}

/// What would match the same values again and again, without end as far as anyone waits.
#[test]
fn paths_that_explode_are_bounded() {
    let deep = document(&format!("{}1{}", "[".repeat(100), "]".repeat(100)));
    assert_eq!(matches(&deep, "$..[?($..[?(@>0)])]"), Ok(vec![]));
    let error = matches(&deep, &format!("${}", "..*".repeat(12))).expect_err("it explodes");
    assert!(error.contains("too many values"), "{error}");
    let error = matches(&deep, &format!("${}.zz", "..*".repeat(12))).expect_err("it explodes");
    assert!(error.contains("too many values"), "{error}");
    let filters = "$..[?($..[?($..[?($..[?($..[?(@>1)])])])])]";
    let error = matches(&deep, filters).expect_err("each filter begins at the root");
    assert!(error.contains("too many values"), "{error}");
}
