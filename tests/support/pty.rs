//! A pseudo-terminal of a known size that can be resized, with everything that was written to it.

// Shared by several tests as a module of each.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{
    fs::File,
    io::{Read, Write},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rexpect::process::{PtyProcess, Signal, WaitStatus};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Waits for a line before it becomes the program, so that the terminal is as the program shall find it.
const HELD: &str = "printf held; read go; exec \"$0\" \"$@\"";

/// A program on a terminal; told to end when this is dropped.
pub struct Pty {
    process: PtyProcess,
    terminal: File,
    written: Arc<Mutex<Vec<u8>>>,
    /// The terminal's modes before the program.
    pub modes_before: (u32, u32, u32),
}

impl Pty {
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let mut held = Command::new("/bin/sh");
        held.arg("-c").arg(HELD).arg(command.get_program()).args(command.get_args()).env_clear();
        held.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        held.current_dir(command.get_current_dir().expect("every test names a folder"));
        let mut process = PtyProcess::new(held).unwrap();
        process.set_kill_timeout(Some(5000));
        let terminal = process.get_file_handle().unwrap();
        size(&terminal, columns, rows);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (mut reader, sink) = (terminal.try_clone().unwrap(), written.clone());
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                sink.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        let mut pty = Self { process, terminal, written, modes_before: (0, 0, 0) };
        pty.expect("held");
        pty.modes_before = pty.modes();
        pty.type_in("\n");
        pty
    }

    pub fn type_in(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        size(&self.terminal, columns, rows);
    }

    pub fn terminate(&mut self) {
        self.process.signal(Signal::SIGTERM).unwrap();
    }

    /// Everything written so far.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Bytes written so far.
    pub fn mark(&self) -> usize {
        self.written.lock().unwrap().len()
    }

    /// Whether this was written behind a mark.
    pub fn has_since(&self, mark: usize, text: &str) -> bool {
        String::from_utf8_lossy(&self.written.lock().unwrap()[mark..]).contains(text)
    }

    /// Waits until this was written behind a mark.
    pub fn expect_since(&self, mark: usize, text: &str) {
        let began = Instant::now();
        loop {
            if self.has_since(mark, text) {
                return;
            }
            let written = self.written.lock().unwrap()[mark..].to_vec();
            assert!(began.elapsed() < PATIENCE, "never {text:?}: {:?}", String::from_utf8_lossy(&written));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn expect(&self, text: &str) {
        self.expect_since(0, text);
    }

    /// Local, input and output modes of the terminal.
    pub fn modes(&self) -> (u32, u32, u32) {
        let now = tcgetattr(&self.terminal).unwrap();
        (now.local_modes.bits(), now.input_modes.bits(), now.output_modes.bits())
    }

    /// Its exit status, once it has ended: 128 and the signal where one ended it.
    pub fn ended(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            match self.process.status() {
                Some(WaitStatus::Exited(_, code)) => return code,
                Some(WaitStatus::Signaled(_, signal, _)) => return 128 + signal as i32,
                _ => {}
            }
            assert!(began.elapsed() < PATIENCE, "it does not end: {:?}", self.written());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn size(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}
