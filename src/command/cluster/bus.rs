//! The messages of the cluster bus, as CLUSTER INFO counts them.
//!
//! The nodes are in one process and send each other nothing. The counts are those of an idle cluster
//! of the same size that is as old as this process, by a model that was measured on clusters of 2 to 40
//! nodes of Redis 7.0.15 and of 2 to 12 nodes of Valkey 9.1.2 with the default node timeout.

/// One node's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BusMessages {
    /// Pings sent; as many are received, and each is replied to.
    pings: u64,
    /// MEET sent, to the node that the cluster was made with.
    meets_sent: u64,
    /// MEET received.
    meets_received: u64,
    /// The nodes of the cluster.
    nodes: u64,
}

/// A node sends about 0.95 pings in a second to other nodes that it picks.
const MICRO_PINGS_PER_MS: u64 = 950;
/// So many nodes get enough pings that way.
const NODES_PICKED: u64 = 8;
/// To each beyond them it sends so many more, lest their last pong become too old.
const MICRO_PINGS_PER_MS_AND_NODE: u64 = 70;

impl BusMessages {
    /// Returns the messages of a node that has known `others` for `age_ms`; `is_first` if the others
    /// have met it, and not it them.
    pub(super) fn of(others: usize, is_first: bool, age_ms: u64) -> Self {
        let others = others as u64;
        let beyond = others.saturating_sub(NODES_PICKED);
        let rate = MICRO_PINGS_PER_MS + beyond * MICRO_PINGS_PER_MS_AND_NODE;
        // Each new connection begins with a ping. A node without others sends none.
        let pings = match others {
            0 => 0,
            _ => others + age_ms.saturating_mul(rate) / 1_000_000,
        };
        let (meets_sent, meets_received) = match (others, is_first) {
            (0, _) => (0, 0),
            (_, true) => (0, others),
            (_, false) => (1, 0),
        };
        Self { pings, meets_sent, meets_received, nodes: others + 1 }
    }

    /// Returns the lines of CLUSTER INFO: each kind that there is, and their sums.
    pub(super) fn lines(&self) -> String {
        let &Self { pings, meets_sent, meets_received, .. } = self;
        let lines = |direction: &str, pongs: u64, meets: u64| {
            let kinds = [("ping", pings), ("pong", pongs), ("meet", meets)];
            let each = kinds.into_iter().filter(|&(_, count)| count > 0);
            let each = each.map(|(kind, count)| {
                format!("cluster_stats_messages_{kind}_{direction}:{count}\r\n")
            });
            let sum = pings + pongs + meets;
            each.chain([format!("cluster_stats_messages_{direction}:{sum}\r\n")])
                .collect::<String>()
        };
        // A MEET is replied to as a ping is.
        lines("sent", pings + meets_received, meets_sent)
            + &lines("received", pings + meets_sent, meets_received)
    }

    /// Returns the lines about their bytes, which Valkey has besides.
    pub(super) fn byte_lines(&self) -> String {
        /// A message without what it says of other nodes.
        const HEAD: u64 = 2304;
        /// What it says of one.
        const NODE: u64 = 104;
        // It says something of a tenth of the nodes, of three at least if there are so many besides the
        // sender and the receiver.
        let entries = (self.nodes / 10).max(3).min(self.nodes.saturating_sub(2));
        let messages = 2 * self.pings + self.meets_sent + self.meets_received;
        let bytes = messages.saturating_mul(HEAD + NODE * entries);
        format!(
            "cluster_stats_bytes_sent:{bytes}\r\ncluster_stats_bytes_received:{bytes}\r\n\
             cluster_stats_pubsub_bytes_sent:0\r\ncluster_stats_pubsub_bytes_received:0\r\n\
             cluster_stats_module_bytes_sent:0\r\ncluster_stats_module_bytes_received:0\r\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(nodes, age in seconds, pings sent)`, read off real nodes.
    #[test]
    fn pings_are_as_many_as_measured() {
        for (nodes, age_s, measured) in [
            (2, 971, 920),
            (2, 1353, 1266),
            (3, 38, 38),
            (3, 420, 388),
            (6, 35, 40),
            (6, 417, 388),
            (12, 83, 108),
            (12, 143, 178),
            (20, 407, 738),
            (40, 18, 103),
            (40, 78, 285),
            (40, 139, 475),
        ] {
            let BusMessages { pings, .. } = BusMessages::of(nodes - 1, true, age_s * 1000);
            let off = pings.abs_diff(measured);
            assert!(off * 10 <= measured, "{nodes} nodes after {age_s} s: {pings}, not {measured}");
        }
    }

    #[test]
    fn what_is_sent_is_received() {
        let sum = |lines: &str, name: &str| -> u64 {
            let found = lines.lines().find_map(|line| line.strip_prefix(name));
            found.map_or(0, |count| count.parse().expect("a number"))
        };
        for nodes in [2, 3, 6, 100] {
            let first = BusMessages::of(nodes - 1, true, 100_000).lines();
            let other = BusMessages::of(nodes - 1, false, 100_000).lines();
            let all = |name: &str| sum(&first, name) + (nodes as u64 - 1) * sum(&other, name);
            for kind in ["", "ping_", "meet_"] {
                let [sent, received] = ["sent:", "received:"]
                    .map(|direction| all(&format!("cluster_stats_messages_{kind}{direction}")));
                assert_eq!(sent, received, "{kind}");
                assert!(sent > 0, "{kind}");
            }
        }
    }

    /// A spare node has exchanged nothing, as a real one that has met no other.
    #[test]
    fn a_node_alone_has_no_kinds() {
        let expected = "cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n";
        assert_eq!(BusMessages::of(0, true, 100_000).lines(), expected);
    }

    #[test]
    fn bytes_are_as_measured() {
        for (nodes, messages, bytes) in [(2_usize, 2879, 6_633_168), (12, 86, 220_712)] {
            let it = BusMessages { pings: messages / 2, ..BusMessages::of(nodes - 1, true, 0) };
            let it = BusMessages { meets_received: messages % 2, ..it };
            let line = it.byte_lines();
            let shown = line.split([':', '\r']).nth(1).expect("a count");
            let shown: u64 = shown.parse().expect("a number");
            assert!(shown.abs_diff(bytes) * 50 <= bytes, "{nodes} nodes: {shown}, not {bytes}");
        }
    }
}
