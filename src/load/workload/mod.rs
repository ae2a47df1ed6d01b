//! The workloads: each is a client's loop, the first values it needs, and its invariants.
//!
//! One file per workload, or per family of them:
//!
//! ```text
//! count      counter, incr, multi     the final value is the number of commits
//! transfer   transfer                 the sum of a group stays the same
//! order      order                    stock and balances are conserved
//! append     append                   nothing lost, duplicated, reordered or half done
//! lock       lock                     never two holders
//! value      read, pipeline           what is read was written to that key
//! cross      a share of any           refused as a whole
//! file       as a TOML file describes
//! ```

mod append;
mod audit;
mod count;
mod cross;
mod file;
mod lock;
mod order;
mod transfer;
mod value;

use super::failure::Failure;
use super::keys::{Keys, shown};
use super::plan::{Kind, Plan};
use super::random::{Picker, Rng};
use super::removal::Removal;
use super::script::Script;
use super::setup_client::{RequestWriter, SetupClient, expect_elements, expect_ok};
use super::verifier::{KeyNames, Verifier};
use crate::resp::Reply;
use crate::slot::Slot;
use std::ops::Range;
use std::sync::Arc;

/// A workload over its keys.
pub(crate) trait Workload: Send + Sync {
    /// Writes the first values; no key of the run is there.
    ///
    /// # Errors
    /// The target refused a request or was lost.
    fn prepare(&self, client: &mut SetupClient) -> Result<(), Failure>;

    /// Makes the script of one transaction loop, which is number `user` of the whole run.
    fn script(self: Arc<Self>, user: u32) -> Box<dyn Script>;

    /// Makes the script that checks invariants during the run, if they can be checked then.
    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>>;

    /// Reads the keys after the run and reports to the verifier what it finds.
    ///
    /// # Errors
    /// The target refused a request, was lost, or its reply says nothing about the keys.
    fn check(&self, client: &mut SetupClient) -> Result<(), Failure>;

    /// Removes all keys that its transactions may make, those of earlier runs too. Returns how many
    /// were there.
    ///
    /// # Errors
    /// The target refused a request or was lost.
    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure>;

    /// The names of its kinds of transactions.
    fn kinds(&self) -> Vec<String>;
}

/// What every workload needs.
#[derive(Clone)]
pub(crate) struct Context {
    /// The names of the keys.
    pub keys: Keys,
    /// The number of groups.
    pub groups: u64,
    /// The number of keys in each group.
    pub keys_per_group: u64,
    /// Most transactions in flight at a time.
    pub in_flight_max: u64,
    /// Picks a group.
    pub group: Picker,
    /// Picks a key of a group.
    pub key: Picker,
    /// Collects checks and violations.
    pub verifier: Arc<Verifier>,
}

/// Most keys of one MGET or DEL where a group need not be treated atomically.
const PIECE_KEYS_MAX: u64 = 512;

impl Context {
    /// The context of a plan whose workload has these invariants.
    fn new(plan: &Plan, invariants: &[&str], names: Box<dyn KeyNames>) -> Self {
        let shape = &plan.shape;
        let mut all: Vec<String> = invariants.iter().map(|&name| name.to_owned()).collect();
        if plan.workload.cross > 0.0 {
            all.push(cross::INVARIANT.to_owned());
        }
        Self {
            keys: Keys::new(&plan.workload.prefix),
            groups: shape.groups as u64,
            keys_per_group: shape.keys_per_group as u64,
            in_flight_max: (shape.connections * shape.pipeline) as u64,
            group: Picker::of_groups(shape, plan.seed),
            key: Picker::of_keys(shape, plan.seed),
            verifier: Arc::new(Verifier::new(all, shape.groups, names)),
        }
    }

    /// Picks a group and a key of it.
    fn pick_key(&self, rng: &mut Rng) -> (u64, u64) {
        (self.group.pick(rng), self.key.pick(rng))
    }

    /// Sets every key of a kind to what `value` writes for its group and index.
    fn set_all(
        &self,
        client: &mut SetupClient,
        kind: &str,
        mut value: impl FnMut(u64, u64, &mut Vec<u8>),
    ) -> Result<(), Failure> {
        let (mut key, mut text) = (Vec::new(), Vec::new());
        client.pipeline(
            self.groups * self.keys_per_group,
            &mut |i, request| {
                let (group, index) = (i / self.keys_per_group, i % self.keys_per_group);
                self.keys.write(group, kind, index, &mut key);
                text.clear();
                value(group, index, &mut text);
                request.command(&[b"SET", &key, &text]);
                Slot::of(&key)
            },
            &mut |_, reply| expect_ok(reply),
        )
    }

    /// Sets the one key of this kind in each group.
    fn set_one_per_group(
        &self,
        client: &mut SetupClient,
        kind: &str,
        value: &[u8],
    ) -> Result<(), Failure> {
        self.for_one_per_group(
            client,
            kind,
            &|request, key| request.command(&[b"SET", key, value]),
            &mut |_, reply| expect_ok(reply),
        )
    }

    /// Removes the one key of this kind in each group. Returns how many were there.
    fn remove_one_per_group(&self, client: &mut SetupClient, kind: &str) -> Result<u64, Failure> {
        let mut removal = Removal::default();
        self.for_one_per_group(
            client,
            kind,
            &|request, key| request.command(&[b"DEL", key]),
            &mut |_, reply| {
                removal.count(reply);
                Ok(())
            },
        )?;
        removal.end()
    }

    /// Sends a request about the one key of a kind in each group.
    fn for_one_per_group(
        &self,
        client: &mut SetupClient,
        kind: &str,
        write: &dyn Fn(&mut RequestWriter<'_>, &[u8]),
        on_reply: &mut dyn FnMut(u64, Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut key = Vec::new();
        client.pipeline(
            self.groups,
            &mut |group, request| {
                self.keys.write(group, kind, 0, &mut key);
                write(request, &key);
                Slot::of(&key)
            },
            on_reply,
        )
    }

    /// Removes every key of these kinds. Returns how many were there.
    fn remove_all(&self, client: &mut SetupClient, kinds: &[&str]) -> Result<u64, Failure> {
        let mut removal = Removal::default();
        for kind in kinds {
            let sent = self.for_pieces(client, kind, b"DEL", |_, _, reply| {
                removal.count(reply);
                Ok(())
            });
            if let Err(failure) = sent {
                removal.lose(failure);
            }
        }
        removal.end()
    }

    /// Sends a command with many keys of a kind, all of one group; calls `on_reply` with the group
    /// and the keys' indexes.
    fn for_pieces(
        &self,
        client: &mut SetupClient,
        kind: &str,
        command: &[u8],
        mut on_reply: impl FnMut(u64, Range<u64>, Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let pieces = self.keys_per_group.div_ceil(PIECE_KEYS_MAX);
        let range = |i: u64| {
            let first = i % pieces * PIECE_KEYS_MAX;
            (i / pieces, first..(first + PIECE_KEYS_MAX).min(self.keys_per_group))
        };
        let mut key = Vec::new();
        client.pipeline(
            self.groups * pieces,
            &mut |i, request| {
                let (group, range) = range(i);
                request.begin((range.end - range.start + 1) as usize);
                request.argument(command);
                for index in range {
                    self.keys.write(group, kind, index, &mut key);
                    request.argument(&key);
                }
                Slot::of(&key)
            },
            &mut |i, reply| {
                let (group, range) = range(i);
                on_reply(group, range, reply)
            },
        )
    }

    /// Reads every key of a kind, not atomically; calls `on_value` with group, index and value.
    fn read_all(
        &self,
        client: &mut SetupClient,
        kind: &str,
        on_value: &mut dyn FnMut(u64, u64, Reply<'_>),
    ) -> Result<(), Failure> {
        self.for_pieces(client, kind, b"MGET", |group, range, reply| {
            let elements = expect_elements(reply, Some(range.end - range.start), "MGET")?;
            range.zip(elements).for_each(|(index, value)| on_value(group, index, value));
            Ok(())
        })
    }
}

/// The names of a workload with one kind of keys and one kind of transactions.
struct OneKind {
    keys: Keys,
    key_kind: &'static str,
    transaction: &'static str,
}

impl OneKind {
    fn new(plan: &Plan, key_kind: &'static str, transaction: &'static str) -> Self {
        Self { keys: Keys::new(&plan.workload.prefix), key_kind, transaction }
    }
}

impl KeyNames for OneKind {
    fn key(&self, group: u64, key: u32) -> String {
        shown(&self.keys.name(group, self.key_kind, u64::from(key)))
    }

    fn kind(&self, _kind: usize) -> String {
        self.transaction.to_owned()
    }
}

/// The elements of an array as integers; `None` is an element that is missing or not a number.
fn integers(reply: Reply<'_>) -> impl Iterator<Item = Option<i64>> {
    reply.elements().into_iter().flatten().map(|element| element.integer())
}

/// Writes the elements of an array into `values`; missing ones stay as they are.
fn read_integers(reply: Reply<'_>, values: &mut [Option<i64>]) {
    values.iter_mut().zip(integers(reply)).for_each(|(place, value)| *place = value);
}

/// A value as evidence shows it.
fn number_or_nil<N: ToString>(value: Option<N>) -> String {
    value.map_or_else(|| "nil".to_owned(), |value| value.to_string())
}

/// Makes the workload of a plan and its verifier.
///
/// # Errors
/// The workload file cannot be read or is wrong.
pub(crate) fn make(plan: &Plan) -> Result<(Arc<dyn Workload>, Arc<Verifier>), Failure> {
    let (inner, context): (Arc<dyn Workload>, Context) = match plan.workload.kind {
        kind @ (Kind::Counter | Kind::Incr | Kind::Multi) => count::make(plan, kind),
        Kind::Transfer => transfer::make(plan),
        Kind::Order => order::make(plan),
        Kind::Append => append::make(plan),
        Kind::Lock => lock::make(plan),
        kind @ (Kind::Read | Kind::Pipeline) => value::make(plan, kind),
        Kind::File => file::make(plan)?,
    };
    let verifier = Arc::clone(&context.verifier);
    if plan.workload.cross > 0.0 {
        return Ok((cross::make(plan, inner, context), verifier));
    }
    Ok((inner, verifier))
}
