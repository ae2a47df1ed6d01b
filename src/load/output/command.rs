//! The command line that repeats a run, also as the start of the next one. Options with their
//! default value are omitted.

use crate::load::plan::{
    Arrivals, Distribution, Kind, Plan, Policy, Protocol, Retry, Shape, Target, Workload,
};

/// The command that runs this plan. A password is shown as `***`.
#[must_use]
pub(crate) fn command(plan: &Plan) -> String {
    words(plan).iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The same as a list of arguments, unquoted.
#[must_use]
pub(crate) fn words(plan: &Plan) -> Vec<String> {
    let mut words = Words(vec!["slotway".to_owned(), "bench".to_owned()]);
    let Plan { workload, shape, target, retry, seed } = plan;
    words.workload(workload);
    words.target(target);
    words.shape(shape);
    words.retry(retry);
    words.changed("--seed", seed, &0);
    words.0
}

struct Words(Vec<String>);

impl Words {
    fn option(&mut self, name: &str, value: impl ToString) {
        self.0.extend([name.to_owned(), value.to_string()]);
    }

    fn changed<T: PartialEq + ToString>(&mut self, name: &str, value: &T, default: &T) {
        if value != default {
            self.option(name, value.to_string());
        }
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.0.push(name.to_owned());
        }
    }

    fn workload(&mut self, workload: &Workload) {
        let usual = Workload::default();
        match (&workload.file, workload.kind) {
            (Some(file), Kind::File) => self.0.push(file.display().to_string()),
            (_, kind) => self.0.push(kind.name().to_owned()),
        }
        self.changed("--cross", &workload.cross, &usual.cross);
        self.changed("--value-size", &workload.value_len, &usual.value_len);
        self.changed("--ops", &workload.ops, &usual.ops);
        if workload.lock_ttl_ms != usual.lock_ttl_ms {
            self.option("--lock-ttl", milliseconds(workload.lock_ttl_ms));
        }
        self.changed("--prefix", &workload.prefix, &usual.prefix);
        self.flag("--keep", workload.keep);
    }

    fn target(&mut self, target: &Target) {
        let usual = Target::default();
        if let Some(url) = &target.url {
            self.option("--target", url);
        }
        self.flag("--cluster", target.cluster);
        self.flag("--resp3", target.protocol == Protocol::Resp3);
        self.flag("--insecure", target.insecure);
        if let Some(path) = &target.cacert {
            self.option("--cacert", path.display());
        }
        if target.patience_ms != usual.patience_ms {
            self.option("--patience", milliseconds(target.patience_ms));
        }
        self.changed("--shards", &target.shards, &usual.shards);
        self.changed("--server-threads", &target.server_threads, &usual.server_threads);
    }

    fn shape(&mut self, shape: &Shape) {
        let usual = Shape::default();
        self.changed("--connections", &shape.connections, &usual.connections);
        self.changed("--threads", &shape.threads, &usual.threads);
        self.changed("--pipeline", &shape.pipeline, &usual.pipeline);
        self.changed("--groups", &shape.groups, &usual.groups);
        self.changed("--keys-per-group", &shape.keys_per_group, &usual.keys_per_group);
        if shape.distribution != usual.distribution {
            self.option("--distribution", distribution(&shape.distribution));
        }
        if shape.think_us != usual.think_us {
            self.option("--think", microseconds(shape.think_us));
        }
        if let Some(rate) = shape.rate {
            self.option("--rate", rate);
        }
        self.flag("--poisson", shape.arrivals == Arrivals::Poisson);
        if let Some(ms) = shape.duration_ms {
            self.option("--duration", milliseconds(ms));
        }
        if let Some(transactions) = shape.transactions {
            self.option("--transactions", transactions);
        }
        if shape.warmup_ms != usual.warmup_ms {
            self.option("--warmup", milliseconds(shape.warmup_ms));
        }
    }

    fn retry(&mut self, retry: &Retry) {
        let usual = Retry::default();
        if retry.policy != usual.policy {
            let name = match retry.policy {
                Policy::None => "none",
                Policy::Fixed => "fixed",
                Policy::Exponential => "exponential",
            };
            self.option("--retry", name);
        }
        self.changed("--attempts", &retry.attempts_max, &usual.attempts_max);
        if retry.pause_us != usual.pause_us {
            self.option("--pause", microseconds(retry.pause_us));
        }
        if retry.pause_max_us != usual.pause_max_us {
            self.option("--pause-max", microseconds(retry.pause_max_us));
        }
    }
}

/// A distribution as on the command line: `uniform`, `zipfian:0.99`, `hot:0.5`.
#[must_use]
pub(crate) fn distribution(distribution: &Distribution) -> String {
    match distribution {
        Distribution::Uniform => "uniform".to_owned(),
        Distribution::Zipfian { theta } => format!("zipfian:{theta}"),
        Distribution::Hot { share } => format!("hot:{share}"),
    }
}

fn milliseconds(ms: u64) -> String {
    if ms > 0 && ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

fn microseconds(us: u64) -> String {
    if us > 0 && us.is_multiple_of(1000) { milliseconds(us / 1000) } else { format!("{us}us") }
}

/// A word quoted for a shell, if it needs to be.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_defaults_needs_no_options() {
        assert_eq!(command(&Plan::default()), "slotway bench transfer");
    }

    #[test]
    fn a_shell_parses_the_same_words() {
        let mut plan = Plan::default();
        plan.workload.prefix = "it's $HOME".to_owned();
        plan.shape.duration_ms = Some(1500);
        plan.retry.pause_us = 2000;
        assert_eq!(
            command(&plan),
            r"slotway bench transfer --prefix 'it'\''s $HOME' --duration 1500ms --pause 2ms"
        );
    }
}
