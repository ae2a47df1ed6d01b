//! The workloads: each is a client's loop, the first values it needs, and what must hold afterwards.
//!
//! One file a workload, or a family of them:
//!
//! ```text
//! count      counter, incr, multi     the final value is the number of commits
//! transfer   transfer                 the sum stays
//! order      order                    goods and money are conserved
//! append     append                   nothing lost, doubled, reordered, half done
//! lock       lock                     never two holders
//! value      read, pipeline           what is read was written to that key
//! cross      a share of any           refused whole
//! file       as a TOML file says
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

use super::chance::{Chance, Picker};
use super::failure::Failure;
use super::keys::Keys;
use super::plan::{Kind, Plan};
use super::script::Script;
use super::setup_client::Courier;
use super::verifier::{Names, Referee};
use crate::slot::Slot;
use std::sync::Arc;

/// A workload over its keys.
pub trait Workload: Send + Sync {
    /// Writes the first values.
    ///
    /// # Errors
    /// The target refused or was lost.
    fn prepare(&self, courier: &mut Courier) -> Result<(), Failure>;

    /// The part of one user.
    fn script(self: Arc<Self>, user: u32) -> Box<dyn Script>;

    /// Who looks at the invariants while the load runs, if they can be seen then.
    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>>;

    /// Reads the keys after the run and tells the referee.
    ///
    /// # Errors
    /// The target refused or was lost.
    fn check(&self, courier: &mut Courier) -> Result<(), Failure>;

    /// Removes the keys.
    ///
    /// # Errors
    /// The target refused or was lost.
    fn clean(&self, courier: &mut Courier) -> Result<(), Failure>;

    /// The names of its kinds of transactions.
    fn kinds(&self) -> Vec<String>;
}

/// What every workload stands on.
#[derive(Clone)]
pub struct Ground {
    /// The names of the keys.
    pub keys: Keys,
    /// How many groups there are.
    pub groups: u64,
    /// How many keys each of them has.
    pub keys_per_group: u64,
    /// How many transactions may be under way at a time.
    pub lanes: u64,
    /// Chooses a group.
    pub group: Picker,
    /// Chooses a key of a group.
    pub key: Picker,
    /// Who is told what is wrong.
    pub referee: Arc<Referee>,
}

/// Keys of a group read by one MGET at most, where they need not be read at the same moment.
const MGET_KEYS_MAX: u64 = 512;

impl Ground {
    /// The ground of a plan whose workload has these invariants.
    fn new(plan: &Plan, invariants: &[&str], names: Box<dyn Names>) -> Self {
        let shape = &plan.shape;
        let mut all: Vec<String> = invariants.iter().map(|&name| name.to_owned()).collect();
        if plan.workload.cross > 0.0 {
            all.push(cross::INVARIANT.to_owned());
        }
        Self {
            keys: Keys::new(&plan.workload.prefix),
            groups: shape.groups as u64,
            keys_per_group: shape.keys_per_group as u64,
            lanes: (shape.connections * shape.pipeline) as u64,
            group: Picker::of_groups(shape, plan.seed),
            key: Picker::of_keys(shape, plan.seed),
            referee: Arc::new(Referee::new(all, shape.groups, names)),
        }
    }

    /// A group and a key of it.
    fn pick(&self, chance: &mut Chance) -> (u64, u64) {
        (self.group.pick(chance), self.key.pick(chance))
    }

    /// Sets every key of a kind to `value`.
    fn set_all(
        &self,
        courier: &mut Courier,
        kind: &str,
        mut value: impl FnMut(u64, u64, &mut Vec<u8>),
    ) -> Result<(), Failure> {
        let (mut key, mut text) = (Vec::new(), Vec::new());
        courier.all(
            self.groups * self.keys_per_group,
            &mut |i, request| {
                let (group, index) = (i / self.keys_per_group, i % self.keys_per_group);
                self.keys.write(group, kind, index, &mut key);
                text.clear();
                value(group, index, &mut text);
                request.command(&[b"SET", &key, &text]);
                Slot::of(&key)
            },
            &mut |_, reply| super::setup_client::must_be_ok(reply),
        )
    }

    /// Removes every key of these kinds; `extra` ones more than there are keys in a group.
    fn remove_all(&self, courier: &mut Courier, kinds: &[&str]) -> Result<(), Failure> {
        let mut key = Vec::new();
        for kind in kinds {
            courier.all(
                self.groups * self.keys_per_group,
                &mut |i, request| {
                    self.keys.write(
                        i / self.keys_per_group,
                        kind,
                        i % self.keys_per_group,
                        &mut key,
                    );
                    request.command(&[b"DEL", &key]);
                    Slot::of(&key)
                },
                &mut |_, reply| super::setup_client::must_not_be_error(reply),
            )?;
        }
        Ok(())
    }

    /// Reads every key of a kind, not all at the same moment: `hear` gets group, key and value.
    fn read_all(
        &self,
        courier: &mut Courier,
        kind: &str,
        hear: &mut dyn FnMut(u64, u64, crate::resp::Reply<'_>),
    ) -> Result<(), Failure> {
        let pieces = self.keys_per_group.div_ceil(MGET_KEYS_MAX);
        let range = |i: u64| {
            let first = i % pieces * MGET_KEYS_MAX;
            (i / pieces, first..(first + MGET_KEYS_MAX).min(self.keys_per_group))
        };
        let mut key = Vec::new();
        courier.all(
            self.groups * pieces,
            &mut |i, request| {
                let (group, range) = range(i);
                request.begin((range.end - range.start + 1) as usize);
                request.argument(b"MGET");
                for index in range {
                    self.keys.write(group, kind, index, &mut key);
                    request.argument(&key);
                }
                Slot::of(&key)
            },
            &mut |i, reply| {
                super::setup_client::must_not_be_error(reply)?;
                let (group, range) = range(i);
                let elements = reply.elements().into_iter().flatten();
                range.zip(elements).for_each(|(index, value)| hear(group, index, value));
                Ok(())
            },
        )
    }
}

/// Makes the workload of a plan, and its referee.
///
/// # Errors
/// The workload file cannot be read or is wrong.
pub fn make(plan: &Plan) -> Result<(Arc<dyn Workload>, Arc<Referee>), Failure> {
    let (inner, ground): (Arc<dyn Workload>, Ground) = match plan.workload.kind {
        kind @ (Kind::Counter | Kind::Incr | Kind::Multi) => count::make(plan, kind),
        Kind::Transfer => transfer::make(plan),
        Kind::Order => order::make(plan),
        Kind::Append => append::make(plan),
        Kind::Lock => lock::make(plan),
        kind @ (Kind::Read | Kind::Pipeline) => value::make(plan, kind),
        Kind::File => file::make(plan)?,
    };
    let referee = Arc::clone(&ground.referee);
    if plan.workload.cross > 0.0 {
        return Ok((cross::make(plan, inner, ground), referee));
    }
    Ok((inner, referee))
}
