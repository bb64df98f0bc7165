//! Controls the small process that runs `/bin/true` bare and in sandboxes and times it (`bin/small.rs`).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Failure;

pub struct Small {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    line: String,
}

impl Small {
    pub fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe()?.with_file_name("remit-bench-small");
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start '{}': {e}", program.display()))?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().ok_or("no pipe")?),
            child,
            line: String::new(),
        })
    }

    /// Runs one way. Returns the time measured in the small process.
    pub fn run(&mut self, way: &str) -> Result<Duration, Failure> {
        let stdin = self.stdin.as_mut().ok_or("no pipe")?;
        stdin.write_all(format!("{way}\n").as_bytes())?;
        self.line.clear();
        if self.stdout.read_line(&mut self.line)? == 0 {
            return Err(format!("'{way}' failed in remit-bench-small").into());
        }
        Ok(Duration::from_nanos(self.line.trim_end().parse()?))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}
