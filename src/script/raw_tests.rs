//! Scripts over a server that answers with what they ask for. `tests/run` plays them below
//! valgrind's memcheck as well, which sees what Lua's stack, its errors and ours do to memory.

use super::host::{CallError, Host};
use super::interpreter::{Interpreter, RunError};
use super::raw::ScriptArgs;
use super::source::Script;
use crate::resp::{Proto, Sink, Span};
use proptest::prelude::*;

/// Answers `answer REPLY` with that reply, `refuse TEXT` with that refusal, `panic` with a panic, and
/// `words …` with the number of its arguments and of their bytes; ends a script after so many looks.
struct Mirror {
    ticks_left: u32,
    line: Option<usize>,
}

impl Host for Mirror {
    fn call(
        &mut self,
        bytes: &[u8],
        spans: &[Span],
        _proto: Proto,
        line: &dyn Fn() -> Option<usize>,
        reply: &mut Vec<u8>,
    ) -> Result<(), CallError> {
        self.line = line();
        let second = spans.get(1).map(|span| span.of(bytes)).unwrap_or_default();
        match spans[0].of(bytes) {
            b"answer" => reply.extend_from_slice(second),
            b"refuse" => return Err(second.to_vec().into()),
            b"words" => {
                let text = format!(":{}\r\n", spans.len() * 1_000_000 + bytes.len());
                reply.extend_from_slice(text.as_bytes());
            }
            _ => panic!("a host that panics"),
        }
        Ok(())
    }

    fn has_command(&mut self, bytes: &[u8], spans: &[Span]) -> bool {
        spans[0].of(bytes) == b"answer"
    }

    fn tick(&mut self) -> bool {
        self.ticks_left = self.ticks_left.saturating_sub(1);
        self.ticks_left == 0
    }
}

/// Runs a script with these arguments; returns its reply, or its error.
fn run_in(
    interpreter: &mut Interpreter,
    text: &str,
    args: &[&[u8]],
    proto: Proto,
) -> Result<Vec<u8>, RunError> {
    run_on(&mut Mirror { ticks_left: 100, line: None }, interpreter, text, args, proto)
}

/// The same on this server.
fn run_on(
    host: &mut Mirror,
    interpreter: &mut Interpreter,
    text: &str,
    args: &[&[u8]],
    proto: Proto,
) -> Result<Vec<u8>, RunError> {
    let script = Script::new(text.as_bytes()).expect("a script without flags");
    interpreter.compile(&script).unwrap_or_else(|why| panic!("{}", why.escape_ascii()));
    let bytes = args.concat();
    let mut end = 0;
    let place = |arg: &&[u8]| {
        let span = Span::new(end, arg.len());
        end += arg.len();
        span
    };
    let spans: Vec<Span> = args.iter().map(place).collect();
    let given = ScriptArgs { bytes: &bytes, keys: &spans[..0], args: &spans };
    let mut out = Vec::new();
    interpreter.run(&script.sha, given, host, &mut Sink::new(&mut out, proto))?;
    Ok(out)
}

fn interpreter() -> Interpreter {
    Interpreter::new("7.0.15", 0).unwrap_or_else(|why| panic!("{}", why.escape_ascii()))
}

/// Runs a script in a state of its own; shows its reply, or its error.
fn run(text: &str, args: &[&[u8]]) -> String {
    shown(run_in(&mut interpreter(), text, args, Proto::Resp2))
}

fn shown(result: Result<Vec<u8>, RunError>) -> String {
    result.unwrap_or_else(|error| error.text).escape_ascii().to_string()
}

const ANSWER: &str = "return redis.call('answer', ARGV[1])";
const ANSWER_3: &str = "redis.setresp(3) return redis.call('answer', ARGV[1])";

#[test]
fn a_reply_comes_back_as_it_was() {
    for reply in [
        "$3\r\nabc\r\n",
        "$0\r\n\r\n",
        ":9007199254740992\r\n",
        ":-1\r\n",
        "+OK\r\n",
        "*0\r\n",
        "*3\r\n:1\r\n$1\r\nx\r\n*2\r\n+a\r\n*1\r\n$2\r\n\r\n\r\n",
        "$-1\r\n",
    ] {
        assert_eq!(run(ANSWER, &[reply.as_bytes()]), reply.as_bytes().escape_ascii().to_string());
    }
    let deep = "*1\r\n".repeat(500) + ":1\r\n";
    assert_eq!(run(ANSWER, &[deep.as_bytes()]), deep.as_bytes().escape_ascii().to_string());
    let wide = "*20000\r\n".to_owned() + &"$1\r\nx\r\n".repeat(20_000);
    assert_eq!(run(ANSWER, &[wide.as_bytes()]), wide.as_bytes().escape_ascii().to_string());
}

#[test]
fn replies_of_resp3_come_back_as_they_were() {
    for reply in [
        "%1\r\n$1\r\na\r\n:1\r\n",
        "~1\r\n$1\r\na\r\n",
        ",1.5\r\n",
        "(123456789012345678901234567890\r\n",
        "=5\r\ntxt:a\r\n",
        "#t\r\n",
        "#f\r\n",
        "_\r\n",
        "*1\r\n%1\r\n~1\r\n:1\r\n=3\r\ntxt\r\n",
    ] {
        let result = run_in(&mut interpreter(), ANSWER_3, &[reply.as_bytes()], Proto::Resp3);
        // A set is a key of the map above, and comes back as such; the text without one gets a colon.
        let expected = reply.replace("=3\r\ntxt\r\n", "=4\r\ntxt:\r\n");
        assert_eq!(shown(result), expected.as_bytes().escape_ascii().to_string());
    }
}

#[test]
fn arguments_are_strings_and_numbers() {
    assert_eq!(run("return redis.call('words', 'abc', 12, 1.5)", &[]), ":4000013\\r\\n");
    let error = "ERR Lua redis lib command arguments must be strings or integers";
    for bad in ["{}", "true", "nil", "redis.call"] {
        let text = format!("return redis.call('words', {bad})");
        assert!(run(&text, &[]).starts_with(error), "{bad}");
    }
    assert!(run("return redis.call()", &[]).starts_with("ERR Please specify at least one"));
    assert!(run("return redis.pcall()", &[]).starts_with("-ERR Please specify at least one"));
}

#[test]
fn errors_are_raised_and_caught() {
    let failed = run("redis.call('refuse', 'NO way')", &[]);
    assert!(failed.starts_with("NO way script: ") && failed.ends_with("on @user_script:1."));
    assert_eq!(run("return redis.pcall('refuse', 'NO way')", &[]), "-NO way\\r\\n");
    assert_eq!(
        run("return {pcall(redis.call, 'refuse', 'NO')}", &[]),
        "*2\\r\\n$-1\\r\\n$2\\r\\nNO\\r\\n"
    );
    assert_eq!(run("return redis.pcall('answer', '-NO\\r\\n').err", &[]), "$2\\r\\nNO\\r\\n");
    let inner = "return redis.call('answer', '*2\\r\\n:1\\r\\n-NO\\r\\n')";
    assert_eq!(run(inner, &[]), "*2\\r\\n:1\\r\\n-NO\\r\\n");
    let counted = "return redis.pcall('refuse', 'NO').ignore_error_stats_update";
    assert_eq!(run(counted, &[]), ":1\\r\\n");
}

#[test]
fn a_call_in_a_coroutine_is_a_call() {
    let text = "
        local co = coroutine.wrap(function()
            for i = 1, 3 do coroutine.yield(redis.call('answer', ':' .. i .. '\\r\\n')) end
            redis.call('refuse', 'NO')
        end)
        return {co(), co(), co(), pcall(co)}";
    assert_eq!(run(text, &[]), "*5\\r\\n:1\\r\\n:2\\r\\n:3\\r\\n$-1\\r\\n$2\\r\\nNO\\r\\n");
}

#[test]
fn the_line_of_a_call_is_known() {
    let mut host = Mirror { ticks_left: 100, line: None };
    let mut interpreter = interpreter();
    for (text, line) in [
        ("redis.call('words')", Some(1)),
        ("\n\nlocal function f()\nredis.pcall('words')\nend\nf()", Some(4)),
        ("\ncoroutine.wrap(function()\nredis.call('words') end)()", Some(3)),
        // It was called by a function that is not written in Lua.
        ("pcall(redis.call, 'words')", None),
    ] {
        let reply = run_on(&mut host, &mut interpreter, text, &[], Proto::Resp2);
        assert_eq!((shown(reply), host.line), ("$-1\\r\\n".to_owned(), line), "{text}");
    }
}

#[test]
fn a_panic_of_the_server_is_an_error() {
    let mut interpreter = interpreter();
    for _ in 0..3 {
        let failed = run_in(&mut interpreter, "return redis.call('panic')", &[], Proto::Resp2);
        assert!(shown(failed).starts_with("ERR internal error: a call of a script panicked"));
        let whole = run_in(&mut interpreter, ANSWER, &[b":1\r\n"], Proto::Resp2);
        assert_eq!(shown(whole), ":1\\r\\n");
    }
}

#[test]
fn a_script_that_is_ended_has_no_say() {
    for text in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do redis.pcall('refuse', 'NO') end",
        "local co = coroutine.wrap(function() while true do end end) while true do pcall(co) end",
    ] {
        let mut interpreter = interpreter();
        let error = run_in(&mut interpreter, text, &[], Proto::Resp2).expect_err("it was ended");
        assert!(error.is_spent, "{}", error.text.escape_ascii());
        assert!(error.text.starts_with(b"ERR Script killed"), "{}", error.text.escape_ascii());
    }
}

#[test]
fn a_script_without_memory_ends() {
    let reply = format!("*100\r\n{}", "$10\r\n0123456789\r\n".repeat(100));
    for text in [
        "local t = {} while true do t[#t + 1] = redis.call('answer', ARGV[1]) end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t[#t + 1] = redis.pcall('refuse', #t .. ARGV[1]) end",
        "local t = {} for i = 1, 1e7 do t[i] = redis.call('answer', '$9\\r\\n' .. 1e8 + i .. '\\r\\n') end",
    ] {
        let mut interpreter = interpreter();
        interpreter.lua().set_memory_limit(2 << 20).expect("a limit");
        let result = run_in(&mut interpreter, text, &[reply.as_bytes()], Proto::Resp2);
        let error = result.expect_err("there is no memory");
        assert!(error.is_spent, "{}", error.text.escape_ascii());
    }
    // The keys and arguments themselves.
    let mut interpreter = interpreter();
    interpreter.lua().set_memory_limit(interpreter.lua().used_memory() + 10_000).expect("a limit");
    let large = vec![b'x'; 100_000];
    let error =
        run_in(&mut interpreter, "return 1", &[&large], Proto::Resp2).expect_err("no memory");
    assert!(error.is_spent, "{}", error.text.escape_ascii());
}

#[test]
fn nothing_is_left_on_the_stack_or_in_the_registry() {
    let mut interpreter = interpreter();
    let scripts = [ANSWER, "return {ARGV[1]}", "error('x')", "return redis.call('refuse', 'NO')"];
    // Lua's stack has room for 8,000 values.
    let mut used_after = |rounds| {
        for _ in 0..rounds {
            for text in scripts {
                let _either = run_in(&mut interpreter, text, &[b"$1\r\nx\r\n"], Proto::Resp2);
            }
        }
        interpreter.lua().gc_collect().expect("collects");
        interpreter.lua().used_memory()
    };
    let (before, after) = (used_after(100), used_after(2500));
    // A value that was left once in each run, or in each of one script, would take more.
    assert!(after < before + 2500 * size_of::<u64>(), "{before} bytes, then {after}");
}

#[test]
fn a_table_that_cannot_change_is_cleaned_up() {
    let mut interpreter = interpreter();
    for leave in [
        "table.insert(redis, 'left')",
        "rawget(table, 'insert')(redis, 'left')",
        "for name, f in pairs(table) do if name == 'insert' then f(redis, 'left') end end",
        "local insert = table.insert insert(_G, 'left')",
    ] {
        drop(run_in(&mut interpreter, leave, &[], Proto::Resp2));
        let seen = run_in(&mut interpreter, "return {#redis, #_G}", &[], Proto::Resp2);
        assert_eq!(shown(seen), "*2\\r\\n:0\\r\\n:0\\r\\n", "{leave}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The replies are our own: what is none becomes some value all the same.
    #[test]
    fn any_bytes_are_some_reply(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        heads in "([*%~$:+,(=#>-]-?[0-9]{0,12}\r\n){0,12}",
    ) {
        let mut interpreter = interpreter();
        for reply in [&bytes[..], heads.as_bytes()] {
            for text in [ANSWER, ANSWER_3] {
                let _either = run_in(&mut interpreter, text, &[reply], Proto::Resp3);
            }
        }
        let whole = run_in(&mut interpreter, ANSWER, &[b":1\r\n"], Proto::Resp2);
        prop_assert_eq!(shown(whole), ":1\\r\\n");
    }
}

#[test]
fn a_state_at_rest_is_small() {
    let mut interpreter = interpreter();
    let once = run_in(&mut interpreter, ANSWER, &[b":1\r\n"], Proto::Resp2);
    assert_eq!(shown(once), ":1\\r\\n");
    let used = interpreter.lua().used_memory();
    assert!(used < 64 * 1024, "{used} bytes");
}
