//! The families of the process itself, under the names that every exporter gives them. Only Linux tells these numbers
//! where they are read here; elsewhere the build is told alone.

use std::{fmt, fs};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::lines::Lines;

/// This process, read when it is told.
#[derive(Debug)]
pub(super) struct ProcessNumbers;

impl Collector for ProcessNumbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut Lines(encoder);
        to.info(
            "floodplain_build",
            "Of this program",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("os", std::env::consts::OS),
                ("arch", std::env::consts::ARCH),
            ],
        )?;
        let Some(process) = Process::read() else { return Ok(()) };
        to.gauge("process_resident_memory_bytes", "Memory that is resident", process.resident_bytes)?;
        to.gauge("process_virtual_memory_bytes", "Memory that is mapped", process.virtual_bytes)?;
        to.seconds_counter(
            "process_cpu_seconds",
            "Time on a CPU, in user and system mode",
            process.cpu_seconds,
        )?;
        to.seconds("process_start_time_seconds", "Start in seconds since 1970", process.start_seconds)?;
        to.gauge("process_threads", "Threads", process.threads)?;
        to.gauge("process_open_fds", "File descriptors that are open", process.open_descriptors)?;
        to.gauge("process_max_fds", "File descriptors that may be open", process.most_descriptors)
    }
}

/// What Linux tells of a process.
#[derive(Debug, Clone, Copy)]
struct Process {
    resident_bytes: u64,
    virtual_bytes: u64,
    cpu_seconds: f64,
    start_seconds: f64,
    threads: u64,
    open_descriptors: u64,
    most_descriptors: u64,
}

impl Process {
    /// `None` where `/proc` is not as `proc_pid_stat(5)` says.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program is in brackets and may hold anything, brackets too.
        let (_, behind_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        // Fields count from 1 there, and the first behind the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        #[expect(clippy::cast_precision_loss, reason = "exact for 285 years at 1,000,000 ticks a second")]
        let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Some(Self {
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
            virtual_bytes: field(23)?,
            cpu_seconds: seconds(field(14)? + field(15)?),
            start_seconds: boot + seconds(field(22)?),
            threads: field(20)?,
            // One of them is the folder that is being read.
            open_descriptors: (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
            // No limit is the largest number there is.
            most_descriptors: limit.current.unwrap_or(u64::MAX),
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn this_process_began_not_long_ago_and_holds_what_it_opened() {
        let before = Process::read().expect("Linux tells");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let age = now.as_secs_f64() - before.start_seconds;
        assert!((-2.0..Duration::from_secs(3600).as_secs_f64()).contains(&age), "{before:?} at {now:?}");
        assert!(before.resident_bytes > 1 << 20 && before.resident_bytes < before.virtual_bytes);
        assert!(before.threads >= 2 && before.most_descriptors >= before.open_descriptors);
    }
}
