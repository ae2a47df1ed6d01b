//! COMMAND and its subcommands: the table of commands in the form that clients read.

use super::spec::flag::{LOADING, STALE};
use super::spec::{
    Arity::AtLeast, Arity::Exactly, BASE, Begin, Doc, Find, Group, Keys, Run, SAME, Spec, Variant,
    access, acl, check, flag,
};
use super::{Args, Commands, Outcome, Refusal, ServerCx, find_in, help};
use crate::dialect::{Product, servers};
use crate::resp::Sink;
use crate::text::glob;

/// Defaults of COMMAND's rows.
const COMMAND: Spec = Spec {
    parent: "command",
    arity: AtLeast(2),
    flags: LOADING | STALE,
    acl: acl::CONNECTION,
    group: Group::Server,
    since: "2.8.13",
    ..BASE
};

/// The key names may be missing.
const GETKEYS_SINCE_7_2: &[Variant] =
    &[Variant { servers: servers::SINCE_7_2, arity: Some(AtLeast(3)), ..SAME }];

pub(super) const ROWS: &[Spec] = &[ROW];
const _: () = check(ROWS);

const ROW: Spec = Spec {
    name: "command",
    parent: "",
    arity: AtLeast(1),
    tips: &["nondeterministic_output_order"],
    complexity: "O(N) where N is the total number of Redis commands",
    summary: "Describes all commands.",
    run: Run::Server(|cx, _, out| {
        describe_all(cx.commands(), out);
        Ok(())
    }),
    subcommands: &[
        Spec {
            name: "count",
            arity: Exactly(2),
            summary: "Counts the commands of the server that the dialect is of.",
            run: Run::Server(|cx, _, out| {
                out.count(cx.commands().rows().len());
                Ok(())
            }),
            ..COMMAND
        },
        Spec {
            name: "info",
            tips: &["nondeterministic_output_order"],
            complexity: "O(N) where N is the number of commands to look up",
            summary: "Describes the named commands, or all.",
            run: Run::Server(info),
            ..COMMAND
        },
        Spec {
            name: "docs",
            since: "7.0.0",
            tips: &["nondeterministic_output_order"],
            complexity: "O(N) where N is the number of commands to look up",
            summary: "Returns the documentation of the named commands, or of all.",
            run: Run::Server(docs),
            ..COMMAND
        },
        Spec {
            name: "list",
            since: "7.0.0",
            tips: &["nondeterministic_output_order"],
            complexity: "O(N) where N is the total number of Redis commands",
            summary: "Lists the names of commands: all, or by ACL category or pattern.",
            run: Run::Server(list),
            ..COMMAND
        },
        Spec {
            name: "getkeys",
            arity: AtLeast(4),
            variants: GETKEYS_SINCE_7_2,
            complexity: "O(N) where N is the number of arguments to the command",
            summary: "Returns the keys in a full request.",
            run: Run::Server(getkeys),
            ..COMMAND
        },
        Spec {
            name: "getkeysandflags",
            arity: AtLeast(4),
            variants: GETKEYS_SINCE_7_2,
            since: "7.0.0",
            complexity: "O(N) where N is the number of arguments to the command",
            summary: "Returns the keys in a full request and what the command does to each.",
            run: Run::Server(getkeysandflags),
            ..COMMAND
        },
        Spec {
            name: "help",
            arity: Exactly(2),
            since: "5.0.0",
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&ROW, cx.product, out);
                Ok(())
            }),
            ..COMMAND
        },
    ],
    ..COMMAND
};

/// Returns the row of a name as COMMAND shows it: `get`, `client|list`.
fn named(commands: &Commands, name: &[u8]) -> Option<&'static Spec> {
    let Some(bar) = name.iter().position(|&byte| byte == b'|') else { return commands.find(name) };
    find_in(commands.find(&name[..bar])?, &name[bar + 1..])
}

// ── INFO ──────────────────────────────────────────────────────────────────────────────────────────

fn info(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.len() == 2 {
        describe_all(cx.commands(), out);
        return Ok(());
    }
    let names = args.from(2);
    out.array(names.len());
    for name in names {
        match named(cx.commands(), name) {
            Some(spec) => describe(spec, out),
            None => out.null(),
        }
    }
    Ok(())
}

fn describe_all(commands: &Commands, out: &mut Sink<'_>) {
    out.array(commands.rows().len());
    for spec in commands.rows() {
        describe(spec, out);
    }
}

fn describe(spec: &Spec, out: &mut Sink<'_>) {
    let (first, last, step) = spec.legacy_range();
    out.array(10);
    out.bulk(spec.full_name().as_bytes());
    out.int(spec.arity.as_redis());
    words(spec.flags, flag::NAMES, out);
    out.int(first);
    out.int(last);
    out.int(step);
    words(spec.categories(), acl::NAMES, out);
    // Those of a module's commands are ours: it gives none.
    let tips = if spec.has(flag::MODULE) { &[] } else { spec.tips };
    out.set(tips.len());
    for tip in tips {
        out.bulk(tip.as_bytes());
    }
    let declared = || spec.keys.iter().filter(|keys| keys.access & access::UNDECLARED == 0);
    out.set(declared().count());
    for keys in declared() {
        describe_keys(keys, out);
    }
    if spec.subcommands.is_empty() {
        out.set(0);
    } else {
        out.array(spec.subcommands.len());
        for sub in spec.subcommands {
            describe(sub, out);
        }
    }
}

/// Writes the names of the bits that are set, as a set of simple strings.
fn words<B: Copy + std::ops::BitAnd<Output = B> + Default + PartialEq>(
    bits: B,
    names: &[(B, &str)],
    out: &mut Sink<'_>,
) {
    let set = || names.iter().filter(|&&(bit, _)| bits & bit != B::default());
    out.set(set().count());
    for (_, name) in set() {
        out.simple(name);
    }
}

fn describe_keys(keys: &Keys, out: &mut Sink<'_>) {
    let noted = !keys.notes.is_empty();
    out.map(3 + usize::from(noted));
    if noted {
        out.bulk(b"notes");
        out.bulk(keys.notes.as_bytes());
    }
    out.bulk(b"flags");
    words(keys.access, access::NAMES, out);
    out.bulk(b"begin_search");
    match keys.begin {
        Begin::Index(at) => {
            typed("index", 1, out);
            field("index", at.into(), out);
        }
        Begin::Keyword(word, from) | Begin::KeywordFound(word, from, _) => {
            typed("keyword", 2, out);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            field("startfrom", from.into(), out);
        }
        Begin::Unknown(_) => typed("unknown", 0, out),
    }
    out.bulk(b"find_keys");
    match keys.find {
        _ if matches!(keys.begin, Begin::Unknown(_)) => typed("unknown", 0, out),
        Find::Range { last, step, limit } => {
            typed("range", 3, out);
            field("lastkey", last.into(), out);
            field("keystep", step.into(), out);
            field("limit", limit.into(), out);
        }
        Find::Count { at, first, step } => {
            typed("keynum", 3, out);
            field("keynumidx", at.into(), out);
            field("firstkey", first.into(), out);
            field("keystep", step.into(), out);
        }
    }
}

/// Writes the head of a key specification's part; its `fields` follow.
fn typed(kind: &str, fields: usize, out: &mut Sink<'_>) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(fields);
}

fn field(name: &str, value: i64, out: &mut Sink<'_>) {
    out.bulk(name.as_bytes());
    out.int(value);
}

// ── DOCS ──────────────────────────────────────────────────────────────────────────────────────────

fn docs(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let commands = cx.commands();
    let specs: Vec<_> = match args.len() {
        2 => commands.rows().iter().collect(),
        _ => args.from(2).filter_map(|name| named(commands, name)).collect(),
    };
    document_all(&specs, cx.product, out);
    Ok(())
}

fn document_all(specs: &[&Spec], product: &Product, out: &mut Sink<'_>) {
    out.map(specs.len());
    for spec in specs {
        out.bulk(spec.full_name().as_bytes());
        document(spec, product, out);
    }
}

fn document(spec: &Spec, product: &Product, out: &mut Sink<'_>) {
    if spec.has(flag::MODULE) {
        // A module has not said more.
        out.map(2);
        out.bulk(b"group");
        out.bulk(b"module");
        out.bulk(b"module");
        out.bulk(b"ReJSON");
        return;
    }
    let fields = [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ];
    let is_system = spec.doc == Doc::System;
    let deprecated = match spec.doc {
        Doc::Deprecated { servers, since, by } if servers & product.servers != 0 => {
            Some([("deprecated_since", since), ("replaced_by", by)])
        }
        _ => None,
    };
    let (arguments, has_subcommands) = (arguments(spec), !spec.subcommands.is_empty());
    let more = [is_system || deprecated.is_some(), arguments.is_some(), has_subcommands];
    let more = more.into_iter().filter(|&is_there| is_there).count();
    out.map(fields.len() + deprecated.map_or(0, |it| it.len()) + more);
    put_texts(&fields, out);
    if is_system || deprecated.is_some() {
        out.bulk(b"doc_flags");
        out.set(1);
        out.simple(if is_system { "syscmd" } else { "deprecated" });
    }
    put_texts(deprecated.as_ref().map_or(&[], |it| &it[..]), out);
    if let Some(arguments) = arguments {
        out.bulk(b"arguments");
        out.array(arguments.len());
        arguments.into_iter().enumerate().for_each(|(at, argument)| argument.put(at, out));
    }
    if has_subcommands {
        out.bulk(b"subcommands");
        document_all(&spec.subcommands.iter().collect::<Vec<_>>(), product, out);
    }
}

fn put_texts(fields: &[(&str, &str)], out: &mut Sink<'_>) {
    for (name, text) in fields {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    }
}

/// An argument of a command whose arguments are all keys; it belongs to the key specification of the
/// same place.
struct KeyArgument {
    name: &'static str,
    is_repeated: bool,
}

impl KeyArgument {
    fn put(self, specification: usize, out: &mut Sink<'_>) {
        out.map(3 + usize::from(self.is_repeated));
        put_texts(&[("name", self.name), ("type", "key")], out);
        out.bulk(b"key_spec_index");
        out.count(specification);
        if self.is_repeated {
            out.bulk(b"flags");
            out.set(1);
            out.simple("multiple");
        }
    }
}

/// Returns the arguments of a command, if its arity and its keys say what they all are: one key, keys,
/// or a destination and keys. What other arguments mean is not in the table.
fn arguments(spec: &Spec) -> Option<Vec<KeyArgument>> {
    let first = if spec.parent.is_empty() { 1 } else { 2 };
    let key = |name, is_repeated| KeyArgument { name, is_repeated };
    let place = |keys: &Keys| match (keys.begin, keys.find) {
        _ if keys.access & access::NOT_KEY != 0 => None,
        (Begin::Index(at), Find::Range { last, step: 1, limit: 0 }) => {
            Some((usize::from(at), last))
        }
        _ => None,
    };
    let places: Vec<_> = spec.keys.iter().map(place).collect::<Option<_>>()?;
    match (&places[..], spec.arity) {
        (&[(at, 0)], Exactly(n)) if at == first && usize::from(n) == first + 1 => {
            Some(vec![key("key", false)])
        }
        (&[(at, -1)], AtLeast(n)) if at == first && usize::from(n) == first + 1 => {
            Some(vec![key("key", true)])
        }
        (&[(to, 0), (at, -1)], AtLeast(n))
            if to == first && at == first + 1 && usize::from(n) == first + 2 =>
        {
            Some(vec![key("destination", false), key("key", true)])
        }
        _ => None,
    }
}

// ── LIST ──────────────────────────────────────────────────────────────────────────────────────────

/// Which commands LIST returns.
enum Filter<'a> {
    All,
    None,
    /// Those of modules.
    Modules,
    Category(u32),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Refusal> {
        if args.len() == 2 {
            return Ok(Self::All);
        }
        if args.len() != 5 || !args.is(2, "filterby") {
            return Err(Refusal::SYNTAX);
        }
        let by = args.at(4);
        if args.is(3, "pattern") {
            Ok(Self::Pattern(by))
        } else if args.is(3, "aclcat") {
            let is_named = |shown: &str| shown.as_bytes()[1..].eq_ignore_ascii_case(by);
            let category = acl::NAMES.iter().find(|&&(_, shown)| is_named(shown));
            Ok(category.map_or(Self::None, |&(category, _)| Self::Category(category)))
        } else if args.is(3, "module") {
            Ok(if by.eq_ignore_ascii_case(b"rejson") { Self::Modules } else { Self::None })
        } else {
            Err(Refusal::SYNTAX)
        }
    }

    fn fits(&self, spec: &Spec) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Modules => spec.has(flag::MODULE),
            Self::Category(category) => spec.categories() & category != 0,
            Self::Pattern(pattern) => glob::matches_nocase(pattern, spec.full_name().as_bytes()),
        }
    }
}

fn list(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let filter = Filter::parse(args)?;
    let rows = cx.commands().rows().iter();
    let with_subcommands = rows.flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let names: Vec<_> =
        with_subcommands.filter(|spec| filter.fits(spec)).map(Spec::full_name).collect();
    out.array(names.len());
    for name in names {
        out.bulk(name.as_bytes());
    }
    Ok(())
}

// ── GETKEYS ───────────────────────────────────────────────────────────────────────────────────────

/// The keys of the request after the first two arguments, with the access to each.
fn keys_of<'a>(commands: &Commands, args: Args<'a>) -> Result<Vec<(&'a [u8], u16)>, Refusal> {
    let (buf, spans) = args.parts();
    let request = Args::new(buf, &spans[2..]);
    let invalid = || Refusal::of("ERR Invalid command specified");
    let mut spec = commands.find(&request[0]).ok_or_else(invalid)?;
    if let (Some(name), false) = (request.get(1), spec.subcommands.is_empty()) {
        spec = find_in(spec, name).ok_or_else(invalid)?;
    }
    let mut keys = spec.keys_with_access(request)?;
    for (_, access) in &mut keys {
        if *access & access::VARIABLE_FLAGS != 0 {
            *access = access_in(request, spec, *access);
        }
    }
    Ok(keys)
}

/// The access in this request of a command whose access depends on its options: SET without GET
/// overwrites the value unread, and BITFIELD with nothing but GET reads it.
fn access_in(request: Args<'_>, spec: &Spec, access: u16) -> u16 {
    match spec.name {
        "set" if !(3..request.len()).any(|at| request.is(at, "get")) => access::OW | access::UPDATE,
        "bitfield" if reads_fields(request) => access::RO | access::ACCESS,
        _ => access & !access::VARIABLE_FLAGS,
    }
}

/// Whether a BITFIELD only reads. What is malformed might write.
fn reads_fields(request: Args<'_>) -> bool {
    let mut at = 2;
    while at < request.len() {
        let left = request.len() - at - 1;
        at += match () {
            () if request.is(at, "get") && left >= 2 => 3,
            () if request.is(at, "overflow") && left >= 1 => 2,
            () => return false,
        };
    }
    true
}

fn getkeys(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let keys = keys_of(cx.commands(), args)?;
    out.array(keys.len());
    for (key, _) in keys {
        out.bulk(key);
    }
    Ok(())
}

fn getkeysandflags(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let keys = keys_of(cx.commands(), args)?;
    out.array(keys.len());
    for (key, access) in keys {
        out.array(2);
        out.bulk(key);
        words(access, access::NAMES, out);
    }
    Ok(())
}
