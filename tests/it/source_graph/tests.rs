//! A rule that never fires, or fires at random, is worth nothing: the analysis on small folders.

use std::collections::HashMap;

use super::{Circle, Edge, MODULE, Source, circles, count_functions, report};

/// The circles of a folder of these files, each as `a b:2 c:1`: the files and the first line of each
/// dependence.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let text = |circle: &Circle| {
        let edge = |edge: &Edge| format!("{}:{}", edge.from, edge.evidence[0].line);
        circle.edges.iter().map(edge).collect::<Vec<_>>().join(" ")
    };
    all_circles(files).iter().map(text).collect()
}

fn all_circles(files: &[(&str, &str)]) -> Vec<Circle> {
    let mut names = HashMap::new();
    let source = |(name, text): &(&str, &str)| {
        count_functions(&syn::parse_file(text).expect(text), &mut names);
        Source {
            path: format!("{name}.rs"),
            child: (*name != MODULE).then(|| (*name).to_owned()),
            depth: usize::from(*name != MODULE),
            text: (*text).to_owned(),
        }
    };
    let sources: Vec<_> = files.iter().map(source).collect();
    circles("folder", &sources, &names)
}

const NONE: [&str; 0] = [];

#[test]
fn methods_of_one_type_in_several_files() {
    let module = "mod a; mod b;\npub struct T { n: u8 }\nimpl T { fn top(&self) { self.one() } }";
    let a = "use super::T;\nimpl T {\n    fn one(&self) { self.two() }\n}";
    let b = "use super::T;\nimpl T {\n    fn two(&self) { let x = 1;\n self.one() }\n}";
    assert_eq!(found(&[("mod", module), ("a", a), ("b", b)]), ["a:3 b:4"]);
    let b = "use super::T;\nimpl T {\n    fn two(&self) -> u8 { self.n }\n}";
    assert_eq!(found(&[("mod", module), ("a", a), ("b", b)]), NONE, "fields are common ground");
    let b = "use super::T;\nimpl T {\n    fn two(&self) { self.top() }\n}";
    assert_eq!(found(&[("mod", module), ("a", a), ("b", b)]), ["a:3 b:3 mod:3"]);
    let b = "use super::T;\nimpl T {\n    fn two(&self) { self.one() }\n    fn three(&self) \
             { Self::one(self) }\n}";
    let circles = all_circles(&[("mod", module), ("a", a), ("b", b)]);
    let message = "a → b → a\n    \
                   a → b\n        a.rs:3: fn one(&self) { self.two() }\n    \
                   b → a\n        b.rs:3: fn two(&self) { self.one() }\n        \
                   b.rs:4: fn three(&self) { Self::one(self) }\n";
    assert_eq!(report(&circles), message);
}

#[test]
fn names_of_siblings() {
    let module = "mod a; mod b;\npub use b::Foo;";
    for a in [
        "use super::b::Foo;",
        "use super::{Foo, b};",
        "fn f(foo: &super::Foo) {}",
        "fn f() { crate::folder::b::run() }",
        "use super::b;\nfn f() { b::run() }",
    ] {
        let b = "pub struct Foo;\npub fn run() {}\nuse super::a;";
        assert_eq!(found(&[("mod", module), ("a", a), ("b", b)]).len(), 1, "{a}");
        let b = "pub struct Foo;\npub fn run() {}\nuse crate::other::a;";
        assert_eq!(found(&[("mod", module), ("a", a), ("b", b)]), NONE, "{a}");
    }
}

#[test]
fn the_module_file_and_its_children() {
    let child = "use super::{T, helper};\npub struct C(T);\npub fn make() -> C { C(T::default()) }";
    let types = "mod a;\nuse a::C;\npub struct T { c: C }\npub fn helper() {}";
    assert_eq!(found(&[("mod", types), ("a", child)]), NONE, "types on both sides");
    let calls = "mod a;\npub struct T;\npub fn helper() { a::make(); }";
    assert_eq!(found(&[("mod", calls), ("a", child)]), NONE, "calls in one direction");
    let child = "use super::{T, helper};\npub fn make() -> T { helper() }";
    assert_eq!(found(&[("mod", calls), ("a", child)]), ["a:2 mod:3"]);
}

#[test]
fn receivers_of_known_types() {
    let module = "mod a; mod b;";
    let b = "use super::a::A;\npub struct B { a: A }\nimpl B {\n    pub fn new() -> Self { todo!() }\n    \
             pub fn get(&self) {}\n    pub fn a(&self) -> Option<&A> { None }\n}";
    for call in [
        "fn f(b: &super::b::B) { b.get() }",
        "fn f() { let b = B::new(); b.get() }",
        "fn f(b: Option<B>) -> Option<()> { b?.get(); None }",
        "fn f(b: Result<Box<B>, u8>) { if let Ok(b) = b { b.get() } }",
        "fn f(b: &B) { match (b.a(), 1) { (Some(_), _) => b.get(), _ => {} } }",
        "fn f(b: &B) { assert!(matches!(b.get(), ())) }",
        "struct Own { b: B }\nimpl Own { fn f(&self) { self.b.get() } }",
    ] {
        let a = format!("pub struct A;\n{call}\nuse super::b::B;");
        assert_eq!(found(&[("mod", module), ("a", &a), ("b", b)]).len(), 1, "{call}");
    }
    // Each calls another `get`, or one that cannot be known.
    let b = b.replace("use super::a::A;\n", "use super::A;\n");
    let module = "mod a; mod b;\npub struct A;";
    let b = format!("{b}\nimpl A {{ fn b_calls_a(&self) {{ self.get() }} }}");
    for call in [
        "fn f(map: &Map) { map.get() }",
        "fn f(b: &[B2]) { for b in b { b.get() } }",
        "fn f(b: &super::A) { let b = other(); b.get() }",
        "fn f(list: Vec<u8>) { list.iter().map(|b| b.get()); }",
    ] {
        let a = format!("impl super::A {{ pub fn get(&self) {{}} }}\n{call}");
        assert_eq!(found(&[("mod", module), ("a", &a), ("b", &b)]), NONE, "{call}");
    }
}

#[test]
fn receivers_of_unknown_types() {
    let module = "mod a; mod b;";
    let a = "use super::b::B;\npub struct A;\nimpl A {\n    pub fn hold_all(&self) {}\n    pub fn \
             is_empty(&self) {}\n    pub fn run(&self) {}\n}";
    let b = |call: &str| format!("pub struct B;\nfn f() {{ for x in all() {{ x.{call}() }} }}");
    assert_eq!(found(&[("mod", module), ("a", a), ("b", &b("hold_all"))]), ["a:1 b:2"]);
    for call in ["is_empty", "run", "hold_none"] {
        assert_eq!(found(&[("mod", module), ("a", a), ("b", &b(call))]), NONE, "{call}");
    }
    let twice = format!("{}\nimpl B {{ fn hold_all(&self) {{}} }}", b("hold_all"));
    assert_eq!(found(&[("mod", module), ("a", a), ("b", &twice)]), NONE, "defined twice");
}

#[test]
fn tests_do_not_count() {
    let module = "mod a; mod b;";
    let a = "use super::b::run;\npub fn go() { run() }";
    let b = "pub fn run() {}\n#[cfg(test)]\nuse super::a;\n#[cfg(test)]\nmod tests {\n    use \
             super::super::a::go;\n    #[test]\n    fn t() { go() }\n}";
    assert_eq!(found(&[("mod", module), ("a", a), ("b", b)]), NONE);
}
