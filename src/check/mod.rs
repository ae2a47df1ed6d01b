//! `slotway check` without its command line: from files to a ledger.
//!
//! ```text
//! bytes ─► feed ─► format ─► keys, commands ─► follow ─► ledger
//!                  (its form is told by its first bytes)
//! ```
//!
//! Files are read once, in constant memory, whatever their size. What is broken is read up to where
//! it breaks; [`Trouble`] says where and why.

pub mod aof;
pub mod replay;
pub mod detect;
pub mod unsupported;
pub mod text_formats;
pub mod tokenizer;

pub use crate::report::Trouble;
pub use detect::Format;
pub use replay::{Follower, Said};

use crate::ledger::{Breach, Fate, Origin, Rule, Spot};
use crate::rdb::file::{self, Record};
use crate::rdb::file_window::FileWindow;

/// Reads a file of this form into `to`.
pub fn read(feed: &mut FileWindow<'_>, format: Format, to: &mut Follower) -> Option<Trouble> {
    let trouble = match format {
        Format::Aof => aof::read(feed, to),
        Format::Rdb => rdb(feed, to).or_else(|| {
            // Behind the preamble of an AOF come its commands.
            if feed.more(1).is_empty() { None } else { aof::read(feed, to) }
        }),
        Format::Monitor | Format::History | Format::Transactions | Format::Sets | Format::Keys => {
            text_formats::read(feed, format, to)
        }
    };
    to.end();
    // Whatever looked wrong at the end was not the file's fault then.
    match feed.failure() {
        None => trouble,
        Some(error) => {
            let why = format!("cannot be read further: {error}");
            Some(Trouble { spot: Spot::Byte(feed.offset()), why, lines: None })
        }
    }
}

fn rdb(feed: &mut FileWindow<'_>, to: &mut Follower) -> Option<Trouble> {
    let mut other = false;
    let outcome = file::read(feed, &mut |met| match met {
        Record::Database(number) => other = number != 0,
        Record::Key { key, bytes, kind } => {
            to.ledger.census.stored(key, bytes, kind);
            if other {
                other = false;
                to.ledger.violations.enter(&Breach {
                    rule: Rule::OtherDatabase,
                    command: "select",
                    keys: &[key],
                    keys_hidden: 0,
                    place: None,
                    origin: &Origin::default(),
                    at_ms: None,
                    spot: Spot::Live,
                    fate: Fate::Ran,
                });
            }
        }
    });
    outcome.err().map(|broken| Trouble {
        spot: Spot::Byte(broken.at),
        why: broken.why,
        lines: None,
    })
}

#[cfg(test)]
mod report_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Read};

    /// A file on a disk that fails after these bytes.
    struct Failing<'a>(&'a [u8]);

    impl Read for Failing<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(io::Error::other("the disk is gone")),
                len => Ok(len),
            }
        }
    }

    #[test]
    fn what_the_system_says_goes_before_what_the_end_looks_like() {
        for (format, bytes) in [
            (Format::Monitor, &b"1.000001 [0 a:1] \"mget\" \"x\" \"y\"\n1.0000"[..]),
            (Format::Aof, b"*3\r\n$4\r\nmget\r\n$1\r\nx\r\n$1\r\ny\r\n*2\r\n$3"),
            (Format::Rdb, b"REDIS0010\xfe"),
        ] {
            let (mut from, mut progress) = (Failing(bytes), |_| ());
            let mut follower = Follower::new(3);
            let mut feed = FileWindow::new(&mut from, &mut progress);
            let trouble = read(&mut feed, format, &mut follower).expect("trouble");
            assert!(trouble.why.contains("the disk is gone"), "{format:?}: {}", trouble.why);
            let commands = u64::from(format != Format::Rdb);
            assert!(follower.ledger.counts.commands >= commands, "{format:?}");
        }
    }
}
