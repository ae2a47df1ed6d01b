//! How a migration of whole slots ends, and what each node's log then says of it, in the words of Valkey
//! 9.1 and Redis 8.10.

/// What a node has to do with a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPart {
    /// It is the source.
    Source,
    /// It is the target.
    Target,
    /// It is a replica of the target.
    Replica,
}

/// Where a migration is, as a node's record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// It has begun.
    Begun,
    /// The target has a copy of the keys.
    Copied,
    /// The target owns the slots.
    Success,
    /// It was cancelled at this node.
    Cancelled,
    /// It has failed.
    Failed,
}

/// How a migration ends, or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationEnd {
    /// The target owns the slots.
    Success,
    /// The source was asked to.
    Cancelled,
    /// The target was asked to.
    CancelledByTarget,
    /// The other node refused it with this error.
    Refused(&'static str),
    /// The other node does not listen.
    Unreachable,
    /// Source or target was stopped.
    Disconnected,
    /// The source's keys were removed.
    SourceFlushed,
    /// The target's keys were removed.
    TargetFlushed,
    /// The source owns the slots no longer.
    SlotsLost,
    /// The target is a master no longer.
    TargetDemoted,
    /// It had failed, and another one begins.
    Superseded,
}

const SOURCE_LOST: &str = "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information.";
const TARGET_LOST: &str = "Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node for more information.";
const FLUSHED: &str = "Data was flushed";

impl MigrationEnd {
    /// Returns the state that a node's record has from then on, and its message: with Valkey, where the
    /// source begins.
    pub(super) fn of_export(self, part: MigrationPart) -> (MigrationState, String) {
        let (at_source, at_target) = match self {
            Self::Success => return (MigrationState::Success, String::new()),
            Self::Cancelled if part == MigrationPart::Source => {
                return (MigrationState::Cancelled, String::new());
            }
            Self::Refused(error) => {
                let why = format!("Received error during handshake to target: -{error}\r\n");
                return (MigrationState::Failed, why);
            }
            Self::Unreachable => {
                ("Unable to connect to target node: Connection refused", SOURCE_LOST)
            }
            Self::Cancelled | Self::CancelledByTarget | Self::Disconnected | Self::Superseded => {
                (TARGET_LOST, SOURCE_LOST)
            }
            Self::SourceFlushed => (FLUSHED, SOURCE_LOST),
            Self::TargetFlushed => (TARGET_LOST, FLUSHED),
            Self::SlotsLost => {
                ("Slots are no longer owned by myself", "Slots are no longer owned by source node")
            }
            Self::TargetDemoted => (TARGET_LOST, "A failover occurred during slot import"),
        };
        let why = if part == MigrationPart::Source { at_source } else { at_target };
        (MigrationState::Failed, why.to_owned())
    }

    /// Returns the same with Redis, where the target begins. `state` and `before` are its state and its
    /// message so far.
    pub(super) fn of_import(
        self,
        part: MigrationPart,
        state: MigrationState,
        before: String,
    ) -> (MigrationState, String) {
        let is_source = part == MigrationPart::Source;
        let stage = match (state, is_source) {
            (MigrationState::Copied, true) => {
                "(state: send-bulk-and-stream, rdb_channel_state: rdbchannel-transfer)"
            }
            (MigrationState::Copied, false) => {
                "(state: accumulate-buffer, rdb_channel_state: rdbchannel-transfer)"
            }
            (_, true) => "(state: failed, rdb_channel_state: rdbchannel-transfer)",
            (MigrationState::Failed, false) => "(state: failed, rdb_channel_state: none)",
            (_, false) => "(state: none, rdb_channel_state: none)",
        };
        let cancelled =
            |why| (MigrationState::Cancelled, format!("Cancelled due to {why} {stage}"));
        let failed = |why| (MigrationState::Failed, format!("{why} {stage}"));
        match self {
            Self::Success => (MigrationState::Success, before),
            Self::Cancelled if is_source => cancelled("user request"),
            Self::CancelledByTarget if !is_source => cancelled("user request"),
            Self::SourceFlushed if is_source => cancelled("flush"),
            Self::TargetFlushed if !is_source => cancelled("flush"),
            Self::Superseded if is_source => cancelled("new migration requested"),
            Self::Superseded => cancelled("new import requested"),
            Self::SlotsLost | Self::TargetDemoted => cancelled("slots configuration updated"),
            Self::Refused(error) => {
                let what = "Main channel - Failed to sync with source node: Error reply to CLUSTER SYNCSLOTS SYNC from the source";
                let stage = "(state: syncslots-reply, rdb_channel_state: none)";
                (MigrationState::Failed, format!("{what}: -{error} {stage}"))
            }
            Self::Unreachable => {
                let stage = "(state: connecting, rdb_channel_state: none)";
                (MigrationState::Failed, format!("Main channel - Connection is closed {stage}"))
            }
            _ if is_source => failed("Main and RDB channel clients are disconnected."),
            _ => failed("RDB channel - Connection is closed"),
        }
    }
}
