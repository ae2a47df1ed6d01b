//! Runs the commands of the session itself: authentication, protocol, database, transaction, end.

use super::state::{Asking, ReplyMode};
use super::{Reply, Session, Step, violations};
use crate::command::{Args, Invocation, Outcome, Refusal, SessionCommand};
use crate::ledger::Fate;
use crate::resp::{Proto, Sink, until_nul};
use crate::state::ServerState;
use crate::state::clients::Label;
use crate::state::pubsub::ChannelKind;
use crate::text::number::parse_i64;

/// The only user, as there are no ACLs yet.
const DEFAULT_USER: &[u8] = b"default";

impl Session {
    /// Runs a command of the session.
    pub(super) fn run_command<'a>(
        &mut self,
        server: &ServerState,
        command: SessionCommand,
        invocation: &'a Invocation<'a>,
        out: &mut Sink<'_>,
    ) -> Step<'a> {
        let (args, before) = (invocation.args, out.len());
        let outcome = match command {
            SessionCommand::Multi => return self.multi(out),
            SessionCommand::Exec => return self.exec(server, invocation.spec, out),
            SessionCommand::Discard => return self.discard(out),
            SessionCommand::Watch => return self.watch(server, invocation, out),
            SessionCommand::Unwatch => return self.unwatch(out),
            SessionCommand::Reset => {
                self.reset();
                out.proto = self.proto;
                out.simple("RESET");
                self.insert_pushes_before(before, out.buffer());
                return Step::Replied(Reply::Done);
            }
            SessionCommand::Subscribe(scope) => return self.subscribe(scope, args, out),
            SessionCommand::Unsubscribe(scope) => {
                let step = self.unsubscribe(scope, args, out);
                self.insert_pushes_before(before, out.buffer());
                return step;
            }
            SessionCommand::Quit => {
                out.ok();
                return Step::Close;
            }
            SessionCommand::Auth => self.auth(args, out),
            SessionCommand::Hello => self.hello(server, args, out),
            SessionCommand::ClientReply => self.client_reply(args, out),
            SessionCommand::ClientTracking => self.client_tracking(server, args, out),
            SessionCommand::ClientCaching => self.client_caching(false, args, out),
            SessionCommand::Select => self.select(server, self.is_multi_slot(), args, out),
            SessionCommand::Monitor => {
                self.monitor(out);
                Ok(())
            }
            SessionCommand::Asking | SessionCommand::ReadOnly | SessionCommand::ReadWrite => {
                self.set_routing(server, command, out)
            }
        };
        if let Err(refusal) = outcome {
            out.error(refusal);
        }
        Step::Replied(Reply::Done)
    }

    /// Runs a queued command of the session; `may_select` if it may choose a database.
    pub fn run_queued(
        &mut self,
        server: &ServerState,
        may_select: bool,
        command: SessionCommand,
        args: Args<'_>,
        out: &mut Sink<'_>,
    ) {
        let outcome = match command {
            SessionCommand::Auth => self.auth(args, out),
            SessionCommand::Hello => self.hello(server, args, out),
            SessionCommand::ClientReply => self.client_reply(args, out),
            SessionCommand::ClientTracking => self.client_tracking(server, args, out),
            SessionCommand::ClientCaching => self.client_caching(true, args, out),
            SessionCommand::Select => self.select(server, may_select, args, out),
            SessionCommand::Monitor => {
                Err(Refusal::of("ERR MONITOR isn't allowed for DENY BLOCKING client"))
            }
            // As Redis 7.0, which has this exception for shard channels only.
            SessionCommand::Subscribe(ChannelKind::ShardChannel) => {
                Err(Refusal::of("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"))
            }
            SessionCommand::Subscribe(scope) => {
                self.subscribe(scope, args, out);
                Ok(())
            }
            SessionCommand::Unsubscribe(scope) => {
                self.unsubscribe(scope, args, out);
                Ok(())
            }
            SessionCommand::Asking | SessionCommand::ReadOnly | SessionCommand::ReadWrite => {
                let asking = self.asking;
                let outcome = self.set_routing(server, command, out);
                // An ASKING covers one request, which here is the EXEC.
                self.asking = asking;
                outcome
            }
            // EXEC ended every WATCH before the first command ran.
            SessionCommand::Unwatch => {
                out.ok();
                Ok(())
            }
            SessionCommand::Multi
            | SessionCommand::Exec
            | SessionCommand::Discard
            | SessionCommand::Watch
            | SessionCommand::Quit
            | SessionCommand::Reset => Err(Refusal::NOT_IN_MULTI),
        };
        if let Err(refusal) = outcome {
            out.error(refusal);
        }
    }

    /// `ASKING`, `READONLY`, `READWRITE`: how the slots of later requests are routed.
    fn set_routing(
        &mut self,
        server: &ServerState,
        command: SessionCommand,
        out: &mut Sink<'_>,
    ) -> Outcome {
        if !server.is_clustered(self.port) {
            return Err(Refusal::NO_CLUSTER);
        }
        match command {
            SessionCommand::Asking => self.asking = Asking::Next,
            _ => {
                self.reads_replicas = command == SessionCommand::ReadOnly;
                self.client.set_reads_replicas(self.reads_replicas);
            }
        }
        out.ok();
        Ok(())
    }

    /// `MONITOR`, which replies only once.
    fn monitor(&mut self, out: &mut Sink<'_>) {
        if !self.monitors {
            self.monitors = true;
            self.client.open_outbox(self.node.settings.outbox_limits(), self.proto);
            self.node.observer.monitors.join(&self.client);
            out.ok();
        }
    }

    fn reset(&mut self) {
        self.end_transaction();
        if std::mem::take(&mut self.monitors) {
            self.node.observer.monitors.leave(&self.client);
        }
        self.subscriptions = None;
        self.end_tracking();
        (self.asking, self.reads_replicas) = (Asking::No, false);
        self.choose(0);
        self.speak(Proto::Resp2);
        self.unmute();
        self.authenticated = !self.node.settings.needs_password();
        self.client.reset();
    }

    /// `AUTH password`, `AUTH user password`. A failure does not change an earlier login.
    fn auth(&mut self, args: Args<'_>, out: &mut Sink<'_>) -> Result<(), Refusal> {
        let (user, password) = match args.len() {
            2 if !self.node.settings.needs_password() => {
                return Err(Refusal::NO_PASSWORD);
            }
            2 => (DEFAULT_USER, args.at(1)),
            3 => (args.at(1), args.at(2)),
            _ => return Err(Refusal::SYNTAX),
        };
        self.log_in(user, password)?;
        out.ok();
        Ok(())
    }

    fn log_in(&mut self, user: &[u8], password: &[u8]) -> Result<(), Refusal> {
        // The password is compared for any user name, so that both failures take equally long.
        let right = self.node.settings.check_password(password);
        if user != DEFAULT_USER || !right {
            return Err(Refusal::WRONG_PASS);
        }
        self.authenticated = true;
        Ok(())
    }

    /// `HELLO [protover [AUTH user password] [SETNAME name]]`. The options are applied from left to
    /// right, as in Redis: an applied option stays applied if a later one is refused. The protocol
    /// changes at the end or not at all.
    fn hello(
        &mut self,
        server: &ServerState,
        args: Args<'_>,
        out: &mut Sink<'_>,
    ) -> Result<(), Refusal> {
        let proto = match args.get(1) {
            None => self.proto,
            Some(version) => match parse_i64(version) {
                Some(2) => Proto::Resp2,
                Some(3) => Proto::Resp3,
                Some(_) => return Err(Refusal::of("NOPROTO unsupported protocol version")),
                None => {
                    return Err(Refusal::of(
                        "ERR Protocol version is not an integer or out of range",
                    ));
                }
            },
        };
        let mut i = 2;
        while i < args.len() {
            let more = args.len() - 1 - i;
            if args.is(i, "auth") && more >= 2 {
                self.log_in(args.at(i + 1), args.at(i + 2))?;
                i += 3;
            } else if args.is(i, "setname") && more >= 1 {
                let named = self.client.set_label(Label::Name, args.at(i + 1));
                named.map_err(|_unfit| Refusal::BAD_CLIENT_NAME)?;
                i += 2;
            } else {
                let option = until_nul(args.at(i));
                return Err(Refusal::new(
                    [b"ERR Syntax error in HELLO option '", option, b"'"].concat(),
                ));
            }
        }
        if !self.authenticated {
            return Err(Refusal::of(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                 HELLO AUTH <user> <pass> option can be used to authenticate the client and select \
                 the RESP protocol version at the same time",
            ));
        }
        self.speak(proto);
        out.proto = proto;
        let zone = server.node(self.port).settings.availability_zone();
        out.map(7 + usize::from(!zone.is_empty()));
        out.bulk(b"server");
        out.bulk(self.dialect.product.name.as_bytes());
        out.bulk(b"version");
        out.bulk(self.dialect.product.version.as_bytes());
        out.bulk(b"proto");
        out.int(proto.version().into());
        out.bulk(b"id");
        out.int(self.client.id as i64);
        out.bulk(b"mode");
        out.bulk(server.mode(self.port).as_bytes());
        out.bulk(b"role");
        out.bulk(if server.topology.is_replica(self.port) { b"replica" } else { b"master" });
        out.bulk(b"modules");
        let modules = self.dialect.product.modules();
        out.array(modules.len());
        for module in modules {
            out.map(4);
            out.bulk(b"name");
            out.bulk(module.name.as_bytes());
            out.bulk(b"ver");
            out.int(module.version);
            out.bulk(b"path");
            out.bulk(b"");
            out.bulk(b"args");
            out.array(0);
        }
        if !zone.is_empty() {
            out.bulk(b"availability_zone");
            out.bulk(&zone);
        }
        Ok(())
    }

    /// `SELECT index`, which is allowed where keys of several slots may be used together: only a
    /// server without slots has databases.
    fn select(
        &mut self,
        server: &ServerState,
        may_choose: bool,
        args: Args<'_>,
        out: &mut Sink<'_>,
    ) -> Result<(), Refusal> {
        let number = i32::try_from(args.int(1)?).map_err(|_too_far| {
            Refusal::of("ERR value is out of range, value must between -2147483648 and 2147483647")
        })?;
        if number != 0 {
            let fate = if may_choose { Fate::Ran } else { Fate::Refused };
            violations::other_database(server, &self.client, "select", fate);
        }
        if number != 0 && !may_choose {
            return Err(Refusal::no_database(self.dialect.product, self.port, "SELECT"));
        }
        let database = u32::try_from(number).ok();
        let database = database.filter(|&it| (it as usize) < self.node.settings.databases());
        self.choose(database.ok_or(Refusal::NO_SUCH_DATABASE)?);
        out.ok();
        Ok(())
    }

    /// Chooses the database again that was chosen before a script, which may have chosen another.
    pub fn restore_database(&mut self, database: u32) {
        if self.database != database {
            self.choose(database);
        }
    }

    fn choose(&mut self, database: u32) {
        self.database = database;
        self.client.set_database(database);
    }

    /// `CLIENT REPLY ON|OFF|SKIP`.
    fn client_reply(&mut self, args: Args<'_>, out: &mut Sink<'_>) -> Result<(), Refusal> {
        if args.is(2, "on") {
            self.unmute();
            out.ok();
        } else if args.is(2, "off") {
            self.reply_mode = ReplyMode::Off;
        } else if args.is(2, "skip") {
            if self.reply_mode != ReplyMode::Off {
                self.reply_mode = ReplyMode::SkipNext;
            }
        } else {
            return Err(Refusal::SYNTAX);
        }
        Ok(())
    }
}
