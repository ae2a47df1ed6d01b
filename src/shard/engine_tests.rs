use super::*;
use crate::command::{Args, Arity, Cx, Immediate, Outcome, Queue, Run};
use crate::dialect::Product;
use crate::keyspace::KeyHasher;
use crate::keyspace::Limits;
use crate::resp::Proto;
use crate::resp::Span;
use crate::slot::Footprint;
use crate::state::ServerConfig;

fn bad(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.int(1);
    let key = cx.key(b"half");
    cx.keyspace.set(key, crate::keyspace::Value::Int(1), crate::keyspace::Ttl::Clear);
    panic!("as a bug would");
}

/// A panic gets an error reply; later commands on the same shard run.
#[test]
fn a_panic_stays_with_its_command() {
    static BAD: Spec =
        Spec { name: "bad", arity: Arity::Exactly(1), run: Run::Shard(bad), ..Spec::BASE };
    let mut engine = Engine::new(
        Keyspace::new(Slot::all(), KeyHasher::new(1), 1),
        0,
        Arc::new(Topology::even(1)),
        ServerState::new(ServerConfig::default()).nodes,
    );
    let limits = Limits::default();
    let batch = BatchContext {
        now: 1,
        string_len_max: 1 << 20,
        limits,
        no_touch: false,
        instrumentation: Instrumentation::NONE,
        port: Port::Router,
        product: &Product::REDIS7,
    };
    engine.begin_batch(&batch);
    let (buf, span) = (b"bad".to_vec(), [Span::new(0, 3)]);
    let mut queue = Queue::default();
    let footprint = Footprint::Anywhere;
    assert!(queue.push(&Invocation {
        spec: &BAD,
        args: Args::new(&buf, &span),
        footprint,
        known: None
    }));
    let get = b"get half";
    let spans = [Span::new(0, 3), Span::new(4, 4)];
    let invocation = crate::command::resolve(Args::new(get, &spans)).expect("GET is a command");
    assert!(queue.push(&invocation));
    let mut out = Vec::new();
    let mut sink = Sink::new(&mut out, Proto::Resp2);
    for invocation in queue.iter() {
        engine.run(&invocation, &batch, &Immediate(1), &mut sink);
    }
    let error = String::from_utf8_lossy(Refusal::SHARD_PANIC.text()).into_owned();
    assert_eq!(String::from_utf8_lossy(&out), format!("-{error}\r\n$1\r\n1\r\n"));
}
