//! Times, CPU and memory, as the system counts them.

use std::{collections::BTreeMap, fs, time::Duration};

/// Measured times of one kind.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this part of all is below; zero when there is none.
    pub(crate) fn quantile(&mut self, part: f64) -> Duration {
        self.0.sort_unstable();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below the number of times
        let at = (part * self.0.len() as f64) as usize;
        self.0.get(at).or(self.0.last()).copied().unwrap_or_default()
    }
}

/// Time on a CPU of each thread of a process, in nanoseconds: ticks of 10 ms would hide what is asked for here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu(BTreeMap<String, u64>);

impl Cpu {
    /// Up to now. A thread that ends before the next look takes with it what it used in between.
    pub(crate) fn of(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let read = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.file_name().into_string().ok()?, text.split(' ').next()?.parse().ok()?))
        });
        Self(read.collect())
    }

    pub(crate) fn since(&self, before: &Self) -> Duration {
        let spent = |(thread, time): (&String, &u64)| time - before.0.get(thread).unwrap_or(&0).min(time);
        Duration::from_nanos(self.0.iter().map(spent).sum())
    }
}

/// Time on a CPU of all threads of this process, in nanoseconds.
pub(crate) fn own_cpu_nanos() -> i64 {
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("every process has that clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// Resident memory in KiB: all of it, and what is not shared with files on disk.
pub(crate) fn memory_kib(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    (field("VmRSS:"), field("RssAnon:"))
}

/// How busy the machine is, as the system tells it.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Microseconds, for tables.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Milliseconds, for tables.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
