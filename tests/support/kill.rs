//! Runs a program under ptrace, with all its threads, and acts at its Nth call that changes something below given folders:
//! kills it before or after the call or in the middle of a write, or has the call fail.
//!
//! Invariant: calls elsewhere are neither counted nor touched, and nothing that was started here outlives its [`Traced`].

// Shared by several tests as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    KillBefore,
    KillAfter,
    /// A write takes half of its bytes, then the kill. Any other call is made.
    KillTorn,
    /// It is not made and fails.
    Fail(Errno),
    /// As [`Act::Fail`], and so do all after it until [`Traced::disarm`], but those that remove something.
    FailOn(Errno),
}

/// One call that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// As in `libc::SYS_*`.
    pub number: i64,
    /// The file that it changes; the new name of a rename or a link.
    pub file: PathBuf,
    /// Of a `pwrite64`.
    pub offset: u64,
}

/// What a program did since it was armed, or since its start.
#[derive(Debug, Default, Clone)]
pub struct Ended {
    /// The call that was acted on.
    pub hit: Option<Call>,
    /// All that were made, with what they returned.
    pub done: Vec<(Call, i64)>,
    /// Exit status; `None` when it was killed.
    pub status: Option<i32>,
}

/// A program that runs; killed when dropped.
pub struct Traced {
    leader: Pid,
    plan: Arc<Mutex<Plan>>,
    tracer: Option<JoinHandle<Option<i32>>>,
    stdout: Option<ChildStdout>,
}

#[derive(Default)]
struct Plan {
    at: Option<(usize, Act)>,
    calls: usize,
    ended: Ended,
}

/// The program as a command for [`Traced::start`]: arguments, environment and folder are added as to any other.
pub fn program(path: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    // It waits until it is traced: no call of the program is missed.
    command.args(["-c", r#"read -r go && exec "$0" "$@" </dev/null"#]).arg(path);
    command
}

impl Traced {
    /// Starts it. `at` counts its changes below `folders` from 1.
    pub fn start(command: Command, folders: &[&Path], at: Option<(usize, Act)>) -> Self {
        let folders: Vec<PathBuf> =
            folders.iter().map(|folder| folder.canonicalize().expect("is there")).collect();
        let plan = Arc::new(Mutex::new(Plan { at, ..Plan::default() }));
        let (started, starting) = mpsc::channel();
        let for_tracer = plan.clone();
        // Only the thread that attached may act on what it traces.
        let tracer = std::thread::spawn(move || {
            let (leader, stdout) = attach(command);
            started.send((leader, stdout)).expect("is waited for");
            follow(leader, &folders, &for_tracer)
        });
        let (leader, stdout) = starting.recv().expect("the tracer has told why it could not start it");
        Self { leader, plan, tracer: Some(tracer), stdout: Some(stdout) }
    }

    /// What it prints.
    pub fn stdout(&mut self) -> ChildStdout {
        self.stdout.take().expect("is taken once")
    }

    /// Counts from here on, from 1.
    pub fn arm(&self, number: usize, act: Act) {
        *lock(&self.plan) = Plan { at: Some((number, act)), ..Plan::default() };
    }

    /// Acts no more.
    pub fn disarm(&self) {
        lock(&self.plan).at = None;
    }

    /// What it did so far.
    pub fn so_far(&self) -> Ended {
        lock(&self.plan).ended.clone()
    }

    /// Whether it acted already.
    pub fn is_hit(&self) -> bool {
        lock(&self.plan).ended.hit.is_some()
    }

    pub fn has_ended(&self) -> bool {
        self.tracer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Until it has ended by itself or by the act.
    pub fn wait(mut self) -> Ended {
        let status = self.tracer.take().expect("taken at the end only").join().expect("the tracer's word");
        Ended { status, ..lock(&self.plan).ended.clone() }
    }

    /// Kills it now if it still runs.
    pub fn kill(self) -> Ended {
        self.signal();
        self.wait()
    }

    fn signal(&self) {
        if !self.has_ended() {
            // It may have ended just now.
            let _ = kill(self.leader, Signal::SIGKILL);
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.signal();
        if let Some(tracer) = self.tracer.take() {
            let _ = tracer.join();
        }
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::zombie_processes, reason = "`follow` waits for it, as only the tracer can")]
fn attach(mut command: Command) -> (Pid, ChildStdout) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let leader = Pid::from_raw(child.id().cast_signed());
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::seize(leader, options).and_then(|()| ptrace::interrupt(leader)).expect(
        "ptrace is not permitted here: allow this user to trace its own children \
         (kernel.yama.ptrace_scope at most 1; in a container --cap-add SYS_PTRACE)",
    );
    child.stdin.take().expect("piped").write_all(b"go\n").expect("is heard");
    (leader, child.stdout.take().expect("piped"))
}

/// Lets it go from call to call until it ends. Gives the exit status.
fn follow(leader: Pid, folders: &[PathBuf], plan: &Mutex<Plan>) -> Option<i32> {
    // Of each thread that is in a call that changes something: the call, and what is done at its end.
    let mut inside: HashMap<Pid, Option<(Call, Option<Act>)>> = HashMap::new();
    loop {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let (thread, signal) = match waitpid(None, Some(flags)).expect("has a child") {
            WaitStatus::Exited(thread, status) if thread == leader => return Some(status),
            WaitStatus::Signaled(thread, ..) if thread == leader => return None,
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            WaitStatus::PtraceSyscall(thread) => {
                // A thread that a kill has reached already has no registers any more.
                let Ok(regs) = ptrace::getregs(thread) else { continue };
                if let Some(entry) = inside.remove(&thread) {
                    if let Some((call, act)) = entry {
                        leave(leader, thread, regs, call, act, plan);
                    }
                } else {
                    inside.insert(thread, enter(leader, thread, regs, folders, plan));
                }
                (thread, None)
            }
            _ => continue,
        };
        match ptrace::syscall(thread, signal) {
            // It was killed meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("could not go on: {error}"),
        }
    }
}

fn enter(
    leader: Pid,
    thread: Pid,
    mut regs: libc::user_regs_struct,
    folders: &[PathBuf],
    plan: &Mutex<Plan>,
) -> Option<(Call, Option<Act>)> {
    let call = change(leader, folders, &regs)?;
    let mut plan = lock(plan);
    plan.calls += 1;
    let act = plan.at.filter(|&(number, act)| match act {
        Act::FailOn(_) => {
            plan.calls >= number && !matches!(call.number, libc::SYS_unlink | libc::SYS_unlinkat)
        }
        _ => plan.calls == number,
    });
    let act = act.map(|(_, act)| act);
    match act {
        Some(Act::KillBefore) => {
            kill(leader, Signal::SIGKILL).expect("kills");
        }
        Some(Act::KillTorn) if is_write(call.number) => {
            regs.rdx /= 2;
            ptrace::setregs(thread, regs).expect("sets");
        }
        Some(Act::Fail(_) | Act::FailOn(_)) => {
            // No call has that number: nothing is done.
            regs.orig_rax = u64::MAX;
            ptrace::setregs(thread, regs).expect("sets");
        }
        _ => {}
    }
    if act.is_some() && plan.ended.hit.is_none() {
        plan.ended.hit = Some(call.clone());
    }
    Some((call, act))
}

fn leave(
    leader: Pid,
    thread: Pid,
    mut regs: libc::user_regs_struct,
    call: Call,
    act: Option<Act>,
    plan: &Mutex<Plan>,
) {
    match act {
        Some(Act::Fail(errno) | Act::FailOn(errno)) => {
            regs.rax = (-(errno as i64)).cast_unsigned();
            ptrace::setregs(thread, regs).expect("sets");
        }
        Some(_) => {
            kill(leader, Signal::SIGKILL).expect("kills");
        }
        None => {}
    }
    lock(plan).ended.done.push((call, regs.rax.cast_signed()));
}

fn is_write(number: i64) -> bool {
    matches!(number, libc::SYS_write | libc::SYS_pwrite64)
}

/// The call that begins, when it changes something below the folders.
fn change(leader: Pid, folders: &[PathBuf], regs: &libc::user_regs_struct) -> Option<Call> {
    let number = regs.orig_rax.cast_signed();
    let cwd = u64::MAX;
    let file = match number {
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_pwrite64
        | libc::SYS_pwritev
        | libc::SYS_fsync
        | libc::SYS_fdatasync
        | libc::SYS_fallocate
        | libc::SYS_ftruncate => fs::read_link(format!("/proc/{leader}/fd/{}", regs.rdi)).ok()?,
        libc::SYS_openat if changes_on_open(regs.rdx) => path(leader, regs.rdi, regs.rsi)?,
        libc::SYS_open if changes_on_open(regs.rsi) => path(leader, cwd, regs.rdi)?,
        libc::SYS_rename | libc::SYS_link | libc::SYS_symlink => path(leader, cwd, regs.rsi)?,
        libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => path(leader, regs.rdx, regs.r10)?,
        libc::SYS_unlink | libc::SYS_mkdir | libc::SYS_rmdir => path(leader, cwd, regs.rdi)?,
        libc::SYS_unlinkat | libc::SYS_mkdirat => path(leader, regs.rdi, regs.rsi)?,
        _ => return None,
    };
    let offset = if number == libc::SYS_pwrite64 { regs.r10 } else { 0 };
    folders.iter().any(|folder| file.starts_with(folder)).then_some(Call { number, file, offset })
}

fn changes_on_open(flags: u64) -> bool {
    flags & u64::from((libc::O_CREAT | libc::O_TRUNC).cast_unsigned()) != 0
}

/// A path argument, absolute.
fn path(leader: Pid, folder: u64, address: u64) -> Option<PathBuf> {
    const PAGE_BYTES: u64 = 4096;
    let memory = File::open(format!("/proc/{leader}/mem")).ok()?;
    let mut bytes = Vec::new();
    let mut at = address;
    while !bytes.contains(&0) && bytes.len() < libc::PATH_MAX.cast_unsigned() as usize {
        let mut page = vec![0; usize::try_from(PAGE_BYTES - at % PAGE_BYTES).expect("fits")];
        memory.read_exact_at(&mut page, at).ok()?;
        at += page.len() as u64;
        bytes.extend(page);
    }
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&bytes[..end]));
    if path.is_absolute() {
        return Some(path);
    }
    // The kernel takes 32 bits of it: -100 is the folder that it runs in.
    let folder = match u32::try_from(folder & u64::from(u32::MAX)).expect("fits").cast_signed() {
        libc::AT_FDCWD | -1 => fs::read_link(format!("/proc/{leader}/cwd")).ok()?,
        folder => fs::read_link(format!("/proc/{leader}/fd/{folder}")).ok()?,
    };
    Some(folder.join(path))
}

/// One of each act that kills.
pub const KILLS: [Act; 3] = [Act::KillBefore, Act::KillAfter, Act::KillTorn];
/// One of each act that fails.
pub const FAILURES: [Act; 4] =
    [Act::Fail(Errno::ENOSPC), Act::Fail(Errno::EIO), Act::FailOn(Errno::ENOSPC), Act::FailOn(Errno::EIO)];
