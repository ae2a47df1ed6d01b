//! Changes: slots assigned and moved, nodes met and forgotten, masters replaced.
//!
//! Each is refused with Redis' own sentence, before anything is changed. Whoever changes the owner
//! of a slot holds all shards that it concerns.

use super::map::Map;
use super::{NO_OWNER, NodeNumber, Role, SHARD_SHIFT, SLOW_PATH, Topology, TopologyError, word};
use crate::slot::Slot;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

impl Topology {
    /// Says on which port a node listens.
    pub fn set_port(&self, node: NodeNumber, port: u16) {
        self.map.write().nodes[node].port = port;
    }

    /// Gives unowned slots to `node`.
    ///
    /// # Errors
    /// One of them has an owner, or stands there twice.
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

    /// Takes slots from whoever owns them.
    ///
    /// # Errors
    /// One of them has no owner, or stands there twice.
    pub fn del_slots(&self, node: NodeNumber, slots: &[Slot]) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        self.each_once(slots, |slot| match self.owner_seen_by(&map, node, slot) {
            Some(_) => Ok(()),
            None => Err(TopologyError::AlreadyUnassigned(slot)),
        })?;
        for &slot in slots {
            if let Some(owner) = self.owner_of(slot) {
                map.nodes[owner].migrating.remove(&slot);
            }
            self.set_owner(slot, None, self.shard_of(slot));
        }
        self.refresh(&mut map);
        Ok(())
    }

    /// Takes all of a node's slots, which must hold no keys.
    ///
    /// # Errors
    /// It has keys.
    pub fn flush_slots(&self, node: NodeNumber, has_keys: bool) -> Result<(), TopologyError> {
        if has_keys {
            return Err(TopologyError::FlushNotEmpty);
        }
        let mut map = self.map.write();
        self.disown(&mut map, node);
        self.refresh(&mut map);
        Ok(())
    }

    /// `CLUSTER SETSLOT slot MIGRATING target` on `node`.
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

    /// `CLUSTER SETSLOT slot IMPORTING source` on `node`.
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

    /// `CLUSTER SETSLOT slot STABLE` on `node`: the slot is not on the move there.
    pub fn set_stable(&self, node: NodeNumber, slot: Slot) {
        let mut map = self.map.write();
        map.nodes[node].migrating.remove(&slot);
        map.nodes[node].importing.remove(&slot);
        self.refresh(&mut map);
    }

    /// `CLUSTER SETSLOT slot NODE target` on `node`, which holds `keys` keys of the slot.
    ///
    /// # Errors
    /// The target has not been met, is a replica, or the slot's keys have not left.
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
            // The move is to win against what others still believe.
            Self::bump(&mut map, node);
        }
        let before = self.owner_of(slot).filter(|&owner| owner != target);
        let shard = map.node(target).shard;
        self.set_owner(slot, Some(target), shard);
        if let Some(before) = before {
            // Who was told that it has lost the slot gives nothing away any more.
            map.nodes[before].migrating.remove(&slot);
            map.nodes[before].last_slot_lost = (!self.owns_any(before)).then_some(slot);
        }
        if target != node && map.node(node).last_slot_lost == Some(slot) && !self.owns_any(node) {
            // A master without slots is of no use but as a replica, and so are its own: once it
            // has been told itself, so that who moves slots finds a master up to then.
            for number in 0..map.nodes.len() {
                if number == node || map.node(number).role == Role::ReplicaOf(node) {
                    self.follow(&mut map, number, target);
                }
            }
        }
        self.refresh(&mut map);
        Ok(())
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
        let me = &mut map.nodes[node];
        (me.role, me.shard, me.shard_id) = (Role::ReplicaOf(master), shard, shard_id);
        me.last_slot_lost = None;
        me.migrating.clear();
        me.importing.clear();
    }

    /// Gives runs of slots to `target`, whoever owns them, with a new epoch; none of them is on the
    /// move afterwards. Whoever calls this has brought their keys.
    ///
    /// # Errors
    /// The target is a replica, or owns one of them; an owner and the target have not met; a slot
    /// stands there twice.
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

    /// Says whether [`Topology::move_slots`] would.
    ///
    /// # Errors
    /// As there.
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

    /// Returns the replica that takes the place of `master` when nobody says which: the first that
    /// is up.
    #[must_use]
    pub fn failover_candidate(&self, master: NodeNumber) -> Option<NodeNumber> {
        let is_heir = |node: &super::Node| node.role == Role::ReplicaOf(master) && node.is_up;
        self.map.read().nodes.iter().position(is_heir)
    }

    /// Gives `node` the latest epoch of all; returns whether it had it already.
    pub fn bump_epoch(&self, node: NodeNumber) -> (bool, u64) {
        let mut map = self.map.write();
        let bumped = Self::bump(&mut map, node);
        (bumped, map.node(node).epoch)
    }

    /// Returns a higher epoch than any other node has that `node` has met, unless it is that
    /// already.
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

    /// Gives a node that is alone its first epoch.
    ///
    /// # Errors
    /// It has met others, or has an epoch.
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

    /// Brings `node`, and all it has met, together with the node that listens on `port`, and all
    /// that one has met.
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

    /// Strikes the node with this id from what `node` has met.
    ///
    /// # Errors
    /// It has not been met, is `node` itself, or its master.
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

    /// Makes `node` a replica of the node with this id; returns the shard that it serves from now.
    ///
    /// # Errors
    /// That one has not been met or is a replica, or `node` is a master with slots or keys.
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

    /// Puts a replica in its master's place, with a new epoch; the master becomes its replica. If
    /// it has keys of its own and `force` is given, what it has not been told yet is lost: the router
    /// sees to that.
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
            // They serve from the same shard, which stays with the one who is the master.
            let (home, shard) = (map.node(node).own_shard, map.node(master).own_shard);
            map.nodes[node].own_shard = shard;
            map.nodes[master].own_shard = home;
        }
        for other in 0..map.nodes.len() {
            if map.node(other).role == Role::ReplicaOf(master) {
                map.nodes[other].role = Role::ReplicaOf(node);
            }
        }
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

    /// `CLUSTER RESET`: the node owns nothing, has met nobody, and is a master; `hard` gives it
    /// another id and epoch 0.
    ///
    /// # Errors
    /// It is a master with keys.
    pub fn reset(&self, node: NodeNumber, hard: bool, has_keys: bool) -> Result<(), TopologyError> {
        let mut map = self.map.write();
        if map.node(node).role == Role::Master && has_keys {
            return Err(TopologyError::ResetNotEmpty);
        }
        self.disown(&mut map, node);
        let fresh = map.new_id();
        // Who stood in for another leaves that one's shard.
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

    /// Whether the cluster serves only while every slot has an owner that is up (so by default), and
    /// whether it serves reads when it serves nothing else.
    pub fn set_rules(&self, needs_all_slots: bool, reads_when_down: bool) {
        self.reads_when_down.store(reads_when_down, Ordering::Relaxed);
        if self.needs_all_slots.swap(needs_all_slots, Ordering::Relaxed) != needs_all_slots {
            self.refresh(&mut self.map.write());
        }
    }

    /// Says whether a node serves.
    pub fn set_up(&self, node: NodeNumber, is_up: bool) {
        let mut map = self.map.write();
        map.nodes[node].is_up = is_up;
        self.refresh(&mut map);
    }

    /// Takes the whole cluster down, or brings it up again.
    pub fn set_down(&self, is_down: bool) {
        let mut map = self.map.write();
        map.is_down = is_down;
        self.refresh(&mut map);
    }

    // ── inside ────────────────────────────────────────────────────────────────────────────────

    fn owner_seen_by(&self, map: &Map, node: NodeNumber, slot: Slot) -> Option<NodeNumber> {
        self.owner_of(slot).filter(|&owner| map.node(node).knows(owner))
    }

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
                self.set_owner(slot, None, self.shard_of(slot));
            }
        }
    }

    fn set_owner(&self, slot: Slot, owner: Option<NodeNumber>, shard: usize) {
        let word =
            owner.map_or(NO_OWNER | (shard as u32) << SHARD_SHIFT, |owner| word(owner, shard));
        self.words[slot.index()].store(word | SLOW_PATH, Ordering::Relaxed);
    }

    /// Has the words and shard_of_nodes agree with the map: which slots need a closer look, which shard
    /// each node serves from.
    pub(super) fn refresh(&self, map: &mut Map) {
        self.version.fetch_add(1, Ordering::AcqRel);
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
