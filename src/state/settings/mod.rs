//! The runtime parameters: CONFIG GET and CONFIG SET, and the same way for the command line and the
//! configuration file at the start.
//!
//! A parameter is one row of the table: its name, its type, how it is read and how it can be changed.
//! Values on the hot path are atomics with a typed getter. A parameter of a feature that Slotway does
//! not have (persistence, a memory limit) is a row all the same, because clients ask for it: with a
//! constant value, that refuses every other one with the reason, if another would be untrue; kept and
//! shown, if nothing depends on it here.
//!
//! ```text
//! value_type  the types of values: parsed and shown as Redis does
//! cluster     the values of a node as a member of its cluster
//! command_log the values of COMMANDLOG
//! row         a row, and macros for rows of the usual kinds
//! rows        the table
//! reply       the error replies of CONFIG SET
//! config      CONFIG GET and CONFIG SET over the table
//! ```

mod value_type;
mod cluster;
mod command_log;
mod row;
mod rows;
mod reply;
mod config;

use crate::dialect::Product;
use crate::keyspace::{EventClass, Limits, Millis, NodeLimits, PackLimits, event};
use crate::resp::BULK_LEN_MAX_DEFAULT;
use crate::state::clients::OutputLimits;
use crate::topology::LAG_MS_MAX;
use cluster::ClusterSettings;
pub(crate) use cluster::{SLOT_BYTES, SLOT_TIME};
use command_log::CommandLogSettings;
pub(crate) use command_log::{SIZES, SLOTS};
use parking_lot::{Mutex, RwLock};

pub(crate) use reply::{SetError, lacking_parameter};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU64, Ordering};
use subtle::{Choice, ConstantTimeEq};
use value_type::{BufferLimit, Value};

/// Most databases.
pub(crate) const DATABASES_MAX: usize = 1024;
/// The number of databases of a Redis by default.
pub(crate) const DATABASES_DEFAULT: usize = 16;

/// Connections that may wait to be accepted; the kernel may allow fewer.
pub(crate) const TCP_BACKLOG: i32 = 4096;

/// The settings chosen when the process starts.
#[derive(Clone, Debug)]
pub struct StartupSettings {
    /// The listening addresses, separated by spaces.
    pub bind: String,
    /// The router's port.
    pub port: u16,
    /// The working folder.
    pub dir: String,
    /// Whether the router port reports itself as a cluster node.
    pub cluster_enabled: bool,
    /// The number of databases under `cross-slot audit`, 1 to `DATABASES_MAX`.
    pub databases: usize,
    /// The server whose parameters there are.
    pub product: &'static Product,
    /// Raises the limit of file descriptors for so many clients; fails with the number of clients
    /// possible.
    pub reserve_files: fn(usize) -> Result<(), usize>,
}

impl Default for StartupSettings {
    fn default() -> Self {
        let bind = "127.0.0.1".to_owned();
        Self {
            bind,
            port: 0,
            dir: String::new(),
            cluster_enabled: false,
            databases: 1,
            product: &Product::REDIS7,
            reserve_files: |_| Ok(()),
        }
    }
}

/// The value of the lag while replicas share their masters' shards.
const SHARED_SHARDS: i64 = -1;

/// The values of all parameters.
#[derive(Debug)]
pub struct Settings {
    start: StartupSettings,
    /// The server whose parameters these are.
    product: &'static Product,
    /// The port that is listened on.
    port: AtomicI64,
    clients_max: AtomicI64,
    /// Seconds of idleness after which a client is closed; 0 for never.
    timeout: AtomicI64,
    /// Seconds between probes of a silent peer; 0 for none.
    tcp_keepalive: AtomicI64,
    bulk_len_max: AtomicI64,
    query_buffer_max: AtomicI64,
    pack_entries_max: AtomicI64,
    pack_value_len_max: AtomicI64,
    zset_entries_max: AtomicI64,
    zset_value_len_max: AtomicI64,
    intset_len_max: AtomicI64,
    list_piece: AtomicI64,
    sparse_len_max: AtomicI64,
    stream_node_entries_max: AtomicI64,
    stream_node_bytes_max: AtomicI64,
    protected: AtomicBool,
    explain: AtomicBool,
    /// Index into [`CrossSlot::ALL`].
    cross_slot: AtomicU8,
    cluster: ClusterSettings,
    command_log: CommandLogSettings,
    /// Microseconds from which on a command is slow; negative for never.
    slow_us: AtomicI64,
    busy_ms: AtomicI64,
    slowlog_len_max: AtomicI64,
    /// Milliseconds from which on a command is a spike; 0 for never.
    spike_ms: AtomicI64,
    /// Most keys that clients have read and are notified of; 0 for no limit.
    tracked_keys_max: AtomicI64,
    tracks_latency: AtomicBool,
    /// The percentiles that INFO shows.
    percentiles: Mutex<Vec<f64>>,
    /// By class, as [`value_type::CLASSES`].
    output_limits: Mutex<[BufferLimit; 3]>,
    /// The limits of normal clients and of subscribers once more, for the hot path.
    outbox_limits: Arc<OutputLimits>,
    /// The value of `notify-keyspace-events`.
    events: AtomicU16,
    /// The replicas' lag in milliseconds; [`SHARED_SHARDS`] if they share their masters' shards.
    replica_lag: Arc<AtomicI64>,
    password: RwLock<Box<[u8]>>,
    /// Whether `password` is not empty, for the hot path.
    has_password: AtomicBool,
    /// The values that decide nothing and have been set, by their parameter.
    kept: Mutex<BTreeMap<&'static str, Value>>,
    /// Held while CONFIG SET stores its values, so that two do not mix.
    changing: Mutex<()>,
    /// A number that no other settings of the process have, nor these at another time.
    version: AtomicU64,
}

/// The last number that settings were given.
static VERSIONS: AtomicU64 = AtomicU64::new(0);

fn next_version() -> u64 {
    VERSIONS.fetch_add(1, Ordering::Relaxed) + 1
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(StartupSettings::default())
    }
}

/// What clients are given to connect to (`cluster-preferred-endpoint-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointType {
    /// The node's address.
    Ip,
    /// The node's hostname (`cluster-announce-hostname`).
    Hostname,
    /// The host that the client connected to.
    Unknown,
}

impl EndpointType {
    const ALL: [Self; 3] = [Self::Ip, Self::Hostname, Self::Unknown];
    const WORDS: &[&str] = &["ip", "hostname", "unknown-endpoint"];
}

/// The router port's policy for requests and transactions with keys in several slots
/// (`cross-slot`). Node ports answer as a cluster does, whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossSlot {
    /// Refuses it.
    Reject,
    /// Runs it as one server without slots would.
    Audit,
    /// Splits by slot a command that can be split by key, outside MULTI; refuses everything else.
    Split,
}

impl CrossSlot {
    const ALL: [Self; 3] = [Self::Reject, Self::Audit, Self::Split];
    /// The words of `--cross-slot`.
    pub const WORDS: [&str; 3] = ["reject", "audit", "split"];

    /// Returns the word of `--cross-slot`.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl Settings {
    /// Makes settings with default values.
    #[must_use]
    pub fn new(start: StartupSettings) -> Self {
        let output_limits = value_type::OUTPUT_LIMITS;
        Self {
            port: AtomicI64::new(start.port.into()),
            product: start.product,
            start,
            clients_max: AtomicI64::new(10_000),
            timeout: AtomicI64::new(0),
            tcp_keepalive: AtomicI64::new(300),
            bulk_len_max: AtomicI64::new(BULK_LEN_MAX_DEFAULT as i64),
            query_buffer_max: AtomicI64::new(1 << 30),
            pack_entries_max: AtomicI64::new(512),
            pack_value_len_max: AtomicI64::new(64),
            zset_entries_max: AtomicI64::new(128),
            zset_value_len_max: AtomicI64::new(64),
            intset_len_max: AtomicI64::new(512),
            list_piece: AtomicI64::new(-2),
            sparse_len_max: AtomicI64::new(3000),
            stream_node_entries_max: AtomicI64::new(100),
            stream_node_bytes_max: AtomicI64::new(4096),
            protected: AtomicBool::new(true),
            explain: AtomicBool::new(false),
            cross_slot: AtomicU8::new(0),
            cluster: ClusterSettings::default(),
            command_log: CommandLogSettings::default(),
            slow_us: AtomicI64::new(10_000),
            busy_ms: AtomicI64::new(5000),
            slowlog_len_max: AtomicI64::new(128),
            spike_ms: AtomicI64::new(0),
            tracked_keys_max: AtomicI64::new(1_000_000),
            tracks_latency: AtomicBool::new(true),
            percentiles: Mutex::new(vec![50.0, 99.0, 99.9]),
            outbox_limits: outbox_limits(&output_limits),
            events: AtomicU16::new(0),
            replica_lag: Arc::new(AtomicI64::new(SHARED_SHARDS)),
            output_limits: Mutex::new(output_limits),
            password: RwLock::default(),
            has_password: AtomicBool::new(false),
            kept: Mutex::default(),
            changing: Mutex::default(),
            version: AtomicU64::new(next_version()),
        }
    }

    /// Returns a number that stands for these settings as they are now: it changes with them.
    #[must_use]
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Sets the port that is shown as the one that is listened on.
    pub fn set_port(&self, port: u16) {
        self.port.store(port.into(), Ordering::Relaxed);
    }

    /// Returns the listening addresses, separated by spaces.
    #[must_use]
    pub fn bind(&self) -> &str {
        &self.start.bind
    }

    /// Returns the most clients at a time.
    #[must_use]
    pub fn clients_max(&self) -> usize {
        size(&self.clients_max)
    }

    /// Returns the seconds of idleness after which a client is closed; `None` for never.
    #[must_use]
    pub fn timeout_s(&self) -> Option<u32> {
        u32::try_from(number(&self.timeout)).ok().filter(|&seconds| seconds > 0)
    }

    /// Returns the seconds between keepalive probes; `None` for no probes.
    #[must_use]
    pub fn tcp_keepalive_s(&self) -> Option<u32> {
        u32::try_from(number(&self.tcp_keepalive)).ok().filter(|&seconds| seconds > 0)
    }

    /// Returns the longest argument and string value, in bytes.
    #[must_use]
    pub fn bulk_len_max(&self) -> u64 {
        number(&self.bulk_len_max).unsigned_abs()
    }

    /// Returns the most bytes that a client may have sent and that are not executed yet.
    #[must_use]
    pub fn query_buffer_max(&self) -> usize {
        size(&self.query_buffer_max)
    }

    /// Returns the most bytes of replies that may wait for a client before it is closed; `None` for
    /// no limit (then the server stops reading from a client that does not read its replies).
    #[must_use]
    pub fn output_max(&self) -> Option<usize> {
        self.outbox_limits.normal.hard()
    }

    /// Returns the limits of the compact encodings.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            hash: PackLimits {
                entries_max: size(&self.pack_entries_max),
                value_len_max: size(&self.pack_value_len_max),
            },
            zset: PackLimits {
                entries_max: size(&self.zset_entries_max),
                value_len_max: size(&self.zset_value_len_max),
            },
            intset_len_max: size(&self.intset_len_max),
            list_piece: number(&self.list_piece),
            sparse_len_max: size(&self.sparse_len_max),
            stream_node: NodeLimits {
                entries_max: size(&self.stream_node_entries_max) as u64,
                bytes_max: size(&self.stream_node_bytes_max) as u64,
            },
        }
    }

    /// Returns the event classes and ways to publish of `notify-keyspace-events`; 0 if there is no
    /// class or no way among them.
    #[must_use]
    #[inline]
    pub fn events_wanted(&self) -> EventClass {
        let wanted = self.events.load(Ordering::Relaxed);
        let ways = event::BY_KEY | event::BY_NAME;
        if wanted & ways == 0 || wanted & !ways == 0 { 0 } else { wanted }
    }

    /// Returns the output buffer limits of clients with an outbox.
    #[must_use]
    pub fn outbox_limits(&self) -> &Arc<OutputLimits> {
        &self.outbox_limits
    }

    /// Returns the replicas' lag in milliseconds, as it changes.
    #[must_use]
    pub fn replica_lag(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.replica_lag)
    }

    /// Sets the lag of replicas with shards of their own, in milliseconds.
    pub fn set_replica_lag(&self, lag_ms: Millis) {
        self.replica_lag.store(lag_ms.clamp(0, LAG_MS_MAX), Ordering::Relaxed);
    }

    /// Returns for how long a script may run until other clients of its shard are refused, in
    /// milliseconds (`busy-reply-threshold`); `None` for any time.
    #[must_use]
    pub fn busy_ms(&self) -> Option<i64> {
        Some(number(&self.busy_ms)).filter(|ms| *ms > 0)
    }

    /// Returns from how many microseconds on a command is slow (`slowlog-log-slower-than`); `None`
    /// for never.
    #[must_use]
    pub fn slow_us(&self) -> Option<u64> {
        u64::try_from(number(&self.slow_us)).ok()
    }

    /// Returns the most entries of the slow log.
    #[must_use]
    pub fn slowlog_len_max(&self) -> usize {
        size(&self.slowlog_len_max)
    }

    /// Returns from how many milliseconds on a command is a spike (`latency-monitor-threshold`);
    /// Returns how many keys that clients have read are remembered at the most, 0 for no limit.
    #[must_use]
    pub fn tracked_keys_max(&self) -> usize {
        usize::try_from(number(&self.tracked_keys_max)).unwrap_or(0)
    }

    /// `None` for never.
    #[must_use]
    pub fn spike_ms(&self) -> Option<u64> {
        u64::try_from(number(&self.spike_ms)).ok().filter(|&ms| ms > 0)
    }

    /// Returns whether command times are recorded.
    #[must_use]
    pub fn tracks_latency(&self) -> bool {
        self.tracks_latency.load(Ordering::Relaxed)
    }

    /// Returns the percentiles of command times that INFO shows.
    #[must_use]
    pub fn percentiles(&self) -> Vec<f64> {
        self.percentiles.lock().clone()
    }

    /// Returns whether CROSSSLOT errors name the keys and slots.
    #[must_use]
    pub fn explain(&self) -> bool {
        self.explain.load(Ordering::Relaxed)
    }

    /// Returns the number of databases.
    #[must_use]
    pub fn databases(&self) -> usize {
        self.start.databases
    }

    /// Returns the router port's policy for keys in several slots.
    #[must_use]
    pub fn cross_slot(&self) -> CrossSlot {
        CrossSlot::ALL[usize::from(self.cross_slot.load(Ordering::Relaxed))]
    }

    /// Returns whether protected mode rejects clients from other machines while there is no
    /// password.
    #[must_use]
    pub fn protected(&self) -> bool {
        self.protected.load(Ordering::Relaxed)
    }

    /// Returns whether clients have to authenticate.
    #[must_use]
    pub fn needs_password(&self) -> bool {
        self.has_password.load(Ordering::Acquire)
    }

    /// Returns whether `candidate` is the password, in a time that depends on the candidate's
    /// length alone. Without a password every candidate is right, as for Redis' default user.
    #[must_use]
    pub fn check_password(&self, candidate: &[u8]) -> bool {
        let password = self.password.read();
        if password.is_empty() {
            return true;
        }
        let repeated = password.iter().cycle();
        let same_len = (candidate.len() as u64).ct_eq(&(password.len() as u64));
        let same: Choice =
            candidate.iter().zip(repeated).fold(same_len, |same, (a, b)| same & a.ct_eq(b));
        same.into()
    }
}

fn number(cell: &AtomicI64) -> i64 {
    cell.load(Ordering::Relaxed)
}

fn size(cell: &AtomicI64) -> usize {
    usize::try_from(number(cell)).unwrap_or(usize::MAX)
}

fn outbox_limits(limits: &[BufferLimit; 3]) -> Arc<OutputLimits> {
    let shared = Arc::default();
    set_outbox_limits(&shared, limits);
    shared
}

fn set_outbox_limits(shared: &OutputLimits, [normal, _, pubsub]: &[BufferLimit; 3]) {
    for (class, limit) in [(&shared.normal, normal), (&shared.pubsub, pubsub)] {
        let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let soft_s = u32::try_from(limit.soft_s).unwrap_or(u32::MAX);
        class.set(bytes(limit.hard), bytes(limit.soft), soft_s);
    }
}

#[cfg(test)]
mod tests {
    use super::rows;
    use super::*;

    fn get(settings: &Settings, pattern: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let found = settings.get([pattern.as_bytes()].into_iter());
        found.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn every_row_reads_what_it_shows() {
        for product in [&Product::REDIS7, &Product::REDIS8, &Product::VALKEY9] {
            let settings = Settings::default().of_node(product);
            for row in rows::of(product) {
                let value = (row.get)(&settings);
                let read = row
                    .value_type
                    .read(&value.text())
                    .unwrap_or_else(|why| panic!("{}: {why}", row.name));
                assert_eq!(read, value, "{}", row.name);
                let rows = rows::of(product).filter(|other| other.name == row.name).count();
                assert_eq!(rows, 1, "{}: {}", product.name, row.name);
            }
        }
    }

    #[test]
    fn a_node_has_the_parameters_of_its_product() {
        let router = Settings::default();
        let pair: &[(&[u8], &[u8])] = &[(b"cluster-announce-client-port", b"7")];
        let unknown = Err(SetError::Unknown(pair[0].0.to_vec()));
        for (node, outcome) in [
            (router.of_node(&Product::REDIS7), unknown.clone()),
            (router.of_node(&Product::VALKEY9), Ok(())),
        ] {
            let shown = usize::from(outcome.is_ok());
            assert_eq!(node.set(pair), outcome);
            assert_eq!(get(&node, "cluster-announce-client-port").len(), shown);
            assert_eq!(get(&node, "*-client-port").len(), shown);
            assert_eq!(node.announced_port(), outcome.is_ok().then_some(7));
        }
        assert_eq!(router.set(pair), unknown);
    }

    #[test]
    fn all_or_none() {
        let settings = Settings::default();
        let refused = settings.set(&[(b"timeout", b"7"), (b"tcp-keepalive", b"x")]);
        assert!(refused.is_err() && settings.timeout_s().is_none());
        settings.set(&[(b"TIMEOUT", b"7"), (b"hash-max-ziplist-value", b"1k")]).expect("both fit");
        assert_eq!(settings.timeout_s(), Some(7));
        assert_eq!(settings.limits().hash.value_len_max, 1000);
        assert_eq!(
            get(&settings, "hash-max-list*value"),
            [("hash-max-listpack-value".into(), "1000".into())]
        );
    }

    #[test]
    fn what_is_fixed_may_be_asked_for_as_it_is() {
        let settings = Settings::default();
        settings
            .set(&[(b"save", b""), (b"appendonly", b"NO"), (b"maxmemory", b"0gb")])
            .expect("no change");
        let refused = settings.set(&[(b"appendonly", b"yes")]).expect_err("fixed");
        assert!(refused.text().ends_with(b"slotway keeps its data in memory only"));
    }

    #[test]
    fn clients_are_allowed_as_far_as_there_is_room() {
        let reserve_files = |clients| if clients > 100 { Err(100) } else { Ok(()) };
        let settings =
            Settings::new(StartupSettings { reserve_files, ..StartupSettings::default() });
        let refused = settings.set(&[(b"timeout", b"7"), (b"maxclients", b"101")]);
        let refused = refused.expect_err("no room");
        assert!(refused.text().ends_with(b"specified number of clients, try with 100"));
        assert_eq!((settings.timeout_s(), settings.clients_max()), (None, 10_000));
        settings.set(&[(b"maxclients", b"100")]).expect("there is room");
        assert_eq!(settings.clients_max(), 100);
    }

    #[test]
    fn passwords() {
        let settings = Settings::default();
        assert!(!settings.needs_password() && settings.check_password(b"any"));
        settings.set(&[(b"requirepass", b"ab")]).expect("any text fits");
        assert!(settings.needs_password() && settings.check_password(b"ab"));
        for wrong in [&b""[..], b"a", b"abab", b"aba", b"ab\0", b"AB"] {
            assert!(!settings.check_password(wrong), "{}", wrong.escape_ascii());
        }
        settings.set(&[(b"requirepass", b"")]).expect("any text fits");
        assert!(!settings.needs_password());
    }

    #[test]
    fn the_hard_limit_of_normal_clients_is_the_one_in_use() {
        let settings = Settings::default();
        assert_eq!(settings.output_max(), None);
        settings
            .set(&[(b"client-output-buffer-limit", b"pubsub 1 2 3 normal 1mb 0 0")])
            .expect("fits");
        assert_eq!(settings.output_max(), Some(1 << 20));
        let shown = "normal 1048576 0 0 slave 268435456 67108864 60 pubsub 1 2 3";
        assert_eq!(get(&settings, "client-output-buffer-limit")[0].1, shown);
    }
}
