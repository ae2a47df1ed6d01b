//! Removes keys of runs: by name where the names are known, otherwise those that SCAN finds.
//!
//! What cannot be removed, on one node or of one kind, does not keep the rest: all is tried, and
//! the first error is reported.

use super::failure::Failure;
use super::keys::Keys;
use super::setup_client::{SetupClient, expect_no_error};
use crate::resp::Reply;
use crate::slot::Slot;

/// How many keys the target looks at for one SCAN.
const SCAN_COUNT: &[u8] = b"1000";
/// Most calls of SCAN on one node: with [`SCAN_COUNT`] keys each, more than any node holds.
const SCAN_CALLS_MAX: u64 = 100_000_000;

/// Counts the replies of DEL.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    removed: u64,
    refused: u64,
    first: Option<Failure>,
}

impl Removal {
    /// Counts one reply.
    pub(crate) fn count(&mut self, reply: Reply<'_>) {
        match reply {
            Reply::Integer(removed) => self.removed += u64::try_from(removed).unwrap_or(0),
            // Without --cluster a run writes to one node only: what is elsewhere is not its own.
            Reply::Error(text) if text.starts_with(b"MOVED ") => {}
            other => {
                self.refused += 1;
                let odd = || Failure::target("the target did not reply to DEL with a number");
                let failure = expect_no_error(other).err().unwrap_or_else(odd);
                self.first.get_or_insert(failure);
            }
        }
    }

    /// Notes that requests got no reply.
    pub(crate) fn lose(&mut self, failure: Failure) {
        self.first.get_or_insert(failure);
    }

    /// Returns how many keys were there.
    ///
    /// # Errors
    /// A request was refused or got no reply.
    pub(crate) fn end(self) -> Result<u64, Failure> {
        let Self { removed, refused, first } = self;
        match first {
            None => Ok(removed),
            Some(lost) if refused == 0 => Err(lost),
            Some(first) => {
                let message = format!("{refused} requests were refused, the first: {first}");
                Err(Failure::target(message))
            }
        }
    }
}

/// Removes the keys of all groups that are there, whichever run made them. Returns how many.
///
/// # Errors
/// The target was lost, or refused SCAN or DEL.
pub(crate) fn remove_found(client: &mut SetupClient, keys: &Keys) -> Result<u64, Failure> {
    let mut removal = Removal::default();
    for node in 0..client.slot_map().nodes().len() {
        if let Err(failure) = remove_found_on(node, client, keys, &mut removal) {
            removal.lose(failure);
        }
    }
    removal.end()
}

/// The same on one node.
fn remove_found_on(
    node: usize,
    client: &mut SetupClient,
    keys: &Keys,
    removal: &mut Removal,
) -> Result<(), Failure> {
    let pattern = keys.pattern();
    let mut cursor = b"0".to_vec();
    for _ in 0..SCAN_CALLS_MAX {
        let args = [&b"SCAN"[..], &cursor, b"MATCH", &pattern, b"COUNT", SCAN_COUNT];
        let mut page = None;
        client.call_node(node, &args, &mut |reply| {
            expect_no_error(reply)?;
            page = read_page(reply, keys);
            Ok(())
        })?;
        let odd = || Failure::target("the target did not reply to SCAN with keys");
        let (next, found) = page.ok_or_else(odd)?;
        client.pipeline(
            found.len() as u64,
            &mut |at, request| {
                let key = &found[at as usize];
                request.command(&[b"DEL", key]);
                Slot::of(key)
            },
            &mut |_, reply| {
                removal.count(reply);
                Ok(())
            },
        )?;
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
    Err(Failure::target("SCAN does not come to an end"))
}

/// The next cursor and the keys of groups in a reply of SCAN.
fn read_page(reply: Reply<'_>, keys: &Keys) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut parts = reply.elements()?;
    let Reply::Bulk(cursor) = parts.next()? else { return None };
    let found = parts.next()?.elements()?.filter_map(|element| match element {
        Reply::Bulk(key) if keys.is_of_a_group(key) => Some(key.to_vec()),
        _ => None,
    });
    Some((cursor.to_vec(), found.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_counted_and_the_rest_is_removed() {
        let mut removal = Removal::default();
        for reply in [&b":2\r\n"[..], b"-MOVED 1 h:1\r\n", b":1\r\n"] {
            removal.count(Reply::of(reply));
        }
        assert_eq!(removal.end(), Ok(3));
        let mut removal = Removal::default();
        for reply in [&b":2\r\n"[..], b"-ERR no\r\n", b"+OK\r\n"] {
            removal.count(Reply::of(reply));
        }
        let why = removal.end().expect_err("two were refused").message;
        assert!(why.contains("2 requests") && why.contains("ERR no"), "{why}");
    }

    #[test]
    fn a_page_has_keys_of_groups_only() {
        let keys = Keys::new("b");
        let page = "*2\r\n$2\r\n17\r\n*3\r\n$7\r\n{b:1}:x\r\n$7\r\n{b:n}:x\r\n$1\r\nb\r\n";
        let read = read_page(Reply::of(page.as_bytes()), &keys);
        assert_eq!(read, Some((b"17".to_vec(), vec![b"{b:1}:x".to_vec()])));
        for odd in ["+OK\r\n", "*1\r\n$1\r\n0\r\n", "*2\r\n:0\r\n*0\r\n"] {
            assert_eq!(read_page(Reply::of(odd.as_bytes()), &keys), None, "{odd:?}");
        }
    }
}
