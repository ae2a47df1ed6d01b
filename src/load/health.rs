//! What the target reports of itself (INFO), before and after a run: events that make data vanish
//! without a fault of its transactions.

use super::setup_client::SetupClient;
use crate::resp::Reply;
use std::collections::BTreeMap;

/// The nodes of a target at one moment, by address. A target without INFO has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    nodes: BTreeMap<String, NodeHealth>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NodeHealth {
    /// Another one after each start.
    run_id: Option<String>,
    /// Keys removed since the start to make room.
    evicted: u64,
    is_replica: bool,
}

impl Health {
    /// Asks every node. What a node does not report is taken as nothing.
    #[must_use]
    pub(crate) fn of(client: &mut SetupClient) -> Self {
        let mut nodes = BTreeMap::new();
        for node in 0..client.slot_map().nodes().len() {
            let name = client.slot_map().nodes()[node].to_string();
            // A lost target is reported by the next request that needs it.
            let _asked = client.call_node(node, &[b"INFO"], &mut |reply| {
                if let Reply::Bulk(text) = reply {
                    let node = NodeHealth::read(&String::from_utf8_lossy(text));
                    nodes.insert(name.clone(), node);
                }
                Ok(())
            });
        }
        Self { nodes }
    }

    /// Why data may be missing since `self` without a fault of the target's transactions.
    #[must_use]
    pub(crate) fn excuse_until(&self, after: &Self) -> Option<String> {
        let evicted: u64 = after.both(self).map(|(now, before)| now.evicted_since(before)).sum();
        if evicted > 0 {
            return Some(format!(
                "the target evicted {evicted} keys meanwhile to make room (see its maxmemory-policy)"
            ));
        }
        let replica = |health: &Self| {
            let mut nodes = health.nodes.iter();
            nodes.find(|(_, node)| node.is_replica).map(|(name, _)| name.clone())
        };
        let name = replica(self).or_else(|| replica(after))?;
        Some(format!("{name} is a replica, whose data are those of its primary"))
    }

    /// The nodes that were restarted since `self`.
    #[must_use]
    pub(crate) fn restarted_until(&self, after: &Self) -> Vec<String> {
        let is_new = |name: &&String| {
            let (now, before) = (&after.nodes[*name], self.nodes.get(*name));
            before.is_some_and(|before| now.is_restarted(before))
        };
        after.nodes.keys().filter(is_new).cloned().collect()
    }

    /// Each node with its state in `before`.
    fn both<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (&'a NodeHealth, Option<&'a NodeHealth>)> {
        self.nodes.iter().map(|(name, now)| (now, before.nodes.get(name)))
    }
}

impl NodeHealth {
    fn read(info: &str) -> Self {
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        Self {
            run_id: field("run_id").map(str::to_owned),
            evicted: field("evicted_keys").and_then(|count| count.parse().ok()).unwrap_or(0),
            is_replica: field("role").is_some_and(|role| role != "master"),
        }
    }

    fn is_restarted(&self, before: &Self) -> bool {
        self.run_id.is_some() && before.run_id.is_some() && self.run_id != before.run_id
    }

    fn evicted_since(&self, before: Option<&Self>) -> u64 {
        match before {
            // The count begins again with a start.
            Some(before) if !self.is_restarted(before) => {
                self.evicted.saturating_sub(before.evicted)
            }
            _ => self.evicted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(nodes: &[(&str, &str)]) -> Health {
        let read = |&(name, info): &(&str, &str)| (name.to_owned(), NodeHealth::read(info));
        Health { nodes: nodes.iter().map(read).collect() }
    }

    #[test]
    fn evictions_and_replicas_are_excuses_and_restarts_are_known() {
        let before = health(&[("a", "run_id:x\r\nevicted_keys:5\r\nrole:master\r\n")]);
        for (after, excuse, restarted) in [
            ("run_id:x\r\nevicted_keys:5\r\nrole:master\r\n", None, false),
            ("run_id:x\r\nevicted_keys:9\r\nrole:master\r\n", Some("evicted 4 keys"), false),
            ("run_id:y\r\nevicted_keys:0\r\nrole:master\r\n", None, true),
            ("run_id:y\r\nevicted_keys:3\r\nrole:master\r\n", Some("evicted 3 keys"), true),
            ("run_id:x\r\nevicted_keys:5\r\nrole:slave\r\n", Some("a is a replica"), false),
            ("", None, false),
        ] {
            let after = health(&[("a", after)]);
            let why = before.excuse_until(&after);
            assert_eq!(why.is_some(), excuse.is_some(), "{why:?} {after:?}");
            assert!(why.is_none_or(|why| why.contains(excuse.unwrap_or_default())), "{after:?}");
            assert_eq!(!before.restarted_until(&after).is_empty(), restarted, "{after:?}");
        }
        assert_eq!(before.excuse_until(&Health::default()), None);
        assert!(Health::default().excuse_until(&before).is_some(), "nothing is known of before");
    }
}
