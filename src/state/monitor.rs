//! MONITOR: every command, as it runs, to the clients that asked for it.
//!
//! A command's line is written into the monitors' outboxes while its shard is held: the lines of
//! one shard come in the order of execution. Without monitors this costs a test of a flag.

use crate::keyspace::Millis;
use crate::state::clients::Client;
use parking_lot::Mutex;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The monitoring clients.
#[derive(Debug, Default)]
pub struct Monitors {
    /// Disconnected ones are removed when the next line is written.
    clients: Mutex<Vec<Weak<Client>>>,
    /// The length of `clients`.
    count: AtomicUsize,
}

impl Monitors {
    /// Adds `client`, which has an outbox.
    pub fn join(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        if clients.iter().all(|other| other.as_ptr() != Arc::as_ptr(client)) {
            clients.push(Arc::downgrade(client));
        }
        self.count.store(clients.len(), Ordering::Release);
    }

    /// Removes `client`.
    pub fn leave(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        clients.retain(|other| other.as_ptr() != Arc::as_ptr(client));
        self.count.store(clients.len(), Ordering::Release);
    }

    /// Returns whether there are any.
    #[must_use]
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Writes a command that `sender` has sent for this database to all monitors.
    pub fn send<'a>(
        &self,
        now: Millis,
        database: u32,
        sender: &str,
        args: impl Iterator<Item = &'a [u8]>,
    ) {
        let line = line(now, database, sender, args);
        let mut clients = self.clients.lock();
        let mut wakers = Vec::new();
        clients.retain(|client| {
            let Some(client) = client.upgrade() else { return false };
            wakers.extend(client.push_output(now, |_| &line));
            !client.is_closing()
        });
        self.count.store(clients.len(), Ordering::Release);
        drop(clients);
        wakers.into_iter().for_each(std::task::Waker::wake);
    }
}

/// Formats a command's line as a RESP simple string.
fn line<'a>(
    now: Millis,
    database: u32,
    sender: &str,
    args: impl Iterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut line = Vec::with_capacity(128);
    let (seconds, millis) = (now.div_euclid(1000), now.rem_euclid(1000));
    // Writing into memory cannot fail.
    let _ = write!(line, "+{seconds}.{millis:03}000 [{database} {sender}]");
    for arg in args {
        line.extend_from_slice(b" \"");
        for &byte in arg {
            let _ = match byte {
                b'\\' | b'"' => write!(line, "\\{}", char::from(byte)),
                b'\n' => write!(line, "\\n"),
                b'\r' => write!(line, "\\r"),
                b'\t' => write!(line, "\\t"),
                7 => write!(line, "\\a"),
                8 => write!(line, "\\b"),
                b' '..=b'~' => line.write_all(&[byte]),
                _ => write!(line, "\\x{byte:02x}"),
            };
        }
        line.push(b'"');
    }
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Proto;
    use crate::state::clients::Clients;
    use crate::topology::Port;
    use std::net::SocketAddr;

    #[test]
    fn a_line_is_one_line() {
        let args = [&b"SET"[..], b"k\r\n", b"\"\\\t\x07\x08\x00\xff~ "];
        let text = r#"+1.002000 [0 127.0.0.1:7] "SET" "k\r\n" "\"\\\t\a\b\x00\xff~ ""#;
        let bytes = line(1002, 0, "127.0.0.1:7", args.into_iter());
        assert_eq!(String::from_utf8(bytes).expect("ASCII"), text.to_owned() + "\r\n");
    }

    #[test]
    fn removed_and_disconnected_monitors_get_nothing() {
        let (monitors, clients) = (Monitors::default(), Arc::new(Clients::default()));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let register = || clients.register(address, address, Port::Router, 3, 0, 9).expect("room");
        let (stays, leaves, resets) = (register(), register(), register());
        for client in [&stays, &leaves, &resets, &stays] {
            client.open_outbox(&Arc::default(), Proto::Resp2);
            monitors.join(client);
        }
        drop(leaves);
        monitors.leave(&resets);
        monitors.send(1, 0, "?", [&b"a"[..]].into_iter());
        let mut got = Vec::new();
        stays.outbox().expect("an outbox").take(&mut got);
        assert_eq!(std::mem::take(&mut got), b"+0.001000 [0 ?] \"a\"\r\n");
        resets.outbox().expect("an outbox").take(&mut got);
        assert!(got.is_empty());
        drop(stays);
        assert!(monitors.any());
        monitors.send(1, 0, "?", [].into_iter());
        assert!(!monitors.any());
    }
}
