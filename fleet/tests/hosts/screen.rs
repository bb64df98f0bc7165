//! A person's terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::pty::openpty;

/// A person at a terminal.
pub struct Screen {
    child: Child,
    master: File,
    pub seen: String,
}

impl Screen {
    /// The outputs are read, and what is shown on the terminal itself is on the screen.
    pub fn of(command: &Command) -> Self {
        Self::new(command, |_| Stdio::piped())
    }

    /// The outputs are on the screen, too.
    pub fn with_output(command: &Command) -> Self {
        Self::new(command, |slave| slave.try_clone().unwrap().into())
    }

    fn new(command: &Command, output: impl Fn(&OwnedFd) -> Stdio) -> Self {
        let pty = openpty(None, None).unwrap();
        // setsid(1) makes it session leader with this controlling terminal.
        let mut own = Command::new("setsid");
        own.args(["-c", "-w"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir("/")
            .env_clear();
        for (name, value) in command.get_envs() {
            own.env(name, value.unwrap_or_default());
        }
        own.stdout(output(&pty.slave)).stderr(output(&pty.slave));
        let child = own.stdin(pty.slave).spawn().unwrap();
        drop(own);
        Self {
            child,
            master: File::from(pty.master),
            seen: String::new(),
        }
    }

    pub fn reads_until(&mut self, question: &str, times: usize) {
        let mut chunk = [0; 4096];
        while self.seen.matches(question).count() < times {
            let length = self.master.read(&mut chunk).unwrap();
            self.seen += std::str::from_utf8(&chunk[..length]).unwrap();
        }
    }

    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    pub fn end(mut self) -> (Option<i32>, String, String, String) {
        let mut chunk = [0; 4096];
        // Linux returns EIO after the last slave is closed (pty(7)).
        while let Ok(length @ 1..) = self.master.read(&mut chunk) {
            self.seen += std::str::from_utf8(&chunk[..length]).unwrap();
        }
        let output = self.child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
            self.seen,
        )
    }

    /// The rows of a screen of 80 columns: it goes on with a wider line at its begin.
    pub fn rows(seen: &str) -> Vec<String> {
        let cut = |line: &str| {
            let all: Vec<char> = line.chars().collect();
            all.chunks(80).map(String::from_iter).collect::<Vec<_>>()
        };
        seen.lines().flat_map(cut).collect()
    }
}
