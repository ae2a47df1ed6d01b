//! The check of a plan, before anything is connected.

use super::{
    CONNECTIONS_MAX, Distribution, KEYS_MAX, KEYS_PER_GROUP_MAX, Kind, OPS_MAX, PIPELINE_MAX, Plan,
    Policy, Retry, Shape, THREADS_MAX, Target, VALUE_LEN_MAX, Workload,
};
use crate::load::failure::Failure;

/// Longest lease of a lock: a day.
const LOCK_TTL_MS_MAX: u64 = 86_400_000;
/// Most threads of the cluster inside this process.
const SERVER_THREADS_MAX: usize = 1024;

impl Plan {
    /// Checks all settings.
    ///
    /// # Errors
    /// A [`Failure`] of [`crate::load::Cause::Usage`] that names the option and its valid values.
    pub fn check(&self) -> Result<(), Failure> {
        check_shape(&self.shape, self.workload.kind)?;
        check_pace(&self.shape)?;
        check_workload(&self.workload, &self.shape)?;
        check_target(&self.target)?;
        check_retry(&self.retry)
    }
}

fn check_shape(shape: &Shape, kind: Kind) -> Result<(), Failure> {
    within("--connections", shape.connections, 1, CONNECTIONS_MAX)?;
    within("--threads", shape.threads, 1, THREADS_MAX)?;
    within("--pipeline", shape.pipeline, 1, PIPELINE_MAX)?;
    within("--groups", shape.groups, 1, KEYS_MAX as usize)?;
    let keys_min = kind.keys_per_group_min();
    if shape.keys_per_group < keys_min {
        return Err(Failure::usage(format!(
            "--keys-per-group {}: a transaction of {} needs at least {keys_min} keys of one group",
            shape.keys_per_group,
            kind.name()
        )));
    }
    within("--keys-per-group", shape.keys_per_group, keys_min, KEYS_PER_GROUP_MAX)?;
    if shape.keys() > KEYS_MAX {
        return Err(Failure::usage(format!(
            "{} groups of {} keys are too many: at most {KEYS_MAX} keys",
            shape.groups, shape.keys_per_group
        )));
    }
    if shape.pipeline > 1 && !kind.can_pipeline() {
        return Err(Failure::usage(format!(
            "--pipeline {}: {} watches keys, and WATCH belongs to the whole connection, so its transactions \
             run one at a time; use more --connections, or one of incr, multi, read, pipeline",
            shape.pipeline,
            kind.name()
        )));
    }
    if shape.threads > shape.connections {
        return Err(Failure::usage(format!(
            "--threads {} are more than the {} connections that they would share",
            shape.threads, shape.connections
        )));
    }
    match shape.distribution {
        Distribution::Uniform => Ok(()),
        Distribution::Zipfian { theta } if (0.0..=10.0).contains(&theta) => Ok(()),
        Distribution::Zipfian { theta } => {
            Err(Failure::usage(format!("zipfian theta {theta}: must be from 0 to 10")))
        }
        Distribution::Hot { share: hot } => share("hot share", hot),
    }
}

/// Checks when transactions start and when the run ends.
fn check_pace(shape: &Shape) -> Result<(), Failure> {
    if let Some(rate) = shape.rate {
        if !(rate.is_finite() && rate > 0.0 && rate <= 1e9) {
            return Err(Failure::usage(format!(
                "--rate {rate}: transactions per second, more than 0, at most a billion"
            )));
        }
        if shape.think_us > 0 {
            return Err(Failure::usage(
                "--rate and --think exclude each other: a rate decides when transactions start",
            ));
        }
    }
    if shape.duration_ms == Some(0) {
        return Err(Failure::usage("--duration must be more than 0"));
    }
    if shape.transactions == Some(0) {
        return Err(Failure::usage("--transactions must be at least 1"));
    }
    Ok(())
}

fn check_workload(workload: &Workload, shape: &Shape) -> Result<(), Failure> {
    share("--cross", workload.cross)?;
    if workload.cross > 0.0 && shape.groups < 2 {
        return Err(Failure::usage("--cross needs at least two --groups to cross between"));
    }
    within("--value-size", workload.value_len, 32, VALUE_LEN_MAX)?;
    within("--ops", workload.ops, 1, OPS_MAX)?;
    if !(1..=LOCK_TTL_MS_MAX).contains(&workload.lock_ttl_ms) {
        return Err(Failure::usage("--lock-ttl must be from 1 ms to a day"));
    }
    if workload.prefix.is_empty() || workload.prefix.contains(['{', '}']) {
        return Err(Failure::usage("--prefix must not be empty and must not contain { or }"));
    }
    if (workload.kind == Kind::File) != workload.file.is_some() {
        return Err(Failure::usage("a workload file goes with the kind \"file\""));
    }
    Ok(())
}

fn check_target(target: &Target) -> Result<(), Failure> {
    within("--shards", target.shards, 1, crate::topology::SHARDS_MAX)?;
    within("--server-threads", target.server_threads, 0, SERVER_THREADS_MAX)?;
    if target.patience_ms == 0 {
        return Err(Failure::usage("--patience must be more than 0"));
    }
    Ok(())
}

fn check_retry(retry: &Retry) -> Result<(), Failure> {
    if retry.policy == Policy::Exponential && retry.pause_us > retry.pause_max_us {
        return Err(Failure::usage("--pause must not be longer than --pause-max"));
    }
    Ok(())
}

fn within(name: &str, value: usize, min: usize, max: usize) -> Result<(), Failure> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Failure::usage(format!("{name} {value}: must be from {min} to {max}")))
}

fn share(name: &str, value: f64) -> Result<(), Failure> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Failure::usage(format!("{name} {value}: a share is from 0 to 1")))
}
