//! A program on a terminal of its own: a pseudo-terminal, and what its screen shows. It understands what full-screen
//! programs write here: moves of the cursor, erasing, and attributes, which it ignores.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use crate::process::Identity;

const PATIENCE: Duration = Duration::from_secs(60);

/// Columns and rows.
pub type Size = (u16, u16);

/// The program, its terminal and its screen.
#[derive(Debug)]
pub struct TerminalScreen {
    child: Child,
    master: File,
    /// Kept open, so that the settings of the terminal can be read after the program's end.
    slave: OwnedFd,
    before: Termios,
    parser: Parser,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Left {
    /// The program's end.
    pub status: ExitStatus,
    /// All that it wrote.
    pub written: String,
    /// Its last screen.
    pub screen: Vec<String>,
    /// Whether the settings of the terminal are those from before.
    pub is_restored: bool,
}

#[derive(Debug)]
struct Parser {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    written: Vec<u8>,
    /// Bytes that were read of `written`.
    parsed: usize,
}

fn window((columns, rows): Size) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl TerminalScreen {
    /// Starts `command` as `user` with this terminal as its controlling one.
    #[must_use]
    pub fn start(command: &Command, user: &Identity, size: Size) -> Self {
        let OpenptyResult { master, slave } =
            openpty(Some(&window(size)), None).expect("a terminal can be made");
        let before = tcgetattr(&slave).expect("it is a terminal");
        let copy = || Stdio::from(slave.try_clone().expect("it is open"));
        // setsid(1) makes the program a session leader with this controlling terminal, so it hears of a new size.
        let mut own = Command::new("setsid");
        own.arg("-c")
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => own.env(name, value),
                None => own.env_remove(name),
            };
        }
        own.stdin(copy()).stdout(copy()).stderr(copy());
        user.runs(&mut own);
        let child = own.spawn().expect("setsid starts");
        Self {
            child,
            master: File::from(master),
            slave,
            before,
            parser: Parser::new(size),
        }
    }

    /// Returns the rows of the screen without blanks at their ends.
    #[must_use]
    pub fn rows(&self) -> Vec<String> {
        self.parser.rows()
    }

    /// Returns true if a row has this text.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        self.rows().iter().any(|row| row.contains(text))
    }

    /// Waits until a row has this text. Panics with the screen after a minute.
    pub fn until(&mut self, text: &str) {
        self.until_so(text, |screen| screen.has(text));
    }

    /// Waits until this is so. Panics with `what` and the screen after a minute.
    pub fn until_so(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(
                Instant::now() < end && self.child.try_wait().expect("our child").is_none(),
                "no {what:?}:\n{}\n{}",
                self.rows().join("\n"),
                String::from_utf8_lossy(&self.parser.written)
            );
            self.reads(PollTimeout::from(100_u8));
        }
    }

    /// Types these keys.
    pub fn types(&mut self, keys: &str) {
        self.master
            .write_all(keys.as_bytes())
            .expect("the terminal is open");
    }

    /// Gives the terminal another size; the kernel sends SIGWINCH.
    pub fn resize(&mut self, size: Size) {
        let (columns, rows) = size;
        let mut stty = Command::new("stty");
        stty.args(["cols", &columns.to_string(), "rows", &rows.to_string()]);
        stty.stdin(self.slave.try_clone().expect("it is open"));
        assert!(stty.status().expect("stty starts").success());
        self.parser.resize(size);
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Waits until the program has ended.
    #[must_use]
    pub fn end(mut self) -> Left {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("our child") {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "it runs on: {:#?}", self.rows()),
            }
            self.reads(PollTimeout::from(20_u8));
        };
        while self.reads(PollTimeout::ZERO) {}
        let after = tcgetattr(&self.slave).expect("it is a terminal");
        Left {
            status,
            written: String::from_utf8_lossy(&self.parser.written).into_owned(),
            screen: self.rows(),
            is_restored: after == self.before,
        }
    }

    /// Reads what is there. Returns true if something was.
    fn reads(&mut self, wait: PollTimeout) -> bool {
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, wait).expect("poll works") == 0 {
            return false;
        }
        let mut bytes = [0; 16 << 10];
        let length = self.master.read(&mut bytes).unwrap_or(0);
        self.parser.takes(bytes.get(..length).unwrap_or_default());
        length > 0
    }
}

impl Drop for TerminalScreen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Parser {
    fn new((columns, rows): Size) -> Self {
        Self {
            cells: vec![vec![' '; columns.into()]; rows.into()],
            row: 0,
            column: 0,
            written: Vec::new(),
            parsed: 0,
        }
    }

    fn resize(&mut self, (columns, rows): Size) {
        for row in &mut self.cells {
            row.resize(columns.into(), ' ');
        }
        self.cells.resize(rows.into(), vec![' '; columns.into()]);
    }

    fn rows(&self) -> Vec<String> {
        let row = |row: &Vec<char>| row.iter().collect::<String>().trim_end().to_owned();
        self.cells.iter().map(row).collect()
    }

    fn takes(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
        let rest = self.written.split_off(self.parsed);
        let text = match std::str::from_utf8(&rest) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default(),
        };
        let mut done = 0;
        while let Some(length) = self.step(&text[done..]) {
            done += length;
        }
        self.parsed = self.written.len() + done;
        self.written.extend(rest);
    }

    /// Takes one character or sequence from the begin of the text. Returns its length; `None` if it is not whole.
    fn step(&mut self, text: &str) -> Option<usize> {
        let first = text.chars().next()?;
        match first {
            '\x1b' => return self.escape(text),
            '\r' => self.column = 0,
            '\n' => self.row += 1,
            c if c.is_control() => {}
            c => {
                let is_wide = ('\u{1100}'..'\u{2000}').contains(&c) || c >= '\u{2e80}';
                for c in std::iter::once(c).chain(is_wide.then_some(' ')) {
                    if let Some(cell) = self.cell() {
                        *cell = c;
                    }
                    self.column += 1;
                }
            }
        }
        Some(first.len_utf8())
    }

    fn cell(&mut self) -> Option<&mut char> {
        self.cells.get_mut(self.row)?.get_mut(self.column)
    }

    fn escape(&mut self, text: &str) -> Option<usize> {
        if !text.starts_with("\x1b[") {
            return (text.len() > 1).then_some(2);
        }
        let end = 2 + text.get(2..)?.find(|c: char| c.is_ascii_alphabetic())?;
        let parameters = &text[2..end];
        let number = |index: usize| {
            let number = parameters.split(';').nth(index).unwrap_or_default();
            number.parse::<usize>().unwrap_or(0)
        };
        match text.as_bytes()[end] {
            b'H' => {
                self.row = number(0).max(1) - 1;
                self.column = number(1).max(1) - 1;
            }
            b'J' if number(0) == 2 => self.erase(0, 0),
            b'J' => self.erase(self.row, self.column),
            b'h' | b'l' if parameters == "?1049" => self.erase(0, 0),
            _ => {}
        }
        Some(end + 1)
    }

    fn erase(&mut self, row: usize, column: usize) {
        for (index, cells) in self.cells.iter_mut().enumerate().skip(row) {
            let from = if index == row { column } else { 0 };
            cells.iter_mut().skip(from).for_each(|cell| *cell = ' ');
        }
    }
}
