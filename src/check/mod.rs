//! `slotway check` without its command line: from files to a ledger.
//!
//! ```text
//! bytes ─► window ─► form ─► keys, commands ─► replay ─► ledger
//!                    (named, or certain by the first bytes)
//! ```
//!
//! A file is read once, in constant memory, whatever its size. A broken one is read up to the error;
//! [`Trouble`] has the position and the reason.

pub(crate) mod aof;
pub(crate) mod replay;
pub(crate) mod detect;
mod lines;
mod pipeline;
mod monitor;
mod replies;
pub(crate) mod text_formats;
mod rdb;
mod text_shapes;
pub(crate) mod tokenizer;
mod offline;

pub(crate) use crate::report::Trouble;
pub(crate) use detect::{Form, Format};
pub use offline::{CheckReport, OfflineCheck};
pub use replay::{Replay, SeenCommand};

use crate::ledger::Spot;
use crate::rdb::file_window::FileWindow;

/// What came of a file.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Why it could not be read to its end, if so.
    pub(crate) trouble: Option<Trouble>,
    /// What could not be judged, if there is anything.
    pub(crate) gap: Option<String>,
    /// What was left out because it was not meant to be sent, if there is anything.
    pub(crate) left_out: Option<String>,
}

/// Reads a file of this form into `to`, on so many cores, of which two are enough.
pub(crate) fn read(
    window: &mut FileWindow<'_>,
    form: &Form,
    to: &mut Replay,
    cores: usize,
) -> Outcome {
    let of = |trouble| Outcome { trouble, ..Outcome::default() };
    let outcome = match form.format {
        Format::Aof => of(aof::read(window, to, cores)),
        Format::Rdb => of(rdb::read(window, to, cores)),
        Format::Monitor => monitor::read(window, to, cores),
        Format::History | Format::Transactions | Format::Sets | Format::Keys => {
            text_formats::read(window, form, to)
        }
    };
    to.end();
    // A read that failed makes the file look cut: the failure is the reason.
    match window.failure() {
        None => outcome,
        Some(error) => {
            let why = format!("cannot be read further: {error}");
            let spot = Spot::Byte(window.offset());
            Outcome { trouble: Some(Trouble { spot, why, lines: None }), ..outcome }
        }
    }
}

#[cfg(test)]
mod report_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Read};

    /// A file whose disk fails after these bytes.
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
    fn a_failed_read_is_reported_as_such() {
        for (format, bytes, cores) in [
            (Format::Monitor, &b"1.000001 [0 a:1] \"mget\" \"x\" \"y\"\n1.0000"[..], 1),
            (Format::Aof, b"*3\r\n$4\r\nmget\r\n$1\r\nx\r\n$1\r\ny\r\n*2\r\n$3", 2),
            (Format::Rdb, b"REDIS0010\xfe", 2),
        ] {
            let (mut from, mut progress) = (Failing(bytes), |_| ());
            let mut replay = Replay::new(3);
            let mut window = FileWindow::new(&mut from, &mut progress);
            let form = Form::named(format, "the test");
            let trouble = read(&mut window, &form, &mut replay, cores).trouble.expect("trouble");
            assert!(trouble.why.contains("the disk is gone"), "{format:?}: {}", trouble.why);
            let commands = u64::from(format != Format::Rdb);
            assert!(replay.ledger.counts.commands >= commands, "{format:?}");
        }
    }
}
