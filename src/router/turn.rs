//! One turn of a connection: runs the received requests one after the other, until no whole request
//! is left, the connection has to wait, or other connections are due.

use super::Router;
use super::pipeline::{AHEAD_MAX, Ahead, Input, LONG_BYTES, Scratch};
use super::requests::Progress;
use crate::command::Pace;
use crate::keyspace::Millis;
use crate::resp::{Decoder, Sink};
use crate::session::Session;
use crate::shard::{Outcome, Turn, WaitFor};
use crate::state::clients::Traffic;
use crate::topology::Port;

/// The input and the output of a turn.
pub struct TurnIo<'t> {
    /// The decoding progress of the first request of `input`.
    pub decoder: &'t mut Decoder,
    /// The bytes that the client has sent.
    pub input: Input<'t>,
    /// Memory for the requests.
    pub scratch: &'t mut Scratch,
    /// The output that replies are appended to.
    pub out: &'t mut Vec<u8>,
}

impl Router {
    /// Runs the requests at the front of the input and appends their replies to the output. Returns
    /// how many bytes were consumed and why it stopped. Nothing begins for a client that was
    /// closed.
    pub fn process(
        &self,
        session: &mut Session,
        mut io: TurnIo<'_>,
        now: Millis,
        pace: &dyn Pace,
    ) -> (usize, Outcome) {
        if session.client().is_closing() {
            return (0, Outcome::Sever);
        }
        let armed = self.server.faults.armed();
        if armed.hangs_nodes()
            && let Port::Node(node) = session.port()
            && self.server.faults.stopped(node) == Some(true)
        {
            return (0, Outcome::wait(WaitFor::Node(node)));
        }
        let number = io.scratch.turns.next();
        let batch = self.batch_of(session, now, &mut io.scratch.latest);
        let turn = Turn::numbered(number, batch, armed, pace);
        turn.settings.set(io.scratch.latest.versions());
        let mut progress = Progress::default();
        let outcome = loop {
            if let Some(outcome) = self.run_round(session, &mut io, &turn, &mut progress) {
                break outcome;
            }
        };
        session.node().stats.add(|it| &it.requests, progress.commands);
        if self.server.nodes.tracking_is_due() {
            self.settle_tracking(session, &turn, &outcome, io.out);
        }
        let traffic = Traffic {
            bytes_in: progress.taken as u64,
            bytes_out: io.out.len() as u64,
            commands: progress.commands,
        };
        session.note_activity(now, progress.latest, traffic);
        (progress.taken, outcome)
    }

    /// Notifies the clients that track prefixes of the keys that have changed in this turn; its own
    /// client behind its replies.
    #[cold]
    fn settle_tracking(
        &self,
        session: &Session,
        turn: &Turn<'_>,
        outcome: &Outcome,
        out: &mut Vec<u8>,
    ) {
        let delivered = &mut |sleeper| turn.pace.delivered(sleeper);
        self.server.nodes.settle_tracking(turn.batch.now, delivered);
        if !matches!(outcome, Outcome::Wait { .. }) {
            session.append_invalidations(out);
        }
    }

    /// Decodes some requests ahead and runs them; returns why the turn stops, if it does.
    #[inline]
    fn run_round(
        &self,
        session: &mut Session,
        io: &mut TurnIo<'_>,
        turn: &Turn<'_>,
        progress: &mut Progress,
    ) -> Option<Outcome> {
        let TurnIo { decoder, input, scratch, out } = io;
        let (input_from, output_from) = (progress.taken, out.len());
        progress.pause = session.node().pause.at(turn.batch.now);
        let waiting = &input.bytes()[input_from..];
        let line = progress.pause.and_then(|_| inline(waiting)).map(<[u8]>::to_vec);
        let each = turn.armed.affects_each_request();
        let ahead_max = if each { 1 } else { AHEAD_MAX };
        let ahead = self.decode_ahead(session, decoder, input, input_from, ahead_max, scratch);
        let bytes = input.bytes();
        self.sample(session.node(), bytes, scratch);
        self.probe_keys(scratch, turn);
        if each {
            self.inject_faults(session, bytes, scratch, turn);
        }
        let mut stop = self.run_requests(session, bytes, scratch, turn, progress, out);
        self.flush_notes(session.node(), turn);
        if each && stop.is_none() && !scratch.requests.is_empty() {
            // Each reply is delayed by its own time, and scenarios count each request.
            stop = Some(Outcome::Flush);
        }
        let bytes = (progress.taken - input_from) + (out.len() - output_from.min(out.len()));
        scratch.values_are_long = bytes > LONG_BYTES * scratch.requests.len();
        if let Some(stop) = stop {
            if let (Outcome::Wait { wait: WaitFor::Pause(_), .. }, Some(line)) = (&stop, &line)
                && progress.taken == input_from
                && let Input::Own(input) = input
            {
                input[input_from..input_from + line.len()].copy_from_slice(line);
            }
            decoder.rewind();
            return Some(stop);
        }
        if session.client().is_closing() {
            return Some(Outcome::Close);
        }
        match ahead {
            Ok(Ahead::More { taken }) => {
                progress.taken = taken;
                None
            }
            Ok(Ahead::Missing { taken, missing }) => {
                progress.taken = taken;
                Some(Outcome::Drained { missing })
            }
            Err(error) => {
                tracing::debug!(client = session.client().id, %error, "protocol error");
                Sink::new(out, session.proto()).error([b"ERR ", &error.text()[..]].concat());
                Some(Outcome::Close)
            }
        }
    }
}

/// Returns the inline request at the front of `input`, if there is one: decoding unquotes it in
/// place, so that it has to be put back when it is held up.
fn inline(input: &[u8]) -> Option<&[u8]> {
    let first = input.first()?;
    (*first != b'*').then(|| &input[..input.iter().position(|b| *b == b'\n').unwrap_or(0)])
}
