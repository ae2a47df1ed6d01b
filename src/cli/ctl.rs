//! `slotway ctl`: changes a running server's cluster and injects faults, from a terminal or a
//! script.
//!
//! The arguments are those of the SLOTWAY command and are sent as such. A command that cannot be
//! parsed fails here (exit code 2), before anything is sent; an error reply of the server is exit
//! code 1.

use super::{Failure, read_scenario};
use crate::faults::{Order, forms};
use crate::resp::{Reply, ReplyDecoder};
use clap::Subcommand;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The timeout of connecting and of a reply.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The interval at which the state of a scenario is polled.
const POLL_EVERY: Duration = Duration::from_millis(20);
/// The longest reply, in bytes.
const REPLY_LEN_MAX: usize = 64 << 20;

/// The options of `ctl`.
#[derive(clap::Args, Debug)]
#[command(override_usage = "slotway ctl [OPTIONS] <COMMAND> [ARGUMENTS]...\n       \
                            slotway ctl [OPTIONS] run [--wait] <FILE>")]
pub(super) struct Options {
    /// Port of the server: the router port or any node port
    #[arg(long, env = "SLOTWAY_PORT", default_value_t = 7000)]
    port: u16,
    /// Host of the server
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Host, port and password as a URL: redis://[[user]:password@]host[:port]
    #[arg(long, env = "SLOTWAY_URL", hide_env_values = true)]
    url: Option<String>,
    /// Password of the server
    #[arg(long, env = "SLOTWAY_REQUIREPASS", hide_env_values = true)]
    password: Option<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Run a scenario: a file of commands and when to run them
    Run {
        /// Wait for its last step; exit code 1 if a step failed
        #[arg(long)]
        wait: bool,
        /// The file, in TOML
        file: PathBuf,
    },
    /// One of the commands below
    #[command(external_subcommand)]
    Command(Vec<String>),
}

/// The commands that report state, with their arguments, and what they report.
const REPORTING: &[(&str, &str)] = &[
    ("cluster", "nodes, their slots, slots being moved, faults"),
    ("slot <slot>", "owner of a slot, migration state, number of keys"),
    ("faults", "armed faults: hits so far, hits or time left"),
    ("scenario", "progress of the scenario"),
    ("check <command>", "errors in a command, without running it"),
    ("violations", "what a cluster would have refused; `violations reset` clears the records"),
    ("conflicts", "watched keys that made EXEC return nil, the clients that changed them; `reset`"),
    ("groups", "keys that are used together, and the hashtags they need; `reset`"),
    ("proof", "all of these records as JSON"),
    ("test [id]", "label what is recorded from now on with a test; without id, remove the label"),
];

/// The end of the help: all commands.
pub(super) fn help() -> String {
    let columns = REPORTING.iter().map(|(form, _)| form.len()).max().unwrap_or(0);
    let mut text = String::from("Commands that report state:\n");
    for (form, meaning) in REPORTING {
        let _ = writeln!(text, "  {form:<columns$}  {meaning}");
    }
    text.push_str("\nCommands that change state:\n");
    for form in forms() {
        let _ = writeln!(text, "  {form}");
    }
    text.push_str(
        "\nA node is given by its index in the order of the node ports, from 0, by its id or by its address. Every \
         fault ends after COUNT hits or FOR so many milliseconds, by default after 5 minutes.\n\n\
         A scenario file:\n  \
         [[step]]\n  at = \"250ms\"                  # since the start\n  do = \"HOLD 12182 TO 1 KEYS foo\"\n  \
         [[step]]\n  after = { execs = 100 }       # since the previous step: execs, writes, requests, time\n  \
         do = \"FINISH 12182\"\n\n\
         Start here:  slotway ctl cluster        then:  slotway ctl stop 0 for 2000",
    );
    text
}

/// Sends a command, or a scenario, and prints the reply.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.action {
        Action::Command(words) => command(options, words),
        Action::Run { wait, file } => scenario(options, *wait, file),
    }
}

fn command(options: &Options, words: &[String]) -> Result<(), Failure> {
    let (first, rest) = words.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let is_named = |(form, _): &(&str, &str)| {
        form.split(' ').next().is_some_and(|word| first.eq_ignore_ascii_case(word))
    };
    let is_reporting = REPORTING.iter().any(is_named) || first.eq_ignore_ascii_case("show");
    if !is_reporting {
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        Order::of(&words).map_err(|unclear| Failure::usage(plain(&unclear.to_string())))?;
    }
    let mut words = vec![b"SLOTWAY".as_slice(), first.as_bytes()];
    words.extend(rest.iter().map(String::as_bytes));
    let reply = Connection::to(options)?.call(&words)?;
    match Reply::of(&reply) {
        Reply::Array(fields) if has_rows(first) => print(&rows(fields)),
        reply => print(&shown(reply)),
    }
    if let Reply::Integer(id) = Reply::of(&reply)
        && !first.eq_ignore_ascii_case("clear")
        && io::stdout().is_terminal()
    {
        super::print_error(&format!("fault {id} is armed; to end it: slotway ctl clear {id}"));
    }
    Ok(())
}

fn scenario(options: &Options, wait: bool, file: &Path) -> Result<(), Failure> {
    // Syntax errors are found without a server.
    read_scenario(file)?;
    let read = std::fs::read(file);
    let text = read.map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
    let mut connection = Connection::to(options)?;
    connection.call(&[b"SLOTWAY", b"SCENARIO", &text]).map_err(|failure| Failure {
        // Unknown nodes and slots are found by the server, with the line of the file.
        code: if failure.message.starts_with("line ") { 2 } else { failure.code },
        message: format!("{}: {}", file.display(), failure.message),
    })?;
    if wait { connection.wait_for_scenario() } else { Ok(()) }
}

/// An error reply without the generic `ERR`.
fn plain(error: &str) -> String {
    error.strip_prefix("ERR ").unwrap_or(error).to_owned()
}

/// A connection to the server.
struct Connection {
    stream: TcpStream,
}

impl Connection {
    fn to(options: &Options) -> Result<Self, Failure> {
        let (host, port, password) = options.target()?;
        let failed = |error: &io::Error| {
            Failure::machine(format!(
                "cannot reach {host}:{port}: {error}; is it running? (slotway serve --port {port})"
            ))
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (host.as_str(), port).to_socket_addrs().map_err(|error| failed(&error))? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| failed(&error))?;
                    let mut connection = Self { stream };
                    if let Some(password) = password {
                        connection.call(&[b"AUTH", password.as_bytes()])?;
                    }
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(failed(&last))
    }

    /// Sends a command and returns its reply, unless that is an error.
    fn call(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n", word.len()).into_bytes());
            request.extend_from_slice(word);
            request.extend(b"\r\n");
        }
        let broken = |why: &dyn std::fmt::Display| {
            Failure::machine(format!("no reply from the server: {why}"))
        };
        self.stream.write_all(&request).map_err(|error| broken(&error))?;
        let (mut reply, mut decoder, mut piece) = (Vec::new(), ReplyDecoder::default(), [0; 4096]);
        let len = loop {
            let read = self.stream.read(&mut piece).map_err(|error| broken(&error))?;
            reply.extend_from_slice(&piece[..read]);
            match decoder.next(&reply) {
                Ok(Some(len)) => break len,
                Ok(None) if read == 0 => return Err(broken(&"it closed the connection")),
                Ok(None) if reply.len() > REPLY_LEN_MAX => return Err(broken(&"it is too long")),
                Ok(None) => {}
                Err(error) => return Err(broken(&error)),
            }
        };
        reply.truncate(len);
        match Reply::of(&reply) {
            Reply::Error(error) => Err(Failure::machine(plain(&String::from_utf8_lossy(error)))),
            _ => Ok(reply),
        }
    }

    /// Waits for the end of the scenario and prints its result.
    fn wait_for_scenario(&mut self) -> Result<(), Failure> {
        loop {
            let reply = self.call(&[b"SLOTWAY", b"SCENARIO"])?;
            let text = shown(Reply::of(&reply));
            if !text.starts_with("running") {
                // Further lines are the steps that failed.
                if text.starts_with("done") && text.lines().count() == 1 {
                    print(&text);
                    return Ok(());
                }
                return Err(Failure::machine(text));
            }
            pause(POLL_EVERY);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command line client has nothing else to do")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

impl Options {
    /// Host, port and password; those of the URL take precedence.
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
        // An IPv6 address is in brackets.
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

/// A reply as text: a line for each element.
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

/// Whether the reply of a command has fields, the last of which holds rows.
fn has_rows(word: &str) -> bool {
    ["violations", "conflicts", "groups"].iter().any(|other| word.eq_ignore_ascii_case(other))
}

/// Fields as text, a line for each; the rows as blocks below them.
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

#[expect(clippy::print_stdout, reason = "stdout is for the reply")]
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
        Options { port: 1, host, url, password: None, action: Action::Command(Vec::new()) }
    }

    #[test]
    fn a_url_takes_precedence() {
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
    fn the_help_names_every_command() {
        let help = help();
        for form in forms() {
            assert!(help.contains(form), "{form}");
        }
    }
}
