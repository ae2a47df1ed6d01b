//! The reference servers that tests share.
//!
//! A server that owns every slot takes two seconds until it accepts writes, so one is [leased](lease),
//! emptied and given back. The nodes of a cluster spend seconds waiting to hear of each other, and
//! what a transcript does to them cannot be undone: each cluster is played once, and those of the
//! selected tests [form ahead](form_ahead) in the background.
//!
//! A missing server never passes in silence. With `SLOTWAY_REFERENCES=required` in the environment, as
//! `tests/run` has it, its tests fail; otherwise a line below the summary counts what was not checked.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once};

use crate::env::setting;
use crate::janitor;
use crate::nodes::Shape;
use crate::oracle::{Oracle, OracleCluster, Reference};
use crate::servers::Missing;

// ── missing servers ───────────────────────────────────────────────────────────────────────────────

/// Counts one more test that has no reference, for the note at the end.
///
/// # Panics
/// References are required.
pub(crate) fn report_missing(missing: &Missing) {
    static COUNTS: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    let Missing(program) = missing;
    assert!(
        setting("SLOTWAY_REFERENCES").as_deref() != Some("required"),
        "{program} is not installed, and SLOTWAY_REFERENCES=required"
    );
    let mut counts = COUNTS.lock().expect("nothing below panics while it is held");
    *counts.entry(program.clone()).or_default() += 1;
    let all: usize = counts.values().sum();
    let each: Vec<_> = counts.iter().map(|(program, n)| format!("{program}: {n}")).collect();
    janitor::set_note(&format!(
        "NOT COMPARED WITH A REFERENCE SERVER: {all} of the tests that passed. Not installed: {}. \
         tests/run installs what is missing.",
        each.join(", ")
    ));
}

// ── servers that own every slot ───────────────────────────────────────────────────────────────────

/// A server for one test at a time. A test that panics does not give it back.
pub(crate) struct Lease {
    oracle: Option<Oracle>,
    reference: Reference,
    options: Vec<String>,
}

#[derive(Default)]
struct Pool {
    /// By what they are and their options.
    idle: HashMap<(Reference, Vec<String>), Vec<Oracle>>,
    /// The server that `SLOTWAY_ORACLE` names is leased: there is just one.
    is_named_leased: bool,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);
static RETURNED: Condvar = Condvar::new();

/// A reference with these options beside the usual ones and without data. `None` if there is no
/// such server, which is then reported.
pub(crate) fn lease(options: &[String]) -> Option<Lease> {
    lease_of(Reference::Redis, options)
}

/// The same of any reference.
pub(crate) fn lease_of(reference: Reference, options: &[String]) -> Option<Lease> {
    let is_named = Oracle::is_named(reference, options);
    let mut pool = POOL.lock().expect("nothing below panics while it is held");
    let idle = loop {
        let Pool { idle, is_named_leased } = &mut *pool;
        if !(is_named && *is_named_leased) {
            *is_named_leased |= is_named;
            break idle.get_mut(&(reference, options.to_vec())).and_then(Vec::pop);
        }
        pool = RETURNED.wait(pool).expect("nothing panics while it is held");
    };
    drop(pool);
    let started = idle.map_or_else(|| Oracle::start(reference, options), Ok);
    let oracle = started.inspect_err(report_missing).ok()?;
    oracle.empty();
    Some(Lease { oracle: Some(oracle), reference, options: options.to_vec() })
}

impl std::ops::Deref for Lease {
    type Target = Oracle;

    fn deref(&self) -> &Oracle {
        self.oracle.as_ref().expect("it is given back by drop only")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(oracle) = self.oracle.take() else { return };
        let Ok(mut pool) = POOL.lock() else { return };
        let Pool { idle, is_named_leased } = &mut *pool;
        if Oracle::is_named(self.reference, &self.options) {
            *is_named_leased = false;
            RETURNED.notify_one();
        }
        if !std::thread::panicking() {
            idle.entry((self.reference, std::mem::take(&mut self.options)))
                .or_default()
                .push(oracle);
        }
    }
}

// ── clusters ──────────────────────────────────────────────────────────────────────────────────────

/// Forms a cluster. `None` if there is no such server, which is then reported.
pub(crate) fn start_cluster(
    reference: Reference,
    shape: Shape,
    options: &[String],
) -> Option<OracleCluster> {
    OracleCluster::start(reference, shape, options).inspect_err(report_missing).ok()
}

/// A cluster that a test will ask for.
#[derive(Clone)]
pub(crate) struct Order {
    /// Of the transcript; no two orders have the same one.
    pub(crate) name: String,
    pub(crate) reference: Reference,
    pub(crate) shape: Shape,
    pub(crate) options: Vec<String>,
}

/// So many clusters form at a time, and so many wait for their tests: both cost processor time that
/// the tests need.
const FORMING_MAX: usize = 4;
const READY_MAX: usize = 4;

#[derive(Default)]
struct Ahead {
    /// Not begun.
    waiting: VecDeque<Order>,
    /// By the name of the order; `None` while it forms.
    begun: HashMap<String, Option<Formed>>,
}

/// A cluster, or the panic of the thread that wanted to form it.
type Formed = Result<Result<OracleCluster, Missing>, Box<dyn Any + Send>>;

static AHEAD: LazyLock<Mutex<Ahead>> = LazyLock::new(Mutex::default);
/// Notified when a cluster is ready, or is taken.
static CHANGED: Condvar = Condvar::new();

fn ahead() -> MutexGuard<'static, Ahead> {
    AHEAD.lock().expect("nothing panics while it is held")
}

/// Begins to form the clusters that tests will ask for, in this order. Only the first call counts.
pub(crate) fn form_ahead(orders: impl FnOnce() -> VecDeque<Order>) {
    static BEGIN: Once = Once::new();
    BEGIN.call_once(|| {
        let orders = orders();
        let threads = FORMING_MAX.min(orders.len());
        ahead().waiting = orders;
        for _ in 0..threads {
            std::thread::spawn(form_all);
        }
    });
}

fn form_all() {
    let mut all = ahead();
    loop {
        let Ahead { waiting, begun } = &mut *all;
        let ready = begun.values().filter(|formed| formed.is_some()).count();
        if ready >= READY_MAX {
            all = CHANGED.wait(all).expect("nothing panics while it is held");
            continue;
        }
        let Some(order) = waiting.pop_front() else { return };
        begun.insert(order.name.clone(), None);
        drop(all);
        let formed = form(&order);
        all = ahead();
        all.begun.insert(order.name, Some(formed));
        CHANGED.notify_all();
    }
}

fn form(order: &Order) -> Formed {
    let Order { reference, shape, options, .. } = order;
    catch_unwind(AssertUnwindSafe(|| OracleCluster::start(*reference, *shape, options)))
}

/// The cluster of an order, which may be on its way. `None` if there is no such server, which is then
/// reported.
pub(crate) fn cluster(order: &Order) -> Option<OracleCluster> {
    let mut all = ahead();
    let formed = loop {
        let Ahead { waiting, begun } = &mut *all;
        match begun.get_mut(&order.name) {
            Some(formed @ Some(_)) => {
                let formed = formed.take();
                begun.remove(&order.name);
                CHANGED.notify_all();
                break formed;
            }
            Some(None) => all = CHANGED.wait(all).expect("nothing panics while it is held"),
            None => {
                waiting.retain(|other| other.name != order.name);
                break None;
            }
        }
    };
    drop(all);
    match formed.unwrap_or_else(|| form(order)) {
        Ok(started) => started.inspect_err(report_missing).ok(),
        Err(panic) => resume_unwind(panic),
    }
}
