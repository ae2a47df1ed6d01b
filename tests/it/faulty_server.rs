//! A small server that answers as Redis does, but for one fault that a load test has to find.
//!
//! It runs in the test's process, a thread for each connection over one lock, and has only the
//! commands that the built-in workloads use.

use slotway::internals::resp::{Decoded, Decoder, Limits, Span};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is wrong with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: the load test must find nothing.
    None,
    /// EXEC ignores WATCH.
    IgnoresWatch,
    /// EXEC replies for all of its commands, but every [`EVERY`]th time runs only the first.
    HalfExec,
    /// Every [`EVERY`]th write is acknowledged and not done.
    LosesWrite,
    /// EXEC runs and replies nil.
    LiesAboutAborts,
    /// SET NX replies OK although the key exists.
    GrantsTwice,
    /// GET of a key sometimes returns the value of another key.
    MixesUp,
    /// It has only this reply to commands of this name.
    Replies(&'static str, &'static [u8]),
    /// It stops replying after so many commands.
    Hangs(u64),
    /// It closes all connections after so many commands.
    DiesAfter(u64),
    /// It pauses for this long, once, after so many commands.
    Stalls(u64, Duration),
}

/// An intermittent fault occurs once in so many times.
const EVERY: u64 = 37;

#[derive(Clone, Debug)]
enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

#[derive(Default)]
struct Store {
    values: HashMap<Vec<u8>, Value>,
    /// The number of writes of each key.
    versions: HashMap<Vec<u8>, u64>,
    writes: u64,
    execs: u64,
}

struct Shared {
    fault: Fault,
    store: Mutex<Store>,
    commands: AtomicU64,
    is_dead: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    /// The requests of each connection, if they are recorded.
    requests: Option<Mutex<Vec<Vec<String>>>>,
}

/// A running server; it ends when dropped.
pub(crate) struct FaultyServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultyServer {
    pub(crate) fn start(fault: Fault) -> Self {
        Self::launch(fault, false)
    }

    /// Starts one without a fault that records its requests.
    pub(crate) fn start_recording() -> Self {
        Self::launch(Fault::None, true)
    }

    fn launch(fault: Fault, records: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            fault,
            store: Mutex::default(),
            commands: AtomicU64::new(0),
            is_dead: AtomicBool::new(false),
            connections: Mutex::default(),
            requests: records.then(Mutex::default),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.is_dead.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                let copy = stream.try_clone().expect("a second handle");
                shared.connections.lock().expect("no panic").push(copy);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { address, shared }
    }

    /// The number of commands so far.
    pub(crate) fn commands(&self) -> u64 {
        self.shared.commands.load(Ordering::SeqCst)
    }

    /// The requests of each closed connection; the connections in no order.
    pub(crate) fn requests(&self) -> Vec<Vec<String>> {
        let requests = self.shared.requests.as_ref().expect("it records");
        requests.lock().expect("no panic").clone()
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        die(&self.shared);
        // Wakes the listener.
        let _closed = TcpStream::connect(self.address);
    }
}

fn die(shared: &Shared) {
    shared.is_dead.store(true, Ordering::SeqCst);
    for stream in shared.connections.lock().expect("no panic").drain(..) {
        // Fails only if it is already closed.
        let _closed = stream.shutdown(std::net::Shutdown::Both);
    }
}

/// One connection's transaction.
#[derive(Default)]
struct Session {
    queue: Option<Vec<Vec<Vec<u8>>>>,
    watched: Vec<(Vec<u8>, u64)>,
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    let limits = Limits { bulk_len_max: 1 << 20, authenticated: true };
    let (mut decoder, mut session) = (Decoder::default(), Session::default());
    let (mut input, mut piece) = (Vec::new(), [0; 16 * 1024]);
    let mut requests = Vec::new();
    'connection: loop {
        let mut taken = 0;
        let mut output = Vec::new();
        loop {
            let mut spans: Vec<Span> = Vec::new();
            match decoder.next(&mut input, taken, limits, &mut spans) {
                Ok(Decoded::Request { end }) => {
                    let words: Vec<Vec<u8>> =
                        spans.iter().map(|span| span.of(&input).to_vec()).collect();
                    taken = end;
                    if shared.requests.is_some() {
                        requests.push(String::from_utf8_lossy(&words.join(&b' ')).into_owned());
                    }
                    let number = shared.commands.fetch_add(1, Ordering::SeqCst);
                    match shared.fault {
                        Fault::DiesAfter(count) if number >= count => {
                            die(shared);
                            break 'connection;
                        }
                        Fault::Hangs(count) if number >= count => continue,
                        Fault::Stalls(at, time) if number == at => {
                            let _all_wait = shared.store.lock().expect("no panic");
                            crate::env::pause(time);
                        }
                        _ => {}
                    }
                    answer(shared, &mut session, words, &mut output);
                }
                Ok(Decoded::Nothing { end }) => taken = end,
                Ok(Decoded::Incomplete { .. }) => break,
                Err(_) => break 'connection,
            }
        }
        input.drain(..taken);
        if stream.write_all(&output).is_err() {
            break;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(len) => input.extend_from_slice(&piece[..len]),
        }
    }
    if let Some(all) = &shared.requests {
        all.lock().expect("no panic").push(requests);
    }
}

fn answer(shared: &Shared, session: &mut Session, words: Vec<Vec<u8>>, out: &mut Vec<u8>) {
    let name = words[0].to_ascii_uppercase();
    if let Fault::Replies(to, reply) = shared.fault
        && name == to.as_bytes()
    {
        return out.extend_from_slice(reply);
    }
    let store = &mut *shared.store.lock().expect("no panic");
    match &name[..] {
        b"MULTI" => {
            session.queue = Some(Vec::new());
            out.extend_from_slice(b"+OK\r\n");
        }
        b"EXEC" => {
            let Some(queue) = session.queue.take() else {
                return out.extend_from_slice(b"-ERR EXEC without MULTI\r\n");
            };
            let version = |key: &Vec<u8>| store.versions.get(key).copied().unwrap_or(0);
            let is_stale = session.watched.drain(..).any(|(key, seen)| version(&key) != seen);
            if is_stale && shared.fault != Fault::IgnoresWatch {
                if shared.fault == Fault::LiesAboutAborts {
                    let mut discarded = Vec::new();
                    queue
                        .into_iter()
                        .for_each(|words| run(shared.fault, store, &words, &mut discarded));
                }
                return out.extend_from_slice(b"*-1\r\n");
            }
            store.execs += 1;
            let is_half = shared.fault == Fault::HalfExec && store.execs.is_multiple_of(EVERY);
            out.extend_from_slice(format!("*{}\r\n", queue.len()).as_bytes());
            for (at, words) in queue.into_iter().enumerate() {
                if is_half && at > 0 {
                    pretend(store, &words, out);
                } else {
                    run(shared.fault, store, &words, out);
                }
            }
        }
        b"WATCH" => {
            for key in &words[1..] {
                let version = store.versions.get(key).copied().unwrap_or(0);
                session.watched.push((key.clone(), version));
            }
            out.extend_from_slice(b"+OK\r\n");
        }
        b"UNWATCH" => {
            session.watched.clear();
            out.extend_from_slice(b"+OK\r\n");
        }
        _ => match &mut session.queue {
            Some(queue) => {
                queue.push(words);
                out.extend_from_slice(b"+QUEUED\r\n");
            }
            None => run(shared.fault, store, &words, out),
        },
    }
}

/// Replies as if the write had been done.
fn pretend(store: &mut Store, words: &[Vec<u8>], out: &mut Vec<u8>) {
    let before = (store.values.clone(), store.versions.clone());
    run(Fault::None, store, words, out);
    (store.values, store.versions) = before;
}

fn run(fault: Fault, store: &mut Store, words: &[Vec<u8>], out: &mut Vec<u8>) {
    let name = words[0].to_ascii_uppercase();
    let is_refused = words.iter().any(|word| word == b"NX")
        && store.values.contains_key(&words[1])
        && fault != Fault::GrantsTwice;
    let is_write =
        !is_refused && matches!(&name[..], b"SET" | b"INCR" | b"INCRBY" | b"RPUSH" | b"DEL");
    if is_write {
        store.writes += 1;
        // The load test needs its initial values.
        if fault == Fault::LosesWrite && store.writes.is_multiple_of(EVERY) && store.writes > 50 {
            return pretend(store, words, out);
        }
        let keys = if name == b"DEL" { words.len() - 1 } else { 1 };
        for key in &words[1..=keys] {
            *store.versions.entry(key.clone()).or_default() += 1;
        }
    }
    let number = |value: Option<&Value>| match value {
        Some(Value::Text(text)) => String::from_utf8_lossy(text).parse::<i64>().unwrap_or(0),
        _ => 0,
    };
    let bulk = |value: Option<&Value>, out: &mut Vec<u8>| match value {
        Some(Value::Text(text)) => {
            out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
        _ => out.extend_from_slice(b"$-1\r\n"),
    };
    match &name[..] {
        b"GET" => {
            store.execs += u64::from(fault == Fault::MixesUp);
            let other = store.values.keys().find(|key| **key != words[1]).cloned();
            let key = match other {
                Some(other) if fault == Fault::MixesUp && store.execs.is_multiple_of(EVERY) => {
                    other
                }
                _ => words[1].clone(),
            };
            bulk(store.values.get(&key), out);
        }
        b"MGET" => {
            out.extend_from_slice(format!("*{}\r\n", words.len() - 1).as_bytes());
            words[1..].iter().for_each(|key| bulk(store.values.get(key), out));
        }
        b"SET" => {
            if is_refused {
                return out.extend_from_slice(b"$-1\r\n");
            }
            store.values.insert(words[1].clone(), Value::Text(words[2].clone()));
            out.extend_from_slice(b"+OK\r\n");
        }
        b"INCR" | b"INCRBY" => {
            let by = words.get(2).map_or(1, |by| number(Some(&Value::Text(by.clone()))));
            let sum = number(store.values.get(&words[1])) + by;
            store.values.insert(words[1].clone(), Value::Text(sum.to_string().into_bytes()));
            out.extend_from_slice(format!(":{sum}\r\n").as_bytes());
        }
        b"DEL" => {
            let keys = words[1..].iter();
            let removed = keys.filter(|key| store.values.remove(*key).is_some()).count();
            out.extend_from_slice(format!(":{removed}\r\n").as_bytes());
        }
        b"RPUSH" => {
            let list =
                store.values.entry(words[1].clone()).or_insert_with(|| Value::List(Vec::new()));
            let Value::List(list) = list else {
                return out.extend_from_slice(b"-WRONGTYPE no list\r\n");
            };
            list.push(words[2].clone());
            out.extend_from_slice(format!(":{}\r\n", list.len()).as_bytes());
        }
        b"LLEN" => {
            let len = match store.values.get(&words[1]) {
                Some(Value::List(list)) => list.len(),
                _ => 0,
            };
            out.extend_from_slice(format!(":{len}\r\n").as_bytes());
        }
        b"LRANGE" => {
            let list = match store.values.get(&words[1]) {
                Some(Value::List(list)) => &list[..],
                _ => &[],
            };
            let first = number(Some(&Value::Text(words[2].clone()))).max(0) as usize;
            let list = list.get(first..).unwrap_or_default();
            out.extend_from_slice(format!("*{}\r\n", list.len()).as_bytes());
            list.iter().for_each(|text| bulk(Some(&Value::Text(text.clone())), out));
        }
        // All keys in one page, whatever the pattern.
        b"SCAN" => {
            out.extend_from_slice(b"*2\r\n$1\r\n0\r\n");
            out.extend_from_slice(format!("*{}\r\n", store.values.len()).as_bytes());
            store.values.keys().for_each(|key| bulk(Some(&Value::Text(key.clone())), out));
        }
        b"INFO" => bulk(Some(&Value::Text(b"redis_version:0.0.0\r\n".to_vec())), out),
        _ => {
            let text = format!("-ERR unknown command '{}'\r\n", String::from_utf8_lossy(&words[0]));
            out.extend_from_slice(text.as_bytes());
        }
    }
}
