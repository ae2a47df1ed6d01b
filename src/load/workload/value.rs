//! `read` and `pipeline`: what is read is what was written to that key.
//!
//! ```text
//! value    KEY|WRITER|NUMBER|xxxxxxx…      as long as the plan says
//! ```
//!
//! A reply to another connection's request, or one that is cut or mixed up, is found at once.

use super::{Context, OneKind, Workload};
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::{Kind, Plan};
use crate::load::random::Rng;
use crate::load::script::{Moment, Next, Outcome, RoundWriter, Script};
use crate::load::setup_client::SetupClient;
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;

const NAME: &str = "value";
const OWN: usize = 0;

pub(super) struct Values {
    context: Context,
    kind: Kind,
    len: usize,
}

pub(super) fn make(plan: &Plan, kind: Kind) -> (Arc<dyn Workload>, Context) {
    let names = Box::new(OneKind::new(plan, NAME, "value"));
    let context = Context::new(plan, &["what is read was written to that key"], names);
    (Arc::new(Values { context: context.clone(), kind, len: plan.workload.value_len }), context)
}

/// Writes the value of a key: `KEY|WRITER|NUMBER|x…`, never shorter than that.
fn write_value(key: &[u8], writer: i64, number: u64, len: usize, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(key);
    out.push(b'|');
    write_i64(out, writer);
    out.push(b'|');
    write_i64(out, (number & (i64::MAX as u64)) as i64);
    out.push(b'|');
    if out.len() < len {
        out.resize(len, b'x');
    }
}

/// Whether a value is one that [`write_value`] writes for `key`.
fn is_of(key: &[u8], value: &[u8]) -> bool {
    let Some(rest) = value.strip_prefix(key).and_then(|rest| rest.strip_prefix(b"|")) else {
        return false;
    };
    let mut parts = rest.splitn(3, |&byte| byte == b'|');
    let mut is_number =
        || parts.next().is_some_and(|part| crate::text::number::parse_i64(part).is_some());
    is_number()
        && is_number()
        && parts.next().is_some_and(|padding| padding.iter().all(|&byte| byte == b'x'))
}

impl Values {
    fn verify(
        &self,
        group: u64,
        index: u64,
        key: &[u8],
        value: Option<&[u8]>,
        at: Option<&Moment>,
    ) {
        if value.is_some_and(|value| value.len() >= self.len && is_of(key, value)) {
            return;
        }
        let seen = value.map_or_else(|| "nil".to_owned(), shown);
        let what = || format!("{} has a value that was never written to it", shown(key));
        let at = at.map(|moment| moment.at);
        self.context.verifier.record_violation(
            OWN,
            at,
            what,
            group,
            &[(index as u32, seen.clone())],
        );
    }
}

impl Workload for Values {
    fn prepare(&self, client: &mut SetupClient) -> Result<(), Failure> {
        self.context.set_all(client, NAME, |group, index, text| {
            write_value(&self.context.keys.name(group, NAME, index), -1, 0, self.len, text);
        })
    }

    fn script(self: Arc<Self>, user: u32) -> Box<dyn Script> {
        Box::new(Access {
            values: self,
            user,
            group: 0,
            index: 0,
            key: Vec::new(),
            value: Vec::new(),
            is_write: false,
            written: 0,
            wrong: None,
            checks: 0,
        })
    }

    fn auditor(self: Arc<Self>) -> Option<Box<dyn Script>> {
        // Every read is a check.
        None
    }

    fn check(&self, client: &mut SetupClient) -> Result<(), Failure> {
        let mut checked = 0;
        self.context.read_all(client, NAME, &mut |group, index, value| {
            checked += 1;
            let key = self.context.keys.name(group, NAME, index);
            let value = if let Reply::Bulk(value) = value { Some(value) } else { None };
            self.verify(group, index, &key, value, None);
        })?;
        self.context.verifier.checked_after(OWN, checked);
        Ok(())
    }

    fn clean(&self, client: &mut SetupClient) -> Result<u64, Failure> {
        self.context.remove_all(client, &[NAME])
    }

    fn kinds(&self) -> Vec<String> {
        match self.kind {
            Kind::Pipeline => vec!["get".to_owned(), "set".to_owned()],
            _ => vec!["get".to_owned()],
        }
    }
}

struct Access {
    values: Arc<Values>,
    user: u32,
    group: u64,
    index: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    is_write: bool,
    written: u64,
    /// What is wrong with the reply.
    wrong: Option<&'static str>,
    /// Replies checked; counted at the verifier at the end, since every read is one.
    checks: u64,
}

impl Drop for Access {
    fn drop(&mut self) {
        self.values.context.verifier.checked_during(OWN, self.checks);
    }
}

impl Script for Access {
    fn choose(&mut self, rng: &mut Rng) {
        let Values { context, kind, len } = &*self.values;
        (self.group, self.index) = context.pick_key(rng);
        context.keys.write(self.group, NAME, self.index, &mut self.key);
        self.is_write = *kind == Kind::Pipeline && rng.bool();
        if self.is_write {
            self.written += 1;
            write_value(&self.key, i64::from(self.user), self.written, *len, &mut self.value);
        }
    }

    fn slot(&self) -> Slot {
        Slot::of(&self.key)
    }

    fn kind(&self) -> usize {
        usize::from(self.is_write)
    }

    fn begin_attempt(&mut self) {
        self.wrong = None;
    }

    fn write_round(&mut self, out: &mut RoundWriter<'_>, _moment: &Moment) {
        if self.is_write {
            out.change(&[b"SET", &self.key, &self.value]);
        } else {
            out.read(&[b"GET", &self.key]);
        }
    }

    fn read_reply(&mut self, _at: usize, reply: Reply<'_>) {
        match reply {
            Reply::Bulk(value) if !self.is_write => {
                self.values.verify(self.group, self.index, &self.key, Some(value), None);
            }
            Reply::Null if !self.is_write => {
                self.values.verify(self.group, self.index, &self.key, None, None);
            }
            _ if self.is_write && reply.is_ok() => {}
            _ => self.wrong = Some("not a reply to this command"),
        }
    }

    fn finish_round(&mut self, _moment: &Moment) -> Next {
        self.checks += u64::from(!self.is_write);
        Next::Done(match self.wrong {
            None => Outcome::Committed,
            Some(wrong) => Outcome::Malformed(wrong.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_key() {
        let mut value = Vec::new();
        write_value(b"{b:1}:value:2", 7, 9, 40, &mut value);
        assert_eq!(value.len(), 40);
        assert!(is_of(b"{b:1}:value:2", &value));
        assert!(!is_of(b"{b:1}:value:3", &value));
        assert!(!is_of(b"{b:1}:value:2", &value[..15]));
    }
}
