//! `read` and `pipeline`: what is read is what was written to that key.
//!
//! ```text
//! value    KEY|WRITER|NUMBER|xxxxxxx…      as long as the plan says
//! ```
//!
//! Replies that answer somebody else's request, or that were cut or mixed up, show at once.

use super::{Ground, Workload};
use crate::load::chance::Chance;
use crate::load::failure::Failure;
use crate::load::keys::{Keys, shown};
use crate::load::plan::{Kind, Plan};
use crate::load::script::{Ask, Moment, Next, Outcome, Script};
use crate::load::setup_client::Courier;
use crate::load::verifier::Names;
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::sync::Arc;

const NAME: &str = "value";
const OWN: usize = 0;

pub(super) struct Values {
    ground: Ground,
    kind: Kind,
    len: usize,
}

struct ValueNames(Keys);

impl Names for ValueNames {
    fn key(&self, group: u64, key: u32) -> String {
        shown(&self.0.name(group, NAME, u64::from(key)))
    }

    fn kind(&self, _kind: usize) -> String {
        "value".to_owned()
    }
}

pub(super) fn make(plan: &Plan, kind: Kind) -> (Arc<dyn Workload>, Ground) {
    let names = Box::new(ValueNames(Keys::new(&plan.workload.prefix)));
    let ground = Ground::new(plan, &["what is read was written to that key"], names);
    (Arc::new(Values { ground: ground.clone(), kind, len: plan.workload.value_len }), ground)
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

/// Whether a value is one of those that [`write_value`] writes for `key`.
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
    fn judge(&self, group: u64, index: u64, key: &[u8], value: Option<&[u8]>, at: Option<&Moment>) {
        if value.is_some_and(|value| value.len() >= self.len && is_of(key, value)) {
            return;
        }
        let seen = value.map_or_else(|| "nil".to_owned(), shown);
        let what = || format!("{} answered what was never written to it", shown(key));
        let at = at.map(|moment| moment.at);
        self.ground.referee.break_in(OWN, at, what, group, &[(index as u32, seen.clone())]);
    }
}

impl Workload for Values {
    fn prepare(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.set_all(courier, NAME, |group, index, text| {
            write_value(&self.ground.keys.name(group, NAME, index), -1, 0, self.len, text);
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

    fn check(&self, courier: &mut Courier) -> Result<(), Failure> {
        let mut checked = 0;
        self.ground.read_all(courier, NAME, &mut |group, index, value| {
            checked += 1;
            let key = self.ground.keys.name(group, NAME, index);
            let value = if let Reply::Bulk(value) = value { Some(value) } else { None };
            self.judge(group, index, &key, value, None);
        })?;
        self.ground.referee.checked_after(OWN, checked);
        Ok(())
    }

    fn clean(&self, courier: &mut Courier) -> Result<(), Failure> {
        self.ground.remove_all(courier, &[NAME])
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
    /// Why the reply is not what it should be.
    wrong: Option<&'static str>,
    /// Replies checked: told to the referee at the end, since every read is one.
    checks: u64,
}

impl Drop for Access {
    fn drop(&mut self) {
        self.values.ground.referee.checked_during(OWN, self.checks);
    }
}

impl Script for Access {
    fn choose(&mut self, chance: &mut Chance) {
        let Values { ground, kind, len } = &*self.values;
        (self.group, self.index) = ground.pick(chance);
        ground.keys.write(self.group, NAME, self.index, &mut self.key);
        self.is_write = *kind == Kind::Pipeline && chance.bool();
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

    fn rewind(&mut self) {
        self.wrong = None;
    }

    fn ask(&mut self, ask: &mut Ask<'_>, _moment: &Moment) {
        if self.is_write {
            ask.change(&[b"SET", &self.key, &self.value]);
        } else {
            ask.read(&[b"GET", &self.key]);
        }
    }

    fn hear(&mut self, _at: usize, reply: Reply<'_>) {
        match reply {
            Reply::Bulk(value) if !self.is_write => {
                self.values.judge(self.group, self.index, &self.key, Some(value), None);
            }
            Reply::Null if !self.is_write => {
                self.values.judge(self.group, self.index, &self.key, None, None);
            }
            _ if self.is_write && reply.is_ok() => {}
            _ => self.wrong = Some("not the reply of this command"),
        }
    }

    fn conclude(&mut self, _moment: &Moment) -> Next {
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
    fn a_value_tells_whose_it_is() {
        let mut value = Vec::new();
        write_value(b"{b:1}:value:2", 7, 9, 40, &mut value);
        assert_eq!(value.len(), 40);
        assert!(is_of(b"{b:1}:value:2", &value));
        assert!(!is_of(b"{b:1}:value:3", &value));
        assert!(!is_of(b"{b:1}:value:2", &value[..15]));
    }
}
