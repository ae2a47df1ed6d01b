//! What happens when the test process has ended, however it ended.
//!
//! libtest runs no code after the last test, statics are never dropped, and Ctrl-C ends a test in its
//! middle. So a shell holds the other end of a pipe. When the test process is gone, the shell reads
//! the end of the pipe, kills the servers that still run, removes their folder, and prints a note:
//! below libtest's summary, where no capture hides it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads one event a line until the test process is gone. Its first argument is the folder.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' '
note=
while read -r event rest; do
    case $event in
        started) pids="$pids$rest " ;;
        ended) pids="${pids%% "$rest" *} ${pids#* "$rest" }" ;;
        note) note=$rest ;;
    esac
done
if [ -n "$note" ]; then printf '\n%s\n' "$note" >&2; fi
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
# A server that is just ending may still write a file.
for attempt in 1 2 3; do rm -rf "$1" 2>/dev/null && break; sleep 1; done
"#;

/// Reports a server that has to end with the tests.
pub(crate) fn started(process: u32) {
    send(&format!("started {process}"));
}

/// Reports that a server has ended: its process id may now be another's.
pub(crate) fn ended(process: u32) {
    send(&format!("ended {process}"));
}

/// Sets the one line that is printed at the end, in place of an earlier one.
pub(crate) fn set_note(line: &str) {
    send(&format!("note {line}"));
}

/// A folder for the files of servers; removed at the end.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("slotway-servers-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        path
    })
}

#[expect(clippy::zombie_processes, reason = "the shell outlives this process")]
fn send(line: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "janitor"])
            .arg(folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("there is a shell");
        Mutex::new(shell.stdin.take().expect("stdin is piped"))
    });
    let mut pipe = pipe.lock().expect("nothing below panics while it is held");
    writeln!(pipe, "{line}").expect("the janitor outlives the tests");
}
