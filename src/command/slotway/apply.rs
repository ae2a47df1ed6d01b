//! Applying orders, and undoing faults when their time is over.
//!
//! Impossible changes of the topology are refused with Redis' own errors, before anything is
//! changed.

use crate::command::{Pace, Refusal, ReplyDelay};
use crate::faults::{
    Fault, FaultKind, FaultLimit, FaultScope, NodeName, Order, Promote, Scenario, ScenarioError,
    TIME_MS_DEFAULT, TooManyFaults,
};
use crate::keyspace::{Keyed, Keyspace, Millis};
use crate::slot::Slot;
use crate::state::ServerState;
use crate::state::clients::Client;
use crate::topology::{NodeNumber, Port, Role, TopologyError};

/// What an order is applied to: the process, with all its shards held.
pub(crate) struct ClusterAccess<'a, 'k> {
    /// The process.
    pub server: &'a ServerState,
    /// The client that gave the order, if it was one.
    pub me: Option<&'a Client>,
    /// Every shard, by number.
    pub shards: &'a mut [&'k mut Keyspace],
    /// The time, in milliseconds since the epoch.
    pub now: Millis,
    /// Called during long work.
    pub pace: &'a dyn Pace,
}

/// Applies an order. Returns the id of the fault that it has armed or, for CLEAR, the number of
/// faults that it has ended.
///
/// # Errors
/// The order cannot be applied; nothing was changed.
pub(crate) fn apply(
    order: &Order,
    access: &mut ClusterAccess<'_, '_>,
) -> Result<Option<u64>, Refusal> {
    let server = access.server;
    match order {
        Order::Move { runs, to } => move_slots(access, runs, to).map(|()| None),
        Order::Hold { slot, to, time, keys } => {
            let until = access.deadline(*time);
            hold(access, *slot, to, until, keys).map(Some)
        }
        Order::HoldMigrations { time } => {
            let until = access.deadline(*time);
            access.arm(FaultKind::HoldMigrations, until, None).map(Some)
        }
        Order::Finish(slot) => {
            let (from, to) = access.move_of(*slot)?;
            access.finish(*slot, from, to).map(|()| None)
        }
        Order::Revert(slot) => {
            let (from, to) = access.move_of(*slot)?;
            access.revert(*slot, from, to);
            Ok(None)
        }
        Order::FailOver(name) => fail_over(server, name).map(|()| None),
        Order::Stop { node, hangs, time, promote } => {
            let (node, until) = (find(server, node)?, access.deadline(*time));
            stop(access, node, *hangs, until, *promote).map(Some)
        }
        Order::Start(name) => {
            let node = find(server, name)?;
            if server.faults.stopped(node).is_none() {
                return Err(Refusal::new(format!("ERR node {node} is not stopped")));
            }
            access.start(node);
            Ok(None)
        }
        Order::Down { time } => {
            if server.faults.all().iter().any(|fault| fault.kind == FaultKind::Down) {
                return Err(Refusal::of("ERR the cluster is down already"));
            }
            let id = access.arm(FaultKind::Down, access.deadline(*time), None)?;
            server.topology.set_down(true);
            Ok(Some(id))
        }
        Order::Up => {
            server.faults.take(|fault| fault.kind == FaultKind::Down);
            server.topology.set_down(false);
            Ok(None)
        }
        Order::Latency { scope, ms, limit } => {
            let what = FaultKind::Latency { scope: resolve(server, scope)?, ms: *ms };
            access.arm(what, access.deadline(limit.time), limit.count).map(Some)
        }
        Order::Exec { answer, scope, limit } => {
            let what = FaultKind::Exec { answer: *answer, scope: resolve(server, scope)? };
            access.arm(what, access.deadline(limit.time), exec_count(limit)).map(Some)
        }
        Order::Conflict { key, limit } => {
            let what = FaultKind::Conflict(key.clone());
            access.arm(what, access.deadline(limit.time), exec_count(limit)).map(Some)
        }
        Order::Clear(id) => access.clear(*id).map(Some),
    }
}

/// Ends the faults whose time is over, and applies the steps of the scenario that are due.
pub(crate) fn apply_due(access: &mut ClusterAccess<'_, '_>) {
    let (now, faults) = (access.now, &access.server.faults);
    for fault in faults.take(|fault| fault.until <= now) {
        tracing::info!(id = fault.id, fired = fault.fired, fault = %fault.kind, "a fault ends");
        access.undo(&fault);
    }
    while let Some(step) = faults.take_step(now) {
        match apply(&step.order, access) {
            Ok(_) => {
                tracing::info!(line = step.line, order = step.text, "a step of the scenario");
                faults.end_step(None);
            }
            Err(refusal) => {
                let why = String::from_utf8_lossy(refusal.text()).into_owned();
                tracing::warn!(line = step.line, order = step.text, why, "a step was refused");
                faults.end_step(Some(ScenarioError { line: step.line, why }));
            }
        }
    }
}

/// Checks a scenario as far as possible before it is played.
///
/// # Errors
/// The first mistake, and its line.
pub(crate) fn check_scenario(
    server: &ServerState,
    scenario: &Scenario,
) -> Result<(), ScenarioError> {
    scenario.steps.iter().try_for_each(|step| {
        check_order(server, &step.order).map_err(|refusal| {
            let why = String::from_utf8_lossy(refusal.text()).into_owned();
            ScenarioError { line: step.line, why: why.trim_start_matches("ERR ").to_owned() }
        })
    })
}

/// Checks an order as far as possible before it is applied: its nodes, and the slots of its keys.
///
/// # Errors
/// An unknown node, or keys in another slot.
pub(crate) fn check_order(server: &ServerState, order: &Order) -> Result<(), Refusal> {
    match order {
        Order::Move { to, .. } => find(server, to).map(drop),
        Order::Hold { slot, to, keys, .. } => {
            find(server, to)?;
            require_in_slot(*slot, keys)
        }
        Order::FailOver(node) | Order::Stop { node, .. } | Order::Start(node) => {
            find(server, node).map(drop)
        }
        Order::Latency { scope, .. } | Order::Exec { scope, .. } => {
            resolve(server, scope).map(drop)
        }
        Order::HoldMigrations { .. }
        | Order::Finish(_)
        | Order::Revert(_)
        | Order::Down { .. }
        | Order::Up
        | Order::Conflict { .. }
        | Order::Clear(_) => Ok(()),
    }
}

/// Returns the node that a name refers to.
fn find(server: &ServerState, name: &NodeName) -> Result<NodeNumber, Refusal> {
    let topology = &server.topology;
    let found = match name {
        NodeName::Number(number) => Some(*number).filter(|&number| number < topology.nodes()),
        NodeName::Port(advertised) => {
            server.node_announced_at(*advertised).or_else(|| topology.node_at(*advertised))
        }
        NodeName::Id(id) => topology.with_nodes(|nodes| {
            nodes.iter().position(|node| node.id.as_bytes().eq_ignore_ascii_case(id))
        }),
    };
    found.ok_or_else(|| TopologyError::Unknown(name.to_string().into_bytes()).into())
}

/// Replaces the name of a node in a scope by its number.
fn resolve(
    server: &ServerState,
    scope: &FaultScope<NodeName>,
) -> Result<FaultScope<NodeNumber>, Refusal> {
    Ok(match scope {
        FaultScope::Anywhere => FaultScope::Anywhere,
        FaultScope::Slot(slot) => FaultScope::Slot(*slot),
        FaultScope::Node(name) => FaultScope::Node(find(server, name)?),
    })
}

/// How many EXECs a fault applies to: one unless a count or a time is given.
fn exec_count(limit: &FaultLimit) -> Option<u32> {
    limit.count.or(if limit.time.is_none() { Some(1) } else { None })
}

fn require_up(server: &ServerState, node: NodeNumber) -> Result<(), Refusal> {
    match server.topology.node(node).is_up {
        true => Ok(()),
        false => Err(Refusal::new(format!("ERR node {node} is stopped"))),
    }
}

fn require_in_slot(slot: Slot, keys: &[Vec<u8>]) -> Result<(), Refusal> {
    match keys.iter().all(|key| Slot::of(key) == slot) {
        true => Ok(()),
        false => Err(Refusal::CROSS_SLOT),
    }
}

fn fail_over(server: &ServerState, name: &NodeName) -> Result<(), Refusal> {
    let topology = &server.topology;
    let node = find(server, name)?;
    let replica = match topology.node(node).role {
        Role::ReplicaOf(_) => node,
        Role::Master => topology
            .failover_candidate(node)
            .ok_or_else(|| Refusal::new(format!("ERR node {node} has no replica that is up")))?,
    };
    require_up(server, replica)?;
    // A master that is down cannot bring its replica up to date.
    let force = match topology.node(replica).role {
        Role::ReplicaOf(master) => !topology.node(master).is_up,
        Role::Master => false,
    };
    topology.fail_over(replica, force)?;
    Ok(())
}

fn move_slots(
    access: &mut ClusterAccess<'_, '_>,
    runs: &[(Slot, Slot)],
    to: &NodeName,
) -> Result<(), Refusal> {
    let topology = &access.server.topology;
    let target = find(access.server, to)?;
    require_up(access.server, target)?;
    let run =
        |&(first, last): &(Slot, Slot)| (first.number()..=last.number()).filter_map(Slot::new);
    let slots: Vec<Slot> = runs.iter().flat_map(run).collect();
    topology.check_move(&slots, target)?;
    for owner in slots.iter().filter_map(|&slot| topology.owner_of(slot)) {
        require_up(access.server, owner)?;
    }
    let to = topology.shard_of_node(target);
    for &slot in &slots {
        // A migration ends here: the keys that had moved come along, and of a key that both have,
        // the owner's stays.
        if let Some(migration) = topology.migration_of(slot) {
            access.move_keys(slot, migration.to, to);
        }
        access.move_keys(slot, topology.shard_of(slot), to);
    }
    topology.move_slots(&slots, target)?;
    access
        .server
        .faults
        .take(|fault| matches!(fault.kind, FaultKind::Hold { slot, .. } if slots.contains(&slot)));
    Ok(())
}

fn hold(
    access: &mut ClusterAccess<'_, '_>,
    slot: Slot,
    to: &NodeName,
    until: Millis,
    keys: &[Vec<u8>],
) -> Result<u64, Refusal> {
    let topology = &access.server.topology;
    let target = find(access.server, to)?;
    require_in_slot(slot, keys)?;
    let owner = topology.owner_of(slot).ok_or(TopologyError::NotOwner(slot))?;
    if topology.node(owner).migrating.contains_key(&slot) {
        return Err(Refusal::new(format!(
            "ERR slot {} is on the move already: FINISH or REVERT it first",
            slot.number()
        )));
    }
    topology.check_move(&[slot], target)?;
    require_up(access.server, owner)?;
    require_up(access.server, target)?;
    let id = access.arm(FaultKind::Hold { slot, from: owner, to: target }, until, None)?;
    let id_of = |node| topology.node(node).id.into_bytes();
    let begun = topology
        .set_migrating(owner, slot, &id_of(target))
        .and_then(|()| topology.set_importing(target, slot, &id_of(owner)));
    if let Err(error) = begun {
        topology.set_stable(owner, slot);
        access.server.faults.take(|fault| fault.id == id);
        return Err(error.into());
    }
    let (from, to) = (topology.shard_of_node(owner), topology.shard_of_node(target));
    keys.iter().for_each(|key| access.move_key(slot, key, from, to));
    Ok(id)
}

fn stop(
    access: &mut ClusterAccess<'_, '_>,
    node: NodeNumber,
    hangs: bool,
    until: Millis,
    promote: Promote,
) -> Result<u64, Refusal> {
    let (topology, faults) = (&access.server.topology, &access.server.faults);
    require_up(access.server, node)?;
    let id = access.arm(FaultKind::Stop { node, hangs }, until, None)?;
    topology.set_up(node, false);
    match (topology.failover_candidate(node), promote) {
        (Some(replica), Promote::After(0)) => access.promote(replica),
        (Some(_), Promote::After(ms)) => {
            let what = FaultKind::Promotion(node);
            if let Err(refusal) = access.arm(what, access.now.saturating_add(ms), None) {
                topology.set_up(node, true);
                faults.take(|fault| fault.id == id);
                return Err(refusal);
            }
        }
        _ => {}
    }
    if !hangs {
        access.close_clients(node);
    }
    access.notify_listeners();
    Ok(id)
}

impl ClusterAccess<'_, '_> {
    /// When a fault of this duration ends.
    fn deadline(&self, time: Option<Millis>) -> Millis {
        self.now.saturating_add(time.unwrap_or(TIME_MS_DEFAULT))
    }

    fn arm(&self, what: FaultKind, until: Millis, count: Option<u32>) -> Result<u64, Refusal> {
        self.server.faults.arm(what, until, count).map_err(|TooManyFaults| {
            Refusal::of("ERR as many faults are armed as there may be: CLEAR some")
        })
    }

    /// Ends a fault, or all of them, and returns how many were ended.
    fn clear(&mut self, id: Option<u64>) -> Result<u64, Refusal> {
        let faults = &self.server.faults;
        let ended = faults.take(|fault| id.is_none_or(|id| fault.id == id));
        if let (Some(id), true) = (id, ended.is_empty()) {
            return Err(Refusal::new(format!("ERR there is no fault {id}")));
        }
        if id.is_none() {
            faults.stop_scenario();
        }
        for fault in &ended {
            // A promotion that was still to come is cancelled, not done.
            if !matches!(fault.kind, FaultKind::Promotion(_)) {
                self.undo(fault);
            }
        }
        Ok(ended.len() as u64)
    }

    /// Promotes a replica, without waiting for its master.
    fn promote(&self, replica: NodeNumber) {
        if let Err(error) = self.server.topology.fail_over(replica, true) {
            tracing::error!(%error, node = replica, "a replica cannot be promoted");
        }
    }

    /// Closes the connections of a node; the one that gave the order gets its reply first. (The
    /// listener closes those that are being accepted at this moment.)
    fn close_clients(&self, node: NodeNumber) {
        for client in self.server.router().clients.all() {
            match self.me {
                _ if client.port != Port::Node(node) => {}
                Some(me) if me.id == client.id => me.close_after_reply(),
                _ => client.close(),
            }
        }
    }

    /// Undoes the effects of a fault that is not armed any more.
    fn undo(&mut self, fault: &Fault) {
        let topology = &self.server.topology;
        match fault.kind {
            FaultKind::Stop { node, .. } => self.start(node),
            FaultKind::Promotion(node) => {
                let is_needed = topology.node(node).role == Role::Master
                    && self.server.faults.stopped(node).is_some();
                if let Some(replica) = topology.failover_candidate(node).filter(|_| is_needed) {
                    self.promote(replica);
                }
            }
            FaultKind::Down => topology.set_down(false),
            FaultKind::Hold { slot, .. } => {
                // The migration may have ended by other means, or a new one may have begun.
                if let Ok((from, to)) = self.move_of(slot)
                    && let Err(refusal) = self.finish(slot, from, to)
                {
                    let why = String::from_utf8_lossy(refusal.text()).into_owned();
                    tracing::warn!(slot = slot.number(), why, "a slot's move cannot be finished");
                    self.revert(slot, from, to);
                }
            }
            // Migrations are looked at again now.
            FaultKind::HoldMigrations => self.server.faults.set_work_due(Some(self.now)),
            FaultKind::Latency { .. } | FaultKind::Exec { .. } | FaultKind::Conflict(_) => {}
        }
    }

    fn start(&mut self, node: NodeNumber) {
        self.server.faults.take(|fault| match fault.kind {
            FaultKind::Stop { node: it, .. } | FaultKind::Promotion(it) => it == node,
            _ => false,
        });
        self.server.topology.set_up(node, true);
        self.notify_listeners();
    }

    /// Makes the listeners open and close as the stopped nodes require; the reply waits until they
    /// have.
    fn notify_listeners(&mut self) {
        self.server.faults.listener_gate.request_update();
        self.pace.delay_reply(ReplyDelay::Listeners);
    }

    /// The source and the target of a slot's migration.
    fn move_of(&self, slot: Slot) -> Result<(NodeNumber, NodeNumber), Refusal> {
        let topology = &self.server.topology;
        let owner = topology.owner_of(slot);
        let target = owner.and_then(|owner| topology.node(owner).migrating.get(&slot).copied());
        owner
            .zip(target)
            .ok_or_else(|| Refusal::new(format!("ERR slot {} is not on the move", slot.number())))
    }

    fn finish(&mut self, slot: Slot, from: NodeNumber, to: NodeNumber) -> Result<(), Refusal> {
        let topology = &self.server.topology;
        topology.check_move(&[slot], to)?;
        self.move_keys(slot, topology.shard_of_node(from), topology.shard_of_node(to));
        topology.move_slots(&[slot], to)?;
        self.remove_hold(slot);
        Ok(())
    }

    fn revert(&mut self, slot: Slot, from: NodeNumber, to: NodeNumber) {
        let topology = &self.server.topology;
        let (old, new) = (topology.shard_of_node(from), topology.shard_of_node(to));
        for key in self.keys_of(slot, new) {
            let at_owner = self.shards[old].key(slot, &key);
            // If both have the key, the owner's stays: clients ask the owner first.
            match self.shards[old].peek(at_owner).is_some() && old != new {
                true => drop(self.shards[new].delete(self.shards[new].key(slot, &key))),
                false => self.move_key(slot, &key, new, old),
            }
        }
        topology.set_stable(from, slot);
        topology.set_stable(to, slot);
        self.remove_hold(slot);
    }

    /// Removes the fault that holds a slot half-migrated.
    fn remove_hold(&self, slot: Slot) {
        let is_it =
            |what: &FaultKind| matches!(what, FaultKind::Hold { slot: it, .. } if *it == slot);
        self.server.faults.take(|fault| is_it(&fault.kind));
    }

    fn keys_of(&self, slot: Slot, shard: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        self.shards[shard].walk_slot(slot, |entry| {
            keys.push(entry.key().to_vec());
            true
        });
        keys
    }

    /// Moves a slot's keys from one shard to another, and returns them. A key that both have is
    /// overwritten.
    pub(in crate::command) fn move_keys(
        &mut self,
        slot: Slot,
        from: usize,
        to: usize,
    ) -> Vec<Vec<u8>> {
        let keys = self.keys_of(slot, from);
        keys.iter().for_each(|key| self.move_key(slot, key, from, to));
        keys
    }

    fn move_key(&mut self, slot: Slot, key: &[u8], from: usize, to: usize) {
        if from == to {
            return;
        }
        let key = self.shards[from].key(slot, key);
        if let Some(parcel) = self.shards[from].detach(key) {
            self.pace.step(1);
            self.shards[to].insert_detached(key, parcel);
        }
    }
}
