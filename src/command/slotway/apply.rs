//! Orders carried out, and undone when their time is over.
//!
//! Impossible topologies are refused in Redis' own sentences, before anything is changed.

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

/// What carries an order out: the process, with all its shards held.
pub struct ClusterAccess<'a, 'k> {
    /// The process.
    pub server: &'a ServerState,
    /// Who gave the order, if that was a client.
    pub me: Option<&'a Client>,
    /// Every shard, by its number.
    pub shards: &'a mut [&'k mut Keyspace],
    /// The time, in milliseconds since the epoch.
    pub now: Millis,
    /// To be told of long work.
    pub pace: &'a mut dyn Pace,
}

/// Carries out an order; gives the id of the fault that it armed or, for CLEAR, how many it ended.
///
/// # Errors
/// It cannot be; then nothing was changed.
pub fn carry_out(
    order: &Order,
    access: &mut ClusterAccess<'_, '_>,
) -> Result<Option<u64>, Refusal> {
    let server = access.server;
    match order {
        Order::Move { runs, to } => move_slots(access, runs, to).map(|()| None),
        Order::Hold { slot, to, time, keys } => {
            let until = access.until(*time);
            hold(access, *slot, to, until, keys).map(Some)
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
        Order::FailOver(name) => {
            let node = find(server, name)?;
            let heir = match server.topology.node(node).role {
                Role::ReplicaOf(_) => node,
                Role::Master => server.topology.failover_candidate(node).ok_or_else(|| {
                    Refusal::new(format!("ERR node {node} has no replica that is up"))
                })?,
            };
            is_up(server, heir)?;
            // From a master that is down nothing can come any more.
            let force = match server.topology.node(heir).role {
                Role::ReplicaOf(master) => !server.topology.node(master).is_up,
                Role::Master => false,
            };
            server.topology.fail_over(heir, force)?;
            Ok(None)
        }
        Order::Stop { node, hangs, time, promote } => {
            let (node, until) = (find(server, node)?, access.until(*time));
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
            let id = access.arm(FaultKind::Down, access.until(*time), None)?;
            server.topology.set_down(true);
            Ok(Some(id))
        }
        Order::Up => {
            server.faults.take(|fault| fault.kind == FaultKind::Down);
            server.topology.set_down(false);
            Ok(None)
        }
        Order::Latency { scope, ms, limit } => {
            let scope = at(server, scope)?;
            let until = access.until(limit.time);
            access.arm(FaultKind::Latency { scope, ms: *ms }, until, limit.count).map(Some)
        }
        Order::Exec { answer, scope, limit } => {
            let scope = at(server, scope)?;
            let until = access.until(limit.time);
            access.arm(FaultKind::Exec { answer: *answer, scope }, until, times(limit)).map(Some)
        }
        Order::Conflict { key, limit } => {
            let until = access.until(limit.time);
            access.arm(FaultKind::Conflict(key.clone()), until, times(limit)).map(Some)
        }
        Order::Clear(id) => {
            let ended = server.faults.take(|fault| id.is_none_or(|id| fault.id == id));
            if let (Some(id), true) = (id, ended.is_empty()) {
                return Err(Refusal::new(format!("ERR there is no fault {id}")));
            }
            let count = ended.len() as u64;
            if id.is_none() {
                server.faults.stop_scenario();
            }
            for fault in ended {
                // Who clears a fault wants nothing more to come of it.
                if !matches!(fault.kind, FaultKind::Promotion(_)) {
                    access.undo(&fault);
                }
            }
            Ok(Some(count))
        }
    }
}

/// Ends what is over by its time, and does what a scenario has come to.
pub fn do_what_is_due(access: &mut ClusterAccess<'_, '_>) {
    let (now, faults) = (access.now, &access.server.faults);
    for fault in faults.take(|fault| fault.until <= now) {
        tracing::info!(id = fault.id, fired = fault.fired, fault = %fault.kind, "a fault ends");
        access.undo(&fault);
    }
    while let Some(step) = faults.take_step(now) {
        match carry_out(&step.order, access) {
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

/// Says what is wrong with a scenario as far as that can be known before it is played.
///
/// # Errors
/// The first mistake, and its line.
pub fn check_all(server: &ServerState, scenario: &Scenario) -> Result<(), ScenarioError> {
    scenario.steps.iter().try_for_each(|step| {
        check(server, &step.order).map_err(|refusal| {
            let why = String::from_utf8_lossy(refusal.text()).into_owned();
            ScenarioError { line: step.line, why: why.trim_start_matches("ERR ").to_owned() }
        })
    })
}

/// Says what is wrong with an order as far as that can be known before it is carried out: its
/// nodes, and the slots of its keys.
///
/// # Errors
/// That.
pub fn check(server: &ServerState, order: &Order) -> Result<(), Refusal> {
    let scope = |scope: &FaultScope<NodeName>| at(server, scope).map(drop);
    match order {
        Order::Move { to, .. } => find(server, to).map(drop),
        Order::Hold { slot, to, keys, .. } => {
            find(server, to)?;
            are_in(*slot, keys)
        }
        Order::FailOver(node) | Order::Stop { node, .. } | Order::Start(node) => {
            find(server, node).map(drop)
        }
        Order::Latency { scope: it, .. } | Order::Exec { scope: it, .. } => scope(it),
        Order::Finish(_)
        | Order::Revert(_)
        | Order::Down { .. }
        | Order::Up
        | Order::Conflict { .. }
        | Order::Clear(_) => Ok(()),
    }
}

/// The node that a name stands for.
pub(super) fn find(server: &ServerState, name: &NodeName) -> Result<NodeNumber, Refusal> {
    let topology = &server.topology;
    let found = match name {
        NodeName::Number(number) => Some(*number).filter(|&number| number < topology.nodes()),
        NodeName::Port(delivered) => {
            let listened = server.announce.listening_port(*delivered);
            topology.node_at(listened).or_else(|| topology.node_at(*delivered))
        }
        NodeName::Id(id) => topology.with_nodes(|nodes| {
            nodes.iter().position(|node| node.id.as_bytes().eq_ignore_ascii_case(id))
        }),
    };
    found.ok_or_else(|| TopologyError::Unknown(name.to_string().into_bytes()).into())
}

fn at(
    server: &ServerState,
    scope: &FaultScope<NodeName>,
) -> Result<FaultScope<NodeNumber>, Refusal> {
    Ok(match scope {
        FaultScope::Anywhere => FaultScope::Anywhere,
        FaultScope::Slot(slot) => FaultScope::Slot(*slot),
        FaultScope::Node(name) => FaultScope::Node(find(server, name)?),
    })
}

/// How often EXEC is struck: once unless a count or a time is given.
fn times(limit: &FaultLimit) -> Option<u32> {
    limit.count.or(if limit.time.is_none() { Some(1) } else { None })
}

fn is_up(server: &ServerState, node: NodeNumber) -> Result<(), Refusal> {
    match server.topology.node(node).is_up {
        true => Ok(()),
        false => Err(Refusal::new(format!("ERR node {node} is stopped"))),
    }
}

fn are_in(slot: Slot, keys: &[Vec<u8>]) -> Result<(), Refusal> {
    match keys.iter().all(|key| Slot::of(key) == slot) {
        true => Ok(()),
        false => Err(Refusal::CROSS_SLOT),
    }
}

fn move_slots(
    access: &mut ClusterAccess<'_, '_>,
    runs: &[(Slot, Slot)],
    to: &NodeName,
) -> Result<(), Refusal> {
    let topology = &access.server.topology;
    let target = find(access.server, to)?;
    is_up(access.server, target)?;
    let run =
        |&(first, last): &(Slot, Slot)| (first.number()..=last.number()).filter_map(Slot::new);
    let slots: Vec<Slot> = runs.iter().flat_map(run).collect();
    topology.check_move(&slots, target)?;
    for owner in slots.iter().filter_map(|&slot| topology.owner_of(slot)) {
        is_up(access.server, owner)?;
    }
    for &slot in &slots {
        access.bring_all(slot, topology.shard_of(slot), topology.shard_of_node(target));
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
    are_in(slot, keys)?;
    let owner = topology.owner_of(slot).ok_or(TopologyError::NotOwner(slot))?;
    if topology.node(owner).migrating.contains_key(&slot) {
        return Err(Refusal::new(format!(
            "ERR slot {} is on the move already: FINISH or REVERT it first",
            slot.number()
        )));
    }
    topology.check_move(&[slot], target)?;
    is_up(access.server, owner)?;
    is_up(access.server, target)?;
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
    let (source, shard_of_node) = (topology.shard_of_node(owner), topology.shard_of_node(target));
    keys.iter().for_each(|key| access.bring(slot, key, source, shard_of_node));
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
    is_up(access.server, node)?;
    let id = access.arm(FaultKind::Stop { node, hangs }, until, None)?;
    topology.set_up(node, false);
    let heir = topology.failover_candidate(node);
    match (heir, promote) {
        (Some(heir), Promote::After(0)) => access.promote(heir),
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
        access.cut(node);
    }
    access.shift_doors();
    Ok(id)
}

impl ClusterAccess<'_, '_> {
    /// When something ends that is to last so long.
    fn until(&self, time: Option<Millis>) -> Millis {
        self.now.saturating_add(time.unwrap_or(TIME_MS_DEFAULT))
    }

    fn arm(&self, what: FaultKind, until: Millis, count: Option<u32>) -> Result<u64, Refusal> {
        self.server.faults.arm(what, until, count).map_err(|TooManyFaults| {
            Refusal::of("ERR as many faults are armed as there may be: CLEAR some")
        })
    }

    /// Has a replica take its master's place.
    fn promote(&self, heir: NodeNumber) {
        if let Err(error) = self.server.topology.fail_over(heir, true) {
            tracing::error!(%error, node = heir, "a replica cannot be promoted");
        }
    }

    /// Cuts off everybody who speaks to a node; who gave the order hears first how it went. (Those
    /// who connect at this moment are cut off by the listener, when it closes.)
    fn cut(&self, node: NodeNumber) {
        for client in self.server.clients.all() {
            match self.me {
                _ if client.port != Port::Node(node) => {}
                Some(me) if me.id == client.id => me.close_after_reply(),
                _ => client.close(),
            }
        }
    }

    /// Undoes what a fault did that is in the book no more.
    fn undo(&mut self, fault: &Fault) {
        let topology = &self.server.topology;
        match fault.kind {
            FaultKind::Stop { node, .. } => self.start(node),
            FaultKind::Promotion(node) => {
                let is_needed = topology.node(node).role == Role::Master
                    && self.server.faults.stopped(node).is_some();
                if let Some(heir) = topology.failover_candidate(node).filter(|_| is_needed) {
                    self.promote(heir);
                }
            }
            FaultKind::Down => topology.set_down(false),
            FaultKind::Hold { slot, .. } => {
                // It may have come to an end by other means, or have begun anew.
                if let Ok((from, to)) = self.move_of(slot)
                    && let Err(refusal) = self.finish(slot, from, to)
                {
                    let why = String::from_utf8_lossy(refusal.text()).into_owned();
                    tracing::warn!(slot = slot.number(), why, "a slot's move cannot be finished");
                    self.revert(slot, from, to);
                }
            }
            FaultKind::Latency { .. } | FaultKind::Exec { .. } | FaultKind::Conflict(_) => {}
        }
    }

    fn start(&mut self, node: NodeNumber) {
        self.server.faults.take(|fault| match fault.kind {
            FaultKind::Stop { node: it, .. } | FaultKind::Promotion(it) => it == node,
            _ => false,
        });
        self.server.topology.set_up(node, true);
        self.shift_doors();
    }

    /// Has the listeners look at who is stopped; the reply waits until they have.
    fn shift_doors(&mut self) {
        self.server.faults.listener_gate.request_update();
        self.pace.delay_reply(ReplyDelay::Doors);
    }

    /// Who gives a slot away, and who takes it over.
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
        self.bring_all(slot, topology.shard_of_node(from), topology.shard_of_node(to));
        topology.move_slots(&[slot], to)?;
        self.forget_hold(slot);
        Ok(())
    }

    fn revert(&mut self, slot: Slot, from: NodeNumber, to: NodeNumber) {
        let topology = &self.server.topology;
        let (old, new) = (topology.shard_of_node(from), topology.shard_of_node(to));
        for key in self.keys_of(slot, new) {
            let there = self.shards[old].key(slot, &key);
            // What both have is the owner's: that is whom clients ask first.
            match self.shards[old].peek(there).is_some() && old != new {
                true => drop(self.shards[new].delete(self.shards[new].key(slot, &key))),
                false => self.bring(slot, &key, new, old),
            }
        }
        topology.set_stable(from, slot);
        topology.set_stable(to, slot);
        self.forget_hold(slot);
    }

    fn forget_hold(&self, slot: Slot) {
        let is_it =
            |what: &FaultKind| matches!(what, FaultKind::Hold { slot: it, .. } if *it == slot);
        self.server.faults.take(|fault| is_it(&fault.kind));
    }

    fn keys_of(&self, slot: Slot, shard: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        self.shards[shard].walk_slot(slot, usize::MAX, |entry| {
            keys.push(entry.key().to_vec());
            true
        });
        keys
    }

    /// Brings a slot's keys from one shard to another; of a key that both have, the one brought
    /// stays.
    fn bring_all(&mut self, slot: Slot, from: usize, to: usize) {
        for key in self.keys_of(slot, from) {
            self.bring(slot, &key, from, to);
        }
    }

    fn bring(&mut self, slot: Slot, key: &[u8], from: usize, to: usize) {
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
