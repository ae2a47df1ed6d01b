//! Commands that a node of a cluster knows only in order to refuse them: REPLICAOF, SLAVEOF,
//! FAILOVER, and MODULE, of which LIST alone has something to reply.

use super::super::help;
use super::*;

/// Defaults of REPLICAOF and SLAVEOF.
const REPLICAOF: Spec = Spec {
    arity: Exactly(3),
    flags: ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING,
    summary: "Refused: CLUSTER REPLICATE makes a node a replica.",
    run: Run::Server(|_, _, _| Err(Refusal::of("ERR REPLICAOF not allowed in cluster mode."))),
    ..SERVER
};

/// Defaults of MODULE's subcommands.
const MODULE: Spec = Spec {
    parent: "module",
    arity: AtLeast(3),
    flags: ADMIN | NOSCRIPT | NO_ASYNC_LOADING,
    since: "4.0.0",
    summary: "Refused: the server loads no modules.",
    run: Run::Server(|_, _, _| {
        Err(Refusal::of(
            "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", \
             you can run it from a local connection, otherwise you need to set this option in the \
             configuration file, and then restart the server.",
        ))
    }),
    ..SERVER
};

pub(super) const REPLICAOF_ROW: Spec = Spec { name: "replicaof", since: "5.0.0", ..REPLICAOF };

pub(super) const SLAVEOF_ROW: Spec =
    Spec { name: "slaveof", doc: Doc::nowhere("5.0.0", "`REPLICAOF`"), ..REPLICAOF };

pub(super) const FAILOVER_ROW: Spec = Spec {
    name: "failover",
    arity: AtLeast(1),
    flags: ADMIN | NOSCRIPT | STALE,
    since: "6.2.0",
    summary: "Refused: CLUSTER FAILOVER promotes a replica.",
    run: Run::Server(|_, _, _| {
        Err(Refusal::of(
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ))
    }),
    ..SERVER
};

pub(super) const MODULE_ROW: Spec = Spec {
    name: "module",
    arity: AtLeast(2),
    since: "4.0.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about modules.",
    subcommands: &[
        Spec {
            name: "list",
            arity: Exactly(2),
            flags: ADMIN | NOSCRIPT,
            complexity: "O(N) where N is the number of loaded modules.",
            tips: &["nondeterministic_output_order"],
            summary: "Lists the loaded modules: none, or RedisJSON.",
            run: Run::Server(|cx, _, out| {
                out.array(cx.product.modules().len());
                for module in cx.product.modules() {
                    out.map(4);
                    out.bulk(b"name");
                    out.bulk(module.name.as_bytes());
                    out.bulk(b"ver");
                    out.int(module.version);
                    out.bulk(b"path");
                    out.bulk(b"");
                    out.bulk(b"args");
                    out.array(0);
                }
                Ok(())
            }),
            ..MODULE
        },
        Spec { name: "load", complexity: "O(1)", ..MODULE },
        Spec { name: "loadex", complexity: "O(1)", since: "7.0.0", ..MODULE },
        Spec { name: "unload", arity: Exactly(3), complexity: "O(1)", ..MODULE },
        Spec {
            name: "help",
            arity: Exactly(2),
            flags: LOADING | STALE,
            since: "5.0.0",
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&MODULE_ROW, cx.product, out);
                Ok(())
            }),
            ..MODULE
        },
    ],
    ..SERVER
};
