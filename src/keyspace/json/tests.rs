//! Documents beside a plain model: the same text after any changes, packed or not.

use super::*;
use crate::keyspace::table::KeyHasher;
use proptest::collection::vec;
use proptest::prelude::*;

/// A value as plainly as can be.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Scalar(String),
    Array(Vec<Model>),
    Object(Vec<(String, Model)>),
}

impl Model {
    fn text(&self) -> String {
        match self {
            Self::Scalar(text) => text.clone(),
            Self::Array(all) => {
                format!("[{}]", all.iter().map(Self::text).collect::<Vec<_>>().join(","))
            }
            Self::Object(all) => {
                let each = all.iter().map(|(key, value)| format!("\"{key}\":{}", value.text()));
                format!("{{{}}}", each.collect::<Vec<_>>().join(","))
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Scalar(_) => 0,
            Self::Array(all) => all.len(),
            Self::Object(all) => all.len(),
        }
    }

    fn child(&mut self, at: usize) -> &mut Self {
        match self {
            Self::Scalar(_) => panic!("a scalar has no children"),
            Self::Array(all) => &mut all[at],
            Self::Object(all) => &mut all[at].1,
        }
    }
}

fn scalar() -> impl Strategy<Value = Model> {
    prop_oneof![
        4 => any::<i64>().prop_map(|int| int.to_string()),
        4 => (-300_i64..300).prop_map(|int| int.to_string()),
        1 => any::<u64>().prop_map(|int| int.to_string()),
        1 => Just("null".to_owned()),
        1 => any::<bool>().prop_map(|value| value.to_string()),
        1 => Just("1.5".to_owned()),
        3 => "[a-z]{0,12}".prop_map(|text| format!("\"{text}\"")),
        1 => (0_usize..6000).prop_map(|len| format!("\"{}\"", "x".repeat(len))),
    ]
    .prop_map(Model::Scalar)
}

fn value() -> impl Strategy<Value = Model> {
    scalar().prop_recursive(4, 400, 60, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..60).prop_map(Model::Array),
            vec(("[a-c]{0,3}", inner), 0..60).prop_map(|members| {
                let mut all: Vec<(String, Model)> = Vec::new();
                for (key, value) in members {
                    if all.iter().all(|(known, _)| *known != key) {
                        all.push((key, value));
                    }
                }
                Model::Object(all)
            }),
        ]
    })
}

#[derive(Clone, Debug)]
enum Change {
    Replace(Model),
    Insert(usize, Vec<Model>),
    Keep(usize, usize),
    Remove(usize),
    Put(String, Model),
}

fn changes() -> impl Strategy<Value = Vec<(Vec<usize>, Change)>> {
    let change = prop_oneof![
        value().prop_map(Change::Replace),
        (any::<usize>(), vec(value(), 0..4)).prop_map(|(at, all)| Change::Insert(at, all)),
        (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Change::Keep(from, to)),
        any::<usize>().prop_map(Change::Remove),
        ("[a-d]{0,3}", value()).prop_map(|(key, value)| Change::Put(key, value)),
    ];
    vec((vec(any::<usize>(), 0..4), change), 0..12)
}

fn text_of(value: Ref<'_>) -> String {
    String::from_utf8(value.to_text()).expect("a text is UTF-8")
}

fn hasher() -> KeyHasher {
    KeyHasher::new(7)
}

fn json(model: &Model) -> Json {
    Json::parse_whole(&model.text(), &hasher()).expect("the model prints JSON")
}

/// Changes a value of both in the same way, if it is of the kind for this.
fn change(model: &mut Model, json: &mut Json, change: &Change) {
    match (change, &mut *model) {
        (Change::Replace(new), _) => {
            *json = self::json(new);
            *model = new.clone();
        }
        (Change::Insert(at, new), Model::Array(all)) => {
            let at = at % (all.len() + 1);
            json.insert(at, new.iter().map(self::json).collect(), &hasher());
            all.splice(at..at, new.iter().cloned());
        }
        (Change::Keep(from, to), Model::Array(all)) => {
            let from = from % (all.len() + 1);
            let to = from + to % (all.len() - from + 1);
            json.keep(from..to);
            *all = all[from..to].to_vec();
        }
        (Change::Remove(at), Model::Array(all)) if !all.is_empty() => {
            let at = at % all.len();
            json.remove(at);
            all.remove(at);
        }
        (Change::Remove(at), Model::Object(all)) if !all.is_empty() => {
            let at = at % all.len();
            json.remove(at);
            all.swap_remove(at);
        }
        (Change::Put(key, new), Model::Object(all)) => {
            json.put(key.as_bytes(), self::json(new), &hasher());
            match all.iter_mut().find(|(known, _)| known == key) {
                Some((_, value)) => *value = new.clone(),
                None => all.push((key.clone(), new.clone())),
            }
        }
        _ => {}
    }
}

/// Everything that can be read of a value agrees with the model.
fn check(value: Ref<'_>, model: &Model) {
    let count = match value.kind() {
        Kind::Scalar(_) => 0,
        Kind::Array(len) | Kind::Object(len) => len,
    };
    assert_eq!(count, model.len());
    assert_eq!(value.children().count(), model.len());
    match model {
        Model::Scalar(_) => {}
        Model::Array(all) => {
            for (at, (its, (key, child))) in all.iter().zip(value.children()).enumerate() {
                assert!(key.is_none());
                assert_eq!(text_of(child), its.text());
                let by_position = value.child(at).expect("it is there");
                assert!(by_position == child);
                check(child, its);
            }
        }
        Model::Object(all) => {
            for (at, (key, its)) in all.iter().enumerate() {
                let (found, child) = value.member(key.as_bytes()).expect("it is there");
                assert_eq!(found, at);
                assert!(value.child(at).expect("it is there") == child);
                check(child, its);
            }
            assert!(value.member(b"nosuch").is_none());
        }
    }
    assert!(value.child(count).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_document_is_what_its_changes_make_it(start in value(), changes in changes()) {
        let (mut model, mut json) = (start.clone(), json(&start));
        prop_assert_eq!(text_of(json.view()), model.text());
        for (place, what) in &changes {
            let (mut at, mut inner) = (Vec::new(), &mut model);
            for step in place {
                if inner.len() == 0 {
                    break;
                }
                let step = step % inner.len();
                at.push(step as u32);
                inner = inner.child(step);
            }
            json.update(&at, &hasher(), &mut |value| change(inner, value, what));
            prop_assert_eq!(text_of(json.view()), model.text());
        }
        check(json.view(), &model);
        prop_assert!(json.view() == self::json(&model).view(), "it equals what is read anew");
    }

    #[test]
    fn any_bytes_are_read_or_refused(text in "[\\[\\]{}:,\"\\\\a-c0-9.eE\\-+ ntrufals]{0,60}") {
        if let Ok(json) = Json::parse(&text, &hasher()) {
            let printed = String::from_utf8(json.view().to_text()).expect("it is UTF-8");
            let again = Json::parse_whole(&printed, &hasher()).expect("what is printed is read");
            prop_assert_eq!(text_of(again.view()), printed);
        }
    }

    /// Scalars of any kind come back, whatever their bytes.
    #[test]
    fn strings_and_floats_come_back(text in any::<String>(), float in any::<f64>()) {
        let string = Json::scalar(Scalar::String(text.as_bytes()));
        let printed = String::from_utf8(string.view().to_text()).expect("it is UTF-8");
        let read: String = serde_json::from_str(&printed).expect("it is a JSON string");
        prop_assert_eq!(read, text);
        if float.is_finite() {
            let json = Json::scalar(Scalar::Number(Number::Float(float)));
            let printed = String::from_utf8(json.view().to_text()).expect("it is UTF-8");
            prop_assert_eq!(printed.parse::<f64>().expect("a number"), float);
        }
    }
}

/// Members by the thousand, and elements: what is appended, found and removed again.
#[test]
fn large_documents_grow_and_shrink() {
    let hasher = hasher();
    let mut object = Json::empty_object();
    let mut array = Json::empty_array();
    for n in 0..20_000 {
        let value = || Json::scalar(Scalar::Number(Number::Int(n)));
        object.put(format!("key{n}").as_bytes(), value(), &hasher);
        array.insert(n as usize, vec![value()], &hasher);
    }
    assert!(matches!(array.view().kind(), Kind::Array(20_000)));
    assert!(array.memory() < 20_000 * 6, "elements of a long array take {}", array.memory());
    assert!(object.memory() < 20_000 * 40, "members of a long object take {}", object.memory());
    for n in [0, 1, 9_999, 19_999] {
        assert_eq!(text_of(array.view().child(n).expect("an element")), n.to_string());
        let (_, member) = object.view().member(format!("key{n}").as_bytes()).expect("a member");
        assert_eq!(text_of(member), n.to_string());
    }
    assert!(object.is_slow_to_free() && !array.is_slow_to_free());
    for _ in 0..20_000 {
        object.remove(0);
        array.remove(0);
    }
    assert_eq!((object.view().to_text(), array.view().to_text()), (b"{}".into(), b"[]".into()));
}

#[test]
fn keys_that_occur_twice_keep_their_place_and_their_last_value() {
    for (text, expected) in [
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
        (r#"{"a":{"x":1,"x":2},"b":[{"y":1,"y":[2]}]}"#, r#"{"a":{"x":2},"b":[{"y":[2]}]}"#),
    ] {
        let json = Json::parse(text, &hasher()).expect("it is JSON");
        assert_eq!(text_of(json.view()), expected);
    }
    let many: Vec<String> = (0..40).chain(0..40).map(|n| format!("\"k{n}\":{n}")).collect();
    let json = Json::parse(&format!("{{{}}}", many.join(",")), &hasher()).expect("it is JSON");
    assert!(matches!(json.view().kind(), Kind::Object(40)));
}

#[test]
fn a_number_takes_one_to_nine_bytes() {
    for (text, len) in [
        ("0", 1),
        ("63", 1),
        ("64", 2),
        ("-1", 2),
        ("128", 3),
        ("-32769", 5),
        ("2147483648", 9),
        ("18446744073709551615", 9),
        ("0.5", 9),
        ("null", 1),
        ("\"four\"", 5),
    ] {
        let json = Json::parse(text, &hasher()).expect("it is JSON");
        assert_eq!(json.view().memory(), len, "{text}");
    }
}
