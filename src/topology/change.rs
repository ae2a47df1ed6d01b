//! Changes of the topology: slots assigned and moved, nodes met and forgotten, masters replaced.
//!
//! An invalid change is refused with Redis' own error before anything is changed. The caller that
//! changes the owner of a slot holds all shards concerned.

use super::map::{GivenUp, Map};
use super::{
    DownRules, NO_OWNER, NodeNumber, Role, SHARD_SHIFT, SLOW_PATH, Topology, TopologyError, word,
};
use crate::slot::Slot;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

impl Topology {
    /// Sets the port that a node listens on.
    pub fn set_port(&self, node: NodeNumber, port: u16) {
        self.map.write().nodes[node].port = port;
    }

    /// Assigns unowned slots to `node`.
    ///
    /// # Errors
    /// One of them has an owner, or is listed twice.
    pub fn add_slots(&self, node: NodeNumber, slots: &[Slot]) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        self.each_once(slots, |slot| match self.owner_seen_by(&map, node, slot) {
            Some(_) => Err(TopologyError::Busy(slot)),
            None => Ok(()),
        })?;
        // A slot has one owner, whether or not this node has met it.
        if let Some(&slot) = slots.iter().find(|&&slot| self.owner_of(slot).is_some()) {
            return Err(TopologyError::Busy(slot));
        }
        let shard = map.node(node).shard;
        for &slot in slots {
            map.nodes[node].importing.remove(&slot);
            self.set_owner(slot, Some(node), shard);
        }
        self.refresh(&mut map);
        Ok(())
    }

    /// Removes the owners of slots from the map of `node`. Its own slots have no owner from then on;
    /// other nodes keep it on their maps until one of them takes the slot. For a slot of another
    /// node nothing changes: the owner's next message, which here takes no time, puts it back.
    ///
    /// # Errors
    /// One of them has no owner there, or is listed twice.
    pub fn del_slots(&self, node: NodeNumber, slots: &[Slot]) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        self.each_once(slots, |slot| match self.owner_seen_by(&map, node, slot) {
            Some(_) => Ok(()),
            None => Err(TopologyError::AlreadyUnassigned(slot)),
        })?;
        for &slot in slots {
            match self.owner_of(slot) {
                Some(owner) if owner == node => self.give_up(&mut map, node, slot),
                Some(_) => {}
                None => {
                    if let Some(given_up) = map.given_up.get_mut(&slot) {
                        given_up.unassigned_at.insert(node);
                    }
                }
            }
        }
        self.refresh(&mut map);
        Ok(())
    }

    /// Removes all of a node's slots; the node must hold no keys.
    ///
    /// # Errors
    /// The node has keys.
    pub fn flush_slots(&self, node: NodeNumber, has_keys: bool) -> Result<(), TopologyError> {
        if has_keys {
            return Err(TopologyError::FlushNotEmpty);
        }
        let mut map = self.map.write();
        self.disown(&mut map, node);
        self.refresh(&mut map);
        Ok(())
    }

    /// Marks a slot as migrating: `CLUSTER SETSLOT slot MIGRATING target` on `node`.
    ///
    /// # Errors
    /// `node` does not own the slot, or has not met the target.
    pub fn set_migrating(
        &self,
        node: NodeNumber,
        slot: Slot,
        target: &[u8],
    ) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        if self.owner_seen_by(&map, node, slot) != Some(node) {
            return Err(TopologyError::NotOwner(slot));
        }
        let found = map.met_by(node, target);
        let target = found.ok_or_else(|| TopologyError::DontKnow(target.to_vec()))?;
        if map.node(target).role != Role::Master {
            return Err(TopologyError::NotMaster);
        }
        map.nodes[node].migrating.insert(slot, target);
        self.refresh(&mut map);
        Ok(())
    }

    /// Marks a slot as importing: `CLUSTER SETSLOT slot IMPORTING source` on `node`.
    ///
    /// # Errors
    /// `node` owns the slot, or has not met the source.
    pub fn set_importing(
        &self,
        node: NodeNumber,
        slot: Slot,
        source: &[u8],
    ) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        if self.owner_seen_by(&map, node, slot) == Some(node) {
            return Err(TopologyError::AlreadyOwner(slot));
        }
        let found = map.met_by(node, source);
        let source = found.ok_or_else(|| TopologyError::DontKnow(source.to_vec()))?;
        if map.node(source).role != Role::Master {
            return Err(TopologyError::NotMaster);
        }
        map.nodes[node].importing.insert(slot, source);
        self.refresh(&mut map);
        Ok(())
    }

    /// Clears the migrating and importing marks of a slot: `CLUSTER SETSLOT slot STABLE` on `node`.
    pub fn set_stable(&self, node: NodeNumber, slot: Slot) {
        let mut map = self.map.write();
        map.nodes[node].migrating.remove(&slot);
        map.nodes[node].importing.remove(&slot);
        self.refresh(&mut map);
    }

    /// Assigns a slot: `CLUSTER SETSLOT slot NODE target` on `node`, which holds `keys` keys of the
    /// slot.
    ///
    /// # Errors
    /// `node` has not met the target, the target is a replica, or the slot still has keys here.
    pub fn assign(
        &self,
        node: NodeNumber,
        slot: Slot,
        target: &[u8],
        keys: usize,
    ) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        let found = map.met_by(node, target);
        let target = found.ok_or_else(|| TopologyError::Unknown(target.to_vec()))?;
        if map.node(target).role != Role::Master {
            return Err(TopologyError::NotMaster);
        }
        if self.owner_seen_by(&map, node, slot) == Some(node) && target != node && keys > 0 {
            return Err(TopologyError::KeysLeft(slot));
        }
        if keys == 0 {
            map.nodes[node].migrating.remove(&slot);
        }
        if target == node && map.nodes[node].importing.remove(&slot).is_some() {
            // A new epoch, so that the move wins over what other nodes believe.
            Self::bump(&mut map, node);
        }
        let before = self.owner_of(slot).filter(|&owner| owner != target);
        let shard = map.node(target).shard;
        self.set_owner(slot, Some(target), shard);
        if let Some(before) = before {
            // The previous owner has lost the slot, so it is not migrating it any more.
            map.nodes[before].migrating.remove(&slot);
            map.nodes[before].last_slot_lost = (!self.owns_any(before)).then_some(slot);
        }
        if target != node && map.node(node).last_slot_lost == Some(slot) && !self.owns_any(node) {
            // A master without slots becomes a replica of the new owner, and so do its own
            // replicas: only once this command has reached it, so that resharding tools find a
            // master until then.
            self.follow_with_replicas(&mut map, node, target);
        }
        self.refresh(&mut map);
        Ok(())
    }

    /// Makes `node`, which owns nothing, and its replicas replicas of `master`.
    fn follow_with_replicas(&self, map: &mut Map, node: NodeNumber, master: NodeNumber) {
        for number in 0..map.nodes.len() {
            if number == node || map.node(number).role == Role::ReplicaOf(node) {
                self.follow(map, number, master);
            }
        }
    }

    fn owns_any(&self, node: NodeNumber) -> bool {
        Slot::all().any(|slot| self.owner_of(slot) == Some(node))
    }

    /// Makes `node`, which owns nothing, a replica of `master`.
    fn follow(&self, map: &mut Map, node: NodeNumber, master: NodeNumber) {
        let shard = if self.replicas_share_shards {
            map.node(master).shard
        } else {
            map.node(node).own_shard
        };
        let shard_id = map.node(master).shard_id.clone();
        map.new_roles.insert(node);
        let me = &mut map.nodes[node];
        (me.role, me.shard, me.shard_id) = (Role::ReplicaOf(master), shard, shard_id);
        me.last_slot_lost = None;
        me.migrating.clear();
        me.importing.clear();
    }

    /// Moves slots to `target` with a new epoch, whatever their owners, and clears their migrating
    /// and importing marks. The caller has moved their keys.
    ///
    /// # Errors
    /// The target is a replica or owns one of them; an owner and the target have not met; a slot is
    /// listed twice.
    pub fn move_slots(&self, slots: &[Slot], target: NodeNumber) -> Result<(), TopologyError> {
        self.check_move(slots, target)?;
        let mut map = self.map.write();
        let shard = map.node(target).shard;
        for &slot in slots {
            for node in &mut map.nodes {
                node.migrating.remove(&slot);
                node.importing.remove(&slot);
            }
            self.set_owner(slot, Some(target), shard);
        }
        map.epoch += 1;
        map.nodes[target].epoch = map.epoch;
        self.refresh(&mut map);
        Ok(())
    }

    /// Hands the slots of a migration that moves them as a whole over to `target`: it gets a higher epoch
    /// than any node it has met, unless it has one, and a source that is left without slots becomes its
    /// replica with its own replicas. The caller has moved their keys.
    pub fn hand_over(&self, slots: &[Slot], source: NodeNumber, target: NodeNumber) {
        let mut map = self.map.write();
        let shard = map.node(target).shard;
        for &slot in slots {
            for node in &mut map.nodes {
                node.migrating.remove(&slot);
                node.importing.remove(&slot);
            }
            self.set_owner(slot, Some(target), shard);
        }
        Self::bump(&mut map, target);
        if !self.owns_any(source) {
            self.follow_with_replicas(&mut map, source, target);
        }
        self.refresh(&mut map);
    }

    /// Checks whether [`Topology::move_slots`] would succeed.
    ///
    /// # Errors
    /// As [`Topology::move_slots`].
    pub fn check_move(&self, slots: &[Slot], target: NodeNumber) -> Result<(), TopologyError> {
        let map = self.map.read();
        if map.node(target).role != Role::Master {
            return Err(TopologyError::NotMaster);
        }
        let id = |node: NodeNumber| map.node(node).id.clone().into_bytes();
        self.each_once(slots, |slot| match self.owner_of(slot) {
            Some(owner) if owner == target => Err(TopologyError::AlreadyOwner(slot)),
            Some(owner) if !map.node(owner).knows(target) => {
                Err(TopologyError::DontKnow(id(target)))
            }
            Some(owner) if !map.node(target).knows(owner) => {
                Err(TopologyError::DontKnow(id(owner)))
            }
            _ => Ok(()),
        })
    }

    /// Returns the replica to promote when `master` fails and none is named: the first that is up.
    #[must_use]
    pub fn failover_candidate(&self, master: NodeNumber) -> Option<NodeNumber> {
        let is_heir = |node: &super::Node| node.role == Role::ReplicaOf(master) && node.is_up;
        self.map.read().nodes.iter().position(is_heir)
    }

    /// Gives `node` the highest epoch of all; returns whether it had to be changed, and the epoch.
    pub fn bump_epoch(&self, node: NodeNumber) -> (bool, u64) {
        let mut map = self.map.write();
        let bumped = Self::bump(&mut map, node);
        (bumped, map.node(node).epoch)
    }

    /// Gives `node` a higher epoch than any node it has met, unless it has that already; returns
    /// whether it was changed.
    fn bump(map: &mut Map, node: NodeNumber) -> bool {
        let me = map.node(node);
        let highest = me.met.iter().map(|&other| map.node(other).epoch).max().unwrap_or(0);
        if me.epoch != 0 && me.epoch == highest {
            return false;
        }
        let epoch = if me.is_alone() { highest } else { highest.max(map.epoch) } + 1;
        map.nodes[node].epoch = epoch;
        map.epoch = map.epoch.max(epoch);
        true
    }

    /// Gives a node that has met no other its first epoch.
    ///
    /// # Errors
    /// The node has met others, or has an epoch.
    pub fn set_epoch(&self, node: NodeNumber, epoch: u64) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        if !map.node(node).is_alone() {
            return Err(TopologyError::EpochNotAlone);
        }
        if map.node(node).epoch != 0 {
            return Err(TopologyError::EpochChosen);
        }
        map.nodes[node].epoch = epoch;
        map.epoch = map.epoch.max(epoch);
        Ok(())
    }

    /// Introduces `node`, and all nodes it has met, to the node that listens on `port`, and all
    /// nodes that one has met.
    ///
    /// # Errors
    /// No node of this process listens there.
    pub fn meet(&self, node: NodeNumber, host: &str, port: u16) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        let other = map.nodes.iter().position(|node| node.port == port && port != 0);
        let other = other.ok_or_else(|| TopologyError::NoNodeAt(host.to_owned(), port))?;
        let all: BTreeSet<NodeNumber> =
            map.node(node).met.union(&map.node(other).met).copied().collect();
        for &number in &all {
            map.nodes[number].met.extend(all.iter().copied());
            map.nodes[number].has_met = true;
        }
        self.refresh(&mut map);
        Ok(())
    }

    /// Removes the node with this id from the nodes that `node` has met.
    ///
    /// # Errors
    /// `node` has not met it, or it is `node` itself or its master.
    pub fn forget(&self, node: NodeNumber, id: &[u8]) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        let found = map.met_by(node, id);
        let other = found.ok_or_else(|| TopologyError::Unknown(id.to_vec()))?;
        if other == node {
            return Err(TopologyError::ForgetMyself);
        }
        if map.node(node).role == Role::ReplicaOf(other) {
            return Err(TopologyError::ForgetMaster);
        }
        map.nodes[node].met.remove(&other);
        self.refresh(&mut map);
        Ok(())
    }

    /// Makes `node` a replica of the node with this id.
    ///
    /// # Errors
    /// `node` has not met it, it is a replica, or `node` is a master with slots or keys.
    pub fn replicate(
        &self,
        node: NodeNumber,
        id: &[u8],
        has_keys: bool,
    ) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        let found = map.met_by(node, id);
        let master = found.ok_or_else(|| TopologyError::Unknown(id.to_vec()))?;
        if master == node {
            return Err(TopologyError::ReplicateMyself);
        }
        if map.node(master).role != Role::Master {
            return Err(TopologyError::ReplicateReplica);
        }
        if map.node(node).role == Role::Master && (self.owns_any(node) || has_keys) {
            return Err(TopologyError::NotEmpty);
        }
        self.follow(&mut map, node, master);
        self.refresh(&mut map);
        Ok(())
    }

    /// Promotes a replica to its master's place, with a new epoch; the master becomes its replica.
    /// With `force`, a replica with keys of its own loses the backlog it has not applied: the
    /// router takes care of that.
    ///
    /// # Errors
    /// `node` is a master, or its master is down and `force` is not given.
    pub fn fail_over(&self, node: NodeNumber, force: bool) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        let Role::ReplicaOf(master) = map.node(node).role else {
            return Err(TopologyError::FailoverOfMaster);
        };
        if !map.node(master).is_up && !force {
            return Err(TopologyError::MasterDown);
        }
        if self.replicas_share_shards {
            // Both serve from the same shard, which stays with the new master.
            let (home, shard) = (map.node(node).own_shard, map.node(master).own_shard);
            map.nodes[node].own_shard = shard;
            map.nodes[master].own_shard = home;
        }
        for other in 0..map.nodes.len() {
            if map.node(other).role == Role::ReplicaOf(master) {
                map.nodes[other].role = Role::ReplicaOf(node);
            }
        }
        map.new_roles.extend([node, master]);
        map.nodes[node].role = Role::Master;
        map.nodes[node].loses_backlog = force;
        map.nodes[master].role = Role::ReplicaOf(node);
        map.nodes[node].migrating = std::mem::take(&mut map.nodes[master].migrating);
        map.nodes[node].importing = std::mem::take(&mut map.nodes[master].importing);
        for other in &mut map.nodes {
            for peer in other.migrating.values_mut().chain(other.importing.values_mut()) {
                if *peer == master {
                    *peer = node;
                }
            }
        }
        map.epoch += 1;
        map.nodes[node].epoch = map.epoch;
        let shard = map.node(node).shard;
        for slot in Slot::all() {
            if self.owner_of(slot) == Some(master) {
                self.set_owner(slot, Some(node), shard);
            }
        }
        self.refresh(&mut map);
        Ok(())
    }

    /// Resets a node (`CLUSTER RESET`): it becomes a master without slots that has met no other;
    /// `hard` gives it a new id and epoch 0.
    ///
    /// # Errors
    /// The node is a master with keys.
    pub fn reset(&self, node: NodeNumber, hard: bool, has_keys: bool) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        if map.node(node).role == Role::Master && has_keys {
            return Err(TopologyError::ResetNotEmpty);
        }
        self.disown(&mut map, node);
        let fresh = map.new_id();
        // A former replica leaves its master's shard id.
        let shard_id = match map.node(node).role {
            Role::ReplicaOf(_) => map.new_id(),
            Role::Master => map.node(node).shard_id.clone(),
        };
        let me = &mut map.nodes[node];
        (me.role, me.shard, me.met) = (Role::Master, me.own_shard, BTreeSet::from([node]));
        (me.shard_id, me.last_slot_lost, me.loses_backlog) = (shard_id, None, true);
        if hard {
            (me.id, me.epoch) = (fresh, 0);
        }
        self.refresh(&mut map);
        Ok(())
    }

    /// Sets when a node serves although its cluster is down.
    pub fn set_down_rules(&self, node: NodeNumber, rules: DownRules) {
        let mut map = self.map.write();
        if std::mem::replace(&mut map.nodes[node].down_rules, rules) != rules {
            self.refresh(&mut map);
        }
    }

    /// Takes the nodes whose role has changed since the last call, in ascending order.
    pub fn take_new_roles(&self) -> BTreeSet<NodeNumber> {
        std::mem::take(&mut self.map.write().new_roles)
    }

    /// Sets whether a node is up.
    pub fn set_up(&self, node: NodeNumber, is_up: bool) {
        let mut map = self.map.write();
        map.nodes[node].is_up = is_up;
        self.refresh(&mut map);
    }

    /// Takes the whole cluster down, or up again.
    pub fn set_down(&self, is_down: bool) {
        let mut map = self.map.write();
        map.is_down = is_down;
        self.refresh(&mut map);
    }

    // ── helpers ───────────────────────────────────────────────────────────────────────────────

    fn each_once(
        &self,
        slots: &[Slot],
        mut check: impl FnMut(Slot) -> Result<(), TopologyError>,
    ) -> Result<(), TopologyError> {
        let mut seen = BTreeSet::new();
        for &slot in slots {
            check(slot)?;
            if !seen.insert(slot) {
                return Err(TopologyError::Twice(slot));
            }
        }
        Ok(())
    }

    fn disown(&self, map: &mut Map, node: NodeNumber) {
        map.nodes[node].migrating.clear();
        map.nodes[node].importing.clear();
        for slot in Slot::all() {
            if self.owner_of(slot) == Some(node) {
                self.give_up(map, node, slot);
            }
        }
    }

    fn give_up(&self, map: &mut Map, by: NodeNumber, slot: Slot) {
        map.nodes[by].migrating.remove(&slot);
        map.given_up.insert(slot, GivenUp { by, unassigned_at: BTreeSet::from([by]) });
        self.set_owner(slot, None, self.shard_of(slot));
    }

    fn set_owner(&self, slot: Slot, owner: Option<NodeNumber>, shard: usize) {
        let word =
            owner.map_or(NO_OWNER | (shard as u32) << SHARD_SHIFT, |owner| word(owner, shard));
        self.words[slot.index()].store(word | SLOW_PATH, Ordering::Relaxed);
    }

    /// Makes the slot words and `shard_of_nodes` agree with the map: which slots need the slow
    /// path, which shard each node serves from.
    pub(super) fn refresh(&self, map: &mut Map) {
        self.version.fetch_add(1, Ordering::AcqRel);
        map.given_up.retain(|&slot, _| self.owner_of(slot).is_none());
        map.cluster_ok = (0..map.nodes.len()).map(|node| self.is_cluster_ok(map, node)).collect();
        let mut moving = BTreeSet::new();
        for (node, shard_of_node) in map.nodes.iter().zip(&self.shard_of_nodes) {
            moving.extend(node.migrating.keys().chain(node.importing.keys()).copied());
            shard_of_node.store(node.shard as u32, Ordering::Relaxed);
        }
        for slot in Slot::all() {
            let word = &self.words[slot.index()];
            let is_slow = match self.owner_of(slot) {
                Some(owner) => {
                    !map.cluster_ok[owner] || !map.node(owner).is_up || moving.contains(&slot)
                }
                None => true,
            };
            let old = word.load(Ordering::Relaxed);
            word.store(if is_slow { old | SLOW_PATH } else { old & !SLOW_PATH }, Ordering::Relaxed);
        }
    }
}
