//! A client connection for tests: bytes out, typed replies in.
//!
//! It does not use Slotway's own decoder or encoder: a test that read replies with the code under test
//! would agree with its mistakes. Every read is bounded by [`PATIENCE`], so a server that does not
//! answer fails a test instead of hanging it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a read waits for the server before the answer counts as missing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One reply, with every type of RESP2 and RESP3 distinguished, down to the two nulls of RESP2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    NullBulk,
    NullArray,
    Array(Vec<Reply>),
    /// Keys and values in turn, as on the wire.
    Map(Vec<Reply>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
    /// The digits as sent: two spellings of one number are two replies.
    Double(Vec<u8>),
    Bool(bool),
    Null,
    /// The format and the text, as sent: `txt:…`.
    Verbatim(Vec<u8>),
    Big(Vec<u8>),
}

/// The outcome of waiting for a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Reply(Reply),
    /// The server closed the connection.
    Closed,
    /// Nothing, or not all of a reply, within the time allowed.
    Silent,
    /// Bytes that are no reply.
    Malformed(String),
}

/// One connection.
pub(crate) struct Client {
    input: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        // Transcripts send single bytes in writes of their own.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { input: BufReader::new(stream) })
    }

    /// Sends `bytes`. A connection that the server has already closed is no error here: the next
    /// [`Client::read`] returns that, perhaps after a last reply.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.input.get_mut().write_all(bytes) {
            assert!(
                matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                "cannot write to the server: {error}"
            );
        }
    }

    /// Sends one command and waits for its reply.
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> Answer {
        self.send(&command(argv));
        self.read()
    }

    /// As [`Client::call`], where a reply is certain.
    ///
    /// # Panics
    /// There is no reply.
    pub(crate) fn ask<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> Reply {
        match self.call(argv) {
            Answer::Reply(reply) => reply,
            other => panic!(
                "{:?} was answered {other:?}",
                argv.iter().map(|a| text(a.as_ref())).collect::<Vec<_>>()
            ),
        }
    }

    /// The socket, for what is neither request nor reply.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.input.get_ref()
    }

    /// Waits for the next reply.
    pub(crate) fn read(&mut self) -> Answer {
        match self.reply() {
            Ok(reply) => Answer::Reply(reply),
            Err(Trouble::Malformed(what)) => Answer::Malformed(what),
            Err(Trouble::Io(ErrorKind::WouldBlock | ErrorKind::TimedOut)) => Answer::Silent,
            Err(Trouble::Io(_)) => Answer::Closed,
        }
    }

    /// As [`Client::read`], with another timeout.
    pub(crate) fn read_within(&mut self, patience: Duration) -> Answer {
        self.set_patience(patience);
        let answer = self.read();
        self.set_patience(PATIENCE);
        answer
    }

    /// Bytes that have arrived and were not read.
    pub(crate) fn unread(&mut self) -> Vec<u8> {
        let mut bytes = self.input.buffer().to_vec();
        let socket = self.input.get_mut();
        if socket.set_nonblocking(true).is_ok() {
            let mut rest = [0; 1024];
            if let Ok(count) = socket.read(&mut rest) {
                bytes.extend_from_slice(&rest[..count]);
            }
            socket.set_nonblocking(false).expect("it has just been the other way");
        }
        bytes
    }

    /// Whether bytes have arrived that were not read.
    pub(crate) fn has_input(&self) -> bool {
        let socket = self.input.get_ref();
        !self.input.buffer().is_empty() || {
            socket.set_nonblocking(true).expect("the socket is open");
            let has_bytes = socket.peek(&mut [0]).is_ok();
            socket.set_nonblocking(false).expect("it has just been the other way");
            has_bytes
        }
    }

    fn set_patience(&self, patience: Duration) {
        self.input.get_ref().set_read_timeout(Some(patience)).expect("a timeout is above zero");
    }

    fn reply(&mut self) -> Result<Reply, Trouble> {
        let line = self.line()?;
        let Some((&kind, rest)) = line.split_first() else {
            return Err(Trouble::Malformed("an empty line".to_owned()));
        };
        Ok(match kind {
            b'+' => Reply::Simple(rest.to_vec()),
            b'-' => Reply::Error(rest.to_vec()),
            b':' => Reply::Int(number(&line)?),
            b',' => Reply::Double(rest.to_vec()),
            b'(' => Reply::Big(rest.to_vec()),
            b'_' if rest.is_empty() => Reply::Null,
            b'#' if rest == b"t" => Reply::Bool(true),
            b'#' if rest == b"f" => Reply::Bool(false),
            b'$' if rest == b"-1" => Reply::NullBulk,
            b'*' if rest == b"-1" => Reply::NullArray,
            b'$' => Reply::Bulk(self.bulk(&line)?),
            b'=' => Reply::Verbatim(self.bulk(&line)?),
            b'*' => Reply::Array(self.elements(&line, 1)?),
            b'~' => Reply::Set(self.elements(&line, 1)?),
            b'>' => Reply::Push(self.elements(&line, 1)?),
            b'%' => Reply::Map(self.elements(&line, 2)?),
            _ => return Err(Trouble::Malformed(format!("the line {:?}", text(&line)))),
        })
    }

    fn line(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(Trouble::Io(ErrorKind::UnexpectedEof));
        }
        if !line.ends_with(b"\r\n") {
            return Err(Trouble::Malformed(format!("a line without its end: {:?}", text(&line))));
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    fn bulk(&mut self, header: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut bytes = vec![0; length(header)?];
        self.input.read_exact(&mut bytes)?;
        let mut end = [0; 2];
        self.input.read_exact(&mut end)?;
        if end != *b"\r\n" {
            return Err(Trouble::Malformed(format!("a bulk that ends in {:?}", text(&end))));
        }
        Ok(bytes)
    }

    fn elements(&mut self, header: &[u8], factor: usize) -> Result<Vec<Reply>, Trouble> {
        (0..length(header)? * factor).map(|_| self.reply()).collect()
    }
}

enum Trouble {
    Io(ErrorKind),
    Malformed(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.kind())
    }
}

/// The number after the type byte, refused unless it is written in the one canonical way.
fn number(line: &[u8]) -> Result<i64, Trouble> {
    let digits = String::from_utf8_lossy(&line[1..]);
    match digits.parse::<i64>() {
        Ok(number) if number.to_string() == digits => Ok(number),
        _ => Err(Trouble::Malformed(format!("the number {digits:?}"))),
    }
}

fn length(header: &[u8]) -> Result<usize, Trouble> {
    match usize::try_from(number(header)?) {
        // More than any test asks for: a wild length must not become a wild allocation.
        Ok(length) if length <= 1 << 30 => Ok(length),
        _ => Err(Trouble::Malformed(format!("the length {:?}", text(header)))),
    }
}

/// A command as the array of bulks that every client library sends.
pub(crate) fn command<A: AsRef<[u8]>>(argv: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", argv.len()).into_bytes();
    for argument in argv {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Bytes as one line of text: printable ASCII stands for itself, the rest is escaped.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'"' => out.push_str("\\\""),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}
