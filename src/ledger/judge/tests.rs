//! The rules, each by the smallest case that breaks it and its neighbours that do not.

use super::*;

/// `mget x y`; words behind the name are keys.
#[derive(Clone, Debug)]
struct Line {
    words: Vec<&'static str>,
    traits: Traits,
}

fn line(text: &'static str) -> Line {
    Line { words: text.split(' ').collect(), traits: Traits::default() }
}

fn lines(text: &'static str) -> Vec<Line> {
    text.split("; ").map(line).collect()
}

impl Command for Line {
    fn name(&self) -> Cow<'_, str> {
        self.words[0].into()
    }

    fn footprint(&self) -> Footprint {
        Footprint::of(self.words[1..].iter().map(|key| key.as_bytes()))
    }

    fn traits(&self) -> Traits {
        self.traits
    }

    fn each_key(&self, found: &mut dyn FnMut(&[u8])) {
        self.words[1..].iter().for_each(|key| found(key.as_bytes()));
    }

    fn each_with_slot(&self, found: &mut dyn FnMut(&[u8])) {
        self.each_key(found);
    }
}

fn shown(finding: &Finding) -> String {
    let keys: Vec<_> = finding.keys.iter().map(String::from_utf8_lossy).collect();
    let place = finding.place.map_or(String::new(), |at| format!(" at {at}"));
    let from = finding.from.map_or(String::new(), |from| format!(" (ARGV[{}])", from.place));
    format!("{} {}{from}{place}: {}", finding.rule.name(), finding.command, keys.join(" "))
}

fn found(queue: &'static str, guard: &[&str], policy: GuardPolicy) -> String {
    let queue = lines(queue);
    let guard: Vec<&[u8]> = guard.iter().map(|key| key.as_bytes()).collect();
    let rule = exec(&queue, &guard, policy);
    rule.map_or(String::new(), |rule| shown(&by_transaction(rule, &queue, &guard)))
}

#[test]
fn a_command_breaks_rules_by_itself() {
    let all = Traits {
        reads_by_pattern: true,
        is_node_local: true,
        is_between_databases: true,
        chooses_database: true,
        crosses_undeclared: false,
    };
    let plain = line("get x");
    let marked = Line { traits: all, ..line("mget x y x") };
    let reached: Vec<Rule> = reach(&marked).collect();
    assert_eq!(reached, [Rule::CrossSlotCommand, Rule::SortByPattern]);
    let silent = |text| {
        let traits = Traits { crosses_undeclared: true, ..Traits::default() };
        reach(&Line { traits, ..line(text) }).collect::<Vec<Rule>>()
    };
    assert_eq!(silent("json.mget x y"), [Rule::UndeclaredKey]);
    assert_eq!(silent("json.mget x {x}1"), []);
    let meant: Vec<Rule> = scope(&marked, true).collect();
    assert_eq!(meant, [Rule::NodeLocal, Rule::OtherDatabase]);
    assert_eq!(scope(&marked, false).collect::<Vec<_>>(), [Rule::NodeLocal]);
    assert_eq!(choice(&marked), Some(Rule::OtherDatabase));
    assert_eq!(reach(&plain).chain(scope(&plain, true)).chain(choice(&plain)).count(), 0);
    let finding = by_command(Rule::CrossSlotCommand, &marked, next_place(1, false));
    assert_eq!(shown(&finding), "cross-slot-command mget at 2: x y");
    assert_eq!(next_place(1, true), None);
}

#[test]
fn a_watch_belongs_to_the_slot_that_was_watched_first() {
    let keys: [&[u8]; 2] = [b"x", b"y"];
    let judged = |guard: &[&'static [u8]], text| {
        let guard = (!guard.is_empty()).then(|| (Slot::of(b"y"), guard));
        watch(guard, &line(text)).map_or(String::new(), |finding| shown(&finding))
    };
    assert_eq!(judged(&[], "watch x {x}1"), "");
    assert_eq!(judged(&[], "watch y x"), "cross-slot-watch watch: y x");
    assert_eq!(judged(&keys[1..], "watch x"), "cross-slot-watch watch: y x");
    // What has crossed before is reported already.
    assert_eq!(judged(&keys, "watch {y}1"), "");
    assert_eq!(judged(&keys, "watch {x}1"), "cross-slot-watch watch: x y {x}1");
}

#[test]
fn a_transaction_is_one_slot() {
    let crossing = "cross-slot-transaction";
    for (queue, expected) in [
        ("set x; get {x}1; ping", String::new()),
        ("ping; set x; get x; incr y", format!("{crossing} multi: ping, set, get, incr at 4: x y")),
        ("a x; b y; c y; d y; e y", format!("{crossing} multi: a, b, c, d, … at 2: x y")),
        ("a x; a y; b y; b y; c y; d y", format!("{crossing} multi: a, b, c, d at 2: x y")),
        // A command that crosses is reported by itself: its slots count as one.
        ("mget x y; set x; set y", String::new()),
        ("set y; mget x y; set x", String::new()),
        ("mget x y; mget y z; set z; set x", String::new()),
        ("mget x y; set z; set x", format!("{crossing} multi: mget, set at 2: x y z")),
        ("ping", String::new()),
    ] {
        assert_eq!(found(queue, &[], GuardPolicy::Standalone), expected, "{queue}");
    }
}

/// Among thousands of keys the one in another slot is what a report has to show.
#[test]
fn a_key_far_behind_that_crosses_is_shown() {
    #[derive(Debug)]
    struct Many(usize, &'static str);
    impl Command for Many {
        fn name(&self) -> Cow<'_, str> {
            "del".into()
        }
        fn footprint(&self) -> Footprint {
            let keys: Vec<Vec<u8>> = self.keys().collect();
            Footprint::of(keys.iter().map(Vec::as_slice))
        }
        fn traits(&self) -> Traits {
            Traits::default()
        }
        fn each_key(&self, found: &mut dyn FnMut(&[u8])) {
            self.keys().for_each(|key| found(&key));
        }
        fn each_with_slot(&self, found: &mut dyn FnMut(&[u8])) {
            self.each_key(found);
        }
    }
    impl Many {
        fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
            let own = (0..self.0).map(|n| format!("{{a}}{n}").into_bytes());
            own.chain([self.1.as_bytes().to_vec()])
        }
    }
    for many in [5, 20, 5000] {
        let finding = by_command(Rule::CrossSlotCommand, &Many(many, "other"), None);
        let keys: Vec<&[u8]> = finding.keys.iter().collect();
        assert!(keys[..8.min(keys.len())].contains(&&b"other"[..]), "{many}");
        assert_eq!(keys.len() + finding.keys.hidden(), many + 1);
        let queue = [Many(many, "{a}z"), Many(0, "other")];
        let rule = exec(&queue, &[], GuardPolicy::Standalone).expect("it crosses");
        let finding = by_transaction(rule, &queue, &[]);
        assert!(finding.keys.iter().take(8).any(|key| key == b"other"), "{many}");
        assert_eq!(finding.place, Some(2));
    }
}

#[test]
fn a_guard_is_in_the_slot_of_its_transaction() {
    use GuardPolicy::{Ignored, Refused, Standalone};
    let refused = "watch-elsewhere multi: set: y x";
    for (guard, policy, expected) in [
        (&["{x}1"][..], Standalone, ""),
        (&["y"], Standalone, refused),
        (&["y"], Refused, refused),
        (&["y"], Ignored, "shared-shard multi: set: y x"),
        // The WATCH itself is reported where it crosses slots, and nowhere else.
        (&["x", "y"], Standalone, ""),
        (&["x", "y"], Refused, "watch-elsewhere multi: set: x y"),
        (&["x", "y"], Ignored, "shared-shard multi: set: x y"),
        (&["y", "z"], Standalone, "watch-elsewhere multi: set: y z x"),
    ] {
        assert_eq!(found("set x", guard, policy), expected, "{guard:?} {policy:?}");
    }
    // A transaction that crosses slots is reported for that.
    let crossing = "cross-slot-transaction multi: set, incr at 2: x y";
    assert_eq!(found("set x; incr y", &["z"], Standalone), crossing);
    assert_eq!(found("ping", &["y"], Refused), "");
    assert_eq!(found("mget x y", &["y"], Standalone), "");
    assert_eq!(unguarded(true), Some(Rule::ExecAfterFailedWatch));
    let queue = lines("set x; incr y");
    let finding = by_transaction(Rule::ExecAfterFailedWatch, &queue, &[b"z"]);
    assert_eq!(shown(&finding), "exec-after-failed-watch multi: set, incr: x y");
}

#[test]
fn a_script_uses_the_keys_it_was_given() {
    let halves = |slot: Slot| usize::from(slot.number() >= 8192);
    // x is slot 16287, y 12222, z 8157.
    for (declared, call, expected) in [
        (&["x"][..], "get x", ""),
        (&["x"], "get {x}1", ""),
        (&["x"], "mget x y", "shared-shard eval: mget: x y"),
        (&["x"], "get z", "undeclared-script-key eval: get: x z"),
        (&["x", "y"], "mget y z", "undeclared-script-key eval: mget: x z"),
        (&[], "get x", "script-without-keys eval: get (ARGV[1]): x"),
        // Keys that a script uses together need a hashtag once they are declared.
        (&[], "get z", "script-without-keys eval: get: {x}1 z"),
        (&[], "ping", ""),
    ] {
        let keys: Vec<&[u8]> = declared.iter().map(|key| key.as_bytes()).collect();
        let declared = Declared {
            first: keys.first().copied(),
            contains: &|key| keys.contains(&key),
            first_used: Some(b"{x}1"),
            argument: &|key| FromArgument::of(key, [&b"x"[..]].into_iter()),
        };
        let finding = script(&"eval", declared, &line(call), &halves);
        assert_eq!(finding.map_or(String::new(), |f| shown(&f)), expected, "{keys:?} {call}");
    }
}

#[test]
fn sets_of_keys_are_transactions_without_commands() {
    assert_eq!(key_set(&[b"x", b"{x}1"]), None);
    let finding = key_set(&[b"x", b"y"]).expect("it crosses");
    assert_eq!(shown(&finding), "cross-slot-transaction : x y");
    let keys = [&b"x"[..]].into_iter().collect();
    assert_eq!(shown(&other_database("select", keys)), "other-database select: x");
}
