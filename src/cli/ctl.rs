//! `slotway ctl`: a running server's cluster changed and faults made, from a terminal or a script.
//!
//! The words are those of the SLOTWAY commands, which they are sent as. An order that cannot be
//! understood is refused here (exit code 2), before anything is sent; what the server refuses ends
//! with exit code 1.

use super::{Failure, read_scenario};
use crate::faults::{Order, forms};
use crate::resp::{Reply, ReplyDecoder};
use clap::Subcommand;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// How long the server is given to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to ask how far a scenario has come.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Longest answer that is read, in bytes.
const ANSWER_LEN_MAX: usize = 64 << 20;

/// The options of `ctl`.
#[derive(clap::Args, Debug)]
#[command(override_usage = "slotway ctl [OPTIONS] <ORDER> [WORDS]...\n       \
                            slotway ctl [OPTIONS] run [--wait] <FILE>")]
pub(super) struct Options {
    /// Any port of the server, router's or node's
    #[arg(long, env = "SLOTWAY_PORT", default_value_t = 7000)]
    port: u16,
    /// Its host
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Both, and a password if need be: redis://[[user]:password@]host[:port]
    #[arg(long, env = "SLOTWAY_URL", hide_env_values = true)]
    url: Option<String>,
    /// The server's password
    #[arg(long, env = "SLOTWAY_REQUIREPASS", hide_env_values = true)]
    password: Option<String>,
    #[command(subcommand)]
    words: Words,
}

#[derive(Subcommand, Debug)]
enum Words {
    /// Play a scenario: a file of orders and their times
    Run {
        /// Return when its last step is done; exit code 1 if a step was refused
        #[arg(long)]
        wait: bool,
        /// The file, in TOML
        file: PathBuf,
    },
    /// One of the orders below
    #[command(external_subcommand)]
    Order(Vec<String>),
}

/// What only tells, and what it takes.
const TELLINGS: &[(&str, &str)] = &[
    ("cluster", "the nodes, their slots, what is on the move, the faults"),
    ("slot <slot>", "who owns a slot, where it goes, how many keys it has"),
    ("faults", "the faults that are armed: how often each has struck, what is left of it"),
    ("scenario", "how far the scenario has come"),
    ("check <order>", "what is wrong with an order, which is not carried out"),
    ("violations", "what a cluster would have refused; `violations reset` forgets it"),
    ("conflicts", "which watched keys made an EXEC answer nil, and who had changed them; `reset`"),
    ("groups", "which keys are used together, and the hashtags they need; `reset`"),
    ("proof", "all of that as JSON"),
    ("test [id]", "what is noted from now on is this test's, or no test's"),
];

/// Said at the end of the help: every order there is.
pub(super) fn help() -> String {
    let mut text = String::from("What shows something:\n");
    for (form, meaning) in TELLINGS {
        let _ = writeln!(text, "  {form:<15} {meaning}");
    }
    text.push_str("\nOrders:\n");
    for form in forms() {
        let _ = writeln!(text, "  {form}");
    }
    text.push_str(
        "\nA node is its number in the order of the node ports, from 0, its id or its address. Every fault ends \
         by itself, when its COUNT is used up or its time is over: FOR so many milliseconds, or 5 minutes.\n\n\
         A scenario's file:\n  \
         [[step]]\n  at = \"250ms\"                  # since the beginning\n  do = \"HOLD 12182 TO 1 KEYS foo\"\n  \
         [[step]]\n  after = { execs = 100 }       # since the step before: execs, writes, requests, time\n  \
         do = \"FINISH 12182\"\n\n\
         Start here:  slotway ctl cluster        then:  slotway ctl stop 0 for 2000",
    );
    text
}

/// Sends an order and prints the answer.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.words {
        Words::Order(words) => {
            let (first, rest) = words.split_first().ok_or_else(|| Failure::usage("no order"))?;
            let told = |(form, _): &(&str, &str)| {
                form.split(' ').next().is_some_and(|word| first.eq_ignore_ascii_case(word))
            };
            let only_tells = TELLINGS.iter().any(told) || first.eq_ignore_ascii_case("show");
            if !only_tells {
                let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
                Order::of(&words).map_err(|unclear| Failure::usage(plain(&unclear.to_string())))?;
            }
            let mut words = vec![b"SLOTWAY".as_slice(), first.as_bytes()];
            words.extend(rest.iter().map(String::as_bytes));
            let mut line = Line::to(options)?;
            let answer = line.ask(&words)?;
            match Reply::of(&answer) {
                Reply::Array(fields) if has_rows(first) => print(&rows(fields)),
                reply => print(&shown(reply)),
            }
            if let Reply::Integer(id) = Reply::of(&answer)
                && !first.eq_ignore_ascii_case("clear")
                && io::stdout().is_terminal()
            {
                super::print_error(&format!(
                    "fault {id} is armed; to end it: slotway ctl clear {id}"
                ));
            }
            Ok(())
        }
        Words::Run { wait, file } => {
            // A mistake in it is found before anybody is spoken to.
            read_scenario(file)?;
            let read = std::fs::read(file);
            let text = read.map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
            let mut line = Line::to(options)?;
            line.ask(&[b"SLOTWAY", b"SCENARIO", &text]).map_err(|failure| Failure {
                // What is wrong with its nodes only the server can tell.
                code: if failure.message.starts_with("line ") { 2 } else { failure.code },
                message: format!("{}: {}", file.display(), failure.message),
            })?;
            if *wait { line.watch() } else { Ok(()) }
        }
    }
}

/// An error without its code, for people.
fn plain(error: &str) -> String {
    error.strip_prefix("ERR ").unwrap_or(error).to_owned()
}

/// A connection to the server.
struct Line {
    stream: TcpStream,
}

impl Line {
    fn to(options: &Options) -> Result<Self, Failure> {
        let (host, port, password) = options.target()?;
        let failed = |error: &io::Error| {
            Failure::machine(format!(
                "cannot reach {host}:{port}: {error}; is it running? (slotway serve --port {port})"
            ))
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (host.as_str(), port).to_socket_addrs().map_err(|error| failed(&error))? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| failed(&error))?;
                    let mut line = Self { stream };
                    if let Some(password) = password {
                        line.ask(&[b"AUTH", password.as_bytes()])?;
                    }
                    return Ok(line);
                }
                Err(error) => last = error,
            }
        }
        Err(failed(&last))
    }

    /// Sends a command; gives its answer, unless that is an error.
    fn ask(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n", word.len()).into_bytes());
            request.extend_from_slice(word);
            request.extend(b"\r\n");
        }
        let broken = |why: &dyn std::fmt::Display| {
            Failure::machine(format!("the server does not answer: {why}"))
        };
        self.stream.write_all(&request).map_err(|error| broken(&error))?;
        let (mut answer, mut decoder, mut piece) = (Vec::new(), ReplyDecoder::default(), [0; 4096]);
        let len = loop {
            let read = self.stream.read(&mut piece).map_err(|error| broken(&error))?;
            answer.extend_from_slice(&piece[..read]);
            match decoder.next(&answer) {
                Ok(Some(len)) => break len,
                Ok(None) if read == 0 => return Err(broken(&"it closed the connection")),
                Ok(None) if answer.len() > ANSWER_LEN_MAX => return Err(broken(&"too much")),
                Ok(None) => {}
                Err(error) => return Err(broken(&error)),
            }
        };
        answer.truncate(len);
        match Reply::of(&answer) {
            Reply::Error(error) => Err(Failure::machine(plain(&String::from_utf8_lossy(error)))),
            _ => Ok(answer),
        }
    }

    /// Waits for the end of the scenario and prints what came of it.
    fn watch(&mut self) -> Result<(), Failure> {
        loop {
            let answer = self.ask(&[b"SLOTWAY", b"SCENARIO"])?;
            let text = shown(Reply::of(&answer));
            if !text.starts_with("running") {
                let is_well = text.starts_with("done") && text.lines().count() == 1;
                if is_well {
                    print(&text);
                    return Ok(());
                }
                return Err(Failure::machine(text));
            }
            rest(ASK_EVERY);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the rim of a program that has nothing else to do")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}

impl Options {
    /// Host, port and password, the URL's before the others.
    fn target(&self) -> Result<(String, u16, Option<String>), Failure> {
        let Some(url) = &self.url else {
            return Ok((self.host.clone(), self.port, self.password.clone()));
        };
        let wrong = || Failure::usage("--url: must be redis://[[user]:password@]host[:port]");
        let rest = url.strip_prefix("redis://").ok_or_else(wrong)?;
        let rest = rest.split(['/', '?']).next().unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let password = login.map(|login| login.split_once(':').map_or(login, |(_, p)| p));
        // An address of IPv6 stands in brackets.
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (address, self.port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        let password = password.map(str::to_owned).or_else(|| self.password.clone());
        Ok((host.to_owned(), port, password))
    }
}

/// An answer for people: a line for each element.
fn shown(reply: Reply<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match reply {
        Reply::Simple(word) | Reply::Number(word) => text(word),
        Reply::Bulk(bytes) | Reply::Error(bytes) => text(bytes),
        Reply::Integer(number) => number.to_string(),
        Reply::Boolean(is) => is.to_string(),
        Reply::Null => String::new(),
        Reply::Array(elements) | Reply::Push(elements) => {
            elements.map(shown).collect::<Vec<_>>().join("\n")
        }
    }
}

/// What is answered with fields, the last of which are rows.
fn has_rows(word: &str) -> bool {
    ["violations", "conflicts", "groups"].iter().any(|other| word.eq_ignore_ascii_case(other))
}

/// Fields for people, a line for each; the rows as blocks below them.
fn rows<'r>(mut fields: impl Iterator<Item = Reply<'r>>) -> String {
    let mut text = String::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let name = shown(name);
        match value {
            Reply::Array(blocks) if name == "rows" => {
                for block in blocks {
                    if let Reply::Array(fields) = block {
                        let _ = write!(text, "\n{}", rows(fields));
                    }
                }
            }
            Reply::Array(elements) => {
                let elements: Vec<String> = elements.map(shown).collect();
                let _ = writeln!(text, "{name:<26}{}", elements.join(", "));
            }
            value => {
                let value = shown(value);
                if !value.is_empty() {
                    let _ = writeln!(text, "{name:<26}{value}");
                }
            }
        }
    }
    text
}

#[expect(clippy::print_stdout, reason = "the answer is what stdout is for")]
fn print(text: &str) {
    if !text.is_empty() {
        println!("{}", text.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: Option<&str>) -> Options {
        let (host, url) = ("h".to_owned(), url.map(str::to_owned));
        Options { port: 1, host, url, password: None, words: Words::Order(Vec::new()) }
    }

    #[test]
    fn a_url_goes_before_the_rest() {
        let target = |url| options(url).target().map_err(|failure| failure.code);
        let is = |host: &str, port, password: Option<&str>| {
            Ok((host.to_owned(), port, password.map(str::to_owned)))
        };
        assert_eq!(target(None), is("h", 1, None));
        assert_eq!(target(Some("redis://a:7001")), is("a", 7001, None));
        assert_eq!(target(Some("redis://:p@a")), is("a", 1, Some("p")));
        assert_eq!(target(Some("redis://u:p@[::1]:5/0")), is("::1", 5, Some("p")));
        for wrong in ["a:7001", "redis://", "redis://a:x"] {
            assert_eq!(target(Some(wrong)), Err(2), "{wrong}");
        }
    }

    #[test]
    fn the_help_names_every_order() {
        let help = help();
        for form in forms() {
            assert!(help.contains(form), "{form}");
        }
    }
}
