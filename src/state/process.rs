//! What the operating system reports about this process. The library does not call it by itself:
//! the program passes these functions to [`super::ServerState`].

use std::time::Duration;

/// The process's use of memory and CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Peak of the resident memory, in bytes.
    pub resident_peak: u64,
    /// Memory of the machine, in bytes.
    pub machine_memory: u64,
    /// CPU time in user mode.
    pub cpu_user: Duration,
    /// CPU time in the kernel.
    pub cpu_system: Duration,
    /// CPU time of the main thread in user mode.
    pub cpu_user_main: Duration,
    /// CPU time of the main thread in the kernel.
    pub cpu_system_main: Duration,
}

impl Usage {
    /// Reads the present values from `/proc`; zeros where there is none.
    #[must_use]
    #[cfg(target_os = "linux")]
    pub fn of_process() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let [status, stat, machine] =
            ["/proc/self/status", "/proc/self/stat", "/proc/meminfo"].map(read);
        // The main thread has the number of its process.
        let main = format!("/proc/self/task/{}/stat", std::process::id());
        let main = std::fs::read_to_string(main).unwrap_or_default();
        Self::parse(&status, &stat, &main, &machine)
    }

    /// Returns zeros: not known on this system.
    #[must_use]
    #[cfg(not(target_os = "linux"))]
    pub fn of_process() -> Self {
        Self::default()
    }

    /// Parses Linux' `/proc/self/status`, `/proc/self/stat`, that of the main thread, and
    /// `/proc/meminfo`.
    #[cfg(any(target_os = "linux", test))]
    fn parse(status: &str, stat: &str, main: &str, machine: &str) -> Self {
        let bytes = |text: &str, field: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        // The second field is the program's name in parentheses and may contain anything; user and
        // system time are the 12th and 13th field after it, in hundredths of a second.
        let time = |stat: &str, at: usize| {
            let behind_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            let ticks = behind_name.split(' ').nth(at).and_then(|field| field.parse::<u64>().ok());
            Duration::from_millis(ticks.unwrap_or(0) * 10)
        };
        Self {
            resident: bytes(status, "VmRSS:"),
            resident_peak: bytes(status, "VmHWM:"),
            machine_memory: bytes(machine, "MemTotal:"),
            cpu_user: time(stat, 11),
            cpu_system: time(stat, 12),
            cpu_user_main: time(main, 11),
            cpu_system_main: time(main, 12),
        }
    }
}

/// Returns the operating system's name, release and machine, as `INFO` shows it.
#[must_use]
pub(crate) fn os() -> String {
    let uname = rustix::system::uname();
    let [name, release, machine] =
        [uname.sysname(), uname.release(), uname.machine()].map(|text| text.to_string_lossy());
    format!("{name} {release} {machine}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_what_linux_writes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 1 0 5 6 7";
        let main = stat.replace("250 31", "50 1");
        let usage = Usage::parse(status, stat, &main, "MemTotal:  4 kB\nMemFree: 1 kB\n");
        assert_eq!((usage.resident, usage.resident_peak), (1 << 20, 2 << 20));
        assert_eq!(usage.machine_memory, 4096);
        assert_eq!(
            (usage.cpu_user, usage.cpu_system),
            (Duration::from_millis(2500), Duration::from_millis(310))
        );
        assert_eq!(
            (usage.cpu_user_main, usage.cpu_system_main),
            (Duration::from_millis(500), Duration::from_millis(10))
        );
        assert_eq!(Usage::parse("", "", "", ""), Usage::default());
    }
}
