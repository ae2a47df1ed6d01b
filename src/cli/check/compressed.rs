//! Compressed input, recognized by its first bytes: gzip, also of several members, and zstd, also of
//! several frames. It is decompressed as it is read, in constant memory; what was read before damaged
//! or missing bytes remains valid.

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufReader, Cursor, ErrorKind, Read};

const MAGIC_LEN: usize = 4;
const GZIP: &[u8] = b"\x1f\x8b\x08";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// The last three bytes of a frame of zstd that holds no data (pzstd begins with one); the first one is
/// 50 to 5f.
const ZSTD_SKIPPED: &[u8] = b"\x2a\x4d\x18";
/// What zstd itself decompresses unless it is asked for more, in bytes.
const WINDOW_LEN_MAX: u64 = 128 << 20;

/// Returns what `from` holds, decompressed, and the name of the compression if it is compressed.
pub(super) fn unpacked<'r>(
    mut from: Box<dyn Read + 'r>,
) -> io::Result<(Option<&'static str>, Box<dyn Read + 'r>)> {
    let (start, len) = begin(&mut from)?;
    let start = &start[..len];
    let is_skipped = len == MAGIC_LEN && start[0] >> 4 == 5 && start[1..] == *ZSTD_SKIPPED;
    let name = match start {
        _ if start.starts_with(GZIP) => Some("gzip"),
        _ if start.starts_with(ZSTD) || is_skipped => Some("zstd"),
        _ => None,
    };
    let whole = Cursor::new(start.to_vec()).chain(from);
    Ok(match name {
        Some("gzip") => (name, Box::new(Gzip(MultiGzDecoder::new(whole)))),
        Some(_) => (name, Box::new(Zstd::new(whole))),
        None => (None, Box::new(whole)),
    })
}

/// Reads the first bytes, fewer only at the end.
fn begin(from: &mut dyn Read) -> io::Result<([u8; MAGIC_LEN], usize)> {
    let (mut start, mut len) = ([0; MAGIC_LEN], 0);
    while len < MAGIC_LEN {
        match from.read(&mut start[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((start, len))
}

struct Gzip<R>(MultiGzDecoder<R>);

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => io::Error::other("the gzip data end here, in the middle"),
            ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                io::Error::other(format!("the gzip data are damaged: {error}"))
            }
            _ => error,
        })
    }
}

/// Frame after frame.
struct Zstd<R> {
    from: BufReader<R>,
    decoder: FrameDecoder,
    is_within: bool,
}

impl<R: Read> Zstd<R> {
    fn new(from: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_LEN_MAX);
        Self { from: BufReader::new(from), decoder, is_within: false }
    }

    /// Begins the next frame; returns whether there is one.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            let (start, len) = begin(&mut self.from)?;
            if len == 0 {
                return Ok(false);
            }
            let header = Cursor::new(&start[..len]).chain(&mut self.from);
            match self.decoder.reset(header) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.from).take(length), &mut io::sink())? < length {
                        return Err(damaged(&io::Error::from(ErrorKind::UnexpectedEof)));
                    }
                }
                Err(error) => return Err(damaged(&error)),
            }
        }
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_within {
                if into.is_empty() || !self.next()? {
                    return Ok(0);
                }
                self.is_within = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.from, one).map_err(|error| damaged(&error))?;
            }
            match self.decoder.read(into)? {
                0 if into.is_empty() => return Ok(0),
                0 => {
                    let stored = self.decoder.get_checksum_from_data();
                    if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
                        return Err(damaged(&io::Error::new(
                            ErrorKind::InvalidData,
                            "wrong checksum",
                        )));
                    }
                    self.is_within = false;
                }
                len => return Ok(len),
            }
        }
    }
}

fn damaged(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let of_reading = error.downcast_ref::<io::Error>();
        match of_reading.map(io::Error::kind) {
            Some(ErrorKind::UnexpectedEof) => {
                return io::Error::other("the zstd data end here, in the middle");
            }
            // What the file itself says, as that the reading is interrupted.
            Some(ErrorKind::Other) => return io::Error::other(error.to_string()),
            _ => cause = error.source(),
        }
    }
    io::Error::other(format!("the zstd data are damaged: {error}"))
}
