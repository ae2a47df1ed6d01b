//! The error that a command replies with instead of doing its work; the connection goes on.

use crate::dialect::Product;
use crate::ledger::Rule;
use crate::state::ScriptKind;
use crate::state::settings::lacking_parameter;
use crate::topology::Port;
use std::borrow::Cow;

/// An error reply: its code and text, without the leading `-` of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Cow<'static, [u8]>);

/// What a command function returns; on `Err` it has written nothing.
pub(crate) type Outcome = Result<(), Refusal>;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl Refusal {
    /// The reply where an invariant does not hold: the one place that says so. Debug builds, and with
    /// them the fuzz target, panic.
    #[must_use]
    #[cold]
    pub fn impossible(what: &str) -> Self {
        debug_assert!(false, "{what}");
        tracing::error!(what, "a state that cannot be");
        Self::IMPOSSIBLE
    }

            $($(#[$doc])* pub const $name: Self = Self::of($text);)*
        }
    };
}

refusals! {
    /// The key holds a value of another type.
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// The options are unknown, incomplete or contradict each other.
    SYNTAX = "ERR syntax error";
    /// An argument, or the value at the key, is not an integer.
    NOT_AN_INTEGER = "ERR value is not an integer or out of range";
    /// An argument, or the value at the key, is not a number.
    NOT_A_FLOAT = "ERR value is not a valid float";
    /// A key that the command requires does not exist.
    NO_SUCH_KEY = "ERR no such key";
    /// A part of the cluster's slots is not served, or the cluster is down.
    CLUSTER_DOWN = "CLUSTERDOWN The cluster is down";
    /// A command for cluster nodes on a port that is none.
    NO_CLUSTER = "ERR This instance has cluster support disabled";
    /// The slot has no owner.
    SLOT_NOT_SERVED = "CLUSTERDOWN Hash slot not served";
    /// The node of a blocked client has become a replica.
    DEMOTED = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
    /// AUTH with a password only, while no password is configured.
    NO_PASSWORD = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
    /// There is no database of this number.
    NO_SUCH_DATABASE = "ERR DB index is out of range";
    /// A command of the transaction was refused when it was queued.
    EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors.";
    /// A number outside its range.
    OUT_OF_RANGE = "ERR value is out of range";
    /// A value would become longer than the limit.
    TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    /// The keys of one request, or of one transaction on the router port, are in several slots.
    CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";
    /// The client has not authenticated.
    NO_AUTH = "NOAUTH Authentication required.";
    /// Wrong password or unknown user; the error does not reveal which.
    WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled.";
    /// The command cannot be part of a transaction.
    NOT_IN_MULTI = "ERR Command not allowed inside a transaction";
    /// A client name with bytes that would break the lines of CLIENT LIST.
    BAD_CLIENT_NAME = "ERR Client names cannot contain spaces, newlines or special characters.";
    /// An invariant does not hold: see [`Refusal::impossible`].
    IMPOSSIBLE = "ERR internal error: a state that cannot be; nothing was run";
    /// A command needs several shards, one of which runs in another process.
    REMOTE_SHARD = "ERR this command needs a shard of another process together with others";
    /// The reply of a replica to a write without keys, and to a script that writes.
    READ_ONLY_REPLICA = "READONLY You can't write against a read only replica.";
    /// A script makes others wait.
    BUSY_SCRIPT = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
    /// A function makes others wait.
    BUSY_FUNCTION = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
    /// A script calls a command that sees more shards than the script runs on.
    SCRIPT_NEEDS_ALL_SHARDS = "ERR Script attempted to run a command over all shards, and runs on one: call it outside of the script";
    /// A panic in the shard: the batch may have run in part.
    SHARD_PANIC = "ERR internal error: the shard failed while it ran this; the command may have run in part";
}

impl Refusal {
    /// An error with this text, code first.
    #[must_use]
    pub const fn of(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text that is composed at run time, code first.
    #[must_use]
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// The reply to those that wait for a script or a function.
    #[must_use]
    pub const fn busy(kind: ScriptKind) -> Self {
        match kind {
            ScriptKind::Script => Self::BUSY_SCRIPT,
            ScriptKind::Function => Self::BUSY_FUNCTION,
        }
    }

    /// The reply to an EXEC that waits for a script or a function.
    #[must_use]
    pub fn busy_at_exec(busy: &Self) -> Self {
        Self::new([b"EXECABORT Transaction discarded because of: ", busy.text()].concat())
    }

    /// `ERR invalid expire time in 'set' command`.
    #[must_use]
    pub fn invalid_expire(command: &str) -> Self {
        Self::new(format!("ERR invalid expire time in '{command}' command"))
    }

    /// A command of this name wants another database than number 0 where there is only that one. At the
    /// router port it has violated a rule, whatever the server that is followed calls it.
    #[must_use]
    pub fn no_database(product: &Product, port: Port, name: &str) -> Self {
        match product.numbers_databases && port != Port::Router {
            true => Self::NO_SUCH_DATABASE,
            false => Self::new(format!("ERR {name} is not allowed in cluster mode")),
        }
    }

    /// `ERR wrong number of arguments for 'get' command`; `name` as `client|list`.
    #[must_use]
    pub fn arity(name: &str) -> Self {
        Self::new(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// The cluster rule that the command has violated, if that is the reason.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        match self.text() {
            text if text.ends_with(b"is not allowed in cluster mode") => Some(Rule::OtherDatabase),
            text if text.ends_with(b"denied in Cluster mode.")
                || text.ends_with(b"may be in different slots.") =>
            {
                Some(Rule::SortByPattern)
            }
            _ => None,
        }
    }

    /// The parameter of CONFIG SET that a server would have set, if that is the reason.
    #[must_use]
    pub fn lacking_parameter(&self) -> Option<&[u8]> {
        lacking_parameter(self.text())
    }

    /// The text, code first.
    #[must_use]
    pub(crate) fn into_text(self) -> Cow<'static, [u8]> {
        self.0
    }

    /// The text, code first.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Refusal {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
