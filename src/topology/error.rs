//! Why a change of the topology is refused: Redis' own errors, as clients and tools match them.

use crate::slot::Slot;
use std::fmt;

/// An invalid change; nothing was changed. Displayed it is the error reply, without the `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopologyError {
    /// The slot has an owner.
    Busy(Slot),
    /// The slot has none.
    AlreadyUnassigned(Slot),
    /// A request names a slot twice.
    Twice(Slot),
    /// A slot is migrated by a node that does not own it.
    NotOwner(Slot),
    /// A slot is imported by the node that owns it.
    AlreadyOwner(Slot),
    /// No node of this id is known (to MIGRATING and IMPORTING).
    DontKnow(Vec<u8>),
    /// No node of this id is known (to everything else).
    Unknown(Vec<u8>),
    /// A slot is assigned to another node while its keys are here.
    KeysLeft(Slot),
    /// A slot is assigned to a replica.
    NotMaster,
    /// A node cannot forget itself.
    ForgetMyself,
    /// A replica cannot forget its master.
    ForgetMaster,
    /// A node cannot be its own replica.
    ReplicateMyself,
    /// A replica has no replicas.
    ReplicateReplica,
    /// A node that becomes a replica must own no slots and hold no keys.
    NotEmpty,
    /// An epoch is set only on a node that has met no other.
    EpochNotAlone,
    /// An epoch is set once.
    EpochChosen,
    /// A node must hold no keys to forget its slots.
    FlushNotEmpty,
    /// A master that holds keys is not reset.
    ResetNotEmpty,
    /// Only a replica can be promoted.
    FailoverOfMaster,
    /// The master is down: only FORCE or TAKEOVER is possible.
    MasterDown,
    /// No node listens at this address.
    NoNodeAt(String, u16),
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
        match self {
            Self::Busy(slot) => write!(f, "ERR Slot {} is already busy", slot.number()),
            Self::AlreadyUnassigned(slot) => {
                write!(f, "ERR Slot {} is already unassigned", slot.number())
            }
            Self::Twice(slot) => write!(f, "ERR Slot {} specified multiple times", slot.number()),
            Self::NotOwner(slot) => {
                write!(f, "ERR I'm not the owner of hash slot {}", slot.number())
            }
            Self::AlreadyOwner(slot) => {
                write!(f, "ERR I'm already the owner of hash slot {}", slot.number())
            }
            Self::DontKnow(node) => write!(f, "ERR I don't know about node {}", id(node)),
            Self::Unknown(node) => write!(f, "ERR Unknown node {}", id(node)),
            Self::KeysLeft(slot) => write!(
                f,
                "ERR Can't assign hashslot {} to a different node while I still hold keys for this \
                 hash slot.",
                slot.number()
            ),
            Self::NotMaster => f.write_str("ERR Target node is not a master"),
            Self::ForgetMyself => f.write_str("ERR I tried hard but I can't forget myself..."),
            Self::ForgetMaster => f.write_str("ERR Can't forget my master!"),
            Self::ReplicateMyself => f.write_str("ERR Can't replicate myself"),
            Self::ReplicateReplica => {
                f.write_str("ERR I can only replicate a master, not a replica.")
            }
            Self::NotEmpty => f.write_str(
                "ERR To set a master the node must be empty and without assigned slots.",
            ),
            Self::EpochNotAlone => f.write_str(
                "ERR The user can assign a config epoch only when the node does not know any other node.",
            ),
            Self::EpochChosen => f.write_str("ERR Node config epoch is already non-zero"),
            Self::FlushNotEmpty => {
                f.write_str("ERR DB must be empty to perform CLUSTER FLUSHSLOTS.")
            }
            Self::ResetNotEmpty => {
                f.write_str("ERR CLUSTER RESET can't be called with master nodes containing keys")
            }
            Self::FailoverOfMaster => {
                f.write_str("ERR You should send CLUSTER FAILOVER to a replica")
            }
            Self::MasterDown => f.write_str(
                "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE",
            ),
            Self::NoNodeAt(host, port) => {
                write!(f, "ERR no node of this process listens at {host}:{port}")
            }
        }
    }
}

impl std::error::Error for TopologyError {}
