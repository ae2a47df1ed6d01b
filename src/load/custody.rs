//! The keys of a run: claimed and written before its load; checked, judged and removed after it.
//!
//! ```text
//! begin     claim, look for old keys and remove them, first values
//! end       check the invariants, look for other causes of violations, remove the keys, claim
//! abandon   the run has no report: remove the keys
//! ```

use super::claim::{Claim, LEASE_MS, Lapse};
use super::failure::Failure;
use super::health::Health;
use super::keys::{Keys, shown};
use super::plan::Plan;
use super::report::{KeysEnding, RunKeys};
use super::setup_client::SetupClient;
use super::target::Endpoint;
use super::verifier::Verifier;
use super::workload::Workload;

/// The keys of a run that has begun.
pub(super) struct Custody<'a> {
    plan: &'a Plan,
    endpoint: Endpoint,
    workload: &'a dyn Workload,
    verifier: &'a Verifier,
    keys: Keys,
    /// Keys of earlier runs that were removed.
    old: u64,
    /// What the target reported of itself before.
    health: Health,
    /// `None` in the cluster of this process, which no other run can use.
    claim: Option<Claim>,
}

impl<'a> Custody<'a> {
    /// Claims the keys, removes those of earlier runs and writes the first values.
    ///
    /// # Errors
    /// Another run has the claim, or the target refused a request or was lost. What was written has
    /// then been removed, or the message says that it was not.
    pub(super) fn begin(
        plan: &'a Plan,
        endpoint: Endpoint,
        (workload, verifier): (&'a dyn Workload, &'a Verifier),
        client: &mut SetupClient,
    ) -> Result<Self, Failure> {
        let keys = Keys::new(&plan.workload.prefix);
        let is_own = plan.target.url.is_none();
        let claim = if is_own { None } else { Some(Claim::take(&endpoint, &keys)?) };
        let health = Health::of(client);
        let old = workload.clean(client)?;
        let custody = Self { plan, endpoint, workload, verifier, keys, old, health, claim };
        match workload.prepare(client) {
            Ok(()) => Ok(custody),
            Err(failure) => Err(custody.abandon(client, failure)),
        }
    }

    /// Removes the keys of a run without a report, which are of no use. Returns its failure, with
    /// what the reader should know about the keys.
    pub(super) fn abandon(self, client: &mut SetupClient, failure: Failure) -> Failure {
        let prefix = self.keys.begin_with();
        let more = if self.plan.target.url.is_none() {
            return failure;
        } else if self.plan.workload.keep {
            format!("The keys that begin with {prefix} were left because of --keep")
        } else {
            match self.workload.clean(client) {
                Ok(_removed) => return failure,
                Err(why) => {
                    format!("The keys that begin with {prefix} could not be removed: {why}")
                }
            }
        };
        Failure { message: format!("{failure}. {more}"), ..failure }
    }

    /// Checks the invariants and removes the keys, unless they are evidence. Returns what became of
    /// them, and what the reader should know besides.
    pub(super) fn end(self, has_committed: bool) -> (RunKeys, Vec<String>) {
        let mut client = SetupClient::new(self.endpoint.clone());
        let checked = match &mut client {
            Ok(client) => self.workload.check(client),
            Err(failure) => Err(failure.clone()),
        };
        // Violations seen during the run count even if the check afterwards cannot be done.
        if let Err(failure) = checked {
            self.verifier.mark_undecided(&failure.message);
        }
        if !has_committed {
            self.verifier.mark_undecided("nothing was committed, so nothing was put to the test");
        }
        // Each request to a target that hangs waits for as long as --patience says.
        let skips = self.is_lost(&client);
        let lapse = self.claim.as_ref().and_then(|claim| claim.lapse(!skips));
        let health = match &mut client {
            Ok(client) if !skips => Health::of(client),
            _ => Health::default(),
        };
        let restarted = self.health.restarted_until(&health);
        if self.verifier.broken() > 0
            && let Some(why) = self.excuse(lapse.as_ref(), &health, !restarted.is_empty())
        {
            self.verifier.excuse(&why);
        }
        let ending = self.leave(&mut client, lapse);
        if let Some(claim) = &self.claim
            && self.is_lost(&client)
        {
            claim.leave_to_end();
        }
        let notes = restarted.into_iter().map(|name| {
            format!("{name} was restarted during the run: what it had not persisted is lost.")
        });
        let keys = RunKeys { begin_with: self.keys.begin_with(), old: self.old, ending };
        (keys, notes.collect())
    }

    /// Why the violations may have another cause than the target's transactions.
    fn excuse(&self, lapse: Option<&Lapse>, health: &Health, is_restarted: bool) -> Option<String> {
        match lapse {
            Some(Lapse::Taken(other)) => Some(format!(
                "another run used the same keys meanwhile ({other}): use another --prefix"
            )),
            // A server that loses its data with a restart is not excused.
            Some(Lapse::Vanished) if !is_restarted => {
                let evicted = self.health.excuse_until(health);
                Some(evicted.unwrap_or_else(|| {
                    format!(
                        "{} vanished meanwhile, so that keys of this run may have been removed from outside \
                         (FLUSHALL, another program), or the target stood still for {} s",
                        shown(&self.keys.claim()),
                        LEASE_MS / 1000
                    )
                }))
            }
            _ => self.health.excuse_until(health),
        }
    }

    /// Removes the keys, unless something speaks against it.
    fn leave(&self, client: &mut Result<SetupClient, Failure>, lapse: Option<Lapse>) -> KeysEnding {
        if self.plan.target.url.is_none() {
            return KeysEnding::Removed;
        }
        if let Some(Lapse::Taken(other)) = lapse {
            return KeysEnding::NotRemoved { why: format!("another run has them now ({other})") };
        }
        if self.verifier.broken() > 0 {
            return KeysEnding::Evidence;
        }
        if self.plan.workload.keep {
            return KeysEnding::Kept;
        }
        let cleaned = match client {
            Ok(client) => self.workload.clean(client),
            Err(failure) => Err(failure.clone()),
        };
        match cleaned {
            Ok(_removed) => KeysEnding::Removed,
            Err(failure) => KeysEnding::NotRemoved { why: failure.message },
        }
    }

    /// Whether the target did not reply to the last request. Of several nodes others may.
    fn is_lost(&self, client: &Result<SetupClient, Failure>) -> bool {
        match client {
            _ if self.plan.target.cluster => false,
            Ok(client) => client.is_lost(),
            Err(_) => true,
        }
    }
}
