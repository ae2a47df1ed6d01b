//! The rules: what an application must not do, or not rely on, when its keys are in several slots.
//!
//! One row per rule; `slotway explain`, the reports and the documentation are made from the rows.

use std::str::FromStr;

/// The weight of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A cluster runs it, but it means something else there.
    Warning,
    /// A cluster refuses it, or does something else without a word.
    Error,
}

impl Weight {
    /// Returns `error` or `warning`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    CrossSlotCommand,
    CrossSlotTransaction,
    CrossSlotWatch,
    WatchElsewhere,
    ExecAfterFailedWatch,
    UndeclaredScriptKey,
    ScriptWithoutKeys,
    SharedShard,
    NodeLocal,
    OtherDatabase,
    SortByPattern,
    UndeclaredKey,
}

/// A rule's texts.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The rule.
    pub rule: Rule,
    /// Its name in reports and for `slotway explain`.
    pub name: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Its weight.
    pub weight: Weight,
    /// Why, in a paragraph.
    pub why: &'static str,
    /// What breaks it, line by line, with a cluster's answer.
    pub example: &'static str,
    /// What to do instead.
    pub way_out: &'static str,
}

/// Every rule, in the order of [`Rule`].
pub(crate) const ROWS: &[Row] = &[
    Row {
        rule: Rule::CrossSlotCommand,
        name: "cross-slot-command",
        title: "one command, keys in several slots",
        weight: Weight::Error,
        why: "A cluster runs a command on the one node that owns its slot. If the keys of one command hash to \
              different slots, it is refused with CROSSSLOT, even while one node happens to own both.",
        example: "MGET user:1 user:2\n-CROSSSLOT Keys in request don't hash to the same slot",
        way_out: "Give keys that are used together a common hashtag ({user}:1, {user}:2). Where atomicity does not \
                  matter, send one command per key: MGET, MSET, DEL, UNLINK, EXISTS and TOUCH divide by key, and \
                  many cluster clients do that for you.",
    },
    Row {
        rule: Rule::CrossSlotTransaction,
        name: "cross-slot-transaction",
        title: "one MULTI, keys in several slots",
        weight: Weight::Error,
        why: "A transaction runs as a whole on one node, on one slot. Commands of other slots are refused when they \
              are queued (MOVED, or CROSSSLOT), or EXEC answers CROSSSLOT; nothing is applied then.",
        example: "MULTI\nDECRBY account:1 10\nINCRBY account:2 10\nEXEC\n-CROSSSLOT Keys in request don't hash to the \
                  same slot",
        way_out: "Give the keys of the transaction a common hashtag: {bank:7}:account:1, {bank:7}:account:2. If they \
                  cannot live together, make each step safe to repeat and do without the transaction.",
    },
    Row {
        rule: Rule::CrossSlotWatch,
        name: "cross-slot-watch",
        title: "watched together, keys in several slots",
        weight: Weight::Error,
        why: "WATCH guards keys on the node that it is sent to. Keys of several slots in one WATCH are refused with \
              CROSSSLOT and then guard nothing, and a second WATCH whose key lives on another node is answered MOVED; a \
              client that ignores the error runs unguarded.",
        example: "WATCH stock:7 basket:3\n-CROSSSLOT Keys in request don't hash to the same slot",
        way_out: "Give what is watched together a common hashtag, and check the answer of WATCH: an error there must \
                  end the attempt.",
    },
    Row {
        rule: Rule::WatchElsewhere,
        name: "watch-elsewhere",
        title: "WATCH in one slot, the transaction in another",
        weight: Weight::Error,
        why: "The guard and what it guards have to live in one slot. In a cluster the watched key may be on another \
              node than the transaction: cluster clients then refuse, and a node that owns both slots by chance can \
              miss the change of the watched key while the slots move apart.",
        example: "WATCH lock:7\nMULTI\nSET order:7 paid\nEXEC",
        way_out: "Give the watched key and the changed keys a common hashtag: {7}:lock, {7}:order.",
    },
    Row {
        rule: Rule::ExecAfterFailedWatch,
        name: "exec-after-failed-watch",
        title: "EXEC although WATCH was refused",
        weight: Weight::Error,
        why: "A WATCH that was refused guards nothing. A client that overlooks its error and goes on to EXEC runs the \
              transaction unguarded: a lost update without any error. Slotway's router answers EXECABORT \
              instead.",
        example: "WATCH a b\n-CROSSSLOT Keys in request don't hash to the same slot\nMULTI\nSET a 1\nEXEC\n-EXECABORT \
                  Transaction discarded because of previous errors.",
        way_out: "Treat an error of WATCH as the end of the attempt; pipelines that send WATCH without reading its \
                  answer cannot be used with it.",
    },
    Row {
        rule: Rule::UndeclaredScriptKey,
        name: "undeclared-script-key",
        title: "a script uses a key that it was not given",
        weight: Weight::Error,
        why: "A cluster routes a script by the keys it declares (KEYS). A key that is written into the script, or made \
              from ARGV, may live on another node, where the script cannot reach it.",
        example: "EVAL \"return redis.call('get', 'other')\" 1 k\n-ERR Script attempted to access a non local key in \
                  a cluster node",
        way_out: "Pass every key in KEYS, with a common hashtag.",
    },
    Row {
        rule: Rule::ScriptWithoutKeys,
        name: "script-without-keys",
        title: "a script that declares no keys uses keys",
        weight: Weight::Error,
        why: "A cluster routes a script by the keys it declares (KEYS). Without any, clients send it to whichever node they \
              choose, and it reaches the keys of that node alone: the same call works or fails by chance.",
        example: "EVAL \"return redis.call('incr', 'visits')\" 0\n-ERR Script attempted to access a non local key in a \
                  cluster node",
        way_out: "Pass every key that it uses in KEYS (EVAL … 1 visits, FCALL … 1 visits), with a common hashtag if they \
                  are several. A script for the keys of one node, which it gets from KEYS or SCAN, is sent to each node's \
                  own port.",
    },
    Row {
        rule: Rule::SharedShard,
        name: "shared-shard",
        title: "different slots that share a shard only by luck",
        weight: Weight::Warning,
        why: "It works as long as one node owns both slots. The next resharding, or another number of shards, ends \
              that.",
        example: "EVAL \"return redis.call('get', 'other')\" 1 k      with the slots of k and other on one node",
        way_out: "Give the keys a common hashtag, so that no move of slots can part them.",
    },
    Row {
        rule: Rule::NodeLocal,
        name: "node-local-command",
        title: "a command that sees one node only",
        weight: Weight::Warning,
        why: "Without keys a command cannot be routed: it runs on whichever node the client asks, over that node's \
              keys. KEYS, SCAN, DBSIZE, RANDOMKEY then see a part, and FLUSHALL removes a part.",
        example: "DBSIZE\n(integer) 3341      of 10,000 keys on three nodes",
        way_out: "Ask every master and put the answers together (cluster clients have a call for that), or keep a set \
                  of the keys you will want to list.",
    },
    Row {
        rule: Rule::OtherDatabase,
        name: "other-database",
        title: "a database other than 0",
        weight: Weight::Error,
        why: "A cluster has database 0 alone: SELECT of another one, MOVE and SWAPDB are refused.",
        example: "SELECT 1\n-ERR SELECT is not allowed in cluster mode",
        way_out: "Put the database's name in front of the keys instead, or use another cluster.",
    },
    Row {
        rule: Rule::SortByPattern,
        name: "sort-by-pattern",
        title: "SORT reads keys made from a pattern",
        weight: Weight::Error,
        why: "SORT with a pattern behind BY, or with GET, may read keys whose slots are not known beforehand: Redis 7.0 refuses \
              it in a cluster, whatever the pattern. Redis 7.4 and Valkey 9.1 run it if a hashtag in front of each pattern's \
              star puts all of its keys in the slot of the sorted key.",
        example: "SORT mylist BY weight_*\n-ERR BY option of SORT denied in Cluster mode.",
        way_out: "Keep the weights in a sorted set beside the list, or sort in the application. Where the servers are newer: \
                  `SORT {mylist} BY {mylist}:weight_*`.",
    },
    Row {
        rule: Rule::UndeclaredKey,
        name: "undeclared-key",
        title: "keys in several slots that the server does not notice",
        weight: Weight::Error,
        why: "Some commands do not declare all of their keys, so that neither the server nor a cluster client sees that \
              they cross slots, and nothing answers CROSSSLOT. JSON.MGET, CMS.MERGE, TDIGEST.MERGE, TS.CREATERULE and \
              TS.DELETERULE of Redis Stack declare their first key alone and look for the others on its node: null, \
              or \"does not exist\"; its TFCALL runs on whichever node is asked. So does MSETEX of Valkey 9.1, which \
              writes on nodes that do not own its keys; Redis 8.10 refuses it with CROSSSLOT.",
        example: "JSON.MGET cart:1 cart:2 $\n1) \"[1]\"\n2) (nil)      though cart:2 is there, on another node",
        way_out: "Give the keys a common hashtag ({cart}:1, {cart}:2), or send one command per key.",
    },
];

/// Checks the order of [`ROWS`] at compile time.
const _: () = {
    let mut at = 0;
    while at < ROWS.len() {
        assert!(ROWS[at].rule as usize == at, "the rows are in the order of the rules");
        at += 1;
    }
};

impl Rule {
    /// Returns its row.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Returns its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns its weight.
    #[must_use]
    pub const fn weight(self) -> Weight {
        self.row().weight
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let row = ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(text));
        row.map(|row| row.rule).ok_or_else(|| {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            format!("no rule is named {text:?}; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_row_of_its_own() {
        for row in ROWS {
            assert_eq!(row.name.parse::<Rule>(), Ok(row.rule));
            assert_eq!(row.rule.row().name, row.name);
            for text in [row.title, row.why, row.example, row.way_out] {
                assert!(!text.is_empty() && !text.contains("  \n"), "{}", row.name);
            }
            let twice = ROWS.iter().filter(|other| other.name == row.name).count();
            assert_eq!(twice, 1, "{}", row.name);
        }
        assert!("nosuch".parse::<Rule>().expect_err("no rule").contains("watch-elsewhere"));
    }
}
