//! The cluster as one of its nodes sees it: the data of the CLUSTER commands.

use super::map::Map;
use super::{Node, NodeNumber, Role, Topology};
use crate::slot::Slot;

/// A node in a view.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its number.
    pub number: NodeNumber,
    /// Its data.
    pub node: Node,
    /// The ranges of slots that it owns, first and last, ascending.
    pub ranges: Vec<(Slot, Slot)>,
}

/// The cluster as a node sees it at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The node whose view this is.
    pub me: NodeNumber,
    /// The nodes it has met, itself included, in the order of their numbers.
    pub nodes: Vec<NodeView>,
    /// The highest epoch.
    pub epoch: u64,
    /// Whether its cluster state is ok.
    pub is_ok: bool,
    /// Slots with an owner.
    pub assigned: usize,
    /// Slots with an owner that is up.
    pub served: usize,
}

impl View {
    /// Returns the node whose view this is.
    ///
    /// # Panics
    /// Never: a node has always met itself.
    #[must_use]
    pub fn myself(&self) -> &NodeView {
        self.nodes.iter().find(|node| node.number == self.me).expect("a node knows itself")
    }

    /// Returns a node of this view.
    #[must_use]
    pub fn get(&self, number: NodeNumber) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.number == number)
    }

    /// Returns the replicas of a master, in the order of their numbers.
    pub fn replicas_of(&self, master: NodeNumber) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().filter(move |node| node.node.role == Role::ReplicaOf(master))
    }
}

impl Topology {
    /// Returns the cluster as `me` sees it.
    #[must_use]
    pub fn view(&self, me: NodeNumber) -> View {
        self.seen_from(&self.map.read(), me)
    }

    /// Returns the cluster as the router port sees it: as the first node that knows the owner of
    /// the first assigned slot.
    #[must_use]
    pub fn view_of_router(&self) -> View {
        let map = self.map.read();
        self.seen_from(&map, self.router_node(&map))
    }

    /// Returns the node whose view the router port has: the first that knows the owner of the first
    /// assigned slot. Any node may have been taken out of the cluster, including the first.
    pub(super) fn router_node(&self, map: &Map) -> NodeNumber {
        let owner = Slot::all().find_map(|slot| self.owner_of(slot));
        let knows = |owner| map.nodes.iter().position(|node| node.knows(owner));
        owner.and_then(knows).unwrap_or(0)
    }

    fn seen_from(&self, map: &Map, me: NodeNumber) -> View {
        let mut ranges = vec![Vec::new(); map.nodes.len()];
        let (mut assigned, mut served) = (0, 0);
        let mut run: Option<(NodeNumber, Slot, Slot)> = None;
        for slot in Slot::all() {
            let owner = self.owner_seen_by(map, me, slot);
            assigned += usize::from(owner.is_some());
            served += usize::from(owner.is_some_and(|owner| map.node(owner).is_up));
            run = match (run, owner) {
                (Some((of, first, _)), Some(owner)) if of == owner => Some((of, first, slot)),
                (ended, owner) => {
                    if let Some((of, first, last)) = ended {
                        ranges[of].push((first, last));
                    }
                    owner.map(|owner| (owner, slot, slot))
                }
            };
        }
        if let Some((of, first, last)) = run {
            ranges[of].push((first, last));
        }
        let nodes = map.node(me).met.iter().map(|&number| NodeView {
            number,
            node: map.node(number).clone(),
            ranges: std::mem::take(&mut ranges[number]),
        });
        let nodes = nodes.collect();
        let is_ok = map.cluster_ok[me];
        let me_node = map.node(me);
        let epoch = if me_node.is_alone() { me_node.epoch } else { map.epoch };
        View { me, nodes, epoch, is_ok, assigned, served }
    }

    /// Returns the cluster as one node that owns every slot and listens on `port`: for clients that
    /// must go through the router port. It has the id of the node whose view it is.
    #[must_use]
    pub fn view_as_one(&self, port: u16) -> View {
        let mut view = self.view_of_router();
        let all = Slot::new(0).zip(Slot::new(crate::slot::SLOTS - 1));
        view.nodes.retain(|node| node.number == view.me);
        for one in &mut view.nodes {
            one.ranges = all.into_iter().collect();
            (one.node.port, one.node.role, one.node.is_up) = (port, Role::Master, true);
            one.node.migrating.clear();
            one.node.importing.clear();
        }
        (view.assigned, view.served) = (crate::slot::SLOTS as usize, crate::slot::SLOTS as usize);
        view
    }
}
