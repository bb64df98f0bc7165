//! stdin and stdout of the client. Each has a thread, because reading a terminal or a file may block.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::link::{Line, Lines};

/// Bytes of one line, as for mcp-shim.
pub const LONGEST_LINE: usize = 4 << 20;
const LINES_IN: usize = 1;
const LINES_OUT: usize = 8;

#[derive(Debug)]
enum Task {
    Write(Vec<u8>),
    Tell(oneshot::Sender<()>),
}

/// Lines to the client, in order.
#[derive(Clone, Debug)]
pub struct Output(mpsc::Sender<Task>);

pub struct OutputPermit<'a>(mpsc::Permit<'a, Task>);

/// stdout is broken.
#[derive(Debug)]
pub struct Gone;

impl Output {
    /// Waits for space: a client that reads slowly is answered slowly. Dropping the future loses nothing.
    pub async fn permit(&self) -> Result<OutputPermit<'_>, Gone> {
        self.0.reserve().await.map(OutputPermit).map_err(|_| Gone)
    }

    /// Returns when all lines are written.
    pub async fn flush(&self) -> Result<(), Gone> {
        let (done, written) = oneshot::channel();
        self.0.send(Task::Tell(done)).await.map_err(|_| Gone)?;
        written.await.map_err(|_| Gone)
    }
}

impl OutputPermit<'_> {
    /// `line` ends in a newline.
    pub fn put(self, line: Vec<u8>) {
        self.0.send(Task::Write(line));
    }
}

/// Starts reading stdin. The channel ends with the input.
pub fn input() -> io::Result<mpsc::Receiver<Line>> {
    let (lines, receiver) = mpsc::channel(LINES_IN);
    let read = move || read(&mut io::stdin().lock(), &lines);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)?;
    Ok(receiver)
}

/// Starts writing stdout. The second value resolves if a write fails.
pub fn output() -> io::Result<(Output, oneshot::Receiver<io::Error>)> {
    let (sender, tasks) = mpsc::channel(LINES_OUT);
    let (broken, why) = oneshot::channel();
    let write = move || {
        if let Err(error) = write(&mut io::stdout().lock(), tasks) {
            // After the end of the session nobody receives it.
            let _ = broken.send(error);
        }
    };
    thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(write)?;
    Ok((Output(sender), why))
}

fn read(input: &mut impl Read, lines: &mpsc::Sender<Line>) {
    let (mut partial, mut buffer) = (Lines::new(LONGEST_LINE), vec![0; 32 << 10]);
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut bytes = buffer.get(..count).unwrap_or_default();
        while !bytes.is_empty() {
            let (line, taken) = partial.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if line.is_some_and(|line| lines.blocking_send(line).is_err()) {
                return;
            }
        }
    }
    if let Some(line) = partial.last() {
        let _ = lines.blocking_send(line);
    }
}

fn write(output: &mut impl Write, mut tasks: mpsc::Receiver<Task>) -> io::Result<()> {
    while let Some(task) = tasks.blocking_recv() {
        match task {
            Task::Write(line) => {
                output.write_all(&line)?;
                output.flush()?;
            }
            Task::Tell(done) => drop(done.send(())),
        }
    }
    Ok(())
}
